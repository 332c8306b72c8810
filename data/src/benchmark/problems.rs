//! From the rows of a benchmark's files to its problems. Independent of formats of files and of tokens.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use super::Benchmark;
use super::held_out::part;
use super::rows::{self, Row};
use super::spec::{FieldText, Files, Reader, Spec, Validation};
use crate::answer::{Answer, AnswerFormat, AnswerKind};
use crate::hub::DatasetFiles;
use crate::problem::DATA_DIR_VARIABLE;
use crate::{DataOptions, Problem, Split, SvampSolutions, svamp, synthetic};

/// Rows that are held out of training files whose description says nothing of validation; a tenth where that is less.
const VALIDATION_ROWS: usize = 500;

/// The problems of a split, see [`Benchmark::load`].
pub(super) fn load(benchmark: &Benchmark, split: Split, options: &DataOptions) -> Result<Vec<Problem>> {
    let spec = &*benchmark.spec;
    ensure!(
        split != Split::TestUnseen || benchmark.is_synthetic(),
        "{benchmark} has no split test-unseen; use --split test, or --benchmark synthetic"
    );
    let held_out = match &spec.data.validation {
        None => VALIDATION_ROWS,
        Some(Validation::Rows(rows)) => *rows,
        Some(Validation::Files(_)) => 0,
    };
    match (spec.data.reader, split) {
        (Reader::Synthetic, _) => Ok(synthetic::SECOND.problems(split)),
        (Reader::Synthetic1, _) => Ok(synthetic::FIRST.problems(split)),
        (Reader::Svamp, Split::Test) => svamp::read_test(&options.data_folder()?),
        (Reader::Svamp, _) => {
            let folder = options.data_folder()?;
            let rows = match options.svamp_solutions {
                SvampSolutions::Equation => svamp::read_train(&folder)?,
                SvampSolutions::Language => svamp::read_language(&folder)?.problems,
            };
            Ok(part(rows, held_out, split))
        }
        (Reader::Rows, Split::Test) => read(benchmark, &spec.data.test, "test", options),
        (Reader::Rows, _) => match &spec.data.validation {
            Some(Validation::Files(files)) if split == Split::Validation => {
                read(benchmark, files, "validation", options)
            }
            Some(Validation::Files(_)) => read(benchmark, &spec.data.train, "train", options),
            _ => Ok(part(read(benchmark, &spec.data.train, "train", options)?, held_out, split)),
        },
    }
}

/// The files of all splits that lie on this machine.
pub(super) fn files(benchmark: &Benchmark, options: &DataOptions) -> Vec<PathBuf> {
    let data = &benchmark.spec.data;
    let validation = match &data.validation {
        Some(Validation::Files(files)) => files.0.as_slice(),
        _ => &[],
    };
    let all = data.train.0.iter().chain(&data.test.0).chain(validation);
    all.filter(|file| !file.starts_with("hf:")).filter_map(|file| path(benchmark, file, options).ok()).collect()
}

fn read(benchmark: &Benchmark, files: &Files, split: &str, options: &DataOptions) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for problem in read_each(benchmark, files, split, options)? {
        problems.push(problem?);
    }
    let mut ids = HashSet::new();
    let twice = problems.iter().find(|problem| !ids.insert(problem.id.as_str()));
    ensure!(twice.is_none(), "two rows of the {split} split have the id {:?}", twice.map_or("", |problem| &problem.id));
    Ok(problems)
}

/// The problem of each row, or why it is none.
fn read_each(benchmark: &Benchmark, files: &Files, split: &str, options: &DataOptions) -> Result<Vec<Result<Problem>>> {
    ensure!(
        !files.0.is_empty(),
        "{benchmark} has no {split} split: its description names no file for it{}",
        if split == "test" { " (without --test-problems 0, a run evaluates on it)" } else { "" }
    );
    let mut problems = Vec::new();
    for file in &files.0 {
        for path in paths(benchmark, file, split, options)? {
            for (place, row) in read_rows(benchmark, &path)? {
                let problem = problem(&benchmark.spec, &row, format!("{benchmark}/{split}/{}", problems.len()));
                let problem = problem.with_context(|| match benchmark.is_built_in() {
                    true => {
                        format!("{}, {place}: not a problem of {benchmark}; download the file again", path.display())
                    }
                    false => format!("{}, {place}: not a problem", path.display()),
                });
                problems.push(problem);
            }
        }
    }
    Ok(problems)
}

/// The rows of a split that are no problems, each with its place and the reason. Built-in benchmarks have none.
pub(super) fn unreadable(benchmark: &Benchmark, split: Split, options: &DataOptions) -> Result<Vec<anyhow::Error>> {
    let data = &benchmark.spec.data;
    let (files, name) = match (split, &data.validation) {
        (Split::Test, _) => (&data.test, "test"),
        (Split::Validation, Some(Validation::Files(files))) => (files, "validation"),
        _ => (&data.train, "train"),
    };
    if data.reader != Reader::Rows || files.0.is_empty() {
        return Ok(Vec::new());
    }
    Ok(read_each(benchmark, files, name, options)?.into_iter().filter_map(Result::err).collect())
}

