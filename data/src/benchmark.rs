//! A set of problems: built in, or described by a file. The built-in ones are files of the same form, in `data/benchmarks/`. Independent of
//! tokens and models.

mod held_out;
mod problems;
mod rows;
mod spec;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde::{Serialize, Serializer};

use crate::answer::{AnswerFormat, AnswerKind};
use crate::prompt_format::{PromptFormat, PromptSettings};
use crate::prompt_style::PromptStyle;
use crate::text::read_text;
use crate::{DataOptions, Problem, Split, synthetic};
use spec::{AnswerSpec, DataSpec, FieldText, Fields, Files, PromptSpec, Spec};

/// The built-in benchmarks: name and description.
const BUILT_IN: [(&str, &str); 4] = [
    ("synthetic", include_str!("../benchmarks/synthetic.toml")),
    ("synthetic-1", include_str!("../benchmarks/synthetic-1.toml")),
    ("gsm8k", include_str!("../benchmarks/gsm8k.toml")),
    ("svamp", include_str!("../benchmarks/svamp.toml")),
];

/// Tokens of a completion at most, where neither a flag nor the benchmark says it.
const MAX_NEW_TOKENS: usize = 256;

/// A set of problems.
#[derive(Clone, Debug)]
pub struct Benchmark {
    /// As the flag names it: a built-in name, or the path of a file.
    argument: String,
    name: String,
    /// The folder that relative paths begin in; `None` for a built-in benchmark, whose files lie in the data folder.
    folder: Option<PathBuf>,
    /// The text of the description.
    text: String,
    spec: Arc<Spec>,
}

/// A benchmark without a description: files and the names of their fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlainFiles {
    /// Training rows.
    pub train: Option<String>,
    /// Test rows.
    pub test: Option<String>,
    /// Field or template of the question.
    pub question: String,
    /// Field or template of the answer.
    pub answer: String,
    /// Field or template of the solution.
    pub solution: Option<String>,
    /// What the answers are.
    pub kind: AnswerKind,
}

/// The command of a description that decides which completions are correct.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnswerCommand<'a> {
    /// For the shell.
    pub command: &'a str,
    /// The folder of the description, in which it runs.
    pub folder: &'a Path,
    /// Which rewards make a completion correct, as in `>= 0.5`, where the description says it.
    pub correct_if: Option<&'a str>,
}

