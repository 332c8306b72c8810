//! The flags of `rl ppo`: names, help, defaults and checks. Computes nothing.

use crate::{
    cli::args::{DataArgs, EvalArgs, InitArgs, RunArgs},
    cli::defaults::{Configuration, ModelKind, declared},
    cli::effect::{FixedOnResume, FlagEffect, InOlderRuns, InSummary},
    objective::advantage::AdvantageKind,
    objective::reward::{OrmScore, RewardArgs, RewardKind},
    run,
    run::lock::Lock,
    sampling::curriculum::CurriculumArgs,
    sampling::problems::Problems,
    training::adapters::LoraArgs,
    training::dry_run,
    view::progress::print_line,
};
use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use eval::{RewardModelKind, check_samples, resolve_checkpoint};
use model::{Device, ModelSize, ScoreKind};
use serde::Serialize;
use std::path::Path;

/// Flags of the critic, or of what only a critic makes of rewards.
const CRITIC_ONLY: FlagEffect = FlagEffect::with("advantage", &["gae"]);

/// Improve a policy by PPO with rewards for right answers
#[derive(Args, Clone, Debug, Serialize)]
pub struct PpoConfig {
    /// Run directory, seed and device.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Benchmark and problems.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// The model to start from.
    #[command(flatten)]
    #[serde(flatten)]
    pub init: InitArgs,
    /// Adapters.
    #[command(flatten)]
    #[serde(flatten)]
    pub lora: LoraArgs,
    /// Evaluations.
    #[command(flatten)]
    #[serde(flatten)]
    pub eval: EvalArgs,
    /// PPO steps; each samples, then makes --ppo-epochs passes of updates
    #[arg(long, add = InSummary, help_heading = "Sampling", value_name = "N", default_value_t = 100, value_parser = crate::cli::args::positive)]
    pub steps: usize,
    /// Questions per step
    #[arg(long, add = InSummary, help_heading = "Sampling", value_name = "N", default_value_t = 64, value_parser = crate::cli::args::positive)]
    pub questions: usize,
    /// Solutions sampled per question
    #[arg(long, add = InSummary, help_heading = "Sampling", value_name = "K", default_value_t = 4, value_parser = crate::cli::args::positive)]
    pub samples: usize,
    /// Solved problems shown before each question (few-shot prompt), for a policy without fine-tuning
    #[arg(long, help_heading = "Sampling", value_name = "N", default_value_t = 0)]
    pub shots: usize,
    /// Sampling temperature; also divides the logits of policy and reference in the losses
    #[arg(long, add = InSummary, help_heading = "Sampling", default_value_t = 0.7, value_parser = positive_temperature)]
    pub temperature: f64,
    /// Refused: PPO's ratios need the full distribution
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub top_k: Option<usize>,
    /// Refused: PPO's ratios need the full distribution
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub top_p: Option<f64>,
    /// Reward of a completion.
    #[command(flatten)]
    #[serde(flatten)]
    pub reward: RewardArgs,
    /// Curriculum.
    #[command(flatten)]
    #[serde(flatten)]
    pub curriculum: CurriculumArgs,
    /// How advantages are estimated: with a critic, or relative to the other samples of the question
    #[arg(long, help_heading = "Objective", add = FixedOnResume::Value, value_enum, default_value_t)]
    pub advantage: AdvantageKind,
    /// Update on the questions alone whose samples differ in reward: those that are all right or all wrong do not say which of their
    /// samples is the better one (DAPO's dynamic sampling, Yu et al. 2025, arXiv 2503.14476, without other questions in their place). Metrics of
    /// the KL divergence and the entropy are of these questions too
    #[arg(long, add = InOlderRuns("false"), help_heading = "Objective", action = clap::ArgAction::Set, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true)]
    pub filter_groups: bool,
    /// Passes (epochs) over the samples of a step
    #[arg(long, help_heading = "Optimisation", value_name = "N", default_value_t = 2, value_parser = crate::cli::args::positive)]
    pub ppo_epochs: usize,
    /// Samples per optimiser step; a smaller rest at the end of a pass has a proportionally smaller weight
    #[arg(long, help_heading = "Optimisation", value_name = "N", default_value_t = 64, value_parser = crate::cli::args::positive)]
    pub mini_batch: usize,
    /// Peak learning rate
    #[arg(long, add = InSummary, help_heading = "Optimisation", default_value_t = 1.5e-4, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub learning_rate: f64,
    /// Peak learning rate of the critic
    #[arg(long, help_heading = "Optimisation", add = CRITIC_ONLY, default_value_t = 2e-3, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub value_learning_rate: f64,
    /// Final learning rate as a share of the peak, at the end of the cosine schedule
    #[arg(long, help_heading = "Optimisation", default_value_t = 0.1, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub final_learning_rate: f64,
    /// Steps of linear warm-up
    #[arg(long, help_heading = "Optimisation", value_name = "N", default_value_t = 8)]
    pub warm_up: usize,
    /// Maximum global gradient norm; 0 for no clipping
    #[arg(long, help_heading = "Optimisation", default_value_t = 1.0, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub max_grad_norm: f64,
    /// β: weight of the KL penalty: each token's reward is reduced by β (log π - log π_ref); 0 for no penalty
    #[arg(long, add = InSummary, help_heading = "Objective", default_value_t = 0.05, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub kl_coefficient: f64,
    /// Adapt β so that the KL divergence of a completion approaches this many nats [default: β is constant]
    #[arg(long, add = InSummary, help_heading = "Objective", add = FlagEffect::if_given("kl-coefficient"), value_name = "NATS", value_parser = crate::cli::args::above_0::<f64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl_target: Option<f64>,
    /// Number of samples over which β changes by at most 22 %; at least the samples of a step
    #[arg(long, help_heading = "Objective", add = FlagEffect::if_given("kl-target"), value_name = "N", default_value_t = 10_000, value_parser = crate::cli::args::positive)]
    pub kl_horizon: usize,
    /// ε: clip range of the probability ratio
    #[arg(long, help_heading = "Objective", default_value_t = 0.2, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub epsilon: f64,
    /// C: largest importance weight π / μ of a token that an inference server μ chose in place of the policy π [default: 2]
    #[arg(long, help_heading = "Objective", add = FlagEffect::if_given("rollout-server"), value_name = "C", value_parser = crate::cli::args::above_0::<f32>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub importance_clip: Option<f32>,
    /// Clip range of the critic's value around its old prediction
    #[arg(long, help_heading = "Objective", add = CRITIC_ONLY, default_value_t = 0.2, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub value_clip: f64,
    /// First steps in which only the critic is trained
    #[arg(long, help_heading = "Optimisation", add = CRITIC_ONLY, value_name = "N", default_value_t = 3)]
    pub value_warm_up: usize,
    /// Weight of the value loss
    #[arg(long, help_heading = "Objective", add = CRITIC_ONLY, default_value_t = 1.0, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub value_weight: f64,
    /// γ: discount per token
    #[arg(long, help_heading = "Objective", add = CRITIC_ONLY, default_value_t = 1.0, value_parser = crate::cli::args::share::<f32>)]
    pub gamma: f32,
    /// λ of generalised advantage estimation (GAE)
    #[arg(long, help_heading = "Objective", add = CRITIC_ONLY, default_value_t = 1.0, value_parser = crate::cli::args::share::<f32>)]
    pub lambda: f32,
    /// Number of top blocks of which the critic has its own copy
    #[arg(long, help_heading = "Model", add = FixedOnResume::Value, add = CRITIC_ONLY, value_name = "N", default_value_t = 1)]
    pub value_layers: usize,
    /// Let the critic's gradient flow into the shared trunk
    #[arg(long, help_heading = "Model", add = CRITIC_ONLY)]
    pub value_shares_trunk: bool,
    /// End the run when an alarm is raised: a sign that it goes wrong, such as entropy that collapses (docs/reliability.md). Without it, the
    /// run warns once of each and goes on
    #[arg(long, help_heading = "Run")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
}

