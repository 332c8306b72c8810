//! The settings of generation and its results.

use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// How to sample.
#[derive(Clone, Debug)]
pub struct GenerateConfig {
    /// Most tokens to write after the prompt, the end-of-sequence token included.
    pub max_new_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// What ends a row once it has been written: end-of-sequence tokens, each alone, or longer sequences.
    pub stops: Vec<Vec<u32>>,
    /// What a row reads beside its prompt, while it writes.
    pub forced: Option<Forced>,
    /// Most rows that are written together. Changes speed and memory, not the random numbers.
    pub rows: usize,
    /// Such batches worked on at once.
    pub threads: usize,
}

/// Tokens that a row reads after some of those that it writes. They are no part of the completion, and need room in the context.
#[derive(Clone, Debug)]
pub struct Forced {
    /// The ids after which they are read, where the row is not over by it.
    pub after: HashSet<u32>,
    /// What is read.
    pub tokens: Vec<u32>,
}

/// One sample of one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// What was written, the sequence that ended it included where there is one.
    pub tokens: Vec<u32>,
    /// Natural log-probability of each token under the full distribution at temperature 1.
    pub log_probs: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model wrote one of the sequences that end a row.
    Stop,
    /// `max_new_tokens` were written, or the model's context was full.
    Length,
}

/// What the work consisted of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenerateStats {
    /// Tokens of prompts that were read, each prompt once for all its samples in a stream, padding not counted; and forced tokens.
    pub prompt_tokens: usize,
    /// Tokens that were written.
    pub new_tokens: usize,
    /// Positions that were computed and belong to no row: padding of prompts, and rows that had ended.
    pub padding_tokens: usize,
}
