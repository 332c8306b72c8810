//! Table 3 of Havrilla et al. 2024. SFT, EI and PPO, with SFT data and without, on a second benchmark: SVAMP there.
//!
//! ```sh
//! scripts/reproduce.sh --benchmark svamp --data-dir DIR …
//! cargo run -p scripts --release --bin table-3 -- runs/reproduce-svamp
//! ```

use clap::Parser;
use scripts::{Row, TableArgs, exit, print_methods};
use std::process::ExitCode;

const ROWS: [Row; 6] = [
    ("SFT", "sft"),
    ("EI", "ei"),
    ("Sparse PPO", "ppo"),
    ("Prompted", "base"),
    ("EI without SFT data", "ei-base"),
    ("Sparse PPO without SFT data", "ppo-base"),
];

fn main() -> ExitCode {
    exit(print_methods("table-3", "Table 3. SFT, EI and PPO on a second benchmark.", &ROWS, &TableArgs::parse()))
}
