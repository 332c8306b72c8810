//! Completions that are desirable or not, without partners: of samples, or of the two sides of pairs. Independent of models.

use crate::sampling::pairs::{Pair, distinct};
use eval::Sample;
use std::collections::HashSet;

/// A completion of a question, word for word as a policy writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledCompletion {
    /// The question.
    pub question: String,
    /// The completion.
    pub completion: String,
    /// What the calculator wrote of it: ranges of its bytes.
    pub calculated: Vec<[usize; 2]>,
    /// Whether it is desirable.
    pub desirable: bool,
}

/// The [`distinct`] samples; correct ones are desirable.
pub fn of_samples(samples: &[Sample]) -> Vec<LabelledCompletion> {
    let labelled = |sample: &Sample| LabelledCompletion {
        question: sample.question.clone(),
        completion: sample.completion.clone(),
        calculated: sample.calculated.clone(),
        desirable: sample.correct,
    };
    distinct(samples).into_iter().map(labelled).collect()
}

/// Both sides of pairs, each completion once: chosen ones are desirable. A completion that is chosen in one pair and rejected in another
/// is both.
pub fn of_pairs(pairs: &[Pair]) -> Vec<LabelledCompletion> {
    let mut seen = HashSet::new();
    let both = pairs.iter().flat_map(|pair| {
        let chosen = (&pair.question, &pair.chosen, &pair.chosen_calculated, true);
        [chosen, (&pair.question, &pair.rejected, &pair.rejected_calculated, false)]
    });
    let first = both.filter(|(question, text, _, desirable)| seen.insert((*question, text.trim(), *desirable)));
    let labelled =
        |(question, text, calculated, desirable): (&String, &String, &Vec<[usize; 2]>, bool)| LabelledCompletion {
            question: question.clone(),
            completion: text.clone(),
            calculated: calculated.clone(),
            desirable,
        };
    first.map(labelled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Finish;

    #[test]
    fn samples_are_labelled_by_their_answers_and_repeated_or_cut_off_ones_are_left_out() {
        let sample = |text: &str, correct: bool, finish: Finish| Sample {
            correct,
            finish,
            ..crate::sampling::prefix::tests::sample("test/0", text)
        };
        let stop = Finish::Stop;
        let samples = [
            sample("a", true, stop),
            sample("b", false, stop),
            sample("a ", true, stop),
            sample("c", false, Finish::Length),
        ];
        let found = of_samples(&samples);
        let found: Vec<(&str, bool)> = found.iter().map(|one| (one.completion.as_str(), one.desirable)).collect();
        assert_eq!(found, [("a", true), ("b", false)]);
    }

    #[test]
    fn a_completion_of_several_pairs_counts_once_on_each_side() {
        let pair = |chosen: &str, rejected: &str| Pair {
            id: None,
            question: "1+1?".into(),
            chosen: chosen.into(),
            rejected: rejected.into(),
            chosen_calculated: Vec::new(),
            rejected_calculated: Vec::new(),
        };
        let found = of_pairs(&[pair("2", "3"), pair("2", "4"), pair("two", "3"), pair("4", "5")]);
        let found: Vec<(&str, bool)> = found.iter().map(|one| (one.completion.as_str(), one.desirable)).collect();
        assert_eq!(found, [("2", true), ("3", false), ("4", false), ("two", true), ("4", true), ("5", false)]);
    }
}
