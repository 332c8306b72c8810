//! K samples of every one of many questions, written as they come. Knows not what they are for.
//!
//! Rounds of Expert Iteration and the data of reward models take long to sample: what an interrupt finds written is taken up
//! again, in whole chunks, so that the batches of a resumed run are those of the run that never stopped.

use crate::{
    args::{DataArgs, RunArgs},
    chunks::chunk,
    inspect::read::json_lines,
    metrics::Metrics,
    prefix::PrefixArgs,
    progress::Progress,
    run::{Blocks, Run},
};
use anyhow::{Result, ensure};
use burn::tensor::Device;
use clap::{Args, ValueEnum};
use data::{AnswerFormat, Problem, calculation_trace};
use eval::{Policy, Sample, SampleConfig, complete, grade};
use model::{Key, Purpose};
use serde::Serialize;
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

/// Solutions of the training questions that a command learns from: sampled, or taken from another run.
#[derive(Args, Clone, Debug, Serialize)]
pub struct SamplingArgs {
    /// Solutions sampled of each training question
    #[arg(long, value_name = "K", default_value_t = 8, value_parser = crate::args::positive)]
    pub samples: usize,
    /// Sampling temperature
    #[arg(long, default_value_t = 0.7, value_parser = crate::args::temperature)]
    pub temperature: f64,
    /// Solved problems shown before each question, for a policy that was never fine-tuned
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shots: usize,
    /// What was drawn already.
    #[command(flatten)]
    #[serde(flatten)]
    pub foreign: ForeignArgs,
}

/// Solutions that another run has drawn.
#[derive(Args, Clone, Debug, Serialize)]
pub struct ForeignArgs {
    /// Take the solutions from the samples.jsonl of another run instead of sampling; `rl ei` takes those of its first round, as its own
    /// round 1
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_samples: Option<PathBuf>,
    /// Of those, take the first of each question only, so many [default: all]
    #[arg(long, value_name = "K", value_parser = crate::args::positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_samples_per_question: Option<usize>,
}

/// Which of a file's samples are taken, where they were drawn in several steps or rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounds {
    /// All of them.
    All,
    /// Those of the first one.
    First,
}

/// The samples that a command learns from.
pub struct Gathered {
    /// In the order of the questions, or of the file that they come from.
    pub samples: Vec<Sample>,
    /// How many of them the run has sampled, now or before it was resumed: all, or none where they come from a file.
    pub sampled: usize,
}

impl Gathered {
    /// Refuses samples that are all right or all wrong, for who learns what tells them apart.
    ///
    /// # Errors
    /// If they are.
    pub fn check_differ(&self) -> Result<()> {
        check_differ(&self.samples)
    }
}

/// Refuses samples that are all right or all wrong.
///
/// # Errors
/// If they are.
pub fn check_differ(samples: &[Sample]) -> Result<()> {
    let right = samples.iter().filter(|sample| sample.correct).count();
    ensure!(
        right > 0 && right < samples.len(),
        "{right} of {} samples are right: there is nothing to tell apart; sample from another policy or at another --temperature",
        samples.len()
    );
    Ok(())
}

impl ForeignArgs {
    /// Whether there is such a file.
    pub fn are_given(&self) -> bool {
        self.from_samples.is_some()
    }

