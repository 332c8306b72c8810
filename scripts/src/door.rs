//! The programs: what they read of the command line, and how they end.

use crate::{
    exhibits::{Rendered, differences, page, render},
    results::read_results,
    study::{Exhibit, Kind, Setup, SetupArgs, Study},
};
use anyhow::{Context, Result, anyhow, ensure};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

/// The study behind the paper's tables, figures and claims (Havrilla et al. 2024, arXiv 2403.04642): its runs are declared in
/// scripts/study.toml
///
/// A run leaves OUT/SIZE-seedS/NAME (its directory) and OUT/SIZE-seedS/results/NAME.json (its result, a few kilobytes). What has a result
/// is not run again, and interrupted runs resume, so that the study can be stopped at any time. The folders `results`
/// alone can be moved to another machine: what a later run starts from is then made again, from the same seed.
#[derive(Parser)]
#[command(name = "study", max_term_width = 110)]
struct StudyCli {
    #[command(subcommand)]
    command: StudyCommand,
}

#[derive(Subcommand)]
enum StudyCommand {
    /// Print what would run: every command, in order
    Plan(SetupArgs),
    /// Run what has no result yet, then make the tables, figures, claims and the page
    ///
    /// All of it in a few minutes: `--profile smoke`. Two tables, for the first seed alone: `--only table-1,table-6 --seed 0`. Several
    /// with --seed and --small-only or --large-only may work in one folder at the same time, each on another size and seed.
    Run(SetupArgs),
    /// Print the runs that have no result yet, and how long they take
    Left(SetupArgs),
    /// Make tables, figures and claims of results
    Tables(TablesArgs),
}

#[derive(Args)]
struct TablesArgs {
    #[command(flatten)]
    table: TableArgs,
    /// Tables and figures by name, comma-separated [default: all whose runs have results]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    only: Vec<String>,
}

/// Flags of every table, figure and the claims.
#[derive(Args)]
struct TableArgs {
    /// Folders of scripts/reproduce.sh; all results below them are read
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Also write them into this folder, as Markdown and CSV; figures as SVG
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Flags of `table-differences`.
#[derive(Args)]
struct PairArgs {
    #[command(flatten)]
    table: TableArgs,
    /// Compare these two, the first minus the second, instead of the usual ones; may be repeated
    #[arg(long, value_name = "RUN,OTHER", value_parser = pair)]
    pair: Vec<(String, String)>,
}

/// Make one page of the results of `scripts/reproduce.sh`
#[derive(Parser)]
#[command(name = "index", max_term_width = 110)]
struct IndexArgs {
    /// The --out folder of reproduce.sh; tables and figures are those of DIR/tables
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// How a program ends: well, or with one line that says what went wrong.
pub fn exit(outcome: Result<()>) -> ExitCode {
    outcome.map_or_else(|error| eval::terminal::fail(&error), |()| ExitCode::SUCCESS)
}

/// The program `study`.
pub fn run_study() -> ExitCode {
    let setup = |args: &SetupArgs| {
        let usage = |error: anyhow::Error| StudyCli::command().error(ErrorKind::ValueValidation, error).exit();
        Setup::new(Study::declared(), args).unwrap_or_else(usage)
    };
    exit(match StudyCli::parse().command {
        StudyCommand::Plan(args) => setup(&args).print_plan(),
        StudyCommand::Run(args) => setup(&args).run(),
        StudyCommand::Left(args) => setup(&args).print_left(),
        StudyCommand::Tables(args) => tables(&args),
    })
}

/// The program of an exhibit, which has its name.
pub fn exhibit(name: &'static str) -> ExitCode {
    exit(one_exhibit(name))
}

/// The program `index`.
pub fn index() -> ExitCode {
    let write = |folder: PathBuf| {
        let page = page::write(Study::declared(), &folder)?;
        writeln!(io::stdout(), "{}", page.display()).context("cannot print")
    };
    exit(write(IndexArgs::parse().folder))
}

fn one_exhibit(name: &'static str) -> Result<()> {
    let study = Study::declared();
    let exhibit = study.exhibit(name).with_context(|| format!("the study has no {name}"))?;
    let has_pairs = matches!(exhibit.kind, Kind::Differences { .. });
    let command = clap::Command::new(name);
    let command = if has_pairs { PairArgs::augment_args(command) } else { TableArgs::augment_args(command) };
    // After the flags, whose own description is replaced.
    let command = command.about(exhibit.about.as_str()).max_term_width(110);
    let mut matches = command.get_matches();
    let PairArgs { table, pair } = match has_pairs {
        true => PairArgs::from_arg_matches_mut(&mut matches)?,
        false => PairArgs { table: TableArgs::from_arg_matches_mut(&mut matches)?, pair: Vec::new() },
    };
    let sizes = read_results(&table.folders)?;
    let is_known = |name: &String| sizes.iter().any(|size| size.of(name).next().is_some());
    for name in pair.iter().flat_map(|(run, other)| [run, other]) {
        ensure!(is_known(name), "no result is called {name}");
    }
    let rendered = match pair.is_empty() {
        true => render(study, exhibit, &sizes)?,
        false => differences(&exhibit.title, &pair, &[], &sizes)?,
    };
    put(exhibit, &rendered, &table)
}

fn tables(TablesArgs { table, only }: &TablesArgs) -> Result<()> {
    let study = Study::declared();
    if let Some(name) = only.iter().find(|name| study.exhibit(name).is_none()) {
        return Err(anyhow!("--only {name} names no table or figure"));
    }
    let sizes = read_results(&table.folders)?;
    let has_results =
        |exhibit: &&Exhibit| crate::results::reports(&sizes).all(|report| exhibit.is_made_of(&report.benchmark));
    let is_requested = |exhibit: &&Exhibit| match only.is_empty() {
        true => has_results(exhibit),
        false => only.contains(&exhibit.name),
    };
    for exhibit in study.exhibits.iter().filter(is_requested) {
        match render(study, exhibit, &sizes) {
            Ok(rendered) => put(exhibit, &rendered, table)?,
            // Of all tables, those of runs that are missing are left out.
            Err(error) if only.is_empty() => eprintln!("{} is left out: {error:#}", exhibit.name),
            Err(error) => return Err(error.context(exhibit.name.clone())),
        }
    }
    Ok(())
}

/// Prints the Markdown, and writes all forms where a folder is given.
fn put(exhibit: &Exhibit, rendered: &Rendered, table: &TableArgs) -> Result<()> {
    io::stdout().write_all(rendered.markdown.as_bytes()).context("cannot print")?;
    table.out.as_ref().map_or(Ok(()), |folder| rendered.write(&exhibit.name, folder))
}

fn pair(text: &str) -> Result<(String, String)> {
    let (run, other) = text.split_once(',').ok_or_else(|| anyhow!("give two names of runs with a comma between"))?;
    Ok((run.trim().into(), other.trim().into()))
}
