//! The command line: which commands there are, their flags, and where the flags of a configuration file come in.

use crate::{
    args::RunArgs, augment, bench, config_file, expert_iteration, export, generate, idle::idle, inspect, orm, ppo,
    pretrain, rates, rates::Defaults, rcrl, sft, verify,
};
use anyhow::Result;
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::{collections::BTreeSet, ffi::OsString};

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
    /// Write a checkpoint as a Hugging Face folder
    Export(export::ExportArgs),
    /// Time a training step and a rollout
    Bench(bench::BenchArgs),
    /// Compare what a device computes with the CPU
    Verify(verify::VerifyArgs),
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

    /// What all commands that train have in common.
    pub(crate) fn run_args_mut(&mut self) -> Option<&mut RunArgs> {
        match self {
            Self::Pretrain(config) => Some(&mut config.run),
            Self::Sft(config) => Some(&mut config.run),
            Self::Orm(config) => Some(&mut config.run),
            Self::Ei(config) => Some(&mut config.run),
            Self::Ppo(config) => Some(&mut config.run),
            Self::Rcrl(config) => Some(&mut config.run),
            Self::Augment(config) => Some(&mut config.run),
            Self::Inspect(_) | Self::Generate(_) | Self::Export(_) | Self::Bench(_) | Self::Verify(_) => None,
        }
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
            Self::Export(args) => export::run(args),
            Self::Bench(args) => bench::run(args),
            Self::Verify(args) => verify::run(args),
        }
    }
}

/// Parses a command line, program name first. Flags of `--config` or `--resume` are put in front of the typed ones, and learning rates
/// that nobody gives before all, by the shape of the model that is trained.
///
/// # Errors
/// A `clap::Error` for what clap refuses (also `--help`), anything else about the configuration file or the model to start from.
pub fn parse(arguments: Vec<OsString>) -> Result<Command> {
    let program = program();
    let mut expanded = config_file::expand(arguments.clone(), &program)?;
    let mut matches = program.clone().try_get_matches_from(&expanded)?;
    idle(&arguments, &matches).iter().for_each(|sentence| tracing::warn!("{sentence}"));
    let rates = rates::resolve(&program, &matches)?;
    let replaced: Vec<OsString> = rates
        .iter()
        .filter(|rate| rate.replaces)
        .map(|rate| format!("--{}={}", rate.flag, rate.value).into())
        .collect();
    if !replaced.is_empty() {
        expanded.splice(2..2, replaced);
        matches = program.try_get_matches_from(&expanded)?;
    }
    let mut command = Cli::from_arg_matches(&matches)?.command;
    if let Some(run) = command.run_args_mut() {
        run.rates = rates;
    }
    Ok(command)
}

/// The command line with the defaults that differ between commands.
pub(crate) fn program() -> clap::Command {
    let mut program = Cli::command();
    for &Defaults { command: name, plain, by_size, published } in &rates::ALL {
        program = program.mut_subcommand(name, |mut command| {
            command = command.args_override_self(true);
            for &(flag, value) in plain {
                command = command.mut_arg(flag, |argument| argument.default_value(value));
            }
            let flags: BTreeSet<&str> = by_size.iter().map(|&(flag, ..)| flag).collect();
            for flag in flags {
                let of_flag = by_size.iter().filter(|(name, ..)| *name == flag).map(|&(_, size, value)| (size, value));
                command = command.mut_arg(flag, |argument| of_size(argument, of_flag.collect()));
                let more = format!("; the default of --{} goes by it", flag.replace('_', "-"));
                command = command.mut_arg("model", |argument| with_help(argument, &more));
            }
            for &(flag, full, adapters) in published {
                let more = match full == adapters {
                    true => format!("; for a published model {full}"),
                    false if name == "augment" => format!("; for a published model {full}"),
                    false => format!("; for a published model {full}, with --lora-rank {adapters}"),
                };
                command = command.mut_arg(flag, |argument| with_help(argument, &more));
            }
            command
        });
    }
    program
}

/// A flag whose default goes by the size of the model.
fn of_size(argument: Arg, values: Vec<(&'static str, &'static str)>) -> Arg {
    let by_size: Vec<String> = values.iter().map(|(size, value)| format!("for the size {size} {value}")).collect();
    with_help(argument, &format!("; {}", by_size.join(", ")))
        .default_value_ifs(values.into_iter().map(|(size, value)| ("model", size, value)))
}

/// A flag whose help says more.
fn with_help(argument: Arg, more: &str) -> Arg {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    argument.help(help + more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learning_rate_goes_by_the_size_unless_it_is_given() {
        let rate = |line: &str| match parse(line.split(' ').map(OsString::from).collect()).unwrap() {
            Command::Sft(config) => config.fit.learning_rate,
            Command::Ei(config) => config.fit.learning_rate,
            Command::Pretrain(config) => config.fit.learning_rate,
            _ => unreachable!("no other is asked"),
        };
        assert_eq!(["rl sft", "rl sft --model medium", "rl ei --model small"].map(rate), [1.5e-3, 8e-4, 5e-4]);
        assert_eq!(["rl sft --model nano", "rl pretrain --model nano"].map(rate), [2.5e-3, 3e-3]);
        assert_eq!(["rl pretrain", "rl pretrain --model medium"].map(rate), [2e-3, 1.2e-3]);
        assert_eq!(rate("rl sft --learning-rate 0.1 --model medium"), 0.1);
    }

    #[test]
    fn only_sft_has_a_table_of_greedy_samples_alone() {
        let samples = |line: &str| match parse(line.split(' ').map(OsString::from).collect()).unwrap() {
            Command::Sft(config) => config.eval.test_samples,
            Command::Ei(config) => config.eval.test_samples,
            Command::Ppo(config) => config.eval.test_samples,
            Command::Rcrl(config) => config.eval.test_samples,
            _ => unreachable!("no other is asked"),
        };
        assert_eq!(["rl sft", "rl ei", "rl ppo", "rl rcrl"].map(samples), [1, 16, 16, 16]);
    }

    #[test]
    fn the_text_that_a_base_model_reads_goes_by_its_size_unless_it_is_given() {
        let steps = |line: &str| match parse(line.split(' ').map(OsString::from).collect()).unwrap() {
            Command::Pretrain(config) => config.fit.steps,
            _ => unreachable!("no other is asked"),
        };
        assert_eq!(["rl pretrain", "rl pretrain --model medium"].map(steps), [Some(2000), Some(4000)]);
        assert_eq!(steps("rl pretrain --model medium --steps 7"), Some(7));
    }
}
