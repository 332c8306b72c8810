//! The description of a benchmark: what a `FILE.toml` holds. Independent of where its files lie.

use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use regex::Regex;
use serde::{Deserialize, Deserializer, de::Error};

use crate::answer::{AnswerFormat, AnswerKind};
use crate::synthetic;
use crate::template::{Template, is_template};

/// A benchmark as its file describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    /// Its name in reports and run directories; without it, the file's name.
    pub(super) name: Option<String>,
    pub(super) data: DataSpec,
    #[serde(default)]
    pub(super) fields: Fields,
    #[serde(default)]
    pub(super) answer: AnswerSpec,
    #[serde(default)]
    pub(super) prompt: PromptSpec,
}

/// Where the rows of each split come from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DataSpec {
    #[serde(default)]
    pub(super) reader: Reader,
    #[serde(default)]
    pub(super) train: Files,
    #[serde(default)]
    pub(super) test: Files,
    pub(super) validation: Option<Validation>,
}

/// What reads the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reader {
    /// Rows with the fields of `[fields]`.
    #[default]
    Rows,
    /// The embedded problems.
    Synthetic,
    /// The first version of the embedded problems.
    #[serde(rename = "synthetic-1")]
    Synthetic1,
    /// SVAMP, MAWPS and ASDiv-A as published.
    Svamp,
}

impl Reader {
    /// What generates the problems, where no files are read.
    pub(super) fn generator(self) -> Option<&'static synthetic::Version> {
        match self {
            Self::Synthetic => Some(&synthetic::SECOND),
            Self::Synthetic1 => Some(&synthetic::FIRST),
            Self::Rows | Self::Svamp => None,
        }
    }
}

/// One file or several.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "OneOrMany")]
pub(super) struct Files(pub(super) Vec<String>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "give the name of a file, or a list of such names")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Files {
    fn from(files: OneOrMany) -> Self {
        match files {
            OneOrMany::One(file) => Self(vec![file]),
            OneOrMany::Many(files) => Self(files),
        }
    }
}

/// The validation split.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "give a number of training rows to hold out, or the names of files")]
pub(super) enum Validation {
    /// So many training rows are held out.
    Rows(usize),
    /// Files of their own.
    Files(Files),
}

/// Which fields of a row are meant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Fields {
    pub(super) question: FieldText,
    pub(super) solution: Option<FieldText>,
    /// Without it, the answer is read from the solution as from a completion.
    pub(super) answer: Option<FieldText>,
    pub(super) id: Option<FieldText>,
}

impl Default for Fields {
    fn default() -> Self {
        Self { question: FieldText::Path("question".to_owned()), solution: None, answer: None, id: None }
    }
}

/// A text made of a row.
#[derive(Clone, Debug)]
pub(super) enum FieldText {
    /// The value of a field; points lead into objects and lists, as in `extra.answers.0`.
    Path(String),
    /// A template over the fields of the row.
    Template(Template),
}

impl FromStr for FieldText {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        ensure!(!text.trim().is_empty(), "give the name of a field");
        Ok(if is_template(text) { Self::Template(Template::parse(text)?) } else { Self::Path(text.to_owned()) })
    }
}

impl<'de> Deserialize<'de> for FieldText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|error| D::Error::custom(format!("template, {error}")))
    }
}

/// What an answer is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerSpec {
    #[serde(default)]
    pub(super) kind: AnswerKind,
    /// Where the gold answer stands in its field: the first group of the last match.
    #[serde(default, deserialize_with = "pattern")]
    pub(super) regex: Option<Regex>,
    /// Where the answer stands in a completion, unless `--answer-format` is given.
    pub(super) format: Option<AnswerFormat>,
    /// For the kind `command`: the shell command that rewards completions.
    pub(super) command: Option<String>,
    /// For the kind `command`: which rewards make a completion correct.
    pub(super) correct_if: Option<String>,
}

/// What a model reads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PromptSpec {
    pub(super) system: Option<String>,
    /// A template over `question`.
    #[serde(default, deserialize_with = "template")]
    pub(super) template: Option<Template>,
    #[serde(default)]
    pub(super) few_shot: Vec<ShotSpec>,
    /// Texts that end a completion.
    #[serde(default)]
    pub(super) stop: Vec<String>,
    pub(super) max_new_tokens: Option<usize>,
    /// Whether a calculator writes the results of `<<…=` in completions.
    #[serde(default)]
    pub(super) calculator: bool,
}

