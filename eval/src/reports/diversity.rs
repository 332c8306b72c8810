//! Diversity of the correct solutions of a question. Pure: no files, no random numbers, no model.
//!
//! Havrilla et al. 2024 (section on exploration, table 5) ask whether a method finds new solutions or repeats the ones that
//! it knows. Only right solutions count: there is no limit to the number of wrong ones. Two solutions are the same as texts,
//! or as chains of calculations ([`data::calculation_trace`]), whatever words stand around those.

use crate::{metrics::Estimate, sampling::sample::Sample};
use data::calculation_trace;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of right samples of a question that are compared with each other: the first ones. The number of pairs grows
/// with its square.
const COMPARED: usize = 12;

/// Diversity of the right samples, as means over questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diversity {
    /// Questions with samples.
    pub questions: usize,
    /// Samples of them all.
    pub samples: usize,
    /// Right samples.
    pub right: usize,
    /// Share of questions without a right sample, in [0, 1].
    pub unsolved: f64,
    /// Distinct correct texts per question, questions without any included.
    pub distinct_texts: f64,
    /// Distinct correct calculation traces per question, questions without any included.
    pub distinct_traces: f64,
    /// Edit distance of two right texts in characters, as a share of the longer one; mean over pairs, then over the
    /// questions with at least two right samples. `None` if there is no such question.
    pub text_distance: Option<Estimate>,
    /// The same of two chains, in calculations.
    pub trace_distance: Option<Estimate>,
}

/// The text of a solution and its chain of calculations.
type Solution<'a> = (&'a str, Vec<String>);

impl Diversity {
    /// The diversity of samples in any order; those with the same `id` belong to one question.
    pub fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut questions: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
        for sample in samples {
            questions.entry(&sample.id).or_default().push(sample);
        }
        let right: Vec<Vec<Solution<'_>>> = questions
            .values()
            .map(|samples| samples.iter().filter(|sample| sample.correct).map(|sample| solution(sample)).collect())
            .collect();
        let count = right.len().max(1) as f64;
        let mean = |value: &dyn Fn(&[Solution<'_>]) -> usize| {
            right.iter().map(|solutions| value(solutions)).sum::<usize>() as f64 / count
        };
        Self {
            questions: questions.len(),
            samples: questions.values().map(Vec::len).sum(),
            right: right.iter().map(Vec::len).sum(),
            unsolved: mean(&|solutions| usize::from(solutions.is_empty())),
            distinct_texts: mean(&|solutions| distinct(solutions.iter().map(|(text, _)| text))),
            distinct_traces: mean(&|solutions| distinct(solutions.iter().map(|(_, trace)| trace))),
            text_distance: over_pairs(&right, |a, b| strsim::normalized_levenshtein(a.0, b.0)),
            trace_distance: over_pairs(&right, |a, b| similarity(&a.1, &b.1)),
        }
    }
}

fn solution(sample: &Sample) -> Solution<'_> {
    (sample.completion.trim(), calculation_trace(&sample.completion))
}

fn distinct<T: Ord>(values: impl Iterator<Item = T>) -> usize {
    values.collect::<BTreeSet<T>>().len()
}

/// 1 - edit distance / length of the longer chain.
fn similarity(a: &[String], b: &[String]) -> f64 {
    match a.len().max(b.len()) {
        0 => 1.0,
        longer => 1.0 - strsim::generic_levenshtein(&a.to_vec(), &b.to_vec()) as f64 / longer as f64,
    }
}

/// Mean of 1 - similarity over the pairs of each question, and over the questions.
fn over_pairs<T>(questions: &[Vec<T>], similarity: impl Fn(&T, &T) -> f64) -> Option<Estimate> {
    let of_question = |solutions: &Vec<T>| {
        let compared = &solutions[..solutions.len().min(COMPARED)];
        let pairs = compared.iter().enumerate().flat_map(|(i, a)| compared[i + 1..].iter().map(move |b| (a, b)));
        let distances: Vec<f64> = pairs.map(|(a, b)| (1.0 - similarity(a, b)).clamp(0.0, 1.0)).collect();
        (!distances.is_empty()).then(|| distances.iter().sum::<f64>() / distances.len() as f64)
    };
    let values: Vec<f64> = questions.iter().filter_map(of_question).collect();
    (!values.is_empty()).then(|| Estimate::over_questions(&values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Finish;

    fn sample(id: &str, completion: &str, correct: bool) -> Sample {
        Sample {
            step: None,
            id: id.into(),
            question: String::new(),
            completion: completion.into(),
            answer: None,
            kind: data::AnswerKind::Number,
            expected: "7".into(),
            reward: None,
            correct,
            finish: Finish::Stop,
            tokens: 1,
            greedy: false,
            given: 0,
            calculated: Vec::new(),
            score: None,
        }
    }

    #[test]
    fn only_right_solutions_count_and_a_question_without_any_counts_as_zero() {
        let samples = [
            sample("a", " 3+4 = <<3+4=7>>7\n#### 7", true),
            sample("a", " 3+4 = <<3+4=7>>7\n#### 7", true),
            sample("a", " So 3+4 = <<3+4=7>>7\n#### 7", true),
            sample("a", " 3*4 = <<3*4=12>>12\n#### 12", false),
            sample("b", "#### 1", false),
        ];
        let diversity = Diversity::of(&samples);
        assert_eq!((diversity.questions, diversity.samples, diversity.right), (2, 5, 3));
        assert_eq!(diversity.unsolved, 0.5);
        assert_eq!(diversity.distinct_texts, 1.0, "two in a, none in b");
        assert_eq!(diversity.distinct_traces, 0.5, "one in a, none in b");
    }

    #[test]
    fn a_distance_is_a_share_of_the_longer_solution_over_all_pairs() {
        let samples = [
            sample("a", "<<1+2=3>>\n<<3+4=7>>", true),
            sample("a", "<<1+2=3>>\n<<3+4=7>>", true),
            sample("a", "<<3+4=7>>", true),
        ];
        let diversity = Diversity::of(&samples);
        // Pairs: equal; one of two calculations left out, twice.
        assert!((diversity.trace_distance.unwrap().value - (0.0 + 0.5 + 0.5) / 3.0).abs() < 1e-9);
        // 19 characters against 9: ten are left out.
        assert!((diversity.text_distance.unwrap().value - 2.0 / 3.0 * 10.0 / 19.0).abs() < 1e-9);
    }

    #[test]
    fn one_right_sample_has_no_distance() {
        assert_eq!(Diversity::of(&[sample("a", "#### 7", true)]).text_distance, None);
        assert_eq!(Diversity::of(&[]).questions, 0);
    }
}
