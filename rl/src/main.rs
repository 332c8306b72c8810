//! The program `rl`: parses the command line and runs the command.

use model::ranks;
use rl::command::parse;
use std::process::ExitCode;

fn main() -> ExitCode {
    model::keep_pages();
    // Lives until the end: without it, the other ranks would wait.
    let joined = ranks::join();
    eval::terminal::log_to_stderr();
    if let Err(error) = &joined {
        return report(error);
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn run() -> anyhow::Result<()> {
    let mut command = parse(std::env::args_os().collect())?;
    let _folder = command.of_rank()?;
    if command.can_be_resumed() {
        rl::run::stop_on_interrupt()?;
    }
    command.execute().map(drop)
}

/// clap prints its own errors; they end with exit code 2.
fn report(error: &anyhow::Error) -> ExitCode {
    eval::terminal::end(|| match error.downcast_ref::<clap::Error>() {
        Some(error) => {
            let _ = error.print();
            ExitCode::from(error.exit_code() as u8)
        }
        None => eval::terminal::fail(error),
    })
}
