//! The embedded benchmark: a deterministic generator of grade-school word problems with worked solutions in GSM8K's
//! format, and of the pretraining corpus from which a base model for them is made. Knows no tokens and no files.
//!
//! A problem is either a *chain*, a start, some steps and a final question that are drawn from `kinds` and carry
//! named quantities from one to the next, or a *scenario*, a whole small story of `scenarios`. Both are rows of text
//! in one small language (`template`); `plan` draws the kinds, `draft` numbers and words; `corpus`
//! makes documents of many formats from the same drafts. What makes most problems hard is which operations to choose and
//! how long the chain is, not the language and not the size of the numbers. Some have middle numbers, which a model of this size sometimes gets
//! right, and a quarter have large ones, which it rarely gets right even in many samples.
//!
//! Reference solutions have two styles, as those of several authors do: one calculation a line, or two taken together
//! (`compress`). In GSM8K's training part 34 % of the solutions have a calculation with two or more operators; here more
//! are terse, because a small model finds them much harder than a 7B model does. Which style serves better is the first
//! thing that reinforcement learning can find out here.
//!
//! Everything that tunes difficulty and size is a constant below. Changing any of them changes the benchmark: the
//! pinned hashes in the tests then change too, and results from before and after are not comparable.

mod compress;
mod corpus;
mod draft;
mod kinds;
mod plan;
mod random;
mod scenarios;
mod template;
#[cfg(test)]
mod tests;
mod words;

use crate::{Answer, Problem, Split};
use draft::{Draft, Profile};
use random::Random;
use std::{collections::HashSet, sync::LazyLock};

/// Number of training problems.
pub const TRAIN_PROBLEMS: usize = 6_000;
/// Number of validation problems.
pub const VALIDATION_PROBLEMS: usize = 400;
/// Number of test problems.
pub const TEST_PROBLEMS: usize = 500;
/// Number of test problems with a pair of consecutive kinds that never occurs in training.
pub const TEST_UNSEEN_PROBLEMS: usize = 300;

/// Relative frequency of problems with 1, 2, 3, 4 and 5 lines of solution.
pub const STEP_WEIGHTS: [u32; 5] = [18, 43, 27, 8, 4];
/// Percentage of problems with 1 to 5 lines that are hand-written scenarios; the others are chains. Less where there are
/// few scenarios, so that none of them is met too often.
pub const SCENARIO_PERCENTS: [u32; 5] = [12, 25, 25, 15, 10];
/// Percentage of problems with a fact that is not needed.
pub const DISTRACTOR_PERCENT: u32 = 12;
/// Percentage of the reference solutions that are told in the terse style, two calculations a line where that can be.
pub const TERSE_PERCENT: u32 = 55;
/// Longest question, in words; a longer draft is drawn anew.
pub const QUESTION_WORDS_MAX: usize = 32;

/// How large the numbers of a problem are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Magnitude {
    /// A calculation is remembered.
    Small,
    /// A calculation takes a carry now and then.
    Middle,
    /// A calculation takes more than is remembered.
    Large,
}

const MAGNITUDES: [Magnitude; 3] = [Magnitude::Small, Magnitude::Middle, Magnitude::Large];

/// Relative frequency of problems with small, middle and large numbers.
pub const MAGNITUDE_WEIGHTS: [u32; 3] = [62, 13, 25];
/// Largest number that any line of a problem may compute, by the magnitude of its numbers. The answer of a problem with
/// middle or large numbers is above the first of them.
pub const RESULT_MAX: [u32; 3] = [20, 99, 999];

/// What a number in a question is drawn from, both ends included, by the magnitude of the problem's numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range([(u32, u32); 3]);

const fn range(low: u32, high: u32) -> Range {
    Range([(low, high); 3])
}

impl Range {
    const fn or_middle(self, low: u32, high: u32) -> Range {
        Range([self.0[0], (low, high), self.0[2]])
    }

    const fn or_large(self, low: u32, high: u32) -> Range {
        Range([self.0[0], self.0[1], (low, high)])
    }
}

