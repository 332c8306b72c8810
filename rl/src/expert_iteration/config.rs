//! The flags of `rl ei`: what they are called, what they mean, which of them contradict each other. Computes nothing.

use crate::{
    adapters::LoraArgs,
    args::{DataArgs, EvalArgs, InitArgs, RunArgs},
    dry_run,
    harvest::{Deduplicate, ForeignArgs, Rounds},
    progress::print_line,
    supervised::FitArgs,
};
use anyhow::{Result, ensure};
use burn::tensor::Device;
use clap::{Args, ValueEnum};
use data::{Prompting, Split};
use eval::{RewardModel, Sample, check_samples};
use model::Finish;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The default of `--shots`.
const SHOTS: usize = 2;
/// The default of `--orm-threshold`.
const ORM_THRESHOLD: f64 = 0.5;

/// Improve a policy by Expert Iteration
#[derive(Args, Clone, Debug, Serialize)]
pub struct EiConfig {
    /// Where, and with what.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Which problems.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// What round 1 samples from.
    #[command(flatten)]
    #[serde(flatten)]
    pub init: InitArgs,
    /// Adapters.
    #[command(flatten)]
    #[serde(flatten)]
    pub lora: LoraArgs,
    /// How long and how fast to learn in each round.
    #[command(flatten)]
    #[serde(flatten)]
    pub fit: FitArgs,
    /// What is looked at.
    #[command(flatten)]
    #[serde(flatten)]
    pub eval: EvalArgs,
    /// Whether there are reference solutions: round 1 samples from an SFT model and learns them too, or from the base
    #[arg(long, value_enum, default_value_t)]
    pub start: Start,
    /// What every round is fine-tuned from; needed beside --init, but for --start base, where --init is the default [default: a
    /// base made for the benchmark and kept under runs/]
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
    /// Most rounds; fewer where validation saturates
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = crate::args::positive)]
    pub rounds: usize,
    /// Solutions sampled of every question in a round; the paper has 96
    #[arg(long, value_name = "K", default_value_t = 4, value_parser = crate::args::positive)]
    pub samples: usize,
    /// Sampling temperature
    #[arg(long, default_value_t = 1.0, value_parser = crate::args::temperature)]
    pub temperature: f64,
    /// Solved problems shown in round 1 where it samples from the base
    #[arg(long, value_name = "N", default_value_t = SHOTS)]
    pub shots: usize,
    /// When two right solutions of a question are one
    #[arg(long, value_enum, default_value = "text")]
    pub deduplicate: Deduplicate,
    /// Keep a right solution only if none of its calculations is false
    #[arg(long)]
    pub require_calculations: bool,
    /// What a round is fine-tuned from: the base, or, as an ablation, the last round's policy
    #[arg(long, value_enum, default_value_t)]
    pub reset_to: ResetTo,
    /// Rounds in a row that do not gain on validation before it ends
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = crate::args::positive)]
    pub patience: usize,
    /// Share of validation problems that a round must solve beyond the best so far, the start among them, to count as a gain; of
    /// N problems the share is uncertain by about 0.5 / sqrt(N)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub margin: f64,
    /// Reward model (a run of `rl orm`) that must also find a right solution likely to be right
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orm: Option<PathBuf>,
    /// Probability from which on it does
    #[arg(long, value_name = "P", default_value_t = ORM_THRESHOLD)]
    pub orm_threshold: f64,
    /// What was drawn already.
    #[command(flatten)]
    #[serde(flatten)]
    pub foreign: ForeignArgs,
}

/// What round 1 starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// A model that was fine-tuned on the reference solutions, which are D_0.
    #[default]
    Sft,
    /// The base after a few solved problems; D_0 is empty.
    Base,
}

/// What a round is fine-tuned from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ResetTo {
    /// The pretrained base.
    #[default]
    Base,
    /// The policy of the round before.
    Last,
}

/// What differs from the defaults of the flattened groups: every round is an SFT.
pub const DEFAULTS: &[(&str, &str)] = crate::sft::FITTING;

impl EiConfig {
    /// How round 1 puts its questions: to a base after some solved problems.
    pub(super) fn first_prompting(&self) -> Result<Prompting> {
        self.data.prompting(if self.start == Start::Base { self.shots } else { 0 })
    }

    /// What every round is fine-tuned from, where a flag says it: a base that round 1 samples from is that.
    pub(super) fn given_base(&self) -> Option<&Path> {
        self.base.as_deref().or(self.init.init.as_deref().filter(|_| self.start == Start::Base))
    }
}

pub(super) fn check(config: &EiConfig, device: &Device) -> Result<()> {
    config.fit.check()?;
    config.lora.check()?;
    ensure!(
        config.samples == 1 || config.temperature > 0.0,
        "--temperature 0 would draw {} equal samples: give a temperature above 0",
        config.samples
    );
    config.init.check_base(config.given_base(), "what each round is fine-tuned from")?;
    let problems = config.data.load(Split::Train)?;
    if let Some(samples) =
        config.foreign.check(&problems, &config.data.answer_format, Rounds::First, config.run.resume.as_deref())?
    {
        let is_learnt = |sample: &Sample| sample.correct && sample.finish == Finish::Stop;
        ensure!(
            config.start == Start::Sft || samples.iter().any(is_learnt),
            "none of the samples of --from-samples is right and whole: there is nothing to learn from"
        );
    }
    if let Some(orm) = &config.orm {
        RewardModel::load(orm, device)?;
    }
    ensure!((0.0..=1.0).contains(&config.margin), "--margin {}: give a share from 0 to 1", config.margin);
    ensure!(
        (0.0..=1.0).contains(&config.orm_threshold),
        "--orm-threshold {}: give a probability from 0 to 1",
        config.orm_threshold
    );
    // A run's own configuration has the defaults.
    ensure!(config.orm.is_some() || config.orm_threshold == ORM_THRESHOLD, "--orm-threshold needs --orm");
    ensure!(
        config.start == Start::Base || config.shots == SHOTS,
        "--shots is for --start base: an SFT model is asked without solved problems"
    );
    config.first_prompting()?;
    check_samples(problems.len(), config.samples)?;
    check_samples(config.eval.test_problems, config.eval.test_samples)
}

pub(super) fn dry_run(config: &EiConfig, device: &Device) -> Result<PathBuf> {
    let problems = config.data.load(Split::Train)?;
    let (samples, of_round_1) =
        config.foreign.planned(&problems, config.samples, &config.data.answer_format, Rounds::First)?;
    let problems = problems.len();
    let shape = dry_run::shape(config.init.init.as_deref(), config.init.model)?;
    let work = dry_run::Work {
        rows: config.fit.batch_size,
        positions: dry_run::largest_micro_batch(&config.init, &config.data, &config.fit, &config.run)?,
        extra_models: 1.0,
        trained: config.lora.parameters(&shape),
        steps: config.fit.total_steps(problems),
        sampled: (problems * config.samples).max(config.eval.rows(&config.data)),
        new_tokens: config.data.max_new_tokens(),
        samples: samples.max(problems * config.samples),
    };
    dry_run::print("ei", config, &config.run, &shape, &work, device)?;
    if config.foreign.are_given() {
        print_line(&format!("# samples of round 1    {of_round_1}"))?;
    }
    print_line(&format!(
        "# samples of a round    {} ({problems} questions x {}); steps are those of {problems} examples",
        problems * config.samples,
        config.samples
    ))?;
    Ok(PathBuf::new())
}
