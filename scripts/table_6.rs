//! Table 6 of Havrilla et al. 2024. Curriculum: which questions PPO takes, and from where.
//!
//! ```sh
//! cargo run -p scripts --release --bin table-6 -- runs/reproduce
//! ```

use clap::Parser;
use scripts::{Row, TableArgs, exit, print_methods};
use std::process::ExitCode;

const ROWS: [Row; 3] =
    [("PPO", "ppo"), ("PPO, prioritised level replay", "ppo-plr"), ("PPO, backtracking", "ppo-backtracking")];

fn main() -> ExitCode {
    exit(print_methods(
        "table-6",
        "Table 6. Curriculum: which questions PPO takes, and from where.",
        &ROWS,
        &TableArgs::parse(),
    ))
}
