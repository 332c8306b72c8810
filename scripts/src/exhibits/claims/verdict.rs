//! Verdicts: where the interval of a difference lies, and what follows for a claim of several parts. Independent of results.

use crate::{
    results::Cell,
    study::{Expect, Verdicts},
};
use std::fmt;

/// What was found of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The interval lies where the claim says.
    Holds,
    /// It lies where the claim cannot be.
    DoesNotHold,
    /// It lies across, or there is none.
    CannotTell,
    /// What has to hold for the claim to be about anything does not.
    NoPremise,
}

/// Where the interval of a difference has to lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expectation {
    /// Above `than`; refuted where all of it is below `than + smallest`, an effect too small to matter.
    Above {
        /// No effect.
        than: f64,
        /// The smallest that matters.
        smallest: f64,
    },
    /// Below `than + margin`; refuted where all of it is above `than`.
    NotAbove {
        /// No effect.
        than: f64,
        /// What passes for none.
        margin: f64,
    },
    /// Within `± margin`; refuted where all of it is outside.
    Close {
        /// What passes for no difference.
        margin: f64,
    },
}

impl Expectation {
    /// What a word of the study means.
    pub fn of(word: Expect, verdicts: &Verdicts) -> Self {
        let Verdicts { smallest, close, similar, samples, .. } = *verdicts;
        match word {
            Expect::Better => Self::Above { than: 0.0, smallest },
            Expect::More => Self::Above { than: 0.0, smallest: 0.0 },
            Expect::NoGain => Self::NotAbove { than: 0.0, margin: close },
            Expect::Close => Self::Close { margin: close },
            Expect::Similar => Self::Close { margin: similar.log10() },
            Expect::AMillionAtMost => Self::NotAbove { than: samples.log10(), margin: 0.0 },
        }
    }

    /// Where intervals lie: whether one holds, and whether another is refuted.
    pub fn verdict(self, holds: &Cell, is_refuted: &Cell) -> Verdict {
        if self.lies(holds)[0] {
            return Verdict::Holds;
        }
        if self.lies(is_refuted)[1] { Verdict::DoesNotHold } else { Verdict::CannotTell }
    }

    /// Whether an interval lies where the part says, and whether it lies where that cannot be.
    fn lies(self, difference: &Cell) -> [bool; 2] {
        let (low, high) = (difference.mean - difference.half_width, difference.mean + difference.half_width);
        match self {
            Self::Above { than, smallest } => [low > than, high <= than + smallest],
            Self::NotAbove { than, margin } => [low <= than && high <= than + margin, low > than],
            Self::Close { margin } => [-margin <= low && high <= margin, low > margin || high < -margin],
        }
    }
}

impl Verdict {
    /// Of a claim that says all of it; `None` of nothing. What has no premise says nothing beside what has one.
    pub fn all(verdicts: impl IntoIterator<Item = Self>) -> Option<Self> {
        verdicts.into_iter().reduce(|a, b| match (a, b) {
            (Self::DoesNotHold, _) | (_, Self::DoesNotHold) => Self::DoesNotHold,
            (Self::CannotTell, _) | (_, Self::CannotTell) => Self::CannotTell,
            (Self::Holds, _) | (_, Self::Holds) => Self::Holds,
            (Self::NoPremise, Self::NoPremise) => Self::NoPremise,
        })
    }

    /// Of a claim that says one or the other; `None` of nothing.
    pub fn any(verdicts: impl IntoIterator<Item = Self>) -> Option<Self> {
        verdicts.into_iter().reduce(|a, b| match (a, b) {
            (Self::Holds, _) | (_, Self::Holds) => Self::Holds,
            (Self::CannotTell, _) | (_, Self::CannotTell) => Self::CannotTell,
            (Self::DoesNotHold, _) | (_, Self::DoesNotHold) => Self::DoesNotHold,
            (Self::NoPremise, Self::NoPremise) => Self::NoPremise,
        })
    }

