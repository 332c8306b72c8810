//! The command line: which commands there are, their flags, and where the flags of a configuration file come in.

mod defaults;

use crate::{
    algorithms::{Algorithm, DEFAULTS},
    cli::config_file,
    cli::effect::unused_flags,
    guided, pipeline,
    run::ranks,
    run::start::begin_unstarted_again,
    tools::bench,
    tools::check_data,
    tools::export,
    tools::extrapolate,
    tools::generate,
    tools::make_pairs,
    tools::verify,
    view::inspect,
};
use anyhow::{Result, ensure};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use defaults::Trained;
use std::{ffi::OsString, path::PathBuf};
use tempfile::TempDir;

/// Teach language models to reason with reinforcement learning.
#[derive(Parser, Debug)]
#[command(name = "rl", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// A command with its resolved configuration.
#[derive(Subcommand, Clone, Debug)]
#[command(args_override_self = true)]
#[allow(clippy::large_enum_variant, reason = "a process has one")]
pub enum Command {
    /// The commands that train.
    #[command(flatten)]
    Train(Algorithm),
    /// Show a run in the terminal
    Inspect(inspect::InspectConfig),
    /// Check problems before training on them
    #[command(subcommand)]
    Data(check_data::DataCommand),
    /// Make pairs of better and worse completions from samples, for `rl dpo`
    Pairs(make_pairs::PairsArgs),
    /// Complete a prompt
    Generate(generate::GenerateArgs),
    /// Learn in a small environment with a language model as guide
    Guide(guided::args::GuideArgs),
    /// Write a checkpoint as a Hugging Face folder
    Export(export::ExportArgs),
    /// Continue the difference of two models: θ₁ + α (θ₁ - θ₀)
    Extrapolate(extrapolate::ExtrapolateArgs),
    /// Time a training step and a rollout
    Bench(bench::BenchArgs),
    /// Check that a device computes the same as the CPU
    Verify(verify::VerifyArgs),
}

impl Command {
    /// Whether the command can be resumed, so that Ctrl-C stops after a step.
    pub fn can_be_resumed(&self) -> bool {
        matches!(self, Self::Train(_) | Self::Guide(_))
    }

    /// Makes it the command of this rank, if several work together; the folder that the rank keeps as long as it works.
    ///
    /// # Errors
    /// A command for one process, and those of [`ranks::of_rank`].
    pub fn of_rank(&mut self) -> Result<Option<TempDir>> {
        match self {
            Self::Train(algorithm) => ranks::of_rank(algorithm.run_args_mut()),
            _ => {
                ensure!(
                    model::ranks::ranks() == 1,
                    "this command works in one process: start it without mpirun or srun"
                );
                Ok(None)
            }
        }
    }

    /// Runs the command; the run directory that it leaves, if it leaves one.
    ///
    /// # Errors
    /// Errors of the command.
    pub fn execute(&self) -> Result<Option<PathBuf>> {
        match self {
            Self::Train(Algorithm::Pretrain(config)) => config.run.compute.refuse_servers()?,
            Self::Guide(args) => args.run.compute.refuse_servers()?,
            Self::Extrapolate(args) => args.compute.refuse_servers()?,
            Self::Bench(args) => args.compute.refuse_servers()?,
            _ => {}
        }
        match self {
            Self::Train(algorithm) => pipeline::run(algorithm),
            Self::Inspect(config) => {
                inspect::run(config, |heading| defaults::summary_keys_of(DEFAULTS, heading)).map(|()| None)
            }
            Self::Data(command) => check_data::run(command).map(|()| None),
            Self::Pairs(args) => make_pairs::run(args).map(|()| None),
            Self::Generate(args) => generate::run(args).map(|()| None),
            Self::Guide(args) => guided::command::run(args),
            Self::Extrapolate(args) => extrapolate::run(args).map(|()| None),
            Self::Export(args) => export::run(args).map(|()| None),
            Self::Bench(args) => bench::run(args).map(|()| None),
            Self::Verify(args) => verify::run(args).map(|()| None),
        }
    }
}

/// Parses a command line, program name first. Flags of `--config` or `--resume` come before the typed ones. Defaults
/// depend on the command and on the model that it trains.
///
/// # Errors
/// A `clap::Error` for what clap refuses (also `--help`), another error for the configuration file or the model to
/// start from.
pub fn parse(arguments: Vec<OsString>) -> Result<Command> {
    let program = program();
    let expanded = config_file::expand(arguments.clone(), &program)?;
    let mut matches = program.clone().try_get_matches_from(&expanded)?;
    unused_flags(&arguments, &program, &matches).iter().for_each(|sentence| tracing::warn!("{sentence}"));
    let mut command = Cli::from_arg_matches(&matches)?.command;
    let Command::Train(algorithm) = &command else { return Ok(command) };
    let trained = match algorithm.trained() {
        (Some(path), adapters) if defaults::need_the_model(DEFAULTS, &matches) => Some(Trained::read(path, adapters)?),
        (Some(_), _) => None,
        (None, _) => Some(Trained::made(algorithm.made_size())),
    };
    if let Some(trained) = &trained {
        matches = defaults::apply(DEFAULTS, bare_program(), Some(trained.kind)).try_get_matches_from(&expanded)?;
        command = Cli::from_arg_matches(&matches)?.command;
    }
    if let Command::Train(algorithm) = &mut command {
        begin_unstarted_again(algorithm.run_args_mut());
        algorithm.data_args_mut().resolve()?;
        algorithm.run_args_mut().resolved = defaults::resolved(DEFAULTS, &matches, trained.as_ref());
    }
    Ok(command)
}

