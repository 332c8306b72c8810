//! `rl bench`: how fast a training step and a rollout are, with random weights unless a checkpoint is given.

use crate::{
    cli::args::ComputeArgs,
    training::optim::{Adam, GradientOptions},
    training::supervised::{Update, likelihood_loss, update},
    view::progress::print_line,
};
use anyhow::{Result, ensure};
use clap::Args;
use data::Example;
use model::{Device, GenerateConfig, GenerateStats, Key, ModelConfig, ModelSize, Purpose, Transformer};
use serde::Serialize;
use std::{path::Path, time::Instant};

/// Tokens of the vocabulary of a model with random weights.
const VOCABULARY: usize = 512;

/// Flags of `rl bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Model to time: pico, nano, tiny, medium, small or a config.json (random weights), or a checkpoint
    #[arg(long, default_value = "tiny", value_name = "SIZE|PATH")]
    pub model: String,
    /// Rows per training step
    #[arg(long, value_name = "B", default_value_t = 32, value_parser = crate::cli::args::positive)]
    pub batch: usize,
    /// Tokens per training row, and per prompt
    #[arg(long, value_name = "T", default_value_t = 64, value_parser = crate::cli::args::positive)]
    pub seq: usize,
    /// Prompts per rollout
    #[arg(long, value_name = "P", default_value_t = 1, value_parser = crate::cli::args::positive)]
    pub prompts: usize,
    /// Samples per prompt
    #[arg(long, value_name = "K", default_value_t = 64, value_parser = crate::cli::args::positive)]
    pub samples: usize,
    /// New tokens per sample
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = crate::cli::args::positive)]
    pub new_tokens: usize,
    /// Give the prompts different lengths, from half of --seq to --seq
    #[arg(long)]
    pub ragged: bool,
    /// Let samples end early: every token id divisible by N is an end token, about one in N tokens of a model with
    /// random weights [default: no sample ends before --new-tokens]
    #[arg(long, value_name = "N", value_parser = crate::cli::args::positive)]
    pub ends: Option<usize>,
    /// Number of timed repetitions; the median is reported
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = crate::cli::args::positive)]
    pub repeats: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Threads and batches.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct BenchReport {
    model: String,
    parameters: usize,
    threads: usize,
    training: Timing,
    rollout: Timing,
    peak_memory_mb: f64,
    /// Memory in use on a GPU.
    device_memory_mb: Option<f64>,
}

/// One kind of work.
#[derive(Serialize)]
struct Timing {
    tokens: usize,
    median_s: f64,
    tokens_per_s: f64,
    /// Processor time of one repetition, all threads together; median.
    cpu_s: f64,
    /// Share of computed positions that belong to no row.
    padding: f64,
}

/// Times both kinds of work and prints them.
///
/// # Errors
/// An unusable checkpoint, or shapes that do not fit its context.
pub fn run(args: &BenchArgs) -> Result<()> {
    let device = args.compute.choose_device()?;
    let model = load(&args.model, &device)?;
    let context = model.config.max_position_embeddings;
    ensure!(args.seq >= 2, "--seq must be at least 2: one input token and one target token");
    ensure!(
        args.seq + args.new_tokens <= context,
        "--seq {} and --new-tokens {} do not fit the model's context of {context}",
        args.seq,
        args.new_tokens
    );
    eval::check_samples(args.prompts, args.samples)?;
    let threads = args.compute.threads(&device);
    let report = BenchReport {
        model: args.model.clone(),
        parameters: model.config.parameters(),
        threads,
        training: training(&model, args, GradientOptions::of(&args.compute, &device)),
        rollout: rollout(&model, args, threads),
        peak_memory_mb: model::peak_memory_bytes().unwrap_or(0) as f64 / 1e6,
        device_memory_mb: model::device_memory_bytes(&device).map(|bytes| bytes as f64 / 1e6),
    };
    print_line(&if args.json { serde_json::to_string(&report)? } else { readable(&report, args) })
}

fn load(model: &str, device: &Device) -> Result<Transformer> {
    match model.parse::<ModelSize>() {
        Ok(size) => Ok(Transformer::init(&ModelConfig::of_size(size, VOCABULARY, 0), 0, device)),
        Err(_) if model.ends_with(".json") => Ok(Transformer::init(&ModelConfig::read(Path::new(model))?, 0, device)),
        Err(_) => eval::load_weights(&eval::resolve_checkpoint(Path::new(model))?, device),
    }
}

