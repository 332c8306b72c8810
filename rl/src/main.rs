//! The program `rl`: parses the command line and runs the command.

use rl::command::parse;
use std::process::ExitCode;

fn main() -> ExitCode {
    model::keep_pages();
    eval::terminal::log_to_stderr();
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
    command.execute().map(drop)
}

/// clap prints its own errors; they end with exit code 2.
fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(error) = error.downcast_ref::<clap::Error>() {
        let _ = error.print();
        return ExitCode::from(error.exit_code() as u8);
    }
    eval::terminal::fail(error)
}
