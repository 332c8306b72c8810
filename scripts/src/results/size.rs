//! Folders of results: all runs of one size, by seed, and means over the seeds.

use super::{
    interval::{Cell, ERROR, mean_over_seeds},
    mean::{Mean, over_seeds},
    result::{Cost, RunResult},
};
use anyhow::{Context, Result, ensure};
use eval::{Estimate, Metric, MetricKind, Report};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Sizes of model, from small to large; others stand last.
const SIZES: [&str; 7] = ["pico", "nano", "tiny", "medium", "small", "small-model", "large-model"];

/// The runs of one size and seed by their names.
#[derive(Clone, Debug)]
pub struct SeedRuns {
    /// The seed of all of them.
    pub seed: u64,
    /// By name.
    pub runs: BTreeMap<String, RunResult>,
}

/// All runs of one size, by rising seed.
#[derive(Clone, Debug)]
pub struct Size {
    /// What the size is called.
    pub model: String,
    /// One a seed.
    pub by_seed: Vec<SeedRuns>,
}

/// Results below the folders, by size in the order of the models' sizes.
///
/// # Errors
/// A folder without a result, a result that is malformed, two results of one run.
pub fn read_results(folders: &[PathBuf]) -> Result<Vec<Size>> {
    let mut sizes: BTreeMap<String, BTreeMap<u64, SeedRuns>> = BTreeMap::new();
    for folder in folders {
        let files = results_below(folder)?;
        ensure!(!files.is_empty(), "{} holds no results of scripts/reproduce.sh", folder.display());
        for file in files {
            let run = RunResult::read(&file)?;
            let of_size = sizes.entry(run.model.clone()).or_default();
            let seed = run.seed;
            let of_seed = of_size.entry(seed).or_insert_with(|| SeedRuns { seed, runs: BTreeMap::new() });
            let (name, model) = (run.name.clone(), run.model.clone());
            let earlier = of_seed.runs.insert(name.clone(), run);
            ensure!(earlier.is_none(), "{} is a second result of {name}, {model}, seed {seed}", file.display());
        }
    }
    let mut sizes: Vec<Size> =
        sizes.into_iter().map(|(model, by_seed)| Size { model, by_seed: by_seed.into_values().collect() }).collect();
    let rank = |size: &Size| SIZES.iter().position(|name| *name == size.model).unwrap_or(SIZES.len());
    sizes.sort_by_key(rank);
    Ok(sizes)
}

/// The reports on test questions of all results.
pub fn reports(sizes: &[Size]) -> impl Iterator<Item = &Report> {
    runs(sizes).filter_map(|run| run.test.as_ref())
}

fn runs(sizes: &[Size]) -> impl Iterator<Item = &RunResult> {
    sizes.iter().flat_map(|size| &size.by_seed).flat_map(|seed| seed.runs.values())
}

/// The test questions of all results: how many, of which benchmark and split.
///
/// # Errors
/// Where there are none, or results of different questions, which cannot be compared.
pub fn questions_of(sizes: &[Size]) -> Result<String> {
    let of_run = |run: &RunResult| {
        let Report { problems, benchmark, split, .. } = run.test.as_ref()?;
        let single = run.single.as_ref().map(|single| format!(" ({} for maj@1 and pass@1)", single.problems));
        Some(format!("the {problems} questions of `{benchmark}`, {split}{}", single.unwrap_or_default()))
    };
    let all: BTreeSet<String> = runs(sizes).filter_map(of_run).collect();
    let all: Vec<String> = all.into_iter().collect();
    ensure!(all.len() < 2, "results of different questions cannot be compared: {}", all.join("; "));
    all.into_iter().next().context("no result has a report on test questions")
}

/// Files named `results/NAME.json` below a folder, or in it where it is a folder of results itself.
fn results_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if folder.ends_with("results") && path.extension().is_some_and(|extension| extension == "json") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

impl SeedRuns {
    /// A weighted sum of runs' scores by question of the test split, each run by its metric; `None` where one has no such scores, or other
    /// questions.
    pub fn scores<'a>(&self, terms: impl IntoIterator<Item = (f64, &'a str, Metric)>) -> Option<Vec<f64>> {
        let mut sums: Vec<f64> = Vec::new();
        for (weight, name, metric) in terms {
            let scores = self.runs.get(name)?.scores(metric)?;
            sums.resize(scores.len().max(sums.len()), 0.0);
            if scores.len() != sums.len() {
                return None;
            }
            sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += weight * score);
        }
        Some(sums)
    }
}

impl Size {
    /// The results of a run, one a seed that has it.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a RunResult> + 'a {
        self.by_seed.iter().filter_map(move |seed| seed.runs.get(name))
    }

    /// What each seed's run scored on the test split.
    pub fn estimates(&self, name: &str, metric: Metric) -> Vec<Estimate> {
        self.of(name).filter_map(|run| run.estimate(metric)).collect()
    }

    /// Over the seeds; `None` where no seed has it.
    pub fn cell(&self, name: &str, metric: Metric) -> Option<Cell> {
        let estimates = self.estimates(name, metric);
        let scores = self.of(name).filter_map(|run| run.scores(metric)).collect::<Vec<_>>();
        // The report's own interval of one seed is better for shares near 0 and 1.
        let is_better = |crossed: &Mean| {
            crossed.seeds > 1 && crossed.seeds == estimates.len() && crossed.cell(ERROR).half_width > 0.0
        };
        let crossed = Mean::of_scores(&scores).filter(is_better);
        let cell = over_seeds(&estimates, ERROR)?;
        // Scores by question are rounded to thousandths.
        Some(crossed.map_or(cell, |crossed| Cell { mean: cell.mean, ..crossed.cell(ERROR) }))
    }

    /// Something that a run has cost, over the seeds where that is known.
    pub fn cost(&self, name: &str, of: impl Fn(&Cost) -> Option<f64>) -> Option<Cell> {
        mean_over_seeds(&self.of(name).filter_map(|run| of(&run.cost)).collect::<Vec<_>>())
    }

    /// K of maj@K: the most samples of a problem that any report has.
    pub fn most_samples(&self) -> usize {
        let reports = self.by_seed.iter().flat_map(|seed| seed.runs.values()).filter_map(|run| run.test.as_ref());
        reports.map(|report: &Report| report.samples).max().unwrap_or(1)
    }
}

/// One metric of a report.
pub fn metric(kind: MetricKind, k: usize) -> Metric {
    Metric { kind, k }
}