/// What somebody has at the start.
const START: Range = range(3, 10).or_middle(12, 60).or_large(110, 720);
/// What somebody with money has at the start.
const MONEY: Range = range(5, 16).or_middle(15, 60).or_large(110, 720);
/// What is added, taken away, or makes the difference between two people.
const ADDEND: Range = range(2, 8).or_middle(6, 35).or_large(45, 360);
/// How many groups, friends, hours, days.
const GROUPS: Range = range(2, 4).or_middle(2, 6).or_large(3, 9);
/// How many in each group, each hour, each day.
const GROUP_SIZE: Range = range(2, 5).or_middle(5, 14).or_large(14, 78);
/// The factor of "times as many"; twice has kinds of its own.
const FACTOR: Range = range(3, 4).or_middle(3, 5).or_large(3, 6);
/// What is divided by.
const DIVISOR: Range = range(2, 4).or_middle(2, 5).or_large(3, 8);
/// Dollars for one thing that is sold.
const PRICE: Range = range(2, 4).or_middle(3, 12).or_large(6, 45);
/// What somebody wants to have in the end.
const GOAL: Range = range(9, 20).or_middle(30, 95).or_large(300, 950);
/// Minutes that stand next to a whole hour.
const MINUTES: Range = range(10, 30);
/// How old somebody is.
const AGE: Range = range(6, 12);
/// The number in a fact that is not needed.
const DISTRACTOR: Range = range(3, 12).or_middle(5, 60).or_large(20, 300);

/// Weight of each kind that is told backwards ("Tom has 3 more apples than Mia" where Mia's apples are asked for),
/// where ordinary kinds weigh about 10. These are the problems in which the words suggest the wrong operation.
const REVERSED_WEIGHT: u32 = 4;

/// Ordered pairs of consecutive kinds that occur in the unseen part of the test only.
const HELD_OUT_PAIRS: [(&str, &str); 9] = [
    ("groups", "fewer"),
    ("parts", "times"),
    ("lose", "half-as-many"),
    ("gain", "give-half"),
    ("more", "lose"),
    ("times", "gain"),
    ("fewer", "pool"),
    ("half-as-many", "gain-groups"),
    ("give-half", "lose-groups"),
];

/// Number of documents in the pretraining corpus.
pub const CORPUS_DOCUMENTS: usize = 25_000;
/// Relative frequency of the documents: arithmetic, single steps, questions with answers, stories.
pub const CORPUS_WEIGHTS: [u32; 4] = [35, 25, 37, 3];
/// Relative frequency of 1 to 5 lines of solution in the questions of the corpus.
pub const CORPUS_STEP_WEIGHTS: [u32; 5] = [40, 36, 16, 6, 2];
/// Percentage of the corpus' answers that are wrong, by a wrong operation or by a slip in the arithmetic.
pub const CORPUS_WRONG_PERCENT: u32 = 10;
/// Percentage of the corpus' questions with answers that have exactly the format of the benchmark's prompt.
pub const CORPUS_PROMPT_FORMAT_PERCENT: u32 = 30;
/// Relative frequency of small, middle and large numbers in the corpus' problems and arithmetic statements.
pub const CORPUS_MAGNITUDE_WEIGHTS: [u32; 3] = [84, 12, 4];

/// Seeds: one for each independent stream of draws.
const PROBLEM_SEED: u64 = 0x5eed_0001;
const UNSEEN_SEED: u64 = 0x5eed_0002;
const CORPUS_SEED: u64 = 0x5eed_0003;
const SHUFFLE_SEED: u64 = 0x5eed_0004;
const STYLE_SEED: u64 = 0x5eed_0005;

/// The problems of one split, in a fixed order. The benchmark is one fixed thing: the same on every machine and call.
pub fn problems(split: Split) -> Vec<Problem> {
    let mut styles = Random::new(STYLE_SEED + split as u64);
    let told = |(index, draft): (usize, &Draft)| problem(split, index, draft, styles.percent(TERSE_PERCENT));
    drafts(split).iter().enumerate().map(told).collect()
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
/// looked at.
fn distinct(count: usize, seed: u64, profile: &Profile, wanted: impl Fn(&Draft) -> bool) -> Vec<Draft> {
    let mut random = Random::new(seed);
    let mut keys = HashSet::new();
    (0..count).map(|_| draft::draw(&mut random, profile, |draft| wanted(draft) && keys.insert(draft.key()))).collect()
}
