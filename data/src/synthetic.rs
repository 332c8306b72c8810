//! The embedded benchmark: a deterministic generator of grade-school word problems with worked solutions in GSM8K's
//! format, and of the pretraining corpus from which a base model for them is made. Independent of tokens and files.
//!
//! A problem is either a *chain*, a start, some steps and a final question that are drawn from tables of kinds and carry
//! named quantities from one to the next, or a *scenario*, a whole small story. Both are rows of text
//! in one small language (`template`); `plan` draws the kinds, `story` works through their numbers, `draft` finds words for
//! them; `corpus` makes documents of many formats from the same drafts.
//!
//! There are two versions, which share all of that. What differs is data: the tables, weights and sizes of [`Settings`].
//! `second` is the benchmark `synthetic`, `first` is `synthetic-1`.

mod compress;
mod corpus;
mod draft;
mod first;
mod kinds;
mod numbers;
mod plan;
mod profile;
mod random;
mod second;
mod settings;
mod story;
mod template;
#[cfg(test)]
mod tests;
mod words;

pub use settings::{CorpusSettings, Settings};

use crate::{Answer, Problem, Split};
use draft::Draft;
use profile::Profile;
use random::Random;
use std::collections::HashSet;
use std::sync::OnceLock;

/// A version of the benchmark: one fixed thing, the same on every machine and in every call.
#[derive(Debug)]
pub struct Version {
    settings: Settings,
    /// Train, validation and test.
    seen: OnceLock<[Vec<Draft>; 3]>,
    unseen: OnceLock<Vec<Draft>>,
}

/// The benchmark `synthetic-1`.
pub static FIRST: Version = Version::new(first::SETTINGS);
/// The benchmark `synthetic`.
pub static SECOND: Version = Version::new(second::SETTINGS);

impl Version {
    const fn new(settings: Settings) -> Self {
        Self { settings, seen: OnceLock::new(), unseen: OnceLock::new() }
    }

    /// What it consists of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The problems of one split, in a fixed order. Training problems after the first [`Settings::reference_problems`]
    /// have an answer but no reference solution.
    pub fn problems(&'static self, split: Split) -> Vec<Problem> {
        let mut styles = Random::new(self.settings.seeds.style + split as u64);
        let to_problem = |(index, draft): (usize, &Draft)| {
            self.problem(split, index, draft, styles.percent(self.settings.terse_percent))
        };
        self.drafts(split).iter().enumerate().map(to_problem).collect()
    }

    /// The documents of the pretraining corpus, in a fixed order. None holds a problem of validation or of the tests, and
    /// none has a pair of kinds that is held out for [`Split::TestUnseen`].
    pub fn pretraining_corpus(&'static self) -> Vec<String> {
        let kept_secret = [Split::Validation, Split::Test, Split::TestUnseen]
            .into_iter()
            .flat_map(|split| self.drafts(split))
            .map(Draft::key)
            .collect();
        corpus::documents(&self.settings, &kept_secret)
    }

    fn problem(&self, split: Split, index: usize, draft: &Draft, terse: bool) -> Problem {
        let lines = if terse { compress::compressed(draft) } else { draft.lines.clone() };
        let solution = |lines: &[String]| format!("{}\n#### {}", lines.join("\n"), draft.answer);
        let has_reference = split != Split::Train || index < self.settings.reference_problems;
        Problem {
            id: format!("{}/{split}/{index}", self.settings.name),
            question: draft.question.clone(),
            solution: if has_reference { solution(&lines) } else { String::new() },
            answer: Answer::Number(draft.answer.into()),
            worked: Some(solution(&draft.lines)),
        }
    }

    /// The drafts behind the problems of a split, drawn once a process. Train, validation and test are one stream of
    /// distinct drafts, shuffled before it is cut, so that all three have the same distribution although small kinds run out
    /// of numbers. All questions about one story are in the same split.
    fn drafts(&'static self, split: Split) -> &'static [Draft] {
        let settings = &self.settings;
        let seen = || {
            let sizes = [settings.validation_problems, settings.test_problems, settings.train_problems];
            let [validation, test, _] = sizes.map(|problems| problems / settings.questions_per_story);
            let total = sizes.iter().sum();
            let mut stories = distinct(total, settings.seeds.problems, &Profile::benchmark(settings), |draft| {
                !settings.holds_out(&draft.kinds)
            });
            Random::new(settings.seeds.shuffle).shuffle(&mut stories);
            let train = stories.split_off(validation + test);
            let test = stories.split_off(validation);
            [train, stories, test].map(|stories| stories.into_iter().flatten().collect())
        };
        let unseen = || {
            let profile = Profile::unseen(settings);
            let held_out = |draft: &Draft| settings.holds_out(&draft.kinds);
            distinct(settings.test_unseen_problems, settings.seeds.unseen, &profile, held_out)
                .into_iter()
                .flatten()
                .collect()
        };
        match split {
            Split::Train => &self.seen.get_or_init(seen)[0],
            Split::Validation => &self.seen.get_or_init(seen)[1],
            Split::Test => &self.seen.get_or_init(seen)[2],
            Split::TestUnseen => self.unseen.get_or_init(unseen),
        }
    }
}

/// `count` drafts that `wanted` accepts, no two with the same key, in groups of as many as there are questions about a
/// story. A story that allows no further question makes room for another story. The set answers membership only: its order
/// is never used.
fn distinct(count: usize, seed: u64, profile: &Profile, wanted: impl Fn(&Draft) -> bool) -> Vec<Vec<Draft>> {
    let mut random = Random::new(seed);
    let mut keys = HashSet::new();
    let questions = profile.settings.questions_per_story;
    let mut group = || {
        let mut is_new = |draft: &Draft| wanted(draft) && keys.insert(draft.key());
        let (first, mut told) = draft::draw_told(&mut random, profile, &mut is_new);
        let mut drafts = vec![first];
        while drafts.len() < questions {
            let known = drafts.clone();
            let is_other = |draft: &Draft| known.iter().all(|known| known.question != draft.question) && is_new(draft);
            let next = draft::another_question(&mut random, profile, &told, is_other).unwrap_or_else(|| {
                let (draft, other) = draft::draw_told(&mut random, profile, &mut is_new);
                told = other;
                draft
            });
            drafts.push(next);
        }
        drafts
    };
    (0..count / questions).map(|_| group()).collect()
}
