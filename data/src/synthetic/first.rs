//! The first version, `synthetic-1`: what makes a problem hard is how long the chain is, which operations to choose, and how
//! large the numbers are. Some have middle numbers, which a model of this size sometimes gets right, and a quarter have
//! large ones, which it rarely gets right even in many samples.
//!
//! Reference solutions have two styles, as those of several authors do: one calculation per line, or two taken together
//! (`compress`). In GSM8K's training part 34 % of the solutions have a calculation with two or more operators; here more
//! are terse, because a small model finds them much harder than a 7B model does.

pub(super) mod kinds;
pub(super) mod scenarios;

use super::numbers::{Range, range};
use super::settings::{CorpusSettings, Drill, NeedlessFacts, Seeds, Settings};
use super::words::OBJECTS;

/// The first version.
pub(super) const SETTINGS: Settings = Settings {
    name: "synthetic-1",
    train_problems: 6_000,
    reference_problems: 6_000,
    validation_problems: 400,
    test_problems: 500,
    test_unseen_problems: 300,
    questions_per_story: 1,
    step_weights: [18, 43, 27, 8, 4, 0, 0, 0],
    scenario_percents: [12, 25, 25, 15, 10, 0, 0, 0],
    distractor_percent: 12,
    spare_percent: 0,
    terse_percent: 55,
    question_words_max: 32,
    magnitude_weights: [62, 13, 25],
    result_max: [20, 99, 999],
    answer_above: Some(20),
    result_min: 1,
    cents: false,
    divisors_left_out: &[],
    negative_units: &[],
    kinds: &[kinds::KINDS],
    kinds_left_out: &[],
    scenarios: &[scenarios::SCENARIOS],
    senseless_pairs: &kinds::SENSELESS_PAIRS,
    held_out_pairs: &HELD_OUT_PAIRS,
    objects: &OBJECTS,
    needless_facts: NeedlessFacts {
        about_others: &["{M} has {d other}.", "There are {d dog} in the park."],
        about_anybody: &[
            "{N} also has {d other}.",
            "{N} is {d year} old.",
            "{M} has {d other}.",
            "There are {d dog} in the park.",
        ],
        in_scenarios: &["{N} also has {d other}. ", "There are {d dog} in the park. "],
        number: range(3, 12).or_middle(5, 60).or_large(20, 300),
    },
    corpus: CorpusSettings {
        documents: 25_000,
        weights: [35, 25, 37, 3],
        step_weights: [40, 36, 16, 6, 2, 0, 0, 0],
        wrong_percent: 10,
        slip_percent: 40,
        any_wrong_operation: false,
        prompt_format_percent: 30,
        magnitude_weights: [84, 12, 4],
        formats: &[1, 2, 3, 4, 5, 6],
        drill: Drill {
            notations: &[0, 1, 2, 3, 4],
            operators: [50, 42, 16, 8],
            result_max: [20, 99, 999],
            smallest: 2,
            addend_max: 12,
            factors_max: [8, 8],
            divisor_max: 8,
            quotient_max: 8,
            unusual_percent: 0,
        },
    },
    seeds: Seeds {
        problems: 0x5eed_0001,
        unseen: 0x5eed_0002,
        corpus: 0x5eed_0003,
        shuffle: 0x5eed_0004,
        style: 0x5eed_0005,
    },
};

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

/// Weight of each kind that is stated backwards ("Tom has 3 more apples than Mia" in a question about Mia's apples),
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