impl Benchmark {
    /// The names of the built-in benchmarks.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.into_iter().map(|(name, _)| name)
    }

    /// The embedded word problems: no download.
    pub fn synthetic() -> Self {
        Self::built_in("synthetic").expect("it is built in")
    }

    /// Grade-school mathematics, 7,473 problems to train on and 1,319 to test.
    pub fn gsm8k() -> Self {
        Self::built_in("gsm8k").expect("it is built in")
    }

    /// One-step and two-step arithmetic: 1,000 test problems, MAWPS and ASDiv-A to train on.
    pub fn svamp() -> Self {
        Self::built_in("svamp").expect("it is built in")
    }

    fn built_in(name: &str) -> Option<Self> {
        let (name, text) = BUILT_IN.into_iter().find(|(known, _)| *known == name)?;
        let spec = Spec::parse(text).expect("the tests read every built-in description");
        Some(Self { argument: name.into(), name: name.into(), folder: None, text: text.into(), spec: Arc::new(spec) })
    }

    /// Reads a description.
    ///
    /// # Errors
    /// A missing file, a malformed description, with its line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        let spec = Spec::parse(&text).with_context(|| path.display().to_string())?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = spec.name.clone().unwrap_or_else(|| plain_name(&stem));
        ensure!(
            !Self::names().any(|known| known == name),
            "{}: the name {name} is that of a built-in benchmark: give another with `name = \"…\"`",
            path.display()
        );
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self { argument: path.display().to_string(), name, folder: Some(folder), text, spec: Arc::new(spec) })
    }

    /// The benchmark of files without a description; its name is that of the training file, or else of the test file.
    ///
    /// # Errors
    /// No file; a malformed template.
    pub fn of_files(files: &PlainFiles) -> Result<Self> {
        let of = |file: &Option<String>| Files(file.iter().cloned().collect());
        let named = files.train.as_ref().or(files.test.as_ref()).context("give --train or --test")?;
        let field = |flag: &str, text: &str| text.parse::<FieldText>().with_context(|| format!("--{flag} {text}"));
        let stem = named.rsplit('/').next().unwrap_or(named).split('.').next().unwrap_or(named);
        let spec = Spec {
            name: None,
            data: DataSpec { train: of(&files.train), test: of(&files.test), ..DataSpec::default() },
            fields: Fields {
                question: field("question-field", &files.question)?,
                solution: files.solution.as_deref().map(|text| field("solution-field", text)).transpose()?,
                answer: Some(field("answer-field", &files.answer)?),
                id: None,
            },
            answer: AnswerSpec { kind: files.kind, ..AnswerSpec::default() },
            prompt: PromptSpec::default(),
        };
        let name = plain_name(stem);
        let name = if Self::names().any(|known| known == name) { format!("{name}-file") } else { name };
        let text = format!("{files:?}");
        Ok(Self { argument: String::new(), name, folder: Some(PathBuf::new()), text, spec: Arc::new(spec) })
    }

    /// Its name in reports and run directories.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What generates it, where it is embedded: such a benchmark has a corpus for base models and a split of unseen
    /// combinations.
    pub fn generator(&self) -> Option<&'static synthetic::Version> {
        self.spec.data.reader.generator()
    }

    /// Whether it is embedded, see [`Benchmark::generator`].
    pub fn is_synthetic(&self) -> bool {
        self.generator().is_some()
    }

    /// Whether it is made of files without a description.
    pub fn is_of_files(&self) -> bool {
        self.argument.is_empty()
    }

    /// Whether its description is part of the program.
    pub fn is_built_in(&self) -> bool {
        self.folder.is_none()
    }

    /// The text of its description, or of the flags that stand for one; `None` of a built-in benchmark.
    pub fn description(&self) -> Option<&str> {
        (!self.is_built_in()).then_some(&self.text)
    }

    /// What its answers are.
    pub fn answer_kind(&self) -> AnswerKind {
        self.spec.answer.kind
    }

    /// The command that decides which completions are correct; `None` where answers are compared.
    pub fn answer_command(&self) -> Option<AnswerCommand<'_>> {
        let AnswerSpec { command, correct_if, .. } = &self.spec.answer;
        let folder = self.folder.as_deref().unwrap_or(Path::new(""));
        command.as_deref().map(|command| AnswerCommand { command, folder, correct_if: correct_if.as_deref() })
    }

    /// Where the answer stands in a completion, unless a flag says it.
    pub fn answer_format(&self, style: PromptStyle) -> AnswerFormat {
        self.spec.answer.format.clone().unwrap_or(match (self.spec.answer.kind, style) {
            (AnswerKind::Number | AnswerKind::Choice | AnswerKind::Text, PromptStyle::Plain) => AnswerFormat::Gsm8k,
            (AnswerKind::Math | AnswerKind::Command, PromptStyle::Plain) | (_, PromptStyle::Chat) => AnswerFormat::Auto,
        })
    }

    /// Where the answer stands in completions from elsewhere, unless a flag says it.
    pub fn foreign_answer_format(&self) -> AnswerFormat {
        self.spec.answer.format.clone().unwrap_or(AnswerFormat::Auto)
    }

    /// Tokens of a completion at most, unless a flag says it.
    pub fn max_new_tokens(&self) -> usize {
        self.spec.prompt.max_new_tokens.unwrap_or(MAX_NEW_TOKENS)
    }

    /// Whether a calculator writes the results of `<<…=` in completions, where no flag says it.
    pub fn calculator(&self) -> bool {
        self.spec.prompt.calculator
    }

    /// How its questions are put to a model.
    pub fn prompt_format(&self, style: PromptStyle) -> PromptFormat {
        let prompt = &self.spec.prompt;
        let few_shot = prompt.few_shot.iter().map(|shot| (shot.question.clone(), shot.solution.clone()));
        PromptFormat::new(
            style,
            self.spec.answer.kind,
            PromptSettings {
                system: prompt.system.clone(),
                template: prompt.template.clone(),
                few_shot: few_shot.collect(),
                stops: prompt.stop.clone(),
            },
        )
    }

    /// The files of its splits, where they are files of this machine.
    pub fn files(&self, options: &DataOptions) -> Vec<PathBuf> {
        problems::files(self, options)
    }

    /// The splits that it has.
    pub fn splits(&self) -> Vec<Split> {
        problems::splits(self)
    }

    /// The rows behind a split that are no problems, each with its place and the reason; of `train`, those of the whole training file.
    ///
    /// # Errors
    /// A file that cannot be read at all.
    pub fn unreadable(&self, split: Split, options: &DataOptions) -> Result<Vec<anyhow::Error>> {
        problems::unreadable(self, split, options)
    }

    /// Loads one split, in the order of the files.
    ///
    /// The validation split is held out of the training rows, unless it has files of its own: as many rows as the description says, or a tenth
    /// where that is fewer or nothing is said.
    ///
    /// # Errors
    /// A missing file or split; a row that is no problem, by its place.
    pub fn load(&self, split: Split, options: &DataOptions) -> Result<Vec<Problem>> {
        problems::load(self, split, options)
    }
}

impl Benchmark {
    /// Solved problems to show before a question: the last of the validation split, because evaluations during training take the first.
    ///
    /// # Errors
    /// As [`Benchmark::load`]; or if there are not as many.
    pub fn shots(&self, count: usize, options: &DataOptions) -> Result<Vec<Problem>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut validation = self.load(Split::Validation, options)?;
        ensure!(
            count < validation.len(),
            "{count} shots are too many: the validation split, which they come from, has {} problems",
            validation.len()
        );
        let shots = validation.split_off(validation.len() - count);
        ensure!(
            shots.iter().all(|shot| !shot.solution.is_empty()),
            "--shots {count}: the problems of {self} have no solutions to show"
        );
        Ok(shots)
    }
}

/// A name that can be that of a folder.
fn plain_name(text: &str) -> String {
    let name: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' }).collect();
    if name.is_empty() { "problems".to_owned() } else { name }
}

impl FromStr for Benchmark {
    type Err = anyhow::Error;

    /// A built-in name, or the path of a description.
    fn from_str(text: &str) -> Result<Self> {
        if let Some(benchmark) = Self::built_in(text) {
            return Ok(benchmark);
        }
        if !text.ends_with(".toml") {
            let names = Self::names().collect::<Vec<_>>().join(", ");
            bail!("give {names}, or the path of a description FILE.toml");
        }
        // What reads flags shows an error without its causes.
        Self::read(Path::new(text)).map_err(|error| anyhow::anyhow!("{error:#}"))
    }
}

impl fmt::Display for Benchmark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl PartialEq for Benchmark {
    fn eq(&self, other: &Self) -> bool {
        (&self.argument, &self.text) == (&other.argument, &other.text)
    }
}

/// As the flag names it.
impl Serialize for Benchmark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.argument)
    }
}

#[cfg(test)]
mod tests;
