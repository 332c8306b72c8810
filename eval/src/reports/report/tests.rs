//! Claims about reports, and the table that is made of them.

use data::Answer;

use super::*;
use crate::table;

fn graded(answer: Option<i64>, score: Option<f64>) -> Graded {
    Graded { answer: answer.map(Answer::from_integer), correct: answer == Some(72), score }
}

fn about() -> About {
    About {
        answer_format: AnswerFormat::Auto,
        benchmark: "gsm8k".into(),
        split: Split::Test,
        temperature: Some(0.7),
        checkpoint: Some("runs/sft/checkpoints/step-000100".to_owned()),
        truncated: Some(0.125),
        mean_tokens: Some(64.5),
        checker: None,
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
        "answer_format",
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
fn unknown_values_are_null_and_read_back() {
    let unknown = About { temperature: None, checkpoint: None, truncated: None, mean_tokens: None, ..about() };
    let report = Report::from_graded(&questions(None), None, &[1], unknown).unwrap();
    let value = serde_json::to_value(&report).unwrap();
    for key in ["temperature", "checkpoint", "truncated", "mean_tokens"] {
        assert!(value[key].is_null() && value.get(key).is_some(), "{key}");
    }
    assert_eq!(serde_json::from_value::<Report>(value).unwrap(), report);
}

#[test]
fn an_unknown_key_is_ignored_and_a_broken_metric_is_named() {
    let report = Report::from_graded(&questions(None), None, &[1], about()).unwrap();
    let mut value = serde_json::to_value(&report).unwrap();
    value["diversity"] = serde_json::json!({"distinct": 3.5});
    assert_eq!(serde_json::from_value::<Report>(value.clone()).unwrap(), report);
    value["maj@1"] = serde_json::json!(0.4);
    let error = serde_json::from_value::<Report>(value).unwrap_err().to_string();
    assert!(error.contains("maj@1"), "{error}");
}

#[test]
fn maj_at_1_is_the_accuracy_of_the_greedy_samples_if_there_are_any() {
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
fn a_metric_is_written_and_read_as_its_text() {
    for text in ["maj@1", "pass@96", "rerank@4"] {
        assert_eq!(text.parse::<Metric>().unwrap().to_string(), text);
    }
    for text in ["maj", "maj@", "maj@-1", "best@4", "", "@"] {
        assert!(text.parse::<Metric>().is_err(), "{text}");
    }
}
