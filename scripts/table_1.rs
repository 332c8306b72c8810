//! Table 1 of Havrilla et al. 2024. From SFT: what each method makes of a fine-tuned model.
//!
//! ```sh
//! cargo run -p scripts --release --bin table-1 -- runs/reproduce
//! ```

use clap::Parser;
use scripts::{Row, TableArgs, print_methods};

const ROWS: [Row; 9] = [
    ("SFT", "sft"),
    ("SFT, reranked with likelihood", "sft-likelihood"),
    ("EI", "ei"),
    ("ORM EI", "ei-orm"),
    ("RCRL", "rcrl"),
    ("Sparse PPO", "ppo"),
    ("Dense PPO", "ppo-dense"),
    ("Sparse ORM PPO", "ppo-sparse-orm"),
    ("Dense ORM PPO", "ppo-dense-orm"),
];

fn main() -> anyhow::Result<()> {
    print_methods(
        "table-1",
        "Table 1. From SFT: what each method makes of a fine-tuned model.",
        &ROWS,
        &TableArgs::parse(),
    )
}
