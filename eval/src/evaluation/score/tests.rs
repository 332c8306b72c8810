//! Tests of `score`.

use clap::Parser;

use super::*;
use crate::reports::report::MetricKind;
use std::{fs, path::Path};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    score: ScoreArgs,
}

/// The arguments of `eval score --predictions … more`.
fn arguments(predictions: &Path, more: &[&str]) -> ScoreArgs {
    let fixed = ["score", "--predictions"].map(std::ffi::OsString::from);
    let more = more.iter().map(std::ffi::OsString::from);
    Command::parse_from(fixed.into_iter().chain([predictions.into()]).chain(more)).score
}

/// Three problems; the last two have the same question and other answers.
fn problems() -> Vec<Problem> {
    [("How many?", 72), ("How much?", 5), ("How much?", 6)]
        .into_iter()
        .map(|(question, answer)| Problem {
            id: format!("test/{answer}"),
            question: question.to_owned(),
            solution: format!("#### {answer}"),
            answer: Answer::from_integer(answer),
            worked: None,
        })
        .collect()
}

fn read(text: &str) -> Result<Vec<GradedRow>> {
    read_predictions(text.as_bytes(), &problems(), &AnswerFormat::Auto)
}

#[track_caller]
fn read_fails_with(text: &str, parts: &[&str]) {
    let error = format!("{:#}", read(text).unwrap_err());
    for part in parts {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains('\n'), "{error}");
}

fn score_of(text: &str, more: &[&str]) -> Result<Report> {
    score(&read(text)?, &problems(), &arguments(Path::new("p.jsonl"), more))
}

const THREE: &str = r#####"
    {"index": 1, "completions": ["#### 5", "#### 4"], "scores": [0.1, 0.9]}
    {"index": 0, "completions": ["so <<8*9=72>>72\n#### 72", "no idea"], "scores": [2, -1e3]}
    {"question": "How much?", "completions": ["#### 6.0", "#### 12/2"], "scores": [0, 0], "model": "other"}
"#####;

#[test]
fn every_completion_is_graded_against_its_own_problem() {
    let rows = read(THREE).unwrap();
    let correct: Vec<(usize, Vec<bool>)> =
        rows.iter().map(|row| (row.index, row.samples.iter().map(|sample| sample.correct).collect())).collect();
    assert_eq!(correct, [(1, vec![true, false]), (0, vec![true, false]), (2, vec![true, true])]);
    assert_eq!(
        per_sample_lines(&rows[1..2]).unwrap(),
        "{\"index\":0,\"sample\":0,\"answer\":\"72\",\"correct\":true}\n\
         {\"index\":0,\"sample\":1,\"answer\":null,\"correct\":false}\n"
    );
}

