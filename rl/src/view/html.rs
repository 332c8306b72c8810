//! `report.html`: a run as an HTML page, in one file that loads nothing else. Reads only a run directory; independent
//! of models and training.

pub mod chart;

use crate::cli::effect::summary_keys;
use crate::run::{
    Run,
    read::{RunFiles, plain, readable, samples_over_steps},
};
use anyhow::{Context, Result};
use chart::{Chart, charts};
use eval::{Metric, PALETTE, Report, Sample};
use minijinja::{AutoEscape, Environment, syntax::SyntaxConfig, value::Serde};
use model::Finish;
use serde::Serialize;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Maximum number of samples in a report.
const MAX_SAMPLES: usize = 400;
/// Maximum bytes of questions and completions in a report.
const MAX_SAMPLE_BYTES: usize = 600_000;
const TEMPLATE: &str = include_str!("report.html.jinja");

/// Writes `report.html`, the last file of a run; returns the run directory. Training is finished by then, so a failure is only a
/// warning.
pub fn write_final_report<C: clap::Args>(run: &Run) -> PathBuf {
    if let Err(error) = write_report(run.dir(), &summary_keys::<C>()) {
        tracing::warn!("no report.html: {error:#}");
    }
    run.dir().to_path_buf()
}

/// Data of the page template.
#[derive(Serialize)]
struct Page {
    title: String,
    summary: String,
    last_step: Option<usize>,
    table: Option<Table>,
    reward_model: Option<String>,
    charts: Vec<Chart>,
    constant: Vec<String>,
    palette: Vec<String>,
    steps: Vec<usize>,
    samples: Vec<ShownSample>,
    config: Vec<(String, String)>,
}

/// A table with one report per column and one metric per row.
#[derive(Serialize)]
struct Table {
    caption: String,
    columns: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    cells: Vec<Cell>,
    change: Option<String>,
}

#[derive(Serialize)]
struct Cell {
    value: String,
    interval: String,
}

#[derive(Serialize)]
struct ShownSample {
    #[serde(flatten)]
    sample: Sample,
    truncated: bool,
    reward_text: Option<String>,
}

/// Writes `report.html` into a run directory, whole or not at all; its path.
///
/// # Errors
/// A directory that is not a run, a malformed file, a full disk.
pub fn write_report(dir: &Path, summary_keys: &[String]) -> Result<PathBuf> {
    let text = render(&page(dir, summary_keys)?)?;
    let path = dir.join("report.html");
    eval::write_whole(&path, text.as_bytes())?;
    Ok(path)
}

fn page(dir: &Path, summary_keys: &[String]) -> Result<Page> {
    let files = RunFiles::read(dir)?;
    let (charts, constant) = charts(&files.curves)?;
    let samples = within_size(samples_over_steps(dir, MAX_SAMPLES)?);
    let steps: BTreeSet<usize> = samples.iter().filter_map(|sample| sample.step).collect();
    let name = dir.canonicalize().ok().and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
    Ok(Page {
        title: name.unwrap_or_else(|| "run".into()),
        summary: files.summary(summary_keys),
        last_step: files.last_step(),
        table: table(&files.reports),
        reward_model: files.reward_model.as_ref().map(eval::OrmReport::text),
        charts,
        constant,
        palette: PALETTE.iter().map(|[red, green, blue]| format!("#{red:02x}{green:02x}{blue:02x}")).collect(),
        steps: steps.into_iter().collect(),
        samples: samples.into_iter().map(shown).collect(),
        config: files.config.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
    })
}

fn render(page: &Page) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.render_str(TEMPLATE, Serde(page)).context("cannot write the report")
}

/// Every n-th sample, so that the page stays small.
fn within_size(samples: Vec<Sample>) -> Vec<Sample> {
    let bytes: usize = samples.iter().map(|sample| sample.question.len() + sample.completion.len()).sum();
    let stride = bytes.div_ceil(MAX_SAMPLE_BYTES).max(1);
    samples.into_iter().step_by(stride).collect()
}

fn shown(sample: Sample) -> ShownSample {
    ShownSample { truncated: sample.finish == Finish::Length, reward_text: sample.reward.map(readable), sample }
}

fn table(reports: &[(String, Report)]) -> Option<Table> {
    let (_, first) = reports.first()?;
    let metrics: BTreeSet<Metric> = reports.iter().flat_map(|(_, report)| report.metrics.keys().copied()).collect();
    let estimates = metrics.into_iter().map(|metric| {
        let estimates: Vec<_> = reports.iter().map(|(_, report)| report.metrics.get(&metric).copied()).collect();
        let cell = |estimate: &Option<eval::Estimate>| match estimate {
            Some(estimate) => Cell {
                value: format!("{:.3}", estimate.value),
                interval: format!("[{:.3}, {:.3}]", estimate.ci95[0], estimate.ci95[1]),
            },
            None => plain_cell("–".into()),
        };
        let change = match estimates[..] {
            [Some(before), Some(after)] => Some(format!("{:+.3}", after.value - before.value)),
            _ => None,
        };
        Row { name: metric.to_string(), cells: estimates.iter().map(cell).collect(), change }
    });
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let other = |name: &str, value: &dyn Fn(&Report) -> Option<String>| {
        let cell = |(_, report): &(String, Report)| plain_cell(value(report).unwrap_or_else(|| "–".into()));
        Row { name: name.into(), cells: reports.iter().map(cell).collect(), change: None }
    };
    let others = [
        other("unparsable", &|report| Some(percent(report.parse_failures))),
        other("truncated", &|report| report.truncated.map(percent)),
        other("mean tokens", &|report| report.mean_tokens.map(|tokens| format!("{tokens:.1}"))),
    ];
    Some(Table {
        caption: format!(
            "{} {} split, {} problems, {} samples each, 95 % intervals",
            first.benchmark, first.split, first.problems, first.samples
        ),
        columns: reports.iter().map(|(name, _)| name.clone()).collect(),
        rows: estimates.chain(others).collect(),
    })
}

fn plain_cell(value: String) -> Cell {
    Cell { value, interval: String::new() }
}

#[cfg(test)]
#[path = "html/tests.rs"]
mod tests;