    /// The files that a command reads its solutions, their problems and their labels from, with their flags.
    pub fn inputs<'a>(&'a self, data: &'a DataArgs, prefixes: &'a PrefixArgs) -> [(&'static str, Option<&'a Path>); 3] {
        [
            ("extra", data.extra.as_deref()),
            ("from-samples", self.from_samples.as_deref()),
            ("from-prefixes", prefixes.from_prefixes.as_deref()),
        ]
    }

    /// Refuses a file that cannot be read or holds nothing of these problems, before anything is made; what it has of them, where there
    /// is one. A run that goes on with its samples needs it no more.
    ///
    /// # Errors
    /// Naming the file or the flag.
    pub fn check(
        &self,
        problems: &[Problem],
        format: &AnswerFormat,
        of: Rounds,
        resumed: Option<&Path>,
    ) -> Result<Option<Vec<Sample>>> {
        ensure!(
            self.are_given() || self.from_samples_per_question.is_none(),
            "--from-samples-per-question needs --from-samples"
        );
        let has_them = |dir: &Path| fs::metadata(dir.join("samples.jsonl")).is_ok_and(|file| file.len() > 0);
        match &self.from_samples {
            Some(file) if !resumed.is_some_and(has_them) => self.read(file, problems, format, of).map(Some),
            _ => Ok(None),
        }
    }

    /// The samples of these problems in the file, graded anew, as those of step 1 of a run that may have them already.
    ///
    /// # Errors
    /// A file that is missing or malformed, or holds no sample of them; a full disk.
    pub fn take(
        &self,
        file: &Path,
        problems: &[Problem],
        format: &AnswerFormat,
        of: Rounds,
        had: Vec<Sample>,
        run: &mut Run,
    ) -> Result<Vec<Sample>> {
        if !had.is_empty() {
            return Ok(had);
        }
        let samples = self.read(file, problems, format, of)?;
        run.write_samples_whole(&samples)?;
        Ok(samples)
    }

    fn read(&self, file: &Path, problems: &[Problem], format: &AnswerFormat, of: Rounds) -> Result<Vec<Sample>> {
        let mut first = First::of(self.from_samples_per_question);
        let by_id: HashMap<&str, &Problem> = problems.iter().map(|problem| (problem.id.as_str(), problem)).collect();
        let (mut samples, mut round) = (Vec::new(), None);
        for sample in eval::read_samples(file)? {
            let Some((&id, &problem)) = by_id.get_key_value(sample.id.as_str()) else { continue };
            ensure!(
                sample.question == problem.question,
                "{}: {id} has another question than the problem of this name has now; sample anew",
                file.display()
            );
            // What somebody else began says nothing of who went on, and what was not drawn is no sample.
            let counts = sample.given == 0 && !sample.greedy;
            if counts && (of == Rounds::All || sample.step == *round.get_or_insert(sample.step)) && first.has_room(id) {
                let sample = sample.regraded(problem, format);
                samples.push(Sample { step: Some(1), reward: Some(f64::from(u8::from(sample.correct))), ..sample });
            }
        }
        ensure!(!samples.is_empty(), "{} holds no sample of these training problems", file.display());
        Ok(samples)
    }

    /// How many solutions there are, K of each question where there is no file, and in words where they come from.
    ///
    /// # Errors
    /// A file that is missing or malformed, or holds no sample of them.
    pub fn planned(
        &self,
        problems: &[Problem],
        k: usize,
        format: &AnswerFormat,
        of: Rounds,
    ) -> Result<(usize, String)> {
        Ok(match &self.from_samples {
            Some(file) => {
                let samples = self.read(file, problems, format, of)?.len();
                (samples, format!("{samples} (those of --from-samples)"))
            }
            None => (problems.len() * k, format!("{} ({} questions x {k})", problems.len() * k, problems.len())),
        })
    }

    /// How many of so many solutions are sampled: none where there is a file.
    pub fn sampled(&self, solutions: usize) -> usize {
        if self.are_given() { 0 } else { solutions }
    }
}

impl SamplingArgs {
    /// Refuses samples that would all be equal, and a file that cannot be read, before anything is made; what the file has. `completes`:
    /// something else is drawn at the temperature as well, beside solutions that a file may have.
    ///
    /// # Errors
    /// Naming the flag or the file.
    pub fn check(
        &self,
        problems: &[Problem],
        format: &AnswerFormat,
        completes: bool,
        resumed: Option<&Path>,
    ) -> Result<Option<Vec<Sample>>> {
        ensure!(
            self.temperature > 0.0 || self.foreign.are_given() && !completes,
            "--temperature 0 would draw equal samples: give a temperature above 0"
        );
        self.foreign.check(problems, format, Rounds::All, resumed)
    }

    /// How many solutions there will be, and in words where they come from.
    ///
    /// # Errors
    /// As [`ForeignArgs::planned`].
    pub fn planned(&self, problems: &[Problem], format: &AnswerFormat) -> Result<(usize, String)> {
        self.foreign.planned(problems, self.samples, format, Rounds::All)
    }

