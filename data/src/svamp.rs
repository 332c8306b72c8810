//! SVAMP as its authors publish it, and its training problems from MAWPS and ASDiv-A. Independent of splits beyond the
//! published files.
//!
//! The published answers are kept, all of them. In nine rows the published equation does not lead to the published answer
//! (row 679 of `SVAMP.json`; rows 286, 401, 596, 1118, 1360, 1436, 1821 and 1848 of `train.csv`), and in row 554 of
//! `SVAMP.json` it is a number without an operation: these come without worked lines, see [`equation::solution`].

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::problem::DATA_DIR_VARIABLE;
use crate::text::{as_text, from_json_object};
use crate::{Problem, equation, problem::gold_answer, rational::Rational};

/// A row of `SVAMP.json`.
#[derive(Deserialize)]
struct TestRow {
    #[serde(rename = "Body")]
    body: String,
    #[serde(rename = "Question")]
    question: String,
    #[serde(rename = "Equation")]
    equation: String,
    #[serde(rename = "Answer")]
    answer: serde_json::Number,
}

/// A row of `train.csv`; its numbers stand apart, and `number0`, `number1` … in their places.
#[derive(Deserialize)]
struct TrainRow {
    #[serde(rename = "Question")]
    question: String,
    #[serde(rename = "Numbers")]
    numbers: String,
    #[serde(rename = "Equation")]
    equation: String,
    #[serde(rename = "Answer")]
    answer: String,
}

/// A row of `svamp_nl.json`.
#[derive(Deserialize)]
struct LanguageRow {
    question: String,
    answer_cot: String,
    answer_value: String,
}

/// The training problems with solutions in words.
pub struct LanguageProblems {
    /// The rows whose solution ends with the published answer.
    pub problems: Vec<Problem>,
    /// How many rows were left out, because the solution ends otherwise.
    pub dropped: usize,
}

/// The 1,000 test problems, from `svamp/SVAMP.json`.
pub fn read_test(data_dir: &Path) -> Result<Vec<Problem>> {
    let path = data_dir.join("svamp/SVAMP.json");
    let rows: Vec<TestRow> = read_json(&path)?;
    let problem = |(row, published): (usize, TestRow)| {
        let expression = equation::parse_infix(&published.equation)?;
        let solution = equation::solution(&expression, &published.answer.to_string())?;
        problem(format!("svamp/test/{row}"), join(&published.body, &published.question), solution)
    };
    let located = |row: usize, result: Result<Problem>| {
        result.with_context(|| format!("{}, row {}: download the file again", path.display(), row + 1))
    };
    rows.into_iter().enumerate().map(|(row, published)| located(row, problem((row, published)))).collect()
}

/// The 3,138 training problems, from `svamp/mawps-asdiv-a_svamp/train.csv`.
pub fn read_train(data_dir: &Path) -> Result<Vec<Problem>> {
    let path = data_dir.join("svamp/mawps-asdiv-a_svamp/train.csv");
    let text = read_published(&path)?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers().with_context(|| format!("{}, line 1", path.display()))?;
    for column in ["Question", "Numbers", "Equation", "Answer"] {
        ensure!(
            columns.iter().any(|name| name == column),
            "{}: the column \"{column}\" is missing; the columns are {columns:?}; download the file again",
            path.display()
        );
    }
    let mut rows = reader.deserialize();
    let mut problems = Vec::new();
    // The reader knows its line only between rows, so this is a loop and not a chain.
    loop {
        let line = rows.reader().position().line();
        let Some(published) = rows.next() else { break };
        let id = format!("svamp/train/{}", problems.len());
        let problem = published.map_err(anyhow::Error::from).and_then(|row| train_problem(row, id));
        problems.push(problem.with_context(|| {
            format!("{}, at or after line {line}: not a training problem; download the file again", path.display())
        })?);
    }
    ensure!(!problems.is_empty(), "{} holds no problem; download the file again", path.display());
    Ok(problems)
}

/// The training problems with solutions in words, from `svamp_reft/svamp_nl.json`; only those rows whose final answer is
/// the published one.
pub fn read_language(data_dir: &Path) -> Result<LanguageProblems> {
    let path = data_dir.join("svamp_reft/svamp_nl.json");
    let rows: Vec<LanguageRow> = read_json(&path)?;
    let count = rows.len();
    let problems: Vec<Problem> =
        rows.into_iter().enumerate().filter_map(|(row, published)| language_problem(row, published)).collect();
    ensure!(!problems.is_empty(), "{} holds no correct solution; download the file again", path.display());
    Ok(LanguageProblems { dropped: count - problems.len(), problems })
}

