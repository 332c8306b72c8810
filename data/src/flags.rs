//! The flags that name a benchmark, shared by all commands. Independent of what a command does with its problems.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::answer::AnswerKind;
use crate::benchmark::{Benchmark, PlainFiles};

/// Benchmark, and where its files lie.
#[derive(Args, Clone, Debug, PartialEq, Serialize)]
pub struct BenchmarkArgs {
    /// Benchmark: synthetic, synthetic-1, gsm8k, svamp, or a description FILE.toml of your own (docs/benchmarks.md)
    #[arg(long, value_name = "NAME", default_value = "synthetic")]
    #[serde(skip_serializing_if = "Benchmark::is_of_files")]
    pub benchmark: Benchmark,
    /// Folder that holds gsm8k/ and svamp/ as published
    #[arg(long, value_name = "DIR", env = "RL_DATA_DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// Training problems of a file (.jsonl, .json, .csv, .tsv, .parquet, also .gz) instead of a benchmark
    #[arg(long, value_name = "FILE", conflicts_with = "benchmark")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// Test problems of a file instead of a benchmark
    #[arg(long, value_name = "FILE", conflicts_with = "benchmark")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// Field of the question in the files of --train and --test, or a template over the fields [default: question]
    #[arg(long, value_name = "FIELD")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question_field: Option<String>,
    /// Field of the answer, or a template [default: answer]
    #[arg(long, value_name = "FIELD")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_field: Option<String>,
    /// Field of the worked solution, or a template [default: none]
    #[arg(long, value_name = "FIELD")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solution_field: Option<String>,
    /// What the answers of --train and --test are [default: number]
    #[arg(long, value_enum, value_name = "KIND")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_kind: Option<AnswerKind>,
}

impl BenchmarkArgs {
    /// Puts the files of `--train` and `--test`, where they are given, in the place of the benchmark.
    ///
    /// # Errors
    /// A malformed template; flags of files without files.
    pub fn resolve(&mut self) -> Result<()> {
        let fields = [&self.question_field, &self.answer_field, &self.solution_field];
        if self.train.is_none() && self.test.is_none() {
            let is_given = fields.iter().any(|field| field.is_some()) || self.answer_kind.is_some();
            ensure!(
                !is_given,
                "--question-field, --answer-field, --solution-field and --answer-kind belong to --train and --test; a benchmark's \
                 description has its own fields"
            );
            return Ok(());
        }
        let [question, answer, solution] = fields.map(Clone::clone);
        self.benchmark = Benchmark::of_files(&PlainFiles {
            train: self.train.clone(),
            test: self.test.clone(),
            question: question.unwrap_or_else(|| "question".to_owned()),
            answer: answer.unwrap_or_else(|| "answer".to_owned()),
            solution,
            kind: self.answer_kind.unwrap_or_default(),
        })?;
        Ok(())
    }
}
