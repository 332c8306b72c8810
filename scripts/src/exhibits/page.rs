//! One page for a study: its claims, tables, figures and runs, in one file that loads nothing.

use crate::{
    results::{RunResult, Size, metric, read_results},
    study::Study,
};
use anyhow::{Context, Result};
use minijinja::{AutoEscape, Environment, context, value::Serde};
use pulldown_cmark::{Options, Parser as Markdown, html};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

const TEMPLATE: &str = include_str!("page.html.jinja");

/// A table, a figure or the claims.
#[derive(Serialize)]
struct Part<'a> {
    name: &'a str,
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

/// Writes the page of a study's folder, with the exhibits of its folder `tables` in the order in which they are declared; its path.
///
/// # Errors
/// A folder without results, what the file system says.
pub fn write(study: &Study, folder: &Path) -> Result<PathBuf> {
    let sizes = read_results(&[folder.to_path_buf()])?;
    let page = page(folder, parts(study, &folder.join("tables")), runs(folder, &sizes))?;
    let path = folder.join("index.html");
    eval::write_whole(&path, page)?;
    Ok(path)
}

fn page(folder: &Path, parts: Vec<Part<'_>>, runs: Vec<Run>) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let folder = folder.canonicalize().with_context(|| format!("cannot read {}", folder.display()))?;
    let title = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(environment.render_str(TEMPLATE, context! { title, parts => Serde(parts), runs => Serde(runs) })?)
}

/// The exhibits that are there.
fn parts<'a>(study: &'a Study, tables: &Path) -> Vec<Part<'a>> {
    let part = |name: &'a str| {
        let read = |extension: &str| fs::read_to_string(tables.join(format!("{name}.{extension}"))).ok();
        let markdown = read("md")?;
        let mut text = String::new();
        html::push_html(&mut text, Markdown::new_ext(&markdown, Options::ENABLE_TABLES));
        Some(Part { name, svg: read("svg"), html: text })
    };
    study.exhibits.iter().filter_map(|exhibit| part(&exhibit.name)).collect()
}

fn runs(folder: &Path, sizes: &[Size]) -> Vec<Run> {
    let of_size = |size: &Size| -> Vec<Run> {
        let runs = size.by_seed.iter().flat_map(|seed| seed.runs.values());
        runs.map(|run| line(folder, run)).collect()
    };
    sizes.iter().flat_map(of_size).collect()
}

fn line(folder: &Path, run: &RunResult) -> Run {
    let maj = run.estimate(metric(eval::MetricKind::Maj, 1));
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
        let sizes = read_results(&[folder.path().into()]).unwrap();
        let page = page(folder.path(), parts(Study::declared(), &tables), runs(folder.path(), &sizes)).unwrap();
        assert!(page.contains("<td>1</td>") && page.contains("<svg></svg>") && page.contains("9216"));
        assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"));
        assert!(!page.contains("table-2"), "what is not there is not named");
    }
}
