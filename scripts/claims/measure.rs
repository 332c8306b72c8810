//! What claims compare: one number a run, with its interval over questions where a report has one. Knows no claim.

use eval::{Estimate, Metric};
use scripts::{ERROR, RunResult, Study, normal};

/// One number of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// A metric of the test report: of the best checkpoint.
    Test(Metric),
    /// By how much maj@1 on validation fell from the best look to the last.
    Fall,
    /// Samples drawn until the run has converged, as a decimal logarithm.
    Samples,
    /// The same, where it is known: Expert Iteration that has converged at its first look may have needed fewer.
    Needed,
    /// Rounds until the run has converged.
    Rounds,
    /// maj@1 on validation, as a mean of the looks until `ppo` of the same seed has converged.
    Early,
    /// What looks after the second round add to the best maj@1 on validation until then.
    AfterTwoRounds,
    /// Distinct right chains of calculations a question, among the samples of the first round.
    Distinct,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A share of questions, told in points.
    Share,
    /// A decimal logarithm of samples, told as samples and factors.
    Samples,
    /// Rounds.
    Rounds,
    /// Solutions a question.
    Solutions,
}

/// A run has converged at the first look that has this share of the gain of its best look over its start.
pub const CONVERGED: f64 = 0.95;

const LOOK: &str = "validation/maj@1";

impl Measure {
    /// What it counts.
    pub fn unit(self) -> Unit {
        match self {
            Self::Test(_) | Self::Fall | Self::Early | Self::AfterTwoRounds => Unit::Share,
            Self::Samples | Self::Needed => Unit::Samples,
            Self::Rounds => Unit::Rounds,
            Self::Distinct => Unit::Solutions,
        }
    }

    /// The least and the most that it can come to, whatever the looks show: by when they were. `None` where that bounds nothing.
    pub fn bounds(self, name: &str, study: &Study) -> Option<[f64; 2]> {
        let run = study.runs.get(name)?;
        let looks = looks(run);
        // The last one is none at which a run is known to have converged.
        let first = usize::from(self == Self::Needed && run.command == "ei");
        let [first, last] = [looks.get(first)?, looks.get(looks.len().checked_sub(2)?)?];
        match self {
            Self::Samples | Self::Needed => Some([first[1].log10(), last[1].log10()]),
            Self::Rounds => Some([first[0], last[0]]),
            _ => None,
        }
    }

    /// Reads it; an interval of no width where results hold none. A look is at as many questions as the run says, and two looks
    /// are taken to be at different ones, so that the interval is too wide.
    ///
    /// # Errors
    /// What is lacking, as a sentence for the table.
    pub fn of(self, name: &str, study: &Study) -> Result<Estimate, String> {
        let run = run(name, study)?;
        let lacks = |what: &str| format!("`{name}` has no {what}");
        let value = match self {
            Self::Test(metric) => {
                let test = run.test.as_ref().and_then(|report| report.metrics.get(&metric));
                return test.copied().ok_or_else(|| lacks(&metric.to_string()));
            }
            Self::Fall => {
                let [best, last] = run.best_and_last(LOOK).ok_or_else(|| lacks("look"))?;
                return Ok(of_looks(run, &[(1.0, best), (-1.0, last)]));
            }
            Self::Samples => settled(name, study)?[1].log10(),
            Self::Needed => {
                let [round, samples, _] = settled(name, study)?;
                if run.command == "ei" && round <= 1.0 {
                    return Err(format!("`{name}` needed {samples:.0} at most, its first look, seed {}", study.seed));
                }
                samples.log10()
            }
            Self::Rounds => settled(name, study)?[0],
            Self::Early => {
                let plain = looks(self::run("ppo", study)?);
                let [_, until, _] = plain[converged("ppo", study)?];
                let early: Vec<f64> = looks(run).iter().filter(|look| look[1] <= until).map(|look| look[2]).collect();
                let early = mean(&early).ok_or_else(|| lacks("look until `ppo` has converged"))?;
                return Ok(of_looks(run, &[(1.0, early)]));
            }
            Self::AfterTwoRounds => {
                let [later, until] = after_two_rounds(&looks(run)).ok_or_else(|| still_rising(name, study))?;
                return Ok(of_looks(run, &[(1.0, later), (-1.0, until)]));
            }
            Self::Distinct => {
                let first = run.looks.first().and_then(|look| look.get("diversity/distinct_traces"));
                first.copied().ok_or_else(|| lacks("diversity"))?
            }
        };
        Ok(Estimate { value, ci95: [value; 2] })
    }
}

