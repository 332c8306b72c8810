//! The report of an evaluation, as every command writes it.
//!
//! A report holds means over questions with intervals, and no samples. [`metrics`](crate::metrics) scores a single
//! question.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use data::{AnswerFormat, Split};
use serde::{Deserialize, Deserializer, Serialize};

use crate::metrics::{Estimate, Graded, maj_at_k, pass_at_k, rerank_at_k};

/// An evaluation of one policy on one part of a benchmark; as JSON, the REPORT of `eval.json`.
///
/// The metrics stand beside the other keys: `{"benchmark": …, "maj@1": {"value": 0.41, "ci95": [0.38, 0.44]}, …}`.
/// Reading ignores keys that it does not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The name of the set of problems.
    pub benchmark: String,
    /// The part of it.
    pub split: Split,
    /// How answers were read from completions.
    #[serde(default)]
    pub answer_format: AnswerFormat,
    /// The number of questions that were scored.
    pub problems: usize,
    /// Samples of each question, the greedy one aside; the smallest number where they differ.
    pub samples: usize,
    /// The sampling temperature, 0 if there are only greedy samples; null for completions from elsewhere.
    pub temperature: Option<f64>,
    /// What was evaluated; null for completions from elsewhere.
    pub checkpoint: Option<String>,
    /// Whether the calculator wrote the results of calculations.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub calculator: bool,
    /// maj@k, pass@k and rerank@k, in this order and by rising k.
    #[serde(flatten, deserialize_with = "metrics_among_other_keys")]
    pub metrics: BTreeMap<Metric, Estimate>,
    /// The share, in [0, 1], of samples whose answer cannot be read; of the greedy ones if there are no others.
    pub parse_failures: f64,
    /// The share, in [0, 1], of samples that were cut at the token limit; null where that is not known.
    pub truncated: Option<f64>,
    /// The mean length of a sample in tokens; null where that is not known.
    pub mean_tokens: Option<f64>,
    /// The external reward that decided which samples are correct, with its condition; absent where answers were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checker: Option<String>,
}

/// The parts of a report that do not follow from the graded samples.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// The name of the set of problems.
    pub benchmark: String,
    /// The part of it.
    pub split: Split,
    /// How answers were read from completions.
    pub answer_format: AnswerFormat,
    /// The sampling temperature.
    pub temperature: Option<f64>,
    /// What was evaluated.
    pub checkpoint: Option<String>,
    /// The share, in [0, 1], of samples that were cut at the token limit.
    pub truncated: Option<f64>,
    /// The mean length of a sample in tokens.
    pub mean_tokens: Option<f64>,
    /// The external reward that decided which samples are correct.
    pub checker: Option<String>,
}

/// One metric of a report. Its text is `maj@96`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Metric {
    /// How k samples are reduced to right or wrong.
    pub kind: MetricKind,
    /// How many samples.
    pub k: usize,
}

/// How k samples of a question are reduced to right or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetricKind {
    /// The majority vote is right.
    Maj,
    /// Any sample is right.
    Pass,
    /// The sample that the reward model scores highest is right.
    Rerank,
}

impl Report {
    /// Scores the samples of each question at every k of `ks`.
    ///
    /// `questions[i]` and `greedy[i]` belong to the same question. maj@1 is the accuracy of the greedy samples where they
    /// are given, whatever `ks` holds; else it is the mean accuracy of a single sample, if `ks` has 1. pass@1 is always
    /// the latter: if there are only greedy samples, it equals maj@1. rerank@k is there if the samples have scores.
    pub fn from_graded(
        questions: &[Vec<Graded>],
        greedy: Option<&[Graded]>,
        ks: &[usize],
        about: About,
    ) -> Result<Report> {
        ensure!(!questions.is_empty(), "there is no question to score");
        if let Some(greedy) = greedy {
            assert_eq!(greedy.len(), questions.len(), "greedy samples and questions differ in number");
        }
        let all: Vec<&Graded> = questions.iter().flatten().collect();
        let by_question = by_question(questions, greedy, ks)?;
        let metrics = by_question.iter().map(|(&metric, values)| (metric, Estimate::over_questions(values))).collect();

        Ok(Report {
            benchmark: about.benchmark,
            split: about.split,
            answer_format: about.answer_format,
            problems: questions.len(),
            samples: questions.iter().map(Vec::len).min().unwrap_or(0),
            temperature: about.temperature,
            checkpoint: about.checkpoint,
            calculator: false,
            metrics,
            parse_failures: if all.is_empty() {
                unparsable_share(greedy.unwrap_or_default().iter())
            } else {
                unparsable_share(all.into_iter())
            },
            truncated: about.truncated,
            mean_tokens: about.mean_tokens,
            checker: about.checker,
        })
    }

