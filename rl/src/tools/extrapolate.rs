//! `rl extrapolate`: continues the difference of two models (ExPO; Zheng et al. 2024, arXiv 2404.16792): θ = θ₁ + α (θ₁ - θ₀), without training.

use super::export::{self, Dtype};
use crate::{
    cli::args::{ComputeArgs, DataArgs},
    view::progress::print_line,
};
use anyhow::{Result, ensure};
use clap::Args;
use data::Split;
use eval::{Policy, greedy_accuracy, load_extrapolated_weights, load_tokenizer, resolve_checkpoint};
use std::path::PathBuf;

/// Flags of `rl extrapolate`.
#[derive(Args, Clone, Debug)]
pub struct ExtrapolateArgs {
    /// θ₀, the model before the training whose effect is continued: run directory, Hugging Face folder, PEFT adapter folder, GGUF file or
    /// hf:OWNER/NAME
    #[arg(long, value_name = "PATH")]
    pub from: PathBuf,
    /// θ₁, the model after it, of the same shape; its tokenizer is kept
    #[arg(long, value_name = "PATH")]
    pub to: PathBuf,
    /// α, or several: the one with the best maj@1 on validation problems is kept. 0 is θ₁ itself
    #[arg(long, value_name = "ALPHA", value_delimiter = ',', allow_negative_numbers = true, default_value = "0.5", value_parser = finite)]
    pub alpha: Vec<f64>,
    /// Folder to write, as `rl export` does; must not exist yet
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Validation problems that decide between several α
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = crate::cli::args::positive)]
    pub eval_problems: usize,
    /// Number format of the weights
    #[arg(long, value_enum, default_value = "f32")]
    pub out_dtype: Dtype,
    /// Do not print how good each α is
    #[arg(long)]
    pub quiet: bool,
    /// Benchmark and problems.
    #[command(flatten)]
    pub data: DataArgs,
    /// Device and batches.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Writes the extrapolated model, the best one of several.
///
/// # Errors
/// Models that cannot be read or have different shapes, a folder that exists, missing data.
pub fn run(args: &ExtrapolateArgs) -> Result<()> {
    export::check_new(&args.out)?;
    let device = args.compute.choose_device()?;
    let [from, to] = [resolve_checkpoint(&args.from)?, resolve_checkpoint(&args.to)?];
    let tokenizer = load_tokenizer(&to)?;
    let conditioning = Policy::load(&to, &device)?.conditioning;
    let policy = |alpha: f64| -> Result<Policy> {
        let model = load_extrapolated_weights(&from, &to, alpha, &device)?;
        Ok(Policy { model, tokenizer: tokenizer.clone(), conditioning, adapter: None })
    };
    if let [alpha] = args.alpha.as_slice() {
        return export::write(&policy(*alpha)?, &args.out, args.out_dtype);
    }
    let mut data = args.data.clone();
    data.resolve()?;
    let mut problems = data.load(Split::Validation)?;
    problems.truncate(args.eval_problems);
    ensure!(!problems.is_empty(), "there are no validation problems to choose an α by: give one --alpha");
    let sampling = args.compute.sampling(&data, data.prompting(0)?, 1, 0.0, &device);
    let print = |line: &str| if args.quiet { Ok(()) } else { print_line(line) };
    print("| α | maj@1 on validation |\n| --- | --- |")?;
    let mut best: Option<(f64, f64)> = None;
    for &alpha in &args.alpha {
        let (accuracy, _) = greedy_accuracy(&policy(alpha)?, &problems, &sampling)?;
        print(&format!("| {alpha} | {accuracy:.3} |"))?;
        // Of equally good ones the first is kept.
        if best.is_none_or(|(_, so_far)| accuracy > so_far) {
            best = Some((alpha, accuracy));
        }
    }
    let (alpha, _) = best.expect("there is at least one α");
    print(&format!("\nα = {alpha} is best of {} validation problems", problems.len()))?;
    export::write(&policy(alpha)?, &args.out, args.out_dtype)
}

fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(alpha) if alpha.is_finite() => Ok(alpha),
        _ => Err("give a number".into()),
    }
}