    /// Of a claim that is about nothing unless a premise holds.
    #[must_use]
    pub fn given(self, premise: Self) -> Self {
        match premise {
            Self::Holds => self,
            Self::DoesNotHold | Self::NoPremise => Self::NoPremise,
            Self::CannotTell => Self::CannotTell,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::DoesNotHold => "does not hold",
            Self::CannotTell => "cannot tell",
            Self::NoPremise => "premise does not hold",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{CannotTell, DoesNotHold, Holds, NoPremise};

    const CLOSE: f64 = 0.05;
    const BETTER: Expectation = Expectation::Above { than: 0.0, smallest: 0.02 };
    const NO_GAIN: Expectation = Expectation::NotAbove { than: 0.0, margin: CLOSE };

    fn verdict(expected: Expectation, mean: f64, half_width: f64) -> Verdict {
        let cell = Cell { mean, half_width, seeds: 3 };
        expected.verdict(&cell, &cell)
    }

    #[test]
    fn a_clear_difference_holds() {
        assert_eq!(verdict(BETTER, 0.10, 0.06), Holds);
        assert_eq!(verdict(BETTER, 0.01, 0.005), Holds, "small, but surely there");
    }

    #[test]
    fn a_clear_opposite_does_not_hold_and_neither_does_an_effect_too_small_to_matter() {
        assert_eq!(verdict(BETTER, -0.10, 0.06), DoesNotHold);
        assert_eq!(verdict(BETTER, 0.0, 0.015), DoesNotHold);
    }

    #[test]
    fn a_wide_interval_cannot_tell() {
        assert_eq!(verdict(BETTER, 0.05, 0.06), CannotTell);
        assert_eq!(verdict(NO_GAIN, 0.01, 0.06), CannotTell);
        assert_eq!(verdict(Expectation::Close { margin: CLOSE }, 0.03, 0.06), CannotTell);
    }

    #[test]
    fn no_gain_is_a_loss_or_less_than_what_is_close_and_never_a_sure_gain() {
        assert_eq!(verdict(NO_GAIN, -0.20, 0.06), Holds);
        assert_eq!(verdict(NO_GAIN, 0.01, 0.03), Holds);
        assert_eq!(verdict(NO_GAIN, 0.03, 0.015), DoesNotHold);
    }

    #[test]
    fn close_is_within_the_margin_on_both_sides() {
        let close = Expectation::Close { margin: CLOSE };
        assert_eq!(verdict(close, -0.01, 0.03), Holds);
        assert_eq!(verdict(close, -0.10, 0.04), DoesNotHold);
        assert_eq!(verdict(close, 0.10, 0.04), DoesNotHold);
    }

    #[test]
    fn one_part_that_does_not_hold_decides_and_one_that_cannot_tell_leaves_it_open() {
        assert_eq!(Verdict::all([Holds, Holds]), Some(Holds));
        assert_eq!(Verdict::all([Holds, CannotTell]), Some(CannotTell));
        assert_eq!(Verdict::all([CannotTell, DoesNotHold, Holds]), Some(DoesNotHold));
        assert_eq!(Verdict::all([]), None);
        assert_eq!(Verdict::any([DoesNotHold, CannotTell]), Some(CannotTell));
        assert_eq!(Verdict::any([DoesNotHold, Holds]), Some(Holds));
        assert_eq!(Verdict::any([DoesNotHold, DoesNotHold]), Some(DoesNotHold));
    }

    #[test]
    fn without_its_premise_a_claim_is_about_nothing_and_where_that_is_open_so_is_the_claim() {
        assert_eq!(
            [Holds, DoesNotHold, CannotTell].map(|verdict| verdict.given(Holds)),
            [Holds, DoesNotHold, CannotTell]
        );
        assert_eq!([Holds, DoesNotHold].map(|verdict| verdict.given(DoesNotHold)), [NoPremise; 2]);
        assert_eq!([Holds, DoesNotHold].map(|verdict| verdict.given(CannotTell)), [CannotTell; 2]);
        assert_eq!(Verdict::all([NoPremise, Holds]), Some(Holds), "one size has it");
        assert_eq!(Verdict::all([NoPremise, NoPremise]), Some(NoPremise));
    }
}
