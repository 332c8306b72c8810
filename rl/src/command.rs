//! The command line: which commands there are, their flags, and where the flags of a configuration file come in.

mod defaults;

use crate::{
    algorithms::augment::AugmentConfig, algorithms::expert_iteration::EiConfig, algorithms::orm::OrmConfig,
    algorithms::ppo::PpoConfig, algorithms::pretrain::PretrainConfig, algorithms::rcrl::RcrlConfig,
    algorithms::sft::SftConfig, cli::args::DataArgs, cli::args::RunArgs, cli::config_file,
    cli::defaults::Configuration, cli::effect::unused_flags, pipeline, tools::bench, tools::check_data, tools::export, tools::generate,
    tools::verify, view::inspect,
};
use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use defaults::{Defaults, Trained};
use model::ModelSize;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

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
pub enum Command {
    /// Train a tokenizer and a base model from scratch
    Pretrain(PretrainConfig),
    /// Fine-tune on reference solutions
    Sft(SftConfig),
    /// Train an outcome reward model: the probability that a solution, finished or not, is correct
    Orm(OrmConfig),
    /// Improve a policy by Expert Iteration: sample, keep correct solutions, fine-tune the base model on them, repeat
    Ei(EiConfig),
    /// Improve a policy by PPO with rewards for correct answers: the main command
    Ppo(PpoConfig),
    /// Improve a policy by return-conditioned RL: train on good and bad samples behind labels, sample behind the good
    /// label
    Rcrl(RcrlConfig),
    /// Make more training problems by backtranslation
    Augment(AugmentConfig),
    /// Show a run in the terminal
    Inspect(inspect::InspectConfig),
    /// Check problems before training on them
    #[command(subcommand)]
    Data(check_data::DataCommand),
    /// Complete a prompt
    Generate(generate::GenerateArgs),
    /// Write a checkpoint as a Hugging Face folder
    Export(export::ExportArgs),
    /// Time a training step and a rollout
    Bench(bench::BenchArgs),
    /// Check that a device computes the same as the CPU
    Verify(verify::VerifyArgs),
}

/// The commands that train, with their configurations.
const CONFIGURATIONS: [Defaults; 7] = [
    Defaults::new::<PretrainConfig>("pretrain"),
    Defaults::new::<SftConfig>("sft"),
    Defaults::new::<OrmConfig>("orm"),
    Defaults::new::<EiConfig>("ei"),
    Defaults::new::<PpoConfig>("ppo"),
    Defaults::new::<RcrlConfig>("rcrl"),
    Defaults::new::<AugmentConfig>("augment"),
];

impl Command {
    /// Whether the command writes checkpoints, so that Ctrl-C stops after a step.
    pub fn leaves_checkpoints(&self) -> bool {
        matches!(
            self,
            Self::Pretrain(_)
                | Self::Sft(_)
                | Self::Orm(_)
                | Self::Ei(_)
                | Self::Ppo(_)
                | Self::Rcrl(_)
                | Self::Augment(_)
        )
    }

    /// The flags of the run and of its problems, of a command that trains.
    pub(crate) fn run_and_data_mut(&mut self) -> Option<(&mut RunArgs, &mut DataArgs)> {
        match self {
            Self::Pretrain(config) => Some((&mut config.run, &mut config.data)),
            Self::Sft(config) => Some((&mut config.run, &mut config.data)),
            Self::Orm(config) => Some((&mut config.run, &mut config.data)),
            Self::Ei(config) => Some((&mut config.run, &mut config.data)),
            Self::Ppo(config) => Some((&mut config.run, &mut config.data)),
            Self::Rcrl(config) => Some((&mut config.run, &mut config.data)),
            Self::Augment(config) => Some((&mut config.run, &mut config.data)),
            Self::Inspect(_) | Self::Data(_) | Self::Generate(_) | Self::Export(_) | Self::Bench(_) | Self::Verify(_) => None,
        }
    }

    /// The trained model, if a flag names it, and whether only adapters are trained; `None` for commands that do not
    /// train.
    fn trained(&self) -> Option<(Option<&Path>, bool)> {
        fn of(config: &impl Configuration) -> Option<(Option<&Path>, bool)> {
            Some((config.trained(), config.has_adapters()))
        }
        match self {
            Self::Pretrain(config) => of(config),
            Self::Sft(config) => of(config),
            Self::Orm(config) => of(config),
            Self::Ei(config) => of(config),
            Self::Ppo(config) => of(config),
            Self::Rcrl(config) => of(config),
            Self::Augment(config) => of(config),
            Self::Inspect(_) | Self::Data(_) | Self::Generate(_) | Self::Export(_) | Self::Bench(_) | Self::Verify(_) => None,
        }
    }

