//! What a problem is, and which splits a benchmark has. Independent of files and tokens.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{Answer, AnswerFormat, AnswerKind, Ending};

/// The environment variable that names the data folder where `--data-dir` does not.
pub const DATA_DIR_VARIABLE: &str = "RL_DATA_DIR";

/// One question with its reference solution.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// Where it comes from: benchmark, part and row, as in `gsm8k/train/123`. Rows count from 0.
    pub id: String,
    /// The question as it is put to a model.
    pub question: String,
    /// The reference solution, from which the answer can be read as from a completion; of the built-in benchmarks worked lines in GSM8K's
    /// format, `... = <<48/2=24>>24 ...`, and the last line `#### 24`. Empty where the benchmark has none for this problem.
    pub solution: String,
    /// The right answer.
    pub answer: Answer,
    /// A solution with one calculation per line, where the benchmark has it; an embedded one has it for every problem, since a dense reward
    /// needs the results of its steps also where no reference solution is trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worked: Option<String>,
}

/// The parts of a benchmark. No problem is in two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Training problems.
    Train,
    /// Held out of the training problems, to choose among checkpoints.
    Validation,
    /// Test problems, for reported results.
    Test,
    /// Test problems with combinations of steps that do not occur in training; `synthetic` and `synthetic-1` only.
    TestUnseen,
}

/// Which solutions SVAMP's training problems come with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SvampSolutions {
    /// The published equation, one worked line per step.
    #[default]
    Equation,
    /// Solutions in words, from `svamp_reft/svamp_nl.json`.
    Language,
}

/// Where the published data lies, and which version of it is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataOptions {
    /// The folder with `gsm8k/` and `svamp/`; without it, the one that `RL_DATA_DIR` names.
    pub data_dir: Option<PathBuf>,
    /// Which solutions SVAMP's training problems come with.
    pub svamp_solutions: SvampSolutions,
}

/// The answer of a reference solution: the number of its `####` line.
///
/// # Errors
/// Where that line is missing, or is not one number.
pub fn gold_answer(solution: &str) -> Result<Answer> {
    AnswerFormat::Gsm8k.extract(AnswerKind::Number, solution, Ending::Finished).with_context(|| {
        match solution.rsplit_once("####") {
            None => "the solution does not end with '#### ' and a number".to_owned(),
            Some((_, line)) => format!("the answer {:?} is not one number", line.lines().next().unwrap_or("").trim()),
        }
    })
}

impl DataOptions {
    /// The data folder, from the option or the environment.
    ///
    /// # Errors
    /// Where neither names one.
    pub(crate) fn data_folder(&self) -> Result<PathBuf> {
        let from_environment = || std::env::var_os(DATA_DIR_VARIABLE).filter(|value| !value.is_empty());
        self.data_dir.clone().or_else(|| from_environment().map(PathBuf::from)).with_context(|| {
            format!(
                "this benchmark needs its published files: pass --data-dir DIR, or set {DATA_DIR_VARIABLE}, to the \
                 folder that holds gsm8k/ and svamp/ (--benchmark synthetic needs none)"
            )
        })
    }
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
            Split::TestUnseen => "test-unseen",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_flags_and_in_files() {
        for split in Split::value_variants() {
            let name = split.to_possible_value().unwrap().get_name().to_owned();
            assert_eq!(serde_json::to_value(split).unwrap(), name.as_str());
            assert_eq!(split.to_string(), name);
        }
    }
}
