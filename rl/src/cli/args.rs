//! Flags that several commands share. One field is the flag, its help text, its default, its key in a configuration
//! file and its record in the run directory.

use crate::cli::effect::{FixedOnResume, FlagEffect, InSummary};
use anyhow::{Result, ensure};
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use data::{
    AnswerFormat, Benchmark, BenchmarkArgs, DataOptions, Problem, PromptFormat, PromptStyle, Prompting, Split,
    SvampSolutions,
};
use eval::{
    SampleConfig,
    external::Checker,
    servers::{ServerArgs, Servers},
};
use model::{DeviceKind, Dtype, ModelSize};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Upper bound of all counts.
const MAX_COUNT: usize = 1_000_000_000;

/// Vocabulary size of a base model that this program makes.
pub const VOCABULARY: usize = 640;

/// Run directory, seed, device and output.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Run directory; must not exist yet [default: runs/COMMAND-BENCHMARK-TIME]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub out: Option<PathBuf>,
    /// Resume a run from its last checkpoint, or from an earlier one with DIR/checkpoints/step-NNNNNN
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    #[serde(skip)]
    pub resume: Option<PathBuf>,
    /// The checkpoint that --resume names, if it names one
    #[arg(long, value_name = "NAME", hide = true, requires = "resume")]
    #[serde(skip)]
    pub resume_from: Option<String>,
    /// Read flags from a TOML file; flags on the command line override it
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Print the resolved configuration, sizes and a memory estimate; write nothing
    #[arg(long)]
    #[serde(skip)]
    pub dry_run: bool,
    /// Show no progress bars
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
    /// Seed of all random numbers of the run
    #[arg(long, add = InSummary, add = FixedOnResume::OnceLabelled, default_value_t = 0)]
    pub seed: u64,
    /// The directory of --resume, if its run was stopped before its first checkpoint: it begins again there, as the run of `out`.
    #[arg(skip)]
    #[serde(skip)]
    pub unstarted: Option<PathBuf>,
    /// Values that depend on the trained model, and where they come from.
    #[arg(skip)]
    #[serde(skip)]
    pub resolved: Vec<ResolvedFlag>,
    /// Threads and batches.
    #[command(flatten)]
    #[serde(flatten)]
    pub compute: ComputeArgs,
}

/// A flag whose default depends on the trained model, with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedFlag {
    /// The flag's name, without dashes.
    pub flag: String,
    /// Its value.
    pub value: String,
    /// Its origin, for `--dry-run`.
    pub why: String,
}

/// Threads, batches, device and number format: they change speed and memory, and results only by rounding.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Compute")]
pub struct ComputeArgs {
    /// Threads, each with its own replica of the model [default: all cores; on a GPU 1, and 2 for sampling]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub threads: Option<usize>,
    /// Rows per forward and backward pass; changes only speed and memory
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive)]
    pub micro_batch: usize,
    /// Keep only the input of each block in the forward pass and recompute the rest in the backward pass: less memory,
    /// a third more time, the same results
    #[arg(long)]
    pub gradient_checkpointing: bool,
    /// Rows sampled at the same time; changes only speed and memory
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive)]
    pub rollout_batch: usize,
    /// Streams that samples are shared among, so that as many threads have work [default: 4, where there are as many batches]
    #[arg(long, value_name = "N", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_streams: Option<usize>,
    /// Device to compute on, among the compiled backends
    #[arg(long, default_value = "auto", value_parser = device_kind())]
    pub device: DeviceKind,
    /// Number format of matrix products; weights, norms, softmax, losses and the optimiser are always f32. bf16 is
    /// meant for GPUs and is slow on the CPU
    #[arg(long, default_value = "f32", value_parser = parsed::<Dtype>(&["f32", "bf16"]))]
    pub dtype: Dtype,
    /// The external reward that decides which samples are correct. A command with [`eval::external::CheckerArgs`] puts it here when it
    /// starts, so that all that it samples, evaluations included, is graded alike.
    #[arg(skip)]
    #[serde(skip)]
    pub checker: Option<Checker>,
    /// Inference servers.
    #[command(flatten)]
    #[serde(flatten)]
    pub rollout: ServerArgs,
    /// The servers of [`ComputeArgs::rollout`], once a command has started.
    #[arg(skip)]
    #[serde(skip)]
    pub servers: Option<Servers>,
}

