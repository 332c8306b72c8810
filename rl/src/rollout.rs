//! One phase of experience: sample, grade, reward, and one look by policy, reference and critic. Knows no loss.

use crate::{
    batch::{Row, micro_batches, pad},
    reward::{Done, RewardArgs, task_rewards},
};
use anyhow::{Result, ensure};
use data::{Example, Problem, Prompting, encode_beginning};
use eval::{Policy, RewardModel, Sample, SampleConfig, complete_prompts, encode_prompts, grade};
use model::{
    ActorCritic, Completion, GenerateStats, Key, Purpose, Transformer, output_entropy, parallel_map, score,
    score_with_values,
};

/// One sample of one problem with all that PPO needs of it. Every list has one entry a response token.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// Prompt and response.
    pub tokens: Vec<u32>,
    /// How many of them are the prompt.
    pub prompt_len: usize,
    /// The environment's reward, the penalty for divergence not in it.
    pub rewards: Vec<f32>,
    /// log π_old(a_t | s_t) at the sampling temperature.
    pub log_probs: Vec<f32>,
    /// log π_ref(a_t | s_t) at the sampling temperature.
    pub ref_log_probs: Vec<f32>,
    /// The critic's prediction before a_t.
    pub values: Vec<f32>,
    /// Entropy of π_old(. | s_t), in nats.
    pub entropies: Vec<f32>,
    /// The reward model's probability that the whole is right, where one is asked.
    pub judged: Option<f32>,
    /// What was written, and whether it is right.
    pub sample: Sample,
}

impl Row for Rollout {
    fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    fn prompt_len(&self) -> usize {
        self.prompt_len
    }
}

/// How experience is made.
#[derive(Clone)]
pub struct RolloutConfig {
    /// How completions are sampled.
    pub sampling: SampleConfig,
    /// Which reward.
    pub reward: RewardArgs,
    /// What the reward asks, if it asks one.
    pub reward_model: Option<RewardModel>,
    /// Seed of the draws.
    pub seed: u64,
}

/// A question of a step.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The question.
    pub problem: &'a Problem,
    /// Its place in the training split.
    pub place: usize,
    /// First lines of a solution that are given; mostly none.
    pub beginning: &'a str,
}

