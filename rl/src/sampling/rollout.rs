//! The rollouts of a step of PPO: completions are sampled, graded and rewarded; then one pass of policy, reference and critic adds their
//! log-probabilities and values. Independent of losses and advantages.

use crate::{
    objective::components::{Weighted, weighted_rewards},
    objective::reward::{Response, RewardArgs, earned_by_chosen, task_rewards},
    objective::weights::{Component, RewardWeights},
    training::batch::{Row, micro_batches, pad},
};
use anyhow::{Result, ensure};
use data::{Problem, Prompting, Tokenizer, encode_prefix, encode_written};
use eval::{
    Policy, RewardModel, Sample, SampleConfig, complete_prompts_each, encode_prompts,
    external::{Item, Phase, Reward, RewardClient},
    grade,
    servers::ServerFailure,
};
use model::{
    ActorCritic, Completion, Finish, GenerateStats, Key, Purpose, Transformer, output_entropy, parallel_map, score,
    score_with_values,
};
use std::ops::Range;

/// A graded and rewarded completion of a question.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// Prompt and response.
    pub tokens: Vec<u32>,
    /// Number of prompt tokens.
    pub prompt_len: usize,
    /// Places in `tokens` that the calculator wrote: part of the state, and no response token.
    pub given: Vec<Range<usize>>,
    /// The environment's reward of each response token, without the KL penalty.
    pub rewards: Vec<f32>,
    /// Log-probability of each response token by the inference server that chose it, at the sampling temperature; `None` where this process
    /// sampled.
    pub server_log_probs: Option<Vec<f32>>,
    /// The reward model's probability that the completion is right, if the reward needs one.
    pub reward_model_score: Option<f32>,
    /// The text, and whether it is right.
    pub sample: Sample,
    /// What the rewards consist of, if they are a weighted sum.
    pub parts: RewardParts,
}

/// What the rewards of a completion consist of; nothing if they are not a weighted sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RewardParts {
    /// What each component gives in all, multiplied by its weight.
    pub sums: Vec<(Component, f32)>,
    /// Whether the reward from outside had no opinion; `None` without one.
    pub no_opinion: Option<bool>,
}

/// A completion with all that PPO learns from. Every list has one entry per response token.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// The completion and its rewards.
    pub sampled: Sampled,
    /// log π_old(a_t | s_t) at the sampling temperature.
    pub log_probs: Vec<f32>,
    /// log π_ref(a_t | s_t) at the sampling temperature.
    pub ref_log_probs: Vec<f32>,
    /// The critic's prediction before a_t.
    pub values: Vec<f32>,
    /// Entropy of π_old(. | s_t), in nats.
    pub entropies: Vec<f32>,
}

impl Row for Sampled {
    fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    fn prompt_len(&self) -> usize {
        self.prompt_len
    }

    fn given(&self) -> &[Range<usize>] {
        &self.given
    }
}

impl Row for Rollout {
    fn tokens(&self) -> &[u32] {
        &self.sampled.tokens
    }

    fn prompt_len(&self) -> usize {
        self.sampled.prompt_len
    }

    fn given(&self) -> &[Range<usize>] {
        &self.sampled.given
    }
}

/// How completions are sampled and rewarded.
#[derive(Clone)]
pub struct RolloutConfig {
    /// How completions are sampled.
    pub sampling: SampleConfig,
    /// The reward.
    pub reward: RewardArgs,
    /// The reward model, if the reward needs one.
    pub reward_model: Option<RewardModel>,
    /// The reward from outside, if the reward has one.
    pub external: Option<RewardClient>,
    /// Seed of the sampling.
    pub seed: u64,
}

/// A query: a question of a step.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The question.
    pub problem: &'a Problem,
    /// Its index in the training split.
    pub index: usize,
    /// The solution prefix that the policy continues from; usually empty.
    pub prefix: &'a str,
}

