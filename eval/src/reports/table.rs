//! The tables that people read: reports side by side, and the diversity of steps.

use super::{
    diversity::Diversity,
    report::{Metric, Report},
};
use crate::metrics::Estimate;
use comfy_table::{CellAlignment, Table, presets};
use std::collections::BTreeSet;

/// Reports side by side, one named row each, with a column for every metric that any of them has.
pub fn table(rows: &[(&str, &Report)]) -> String {
    let columns: BTreeSet<Metric> = rows.iter().flat_map(|(_, report)| report.metrics.keys().copied()).collect();
    let with_truncated = rows.iter().any(|(_, report)| report.truncated.is_some());
    let with_tokens = rows.iter().any(|(_, report)| report.mean_tokens.is_some());

    let mut header = vec![String::new(), "problems".to_owned()];
    header.extend(columns.iter().map(Metric::to_string));
    header.push("unparsable".to_owned());
    header.extend(with_truncated.then(|| "truncated".to_owned()));
    header.extend(with_tokens.then(|| "mean tokens".to_owned()));

    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    for (name, report) in rows {
        let mut cells = vec![(*name).to_owned(), report.problems.to_string()];
        cells.extend(columns.iter().map(|metric| or_dash(report.metrics.get(metric).map(Estimate::to_string))));
        cells.push(percent(report.parse_failures));
        cells.extend(with_truncated.then(|| or_dash(report.truncated.map(percent))));
        cells.extend(with_tokens.then(|| or_dash(report.mean_tokens.map(|tokens| format!("{tokens:.1}")))));
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// The diversity of steps or rounds, one row each.
pub fn diversity_table(rows: &[(Option<usize>, Diversity)]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "step",
        "questions",
        "samples",
        "right",
        "unsolved",
        "distinct texts",
        "distinct traces",
        "distance of texts",
        "distance of traces",
    ]);
    for (step, diversity) in rows {
        table.add_row([
            or_dash(step.map(|step| step.to_string())),
            diversity.questions.to_string(),
            diversity.samples.to_string(),
            diversity.right.to_string(),
            percent(diversity.unsolved),
            format!("{:.2}", diversity.distinct_texts),
            format!("{:.2}", diversity.distinct_traces),
            or_dash(diversity.text_distance.map(|distance| distance.to_string())),
            or_dash(diversity.trace_distance.map(|distance| distance.to_string())),
        ]);
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table.to_string()
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}
