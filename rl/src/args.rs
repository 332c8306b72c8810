//! The flags that mean the same everywhere. One declaration is the flag, its help text, its default, the key in a
//! configuration file and the record in the run directory.

use crate::{optim::Computing, rates::Resolved};
use anyhow::{Result, ensure};
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use data::{AnswerFormat, Benchmark, DataOptions, Problem, PromptStyle, Prompting, Split, SvampSolutions};
use eval::SampleConfig;
use model::{Compute, DeviceKind, ModelSize};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The largest of the numbers that count something.
const MOST: usize = 1_000_000_000;

/// Tokens of the vocabulary of a base model that is made here.
pub const VOCABULARY: usize = 640;

/// Where a run lies, and what it may use.
#[derive(Args, Clone, Debug, Serialize)]
pub struct RunArgs {
    /// Run directory; must not exist yet [default: runs/COMMAND-BENCHMARK-TIME]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub out: Option<PathBuf>,
    /// Go on with a run from its last checkpoint; from an earlier one with DIR/checkpoints/step-NNNNNN
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    #[serde(skip)]
    pub resume: Option<PathBuf>,
    /// The checkpoint that --resume names, where it names one
    #[arg(long, value_name = "NAME", hide = true, requires = "resume")]
    #[serde(skip)]
    pub resume_from: Option<String>,
    /// Read flags from a TOML file; flags given here win
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Print the resolved configuration, sizes and a memory estimate; write nothing
    #[arg(long)]
    #[serde(skip)]
    pub dry_run: bool,
    /// No progress bars
    #[arg(long)]
    #[serde(skip)]
    pub quiet: bool,
    /// Also write TensorBoard event files
    #[arg(long)]
    pub tensorboard: bool,
    /// Stop after the checkpoint of a step, as Ctrl-C does; for tests of --resume
    #[arg(long, value_name = "STEP", hide = true)]
    #[serde(skip)]
    pub stop_after: Option<usize>,
    /// Seed of every random number of the run
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Learning rates, and where they come from.
    #[arg(skip)]
    #[serde(skip)]
    pub rates: Vec<Resolved>,
    /// Threads and batches.
    #[command(flatten)]
    #[serde(flatten)]
    pub compute: ComputeArgs,
}

/// What changes speed and memory, not results (but for rounding).
#[derive(Args, Clone, Debug, Serialize)]
pub struct ComputeArgs {
    /// Threads, each with a replica of its own [default: all cores; on a GPU 1, and 2 to sample]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub threads: Option<usize>,
    /// Rows of one forward and backward pass
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive)]
    pub micro_batch: usize,
    /// Keep of a forward pass only what enters each block of the model, and compute the rest again for the gradients: less memory,
    /// a third more time, the same numbers
    #[arg(long)]
    pub gradient_checkpointing: bool,
    /// Rows that are sampled together
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive)]
    pub rollout_batch: usize,
    /// Where to compute, among the backends compiled in
    #[arg(long, default_value = "auto", value_parser = device_kind())]
    pub device: DeviceKind,
    /// What matrix products are computed in; weights, norms, softmax, losses and the optimiser are f32 in any case. bf16 is for GPUs;
    /// on the CPU it is slow
    #[arg(long, default_value = "f32", value_parser = parsed::<Compute>(&["f32", "bf16"]))]
    pub dtype: Compute,
}

/// Which problems, and how they are put.
#[derive(Args, Clone, Debug, Serialize)]
pub struct DataArgs {
    /// Set of problems
    #[arg(long, value_enum, default_value_t)]
    pub benchmark: Benchmark,
    /// Folder with gsm8k/ and svamp/ as published
    #[arg(long, value_name = "DIR", env = "RL_DATA_DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// Solutions of SVAMP's training problems: from the equations, or in natural language
    #[arg(long, value_enum, default_value_t)]
    pub svamp_solutions: SvampSolutions,
    /// More training problems, in GSM8K's format, such as `rl augment` makes; they come after the benchmark's own
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<PathBuf>,
    /// Use only the first N problems of a split
    #[arg(long, value_name = "N", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How a question is put to the model
    #[arg(long, value_enum, default_value_t)]
    pub prompt_style: PromptStyle,
    /// How an answer is read out of a completion: auto, gsm8k (the line of ####), boxed, last-number, regex:PATTERN [default: gsm8k,
    /// for --prompt-style chat auto]
    #[arg(long, value_name = "FORMAT", default_value = "gsm8k", default_value_if("prompt_style", "chat", "auto"))]
    #[arg(hide_default_value = true)]
    pub answer_format: AnswerFormat,
    /// Most tokens of a completion [default: 112 for synthetic, 256 otherwise]
    #[arg(long, value_name = "N", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
}

/// What to start from.
#[derive(Args, Clone, Debug, Serialize)]
pub struct InitArgs {
    /// Checkpoint, run directory, Hugging Face folder, PEFT adapter folder, GGUF file or hf:OWNER/NAME [default: one made for the
    /// benchmark and kept under runs/]
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// Size of the model that is made where --init is not given
    #[arg(long, default_value = "tiny", value_parser = model_size())]
    pub model: ModelSize,
}

/// What is looked at while a run goes on, and at its end.
#[derive(Args, Clone, Debug, Serialize)]
pub struct EvalArgs {
    /// Steps between two looks at the validation split
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = positive)]
    pub eval_every: usize,
    /// Validation problems of one look
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = positive)]
    pub eval_problems: usize,
    /// Test problems of the table before and after; 0 for none, and no eval.json
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = count)]
    pub test_problems: usize,
    /// K of maj@K and pass@K in the final table; 1 is the greedy sample
    #[arg(long, value_name = "K", default_value_t = 16, value_parser = positive)]
    pub test_samples: usize,
    /// Sampling temperature of the final table
    #[arg(long, default_value_t = 0.7, value_parser = temperature)]
    pub test_temperature: f64,
}

