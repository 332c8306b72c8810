//! What an evaluation found: the REPORT that every command writes, and the table that people read.
//!
//! A report holds means over questions with intervals, and no samples. How a single question is scored stands in
//! [`metrics`](crate::metrics).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use comfy_table::{CellAlignment, Table, presets};
use data::{Benchmark, Split};
use serde::{Deserialize, Deserializer, Serialize};

use crate::diversity::Diversity;
use crate::metrics::{Estimate, Graded, maj_at_k, pass_at_k, rerank_at_k};

/// An evaluation of one policy on one part of a benchmark; as JSON, the REPORT of `eval.json`.
///
/// The metrics stand beside the other keys: `{"benchmark": …, "maj@1": {"value": 0.41, "ci95": [0.38, 0.44]}, …}`.
/// Reading ignores keys that it does not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The set of problems.
    pub benchmark: Benchmark,
    /// The part of it.
    pub split: Split,
    /// The number of questions that were scored.
    pub problems: usize,
    /// Samples of each question, the greedy one aside; the smallest number where they differ.
    pub samples: usize,
    /// The sampling temperature; null where somebody else sampled.
    pub temperature: Option<f64>,
    /// What was evaluated; null where somebody else sampled.
    pub checkpoint: Option<String>,
    /// maj@k, pass@k and rerank@k, in this order and by rising k.
    #[serde(flatten, deserialize_with = "metrics_among_other_keys")]
    pub metrics: BTreeMap<Metric, Estimate>,
    /// The share, in [0, 1], of samples whose answer cannot be read; of the greedy ones if there are no others.
    pub parse_failures: f64,
    /// The share, in [0, 1], of samples that were cut at the token limit; null where that is not known.
    pub truncated: Option<f64>,
    /// The mean length of a sample in tokens; null where that is not known.
    pub mean_tokens: Option<f64>,
}

/// What a report says that the graded samples do not.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// The set of problems.
    pub benchmark: Benchmark,
    /// The part of it.
    pub split: Split,
    /// The sampling temperature.
    pub temperature: Option<f64>,
    /// What was evaluated.
    pub checkpoint: Option<String>,
    /// The share, in [0, 1], of samples that were cut at the token limit.
    pub truncated: Option<f64>,
    /// The mean length of a sample in tokens.
    pub mean_tokens: Option<f64>,
}

/// One metric of a report. Its text is `maj@96`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Metric {
    /// How k samples become one verdict.
    pub kind: MetricKind,
    /// How many samples.
    pub k: usize,
}

/// How k samples of a question become one verdict.
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
    /// `questions[i]` and `greedy[i]` are of the same question. maj@1 is the accuracy of the greedy samples where they
    /// are given, whatever `ks` says; else it is the mean accuracy of a single sample, if `ks` has 1. pass@1 is always
    /// the latter. rerank@k is there if the samples have scores.
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
            problems: questions.len(),
            samples: questions.iter().map(Vec::len).min().unwrap_or(0),
            temperature: about.temperature,
            checkpoint: about.checkpoint,
            metrics,
            parse_failures: if all.is_empty() {
                unparsable_share(greedy.unwrap_or_default().iter())
            } else {
                unparsable_share(all.into_iter())
            },
            truncated: about.truncated,
            mean_tokens: about.mean_tokens,
        })
    }

    /// One metric by its kind and k, if the report has it.
    pub fn metric(&self, kind: MetricKind, k: usize) -> Option<Estimate> {
        self.metrics.get(&Metric { kind, k }).copied()
    }
}

/// What each question scores, one number a question in their order, by the metrics that [`Report::from_graded`] has the means of.
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

