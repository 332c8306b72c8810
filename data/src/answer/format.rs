//! Where in a completion its answer stands: the grammars of `--answer-format`. Independent of models.

use std::fmt;
use std::str::FromStr;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::final_part::{final_part, own_part};
use super::kind::{Answer, AnswerKind};
use super::math;
use super::number::Context;
use super::number_claim::{Marker, anywhere, boxed, captured, claim, last_marker, last_number, marked};
use super::plain::OPAQUE;
use crate::rational::Rational;

/// How an answer is read out of a completion. Its text is the value of `--answer-format`.
///
/// All of them read the part of a completion that answers its own question: not what stands in `<think>`, nor what follows a
/// question of its own. A number that something beside it could change is not read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum AnswerFormat {
    /// `####`, else `\boxed{…}`, else the last of "Answer: …", "A: …", "The answer is …"; all within `<answer>…</answer>`
    /// where that is there.
    Auto,
    /// The last `####`, and nothing but its line.
    #[default]
    Gsm8k,
    /// The last `\boxed{…}`.
    Boxed,
    /// The last number, as the flexible extraction of lm-evaluation-harness.
    LastNumber,
    /// The first group, or without groups the whole, of the last match.
    Regex(Regex),
}

/// Whether a completion was written to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It ended by itself.
    Finished,
    /// It was cut off: its last line may lack something, digits of a number too.
    CutOff,
}

impl AnswerFormat {
    /// The answer that a completion claims, if it claims one of this kind.
    pub fn extract(&self, kind: AnswerKind, completion: &str, ending: Ending) -> Option<Answer> {
        let mut text = final_part(completion);
        // The text before a question of its own is finished.
        if ending == Ending::CutOff && own_part(completion).len() == completion.len() {
            text.push(OPAQUE);
        }
        self.read(kind, &text)
    }

    /// The answer of a reference solution, all of which is its own: a line "Question 2: …" ends no reference.
    pub fn extract_from_reference(&self, kind: AnswerKind, solution: &str) -> Option<Answer> {
        self.read(kind, solution)
    }

    fn read(&self, kind: AnswerKind, text: &str) -> Option<Answer> {
        match kind {
            AnswerKind::Number => self.number(text).map(Answer::Number),
            AnswerKind::Math if matches!(self, Self::Auto) => {
                math::extract(text).filter(|answer| !answer.text().contains(OPAQUE)).map(Answer::Math)
            }
            // Code, for example, claims nothing: it is the answer.
            AnswerKind::Command => {
                Answer::parse(kind, self.claimed_text(text).unwrap_or(text).trim_end_matches(OPAQUE))
            }
            _ => Answer::parse(kind, self.claimed_text(text)?),
        }
    }

    /// The number that the final part of a completion claims.
    fn number(&self, text: &str) -> Option<Rational> {
        match self {
            Self::Auto => anywhere(text),
            Self::Gsm8k => match last_marker(text) {
                Marker::Claim(line) => marked(line),
                Marker::Heading | Marker::None => None,
            },
            Self::Boxed => boxed(text),
            Self::LastNumber => last_number(text),
            Self::Regex(pattern) => claim(captured(pattern, text)?, Context::Prose),
        }
    }
}

impl fmt::Display for AnswerFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Gsm8k => formatter.write_str("gsm8k"),
            Self::Boxed => formatter.write_str("boxed"),
            Self::LastNumber => formatter.write_str("last-number"),
            Self::Regex(pattern) => write!(formatter, "regex:{pattern}"),
        }
    }
}

impl FromStr for AnswerFormat {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        Ok(match text {
            "auto" => Self::Auto,
            "gsm8k" => Self::Gsm8k,
            "boxed" => Self::Boxed,
            "last-number" => Self::LastNumber,
            _ => match text.strip_prefix("regex:") {
                Some(pattern) => Self::Regex(Regex::new(pattern).map_err(|error| {
                    // Its last line has the reason; those before show the place.
                    let reason = error.to_string();
                    let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
                    anyhow::anyhow!("{pattern:?} is not a regular expression: {reason}")
                })?),
                None => anyhow::bail!("give auto, gsm8k, boxed, last-number or regex:PATTERN"),
            },
        })
    }
}

impl TryFrom<String> for AnswerFormat {
    type Error = anyhow::Error;

    fn try_from(text: String) -> anyhow::Result<Self> {
        text.parse()
    }
}

impl From<AnswerFormat> for String {
    fn from(format: AnswerFormat) -> String {
        format.to_string()
    }
}

impl PartialEq for AnswerFormat {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for AnswerFormat {}

#[cfg(test)]
pub(super) mod tests;
