//! What both programs do at their edges: log to standard error, and end with one line that says what went wrong.

use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// What is told unless `RUST_LOG` says otherwise: warnings, and which of several devices was taken. That a device has no driver is
/// told by us, in one line.
const FILTER: &str = "warn,model::device=info,cubecl_common=error";

/// Sends the log to standard error, warnings and above, or what `RUST_LOG` asks for.
pub fn log_to_stderr() {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER)))
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
