//! Pretraining: a base model and its tokenizer from plain text. No paper's method; it makes what the paper downloads.
//!
//! The text is the embedded benchmark's corpus, or the questions and solutions of the training split of a real set.

use crate::{
    args::{DataArgs, RunArgs, VOCABULARY},
    dry_run, prepare,
    run::finish,
    supervised::{FitArgs, FitContext, FitNumbers, Look, fit, mean_loss},
};
use anyhow::{Result, ensure};
use burn::tensor::Device;
use clap::Args;
use data::{Benchmark, Example, Split, Tokenizer, completion_text, question_prompt};
use model::{ModelConfig, ModelSize, Transformer};
use serde::Serialize;
use std::path::PathBuf;

/// Train a tokenizer and a base model from scratch
#[derive(Args, Clone, Debug, Serialize)]
pub struct PretrainConfig {
    /// Where, and with what.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Which problems.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// How long and how fast.
    #[command(flatten)]
    #[serde(flatten)]
    pub fit: FitArgs,
    /// Size of the model
    #[arg(long, default_value = "tiny", value_parser = crate::args::model_size())]
    pub model: ModelSize,
    /// Tokens of the byte-level vocabulary
    #[arg(long, value_name = "V", default_value_t = VOCABULARY, value_parser = crate::args::positive)]
    pub vocabulary: usize,
    /// Tokens of one training sequence
    #[arg(long, value_name = "T", default_value_t = 256, value_parser = crate::args::positive)]
    pub context: usize,
    /// Steps between two looks at the held-out text
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = crate::args::positive)]
    pub eval_every: usize,
}

/// What differs from the defaults of [`FitArgs`].
pub const DEFAULTS: &[(&str, &str)] = &[
    ("learning_rate", "2e-3"),
    ("batch_size", "4"),
    ("micro_batch", "2"),
    ("steps", "2000"),
    ("warm_up", "60"),
    ("weight_decay", "0.05"),
];

/// What differs for other sizes than `tiny`: the larger ones want a smaller learning rate and more text. The numbers of `small` are
/// scaled from those of `medium`, not measured.
pub const BY_SIZE: &[(&str, &str, &str)] = &[
    ("learning_rate", "nano", "3e-3"),
    ("learning_rate", "medium", "1.2e-3"),
    ("learning_rate", "small", "8e-4"),
    ("steps", "medium", "4000"),
    ("steps", "small", "4000"),
];

/// Trains and leaves a run directory with the base model; its path.
///
/// # Errors
/// Missing data, a full disk, an interrupt.
pub fn train(config: &PretrainConfig, device: &Device) -> Result<PathBuf> {
    config.fit.check()?;
    if config.run.dry_run {
        return dry_run(config, device);
    }
    let _lock = prepare::claim(&config.run)?;
    prepare::check_fixed(&config.run, config, &[])?;
    prepare::check_inputs(&config.run, &[("extra", config.data.extra.as_deref())])?;
    let documents = corpus(&config.data)?;
    let (tokenizer, model, resumed) = match &config.run.resume {
        Some(dir) => {
            let (policy, state) = prepare::resume::<FitNumbers>(&config.run, dir, None, device)?;
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
    let mut run = prepare::open(&config.run, "pretrain", config.data.benchmark, config, step)?;
    let context = FitContext {
        args: &config.fit,
        run_args: &config.run,
        device,
        look_every: config.eval_every,
        label: "pretrain",
        conditioning: None,
        adapters: None,
        sampled: None,
    };
    let threads = config.run.compute.threads(device);
    fit(model, &tokenizer, blocks, &context, &mut run, resumed, |model| {
        let loss = mean_loss(model, held_out, config.run.compute.micro_batch, threads);
        Ok(Look::of("validation/negative_loss", -loss))
    })?;
    Ok(finish(&run))
}

fn dry_run(config: &PretrainConfig, device: &Device) -> Result<PathBuf> {
    let work = dry_run::Work {
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
    dry_run::print("pretrain", config, &config.run, &shape, &work, device)?;
    Ok(PathBuf::new())
}

fn corpus(data: &DataArgs) -> Result<Vec<String>> {
    if data.benchmark == Benchmark::Synthetic {
        return Ok(data::synthetic::pretraining_corpus());
    }
    let problems = data.load(Split::Train)?;
    Ok(problems.iter().map(|p| question_prompt(&p.question) + &completion_text(&p.solution)).collect())
}

/// Documents end to end, each closed by the end-of-sequence token, cut into blocks of `context` tokens. The first token of
/// a block is only seen, not learnt.
fn pack(documents: &[String], tokenizer: &Tokenizer, context: usize) -> Vec<Example> {
    let eos = tokenizer.eos_ids()[0];
    let mut tokens = Vec::new();
    for document in documents {
        tokens.extend(tokenizer.encode(document));
        tokens.push(eos);
    }
    tokens.chunks_exact(context.max(2)).map(|block| Example::new(block.to_vec(), 1)).collect()
}
