//! A sample: what a policy wrote for a problem, graded; one line of `samples.jsonl`. Independent of how it was drawn.

use crate::{
    external::{Checker, Item, Reward},
    io::parts::gather,
    metrics::Graded,
    models::policy::Policy,
};
use anyhow::Result;
use data::{Answer, AnswerFormat, AnswerKind, Ending, Problem};
use model::{Completion, Finish};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One line of `samples.jsonl`: what a policy wrote, and its grade.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The training step that it was written in; `None` in an evaluation.
    pub step: Option<usize>,
    /// Of the problem.
    pub id: String,
    /// The question.
    pub question: String,
    /// What was written, special tokens left out.
    pub completion: String,
    /// The answer read from it, if there is one.
    pub answer: Option<String>,
    /// What answers to the question are.
    #[serde(default, skip_serializing_if = "AnswerKind::is_number")]
    pub kind: AnswerKind,
    /// The right answer.
    pub expected: String,
    /// What the completion earned in training, or its external reward; `None` in an evaluation without one.
    pub reward: Option<f64>,
    /// Whether the answer is right, or the external reward fulfils the condition of a checker.
    pub correct: bool,
    /// Why it ended.
    pub finish: Finish,
    /// Number of tokens written.
    pub tokens: usize,
    /// Whether it is the greedy one of its problem, beside those that were drawn.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub greedy: bool,
    /// How many bytes at the beginning of the completion were given to the policy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub given: usize,
    /// What the calculator wrote: ranges of bytes of the completion, rising, as `[[14, 18]]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calculated: Vec<[usize; 2]>,
    /// The reward model's score, where there was a reward model: the probability that it is right, or of one that learnt from comparisons a
    /// number that is higher for better samples of a question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// Reads the answer of a completion and compares it.
pub fn grade(policy: &Policy, problem: &Problem, completion: &Completion, format: &AnswerFormat) -> Sample {
    let text = policy.tokenizer.decode(&completion.tokens);
    let kind = problem.answer.kind();
    let answer = format.extract(kind, &text, ending(completion.finish));
    let bytes_before = |token: usize| policy.tokenizer.decode(&completion.tokens[..token]).len();
    Sample {
        step: None,
        id: problem.id.clone(),
        question: problem.question.clone(),
        correct: answer.as_ref() == Some(&problem.answer),
        answer: answer.map(|answer| answer.to_string()),
        kind,
        expected: problem.answer.to_string(),
        completion: text,
        reward: None,
        finish: completion.finish,
        tokens: completion.tokens.len(),
        greedy: false,
        given: 0,
        calculated: completion.given.iter().map(|tokens| [tokens.start, tokens.end].map(bytes_before)).collect(),
        score: None,
    }
}

/// Reads a `samples.jsonl`, of this program or another, or all parts of some sampling by a pattern.
///
/// # Errors
/// As [`gather`].
pub fn read_samples(path: &Path) -> Result<Vec<Sample>> {
    Ok(gather(path, "a sample")?.lines)
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Whether a completion was finished or cut off, for reading its answer.
pub fn ending(finish: Finish) -> Ending {
    match finish {
        Finish::Stop => Ending::Finished,
        Finish::Length => Ending::CutOff,
    }
}

impl Sample {
    /// The same completion graded anew, whatever its grade was.
    pub fn regraded(self, problem: &Problem, format: &AnswerFormat) -> Self {
        let kind = problem.answer.kind();
        let answer = format.extract(kind, &self.completion, ending(self.finish));
        Self {
            correct: answer.as_ref() == Some(&problem.answer),
            answer: answer.map(|answer| answer.to_string()),
            kind,
            expected: problem.answer.to_string(),
            ..self
        }
    }

    /// As it is sent to an external reward.
    pub fn item(&self, problem: &Problem) -> Item {
        Item::new(problem, &self.completion, self.given, Some(self.tokens), self.finish)
    }

    /// Takes the grade of an external reward.
    pub(crate) fn accept(&mut self, checker: &Checker, reward: &Reward) {
        (self.correct, self.reward) = (checker.correct_if.holds(reward), reward.sum());
    }

    /// As a vote for the metrics.
    pub fn graded(&self) -> Graded {
        let parsed = |text: &str| Answer::parse(self.kind, text);
        Graded::of(self.answer.as_deref().and_then(parsed), parsed(&self.expected), self.correct, self.score)
    }
}