#[test]
fn the_report_counts_what_the_lines_say() {
    let report = score_of(THREE, &["--k", "1,2"]).unwrap();
    let value = |kind, k| report.metric(kind, k).unwrap().value;
    assert!((value(MetricKind::Maj, 1) - 2.0 / 3.0).abs() < 1e-12);
    // Tied, won without a second vote, won.
    assert!((value(MetricKind::Maj, 2) - 2.5 / 3.0).abs() < 1e-12);
    assert_eq!(value(MetricKind::Pass, 2), 1.0);
    assert!((value(MetricKind::Rerank, 2) - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!((report.problems, report.samples), (3, 2));
    assert!((report.parse_failures - 1.0 / 6.0).abs() < 1e-12);
}

#[test]
fn by_default_k_is_one_and_what_every_line_allows() {
    let report = score_of(THREE, &[]).unwrap();
    let names: Vec<String> = report.metrics.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["maj@1", "maj@2", "pass@1", "pass@2", "rerank@1", "rerank@2"]);
}

#[test]
fn the_same_question_twice_goes_to_its_rows_in_order() {
    let line = "{\"question\": \"How much?\", \"completions\": [\"#### 5\"]}\n";
    let rows = read(&line.repeat(2)).unwrap();
    assert_eq!(rows.iter().map(|row| row.index).collect::<Vec<_>>(), [1, 2]);
    read_fails_with(&line.repeat(3), &["line 3", "stands already in line 1"]);
}

#[test]
fn a_broken_line_is_named_with_its_number() {
    let good = "{\"index\": 0, \"completions\": [\"#### 1\"]}\n\n";
    for (bad, parts) in [
        ("{\"index\": 1, \"completions\": [\"#### 1\"", &["line 3", "malformed JSON", "column"][..]),
        ("nonsense", &["line 3", "not a JSON object"]),
        ("[1, null, [\"a\"]]", &["line 3", "not a JSON object"]),
        ("{\"index\": 1, \"completions\": [\"a\"]} more", &["line 3", "malformed JSON"]),
        ("{\"index\": 1}", &["line 3", "completions"]),
        ("{\"index\": 1, \"completions\": [5]}", &["line 3", "a string"]),
        ("{\"index\": 1, \"completions\": \"#### 1\"}", &["line 3", "sequence"]),
        ("{\"index\": -1, \"completions\": [\"a\"]}", &["line 3", "-1"]),
        ("{\"index\": 3, \"completions\": [\"a\"]}", &["line 3", "unknown index 3", "3 problems"]),
        ("{\"index\": 18446744073709551615, \"completions\": [\"a\"]}", &["line 3", "unknown index"]),
        ("{\"index\": 0, \"completions\": [\"a\"]}", &["line 3", "index 0", "line 1"]),
        ("{\"question\": \"Why?\", \"completions\": [\"a\"]}", &["line 3", "unknown question \"Why?\""]),
        ("{\"index\": 1, \"question\": \"How many?\", \"completions\": [\"a\"]}", &["line 3", "another question"]),
        ("{\"completions\": [\"a\"]}", &["line 3", "neither"]),
        ("{\"index\": 1, \"completions\": []}", &["line 3", "index 1 has no completions"]),
        ("{\"index\": 1, \"completions\": [\"a\"], \"scores\": [1, 2]}", &["line 3", "1 completions and 2 scores"]),
        ("{\"index\": 1, \"completions\": [\"a\"], \"scores\": []}", &["line 3", "1 completions and 0 scores"]),
        ("{\"index\": 1, \"completions\": [\"a\"], \"scores\": [null]}", &["line 3", "another type", "null"]),
        (
            "{\"index\": 1, \"completion\": \"a\"}",
            &["line 3: the field \"completions\" is missing", "\"completion\", \"index\""],
        ),
        (
            "{\"index\": 1, \"resps\": [[\"a\"]]}",
            &["line 3", "the field \"doc_id\" is missing", "\"index\", \"resps\""],
        ),
        ("{\"index\": 1, \"completions\": [\"a\"], \"scores\": [NaN]}", &["line 3", "malformed JSON"]),
        ("{\"index\": 1, \"completions\": [\"a\"], \"scores\": [1e999]}", &["line 3", "malformed JSON"]),
        ("{\"index\": 1, \"completions\": [\"a\"], \"scores\": [1]}", &["line 3", "line 1 lacks them"]),
    ] {
        read_fails_with(&format!("{good}{bad}\n"), parts);
    }
    let deep = "[".repeat(100_000);
    read_fails_with(&format!("{{\"index\": 0, \"extra\": {deep}"), &["line 1", "malformed JSON"]);
    let long = "why ".repeat(1000);
    read_fails_with(&format!("{{\"question\": \"{long}\", \"completions\": [\"a\"]}}"), &["line 1", "why …"]);
}

/// A line as lm-evaluation-harness 0.4 writes it: `(doc_id, question, filter, completions)`.
fn harness_line(doc_id: usize, question: &str, filter: &str, completions: &[&str]) -> String {
    let line = serde_json::json!({
        "doc_id": doc_id,
        "doc": {"question": question, "answer": "#### 1"},
        "target": "#### 1",
        "arguments": {"gen_args_0": {"arg_0": "Question: …", "arg_1": {"until": ["Question:"]}}},
        "resps": [completions],
        "filtered_resps": ["1"],
        "filter": filter,
        "metrics": ["exact_match"],
        "doc_hash": "00",
        "exact_match": 0.0,
    });
    format!("{line}\n")
}

#[test]
fn samples_of_lm_evaluation_harness_are_graded_once_whatever_filters_there_are() {
    let mut text = String::new();
    for filter in ["strict-match", "flexible-extract"] {
        text += &harness_line(0, " How many?\n", filter, &["#### 72", "no idea"]);
        text += &harness_line(1, "How much?", filter, &["#### 6", "#### 5"]);
        text += &harness_line(2, "How much?", filter, &["#### 6", "#### 6"]);
    }
    let rows = read(&text).unwrap();
    let correct: Vec<(usize, usize, Vec<bool>)> = rows
        .iter()
        .map(|row| (row.line, row.index, row.samples.iter().map(|sample| sample.correct).collect()))
        .collect();
    assert_eq!(correct, [(1, 0, vec![true, false]), (2, 1, vec![false, true]), (3, 2, vec![true, true])]);
}

#[test]
fn a_document_that_is_numbered_otherwise_is_found_by_its_question() {
    let rows = read(&(harness_line(7, "How much?", "a", &["1"]) + &harness_line(7, "How much?", "b", &["1"]))).unwrap();
    assert_eq!(rows.iter().map(|row| row.index).collect::<Vec<_>>(), [1]);
    let without_question = r#"{"doc_id": 2, "doc": {"Body": "x"}, "resps": [["\u0023### 6"]], "filter": "none"}"#;
    assert_eq!(read(without_question).unwrap()[0].index, 2);
}

#[test]
fn a_document_that_stands_twice_is_an_error() {
    let first = harness_line(0, "How many?", "strict-match", &["#### 72"]);
    let other = harness_line(0, "How many?", "flexible-extract", &["#### 73"]);
    read_fails_with(&(first.clone() + &other), &["line 2", "index 0 stands already in line 1"]);
    read_fails_with(&first.repeat(2), &["line 2", "index 0 stands already in line 1"]);
    read_fails_with(&harness_line(0, "Who?", "none", &["1"]), &["line 1", "unknown question \"Who?\""]);
    let choices = r#"{"doc_id": 0, "doc": {}, "resps": [[["-1.5", "False"]], [["-2.5", "True"]]], "filter": "none"}"#;
    read_fails_with(choices, &["line 1", "lm-evaluation-harness", "only tasks that generate text"]);
}

/// A line of the output file of an OpenAI batch.
fn batch_line(custom_id: &str, contents: &[Option<&str>]) -> String {
    let choice = |(index, content): (usize, &Option<&str>)| {
        let message = serde_json::json!({"role": "assistant", "content": content, "refusal": null});
        serde_json::json!({"index": index, "message": message, "logprobs": null, "finish_reason": "stop"})
    };
    let choices: Vec<_> = contents.iter().enumerate().map(choice).collect();
    let body = serde_json::json!({"id": "chatcmpl-1", "object": "chat.completion", "choices": choices, "usage": {}});
    let response = serde_json::json!({"status_code": 200, "request_id": "r", "body": body});
    let line = serde_json::json!({"id": "batch_req_1", "custom_id": custom_id, "response": response, "error": null});
    format!("{line}\n")
}

#[test]
fn lines_of_an_openai_batch_come_in_any_order_and_their_names_end_with_the_index() {
    let text = batch_line("request-2", &[Some("#### 6"), None])
        + &batch_line("0", &[Some("#### 72"), Some("#### 27")])
        + "{\"index\": 1, \"choices\": [{\"text\": \"#### 5\"}, {\"message\": {\"content\": \"#### 5\"}}]}\n";
    let rows = read(&text).unwrap();
    let correct: Vec<(usize, Vec<bool>)> =
        rows.iter().map(|row| (row.index, row.samples.iter().map(|sample| sample.correct).collect())).collect();
    assert_eq!(correct, [(2, vec![true, false]), (0, vec![true, false]), (1, vec![true, true])]);
}

#[test]
fn a_request_of_a_batch_that_failed_or_has_no_index_is_named() {
    read_fails_with(&batch_line("first", &[Some("1")]), &["line 1", "custom_id \"first\" does not end with the index"]);
    read_fails_with(&batch_line("a-1", &[Some("1")]).repeat(2), &["line 2", "index 1 stands already in line 1"]);
    let expired =
        r#"{"custom_id": "a-1", "response": null, "error": {"code": "batch_expired", "message": "too late"}}"#;
    read_fails_with(expired, &["line 1", "\"a-1\" failed: too late", "--allow-missing"]);
    let refused = r#"{"custom_id": "a-1", "response": {"status_code": 400, "body": {"error": {"message": "no"}}}, "error": null}"#;
    read_fails_with(refused, &["line 1", "\"a-1\" failed: no"]);
    read_fails_with(r#"{"custom_id": "a-1", "response": {"body": {}}}"#, &["\"response.body.choices\" is missing"]);
    read_fails_with(r#"{"choices": [{"text": "1"}]}"#, &["neither \"index\" nor \"question\""]);
}

#[test]
fn no_completion_text_stops_the_scoring() {
    // The first two, an invalid byte and half of a surrogate pair, are right all the same.
    let mut file = b"\xEF\xBB\xBF{\"index\": 0, \"completions\": [\"\xff\xfe #### 72\", \"\\ud800 #### 72\"".to_vec();
    let nines = format!("#### {}", "9".repeat(500));
    let wide = format!("#### 1/{}", "9".repeat(60));
    let small = format!("#### 0.{}1", "0".repeat(90));
    let hashes = "#".repeat(100_000);
    let short =
        ["\0", "", "####", "#### ", "#### 1/0", "#### -", "#### ,", "\\boxed{", "#### ٣", "#### <<", "#### 7é2"];
    for text in short.into_iter().chain([&*nines, &*wide, &*small, &*hashes]) {
        file.extend(format!(", {}", serde_json::json!(text)).bytes());
    }
    file.extend(b"]}");
    let rows = read_predictions(&file[..], &problems(), &AnswerFormat::Auto).unwrap();
    assert_eq!(rows[0].samples.len(), 17);
    assert!(rows[0].samples[..2].iter().all(|sample| sample.correct), "{:?}", &rows[0].samples[..2]);
    let wrongly_right = rows[0].samples[2..].iter().position(|sample| sample.correct);
    assert_eq!(wrongly_right, None);
    score(&rows, &problems(), &arguments(Path::new("p.jsonl"), &["--allow-missing"])).unwrap();
}

#[test]
fn k_beyond_a_row_names_the_row() {
    let text = "{\"index\": 0, \"completions\": [\"a\", \"b\"]}\n{\"index\": 2, \"completions\": [\"a\"]}\n";
    let error = score_of(text, &["--allow-missing", "--k", "1,2"]).unwrap_err().to_string();
    assert!(error.contains("line 2 (index 2) has 1 completions") && error.contains("--k 2"), "{error}");
    assert!(score_of(text, &["--allow-missing", "--k", "1"]).is_ok());
}

#[test]
fn a_problem_without_prediction_is_an_error_unless_allowed() {
    let text = "{\"index\": 0, \"completions\": [\"#### 72\"]}\n";
    let error = score_of(text, &[]).unwrap_err().to_string();
    assert!(
        error.contains("2 of 3 problems") && error.contains("index 1") && error.contains("--allow-missing"),
        "{error}"
    );
    let report = score_of(text, &["--allow-missing"]).unwrap();
    assert_eq!((report.problems, report.metric(MetricKind::Maj, 1).unwrap().value), (1, 1.0));
    assert!(score_of("\n \n", &["--allow-missing"]).unwrap_err().to_string().contains("no predictions"));
}

#[test]
fn k_of_none_is_a_usage_error() {
    for k in ["0", "1,0", "x", "-1", ""] {
        assert!(Command::try_parse_from(["score", "--predictions", "p.jsonl", "--k", k]).is_err(), "{k}");
    }
}

#[test]
fn gold_solutions_of_the_synthetic_benchmark_score_all_right() {
    let folder = tempfile::tempdir().unwrap();
    let predictions = folder.path().join("gold.jsonl");
    let per_sample = folder.path().join("grades.jsonl");
    let gold = data::Benchmark::synthetic().load(Split::Test, &DataOptions::default()).unwrap();
    let lines: String = gold
        .iter()
        .enumerate()
        .map(|(index, problem)| {
            let completion = data::completion_text(&problem.solution);
            format!("{}\n", serde_json::json!({"index": index, "completions": [completion, problem.solution]}))
        })
        .collect();
    fs::write(&predictions, lines).unwrap();

    let args = arguments(&predictions, &["--json", "--k", "1,2", "--per-sample", per_sample.to_str().unwrap()]);
    let report: Report = serde_json::from_str(&output(&args).unwrap()).unwrap();
    assert_eq!((report.problems, report.parse_failures), (gold.len(), 0.0));
    for (metric, estimate) in &report.metrics {
        assert!(estimate.value > 1.0 - 1e-12, "{metric}: {estimate}");
    }
    let written = fs::read_to_string(&per_sample).unwrap();
    assert_eq!(written.lines().count(), 2 * gold.len());
    assert!(written.lines().all(|line| line.ends_with("\"correct\":true}")));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something unfinished was left behind");
}

#[test]
fn a_missing_file_and_an_unwritable_one_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent.jsonl");
    let error = format!("{:#}", run(&arguments(&absent, &[])).unwrap_err());
    assert!(error.contains("cannot open") && error.contains("absent.jsonl"), "{error}");
    let error = format!("{:#}", write_whole(&folder.path().join("no/such/file"), "x").unwrap_err());
    assert!(error.contains("cannot write") && error.contains("no/such/file"), "{error}");
}

#[test]
fn a_checker_decides_which_completions_are_correct_and_its_rewards_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("predictions.jsonl");
    fs::write(&file, THREE).unwrap();
    // One batch of six: the right answer is wrong, a text without an answer is right, and so is a wrong answer.
    let command = r#"while read -r line; do echo '[1, 0.5, 0, 0.75, null, [1]]'; done"#;
    let args = arguments(&file, &["--reward-command", command, "--correct-if", ">= 0.5", "--k", "1"]);
    let checker = args.checker.start(&args.data.benchmark).unwrap().unwrap();
    let rows = read_checked(THREE.as_bytes(), &problems(), &AnswerFormat::Auto, Some(&checker)).unwrap();
    let correct = |row: &GradedRow| row.samples.iter().map(|sample| sample.correct).collect::<Vec<_>>();
    assert_eq!(rows.iter().map(correct).collect::<Vec<_>>(), [[true, true], [false, true], [false, true]]);
    let report = score(&rows, &problems(), &args).unwrap();
    assert!((report.metric(MetricKind::Pass, 1).unwrap().value - 2.0 / 3.0).abs() < 1e-12);
    let lines = per_sample_lines(&rows).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[0], r#"{"index":1,"sample":0,"answer":"5","correct":true,"reward":1.0}"#);
    assert_eq!(lines[3], r#"{"index":0,"sample":1,"answer":null,"correct":true,"reward":0.75}"#);
    assert_eq!(lines[4], r#"{"index":2,"sample":0,"answer":"6","correct":false,"reward":null}"#);
}
