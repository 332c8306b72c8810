//! How different the right solutions are that Expert Iteration samples, round by round.

use super::{
    methods::names,
    rendered::{Rendered, cell_or_dash, rule},
};
use crate::{
    results::{Size, mean_over_seeds},
    study::Row,
};
use anyhow::{Result, ensure};
use std::fmt::Write;

/// Columns: a head, the name among the metrics of a round, digits.
const COLUMNS: [(&str, &str, usize); 6] = [
    ("right", "accuracy", 3),
    ("distinct right texts", "diversity/distinct_texts", 2),
    ("distinct right traces", "diversity/distinct_traces", 2),
    ("questions without any", "diversity/unsolved", 3),
    ("distance of texts", "diversity/text_distance", 3),
    ("distance of traces", "diversity/trace_distance", 3),
];

/// A table with one row per round, for each start and size.
///
/// # Errors
/// Where none of the runs is among the results.
pub fn rounds(title: &str, rows: &[Row], sizes: &[Size]) -> Result<Rendered> {
    let mut rendered = Rendered::default();
    let heads = COLUMNS.map(|(head, ..)| head).join(" | ");
    rendered.markdown = format!("{title}\n\n| start | round | seeds | {heads} |\n");
    writeln!(rendered.markdown, "{}", rule(COLUMNS.len() + 3))?;
    rendered.csv = "model,start,round,metric,mean,half_width,seeds\n".into();
    let mut missing = Vec::new();
    for size in sizes {
        for (start, name) in rows {
            let rounds = size.of(name).map(|run| run.evaluations.len()).max().unwrap_or(0);
            if rounds == 0 {
                missing.push(format!("`{name}` of `{}`", size.model));
            }
            for round in 0..rounds {
                let mut cells = Vec::new();
                let reached = size.of(name).filter(|run| run.evaluations.len() > round).count();
                for (_, metric, digits) in COLUMNS {
                    let of_round: Vec<f64> =
                        size.of(name).filter_map(|run| run.evaluations.get(round)?.get(metric).copied()).collect();
                    let cell = mean_over_seeds(&of_round);
                    if let Some(cell) = cell {
                        rendered.csv += &cell.csv_line(&[&size.model, start, &(round + 1).to_string(), metric]);
                    }
                    cells.push(cell_or_dash(cell, digits));
                }
                let cells = cells.join(" | ");
                writeln!(rendered.markdown, "| `{}`, {start} | {} | {reached} | {cells} |", size.model, round + 1)?;
            }
        }
    }
    ensure!(rendered.csv.lines().count() > 1, "none of these runs is among the results: {}", names(rows));
    rendered.markdown += "\nOf the samples that a round draws, of its training questions: mean over seeds ± half of a 95 % interval \
                         over seeds, where there are several. The first round samples from the start itself. Seeds that had \
                         stopped before are not in a row. —: no question with two right solutions.\n";
    if !missing.is_empty() {
        writeln!(rendered.markdown, "\nNot run: {}.", missing.join(", "))?;
    }
    Ok(rendered)
}