    /// The size of the models that are made on demand.
    fn made_size(&self) -> Option<ModelSize> {
        match self {
            Self::Pretrain(config) => Some(config.model),
            Self::Sft(SftConfig { init, .. })
            | Self::Orm(OrmConfig { init, .. })
            | Self::Ei(EiConfig { init, .. })
            | Self::Ppo(PpoConfig { init, .. })
            | Self::Rcrl(RcrlConfig { init, .. })
            | Self::Augment(AugmentConfig { init, .. }) => Some(init.model),
            Self::Inspect(_) | Self::Data(_) | Self::Generate(_) | Self::Export(_) | Self::Bench(_) | Self::Verify(_) => None,
        }
    }

    /// Runs the command; the run directory that it leaves, if it leaves one.
    ///
    /// # Errors
    /// Errors of the command.
    pub fn execute(&self) -> Result<Option<PathBuf>> {
        match self {
            Self::Pretrain(config) => pipeline::pretrain(config, &config.run.device()?),
            Self::Sft(config) => pipeline::sft(config, &config.run.device()?),
            Self::Orm(config) => pipeline::orm(config, &config.run.device()?),
            Self::Ei(config) => pipeline::expert_iteration(config, &config.run.device()?),
            Self::Ppo(config) => pipeline::ppo(config, &config.run.device()?),
            Self::Rcrl(config) => pipeline::rcrl(config, &config.run.device()?),
            Self::Augment(config) => pipeline::augment(config, &config.run.device()?),
            Self::Inspect(config) => {
                inspect::run(config, |heading| defaults::summary_keys_of(&CONFIGURATIONS, heading)).map(|()| None)
            }
            Self::Data(command) => check_data::run(command).map(|()| None),
            Self::Generate(args) => generate::run(args).map(|()| None),
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
    let trained = match command.trained() {
        Some((Some(path), adapters)) if defaults::need_the_model(&CONFIGURATIONS, &matches) => {
            Some(Trained::read(path, adapters)?)
        }
        Some((None, _)) => command.made_size().map(Trained::made),
        _ => None,
    };
    if let Some(trained) = &trained {
        matches =
            defaults::apply(&CONFIGURATIONS, bare_program(), Some(trained.kind)).try_get_matches_from(&expanded)?;
        command = Cli::from_arg_matches(&matches)?.command;
    }
    if let Some((run, data)) = command.run_and_data_mut() {
        data.resolve()?;
        run.resolved = defaults::resolved(&CONFIGURATIONS, &matches, trained.as_ref());
    }
    Ok(command)
}

/// The command line with the defaults and the help of each command.
pub(crate) fn program() -> clap::Command {
    defaults::apply(&CONFIGURATIONS, bare_program(), None)
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
            Command::Sft(config) => config.fit.learning_rate,
            Command::Ei(config) => config.fit.learning_rate,
            Command::Pretrain(config) => config.fit.learning_rate,
            _ => unreachable!("no other command is parsed"),
        };
        assert_eq!(["rl sft", "rl sft --model medium", "rl ei --model small"].map(rate), [1.5e-3, 8e-4, 5e-4]);
        assert_eq!(["rl sft --model nano", "rl pretrain --model nano"].map(rate), [2.5e-3, 3e-3]);
        assert_eq!(["rl pretrain", "rl pretrain --model medium"].map(rate), [2e-3, 1.2e-3]);
        assert_eq!(rate("rl sft --learning-rate 0.1 --model medium"), 0.1);
    }

    #[test]
    fn the_help_of_a_command_that_trains_shows_its_groups_in_order_and_the_options_of_every_program_last() {
        for Defaults { command, .. } in CONFIGURATIONS {
            let help = program().find_subcommand(command).unwrap().clone().render_help().to_string();
            let is_heading = |line: &&str| line.ends_with(':') && !line.starts_with(' ');
            let shown: Vec<&str> = help.lines().filter(is_heading).map(|line| line.trim_end_matches(':')).collect();
            let groups = HEADINGS.into_iter().filter(|heading| shown.contains(heading));
            assert_eq!(shown, groups.chain(["Options"]).collect::<Vec<_>>(), "{command}");
        }
    }

    #[test]
    fn only_sft_has_a_table_of_greedy_samples_alone() {
        let samples = |line: &str| match parse(line.split(' ').map(OsString::from).collect()).unwrap() {
            Command::Sft(config) => config.eval.test_samples,
            Command::Ei(config) => config.eval.test_samples,
            Command::Ppo(config) => config.eval.test_samples,
            Command::Rcrl(config) => config.eval.test_samples,
            _ => unreachable!("no other command is parsed"),
        };
        assert_eq!(["rl sft", "rl ei", "rl ppo", "rl rcrl"].map(samples), [1, 16, 16, 16]);
    }

    #[test]
    fn the_pretraining_steps_depend_on_the_size_unless_they_are_given() {
        let steps = |line: &str| match parse(line.split(' ').map(OsString::from).collect()).unwrap() {
            Command::Pretrain(config) => config.fit.steps,
            _ => unreachable!("no other command is parsed"),
        };
        assert_eq!(["rl pretrain", "rl pretrain --model medium"].map(steps), [Some(2000), Some(4000)]);
        assert_eq!(steps("rl pretrain --model medium --steps 7"), Some(7));
    }
}
