//! A policy's completions of problems, graded; and the evaluation made of them. Knows nothing of training.

use crate::{
    compare::{ByQuestion, Questions},
    metrics::Graded,
    policy::Policy,
    report::{About, Report, by_question},
    reward_model::RewardModel,
};
use anyhow::{Context, Result, ensure};
use data::text::from_json_object;
use data::{AnswerFormat, Ending, Example, Problem, Prompting, encode_prompt, encode_written};
use model::{Completion, Finish, GenerateConfig, GenerateStats, Key, Purpose, generate};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

/// How completions of problems are sampled.
#[derive(Clone, Debug)]
pub struct SampleConfig {
    /// K, samples of each problem.
    pub samples: usize,
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// Most tokens of a completion.
    pub max_new_tokens: usize,
    /// Most rows of a batch.
    pub rows: usize,
    /// Batches worked on at once.
    pub threads: usize,
    /// How a question is put.
    pub prompting: Prompting,
    /// How an answer is read out of a completion.
    pub answer_format: AnswerFormat,
}

impl SampleConfig {
    /// How many completions [`evaluate`] draws of each problem: the greedy one beside K, and of one sample that alone.
    pub fn drawn(&self) -> usize {
        if self.samples == 1 { 1 } else { 1 + self.samples }
    }
}

/// Samples that a reward model scores between two signs of life.
const SCORED_AT_ONCE: usize = 1024;
/// More samples at once than this are a slip of the keyboard, and no memory holds what is known of them.
const MOST_SAMPLES: usize = 1 << 24;

/// Refuses a number of samples that cannot be held at once.
///
/// # Errors
/// Naming the two numbers.
pub fn check_samples(problems: usize, samples: usize) -> Result<()> {
    ensure!(
        problems.checked_mul(samples).is_some_and(|all| all <= MOST_SAMPLES),
        "{samples} samples of each of {problems} problems are more than can be held at once, {MOST_SAMPLES}: ask for fewer"
    );
    Ok(())
}

/// One line of `samples.jsonl`: what a policy wrote, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The training step that it was written in; `None` in an evaluation.
    pub step: Option<usize>,
    /// Of the problem.
    pub id: String,
    /// The question.
    pub question: String,
    /// What was written, special tokens left out.
    pub completion: String,
    /// The answer read from it, if there is one.
    pub answer: Option<String>,
    /// The right answer.
    pub expected: String,
    /// What the completion earned in training; `None` in an evaluation.
    pub reward: Option<f64>,
    /// Whether the answer is right.
    pub correct: bool,
    /// Why it ended.
    pub finish: Finish,
    /// Number of tokens written.
    pub tokens: usize,
    /// Whether it is the greedy one of its problem, beside those that were drawn.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub greedy: bool,
    /// How many bytes at the beginning of the completion were given to the policy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub given: usize,
    /// The reward model's probability that it is right, where one was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
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

/// K completions of every problem; `key` gives the random numbers of (problem, sample); `ended` is told of samples that are
/// done, for a progress bar.
///
/// # Errors
/// As [`encode_prompts`].
pub fn complete(
    policy: &Policy,
    problems: &[Problem],
    config: &SampleConfig,
    key: impl Fn(usize, usize) -> Key,
    ended: &(dyn Fn(usize) + Sync),
) -> Result<(Vec<Vec<Completion>>, GenerateStats)> {
    let prompts = encode_prompts(policy, problems, &config.prompting)?;
    Ok(complete_prompts(policy, &prompts, config, key, ended))
}

/// K completions of every prompt, which may hold the beginning of a solution; otherwise as [`complete`].
pub fn complete_prompts(
    policy: &Policy,
    prompts: &[Vec<u32>],
    config: &SampleConfig,
    key: impl Fn(usize, usize) -> Key,
    ended: &(dyn Fn(usize) + Sync),
) -> (Vec<Vec<Completion>>, GenerateStats) {
    complete_until(policy, prompts, policy.stops(&config.prompting), config, key, ended)
}

/// As [`complete_prompts`], each completion to the first of these sequences.
pub fn complete_until(
    policy: &Policy,
    prompts: &[Vec<u32>],
    stops: Vec<Vec<u32>>,
    config: &SampleConfig,
    key: impl Fn(usize, usize) -> Key,
    ended: &(dyn Fn(usize) + Sync),
) -> (Vec<Vec<Completion>>, GenerateStats) {
    let keys: Vec<Vec<Key>> =
        (0..prompts.len()).map(|problem| (0..config.samples).map(|sample| key(problem, sample)).collect()).collect();
    let generate_config = GenerateConfig {
        max_new_tokens: config.max_new_tokens,
        temperature: config.temperature,
        stops,
        forced: policy.labels_of_lines(&config.prompting),
        rows: config.rows,
        threads: config.threads,
    };
    generate(&policy.model, prompts, &keys, &generate_config, ended)
}

