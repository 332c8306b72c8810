//! The problems of a run. Each split is read once, when it is first needed. Independent of models.

use crate::cli::args::DataArgs;
use anyhow::{Result, ensure};
use data::{Problem, Split};
use std::{collections::HashSet, sync::OnceLock};

/// The splits of a run's benchmark.
pub struct Problems {
    data: DataArgs,
    train: OnceLock<Vec<Problem>>,
    solved: OnceLock<Vec<Problem>>,
    validation: OnceLock<Vec<Problem>>,
    test: OnceLock<Vec<Problem>>,
}

impl Problems {
    /// Reads nothing yet.
    pub fn new(data: &DataArgs) -> Self {
        Self {
            data: data.clone(),
            train: OnceLock::new(),
            solved: OnceLock::new(),
            validation: OnceLock::new(),
            test: OnceLock::new(),
        }
    }

    /// The same with these training problems alone.
    pub fn with_train(&self, train: Vec<Problem>) -> Self {
        Self { train: OnceLock::from(train), ..Self::new(&self.data) }
    }

    /// The flags.
    pub fn data(&self) -> &DataArgs {
        &self.data
    }

    /// The training split, with the problems of `--extra`.
    ///
    /// # Errors
    /// Missing or malformed data.
    pub fn train(&self) -> Result<&[Problem]> {
        self.split(&self.train, Split::Train)
    }

    /// The training problems that have a reference solution, which is what supervised fine-tuning learns from. Some benchmarks have one for
    /// a part of their training problems alone.
    ///
    /// # Errors
    /// Where none has one, naming the first problem; missing or malformed data.
    pub fn solved(&self) -> Result<&[Problem]> {
        if let Some(solved) = self.solved.get() {
            return Ok(solved);
        }
        let train = self.train()?;
        let solved: Vec<Problem> = train.iter().filter(|problem| !problem.solution.is_empty()).cloned().collect();
        ensure!(
            !solved.is_empty() || train.is_empty(),
            "{} has no solution, nor has any other training problem, and supervised fine-tuning learns from solutions: name the field of the \
             solution (`solution` in [fields], or --solution-field), or give --init MODEL to a command that can do without",
            train[0].id
        );
        Ok(self.solved.get_or_init(|| solved))
    }

    /// The first `most` problems of the validation split.
    ///
    /// # Errors
    /// Missing or malformed data.
    pub fn validation(&self, most: usize) -> Result<&[Problem]> {
        if most == 0 {
            return Ok(&[]);
        }
        let all = self.split(&self.validation, Split::Validation)?;
        Ok(&all[..most.min(all.len())])
    }

    /// The first `most` problems of the test split.
    ///
    /// # Errors
    /// Missing or malformed data.
    pub fn test(&self, most: usize) -> Result<&[Problem]> {
        if most == 0 {
            return Ok(&[]);
        }
        let all = self.split(&self.test, Split::Test)?;
        Ok(&all[..most.min(all.len())])
    }

    fn split<'a>(&self, cell: &'a OnceLock<Vec<Problem>>, split: Split) -> Result<&'a [Problem]> {
        if let Some(problems) = cell.get() {
            return Ok(problems);
        }
        let problems = self.data.load(split)?;
        let problems = cell.get_or_init(|| problems);
        self.warn_of_overlap(split);
        Ok(problems)
    }

    /// Warns of questions of a user's own benchmark that are trained on and evaluated on, when the second of two splits is read.
    fn warn_of_overlap(&self, read: Split) {
        let Some(train) = self.train.get().filter(|_| !self.data.benchmark().is_built_in()) else { return };
        for (split, cell) in [(Split::Validation, &self.validation), (Split::Test, &self.test)] {
            let Some(problems) = cell.get().filter(|_| [Split::Train, split].contains(&read)) else { continue };
            let known: HashSet<&str> = train.iter().map(|problem| problem.question.as_str()).collect();
            let common = problems.iter().filter(|problem| known.contains(problem.question.as_str())).count();
            if common > 0 {
                tracing::warn!("{common} of {} questions of the {split} split are also trained on", problems.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        data: DataArgs,
    }

    fn problems(flags: &[&str]) -> Problems {
        Problems::new(&Flags::parse_from([&["test"], flags].concat()).data)
    }

    #[test]
    fn what_is_learnt_from_are_the_training_problems_with_a_solution() {
        let some = problems(&["--benchmark=synthetic"]);
        let (train, solved) = (some.train().unwrap(), some.solved().unwrap());
        assert_eq!((train.len(), solved.len()), (6_000, 1_200));
        assert_eq!(solved, &train[..1_200]);
        let all = problems(&["--benchmark=synthetic-1", "--limit=10"]);
        assert_eq!(all.solved().unwrap(), all.train().unwrap());
    }
}
