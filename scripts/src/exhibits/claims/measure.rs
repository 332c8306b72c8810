//! What claims compare: one number a run, with its interval over questions where a report has one. Independent of claims.

use crate::{
    results::{ERROR, Evaluation, RunResult, SeedRuns, metric, normal},
    study::Study,
};
use eval::{Estimate, Metric};

/// One number of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// A metric of the test report: of the best checkpoint.
    Test(Metric),
    /// By how much maj@1 on validation fell from the best evaluation to the last.
    Fall,
    /// Samples drawn until the run has converged, as a decimal logarithm.
    Samples,
    /// The same, where it is known: Expert Iteration that has converged at its first evaluation may have needed fewer.
    KnownSamples,
    /// Rounds until the run has converged.
    Rounds,
    /// maj@1 on validation, as a mean of the evaluations until plain PPO of the same seed has converged.
    Early,
    /// What evaluations after the second round add to the best maj@1 on validation until then.
    AfterTwoRounds,
    /// Mean edit distance between the calculation traces of two correct solutions of a question, among the samples of the first round.
    TraceDistance,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A share of questions, shown in points.
    Share,
    /// A decimal logarithm of samples, shown as samples and factors.
    Samples,
    /// Rounds.
    Rounds,
    /// An edit distance, as a share of the length.
    Distance,
}

/// A run has converged at the first evaluation with this share of the gain of its best one over its start.
pub const CONVERGED: f64 = 0.95;

const VALIDATION: &str = "validation/maj@1";

impl Measure {
    /// What it counts.
    pub fn unit(self) -> Unit {
        match self {
            Self::Test(_) | Self::Fall | Self::Early | Self::AfterTwoRounds => Unit::Share,
            Self::Samples | Self::KnownSamples => Unit::Samples,
            Self::Rounds => Unit::Rounds,
            Self::TraceDistance => Unit::Distance,
        }
    }

    /// The least and the most that it can come to, whatever the evaluations show: by when they were. `None` where that bounds nothing.
    pub fn bounds(self, name: &str, seed: &SeedRuns) -> Option<[f64; 2]> {
        let run = seed.runs.get(name)?;
        let evaluations = evaluations(run);
        // The last one is none at which a run is known to have converged.
        let first = usize::from(self == Self::KnownSamples && run.command == "ei");
        let [first, last] = [evaluations.get(first)?, evaluations.get(evaluations.len().checked_sub(2)?)?];
        match self {
            Self::Samples | Self::KnownSamples => Some([first[1].log10(), last[1].log10()]),
            Self::Rounds => Some([first[0], last[0]]),
            _ => None,
        }
    }

    /// What each question of the test split scores in a weighted sum of runs; `None` where results do not hold it.
    pub fn scores(self, terms: &[(f64, String)], seed: &SeedRuns) -> Option<Vec<f64>> {
        let Self::Test(metric) = self else { return None };
        seed.scores(terms.iter().map(|(weight, name)| (*weight, name.as_str(), metric)))
    }

    /// What it is called.
    pub fn label(self) -> String {
        match self {
            Self::Test(metric) => metric.to_string(),
            Self::Fall => "fall of maj@1".into(),
            Self::Samples | Self::KnownSamples => "samples".into(),
            Self::Rounds => "rounds".into(),
            Self::Early => "early maj@1".into(),
            Self::AfterTwoRounds => "what later rounds add".into(),
            Self::TraceDistance => "distance of traces".into(),
        }
    }

    /// Reads it; an interval of no width where results hold none. An evaluation has as many questions as
    /// the run says, and two are taken to have different ones, so that the interval is too wide.
    ///
    /// # Errors
    /// What is lacking, as a sentence for the table.
    pub fn of(self, study: &Study, name: &str, seed: &SeedRuns) -> Result<Estimate, String> {
        let run = run(name, seed)?;
        let lacks = |what: &str| format!("`{name}` has no {what}");
        let value = match self {
            Self::Test(metric) => {
                return run.estimate(metric).ok_or_else(|| lacks(&metric.to_string()));
            }
            Self::Fall => {
                let [best, last] = run.best_and_last(VALIDATION).ok_or_else(|| lacks("evaluation"))?;
                return Ok(of_evaluations(run, &[(1.0, best), (-1.0, last)]));
            }
            Self::Samples => settled(study, name, seed)?[1].log10(),
            Self::KnownSamples => {
                let [round, samples, _] = settled(study, name, seed)?;
                if run.command == "ei" && round <= 1.0 {
                    return Err(format!(
                        "`{name}` needed {samples:.0} at most, its first evaluation, seed {}",
                        seed.seed
                    ));
                }
                samples.log10()
            }
            Self::Rounds => settled(study, name, seed)?[0],
            Self::Early => {
                let ppo = &study.reference.ppo;
                let plain = evaluations(self::run(ppo, seed)?);
                let [_, until, _] = plain[converged(study, ppo, seed)?];
                let early: Vec<f64> = evaluations(run).iter().filter(|at| at[1] <= until).map(|at| at[2]).collect();
                let early = mean(&early).ok_or_else(|| lacks(&format!("evaluation until `{ppo}` has converged")))?;
                return Ok(of_evaluations(run, &[(1.0, early)]));
            }
            Self::AfterTwoRounds => {
                let [later, until] = after_two_rounds(&evaluations(run)).ok_or_else(|| still_rising(name, seed))?;
                return Ok(of_evaluations(run, &[(1.0, later), (-1.0, until)]));
            }
            Self::TraceDistance => {
                let first = run.evaluations.first().and_then(|at| at.get("diversity/trace_distance"));
                first.copied().ok_or_else(|| lacks("diversity"))?
            }
        };
        Ok(Estimate { value, ci95: [value; 2] })
    }
}

