//! PPO's value branch, after Havrilla et al. 2024: a copy of the top blocks that leaves the shared trunk alone, or one whose
//! gradient reaches it.
//!
//! ```sh
//! cargo run -p scripts --release --bin figure-value -- runs/reproduce --out docs/figures
//! ```

use anyhow::Result;
use clap::Parser;
use scripts::{Figure, OVER_SEEDS, Panel, Row, Scale, TableArgs, exit, read_studies};
use std::process::ExitCode;

const LINES: [Row; 2] = [("gradient detached from the trunk", "ppo"), ("gradient into the shared trunk", "ppo-shared")];
const METRICS: [&str; 2] = ["validation/maj@1", "value/explained_variance"];

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<()> {
    let args = TableArgs::parse();
    let sizes = read_studies(&args.studies)?;
    let panels = sizes.iter().flat_map(|size| METRICS.map(|metric| Panel::of_looks(size, &LINES, "step", metric)));
    let figure = Figure {
        title: "PPO's value branch: validation maj@1, and how much of the returns it explains",
        x: "step",
        scale: Scale::Linear,
        panels: panels.collect(),
        note: OVER_SEEDS.into(),
    };
    figure.written()?.put("figure-value", &args.out)
}
