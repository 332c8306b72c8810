//! Table 5 of Havrilla et al. 2024. How different the right solutions are that Expert Iteration samples, round by round.
//!
//! ```sh
//! cargo run -p scripts --release --bin table-5 -- runs/reproduce
//! ```

use anyhow::{Result, ensure};
use clap::Parser;
use scripts::{Size, TableArgs, Written, exit, mean_over_seeds, read_studies};
use std::fmt::Write;
use std::process::ExitCode;

const STARTS: [(&str, &str); 2] = [("base, prompted", "ei-base"), ("SFT", "ei")];
/// What is told of a round: a head, the name among its metrics, digits.
const COLUMNS: [(&str, &str, usize); 6] = [
    ("right", "accuracy", 3),
    ("distinct right texts", "diversity/distinct_texts", 2),
    ("distinct right traces", "diversity/distinct_traces", 2),
    ("questions without any", "diversity/unsolved", 3),
    ("distance of texts", "diversity/text_distance", 3),
    ("distance of traces", "diversity/trace_distance", 3),
];

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<()> {
    let args = TableArgs::parse();
    table(&read_studies(&args.studies)?)?.put("table-5", &args.out)
}

/// A row a round, of each start and size.
fn table(sizes: &[Size]) -> Result<Written> {
    let mut written = Written::default();
    let heads = COLUMNS.map(|(head, ..)| head).join(" | ");
    written.markdown =
        format!("Table 5. Diversity of what Expert Iteration samples.\n\n| start | round | seeds | {heads} |\n");
    writeln!(written.markdown, "| --- | --- | --- |{}", " --- |".repeat(COLUMNS.len()))?;
    written.csv = "model,start,round,metric,mean,half_width,seeds\n".into();
    let mut missing = Vec::new();
    for size in sizes {
        for (start, name) in STARTS {
            let rounds = size.of(name).map(|run| run.looks.len()).max().unwrap_or(0);
            if rounds == 0 {
                missing.push(format!("`{name}` of `{}`", size.model));
            }
            for round in 0..rounds {
                let mut cells = Vec::new();
                let reached = size.of(name).filter(|run| run.looks.len() > round).count();
                for (_, metric, digits) in COLUMNS {
                    let of_round: Vec<f64> =
                        size.of(name).filter_map(|run| run.looks.get(round)?.get(metric).copied()).collect();
                    let cell = mean_over_seeds(&of_round);
                    if let Some(cell) = cell {
                        written.csv += &cell.csv_line(&[&size.model, start, &(round + 1).to_string(), metric]);
                    }
                    cells.push(cell.map_or("—".into(), |cell| cell.shown(digits)));
                }
                let cells = cells.join(" | ");
                writeln!(written.markdown, "| `{}`, {start} | {} | {reached} | {cells} |", size.model, round + 1)?;
            }
        }
    }
    ensure!(written.csv.lines().count() > 1, "neither ei nor ei-base is among the results");
    written.markdown += "\nOf the samples that a round draws, of its training questions: mean over seeds ± half of a 95 % interval \
                         over seeds, where there are several. The first round samples from the start itself. Seeds that had \
                         stopped before are not in a row. —: no question with two right solutions.\n";
    if !missing.is_empty() {
        writeln!(written.markdown, "\nNot run: {}.", missing.join(", "))?;
    }
    Ok(written)
}
