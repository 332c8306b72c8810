//! The flags of `rl dpo`: names, help, defaults and checks. Computes nothing.

use crate::{
    cli::args::{DataArgs, EvalArgs, InitArgs, RunArgs},
    cli::defaults::{Configuration, ModelKind, declared},
    cli::effect::FixedOnResume,
    objective::preference::PreferenceArgs,
    run,
    run::lock::Lock,
    sampling::pairs::{PairArgs, read_pairs},
    sampling::problems::Problems,
    sampling::samples::SamplingArgs,
    training::adapters::LoraArgs,
    training::dry_run,
    training::supervised::FitArgs,
    view::progress::print_line,
};
use anyhow::{Context, Result, ensure};
use clap::Args;
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

impl Configuration for DpoConfig {
    /// The learning rate of published models is that of the paper's code, for adapters ten times as much (Schulman et al. 2025, LoRA Without
    /// Regret); that of the named sizes is `rl ppo`'s.
    fn defaults(kind: ModelKind) -> Self {
        let mut config: Self = declared();
        config.fit.learning_rate = match kind {
            ModelKind::Size(_) => 2e-4,
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
    let given = config.pairs.as_ref().filter(|_| config.run.resume.is_none());
    if config.pairs.is_some() {
        return given.map_or(Ok(()), |path| read_pairs(path).context("--pairs").map(drop));
    }
    let problems = problems.train()?;
    config.sampling.check(problems, &config.data.answer_format(), false, config.run.resume.as_deref())?;
    config.data.prompting(config.sampling.shots)?;
    check_samples(problems.len(), config.sampling.samples)?;
    ensure!(
        config.sampling.source.is_given() || config.sampling.samples >= 2,
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
    let (samples, pairs, said) = match &config.pairs {
        Some(path) => {
            let pairs = read_pairs(path).context("--pairs")?.len();
            (0, pairs, format!("# pairs                 {pairs} (those of --pairs)"))
        }
        None => {
            let train = problems.train()?;
            let (samples, planned) = config.sampling.planned(train, &config.data.answer_format())?;
            // Half right and half wrong is the most pairs that there can be.
            let of_question = (samples.div_ceil(train.len()) / 2).pow(2).max(1);
            let of_question = config.making.pairs_per_question.map_or(of_question, |most| most.min(of_question));
            let pairs = of_question * train.len();
            (samples, pairs, format!("# samples               {planned}\n# pairs                 {pairs} at most"))
        }
    };
    let work = dry_run::TrainingWorkload {
        rows: config.fit.batch_size,
        // Two completions a pair, each with a prompt that may be as long.
        positions: config.run.compute.micro_batch.min(config.fit.batch_size) * 4 * new_tokens,
        // The reference, which measures the KL divergence.
        extra_models: 1.0,
        trained: config.lora.parameters(&shape),
        steps: config.fit.total_steps(pairs),
        sampled: config.sampling.source.sampled(samples).max(config.eval.rows(&config.data)),
        new_tokens,
        samples,
    };
    dry_run::print("dpo", config, &config.run, &shape, &work, device)?;
    print_line(&said)
}
