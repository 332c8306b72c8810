//! How many samples Expert Iteration and PPO need, after Havrilla et al. 2024.
//!
//! ```sh
//! cargo run -p scripts --release --bin figure-samples -- runs/reproduce --out docs/figures
//! ```

use anyhow::Result;
use clap::Parser;
use scripts::{Figure, OVER_SEEDS, Panel, Row, Scale, TableArgs, exit, read_studies};
use std::process::ExitCode;

/// The dashed half of the colours is what starts from the base.
const LINES: [Row; 6] = [
    ("EI from SFT", "ei"),
    ("EI from SFT, K = 4", "ei-k4"),
    ("PPO from SFT", "ppo"),
    ("EI from base", "ei-base"),
    ("EI from base, K = 4", "ei-base-k4"),
    ("PPO from base", "ppo-base"),
];

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<()> {
    let args = TableArgs::parse();
    let sizes = read_studies(&args.studies)?;
    let figure = Figure {
        title: "Sample complexity: validation maj@1 after so many samples",
        x: "samples drawn",
        scale: Scale::Log,
        panels: sizes.iter().map(|size| Panel::of_looks(size, &LINES, "samples", "validation/maj@1")).collect(),
        note: OVER_SEEDS.into(),
    };
    figure.written()?.put("figure-samples", &args.out)
}
