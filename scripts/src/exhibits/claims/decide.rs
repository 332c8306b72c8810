//! How a part of a claim is decided: a sum of runs, seed by seed, its interval at the look that its seeds have reached, and where that lies.
//! Independent of claims.

use super::{
    measure::Measure,
    part::Part,
    verdict::{Expectation, Verdict},
};
use crate::{
    results::{Cell, ERROR, Looks, Mean, Pool, SeedRuns, Size, over_seeds},
    study::{Says, Study},
};
use eval::Estimate;

/// How often the intervals of a part may miss at any of their looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    /// The one that says that it holds.
    pub holds: f64,
    /// The one that refutes it.
    pub refuted: f64,
}

/// What was found of a part.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The measure of each term, or of each size.
    pub terms: Vec<Cell>,
    /// Their weighted sum, with the interval of its look; before the first one, with an ordinary one.
    pub difference: Option<Cell>,
    /// What follows.
    pub verdict: Verdict,
    /// Why nothing follows, where something is lacking.
    pub why: Option<String>,
    /// Comparable runs that vary more than the others, and are not pooled with them.
    pub apart: Vec<String>,
}

impl Finding {
    /// Nothing yet.
    pub fn none() -> Self {
        Self { terms: Vec::new(), difference: None, verdict: Verdict::CannotTell, why: None, apart: Vec::new() }
    }
}

/// A sum of measures.
struct Measured {
    /// The measure of each term.
    terms: Vec<Cell>,
    /// Their weighted sum. What is hard for all runs takes no part where all results have scores by question.
    sum: Mean,
    apart: Vec<String>,
}

/// What the results of one size say of a part.
pub fn decide(study: &Study, part: &Part, size: &Size, levels: Levels, not_run: &[String]) -> Finding {
    let seeds = seeds(part, size);
    let look = looks(study).reached(seeds.len());
    let found = measured(study, part, size, first(&seeds, look));
    let finding = finding(study, part, found, look, levels, not_run);
    match decided_by_budgets(study, part, size) {
        Some(why) if finding.difference.is_some() && not_run.is_empty() => {
            Finding { verdict: Verdict::CannotTell, why: Some(why), ..finding }
        }
        _ => finding,
    }
}

/// Whether the sum is larger at one size than at another. Seeds of different sizes have nothing in common; the questions are
/// the same.
pub fn decide_across(
    study: &Study,
    part: &Part,
    [large, small]: [&Size; 2],
    levels: Levels,
    not_run: &[String],
) -> Finding {
    let of_large = seeds(part, large);
    let of_small = seeds(part, small);
    let look = looks(study).reached(of_large.len().min(of_small.len()));
    let found = measured(study, part, large, first(&of_large, look)).and_then(|large| {
        let small = measured(study, part, small, first(&of_small, look))?;
        let terms = [&large, &small].map(|of_size| of_size.sum.cell(ERROR)).to_vec();
        Ok(Measured { terms, sum: large.sum.minus(&small.sum), apart: [large.apart, small.apart].concat() })
    });
    finding(study, part, found, look, levels, not_run)
}

/// Runs of a part that no seed of one of the sizes has.
pub fn not_run(part: &Part, sizes: &[&Size]) -> Vec<String> {
    let terms = part.terms.iter().map(|(_, name)| name).filter(|name| !part.candidates.contains(name));
    let names = terms.chain(&part.candidates);
    names.filter(|name| sizes.iter().any(|size| size.of(name).next().is_none())).cloned().collect()
}

/// When a study's seeds are looked at.
fn looks(study: &Study) -> Looks {
    Looks { seeds: study.verdicts.looks.clone() }
}

/// Seeds that have all runs of a part.
fn seeds<'a>(part: &Part, size: &'a Size) -> Vec<&'a SeedRuns> {
    let has_all = |seed: &&SeedRuns| part.terms.iter().all(|(_, name)| seed.runs.contains_key(name));
    size.by_seed.iter().filter(has_all).collect()
}

/// Those of a look: seeds beyond it wait for the next one.
fn first<'a, 'b>(seeds: &'b [&'a SeedRuns], look: Option<usize>) -> &'b [&'a SeedRuns] {
    &seeds[..look.unwrap_or(seeds.len())]
}

