//! The command line: which commands there are, their flags, and where the flags of a configuration file come in.

use crate::{augment, bench, config_file, expert_iteration, generate, inspect, orm, ppo, pretrain, rcrl, sft};
use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;

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
    Pretrain(pretrain::PretrainConfig),
    /// Fine-tune on reference solutions
    Sft(sft::SftConfig),
    /// Train a reward model: how likely is a solution, finished or not, to be right
    Orm(orm::OrmConfig),
    /// Improve a policy by Expert Iteration: sample, keep what is right, fine-tune the base again
    Ei(expert_iteration::EiConfig),
    /// Improve a policy by PPO with rewards for right answers: the main job
    Ppo(ppo::PpoConfig),
    /// Improve a policy by return-conditioned RL: learn good and bad samples behind labels, ask for good ones
    Rcrl(rcrl::RcrlConfig),
    /// Make more training problems by backtranslation
    Augment(augment::AugmentConfig),
    /// Look at a run in the terminal
    Inspect(inspect::InspectConfig),
    /// Complete text by hand
    Generate(generate::GenerateArgs),
    /// Time a training step and a rollout
    Bench(bench::BenchArgs),
}

impl Command {
    /// Whether an interrupt leaves something to go on from.
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

    /// Runs the command.
    ///
    /// # Errors
    /// What the command says.
    pub fn execute(&self) -> Result<()> {
        match self {
            Self::Pretrain(config) => pretrain::train(config, &config.run.device()?).map(|_| ()),
            Self::Sft(config) => sft::train(config, &config.run.device()?).map(|_| ()),
            Self::Orm(config) => orm::train(config, &config.run.device()?).map(|_| ()),
            Self::Ei(config) => expert_iteration::train(config, &config.run.device()?).map(|_| ()),
            Self::Ppo(config) => ppo::train(config, &config.run.device()?).map(|_| ()),
            Self::Rcrl(config) => rcrl::train(config, &config.run.device()?).map(|_| ()),
            Self::Augment(config) => augment::train(config, &config.run.device()?).map(|_| ()),
            Self::Inspect(config) => inspect::run(config),
            Self::Generate(args) => generate::run(args),
            Self::Bench(args) => bench::run(args),
        }
    }
}

/// Parses a command line, program name first. Flags of `--config` or `--resume` are put in front of the typed ones.
///
/// # Errors
/// A `clap::Error` for what clap refuses (also `--help`), anything else about the configuration file.
pub fn parse(arguments: Vec<OsString>) -> Result<Command> {
    let program = program();
    let arguments = config_file::expand(arguments, &program)?;
    let matches = program.try_get_matches_from(arguments)?;
    Ok(Cli::from_arg_matches(&matches)?.command)
}

/// The command line with the defaults that differ between commands.
fn program() -> clap::Command {
    let mut program = Cli::command();
    let commands = [
        ("pretrain", pretrain::DEFAULTS),
        ("sft", sft::DEFAULTS),
        ("orm", orm::DEFAULTS),
        ("ei", expert_iteration::DEFAULTS),
        ("ppo", ppo::DEFAULTS),
        ("rcrl", rcrl::DEFAULTS),
        ("augment", augment::DEFAULTS),
    ];
    for (name, defaults) in commands {
        program = program.mut_subcommand(name, |mut command| {
            command = command.args_override_self(true);
            for &(flag, value) in defaults {
                command = command.mut_arg(flag, |argument| argument.default_value(value));
            }
            command
        });
    }
    program.mut_subcommand("pretrain", |command| {
        command.mut_arg("learning_rate", |argument| {
            let [(medium, medium_rate), (small, small_rate)] = pretrain::LEARNING_RATES_BY_SIZE;
            argument
                .help(format!("Peak learning rate; {medium_rate} for {medium}, {small_rate} for {small}"))
                .default_value_ifs([("model", medium, medium_rate), ("model", small, small_rate)])
        })
    })
}
