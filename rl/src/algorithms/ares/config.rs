//! The flags of `rl ares`: names, help, defaults and checks. Computes nothing.

use crate::{
    algorithms::ppo::{self, PpoConfig, PpoStageArgs, Whole},
    algorithms::sft::{self, SftConfig},
    cli::args::{DataArgs, EvalArgs, InitArgs, RunArgs},
    cli::defaults::{Configuration, ModelKind, declared},
    cli::effect::{FixedOnResume, FlagEffect, InSummary},
    objective::weights::{Component, RewardWeights},
    run,
    run::lock::Lock,
    sampling::problems::Problems,
    training::adapters::LoraArgs,
    training::supervised::FitArgs,
    view::progress::print_line,
};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use eval::external::ExternalArgs;
use model::Device;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What a line is worth: its score less this.
const NEUTRAL: f32 = 0.5;

/// Improve a policy by ARES: PPO with a score for each line and SFT on corrected samples, in turn
#[derive(Args, Clone, Debug, Serialize)]
pub struct AresConfig {
    /// Run directory, seed and device.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Benchmark and problems.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// The policy to start from.
    #[command(flatten)]
    #[serde(flatten)]
    pub init: InitArgs,
    /// Adapters.
    #[command(flatten)]
    #[serde(flatten)]
    pub lora: LoraArgs,
    /// Optimisation of SFT.
    #[command(flatten)]
    #[serde(flatten)]
    pub fit: FitArgs,
    /// Evaluations and the final table.
    #[command(flatten)]
    #[serde(flatten)]
    pub eval: EvalArgs,
    /// Alternations: each is a stage of PPO and a stage of SFT on what was corrected
    #[arg(long, add = InSummary, help_heading = "Sampling", value_name = "N", default_value_t = 2, value_parser = crate::cli::args::positive)]
    pub alternations: usize,
    /// Solutions sampled per training question for each stage of SFT
    #[arg(long, add = InSummary, add = FixedOnResume::Value, help_heading = "Sampling", value_name = "K", default_value_t = 1, value_parser = crate::cli::args::positive)]
    pub samples: usize,
    /// Sampling temperature, also of PPO
    #[arg(long, add = InSummary, help_heading = "Sampling", default_value_t = 0.7, value_parser = crate::cli::args::temperature)]
    pub temperature: f64,
    /// What scores the lines of a solution, each from 0 to 1
    #[arg(long, add = InSummary, add = FixedOnResume::Value, help_heading = "Objective", value_enum, default_value_t)]
    pub teacher: Teacher,
    /// Reward model (a run of `rl orm`) of --teacher orm [default: one made for the benchmark and kept under runs/]
    #[arg(long, add = FixedOnResume::Path, help_heading = "Objective", value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orm: Option<PathBuf>,
    /// The program of --teacher external.
    #[command(flatten)]
    #[serde(flatten)]
    pub external: ExternalArgs,
    /// The first line with a lower score is corrected, and all that follow it
    #[arg(long, add = FlagEffect::with("teacher", &["orm", "external"]), help_heading = "Objective", value_name = "SCORE", default_value_t = 0.5, value_parser = crate::cli::args::share::<f32>)]
    pub correct_below: f32,
    /// Program that corrects solutions, in the place of the reference: it reads a JSON object a line, as an external reward's items, and
    /// answers each with a line {"solution": …}, or null to leave it out
    #[arg(long, help_heading = "Objective", value_name = "COMMAND")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrector_command: Option<String>,
    /// The stage of PPO.
    #[command(flatten)]
    #[serde(flatten)]
    pub ppo: PpoStageArgs,
}

/// What scores lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Teacher {
    /// The reference: 1 for a line that works out one of its results, 0.5 for one that calculates nothing, else 0
    #[default]
    Checker,
    /// A reward model: the probability after the line
    Orm,
    /// --reward-command or --reward-url, which give a number for each line
    External,
}