    /// `count` samples of each question, as these flags put it.
    ///
    /// # Errors
    /// Missing data.
    pub fn config(&self, count: usize, data: &DataArgs, run: &RunArgs, device: &Device) -> Result<SampleConfig> {
        Ok(run.compute.sampling(data, data.prompting(self.shots)?, count, self.temperature, device))
    }

    /// Opens a run to go on after `step`. Samples belong to step 1: before it, whole chunks of them stay, and all that come from a file.
    ///
    /// # Errors
    /// If the directory is no run, or its samples are not those that these flags ask for.
    pub fn resume(&self, dir: &Path, step: usize, problems: &[Problem]) -> Result<Run> {
        if self.foreign.are_given() {
            check_taken(dir, problems)?;
            return Run::resume_within(dir, step, Blocks::ALL);
        }
        check_drawn(dir, 1, problems, self.samples)?;
        Run::resume_within(dir, step, blocks(problems.len(), self.samples))
    }

    /// The samples, as those of step 1 of a run that may have some of them already.
    ///
    /// # Errors
    /// Missing data, a full disk, an interrupt.
    pub fn gather(
        &self,
        policy: &Policy,
        problems: &[Problem],
        (data, run_args): (&DataArgs, &RunArgs),
        run: &mut Run,
        device: &Device,
    ) -> Result<Gathered> {
        let written = eval::read_samples(&run.dir().join("samples.jsonl"))?;
        let samples = match &self.foreign.from_samples {
            Some(file) => self.foreign.take(file, problems, &data.answer_format, Rounds::All, written, run)?,
            None => {
                let sampling = &self.config(self.samples, data, run_args, device)?;
                let (seed, quiet) = (run_args.seed, run_args.quiet);
                let harvest = Harvest { problems, sampling, step: 1, seed, label: "sample", quiet };
                // What was sampled is data, not a step: its rates are not among the metrics.
                harvest.gather(policy, written, run, &mut Metrics::of_step(0))?
            }
        };
        let sampled = self.foreign.sampled(samples.len());
        Ok(Gathered { samples, sampled })
    }
}

/// What to sample.
pub struct Harvest<'a> {
    /// The questions.
    pub problems: &'a [Problem],
    /// How often, at which temperature, how put.
    pub sampling: &'a SampleConfig,
    /// What `step` the samples have; draws belong to (seed, step, place of the question, sample).
    pub step: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// What the bar is called.
    pub label: &'a str,
    /// No bar.
    pub quiet: bool,
}

/// How the lines of a harvest of so many questions are written, for [`Run::resume_within`].
pub fn blocks(questions: usize, samples: usize) -> Blocks {
    Blocks { lines: chunk(samples) * samples, total: questions * samples }
}

impl Harvest<'_> {
    /// Samples what is not in `samples` yet, and writes it to the run's `samples.jsonl`; all samples, in order.
    ///
    /// # Errors
    /// A prompt that does not fit the model, a full disk, an interrupt.
    pub fn gather(
        &self,
        policy: &Policy,
        mut samples: Vec<Sample>,
        run: &mut Run,
        metrics: &mut Metrics,
    ) -> Result<Vec<Sample>> {
        let started = Instant::now();
        let mut new_tokens = 0;
        let k = self.sampling.samples;
        let progress = Progress::new(self.problems.len() * k, self.label, "samples", self.quiet);
        progress.start_at(samples.len());
        for first in (samples.len().div_ceil(k)..self.problems.len()).step_by(chunk(k)) {
            if crate::run::interrupted() {
                return Err(run.interruption());
            }
            let chunk = &self.problems[first..self.problems.len().min(first + chunk(k))];
            let key = |problem: usize, sample: usize| {
                let of_step = Key::new(self.seed, Purpose::Rollout).with(self.step as u64);
                of_step.with((first + problem) as u64).with(sample as u64)
            };
            let (completions, stats) = complete(policy, chunk, self.sampling, key, &|ended| progress.advance(ended))?;
            new_tokens += stats.new_tokens;
            let graded = chunk.iter().zip(&completions).flat_map(|(problem, completions)| {
                completions.iter().map(|completion| {
                    let sample = grade(policy, problem, completion, &self.sampling.answer_format);
                    Sample { step: Some(self.step), reward: Some(f64::from(u8::from(sample.correct))), ..sample }
                })
            });
            let start = samples.len();
            samples.extend(graded);
            run.write_samples(&samples[start..])?;
        }
        let seconds = started.elapsed().as_secs_f64();
        metrics.put("time/rollout_s", seconds);
        metrics.put("rollout/tokens_per_s", new_tokens as f64 / seconds);
        Ok(samples)
    }
}

