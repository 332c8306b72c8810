//! The flags of `rl ei`: names, help, defaults and checks. Computes nothing.

use crate::{
    algorithms::sft::{EVAL_EVERY, fine_tuning},
    cli::args::{DataArgs, EvalArgs, InitArgs, RunArgs},
    cli::defaults::{Configuration, ModelKind, declared},
    cli::effect::{FixedOnResume, InSummary},
    run,
    run::lock::Lock,
    sampling::deduplicate::Deduplicate,
    sampling::from_samples::{FromSamplesArgs, Rounds},
    sampling::problems::Problems,
    training::adapters::LoraArgs,
    training::dry_run,
    training::supervised::FitArgs,
    view::progress::print_line,
};
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use data::{Problem, Prompting};
use eval::{Policy, RewardModel, Sample, SampleConfig, check_samples, external::CheckerArgs};
use model::{Device, Finish, ScoreKind};
use serde::Serialize;
use std::{
    borrow::Cow,
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The default of `--shots`.
const SHOTS: usize = 2;
/// The default of `--orm-threshold`.
const ORM_THRESHOLD: f64 = 0.5;

/// Improve a policy by Expert Iteration
#[derive(Args, Clone, Debug, Serialize)]
pub struct EiConfig {
    /// Run directory, seed and device.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Benchmark and problems.
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
    /// Optimisation of each round.
    #[command(flatten)]
    #[serde(flatten)]
    pub fit: FitArgs,
    /// Evaluations.
    #[command(flatten)]
    #[serde(flatten)]
    pub eval: EvalArgs,
    /// What round 1 samples from: an SFT model (reference solutions are then training data too), or the base model
    #[arg(long, help_heading = "Model", add = FixedOnResume::Value, value_enum, default_value_t)]
    pub start: Start,
    /// Base model that every round is fine-tuned from; required with --init, except with --start base, where it
    /// defaults to --init [default: a base model made for the benchmark and kept under runs/]
    #[arg(long, help_heading = "Model", add = FixedOnResume::Path, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
    /// Maximum number of rounds; fewer if validation accuracy saturates
    #[arg(long, add = InSummary, help_heading = "Sampling", value_name = "N", default_value_t = 4, value_parser = crate::cli::args::positive)]
    pub rounds: usize,
    /// Solutions sampled per question and round; the paper uses 96
    #[arg(long, add = InSummary, help_heading = "Sampling", value_name = "K", default_value_t = 4, value_parser = crate::cli::args::positive)]
    pub samples: usize,
    /// Solutions sampled per round of each question that no earlier round has solved, a multiple of --samples: hard questions are a larger
    /// part of the examples then [default: as many as of the others]
    #[arg(long, add = InSummary, help_heading = "Sampling", value_name = "K", value_parser = crate::cli::args::positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsolved_samples: Option<usize>,
    /// Sampling temperature
    #[arg(long, add = InSummary, help_heading = "Sampling", default_value_t = 1.0, value_parser = crate::cli::args::temperature)]
    pub temperature: f64,
    /// Solved problems shown before each question in round 1, with --start base
    #[arg(long, help_heading = "Sampling", value_name = "N", default_value_t = SHOTS)]
    pub shots: usize,
    /// When two correct solutions of a question count as one
    #[arg(long, help_heading = "Objective", value_enum, default_value = "text")]
    pub deduplicate: Deduplicate,
    /// Keep a correct solution only if none of its calculations is false
    #[arg(long, help_heading = "Objective")]
    pub require_calculations: bool,
    /// What each round is fine-tuned from: the base model or, as an ablation, the last round's policy
    #[arg(long, help_heading = "Model", value_enum, default_value_t)]
    pub reset_to: ResetTo,
    /// Number of rounds in a row without a gain on validation after which the run ends
    #[arg(long, help_heading = "Objective", value_name = "N", default_value_t = 2, value_parser = crate::cli::args::positive)]
    pub patience: usize,
    /// Gain in validation maj@1 over the best so far (the start included) that a round needs to count as a gain; with N
    /// problems, maj@1 is uncertain by about 0.5 / sqrt(N)
    #[arg(long, help_heading = "Objective", value_name = "SHARE", default_value_t = 0.0, value_parser = crate::cli::args::share::<f64>)]
    pub margin: f64,
    /// Reward model (a run of `rl orm`) that must accept a correct solution before it is kept
    #[arg(long, help_heading = "Objective", value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orm: Option<PathBuf>,
    /// Probability from which on the reward model accepts a solution
    #[arg(long, help_heading = "Objective", value_name = "P", default_value_t = ORM_THRESHOLD, value_parser = crate::cli::args::share::<f64>)]
    pub orm_threshold: f64,
    /// Samples of another run.
    #[command(flatten)]
    #[serde(flatten)]
    pub source: FromSamplesArgs,
    /// An external reward that decides which samples are correct.
    #[command(flatten)]
    #[serde(flatten)]
    pub checker: CheckerArgs,
}

/// What round 1 samples from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// An SFT model, fine-tuned on the reference solutions, which are D_0.
    #[default]
    Sft,
    /// The base model, prompted with a few solved problems; D_0 is empty.
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

impl Configuration for EiConfig {
    /// Every round is an SFT.
    fn defaults(kind: ModelKind) -> Self {
        let mut config: Self = declared();
        fine_tuning(&mut config.fit, &mut config.run, kind);
        config.eval.eval_every = EVAL_EVERY;
        config
    }

    fn trained(&self) -> Option<&Path> {
        self.given_base()
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

/// Takes the run that is resumed, if one is, for as long as the result lives.
///
/// # Errors
/// A run that is in use, or was begun otherwise.
pub fn lock_run(config: &EiConfig) -> Result<Option<Lock>> {
    let lock = run::start::lock_run(&config.run)?;
    run::start::check_unchanged(&config.run, config, &[])?;
    let inputs = [("extra", &config.data.extra), ("from-samples", &config.source.from_samples)];
    run::start::check_inputs(&config.run, &inputs.map(|(flag, file)| (flag, file.as_deref())))?;
    Ok(lock)
}

impl EiConfig {
    /// The prompt of round 1: with solved problems, if it samples from the base model.
    pub(super) fn first_prompting(&self) -> Result<Prompting> {
        self.data.prompting(if self.start == Start::Base { self.shots } else { 0 })
    }

    /// How a policy samples the solutions of a round.
    pub(super) fn sampling(&self, prompting: &Prompting, policy: &Policy) -> SampleConfig {
        let device = policy.model.device();
        self.run.compute.sampling(&self.data, prompting.clone(), self.samples, self.temperature, &device)
    }

    /// The questions of a round, `solved` being those that earlier rounds have solved. `samples` solutions are drawn of each entry, so
    /// unsolved questions stand in it several times with `--unsolved-samples`.
    pub(super) fn questions<'a>(
        &self,
        train: &'a [Problem],
        round: usize,
        solved: &BTreeSet<String>,
    ) -> Cow<'a, [Problem]> {
        let times = self.unsolved_samples.unwrap_or(self.samples) / self.samples;
        if round == 1 || times == 1 {
            return Cow::Borrowed(train);
        }
        let unsolved: Vec<&Problem> = train.iter().filter(|problem| !solved.contains(&problem.id)).collect();
        let again = (1..times).flat_map(|_| unsolved.iter().copied());
        Cow::Owned(train.iter().chain(again).cloned().collect())
    }

    /// The base model, if a flag names it; with --start base it is the model of --init.
    pub fn given_base(&self) -> Option<&Path> {
        self.base.as_deref().or(self.init.init.as_deref().filter(|_| self.start == Start::Base))
    }
}

/// Refuses flags that contradict each other, missing data and files that cannot be read.
///
/// # Errors
/// Naming the flag.
pub fn check(config: &EiConfig, problems: &Problems, device: &Device) -> Result<()> {
    ensure!(
        config.samples == 1 || config.temperature > 0.0,
        "--temperature 0 would sample {} equal solutions: give a temperature above 0",
        config.samples
    );
    let of_unsolved = config.unsolved_samples.unwrap_or(config.samples);
    ensure!(
        of_unsolved.is_multiple_of(config.samples),
        "--unsolved-samples {of_unsolved} is no multiple of --samples {}",
        config.samples
    );
    config.init.check_base(config.given_base(), "the base model that each round is fine-tuned from")?;
    let problems = problems.train()?;
    if let Some(samples) =
        config.source.check(problems, &config.data.answer_format(), Rounds::First, config.run.resume.as_deref())?
    {
        let is_kept = |sample: &Sample| sample.correct && sample.finish == Finish::Stop;
        // A checker grades them when the run has started.
        ensure!(
            config.start == Start::Sft
                || config.checker.decides(config.data.benchmark())
                || samples.iter().any(is_kept),
            "none of the samples of --from-samples is correct and complete: there is nothing to train on"
        );
    }
    if let Some(orm) = &config.orm {
        let reward_model = RewardModel::load(orm, device)?;
        ensure!(
            reward_model.kind() == ScoreKind::Logit,
            "--orm {} has learnt from comparisons: its score is no probability that --orm-threshold could be compared with",
            orm.display()
        );
    }
    // A resumed run's configuration holds the defaults.
    ensure!(config.orm.is_some() || config.orm_threshold == ORM_THRESHOLD, "--orm-threshold needs --orm");
    ensure!(
        config.start == Start::Base || config.shots == SHOTS,
        "--shots is for --start base: an SFT model is prompted without solved problems"
    );
    config.first_prompting()?;
    check_samples(problems.len(), config.samples)?;
    check_samples(config.eval.test_problems, config.eval.test_samples)
}

/// Prints what a run would do and need.
///
/// # Errors
/// An `--init` that cannot be read.
pub fn dry_run(config: &EiConfig, problems: &Problems, device: &Device) -> Result<()> {
    let positions =
        dry_run::largest_micro_batch(&config.init, &config.data, problems.train()?, &config.fit, &config.run)?;
    let problems = problems.train()?;
    let (samples, of_round_1) =
        config.source.planned(problems, config.samples, &config.data.answer_format(), Rounds::First)?;
    let problems = problems.len();
    let shape = dry_run::shape(config.init.init.as_deref(), config.init.model)?;
    let work = dry_run::TrainingWorkload {
        rows: config.fit.batch_size,
        positions,
        extra_models: 1.0,
        trained: config.lora.parameters(&shape),
        steps: config.fit.total_steps(problems),
        sampled: (problems * config.samples).max(config.eval.rows(&config.data)),
        new_tokens: config.data.max_new_tokens(),
        samples: samples.max(problems * config.samples),
    };
    dry_run::print("ei", config, &config.run, &shape, &work, device)?;
    if config.source.is_given() {
        print_line(&format!("# samples of round 1    {of_round_1}"))?;
    }
    print_line(&format!(
        "# samples of a round    {} ({problems} questions x {}); steps are those of {problems} examples",
        problems * config.samples,
        config.samples
    ))
}
