//! Table 2 of Havrilla et al. 2024. Without SFT data: what each method makes of a base model that has seen two solved problems.
//!
//! ```sh
//! cargo run -p scripts --release --bin table-2 -- runs/reproduce
//! ```

use clap::Parser;
use scripts::{Row, TableArgs, print_methods};

const ROWS: [Row; 6] = [
    ("Prompted", "base"),
    ("EI", "ei-base"),
    ("ORM EI", "ei-base-orm"),
    ("Sparse PPO", "ppo-base"),
    ("Sparse ORM PPO", "ppo-base-sparse-orm"),
    ("Dense ORM PPO", "ppo-base-dense-orm"),
];

fn main() -> anyhow::Result<()> {
    print_methods(
        "table-2",
        "Table 2. Without SFT data: what each method makes of a base model that has seen two solved problems.",
        &ROWS,
        &TableArgs::parse(),
    )
}