/// The splits that a description has.
pub(super) fn splits(benchmark: &Benchmark) -> Vec<Split> {
    let data = &benchmark.spec.data;
    match data.reader {
        Reader::Synthetic | Reader::Synthetic1 => vec![Split::Train, Split::Validation, Split::Test, Split::TestUnseen],
        Reader::Svamp => vec![Split::Train, Split::Validation, Split::Test],
        Reader::Rows => {
            let has_validation = match &data.validation {
                Some(Validation::Files(files)) => !files.0.is_empty(),
                _ => !data.train.0.is_empty(),
            };
            let all = [
                (Split::Train, !data.train.0.is_empty()),
                (Split::Validation, has_validation),
                (Split::Test, !data.test.0.is_empty()),
            ];
            all.into_iter().filter(|(_, is_there)| *is_there).map(|(split, _)| split).collect()
        }
    }
}

fn read_rows(benchmark: &Benchmark, path: &std::path::Path) -> Result<Vec<(String, Row)>> {
    let rows = rows::read(path);
    if !benchmark.is_built_in() {
        return rows;
    }
    rows.with_context(|| match path.exists() {
        true => format!("{benchmark} cannot be read; download the file again"),
        false => format!("check that --data-dir or {DATA_DIR_VARIABLE} names the folder that holds gsm8k/ and svamp/"),
    })
}

/// The paths of what a description names: one file, or those of a data set on the hub.
fn paths(benchmark: &Benchmark, file: &str, split: &str, options: &DataOptions) -> Result<Vec<PathBuf>> {
    match DatasetFiles::parse(file)? {
        Some(dataset) => dataset.fetch(split),
        None => path(benchmark, file, options).map(|path| vec![path]),
    }
}

/// A path of a description: relative to its folder; of a built-in benchmark, to the data folder.
fn path(benchmark: &Benchmark, file: &str, options: &DataOptions) -> Result<PathBuf> {
    Ok(match &benchmark.folder {
        Some(folder) => folder.join(file),
        None => options.data_folder()?.join(file),
    })
}

/// The problem of a row.
fn problem(spec: &Spec, row: &Row, id: String) -> Result<Problem> {
    let fields = &spec.fields;
    let kind = spec.answer.kind;
    let question = text(&fields.question, row, "question")?.trim().to_owned();
    ensure!(!question.is_empty(), "the question is empty");
    let solution = fields.solution.as_ref().map(|field| text(field, row, "solution")).transpose()?.unwrap_or_default();
    let solution = solution.trim().replace("\r\n", "\n");
    let format = spec.answer.format.clone().unwrap_or(match kind {
        AnswerKind::Math => AnswerFormat::Boxed,
        _ => AnswerFormat::Gsm8k,
    });
    let answer = match &fields.answer {
        // The command may need no more than the question.
        None if kind == AnswerKind::Command => Answer::Command(String::new()),
        None => gold_of_solution(spec, &solution)?,
        Some(field) => {
            let stated = text(field, row, "answer")?;
            let stated = match &spec.answer.regex {
                Some(pattern) => crate::answer::captured(pattern, &stated)
                    .with_context(|| format!("[answer] regex has no match in {stated:?}"))?
                    .to_owned(),
                None => stated,
            };
            Answer::parse_gold(kind, &stated)?
        }
    };
    let solution = with_answer(solution, &answer, &format);
    let id = match &fields.id {
        Some(field) => text(field, row, "id")?,
        None => id,
    };
    Ok(Problem { id, question, solution, answer, worked: None })
}

/// The answer that a solution ends with, where the description names no field for it.
fn gold_of_solution(spec: &Spec, solution: &str) -> Result<Answer> {
    let kind = spec.answer.kind;
    if let Some(pattern) = &spec.answer.regex {
        let stated =
            crate::answer::captured(pattern, solution).context("[answer] regex has no match in the solution")?;
        return Answer::parse_gold(kind, stated);
    }
    match &spec.answer.format {
        None if kind == AnswerKind::Number => crate::gold_answer(solution),
        format => {
            let format = format.clone().unwrap_or(AnswerFormat::Auto);
            let read = format.extract_from_reference(kind, solution);
            read.with_context(|| format!("no answer can be read from the solution by the format {format}"))
        }
    }
}

/// A solution from which its answer can be read in a completion: where it cannot, a line with the answer is appended.
fn with_answer(solution: String, answer: &Answer, format: &AnswerFormat) -> String {
    let reads = |solution: &str| format.extract_from_reference(answer.kind(), solution).as_ref() == Some(answer);
    if solution.is_empty() || answer.kind() == AnswerKind::Command || reads(&solution) {
        return solution;
    }
    let line = match format {
        AnswerFormat::Boxed => format!("\\boxed{{{answer}}}"),
        _ => format!("#### {answer}"),
    };
    format!("{solution}\n{line}")
}

/// The text that a description makes of a row.
fn text(field: &FieldText, row: &Row, what: &str) -> Result<String> {
    match field {
        FieldText::Template(template) => template.render(row).with_context(|| format!("[fields] {what}, a template")),
        FieldText::Path(path) => at_path(row, path).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }),
    }
}

/// The value of a field; the name itself comes before the way that its points lead.
fn at_path<'a>(row: &'a Row, path: &str) -> Result<&'a Value> {
    let missing = || {
        let known = row.keys().map(|name| format!("{name:?}")).collect::<Vec<_>>();
        anyhow!("the field {path:?} is missing; the fields are {}", known.join(", "))
    };
    let value = match row.get(path) {
        Some(value) => value,
        None => {
            let mut parts = path.split('.');
            let first = row.get(parts.next().unwrap_or_default()).ok_or_else(missing)?;
            parts
                .try_fold(first, |value, part| match part.parse::<usize>() {
                    Ok(place) if value.is_array() => value.get(place),
                    _ => value.get(part),
                })
                .ok_or_else(missing)?
        }
    };
    if value.is_null() {
        bail!("the field {path:?} is null");
    }
    Ok(value)
}
