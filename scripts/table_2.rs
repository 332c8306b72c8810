//! Table 2 of Havrilla et al. 2024: what each method makes of a base model that has seen two solved problems and no reference
//! solution.
//!
//! ```sh
//! cargo run -p scripts --release --bin table-2 -- runs/methods-tiny-seed0 runs/methods-tiny-seed1 …
//! ```

use clap::Parser;
use scripts::{Row, TableArgs, print};

const ROWS: [Row; 3] = [("Prompted", "base"), ("EI", "ei-base"), ("Sparse PPO", "ppo-base")];

fn main() -> anyhow::Result<()> {
    print("Table 2. Without SFT data.", &ROWS, &TableArgs::parse())
}
