//! Claims about Expert Iteration as a whole: what a round is trained on, and that a run that was stopped is the run that never
//! stopped.

mod common;

use common::{PROBLEMS, files, metrics, problems, resume, run_ei};
use eval::{Sample, read_samples};
use std::{collections::BTreeSet, fs, path::Path};

fn samples(dir: &Path) -> Vec<Sample> {
    read_samples(&dir.join("samples.jsonl")).unwrap()
}

fn of_round(all: &[Sample], round: usize) -> Vec<&Sample> {
    all.iter().filter(|sample| sample.step == Some(round)).collect()
}

#[track_caller]
fn assert_same_run(dir: &Path, straight: &Path) {
    assert_eq!(metrics(dir), metrics(straight));
    assert!(samples(dir) == samples(straight), "other samples");
    let weights = |dir: &Path| -> Vec<Vec<u8>> {
        let all = files(&dir.join("checkpoints")).into_iter();
        all.filter(|(path, _)| path.ends_with("model.safetensors")).map(|(_, bytes)| bytes).collect()
    };
    assert!(weights(dir) == weights(straight), "other weights");
}

#[test]
fn a_round_is_trained_on_every_distinct_right_solution_of_any_round() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run_ei(&folder.path().join("run"), &[]).unwrap();
    let (samples, metrics) = (samples(&dir), metrics(&dir));
    assert_eq!(metrics.len(), 3);
    // D_0 is the reference solutions.
    let mut pool: BTreeSet<(String, String)> = problems().iter().map(|p| (p.id.clone(), p.solution.clone())).collect();
    assert_eq!(pool.len(), PROBLEMS);
    for (round, metrics) in (1..).zip(&metrics) {
        let drawn = of_round(&samples, round);
        assert_eq!(drawn.len(), PROBLEMS * 4, "K = 4 of each");
        let before = pool.len();
        let right = drawn.iter().filter(|sample| sample.correct && sample.finish == model::Finish::Stop);
        pool.extend(right.map(|sample| (sample.id.clone(), sample.completion.trim().to_string())));
        assert_eq!(metrics["round/kept"], pool.len() - before);
        assert_eq!(metrics["round/examples"], pool.len());
        assert_eq!(metrics["samples"], round * PROBLEMS * 4);
    }
    assert!(pool.len() > PROBLEMS, "the policy of these tests is sometimes right");
    assert!(dir.join("eval.json").is_file() && dir.join("report.html").is_file());
    for command in ["sft", "ei"] {
        let error = resume(command, &dir.join("rounds/1")).unwrap_err().to_string();
        assert!(error.ends_with("rounds/1 is a part of a run of `rl ei`: resume the run that contains it"), "{error}");
    }
}

#[test]
fn without_reference_solutions_a_round_is_trained_on_its_own_samples_and_equal_traces_count_once() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--start=base", "--shots=1", "--deduplicate=trace", "--rounds=1"];
    let dir = run_ei(&folder.path().join("run"), &flags).unwrap();
    let samples = samples(&dir);
    let right = samples.iter().filter(|sample| sample.correct && sample.finish == model::Finish::Stop);
    // The policy writes no calculation: all its right solutions of a question have the same, empty trace.
    let questions: BTreeSet<&str> = right.map(|sample| sample.id.as_str()).collect();
    assert_eq!(metrics(&dir)[0]["round/examples"], questions.len());
}

