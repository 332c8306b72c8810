//! How a claim is decided: a difference of runs, seed by seed, its interval, and where that lies. Knows no claim.

use crate::measure::Measure;
use eval::Estimate;
use scripts::{Cell, Crossed, Size, Study, over_seeds};
use std::fmt;

/// The smallest effect of interest, as a share of questions: two points.
pub const SMALLEST: f64 = 0.02;
/// What is close, as a share of questions: five points. Wider than [`SMALLEST`] because an interval of some hundred questions
/// is.
pub const CLOSE: f64 = 0.05;

/// What was found of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The interval lies where the claim says.
    Holds,
    /// It lies where the claim cannot be.
    DoesNotHold,
    /// It lies across, or there is none.
    CannotTell,
}

/// Where the interval of a difference has to lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Asked {
    /// Above `than`; refuted where all of it is below `than + smallest`, an effect that nobody cares for.
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

/// The first run scores more of the questions.
pub const BETTER: Asked = Asked::Above { than: 0.0, smallest: SMALLEST };
/// The first run does not score more of them.
pub const NO_GAIN: Asked = Asked::NotAbove { than: 0.0, margin: CLOSE };

/// One comparison that a claim rests on.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it says.
    pub what: String,
    /// What is compared: the sum of the runs' measures, each with its weight.
    pub terms: Vec<(f64, &'static str)>,
    /// Runs that `terms` were chosen from.
    pub candidates: Vec<&'static str>,
    /// The number that is compared.
    pub measure: Measure,
    /// Where the sum has to lie.
    pub asked: Asked,
    /// Whether it is enough that either this part or the one before holds.
    pub or: bool,
}

/// What was found of a part.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The measure of each term, or of each size.
    pub terms: Vec<Cell>,
    /// Their weighted sum.
    pub difference: Option<Cell>,
    /// What follows.
    pub verdict: Verdict,
    /// Why nothing follows, where something is lacking.
    pub why: Option<String>,
    /// Runs that no seed has.
    pub not_run: Vec<&'static str>,
}

/// A sum of measures.
struct Measured {
    /// The measure of each term.
    terms: Vec<Cell>,
    /// Their weighted sum.
    sum: Cell,
    /// The sum by seed and question, where all runs tell what each question scores: what is hard for all of them takes no part.
    crossed: Option<Crossed>,
}

/// Asks the studies of one size.
pub fn ask(part: &Part, size: &Size) -> Answer {
    let measured = measured(part, size).map(|measured| (measured.terms, measured.sum));
    answer(measured, part.asked, not_run(part, [size]))
}

/// Asks whether the sum is larger at one size than at another. Seeds of different sizes have nothing in common; the questions are
/// the same.
pub fn ask_across(part: &Part, large: &Size, small: &Size) -> Answer {
    let difference = measured(part, large).and_then(|large| {
        let small = measured(part, small)?;
        let apart = Cell {
            mean: large.sum.mean - small.sum.mean,
            half_width: large.sum.half_width.hypot(small.sum.half_width),
            seeds: large.sum.seeds.min(small.sum.seeds),
        };
        let paired = large.crossed.zip(small.crossed).and_then(|(large, small)| large.minus(&small));
        Ok((vec![large.sum, small.sum], paired.map_or(apart, |paired| Cell { mean: apart.mean, ..paired.cell() })))
    });
    answer(difference, part.asked, not_run(part, [large, small]))
}

fn answer(measured: Result<(Vec<Cell>, Cell), String>, asked: Asked, not_run: Vec<&'static str>) -> Answer {
    let (verdict, mut why) = match &measured {
        Ok((_, Cell { seeds: 1, .. })) => {
            (Verdict::CannotTell, Some("one seed, and what others would give is not known".into()))
        }
        Ok((_, difference)) => (asked.verdict(difference), None),
        Err(why) => (Verdict::CannotTell, Some(why.clone())),
    };
    let verdict = if not_run.is_empty() { verdict } else { Verdict::CannotTell };
    if !not_run.is_empty() {
        let verb = if not_run.len() == 1 { "was" } else { "were" };
        why = Some(format!("`{}` {verb} not run", not_run.join("`, `")));
    }
    let (terms, difference) = measured.map_or((Vec::new(), None), |(terms, difference)| (terms, Some(difference)));
    Answer { terms, difference, verdict, why, not_run }
}

fn not_run<const N: usize>(part: &Part, sizes: [&Size; N]) -> Vec<&'static str> {
    let terms = part.terms.iter().map(|(_, name)| *name).filter(|name| !part.candidates.contains(name));
    let names = terms.chain(part.candidates.iter().copied());
    names.filter(|name| sizes.iter().any(|size| size.of(name).next().is_none())).collect()
}

