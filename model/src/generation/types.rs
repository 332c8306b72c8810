//! The settings of generation and its results.

use serde::{Deserialize, Serialize};
use std::{fmt, ops::Range, sync::Arc};

/// How to sample.
#[derive(Clone, Debug)]
pub struct GenerateConfig {
    /// Most tokens to write after the prompt, the end-of-sequence token included.
    pub max_new_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// What ends a row once it has been written: end-of-sequence tokens, each alone, or longer sequences.
    pub stops: Vec<Vec<u32>>,
    /// What a row is given beside its prompt, while it writes.
    pub giver: Option<Giver>,
    /// Most rows that are written together. Changes speed and memory, not the random numbers.
    pub rows: usize,
    /// Streams that the rows are shared among, as many as there are rows at most: so many threads have work. `None`: four, where there are
    /// as many batches. Changes results by rounding alone.
    pub streams: Option<usize>,
    /// Streams worked on at once. Changes no result.
    pub threads: usize,
}

/// Decides which tokens a row is given. It is asked after each token that a row has chosen, from any thread, and sees the completion of
/// that row alone: so what a row is given depends on nothing that is written beside it.
#[derive(Clone)]
pub struct Giver(Arc<GiverFunction>);

type GiverFunction = dyn Fn(&[u32]) -> Option<Given> + Send + Sync;

impl Giver {
    /// `after` of the tokens of a completion, of which the last was just chosen, is what is given next, if anything is.
    pub fn new(after: impl Fn(&[u32]) -> Option<Given> + Send + Sync + 'static) -> Self {
        Self(Arc::new(after))
    }

    /// What is given after the tokens of a completion.
    pub fn after(&self, tokens: &[u32]) -> Option<Given> {
        (self.0)(tokens)
    }
}

impl fmt::Debug for Giver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Giver")
    }
}

/// Tokens that a row is given: it reads them before it chooses again. They need room in the context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// Read, and no part of the completion.
    Hidden(Vec<u32>),
    /// Part of the completion, and of its length.
    Shown(Vec<u32>),
    /// As [`Given::Shown`], in the place of the token that was just chosen, which is taken back. At least one.
    InPlaceOfLast(Vec<u32>),
}

/// One sample of one prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// What was written, the sequence that ended it included where there is one.
    pub tokens: Vec<u32>,
    /// Natural log-probability of each chosen token under the full distribution at temperature 1; given tokens have none. Empty where an
    /// inference server wrote the completion.
    pub log_probs: Vec<f32>,
    /// Natural log-probability with which an inference server chose each chosen token, at the temperature of the sampling; `None` where
    /// this program sampled, or the server gives none at that temperature.
    pub server_log_probs: Option<Vec<f32>>,
    /// Places of the tokens that were given, rising; all others were chosen.
    pub given: Vec<Range<usize>>,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerateStats {
    /// Tokens of prompts that were read, each prompt once for all its samples in a stream, padding not counted; and hidden given tokens.
    pub prompt_tokens: usize,
    /// Tokens of completions, given ones included.
    pub new_tokens: usize,
    /// Positions that were computed and belong to no row: padding of prompts, and rows that had ended.
    pub padding_tokens: usize,
}
