//! `eval score`: grades completions from elsewhere. Independent of models.
//!
//! A line of the predictions is `{"index": 0, "completions": ["…", …], "scores": [0.3, …]}`, or what lm-evaluation-harness or an
//! OpenAI batch writes: `predictions.rs` has the formats. Empty lines are skipped. Completions are bytes rather than text: what a
//! model wrote need not be Unicode, and must not stop the scoring of the others.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use data::text::{check_beginning, without_mark};
use data::{Answer, AnswerFormat, BenchmarkArgs, DataOptions, Ending, Problem, Split};
use model::Finish;
use serde::Serialize;

use super::predictions::{Places, Prediction, parse_line};
use crate::external::{Checker, CheckerArgs, Item};
use crate::io::whole_files::{check_outputs, data_inputs, write_whole};
use crate::metrics::Graded;
use crate::reports::report::{About, Report, warn_of_unreadable};
use crate::reports::table::table;

/// Scores completions from elsewhere; needs no model.
#[derive(Args, Clone, Debug)]
pub struct ScoreArgs {
    /// The set of problems that the predictions belong to.
    #[command(flatten)]
    pub data: BenchmarkArgs,
    /// The part of it.
    #[arg(long, value_enum, default_value_t = Split::Test)]
    pub split: Split,
    /// Use only the first N problems of the split.
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
    /// One JSON object per line: {"index": 0, "completions": ["…"], "scores": [0.3]}, the scores optional, and "question"
    /// with the exact text allowed in place of "index". Or the samples_*.jsonl of lm-evaluation-harness; or the output of an OpenAI
    /// batch, whose "custom_id" ends with the index, as in "request-12".
    #[arg(long, value_name = "FILE")]
    pub predictions: PathBuf,
    /// Numbers of samples k of maj@k, pass@k and rerank@k, as in 1,4,96 [default: 1, and the number that every problem
    /// has].
    #[arg(long, value_name = "K,…", value_delimiter = ',')]
    pub k: Vec<NonZeroUsize>,
    /// How an answer is read from a completion: auto, gsm8k (the line with ####), boxed, last-number, regex:PATTERN [default: the
    /// benchmark's own, or auto].
    #[arg(long, value_name = "FORMAT")]
    pub answer_format: Option<AnswerFormat>,
    /// Score only the problems that have a prediction.
    #[arg(long)]
    pub allow_missing: bool,
    /// An external reward that decides which completions are correct.
    #[command(flatten)]
    pub checker: CheckerArgs,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
    /// Write one JSON line per completion: {"index", "sample", "answer", "correct"}, and "reward" with an external reward.
    #[arg(long, value_name = "FILE")]
    pub per_sample: Option<PathBuf>,
}

impl ScoreArgs {
    fn format(&self) -> AnswerFormat {
        self.answer_format.clone().unwrap_or_else(|| self.data.benchmark.foreign_answer_format())
    }
}

/// The graded completions of one problem.
#[derive(Clone, Debug, PartialEq)]
pub struct GradedRow {
    /// The line of the predictions that they came from, counted from 1.
    pub line: usize,
    /// The problem's row in the split, counted from 0.
    pub index: usize,
    /// One for each completion, in order.
    pub samples: Vec<Graded>,
    /// Their external rewards; empty without a checker.
    pub rewards: Vec<Option<f64>>,
}

/// Runs `eval score`: prints the report, and writes the grades of the samples if a flag says so.
pub fn run(args: &ScoreArgs) -> Result<()> {
    let mut args = args.clone();
    args.data.resolve()?;
    let text = output(&args)?;
    writeln!(std::io::stdout(), "{text}").context("cannot print the report")
}

