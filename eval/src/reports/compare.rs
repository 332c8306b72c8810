//! Is one policy better than another? Their scores are compared question by question: the difficulty of a question
//! cancels, so that its interval is narrower than those of the two reports.

use super::report::Metric;
use crate::{metrics::normal, sampling::sample::Sample};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use data::Split;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

/// Flags of `eval compare`.
#[derive(Args)]
pub struct CompareArgs {
    /// The file that `eval run --by-question` has written for one policy
    #[arg(value_name = "FIRST")]
    first: PathBuf,
    /// The same file for the other policy, on the same problems
    #[arg(value_name = "SECOND")]
    second: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `eval run --by-question` writes about a policy: the scores by metric, and the questions that they belong to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ByQuestion {
    /// The questions; an earlier version did not write them.
    #[serde(flatten)]
    pub questions: Option<Questions>,
    /// The score of each question, in order.
    #[serde(flatten)]
    pub scores: BTreeMap<Metric, Vec<f64>>,
}

/// The identity of a list of questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Questions {
    /// The name of the set of problems.
    pub benchmark: String,
    /// The part of it.
    pub split: Split,
    /// Their names, in order.
    pub ids: Vec<String>,
    /// CRC-32C of their names, texts and right answers.
    pub questions: String,
}

impl Questions {
    /// The questions of samples, one of each.
    pub fn of(benchmark: String, split: Split, samples: &[Sample]) -> Self {
        let texts = samples.iter().flat_map(|sample| [&sample.id, &sample.question, &sample.expected]);
        let sum = texts.fold(0, |sum, text| crc32c::crc32c_append(crc32c::crc32c_append(sum, text.as_bytes()), b"\0"));
        let ids = samples.iter().map(|sample| sample.id.clone()).collect();
        Self { benchmark, split, ids, questions: format!("{sum:08x}") }
    }

    /// Refuses other questions, and the same ones in another order.
    ///
    /// # Errors
    /// Saying how they differ.
    fn check_same(&self, other: &Self) -> Result<()> {
        let set = |questions: &Self| format!("{}/{}", questions.benchmark, questions.split);
        ensure!(set(self) == set(other), "the first belongs to {}, the second to {}", set(self), set(other));
        let (count, other_count) = (self.ids.len(), other.ids.len());
        ensure!(count == other_count, "the first has {count} questions, the second {other_count}");
        if let Some(place) = (0..count).find(|&place| self.ids[place] != other.ids[place]) {
            bail!("question {} is {} in the first and {} in the second", place + 1, self.ids[place], other.ids[place]);
        }
        ensure!(
            self.questions == other.questions,
            "the questions have the same names but other texts or answers: the files of {} have changed in between",
            self.benchmark
        );
        Ok(())
    }
}

impl<'de> Deserialize<'de> for ByQuestion {
    /// A key with an @ is a metric. Without the others the questions are not known.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let all = Map::<String, Value>::deserialize(deserializer)?;
        let (scores, about): (Map<_, _>, Map<_, _>) = all.into_iter().partition(|(key, _)| key.contains('@'));
        let questions = if about.is_empty() { None } else { Some(about) };
        let questions = questions.map(|about| serde_json::from_value(Value::Object(about))).transpose();
        let scores = serde_json::from_value(Value::Object(scores)).map_err(D::Error::custom)?;
        Ok(Self { questions: questions.map_err(D::Error::custom)?, scores })
    }
}

/// The difference of two policies in one metric, as a mean over questions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Mean of the first.
    pub first: f64,
    /// Mean of the second.
    pub second: f64,
    /// Second minus first.
    pub difference: f64,
    /// The normal 95 % interval of the difference over questions. It does not cover other samples or another seed of training.
    pub ci95: [f64; 2],
}

/// Prints the metrics that two policies have in common.
///
/// # Errors
/// As [`compare`]; a file that is missing or malformed, files of different questions.
pub fn run(args: &CompareArgs) -> Result<()> {
    let (first, second) = (read(&args.first)?, read(&args.second)?);
    let (name, other) = (args.first.display(), args.second.display());
    match (&first.questions, &second.questions) {
        (Some(of_first), Some(of_second)) => of_first.check_same(of_second).with_context(|| {
            format!("{name} and {other} cannot be compared; evaluate both policies on the same problems")
        })?,
        _ => tracing::warn!(
            "{} does not say which questions it belongs to (an earlier version wrote it): whether both have the same questions is not checked",
            if first.questions.is_none() { name } else { other }
        ),
    }
    let compared = compare(&first.scores, &second.scores)?;
    let text = if args.json { serde_json::to_string(&compared)? } else { table(&compared) };
    writeln!(std::io::stdout(), "{text}").context("cannot print the comparison")
}

/// The metrics that two policies have in common; their scores are by question, in the same order.
///
/// # Errors
/// Where they have none, differ in the number of questions, or have fewer than two.
pub fn compare(
    first: &BTreeMap<Metric, Vec<f64>>,
    second: &BTreeMap<Metric, Vec<f64>>,
) -> Result<BTreeMap<Metric, Compared>> {
    let common = first.iter().filter_map(|(metric, scores)| Some((*metric, scores, second.get(metric)?)));
    let compared = common.map(|(metric, first, second)| {
        let (questions, others) = (first.len(), second.len());
        ensure!(
            questions == others && questions >= 2,
            "{questions} and {others} problems cannot be compared: evaluate both policies on the same problems, at least two"
        );
        Ok((metric, Compared::of(first, second)))
    });
    let compared: BTreeMap<Metric, Compared> = compared.collect::<Result<_>>()?;
    ensure!(!compared.is_empty(), "the two have no metric in common: evaluate both with the same --samples");
    Ok(compared)
}

