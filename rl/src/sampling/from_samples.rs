//! Solutions from the samples file of another run, in place of sampling them.

use crate::{
    cli::args::DataArgs,
    run::{Run, read::json_lines},
    sampling::deduplicate::FirstPerQuestion,
};
use anyhow::{Result, ensure};
use clap::Args;
use data::{AnswerFormat, Problem};
use eval::{
    Sample,
    external::Checker,
    parts::{PartArgs, work_of_parts},
};
use serde::Serialize;
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

/// Samples of another run.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Sampling")]
pub struct FromSamplesArgs {
    /// Read the solutions from the samples.jsonl of another run instead of sampling, or from the files of --part by a pattern such as
    /// 'parts/*.jsonl'; `rl ei` reads those of the other run's first round, as its own round 1
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_samples: Option<PathBuf>,
    /// Use only the first K solutions of each question from --from-samples [default: all]
    #[arg(long, value_name = "K", value_parser = crate::cli::args::positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_samples_per_question: Option<usize>,
    /// Which part of the sampling this process makes.
    #[command(flatten)]
    #[serde(skip)]
    pub share: PartArgs,
}

/// Which samples of a file are used, if they belong to several steps or rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounds {
    /// All of them.
    All,
    /// Those of the first step or round.
    First,
}

impl FromSamplesArgs {
    /// Whether --from-samples is given.
    pub fn is_given(&self) -> bool {
        self.from_samples.is_some()
    }

    /// The files that a command reads its solutions, their problems and their labels from, with their flags.
    pub fn inputs<'a>(
        &'a self,
        data: &'a DataArgs,
        from_prefixes: Option<&'a Path>,
    ) -> [(&'static str, Option<&'a Path>); 3] {
        [
            ("extra", data.extra.as_deref()),
            ("from-samples", self.from_samples.as_deref()),
            ("from-prefixes", from_prefixes),
        ]
    }

    /// Checks the file before anything is made: it must be readable and hold samples of these problems. Returns them,
    /// if there is a file. A resumed run that has its samples does not need the file.
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
            self.is_given() || self.from_samples_per_question.is_none(),
            "--from-samples-per-question needs --from-samples"
        );
        let has_them = |dir: &Path| fs::metadata(dir.join("samples.jsonl")).is_ok_and(|file| file.len() > 0);
        match &self.from_samples {
            Some(file) if !resumed.is_some_and(has_them) => self.read(file, problems, format, of).map(Some),
            _ => Ok(None),
        }
    }

    /// The round of a run that the samples are for: that of the parts which they are read from, else the first; `None` where they are
    /// sampled.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn round(&self) -> Result<Option<usize>> {
        let Some(file) = &self.from_samples else { return Ok(None) };
        // A resumed run that has copied the samples does not need the file.
        let work = work_of_parts(file).unwrap_or_default().unwrap_or_default();
        let step = work.get("step").and_then(serde_json::Value::as_u64);
        Ok(Some(step.map_or(1, |step| step as usize)))
    }

    /// Copies the file's samples of these problems, as [`FromSamplesArgs::graded`], into a step of the run, unless the run has them already.
    ///
    /// # Errors
    /// As that; a full disk.
    pub fn take(
        &self,
        file: &Path,
        problems: &[Problem],
        grading: (&AnswerFormat, Option<&Checker>),
        (of, step): (Rounds, usize),
        had: Vec<Sample>,
        run: &mut Run,
    ) -> Result<Vec<Sample>> {
        if !had.is_empty() {
            return Ok(had);
        }
        let samples = self.graded(file, problems, grading, of)?;
        let samples: Vec<Sample> = samples.into_iter().map(|sample| Sample { step: Some(step), ..sample }).collect();
        if step == 1 {
            run.write_samples_whole(&samples)?;
        } else {
            run.write_samples(&samples)?;
        }
        Ok(samples)
    }

    /// The file's samples of these problems, as of step 1, graded again, by a checker if there is one.
    ///
    /// # Errors
    /// A file that is missing or malformed, or holds no sample of them; an external reward that fails.
    pub fn graded(
        &self,
        file: &Path,
        problems: &[Problem],
        (format, checker): (&AnswerFormat, Option<&Checker>),
        of: Rounds,
    ) -> Result<Vec<Sample>> {
        let mut samples = self.read(file, problems, format, of)?;
        if let Some(checker) = checker {
            let by_id: HashMap<&str, &Problem> =
                problems.iter().map(|problem| (problem.id.as_str(), problem)).collect();
            let of_sample = |sample: &Sample| *by_id.get(sample.id.as_str()).expect("only samples of these are read");
            eval::check(checker, samples.iter_mut().map(|sample| (of_sample(sample), sample)))?;
        }
        Ok(samples)
    }

    fn read(&self, file: &Path, problems: &[Problem], format: &AnswerFormat, of: Rounds) -> Result<Vec<Sample>> {
        let mut first = FirstPerQuestion::new(self.from_samples_per_question);
        let by_id: HashMap<&str, &Problem> = problems.iter().map(|problem| (problem.id.as_str(), problem)).collect();
        let (mut samples, mut round) = (Vec::new(), None);
        for sample in eval::read_samples(file)? {
            let Some((&id, &problem)) = by_id.get_key_value(sample.id.as_str()) else { continue };
            ensure!(
                sample.question == problem.question,
                "{}: the question of {id} differs from the problem of this name; sample again",
                file.display()
            );
            // Samples that continue a solution prefix, and greedy samples, are left out.
            let counts = sample.given == 0 && !sample.greedy;
            if counts && (of == Rounds::All || sample.step == *round.get_or_insert(sample.step)) && first.has_room(id) {
                let sample = sample.regraded(problem, format);
                samples.push(Sample { step: Some(1), reward: Some(f64::from(u8::from(sample.correct))), ..sample });
            }
        }
        ensure!(!samples.is_empty(), "{} holds no sample of these training problems", file.display());
        Ok(samples)
    }

    /// Number of solutions (K per question without a file), and a description of their origin.
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

    /// How many of the solutions are sampled: none if there is a file.
    pub fn sampled(&self, solutions: usize) -> usize {
        if self.is_given() { 0 } else { solutions }
    }
}

/// Checks, before resuming, that all samples from a file belong to these problems.
///
/// # Errors
/// The message names the flags that may have changed.
pub fn check_copied(dir: &Path, problems: &[Problem]) -> Result<()> {
    let known: HashSet<&str> = problems.iter().map(|problem| problem.id.as_str()).collect();
    json_lines(&dir.join("samples.jsonl"), |_, Sample { id, .. }: Sample| {
        ensure!(
            known.contains(id.as_str()),
            "{} has samples of {id}, which is not among its problems now: give the --limit and --extra that it was started with",
            dir.display()
        );
        Ok(())
    })
}
