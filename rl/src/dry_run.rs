//! `--dry-run`: what a command would do, and what it would need. Writes nothing.

use crate::{
    args::{ComputeArgs, RunArgs},
    progress::print_line,
};
use anyhow::Result;
use burn::tensor::Device;
use model::ModelConfig;
use serde::Serialize;

/// Bytes of an f32.
const F32: f64 = 4.0;
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
    let lines = [
        format!("# rl {command} --dry-run: nothing is written\n\n{}\n# derived", toml::to_string(config)?),
        format!("# parameters            {}", shape.parameters()),
        format!("# optimiser steps       {}", work.steps),
        format!("# rows of a step        {} in {} micro-batches", work.rows, work.rows.div_ceil(micro_batch)),
        format!("# threads               {threads}"),
        format!("# peak memory, roughly  {:.0} MB", estimate(shape, work, &run.compute, threads) / 1e6),
    ];
    print_line(&lines.join("\n"))
}

/// The shape of the model that a command would start from: read where it exists, else the one that would be made.
pub fn shape(init: Option<&std::path::Path>, size: model::ModelSize) -> Result<ModelConfig> {
    match init {
        Some(path) => model::read_config(&eval::resolve_checkpoint(path)?),
        None => Ok(ModelConfig::of_size(size, ASSUMED_VOCABULARY, 0)),
    }
}

/// Bytes at the peak: weights, moments and gradients, and what autodiff keeps of one micro-batch a thread; or the cache of
/// the rows that are sampled, where that is more.
fn estimate(shape: &ModelConfig, work: &Work, compute: &ComputeArgs, threads: usize) -> f64 {
    let weights = shape.parameters() as f64 * F32;
    // Policy, two moments, the sum of gradients, and one set of gradients on its way from each thread.
    let held = weights * (4.0 + threads as f64 + work.extra_models);
    let rows = compute.micro_batch.min(work.rows) as f64;
    let [d, f, heads, vocabulary, layers, time] = [
        shape.hidden_size,
        shape.intermediate_size,
        shape.num_attention_heads,
        shape.vocab_size,
        shape.num_hidden_layers,
        work.tokens,
    ]
    .map(|size| size as f64);
    let tokens = rows * time;
    // Counted over the operations of `transformer.rs` whose inputs or outputs autodiff keeps.
    let block = tokens * (18.0 * d + 7.0 * f) + rows * heads * time * time * 4.0;
    let logits = tokens * vocabulary * 4.0;
    let training = (layers * block + logits) * F32 * threads as f64;
    let cache = work.sampled_rows as f64 * time * (shape.kv_heads() * shape.head_width() * 2) as f64 * layers;
    held + training.max(2.0 * cache * F32)
}
