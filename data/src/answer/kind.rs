//! The kinds of answers, and when two answers are equal. Independent of where an answer stands in a completion.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

use anyhow::{Context, Result};
use clap::ValueEnum;
use regex::Regex;
use serde::{Deserialize, Serialize, Serializer};

use super::math::{self, MathAnswer};
use crate::rational::Rational;

/// What answers of a benchmark are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerKind {
    /// A number, compared as an exact rational.
    #[default]
    Number,
    /// A mathematical expression, set, interval … in LaTeX or plain, compared as mathematics.
    Math,
    /// The letter of one of several choices.
    Choice,
    /// A text, compared without case, punctuation, articles and repeated white space.
    Text,
    /// Whatever the command of the benchmark's description accepts; it needs a description.
    #[value(skip)]
    Command,
}

/// The answer of a problem or of a completion.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Of kind [`AnswerKind::Number`].
    Number(Rational),
    /// Of kind [`AnswerKind::Math`].
    Math(MathAnswer),
    /// Of kind [`AnswerKind::Choice`]: a capital letter.
    Choice(char),
    /// Of kind [`AnswerKind::Text`], as written.
    Text(String),
    /// Of kind [`AnswerKind::Command`]: the gold answer as the command receives it, or what a completion claims.
    Command(String),
}

impl AnswerKind {
    /// Whether it is the default kind, which files leave out.
    pub fn is_number(&self) -> bool {
        *self == Self::Number
    }
}

impl Answer {
    /// A whole number.
    pub fn from_integer(value: i64) -> Self {
        Self::Number(Rational::from_integer(value))
    }

    /// Reads an answer that stands alone, as in a data set: no sentence around it.
    pub fn parse(kind: AnswerKind, text: &str) -> Option<Self> {
        match kind {
            AnswerKind::Number => Rational::parse_number(text).map(Self::Number),
            AnswerKind::Math => math::parse_claim(text).map(Self::Math),
            AnswerKind::Choice => letter(text).map(Self::Choice),
            AnswerKind::Text => (!normalised(text).is_empty()).then(|| Self::Text(text.trim().to_owned())),
            AnswerKind::Command => Some(Self::Command(text.trim().to_owned())),
        }
    }

    /// As [`Answer::parse`], of a gold answer.
    ///
    /// # Errors
    /// A text that is no answer of the kind.
    pub fn parse_gold(kind: AnswerKind, text: &str) -> Result<Self> {
        Self::parse(kind, text).with_context(|| {
            let what = match kind {
                AnswerKind::Number => "one number",
                AnswerKind::Math => "a mathematical answer",
                AnswerKind::Choice => "the letter of one choice",
                AnswerKind::Text => "a text with letters or digits",
                AnswerKind::Command => unreachable!("every text is one"),
            };
            format!("the answer {text:?} is not {what}")
        })
    }

    /// What it is.
    pub fn kind(&self) -> AnswerKind {
        match self {
            Self::Number(_) => AnswerKind::Number,
            Self::Math(_) => AnswerKind::Math,
            Self::Choice(_) => AnswerKind::Choice,
            Self::Text(_) => AnswerKind::Text,
            Self::Command(_) => AnswerKind::Command,
        }
    }

    /// Whether two answers are the same answer. Answers of different kinds are not. Of kind [`AnswerKind::Command`] the same text is: whether
    /// an answer is right, the command decides.
    pub fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => one == other,
            (Self::Math(one), Self::Math(other)) => one.equals(other),
            (Self::Choice(one), Self::Choice(other)) => one == other,
            (Self::Text(one), Self::Text(other)) => one == other || normalised(one) == normalised(other),
            (Self::Command(one), Self::Command(other)) => one == other,
            _ => false,
        }
    }

    /// As it is written, as a key: answers that are written alike are equal, but equal answers may be written differently.
    pub fn as_written(&self) -> AsWritten<'_> {
        AsWritten(self)
    }
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(formatter),
            Self::Math(answer) => answer.fmt(formatter),
            Self::Choice(letter) => letter.fmt(formatter),
            Self::Text(text) | Self::Command(text) => formatter.write_str(text),
        }
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An answer as a key of a map, see [`Answer::as_written`].
#[derive(Clone, Copy, Debug)]
pub struct AsWritten<'a>(&'a Answer);

impl PartialEq for AsWritten<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Answer::Number(one), Answer::Number(other)) => one == other,
            (Answer::Math(one), Answer::Math(other)) => one.text() == other.text(),
            (Answer::Choice(one), Answer::Choice(other)) => one == other,
            (Answer::Text(one), Answer::Text(other)) | (Answer::Command(one), Answer::Command(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for AsWritten<'_> {}

impl Hash for AsWritten<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0 {
            Answer::Number(number) => number.hash(state),
            Answer::Math(answer) => answer.text().hash(state),
            Answer::Choice(letter) => letter.hash(state),
            Answer::Text(text) | Answer::Command(text) => text.hash(state),
        }
    }
}