/// Reports side by side, one named row each, with a column for every metric that any of them has.
pub fn table(rows: &[(&str, &Report)]) -> String {
    let columns: BTreeSet<Metric> = rows.iter().flat_map(|(_, report)| report.metrics.keys().copied()).collect();
    let with_truncated = rows.iter().any(|(_, report)| report.truncated.is_some());
    let with_tokens = rows.iter().any(|(_, report)| report.mean_tokens.is_some());

    let mut header = vec![String::new(), "problems".to_owned()];
    header.extend(columns.iter().map(Metric::to_string));
    header.push("unparsable".to_owned());
    header.extend(with_truncated.then(|| "truncated".to_owned()));
    header.extend(with_tokens.then(|| "mean tokens".to_owned()));

    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    for (name, report) in rows {
        let mut cells = vec![(*name).to_owned(), report.problems.to_string()];
        cells.extend(columns.iter().map(|metric| or_dash(report.metrics.get(metric).map(Estimate::to_string))));
        cells.push(percent(report.parse_failures));
        cells.extend(with_truncated.then(|| or_dash(report.truncated.map(percent))));
        cells.extend(with_tokens.then(|| or_dash(report.mean_tokens.map(|tokens| format!("{tokens:.1}")))));
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// The diversity of steps or rounds, a row each.
pub fn diversity_table(rows: &[(Option<usize>, Diversity)]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "step",
        "questions",
        "samples",
        "right",
        "unsolved",
        "distinct texts",
        "distinct traces",
        "distance of texts",
        "distance of traces",
    ]);
    for (step, diversity) in rows {
        table.add_row([
            or_dash(step.map(|step| step.to_string())),
            diversity.questions.to_string(),
            diversity.samples.to_string(),
            diversity.right.to_string(),
            percent(diversity.unsolved),
            format!("{:.2}", diversity.distinct_texts),
            format!("{:.2}", diversity.distinct_traces),
            or_dash(diversity.text_distance.map(|distance| distance.to_string())),
            or_dash(diversity.trace_distance.map(|distance| distance.to_string())),
        ]);
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table.to_string()
}

/// The mean of one metric over questions.
fn unparsable_share<'a>(samples: impl ExactSizeIterator<Item = &'a Graded>) -> f64 {
    let count = samples.len();
    let unparsable = samples.filter(|sample| sample.answer.is_none()).count();
    if count == 0 { 0.0 } else { unparsable as f64 / count as f64 }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// Keeps the keys that name a metric, and passes over those that a later version may have added.
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
mod tests {
    use data::Answer;

    use super::*;

    fn graded(answer: Option<i64>, score: Option<f64>) -> Graded {
        Graded { answer: answer.map(Answer::from_integer), correct: answer == Some(72), score }
    }

    fn about() -> About {
        About {
            benchmark: Benchmark::Gsm8k,
            split: Split::Test,
            temperature: Some(0.7),
            checkpoint: Some("runs/sft/checkpoints/step-000100".to_owned()),
            truncated: Some(0.125),
            mean_tokens: Some(64.5),
        }
    }

    /// Four samples of two questions; the vote is tied in the first and lost in the second.
    fn questions(score: Option<f64>) -> Vec<Vec<Graded>> {
        let question = |answers: [Option<i64>; 4]| answers.map(|answer| graded(answer, score)).to_vec();
        vec![question([Some(72), Some(72), Some(5), Some(5)]), question([Some(72), Some(5), Some(5), None])]
    }

    #[test]
    fn the_json_has_the_keys_of_the_contract_in_their_order() {
        let report = Report::from_graded(&questions(Some(0.5)), None, &[4, 1], about()).unwrap();
        let json = serde_json::to_string(&report).unwrap();
        let keys = [
            "benchmark",
            "split",
            "problems",
            "samples",
            "temperature",
            "checkpoint",
            "maj@1",
            "maj@4",
            "pass@1",
            "pass@4",
            "rerank@1",
            "rerank@4",
            "parse_failures",
            "truncated",
            "mean_tokens",
        ];
        let places: Vec<usize> = keys.iter().map(|key| json.find(&format!("\"{key}\":")).expect(key)).collect();
        assert!(places.is_sorted(), "{json}");
        assert_eq!(json.matches("\":").count(), keys.len() + 2 * 6, "{json}");

        let value = serde_json::to_value(&report).unwrap();
        assert_eq!(value["benchmark"], "gsm8k");
        assert_eq!(value["split"], "test");
        assert_eq!((value["problems"].as_u64(), value["samples"].as_u64()), (Some(2), Some(4)));
        assert_eq!(value["maj@4"]["value"], 0.25);
        assert_eq!(value["pass@4"]["value"], 1.0);
        assert_eq!(value["pass@4"]["ci95"][1], 1.0);
        assert_eq!(value["parse_failures"], 0.125);
    }

    #[test]
    fn a_report_comes_back_from_its_json() {
        for score in [None, Some(0.5)] {
            let report = Report::from_graded(&questions(score), None, &[1, 2, 3, 4], about()).unwrap();
            let back: Report = serde_json::from_str(&serde_json::to_string_pretty(&report).unwrap()).unwrap();
            assert_eq!(back, report);
        }
    }

    #[test]
    fn what_is_not_known_is_null_and_comes_back() {
        let unknown = About { temperature: None, checkpoint: None, truncated: None, mean_tokens: None, ..about() };
        let report = Report::from_graded(&questions(None), None, &[1], unknown).unwrap();
        let value = serde_json::to_value(&report).unwrap();
        for key in ["temperature", "checkpoint", "truncated", "mean_tokens"] {
            assert!(value[key].is_null() && value.get(key).is_some(), "{key}");
        }
        assert_eq!(serde_json::from_value::<Report>(value).unwrap(), report);
    }

    #[test]
    fn an_unknown_key_is_passed_over_and_a_broken_metric_is_named() {
        let report = Report::from_graded(&questions(None), None, &[1], about()).unwrap();
        let mut value = serde_json::to_value(&report).unwrap();
        value["diversity"] = serde_json::json!({"distinct": 3.5});
        assert_eq!(serde_json::from_value::<Report>(value.clone()).unwrap(), report);
        value["maj@1"] = serde_json::json!(0.4);
        let error = serde_json::from_value::<Report>(value).unwrap_err().to_string();
        assert!(error.contains("maj@1"), "{error}");
    }

    #[test]
    fn maj_at_1_is_of_the_greedy_sample_where_there_is_one() {
        let greedy = [graded(Some(72), None), graded(Some(72), None)];
        let report = Report::from_graded(&questions(None), Some(&greedy), &[1, 4], about()).unwrap();
        assert_eq!(report.metric(MetricKind::Maj, 1).unwrap().value, 1.0);
        assert_eq!(report.metric(MetricKind::Pass, 1).unwrap().value, 0.375);
        let sampled = Report::from_graded(&questions(None), None, &[1, 4], about()).unwrap();
        assert_eq!(sampled.metric(MetricKind::Maj, 1).unwrap().value, 0.375);
    }

    #[test]
    fn greedy_samples_alone_make_a_report() {
        let greedy = [graded(Some(72), None), graded(None, None)];
        let report = Report::from_graded(&[vec![], vec![]], Some(&greedy), &[], about()).unwrap();
        assert_eq!(report.metrics.len(), 1);
        assert_eq!(report.metric(MetricKind::Maj, 1).unwrap().value, 0.5);
        assert_eq!((report.samples, report.parse_failures), (0, 0.5));
    }

    #[test]
    fn rerank_is_there_only_with_scores() {
        let report = Report::from_graded(&questions(None), None, &[4], about()).unwrap();
        assert_eq!(report.metric(MetricKind::Rerank, 4), None);
        let report = Report::from_graded(&questions(Some(0.5)), None, &[4], about()).unwrap();
        // All scores are equal, so that reranking chooses at random.
        assert!((report.metric(MetricKind::Rerank, 4).unwrap().value - 0.375).abs() < 1e-12);
    }

    #[test]
    fn no_question_and_k_beyond_the_samples_are_errors() {
        assert!(Report::from_graded(&[], None, &[1], about()).is_err());
        let error = Report::from_graded(&questions(None), None, &[5], about()).unwrap_err();
        assert!(format!("{error:#}").contains("question 0: k = 5"), "{error:#}");
    }

    #[test]
    fn a_table_has_a_row_for_each_report_and_a_dash_for_what_one_lacks() {
        let before = Report::from_graded(&questions(None), None, &[1, 4], about()).unwrap();
        let after = Report::from_graded(&questions(None), None, &[1], about()).unwrap();
        let text = table(&[("before", &before), ("after", &after)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        for column in ["maj@1", "maj@4", "pass@1", "pass@4", "unparsable", "truncated", "mean tokens"] {
            assert!(lines[0].contains(column), "{text}");
        }
        assert!(lines[2].contains("before") && lines[2].contains("0.375 [0.13, 0.62]"), "{text}");
        assert!(lines[3].contains("after") && lines[3].contains(" - "), "{text}");
        assert!(lines[2].contains("12.5 %") && lines[2].contains("64.5"), "{text}");
    }

    #[test]
    fn a_metric_is_its_text() {
        for text in ["maj@1", "pass@96", "rerank@4"] {
            assert_eq!(text.parse::<Metric>().unwrap().to_string(), text);
        }
        for text in ["maj", "maj@", "maj@-1", "best@4", "", "@"] {
            assert!(text.parse::<Metric>().is_err(), "{text}");
        }
    }
}