/// Reads a text file of the data folder; what can be done about a missing one stands in the error.
fn read_published(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| {
        format!(
            "cannot read {}; check that --data-dir or {DATA_DIR_VARIABLE} names the folder that holds gsm8k/ and svamp/",
            path.display()
        )
    })?;
    as_text(path, bytes)
}

fn train_problem(row: TrainRow, id: String) -> Result<Problem> {
    let numbers: Vec<String> = row.numbers.split_whitespace().map(equation::plain).collect();
    let expression = equation::parse_prefix(&row.equation, &numbers)?;
    let solution = equation::solution(&expression, &row.answer)?;
    problem(id, tidy(&fill(&row.question, &numbers)?), solution)
}

/// The closing "Therefore, the answer is <203>." becomes "#### 203". `None` where the solution ends otherwise, or with
/// another number than the published one.
fn language_problem(row: usize, published: LanguageRow) -> Option<Problem> {
    let (worked, closing) = published.answer_cot.rsplit_once("Therefore, the answer is <")?;
    let claimed = Rational::parse_number(closing.trim_end().strip_suffix(">.")?)?;
    let answer_text = equation::plain(&published.answer_value);
    if claimed != Rational::parse_number(&answer_text)? {
        return None;
    }
    let lines: Vec<&str> = worked.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let solution = format!("{}\n#### {answer_text}", lines.join("\n"));
    problem(format!("svamp/language/{row}"), tidy(&published.question), solution).ok()
}

fn problem(id: String, question: String, solution: String) -> Result<Problem> {
    ensure!(!question.is_empty(), "the question is empty");
    let answer = gold_answer(&solution)?;
    Ok(Problem { id, question, solution, answer, worked: None })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let another = || format!("{} is not what its authors publish; download the file again", path.display());
    let rows: Vec<Value> = serde_json::from_str(&read_published(path)?).with_context(another)?;
    let parsed = (1..).zip(&rows).map(|(row, text)| {
        from_json_object(&text.to_string()).with_context(|| format!("row {row}")).with_context(another)
    });
    let rows: Vec<T> = parsed.collect::<Result<_>>()?;
    ensure!(!rows.is_empty(), "{} holds no problem; download the file again", path.display());
    Ok(rows)
}

/// Puts the numbers in their places: `number0` becomes the first.
fn fill(question: &str, numbers: &[String]) -> Result<String> {
    let mut filled = String::new();
    let mut rest = question;
    while let Some((before, after)) = rest.split_once("number") {
        filled.push_str(before);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let (place, next) = after.split_at(digits);
        if place.is_empty() {
            filled.push_str("number");
        } else {
            let number = place.parse().ok().and_then(|place: usize| numbers.get(place));
            filled.push_str(number.with_context(|| format!("the question names number{place}, which is not given"))?);
        }
        rest = next;
    }
    Ok(filled + rest)
}

/// Sets punctuation and endings against the word before, as in "Jane 's room , is it big ?".
fn tidy(text: &str) -> String {
    const CLOSING: [&str; 8] = [".", ",", "?", "!", ";", ":", "%", ")"];
    const ENDINGS: [&str; 8] = ["'s", "n't", "'ve", "'re", "'ll", "'d", "'m", "’"];
    let attaches = |before: &str, word: &str| match word {
        // An apostrophe of its own ends a plural, as in "the boys ' team"; elsewhere it opens a quotation.
        "'" => before.ends_with('s'),
        "s" => before.ends_with('’'),
        _ => CLOSING.contains(&word) || ENDINGS.contains(&word),
    };
    let mut tidied = String::new();
    for word in text.split_whitespace() {
        if !tidied.is_empty() && !tidied.ends_with('(') && !attaches(&tidied, word) {
            tidied.push(' ');
        }
        tidied.push_str(word);
    }
    tidied
}

/// Body and question as one text. A body that does not end its sentence is a condition ("If he had 4 at the start"), which
/// the question completes, or a statement that lacks its full stop.
fn join(body: &str, question: &str) -> String {
    let (body, question) = (tidy(body), tidy(question));
    if body.is_empty() || body.ends_with(['.', '?', '!']) {
        return format!("{body} {question}").trim().to_owned();
    }
    let last_sentence = body.rsplit(". ").next().unwrap_or(&body);
    if body.ends_with(',') || last_sentence.starts_with("If ") {
        return format!("{}, {}", body.trim_end_matches(','), without_capital(&question));
    }
    format!("{body}. {question}")
}

/// The question as the second half of a sentence; a name keeps its capital.
fn without_capital(question: &str) -> String {
    const QUESTION_WORDS: [&str; 7] = ["How", "What", "Which", "Who", "When", "Where", "Total"];
    match question.split_once(' ') {
        Some((first, rest)) if QUESTION_WORDS.contains(&first) => format!("{} {rest}", first.to_lowercase()),
        _ => question.to_owned(),
    }
}

#[cfg(test)]
mod tests;
