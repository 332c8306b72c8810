//! A part of a claim, resolved: which runs are compared where the study names the best of some, or the hotter of two. Independent of
//! verdicts.

use super::measure::Measure;
use crate::{
    results::{RunResult, Size, metric},
    study::{self, Among, Expect, MeasureName, Operand, Says, Study, Temperatures},
};
use eval::{Metric, MetricKind};
use serde_json::Value;

/// One comparison that a claim rests on.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it says.
    pub what: String,
    /// What is compared: the sum of the runs' measures, each with its weight.
    pub terms: Vec<(f64, String)>,
    /// Runs that some of `terms` were chosen from.
    pub candidates: Vec<String>,
    /// What the choice stands for.
    pub selection: Option<Selection>,
    /// The number that is compared.
    pub measure: Measure,
    /// What the study calls it.
    pub name: MeasureName,
    /// Where the sum has to lie.
    pub expect: Expect,
    /// Whether it is enough that either this part or the one before holds.
    pub or: bool,
}

/// Runs that are compared because of what they scored: which verdict the choice favours, and of how many comparisons. That verdict
/// needs an interval that misses in none of them as often as another does in one (Bonferroni).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// What the choice stands for.
    pub says: Says,
    /// How many comparisons it was made from.
    pub comparisons: usize,
}

/// What a declared part compares at one size.
pub fn resolve(study: &Study, part: &study::Part, size: &Size) -> Part {
    let measure = measure(part.measure, size);
    let none = Vec::new();
    let candidates = part.among.as_ref().and_then(|set| study.run_sets.get(set)).unwrap_or(&none);
    let by = part.by.map_or(measure, |by| self::measure(by, size));
    let name = |operand: &Operand| match operand {
        Operand::Run(name) => name.clone(),
        Operand::Of(which) => chosen(*which, size, candidates, by),
        Operand::Hot => hot_and_cold(&study.temperatures, size)[0].clone(),
        Operand::Cold => hot_and_cold(&study.temperatures, size)[1].clone(),
    };
    let chosen = part.of.0.iter().filter(|(_, operand)| matches!(operand, Operand::Of(_))).count();
    let count = candidates.len();
    let comparisons = if chosen > 1 { count * (count - 1) / 2 } else { count };
    let label = if let Measure::Test(metric) = measure { metric.to_string() } else { String::new() };
    Part {
        what: part.what.replace("{measure}", &label),
        terms: part.of.0.iter().map(|(weight, operand)| (*weight, name(operand))).collect(),
        candidates: candidates.clone(),
        selection: part.says.map(|says| Selection { says, comparisons }),
        measure,
        name: part.measure,
        expect: part.expect,
        or: part.or,
    }
}

fn measure(name: MeasureName, size: &Size) -> Measure {
    let most = size.most_samples();
    match name {
        MeasureName::Maj1 => Measure::Test(metric(MetricKind::Maj, 1)),
        MeasureName::Pass1 => Measure::Test(metric(MetricKind::Pass, 1)),
        MeasureName::MajK => Measure::Test(metric(MetricKind::Maj, most)),
        MeasureName::RerankK => Measure::Test(metric(MetricKind::Rerank, most)),
        MeasureName::PassK => Measure::Test(metric(MetricKind::Pass, most)),
        MeasureName::Fall => Measure::Fall,
        MeasureName::Samples => Measure::Samples,
        MeasureName::KnownSamples => Measure::KnownSamples,
        MeasureName::Rounds => Measure::Rounds,
        MeasureName::Early => Measure::Early,
        MeasureName::AfterTwoRounds => Measure::AfterTwoRounds,
        MeasureName::TraceDistance => Measure::TraceDistance,
    }
}

/// Of those that were run, by their means over seeds; the first candidate where none was.
fn chosen(which: Among, size: &Size, candidates: &[String], by: Measure) -> String {
    let Measure::Test(metric) = by else { return candidates.first().cloned().unwrap_or_default() };
    let mut known: Vec<(f64, &String)> = known(size, candidates, metric).collect();
    known.sort_by(|a, b| b.0.total_cmp(&a.0));
    let end = if which == Among::Best { known.first() } else { known.last() };
    end.map(|(_, name)| *name).or(candidates.first()).cloned().unwrap_or_default()
}

fn known<'a>(size: &'a Size, names: &'a [String], metric: Metric) -> impl Iterator<Item = (f64, &'a String)> {
    names.iter().filter_map(move |name| Some((size.cell(name, metric)?.mean, name)))
}

/// Which of two temperatures a run has is the profile's choice.
fn hot_and_cold<'a>(temperatures: &'a Temperatures, size: &Size) -> [&'a String; 2] {
    let Temperatures { run, bound, hotter, colder } = temperatures;
    let temperature = |run: &RunResult| run.flags.get("temperature").and_then(Value::as_f64);
    let is_hot = size.of(run).any(|run| temperature(run) > Some(*bound));
    if is_hot { [run, colder] } else { [hotter, run] }
}
