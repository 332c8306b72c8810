//! The paper's tables, figures and claims, from results only. Nothing here trains or samples.
//!
//! `scripts/reproduce.sh` leaves one *result* a run (`result.rs`); all results of one size and seed are a *study* (`study.rs`).
//! A table, figure or claim names runs and reads them from the studies of each size, as means over seeds.

mod interval;
mod plot;
mod result;
mod study;
mod table;

use std::process::ExitCode;

pub use interval::{Cell, Crossed, ERROR, mean_over_seeds, means_over_seeds, normal, over_seeds};
pub use plot::{Figure, OVER_SEEDS, Panel, Point, Scale, Series};
pub use result::{Cost, Look, Made, RunResult, check_name};
pub use study::{Size, Study, StudyArgs, metric, questions_of, read_studies, reports};
pub use table::{FROM_SFT, OutArgs, Row, TableArgs, Written, csv_line, methods, print_methods, samples_of_ei};

/// How a program ends: well, or with one line that says what went wrong.
pub fn exit(outcome: anyhow::Result<()>) -> ExitCode {
    outcome.map_or_else(|error| eval::terminal::fail(&error), |()| ExitCode::SUCCESS)
}
