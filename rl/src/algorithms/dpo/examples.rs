//! What a policy learns from: pairs, and for KTO completions. Independent of models.

use crate::{
    objective::preference::PreferenceLoss,
    sampling::labelled::{self, LabelledCompletion},
    sampling::pairs::{MadePairs, Pair, PairArgs, make_pairs},
    sampling::samples::check_differ,
};
use anyhow::Result;
use eval::Sample;
use std::{collections::BTreeSet, path::Path};

/// What a policy learns from.
pub(super) struct PreferenceData {
    /// Pairs to train on, or with KTO to measure alone.
    pub(super) pairs: MadePairs,
    /// Completions to train on with KTO; without it none.
    pub(super) completions: Vec<LabelledCompletion>,
}

impl PreferenceData {
    /// That of samples.
    ///
    /// # Errors
    /// Samples without a pair, for KTO of one kind only; samples without the reward or score that is asked for.
    pub(super) fn of_samples(samples: &[Sample], making: &PairArgs, loss: PreferenceLoss, seed: u64) -> Result<Self> {
        let pairs = make_pairs(samples, making, seed)?;
        let completions = match loss.is_of_pairs() {
            true => {
                pairs.check()?;
                Vec::new()
            }
            false => {
                check_differ(samples)?;
                labelled::of_samples(samples)
            }
        };
        Ok(Self { pairs, completions })
    }

    /// Says how many pairs there are, and writes them into a folder.
    ///
    /// # Errors
    /// Errors of the file system.
    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        tracing::info!("{}", self.pairs.summary());
        self.pairs.write(&dir.join("pairs.jsonl"))
    }

    /// That of a file of pairs.
    pub(super) fn of_pairs(pairs: Vec<Pair>, loss: PreferenceLoss) -> Self {
        let completions = if loss.is_of_pairs() { Vec::new() } else { labelled::of_pairs(&pairs) };
        Self { pairs: MadePairs { pairs, ..MadePairs::default() }, completions }
    }

    /// The questions of the training examples.
    pub(super) fn questions(&self) -> BTreeSet<&str> {
        let of_pairs = self.pairs.pairs.iter().map(|pair| pair.question.as_str());
        of_pairs.chain(self.completions.iter().map(|completion| completion.question.as_str())).collect()
    }
}
