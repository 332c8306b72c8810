//! One page for a reproduction: its claims, tables, figures and runs, in one file that loads nothing.
//!
//! ```sh
//! cargo run -p scripts --release --bin index -- runs/reproduce-cpu-synthetic
//! ```

use anyhow::{Context, Result};
use clap::Parser;
use minijinja::{AutoEscape, Environment, context, value::Serde};
use pulldown_cmark::{Options, Parser as Markdown, html};
use scripts::{RunResult, Size, StudyArgs, exit, metric, read_studies};
use serde::Serialize;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

const TEMPLATE: &str = include_str!("index.html.jinja");
/// What is shown, in this order, where it is there.
const PARTS: [&str; 13] = [
    "table-1",
    "table-2",
    "table-3",
    "table-4",
    "table-5",
    "table-6",
    "table-numbers",
    "table-differences",
    "figure-rounds",
    "figure-samples",
    "figure-epochs",
    "figure-value",
    "claims",
];

/// Make one page of what `scripts/reproduce.sh` has left
#[derive(Parser)]
#[command(max_term_width = 110)]
struct Flags {
    /// The folder that it was given as --out; tables and figures are those of DIR/tables
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// A table, a figure or the claims.
#[derive(Serialize)]
struct Part {
    name: &'static str,
    /// The drawing of a figure.
    svg: Option<String>,
    html: String,
}

/// A line of the list of runs.
#[derive(Serialize)]
struct Run {
    model: String,
    seed: u64,
    name: String,
    command: String,
    maj: Option<String>,
    samples: Option<String>,
    cpu_minutes: Option<String>,
    commit: Option<String>,
    processor: Option<String>,
    /// Its own page, where the run directory is still there.
    report: Option<String>,
}

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<()> {
    let Flags { folder } = Flags::parse();
    let sizes = read_studies(&StudyArgs { folders: vec![folder.clone()] })?;
    let parts =
        PARTS.iter().filter_map(|name| part(name, &folder.join("tables")).transpose()).collect::<Result<_>>()?;
    let page = page(&folder, parts, runs(&folder, &sizes))?;
    let path = folder.join("index.html");
    eval::write_whole(&path, page)?;
    writeln!(io::stdout(), "{}", path.display()).context("cannot print")
}

fn page(folder: &Path, parts: Vec<Part>, runs: Vec<Run>) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let folder = folder.canonicalize().with_context(|| format!("cannot read {}", folder.display()))?;
    let title = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(environment.render_str(TEMPLATE, context! { title, parts => Serde(parts), runs => Serde(runs) })?)
}

fn part(name: &'static str, tables: &Path) -> Result<Option<Part>> {
    let read = |extension: &str| fs::read_to_string(tables.join(format!("{name}.{extension}"))).ok();
    let Some(markdown) = read("md") else { return Ok(None) };
    let mut text = String::new();
    html::push_html(&mut text, Markdown::new_ext(&markdown, Options::ENABLE_TABLES));
    Ok(Some(Part { name, svg: read("svg"), html: text }))
}

fn runs(folder: &Path, sizes: &[Size]) -> Vec<Run> {
    let of_size = |size: &Size| -> Vec<Run> {
        let studies = size.studies.iter().flat_map(|study| study.runs.values());
        studies.map(|run| line(folder, run)).collect()
    };
    sizes.iter().flat_map(of_size).collect()
}

fn line(folder: &Path, run: &RunResult) -> Run {
    let maj = run.test.as_ref().and_then(|report| report.metrics.get(&metric(eval::MetricKind::Maj, 1)).copied());
    let report = format!("{}-seed{}/{}/report.html", run.model, run.seed, run.name);
    Run {
        model: run.model.clone(),
        seed: run.seed,
        name: run.name.clone(),
        command: run.command.clone(),
        maj: maj.map(|maj| format!("{:.3}", maj.value)),
        samples: run.cost.samples.map(|samples| format!("{samples:.0}")),
        cpu_minutes: run.cost.cpu_seconds.map(|seconds| format!("{:.1}", seconds / 60.0)),
        commit: run.made.commit.clone(),
        processor: run.made.processor.clone(),
        report: folder.join(&report).is_file().then_some(report),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_what_is_there_and_nothing_in_it_is_taken_for_markup() {
        let folder = tempfile::tempdir().unwrap();
        let (tables, results) = (folder.path().join("tables"), folder.path().join("tiny-seed0/results"));
        fs::create_dir_all(&tables).unwrap();
        fs::create_dir_all(&results).unwrap();
        fs::write(tables.join("table-1.md"), "Table 1.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n").unwrap();
        fs::write(tables.join("figure-value.md"), "Figure.\n").unwrap();
        fs::write(tables.join("figure-value.svg"), "<svg></svg>").unwrap();
        let run =
            r#"{"name":"ppo","command":"ppo","model":"<b>","seed":0,"cost":{"samples":9216.0},"looks":[],"made":{}}"#;
        fs::write(results.join("ppo.json"), run).unwrap();
        let sizes = read_studies(&StudyArgs { folders: vec![folder.path().into()] }).unwrap();
        let parts: Vec<Part> = PARTS.iter().filter_map(|name| part(name, &tables).unwrap()).collect();
        let page = page(folder.path(), parts, runs(folder.path(), &sizes)).unwrap();
        assert!(page.contains("<td>1</td>") && page.contains("<svg></svg>") && page.contains("9216"));
        assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"));
        assert!(!page.contains("table-2"), "what is not there is not named");
    }
}
