//! Expert Iteration round by round, after Havrilla et al. 2024: from SFT, from the base, without going back to the base, with
//! few samples.
//!
//! ```sh
//! cargo run -p scripts --release --bin figure-rounds -- runs/reproduce --out docs/figures
//! ```

use anyhow::Result;
use clap::Parser;
use scripts::{Figure, OVER_SEEDS, Panel, Point, Row, RunResult, Scale, Size, TableArgs, exit, of_looks, read_studies};
use std::process::ExitCode;

const MAJ_1: &str = "validation/maj@1";
const LINES: [Row; 4] = [
    ("EI from SFT", "ei"),
    ("EI from base", "ei-base"),
    ("EI from SFT, reset to last policy", "ei-last"),
    ("EI from SFT, K = 4", "ei-k4"),
];

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<()> {
    let args = TableArgs::parse();
    let panels = read_studies(&args.studies)?.iter().map(panel).collect();
    let figure = Figure {
        title: "Expert Iteration: validation maj@1 after each round",
        x: "round",
        scale: Scale::Linear,
        panels,
        note: format!("{OVER_SEEDS} Round 0 is the SFT model."),
    };
    figure.written()?.put("figure-rounds", &args.out)
}

/// From SFT, round 0 is known: a run goes on from the checkpoint of the best look. Of the base nobody has asked.
fn panel(size: &Size) -> Panel {
    let mut panel = Panel::of_looks(size, &LINES, "step", MAJ_1);
    let of_sft: Vec<f64> = size.of("sft").filter_map(|run| Some(run.best_and_last(MAJ_1)?[0])).collect();
    let problems = size.of("sft").find_map(RunResult::looked_at);
    for (series, (_, run)) in panel.series.iter_mut().zip(LINES) {
        let is_from_sft = run != "ei-base" && !series.points.is_empty();
        let start = of_looks(&of_sft, problems).filter(|_| is_from_sft).map(|cell| Point { x: 0.0, cell });
        series.points.splice(..0, start);
    }
    panel
}