fn training(model: &Transformer, args: &BenchArgs, computing: GradientOptions) -> Timing {
    let row = |row: usize| -> Example {
        let tokens = (0..args.seq).map(|t| token(row * args.seq + t, model.config.vocab_size)).collect();
        Example::new(tokens, 1)
    };
    let batch: Vec<Example> = (0..args.batch).map(row).collect();
    let mut optimizer = Adam::new(0.9, 0.98, 1e-8, 0.01, 1.0);
    let mut model = Some(model.clone());
    // Every thread gets work even where the batch is smaller than a micro-batch for each.
    let micro_batch = args.compute.micro_batch.min(args.batch.div_ceil(computing.threads));
    let (median_s, cpu_s) = median_seconds(args.repeats, || {
        let current = model.take().expect("put back below");
        let Update { model: updated, .. } =
            update(current, &batch, &likelihood_loss, &mut optimizer, 1e-4, micro_batch, computing);
        model = Some(updated);
    });
    let tokens = args.batch * args.seq;
    Timing { tokens, median_s, cpu_s, tokens_per_s: tokens as f64 / median_s, padding: 0.0 }
}

fn rollout(model: &Transformer, args: &BenchArgs, threads: usize) -> Timing {
    let vocabulary = model.config.vocab_size;
    let prompt = |p: usize| {
        let shorter = if args.ragged { p * (args.seq / 2) / args.prompts } else { 0 };
        (0..args.seq - shorter).map(|t| token(p * args.seq + t, vocabulary)).collect()
    };
    let prompts: Vec<Vec<u32>> = (0..args.prompts).map(prompt).collect();
    let stops = args.ends.iter().flat_map(|&ends| (0..vocabulary as u32).step_by(ends)).map(|id| vec![id]).collect();
    let key = |p: usize, k: usize| Key::new(0, Purpose::Generate).with(p as u64).with(k as u64);
    let keys: Vec<Vec<Key>> = (0..args.prompts).map(|p| (0..args.samples).map(|k| key(p, k)).collect()).collect();
    let rows = args.compute.rollout_batch.min((args.prompts * args.samples).div_ceil(threads));
    let config = GenerateConfig {
        max_new_tokens: args.new_tokens,
        temperature: 1.0,
        stops,
        giver: None,
        rows,
        streams: None,
        threads,
    };
    let mut stats = GenerateStats::default();
    let (median_s, cpu_s) =
        median_seconds(args.repeats, || stats = model::generate(model, &prompts, &keys, &config, &|_| ()).1);
    let computed = stats.new_tokens + stats.prompt_tokens + stats.padding_tokens;
    Timing {
        tokens: stats.new_tokens,
        median_s,
        cpu_s,
        tokens_per_s: stats.new_tokens as f64 / median_s,
        padding: stats.padding_tokens as f64 / computed as f64,
    }
}

/// One untimed call, then the medians of wall and processor time of `repeats`.
fn median_seconds(repeats: usize, mut work: impl FnMut()) -> (f64, f64) {
    work();
    let (mut wall, mut cpu): (Vec<f64>, Vec<f64>) = (0..repeats)
        .map(|_| {
            let (started, cpu) = (Instant::now(), model::cpu_seconds());
            work();
            let cpu = model::cpu_seconds().zip(cpu).map_or(f64::NAN, |(after, before)| after - before);
            (started.elapsed().as_secs_f64(), cpu)
        })
        .unzip();
    wall.sort_by(f64::total_cmp);
    cpu.sort_by(f64::total_cmp);
    (wall[repeats / 2], cpu[repeats / 2])
}

/// A pseudo-random token.
fn token(index: usize, vocabulary: usize) -> u32 {
    (index * 7919 % vocabulary) as u32
}

fn readable(report: &BenchReport, args: &BenchArgs) -> String {
    let mut lines = vec![format!("{}: {} parameters, {} threads", report.model, report.parameters, report.threads)];
    for (name, timing) in [("training step", &report.training), ("rollout", &report.rollout)] {
        lines.push(format!(
            "{name:<14} {:>9.0} tokens/s  ({} tokens in {:.3} s, {:.3} s of CPU, median of {}; {:.1} % padding)",
            timing.tokens_per_s,
            timing.tokens,
            timing.median_s,
            timing.cpu_s,
            args.repeats,
            100.0 * timing.padding
        ));
    }
    lines.push(format!("peak memory    {:>9.0} MB", report.peak_memory_mb));
    if let Some(held) = report.device_memory_mb {
        lines.push(format!("on the GPU     {held:>9.0} MB"));
    }
    lines.join("\n")
}
