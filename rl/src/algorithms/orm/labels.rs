//! The labels of the step prefixes of solutions: by the outcome, or by fresh completions.

use super::config::StepLabel;
use crate::{
    sampling::prefix::{Counts, PrefixedSample},
    training::batch::Row,
};
use anyhow::Result;
use data::Tokenizer;
use eval::Sample;

/// A solution with a label for each of its step prefixes.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledSolution {
    /// The solution and where its prefixes end.
    pub prefixed: PrefixedSample,
    /// Labels in [0, 1], one per prefix.
    pub labels: Vec<f32>,
    /// Weights in the loss, one per prefix.
    pub weights: Vec<f32>,
    /// Weight of the language-modelling loss of this solution.
    pub language_modelling: f32,
}

impl Row for LabelledSolution {
    fn tokens(&self) -> &[u32] {
        &self.prefixed.example.tokens
    }

    fn prompt_len(&self) -> usize {
        self.prefixed.example.prompt_len
    }

    fn loss_terms(&self) -> usize {
        self.labels.len()
    }
}

/// Every token of a solution as the end of a prefix, with the label of the line that it stands in.
pub(super) fn after_tokens(prefixed: PrefixedSample, labels: &[f32]) -> (PrefixedSample, Vec<f32>) {
    let PrefixedSample { example, ends } = prefixed;
    let last = *ends.last().expect("the whole is a prefix");
    let places: Vec<usize> = (example.prompt_len..=last).collect();
    let labels = places.iter().map(|&place| labels[ends.partition_point(|&end| end < place)]).collect();
    (PrefixedSample { example, ends: places }, labels)
}

pub(super) fn outcome(sample: &Sample) -> f32 {
    f32::from(u8::from(sample.correct))
}

/// Labels by fresh completions; the label of the whole solution is its outcome.
pub(super) fn step_labels(
    sample: &Sample,
    prefixed: &PrefixedSample,
    tokenizer: &Tokenizer,
    counts: &Counts,
    step_label: StepLabel,
) -> Result<Vec<f32>> {
    let of = |counted| match counted {
        Some((right, of)) => step_label.of(right, of),
        None => outcome(sample),
    };
    Ok(prefixed.counted(&sample.id, tokenizer, counts)?.into_iter().map(of).collect())
}

/// Gives correct and wrong labels the same total weight, and keeps the sum of the weights.
pub(super) fn balance_classes(examples: &mut [LabelledSolution]) {
    let count: usize = examples.iter().map(|example| example.labels.len()).sum();
    let right: f32 = examples.iter().flat_map(|example| &example.labels).sum();
    let wrong = count as f32 - right;
    let weight_of = |label: f32| {
        let half = count as f32 / 2.0;
        label * half / right.max(1.0) + (1.0 - label) * half / wrong.max(1.0)
    };
    for example in examples {
        example.weights = example.labels.iter().map(|&label| weight_of(label)).collect();
    }
}
