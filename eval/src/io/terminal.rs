//! What both programs do at start and end: log to standard error, and end with one line that says what went wrong.

use std::process::ExitCode;
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
    let usual = if model::ranks::is_first() { FILTER } else { "error" };
    let filter = requested.and_then(|requested| EnvFilter::try_new(format!("pliron=warn,{requested}")).ok());
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new(usual)))
        .with_writer(std::io::stderr)
        .without_time()
        .init();
}

/// One `error:` line with its causes, and exit code 1.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    // Some causes, those of parsers above all, come in several lines.
    let text = format!("{error:#}");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    eprintln!("error: {}", lines.join(" "));
    ExitCode::FAILURE
}