impl Compared {
    fn of(first: &[f64], second: &[f64]) -> Self {
        let count = first.len() as f64;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
        let differences: Vec<f64> = first.iter().zip(second).map(|(first, second)| second - first).collect();
        let difference = mean(&differences);
        let half = normal(&differences, difference);
        let ci95 = [difference - half, difference + half];
        Self { first: mean(first), second: mean(second), difference, ci95 }
    }
}

fn read(path: &Path) -> Result<ByQuestion> {
    let text = data::read_text(path)?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not what `eval run --by-question` writes", path.display()))
}

fn table(compared: &BTreeMap<Metric, Compared>) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(["", "first", "second", "second - first", "95 % interval"]);
    for (metric, Compared { first, second, difference, ci95: [low, high] }) in compared {
        let interval = format!("[{low:+.3}, {high:+.3}]");
        let numbers = [format!("{first:.3}"), format!("{second:.3}"), format!("{difference:+.3}"), interval];
        table.add_row([vec![metric.to_string()], numbers.to_vec()].concat());
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::report::MetricKind;

    const MAJ_1: Metric = Metric { kind: MetricKind::Maj, k: 1 };

    #[test]
    fn the_interval_is_that_of_the_differences_question_by_question() {
        let first = BTreeMap::from([(MAJ_1, vec![1.0, 1.0, 0.0, 0.0]), (Metric { k: 4, ..MAJ_1 }, vec![0.5; 4])]);
        let second = BTreeMap::from([(MAJ_1, vec![1.0, 1.0, 1.0, 0.0])]);
        let compared = compare(&first, &second).unwrap();
        // One question of four differs: mean 0.25, deviation 0.5, 1.96 * 0.5 / 2.
        let Compared { first, second, difference, ci95 } = compared[&MAJ_1];
        assert_eq!((first, second, difference, compared.len()), (0.5, 0.75, 0.25, 1));
        assert!((ci95[0] + 0.24).abs() < 1e-4 && (ci95[1] - 0.74).abs() < 1e-4, "{ci95:?}");
        let text = table(&compared);
        assert!(text.contains("maj@1") && text.contains("+0.250") && text.contains("[-0.240, +0.740]"), "{text}");
    }

    #[test]
    fn a_file_names_its_questions_and_one_of_an_earlier_version_does_not() {
        let sample = |id: &str, question: &str| Sample {
            step: None,
            id: id.into(),
            question: question.into(),
            completion: String::new(),
            answer: None,
            kind: data::AnswerKind::Number,
            expected: "1".into(),
            reward: None,
            correct: false,
            finish: model::Finish::Stop,
            tokens: 0,
            greedy: true,
            given: 0,
            calculated: Vec::new(),
            score: None,
        };
        let of = |split, samples: &[(&str, &str)]| {
            let samples: Vec<Sample> = samples.iter().map(|(id, question)| sample(id, question)).collect();
            Questions::of("synthetic".into(), split, &samples)
        };
        let questions = of(Split::Test, &[("a", "one?"), ("b", "two?")]);
        let all = ByQuestion { questions: Some(questions.clone()), scores: BTreeMap::from([(MAJ_1, vec![1.0, 0.0])]) };
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<ByQuestion>(&text).unwrap(), all);
        let earlier: ByQuestion = serde_json::from_str("{\"maj@1\": [1.0, 0.0]}").unwrap();
        assert_eq!(earlier, ByQuestion { questions: None, ..all });
        assert!(serde_json::from_str::<ByQuestion>("{\"maj@1\": [1.0], \"ids\": 3}").is_err());

        let refusal = |other| questions.check_same(&other).unwrap_err().to_string();
        questions.check_same(&questions).unwrap();
        assert!(refusal(of(Split::Train, &[("a", "one?"), ("b", "two?")])).contains("the second to synthetic/train"));
        assert!(refusal(of(Split::Test, &[("a", "one?")])).contains("2 questions, the second 1"));
        let swapped = refusal(of(Split::Test, &[("b", "two?"), ("a", "one?")]));
        assert!(swapped.contains("question 1 is a in the first and b in the second"), "{swapped}");
        assert!(refusal(of(Split::Test, &[("a", "one?"), ("b", "three?")])).contains("same names but other texts"));
    }

    #[test]
    fn other_problems_and_other_metrics_cannot_be_compared() {
        let of = |metric: Metric, count: usize| BTreeMap::from([(metric, vec![1.0; count])]);
        let error = |a, b| compare(&a, &b).unwrap_err().to_string();
        assert!(error(of(MAJ_1, 4), of(MAJ_1, 5)).starts_with("4 and 5 problems"));
        assert!(error(of(MAJ_1, 1), of(MAJ_1, 1)).contains("at least two"));
        assert!(error(of(MAJ_1, 4), of(Metric { k: 4, ..MAJ_1 }, 4)).contains("no metric in common"));
    }
}
