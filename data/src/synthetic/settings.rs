//! The constants of the benchmark and of the pretraining corpus. Everything that tunes difficulty and size is
//! a constant below. Changing any of them changes the benchmark: the
//! pinned hashes in the tests then change too, and results from before and after are not comparable.

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
/// Percentage of the reference solutions in the terse style, two calculations per line where that can be.
pub const TERSE_PERCENT: u32 = 55;
/// Longest question, in words; a longer draft is drawn anew.
pub const QUESTION_WORDS_MAX: usize = 32;

/// How large the numbers of a problem are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Magnitude {
    /// A calculation is remembered.
    Small,
    /// A calculation takes a carry now and then.
    Middle,
    /// A calculation takes more than is remembered.
    Large,
}

pub(super) const MAGNITUDES: [Magnitude; 3] = [Magnitude::Small, Magnitude::Middle, Magnitude::Large];

/// Relative frequency of problems with small, middle and large numbers.
pub const MAGNITUDE_WEIGHTS: [u32; 3] = [62, 13, 25];
/// Largest number that any line of a problem may compute, by the magnitude of its numbers. The answer of a problem with
/// middle or large numbers is above the first of them.
pub const RESULT_MAX: [u32; 3] = [20, 99, 999];

/// What a number in a question is drawn from, both ends included, by the magnitude of the problem's numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range(pub(super) [(u32, u32); 3]);

pub(super) const fn range(low: u32, high: u32) -> Range {
    Range([(low, high); 3])
}

impl Range {
    pub(super) const fn or_middle(self, low: u32, high: u32) -> Range {
        Range([self.0[0], (low, high), self.0[2]])
    }

    pub(super) const fn or_large(self, low: u32, high: u32) -> Range {
        Range([self.0[0], self.0[1], (low, high)])
    }
}

/// What somebody has at the start.
pub(super) const START: Range = range(3, 10).or_middle(12, 60).or_large(110, 720);
/// What somebody with money has at the start.
pub(super) const MONEY: Range = range(5, 16).or_middle(15, 60).or_large(110, 720);
/// What is added, taken away, or makes the difference between two people.
pub(super) const ADDEND: Range = range(2, 8).or_middle(6, 35).or_large(45, 360);
/// How many groups, friends, hours, days.
pub(super) const GROUPS: Range = range(2, 4).or_middle(2, 6).or_large(3, 9);
/// How many in each group, each hour, each day.
pub(super) const GROUP_SIZE: Range = range(2, 5).or_middle(5, 14).or_large(14, 78);
/// The factor of "times as many"; twice has kinds of its own.
pub(super) const FACTOR: Range = range(3, 4).or_middle(3, 5).or_large(3, 6);
/// What is divided by.
pub(super) const DIVISOR: Range = range(2, 4).or_middle(2, 5).or_large(3, 8);
/// Dollars for one thing that is sold.
pub(super) const PRICE: Range = range(2, 4).or_middle(3, 12).or_large(6, 45);
/// What somebody wants to have in the end.
pub(super) const GOAL: Range = range(9, 20).or_middle(30, 95).or_large(300, 950);
/// Minutes that stand next to a whole hour.
pub(super) const MINUTES: Range = range(10, 30);
/// How old somebody is.
pub(super) const AGE: Range = range(6, 12);
/// The number in a fact that is not needed.
pub(super) const DISTRACTOR: Range = range(3, 12).or_middle(5, 60).or_large(20, 300);

/// Weight of each kind that is stated backwards ("Tom has 3 more apples than Mia" in a question about Mia's apples),
/// where ordinary kinds weigh about 10. These are the problems in which the words suggest the wrong operation.
pub(super) const REVERSED_WEIGHT: u32 = 4;

/// Ordered pairs of consecutive kinds that occur in the unseen part of the test only.
pub(super) const HELD_OUT_PAIRS: [(&str, &str); 9] = [
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
pub(super) const PROBLEM_SEED: u64 = 0x5eed_0001;
pub(super) const UNSEEN_SEED: u64 = 0x5eed_0002;
pub(super) const CORPUS_SEED: u64 = 0x5eed_0003;
pub(super) const SHUFFLE_SEED: u64 = 0x5eed_0004;
pub(super) const STYLE_SEED: u64 = 0x5eed_0005;