/// Benchmark, problems and prompt format.
#[derive(Args, Clone, Debug, PartialEq, Serialize)]
#[command(next_help_heading = "Data")]
pub struct DataArgs {
    /// The problems.
    #[command(flatten)]
    #[serde(flatten)]
    pub source: BenchmarkArgs,
    /// Solutions of SVAMP's training problems: from the equations, or in natural language
    #[arg(long, value_enum, default_value_t)]
    pub svamp_solutions: SvampSolutions,
    /// Additional training problems in GSM8K's format, such as `rl augment` writes; appended to the benchmark's own
    #[arg(long, add = FixedOnResume::OnceLabelled, add = FlagEffect::unless("benchmark", &["synthetic", "synthetic-1"]).or_given("train").in_command("pretrain"), value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<PathBuf>,
    /// Use only the first N problems of a split
    #[arg(long, add = InSummary, add = FixedOnResume::OnceLabelled, add = FlagEffect::unless("benchmark", &["synthetic", "synthetic-1"]).or_given("train").in_command("pretrain"), value_name = "N", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Format of the prompt
    #[arg(long, add = FlagEffect::not_in("pretrain"), value_enum, default_value_t)]
    pub prompt_style: PromptStyle,
    /// How an answer is read from a completion: auto, gsm8k (the line with ####), boxed, last-number, regex:PATTERN
    /// [default: the benchmark's own, or gsm8k, for --prompt-style chat auto]
    #[arg(long, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_format: Option<AnswerFormat>,
    /// Maximum number of tokens per completion [default: the benchmark's own: 112 for synthetic-1, 256 for the others]
    #[arg(long, help_heading = "Sampling", add = FlagEffect::not_in("pretrain"), value_name = "N", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    /// Write the result after `<<expression=` with a calculator, as 36>> after <<12*3=, in the place of sampled tokens, in training and
    /// in evaluations; what it writes is never trained on [default: the benchmark's own: true for synthetic, false for the others]
    #[arg(long, help_heading = "Sampling", add = InSummary, add = FlagEffect::not_in("pretrain"), value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calculator: Option<bool>,
}

/// The model to start from.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Model")]
pub struct InitArgs {
    /// Model to start from: a checkpoint, run directory, Hugging Face folder, PEFT adapter folder, GGUF file or
    /// hf:OWNER/NAME [default: one made for the benchmark and kept under runs/]
    #[arg(long, add = InSummary, add = FixedOnResume::Path, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// Size of the model that is made if --init is not given
    #[arg(long, add = InSummary, add = FixedOnResume::Value, default_value_t, value_parser = model_size())]
    pub model: ModelSize,
}

/// Evaluations during a run and at its end.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Evaluation")]
pub struct EvalArgs {
    /// Steps between two evaluations on the validation split
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = positive)]
    pub eval_every: usize,
    /// Number of validation problems per evaluation
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = positive)]
    pub eval_problems: usize,
    /// Number of test problems in the final table (before and after training); 0 for no table and no eval.json
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = count)]
    pub test_problems: usize,
    /// K of maj@K and pass@K in the final table; 1 evaluates the greedy sample only
    #[arg(long, value_name = "K", default_value_t = 16, value_parser = positive)]
    pub test_samples: usize,
    /// Sampling temperature of the final table
    #[arg(long, default_value_t = 0.7, value_parser = temperature)]
    pub test_temperature: f64,
}

impl InitArgs {
    /// With the model that was found or made.
    pub fn resolved(&self, init: &Path) -> Self {
        Self { init: Some(init.to_path_buf()), ..self.clone() }
    }

    /// Refuses `--init` without `--base`: otherwise the benchmark's own base model would be fine-tuned, from which
    /// `--init` was not made.
    ///
    /// # Errors
    /// The message names both flags and the purpose of `--base`.
    pub fn check_base(&self, base: Option<&Path>, what: &str) -> Result<()> {
        ensure!(self.init.is_none() || base.is_some(), "--init needs --base: {what}");
        Ok(())
    }
}

impl EvalArgs {
    /// Maximum number of rows that an evaluation or the final table samples at once.
    pub fn rows(&self, data: &DataArgs) -> usize {
        let most = data.limit.unwrap_or(usize::MAX);
        self.eval_problems.min(most).max(self.test_problems.min(most) * self.test_samples)
    }
}

impl RunArgs {
    /// Whether the run begins again in the directory that a run without a checkpoint has left.
    pub fn begins_again(&self) -> bool {
        self.unstarted.is_some() && self.unstarted == self.out
    }

    /// The device of `--device`.
    ///
    /// # Errors
    /// If its backend is not compiled in.
    pub fn device(&self) -> Result<model::Device> {
        self.compute.choose_device()
    }
}

impl ComputeArgs {
    /// Sampling configuration: K samples of each question of `data`, from the full distribution at a temperature.
    pub fn sampling(
        &self,
        data: &DataArgs,
        prompting: Prompting,
        samples: usize,
        temperature: f64,
        device: &model::Device,
    ) -> SampleConfig {
        SampleConfig {
            samples,
            temperature,
            max_new_tokens: data.max_new_tokens(),
            rows: self.rollout_batch,
            streams: self.rollout_streams,
            threads: model::streams(self.threads, device),
            prompting,
            answer_format: data.answer_format(),
            calculator: data.calculator(),
            checker: self.checker.clone(),
            servers: self.servers.clone(),
        }
    }

    /// Refuses inference servers in a command that samples nothing on them.
    ///
    /// # Errors
    /// Naming the flag.
    pub fn refuse_servers(&self) -> Result<()> {
        ensure!(
            !self.rollout.is_given(),
            "--rollout-server has no effect here: this command samples in its own process"
        );
        Ok(())
    }

