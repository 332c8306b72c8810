//! K samples of each of many questions, written as they are sampled. Independent of their use.
//!
//! Sampling takes long in Expert Iteration and for reward models. A resumed run keeps the written samples, in whole
//! chunks, so its batches are the same as those of an uninterrupted run.

use crate::{
    cli::args::{ComputeArgs, DataArgs, RunArgs},
    cli::effect::{FlagEffect, InSummary},
    run::metrics::Metrics,
    run::read::json_lines,
    run::{Run, SampleBlocks},
    sampling::chunks::chunk,
    sampling::from_samples::{FromSamplesArgs, Rounds, check_copied},
    view::progress::{Progress, print_line},
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use data::{AnswerFormat, Problem};
use eval::{
    Policy, Sample, SampleConfig, encode_prompts,
    parts::{Part, PartFile},
    sample_graded, sampling_work,
    servers::Servers,
};
use model::{Device, Key, Purpose};
use serde::Serialize;
use std::{ops::Range, path::Path, time::Instant};

/// Training solutions: sampled, or read from another run.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Solutions sampled per training question
    #[arg(long, add = InSummary, add = FlagEffect::unless_given("from-samples"), value_name = "K", default_value_t = 8, value_parser = crate::cli::args::positive)]
    pub samples: usize,
    /// Sampling temperature
    #[arg(long, add = InSummary, default_value_t = 0.7, value_parser = crate::cli::args::temperature)]
    pub temperature: f64,
    /// Solved problems shown before each question (few-shot prompt), for a policy without fine-tuning
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shots: usize,
    /// Samples of another run.
    #[command(flatten)]
    #[serde(flatten)]
    pub source: FromSamplesArgs,
}

/// Training samples.
pub struct TrainingSamples {
    /// In the order of the questions, or of the file.
    pub samples: Vec<Sample>,
    /// How many of them the run itself has sampled, before or after a resume: all, or none if they come from a file.
    pub sampled: usize,
}

impl TrainingSamples {
    /// Refuses samples that are all correct or all wrong, for training that needs both.
    ///
    /// # Errors
    /// If they are.
    pub fn check_differ(&self) -> Result<()> {
        check_differ(&self.samples)
    }
}

/// Refuses samples that are all correct or all wrong.
///
/// # Errors
/// If they are.
pub fn check_differ(samples: &[Sample]) -> Result<()> {
    let right = samples.iter().filter(|sample| sample.correct).count();
    ensure!(
        right > 0 && right < samples.len(),
        "{right} of {} samples are correct: training needs both correct and wrong ones; sample from another policy or at another --temperature",
        samples.len()
    );
    Ok(())
}

