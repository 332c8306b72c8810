//! Pretraining: a base model and its tokenizer from plain text. Not a method of the paper: it replaces the pretrained
//! models that the paper downloads.
//!
//! The text is the embedded benchmark's corpus, or the questions and solutions of the training split of a real set.

use crate::{
    cli::args::{DataArgs, RunArgs, VOCABULARY},
    cli::defaults::{Configuration, ModelKind, declared},
    cli::effect::{FixedOnResume, InSummary},
    run,
    run::lock::Lock,
    sampling::problems::Problems,
    training::dry_run,
    training::resume,
    training::supervised::{FitArgs, FitContext, FitNumbers, ValidationScore, fit, likelihood_loss, mean_loss},
    view::html::write_final_report,
};
use anyhow::{Result, ensure};
use clap::Args;
use data::{Example, Problem, Tokenizer};
use model::{Device, ModelConfig, ModelSize, Transformer};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Train a tokenizer and a base model from scratch
#[derive(Args, Clone, Debug, Serialize)]
pub struct PretrainConfig {
    /// Run directory, seed and device.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Benchmark and problems.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// Optimisation.
    #[command(flatten)]
    #[serde(flatten)]
    pub fit: FitArgs,
    /// Size of the model
    #[arg(long, add = InSummary, help_heading = "Model", add = FixedOnResume::Value, default_value_t, value_parser = crate::cli::args::model_size())]
    pub model: ModelSize,
    /// Size of the byte-level vocabulary
    #[arg(long, help_heading = "Model", add = FixedOnResume::Value, value_name = "V", default_value_t = VOCABULARY, value_parser = crate::cli::args::positive)]
    pub vocabulary: usize,
    /// Tokens per training sequence
    #[arg(long, help_heading = "Model", value_name = "T", default_value_t = 256, value_parser = crate::cli::args::positive)]
    pub context: usize,
    /// Steps between two evaluations on held-out text
    #[arg(long, help_heading = "Evaluation", value_name = "N", default_value_t = 120, value_parser = crate::cli::args::positive)]
    pub eval_every: usize,
}

impl Configuration for PretrainConfig {
    /// The larger sizes want a smaller learning rate, and the smallest more steps. The rate of `small` is scaled from that of `medium`, not
    /// measured.
    fn defaults(kind: ModelKind) -> Self {
        let mut config: Self = declared();
        let learning_rate = match kind {
            ModelKind::Size(ModelSize::Pico | ModelSize::Nano) => 3e-3,
            ModelKind::Size(ModelSize::Tiny) | ModelKind::Published { .. } => 2e-3,
            ModelKind::Size(ModelSize::Medium) => 1.2e-3,
            ModelKind::Size(ModelSize::Small) => 8e-4,
        };
        let steps = if kind == ModelKind::Size(ModelSize::Pico) { 8000 } else { 4000 };
        let fit =
            FitArgs { learning_rate, steps: Some(steps), batch_size: 4, warm_up: 60, weight_decay: 0.05, ..config.fit };
        config.run.compute.micro_batch = 2;
        Self { fit, ..config }
    }

    fn trained(&self) -> Option<&Path> {
        None
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
pub fn lock_run(config: &PretrainConfig) -> Result<Option<Lock>> {
    let lock = run::start::lock_run(&config.run)?;
    run::start::check_unchanged(&config.run, config, &[])?;
    run::start::check_inputs(&config.run, &[("extra", config.data.extra.as_deref())])?;
    Ok(lock)
}

/// Trains and leaves a run directory with the base model; its path.
///
/// # Errors
/// Missing data, a full disk, an interrupt.
pub fn train(config: &PretrainConfig, problems: &Problems, device: &Device) -> Result<PathBuf> {
    let documents = corpus(problems)?;
    let (tokenizer, model, resumed) = match &config.run.resume {
        Some(dir) => {
            let (policy, state) = resume::load_checkpoint::<FitNumbers>(&config.run, dir, None, device)?;
            (policy.tokenizer, policy.model, Some(state))
        }
        None => {
            let tokenizer = Tokenizer::train_bpe(&documents, config.vocabulary)?;
            let eos = tokenizer.eos_ids()[0];
            let shape = ModelConfig::of_size(config.model, tokenizer.vocab_size(), eos);
            let model = Transformer::init(&shape, config.run.seed, device);
            (tokenizer, model, None)
        }
    };
    let blocks = pack(&documents, &tokenizer, config.context);
    ensure!(blocks.len() >= 2, "the text is too short for two sequences of --context {} tokens", config.context);
    let (held_out, blocks) = blocks.split_at((blocks.len() / 50).clamp(1, 256));
    let step = resumed.as_ref().map_or(0, |state| state.numbers.step);
    let mut run = run::start::create_or_resume(&config.run, "pretrain", &config.data, config, step)?;
    let context = FitContext {
        args: &config.fit,
        run_args: &config.run,
        device,
        evaluate_every: config.eval_every,
        label: "pretrain",
        conditioning: None,
        adapters: None,
        sampled: None,
    };
    let threads = config.run.compute.threads(device);
    fit(model, &tokenizer, blocks, likelihood_loss, &context, &mut run, resumed, |model| {
        let loss = mean_loss(model, held_out, config.run.compute.micro_batch, threads);
        Ok(ValidationScore::new("validation/negative_loss", -loss))
    })?;
    Ok(write_final_report::<PretrainConfig>(&run))
}

/// Prints what a run would do and need.
///
/// # Errors
/// Errors of standard output.
pub fn dry_run(config: &PretrainConfig, device: &Device) -> Result<()> {
    let work = dry_run::TrainingWorkload {
        rows: config.fit.batch_size,
        positions: config.run.compute.micro_batch.min(config.fit.batch_size) * config.context,
        extra_models: 0.0,
        trained: None,
        steps: config.fit.steps.unwrap_or(0),
        sampled: 0,
        new_tokens: 0,
        samples: 0,
    };
    let shape = ModelConfig::of_size(config.model, config.vocabulary, 0);
    dry_run::print("pretrain", config, &config.run, &shape, &work, device)
}

fn corpus(problems: &Problems) -> Result<Vec<String>> {
    if let Some(generator) = problems.data().benchmark().generator() {
        return Ok(generator.pretraining_corpus());
    }
    let format = problems.data().prompt_format();
    let document = |problem: &Problem| {
        Ok(format.text(&[], &problem.question)? + &format.solution(&problem.question, &problem.solution)?)
    };
    problems.train()?.iter().map(document).collect()
}

/// Documents end to end, each closed by the end-of-sequence token, cut into blocks of `context` tokens. The first token
/// of a block is input only, never a target.
fn pack(documents: &[String], tokenizer: &Tokenizer, context: usize) -> Vec<Example> {
    let eos = tokenizer.eos_ids()[0];
    let mut tokens = Vec::new();
    for document in documents {
        tokens.extend(tokenizer.encode(document));
        tokens.push(eos);
    }
    tokens.chunks_exact(context.max(2)).map(|block| Example::new(block.to_vec(), 1)).collect()
}
