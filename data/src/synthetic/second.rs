//! The second version, `synthetic`: what makes a problem hard is to read how its quantities are related and to choose the
//! facts that the question needs, over one to eight steps. The numbers are small enough to be calculated rightly after
//! pretraining, so a wrong answer is a wrong step and not a wrong sum.
//!
//! Its chains and scenarios are those of the first version with small numbers and many more. Most stories are asked two
//! questions, which need different facts. A part of the training problems has reference solutions; the others are for
//! methods that need an answer alone.

mod kinds;
mod scenarios;

use super::first;
use super::numbers::{Range, range};
use super::settings::{CorpusSettings, Drill, NeedlessFacts, Seeds, Settings};

/// The second version.
pub(super) const SETTINGS: Settings = Settings {
    name: "synthetic",
    train_problems: 6_000,
    reference_problems: 1_200,
    validation_problems: 400,
    test_problems: 1_000,
    test_unseen_problems: 300,
    questions_per_story: 2,
    step_weights: [22, 30, 22, 12, 6, 4, 2, 2],
    scenario_percents: [15, 25, 25, 20, 15, 12, 0, 0],
    distractor_percent: 10,
    spare_percent: 20,
    terse_percent: 0,
    question_words_max: 64,
    magnitude_weights: [0, 100, 0],
    result_max: [99, 99, 99],
    answer_above: None,
    result_min: 0,
    cents: true,
    divisors_left_out: &[3],
    negative_units: &["degree", "point"],
    kinds: &[first::kinds::KINDS, kinds::KINDS],
    // What it finds by trying is no calculation that is written down.
    kinds_left_out: &["remainder"],
    scenarios: &[first::scenarios::SCENARIOS, scenarios::SCENARIOS],
    senseless_pairs: kinds::SENSELESS_PAIRS,
    held_out_pairs: HELD_OUT_PAIRS,
    objects: &OBJECTS,
    needless_facts: NeedlessFacts {
        about_others: &["{M} has {d other}.", "There are {d dog} in the park.", "{M} is {d year} old."],
        about_anybody: &[
            "{N} also has {d other}.",
            "{N} is {d year} old.",
            "{M} has {d other}.",
            "There are {d dog} in the park.",
            "{N} lives {d mile} from school.",
        ],
        in_scenarios: &["{N} also has {d other}. ", "There are {d dog} in the park. ", "{N} is {d year} old. "],
        number: range(3, 40),
    },
    corpus: CorpusSettings {
        documents: 25_000,
        weights: [10, 14, 74, 2],
        step_weights: [24, 28, 22, 14, 7, 3, 1, 1],
        wrong_percent: 8,
        slip_percent: 0,
        any_wrong_operation: true,
        prompt_format_percent: 45,
        magnitude_weights: [0, 100, 0],
        formats: &[2, 3, 3, 5, 6],
        drill: Drill {
            notations: &[0, 2, 2, 3, 3, 4],
            operators: [40, 40, 14, 14],
            result_max: [99, 99, 99],
            smallest: 0,
            addend_max: 14,
            factors_max: [10, 5],
            divisor_max: 5,
            quotient_max: 20,
            unusual_percent: 20,
        },
    },
    seeds: Seeds {
        problems: 0x5eed_0201,
        unseen: 0x5eed_0202,
        corpus: 0x5eed_0203,
        shuffle: 0x5eed_0204,
        style: 0x5eed_0205,
    },
};

/// What people count, find, buy and sell.
const OBJECTS: [&str; 20] = [
    "apple", "pen", "book", "stamp", "shell", "card", "ball", "flower", "egg", "orange", "toy", "cup", "stone", "kite",
    "hat", "nut", "coin", "plum", "ring", "sticker",
];

/// What somebody has at the start.
const START: Range = range(8, 40);
/// What is added, taken away, or makes the difference between two people.
const ADDEND: Range = range(3, 20);
/// How many groups, friends, hours, days.
const GROUPS: Range = range(2, 5);
/// How many in each group, each hour, each day.
const GROUP_SIZE: Range = range(3, 9);
/// What is divided by.
const DIVISOR: Range = range(2, 5);
/// Dollars for one thing.
const PRICE: Range = range(2, 9);
/// What somebody wants to have in the end, or what several have together.
const GOAL: Range = range(30, 90);

/// Ordered pairs of consecutive kinds that occur in the unseen part of the test only.
const HELD_OUT_PAIRS: &[(&str, &str)] = &[
    ("groups", "fewer"),
    ("parts", "times"),
    ("lose", "half-as-many"),
    ("gain", "give-half"),
    ("more", "lose"),
    ("times", "gain"),
    ("fewer", "pool"),
    ("half-as-many", "gain-groups"),
    ("exchange", "more"),
    ("twice-and-more", "transfer"),
    ("fewer-reversed", "exchange"),
    ("twice-and-more", "total"),
];
