//! Table 2 of Havrilla et al. 2024. Without SFT data: what each method makes of a base model.
//!
//! ```sh
//! cargo run -p scripts --release --bin table-2 -- runs/reproduce
//! ```

use clap::Parser;
use scripts::{Row, TableArgs, exit, print_methods};
use std::process::ExitCode;

const ROWS: [Row; 6] = [
    ("Prompted", "base"),
    ("EI", "ei-base"),
    ("ORM EI", "ei-base-orm"),
    ("Sparse PPO", "ppo-base"),
    ("Sparse ORM PPO", "ppo-base-sparse-orm"),
    ("Dense ORM PPO", "ppo-base-dense-orm"),
];

fn main() -> ExitCode {
    exit(print_methods(
        "table-2",
        "Table 2. Without SFT data: what each method makes of a base model. The prompted base is asked after two solved \
         problems (in the profile smoke after none), EI's policies after none, those of PPO after as many as they were trained with: none \
         in the profiles smoke and cpu, two in gpu and with --init-small. Reward models are those of table 1, whose trunk is the SFT \
         model.",
        &ROWS,
        &TableArgs::parse(),
    ))
}
