//! How many samples Expert Iteration and PPO need, after Havrilla et al. 2024.
//!
//! ```sh
//! cargo run -p scripts --release --bin figure-samples -- runs/reproduce --out docs/figures
//! ```

use anyhow::Result;
use clap::Parser;
use scripts::{
    Figure, OVER_SEEDS, Panel, Row, Scale, Size, TableArgs, exit, mean_over_seeds, read_studies, samples_of_ei,
};
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
        panels: sizes.iter().map(panel).collect(),
        note: format!("{OVER_SEEDS}{}{}", levels(&sizes), samples_of_ei(&sizes)),
    };
    figure.written()?.put("figure-samples", &args.out)
}

fn panel(size: &Size) -> Panel {
    let mut panel = Panel::of_looks(size, &LINES, "samples", "validation/maj@1");
    panel.begin_with_sft(size, &LINES);
    panel
}

/// What SFT has reached at each size: a logarithm has no place for no sample.
fn levels(sizes: &[Size]) -> String {
    let level = |size: &Size| {
        let of_seeds: Vec<f64> =
            size.of("sft").filter_map(|run| Some(run.best_and_last("validation/maj@1")?[0])).collect();
        mean_over_seeds(&of_seeds).map(|cell| format!("{:.3} (`{}`)", cell.mean, size.model))
    };
    let levels = sizes.iter().filter_map(level).collect::<Vec<_>>().join(" and ");
    if levels.is_empty() {
        levels
    } else {
        format!(" At no sample, what starts from SFT is where that was best: {levels}.")
    }
}
