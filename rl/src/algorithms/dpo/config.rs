//! The flags of `rl dpo`: names, help, defaults and checks. Computes nothing.

use super::examples::PreferenceData;
use crate::{
    cli::args::{DataArgs, EvalArgs, InitArgs, RunArgs},
    cli::defaults::{Configuration, ModelKind, declared},
    cli::effect::{FixedOnResume, FlagEffect, InSummary},
    objective::preference::PreferenceArgs,
    run,
    run::lock::Lock,
    sampling::labelled,
    sampling::pairs::{PairArgs, read_pairs},
    sampling::problems::Problems,
    sampling::samples::SamplingArgs,
    training::adapters::LoraArgs,
    training::dry_run,
    training::supervised::FitArgs,
    view::progress::print_line,
};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use eval::{check_samples, external::CheckerArgs};
use model::Device;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Improve a policy by preference optimisation (DPO and its kin) on pairs of completions
#[derive(Args, Clone, Debug, Serialize)]
pub struct DpoConfig {
    /// Run directory, seed and device.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Benchmark and problems.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// The policy to start from, which is also the reference.
    #[command(flatten)]
    #[serde(flatten)]
    pub init: InitArgs,
    /// Adapters.
    #[command(flatten)]
    #[serde(flatten)]
    pub lora: LoraArgs,
    /// Optimisation.
    #[command(flatten)]
    #[serde(flatten)]
    pub fit: FitArgs,
    /// Evaluations and the final table.
    #[command(flatten)]
    #[serde(flatten)]
    pub eval: EvalArgs,
    /// Pairs to train on, one a line: {"question": …, "chosen": …, "rejected": …} (docs/preferences.md) [default: pairs of correct and wrong
    /// samples]
    #[arg(long, add = FixedOnResume::Value, help_heading = "Data", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PathBuf>,
    /// Samples that pairs are made of.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: SamplingArgs,
    /// Rounds: each samples from the policy of the round before, makes pairs of these samples and trains on them
    #[arg(long, add = InSummary, add = FixedOnResume::Value, help_heading = "Sampling", value_name = "N", default_value_t = 1, value_parser = crate::cli::args::positive)]
    #[serde(skip_serializing_if = "is_one")]
    pub rounds: usize,
    /// Reference of a round
    #[arg(long, add = FixedOnResume::Value, add = FlagEffect::unless("rounds", &["1"]), help_heading = "Model", value_enum, default_value_t)]
    #[serde(skip_serializing_if = "RoundReference::is_default")]
    pub reference: RoundReference,
    /// Which pairs are made of samples.
    #[command(flatten)]
    #[serde(flatten)]
    pub making: PairArgs,
    /// The loss.
    #[command(flatten)]
    #[serde(flatten)]
    pub preference: PreferenceArgs,
    /// Share of the questions whose pairs are held out for the metrics of pairs
    #[arg(long, add = FixedOnResume::Value, help_heading = "Evaluation", value_name = "SHARE", default_value_t = 0.05, value_parser = crate::cli::args::share::<f64>)]
    pub held_out: f64,
    /// An external reward that decides which samples are correct.
    #[command(flatten)]
    #[serde(flatten)]
    pub checker: CheckerArgs,
}

/// The reference of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RoundReference {
    /// The policy at the start of the round (Pang et al. 2024)
    #[default]
    Round,
    /// The first model (Xiong et al. 2024)
    First,
}

