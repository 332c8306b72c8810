//! The flags of `rl orm`: names, help, defaults and checks. Computes nothing.

use crate::{
    cli::args::{DataArgs, InitArgs, RunArgs},
    cli::defaults::{Configuration, ModelKind, declared},
    cli::effect::{FixedOnResume, FlagEffect, InSummary},
    objective::comparison::RewardObjective,
    run,
    run::lock::Lock,
    sampling::deduplicate::Deduplicate,
    sampling::prefix::{Labels, PrefixArgs, check_completions},
    sampling::problems::Problems,
    sampling::samples::{SamplingArgs, check_differ},
    training::adapters::LoraArgs,
    training::dry_run,
    training::supervised::FitArgs,
    view::progress::print_line,
};
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use eval::{check_samples, external::CheckerArgs, resolve_checkpoint};
use model::Device;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Train a reward model: how likely is a solution to be right
#[derive(Args, Clone, Debug, Serialize)]
pub struct OrmConfig {
    /// Run directory, seed and device.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Benchmark and problems.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// The policy that samples, and whose trunk the reward model continues from.
    #[command(flatten)]
    #[serde(flatten)]
    pub init: InitArgs,
    /// Adapters.
    #[command(flatten)]
    #[serde(flatten)]
    pub lora: LoraArgs,
    /// Blocks added above the trunk, copies of its top ones: unlike the head, they read the top states of earlier tokens
    #[arg(long, help_heading = "Model", add = FixedOnResume::Value, value_name = "N", default_value_t = 0)]
    pub added_blocks: usize,
    /// Optimisation.
    #[command(flatten)]
    #[serde(flatten)]
    pub fit: FitArgs,
    /// Solutions to train on.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: SamplingArgs,
    /// What the head is trained towards. Those that compare learn from right and wrong solutions of one question, or where rewards from outside
    /// have more than two values from these; the checkpoint is chosen by the order within questions
    #[arg(long, add = FixedOnResume::Value, add = InSummary, help_heading = "Objective", value_enum, default_value_t)]
    #[serde(skip_serializing_if = "RewardObjective::is_bce")]
    pub objective: RewardObjective,
    /// Solutions of one question in a ranking; --batch-size and --micro-batch count solutions, and hold whole rankings
    #[arg(long, add = FlagEffect::with("objective", &["kwise", "kwise-split"]), help_heading = "Objective", value_name = "K", default_value_t = 8, value_parser = at_least_2)]
    pub ranking_size: usize,
    /// λ of the covariance Σ_D + λ I of feature differences, which pessimism uses
    #[arg(long, add = FlagEffect::with("objective", COMPARING), help_heading = "Objective", value_name = "LAMBDA", default_value_t = 0.01, value_parser = crate::cli::args::above_0::<f64>)]
    pub covariance_lambda: f64,
    /// Train only on the first N solutions of each question; all are kept in samples.jsonl, and all solutions of
    /// held-out questions are evaluated [default: all]
    #[arg(long, add = FixedOnResume::OnceLabelled, help_heading = "Objective", value_name = "N", value_parser = crate::cli::args::positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_question: Option<usize>,
    /// When two solutions of a question count as one training example. Among many samples, frequent solutions crowd out
    /// the rare ones that best-of-many selection will meet
    #[arg(long, add = FixedOnResume::OnceLabelled, help_heading = "Objective", value_enum, default_value = "none")]
    pub deduplicate: Deduplicate,
    /// How a step prefix is labelled
    #[arg(long, add = FlagEffect::with("objective", &["bce"]).or_given("check-labels"), help_heading = "Objective", value_enum, default_value_t)]
    pub labels: Labels,
    /// Completions of their prefixes.
    #[command(flatten)]
    #[serde(flatten)]
    pub prefixes: PrefixArgs,
    /// How completions of a prefix become its label, for --labels steps
    #[arg(long, help_heading = "Objective", add = FlagEffect::with("labels", &["steps"]), value_enum, default_value_t)]
    pub step_label: StepLabel,
    /// Positions of a solution at which the head is trained; reports and rewards always read it at line ends
    #[arg(long, add = FlagEffect::with("objective", &["bce"]), help_heading = "Objective", aliases = ["judge-after", "train-after"], value_enum, default_value_t)]
    // The key is part of the identity of reward models made on demand.
    #[serde(rename = "judge_after")]
    pub loss_positions: LossPositions,
    /// Weights of correct and wrong solutions in the loss; balancing spoils calibration
    #[arg(long, add = FlagEffect::with("objective", &["bce"]), help_heading = "Objective", value_enum, default_value_t)]
    pub class_weights: ClassWeights,
    /// Weight of a language-modelling loss on correct solutions, added to the reward model's loss, which trains the trunk or its adapters
    /// (Cobbe et al. 2021)
    #[arg(long, visible_alias = "lm-weight", help_heading = "Objective", value_name = "WEIGHT", default_value_t = 0.0, value_parser = crate::cli::args::at_least_0::<f32>)]
    pub language_modelling: f32,
    /// Add a solution's likelihood under this language model to the head's score: a run or checkpoint, best of a policy
    /// trained on correct solutions. Its weight is fitted on held-out questions, so the report on them is too good if
    /// the policy was trained on them. The model is copied into the reward model
    #[arg(long, help_heading = "Objective", value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likelihood_of: Option<PathBuf>,
    /// Share of training questions held out for the report
    #[arg(long, add = FixedOnResume::OnceLabelled, help_heading = "Evaluation", value_name = "SHARE", default_value_t = 0.1, value_parser = crate::cli::args::part::<f64>)]
    pub held_out: f64,
    /// Steps between two evaluations on held-out questions
    #[arg(long, help_heading = "Evaluation", value_name = "N", default_value_t = 100, value_parser = crate::cli::args::positive)]
    pub eval_every: usize,
    /// Number of held-out questions per evaluation, at most half of them; the final report uses the others
    #[arg(long, help_heading = "Evaluation", value_name = "N", default_value_t = 150, value_parser = crate::cli::args::positive)]
    pub eval_problems: usize,
    /// What the best checkpoint is best by, on held-out questions
    #[arg(long, add = FlagEffect::with("objective", &["bce"]), help_heading = "Evaluation", value_enum, default_value_t)]
    pub best_by: BestBy,
    /// At the end, compare all kinds of labels with many completions of prefixes, on this many held-out samples; 0 for
    /// none
    #[arg(long, help_heading = "Evaluation", value_name = "N", default_value_t = 0)]
    pub check_labels: usize,
    /// Completions per prefix in the comparison of --check-labels
    #[arg(long, help_heading = "Evaluation", add = FlagEffect::if_given("check-labels"), value_name = "K", default_value_t = 64, value_parser = crate::cli::args::positive)]
    pub check_completions: usize,
    /// An external reward that decides which samples are correct.
    #[command(flatten)]
    #[serde(flatten)]
    pub checker: CheckerArgs,
}