/// The letter of a choice: `B`, `(b)`, `B. Paris`, `**B)** Paris`, `Option B`, `\text{(B)}`. `None` where a word begins instead ("A dog"), and
/// where several letters are named ("A or C").
fn letter(text: &str) -> Option<char> {
    static WRAPPED: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\\(?:text|textbf|mathbf|mathrm|boxed|fbox)\s*\{|[{}$*_`]|\\[()\[\]]").expect("a fixed pattern")
    });
    static CHOICE: LazyLock<Regex> = LazyLock::new(|| {
        let names = "option|choice|answer|letter";
        Regex::new(&format!(
            r"^\s*(?:(?i:{names})\s*:?\s*)?(?:[(\[]\s*(\p{{L}})\s*[)\]]|(\p{{L}})(?:[).:,;\]]|\s*$))(.*)$"
        ))
        .expect("a fixed pattern")
    });
    static ANOTHER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^\W*(?:(?:and|or)\s+)?[(\[]?[A-Z](?:[)\].:,;]|\s*$)").expect("a fixed pattern"));
    let plain = WRAPPED.replace_all(text, "");
    let line = plain.trim().lines().next()?;
    let found = CHOICE.captures(line)?;
    let letter = found.get(1).or_else(|| found.get(2))?.as_str().chars().next()?.to_ascii_uppercase();
    let names_another = ANOTHER.is_match(found.get(3).map_or("", |rest| rest.as_str()));
    (letter.is_ascii_uppercase() && !names_another).then_some(letter)
}

/// A text as SQuAD's evaluation compares it (Rajpurkar et al. 2016, arXiv 1606.05250): lower case, without punctuation, without the
/// articles a, an and the, words joined by single spaces.
fn normalised(text: &str) -> String {
    let lower: String = text
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || c.is_whitespace() || is_mathematical(*c))
        .collect();
    let words = lower.split_whitespace().filter(|word| !["a", "an", "the"].contains(word)).collect::<Vec<_>>();
    // A text of articles alone, as the choice "A", is itself.
    if words.is_empty() { lower.split_whitespace().collect::<Vec<_>>().join(" ") } else { words.join(" ") }
}

/// Characters that SQuAD's evaluation keeps as well, because it removes ASCII punctuation alone.
fn is_mathematical(c: char) -> bool {
    !c.is_ascii() && !"«»“”‘’„‚…–—·。，、！？：；（）「」『』".contains(c) && !c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_in_every_usual_spelling_and_a_word_is_none() {
        for text in [
            "B",
            "b",
            "(B)",
            "B.",
            "B) Paris",
            "B: Paris",
            "**B**",
            "Option B",
            "\\text{(B)}",
            "$\\textbf{B}$",
            "answer: B",
            "[B]",
        ] {
            assert_eq!(Answer::parse(AnswerKind::Choice, text), Some(Answer::Choice('B')), "{text}");
        }
        for text in ["", "A dog", "Paris", "A or B", "(A), (C)", "A, B", "12", "I think so", "none"] {
            assert_eq!(Answer::parse(AnswerKind::Choice, text), None, "{text}");
        }
    }

    #[test]
    fn texts_are_equal_up_to_case_punctuation_and_articles() {
        let text = |text: &str| Answer::parse(AnswerKind::Text, text).unwrap();
        assert_eq!(text("The  Eiffel tower."), text("eiffel tower"));
        assert_eq!(text("\"Réunion\""), text("réunion"));
        assert_ne!(text("tower"), text("towers"));
        assert_ne!(text("a"), text("b"));
        assert_eq!(text("the"), text("The!"));
        assert_eq!(Answer::parse(AnswerKind::Text, " ?! "), None);
    }

    #[test]
    fn answers_of_different_kinds_are_different_answers() {
        let four = |kind| Answer::parse(kind, "4").unwrap();
        assert_ne!(four(AnswerKind::Number), four(AnswerKind::Text));
        assert_eq!(four(AnswerKind::Text).as_written(), four(AnswerKind::Text).as_written());
    }

    #[test]
    fn a_gold_answer_that_is_none_of_its_kind_is_named() {
        let error = |kind, text| Answer::parse_gold(kind, text).unwrap_err().to_string();
        assert_eq!(error(AnswerKind::Number, "3 or 4"), "the answer \"3 or 4\" is not one number");
        assert_eq!(error(AnswerKind::Choice, "Paris"), "the answer \"Paris\" is not the letter of one choice");
    }
}
