//! Table 4 of Havrilla et al. 2024. Label balance of return-conditioned RL: right solutions for every wrong one, one label a solution.
//!
//! ```sh
//! cargo run -p scripts --release --bin table-4 -- runs/reproduce
//! ```

use clap::Parser;
use scripts::{Row, TableArgs, exit, print_methods};
use std::process::ExitCode;

const ROWS: [Row; 5] = [
    ("EI, one sample a question", "ei-minimal"),
    ("100 : 1", "rcrl-100"),
    ("10 : 1", "rcrl-10"),
    ("1 : 1", "rcrl-1"),
    ("1 : 1, after [BAD]", "rcrl-1-bad"),
];

fn main() -> ExitCode {
    exit(print_methods(
        "table-4",
        "Table 4. Label balance of return-conditioned RL: right solutions for every wrong one, one label a solution.",
        &ROWS,
        &TableArgs::parse(),
    ))
}
