//! Keeps the result of a run as one small file.
//!
//! ```sh
//! cargo run -p scripts --release --bin collect -- --run runs/ppo-synthetic-… --report report.json --out results/ppo.json
//! ```

use clap::Parser;
use scripts::{exit, results};
use std::{path::PathBuf, process::ExitCode};

/// Keep what a run came to as one small file: its report, its evaluations on the validation split, its cost
#[derive(Parser)]
#[command(max_term_width = 110)]
struct Flags {
    /// The run directory; without it, only a report of a model that others made
    #[arg(long, value_name = "DIR", required_unless_present = "report")]
    run: Option<PathBuf>,
    /// What `eval run` wrote of it
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// What each problem scores, as `eval run --by-question` wrote it
    #[arg(long, value_name = "FILE")]
    by_question: Option<PathBuf>,
    /// What `eval run` wrote of it with few samples of more problems: maj@1 and pass@1 are read from there
    #[arg(long, value_name = "FILE", requires = "report")]
    single: Option<PathBuf>,
    /// What each of these problems scores
    #[arg(long, value_name = "FILE", requires = "single")]
    single_by_question: Option<PathBuf>,
    /// What the size of the model is called in tables
    #[arg(long, value_name = "NAME")]
    model: String,
    /// The seed of the run
    #[arg(long)]
    seed: u64,
    /// Where to; the run is called as the file is
    #[arg(long, value_name = "NAME.json")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let Flags { run, report, by_question, single, single_by_question, model, seed, out } = Flags::parse();
    let reports = results::Reports {
        report: report.as_deref(),
        by_question: by_question.as_deref(),
        single: single.as_deref(),
        single_by_question: single_by_question.as_deref(),
    };
    exit(results::collect((&model, seed), run.as_deref(), reports, &out))
}
