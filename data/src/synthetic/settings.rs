//! What a version of the benchmark consists of: its sizes, its tables of kinds and words, and how often what is drawn.
//! The generator is the same for all versions. Changing any value changes the benchmark: the pinned hashes in the tests
//! then change too, and results from before and after are not comparable.

use super::kinds::Kind;
use super::numbers::Range;

/// Lines of a solution at most.
pub(super) const LINES_MAX: usize = 8;

/// One version of the benchmark.
#[derive(Debug)]
pub struct Settings {
    /// The benchmark's name, which the ids of its problems begin with.
    pub name: &'static str,
    /// Number of training problems.
    pub train_problems: usize,
    /// Number of training problems with a reference solution: the first ones. The others have an answer alone.
    pub reference_problems: usize,
    /// Number of validation problems.
    pub validation_problems: usize,
    /// Number of test problems.
    pub test_problems: usize,
    /// Number of test problems with a pair of consecutive kinds that never occurs in training.
    pub test_unseen_problems: usize,
    /// Problems in a row that ask different questions about one story, where the story allows it.
    pub questions_per_story: usize,

    /// Relative frequency of problems with 1, 2, … lines of solution; of the first question of each story where there are
    /// several.
    pub step_weights: [u32; LINES_MAX],
    /// Percentage of problems with 1, 2, … lines that are hand-written scenarios; the others are chains. Less where there
    /// are few scenarios, so that none of them is met too often.
    pub scenario_percents: [u32; LINES_MAX],
    /// Percentage of problems with a fact that has nothing to do with the story.
    pub distractor_percent: u32,
    /// Percentage of chains with a fact of the story itself that the question does not need.
    pub spare_percent: u32,
    /// Percentage of the reference solutions in the terse style, two calculations per line where that can be.
    pub terse_percent: u32,
    /// Longest question, in words; a longer draft is drawn anew.
    pub question_words_max: usize,
    /// Relative frequency of problems with small, middle and large numbers.
    pub magnitude_weights: [u32; 3],
    /// Largest number that any line of a problem may compute, by the magnitude of its numbers.
    pub result_max: [u32; 3],
    /// What the answer of a problem with middle or large numbers is above.
    pub answer_above: Option<u32>,
    /// Smallest result: 1, or 0, which no line multiplies or divides.
    pub result_min: u32,
    /// Whether amounts of money may have two decimals.
    pub cents: bool,
    /// Divisors that no problem has.
    pub divisors_left_out: &'static [u32],
    /// Units that may be below zero.
    pub(super) negative_units: &'static [&'static str],

    /// The kinds that chains are made of, in several tables.
    pub(super) kinds: &'static [&'static [Kind]],
    /// Kinds of these tables that are not drawn.
    pub(super) kinds_left_out: &'static [&'static str],
    /// The hand-written scenarios, in several tables.
    pub(super) scenarios: &'static [&'static [Kind]],
    /// Ordered pairs of consecutive kinds that make no sense or ask for a number that the question already states.
    pub(super) senseless_pairs: &'static [(&'static str, &'static str)],
    /// Ordered pairs of consecutive kinds that occur in the unseen part of the test only.
    pub(super) held_out_pairs: &'static [(&'static str, &'static str)],
    /// What people count, find, buy and sell.
    pub(super) objects: &'static [&'static str],
    /// Facts that have nothing to do with the story.
    pub(super) needless_facts: NeedlessFacts,
    /// The pretraining corpus.
    pub corpus: CorpusSettings,
    /// Seeds: one for each independent stream of draws.
    pub(super) seeds: Seeds,
}

/// Templates of facts that have nothing to do with the story, with `d` as their number.
#[derive(Debug)]
pub(super) struct NeedlessFacts {
    /// About somebody who plays no other part, or about nobody.
    pub(super) about_others: &'static [&'static str],
    /// About N or anybody else.
    pub(super) about_anybody: &'static [&'static str],
    /// Before the question of a scenario, which may go on with a pronoun for N; each ends in a space.
    pub(super) in_scenarios: &'static [&'static str],
    /// Their number.
    pub(super) number: Range,
}

/// The pretraining corpus of a version.
#[derive(Debug)]
pub struct CorpusSettings {
    /// Number of documents.
    pub documents: usize,
    /// Relative frequency of the documents: arithmetic, single steps, questions with answers, stories.
    pub weights: [u32; 4],
    /// Relative frequency of 1, 2, … lines of solution in the questions of the corpus.
    pub step_weights: [u32; LINES_MAX],
    /// Percentage of the corpus' answers that are wrong, by a wrong operation or by a slip in the arithmetic. Fewer are
    /// where there are no slips: some operations have no wrong one that can be calculated.
    pub wrong_percent: u32,
    /// Percentage of slips among the mistakes.
    pub slip_percent: u32,
    /// Whether a wrong operation may be any other one, with any result to two decimals, instead of the opposite one alone
    /// with results as problems have them. Who reads a question wrongly then still calculates rightly.
    pub any_wrong_operation: bool,
    /// Percentage of the corpus' questions with answers that have exactly the format of the benchmark's prompt.
    pub prompt_format_percent: u32,
    /// Relative frequency of small, middle and large numbers in the corpus' problems and arithmetic statements.
    pub magnitude_weights: [u32; 3],
    /// How its other questions with answers are written, by the numbers of `corpus`; one listed twice is twice as frequent.
    pub(super) formats: &'static [u32],
    /// What the arithmetic statements drill.
    pub(super) drill: Drill,
}

/// What arithmetic statements are drawn from.
#[derive(Debug)]
pub(super) struct Drill {
    /// How the statements of a document are written, by the numbers of `corpus`; one listed twice is twice as frequent.
    pub(super) notations: &'static [u32],
    /// Relative frequency of `+`, `-`, `*` and `/`.
    pub(super) operators: [u32; 4],
    /// Largest result by the magnitude of the numbers.
    pub(super) result_max: [u32; 3],
    /// Smallest number of a sum or difference with small numbers.
    pub(super) smallest: u32,
    /// Largest second number of a sum or difference with small numbers.
    pub(super) addend_max: u32,
    /// Largest factors of a product with small numbers.
    pub(super) factors_max: [u32; 2],
    /// Largest divisor.
    pub(super) divisor_max: u32,
    /// Largest quotient with small numbers.
    pub(super) quotient_max: u32,
    /// Percentage of statements whose result hardly any problem has: a difference below 1, a quotient that is no whole
    /// number.
    pub(super) unusual_percent: u32,
}

/// One seed for each independent stream of draws.
#[derive(Debug)]
pub(super) struct Seeds {
    pub(super) problems: u64,
    pub(super) unseen: u64,
    pub(super) corpus: u64,
    pub(super) shuffle: u64,
    pub(super) style: u64,
}

impl Settings {
    /// All kinds that chains are made of.
    pub(super) fn all_kinds(&self) -> impl Iterator<Item = &'static Kind> + use<> {
        let left_out = self.kinds_left_out;
        self.kinds.iter().copied().flatten().filter(move |kind| !left_out.contains(&kind.name))
    }

    /// All scenarios.
    pub(super) fn all_scenarios(&self) -> impl Iterator<Item = &'static Kind> + use<> {
        self.scenarios.iter().copied().flatten()
    }

    /// Whether two consecutive kinds belong to the unseen part of the test.
    pub(super) fn holds_out(&self, kinds: &[&'static str]) -> bool {
        kinds.windows(2).any(|pair| self.held_out_pairs.contains(&(pair[0], pair[1])))
    }
}
