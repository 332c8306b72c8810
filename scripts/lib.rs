//! The paper's tables, read from run directories and reports only. Nothing here trains or samples.
//!
//! A *study* is a folder that `scripts/methods.sh` has left: one size, one seed, a run directory and a report for each method.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use eval::{Estimate, Metric, MetricKind, Report};
use serde_json::Value;
use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// Flags of every table.
#[derive(Parser, Debug)]
#[command(max_term_width = 110)]
pub struct TableArgs {
    /// Folders that `scripts/methods.sh` has left, one a seed
    #[arg(required = true, value_name = "DIR")]
    pub studies: Vec<PathBuf>,
    /// Also write the table as CSV
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
}

/// A row of a table: what it is called, and the name of its run in a study.
pub type Row = (&'static str, &'static str);

/// A mean over seeds with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The mean.
    pub mean: f64,
    /// Half the width of the interval.
    pub half_width: f64,
    /// How many seeds.
    pub seeds: usize,
}

/// The columns of the paper's tables.
const COLUMNS: [(MetricKind, Option<usize>); 4] =
    [(MetricKind::Maj, Some(1)), (MetricKind::Maj, None), (MetricKind::Rerank, None), (MetricKind::Pass, None)];

/// Prints a table of methods as Markdown, and writes it as CSV where that is asked for.
///
/// # Errors
/// A folder that is none, a report that is malformed.
pub fn print(title: &str, rows: &[Row], args: &TableArgs) -> Result<()> {
    for study in &args.studies {
        ensure!(study.is_dir(), "{} is not a folder that scripts/methods.sh has left", study.display());
    }
    let most = most_samples(rows, &args.studies)?;
    let names: Vec<String> = COLUMNS.iter().map(|&(kind, k)| metric(kind, k.unwrap_or(most)).to_string()).collect();
    let mut markdown = format!("{title}\n\n| | {} | samples | CPU s |\n", names.join(" | "));
    markdown += &format!("| --- |{}\n", " --- |".repeat(names.len() + 2));
    let mut csv = String::from("method,metric,mean,half_width,seeds\n");
    let mut missing = Vec::new();
    for &(label, name) in rows {
        let reports = reports(&args.studies, name)?;
        let mut cells = Vec::new();
        for (&(kind, k), column) in COLUMNS.iter().zip(&names) {
            let of_seed = |report: &Report| report.metrics.get(&metric(kind, k.unwrap_or(most))).copied();
            let cell = over_seeds(&reports.iter().filter_map(of_seed).collect::<Vec<_>>());
            if let Some(Cell { mean, half_width, seeds }) = cell {
                writeln!(csv, "{label},{column},{mean},{half_width},{seeds}")?;
            }
            cells.push(cell.map_or("—".into(), |cell| format!("{:.3} ± {:.3}", cell.mean, cell.half_width)));
        }
        let costs: Vec<Cost> = args.studies.iter().map(|study| cost(&study.join(name))).collect::<Result<_>>()?;
        let mean = |of: fn(&Cost) -> Option<f64>| {
            let known: Vec<f64> = costs.iter().filter_map(of).collect();
            if known.is_empty() {
                "—".into()
            } else {
                format!("{:.0}", known.iter().sum::<f64>() / known.len() as f64)
            }
        };
        let (samples, cpu): (String, String) = (mean(|cost| cost.samples), mean(|cost| cost.cpu_seconds));
        writeln!(markdown, "| {label} | {} | {samples} | {cpu} |", cells.join(" | "))?;
        if reports.len() < args.studies.len() {
            missing.push(format!("{label}: {} of {} seeds", reports.len(), args.studies.len()));
        }
    }
    markdown += &format!(
        "\nMean over {} seed(s) ± half of a 95 % interval over questions and seeds together. Samples and CPU seconds are the \
         method's own, beyond what it starts from.\n",
        args.studies.len()
    );
    if !missing.is_empty() {
        writeln!(markdown, "Missing: {}.", missing.join("; "))?;
    }
    print!("{markdown}");
    match &args.csv {
        Some(path) => fs::write(path, csv).with_context(|| format!("cannot write {}", path.display())),
        None => Ok(()),
    }
}

/// The mean of what seeds have found. Its interval has two independent parts: the questions, which all seeds share and more
/// seeds do not make more of (the mean of the seeds' own intervals), and the seeds (Student's t).
pub fn over_seeds(estimates: &[Estimate]) -> Option<Cell> {
    let seeds = estimates.len();
    let of = |value: &dyn Fn(&Estimate) -> f64| estimates.iter().map(value).sum::<f64>() / seeds as f64;
    if seeds == 0 {
        return None;
    }
    let mean = of(&|estimate| estimate.value);
    let of_questions = of(&|estimate| (estimate.ci95[1] - estimate.ci95[0]) / 2.0);
    let spread = estimates.iter().map(|estimate| (estimate.value - mean).powi(2)).sum::<f64>();
    let of_seeds = match seeds {
        1 => 0.0,
        _ => student_t(seeds - 1) * (spread / (seeds - 1) as f64 / seeds as f64).sqrt(),
    };
    Some(Cell { mean, half_width: of_questions.hypot(of_seeds), seeds })
}

