//! `rl generate`: complete text by hand, to see what a policy writes.

use crate::{args::ComputeArgs, progress::print_line};
use anyhow::{Result, ensure};
use clap::Args;
use data::{AnswerFormat, Goal, PromptStyle, Prompting, encode_prompt};
use eval::{Policy, SampleConfig, check_samples, complete_until};
use model::{Completion, Finish, Key, Purpose};
use serde::Serialize;
use std::path::PathBuf;

/// Flags of `rl generate`.
#[derive(Args, Clone, Debug)]
pub struct GenerateArgs {
    /// Checkpoint, run directory, Hugging Face folder, GGUF file or hf:OWNER/NAME
    #[arg(long, value_name = "PATH")]
    pub init: PathBuf,
    /// Text to go on from; for a question: "Question: ...\nAnswer:"
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["file", "question"])]
    pub prompt: Vec<String>,
    /// A question, put as --prompt-style says
    #[arg(long, value_name = "TEXT")]
    pub question: Vec<String>,
    /// How a --question is put
    #[arg(long, value_enum, default_value_t)]
    pub prompt_style: PromptStyle,
    /// What a policy of `rl rcrl` is asked for before what it writes; others are not asked
    #[arg(long, value_enum, default_value_t)]
    pub goal: Goal,
    /// A file with one prompt a line; \n in it stands for a new line
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Most tokens to write
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = crate::args::positive)]
    pub max_new_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token
    #[arg(long, default_value_t = 0.7, value_parser = crate::args::temperature)]
    pub temperature: f64,
    /// Completions of each prompt
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = crate::args::positive)]
    pub samples: usize,
    /// One JSON line a completion, with tokens and log-probabilities
    #[arg(long)]
    pub json: bool,
    /// Seed of the draws
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
        ensure!(!tokens.is_empty(), "a prompt is empty: there is nothing to go on from");
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
        threads: args.compute.threads(&device),
        prompting,
        answer_format: AnswerFormat::default(),
    };
    // A text that is no question may go on with anything.
    let stops = match args.prompt.is_empty() && args.file.is_none() {
        true => policy.stops(&config.prompting),
        false => policy.stop_ids().into_iter().map(|id| vec![id]).collect(),
    };
    let (completions, _) = complete_until(&policy, &encoded, stops, &config, key, &|_| ());
    for (prompt, completions) in prompts.iter().zip(&completions) {
        for completion in completions {
            print_line(&line(args.json, &policy, prompt, completion)?)?;
        }
    }
    Ok(())
}

/// What is gone on from, as text and as tokens.
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
            // What the template adds is not shown.
            PromptStyle::Chat => format!("{question}\n"),
        };
        prompts.push((shown, encode_prompt(tokenizer, prompting, question)?));
    }
    if let Some(file) = &args.file {
        let text = data::read_text(file)?;
        let lines = text.lines().filter(|line| !line.is_empty()).map(|line| line.replace("\\n", "\n"));
        prompts.extend(lines.map(as_it_is));
    }
    ensure!(!prompts.is_empty(), "there is no prompt in the file of --file");
    Ok(prompts.into_iter().unzip())
}

fn line(json: bool, policy: &Policy, prompt: &str, completion: &Completion) -> Result<String> {
    let text = policy.tokenizer.decode(&completion.tokens);
    if !json {
        return Ok(format!("{prompt}{text}\n"));
    }
    let Completion { tokens, log_probs, finish } = completion;
    Ok(serde_json::to_string(&Line { prompt, completion: text, tokens, log_probs, finish: *finish })?)
}
