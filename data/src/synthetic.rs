//! The embedded benchmark: a deterministic generator of grade-school word problems with worked solutions in GSM8K's
//! format, and of the pretraining corpus from which a base model for them is made. Independent of tokens and files.
//!
//! A problem is either a *chain*, a start, some steps and a final question that are drawn from `kinds` and carry
//! named quantities from one to the next, or a *scenario*, a whole small story of `scenarios`. Both are rows of text
//! in one small language (`template`); `plan` draws the kinds, `draft` numbers and words; `corpus`
//! makes documents of many formats from the same drafts. What makes most problems hard is which operations to choose and
//! how long the chain is, not the language and not the size of the numbers. Some have middle numbers, which a model of this size sometimes gets
//! right, and a quarter have large ones, which it rarely gets right even in many samples.
//!
//! Reference solutions have two styles, as those of several authors do: one calculation per line, or two taken together
//! (`compress`). In GSM8K's training part 34 % of the solutions have a calculation with two or more operators; here more
//! are terse, because a small model finds them much harder than a 7B model does. Which style serves better is the first
//! thing that reinforcement learning can find out here.
//!
//! Everything that tunes difficulty and size is a constant of `settings`.

mod compress;
mod corpus;
mod draft;
mod kinds;
mod plan;
mod profile;
mod random;
mod scenarios;
mod settings;
mod template;
#[cfg(test)]
mod tests;
mod words;

pub use settings::{
    CORPUS_DOCUMENTS, CORPUS_MAGNITUDE_WEIGHTS, CORPUS_PROMPT_FORMAT_PERCENT, CORPUS_STEP_WEIGHTS, CORPUS_WEIGHTS,
    CORPUS_WRONG_PERCENT, DISTRACTOR_PERCENT, MAGNITUDE_WEIGHTS, QUESTION_WORDS_MAX, RESULT_MAX, SCENARIO_PERCENTS,
    STEP_WEIGHTS, TERSE_PERCENT, TEST_PROBLEMS, TEST_UNSEEN_PROBLEMS, TRAIN_PROBLEMS, VALIDATION_PROBLEMS,
};

use crate::{Answer, Problem, Split};
use draft::Draft;
use profile::Profile;
use random::Random;
use settings::{PROBLEM_SEED, SHUFFLE_SEED, STYLE_SEED, UNSEEN_SEED};
use std::{collections::HashSet, sync::LazyLock};

/// The problems of one split, in a fixed order. The benchmark is one fixed thing: the same on every machine and call.
pub fn problems(split: Split) -> Vec<Problem> {
    let mut styles = Random::new(STYLE_SEED + split as u64);
    let to_problem = |(index, draft): (usize, &Draft)| problem(split, index, draft, styles.percent(TERSE_PERCENT));
    drafts(split).iter().enumerate().map(to_problem).collect()
}

/// The documents of the pretraining corpus, in a fixed order. None holds a problem of validation or of the tests, and
/// none has a pair of kinds that is held out for [`Split::TestUnseen`].
pub fn pretraining_corpus() -> Vec<String> {
    let kept_secret =
        [Split::Validation, Split::Test, Split::TestUnseen].into_iter().flat_map(drafts).map(Draft::key).collect();
    corpus::documents(&kept_secret)
}

fn problem(split: Split, index: usize, draft: &Draft, terse: bool) -> Problem {
    let split_name = match split {
        Split::Train => "train",
        Split::Validation => "validation",
        Split::Test => "test",
        Split::TestUnseen => "test-unseen",
    };
    let lines = if terse { compress::compressed(draft) } else { draft.lines.clone() };
    let solution = |lines: &[String]| format!("{}\n#### {}", lines.join("\n"), draft.answer);
    Problem {
        id: format!("synthetic/{split_name}/{index}"),
        question: draft.question.clone(),
        solution: solution(&lines),
        answer: Answer::from_integer(i64::from(draft.answer)),
        worked: Some(solution(&draft.lines)),
    }
}

/// The drafts behind the problems of a split, drawn once a process. Train, validation and test are one stream of
/// distinct drafts, shuffled before it is cut, so that all three have the same distribution although small kinds run out
/// of numbers.
fn drafts(split: Split) -> &'static [Draft] {
    static SEEN: LazyLock<[Vec<Draft>; 3]> = LazyLock::new(|| {
        let total = VALIDATION_PROBLEMS + TEST_PROBLEMS + TRAIN_PROBLEMS;
        let mut drafts = distinct(total, PROBLEM_SEED, &Profile::benchmark(), |draft| !draft.has_held_out_pair());
        Random::new(SHUFFLE_SEED).shuffle(&mut drafts);
        let train = drafts.split_off(VALIDATION_PROBLEMS + TEST_PROBLEMS);
        let test = drafts.split_off(VALIDATION_PROBLEMS);
        [train, drafts, test]
    });
    static UNSEEN: LazyLock<Vec<Draft>> =
        LazyLock::new(|| distinct(TEST_UNSEEN_PROBLEMS, UNSEEN_SEED, &Profile::unseen(), Draft::has_held_out_pair));
    match split {
        Split::Train => &SEEN[0],
        Split::Validation => &SEEN[1],
        Split::Test => &SEEN[2],
        Split::TestUnseen => &UNSEEN,
    }
}

/// `count` drafts that `wanted` accepts, no two with the same key. The set answers membership only: its order is never
/// used.
fn distinct(count: usize, seed: u64, profile: &Profile, wanted: impl Fn(&Draft) -> bool) -> Vec<Draft> {
    let mut random = Random::new(seed);
    let mut keys = HashSet::new();
    (0..count).map(|_| draft::draw(&mut random, profile, |draft| wanted(draft) && keys.insert(draft.key()))).collect()
}