/// The 97.5 % quantile of Student's distribution.
fn student_t(freedom: usize) -> f64 {
    const TABLE: [f64; 9] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
    TABLE.get(freedom - 1).copied().unwrap_or(2.0)
}

/// What a method has cost, as its `metrics.jsonl` tells.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Solutions sampled.
    pub samples: Option<f64>,
    /// CPU time of all threads, the final evaluation aside.
    pub cpu_seconds: Option<f64>,
}

/// # Errors
/// A line that is malformed.
fn cost(run: &Path) -> Result<Cost> {
    let path = run.join("metrics.jsonl");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(Cost::default()) };
    // Supervised runs count the examples that they have seen under the same name.
    let config = fs::read_to_string(run.join("config.toml")).unwrap_or_default();
    let is_supervised = ["# rl sft\n", "# rl pretrain\n"].iter().any(|command| config.starts_with(command));
    let (mut cost, mut seconds) = (Cost::default(), Vec::new());
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| format!("{} is malformed", path.display()))?;
        cost.samples = line["samples"].as_f64().filter(|_| !is_supervised).or(cost.samples);
        seconds.push(line["time/cpu_s"].as_f64());
    }
    // A run that was begun before this was counted has no sum.
    cost.cpu_seconds = seconds.into_iter().sum::<Option<f64>>().filter(|_| !text.is_empty());
    Ok(cost)
}

fn reports(studies: &[PathBuf], name: &str) -> Result<Vec<Report>> {
    let paths = studies.iter().map(|study| study.join(format!("{name}.json"))).filter(|path| path.is_file());
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a report", path.display()))
    };
    paths.map(read).collect()
}

/// K of the tables: the most samples of a question that any report has.
fn most_samples(rows: &[Row], studies: &[PathBuf]) -> Result<usize> {
    let mut most = 0;
    for &(_, name) in rows {
        most = reports(studies, name)?.iter().map(|report| report.samples).fold(most, usize::max);
    }
    ensure!(most > 0, "there is no report in any of these folders");
    Ok(most)
}

fn metric(kind: MetricKind, k: usize) -> Metric {
    Metric { kind, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(value: f64) -> Estimate {
        Estimate { value, ci95: [value - 0.03, value + 0.03] }
    }

    #[test]
    fn one_seed_has_the_interval_of_its_questions() {
        let cell = over_seeds(&[estimate(0.4)]).unwrap();
        assert!((cell.mean - 0.4).abs() < 1e-12 && (cell.half_width - 0.03).abs() < 1e-12);
        assert_eq!(over_seeds(&[]), None);
    }

    #[test]
    fn seeds_that_agree_do_not_shrink_the_interval_and_seeds_that_differ_widen_it() {
        let agreed = over_seeds(&[estimate(0.4); 3]).unwrap();
        assert!((agreed.half_width - 0.03).abs() < 1e-12);
        // Deviation 0.02 over three seeds: 4.303 * 0.02 / sqrt(3) = 0.0497 beside 0.03.
        let cell = over_seeds(&[estimate(0.38), estimate(0.4), estimate(0.42)]).unwrap();
        assert!((cell.mean - 0.4).abs() < 1e-12 && (cell.half_width - 0.05804).abs() < 1e-4, "{cell:?}");
    }

    #[test]
    fn costs_are_the_last_count_of_samples_and_the_sum_of_the_seconds() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(cost(folder.path()).unwrap(), Cost::default());
        let lines = "{\"samples\": 8, \"time/cpu_s\": 1.5}\n{\"samples\": 16, \"time/cpu_s\": 2.0}\n";
        fs::write(folder.path().join("metrics.jsonl"), lines).unwrap();
        assert_eq!(cost(folder.path()).unwrap(), Cost { samples: Some(16.0), cpu_seconds: Some(3.5) });
        fs::write(folder.path().join("metrics.jsonl"), format!("{{\"samples\": 4}}\n{lines}")).unwrap();
        assert_eq!(cost(folder.path()).unwrap().cpu_seconds, None, "one line does not tell");
        fs::write(folder.path().join("metrics.jsonl"), lines).unwrap();
        fs::write(folder.path().join("config.toml"), "# rl sft\nseed = 0\n").unwrap();
        assert_eq!(cost(folder.path()).unwrap(), Cost { samples: None, cpu_seconds: Some(3.5) });
    }
}