impl SamplingArgs {
    /// Checks flags and file before anything is made; returns the file's samples. `completes`: the command also samples
    /// completions of prefixes at this temperature.
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
            self.temperature > 0.0 || self.source.is_given() && !completes,
            "--temperature 0 would sample equal solutions: give a temperature above 0"
        );
        self.source.check(problems, format, Rounds::All, resumed)
    }

    /// Number of solutions, and a description of their origin.
    ///
    /// # Errors
    /// As [`FromSamplesArgs::planned`].
    pub fn planned(&self, problems: &[Problem], format: &AnswerFormat) -> Result<(usize, String)> {
        self.source.planned(problems, self.samples, format, Rounds::All)
    }

    /// Sampling configuration for `count` samples per question.
    ///
    /// # Errors
    /// Missing data.
    pub fn config(&self, count: usize, data: &DataArgs, run: &RunArgs, device: &Device) -> Result<SampleConfig> {
        Ok(run.compute.sampling(data, data.prompting(self.shots)?, count, self.temperature, device))
    }

    /// Resumes a run after `step`. Samples belong to step 1: if it was not finished, whole chunks are kept, and
    /// all samples from a file.
    ///
    /// # Errors
    /// If the directory is not a run, or its samples do not match the flags.
    pub fn resume(&self, dir: &Path, step: usize, problems: &[Problem], compute: &ComputeArgs) -> Result<Run> {
        if self.source.is_given() {
            check_copied(dir, problems)?;
            return Run::resume_keeping_samples(dir, step, SampleBlocks::ALL);
        }
        check_sampled(dir, 1, problems, self.samples)?;
        Run::resume_keeping_samples(dir, step, blocks(problems.len(), self.samples, compute))
    }

    /// Samples what is missing of step 1, or copies it from the file; returns all samples.
    ///
    /// # Errors
    /// Missing data, a full disk, an interrupt.
    pub fn training_samples(
        &self,
        policy: &Policy,
        problems: &[Problem],
        (data, run_args): (&DataArgs, &RunArgs),
        run: &mut Run,
        device: &Device,
    ) -> Result<TrainingSamples> {
        let written = eval::read_samples(&run.dir().join("samples.jsonl"))?;
        let samples = match &self.source.from_samples {
            Some(file) => {
                let grading = (&data.answer_format(), run_args.compute.checker.as_ref());
                self.source.take(file, problems, grading, (Rounds::All, 1), written, run)?
            }
            None => {
                let sampling = &self.config(self.samples, data, run_args, device)?;
                let (seed, quiet) = (run_args.seed, run_args.quiet);
                let phase = SamplingPhase { problems, sampling, step: 1, seed, label: "sample", quiet };
                // Sampling is not a training step: its speed is not written to the metrics.
                phase.sample(policy, written, run, &mut Metrics::for_step(0))?
            }
        };
        let sampled = self.source.sampled(samples.len());
        Ok(TrainingSamples { samples, sampled })
    }
}

impl SamplingArgs {
    /// Samples a part of what [`SamplingArgs::training_samples`] samples.
    ///
    /// # Errors
    /// As [`SamplingPhase::sample_part`]; a run to be resumed, which has begun to sample by itself.
    pub fn sample_part(
        &self,
        part: Part,
        policy: &Policy,
        problems: &[Problem],
        (data, run): (&DataArgs, &RunArgs),
    ) -> Result<()> {
        ensure!(!self.source.is_given(), "--part {part} has nothing to sample: --from-samples gives the samples");
        ensure!(run.resume.is_none(), "--part {part} samples before a run begins: leave --resume out");
        let sampling = &self.config(self.samples, data, run, &policy.model.device())?;
        let phase = SamplingPhase { problems, sampling, step: 1, seed: run.seed, label: "sample", quiet: run.quiet };
        phase.sample_part(policy, part, &self.source.share.parts)
    }
}

/// A sampling phase.
pub struct SamplingPhase<'a> {
    /// The questions.
    pub problems: &'a [Problem],
    /// Number of samples, temperature and prompt.
    pub sampling: &'a SampleConfig,
    /// Step of the samples; random numbers depend on (seed, step, question index, sample).
    pub step: usize,
    /// Seed of the sampling.
    pub seed: u64,
    /// Label of the progress bar.
    pub label: &'a str,
    /// Whether to hide the progress bar.
    pub quiet: bool,
}

/// Blocks in which the samples of so many questions are written, for [`Run::resume_keeping_samples`].
pub fn blocks(questions: usize, samples: usize, compute: &ComputeArgs) -> SampleBlocks {
    let questions_of_chunk = chunk(samples, compute.rollout_batch, compute.rollout_streams);
    SampleBlocks { lines: questions_of_chunk * samples, total: questions * samples }
}

