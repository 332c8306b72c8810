//! How positions are rotated, as configurations of transformers 4 and 5 state it.

use serde::{Deserialize, Serialize};

/// How positions are rotated, in the form of transformers 5.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RopeParameters {
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// What is done to the frequencies.
    #[serde(flatten)]
    pub scaling: RopeScaling,
}

/// What is done to the rotary frequencies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RopeScaling {
    /// `default`, which is nothing, or `llama3`.
    #[serde(default = "default_rope_type")]
    pub rope_type: String,
    /// An older name of the same; some files have both.
    #[serde(default, rename = "type", skip_serializing)]
    pub older_type: Option<String>,
    /// The numbers of `llama3`.
    #[serde(flatten)]
    pub llama3: Option<Llama3Scaling>,
    /// Share of a head that is rotated, where transformers 5 writes it.
    #[serde(default, skip_serializing)]
    pub partial_rotary_factor: Option<f64>,
}

/// Slower rotation of the pairs whose period is long beside the context that a model was first trained on (Llama 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Llama3Scaling {
    /// How much slower the slowest become.
    pub factor: f64,
    /// Periods beyond the original context over this one are slowed by all of `factor`.
    pub low_freq_factor: f64,
    /// Periods within the original context over this one stay as they are.
    pub high_freq_factor: f64,
    /// Tokens.
    pub original_max_position_embeddings: usize,
}

impl Llama3Scaling {
    /// What the period of a pair is multiplied by (transformers, `_compute_llama3_parameters`).
    pub(crate) fn stretch(&self, period: f64) -> f64 {
        let wavelength = 2.0 * std::f64::consts::PI * period;
        let turns = self.original_max_position_embeddings as f64 / wavelength;
        let unchanged = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor);
        let unchanged = unchanged.clamp(0.0, 1.0);
        1.0 / ((1.0 - unchanged) / self.factor + unchanged)
    }
}

fn default_rope_type() -> String {
    "default".into()
}
