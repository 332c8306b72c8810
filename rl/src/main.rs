//! The program `rl`: parses the command line and runs the command.

use model::ranks;
use rl::command::parse;
use std::{process::ExitCode, thread};

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
    if command.leaves_checkpoints() {
        rl::run::stop_on_interrupt()?;
    }
    command.execute().map(drop)
}

/// clap prints its own errors; they end with exit code 2. Of several ranks with the same error, the first one prints it, and its end is
/// that of all.
fn report(error: &anyhow::Error) -> ExitCode {
    if !ranks::is_first() {
        thread::sleep(ranks::ALONE);
        eprint!("rank {}: ", ranks::rank());
    }
    let code = match error.downcast_ref::<clap::Error>() {
        Some(error) => {
            let _ = error.print();
            ExitCode::from(error.exit_code() as u8)
        }
        None => eval::terminal::fail(error),
    };
    ranks::abort();
    code
}