/// What `eval score` prints, once the grades of the samples are written.
fn output(args: &ScoreArgs) -> Result<String> {
    let data = data_inputs(&args.data.benchmark, args.data.data_dir.as_deref());
    let inputs = data.iter().map(|(flag, file)| (*flag, file.as_path())).chain([("predictions", &*args.predictions)]);
    let outputs = args.per_sample.as_deref().map(|file| ("per-sample", file));
    check_outputs(&outputs.into_iter().collect::<Vec<_>>(), &inputs.collect::<Vec<_>>())?;
    let options = DataOptions { data_dir: args.data.data_dir.clone(), ..DataOptions::default() };
    let mut problems = args.data.benchmark.load(args.split, &options)?;
    problems.truncate(args.limit.map_or(usize::MAX, NonZeroUsize::get));

    let file_name = args.predictions.display();
    let file = File::open(&args.predictions).with_context(|| format!("cannot open {file_name}"))?;
    let mut reader = BufReader::new(file);
    let head = reader.fill_buf().with_context(|| format!("cannot read {file_name}"))?;
    check_beginning(&args.predictions, head, "text")?;
    let checker = args.checker.start(&args.data.benchmark)?;
    let rows = read_checked(reader, &problems, &args.format(), checker.as_ref());
    let rows = rows.with_context(|| file_name.to_string())?;
    let mut report = score(&rows, &problems, args).with_context(|| file_name.to_string())?;
    report.checker = checker.as_ref().map(Checker::to_string);

    // The file comes first: if it cannot be written, nothing has been printed that suggests success.
    if let Some(path) = &args.per_sample {
        write_whole(path, &per_sample_lines(&rows)?)?;
    }
    warn_of_unreadable(&report);
    if rows.len() < problems.len() {
        eprintln!(
            "{} of {} problems have no prediction and are not scored",
            problems.len() - rows.len(),
            problems.len()
        );
    }
    if args.json {
        return Ok(serde_json::to_string_pretty(&report)?);
    }
    let name = format!("{}/{}", args.data.benchmark, args.split);
    Ok(table(&[(&name, &report)]))
}

/// Reads the predictions of `problems` and grades every completion, in the order of the lines.
///
/// Where several problems have the same question text, lines that name it go to them in order. Bytes that are no UTF-8 are no error,
/// because they may be what a model wrote, but there is a warning.
pub fn read_predictions(reader: impl BufRead, problems: &[Problem], format: &AnswerFormat) -> Result<Vec<GradedRow>> {
    read_checked(reader, problems, format, None)
}

/// As [`read_predictions`]; with a checker, its external reward decides which completions are correct.
fn read_checked(
    mut reader: impl BufRead,
    problems: &[Problem],
    format: &AnswerFormat,
    checker: Option<&Checker>,
) -> Result<Vec<GradedRow>> {
    let mut items: Vec<Item> = Vec::new();
    let mut places = Places::new(problems);
    let mut is_warned = false;
    let mut rows: Vec<GradedRow> = Vec::new();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).with_context(|| format!("line {line} cannot be read"))? == 0 {
            break;
        }
        let text = bytes.trim_ascii();
        let text = if line == 1 { without_mark(text) } else { text };
        if text.is_empty() {
            continue;
        }
        if !is_warned && str::from_utf8(text).is_err() {
            is_warned = true;
            tracing::warn!(
                "line {line} of the predictions is not UTF-8: what cannot be read is taken as '\u{FFFD}'; a file in Latin-1 should be \
                 converted by `iconv -f WINDOWS-1252 -t UTF-8`"
            );
        }
        let row = parse_line(text)
            .and_then(|prediction| {
                let texts: Vec<String> = match checker {
                    Some(_) => prediction.completions.iter().map(|text| text.as_str().into_owned()).collect(),
                    None => Vec::new(),
                };
                let row = grade(line, prediction, problems, format, &mut places)?;
                let item =
                    |row: &GradedRow, text: &String| Item::new(&problems[row.index], text, 0, None, Finish::Stop);
                items.extend(row.iter().flat_map(|row| texts.iter().map(|text| item(row, text))));
                Ok(row)
            })
            .with_context(|| format!("line {line}"))?;
        let Some(row) = row else { continue };
        if let Some(first) = rows.first() {
            let has_scores = |row: &GradedRow| row.samples.iter().any(|sample| sample.score.is_some());
            ensure!(
                has_scores(&row) == has_scores(first),
                "line {line}: either every line has scores or none; line {} {} them",
                first.line,
                if has_scores(first) { "has" } else { "lacks" }
            );
        }
        rows.push(row);
    }
    if let Some(checker) = checker {
        let mut rewards = checker.client.rewards(items)?.into_iter();
        for row in &mut rows {
            for (sample, reward) in row.samples.iter_mut().zip(rewards.by_ref()) {
                sample.correct = checker.correct_if.holds(&reward);
                row.rewards.push(reward.sum());
            }
        }
    }
    Ok(rows)
}

