//! The flags of `rl augment`, and what they are checked against. Trains nothing.

use crate::{
    algorithms::sft::fine_tuning,
    cli::args::{DataArgs, InitArgs, RunArgs},
    cli::defaults::{Configuration, ModelKind, declared},
    cli::effect::FixedOnResume,
    run,
    run::lock::Lock,
    sampling::problems::Problems,
    sampling::samples::SamplingArgs,
    training::dry_run,
    training::supervised::FitArgs,
    view::progress::print_line,
};
use anyhow::{Result, ensure};
use clap::Args;
use data::{Answer, calculations_hold, gold_answer, own_part};
use eval::{Sample, check_samples};
use model::{Device, Finish};
use serde::Serialize;
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

/// The file of the sampled answers, in a run directory.
pub(super) const VERIFIED: &str = "verified.jsonl";

/// Make more training problems by backtranslation
#[derive(Args, Clone, Debug, Serialize)]
pub struct AugmentConfig {
    /// Run directory, seed and device.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Benchmark and problems.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// The policy that writes solutions and answers new questions.
    #[command(flatten)]
    #[serde(flatten)]
    pub init: InitArgs,
    /// Optimisation of the backward model.
    #[command(flatten)]
    #[serde(flatten)]
    pub fit: FitArgs,
    /// Base model that the backward model is fine-tuned from; required with --init [default: a base model made for the
    /// benchmark and kept under runs/]
    #[arg(long, help_heading = "Model", add = FixedOnResume::Path, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
    /// Solutions to find questions for.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: SamplingArgs,
    /// Number of answers sampled for each new question, to verify it
    #[arg(long, add = FixedOnResume::OnceVerified, help_heading = "Sampling", value_name = "K", default_value_t = 4, value_parser = crate::cli::args::positive)]
    pub verify: usize,
    /// Share of these answers that must equal the solution's answer
    #[arg(long, help_heading = "Sampling", value_name = "SHARE", default_value_t = 0.5, value_parser = crate::cli::args::share::<f64>)]
    pub agree: f64,
    /// Steps between two evaluations of the backward model's loss on validation pairs
    #[arg(long, help_heading = "Evaluation", value_name = "N", default_value_t = 150, value_parser = crate::cli::args::positive)]
    pub eval_every: usize,
    /// Number of validation pairs per evaluation
    #[arg(long, help_heading = "Evaluation", value_name = "N", default_value_t = 200, value_parser = crate::cli::args::positive)]
    pub eval_problems: usize,
}

impl Configuration for AugmentConfig {
    /// The backward model is fine-tuned as an SFT is, in two passes.
    fn defaults(kind: ModelKind) -> Self {
        let mut config: Self = declared();
        fine_tuning(&mut config.fit, &mut config.run, kind);
        config.fit.epochs = 2.0;
        config.sampling.samples = 2;
        config
    }

    fn trained(&self) -> Option<&Path> {
        self.base.as_deref()
    }

    fn has_adapters(&self) -> bool {
        false
    }

    fn run_mut(&mut self) -> &mut RunArgs {
        &mut self.run
    }

    fn data_mut(&mut self) -> &mut DataArgs {
        &mut self.data
    }
}

/// Takes the run that is resumed, if one is, for as long as the result lives.
///
/// # Errors
/// A run that is in use, or was begun otherwise.
pub fn lock_run(config: &AugmentConfig) -> Result<Option<Lock>> {
    let lock = run::start::lock_run(&config.run)?;
    let has_answers = |dir: &PathBuf| fs::metadata(dir.join(VERIFIED)).is_ok_and(|file| file.len() > 0);
    let also: &[FixedOnResume] =
        if config.run.resume.as_ref().is_some_and(has_answers) { &[FixedOnResume::OnceVerified] } else { &[] };
    run::start::check_unchanged(&config.run, config, also)?;
    let inputs = [("extra", &config.data.extra), ("from-samples", &config.sampling.source.from_samples)];
    run::start::check_inputs(&config.run, &inputs.map(|(flag, file)| (flag, file.as_deref())))?;
    Ok(lock)
}

/// Distinct complete solutions that have an answer and correct calculations. A wrong operation may be correct for
/// another question; a wrong calculation is correct for none.
pub(super) fn distinct_solutions(samples: &[Sample]) -> Vec<(String, Answer)> {
    let mut known = HashSet::new();
    let whole = samples.iter().filter(|sample| sample.finish == Finish::Stop);
    let solutions = whole.filter_map(|sample| {
        let solution = own_part(&sample.completion).trim().to_string();
        // The problems are written as GSM8K's, whatever format answers are read in.
        let answer = gold_answer(&solution).ok().filter(|_| calculations_hold(&solution))?;
        known.insert(solution.clone()).then_some((solution, answer))
    });
    solutions.collect()
}

pub(super) fn check_solutions(solutions: &[(String, Answer)]) -> Result<()> {
    ensure!(!solutions.is_empty(), "no sample has a readable answer: there is nothing to write questions for");
    Ok(())
}

/// Refuses flags that contradict each other, missing data and files that cannot be read.
///
/// # Errors
/// Naming the flag.
pub fn check(config: &AugmentConfig, problems: &Problems) -> Result<()> {
    config.init.check_base(config.base.as_deref(), "the base model that the backward model is fine-tuned from")?;
    ensure!(
        config.data.benchmark().answer_command().is_none(),
        "rl augment compares the answers of two models, and those of {} are decided by a command",
        config.data.benchmark()
    );
    let problems = problems.train()?;
    if let Some(samples) =
        config.sampling.check(problems, &config.data.answer_format(), true, config.run.resume.as_deref())?
    {
        check_solutions(&distinct_solutions(&samples))?;
    }
    config.data.prompting(config.sampling.shots)?;
    check_samples(problems.len(), config.sampling.samples.max(config.verify))
}

/// Prints what a run would do and need.
///
/// # Errors
/// An `--init` that cannot be read.
pub fn dry_run(config: &AugmentConfig, problems: &Problems, device: &Device) -> Result<()> {
    let (samples, _) = config.sampling.planned(problems.train()?, &config.data.answer_format())?;
    let shape = dry_run::shape(config.init.init.as_deref(), config.init.model)?;
    let work = dry_run::TrainingWorkload {
        rows: config.fit.batch_size,
        positions: dry_run::largest_micro_batch(
            &config.init,
            &config.data,
            problems.solved()?,
            &config.fit,
            &config.run,
        )?,
        extra_models: 1.0,
        trained: None,
        steps: config.fit.total_steps(problems.solved()?.len()),
        // Every solution has a question and answers to it.
        sampled: samples,
        new_tokens: config.data.max_new_tokens(),
        samples,
    };
    dry_run::print("augment", config, &config.run, &shape, &work, device)?;
    print_line(&format!(
        "# solutions             at most {samples}, each with {} answers to its question",
        config.verify
    ))
}
