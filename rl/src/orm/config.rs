//! The flags of `rl orm`: what they are called, what they mean, which of them contradict each other. Computes nothing.

use crate::{
    adapters::LoraArgs,
    args::{DataArgs, InitArgs, RunArgs, not_negative},
    dry_run,
    harvest::{Deduplicate, SamplingArgs, check_differ},
    prefix::{Labels, PrefixArgs, check_completions},
    progress::print_line,
    supervised::FitArgs,
};
use anyhow::{Result, ensure};
use burn::tensor::Device;
use clap::{Args, ValueEnum};
use data::Split;
use eval::{check_samples, resolve_checkpoint};
use serde::Serialize;
use std::path::PathBuf;

/// Train a reward model: how likely is a solution to be right
#[derive(Args, Clone, Debug, Serialize)]
pub struct OrmConfig {
    /// Where, and with what.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Which problems.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// What samples, and is the trunk.
    #[command(flatten)]
    #[serde(flatten)]
    pub init: InitArgs,
    /// Adapters.
    #[command(flatten)]
    #[serde(flatten)]
    pub lora: LoraArgs,
    /// How long and how fast.
    #[command(flatten)]
    #[serde(flatten)]
    pub fit: FitArgs,
    /// Solutions to learn from.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: SamplingArgs,
    /// Solutions of a question to learn from, the first ones; all are kept for whoever takes them up, and all of held-out
    /// questions are judged [default: all]
    #[arg(long, value_name = "N", value_parser = crate::args::positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_question: Option<usize>,
    /// When two solutions of a question are one to learn from. Among many samples those that are drawn often crowd out the
    /// rare ones, which a choice of the best of many will meet
    #[arg(long, value_enum, default_value = "none")]
    pub deduplicate: Deduplicate,
    /// What a step prefix is labelled with
    #[arg(long, value_enum, default_value_t)]
    pub labels: Labels,
    /// Completions of their prefixes.
    #[command(flatten)]
    #[serde(flatten)]
    pub prefixes: PrefixArgs,
    /// What the completions of a prefix make its label, for `--labels steps`
    #[arg(long, value_enum, default_value_t)]
    pub step_label: StepLabel,
    /// After what the head learns to judge; reports and rewards read it after lines in any case
    #[arg(long, value_enum, default_value_t)]
    pub judge_after: JudgeAfter,
    /// How much right and wrong weigh in the loss; weights spoil calibration
    #[arg(long, value_enum, default_value_t)]
    pub class_weights: ClassWeights,
    /// Weight of learning to write the right solutions, beside judging all: the trunk goes on as a language model
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0)]
    pub language_modelling: f32,
    /// Let count, beside what the head says, how likely a solution is to this language model: a run or a checkpoint, of a policy
    /// that has learnt from right solutions best. How much is found on held-out questions, so the report on others is too good for
    /// a policy that has learnt from their solutions as well. It is copied into the reward model
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likelihood_of: Option<PathBuf>,
    /// Share of the training questions that is held out, for the report
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub held_out: f64,
    /// Steps between two looks at held-out questions
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = crate::args::positive)]
    pub eval_every: usize,
    /// Held-out questions that looks are at, the first ones and at most half of them; the report at the end is of the others
    #[arg(long, value_name = "N", default_value_t = 150, value_parser = crate::args::positive)]
    pub eval_problems: usize,
    /// At the end, compare all kinds of labels with many completions of the prefixes of this many held-out samples
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub check_labels: usize,
    /// Completions of each prefix in that comparison
    #[arg(long, value_name = "K", default_value_t = 64, value_parser = crate::args::positive)]
    pub check_completions: usize,
}

/// What the completions of a prefix make its label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepLabel {
    /// 1 if any of them is right, else 0, as in the paper: how good the best that could follow is.
    Any,
    /// The share of them that is right: how good what will follow is.
    #[default]
    Share,
}

impl StepLabel {
    /// The label of a prefix with so many right completions.
    pub fn of(self, right: usize, of: usize) -> f32 {
        match self {
            Self::Any => f32::from(u8::from(right > 0)),
            Self::Share => right as f32 / of as f32,
        }
    }
}

/// After what the head learns to judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JudgeAfter {
    /// Each line, as Havrilla et al. do.
    #[default]
    Lines,
    /// Each token, with the label of its line: many more places to learn from, among them the one where a slip was just made
    /// (Cobbe et al. 2021, arXiv 2110.14168, section 4.2).
    Tokens,
}

/// How much right and wrong weigh in the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// Every label the same.
    #[default]
    None,
    /// Right and wrong the same in all.
    Balanced,
}

/// What differs from the defaults of the flattened groups.
pub const DEFAULTS: &[(&str, &str)] =
    &[("learning_rate", "5e-4"), ("batch_size", "32"), ("epochs", "1"), ("warm_up", "40")];

/// The defaults for published models: all weights, and adapters, as in TRL's examples of reward models.
pub const PUBLISHED: &[(&str, &str, &str)] = &[("learning_rate", "1e-5", "1e-4")];

pub(super) fn check(config: &OrmConfig) -> Result<()> {
    config.fit.check()?;
    config.lora.check()?;
    not_negative(&[("language-modelling", f64::from(config.language_modelling))])?;
    ensure!(
        config.held_out > 0.0 && config.held_out < 1.0,
        "--held-out {}: give a share between 0 and 1",
        config.held_out
    );
    let problems = config.data.load(Split::Train)?;
    ensure!(problems.len() >= 2, "--limit {}: there must be questions to learn and to hold out", problems.len());
    let completes = config.labels == Labels::Steps || config.check_labels > 0;
    if let Some(samples) =
        config.sampling.check(&problems, &config.data.answer_format, completes, config.run.resume.as_deref())?
    {
        check_differ(&samples)?;
    }
    config.prefixes.check(config.run.resume.as_deref())?;
    check_completions("check-completions", config.check_completions)?;
    config.data.prompting(config.sampling.shots)?;
    if let Some(path) = &config.likelihood_of {
        resolve_checkpoint(path)?;
    }
    check_samples(problems.len(), config.sampling.samples)
}

pub(super) fn dry_run(config: &OrmConfig, device: &Device) -> Result<PathBuf> {
    let (samples, planned) = config.sampling.planned(&config.data.load(Split::Train)?, &config.data.answer_format)?;
    let learnt = (samples as f64 * (1.0 - config.held_out)).round() as usize;
    let shape = dry_run::shape(config.init.init.as_deref(), config.init.model)?;
    let work = dry_run::Work {
        rows: config.fit.batch_size,
        positions: dry_run::largest_micro_batch(&config.init, &config.data, &config.fit, &config.run)?,
        extra_models: if config.likelihood_of.is_some() { 2.0 } else { 1.0 },
        trained: config.lora.parameters(&shape),
        steps: config.fit.total_steps(learnt),
        sampled: config.sampling.foreign.sampled(samples),
        new_tokens: config.data.max_new_tokens(),
        samples,
    };
    dry_run::print("orm", config, &config.run, &shape, &work, device)?;
    print_line(&format!("# samples               {planned}"))?;
    Ok(PathBuf::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_good_if_any_completion_is_right_or_as_good_as_the_share_that_is() {
        let of = |right| [StepLabel::Any, StepLabel::Share].map(|kind| kind.of(right, 4));
        assert_eq!([of(0), of(1), of(4)], [[0.0, 0.0], [1.0, 0.25], [1.0, 1.0]]);
    }
}