/// Refuses to go on with samples of a step that are not K of each of the first problems, the last of them cut maybe: the rest of
/// them would be of other questions than is thought.
///
/// # Errors
/// Naming the flags that may have changed.
pub fn check_drawn(dir: &Path, step: usize, problems: &[Problem], k: usize) -> Result<()> {
    let mut drawn = 0;
    json_lines(&dir.join("samples.jsonl"), |_, sample: Sample| {
        if sample.step == Some(step) {
            ensure!(
                problems.get(drawn / k).is_some_and(|problem| problem.id == sample.id),
                "{} was sampling other questions, or another number of solutions of each: give --samples, --limit and --extra as \
                 it was begun with",
                dir.display()
            );
            drawn += 1;
        }
        Ok(())
    })
}

/// Refuses to go on with samples that were taken from a file where one is of none of these problems.
///
/// # Errors
/// Naming the flags that may have changed.
pub fn check_taken(dir: &Path, problems: &[Problem]) -> Result<()> {
    let known: HashSet<&str> = problems.iter().map(|problem| problem.id.as_str()).collect();
    json_lines(&dir.join("samples.jsonl"), |_, Sample { id, .. }: Sample| {
        ensure!(
            known.contains(id.as_str()),
            "{} has samples of {id}, which is not among its problems now: give --limit and --extra as it was begun with",
            dir.display()
        );
        Ok(())
    })
}

/// The first solutions of each question.
pub struct First<'a> {
    most: usize,
    taken: HashMap<&'a str, usize>,
}

impl<'a> First<'a> {
    /// So many of each; all without a number.
    pub fn of(most: Option<usize>) -> Self {
        Self { most: most.unwrap_or(usize::MAX), taken: HashMap::new() }
    }

    /// Whether one more of the question may be taken; it is, then.
    pub fn has_room(&mut self, question: &'a str) -> bool {
        let taken = self.taken.entry(question).or_default();
        let has_room = *taken < self.most;
        *taken += usize::from(has_room);
        has_room
    }
}

/// When two solutions of a question are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Deduplicate {
    /// Never: a solution that was drawn twice is two.
    None,
    /// The same text.
    Text,
    /// The same chain of calculations.
    Trace,
}

/// Solutions that were seen.
pub struct Distinct {
    by: Deduplicate,
    seen: HashSet<(String, String)>,
}

impl Distinct {
    /// None seen yet.
    pub fn by(by: Deduplicate) -> Self {
        Self { by, seen: HashSet::new() }
    }

    /// Whether this is the first of its kind for the question.
    pub fn is_new(&mut self, question: &str, solution: &str) -> bool {
        let kind = match self.by {
            Deduplicate::None => return true,
            Deduplicate::Text => solution.trim().to_string(),
            Deduplicate::Trace => calculation_trace(solution).join("\n"),
        };
        self.seen.insert((question.to_string(), kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solutions_are_one_by_their_text_or_by_their_calculations() {
        let (first, reworded, other) = ("She has 1+2 = <<1+2=3>>3.", "So 1+2 = <<1+2=3>>3.", "So 2+1 = <<2+1=3>>3.");
        let new = |by: Deduplicate| {
            let mut distinct = Distinct::by(by);
            [first, reworded, other, first].map(|solution| distinct.is_new("q", solution))
        };
        assert_eq!(new(Deduplicate::None), [true; 4]);
        assert_eq!(new(Deduplicate::Text), [true, true, true, false]);
        assert_eq!(new(Deduplicate::Trace), [true, false, true, false]);
        assert!(Distinct::by(Deduplicate::Text).is_new("another question", first));
    }
}
