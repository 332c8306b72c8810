//! What a round of Expert Iteration keeps of its samples: the filter, the pool D_i, and their statistics.

use super::config::{EiConfig, Start};
use crate::{
    run::metrics::Metrics,
    sampling::deduplicate::{Deduplicate, Deduplicator},
};
use anyhow::Result;
use data::{Example, Problem, PromptFormat, Tokenizer, calculations_hold, encode_calculated, own_part};
use eval::{Diversity, RewardModel, Sample, SampleConfig};
use model::{Device, Finish};
use std::collections::BTreeMap;

/// Which samples are kept: correct, complete, with correct calculations if required, and accepted by the reward model
/// if there is one.
pub(super) struct Filter {
    pub(super) require_calculations: bool,
    pub(super) reward_model: Option<RewardModel>,
    pub(super) threshold: f64,
    pub(super) sampling: SampleConfig,
}

impl Filter {
    pub(super) fn of(config: &EiConfig, device: &Device) -> Result<Self> {
        let reward_model = config.orm.as_deref().map(|path| RewardModel::load(path, device)).transpose()?;
        let compute = &config.run.compute;
        let sampling = compute.sampling(&config.data, config.data.prompting(0)?, 1, 0.0, device);
        let require_calculations = config.require_calculations;
        Ok(Self { require_calculations, reward_model, threshold: config.orm_threshold, sampling })
    }

    /// Only correct samples are scored by the reward model: others are never kept.
    pub(super) fn accepted<'a>(&self, samples: &'a [Sample]) -> Result<Vec<&'a Sample>> {
        let is_right = |sample: &&Sample| {
            let is_whole = sample.correct && sample.finish == Finish::Stop;
            is_whole && (!self.require_calculations || calculations_hold(own_part(&sample.completion)))
        };
        let right: Vec<&Sample> = samples.iter().filter(is_right).collect();
        let Some(reward_model) = &self.reward_model else { return Ok(right) };
        let mut scored: Vec<Sample> = right.iter().map(|sample| (*sample).clone()).collect();
        eval::score(reward_model, &mut scored.iter_mut().collect::<Vec<_>>(), &self.sampling)?;
        let likely = |sample: &Sample| sample.score.is_some_and(|score| score >= self.threshold);
        Ok(right.into_iter().zip(&scored).filter(|(_, scored)| likely(scored)).map(|(sample, _)| sample).collect())
    }
}

/// A solved problem of D_i.
pub(super) struct Solved {
    pub(super) problem: Problem,
    /// What the calculator wrote, as ranges of bytes of the solution: read, and no target. Nothing of a reference solution.
    pub(super) calculated: Vec<[usize; 2]>,
}

impl Solved {
    /// As an example to learn from.
    pub(super) fn example(&self, tokenizer: &Tokenizer, format: &PromptFormat) -> Result<Example> {
        encode_calculated(tokenizer, format, &self.problem, &self.calculated)
    }
}

/// D_i: solved problems, no two with the same solution.
pub(super) struct Pool<'a> {
    pub(super) problems: BTreeMap<&'a str, &'a Problem>,
    pub(super) known: Deduplicator,
    pub(super) solved: Vec<Solved>,
}

impl<'a> Pool<'a> {
    /// D_0: the reference solutions, or nothing.
    pub(super) fn new(problems: &'a [Problem], start: Start, deduplicate: Deduplicate) -> Self {
        let mut pool = Self {
            problems: problems.iter().map(|problem| (problem.id.as_str(), problem)).collect(),
            known: Deduplicator::new(deduplicate),
            solved: Vec::new(),
        };
        if start == Start::Sft {
            for problem in problems.iter().filter(|problem| !problem.solution.is_empty()) {
                pool.insert(Solved { problem: problem.clone(), calculated: Vec::new() });
            }
        }
        pool
    }

    /// Adds a sample that has passed the filter, if it is new; returns whether it was added.
    pub(super) fn add(&mut self, sample: &Sample) -> bool {
        let Some(&problem) = self.problems.get(sample.id.as_str()) else { return false };
        let own = own_part(&sample.completion);
        let solution = own.trim().to_string();
        let (start, length) = (own.len() - own.trim_start().len(), solution.len());
        let in_solution = |range: &[usize; 2]| range.map(|byte| byte.saturating_sub(start).min(length));
        let calculated = sample.calculated.iter().map(in_solution).collect();
        self.insert(Solved { problem: Problem { solution, ..problem.clone() }, calculated })
    }

    pub(super) fn insert(&mut self, solved: Solved) -> bool {
        let is_new = self.known.is_new(&solved.problem.id, &solved.problem.solution);
        if is_new {
            self.solved.push(solved);
        }
        is_new
    }
}

/// Writes the metrics of a round's sampling.
pub(super) struct RoundStats {
    /// Share of right samples.
    pub(super) accuracy: f64,
    /// Share of samples that were cut off at the maximum length.
    pub(super) truncated: f64,
    /// Share of samples without an answer that can be read.
    pub(super) unparsable: f64,
    /// Share of the right samples whose calculations all hold.
    pub(super) calculations_hold: f64,
    pub(super) sampled: usize,
    /// Right samples that passed the filter.
    pub(super) passed: usize,
    /// Those that are new.
    pub(super) kept: usize,
    /// Examples of D_i.
    pub(super) examples: usize,
    pub(super) diversity: Diversity,
}

impl RoundStats {
    pub(super) fn new(samples: &[Sample], passed: usize, kept: usize, examples: usize) -> Self {
        let diversity = Diversity::of(samples);
        let share = |count: usize| count as f64 / samples.len().max(1) as f64;
        let right: Vec<&Sample> = samples.iter().filter(|sample| sample.correct).collect();
        let holding = right.iter().filter(|sample| calculations_hold(own_part(&sample.completion))).count();
        Self {
            accuracy: share(diversity.right),
            truncated: share(samples.iter().filter(|sample| sample.finish == Finish::Length).count()),
            unparsable: share(samples.iter().filter(|sample| sample.answer.is_none()).count()),
            calculations_hold: holding as f64 / right.len().max(1) as f64,
            sampled: samples.len(),
            passed,
            kept,
            examples,
            diversity,
        }
    }

    /// Adds them to the metrics of the round.
    pub(super) fn write(&self, metrics: &mut Metrics) {
        metrics.put("accuracy", self.accuracy);
        metrics.put("truncated", self.truncated);
        metrics.put("unparsable", self.unparsable);
        metrics.put("calculations_hold", self.calculations_hold);
        metrics.put_count("round/sampled", self.sampled);
        metrics.put_count("round/passed", self.passed);
        metrics.put_count("round/kept", self.kept);
        metrics.put_count("round/examples", self.examples);
        metrics.put("diversity/unsolved", self.diversity.unsolved);
        metrics.put("diversity/distinct_texts", self.diversity.distinct_texts);
        metrics.put("diversity/distinct_traces", self.diversity.distinct_traces);
        for (name, distance) in [("text", &self.diversity.text_distance), ("trace", &self.diversity.trace_distance)] {
            if let Some(distance) = distance {
                metrics.put(&format!("diversity/{name}_distance"), distance.value);
            }
        }
    }
}