fn measured(part: &Part, size: &Size) -> Result<Measured, String> {
    let has_all = |study: &&Study| part.terms.iter().all(|(_, name)| study.runs.contains_key(*name));
    let studies: Vec<&Study> = size.studies.iter().filter(has_all).collect();
    let of_study = |study: &&Study| part.terms.iter().map(|(_, name)| part.measure.of(name, study)).collect();
    let seeds: Vec<Vec<Estimate>> = studies.iter().map(of_study).collect::<Result<_, String>>()?;
    let none = || "no seed has all of these runs".to_string();
    let of_term = |term: usize| over_seeds(&seeds.iter().map(|seed| seed[term]).collect::<Vec<_>>()).ok_or_else(none);
    let terms = (0..part.terms.len()).map(of_term).collect::<Result<_, String>>()?;
    let sums: Vec<Estimate> = seeds.iter().map(|seed| weighted_sum(&part.terms, seed)).collect();
    let mut sum = over_seeds(&sums).ok_or_else(none)?;
    let crossed = studies.iter().map(|study| scores(part, study)).collect::<Option<Vec<_>>>();
    let crossed = crossed.and_then(|scores| Crossed::of(&scores));
    if let Some(crossed) = &crossed {
        sum.half_width = crossed.cell().half_width;
    }
    Ok(Measured { terms, sum, crossed })
}

/// The weighted sum of one seed, question by question.
fn scores(part: &Part, study: &Study) -> Option<Vec<f64>> {
    let Measure::Test(metric) = part.measure else { return None };
    let mut sums: Vec<f64> = Vec::new();
    for (weight, name) in &part.terms {
        let scores = study.runs.get(*name)?.scores(metric)?;
        sums.resize(scores.len().max(sums.len()), 0.0);
        if scores.len() != sums.len() {
            return None;
        }
        sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += weight * score);
    }
    Some(sums)
}

/// Of one seed. Half-widths add as those of independent numbers: reports on the same questions are correlated, and a
/// difference of theirs is narrower than that, but they do not say by how much. It is what is left where a run does not tell
/// what each question scores.
fn weighted_sum(terms: &[(f64, &str)], estimates: &[Estimate]) -> Estimate {
    let value: f64 = terms.iter().zip(estimates).map(|((weight, _), estimate)| weight * estimate.value).sum();
    let half = |[low, high]: [f64; 2]| (high - low) / 2.0;
    let halves = terms.iter().zip(estimates).map(|((weight, _), estimate)| weight * half(estimate.ci95));
    let half = halves.fold(0.0, f64::hypot);
    Estimate { value, ci95: [value - half, value + half] }
}

impl Asked {
    /// Where an interval lies.
    pub fn verdict(self, difference: &Cell) -> Verdict {
        let (low, high) = (difference.mean - difference.half_width, difference.mean + difference.half_width);
        let (holds, is_refuted) = match self {
            Self::Above { than, smallest } => (low > than, high <= than + smallest),
            Self::NotAbove { than, margin } => (low <= than && high <= than + margin, low > than),
            Self::Close { margin } => (-margin <= low && high <= margin, low > margin || high < -margin),
        };
        match (holds, is_refuted) {
            (true, _) => Verdict::Holds,
            (false, true) => Verdict::DoesNotHold,
            (false, false) => Verdict::CannotTell,
        }
    }
}

impl Verdict {
    /// Of a claim that says all of it; `None` of nothing.
    pub fn all(verdicts: impl IntoIterator<Item = Self>) -> Option<Self> {
        verdicts.into_iter().reduce(|a, b| match (a, b) {
            (Self::DoesNotHold, _) | (_, Self::DoesNotHold) => Self::DoesNotHold,
            (Self::CannotTell, _) | (_, Self::CannotTell) => Self::CannotTell,
            (Self::Holds, Self::Holds) => Self::Holds,
        })
    }

    /// Of a claim that says one or the other; `None` of nothing.
    pub fn any(verdicts: impl IntoIterator<Item = Self>) -> Option<Self> {
        verdicts.into_iter().reduce(|a, b| match (a, b) {
            (Self::Holds, _) | (_, Self::Holds) => Self::Holds,
            (Self::CannotTell, _) | (_, Self::CannotTell) => Self::CannotTell,
            (Self::DoesNotHold, Self::DoesNotHold) => Self::DoesNotHold,
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::DoesNotHold => "does not hold",
            Self::CannotTell => "cannot tell",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{CannotTell, DoesNotHold, Holds};

    fn verdict(asked: Asked, mean: f64, half_width: f64) -> Verdict {
        asked.verdict(&Cell { mean, half_width, seeds: 3 })
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
        assert_eq!(verdict(Asked::Close { margin: CLOSE }, 0.03, 0.06), CannotTell);
    }

    #[test]
    fn no_gain_is_a_loss_or_less_than_what_is_close_and_never_a_sure_gain() {
        assert_eq!(verdict(NO_GAIN, -0.20, 0.06), Holds);
        assert_eq!(verdict(NO_GAIN, 0.01, 0.03), Holds);
        assert_eq!(verdict(NO_GAIN, 0.03, 0.015), DoesNotHold);
    }

    #[test]
    fn close_is_within_the_margin_on_both_sides() {
        let close = Asked::Close { margin: CLOSE };
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
    fn half_widths_of_questions_add_in_quadrature_each_with_its_weight() {
        let estimate = |value: f64, half: f64| Estimate { value, ci95: [value - half, value + half] };
        // 0.5 - 0.5 * 0.4 = 0.3; sqrt(0.03^2 + (0.5 * 0.08)^2) = 0.05.
        let sum = weighted_sum(&[(1.0, "a"), (-0.5, "b")], &[estimate(0.5, 0.03), estimate(0.4, 0.08)]);
        assert!((sum.value - 0.3).abs() < 1e-12, "{sum:?}");
        assert!((sum.ci95[0] - 0.25).abs() < 1e-12 && (sum.ci95[1] - 0.35).abs() < 1e-12, "{sum:?}");
    }
}