impl InitArgs {
    /// Refuses an `--init` without its `--base`: what is fine-tuned would be the benchmark's own base, of which it was not made.
    ///
    /// # Errors
    /// Naming both flags, and what `--base` is.
    pub fn check_base(&self, base: Option<&Path>, what: &str) -> Result<()> {
        ensure!(self.init.is_none() || base.is_some(), "--init needs --base: {what}");
        Ok(())
    }
}

impl EvalArgs {
    /// Rows that a look or the final table samples in one go, at most.
    pub fn rows(&self, data: &DataArgs) -> usize {
        let most = data.limit.unwrap_or(usize::MAX);
        self.eval_problems.min(most).max(self.test_problems.min(most) * self.test_samples)
    }
}

impl RunArgs {
    /// The device of `--device`.
    ///
    /// # Errors
    /// If its backend is not compiled in.
    pub fn device(&self) -> Result<burn::tensor::Device> {
        self.compute.choose_device()
    }

    /// Whether to stop after `step` steps: Ctrl-C, or `--stop-after`.
    pub fn stops_after(&self, step: usize) -> bool {
        crate::run::interrupted() || self.stop_after == Some(step)
    }
}

impl ComputeArgs {
    /// K samples of each question that `data` means, from the full distribution at a temperature.
    pub fn sampling(
        &self,
        data: &DataArgs,
        prompting: Prompting,
        samples: usize,
        temperature: f64,
        device: &burn::tensor::Device,
    ) -> SampleConfig {
        SampleConfig {
            samples,
            temperature,
            max_new_tokens: data.max_new_tokens(),
            rows: self.rollout_batch,
            threads: model::streams(self.threads, device),
            prompting,
            answer_format: data.answer_format.clone(),
        }
    }

    /// The device, and what products are computed in there.
    ///
    /// # Errors
    /// If its backend is not compiled in.
    pub fn choose_device(&self) -> Result<burn::tensor::Device> {
        model::choose_device(self.device, self.dtype)
    }

    /// Threads to use on a device.
    pub fn threads(&self, device: &burn::tensor::Device) -> usize {
        model::threads(self.threads, device)
    }

    /// How gradients are computed on a device.
    pub fn computing(&self, device: &burn::tensor::Device) -> Computing {
        Computing { threads: self.threads(device), checkpointing: self.gradient_checkpointing }
    }
}

impl DataArgs {
    /// Loads a split, cut to `--limit`; training problems with those of `--extra`.
    ///
    /// # Errors
    /// As [`data::load`].
    pub fn load(&self, split: Split) -> Result<Vec<Problem>> {
        let mut problems = data::load(self.benchmark, split, &self.options())?;
        problems.truncate(self.limit.unwrap_or(usize::MAX));
        if let Some(file) = self.extra.as_ref().filter(|_| split == Split::Train) {
            problems.extend(data::read_problems(file)?);
        }
        Ok(problems)
    }

    /// How questions are put, after `shots` solved problems.
    ///
    /// # Errors
    /// As [`data::shots`].
    pub fn prompting(&self, shots: usize) -> Result<Prompting> {
        let shots = data::shots(self.benchmark, shots, &self.options())?;
        Ok(Prompting { shots, ..Prompting::bare(self.prompt_style) })
    }

    fn options(&self) -> DataOptions {
        DataOptions { data_dir: self.data_dir.clone(), svamp_solutions: self.svamp_solutions }
    }

    /// Most tokens of a completion.
    pub fn max_new_tokens(&self) -> usize {
        self.max_new_tokens.unwrap_or(if self.benchmark == Benchmark::Synthetic { 112 } else { 256 })
    }
}

/// A whole number. The upper bound keeps products of two of them from overflow.
pub fn count(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(value) if value > MOST => Err(format!("must be at most {MOST}")),
        Ok(value) => Ok(value),
        Err(error) => Err(error.to_string()),
    }
}

/// A whole number of at least 1, and otherwise a [`count`].
pub fn positive(text: &str) -> Result<usize, String> {
    match count(text)? {
        0 => Err("must be at least 1".into()),
        value => Ok(value),
    }
}

/// Refuses numbers that are not finite, and those below 0.
///
/// # Errors
/// Naming the first flag that is neither.
pub fn not_negative(flags: &[(&str, f64)]) -> Result<()> {
    for (flag, value) in flags {
        ensure!(value.is_finite() && *value >= 0.0, "--{flag} {value}: give a number of at least 0");
    }
    Ok(())
}

/// A finite number that is not negative; 0 means greedy.
pub fn temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        Ok(value) => Err(format!("{value} is not a temperature: give a number of at least 0")),
        Err(error) => Err(error.to_string()),
    }
}

/// The sizes that have a name.
pub fn model_size() -> impl TypedValueParser<Value = ModelSize> {
    parsed(&["nano", "tiny", "medium", "small"])
}

/// The names of `--device`.
pub fn device_kind() -> impl TypedValueParser<Value = DeviceKind> {
    parsed(&["auto", "cpu", "cuda", "wgpu"])
}

/// A parser for enums of crates that do not know the command line.
fn parsed<T>(names: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: std::str::FromStr + Clone + Send + Sync + 'static,
    T::Err: std::fmt::Debug,
{
    PossibleValuesParser::new(names).map(|name| name.parse().expect("every listed name parses"))
}
