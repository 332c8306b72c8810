//! The model sizes that have a name.

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// The sizes that have a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelSize {
    /// Width 64, 4 layers, 2 heads, feed-forward 176: 0.2 million parameters with 512 tokens. Stands for the paper's 7B, and
    /// is what commands make where nothing is said.
    #[default]
    Pico,
    /// Width 96, 4 layers, 3 heads, feed-forward 256: 0.5 million parameters.
    Nano,
    /// Width 128, 4 layers, 4 heads, feed-forward 344: 0.9 million parameters. Stands for the paper's 13B.
    Tiny,
    /// Width 192, 6 layers, 6 heads, feed-forward 512: 2.8 million parameters.
    Medium,
    /// Width 384, 6 layers, 6 heads, feed-forward 1024: 10.8 million parameters.
    Small,
}

impl std::str::FromStr for ModelSize {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "pico" => Ok(Self::Pico),
            "nano" => Ok(Self::Nano),
            "tiny" => Ok(Self::Tiny),
            "medium" => Ok(Self::Medium),
            "small" => Ok(Self::Small),
            _ => anyhow::bail!("unknown size {text}; known are pico, nano, tiny, medium, small"),
        }
    }
}

impl std::fmt::Display for ModelSize {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Pico => "pico",
            Self::Nano => "nano",
            Self::Tiny => "tiny",
            Self::Medium => "medium",
            Self::Small => "small",
        })
    }
}