/// The objectives that compare.
const COMPARING: &[&str] = &["pairwise", "kwise", "kwise-split"];

impl OrmConfig {
    /// Solutions in an example: one, or those of a ranking.
    pub(super) fn solutions_of_example(&self) -> usize {
        match self.objective {
            RewardObjective::Bce => 1,
            RewardObjective::Pairwise => 2,
            RewardObjective::Kwise | RewardObjective::KwiseSplit => self.ranking_size,
        }
    }

    /// Steps, batches and micro-batches in examples, whose flags count solutions.
    pub(super) fn in_examples(&self) -> (FitArgs, RunArgs) {
        let size = self.solutions_of_example();
        let (mut fit, mut run) = (self.fit.clone(), self.run.clone());
        fit.batch_size = (fit.batch_size / size).max(1);
        run.compute.micro_batch = (run.compute.micro_batch / size).max(1);
        (fit, run)
    }

    /// What the best checkpoint is best by.
    pub(super) fn chosen_by(&self) -> BestBy {
        if self.objective.is_bce() { self.best_by } else { BestBy::AucWithin }
    }
}

fn at_least_2(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size) if size >= 2 => Ok(size),
        Ok(_) => Err("a ranking has at least 2 solutions".into()),
        Err(error) => Err(format!("{error}")),
    }
}

/// How the completions of a prefix become its label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepLabel {
    /// 1 if any completion is correct, else 0, as in the paper: the value of the best continuation.
    Any,
    /// The share of correct completions: the value of the average continuation.
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

/// Positions of a solution at which the head is trained, each with a term of the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LossPositions {
    /// After each line, as in Havrilla et al.
    #[default]
    Lines,
    /// After each token, with the label of its line: many more positions to learn from, among them the token right
    /// after a mistake (Cobbe et al. 2021, arXiv 2110.14168, section 4.2).
    Tokens,
}

/// What the best checkpoint of a reward model is best by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BestBy {
    /// The Brier score of all prefixes: calibrated probabilities, for rewards and filters.
    #[default]
    Brier,
    /// The area under the ROC curve of the finished solutions of one question, as a mean over questions: order within a question, for reranking.
    AucWithin,
}

/// Weights of correct and wrong solutions in the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// Every label has the same weight.
    #[default]
    None,
    /// Correct and wrong labels have the same total weight.
    Balanced,
}