/// One line of `--per-sample` for each completion, in the order of the predictions.
pub fn per_sample_lines(rows: &[GradedRow]) -> Result<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        index: usize,
        sample: usize,
        answer: Option<&'a Answer>,
        correct: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        reward: Option<Option<f64>>,
    }

    let mut lines = String::new();
    for row in rows {
        for (sample, graded) in row.samples.iter().enumerate() {
            let reward = row.rewards.get(sample).copied();
            let line =
                Line { index: row.index, sample, answer: graded.answer.as_ref(), correct: graded.correct, reward };
            lines.push_str(&serde_json::to_string(&line)?);
            lines.push('\n');
        }
    }
    Ok(lines)
}

/// The report of graded rows, after a check of what is missing.
fn score(rows: &[GradedRow], problems: &[Problem], args: &ScoreArgs) -> Result<Report> {
    ensure!(!rows.is_empty(), "the file has no predictions");
    let missing = first_missing(rows, problems.len()).filter(|_| !args.allow_missing);
    if let Some(first) = missing {
        bail!(
            "{} of {} problems of {}/{} have no prediction, the first is index {first}; --allow-missing scores the others \
             alone",
            problems.len() - rows.len(),
            problems.len(),
            args.data.benchmark,
            args.split
        );
    }
    let fewest = rows.iter().map(|row| row.samples.len()).min().unwrap_or(0);
    let ks: Vec<usize> = if args.k.is_empty() { vec![1, fewest] } else { args.k.iter().map(|k| k.get()).collect() };
    let largest = ks.iter().copied().max().unwrap_or(0);
    if let Some(row) = rows.iter().find(|row| row.samples.len() < largest) {
        bail!(
            "line {} (index {}) has {} completions, too few for --k {largest}; the largest k that every line allows is \
             {fewest}",
            row.line,
            row.index,
            row.samples.len()
        );
    }
    let votes = |row: &GradedRow| -> Vec<Graded> {
        let expected = &problems[row.index].answer;
        let vote = |Graded { answer, correct, score }| Graded::of(answer, Some(expected.clone()), correct, score);
        row.samples.iter().cloned().map(vote).collect()
    };
    let questions: Vec<Vec<Graded>> = rows.iter().map(votes).collect();
    let about = About {
        benchmark: args.data.benchmark.to_string(),
        split: args.split,
        answer_format: args.format(),
        temperature: None,
        checkpoint: None,
        truncated: None,
        mean_tokens: None,
        checker: None,
    };
    Report::from_graded(&questions, None, &ks, about)
}

/// The first problem without a row.
fn first_missing(rows: &[GradedRow], problems: usize) -> Option<usize> {
    let mut present = vec![false; problems];
    rows.iter().for_each(|row| present[row.index] = true);
    present.iter().position(|present| !present)
}

fn grade(
    line: usize,
    prediction: Prediction,
    problems: &[Problem],
    format: &AnswerFormat,
    places: &mut Places<'_>,
) -> Result<Option<GradedRow>> {
    let Some(index) = places.take(line, &prediction)? else { return Ok(None) };
    let completions = &prediction.completions;
    ensure!(!completions.is_empty(), "index {index} has no completions");
    let scores: Vec<Option<f64>> = match prediction.scores {
        None => vec![None; completions.len()],
        Some(scores) => {
            ensure!(
                scores.len() == completions.len(),
                "index {index} has {} completions and {} scores",
                completions.len(),
                scores.len()
            );
            scores.into_iter().map(Some).collect()
        }
    };
    let samples = completions
        .iter()
        .zip(scores)
        .map(|(completion, score)| {
            let answer = format.extract(problems[index].answer.kind(), &completion.as_str(), Ending::Finished);
            let correct = answer.as_ref() == Some(&problems[index].answer);
            Graded { answer, correct, score }
        })
        .collect();
    Ok(Some(GradedRow { line, index, samples, rewards: Vec::new() }))
}

#[cfg(test)]
mod tests;
