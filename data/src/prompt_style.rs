//! Format of the prompt. Independent of tokenizers.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Format of the prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptStyle {
    /// `Question: …`, a new line, `Answer:`.
    #[default]
    Plain,
    /// A user message in the tokenizer's chat template.
    Chat,
}
