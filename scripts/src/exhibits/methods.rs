//! Tables of methods: a row a method, a column a metric, a part a size of model.

use super::rendered::{Rendered, cell_or_dash, rule};
use crate::{
    results::{Size, metric, questions_of},
    study::{Reference, Row},
};
use anyhow::{Result, ensure};
use eval::{Metric, MetricKind};
use std::{collections::BTreeSet, fmt::Write};

/// The columns of the paper's tables; `None` is the most samples that there are.
const COLUMNS: [(MetricKind, Option<usize>); 4] =
    [(MetricKind::Maj, Some(1)), (MetricKind::Maj, None), (MetricKind::Rerank, None), (MetricKind::Pass, None)];

/// A table of methods.
///
/// # Errors
/// Where none of the rows but the first was run.
pub fn methods(title: &str, rows: &[Row], sizes: &[Size], reference: &Reference) -> Result<Rendered> {
    let csv = "model,method,metric,mean,half_width,seeds\n".into();
    let mut rendered = Rendered { markdown: format!("{title}\n"), csv, svg: None };
    // The first row is what the others are compared with: alone it is no comparison.
    let has_rows = |size: &&Size| rows.iter().skip(1).any(|(_, name)| size.of(name).next().is_some());
    ensure!(sizes.iter().any(|size| has_rows(&size)), "none of these runs is among the results: {}", names(rows));
    for size in sizes.iter().filter(has_rows) {
        of_size(rows, size, &mut rendered)?;
    }
    let lacking: Vec<String> =
        sizes.iter().filter(|size| !has_rows(size)).map(|size| format!("`{}`", size.model)).collect();
    if !lacking.is_empty() {
        writeln!(rendered.markdown, "\nNot run on {}.", lacking.join(", "))?;
    }
    writeln!(
        rendered.markdown,
        "\nMeasured on {}: mean over seeds ± half of a 95 % interval over questions and seeds together. Samples and CPU seconds are the \
         method's own, beyond what it starts from. EI that goes on from samples of another run counts them as samples, but not as CPU \
         seconds (from SFT they are those of the reward model, without SFT data those of EI for ORM EI); RCRL that does counts \
         neither. —: it samples nothing, or that was not counted.{}",
        questions_of(sizes)?,
        samples_of_ei(&reference.ei, sizes)
    )?;
    Ok(rendered)
}

fn of_size(rows: &[Row], size: &Size, rendered: &mut Rendered) -> Result<()> {
    let most = size.most_samples();
    // The column that needs a reward model is left out where some runs were not reranked.
    let is_known = |column: &Metric| {
        rows.iter().all(|(_, name)| size.of(name).next().is_none() || size.cell(name, *column).is_some())
    };
    let columns = COLUMNS.map(|(kind, k)| metric(kind, k.unwrap_or(most))).into_iter();
    let columns: Vec<Metric> = columns.filter(|column| column.kind != MetricKind::Rerank || is_known(column)).collect();
    let seeds = size.by_seed.len();
    let heads = columns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ");
    writeln!(rendered.markdown, "\n| `{}`, {seeds} seed(s) | {heads} | samples | CPU s |", size.model)?;
    writeln!(rendered.markdown, "{}", rule(columns.len() + 3))?;
    let mut footnotes = Vec::new();
    for (label, name) in rows {
        let mut cells = Vec::new();
        for &column in &columns {
            let cell = size.cell(name, column);
            if let Some(cell) = cell {
                rendered.csv += &cell.csv_line(&[&size.model, label, &column.to_string()]);
            }
            let found = cell.map_or(0, |cell| cell.seeds);
            let note = match (found, size.of(name).count()) {
                (found, _) if found == seeds => String::new(),
                (0, 0) => footnote(&mut footnotes, "Not run.".into()),
                (0, _) => footnote(&mut footnotes, format!("Run, but its report has no {column}.")),
                (found, _) => footnote(&mut footnotes, format!("{found} of {seeds} seeds.")),
            };
            cells.push(cell_or_dash(cell, 3) + &note);
        }
        let costs = [size.cost(name, |cost| cost.samples), size.cost(name, |cost| cost.cpu_seconds)];
        for (what, cost) in ["samples", "cpu_seconds"].iter().zip(costs) {
            rendered.csv += &cost.map(|cost| cost.csv_line(&[&size.model, label, what])).unwrap_or_default();
        }
        let costs = costs.map(|cost| cost.map_or("—".into(), |cost| format!("{:.0}", cost.mean))).join(" | ");
        writeln!(rendered.markdown, "| {label} | {} | {costs} |", cells.join(" | "))?;
    }
    for (number, text) in (1..).zip(footnotes) {
        writeln!(rendered.markdown, "\n<sup>{number}</sup> {text}")?;
    }
    Ok(())
}

/// Number of samples per question and round of Expert Iteration, as a sentence; empty if it was not run.
pub fn samples_of_ei(names: &[String], sizes: &[Size]) -> String {
    let runs = sizes.iter().flat_map(|size| names.iter().flat_map(|name| size.of(name)));
    let drawn: BTreeSet<u64> = runs.filter_map(|run| run.flags.get("samples")?.as_u64()).collect();
    let drawn: Vec<String> = drawn.iter().map(u64::to_string).collect();
    match drawn.is_empty() {
        true => String::new(),
        false => format!(" EI draws {} samples a question in a round, where nothing else is said.", drawn.join(" or ")),
    }
}

/// The mark of a footnote; the same text has the same mark.
fn footnote(footnotes: &mut Vec<String>, text: String) -> String {
    let place = footnotes.iter().position(|other| *other == text).unwrap_or_else(|| {
        footnotes.push(text);
        footnotes.len() - 1
    });
    format!(" <sup>{}</sup>", place + 1)
}

/// The names of the runs of some rows.
pub fn names(rows: &[Row]) -> String {
    rows.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ")
}
