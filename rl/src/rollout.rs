//! One phase of experience: sample, grade, reward, and one look by policy, reference and critic. Knows no loss.

use crate::{
    batch::{Row, micro_batches, pad},
    reward::{Done, RewardArgs, task_rewards},
};
use anyhow::{Result, ensure};
use data::{Example, Problem, Prompting, Tokenizer, encode_beginning, encode_written};
use eval::{Policy, RewardModel, Sample, SampleConfig, complete_prompts, encode_prompts, grade};
use model::{
    ActorCritic, Completion, Finish, GenerateStats, Key, Purpose, Transformer, output_entropy, parallel_map, score,
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
/// without one. It reads the text as training and reranking read it ([`encode_written`]): no solved problems before a question, no
/// white space before the end, and the end of sequence that training writes. A token that it reads otherwise has the score of the
/// place that its text reaches, and where nothing was written the score is 0.
fn judge(
    policy: &Policy,
    asked: &[Asked<'_>],
    completions: &[Vec<Completion>],
    config: &RolloutConfig,
) -> Result<Vec<(f32, Vec<f32>)>> {
    let Some(reward_model) = &config.reward_model else { return Ok(Vec::new()) };
    let (tokenizer, prompting) = (&policy.tokenizer, Prompting::bare(config.sampling.prompting.style));
    let context = reward_model.model.policy.config.max_position_embeddings;
    let (mut rows, mut places) = (Vec::new(), Vec::new());
    for (Asked { problem, beginning, .. }, completions) in asked.iter().zip(completions) {
        let given = encode_beginning(tokenizer, prompting.style, beginning);
        for completion in completions {
            let written = [given.as_slice(), &completion.tokens].concat();
            let (text, ended) = (tokenizer.decode(&written), completion.finish == Finish::Stop);
            let mut row = encode_written(tokenizer, &prompting, &problem.question, &text, ended)?;
            row.tokens.truncate(context);
            places.push((given.len(), places_read(tokenizer, &written, &row.tokens[row.prompt_len..])));
            rows.push(row);
        }
    }
    let is_empty = |row: &Example| row.tokens.len() == row.prompt_len;
    let asked: Vec<Example> = rows.iter().filter(|row| !is_empty(row)).cloned().collect();
    let mut judged = reward_model.probabilities(&asked, config.sampling.rows, config.sampling.threads).into_iter();
    let parts = rows.iter().zip(places).map(|(row, (given, places))| {
        let of_row = if is_empty(row) { Vec::new() } else { judged.next().expect("every row was scored") };
        let mut scores: Vec<f32> = places.iter().map(|&place| of_row.get(place).copied().unwrap_or(0.0)).collect();
        let of_completion = scores.split_off(given);
        (scores.last().copied().unwrap_or(0.0), of_completion)
    });
    Ok(parts.collect())
}

/// For each token that was written, the place of the token that reaches as far among those that are read; the last tokens belong
/// together.
fn places_read(tokenizer: &Tokenizer, written: &[u32], read: &[u32]) -> Vec<usize> {
    let Some(last) = read.len().checked_sub(1) else { return vec![0; written.len()] };
    let same = written.iter().zip(read).take_while(|(written, read)| written == read).count();
    let of_place = |place: usize| match place {
        _ if place + 1 == written.len() => last,
        _ if place < same => place,
        _ => tokenizer.token_reaching(read, tokenizer.decode(&written[..=place]).len()),
    };
    (0..written.len()).map(of_place).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use data::{Answer, AnswerFormat};
    use model::{ModelConfig, ModelSize};

    const SOLUTION: &str = " 6*4 = <<6*4=24>>24\n24-3 = <<24-3=21>>21\n#### 21";

    fn problem() -> Problem {
        Problem {
            id: "test/0".into(),
            question: "Ann has 6 bags of 4 nuts and eats 3. How many are left?".into(),
            solution: SOLUTION.trim().into(),
            answer: Answer::from_integer(21),
            worked: None,
        }
    }

    /// A policy whose sequences end with token 0, which training writes, or with token 7.
    fn policy() -> Policy {
        let folder = tempfile::tempdir().unwrap();
        let problem = problem();
        Tokenizer::train_bpe(&[problem.question, problem.solution], 300).unwrap().save(folder.path()).unwrap();
        std::fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": [0, 7]}"#).unwrap();
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        let config = ModelConfig {
            hidden_size: 16,
            intermediate_size: 24,
            ..ModelConfig::of_size(ModelSize::Tiny, tokenizer.vocab_size(), 0)
        };
        Policy { model: Transformer::init(&config, 3, &Device::default()), tokenizer, conditioning: None }
    }

    /// With a head that is not 0.
    fn config(policy: &Policy) -> RolloutConfig {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            reward: RewardArgs,
        }
        let mut model = ActorCritic::judge_of(&policy.model);
        model.value.head = model.value.head.map(|head| head.add_scalar(0.3));
        let prompting = Prompting::default();
        RolloutConfig {
            sampling: SampleConfig {
                samples: 1,
                temperature: 1.0,
                max_new_tokens: 99,
                rows: 8,
                threads: 1,
                prompting,
                answer_format: AnswerFormat::Gsm8k,
            },
            reward: <Flags as clap::Parser>::parse_from(["", "--reward=dense-orm"]).reward,
            reward_model: Some(RewardModel { model, likelihood: None, tokenizer: policy.tokenizer.clone() }),
            seed: 0,
        }
    }

    fn judged(policy: &Policy, config: &RolloutConfig, tokens: &[u32], finish: Finish) -> Vec<f32> {
        let problem = problem();
        let asked = [Asked { problem: &problem, place: 0, beginning: "" }];
        let completion = Completion { tokens: tokens.to_vec(), log_probs: vec![0.0; tokens.len()], finish };
        judge(policy, &asked, &[vec![completion]], config).unwrap().remove(0).1
    }

    #[test]
    fn a_completion_has_the_score_that_reranking_gives_its_text_however_it_ends() {
        let policy = policy();
        let config = config(&policy);
        let tokenizer = &policy.tokenizer;
        let encode = |text: &str, end: &[u32]| [tokenizer.encode(text).as_slice(), end].concat();
        // No two bytes joined: what a policy may write and no text is cut into.
        let bytes: Vec<u32> = SOLUTION.chars().flat_map(|c| tokenizer.encode(&c.to_string())).collect();
        let plain = judged(&policy, &config, &encode(SOLUTION, &[0]), Finish::Stop);
        for (tokens, finish) in [
            (encode(SOLUTION, &[7]), Finish::Stop),
            (encode(&format!("{SOLUTION} \n\n"), &[0]), Finish::Stop),
            (encode(&format!("{SOLUTION}\n"), &[7]), Finish::Stop),
            ([bytes.as_slice(), &[0]].concat(), Finish::Stop),
            (encode(SOLUTION, &[]), Finish::Length),
            (encode(&format!("{SOLUTION}\n"), &[]), Finish::Length),
            (vec![7], Finish::Stop),
        ] {
            let scores = judged(&policy, &config, &tokens, finish);
            assert_eq!(scores.len(), tokens.len(), "one a token");
            let completion = Completion { log_probs: vec![0.0; tokens.len()], finish, tokens: tokens.clone() };
            let mut sample = grade(&policy, &problem(), &completion, &AnswerFormat::Gsm8k);
            let reward_model = config.reward_model.as_ref().unwrap();
            eval::score(reward_model, &mut [&mut sample], &config.sampling).unwrap();
            let last = f64::from(*scores.last().unwrap());
            assert!((last - sample.score.unwrap()).abs() < 1e-6, "{tokens:?}: {last}, {:?}", sample.score);
            // A line that is written in the same way has the score that it had.
            let same = tokens.iter().zip(encode(SOLUTION, &[])).take_while(|(one, other)| *one == other).count();
            assert!((0..same).all(|place| (scores[place] - plain[place]).abs() < 1e-6), "{scores:?}, {plain:?}");
        }
    }

    #[test]
    fn a_token_that_is_read_otherwise_has_the_score_of_the_place_that_its_text_reaches() {
        let tokenizer = policy().tokenizer;
        let read = [tokenizer.encode("nuts").as_slice(), &[0]].concat();
        let letters: Vec<u32> = "nuts".chars().flat_map(|c| tokenizer.encode(&c.to_string())).collect();
        assert!(read.len() < 1 + letters.len(), "the word has a token of its own, or parts of it have");
        let written = [letters.as_slice(), &tokenizer.encode("\n"), &[7]].concat();
        let places = places_read(&tokenizer, &written, &read);
        assert_eq!(places.len(), written.len());
        assert!(places.is_sorted() && places[..4].iter().all(|&place| place < read.len() - 1), "{places:?}");
        assert_eq!(places[3..], [read.len() - 2, read.len() - 1, read.len() - 1]);
        assert_eq!(places_read(&tokenizer, &read, &read), (0..read.len()).collect::<Vec<_>>());
    }
}
