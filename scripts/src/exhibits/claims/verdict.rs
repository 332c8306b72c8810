//! How a claim is decided: a difference of runs, seed by seed, its interval, and where that lies. Independent of claims.

use super::{measure::Measure, part::Part};
use crate::{
    results::{Cell, Crossed, ERROR, SeedRuns, Size, over_seeds},
    study::{Expect, Says, Study},
};
use eval::Estimate;
use std::fmt;

/// The smallest effect of interest, as a share of questions: two points.
pub const SMALLEST: f64 = 0.02;
/// What is close, as a share of questions: five points. Wider than [`SMALLEST`] because an interval of some hundred questions
/// is.
pub const CLOSE: f64 = 0.05;

/// Two numbers of samples are similar within this factor, half an order of magnitude.
const SIMILAR: f64 = 3.0;
/// Samples that the paper's runs need at most.
const MANY_SAMPLES: f64 = 1e6;

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

/// What was found of a part.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The measure of each term, or of each size.
    pub terms: Vec<Cell>,
    /// Their weighted sum.
    pub difference: Option<Cell>,
    /// What follows.
    pub verdict: Verdict,
    /// Why nothing follows, where something is lacking.
    pub why: Option<String>,
    /// Runs that no seed has.
    pub not_run: Vec<String>,
}

/// A sum of measures.
struct Measured {
    /// The measure of each term.
    terms: Vec<Cell>,
    /// Their weighted sum, by seed.
    sums: Vec<Estimate>,
    /// The sum by seed and question, where all results have scores by question: what is hard for all of them takes no part.
    crossed: Option<Crossed>,
}

impl Measured {
    fn sum(&self, error: f64) -> Cell {
        let sum = over_seeds(&self.sums, error).expect("some seed has all runs");
        match &self.crossed {
            Some(crossed) => Cell { half_width: crossed.cell(error).half_width, ..sum },
            None => sum,
        }
    }
}

/// What the results of one size say of a part.
pub fn decide(study: &Study, part: &Part, size: &Size) -> Finding {
    let found = measured(study, part, size).map(|measured| {
        let sums = errors(part).map(|error| measured.sum(error));
        (measured.terms, sums)
    });
    let finding = finding(part, found, not_run(part, [size]));
    match decided_by_budgets(part, size) {
        Some(why) if finding.difference.is_some() && finding.not_run.is_empty() => {
            Finding { verdict: Verdict::CannotTell, why: Some(why), ..finding }
        }
        _ => finding,
    }
}

/// Whether the sum is larger at one size than at another. Seeds of different sizes have nothing in common; the questions are
/// the same.
pub fn decide_across(study: &Study, part: &Part, large: &Size, small: &Size) -> Finding {
    let found = measured(study, part, large).and_then(|large| {
        let small = measured(study, part, small)?;
        let paired = large.crossed.as_ref().zip(small.crossed.as_ref()).and_then(|(large, small)| large.minus(small));
        let difference = |error: f64| {
            let [large, small] = [&large, &small].map(|of_size| of_size.sum(error));
            let apart = large.half_width.hypot(small.half_width);
            let half_width = paired.as_ref().map_or(apart, |paired| paired.cell(error).half_width);
            Cell { mean: large.mean - small.mean, half_width, seeds: large.seeds.min(small.seeds) }
        };
        Ok((vec![large.sum(ERROR), small.sum(ERROR)], errors(part).map(difference)))
    });
    finding(part, found, not_run(part, [large, small]))
}

/// What follows from a difference: its 95 % interval, and the one for what the choice of runs favours.
fn finding(part: &Part, found: Result<(Vec<Cell>, [Cell; 2]), String>, not_run: Vec<String>) -> Finding {
    let open = |why: &str| (Verdict::CannotTell, Some(why.to_string()));
    let (verdict, mut why) = match &found {
        Ok((_, [Cell { seeds: 1, .. }, _])) => open("one seed, and what others would give is not known"),
        Ok((_, [Cell { half_width: 0.0, .. }, _])) => {
            open("all seeds have found the same, and how far from it others would lie is not known")
        }
        Ok((_, [usual, strict])) => {
            let [holds, is_refuted] = match part.selection.map(|selection| selection.says) {
                None => [usual, usual],
                Some(Says::Every) => [usual, strict],
                Some(Says::Some) => [strict, usual],
            };
            (Expectation::of(part.expect).verdict(holds, is_refuted), None)
        }
        Err(why) => open(why),
    };
    let verdict = if not_run.is_empty() { verdict } else { Verdict::CannotTell };
    if !not_run.is_empty() {
        let verb = if not_run.len() == 1 { "was" } else { "were" };
        why = Some(format!("`{}` {verb} not run", not_run.join("`, `")));
    }
    let (terms, difference) = found.map_or((Vec::new(), None), |(terms, [difference, _])| (terms, Some(difference)));
    Finding { terms, difference, verdict, why, not_run }
}

