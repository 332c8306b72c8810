//! The flags of `rl ppo`: what they are called, what they mean, which of them contradict each other. Computes nothing.

use crate::{
    adapters::LoraArgs,
    args::{DataArgs, EvalArgs, InitArgs, RunArgs, not_negative},
    curriculum::CurriculumArgs,
    dry_run,
    progress::print_line,
    reward::{OrmScore, RewardArgs, RewardKind},
};
use anyhow::{Result, bail, ensure};
use burn::tensor::Device;
use clap::{Args, ValueEnum};
use data::Split;
use eval::{check_samples, resolve_checkpoint};
use serde::Serialize;
use std::path::PathBuf;

/// Improve a policy by PPO with rewards for right answers
#[derive(Args, Clone, Debug, Serialize)]
pub struct PpoConfig {
    /// Where, and with what.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Which problems.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// What to start from.
    #[command(flatten)]
    #[serde(flatten)]
    pub init: InitArgs,
    /// Adapters.
    #[command(flatten)]
    #[serde(flatten)]
    pub lora: LoraArgs,
    /// What is looked at.
    #[command(flatten)]
    #[serde(flatten)]
    pub eval: EvalArgs,
    /// Phases of sampling and learning
    #[arg(long, value_name = "N", default_value_t = 36, value_parser = crate::args::positive)]
    pub steps: usize,
    /// Questions of one step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = crate::args::positive)]
    pub questions: usize,
    /// Solutions sampled of each question
    #[arg(long, value_name = "K", default_value_t = 4, value_parser = crate::args::positive)]
    pub samples: usize,
    /// Solved problems shown before each question, for a policy that was never fine-tuned
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shots: usize,
    /// Sampling temperature; also divides the logits of policy and reference in the losses
    #[arg(long, default_value_t = 0.7, value_parser = positive_temperature)]
    pub temperature: f64,
    /// Refused: PPO's ratios need the full distribution
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub top_k: Option<usize>,
    /// Refused: PPO's ratios need the full distribution
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub top_p: Option<f64>,
    /// What a completion earns.
    #[command(flatten)]
    #[serde(flatten)]
    pub reward: RewardArgs,
    /// Which questions, and from where.
    #[command(flatten)]
    #[serde(flatten)]
    pub curriculum: CurriculumArgs,
    /// What tells a good token from a bad one: a critic, or the other samples of the same question
    #[arg(long, value_enum, default_value_t)]
    pub advantage: AdvantageKind,
    /// Passes over the samples of a step
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = crate::args::positive)]
    pub ppo_epochs: usize,
    /// Samples of one optimiser step; fewer that are left at the end of a pass weigh as much less
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = crate::args::positive)]
    pub mini_batch: usize,
    /// Peak learning rate
    #[arg(long, default_value_t = 2e-4)]
    pub learning_rate: f64,
    /// Peak learning rate of the critic's branch
    #[arg(long, default_value_t = 2e-3)]
    pub value_learning_rate: f64,
    /// Share of the peak that is left at the end of the cosine
    #[arg(long, default_value_t = 0.1)]
    pub final_learning_rate: f64,
    /// Steps of linear warm-up
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub warm_up: usize,
    /// Bound of the global gradient norm; 0 for none
    #[arg(long, default_value_t = 1.0)]
    pub max_grad_norm: f64,
    /// β, the price of a nat of divergence from the starting policy
    #[arg(long, default_value_t = 0.05)]
    pub kl_coefficient: f64,
    /// Move β so that a completion diverges by this many nats [default: β stays]
    #[arg(long, value_name = "NATS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl_target: Option<f64>,
    /// Samples over which β moves by at most 22 %, up or down; not less than those of a step
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = crate::args::positive)]
    pub kl_horizon: usize,
    /// ε, how far a ratio may move before its gradient is cut
    #[arg(long, default_value_t = 0.2)]
    pub epsilon: f64,
    /// How far a value may move from its old prediction before its gradient is cut
    #[arg(long, default_value_t = 0.2)]
    pub value_clip: f64,
    /// First steps in which the critic learns alone: a policy is not to be judged by a critic that knows nothing
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub value_warm_up: usize,
    /// Weight of the critic's loss
    #[arg(long, default_value_t = 1.0)]
    pub value_weight: f64,
    /// γ, discount per token
    #[arg(long, default_value_t = 1.0)]
    pub gamma: f32,
    /// λ of generalised advantage estimation
    #[arg(long, default_value_t = 1.0)]
    pub lambda: f32,
    /// Blocks that the critic has a copy of its own of
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub value_layers: usize,
    /// Let the critic's gradient into the shared trunk
    #[arg(long)]
    pub value_shares_trunk: bool,
}

/// Where advantages come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdvantageKind {
    /// Generalised advantage estimation with a critic, whitened over the step.
    #[default]
    Gae,
    /// Against the mean of the question's samples, in units of their deviation (GRPO); no critic.
    Group,
    /// Against the mean of the question's other samples (RLOO); no critic.
    Rloo,
}