#[test]
fn if_no_round_is_better_than_the_start_it_is_the_best_checkpoint_and_the_last_has_its_own_report() {
    let folder = tempfile::tempdir().unwrap();
    let evaluation = |dir: &Path| -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_slice(&fs::read(dir.join("eval.json")).unwrap()).unwrap()
    };
    let index = |dir: &Path| eval::read_index(&dir.join("checkpoints/index.json")).unwrap();
    // A policy that does not change is as good as the start: no gain.
    let dir = run_ei(&folder.path().join("still"), &["--learning-rate=0", "--patience=1"]).unwrap();
    let lines = metrics(&dir);
    assert_eq!(lines.len(), 1, "it ends after a round without a gain");
    assert_eq!(lines[0]["validation/start"], lines[0]["validation/maj@1"]);
    assert_eq!(lines[0]["validation/best"], lines[0]["validation/start"]);
    assert_eq!((index(&dir).best.as_str(), index(&dir).last.as_str()), ("step-000000", "step-000001"));
    let all = evaluation(&dir);
    assert_eq!(all.keys().collect::<Vec<_>>(), ["after", "before", "last"]);
    assert_eq!(all["after"]["maj@1"], all["before"]["maj@1"]);
    eval::Policy::load(&dir, &Default::default()).unwrap();
    // If the last checkpoint is the best, it has no report of its own.
    let dir = run_ei(&folder.path().join("one"), &["--rounds=1", "--steps=20", "--eval-every=20"]).unwrap();
    let is_best = index(&dir).best == index(&dir).last;
    assert_eq!(evaluation(&dir).contains_key("last"), !is_best);
    // A starting model with a few-shot prompt is evaluated with that prompt.
    let flags = ["--start=base", "--shots=1", "--learning-rate=0", "--rounds=1"];
    let dir = run_ei(&folder.path().join("base"), &flags).unwrap();
    if index(&dir).best == "step-000000" {
        assert_eq!(evaluation(&dir)["after"]["maj@1"], evaluation(&dir)["before"]["maj@1"]);
    }
}

#[test]
fn a_run_that_was_stopped_in_a_fit_and_resumed_is_the_run_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let straight = run_ei(&folder.path().join("straight"), &[]).unwrap();
    for step in [1, 3] {
        let dir = folder.path().join(format!("stopped-after-{step}"));
        let error = run_ei(&dir, &[&format!("--stop-after={step}")]).unwrap_err().to_string();
        assert!(error.ends_with(&format!("--resume {}", dir.display())), "{error}");
        assert!(metrics(&dir).is_empty(), "it was stopped in round 1");
        let spent = dir.join("interrupted-cpu-seconds");
        assert!(fs::read_to_string(&spent).unwrap().parse::<f64>().unwrap() > 0.0);
        fs::write(&spent, "1000").unwrap();
        resume("ei", &dir).unwrap();
        let lines = fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
        let of_round = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["time/cpu_s"].as_f64();
        let of_rounds: Vec<f64> = lines.lines().filter_map(of_round).collect();
        assert!(of_rounds[0] > 1000.0 && of_rounds[1..].iter().all(|&seconds| seconds < 1000.0), "{of_rounds:?}");
        assert!(!spent.exists());
        assert_same_run(&dir, &straight);
    }
}

#[test]
fn a_run_that_was_stopped_between_rounds_and_resumed_is_the_run_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    for (name, flags) in [("from-base", vec!["--start=base", "--shots=1"]), ("last", vec!["--reset-to=last"])] {
        let straight = run_ei(&folder.path().join(name), &flags).unwrap();
        let dir = folder.path().join(format!("{name}-stopped"));
        // A run that ends after its first round, is resumed for three: it is between two rounds.
        run_ei(&dir, &[flags.as_slice(), &["--rounds=1"]].concat()).unwrap();
        assert_eq!(metrics(&dir).len(), 1);
        common::run(&["ei", &format!("--resume={}", dir.display()), "--quiet", "--rounds=3"]).unwrap();
        assert_same_run(&dir, &straight);
        assert!(metrics(&dir).len() > 1, "the test needs a second round");
    }
}

