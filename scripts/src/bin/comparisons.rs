//! Prints the numerical study of rewards that are learnt from comparisons: two Markdown tables.
//!
//! ```sh
//! cargo run -p scripts --release --bin comparisons
//! ```

use clap::Parser;
use scripts::{comparisons, exit};
use std::{io::Write, process::ExitCode};

/// Print the numerical study of rewards that are learnt from comparisons
#[derive(Parser)]
#[command(max_term_width = 110)]
struct Flags {
    /// Repetitions behind each number
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..))]
    repetitions: u32,
    /// Seed of the random numbers
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn main() -> ExitCode {
    let Flags { repetitions, seed } = Flags::parse();
    let tables = comparisons::tables(repetitions as usize, seed);
    exit(std::io::stdout().write_all(tables.as_bytes()).map_err(Into::into))
}
