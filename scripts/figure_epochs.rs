//! How many passes of SFT help one answer, and how many help the best of many, after Havrilla et al. 2024.
//!
//! ```sh
//! cargo run -p scripts --release --bin figure-epochs -- runs/reproduce --out docs/figures
//! ```

use anyhow::Result;
use clap::Parser;
use eval::MetricKind;
use scripts::{Figure, Panel, Point, Scale, Series, Size, TableArgs, exit, metric, read_studies};
use std::process::ExitCode;

/// Passes, and the run that made them, at its last checkpoint.
const RUNS: [(f64, &str); 4] = [(1.0, "sft-1"), (2.0, "sft-2"), (4.0, "sft-4"), (8.0, "sft-8")];

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<()> {
    let args = TableArgs::parse();
    let figure = Figure {
        title: "Passes of SFT: maj@1 and pass@K on the test split",
        x: "passes over the reference solutions",
        scale: Scale::Linear,
        panels: read_studies(&args.studies)?.iter().map(panel).collect(),
        note: "Mean over seeds, with a 95 % interval over questions and seeds together. Hollow: fewer seeds than at other points \
               of the line."
            .into(),
    };
    figure.written()?.put("figure-epochs", &args.out)
}

fn panel(size: &Size) -> Panel {
    let most = size.most_samples();
    let mut panel = Panel::new(size, format!("share of problems (K = {most})"));
    for (label, metric) in [("maj@1", metric(MetricKind::Maj, 1)), ("pass@K", metric(MetricKind::Pass, most))] {
        let point = |(x, run): (f64, &str)| Some(Point { x, cell: size.cell(run, metric)? });
        let points = RUNS.into_iter().filter_map(point).collect();
        panel.series.push(Series { label, metric: metric.to_string(), points });
    }
    for (_, run) in RUNS {
        panel.found(run, size.estimates(run, metric(MetricKind::Pass, most)).len());
    }
    panel
}
