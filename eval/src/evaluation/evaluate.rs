//! The evaluation of a policy on problems. Independent of training.

use crate::{
    external::Checker,
    io::parts::{Part, PartFile},
    metrics::Graded,
    models::{policy::Policy, reward_model::RewardModel},
    reports::{
        compare::{ByQuestion, Questions},
        report::{About, Report, by_question},
    },
    sampling::{
        completions::{SampleConfig, encode_prompts},
        graded::sample_graded,
        sample::Sample,
        scores::score,
        work::sampling_work,
    },
};
use anyhow::{Context, Result};
use data::Problem;
use model::{Finish, Key, Purpose};
use std::{
    collections::BTreeSet,
    iter,
    path::{Path, PathBuf},
};

/// Samples that a reward model scores between two updates of the progress bar.
const SCORED_AT_ONCE: usize = 1024;

/// The outcome of an evaluation: the numbers, and what they were made from.
pub struct Evaluation {
    /// The metrics with their intervals.
    pub report: Report,
    /// One greedy sample per problem.
    pub greedy: Vec<Sample>,
    /// K samples per problem.
    pub samples: Vec<Vec<Sample>>,
}

impl Evaluation {
    /// The score of each problem by every metric of the report, in the order of the problems, and which problems they are.
    ///
    /// # Errors
    /// As [`by_question`].
    pub fn by_question(&self) -> Result<ByQuestion> {
        let ks: BTreeSet<usize> = self.report.metrics.keys().map(|metric| metric.k).collect();
        let (greedy, questions) = graded(&self.greedy, &self.samples);
        let scores = by_question(&questions, Some(&greedy), &ks.into_iter().collect::<Vec<_>>())?;
        let questions = Some(Questions::of(self.report.benchmark.clone(), self.report.split, &self.greedy));
        Ok(ByQuestion { questions, scores })
    }
}

/// Evaluates a policy on problems: maj@1 from one greedy sample each, maj@K and pass@K from K samples at the temperature,
/// and rerank@K where there is a reward model to score them. With K = 1 only the greedy sample is drawn, and the temperature of the report
/// is 0. `ended` is called with the number of samples that were drawn or scored.
///
/// # Errors
/// As [`sample_graded`].
pub fn evaluate(
    policy: &Policy,
    problems: &[Problem],
    about: About,
    config: &SampleConfig,
    seed: u64,
    reward_model: Option<&RewardModel>,
    ended: &(dyn Fn(usize) + Sync),
) -> Result<Evaluation> {
    let Sampled { greedy, samples } = sample_all(policy, problems, 0, config, seed, ended)?;
    evaluation_of(greedy, samples, about, config, reward_model, ended)
}

/// What an evaluation draws for some problems.
struct Sampled {
    greedy: Vec<Sample>,
    samples: Vec<Vec<Sample>>,
}

/// Draws for problems of which the first is number `first` of the evaluation.
fn sample_all(
    policy: &Policy,
    problems: &[Problem],
    first: usize,
    config: &SampleConfig,
    seed: u64,
    ended: &(dyn Fn(usize) + Sync),
) -> Result<Sampled> {
    let key = |problem: usize, sample: usize| {
        Key::new(seed, Purpose::Evaluation).with((first + problem) as u64).with(sample as u64)
    };
    let graded = |config: &SampleConfig| -> Result<Vec<Vec<Sample>>> {
        Ok(sample_graded(policy, problems, config, key, ended)?.0)
    };
    let greedy = graded(&SampleConfig { samples: 1, temperature: 0.0, ..config.clone() })?;
    let greedy: Vec<Sample> = greedy.into_iter().flatten().collect();
    let samples = match config.samples {
        1 => greedy.iter().map(|sample| vec![sample.clone()]).collect(),
        _ => graded(config)?,
    };
    let greedy = greedy.into_iter().map(|sample| Sample { greedy: true, ..sample }).collect();
    Ok(Sampled { greedy, samples })
}

/// Samples between two writes of a part.
const SAMPLES_OF_BLOCK: usize = 1024;

/// Draws what [`evaluate`] draws for one part of the problems, into a file that [`evaluate_saved`](crate::evaluate_saved) reads together
/// with the other parts; returns where it is, and of how many problems.
///
/// # Errors
/// As [`sample_graded`]; a part of other work in its place; a full disk.
pub fn evaluate_part(
    policy: &Policy,
    problems: &[Problem],
    config: &SampleConfig,
    seed: u64,
    (part, folder): (Part, &Path),
    ended: &(dyn Fn(usize) + Sync),
) -> Result<(PathBuf, usize)> {
    let lines_of_problem = 1 + config.samples;
    let of_block = SAMPLES_OF_BLOCK.div_ceil(lines_of_problem);
    let range = part.range(problems.len(), of_block);
    let prompts = encode_prompts(policy, problems, &config.prompting)?;
    let work = sampling_work(policy, &problems.iter().collect::<Vec<_>>(), &prompts, config, (seed, 0));
    let mut file = PartFile::open(folder, part, range.len() * lines_of_problem, of_block * lines_of_problem, work)?;
    let done = file.lines() / lines_of_problem;
    ended(done * config.drawn());
    for first in (range.start + done..range.end).step_by(of_block) {
        let block = &problems[first..range.end.min(first + of_block)];
        let drawn = sample_all(policy, block, first, config, seed, ended)
            .with_context(|| format!("the same command resumes {}", file.path().display()))?;
        file.write(drawn.greedy.iter().zip(&drawn.samples).flat_map(|(greedy, row)| iter::once(greedy).chain(row)))?;
    }
    Ok((file.path().to_path_buf(), range.len()))
}

/// The evaluation of greedy samples and K samples per problem, after the reward model has scored the latter.
pub(crate) fn evaluation_of(
    greedy: Vec<Sample>,
    mut samples: Vec<Vec<Sample>>,
    about: About,
    config: &SampleConfig,
    reward_model: Option<&RewardModel>,
    ended: &(dyn Fn(usize) + Sync),
) -> Result<Evaluation> {
    let temperature = if config.samples == 1 { Some(0.0) } else { about.temperature };
    let about = About { temperature, checker: config.checker.as_ref().map(Checker::to_string), ..about };
    if let Some(reward_model) = reward_model {
        let mut all: Vec<&mut Sample> = samples.iter_mut().flatten().collect();
        for some in all.chunks_mut(SCORED_AT_ONCE) {
            score(reward_model, some, config)?;
            ended(some.len());
        }
    }
    let report = Report { calculator: config.calculator, ..report(about, &greedy, &samples)? };
    Ok(Evaluation { report, greedy, samples })
}

/// Share of right greedy answers: the validation metric while a policy is trained.
///
/// # Errors
/// As [`sample_graded`].
pub fn greedy_accuracy(policy: &Policy, problems: &[Problem], config: &SampleConfig) -> Result<(f64, Vec<Sample>)> {
    let config = SampleConfig { samples: 1, temperature: 0.0, ..config.clone() };
    let key = |_, _| Key::new(0, Purpose::Evaluation);
    let (samples, _) = sample_graded(policy, problems, &config, key, &|_| ())?;
    let samples: Vec<Sample> = samples.into_iter().flatten().collect();
    let right = samples.iter().filter(|sample| sample.correct).count();
    Ok((right as f64 / samples.len().max(1) as f64, samples))
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
