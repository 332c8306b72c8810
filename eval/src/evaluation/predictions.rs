//! A line of a predictions file: the problem that it belongs to, and its completions. Independent of grading.
//!
//! | format | the problem | the completions |
//! | --- | --- | --- |
//! | ours | `index`, or `question` with the exact text, or both | `completions`, with `scores` if there are any |
//! | lm-evaluation-harness, `samples_*.jsonl` | `doc.question` where there is one, else `doc_id` as the index | `resps` |
//! | OpenAI batch output, or `choices` of a chat | the number at the end of `custom_id` as the index (or `index`, `question`) | `choices` |
//!
//! lm-evaluation-harness writes a line for every filter of a document, all with the same `resps`: the first is taken. Of a batch,
//! `response.body.choices` are the completions, each its `message.content` or its `text`; several are several samples. What a
//! filter or a program extracted from a completion is ignored, and so are all other keys.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::{Context, Result, bail, ensure};
use data::Problem;
use data::text::{field_names, missing_field, object_error};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Visitor};

/// The content of a line.
pub(crate) struct Prediction {
    /// The problem that it belongs to.
    pub of: Of,
    /// At least one.
    pub completions: Vec<Text>,
    /// As many as completions, where there are any.
    pub scores: Option<Vec<f64>>,
}

/// How a line names its problem.
pub(crate) enum Of {
    /// By its row, its question, or both, which must then agree.
    Named { index: Option<u64>, question: Option<Text> },
    /// As lm-evaluation-harness does. Its documents may be a part of the split: the question decides where there is one.
    Document { id: u64, question: Option<Text>, filter: Option<Text> },
}

#[derive(Deserialize)]
struct OurLine {
    index: Option<u64>,
    question: Option<Text>,
    completions: Vec<Text>,
    scores: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct HarnessLine {
    doc_id: u64,
    doc: Option<Document>,
    /// A list for each request of the document, of as many texts as it was repeated.
    resps: Vec<Vec<Text>>,
    filter: Option<Text>,
}

#[derive(Deserialize)]
struct Document {
    question: Option<Text>,
}

#[derive(Deserialize)]
struct BatchLine {
    custom_id: Option<Text>,
    index: Option<u64>,
    question: Option<Text>,
    response: Option<Response>,
    error: Option<Failure>,
    choices: Option<Vec<Choice>>,
}

#[derive(Deserialize)]
struct Response {
    body: Option<Body>,
}

#[derive(Deserialize)]
struct Body {
    choices: Option<Vec<Choice>>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    message: Option<Text>,
}

#[derive(Deserialize)]
struct Choice {
    message: Option<Message>,
    text: Option<Text>,
}

#[derive(Deserialize)]
struct Message {
    /// `null` where the model refused, which is a completion without a text.
    content: Option<Text>,
}

/// Reads a line, whichever program wrote it.
///
/// # Errors
/// What is malformed, or which field is missing and which are there.
pub(crate) fn parse_line(line: &[u8]) -> Result<Prediction> {
    let names = field_names(line).unwrap_or_default();
    let has = |name: &str| names.iter().any(|other| other == name);
    // A line that is not an object, or malformed, gets the error of the attempt to read it.
    let prediction = if has("completions") || names.is_empty() {
        let OurLine { index, question, completions, scores } = parse(line)?;
        Prediction { of: Of::Named { index, question }, completions, scores }
    } else if has("resps") {
        harness_line(line)?
    } else if has("response") || has("choices") || has("error") && has("custom_id") {
        batch_line(line)?
    } else {
        bail!(
            "{}; a line of lm-evaluation-harness has \"resps\", one of an OpenAI batch \"response\"",
            missing_field("completions", line)
        );
    };
    Ok(prediction)
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T> {
    serde_json::from_slice(line).map_err(|error| object_error(line, &error))
}

fn harness_line(line: &[u8]) -> Result<Prediction> {
    let HarnessLine { doc_id: id, doc, resps, filter } =
        parse(line).context("a line of lm-evaluation-harness; only tasks that generate text have completions")?;
    let question = doc.and_then(|doc| doc.question);
    let completions = resps.into_iter().flatten().collect();
    Ok(Prediction { of: Of::Document { id, question, filter }, completions, scores: None })
}

fn batch_line(line: &[u8]) -> Result<Prediction> {
    let BatchLine { custom_id, index, question, response, error, choices } = parse(line)?;
    let body = response.and_then(|response| response.body);
    let (in_body, body_error) = body.map_or((None, None), |body| (body.choices, body.error));
    let name = custom_id.as_ref().map_or_else(|| "this request".into(), |id| format!("{:?}", id.as_str()));
    let Some(choices) = choices.or(in_body) else {
        match error.or(body_error).map(|error| error.message) {
            Some(Some(message)) => bail!(
                "{name} failed: {}; ask again, or remove the line and give --allow-missing",
                beginning(&message.as_str())
            ),
            Some(None) => bail!("{name} failed; ask again, or remove the line and give --allow-missing"),
            None => bail!("{name}: the field \"response.body.choices\" is missing"),
        }
    };
    let index = match (index, &question, &custom_id) {
        (None, None, Some(id)) => Some(number_at_end(&id.as_str()).with_context(|| {
            format!("custom_id {name} does not end with the index of a problem, as in \"request-12\"")
        })?),
        _ => index,
    };
    let text = |choice: Choice| choice.message.map_or(choice.text, |message| message.content).unwrap_or_default();
    let completions = choices.into_iter().map(text).collect();
    Ok(Prediction { of: Of::Named { index, question }, completions, scores: None })
}

/// The digits that a name ends with.
fn number_at_end(name: &str) -> Option<u64> {
    let before = name.trim_end_matches(|character: char| character.is_ascii_digit());
    name[before.len()..].parse().ok()
}

/// Known problems, and the line that has named each.
pub(crate) struct Places<'a> {
    by_question: HashMap<&'a str, Vec<usize>>,
    taken_by_line: Vec<Option<usize>>,
    /// Of lm-evaluation-harness, by `doc_id`.
    documents: HashMap<u64, Taken>,
}

/// The lines so far about a document.
struct Taken {
    row: usize,
    /// A hash of them.
    completions: u64,
    /// Of all lines; older versions do not name them.
    filters: Vec<Option<Text>>,
}

impl Taken {
    /// Whether a line has the same completions by another filter, which is then known.
    fn is_repeated(&mut self, filter: Option<&Text>, completions: u64) -> bool {
        let is_new = filter.is_none() || !self.filters.iter().any(|known| known.as_ref() == filter);
        let is_repeated = is_new && completions == self.completions;
        if is_repeated {
            self.filters.push(filter.cloned());
        }
        is_repeated
    }
}

impl<'a> Places<'a> {
    pub(crate) fn new(problems: &'a [Problem]) -> Places<'a> {
        let mut by_question: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, problem) in problems.iter().enumerate() {
            by_question.entry(&problem.question).or_default().push(index);
        }
        Places { by_question, taken_by_line: vec![None; problems.len()], documents: HashMap::new() }
    }