impl Configuration for OrmConfig {
    /// Of published models the learning rates, of all weights and of adapters, are those of TRL's examples of reward models.
    fn defaults(kind: ModelKind) -> Self {
        let config: Self = declared();
        let learning_rate = match kind {
            ModelKind::Size(_) => 5e-4,
            ModelKind::Published { adapters: false } => 1e-5,
            ModelKind::Published { adapters: true } => 1e-4,
        };
        Self { fit: FitArgs { learning_rate, batch_size: 32, epochs: 1.0, warm_up: 40, ..config.fit }, ..config }
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

/// Takes the run that is resumed, if one is, for as long as the result lives.
///
/// # Errors
/// A run that is in use, or was begun otherwise.
pub fn lock_run(config: &OrmConfig) -> Result<Option<Lock>> {
    let lock = run::start::lock_run(&config.run)?;
    run::start::check_inputs(
        &config.run,
        &config.sampling.source.inputs(&config.data, config.prefixes.from_prefixes.as_deref()),
    )?;
    run::start::check_unchanged(&config.run, config, config.prefixes.fixed(config.labels, &config.run))?;
    Ok(lock)
}

/// Refuses flags that contradict each other, missing data and files that cannot be read.
///
/// # Errors
/// Naming the flag.
pub fn check(config: &OrmConfig, problems: &Problems) -> Result<()> {
    let problems = problems.train()?;
    ensure!(
        problems.len() >= 2,
        "--limit {}: there must be questions to train on and questions to hold out",
        problems.len()
    );
    let completes = config.labels == Labels::Steps || config.check_labels > 0;
    if let Some(samples) =
        config.sampling.check(problems, &config.data.answer_format(), completes, config.run.resume.as_deref())?
        // A checker grades them when the run has started.
        && !config.checker.decides(config.data.benchmark())
    {
        check_differ(&samples)?;
    }
    config.prefixes.check(config.run.resume.as_deref())?;
    let blocks = dry_run::shape(config.init.init.as_deref(), config.init.model)?.num_hidden_layers;
    ensure!(
        config.added_blocks == 0 || config.lora.lora_rank.is_none(),
        "--added-blocks trains new blocks, and --lora-rank adapters of the old ones alone: give one of the two"
    );
    ensure!(
        config.added_blocks <= blocks,
        "--added-blocks {} is more than the {blocks} blocks of the model, which are copied",
        config.added_blocks
    );
    check_completions("check-completions", config.check_completions)?;
    config.data.prompting(config.sampling.shots)?;
    if let Some(path) = &config.likelihood_of {
        ensure!(
            config.objective.is_bce(),
            "--likelihood-of is combined with a logit of being right, and the score of --objective pairwise, kwise or kwise-split is none"
        );
        resolve_checkpoint(path)?;
    }
    check_samples(problems.len(), config.sampling.samples)
}

/// Prints what a run would do and need.
///
/// # Errors
/// An `--init` that cannot be read.
pub fn dry_run(config: &OrmConfig, problems: &Problems, device: &Device) -> Result<()> {
    let (samples, planned) = config.sampling.planned(problems.train()?, &config.data.answer_format())?;
    let examples = (samples as f64 * (1.0 - config.held_out)).round() as usize;
    let shape = dry_run::shape(config.init.init.as_deref(), config.init.model)?;
    let size = config.solutions_of_example();
    let (fit, run) = config.in_examples();
    let work = dry_run::TrainingWorkload {
        rows: fit.batch_size * size,
        // A micro-batch holds a whole ranking at least.
        positions: (run.compute.micro_batch * size).div_ceil(config.run.compute.micro_batch).max(1)
            * dry_run::largest_micro_batch(&config.init, &config.data, problems.train()?, &config.fit, &config.run)?,
        // With the added blocks, their gradients and moments.
        extra_models: if config.likelihood_of.is_some() { 2.0 } else { 1.0 }
            + 4.0 * config.added_blocks as f64 / shape.num_hidden_layers as f64,
        trained: config.lora.parameters(&shape),
        // As many rankings as take every solution once; questions of one kind have none.
        steps: fit.total_steps(examples.div_ceil(size)),
        sampled: config.sampling.source.sampled(samples),
        new_tokens: config.data.max_new_tokens(),
        samples,
    };
    dry_run::print("orm", config, &config.run, &shape, &work, device)?;
    print_line(&format!("# samples               {planned}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config_file;

    #[test]
    fn loss_positions_are_read_from_the_key_that_a_run_writes_and_from_each_name_of_the_flag() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let file = folder.path().join("config.toml");
            std::fs::write(&file, text).unwrap();
            config_file::read::<OrmConfig>(&file).unwrap().loss_positions
        };
        let tokens = OrmConfig { loss_positions: LossPositions::Tokens, ..declared() };
        assert_eq!(read(&toml::to_string(&tokens).unwrap()), LossPositions::Tokens);
        for key in ["loss_positions", "judge_after", "train_after"] {
            assert_eq!(read(&format!("{key} = \"tokens\"")), LossPositions::Tokens, "{key}");
        }
        assert_eq!(read(""), LossPositions::Lines);
    }

    #[test]
    fn a_step_label_is_1_if_any_completion_is_right_or_it_is_the_share_of_right_ones() {
        let of = |right| [StepLabel::Any, StepLabel::Share].map(|kind| kind.of(right, 4));
        assert_eq!([of(0), of(1), of(4)], [[0.0, 0.0], [1.0, 0.25], [1.0, 1.0]]);
    }
}