/// Why there is no verdict where the times of the evaluations leave one only, whatever the evaluations had shown.
fn decided_by_budgets(part: &Part, size: &Size) -> Option<String> {
    let (mut ends, mut seeds) = ([0.0; 2], 0.0);
    for seed in &size.by_seed {
        let bounds = part.terms.iter().map(|(weight, name)| {
            let [low, high] = part.measure.bounds(name, seed)?;
            Some(if *weight < 0.0 { [weight * high, weight * low] } else { [weight * low, weight * high] })
        });
        if let Some(bounds) = bounds.collect::<Option<Vec<_>>>() {
            seeds += 1.0;
            bounds.iter().for_each(|[low, high]| ends = [ends[0] + low, ends[1] + high]);
        }
    }
    let [low, high] = ends.map(|sum| Cell { mean: sum / seeds, half_width: 0.0, seeds: 1 });
    let whole = Cell { mean: (low.mean + high.mean) / 2.0, half_width: (high.mean - low.mean) / 2.0, seeds: 1 };
    // Of one run, what was given bounds the answer and does not make it.
    let is_decided = seeds > 0.0
        && part.terms.len() > 1
        && Expectation::of(part.expect).verdict(&whole, &whole) != Verdict::CannotTell;
    is_decided.then(|| "the samples that the runs were given leave no other answer, whatever they had shown".into())
}

fn not_run<const N: usize>(part: &Part, sizes: [&Size; N]) -> Vec<String> {
    let terms = part.terms.iter().map(|(_, name)| name).filter(|name| !part.candidates.contains(name));
    let names = terms.chain(&part.candidates);
    names.filter(|name| sizes.iter().any(|size| size.of(name).next().is_none())).cloned().collect()
}

fn measured(study: &Study, part: &Part, size: &Size) -> Result<Measured, String> {
    let has_all = |seed: &&SeedRuns| part.terms.iter().all(|(_, name)| seed.runs.contains_key(name));
    let with_all: Vec<&SeedRuns> = size.by_seed.iter().filter(has_all).collect();
    let of_seed = |seed: &&SeedRuns| part.terms.iter().map(|(_, name)| part.measure.of(study, name, seed)).collect();
    let seeds: Vec<Vec<Estimate>> = with_all.iter().map(of_seed).collect::<Result<_, String>>()?;
    // A term that all seeds have is shown as in the tables.
    let of_term = |(term, (_, name)): (usize, &(f64, String))| match part.measure {
        Measure::Test(metric) if size.of(name).count() == with_all.len() => size.cell(name, metric),
        _ => over_seeds(&seeds.iter().map(|seed| seed[term]).collect::<Vec<_>>(), ERROR),
    };
    let terms: Option<Vec<Cell>> = part.terms.iter().enumerate().map(of_term).collect();
    let sums = seeds.iter().map(|seed| weighted_sum(&part.terms, seed)).collect();
    let scores = |seed: &&SeedRuns| match part.measure {
        Measure::Test(metric) => seed.scores(part.terms.iter().map(|(weight, name)| (*weight, name.as_str(), metric))),
        _ => None,
    };
    let crossed = with_all.iter().map(scores).collect::<Option<Vec<_>>>().and_then(|scores| Crossed::of(&scores));
    let terms = terms.ok_or("no seed has all of these runs")?;
    Ok(Measured { terms, sums, crossed })
}

/// The sum of one seed. Half-widths add as those of independent numbers do. Reports on the same questions are correlated, and a
/// difference of theirs is narrower; this is for results without scores by question.
fn weighted_sum(terms: &[(f64, String)], estimates: &[Estimate]) -> Estimate {
    let value: f64 = terms.iter().zip(estimates).map(|((weight, _), estimate)| weight * estimate.value).sum();
    let half = |[low, high]: [f64; 2]| (high - low) / 2.0;
    let halves = terms.iter().zip(estimates).map(|((weight, _), estimate)| weight * half(estimate.ci95));
    let half = halves.fold(0.0, f64::hypot);
    Estimate { value, ci95: [value - half, value + half] }
}

/// How often the usual interval may miss, and the one for the verdict that the choice of runs favours.
fn errors(part: &Part) -> [f64; 2] {
    let comparisons = part.selection.map_or(1, |selection| selection.comparisons);
    [ERROR, ERROR / comparisons as f64]
}

impl Expectation {
    /// What a word of the study means.
    pub fn of(word: Expect) -> Self {
        match word {
            Expect::Better => Self::Above { than: 0.0, smallest: SMALLEST },
            Expect::More => Self::Above { than: 0.0, smallest: 0.0 },
            Expect::NoGain => Self::NotAbove { than: 0.0, margin: CLOSE },
            Expect::Close => Self::Close { margin: CLOSE },
            Expect::Similar => Self::Close { margin: SIMILAR.log10() },
            Expect::AMillionAtMost => Self::NotAbove { than: MANY_SAMPLES.log10(), margin: 0.0 },
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

    const BETTER: Expectation = Expectation::Above { than: 0.0, smallest: SMALLEST };
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
    fn half_widths_of_questions_add_in_quadrature_each_with_its_weight() {
        let estimate = |value: f64, half: f64| Estimate { value, ci95: [value - half, value + half] };
        // 0.5 - 0.5 * 0.4 = 0.3; sqrt(0.03^2 + (0.5 * 0.08)^2) = 0.05.
        let sum = weighted_sum(&[(1.0, "a".into()), (-0.5, "b".into())], &[estimate(0.5, 0.03), estimate(0.4, 0.08)]);
        assert!((sum.value - 0.3).abs() < 1e-12, "{sum:?}");
        assert!((sum.ci95[0] - 0.25).abs() < 1e-12 && (sum.ci95[1] - 0.35).abs() < 1e-12, "{sum:?}");
    }
}
