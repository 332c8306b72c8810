//! What both programs do at their edges: log to standard error, and end with one line that says what went wrong.

use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// What is told unless `RUST_LOG` says otherwise: warnings, and which of several devices was taken. That a device has no driver is
/// told by us, in one line.
const FILTER: &str = "warn,model::device=info,cubecl_common=error";

/// Sends the log to standard error, warnings and above, or what `RUST_LOG` asks for. The compiler of CUDA's kernels tells every form
/// of each, gigabytes of them, at `info`: only where it is named.
pub fn log_to_stderr() {
    let asked = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let asked = Some(asked).filter(|asked| !asked.is_empty());
    let filter = asked.and_then(|asked| EnvFilter::try_new(format!("pliron=warn,{asked}")).ok());
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new(FILTER)))
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
