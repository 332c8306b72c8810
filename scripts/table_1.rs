//! Table 1 of Havrilla et al. 2024: what each method makes of a fine-tuned model.
//!
//! ```sh
//! cargo run -p scripts --release --bin table-1 -- runs/methods-tiny-seed0 runs/methods-tiny-seed1 …
//! ```

use clap::Parser;
use scripts::{Row, TableArgs, print};

const ROWS: [Row; 8] = [
    ("SFT", "sft"),
    ("EI", "ei"),
    ("ORM EI", "ei-orm"),
    ("ORM RCRL", "rcrl"),
    ("Sparse PPO", "ppo"),
    ("Dense PPO", "ppo-dense"),
    ("Sparse ORM PPO", "ppo-sparse-orm"),
    ("Dense ORM PPO", "ppo-dense-orm"),
];

fn main() -> anyhow::Result<()> {
    print("Table 1. From SFT.", &ROWS, &TableArgs::parse())
}
