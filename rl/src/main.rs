//! The command `rl`: parses, chooses the device, and hands over.

use rl::command::parse;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    model::keep_pages();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn run() -> anyhow::Result<()> {
    let command = parse(std::env::args_os().collect())?;
    if command.leaves_checkpoints() {
        rl::run::stop_on_interrupt()?;
    }
    command.execute()
}

/// One `error:` line with its causes. What clap refuses it prints itself, and ends with 2.
fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(error) = error.downcast_ref::<clap::Error>() {
        let _ = error.print();
        return ExitCode::from(error.exit_code() as u8);
    }
    // Some causes, those of parsers above all, come in several lines.
    let text = format!("{error:#}");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    eprintln!("error: {}", lines.join(" "));
    ExitCode::FAILURE
}