/// What follows from a sum: of the intervals of its look, one for each verdict.
fn finding(
    study: &Study,
    part: &Part,
    found: Result<Measured, String>,
    look: Option<usize>,
    levels: Levels,
    not_run: &[String],
) -> Finding {
    let open = |why: String| (Verdict::CannotTell, Some(why));
    let looks = looks(study);
    let interval = |sum: &Mean, alpha: f64| match look {
        Some(look) => sum.cell(looks.error(alpha, look, |seeds| sum.variance(seeds))),
        None => sum.cell(alpha),
    };
    let (verdict, mut why) = match &found {
        Ok(Measured { sum, .. }) if look.is_none() => {
            let seeds = if sum.seeds == 1 { "one seed".into() } else { format!("{} seeds", sum.seeds) };
            open(format!("{seeds}, and verdicts begin with {}", looks.seeds[0]))
        }
        Ok(Measured { sum, .. }) if sum.cell(ERROR).half_width == 0.0 => {
            open("all seeds have found the same, and how far from it others would lie is not known".into())
        }
        Ok(Measured { sum, .. }) => {
            // Where one of several runs was chosen, the verdict that this favours allows for all of them (Bonferroni).
            let comparisons = |says: Says| match part.selection {
                Some(selection) if selection.says == says => selection.comparisons as f64,
                _ => 1.0,
            };
            let holds = interval(sum, levels.holds / comparisons(Says::Some));
            let is_refuted = interval(sum, levels.refuted / comparisons(Says::Every));
            (Expectation::of(part.expect, &study.verdicts).verdict(&holds, &is_refuted), None)
        }
        Err(why) => open(why.clone()),
    };
    let verdict = if not_run.is_empty() { verdict } else { Verdict::CannotTell };
    if !not_run.is_empty() {
        let verb = if not_run.len() == 1 { "was" } else { "were" };
        why = Some(format!("`{}` {verb} not run", not_run.join("`, `")));
    }
    match found {
        Ok(Measured { terms, sum, apart }) => {
            Finding { terms, difference: Some(interval(&sum, study.verdicts.alpha)), verdict, why, apart }
        }
        Err(_) => Finding { verdict, why, ..Finding::none() },
    }
}

/// Why there is no verdict where the times of the evaluations leave one only, whatever the evaluations had shown.
fn decided_by_budgets(study: &Study, part: &Part, size: &Size) -> Option<String> {
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
        && Expectation::of(part.expect, &study.verdicts).verdict(&whole, &whole) != Verdict::CannotTell;
    is_decided.then(|| "the samples that the runs were given leave no other answer, whatever they had shown".into())
}

fn measured(study: &Study, part: &Part, size: &Size, seeds: &[&SeedRuns]) -> Result<Measured, String> {
    let of_seed = |seed: &&SeedRuns| part.terms.iter().map(|(_, name)| part.measure.of(study, name, seed)).collect();
    let by_seed: Vec<Vec<Estimate>> = seeds.iter().map(of_seed).collect::<Result<_, String>>()?;
    // A term that all seeds have is shown as in the tables.
    let of_term = |(term, (_, name)): (usize, &(f64, String))| match part.measure {
        Measure::Test(metric) if size.of(name).count() == seeds.len() => size.cell(name, metric),
        _ => over_seeds(&by_seed.iter().map(|seed| seed[term]).collect::<Vec<_>>(), ERROR),
    };
    let terms: Option<Vec<Cell>> = part.terms.iter().enumerate().map(of_term).collect();
    let terms = terms.ok_or("no seed has all of these runs")?;
    let sums: Vec<Estimate> = by_seed.iter().map(|seed| weighted_sum(&part.terms, seed)).collect();
    let summed = Mean::of_estimates(&sums).ok_or("no seed has all of these runs")?;
    let scores: Option<Vec<Vec<f64>>> = seeds.iter().map(|seed| part.measure.scores(&part.terms, seed)).collect();
    let crossed = scores.and_then(|scores| Mean::of_scores(&scores));
    let pools = pools(study, part, seeds, crossed.is_some());
    let value = summed.value;
    let mut sum = crossed.unwrap_or(summed);
    // Scores by question are rounded to thousandths.
    sum.value = value;
    let sum = match Pool::spread(&pools, &part.terms) {
        Some(spread) => sum.pooled(&spread),
        None => sum,
    };
    Ok(Measured { terms, sum, apart: pools.into_iter().flat_map(|pool| pool.apart).collect() })
}

/// Comparable runs, of those that all these seeds have: by question, or else one number a seed.
fn pools(study: &Study, part: &Part, seeds: &[&SeedRuns], by_question: bool) -> Vec<Pool> {
    let scores = |name: &str| -> Option<Vec<Vec<f64>>> {
        let of_seed = |seed: &&SeedRuns| match by_question {
            true => part.measure.scores(&[(1.0, name.to_string())], seed),
            false => part.measure.of(study, name, seed).ok().map(|estimate| vec![estimate.value]),
        };
        seeds.iter().map(of_seed).collect()
    };
    let comparable = study.comparable.iter().filter(|comparable| comparable.measures.contains(&part.name));
    let is_compared = |runs: &[String]| part.terms.iter().any(|(_, name)| runs.contains(name));
    let comparable = comparable.filter(|comparable| is_compared(&comparable.runs));
    let of_runs = |runs: &Vec<String>| {
        Pool::of(&runs.iter().filter_map(|name| Some((name.as_str(), scores(name)?))).collect::<Vec<_>>())
    };
    comparable.filter_map(|comparable| of_runs(&comparable.runs)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_widths_of_questions_add_in_quadrature_each_with_its_weight() {
        let estimate = |value: f64, half: f64| Estimate { value, ci95: [value - half, value + half] };
        // 0.5 - 0.5 * 0.4 = 0.3; sqrt(0.03^2 + (0.5 * 0.08)^2) = 0.05.
        let sum = weighted_sum(&[(1.0, "a".into()), (-0.5, "b".into())], &[estimate(0.5, 0.03), estimate(0.4, 0.08)]);
        assert!((sum.value - 0.3).abs() < 1e-12, "{sum:?}");
        assert!((sum.ci95[0] - 0.25).abs() < 1e-12 && (sum.ci95[1] - 0.35).abs() < 1e-12, "{sum:?}");
    }
}
