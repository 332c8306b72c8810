//! Completions of problems, drawn from a policy. Independent of answers.

use super::given::giver;
use crate::{
    external::Checker,
    models::policy::Policy,
    servers::{Request, ServerFailure, Servers},
};
use anyhow::{Result, ensure};
use data::{AnswerFormat, Problem, Prompting, encode_prompt};
use model::{Completion, GenerateConfig, GenerateStats, Key, generate_each};

/// How completions of problems are sampled.
#[derive(Clone, Debug)]
pub struct SampleConfig {
    /// K, samples of each problem.
    pub samples: usize,
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// Maximum number of tokens per completion.
    pub max_new_tokens: usize,
    /// Maximum number of rows per batch.
    pub rows: usize,
    /// Streams that rows are shared among, as [`GenerateConfig::streams`].
    pub streams: Option<usize>,
    /// Number of streams that are sampled at the same time.
    pub threads: usize,
    /// The prompt configuration.
    pub prompting: Prompting,
    /// Whether a policy is given the result after `<<expression=` ([`data::calculation_result`]).
    pub calculator: bool,
    /// How an answer is read from a completion.
    pub answer_format: AnswerFormat,
    /// An external reward that decides whether a completion is correct, in place of its answer.
    pub checker: Option<Checker>,
    /// Inference servers that sample in place of this process.
    pub servers: Option<Servers>,
}

impl SampleConfig {
    /// Number of completions that [`evaluate`](crate::evaluate) draws for each problem: K and a greedy one; for K = 1 the greedy one alone.
    pub fn drawn(&self) -> usize {
        if self.samples == 1 { 1 } else { 1 + self.samples }
    }
}

/// Maximum number of samples at once. More do not fit into memory, and are probably a typing error.
const MAX_SAMPLES: usize = 1 << 24;

/// Refuses a number of samples that cannot be held at once.
///
/// # Errors
/// Naming the two numbers.
pub fn check_samples(problems: usize, samples: usize) -> Result<()> {
    ensure!(
        problems.checked_mul(samples).is_some_and(|all| all <= MAX_SAMPLES),
        "{samples} samples of each of {problems} problems are more than the limit of {MAX_SAMPLES}: use fewer"
    );
    Ok(())
}

/// Prompts of problems as token ids, the first label included where the policy expects labels.
///
/// # Errors
/// A prompt that leaves no room for an answer in the model's context, named; a chat style without a template.
pub fn encode_prompts(policy: &Policy, problems: &[Problem], prompting: &Prompting) -> Result<Vec<Vec<u32>>> {
    let context = policy.model.config.max_position_embeddings;
    let label = policy.first_label(prompting);
    let encode = |problem: &Problem| {
        let mut tokens = encode_prompt(&policy.tokenizer, prompting, &problem.question)?;
        tokens.extend(&label);
        ensure!(
            tokens.len() < context,
            "the prompt of {} has {} tokens, and the model's context is {context}",
            problem.id,
            tokens.len()
        );
        Ok(tokens)
    };
    problems.iter().map(encode).collect()
}

/// K completions of every problem; `key` gives the random numbers of (problem, sample); `ended` is called with the number of
/// samples that are done, for a progress bar.
///
/// # Errors
/// As [`encode_prompts`] and [`complete_prompts`].
pub fn complete(
    policy: &Policy,
    problems: &[Problem],
    config: &SampleConfig,
    key: impl Fn(usize, usize) -> Key,
    ended: &(dyn Fn(usize) + Sync),
) -> Result<(Vec<Vec<Completion>>, GenerateStats)> {
    let prompts = encode_prompts(policy, problems, &config.prompting)?;
    let completed = complete_prompts(policy, &prompts, config, key, ended);
    completed.map_err(|error| ServerFailure::named(error, |prompt| problems[prompt].id.clone()))
}

/// K completions of every prompt, which may end with a solution prefix; otherwise as [`complete`].
///
/// # Errors
/// A [`ServerFailure`] and those of [`Servers`]; none without servers.
pub fn complete_prompts(
    policy: &Policy,
    prompts: &[Vec<u32>],
    config: &SampleConfig,
    key: impl Fn(usize, usize) -> Key,
    ended: &(dyn Fn(usize) + Sync),
) -> Result<(Vec<Vec<Completion>>, GenerateStats)> {
    complete_prompts_each(policy, prompts, config, key, ended, &|_, _, _| ())
}

/// As [`complete_prompts`]; `each` is called with prompt, sample and completion as soon as one has ended, in any order and from any
/// thread.
///
/// # Errors
/// As [`complete_prompts`].
pub fn complete_prompts_each(
    policy: &Policy,
    prompts: &[Vec<u32>],
    config: &SampleConfig,
    key: impl Fn(usize, usize) -> Key,
    ended: &(dyn Fn(usize) + Sync),
    each: &(dyn Fn(usize, usize, &Completion) + Sync),
) -> Result<(Vec<Vec<Completion>>, GenerateStats)> {
    run(policy, prompts, policy.stops(&config.prompting), config, key, ended, each)
}

/// As [`complete_prompts`], each completion to the first of these sequences.
///
/// # Errors
/// As [`complete_prompts`].
pub fn complete_until(
    policy: &Policy,
    prompts: &[Vec<u32>],
    stops: Vec<Vec<u32>>,
    config: &SampleConfig,
    key: impl Fn(usize, usize) -> Key,
    ended: &(dyn Fn(usize) + Sync),
) -> Result<(Vec<Vec<Completion>>, GenerateStats)> {
    run(policy, prompts, stops, config, key, ended, &|_, _, _| ())
}

fn run(
    policy: &Policy,
    prompts: &[Vec<u32>],
    stops: Vec<Vec<u32>>,
    config: &SampleConfig,
    key: impl Fn(usize, usize) -> Key,
    ended: &(dyn Fn(usize) + Sync),
    each: &(dyn Fn(usize, usize, &Completion) + Sync),
) -> Result<(Vec<Vec<Completion>>, GenerateStats)> {
    let giver = giver(policy, &config.prompting, config.calculator);
    if let Some(servers) = config.servers.as_ref().filter(|_| !prompts.is_empty())
        && servers.follow(policy, prompts)?
    {
        let longer = stops.iter().filter(|stop| stop.len() > 1);
        let request = Request {
            prompts,
            samples: config.samples,
            max_new_tokens: config.max_new_tokens,
            temperature: config.temperature,
            stop_texts: &longer.map(|stop| policy.tokenizer.decode(stop)).collect::<Vec<_>>(),
            stops: &stops,
            giver: giver.as_ref().map(|(giver, after)| (giver, after.as_slice())),
            rows: config.rows,
        };
        return servers.complete(policy, &request, ended, each);
    }
    let keys: Vec<Vec<Key>> =
        (0..prompts.len()).map(|problem| (0..config.samples).map(|sample| key(problem, sample)).collect()).collect();
    let generate_config = GenerateConfig {
        max_new_tokens: config.max_new_tokens,
        temperature: config.temperature,
        stops,
        giver: giver.map(|(giver, _)| giver),
        rows: config.rows,
        streams: config.streams,
        threads: config.threads,
    };
    Ok(generate_each(&policy.model, prompts, &keys, &generate_config, ended, each))
}
