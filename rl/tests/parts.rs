//! Claims that a run whose sampling several processes have shared is the run of one process, and that parts that do not belong are refused.

mod common;

use common::{files, metrics, run, run_ei, run_orm, run_rcrl, start};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Makes parts of what a command samples into a folder, one after another.
#[track_caller]
fn make(command: impl Fn(&[&str]) -> anyhow::Result<PathBuf>, folder: &Path, parts: &[&str]) {
    for part in parts {
        let run = command(&[&format!("--part={part}"), &format!("--parts={}", folder.display())]).unwrap();
        assert_eq!(run, PathBuf::new(), "a part leaves no run");
    }
}

/// Samples, metrics and checkpoints are the same; the configurations say where the samples come from.
#[track_caller]
fn assert_same_results(one: &Path, other: &Path, drawn_by_itself: bool) {
    let samples = |dir: &Path| fs::read(dir.join("samples.jsonl")).unwrap();
    assert!(samples(one) == samples(other), "samples differ");
    assert!(files(&one.join("checkpoints")) == files(&other.join("checkpoints")), "checkpoints differ");
    let metrics = |dir: &Path| {
        let mut lines = metrics(dir);
        if !drawn_by_itself {
            lines.iter_mut().for_each(|line| drop(line.remove("sampled")));
        }
        lines
    };
    assert_eq!(metrics(one), metrics(other));
}

#[test]
fn expert_iteration_whose_rounds_are_sampled_in_parts_is_that_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // Two chunks of questions in a round.
    let flags = ["--samples=300", "--rounds=2", "--max-new-tokens=8", "--unsolved-samples=600"];
    let straight = run_ei(&at("straight"), &flags).unwrap();
    let with = |dir: &Path, more: &[&str]| run_ei(dir, &[flags.as_slice(), more].concat());
    make(|more| with(&at("unused"), more), &at("one"), &["2/2", "1/2"]);
    let (first, second) = (at("one").join("*.jsonl"), at("two").join("part*"));
    let shared = at("shared");
    let stopped = with(&shared, &[&format!("--from-samples={}", first.display()), "--stop-after=1"]);
    assert!(stopped.unwrap_err().to_string().contains("interrupted"));
    let resume = format!("--resume={}", shared.display());
    let before = files(&shared);
    make(|more| run(&[&["ei", &resume, "--quiet"], more].concat()), &at("two"), &["1/3", "2/3", "3/3"]);
    assert!(files(&shared) == before, "a part only reads the run");
    run(&["ei", &resume, "--quiet", &format!("--from-samples={}", second.display())]).unwrap();
    assert_same_results(&shared, &straight, true);
}

#[test]
fn return_conditioned_rl_whose_samples_and_completions_come_in_parts_is_that_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let flags = ["--samples=160", "--completions=50", "--max-new-tokens=48"];
    let with = |dir: &Path, more: &[&str]| run_rcrl(dir, &[flags.as_slice(), more].concat());
    let straight = with(&at("straight"), &[]).unwrap();
    make(|more| with(&at("unused"), more), &at("samples"), &["1/2", "2/2"]);
    let samples = format!("--from-samples={}", at("samples").join("*").display());
    make(|more| with(&at("unused"), &[&[samples.as_str()], more].concat()), &at("prefixes"), &["2/2", "1/2"]);
    let prefixes = format!("--from-prefixes={}", at("prefixes").join("*").display());
    let shared = with(&at("shared"), &[&samples, &prefixes]).unwrap();
    assert_same_results(&shared, &straight, false);
    let counted = fs::read_to_string(straight.join("prefixes.jsonl")).unwrap();
    assert!(counted.lines().count() > 1024 / 50, "more than one chunk");
    assert_eq!(fs::read_to_string(shared.join("from-prefixes.jsonl")).unwrap(), counted);
    assert!(fs::read_to_string(shared.join("prefixes.jsonl")).unwrap().is_empty());
}

#[test]
fn parts_of_other_work_and_parts_without_work_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (init, parts) = (start(), format!("--parts={}", at("parts").display()));
    let error = |more: &[&str]| format!("{:#}", run_orm(init, &at("run"), more).unwrap_err());
    run_orm(init, &at("run"), &["--part=1/2", &parts]).unwrap();
    let from = format!("--from-samples={}", at("parts").join("*.jsonl").display());
    let missing = error(&[&from]);
    assert!(missing.contains("lacks parts: make them with --part 2/2"), "{missing}");
    assert!(!at("run").exists());
    let other = error(&["--part=1/2", &parts, "--temperature=0.9"]);
    assert!(other.contains("part-1-of-2.jsonl is a part of other work: temperature is 1.0, and 0.9"), "{other}");
    run_orm(init, &at("run"), &["--part=2/2", &parts]).unwrap();
    let nothing = error(&["--part=1/2", &parts, &from]);
    assert!(nothing.contains("--labels outcome needs no completions"), "{nothing}");
    let resumed = error(&["--part=1/2", &parts, "--resume=run"]);
    assert!(resumed.contains("--resume"), "{resumed}");
    run_orm(init, &at("run"), &[&from]).unwrap();
}
