//! What return-conditioned RL writes into a solution: whether what follows shall be good (Havrilla et al. 2024, section on
//! return-conditioned RL). The labels are inputs, never targets. Independent of policies and rewards.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::prompt::PromptStyle;

/// The quality that a policy is conditioned on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// A solution that leads to the right answer.
    #[default]
    Good,
    /// One that does not.
    Bad,
}

/// Where labels stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conditioning {
    /// Before every line.
    Lines,
    /// Before the whole solution.
    Solutions,
}

impl Goal {
    /// The label before the first line. In the plain style a space stands before it and another before the line, as before
    /// any solution.
    pub fn first_label(self, style: PromptStyle) -> String {
        match style {
            PromptStyle::Plain => format!(" {}", self.text()),
            PromptStyle::Chat => self.label(),
        }
    }

    /// The label before a later line.
    pub fn label(self) -> String {
        format!("{} ", self.text())
    }

    fn text(self) -> &'static str {
        match self {
            Self::Good => "[GOOD]",
            Self::Bad => "[BAD]",
        }
    }
}

/// The lines of a completion, each with the `\n` that ends it: what a label stands before.
pub fn lines(completion: &str) -> impl Iterator<Item = &str> {
    completion.split_inclusive('\n')
}
