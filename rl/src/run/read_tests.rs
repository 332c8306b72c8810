//! Tests of `read.rs`.

use super::*;
use crate::run::fixture::{STEPS, report, write_run};
use std::{fs, path::PathBuf};

fn run_dir() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    write_run(&dir);
    (folder, dir)
}

fn append(path: &Path, text: &str) {
    fs::write(path, fs::read_to_string(path).unwrap() + text).unwrap();
}

fn error_of(dir: &Path) -> String {
    let error = RunFiles::read(dir).err().expect("an error");
    let text = format!("{error:#}");
    assert!(!text.contains('\n'), "{text}");
    text
}

#[test]
fn a_cut_last_line_is_ignored() {
    let (_folder, dir) = run_dir();
    append(&dir.join("metrics.jsonl"), "{\"step\":21,\"reward/m");
    append(&dir.join("samples.jsonl"), "{\"step\":21,\"id\":\"x\",\"ques");
    assert_eq!(RunFiles::read(&dir).unwrap().last_step(), Some(STEPS));
    let (samples, _) = samples_of_step(&dir, None).unwrap();
    assert!(samples.iter().all(|sample| sample.step == Some(STEPS)));
}

#[test]
fn a_malformed_line_is_named_by_file_and_number() {
    let (_folder, dir) = run_dir();
    append(&dir.join("metrics.jsonl"), "{\"step\":21,\"reward/m\n{\"step\":22}\n");
    let error = error_of(&dir);
    assert!(error.contains("metrics.jsonl, line 21"), "{error}");
    assert!(!error.contains("line 1 "), "the parser's own line number misleads: {error}");
    append(&dir.join("samples.jsonl"), "{\"step\":21}\n");
    let error = samples_of_step(&dir, None).unwrap_err().to_string();
    assert!(error.contains("samples.jsonl, line 321") && error.contains("the field \"id\" is missing"), "{error}");
}

#[test]
fn a_line_without_a_step_is_an_error() {
    let (_folder, dir) = run_dir();
    append(&dir.join("metrics.jsonl"), "{\"loss\":1.0}\n");
    assert!(error_of(&dir).contains("line 21: there is no \"step\""));
}

#[test]
fn a_path_that_is_not_a_run_directory_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    assert!(error_of(&folder.path().join("absent")).contains("does not exist"));
    assert!(error_of(folder.path()).contains("is not a run directory"));
    let file = folder.path().join("metrics.jsonl");
    fs::write(&file, "").unwrap();
    assert!(error_of(&file).contains("give the run directory"));
}

#[test]
fn a_run_that_has_only_begun_is_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.toml"), "steps = 3\n").unwrap();
    let files = RunFiles::read(folder.path()).unwrap();
    assert_eq!((files.last_step(), files.command.clone(), files.reports.len()), (None, None, 0));
    assert_eq!(files.summary(&["steps".to_string()]), "steps 3");
    assert!(samples_over_steps(folder.path(), 400).unwrap().is_empty());
}

#[test]
fn a_value_that_was_not_finite_is_a_gap() {
    let (_folder, dir) = run_dir();
    let curves = RunFiles::read(&dir).unwrap().curves;
    assert_eq!((curves["kl/k1"].len(), curves["kl/k3"].len()), (STEPS, STEPS - 1));
    assert_eq!(curves["validation/maj@1"].iter().map(|point| point.0).collect::<Vec<_>>(), [5.0, 10.0, 15.0, 20.0]);
    assert!(!curves.contains_key("step"));
}

#[test]
fn reports_are_those_of_a_training_of_an_evaluation_or_of_its_start() {
    let (_folder, dir) = run_dir();
    let names = || RunFiles::read(&dir).unwrap().reports.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(), ["before", "after"]);
    fs::write(dir.join("eval.json"), serde_json::to_string(&report(4)).unwrap()).unwrap();
    assert_eq!(names(), ["policy"]);
    fs::remove_file(dir.join("eval.json")).unwrap();
    fs::write(dir.join("before.json"), serde_json::to_string(&report(4)).unwrap()).unwrap();
    assert_eq!(names(), ["before"]);
    fs::write(dir.join("eval.json"), "{\"before\": 3}").unwrap();
    assert!(error_of(&dir).contains("eval.json"));
}

#[test]
fn samples_are_taken_evenly_over_steps() {
    let (_folder, dir) = run_dir();
    let count = |most| {
        let mut steps: BTreeMap<Option<usize>, usize> = BTreeMap::new();
        for sample in samples_over_steps(&dir, most).unwrap() {
            *steps.entry(sample.step).or_default() += 1;
        }
        steps
    };
    let all = count(200);
    assert!(all.len() == STEPS && all.values().all(|&samples| samples == 10), "{all:?}");
    let few = count(40);
    assert_eq!(few.keys().map(|step| step.unwrap()).collect::<Vec<_>>(), [1, 5, 10, 15, 20]);
    assert!(few.values().all(|&samples| samples == 8));
}

#[test]
fn indices_are_spread_from_the_first_to_the_last() {
    assert_eq!(evenly(10, 4).collect::<Vec<_>>(), [0, 3, 6, 9]);
    assert_eq!(evenly(3, 9).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(evenly(5, 1).collect::<Vec<_>>(), [4]);
    assert_eq!((evenly(0, 3).count(), evenly(3, 0).count()), (0, 0));
}

#[test]
fn a_readable_number_has_about_four_digits() {
    let cases = [(0.0, "0"), (0.05, "0.05"), (0.123456, "0.1235"), (12.0, "12"), (1234.56, "1235"), (100.0, "100")];
    for (value, text) in cases {
        assert_eq!(readable(value), text);
    }
    assert_eq!((readable(2e-5).as_str(), readable(-3.25e9).as_str()), ("2.00e-5", "-3.25e9"));
}
