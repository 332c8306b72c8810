//! Claims about backtranslation as a whole: kept pairs are new, have the answer of their solution, and can be trained on.

mod common;

use common::{assert_same_run, metrics, resume, run, run_augment};
use data::{Benchmark, DataOptions, Split, read_problems};
use rl::{
    algorithms::{Algorithm, augment::FILE},
    command::{Command, parse},
};
use std::{collections::BTreeSet, fs, path::Path};

/// The problems that `rl sft` with these flags trains on.
fn training_problems(flags: &[&str]) -> usize {
    let arguments = ["rl", "sft", "--limit=4"].iter().chain(flags).map(Into::into).collect();
    match parse(arguments).unwrap() {
        Command::Train(Algorithm::Sft(config)) => config.data.load(Split::Train).unwrap().len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn kept_pairs_are_new_and_are_trained_on_with_the_other_problems() {
    let folder = tempfile::tempdir().unwrap();
    let all = run_augment(&folder.path().join("all"), &["--agree=0"]).unwrap();
    let problems = read_problems(&all.join(FILE)).unwrap();
    let line = &metrics(&all)[0];
    let count = |name: &str| line[name].as_u64().unwrap() as usize;
    assert!(problems.len() == count("augment/kept") && count("augment/kept") > 4, "{line:?}");
    assert_eq!(count("augment/kept"), count("augment/new"), "--agree 0 keeps all");
    let questions: BTreeSet<&str> = problems.iter().map(|problem| problem.question.as_str()).collect();
    assert_eq!(questions.len(), problems.len());
    for split in [Split::Train, Split::Validation, Split::Test, Split::TestUnseen] {
        for known in common::BENCHMARK.parse::<Benchmark>().unwrap().load(split, &DataOptions::default()).unwrap() {
            assert!(!questions.contains(known.question.as_str()), "{}", known.question);
        }
    }
    assert_eq!(training_problems(&[]), 4);
    assert_eq!(training_problems(&[&format!("--extra={}", all.join(FILE).display())]), 4 + problems.len());
    // Solutions that are all right can be reversed as well.
    let samples = fs::read_to_string(all.join("samples.jsonl")).unwrap();
    let right: Vec<&str> = samples.lines().filter(|line| line.contains("\"correct\":true")).collect();
    fs::write(folder.path().join("right.jsonl"), right.join("\n")).unwrap();
    let file = format!("--from-samples={}", folder.path().join("right.jsonl").display());
    let of_right = run_augment(&folder.path().join("right"), &["--agree=0", &file]).unwrap();
    assert!(!right.is_empty() && metrics(&of_right)[0]["augment/solutions"].as_u64().unwrap() > 0);
    // A higher --agree keeps a part of the same pairs.
    let some = run_augment(&folder.path().join("some"), &["--agree=0.5"]).unwrap();
    let kept = |dir: &Path| fs::read_to_string(dir.join(FILE)).unwrap();
    let all = kept(&all);
    assert!(kept(&some).lines().count() < problems.len());
    assert!(kept(&some).lines().all(|line| all.contains(line)));
}

#[test]
fn a_run_that_was_stopped_and_resumed_is_the_run_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let straight = run_augment(&folder.path().join("straight"), &["--agree=0"]).unwrap();
    let dir = folder.path().join("stopped");
    let error = run_augment(&dir, &["--agree=0", "--stop-after=2"]).unwrap_err().to_string();
    assert!(error.ends_with(&format!("--resume {}", dir.display())), "{error}");
    resume("augment", &dir).unwrap();
    assert_same_run(&dir, &straight);
    assert_eq!(fs::read(dir.join(FILE)).unwrap(), fs::read(straight.join(FILE)).unwrap());
    // Existing questions and answers are not sampled again: they are kept, whatever would be sampled now.
    let verified = dir.join("verified.jsonl");
    let text = fs::read_to_string(&verified).unwrap();
    assert_eq!(text, fs::read_to_string(straight.join("verified.jsonl")).unwrap());
    let none: String = text.lines().map(|line| line.replace("\"agreed\":2", "\"agreed\":0") + "\n").collect();
    fs::write(&verified, none.replace("\"agreed\":1", "\"agreed\":0")).unwrap();
    let questions = fs::read(dir.join("questions.jsonl")).unwrap();
    run(&["augment", &format!("--resume={}", dir.display()), "--agree=0.5", "--quiet"]).unwrap();
    assert_eq!(fs::read_to_string(dir.join(FILE)).unwrap(), "", "no answer agrees");
    assert_eq!(fs::read(dir.join("questions.jsonl")).unwrap(), questions);
}
