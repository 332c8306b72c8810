//! The command `eval`: how good is a policy, or how good are completions from elsewhere.

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Args, Parser, Subcommand};
use data::{AnswerFormat, Benchmark, BenchmarkArgs, DataOptions, Goal, PromptStyle, Prompting, Split};
use eval::{
    About, CompareArgs, Diversity, Policy, RewardModel, RewardModelKind, Sample, SampleConfig, ScoreArgs,
    check_outputs, check_samples, compare, data_inputs, diversity_table, evaluate, evaluate_part, evaluate_saved,
    external::CheckerArgs,
    parts::PartArgs,
    read_samples, resolve_checkpoint, score,
    servers::ServerArgs,
    table,
    terminal::{end, fail, log_to_stderr},
    warn_of_unreadable, write_whole,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::{Device, DeviceKind, Dtype, ranks};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::Write,
    iter,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Measure policies on grade-school mathematics.
#[derive(Parser)]
#[command(name = "eval", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "a process has one")]
enum Command {
    /// Sample solutions from a policy and score them
    Run(RunArgs),
    /// Score completions from a file; needs no model
    Score(ScoreArgs),
    /// Compare two policies on the same problems: the difference of each metric, with a 95 % interval
    Compare(CompareArgs),
    /// Measure how different the correct solutions of a question are
    Diversity(DiversityArgs),
}

#[derive(Args)]
struct DiversityArgs {
    /// The samples.jsonl of a run, or of `eval run --save-samples`; each step or round has a row of its own
    #[arg(long, value_name = "FILE")]
    samples: PathBuf,
    /// Print one JSON object per step
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct RunArgs {
    /// Checkpoint, run directory (its best checkpoint), Hugging Face folder, GGUF file or hf:OWNER/NAME
    #[arg(long, value_name = "PATH")]
    checkpoint: PathBuf,
    #[command(flatten)]
    data: BenchmarkArgs,
    /// Split of the benchmark
    #[arg(long, value_enum, default_value_t = Split::Test)]
    split: Split,
    /// Reward model (a run of `rl orm`) that scores the samples: adds rerank@K
    #[arg(long, conflicts_with = "part", value_name = "PATH")]
    orm: Option<PathBuf>,
    /// F: how much of the reward model's uncertainty about a sample is taken off its score: reranks by score - F ‖φ - v‖. φ are the features of
    /// the sample and v their mean over the solutions that the reward model was fitted on; needs a run of `rl orm --objective pairwise`,
    /// kwise or kwise-split
    #[arg(long, value_name = "F", value_parser = pessimism)]
    pessimism: Option<f64>,
    /// Use only the first N problems
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
    /// Samples per problem; with 1 only a greedy sample is drawn, for maj@1 and pass@1
    #[arg(long, value_name = "K", default_value = "96")]
    samples: NonZeroUsize,
    /// Sampling temperature; maj@1 always uses a greedy sample, and --samples 1 draws no other
    #[arg(long, default_value_t = 0.7, value_parser = temperature)]
    temperature: f64,
    /// Maximum number of tokens per completion [default: the benchmark's own, or 256]
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<NonZeroUsize>,
    /// Format of the prompt
    #[arg(long, value_enum, default_value_t)]
    prompt_style: PromptStyle,
    /// How an answer is read from a completion: auto, gsm8k (the line with ####), boxed, last-number, regex:PATTERN
    /// [default: the benchmark's own, or gsm8k, for --prompt-style chat auto]
    #[arg(long, value_name = "FORMAT")]
    answer_format: Option<AnswerFormat>,
    /// Solved problems shown before each question, from the end of the validation split
    #[arg(long, value_name = "N", default_value_t = 0)]
    shots: usize,
    /// Write the result after `<<expression=` with a calculator, as 36>> after <<12*3=, in the place of sampled tokens
    /// [default: the benchmark's own]
    #[arg(long, conflicts_with = "from_samples", value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    calculator: Option<bool>,
    /// An external reward that decides which samples are correct.
    #[command(flatten)]
    checker: CheckerArgs,
    /// The label that a policy of `rl rcrl` is conditioned on; no effect on other policies
    #[arg(long, value_enum, default_value_t)]
    goal: Goal,
    /// Seed of the sampling
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write the report as JSON
    #[arg(long, conflicts_with = "part", value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the score of each problem by every metric, in their order, as JSON: the input of `eval compare`
    #[arg(long, conflicts_with = "part", value_name = "FILE")]
    by_question: Option<PathBuf>,
    /// Score the samples of an earlier `eval run --save-samples` with the same policy and flags instead of sampling, with another
    /// --orm for example, or those of --part by a pattern such as 'parts/*.jsonl'; the first K of each problem. The checkpoint is not read
    /// then
    #[arg(long, conflicts_with = "part", value_name = "FILE")]
    from_samples: Option<PathBuf>,
    /// Write every sample, one JSON object per line; the greedy ones are marked
    #[arg(long, conflicts_with = "part", value_name = "FILE")]
    save_samples: Option<PathBuf>,
    /// Which part of the sampling this process makes.
    #[command(flatten)]
    share: PartArgs,
    /// Inference servers that sample in place of this process.
    #[command(flatten)]
    servers: ServerArgs,
    /// Rows sampled at the same time; changes only speed and memory. Of servers, rows for each of them
    #[arg(long, value_name = "N", default_value = "128")]
    rollout_batch: NonZeroUsize,
    /// Threads [default: all cores; 2 on a GPU]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Device to compute on: auto, cpu, cuda, wgpu
    #[arg(long, default_value = "auto")]
    device: DeviceKind,
    /// Number format of matrix products: f32 or bf16
    #[arg(long, default_value = "f32")]
    dtype: Dtype,
    /// Show no progress bars
    #[arg(long)]
    quiet: bool,
}

/// Where the samples of an evaluation come from.
enum Source<'a> {
    Policy(Box<Policy>),
    File(&'a Path),
}

fn main() -> ExitCode {
    model::keep_pages();
    // Lives until the end: without it, the other ranks would wait.
    let joined = ranks::join();
    log_to_stderr();
    if let Err(error) = &joined {
        return fail(error);
    }
    let outcome = match Cli::parse().command {
        Command::Run(args) => run(args),
        _ if ranks::ranks() > 1 => Err(anyhow!("this command works in one process: start it without mpirun or srun")),
        Command::Score(args) => score::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Diversity(args) => diversity(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => end(|| fail(&error)),
    }
}

fn run(mut args: RunArgs) -> Result<()> {
    args.data.resolve()?;
    let args = &args;
    ensure!(
        args.orm.is_some() || args.pessimism.is_none(),
        "--pessimism is for the reward model of --orm, which is not given"
    );
    check_files(args)?;
    let benchmark = &args.data.benchmark;
    let format = args.answer_format.clone().unwrap_or_else(|| benchmark.answer_format(args.prompt_style));
    let device = model::choose_device(args.device, args.dtype)?;
    let source = match &args.from_samples {
        Some(file) => Source::File(file),
        None => Source::Policy(Box::new(Policy::load(&args.checkpoint, &device)?)),
    };
    let reward_model = args.orm.as_deref().map(|path| reward_model(path, args.pessimism, &device)).transpose()?;
    let options = DataOptions { data_dir: args.data.data_dir.clone(), ..DataOptions::default() };
    let mut problems = benchmark.load(args.split, &options)?;
    problems.truncate(args.limit.map_or(usize::MAX, usize::from));
    let shots = benchmark.shots(args.shots, &options)?;
    check_samples(problems.len(), args.samples.into())?;
    let about = About {
        benchmark: benchmark.to_string(),
        split: args.split,
        answer_format: format.clone(),
        temperature: Some(args.temperature),
        checkpoint: Some(args.checkpoint.display().to_string()),
        truncated: None,
        mean_tokens: None,
        checker: None,
    };
    let config = SampleConfig {
        samples: args.samples.into(),
        temperature: args.temperature,
        max_new_tokens: args.max_new_tokens.map_or_else(|| max_new_tokens(benchmark), usize::from),
        rows: args.rollout_batch.into(),
        streams: None,
        threads: model::streams(args.threads.map(usize::from), &device),
        prompting: Prompting { format: benchmark.prompt_format(args.prompt_style), shots, goal: args.goal },
        answer_format: format,
        calculator: args.calculator.unwrap_or_else(|| benchmark.calculator()),
        checker: args.checker.start(benchmark)?,
        servers: args.servers.start(false)?,
    };
    if let (Some(part), Source::Policy(policy)) = (args.share.part, &source) {
        let bar = bar(part.range(problems.len(), 1).len() * config.drawn(), args.quiet);
        let ended = |samples: usize| bar.inc(samples as u64);
        let (file, made) = evaluate_part(policy, &problems, &config, args.seed, (part, &args.share.parts), &ended)?;
        bar.finish_and_clear();
        let line = format!("part {part}: the samples of {made} problems in {}", file.display());
        return writeln!(std::io::stdout(), "{line}").context("cannot print the report");
    }
    let scored = if reward_model.is_some() { config.samples } else { 0 };
    let drawn = if args.from_samples.is_none() { config.drawn() } else { 0 };
    let bar = bar(problems.len() * (drawn + scored), args.quiet);
    let ended = |samples: usize| bar.inc(samples as u64);
    let reward_model = reward_model.as_ref();
    let evaluation = match &source {
        Source::File(file) => evaluate_saved(file, &problems, about, &config, reward_model, &ended)?,
        Source::Policy(policy) => evaluate(policy, &problems, about, &config, args.seed, reward_model, &ended)?,
    };
    bar.finish_and_clear();
    if !ranks::is_first() {
        return Ok(());
    }
    warn_of_unreadable(&evaluation.report);
    if let Some(path) = &args.out {
        write_whole(path, &serde_json::to_string_pretty(&evaluation.report)?)?;
    }
    if let Some(path) = &args.by_question {
        write_whole(path, &serde_json::to_string(&evaluation.by_question()?)?)?;
    }
    if let Some(path) = &args.save_samples {
        let rows = evaluation.greedy.iter().zip(&evaluation.samples);
        write_whole(path, &lines(rows.flat_map(|(greedy, drawn)| iter::once(greedy).chain(drawn)))?)?;
    }
    let table = table(&[(&args.checkpoint.display().to_string(), &evaluation.report)]);
    writeln!(std::io::stdout(), "{table}").context("cannot print the report")
}

/// A reward model that is as pessimistic as asked for.
fn reward_model(path: &Path, pessimism: Option<f64>, device: &Device) -> Result<RewardModel> {
    if pessimism.is_some() {
        RewardModelKind::of(path)?.check_pessimism("pessimism", path)?;
    }
    Ok(RewardModel { pessimism: pessimism.unwrap_or(0.0), ..RewardModel::load(path, device)? })
}

/// Tokens of a completion at most; of the embedded benchmark as many as of others, so that long-winded models are cut no sooner.
fn max_new_tokens(benchmark: &Benchmark) -> usize {
    if benchmark.is_synthetic() { Benchmark::gsm8k().max_new_tokens() } else { benchmark.max_new_tokens() }
}

/// Refuses outputs that cannot be written, or would overwrite what is read.
fn check_files(args: &RunArgs) -> Result<()> {
    let outputs = [("out", &args.out), ("by-question", &args.by_question), ("save-samples", &args.save_samples)];
    let outputs = outputs.iter().filter_map(|(flag, file)| Some((*flag, file.as_deref()?))).collect::<Vec<_>>();
    let mut inputs = data_inputs(&args.data.benchmark, args.data.data_dir.as_deref());
    match &args.from_samples {
        Some(file) => inputs.push(("from-samples", file.clone())),
        None => inputs.push(("checkpoint", files_of_model(&args.checkpoint))),
    }
    inputs.extend(args.orm.as_deref().map(|orm| ("orm", files_of_model(orm))));
    check_outputs(&outputs, &inputs.iter().map(|(flag, path)| (*flag, path.as_path())).collect::<Vec<_>>())
}

/// Where the files of a model lie, as far as that is known without a network.
fn files_of_model(path: &Path) -> PathBuf {
    let is_here = path.exists().then(|| resolve_checkpoint(path).ok()).flatten();
    is_here.unwrap_or_else(|| path.to_path_buf())
}

fn diversity(args: &DiversityArgs) -> Result<()> {
    let samples = read_samples(&args.samples)?;
    ensure!(!samples.is_empty(), "{} holds no sample", args.samples.display());
    let mut steps: BTreeMap<Option<usize>, Vec<&Sample>> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| !sample.greedy) {
        steps.entry(sample.step).or_default().push(sample);
    }
    let rows = steps.into_iter().map(|(step, samples)| (step, Diversity::of(samples))).collect::<Vec<_>>();
    let text = if args.json { json_lines(&rows)? } else { diversity_table(&rows) };
    writeln!(std::io::stdout(), "{text}").context("cannot print the diversity")
}

fn json_lines(rows: &[(Option<usize>, Diversity)]) -> Result<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        step: Option<usize>,
        #[serde(flatten)]
        diversity: &'a Diversity,
    }
    let line = |(step, diversity): &(Option<usize>, Diversity)| serde_json::to_string(&Line { step: *step, diversity });
    Ok(rows.iter().map(line).collect::<Result<Vec<_>, _>>()?.join("\n"))
}

fn lines<'a>(samples: impl Iterator<Item = &'a Sample>) -> Result<String> {
    let mut lines = String::new();
    for sample in samples {
        lines.push_str(&serde_json::to_string(sample)?);
        lines.push('\n');
    }
    Ok(lines)
}

fn bar(samples: usize, quiet: bool) -> ProgressBar {
    let target = if quiet || !ranks::is_first() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(samples as u64), target);
    let template = "evaluate [{bar:24}] {human_pos}/{human_len} samples · {per_sec} · {eta} left";
    bar.set_style(ProgressStyle::with_template(template).expect("the template is fixed").progress_chars("=> "));
    bar
}

fn pessimism(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        Ok(_) => Err("give a number of at least 0".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        Ok(value) => Err(format!("{value} is not a temperature: give a number of at least 0")),
        Err(error) => Err(error.to_string()),
    }
}
