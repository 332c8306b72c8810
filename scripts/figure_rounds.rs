//! Expert Iteration round by round, after Havrilla et al. 2024: from SFT, from the base, without going back to the base, with
//! few samples.
//!
//! ```sh
//! cargo run -p scripts --release --bin figure-rounds -- runs/reproduce --out docs/figures
//! ```

use anyhow::Result;
use clap::Parser;
use scripts::{Figure, OVER_SEEDS, Panel, Row, Scale, Size, TableArgs, exit, read_studies, samples_of_ei};
use std::process::ExitCode;

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
    let sizes = read_studies(&args.studies)?;
    let figure = Figure {
        title: "Expert Iteration: validation maj@1 after each round",
        x: "round",
        scale: Scale::Linear,
        panels: sizes.iter().map(panel).collect(),
        note: format!("{OVER_SEEDS} Round 0 is the SFT model.{}", samples_of_ei(&sizes)),
    };
    figure.written()?.put("figure-rounds", &args.out)
}

fn panel(size: &Size) -> Panel {
    let mut panel = Panel::of_looks(size, &LINES, "step", "validation/maj@1");
    panel.begin_with_sft(size, &LINES);
    panel
}
