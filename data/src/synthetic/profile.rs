//! What drafts are drawn for: the benchmark, its unseen part, or the pretraining corpus.

use super::settings::{
    CORPUS_MAGNITUDE_WEIGHTS, CORPUS_STEP_WEIGHTS, DISTRACTOR_PERCENT, MAGNITUDE_WEIGHTS, SCENARIO_PERCENTS,
    STEP_WEIGHTS,
};

/// What drafts are drawn for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profile {
    pub(super) step_weights: [u32; 5],
    pub(super) scenario_percents: [u32; 5],
    pub(super) distractor_percent: u32,
    /// Relative frequency of drafts with small, middle and large numbers.
    pub(super) magnitude_weights: [u32; 3],
    /// Percentage of the drafts with a wrong solution.
    pub(super) wrong_percent: u32,
}

impl Profile {
    /// The problems of the benchmark: all solutions are right.
    pub(super) fn benchmark() -> Profile {
        Profile {
            step_weights: STEP_WEIGHTS,
            scenario_percents: SCENARIO_PERCENTS,
            distractor_percent: DISTRACTOR_PERCENT,
            magnitude_weights: MAGNITUDE_WEIGHTS,
            wrong_percent: 0,
        }
    }

    /// The problems with a held-out pair of kinds: chains of two lines and more.
    pub(super) fn unseen() -> Profile {
        let mut profile = Profile { scenario_percents: [0; 5], ..Profile::benchmark() };
        profile.step_weights[0] = 0;
        profile
    }

    /// The problems of the corpus: shorter, and with the given share of wrong solutions.
    pub(super) fn corpus(wrong_percent: u32) -> Profile {
        Profile {
            step_weights: CORPUS_STEP_WEIGHTS,
            magnitude_weights: CORPUS_MAGNITUDE_WEIGHTS,
            wrong_percent,
            ..Profile::benchmark()
        }
    }
}
