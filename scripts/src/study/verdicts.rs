//! What `study.toml` says of how verdicts come about: looks, margins, and which runs are comparable.

use super::claim::MeasureName;
use anyhow::{Result, ensure};
use serde::Deserialize;

/// How verdicts come about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdicts {
    /// How often the interval of a comparison misses at any of its looks: α.
    pub alpha: f64,
    /// After how many seeds a verdict is made; the last number ends the study.
    pub looks: Vec<usize>,
    /// The smallest effect that matters, as a share of questions.
    pub smallest: f64,
    /// What passes for no difference, as a share of questions.
    pub close: f64,
    /// Two numbers of samples are similar within this factor.
    pub similar: f64,
    /// Samples that are not many.
    pub samples: f64,
}

/// Runs whose measures vary alike with the seed: the seeds' variance is pooled over them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparable {
    /// Of which measures.
    pub measures: Vec<MeasureName>,
    /// Their names.
    pub runs: Vec<String>,
}

impl Verdicts {
    /// # Errors
    /// A number out of its range, looks that do not rise.
    pub fn check(&self) -> Result<()> {
        let Self { alpha, looks, smallest, close, similar, samples } = self;
        ensure!(*alpha > 0.0 && *alpha < 1.0, "alpha is {alpha}, and not between 0 and 1");
        let do_rise = looks.is_sorted_by(|a, b| a < b) && looks.first().is_some_and(|&first| first > 1);
        ensure!(do_rise, "looks are {looks:?}, and not rising numbers of seeds, two at least");
        let are_positive = *smallest > 0.0 && *close > 0.0 && *similar > 1.0 && *samples > 0.0;
        ensure!(are_positive, "a margin of the verdicts is not above zero, or `similar` not above 1");
        Ok(())
    }
}
