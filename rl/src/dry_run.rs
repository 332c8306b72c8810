//! `--dry-run`: what a command would do, and what it would need. Writes nothing.

use crate::args::{ComputeArgs, RunArgs};
use anyhow::Result;
use burn::tensor::Device;
use model::ModelConfig;
use serde::Serialize;

/// Bytes of an f32.
const F32: usize = 4;
/// The vocabulary that is assumed where the tokenizer is not made yet.
const ASSUMED_VOCABULARY: usize = 512;

/// What a training step works on.
pub struct Work {
    /// Rows of an optimiser step.
    pub rows: usize,
    /// Tokens of a row, prompt and completion.
    pub tokens: usize,
    /// Copies of the weights that are kept beside the policy: a reference, a critic's share.
    pub extra_models: f64,
    /// Optimiser steps in all.
    pub steps: usize,
    /// Rows that a rollout samples at once; 0 where nothing is sampled.
    pub sampled_rows: usize,
}

/// Prints the resolved configuration, derived sizes and an estimate of the memory.
///
/// # Errors
/// If the configuration cannot be written as TOML.
pub fn print(
    command: &str,
    config: &impl Serialize,
    run: &RunArgs,
    shape: &ModelConfig,
    work: &Work,
    device: &Device,
) -> Result<()> {
    let threads = run.compute.threads(device);
    let micro_batch = run.compute.micro_batch.min(work.rows);
    println!("# rl {command} --dry-run: nothing is written\n\n{}", toml::to_string(config)?);
    println!("# derived");
    println!("# parameters            {}", shape.parameters());
    println!("# optimiser steps       {}", work.steps);
    println!("# rows of a step        {} in {} micro-batches", work.rows, work.rows.div_ceil(micro_batch));
    println!("# threads               {threads}");
    println!("# peak memory, roughly  {:.0} MB", estimate(shape, work, &run.compute, threads) as f64 / 1e6);
    Ok(())
}

/// The shape of the model that a command would start from: read where it exists, else the one that would be made.
pub fn shape(init: Option<&std::path::Path>, size: model::ModelSize) -> Result<ModelConfig> {
    match init {
        Some(path) => ModelConfig::read(&eval::resolve_checkpoint(path)?.join("config.json")),
        None => Ok(ModelConfig::of_size(size, ASSUMED_VOCABULARY, 0)),
    }
}

/// Bytes at the peak: weights, moments and gradients, and what autodiff keeps of one micro-batch a thread; or the cache of
/// the rows that are sampled, where that is more.
fn estimate(shape: &ModelConfig, work: &Work, compute: &ComputeArgs, threads: usize) -> usize {
    let weights = shape.parameters() * F32;
    // Policy, two moments, the sum of gradients, and one set of gradients on its way from each thread.
    let held = weights as f64 * (4.0 + threads as f64 + work.extra_models);
    let rows = compute.micro_batch.min(work.rows);
    let tokens = rows * work.tokens;
    let (d, f) = (shape.hidden_size, shape.intermediate_size);
    // Counted over the operations of `transformer.rs` whose inputs or outputs autodiff keeps.
    let block = tokens * (18 * d + 7 * f) + rows * shape.num_attention_heads * work.tokens * work.tokens * 4;
    let logits = tokens * shape.vocab_size * 4;
    let training = (shape.num_hidden_layers * block + logits) * F32 * threads;
    let cache = work.sampled_rows * work.tokens * shape.kv_heads() * shape.head_width() * 2 * shape.num_hidden_layers;
    held as usize + training.max(2 * cache * F32)
}
