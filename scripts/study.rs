//! Folders of results as studies: everything that was done with one size and one seed.

use crate::{Cell, Cost, Crossed, ERROR, RunResult, mean_over_seeds, over_seeds};
use anyhow::{Context, Result, ensure};
use clap::Args;
use eval::{Estimate, Metric, MetricKind, Report};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Where the results are.
#[derive(Args, Clone, Debug)]
pub struct StudyArgs {
    /// Folders that `scripts/reproduce.sh` has left; results are looked for in all that is below them
    #[arg(required = true, value_name = "DIR")]
    pub folders: Vec<PathBuf>,
}

/// The runs of one size and seed by their names.
#[derive(Clone, Debug)]
pub struct Study {
    /// The seed of all of them.
    pub seed: u64,
    /// By name.
    pub runs: BTreeMap<String, RunResult>,
}

/// All studies of one size, by rising seed.
#[derive(Clone, Debug)]
pub struct Size {
    /// What the size is called.
    pub model: String,
    /// One a seed.
    pub studies: Vec<Study>,
}

/// Results below the folders, by size in the order of the models' sizes.
///
/// # Errors
/// A folder without a result, a result that is malformed, two results of one run.
pub fn read_studies(args: &StudyArgs) -> Result<Vec<Size>> {
    let mut sizes: BTreeMap<String, BTreeMap<u64, Study>> = BTreeMap::new();
    for folder in &args.folders {
        let files = results_below(folder)?;
        ensure!(!files.is_empty(), "{} holds no results of scripts/reproduce.sh", folder.display());
        for file in files {
            let run = RunResult::read(&file)?;
            let of_size = sizes.entry(run.model.clone()).or_default();
            let seed = run.seed;
            let study = of_size.entry(seed).or_insert_with(|| Study { seed, runs: BTreeMap::new() });
            let (name, model) = (run.name.clone(), run.model.clone());
            let earlier = study.runs.insert(name.clone(), run);
            ensure!(earlier.is_none(), "{} is a second result of {name}, {model}, seed {seed}", file.display());
        }
    }
    let mut sizes: Vec<Size> =
        sizes.into_iter().map(|(model, studies)| Size { model, studies: studies.into_values().collect() }).collect();
    let rank = |size: &Size| {
        ["nano", "tiny", "medium", "small", "small-model", "large-model"]
            .iter()
            .position(|name| *name == size.model)
            .unwrap_or(9)
    };
    sizes.sort_by_key(rank);
    Ok(sizes)
}

/// The reports on test questions of all results.
pub fn reports(sizes: &[Size]) -> impl Iterator<Item = &Report> {
    let runs = sizes.iter().flat_map(|size| &size.studies).flat_map(|study| study.runs.values());
    runs.filter_map(|run| run.test.as_ref())
}

/// The test questions of all results: how many, of which benchmark and split.
///
/// # Errors
/// Where there are none, or results of different questions, which cannot be compared.
pub fn questions_of(sizes: &[Size]) -> Result<String> {
    let all: BTreeSet<String> = reports(sizes)
        .map(|report| format!("the {} questions of `{}`, {}", report.problems, report.benchmark, report.split))
        .collect();
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

impl Study {
    /// The sum of what runs score of each question of the test split, each by its metric and with its weight; `None` where one does not
    /// tell, or was asked others.
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
        self.studies.iter().filter_map(move |study| study.runs.get(name))
    }

    /// What each seed's run scored on the test split.
    pub fn estimates(&self, name: &str, metric: Metric) -> Vec<Estimate> {
        let reports = self.of(name).filter_map(|run| run.test.as_ref());
        reports.filter_map(|report| report.metrics.get(&metric).copied()).collect()
    }

    /// Over the seeds; `None` where no seed has it.
    pub fn cell(&self, name: &str, metric: Metric) -> Option<Cell> {
        let estimates = self.estimates(name, metric);
        let scores = self.of(name).filter_map(|run| run.scores(metric)).collect::<Vec<_>>();
        // The report's own interval of one seed knows shares near 0 and 1 better.
        let is_better = |crossed: &Crossed| {
            crossed.seeds > 1 && crossed.seeds == estimates.len() && crossed.cell(ERROR).half_width > 0.0
        };
        let crossed = Crossed::of(&scores).filter(is_better);
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
        let reports = self.studies.iter().flat_map(|study| study.runs.values()).filter_map(|run| run.test.as_ref());
        reports.map(|report: &Report| report.samples).max().unwrap_or(1)
    }
}

/// One metric of a report.
pub fn metric(kind: MetricKind, k: usize) -> Metric {
    Metric { kind, k }
}
