//! How many samples Expert Iteration and PPO need, after Havrilla et al. 2024.
//!
//! ```sh
//! cargo run -p scripts --release --bin figure-samples -- runs/reproduce --out docs/figures
//! ```

use anyhow::Result;
use clap::Parser;
use scripts::{Figure, OVER_SEEDS, Panel, Row, Scale, Size, TableArgs, exit, read_studies, samples_of_ei};
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
    let panels: Vec<Panel> = sizes.iter().map(panel).collect();
    let figure = Figure {
        title: "Sample complexity: validation maj@1 after so many samples",
        x: "samples drawn",
        scale: Scale::Log,
        note: format!("{OVER_SEEDS}{}{}", levels(&panels), samples_of_ei(&sizes)),
        panels,
    };
    figure.written()?.put("figure-samples", &args.out)
}

fn panel(size: &Size) -> Panel {
    let mut panel = Panel::of_looks(size, &LINES, "samples", "validation/maj@1");
    panel.begin_with_sft(size, &LINES);
    panel
}

/// What SFT has reached at each size, the beginning of what starts from it: a logarithm has no place for no sample.
fn levels(panels: &[Panel]) -> String {
    let level = |panel: &Panel| {
        let start = panel.series.iter().flat_map(|series| &series.points).find(|point| point.x == 0.0)?;
        Some(format!("{:.3} ({})", start.cell.mean, panel.model))
    };
    let levels = panels.iter().filter_map(level).collect::<Vec<_>>().join(" and ");
    if levels.is_empty() {
        levels
    } else {
        format!(" At no sample, what starts from SFT is where that was best: {levels}.")
    }
}