/// A solved question that stands before each question.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShotSpec {
    pub(super) question: String,
    pub(super) solution: String,
}

fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Regex>, D::Error> {
    Regex::new(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

fn template<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Template>, D::Error> {
    let parsed = Template::parse(&String::deserialize(deserializer)?);
    parsed.map(Some).map_err(|error| D::Error::custom(format!("template, {error}")))
}

impl Spec {
    /// Reads a description.
    ///
    /// # Errors
    /// What is malformed, unknown or contradictory, with its line.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let spec: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            anyhow::anyhow!("line {line}: {}", error.message())
        })?;
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<()> {
        if let Some(name) = &self.name {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            ensure!(
                !name.is_empty() && name.chars().all(is_plain) && !name.starts_with('.'),
                "name = {name:?}: give letters, digits, '-', '_' and '.' alone, because folders are named after it"
            );
        }
        if self.data.reader == Reader::Rows {
            ensure!(
                self.fields.solution.is_some()
                    || self.fields.answer.is_some()
                    || self.answer.kind == AnswerKind::Command,
                "[fields] needs `answer`, or `solution` with the answer in it"
            );
            ensure!(!self.data.train.0.is_empty() || !self.data.test.0.is_empty(), "[data] needs `train` or `test`");
        }
        ensure!(
            self.answer.format != Some(AnswerFormat::LastNumber) || self.answer.kind == AnswerKind::Number,
            "[answer] format = \"last-number\" reads numbers alone; the kind is another"
        );
        ensure!(
            (self.answer.kind == AnswerKind::Command) == self.answer.command.is_some(),
            "[answer] kind = \"command\" and command = \"…\" belong together: give both or none"
        );
        ensure!(
            self.answer.correct_if.is_none() || self.answer.command.is_some(),
            "[answer] correct_if belongs to kind = \"command\""
        );
        ensure!(self.prompt.max_new_tokens != Some(0), "[prompt] max_new_tokens = 0: give at least 1");
        ensure!(self.prompt.stop.iter().all(|stop| !stop.is_empty()), "[prompt] stop has an empty text");
        if let Some(template) = &self.prompt.template {
            let question = "QUESTION";
            let text = template.render(&minijinja::context! { question }).context("[prompt] template")?;
            ensure!(text.contains(question), "[prompt] template does not contain {{{{ question }}}}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_in_a_description_is_named_with_its_line() {
        let error = |text: &str| format!("{:#}", Spec::parse(text).unwrap_err());
        let rows = "[data]\ntest = \"a.csv\"\n[fields]\nanswer = \"a\"\n";
        assert!(error("[data]\ntset = \"a\"").contains("unknown field `tset`"));
        assert!(error("[data]\ntset = \"a\"").contains("line 2"));
        assert!(error("[data]\ntest = 5").contains("the name of a file"));
        assert!(error("[data]\ntest = \"a.csv\"").contains("needs `answer`"));
        assert!(error("[data]\n[fields]\nanswer = \"a\"").contains("`train` or `test`"));
        assert!(error(&format!("name = \"a/b\"\n{rows}")).contains("name = \"a/b\""));
        assert!(error(&format!("{rows}[answer]\nkind = \"colour\"")).contains("unknown variant `colour`"));
        assert!(error(&format!("{rows}[answer]\nregex = \"(\"")).contains("unclosed group"));
        assert!(error(&format!("{rows}[answer]\nkind = \"text\"\nformat = \"last-number\"")).contains("numbers alone"));
        for alone in ["kind = \"command\"", "command = \"true\""] {
            assert!(error(&format!("{rows}[answer]\n{alone}")).contains("belong together"));
        }
        assert!(error(&format!("{rows}[answer]\ncorrect_if = \"> 0\"")).contains("belongs to kind"));
        assert!(error(&format!("{rows}[prompt]\nstop = [\"\"]")).contains("empty"));
        let bad_template = error(&format!("{rows}[prompt]\ntemplate = \"\"\"\nQ:\n{{{{ question \"\"\""));
        assert!(bad_template.contains("template, line 2, column"), "{bad_template}");
        assert!(error(&format!("{rows}[prompt]\ntemplate = \"{{{{ problem }}}}\"")).contains("undefined value"));
        assert!(error(&format!("{rows}[prompt]\ntemplate = \"Solve.\"")).contains("does not contain {{ question }}"));
        assert!(Spec::parse(rows).is_ok());
    }
}
