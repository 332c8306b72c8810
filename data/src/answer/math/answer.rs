//! An answer and its four readings: as written, as a value, as tokens, as words. Independent of where it stood.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::token::Token;
use super::value::{self, Reading};
use super::{canonical, clean, equal, reader};

/// The longest answer that is read, in bytes; longer ones equal only themselves.
const MAX_LENGTH: usize = 1000;

/// A mathematical answer: as written, and as read.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MathAnswer {
    text: String,
    /// What it means, where it is understood.
    pub(super) reading: Option<Reading>,
    /// Its tokens, so that what is not understood equals itself however it is spaced.
    canonical: String,
    /// Its letters and digits, where it is made of words.
    words: Option<String>,
    /// Whether words stand in it that are no formula: then letters count without their case.
    is_text: bool,
}

impl MathAnswer {
    /// An answer without prose around it, such as the inside of `\boxed{…}`; `None` of an empty text.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let cleaned = if text.len() <= MAX_LENGTH { clean::clean(text) } else { String::new() };
        let tokens = reader::tokens(&cleaned).unwrap_or_default();
        if text.is_empty() {
            return None;
        }
        let canonical = if tokens.is_empty() { text.to_owned() } else { canonical::canonical(&tokens) };
        let is_text = tokens.iter().any(|token| matches!(token, Token::Text(_)));
        Some(Self { text: text.to_owned(), reading: value::read(&tokens), canonical, words: spelled(&tokens), is_text })
    }

    /// The answer as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether two answers are equal as mathematics; symmetric.
    pub fn equals(&self, other: &Self) -> bool {
        if self.canonical == other.canonical {
            return true;
        }
        if let (Some(one), Some(other)) = (&self.reading, &other.reading) {
            if have_other_units(one, other) {
                return false;
            }
            if equal::equal(&one.value, &other.value) {
                return true;
            }
        }
        (self.is_text || other.is_text) && self.words.is_some() && self.words == other.words
    }

    /// Whether it is understood as more than a row of signs.
    pub fn is_understood(&self) -> bool {
        self.reading.is_some() || self.is_text && self.words.is_some()
    }
}

/// Whether both have a unit that is known, and not the same.
fn have_other_units(one: &Reading, other: &Reading) -> bool {
    match (&one.unit, &other.unit) {
        (Some(one), Some(other)) => one != other && !one.contains('?') && !other.contains('?'),
        _ => false,
    }
}

/// The letters and digits of a text that holds nothing else but space and punctuation.
fn spelled(tokens: &[Token]) -> Option<String> {
    let mut words = String::new();
    for token in tokens {
        match token {
            Token::Text(text) | Token::Unit(text) => {
                words.extend(text.chars().filter(|c| c.is_alphanumeric() || *c == ':').flat_map(char::to_lowercase));
            }
            Token::Symbol(name) if name.len() == 1 => words.push_str(&name.to_lowercase()),
            Token::E => words.push('e'),
            Token::I => words.push('i'),
            Token::Number(number) => words.push_str(&number.digits),
            Token::Colon => words.push(':'),
            Token::Unknown(mark) if matches!(mark.as_str(), "." | "?" | "\"" | "`") => {}
            Token::Space
            | Token::Comma
            | Token::Open('(')
            | Token::Close(')')
            | Token::GroupOpen
            | Token::GroupClose => {}
            _ => return None,
        }
    }
    words.chars().any(char::is_alphabetic).then_some(words)
}

impl PartialEq for MathAnswer {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}

impl fmt::Display for MathAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl From<MathAnswer> for String {
    fn from(answer: MathAnswer) -> String {
        answer.text
    }
}

impl TryFrom<String> for MathAnswer {
    type Error = anyhow::Error;

    fn try_from(text: String) -> anyhow::Result<Self> {
        Self::parse(&text).ok_or_else(|| anyhow::anyhow!("an answer is not empty"))
    }
}