    /// The row that a line belongs to. No other line may have the same row; `None` where it repeats an earlier line.
    pub(crate) fn take(&mut self, line: usize, prediction: &Prediction) -> Result<Option<usize>> {
        let row = match &prediction.of {
            Of::Named { index, question } => self.named(*index, question.as_ref())?,
            Of::Document { id, question, filter } => {
                let mut hasher = DefaultHasher::new();
                prediction.completions.hash(&mut hasher);
                let completions = hasher.finish();
                match self.documents.get_mut(id) {
                    Some(known) => match known.is_repeated(filter.as_ref(), completions) {
                        true => return Ok(None),
                        false => known.row,
                    },
                    None => {
                        let row = self.document(*id, question.as_ref())?;
                        self.documents.insert(*id, Taken { row, completions, filters: vec![filter.clone()] });
                        row
                    }
                }
            }
        };
        if let Some(first) = self.taken_by_line[row].replace(line) {
            bail!("index {row} stands already in line {first}");
        }
        Ok(Some(row))
    }

    fn named(&self, index: Option<u64>, question: Option<&Text>) -> Result<usize> {
        let by_index = index.map(|index| self.row(index)).transpose()?;
        let with_text = question.map(|question| self.candidates(question)).transpose()?;
        match (by_index, with_text) {
            (None, None) => bail!("neither \"index\" nor \"question\" says which problem this is"),
            (Some(index), Some(candidates)) => {
                ensure!(candidates.contains(&index), "index {index} has another question than the one given");
                Ok(index)
            }
            (Some(index), None) => Ok(index),
            (None, Some(candidates)) => Ok(self.first_free(candidates)),
        }
    }

    fn document(&self, id: u64, question: Option<&Text>) -> Result<usize> {
        let Some(question) = question else { return self.row(id) };
        let candidates = self.candidates(question)?;
        let by_id = candidates.iter().copied().find(|&row| row as u64 == id);
        Ok(by_id.unwrap_or_else(|| self.first_free(candidates)))
    }

    fn row(&self, index: u64) -> Result<usize> {
        let rows = self.taken_by_line.len();
        let found = usize::try_from(index).ok().filter(|index| *index < rows);
        found.with_context(|| format!("unknown index {index}: there are {rows} problems, from 0"))
    }

    fn candidates(&self, question: &Text) -> Result<&[usize]> {
        let text = question.as_str();
        let found = self.by_question.get(text.as_ref()).or_else(|| self.by_question.get(text.trim()));
        found.map(Vec::as_slice).with_context(|| format!("unknown question {:?}", beginning(&text)))
    }

    /// If all are taken, the first one, which then names the line that took it.
    fn first_free(&self, candidates: &[usize]) -> usize {
        *candidates.iter().find(|row| self.taken_by_line[**row].is_none()).unwrap_or(&candidates[0])
    }
}

/// The first characters of a long text.
fn beginning(text: &str) -> Cow<'_, str> {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// A JSON string that need not be Unicode: neither invalid bytes nor halves of surrogate pairs are errors.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Text(Vec<u8>);

impl Text {
    /// The text, with replacement characters in place of invalid parts.
    pub(crate) fn as_str(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Text, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> std::result::Result<Text, E> {
                Ok(Text(bytes.to_vec()))
            }
        }

        deserializer.deserialize_bytes(TextVisitor)
    }
}
