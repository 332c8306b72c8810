//! Is one policy better than another? Their scores question by question: what is hard for both takes no part in the difference, so
//! that its interval is narrower than those of the two reports.

use crate::{metrics::normal, report::Metric};
use anyhow::{Context, Result, ensure};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

/// Flags of `eval compare`.
#[derive(Args)]
pub struct CompareArgs {
    /// What `eval run --by-question FILE` has left of one policy
    #[arg(value_name = "FIRST")]
    first: PathBuf,
    /// The same of another, on the same problems
    #[arg(value_name = "SECOND")]
    second: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What one policy scores more than another, as a mean over questions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Mean of the first.
    pub first: f64,
    /// Mean of the second.
    pub second: f64,
    /// Second minus first.
    pub difference: f64,
    /// The normal 95 % interval of the difference over questions. Of other samples, or another seed of training, it says nothing.
    pub ci95: [f64; 2],
}

/// Prints the metrics that two policies have in common.
///
/// # Errors
/// As [`compare`]; a file that is missing or malformed. That both are of the same problems is for who calls it to know.
pub fn run(args: &CompareArgs) -> Result<()> {
    let [first, second] = [&args.first, &args.second].map(|path| read(path));
    let compared = compare(&first?, &second?)?;
    let text = if args.json { serde_json::to_string(&compared)? } else { table(&compared) };
    writeln!(std::io::stdout(), "{text}").context("cannot print the comparison")
}

/// The metrics that two policies have in common; their scores are by question, in the same order.
///
/// # Errors
/// Where they have none, are of different numbers of questions, or of fewer than two.
pub fn compare(
    first: &BTreeMap<Metric, Vec<f64>>,
    second: &BTreeMap<Metric, Vec<f64>>,
) -> Result<BTreeMap<Metric, Compared>> {
    let common = first.iter().filter_map(|(metric, scores)| Some((*metric, scores, second.get(metric)?)));
    let compared = common.map(|(metric, first, second)| {
        let (questions, others) = (first.len(), second.len());
        ensure!(
            questions == others && questions >= 2,
            "{questions} and {others} problems cannot be compared: evaluate both policies on the same ones, two at least"
        );
        Ok((metric, Compared::of(first, second)))
    });
    let compared: BTreeMap<Metric, Compared> = compared.collect::<Result<_>>()?;
    ensure!(!compared.is_empty(), "the two have no metric in common: evaluate both with the same --samples");
    Ok(compared)
}

impl Compared {
    fn of(first: &[f64], second: &[f64]) -> Self {
        let count = first.len() as f64;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
        let differences: Vec<f64> = first.iter().zip(second).map(|(first, second)| second - first).collect();
        let difference = mean(&differences);
        let half = normal(&differences, difference);
        let ci95 = [difference - half, difference + half];
        Self { first: mean(first), second: mean(second), difference, ci95 }
    }
}

fn read(path: &Path) -> Result<BTreeMap<Metric, Vec<f64>>> {
    let text = data::read_text(path)?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not what `eval run --by-question` writes", path.display()))
}

fn table(compared: &BTreeMap<Metric, Compared>) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(["", "first", "second", "second - first", "95 % interval"]);
    for (metric, Compared { first, second, difference, ci95: [low, high] }) in compared {
        let interval = format!("[{low:+.3}, {high:+.3}]");
        let numbers = [format!("{first:.3}"), format!("{second:.3}"), format!("{difference:+.3}"), interval];
        table.add_row([vec![metric.to_string()], numbers.to_vec()].concat());
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::MetricKind;

    const MAJ_1: Metric = Metric { kind: MetricKind::Maj, k: 1 };

    #[test]
    fn what_both_policies_score_takes_no_part_in_the_interval() {
        let first = BTreeMap::from([(MAJ_1, vec![1.0, 1.0, 0.0, 0.0]), (Metric { k: 4, ..MAJ_1 }, vec![0.5; 4])]);
        let second = BTreeMap::from([(MAJ_1, vec![1.0, 1.0, 1.0, 0.0])]);
        let compared = compare(&first, &second).unwrap();
        // One question of four differs: mean 0.25, deviation 0.5, 1.96 * 0.5 / 2.
        let Compared { first, second, difference, ci95 } = compared[&MAJ_1];
        assert_eq!((first, second, difference, compared.len()), (0.5, 0.75, 0.25, 1));
        assert!((ci95[0] + 0.24).abs() < 1e-4 && (ci95[1] - 0.74).abs() < 1e-4, "{ci95:?}");
        let told = table(&compared);
        assert!(told.contains("maj@1") && told.contains("+0.250") && told.contains("[-0.240, +0.740]"), "{told}");
    }

    #[test]
    fn other_problems_and_other_metrics_cannot_be_compared() {
        let of = |metric: Metric, count: usize| BTreeMap::from([(metric, vec![1.0; count])]);
        let error = |a, b| compare(&a, &b).unwrap_err().to_string();
        assert!(error(of(MAJ_1, 4), of(MAJ_1, 5)).starts_with("4 and 5 problems"));
        assert!(error(of(MAJ_1, 1), of(MAJ_1, 1)).contains("two at least"));
        assert!(error(of(MAJ_1, 4), of(Metric { k: 4, ..MAJ_1 }, 4)).contains("no metric in common"));
    }
}