    /// Chooses the device and the number format of matrix products.
    ///
    /// # Errors
    /// If its backend is not compiled in.
    pub fn choose_device(&self) -> Result<model::Device> {
        model::choose_device(self.device, self.dtype)
    }

    /// Threads to use on a device.
    pub fn threads(&self, device: &model::Device) -> usize {
        model::threads(self.threads, device)
    }
}

impl DataArgs {
    /// Loads a split, cut to `--limit`; training problems with those of `--extra`.
    ///
    /// # Errors
    /// As [`Benchmark::load`].
    pub fn load(&self, split: Split) -> Result<Vec<Problem>> {
        let mut problems = self.source.benchmark.load(split, &self.options())?;
        problems.truncate(self.limit.unwrap_or(usize::MAX));
        if let Some(file) = self.extra.as_ref().filter(|_| split == Split::Train) {
            problems.extend(data::read_problems(file)?);
        }
        Ok(problems)
    }

    /// The prompt configuration, with `shots` solved problems.
    ///
    /// # Errors
    /// As [`Benchmark::shots`].
    pub fn prompting(&self, shots: usize) -> Result<Prompting> {
        let shots = self.source.benchmark.shots(shots, &self.options())?;
        Ok(Prompting { shots, ..Prompting::bare(self.prompt_format()) })
    }

    fn options(&self) -> DataOptions {
        DataOptions { data_dir: self.source.data_dir.clone(), svamp_solutions: self.svamp_solutions }
    }

    /// Maximum number of tokens per completion.
    pub fn max_new_tokens(&self) -> usize {
        self.max_new_tokens.unwrap_or_else(|| self.benchmark().max_new_tokens())
    }

    /// Whether a calculator writes the results of calculations in completions.
    pub fn calculator(&self) -> bool {
        self.calculator.unwrap_or_else(|| self.benchmark().calculator())
    }

    /// The benchmark.
    pub fn benchmark(&self) -> &Benchmark {
        &self.source.benchmark
    }

    /// Where the answer stands in a completion.
    pub fn answer_format(&self) -> AnswerFormat {
        self.answer_format.clone().unwrap_or_else(|| self.benchmark().answer_format(self.prompt_style))
    }

    /// How questions are put to a model.
    pub fn prompt_format(&self) -> PromptFormat {
        self.benchmark().prompt_format(self.prompt_style)
    }

    /// Completes what depends on several flags: the benchmark of `--train` and `--test`, the answer format.
    ///
    /// # Errors
    /// Flags that contradict each other.
    pub fn resolve(&mut self) -> Result<()> {
        self.source.resolve()?;
        let (format, kind) = (self.answer_format(), self.benchmark().answer_kind());
        ensure!(
            format != AnswerFormat::LastNumber || kind.is_number(),
            "--answer-format last-number reads numbers alone, and the answers of {} are of another kind",
            self.benchmark()
        );
        self.answer_format = Some(format);
        Ok(())
    }
}

/// A whole number. The upper bound keeps products of two of them from overflow.
pub fn count(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(value) if value > MAX_COUNT => Err(format!("must be at most {MAX_COUNT}")),
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

/// A finite number of at least 0.
pub fn at_least_0<T: Number>(text: &str) -> Result<T, String> {
    number(text, |value| value.is_finite() && value >= 0.0, "a number of at least 0")
}

/// A finite number above 0.
pub fn above_0<T: Number>(text: &str) -> Result<T, String> {
    number(text, |value| value.is_finite() && value > 0.0, "a number above 0")
}

/// A share, from 0 to 1.
pub fn share<T: Number>(text: &str) -> Result<T, String> {
    number(text, |value| (0.0..=1.0).contains(&value), "a number from 0 to 1")
}

/// A number from 0 to below 1.
pub fn below_1<T: Number>(text: &str) -> Result<T, String> {
    number(text, |value| (0.0..1.0).contains(&value), "a number from 0 to below 1")
}

/// A share that is neither nothing nor all.
pub fn part<T: Number>(text: &str) -> Result<T, String> {
    number(text, |value| value > 0.0 && value < 1.0, "a number between 0 and 1")
}

/// f32 and f64.
pub trait Number: std::str::FromStr<Err = std::num::ParseFloatError> + Into<f64> + Copy {}

impl Number for f32 {}

impl Number for f64 {}

fn number<T: Number>(text: &str, is_valid: impl Fn(f64) -> bool, wanted: &str) -> Result<T, String> {
    let value: T = text.parse().map_err(|error: std::num::ParseFloatError| error.to_string())?;
    if is_valid(value.into()) { Ok(value) } else { Err(format!("give {wanted}")) }
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
    parsed(&["pico", "nano", "tiny", "medium", "small"])
}

/// The names of `--device`.
pub fn device_kind() -> impl TypedValueParser<Value = DeviceKind> {
    parsed(&["auto", "cpu", "cuda", "wgpu"])
}

/// A clap parser for enums of crates that do not depend on clap.
fn parsed<T>(names: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: std::str::FromStr + Clone + Send + Sync + 'static,
    T::Err: std::fmt::Debug,
{
    PossibleValuesParser::new(names).map(|name| name.parse().expect("every listed name parses"))
}