/// The name of an advantage on the command line.
fn name(advantage: AdvantageKind) -> String {
    advantage.to_possible_value().expect("no value is skipped").get_name().to_string()
}

impl PpoConfig {
    /// Whether a critic is trained.
    pub fn has_critic(&self) -> bool {
        self.advantage == AdvantageKind::Gae
    }

    /// Blocks of the critic's branch.
    pub(super) fn critic_layers(&self) -> usize {
        if self.has_critic() { self.value_layers } else { 0 }
    }

    /// The largest importance weight of a token that a server chose.
    pub(super) fn importance_clip(&self) -> f32 {
        self.importance_clip.unwrap_or(2.0)
    }

    /// Number of first steps in which only the critic is trained.
    pub(super) fn critic_warm_up(&self) -> usize {
        if self.has_critic() { self.value_warm_up } else { 0 }
    }
}

impl Configuration for PpoConfig {
    /// Of published models the policy's learning rate is that of Havrilla et al. (2024), for adapters ten times as much (Schulman et al.
    /// 2025, LoRA Without Regret), and the critic's, which has no adapters, that of the GSM8K example of verl (Sheng et al. 2024, arXiv
    /// 2409.19256).
    fn defaults(kind: ModelKind) -> Self {
        let config: Self = declared();
        let (learning_rate, value_learning_rate) = match kind {
            ModelKind::Size(ModelSize::Pico) => (3e-4, config.value_learning_rate),
            ModelKind::Size(_) => (config.learning_rate, config.value_learning_rate),
            ModelKind::Published { adapters: false } => (1e-6, 1e-5),
            ModelKind::Published { adapters: true } => (1e-5, 1e-5),
        };
        let steps = if kind == ModelKind::Size(ModelSize::Pico) { 300 } else { config.steps };
        Self { learning_rate, value_learning_rate, steps, ..config }
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

/// Prints what a run would do and need.
///
/// # Errors
/// An `--init` that cannot be read.
pub fn dry_run(config: &PpoConfig, device: &Device) -> Result<()> {
    let samples = config.questions * config.samples;
    let shape = dry_run::shape(config.init.init.as_deref(), config.init.model)?;
    // Adapters are added to what is the reference.
    let reference = if config.lora.lora_rank.is_some() { 0.0 } else { 1.0 };
    let work = dry_run::TrainingWorkload {
        rows: config.mini_batch,
        positions: config.run.compute.micro_batch.min(config.mini_batch) * 2 * config.data.max_new_tokens(),
        // With the critic's blocks, their gradients and moments.
        extra_models: reference + 5.0 * config.critic_layers() as f64 / shape.num_hidden_layers as f64,
        trained: config.lora.parameters(&shape),
        steps: config.steps * config.ppo_epochs * samples.div_ceil(config.mini_batch),
        sampled: samples.max(config.eval.rows(&config.data)),
        new_tokens: config.data.max_new_tokens(),
        samples,
    };
    dry_run::print("ppo", config, &config.run, &shape, &work, device)?;
    print_line(&format!(
        "# samples of a step     {samples} ({} questions x {})\n# samples in all        {}",
        config.questions,
        config.samples,
        samples * config.steps
    ))?;
    warn(config);
    Ok(())
}

/// Warns about combinations of flags with unexpected effects.
pub(super) fn warn(config: &PpoConfig) {
    let (steps, alone) = (config.steps, config.critic_warm_up());
    if steps <= alone {
        tracing::warn!(
            "the policy is never updated: in the first --value-warm-up {alone} of --steps {steps} only the critic is trained"
        );
    }
    let rest = config.questions * config.samples % config.mini_batch;
    if rest > 0 {
        tracing::warn!(
            "--mini-batch {} does not divide the {} samples of a step: the last {rest} of each pass get a proportionally smaller weight",
            config.mini_batch,
            config.questions * config.samples
        );
    }
    let RewardArgs { reward, orm_score, .. } = config.reward;
    if (reward, orm_score) == (RewardKind::DenseOrm, OrmScore::Potential) && !config.has_critic() {
        tracing::warn!(
            "--reward dense-orm equals sparse-orm here: --advantage {} uses the sum of a completion's rewards, and with --orm-score potential the lines' rewards add up to that of sparse-orm",
            name(config.advantage)
        );
    }
}

/// Refuses a critic with more blocks than the model has.
pub(super) fn check_value_layers(config: &PpoConfig, blocks: usize) -> Result<()> {
    ensure!(
        config.value_layers <= blocks,
        "--value-layers {} is more than the {blocks} blocks of the model",
        config.value_layers
    );
    Ok(())
}

/// Takes the run that is resumed, if one is, for as long as the result lives.
///
/// # Errors
/// A run that is in use, or was begun otherwise.
pub fn lock_run(config: &PpoConfig) -> Result<Option<Lock>> {
    let lock = run::start::lock_run(&config.run)?;
    run::start::check_unchanged(&config.run, config, &[])?;
    run::start::check_inputs(&config.run, &[("extra", config.data.extra.as_deref())])?;
    Ok(lock)
}

/// Refuses flags that contradict each other, missing data and a reward model that is not there.
///
/// # Errors
/// Naming the flag.
pub fn check(config: &PpoConfig, problems: &Problems) -> Result<()> {
    if config.top_k.is_some() || config.top_p.is_some() {
        bail!(
            "--top-k and --top-p cannot be used with PPO: its ratios need the probability of each sample under the full \
             distribution it was drawn from; use --temperature"
        );
    }
    config.reward.check()?;
    problems.train()?;
    config.data.prompting(config.shots)?;
    if config.init.init.is_none() {
        check_value_layers(config, dry_run::shape(None, config.init.model)?.num_hidden_layers)?;
    }
    check_reward_model(&config.reward)?;
    ensure!(
        config.has_critic() || config.samples >= 2,
        "--advantage {} compares the samples of a question with each other: give at least --samples 2",
        name(config.advantage)
    );
    check_samples(config.questions, config.samples)?;
    if config.kl_target.is_some() {
        ensure!(
            config.kl_horizon >= config.questions * config.samples,
            "--kl-horizon {} is less than the {} samples of a step: β would change too fast",
            config.kl_horizon,
            config.questions * config.samples
        );
    }
    check_samples(config.eval.test_problems, config.eval.test_samples)?;
    ensure!(
        config.mini_batch <= config.questions * config.samples,
        "--mini-batch {} is more than the {} samples of a step (--questions {} x --samples {})",
        config.mini_batch,
        config.questions * config.samples,
        config.questions,
        config.samples
    );
    Ok(())
}

/// Refuses a reward model whose score is not what the reward needs. Without `--orm`, one is made whose score is a probability.
fn check_reward_model(args: &RewardArgs) -> Result<()> {
    let (is_dense, is_pessimistic) = (args.scores_unfinished(), args.orm_pessimism > 0.0);
    ensure!(!is_pessimistic || !is_dense, "--orm-pessimism is for whole solutions: give --reward sparse-orm");
    let Some(path) = &args.orm else {
        ensure!(
            !is_pessimistic,
            "--orm-pessimism needs --orm: a reward model that is made here has no covariance of features; train one with `rl orm --objective pairwise`"
        );
        return Ok(());
    };
    resolve_checkpoint(path)?;
    // What is no reward model is refused where it is loaded.
    let Ok(kind) = RewardModelKind::of(path) else { return Ok(()) };
    if is_pessimistic {
        kind.check_pessimism("orm-pessimism", path)?;
    }
    if kind.score == ScoreKind::Relative {
        ensure!(
            !is_dense,
            "{} needs probabilities of unfinished solutions, and {} has learnt to compare finished ones: give --reward sparse-orm",
            if args.reward == RewardKind::DenseOrm { "--reward dense-orm" } else { "orm-lines" },
            path.display()
        );
        ensure!(
            kind.has_coverage,
            "{} has not ended, and its score has no zero yet: resume it with `rl orm --resume`",
            path.display()
        );
    }
    Ok(())
}

fn positive_temperature(text: &str) -> Result<f64, String> {
    match crate::cli::args::temperature(text)? {
        0.0 => Err("PPO needs samples that differ: give a temperature above 0".into()),
        value => Ok(value),
    }
}