    /// One metric by its kind and k, if the report has it.
    pub fn metric(&self, kind: MetricKind, k: usize) -> Option<Estimate> {
        self.metrics.get(&Metric { kind, k }).copied()
    }
}

/// The score of each question, in their order, by the metrics whose means [`Report::from_graded`] computes.
///
/// # Errors
/// A k beyond the samples of a question; scores that some samples have and others have not.
pub fn by_question(
    questions: &[Vec<Graded>],
    greedy: Option<&[Graded]>,
    ks: &[usize],
) -> Result<BTreeMap<Metric, Vec<f64>>> {
    let scored = questions.iter().flatten().any(|sample| sample.score.is_some());
    let mut values = BTreeMap::new();
    for &k in ks {
        let mut add = |kind, score: fn(&[Graded], usize) -> Result<f64>| -> Result<()> {
            let of =
                |(row, samples): (usize, &Vec<Graded>)| score(samples, k).with_context(|| format!("question {row}"));
            let scores = questions.iter().enumerate().map(of).collect::<Result<Vec<f64>>>()?;
            values.insert(Metric { kind, k }, scores);
            Ok(())
        };
        add(MetricKind::Maj, maj_at_k)?;
        add(MetricKind::Pass, |samples, k| {
            pass_at_k(samples.len(), samples.iter().filter(|sample| sample.correct).count(), k)
        })?;
        if scored {
            add(MetricKind::Rerank, rerank_at_k)?;
        }
    }
    if let Some(greedy) = greedy {
        let right = greedy.iter().map(|sample| f64::from(u8::from(sample.correct))).collect();
        values.insert(Metric { kind: MetricKind::Maj, k: 1 }, right);
    }
    Ok(values)
}

/// Share of unreadable answers from which on the answer format is probably another one.
const ALMOST_ALL: f64 = 0.9;

/// Warns where almost no completion has a readable answer: they may be written in another format than they are read in.
pub fn warn_of_unreadable(report: &Report) {
    if report.parse_failures >= ALMOST_ALL {
        tracing::warn!(
            "{:.0} % of the completions have no answer that --answer-format {} can read: check how they end, and give auto, gsm8k, \
             boxed, last-number or regex:PATTERN",
            100.0 * report.parse_failures,
            report.answer_format
        );
    }
}

fn unparsable_share<'a>(samples: impl ExactSizeIterator<Item = &'a Graded>) -> f64 {
    let count = samples.len();
    let unparsable = samples.filter(|sample| sample.answer.is_none()).count();
    if count == 0 { 0.0 } else { unparsable as f64 / count as f64 }
}

/// Keeps the keys that name a metric, and ignores those that a later version may have added.
fn metrics_among_other_keys<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<BTreeMap<Metric, Estimate>, D::Error> {
    let keys = BTreeMap::<String, serde_json::Value>::deserialize(deserializer)?;
    keys.into_iter()
        .filter_map(|(key, value)| key.parse::<Metric>().ok().map(|metric| (metric, value)))
        .map(|(metric, value)| match serde_json::from_value(value) {
            Ok(estimate) => Ok((metric, estimate)),
            Err(error) => Err(serde::de::Error::custom(format!("{metric}: {error}"))),
        })
        .collect()
}

impl fmt::Display for Estimate {
    /// As in `0.412 [0.38, 0.44]`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.3} [{:.2}, {:.2}]", self.value, self.ci95[0], self.ci95[1])
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            MetricKind::Maj => "maj",
            MetricKind::Pass => "pass",
            MetricKind::Rerank => "rerank",
        };
        write!(formatter, "{kind}@{}", self.k)
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Metric, String> {
        let parsed = text.split_once('@').and_then(|(kind, k)| {
            let kind = match kind {
                "maj" => MetricKind::Maj,
                "pass" => MetricKind::Pass,
                "rerank" => MetricKind::Rerank,
                _ => return None,
            };
            Some(Metric { kind, k: k.parse().ok()? })
        });
        parsed.ok_or_else(|| format!("{text:?} is no metric such as maj@1, pass@96 or rerank@96"))
    }
}

impl TryFrom<String> for Metric {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Metric, String> {
        text.parse()
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> String {
        metric.to_string()
    }
}

#[cfg(test)]
mod tests;