impl AdvantageKind {
    /// As it is typed.
    fn name(self) -> &'static str {
        match self {
            Self::Gae => "gae",
            Self::Group => "group",
            Self::Rloo => "rloo",
        }
    }
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

    /// Steps in which the critic learns alone.
    pub(super) fn critic_warm_up(&self) -> usize {
        if self.has_critic() { self.value_warm_up } else { 0 }
    }
}

/// What differs from the defaults of the flattened groups.
pub const DEFAULTS: &[(&str, &str)] = &[];

/// The defaults for published models: the policy's of Havrilla et al. (2024), for adapters ten times as much (Schulman et al. 2025, LoRA
/// Without Regret), and the critic's of the GSM8K example of verl (Sheng et al. 2024, arXiv 2409.19256), which is no adapter's.
pub const PUBLISHED: &[(&str, &str, &str)] =
    &[("learning_rate", "1e-6", "1e-5"), ("value_learning_rate", "1e-5", "1e-5")];

pub(super) fn dry_run(config: &PpoConfig, device: &Device) -> Result<PathBuf> {
    let samples = config.questions * config.samples;
    let shape = dry_run::shape(config.init.init.as_deref(), config.init.model)?;
    // Adapters are added to what is the reference.
    let reference = if config.lora.lora_rank.is_some() { 0.0 } else { 1.0 };
    let work = dry_run::Work {
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
    Ok(PathBuf::new())
}

/// Tells of flags that together do something else than each of them says.
pub(super) fn warn(config: &PpoConfig) {
    let (steps, alone) = (config.steps, config.critic_warm_up());
    if steps <= alone {
        tracing::warn!(
            "the policy is never updated: in the first --value-warm-up {alone} of --steps {steps} the critic learns alone"
        );
    }
    let rest = config.questions * config.samples % config.mini_batch;
    if rest > 0 {
        tracing::warn!(
            "--mini-batch {} does not divide the {} samples of a step: the last {rest} of each pass weigh as much less",
            config.mini_batch,
            config.questions * config.samples
        );
    }
    let RewardArgs { reward, orm_score, .. } = config.reward;
    if (reward, orm_score) == (RewardKind::DenseOrm, OrmScore::Potential) && !config.has_critic() {
        tracing::warn!(
            "--reward dense-orm is sparse-orm here: --advantage {} sees sums, and what lines earn by --orm-score potential adds up to it",
            config.advantage.name()
        );
    }
}

/// Refuses a critic with more blocks of its own than the model has.
pub(super) fn check_value_layers(config: &PpoConfig, blocks: usize) -> Result<()> {
    ensure!(
        config.value_layers <= blocks,
        "--value-layers {} is more than the {blocks} blocks of the model",
        config.value_layers
    );
    Ok(())
}

/// All that can be known before a model is made.
pub(super) fn check(config: &PpoConfig) -> Result<()> {
    config.lora.check()?;
    if config.top_k.is_some() || config.top_p.is_some() {
        bail!(
            "--top-k and --top-p cannot be used with PPO: its ratios need the probability of each sample under the full \
             distribution it was drawn from; use --temperature"
        );
    }
    not_negative(&[
        ("learning-rate", config.learning_rate),
        ("value-learning-rate", config.value_learning_rate),
        ("final-learning-rate", config.final_learning_rate),
        ("max-grad-norm", config.max_grad_norm),
        ("kl-coefficient", config.kl_coefficient),
        ("epsilon", config.epsilon),
        ("value-clip", config.value_clip),
        ("value-weight", config.value_weight),
    ])?;
    config.reward.check()?;
    config.curriculum.check()?;
    config.data.load(Split::Train)?;
    config.data.prompting(config.shots)?;
    if config.init.init.is_none() {
        check_value_layers(config, dry_run::shape(None, config.init.model)?.num_hidden_layers)?;
    }
    if let Some(orm) = &config.reward.orm {
        resolve_checkpoint(orm)?;
    }
    ensure!(
        config.has_critic() || config.samples >= 2,
        "--advantage {} compares the samples of a question with each other: give --samples of at least 2",
        config.advantage.name()
    );
    for (flag, value) in [("gamma", config.gamma), ("lambda", config.lambda)] {
        ensure!((0.0..=1.0).contains(&value), "--{flag} {value}: give a number from 0 to 1");
    }
    check_samples(config.questions, config.samples)?;
    if let Some(target) = config.kl_target {
        ensure!(target.is_finite() && target > 0.0, "--kl-target {target}: give a number above 0");
        ensure!(
            config.kl_horizon >= config.questions * config.samples,
            "--kl-horizon {} is less than the {} samples of a step: β would jump",
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

fn positive_temperature(text: &str) -> Result<f64, String> {
    match crate::args::temperature(text)? {
        0.0 => Err("PPO needs samples that differ: give a temperature above 0".into()),
        value => Ok(value),
    }
}