fn run<'a>(name: &str, study: &'a Study) -> Result<&'a RunResult, String> {
    study.runs.get(name).ok_or_else(|| format!("`{name}` was not run"))
}

/// Step, samples and maj@1 of each look at validation.
fn looks(run: &RunResult) -> Vec<[f64; 3]> {
    let numbers = |look: &scripts::Look| Some([*look.get("step")?, *look.get("samples")?, *look.get(LOOK)?]);
    run.looks.iter().filter_map(numbers).collect()
}

/// The place of the look at which a run has converged.
fn converged(name: &str, study: &Study) -> Result<usize, String> {
    let looks = looks(run(name, study)?);
    let start = start(name, study)?;
    let best = looks.iter().map(|look| look[2]).fold(f64::NEG_INFINITY, f64::max);
    if best <= start {
        return Err(format!("no look of `{name}` is above its start, seed {}", study.seed));
    }
    let enough = start + CONVERGED * (best - start);
    Ok(looks.iter().position(|look| look[2] >= enough).unwrap_or(0))
}

/// The look at which a run has converged, where it went on after it: else more might have come.
fn settled(name: &str, study: &Study) -> Result<[f64; 3], String> {
    let looks = looks(run(name, study)?);
    let place = converged(name, study)?;
    if place + 1 < looks.len() { Ok(looks[place]) } else { Err(still_rising(name, study)) }
}

fn still_rising(name: &str, study: &Study) -> String {
    format!("`{name}` was still rising when it ended, seed {}", study.seed)
}

/// maj@1 that a run starts from. A base model has no look at validation: its test score stands for it.
fn start(name: &str, study: &Study) -> Result<f64, String> {
    if name.split('-').any(|part| part == "base") {
        let metric = scripts::metric(eval::MetricKind::Maj, 1);
        return Measure::Test(metric).of("base", study).map(|estimate| estimate.value);
    }
    let best_and_last = run("sft", study)?.best_and_last(LOOK);
    best_and_last.map(|[best, _]| best).ok_or_else(|| "`sft` has no look".into())
}

/// The best look after the second round and the best until then. `None` where there is no later look although the last was the best. One that was not is how Expert Iteration finds out that
/// it is done.
fn after_two_rounds(looks: &[[f64; 3]]) -> Option<[f64; 2]> {
    let best = |looks: &[[f64; 3]]| looks.iter().map(|look| look[2]).fold(f64::NEG_INFINITY, f64::max);
    let (first, later) = looks.split_at(looks.iter().take_while(|look| look[0] <= 2.0).count());
    if !later.is_empty() {
        return Some([best(later), best(first)]);
    }
    first.last().map(|last| [last[2], best(first)]).filter(|[last, best]| last < best)
}

/// A sum of shares that looks of a run have seen, each with its weight.
fn of_looks(run: &RunResult, shares: &[(f64, f64)]) -> Estimate {
    let value = shares.iter().map(|(weight, share)| weight * share).sum::<f64>();
    let variance = shares.iter().map(|(weight, share)| weight * weight * share * (1.0 - share)).sum::<f64>();
    let half = run.looked_at().map_or(0.0, |questions| normal(ERROR) * (variance / questions).sqrt());
    Estimate { value, ci95: [value - half, value + half] }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_rounds_add_what_their_best_look_has_over_the_first_two() {
        let added = |accuracies: &[f64]| {
            let looks: Vec<[f64; 3]> =
                (1..).zip(accuracies).map(|(round, maj)| [f64::from(round), 0.0, *maj]).collect();
            after_two_rounds(&looks).map(|[later, until]| later - until)
        };
        let is = |found: Option<f64>, expected: f64| found.is_some_and(|found| (found - expected).abs() < 1e-12);
        assert!(is(added(&[0.4, 0.5, 0.45, 0.53]), 0.03));
        assert!(is(added(&[0.5, 0.4, 0.45]), -0.05));
        assert!(is(added(&[0.5, 0.48]), -0.02), "it ended because it no longer rose");
        assert_eq!(added(&[0.4, 0.5]), None, "more might have come");
    }
}
