//! The study of language models as guides: runs `rl guide`, and makes its tables and figures.
//!
//! ```sh
//! cargo run -p scripts --release --bin guides -- --out DIR
//! ```

use anyhow::Result;
use clap::Parser;
use scripts::{
    exit,
    guides::{Guides, program},
};
use std::{io::Write, path::PathBuf, process::ExitCode};

/// The study of language models as guides of a reinforcement learner (`rl guide`): its runs are declared in scripts/guides.toml
///
/// A run leaves OUT/EXHIBIT/ROW. What is finished is not run again, and what was interrupted is resumed. Tables and figures are in
/// OUT/tables.
#[derive(Parser)]
#[command(name = "guides", max_term_width = 110)]
struct Flags {
    /// Folder of the runs, and of the tables and figures
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Exhibits by name, comma-separated [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    only: Vec<String>,
    /// Language model for the exhibits that have one as guide; without it they are left out
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Further flags of every `rl guide`, behind `--`
    #[arg(last = true, value_name = "FLAGS")]
    more: Vec<String>,
}

fn main() -> ExitCode {
    exit(run(&Flags::parse()))
}

fn run(flags: &Flags) -> Result<()> {
    let (guides, program) = (Guides::declared(), program()?);
    for exhibit in guides.chosen(&flags.only, flags.model.is_some())? {
        exhibit.run(&guides.flags, &program, &flags.out, flags.model.as_deref(), &flags.more)?;
        let rendered = exhibit.render(&flags.out)?;
        rendered.write(&exhibit.name, &flags.out.join("tables"))?;
        writeln!(std::io::stdout(), "{}\n", rendered.markdown)?;
    }
    Ok(())
}