/// The command line with the defaults and the help of each command.
pub(crate) fn program() -> clap::Command {
    defaults::apply(DEFAULTS, bare_program(), None)
}

/// The headings of a command's help, in their order: first what its result depends on.
const HEADINGS: [&str; 8] = ["Model", "Data", "Sampling", "Objective", "Optimisation", "Evaluation", "Run", "Compute"];

/// A command with its flags in the order of [`HEADINGS`]; where each has a heading, `--help` stands last. Clap shows headings in the
/// order of the flags, which is that of the keys in `config.toml`.
fn in_order(command: clap::Command) -> clap::Command {
    if command.has_subcommands() {
        return command;
    }
    let rank = |flag: &clap::Arg| HEADINGS.iter().position(|heading| flag.get_help_heading() == Some(heading));
    let mut flags: Vec<clap::Arg> = command.get_arguments().cloned().collect();
    flags.sort_by_key(|flag| rank(flag).unwrap_or(HEADINGS.len()));
    let groups: Vec<clap::ArgGroup> = command.get_groups().cloned().collect();
    let about = command.get_about().cloned().unwrap_or_default();
    let all_have_a_heading = flags.iter().all(|flag| flag.get_help_heading().is_some());
    let command = clap::Command::new(command.get_name().to_string()).about(about).args(flags).groups(groups);
    let command = command.args_override_self(true);
    if all_have_a_heading { command.disable_help_flag(true).arg(help_flag()) } else { command }
}

/// Clap's `--help`, with a heading of its own: flags without one are shown before all others.
fn help_flag() -> clap::Arg {
    let flag = clap::Arg::new("help").short('h').long("help").action(clap::ArgAction::Help).help_heading("Options");
    flag.help("Print help (see more with '--help')").long_help("Print help (see a summary with '-h')")
}

/// If a flag is given several times, the last one counts.
fn bare_program() -> clap::Command {
    Cli::command().mut_subcommands(in_order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learning_rate_depends_on_the_size_unless_it_is_given() {
        let rate = |line: &str| match parse(line.split(' ').map(OsString::from).collect()).unwrap() {
            Command::Train(Algorithm::Sft(config)) => config.fit.learning_rate,
            Command::Train(Algorithm::Ei(config)) => config.fit.learning_rate,
            Command::Train(Algorithm::Pretrain(config)) => config.fit.learning_rate,
            _ => unreachable!("no other command is parsed"),
        };
        assert_eq!(
            ["rl sft --model tiny", "rl sft --model medium", "rl ei --model small"].map(rate),
            [1.5e-3, 8e-4, 5e-4]
        );
        assert_eq!(["rl sft", "rl pretrain --model nano"].map(rate), [2.5e-3, 3e-3]);
        assert_eq!(["rl pretrain --model tiny", "rl pretrain --model medium"].map(rate), [2e-3, 1.2e-3]);
        assert_eq!(rate("rl sft --learning-rate 0.1 --model medium"), 0.1);
    }

    #[test]
    fn only_sft_has_a_table_of_greedy_samples_alone() {
        let samples = |line: &str| match parse(line.split(' ').map(OsString::from).collect()).unwrap() {
            Command::Train(Algorithm::Sft(config)) => config.eval.test_samples,
            Command::Train(Algorithm::Ei(config)) => config.eval.test_samples,
            Command::Train(Algorithm::Ppo(config)) => config.eval.test_samples,
            Command::Train(Algorithm::Rcrl(config)) => config.eval.test_samples,
            _ => unreachable!("no other command is parsed"),
        };
        assert_eq!(["rl sft", "rl ei", "rl ppo", "rl rcrl"].map(samples), [1, 16, 16, 16]);
    }

    #[test]
    fn the_learning_rate_and_the_steps_of_pretraining_depend_on_the_size() {
        let of = |line: &str| match parse(line.split(' ').map(OsString::from).collect()).unwrap() {
            Command::Train(Algorithm::Pretrain(config)) => (config.fit.learning_rate, config.fit.steps),
            _ => unreachable!("no other command is parsed"),
        };
        let found = ["rl pretrain", "rl pretrain --model medium", "rl pretrain --model medium --steps 7"].map(of);
        assert_eq!(found, [(3e-3, Some(8000)), (1.2e-3, Some(4000)), (1.2e-3, Some(7))]);
    }
}