/// Samples K solutions of each question and grades them; nothing is looked at yet. The draws belong to (seed, step, place,
/// sample).
///
/// # Errors
/// A prompt that does not fit the model.
pub fn sample_rollouts(
    policy: &Policy,
    asked: &[Asked<'_>],
    step: usize,
    config: &RolloutConfig,
) -> Result<(Vec<Rollout>, GenerateStats)> {
    let key = |question: usize, sample: usize| {
        let place = asked[question].place;
        // A question that is asked twice is sampled further.
        let earlier = asked[..question].iter().filter(|other| other.place == place).count();
        let step_key = Key::new(config.seed, Purpose::Rollout).with(step as u64).with(place as u64);
        step_key.with((earlier * config.sampling.samples + sample) as u64)
    };
    let prompting = &config.sampling.prompting;
    let prompts = prompts(policy, asked, prompting)?;
    let (completions, stats) = complete_prompts(policy, &prompts, &config.sampling, key, &|_| ());
    let mut judged = judge(policy, asked, &completions, config)?.into_iter();
    let mut rollouts = Vec::with_capacity(asked.len() * config.sampling.samples);
    for ((question, prompt), completions) in asked.iter().zip(&prompts).zip(completions) {
        let given = encode_beginning(&policy.tokenizer, prompting.style, question.beginning);
        for completion in completions {
            let tokens = completion.tokens.clone();
            let whole = Completion { tokens: [given.as_slice(), &tokens].concat(), ..completion };
            let mut sample = grade(policy, question.problem, &whole, &config.sampling.answer_format);
            sample.tokens = tokens.len();
            sample.given = policy.tokenizer.decode(&given).len();
            let (judged_given, judged) = judged.next().unwrap_or_default();
            let (reward, tokenizer) = (&config.reward, &policy.tokenizer);
            let (problem, given) = (question.problem, question.beginning);
            let done = Done { problem, given, tokens: &tokens, judged: &judged, judged_given };
            let rewards = task_rewards(reward, tokenizer, &done, sample.correct);
            // Steps count from 1 in what a run writes, here as in its metrics.
            sample.step = Some(step + 1);
            sample.reward = Some(rewards.iter().map(|&reward| f64::from(reward)).sum());
            rollouts.push(Rollout {
                tokens: [prompt.as_slice(), &tokens].concat(),
                prompt_len: prompt.len(),
                rewards,
                log_probs: Vec::new(),
                ref_log_probs: Vec::new(),
                values: Vec::new(),
                entropies: Vec::new(),
                judged: judged.last().copied(),
                sample,
            });
        }
    }
    Ok((rollouts, stats))
}

/// Questions as token ids, with the beginning that is given.
fn prompts(policy: &Policy, asked: &[Asked<'_>], prompting: &Prompting) -> Result<Vec<Vec<u32>>> {
    let problems: Vec<Problem> = asked.iter().map(|question| question.problem.clone()).collect();
    let mut prompts = encode_prompts(policy, &problems, prompting)?;
    for (prompt, Asked { problem, beginning, .. }) in prompts.iter_mut().zip(asked) {
        prompt.extend(encode_beginning(&policy.tokenizer, prompting.style, beginning));
        let context = policy.model.config.max_position_embeddings;
        ensure!(
            prompt.len() < context,
            "the prompt of {} has {} tokens with what is given of its solution, and the model's context is {context}",
            problem.id,
            prompt.len()
        );
    }
    Ok(prompts)
}

/// What the reward model says after what each completion was given, and after each of its tokens, in one pass over all; nothing
/// without one. It reads what it has learnt from: no solved problems before a question, and the end of the sequence where a completion
/// that came after some ended with what stands between them.
fn judge(
    policy: &Policy,
    asked: &[Asked<'_>],
    completions: &[Vec<Completion>],
    config: &RolloutConfig,
) -> Result<Vec<(f32, Vec<f32>)>> {
    let Some(reward_model) = &config.reward_model else { return Ok(Vec::new()) };
    let prompts = prompts(policy, asked, &Prompting::bare(config.sampling.prompting.style))?;
    let eos = policy.tokenizer.eos_ids().first().copied();
    let (prompting, ids) = (&config.sampling.prompting, policy.stop_ids());
    let separators: Vec<Vec<u32>> =
        policy.stops(prompting).into_iter().filter(|stop| !matches!(stop[..], [id] if ids.contains(&id))).collect();
    let separator = |completion: &Completion| {
        let ends = separators.iter().find(|separator| completion.tokens.ends_with(separator));
        ends.filter(|_| eos.is_some()).map_or(0, Vec::len)
    };
    let row = |prompt: &[u32], given: usize, completion: &Completion| {
        let cut = separator(completion);
        let mut tokens = [prompt, &completion.tokens[..completion.tokens.len() - cut]].concat();
        tokens.extend(eos.filter(|_| cut > 0));
        Example::new(tokens, prompt.len() - given)
    };
    let given = asked
        .iter()
        .map(|question| encode_beginning(&policy.tokenizer, config.sampling.prompting.style, question.beginning).len());
    let of_questions: Vec<(&Vec<u32>, usize, &Vec<Completion>)> =
        prompts.iter().zip(given).zip(completions).map(|((prompt, given), all)| (prompt, given, all)).collect();
    let all = || of_questions.iter().flat_map(|&(prompt, given, all)| all.iter().map(move |one| (prompt, given, one)));
    let rows: Vec<Example> = all().map(|(prompt, given, completion)| row(prompt, given, completion)).collect();
    let judged = reward_model.probabilities(&rows, config.sampling.rows, config.sampling.threads);
    let parts = judged.into_iter().zip(all()).map(|(mut judged, (_, given, completion))| {
        let last = judged.last().copied().unwrap_or(0.0);
        judged.resize(given + completion.tokens.len(), last);
        let of_completion = judged.split_off(given);
        (judged.last().copied().unwrap_or(0.0), of_completion)
    });
    Ok(parts.collect())
}

/// Fills in what policy, critic and reference say of the samples, in one pass of each without gradients.
pub fn look(
    rollouts: &mut [Rollout],
    model: &ActorCritic,
    reference: &Transformer,
    temperature: f64,
    micro_batch: usize,
    threads: usize,
) {
    let parts = micro_batches(rollouts, micro_batch);
    let seen = parallel_map(
        &parts,
        threads,
        || (model.clone(), reference.clone()),
        |(model, reference), _, indices| {
            let rows: Vec<&Rollout> = indices.iter().map(|&index| &rollouts[index]).collect();
            let padded = pad(&rows, &model.policy.device());
            let (scored, values) = score_with_values(model, &padded, temperature);
            let entropies = output_entropy(&model.policy, scored.hidden, temperature);
            let of_reference = score(reference, &padded, temperature);
            model::to_host_together([scored.log_probs, of_reference.log_probs, values, entropies])
        },
    );
    for (indices, [log_probs, ref_log_probs, values, entropies]) in parts.iter().zip(seen) {
        let mut start = 0;
        for &index in indices {
            let end = start + rollouts[index].response_len();
            let rollout = &mut rollouts[index];
            rollout.log_probs = log_probs[start..end].to_vec();
            rollout.ref_log_probs = ref_log_probs[start..end].to_vec();
            rollout.values = values[start..end].to_vec();
            rollout.entropies = entropies[start..end].to_vec();
            start = end;
        }
    }
}