impl SamplingPhase<'_> {
    /// Samples what `samples` does not hold yet and writes it to the run's `samples.jsonl`; returns all samples, in
    /// order.
    ///
    /// # Errors
    /// A prompt that does not fit the model, an external reward that fails, a full disk, an interrupt.
    pub fn sample(
        &self,
        policy: &Policy,
        mut samples: Vec<Sample>,
        run: &mut Run,
        metrics: &mut Metrics,
    ) -> Result<Vec<Sample>> {
        let started = Instant::now();
        let k = self.sampling.samples;
        let progress = Progress::new(self.problems.len() * k, self.label, "samples", self.quiet);
        progress.start_at(samples.len());
        let first = samples.len().div_ceil(k);
        let mut new_tokens = 0;
        for chunk in self.chunks(first..self.problems.len()) {
            if crate::run::interrupted() {
                return Err(run.interruption());
            }
            let (new, tokens) = self.sample_chunk(policy, chunk, &progress).map_err(|error| run.with_resume(error))?;
            new_tokens += tokens;
            run.write_samples(&new)?;
            samples.extend(new);
        }
        let seconds = started.elapsed().as_secs_f64();
        metrics.put("time/rollout_s", seconds);
        metrics.put("rollout/tokens_per_s", new_tokens as f64 / seconds);
        if let Some(gap) = self.sampling.servers.as_ref().and_then(Servers::take_gap) {
            metrics.put("server/gap", gap);
        }
        Ok(samples)
    }

    /// Samples one part of the questions into a file of its own.
    ///
    /// # Errors
    /// As [`SamplingPhase::sample`]; a part of other work in its place.
    pub fn sample_part(&self, policy: &Policy, part: Part, folder: &Path) -> Result<()> {
        let k = self.sampling.samples;
        let of_chunk = chunk(k, self.sampling.rows, self.sampling.streams);
        let questions = part.range(self.problems.len(), of_chunk);
        let prompts = encode_prompts(policy, self.problems, &self.sampling.prompting)?;
        let asked: Vec<&Problem> = self.problems.iter().collect();
        let work = sampling_work(policy, &asked, &prompts, self.sampling, (self.seed, self.step));
        let mut file = PartFile::open(folder, part, questions.len() * k, of_chunk * k, work)?;
        let progress = Progress::new(questions.len() * k, self.label, "samples", self.quiet);
        progress.start_at(file.lines());
        for chunk in self.chunks(questions.start + file.lines() / k..questions.end) {
            ensure!(!crate::run::interrupted(), "interrupted; the same command resumes {}", file.path().display());
            let resumes = || format!("the same command resumes {}", file.path().display());
            let (new, _) = self.sample_chunk(policy, chunk, &progress).with_context(resumes)?;
            file.write(&new)?;
        }
        print_line(&format!(
            "part {part}: {} samples of {} questions in {}",
            file.lines(),
            questions.len(),
            file.path().display()
        ))
    }

    /// The questions of a range, chunk by chunk.
    fn chunks(&self, questions: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let of_chunk = chunk(self.sampling.samples, self.sampling.rows, self.sampling.streams);
        questions.clone().step_by(of_chunk).map(move |first| first..questions.end.min(first + of_chunk))
    }

    /// Samples of the questions of a chunk, and how many tokens they have.
    fn sample_chunk(
        &self,
        policy: &Policy,
        questions: Range<usize>,
        progress: &Progress,
    ) -> Result<(Vec<Sample>, usize)> {
        let key = |problem: usize, sample: usize| {
            let of_step = Key::new(self.seed, Purpose::Rollout).with(self.step as u64);
            of_step.with((questions.start + problem) as u64).with(sample as u64)
        };
        let problems = &self.problems[questions.clone()];
        let (graded, stats) = sample_graded(policy, problems, self.sampling, key, &|ended| progress.advance(ended))?;
        let is_checked = self.sampling.checker.is_some();
        let of_run = |sample: Sample| {
            let reward = if is_checked { sample.reward } else { Some(f64::from(u8::from(sample.correct))) };
            Sample { step: Some(self.step), reward, ..sample }
        };
        Ok((graded.into_iter().flatten().map(of_run).collect(), stats.new_tokens))
    }
}

/// Checks, before resuming, that the samples of a step are K of each of the first problems (the last of them perhaps
/// incomplete).
///
/// # Errors
/// The message names the flags that may have changed.
pub fn check_sampled(dir: &Path, step: usize, problems: &[Problem], k: usize) -> Result<()> {
    let mut drawn = 0;
    json_lines(&dir.join("samples.jsonl"), |_, sample: Sample| {
        if sample.step == Some(step) {
            ensure!(
                problems.get(drawn / k).is_some_and(|problem| problem.id == sample.id),
                "{} was sampling other questions, or another number of solutions per question: give the --samples, --limit and --extra that it was started with",
                dir.display()
            );
            drawn += 1;
        }
        Ok(())
    })
}
