//! Completions of problems, graded: by their answers, or by an external reward while others are still sampled. Independent of
//! metrics.

use super::{
    completions::{SampleConfig, complete_prompts_each, encode_prompts},
    sample::{Sample, grade},
};
use crate::{
    external::{Checker, Item},
    models::policy::Policy,
    servers::ServerFailure,
};
use anyhow::Result;
use data::Problem;
use model::{Completion, GenerateStats, Key};

/// K graded samples of every problem, as [`complete`](crate::complete) draws them. With a checker, a sample has its external reward,
/// and is correct if that fulfils the condition.
///
/// # Errors
/// As [`encode_prompts`]; an external reward that fails; servers that fail.
pub fn sample_graded(
    policy: &Policy,
    problems: &[Problem],
    config: &SampleConfig,
    key: impl Fn(usize, usize) -> Key,
    ended: &(dyn Fn(usize) + Sync),
) -> Result<(Vec<Vec<Sample>>, GenerateStats)> {
    let prompts = encode_prompts(policy, problems, &config.prompting)?;
    let phase = config.checker.as_ref().map(|checker| checker.client.phase(problems.len() * config.samples));
    let each = |problem: usize, sample: usize, completion: &Completion| {
        if let Some(phase) = &phase {
            let sampled = grade(policy, &problems[problem], completion, &config.answer_format);
            phase.put(problem * config.samples + sample, sampled.item(&problems[problem]));
        }
    };
    let (completions, stats) = complete_prompts_each(policy, &prompts, config, key, ended, &each)
        .map_err(|error| ServerFailure::named(error, |problem| problems[problem].id.clone()))?;
    let of_problem = |(problem, row): (&Problem, Vec<Completion>)| -> Vec<Sample> {
        row.iter().map(|completion| grade(policy, problem, completion, &config.answer_format)).collect()
    };
    let mut samples: Vec<Vec<Sample>> = problems.iter().zip(completions).map(of_problem).collect();
    if let (Some(phase), Some(checker)) = (phase, &config.checker) {
        for (sample, reward) in samples.iter_mut().flatten().zip(phase.finish()?) {
            sample.accept(checker, &reward);
        }
    }
    Ok((samples, stats))
}

/// Grades samples that exist by an external reward, each with its problem.
///
/// # Errors
/// An external reward that fails.
pub fn check<'a>(checker: &Checker, samples: impl IntoIterator<Item = (&'a Problem, &'a mut Sample)>) -> Result<()> {
    let samples: Vec<(&Problem, &mut Sample)> = samples.into_iter().collect();
    let items: Vec<Item> = samples.iter().map(|(problem, sample)| sample.item(problem)).collect();
    for ((_, sample), reward) in samples.into_iter().zip(checker.client.rewards(items)?) {
        sample.accept(checker, &reward);
    }
    Ok(())
}