/// Samples K completions of each query, grades and rewards them; with the speed. The random numbers are keyed by (seed, step, index,
/// sample). The completions of a query are adjacent.
///
/// # Errors
/// A prompt that does not fit the model, an external reward that fails, servers that fail.
pub fn sample_completions(
    policy: &Policy,
    queries: &[Query<'_>],
    step: usize,
    config: &RolloutConfig,
) -> Result<(Vec<Sampled>, GenerateStats)> {
    let key = |query: usize, sample: usize| {
        let index = queries[query].index;
        // The second query of a question continues its samples.
        let earlier = queries[..query].iter().filter(|other| other.index == index).count();
        let step_key = Key::new(config.seed, Purpose::Rollout).with(step as u64).with(index as u64);
        step_key.with((earlier * config.sampling.samples + sample) as u64)
    };
    let prompting = &config.sampling.prompting;
    let prompts = prompts(policy, queries, prompting)?;
    let (k, weights) = (config.sampling.samples, config.reward.weights.weights());
    let encoded =
        |query: &Query<'_>| encode_prefix(&policy.tokenizer, &prompting.format, &query.problem.question, query.prefix);
    let prefixes: Vec<Vec<u32>> = queries.iter().map(encoded).collect::<Result<_>>()?;
    // An external reward and a checker work on completions that have ended, while others are sampled.
    let checker = config.sampling.checker.as_ref();
    let rewarding = config.external.as_ref().map(|client| client.phase(queries.len() * k));
    let checking = checker.map(|checker| checker.client.phase(queries.len() * k));
    let each = |query: usize, sample: usize, completion: &Completion| {
        for phase in rewarding.iter().chain(&checking) {
            phase.put(query * k + sample, item(policy, &queries[query], &prefixes[query], completion));
        }
    };
    let (completions, stats) = complete_prompts_each(policy, &prompts, &config.sampling, key, &|_| (), &each)
        .map_err(|error| ServerFailure::named(error, |query| queries[query].problem.id.clone()))?;
    let mut scores = reward_model_scores(policy, queries, &completions, config)?.into_iter();
    let finished = |phase: Option<Phase<'_>>| phase.map(Phase::finish).transpose();
    let (mut external, mut verdicts) =
        (finished(rewarding)?.into_iter().flatten(), finished(checking)?.into_iter().flatten());
    let mut sampled = Vec::with_capacity(queries.len() * k);
    for (((query, prompt), prefix_tokens), completions) in queries.iter().zip(&prompts).zip(&prefixes).zip(completions)
    {
        for completion in completions {
            let (tokens, given) = (completion.tokens.clone(), completion.given.clone());
            let server_log_probs = completion.server_log_probs.clone();
            let whole = Completion {
                tokens: [prefix_tokens.as_slice(), &tokens].concat(),
                given: shifted(&given, prefix_tokens.len()),
                ..completion
            };
            let mut sample = grade(policy, query.problem, &whole, &config.sampling.answer_format);
            sample.tokens = tokens.len();
            sample.given = policy.tokenizer.decode(prefix_tokens).len();
            if let Some((checker, verdict)) = checker.zip(verdicts.next()) {
                sample.correct = checker.correct_if.holds(&verdict);
            }
            let (score_of_prefix, scores) = scores.next().unwrap_or_default();
            let &Query { problem, prefix, .. } = query;
            let response = Response { problem, prefix, tokens: &tokens, scores: &scores, score_of_prefix };
            let external = external.next();
            let (rewards, parts) =
                rewards_of(&response, &sample, external.as_ref(), weights.as_ref(), config, &policy.tokenizer);
            // Steps count from 1 in what a run writes, here as in its metrics.
            sample.step = Some(step + 1);
            sample.reward = Some(rewards.iter().map(|&reward| f64::from(reward)).sum());
            let rewards = earned_by_chosen(&rewards, &given);
            sampled.push(Sampled {
                tokens: [prompt.as_slice(), &tokens].concat(),
                prompt_len: prompt.len(),
                given: shifted(&given, prompt.len()),
                rewards,
                server_log_probs,
                reward_model_score: scores.last().copied(),
                sample,
                parts,
            });
        }
    }
    Ok((sampled, stats))
}

/// The reward of each token of a response, and what it consists of where it is a weighted sum.
fn rewards_of(
    response: &Response<'_>,
    sample: &Sample,
    external: Option<&Reward>,
    weights: Option<&RewardWeights>,
    config: &RolloutConfig,
    tokenizer: &Tokenizer,
) -> (Vec<f32>, RewardParts) {
    let Some(weights) = weights else {
        return (task_rewards(&config.reward, tokenizer, response, sample.correct), RewardParts::default());
    };
    let Weighted { rewards, sums, no_opinion } = weighted_rewards(weights, tokenizer, response, sample, external);
    (rewards, RewardParts { sums, no_opinion: external.is_some().then_some(no_opinion) })
}

/// Places behind so many other tokens.
fn shifted(places: &[Range<usize>], by: usize) -> Vec<Range<usize>> {
    places.iter().map(|range| range.start + by..range.end + by).collect()
}

/// A completion as it is sent to an external reward, after the lines that were given.
fn item(policy: &Policy, query: &Query<'_>, given: &[u32], completion: &Completion) -> Item {
    let tokenizer = &policy.tokenizer;
    let text = tokenizer.decode(&[given, &completion.tokens].concat());
    let given = tokenizer.decode(given).len();
    Item::new(query.problem, &text, given, Some(completion.tokens.len()), completion.finish)
}

/// Queries as token ids, each with its solution prefix.
fn prompts(policy: &Policy, queries: &[Query<'_>], prompting: &Prompting) -> Result<Vec<Vec<u32>>> {
    let problems: Vec<Problem> = queries.iter().map(|query| query.problem.clone()).collect();
    let mut prompts = encode_prompts(policy, &problems, prompting)?;
    for (prompt, Query { problem, prefix, .. }) in prompts.iter_mut().zip(queries) {
        prompt.extend(encode_prefix(&policy.tokenizer, &prompting.format, &problem.question, prefix)?);
        let context = policy.model.config.max_position_embeddings;
        ensure!(
            prompt.len() < context,
            "the prompt of {} has {} tokens with the prefix of its solution, and the model's context is {context}",
            problem.id,
            prompt.len()
        );
    }
    Ok(prompts)
}

/// The reward model's scores of each completion: after its solution prefix, and after each of its tokens; nothing without a reward model. It
/// reads the text as training and reranking do ([`encode_written`]): no solved problems before a question, no white space before the
/// end, and the end of sequence that training writes. A token that is encoded otherwise there has the score of the position that its
/// text reaches; the score of an empty completion is 0.
fn reward_model_scores(
    policy: &Policy,
    queries: &[Query<'_>],
    completions: &[Vec<Completion>],
    config: &RolloutConfig,
) -> Result<Vec<(f32, Vec<f32>)>> {
    let Some(reward_model) = &config.reward_model else { return Ok(Vec::new()) };
    let (tokenizer, prompting) = (&policy.tokenizer, Prompting::bare(config.sampling.prompting.format.clone()));
    let context = reward_model.model.language_model.config.max_position_embeddings;
    let (mut rows, mut positions) = (Vec::new(), Vec::new());
    for (Query { problem, prefix, .. }, completions) in queries.iter().zip(completions) {
        let prefix_tokens = encode_prefix(tokenizer, &prompting.format, &problem.question, prefix)?;
        for completion in completions {
            let written = [prefix_tokens.as_slice(), &completion.tokens].concat();
            let (text, ended) = (tokenizer.decode(&written), completion.finish == Finish::Stop);
            let mut row = encode_written(tokenizer, &prompting, &problem.question, &text, ended)?;
            row.tokens.truncate(context);
            positions.push((prefix_tokens.len(), token_alignment(tokenizer, &written, &row.tokens[row.prompt_len..])));
            rows.push(row);
        }
    }
    let scores_of_rows = reward_model.scores(&rows, config.sampling.rows, config.sampling.threads);
    let parts = scores_of_rows.into_iter().zip(positions).map(|(of_row, (prefix_len, positions))| {
        let mut scores: Vec<f32> =
            positions.iter().map(|&position| of_row.get(position).copied().unwrap_or(0.0)).collect();
        let of_completion = scores.split_off(prefix_len);
        (scores.last().copied().unwrap_or(0.0), of_completion)
    });
    Ok(parts.collect())
}

/// For each written token, the position of the read token that reaches as far in the text; the last tokens correspond.
fn token_alignment(tokenizer: &Tokenizer, written: &[u32], read: &[u32]) -> Vec<usize> {
    let Some(last) = read.len().checked_sub(1) else { return vec![0; written.len()] };
    let same = written.iter().zip(read).take_while(|(written, read)| written == read).count();
    let aligned = |position: usize| match position {
        _ if position + 1 == written.len() => last,
        _ if position < same => position,
        _ => tokenizer.token_reaching(read, tokenizer.decode(&written[..=position]).len()),
    };
    (0..written.len()).map(aligned).collect()
}

/// Adds the log-probabilities of policy and reference, the critic's values and the entropies, in one pass of each model without gradients.
pub fn log_probs_pass(
    sampled: Vec<Sampled>,
    model: &ActorCritic,
    reference: &Transformer,
    temperature: f64,
    micro_batch: usize,
    threads: usize,
) -> Vec<Rollout> {
    let parts = micro_batches(&sampled, micro_batch);
    let computed = parallel_map(
        &parts,
        threads,
        || (model.clone(), reference.clone()),
        |(model, reference), _, indices| {
            let rows: Vec<&Sampled> = indices.iter().map(|&index| &sampled[index]).collect();
            let padded = pad(&rows, &model.policy.device());
            let (scored, values) = score_with_values(model, &padded, temperature);
            let entropies = output_entropy(&model.policy, scored.hidden, temperature);
            let of_reference = score(reference, &padded, temperature);
            model::to_host_together([scored.log_probs, of_reference.log_probs, values, entropies])
        },
    );
    // Rows of a micro-batch are laid end to end, in an order of their own.
    let mut rows: Vec<[Vec<f32>; 4]> = vec![Default::default(); sampled.len()];
    for (indices, computed) in parts.iter().zip(computed) {
        let mut start = 0;
        for &index in indices {
            let end = start + sampled[index].response_len();
            rows[index] = computed.each_ref().map(|values| values[start..end].to_vec());
            start = end;
        }
    }
    let rollout = |(sampled, [log_probs, ref_log_probs, values, entropies]): (Sampled, [Vec<f32>; 4])| Rollout {
        sampled,
        log_probs,
        ref_log_probs,
        values,
        entropies,
    };
    sampled.into_iter().zip(rows).map(rollout).collect()
}

#[cfg(test)]
mod tests;
