//! What both programs do at start and end: log to standard error, and end with one line that says what went wrong.

use model::ranks;
use std::{process::ExitCode, thread, time::Duration};
use tracing_subscriber::EnvFilter;

/// What is logged without `RUST_LOG`: warnings, and which of several devices was chosen. cubecl's own report of a missing driver is left
/// out: `choose_device` reports it in one line.
const FILTER: &str = "warn,model::device=info,cubecl_common=error";

/// Sends the log to standard error, warnings and above, or what `RUST_LOG` selects. The compiler of CUDA's kernels logs every form
/// of each, gigabytes of them, at `info`: it does so only where `RUST_LOG` names it.
pub fn log_to_stderr() {
    let requested = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let requested = Some(requested).filter(|requested| !requested.is_empty());
    // Of several ranks, the first one warns.
    let usual = if ranks::is_first() { FILTER } else { "error" };
    let filter = requested.and_then(|requested| EnvFilter::try_new(format!("pliron=warn,{requested}")).ok());
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new(usual)))
        .with_writer(std::io::stderr)
        .without_time()
        .init();
}

/// Prints an error and ends. Of several ranks with the same error, the first one prints it, and its end is that of all.
pub fn end(print: impl FnOnce() -> ExitCode) -> ExitCode {
    if !ranks::is_first() {
        thread::sleep(ALONE);
        eprint!("rank {}: ", ranks::rank());
    }
    let code = print();
    ranks::abort();
    code
}

/// After so long, an error that the first rank has not printed is that of one rank alone.
const ALONE: Duration = Duration::from_secs(5);

/// One `error:` line with its causes, and exit code 1.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    // Some causes, those of parsers above all, come in several lines.
    let text = format!("{error:#}");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    eprintln!("error: {}", lines.join(" "));
    ExitCode::FAILURE
}
