//! `rl generate`: completes prompts, to see what a policy writes.

use crate::{cli::args::ComputeArgs, view::progress::print_line};
use anyhow::{Result, ensure};
use clap::Args;
use data::{AnswerFormat, Goal, PromptStyle, Prompting, encode_prompt};
use eval::{Policy, SampleConfig, check_samples, complete_until};
use model::{Completion, Finish, Key, Purpose, Transformer, score, solutions, to_host};
use serde::Serialize;
use std::path::PathBuf;

/// Flags of `rl generate`.
#[derive(Args, Clone, Debug)]
pub struct GenerateArgs {
    /// Checkpoint, run directory, Hugging Face folder, GGUF file or hf:OWNER/NAME
    #[arg(long, value_name = "PATH")]
    pub init: PathBuf,
    /// Prompt to complete; for a question: "Question: ...\nAnswer:"
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["file", "question"])]
    pub prompt: Vec<String>,
    /// Question to answer, in the format of --prompt-style
    #[arg(long, value_name = "TEXT")]
    pub question: Vec<String>,
    /// Prompt format of --question
    #[arg(long, value_enum, default_value_t)]
    pub prompt_style: PromptStyle,
    /// Label before the completion of a policy trained by `rl rcrl`; other policies ignore it
    #[arg(long, value_enum, default_value_t)]
    pub goal: Goal,
    /// File with one prompt per line; \n in a prompt stands for a line break
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Maximum number of new tokens
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = crate::cli::args::positive)]
    pub max_new_tokens: usize,
    /// Sampling temperature; 0 is greedy
    #[arg(long, default_value_t = 0.7, value_parser = crate::cli::args::temperature)]
    pub temperature: f64,
    /// Completions of each prompt
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = crate::cli::args::positive)]
    pub samples: usize,
    /// Print one JSON line per completion, with token ids and log-probabilities
    #[arg(long)]
    pub json: bool,
    /// Seed of the sampling
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Threads and batches.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// One line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    prompt: &'a str,
    completion: String,
    tokens: &'a [u32],
    log_probs: &'a [f32],
    finish: Finish,
}

/// Completes every prompt and prints the completions.
///
/// # Errors
/// An unusable `--init`, a prompt that is empty or does not fit the model.
pub fn run(args: &GenerateArgs) -> Result<()> {
    let device = args.compute.choose_device()?;
    let policy = Policy::load(&args.init, &device)?;
    let prompting = Prompting { goal: args.goal, ..Prompting::bare(args.prompt_style) };
    let (prompts, mut encoded) = prompts(args, &policy, &prompting)?;
    let (context, label) = (policy.model.config.max_position_embeddings, policy.first_label(&prompting));
    for tokens in &mut encoded {
        ensure!(!tokens.is_empty(), "a prompt is empty: there is nothing to complete");
        tokens.extend(&label);
        ensure!(tokens.len() < context, "a prompt has {} tokens, and the model's context is {context}", tokens.len());
    }
    check_samples(prompts.len(), args.samples)?;
    let key =
        |prompt: usize, sample: usize| Key::new(args.seed, Purpose::Generate).with(prompt as u64).with(sample as u64);
    let config = SampleConfig {
        samples: args.samples,
        max_new_tokens: args.max_new_tokens,
        temperature: args.temperature,
        rows: args.compute.rollout_batch,
        streams: None,
        threads: args.compute.threads(&device),
        prompting,
        answer_format: AnswerFormat::default(),
        calculator: false,
        checker: None,
        servers: args.compute.rollout.start(false)?,
    };
    // A prompt that is not a question may continue with anything.
    let stops = match args.prompt.is_empty() && args.file.is_none() {
        true => policy.stops(&config.prompting),
        false => policy.stop_ids().into_iter().map(|id| vec![id]).collect(),
    };
    let (completions, _) = complete_until(&policy, &encoded, stops, &config, key, &|_| ())?;
    for ((prompt, tokens), completions) in prompts.iter().zip(&encoded).zip(&completions) {
        for completion in completions {
            let written_by_server = completion.log_probs.len() < completion.tokens.len();
            let log_probs = match args.json && written_by_server {
                true => &log_probs(&policy.model, tokens, completion),
                false => &completion.log_probs,
            };
            print_line(&line(args.json, &policy, prompt, completion, log_probs)?)?;
        }
    }
    Ok(())
}

/// The prompts, as text and as token ids.
fn prompts(args: &GenerateArgs, policy: &Policy, prompting: &Prompting) -> Result<(Vec<String>, Vec<Vec<u32>>)> {
    let tokenizer = &policy.tokenizer;
    let as_it_is = |text: String| {
        let tokens = [tokenizer.prompt_prefix(), &tokenizer.encode(&text)].concat();
        (text, tokens)
    };
    let mut prompts: Vec<(String, Vec<u32>)> = args.prompt.iter().cloned().map(as_it_is).collect();
    for question in &args.question {
        let shown = match args.prompt_style {
            PromptStyle::Plain => data::question_prompt(question),
            // The chat template's own text is not shown.
            PromptStyle::Chat => format!("{question}\n"),
        };
        prompts.push((shown, encode_prompt(tokenizer, prompting, question)?));
    }
    if let Some(file) = &args.file {
        let text = data::read_text(file)?;
        let lines = text.lines().filter(|line| !line.is_empty()).map(|line| line.replace("\\n", "\n"));
        prompts.extend(lines.map(as_it_is));
    }
    ensure!(!prompts.is_empty(), "the file of --file has no prompt");
    Ok(prompts.into_iter().unzip())
}

/// Log-probability of each token of a completion that a server wrote, at temperature 1.
fn log_probs(model: &Transformer, prompt: &[u32], completion: &Completion) -> Vec<f32> {
    let tokens = [prompt, &*completion.tokens].concat();
    to_host(score(model, &solutions(&[(&tokens, prompt.len())], &model.device()), 1.0).log_probs).values
}

fn line(json: bool, policy: &Policy, prompt: &str, completion: &Completion, log_probs: &[f32]) -> Result<String> {
    let text = policy.tokenizer.decode(&completion.tokens);
    if !json {
        return Ok(format!("{prompt}{text}\n"));
    }
    let Completion { tokens, finish, .. } = completion;
    Ok(serde_json::to_string(&Line { prompt, completion: text, tokens, log_probs, finish: *finish })?)
}