/// Reads the answer of a completion and compares it.
pub fn grade(policy: &Policy, problem: &Problem, completion: &Completion, format: &AnswerFormat) -> Sample {
    let text = policy.tokenizer.decode(&completion.tokens);
    let answer = format.extract(&text, ending(completion.finish));
    Sample {
        step: None,
        id: problem.id.clone(),
        question: problem.question.clone(),
        correct: answer.as_ref() == Some(&problem.answer),
        answer: answer.map(|answer| answer.to_string()),
        expected: problem.answer.to_string(),
        completion: text,
        reward: None,
        finish: completion.finish,
        tokens: completion.tokens.len(),
        greedy: false,
        given: 0,
        score: None,
    }
}

/// Reads a `samples.jsonl`, whoever wrote it.
///
/// # Errors
/// A missing file; a line that is not a sample, by its number.
pub fn read_samples(path: &Path) -> Result<Vec<Sample>> {
    let sample = |(index, line): (usize, &str)| {
        from_json_object(line).with_context(|| format!("{}, line {}: not a sample", path.display(), index + 1))
    };
    data::read_text(path)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(sample).collect()
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Whether a completion was written to its end, for who reads its answer.
pub fn ending(finish: Finish) -> Ending {
    match finish {
        Finish::Stop => Ending::Finished,
        Finish::Length => Ending::CutOff,
    }
}

impl Sample {
    /// The same completion graded anew, whatever it says of itself.
    pub fn regraded(self, problem: &Problem, format: &AnswerFormat) -> Self {
        let answer = format.extract(&self.completion, ending(self.finish));
        Self {
            correct: answer.as_ref() == Some(&problem.answer),
            answer: answer.map(|answer| answer.to_string()),
            expected: problem.answer.to_string(),
            ..self
        }
    }

    /// As a vote for the metrics.
    pub fn graded(&self) -> Graded {
        let answer = self.answer.as_deref().and_then(data::Answer::parse_number);
        Graded { answer, correct: self.correct, score: self.score }
    }
}

/// The outcome of an evaluation: the numbers, and what they were made from.
pub struct Evaluation {
    /// The metrics with their intervals.
    pub report: Report,
    /// One greedy sample a problem.
    pub greedy: Vec<Sample>,
    /// K samples a problem.
    pub samples: Vec<Vec<Sample>>,
}

impl Evaluation {
    /// What each problem scores, in their order, by the metrics of the report; and which problems they are.
    ///
    /// # Errors
    /// As [`by_question`].
    pub fn by_question(&self) -> Result<ByQuestion> {
        let ks: BTreeSet<usize> = self.report.metrics.keys().map(|metric| metric.k).collect();
        let (greedy, questions) = graded(&self.greedy, &self.samples);
        let scores = by_question(&questions, Some(&greedy), &ks.into_iter().collect::<Vec<_>>())?;
        let questions = Some(Questions::of(self.report.benchmark, self.report.split, &self.greedy));
        Ok(ByQuestion { questions, scores })
    }
}

/// Evaluates a policy on problems: maj@1 from one greedy sample each, maj@K and pass@K from K samples at the temperature,
/// and rerank@K where there is a reward model to score them. With K = 1 the greedy sample is all, and the temperature of the report
/// is 0. `ended` is told of samples that are drawn, and of those scored.
///
/// # Errors
/// As [`encode_prompts`].
pub fn evaluate(
    policy: &Policy,
    problems: &[Problem],
    about: About,
    config: &SampleConfig,
    seed: u64,
    reward_model: Option<&RewardModel>,
    ended: &(dyn Fn(usize) + Sync),
) -> Result<Evaluation> {
    let key =
        |problem: usize, sample: usize| Key::new(seed, Purpose::Evaluation).with(problem as u64).with(sample as u64);
    let graded = |config: &SampleConfig| -> Result<Vec<Vec<Sample>>> {
        let (completions, _) = complete(policy, problems, config, key, ended)?;
        let of_problem = |(problem, row): (&Problem, Vec<Completion>)| {
            row.iter().map(|completion| grade(policy, problem, completion, &config.answer_format)).collect()
        };
        Ok(problems.iter().zip(completions).map(of_problem).collect())
    };
    let greedy = graded(&SampleConfig { samples: 1, temperature: 0.0, ..config.clone() })?;
    let greedy: Vec<Sample> = greedy.into_iter().flatten().collect();
    let samples = match config.samples {
        1 => greedy.iter().map(|sample| vec![sample.clone()]).collect(),
        _ => graded(config)?,
    };
    let greedy = greedy.into_iter().map(|sample| Sample { greedy: true, ..sample }).collect();
    evaluation_of(greedy, samples, about, config, reward_model, ended)
}

/// What samples come to, the greedy ones and K of each problem, once the reward model has scored the latter.
pub(crate) fn evaluation_of(
    greedy: Vec<Sample>,
    mut samples: Vec<Vec<Sample>>,
    about: About,
    config: &SampleConfig,
    reward_model: Option<&RewardModel>,
    ended: &(dyn Fn(usize) + Sync),
) -> Result<Evaluation> {
    let about = About { temperature: if config.samples == 1 { Some(0.0) } else { about.temperature }, ..about };
    if let Some(reward_model) = reward_model {
        let mut all: Vec<&mut Sample> = samples.iter_mut().flatten().collect();
        for some in all.chunks_mut(SCORED_AT_ONCE) {
            score(reward_model, some, config)?;
            ended(some.len());
        }
    }
    let report = report(about, &greedy, &samples)?;
    Ok(Evaluation { report, greedy, samples })
}

/// Share of right greedy answers: what is looked at while a policy is trained.
///
/// # Errors
/// As [`encode_prompts`].
pub fn greedy_accuracy(policy: &Policy, problems: &[Problem], config: &SampleConfig) -> Result<(f64, Vec<Sample>)> {
    let config = SampleConfig { samples: 1, temperature: 0.0, ..config.clone() };
    let key = |_, _| Key::new(0, Purpose::Evaluation);
    let (completions, _) = complete(policy, problems, &config, key, &|_| ())?;
    let graded = problems.iter().zip(completions.iter().flatten());
    let samples: Vec<Sample> = graded.map(|(p, whole)| grade(policy, p, whole, &config.answer_format)).collect();
    let right = samples.iter().filter(|sample| sample.correct).count();
    Ok((right as f64 / samples.len().max(1) as f64, samples))
}

/// Asks a reward model for the probability that samples are right. It reads no solved problems before a question, and of what
/// is longer than its context the beginning.
///
/// # Errors
/// A chat style without a template, a question that fills the context.
pub fn score(reward_model: &RewardModel, samples: &mut [&mut Sample], config: &SampleConfig) -> Result<()> {
    let prompting = Prompting::bare(config.prompting.style);
    let context = reward_model.model.policy.config.max_position_embeddings;
    let row = |sample: &&mut Sample| {
        let ended = sample.finish == Finish::Stop;
        let Sample { question, completion, .. } = &**sample;
        let mut row = encode_written(&reward_model.tokenizer, &prompting, question, completion, ended)?;
        ensure!(row.prompt_len < context, "the question of {} fills the reward model's context", sample.id);
        row.tokens.truncate(context);
        Ok(row)
    };
    let rows = samples.iter().map(row).collect::<Result<Vec<Example>>>()?;
    // What was written several times is judged once; where nothing was written there is nothing to judge.
    let mut judged: Vec<Example> = Vec::new();
    let mut places: HashMap<(&[u32], usize), usize> = HashMap::new();
    for row in rows.iter().filter(|row| row.tokens.len() > row.prompt_len) {
        places.entry((&row.tokens, row.prompt_len)).or_insert_with(|| {
            judged.push(row.clone());
            judged.len() - 1
        });
    }
    let probabilities = reward_model.probabilities(&judged, config.rows, config.threads);
    for (sample, row) in samples.iter_mut().zip(&rows) {
        let of_row =
            places.get(&(row.tokens.as_slice(), row.prompt_len)).and_then(|&place| probabilities[place].last());
        sample.score = Some(of_row.map_or(0.0, |&last| f64::from(last)));
    }
    Ok(())
}

fn report(about: About, greedy: &[Sample], samples: &[Vec<Sample>]) -> Result<Report> {
    let k = samples.iter().map(Vec::len).min().unwrap_or(0);
    let all = || samples.iter().flatten();
    let count = all().count().max(1) as f64;
    let about = About {
        truncated: Some(all().filter(|sample| sample.finish == Finish::Length).count() as f64 / count),
        mean_tokens: Some(all().map(|sample| sample.tokens).sum::<usize>() as f64 / count),
        ..about
    };
    // The powers of four on the way to K show how the metrics grow with it.
    let ks: Vec<usize> = [1, 4, 16, 64].into_iter().filter(|&small| small < k).chain([k]).collect();
    let (greedy, questions) = graded(greedy, samples);
    Report::from_graded(&questions, Some(&greedy), &ks, about)
}

fn graded(greedy: &[Sample], samples: &[Vec<Sample>]) -> (Vec<Graded>, Vec<Vec<Graded>>) {
    let of = |row: &[Sample]| row.iter().map(Sample::graded).collect();
    (of(greedy), samples.iter().map(|row| of(row)).collect())
}