#[test]
fn a_run_that_died_while_it_sampled_resumes_from_its_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let straight = run_ei(&folder.path().join("straight"), &[]).unwrap();
    let dir = folder.path().join("died");
    run_ei(&dir, &["--stop-after=1"]).unwrap_err();
    fs::remove_dir_all(dir.join("rounds")).unwrap();
    let text = fs::read_to_string(dir.join("samples.jsonl")).unwrap();
    fs::write(dir.join("samples.jsonl"), &text[..text.len() / 2]).unwrap();
    resume("ei", &dir).unwrap();
    assert_same_run(&dir, &straight);
}

#[test]
fn unsolved_questions_are_sampled_more_from_the_second_round_on_and_such_a_run_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--samples=2", "--unsolved-samples=6", "--temperature=1.5", "--rounds=2", "--patience=2"];
    let straight = run_ei(&folder.path().join("straight"), &flags).unwrap();
    let drawn = samples(&straight);
    let of_round = |round: usize| drawn.iter().filter(move |sample| sample.step == Some(round));
    let count = |round: usize, id: &str| of_round(round).filter(|sample| sample.id == id).count();
    let solved: BTreeSet<&str> = of_round(1).filter(|sample| sample.correct).map(|sample| sample.id.as_str()).collect();
    assert!(!solved.is_empty() && solved.len() < PROBLEMS, "{solved:?}");
    for problem in problems() {
        let of_second = if solved.contains(problem.id.as_str()) { 2 } else { 6 };
        assert_eq!((count(1, &problem.id), count(2, &problem.id)), (2, of_second), "{}", problem.id);
    }
    let completions: BTreeSet<&str> = of_round(2).map(|sample| sample.completion.as_str()).collect();
    assert!(completions.len() > PROBLEMS, "more samples are other samples");
    assert_eq!(metrics(&straight)[1]["samples"], drawn.len());
    // Stopped in the second round, after its samples or among them.
    for cut in [0, 100] {
        let dir = folder.path().join(format!("stopped-{cut}"));
        run_ei(&dir, &[flags.as_slice(), &["--rounds=1"]].concat()).unwrap();
        let on = ["ei", &format!("--resume={}", dir.display()), "--quiet", "--rounds=2"];
        common::run(&[on.as_slice(), &["--stop-after=3"]].concat()).unwrap_err();
        assert_eq!((metrics(&dir).len(), samples(&dir).len()), (1, drawn.len()));
        let text = fs::read_to_string(dir.join("samples.jsonl")).unwrap();
        fs::write(dir.join("samples.jsonl"), &text[..text.len() - cut]).unwrap();
        common::run(&on).unwrap();
        assert_same_run(&dir, &straight);
    }
    let error = run_ei(&folder.path().join("odd"), &["--samples=2", "--unsolved-samples=5"]).unwrap_err().to_string();
    assert!(error.contains("--unsolved-samples 5 is no multiple of --samples 2"), "{error}");
}

#[test]
fn samples_of_another_runs_first_round_replace_those_of_round_one() {
    let folder = tempfile::tempdir().unwrap();
    let first = run_ei(&folder.path().join("first"), &["--rounds=1"]).unwrap();
    // As if it had drawn a second round, which sampled from another policy.
    let text = fs::read_to_string(first.join("samples.jsonl")).unwrap();
    fs::write(folder.path().join("both.jsonl"), text.clone() + &text.replace("\"step\":1,", "\"step\":2,")).unwrap();
    let file = format!("--from-samples={}", folder.path().join("both.jsonl").display());
    let again = run_ei(&folder.path().join("again"), &["--rounds=1", &file]).unwrap();
    assert!(samples(&again) == samples(&first));
    assert_eq!(metrics(&again)[0]["round/examples"], metrics(&first)[0]["round/examples"]);
    let stopped = folder.path().join("stopped");
    run_ei(&stopped, &["--rounds=1", &file, "--stop-after=1"]).unwrap_err();
    fs::remove_file(folder.path().join("both.jsonl")).unwrap();
    resume("ei", &stopped).unwrap();
    assert_same_run(&stopped, &again);
}
