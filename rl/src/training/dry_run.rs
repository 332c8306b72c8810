//! `--dry-run`: prints what a command would do and need. Writes nothing.

use crate::{
    cli::args::{DataArgs, InitArgs, RunArgs, VOCABULARY},
    training::batch::micro_batches,
    training::optim::GradientOptions,
    training::order::batch_of_step,
    training::supervised::FitArgs,
    view::progress::print_line,
};
use anyhow::Result;
use data::{Problem, encode_example};
use model::{Device, LOGITS_TOGETHER, ModelConfig, ModelSize};
use serde::Serialize;
use std::path::Path;

/// Bytes of an f32.
const F32: f64 = 4.0;

/// What a training command computes and holds, in sizes.
pub struct TrainingWorkload {
    /// Rows of an optimiser step.
    pub rows: usize,
    /// Positions of the largest micro-batch, padding included.
    pub positions: usize,
    /// Copies of the weights beside the policy: a reference, the critic's blocks.
    pub extra_models: f64,
    /// Number of trained parameters, if not all are trained (adapters).
    pub trained: Option<usize>,
    /// Total number of optimiser steps.
    pub steps: usize,
    /// Maximum number of rows sampled at once, in an evaluation or a sampling phase; 0 if nothing is sampled.
    pub sampled: usize,
    /// Maximum number of new tokens per sample.
    pub new_tokens: usize,
    /// Samples held in memory at once.
    pub samples: usize,
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
    work: &TrainingWorkload,
    device: &Device,
) -> Result<()> {
    let computing = GradientOptions::of(&run.compute, device);
    let micro_batch = run.compute.micro_batch.min(work.rows);
    let mut lines = vec![
        format!("# rl {command} --dry-run: nothing is written\n\n{}\n# derived", toml::to_string(config)?),
        format!("# parameters            {}", shape.parameters()),
        format!("# optimiser steps       {}", work.steps),
        format!("# rows of a step        {} in {} micro-batches", work.rows, work.rows.div_ceil(micro_batch)),
        format!("# threads               {}", computing.threads),
        format!("# peak memory, roughly  {:.0} MB", estimate(shape, work, run.compute.rollout_batch, computing) / 1e6),
    ];
    lines.extend(run.resolved.iter().map(|rate| format!("# {:<21} {}: {}", rate.flag, rate.value, rate.why)));
    print_line(&lines.join("\n"))
}

/// The shape of the model that a command would start from: read where it exists, else the one that would be made.
pub fn shape(init: Option<&Path>, size: ModelSize) -> Result<ModelConfig> {
    match init {
        Some(path) => eval::read_shape(&eval::resolve_checkpoint(path)?),
        None => Ok(ModelConfig::of_size(size, VOCABULARY, 0)),
    }
}

/// Positions of the largest micro-batch of the training problems: counted if the tokenizer exists, otherwise estimated.
///
/// # Errors
/// Missing data, a tokenizer that cannot be read.
pub fn largest_micro_batch(
    init: &InitArgs,
    data: &DataArgs,
    problems: &[Problem],
    fit: &FitArgs,
    run: &RunArgs,
) -> Result<usize> {
    let rows = run.compute.micro_batch.min(fit.batch_size);
    let Some(path) = &init.init else { return Ok(rows * 2 * data.max_new_tokens()) };
    let tokenizer = eval::load_tokenizer(&eval::resolve_checkpoint(path)?)?;
    let format = data.prompt_format();
    let solved = problems.iter().filter(|problem| !problem.solution.is_empty());
    let examples = solved.map(|problem| encode_example(&tokenizer, &format, problem));
    let examples = examples.collect::<Result<Vec<_>>>()?;
    if examples.is_empty() {
        return Ok(rows * 2 * data.max_new_tokens());
    }
    let largest_of_step = |step| {
        let batch = batch_of_step(&examples, step, fit.batch_size, run.seed);
        let positions =
            |part: Vec<usize>| part.len() * part.iter().map(|&row| batch[row].tokens.len()).max().unwrap_or(0);
        micro_batches(&batch, rows).into_iter().map(positions).max().unwrap_or(0)
    };
    Ok((0..fit.total_steps(examples.len())).map(largest_of_step).max().unwrap_or(0))
}

/// Bytes at the peak: weights and moments; gradients and what autodiff keeps of one micro-batch a thread; a copy of the weights,
/// the cache of the rows that are sampled, and the samples.
fn estimate(shape: &ModelConfig, work: &TrainingWorkload, rollout_batch: usize, computing: GradientOptions) -> f64 {
    /// Memory of the program, its problems and examples.
    const BASE_BYTES: f64 = 30e6;
    /// A sample with its question.
    const BYTES_PER_SAMPLE: f64 = 800.0;
    let weights = shape.parameters() as f64 * F32;
    let trained = work.trained.map_or(weights, |trained| trained as f64 * F32);
    // With the two moments.
    let held = BASE_BYTES + weights * (1.0 + work.extra_models) + 2.0 * trained;
    let [d, f, e, heads, kv_heads, vocabulary, layers, positions, sampled, threads] = [
        shape.hidden_size,
        shape.intermediate_size,
        shape.head_width(),
        shape.num_attention_heads,
        shape.kv_heads(),
        shape.vocab_size,
        shape.num_hidden_layers,
        work.positions,
        work.sampled.min(computing.threads * rollout_batch) * work.new_tokens,
        computing.threads,
    ]
    .map(|size| size as f64);
    // What the operations of `transformer.rs` keep of each token: the residual stream twice and normed twice, queries, keys and
    // values, what they attended to, gate and up, and their product.
    let block = 4.0 * d + (2.0 * heads + 2.0 * kv_heads) * e + 3.0 * f;
    let logits = 3.0 * (positions * vocabulary).min(LOGITS_TOGETHER as f64);
    let blocks = if computing.checkpointing { layers * d + block } else { layers * block };
    // The sum of gradients, and one set of gradients per thread.
    let learning = trained * (1.0 + threads) + threads * (positions * blocks + logits) * F32;
    let cache = sampled * 2.0 * kv_heads * e * layers * F32;
    // A copy of the weights: into which adapters are added to sample, or on its way to a checkpoint.
    let sampling = weights + cache + BYTES_PER_SAMPLE * work.samples as f64;
    // The two phases alternate, but the allocator keeps the pages of both, in pieces that fit neither.
    held + learning + sampling
}