fn run<'a>(name: &str, seed: &'a SeedRuns) -> Result<&'a RunResult, String> {
    seed.runs.get(name).ok_or_else(|| format!("`{name}` was not run"))
}

/// Step, samples and maj@1 of each evaluation on the validation split.
fn evaluations(run: &RunResult) -> Vec<[f64; 3]> {
    let numbers = |at: &Evaluation| Some([*at.get("step")?, *at.get("samples")?, *at.get(VALIDATION)?]);
    run.evaluations.iter().filter_map(numbers).collect()
}

/// The place of the evaluation at which a run has converged.
fn converged(study: &Study, name: &str, seed: &SeedRuns) -> Result<usize, String> {
    let evaluations = evaluations(run(name, seed)?);
    let start = start(study, name, seed)?;
    let best = evaluations.iter().map(|at| at[2]).fold(f64::NEG_INFINITY, f64::max);
    if best <= start {
        return Err(format!("no evaluation of `{name}` is above its start, seed {}", seed.seed));
    }
    let enough = start + CONVERGED * (best - start);
    Ok(evaluations.iter().position(|at| at[2] >= enough).unwrap_or(0))
}

/// The evaluation at which a run has converged, where it went on after it: else more might have come.
fn settled(study: &Study, name: &str, seed: &SeedRuns) -> Result<[f64; 3], String> {
    let evaluations = evaluations(run(name, seed)?);
    let place = converged(study, name, seed)?;
    if place + 1 < evaluations.len() { Ok(evaluations[place]) } else { Err(still_rising(name, seed)) }
}

fn still_rising(name: &str, seed: &SeedRuns) -> String {
    format!("`{name}` was still rising when it ended, seed {}", seed.seed)
}

/// maj@1 that a run starts from. A base model has no evaluation on the validation split: its test score stands for it.
fn start(study: &Study, name: &str, seed: &SeedRuns) -> Result<f64, String> {
    let (base, sft) = (&study.reference.base, &study.reference.sft);
    if study.is_from_base(name) {
        let metric = metric(eval::MetricKind::Maj, 1);
        return Measure::Test(metric).of(study, base, seed).map(|estimate| estimate.value);
    }
    let best_and_last = run(sft, seed)?.best_and_last(VALIDATION);
    best_and_last.map(|[best, _]| best).ok_or_else(|| format!("`{sft}` has no evaluation"))
}

/// The best evaluation after the second round, and the best until then. `None` where there is no later one although the last was the
/// best: one that is not the best is how Expert Iteration finds out that it is done.
fn after_two_rounds(evaluations: &[[f64; 3]]) -> Option<[f64; 2]> {
    let best = |evaluations: &[[f64; 3]]| evaluations.iter().map(|at| at[2]).fold(f64::NEG_INFINITY, f64::max);
    let (first, later) = evaluations.split_at(evaluations.iter().take_while(|at| at[0] <= 2.0).count());
    if !later.is_empty() {
        return Some([best(later), best(first)]);
    }
    first.last().map(|last| [last[2], best(first)]).filter(|[last, best]| last < best)
}

/// A weighted sum of the shares that evaluations of a run have found.
fn of_evaluations(run: &RunResult, shares: &[(f64, f64)]) -> Estimate {
    let value = shares.iter().map(|(weight, share)| weight * share).sum::<f64>();
    let variance = shares.iter().map(|(weight, share)| weight * weight * share * (1.0 - share)).sum::<f64>();
    let half = run.validation_problems().map_or(0.0, |questions| normal(ERROR) * (variance / questions).sqrt());
    Estimate { value, ci95: [value - half, value + half] }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_rounds_add_what_their_best_evaluation_has_over_the_first_two() {
        let added = |accuracies: &[f64]| {
            let evaluations: Vec<[f64; 3]> =
                (1..).zip(accuracies).map(|(round, maj)| [f64::from(round), 0.0, *maj]).collect();
            after_two_rounds(&evaluations).map(|[later, until]| later - until)
        };
        let is = |found: Option<f64>, expected: f64| found.is_some_and(|found| (found - expected).abs() < 1e-12);
        assert!(is(added(&[0.4, 0.5, 0.45, 0.53]), 0.03));
        assert!(is(added(&[0.5, 0.4, 0.45]), -0.05));
        assert!(is(added(&[0.5, 0.48]), -0.02), "it ended because it no longer rose");
        assert_eq!(added(&[0.4, 0.5]), None, "more might have come");
    }
}
