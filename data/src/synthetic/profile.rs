//! What drafts are drawn for: the benchmark, its unseen part, or the pretraining corpus.

use super::settings::{LINES_MAX, Settings};

/// What drafts are drawn for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profile {
    pub(super) settings: &'static Settings,
    pub(super) step_weights: [u32; LINES_MAX],
    pub(super) scenario_percents: [u32; LINES_MAX],
    pub(super) distractor_percent: u32,
    /// Percentage of chains with a fact that the question does not need.
    pub(super) spare_percent: u32,
    /// Relative frequency of drafts with small, middle and large numbers.
    pub(super) magnitude_weights: [u32; 3],
    /// Percentage of the drafts with a wrong solution.
    pub(super) wrong_percent: u32,
}

impl Profile {
    /// The problems of the benchmark: all solutions are right.
    pub(super) fn benchmark(settings: &'static Settings) -> Profile {
        Profile {
            settings,
            step_weights: settings.step_weights,
            scenario_percents: settings.scenario_percents,
            distractor_percent: settings.distractor_percent,
            spare_percent: settings.spare_percent,
            magnitude_weights: settings.magnitude_weights,
            wrong_percent: 0,
        }
    }

    /// The problems with a held-out pair of kinds: chains of two lines and more.
    pub(super) fn unseen(settings: &'static Settings) -> Profile {
        let mut profile = Profile { scenario_percents: [0; LINES_MAX], ..Profile::benchmark(settings) };
        profile.step_weights[0] = 0;
        profile
    }

    /// The problems of the corpus: shorter, and with the given share of wrong solutions.
    pub(super) fn corpus(settings: &'static Settings, wrong_percent: u32) -> Profile {
        Profile {
            step_weights: settings.corpus.step_weights,
            magnitude_weights: settings.corpus.magnitude_weights,
            wrong_percent,
            ..Profile::benchmark(settings)
        }
    }
}