impl Configuration for AresConfig {
    /// SFT goes on from a policy that PPO has made: one pass, with a fifth of the learning rate of `rl sft`.
    fn defaults(kind: ModelKind) -> Self {
        let mut config: Self = declared();
        sft::fine_tuning(&mut config.fit, &mut config.run, kind);
        (config.fit.learning_rate, config.fit.epochs) = (config.fit.learning_rate / 5.0, 1.0);
        config.eval.eval_every = sft::EVAL_EVERY;
        config.ppo = config.ppo.for_model(kind);
        config
    }

    fn trained(&self) -> Option<&Path> {
        self.init.init.as_deref()
    }

    fn has_adapters(&self) -> bool {
        self.lora.lora_rank.is_some()
    }

    fn run_mut(&mut self) -> &mut RunArgs {
        &mut self.run
    }

    fn data_mut(&mut self) -> &mut DataArgs {
        &mut self.data
    }
}

impl AresConfig {
    /// The stage of PPO: each line earns its score less 0.5.
    pub(super) fn ppo_stage(&self, run: RunArgs, orm: Option<&Path>) -> PpoConfig {
        let (data, init, lora, eval) = (self.data.clone(), self.init.clone(), self.lora.clone(), self.eval.clone());
        let mut config = self.ppo.config(Whole { run, data, init, lora, eval });
        let of_lines = match self.teacher {
            Teacher::Checker => Component::CheckedLines,
            Teacher::Orm => Component::OrmLines,
            Teacher::External => Component::External,
        };
        let mut weights = vec![(of_lines, 1.0), (Component::Lines, -NEUTRAL)];
        if self.ppo.ppo_answer_weight > 0.0 {
            weights.push((Component::Answer, self.ppo.ppo_answer_weight));
        }
        config.temperature = self.temperature;
        config.reward.weights.reward_weights = Some(RewardWeights(weights));
        config.reward.weights.external = self.external.clone();
        config.reward.orm = orm.map(Path::to_path_buf);
        config
    }

    /// The stage of SFT.
    pub(super) fn sft_stage(&self, run: RunArgs) -> SftConfig {
        let Self { data, init, lora, fit, eval, .. } = self.clone();
        SftConfig { run, data, init, lora, fit, eval: EvalArgs { test_problems: 0, ..eval } }
    }
}

/// Refuses flags that contradict each other, missing data and a reward model that is not there.
///
/// # Errors
/// Naming the flag.
pub fn check(config: &AresConfig, problems: &Problems) -> Result<()> {
    ensure!(
        config.orm.is_none() || config.teacher == Teacher::Orm,
        "--orm is not used by this teacher: give --teacher orm with it"
    );
    ensure!(
        config.external.is_given() == (config.teacher == Teacher::External),
        "--teacher external scores lines by --reward-command or --reward-url, and only it does: give both, or neither"
    );
    if config.corrector_command.is_none() || config.teacher == Teacher::Checker {
        problems.solved().context(
            "the lines of reference solutions correct samples; --teacher and --corrector-command name others",
        )?;
    }
    let ppo = config.ppo_stage(config.run.clone(), config.orm.as_deref());
    ppo::check(&ppo, problems).context("the stage of PPO, whose flags begin with --ppo- here")
}

/// Takes the run that is resumed, if one is, for as long as the result lives.
///
/// # Errors
/// A run that is in use, or was begun otherwise.
pub fn lock_run(config: &AresConfig) -> Result<Option<Lock>> {
    let lock = run::start::lock_run(&config.run)?;
    run::start::check_unchanged(&config.run, config, &[])?;
    run::start::check_inputs(&config.run, &[("extra", config.data.extra.as_deref())])?;
    Ok(lock)
}

/// Prints what both stages would do and need.
///
/// # Errors
/// An `--init` that cannot be read.
pub fn dry_run(config: &AresConfig, problems: &Problems, device: &Device) -> Result<()> {
    print_line(&format!("# rl ares --dry-run: nothing is written\n\n{}", toml::to_string(config)?))?;
    print_line(&format!("\n# {} times, first PPO:", config.alternations))?;
    ppo::dry_run(&config.ppo_stage(config.run.clone(), config.orm.as_deref()), device)?;
    print_line("\n# then SFT on corrected samples, at most:")?;
    sft::dry_run(&config.sft_stage(config.run.clone()), problems, device)
}