impl RoundReference {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A run of one round is written as it was before there were rounds.
fn is_one(rounds: &usize) -> bool {
    *rounds == 1
}

impl Configuration for DpoConfig {
    /// The learning rate of published models is that of the paper's code, for adapters ten times as much (Schulman et al. 2025, LoRA Without
    /// Regret); that of the named sizes is less than `rl ppo`'s, which undid the SFT of `pico` (docs/preferences.md).
    fn defaults(kind: ModelKind) -> Self {
        let mut config: Self = declared();
        config.fit.learning_rate = match kind {
            ModelKind::Size(_) => 3e-5,
            ModelKind::Published { adapters: false } => 5e-7,
            ModelKind::Published { adapters: true } => 5e-6,
        };
        (config.fit.batch_size, config.fit.epochs, config.eval.eval_every) = (32, 1.0, 50);
        config.run.compute.micro_batch = 8;
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

/// Refuses flags that contradict each other, missing data and files that cannot be read.
///
/// # Errors
/// Naming the flag, or the line of the file.
pub fn check(config: &DpoConfig, problems: &Problems) -> Result<()> {
    check_samples(config.eval.test_problems, config.eval.test_samples)?;
    ensure!(
        config.rounds == 1 || config.pairs.is_none(),
        "--pairs is for one round: each of --rounds {} makes its pairs of new samples; give --from-samples for those of the first",
        config.rounds
    );
    let given = config.pairs.as_ref().filter(|_| config.run.resume.is_none());
    if config.pairs.is_some() {
        return given.map_or(Ok(()), |path| read_pairs(path).context("--pairs").map(drop));
    }
    let problems = problems.train()?;
    let resumed = config.run.resume.as_deref();
    let samples = config.sampling.check(problems, &config.data.answer_format(), config.rounds > 1, resumed)?;
    // A checker grades them when the run has started.
    if let Some(samples) = samples.filter(|_| !config.checker.decides(config.data.benchmark())) {
        PreferenceData::of_samples(&samples, &config.making, config.preference.loss, config.run.seed)
            .context("--from-samples")?;
    }
    config.data.prompting(config.sampling.shots)?;
    check_samples(problems.len(), config.sampling.samples)?;
    ensure!(
        config.sampling.source.is_given() && config.rounds == 1 || config.sampling.samples >= 2,
        "--samples 1: a pair is made of two samples of a question"
    );
    Ok(())
}

/// Takes the run that is resumed, if one is, for as long as the result lives.
///
/// # Errors
/// A run that is in use, or was begun otherwise.
pub fn lock_run(config: &DpoConfig) -> Result<Option<Lock>> {
    let lock = run::start::lock_run(&config.run)?;
    run::start::check_unchanged(&config.run, config, &[])?;
    let inputs = [("pairs", &config.pairs), ("from-samples", &config.sampling.source.from_samples)];
    run::start::check_inputs(&config.run, &inputs.map(|(flag, file)| (flag, file.as_deref())))?;
    Ok(lock)
}

/// Prints what a run would do and need.
///
/// # Errors
/// An `--init` that cannot be read, a file without pairs.
pub fn dry_run(config: &DpoConfig, problems: &Problems, device: &Device) -> Result<()> {
    let shape = dry_run::shape(config.init.init.as_deref(), config.init.model)?;
    let new_tokens = config.data.max_new_tokens();
    let (rounds, is_of_pairs) = (config.rounds, config.preference.loss.is_of_pairs());
    let (samples, examples, said) = match &config.pairs {
        Some(path) => {
            let pairs = read_pairs(path).context("--pairs")?;
            let examples = if is_of_pairs { pairs.len() } else { labelled::of_pairs(&pairs).len() };
            (0, examples, format!("# pairs                 {} (those of --pairs)", pairs.len()))
        }
        None => {
            let train = problems.train()?;
            let (samples, planned) = config.sampling.planned(train, &config.data.answer_format())?;
            // Half right and half wrong is the most pairs that there can be.
            let of_question = (samples.div_ceil(train.len()) / 2).pow(2).max(1);
            let of_question = config.making.pairs_per_question.map_or(of_question, |most| most.min(of_question));
            let pairs = of_question * train.len();
            let of_round = if rounds > 1 { " a round" } else { "" };
            let said = format!(
                "# samples               {planned}{of_round}\n# pairs                 {pairs}{of_round} at most"
            );
            (samples, if is_of_pairs { pairs } else { samples }, said)
        }
    };
    // Later rounds sample where the first one reads a file.
    let later = if rounds > 1 { problems.train()?.len() * config.sampling.samples } else { 0 };
    let keeps_first_model = rounds > 1 && config.reference == RoundReference::Round;
    let work = dry_run::TrainingWorkload {
        rows: config.fit.batch_size,
        // A completion with a prompt that may be as long; of a pair two.
        positions: config.run.compute.micro_batch.min(config.fit.batch_size)
            * if is_of_pairs { 4 } else { 2 }
            * new_tokens,
        // The reference, which measures the KL divergence.
        extra_models: if keeps_first_model { 2.0 } else { 1.0 },
        trained: config.lora.parameters(&shape),
        steps: config.fit.total_steps(examples) * rounds,
        sampled: config.sampling.source.sampled(samples).max(later).max(config.eval.rows(&config.data)),
        new_tokens,
        samples: samples.max(later),
    };
    dry_run::print("dpo", config, &config.run, &shape, &work, device)?;
    print_line(&said)?;
    if !is_of_pairs {
        print_line(&format!("# completions           {examples} at most, each an example of the loss"))?;
    }
    if rounds > 1 {
        let all = config.sampling.source.sampled(samples) + later * (rounds - 1);
        print_line(&format!(
            "# samples in all        {all} of {rounds} rounds; optimiser steps are those of all rounds"
        ))?;
    }
    Ok(())
}
