//! Keeps what a run came to as one small file.
//!
//! ```sh
//! cargo run -p scripts --release --bin collect -- --run runs/ppo-synthetic-… --report report.json --out results/ppo.json
//! ```

use anyhow::{Context, Result};
use clap::Parser;
use scripts::{RunResult, check_name, exit};
use std::{fs, path::PathBuf, process::ExitCode};

/// Keep what a run came to as one small file: its report, its looks at the validation split, its cost
#[derive(Parser)]
#[command(max_term_width = 110)]
struct Flags {
    /// The run directory; without one there is a report alone, of a model that somebody else has made
    #[arg(long, value_name = "DIR", required_unless_present = "report")]
    run: Option<PathBuf>,
    /// What `eval run` wrote of it
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// What each problem scores, as `eval run --by-question` wrote it
    #[arg(long, value_name = "FILE")]
    by_question: Option<PathBuf>,
    /// What the size of the model is called in tables
    #[arg(long, value_name = "NAME")]
    model: String,
    /// The study that it belongs to
    #[arg(long)]
    seed: u64,
    /// Where to; the run is called as the file is
    #[arg(long, value_name = "NAME.json")]
    out: PathBuf,
}

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<()> {
    let Flags { run, report, by_question, model, seed, out } = Flags::parse();
    let name = out.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    check_name(name)?;
    let result = RunResult::of(name, (&model, seed), run.as_deref(), report.as_deref(), by_question.as_deref())?;
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let inputs = [("report", &report), ("by-question", &by_question)];
    let inputs: Vec<_> = inputs.iter().filter_map(|(flag, file)| Some((*flag, file.as_deref()?))).collect();
    eval::check_outputs(&[("out", &out)], &inputs)?;
    // Written whole or not at all: that it is there says that the run is done.
    eval::write_whole(&out, serde_json::to_string(&result)? + "\n")
}
