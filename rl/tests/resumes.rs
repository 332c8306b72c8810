//! Claims that a run that was stopped and resumed is the run that never stopped,
//! and the same seed is the same run.

mod common;

use common::{assert_same_run, files, metrics, resume, run, run_dpo, run_ei, run_ppo, run_rcrl, run_sft};
use eval::{Sample, read_samples};
use rl::run::Run;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

fn weights(dir: &Path, step: usize) -> Vec<u8> {
    fs::read(dir.join(format!("checkpoints/step-{step:06}/model.safetensors"))).unwrap()
}

#[test]
fn a_ppo_run_that_was_stopped_and_resumed_is_the_run_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let straight = run_ppo(&folder.path().join("straight"), &[]).unwrap();
    assert!(
        weights(&straight, 4) != fs::read(common::start().join("model.safetensors")).unwrap(),
        "the weights have changed"
    );
    // Steps 1 and 3 are between two evaluations, step 2 is at one.
    for step in 1..=3 {
        let dir = folder.path().join(format!("stopped-after-{step}"));
        let error = run_ppo(&dir, &[&format!("--stop-after={step}")]).unwrap_err().to_string();
        assert!(error.contains(&format!("step-{step:06}")) && error.contains("--resume"), "{error}");
        assert_eq!(metrics(&dir).len(), step);
        resume("ppo", &dir).unwrap();
        assert_same_run(&dir, &straight);
    }
}

#[test]
fn a_resumed_curriculum_remembers_the_questions_that_it_sampled() {
    let folder = tempfile::tempdir().unwrap();
    for curriculum in ["plr", "backtracking"] {
        let flags = [&*format!("--curriculum={curriculum}"), "--questions=3", "--mini-batch=3", "--replay=0.7"];
        let straight = run_ppo(&folder.path().join(curriculum), &flags).unwrap();
        for step in [1, 3] {
            let dir = folder.path().join(format!("{curriculum}-stopped-after-{step}"));
            run_ppo(&dir, &[flags.as_slice(), &[&format!("--stop-after={step}")]].concat()).unwrap_err();
            resume("ppo", &dir).unwrap();
            assert_same_run(&dir, &straight);
        }
        let samples = read_samples(&straight.join("samples.jsonl")).unwrap();
        let of_step = |step: usize| samples.iter().filter(move |sample| sample.step == Some(step));
        let ids = |step: usize| of_step(step).map(|sample| sample.id.clone()).collect::<BTreeSet<String>>();
        let references = common::problems();
        let goes_on = |sample: &Sample| {
            let reference = references.iter().find(|problem| problem.id == sample.id).unwrap();
            sample.completion.trim().starts_with(reference.solution.split_once('\n').unwrap().0)
        };
        if curriculum == "plr" {
            assert_eq!(ids(1).len(), 3, "no question twice in a step");
            assert!(ids(2).intersection(&ids(1)).count() >= 2, "some were replayed");
        } else {
            assert!(of_step(1).all(goes_on), "step 1 continues a whole reference");
            assert!(!of_step(4).any(goes_on), "step 4 starts at the beginning");
        }
    }
}

#[test]
fn an_sft_run_that_was_stopped_and_resumed_is_the_run_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let straight = run_sft(&folder.path().join("straight"), &[]).unwrap();
    assert!(
        weights(&straight, 4) != fs::read(common::start().join("model.safetensors")).unwrap(),
        "the weights have changed"
    );
    for step in 1..=3 {
        let dir = folder.path().join(format!("stopped-after-{step}"));
        run_sft(&dir, &[&format!("--stop-after={step}")]).unwrap_err();
        resume("sft", &dir).unwrap();
        assert_same_run(&dir, &straight);
    }
}

#[test]
fn a_dpo_run_that_was_stopped_and_resumed_is_the_run_that_never_stopped_also_with_adapters() {
    let folder = tempfile::tempdir().unwrap();
    for (name, flags) in [("full", &[][..]), ("adapters", &["--lora-rank=2", "--loss=simpo", "--beta=2"])] {
        let straight = run_dpo(&folder.path().join(name), flags).unwrap();
        assert!(
            weights(&straight, 4) != fs::read(common::start_with_steps().join("model.safetensors")).unwrap(),
            "the weights have changed"
        );
        let pairs = rl::sampling::pairs::read_pairs(&straight.join("pairs.jsonl")).unwrap();
        assert!(pairs.len() > 6, "{} pairs", pairs.len());
        let metrics = metrics(&straight);
        assert!(metrics[3].get("pairs/accuracy").is_some() && metrics[3].get("kl/per_completion").is_some());
        for step in 1..=3 {
            let dir = folder.path().join(format!("{name}-stopped-after-{step}"));
            run_dpo(&dir, &[flags, &[&*format!("--stop-after={step}")]].concat()).unwrap_err();
            resume("dpo", &dir).unwrap();
            assert_same_run(&dir, &straight);
        }
        // The pairs of a run, as a file, are the same pairs.
        let again = folder.path().join(format!("{name}-again"));
        let of_file = format!("--pairs={}", straight.join("pairs.jsonl").display());
        run_dpo(&again, &[flags, &[&of_file]].concat()).unwrap();
        assert!(weights(&again, 4) == weights(&straight, 4));
    }
}

#[test]
fn a_base_model_whose_training_was_stopped_and_resumed_is_the_one_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let data = concat!("--data-dir=", env!("CARGO_MANIFEST_DIR"), "/../data/tests/fixtures");
    let flags = ["--benchmark=svamp", data, "--model=nano", "--context=32", "--device=cpu", "--quiet"];
    let pretrain = |name: &str, more: &[&str]| {
        let out = format!("--out={}", folder.path().join(name).display());
        let own = ["pretrain", &out, "--steps=4", "--eval-every=2", "--threads=2", "--seed=3"];
        run(&[own.as_slice(), &flags, more].concat())
    };
    let straight = pretrain("straight", &[]).unwrap();
    for step in ["1", "2"] {
        let name = format!("stopped-after-{step}");
        pretrain(&name, &[&format!("--stop-after={step}")]).unwrap_err();
        let dir = resume("pretrain", &folder.path().join(name)).unwrap();
        assert_same_run(&dir, &straight);
    }
}

#[test]
fn what_was_written_after_the_last_checkpoint_is_dropped_and_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let straight = run_ppo(&folder.path().join("straight"), &[]).unwrap();
    let killed = folder.path().join("killed");
    run_ppo(&killed, &["--stop-after=2"]).unwrap_err();
    // As if step 3 had been logged, and the process had died in the middle of a line of step 4.
    for name in ["metrics.jsonl", "samples.jsonl"] {
        let whole = fs::read_to_string(straight.join(name)).unwrap();
        let cut = whole.trim_end().rfind('\n').unwrap() + 20;
        // In the middle of a character, too.
        fs::write(killed.join(name), [&whole.as_bytes()[..cut], &"’".as_bytes()[..2]].concat()).unwrap();
    }
    resume("ppo", &killed).unwrap();
    assert_same_run(&killed, &straight);
}

#[test]
fn the_same_seed_gives_the_same_run_with_any_number_of_threads_and_another_seed_another() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, flags: &[&str]| run_ppo(&folder.path().join(name), flags).unwrap();
    let first = run("first", &[]);
    assert_same_run(&run("again", &[]), &first);
    let one_thread = run("one-thread", &["--threads=1"]);
    fs::copy(first.join("config.toml"), one_thread.join("config.toml")).unwrap();
    assert_same_run(&one_thread, &first);
    let other = run("other", &["--seed=4"]);
    assert_ne!(fs::read(other.join("samples.jsonl")).unwrap(), fs::read(first.join("samples.jsonl")).unwrap());
}

#[test]
fn a_run_repeats_from_its_own_configuration_file() {
    let folder = tempfile::tempdir().unwrap();
    let first = run_sft(&folder.path().join("first"), &[]).unwrap();
    let config = format!("--config={}", first.join("config.toml").display());
    let out = format!("--out={}", folder.path().join("again").display());
    let again = run(&["sft", &config, &out, "--quiet"]).unwrap();
    assert_same_run(&again, &first);
}

#[test]
fn a_run_resumed_with_other_flags_records_them_and_is_compared_on_their_problems() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    run_ppo(&dir, &["--stop-after=2"]).unwrap_err();
    let configuration = || fs::read_to_string(dir.join("config.toml")).unwrap();
    let before = configuration();
    run(&["ppo", &format!("--resume={}", dir.display()), "--quiet", "--test-problems=3", "--test-samples=1"]).unwrap();
    let changed =
        before.replace("test_problems = 4", "test_problems = 3").replace("test_samples = 2", "test_samples = 1");
    assert!(before != changed && configuration() == changed, "{}", configuration());
    let evaluation: Value = serde_json::from_slice(&fs::read(dir.join("eval.json")).unwrap()).unwrap();
    for part in ["before", "after"] {
        let report = &evaluation[part];
        assert_eq!(
            (&report["problems"], &report["samples"], &report["temperature"]),
            (&3.into(), &1.into(), &0.0.into())
        );
    }
}

#[test]
fn a_resumed_ppo_run_uses_the_given_kl_coefficient_and_counts_all_samples() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    let [init, out] =
        [("init", common::start()), ("out", &dir)].map(|(flag, path)| format!("--{flag}={}", path.display()));
    let small = ["--quiet", "--device=cpu", "--limit=4", "--steps=2", "--max-new-tokens=8", "--eval-problems=2"];
    let own = ["--questions=2", "--samples=2", "--mini-batch=4", "--test-problems=0", "--stop-after=1"];
    run(&[&["ppo", &init, &out], small.as_slice(), &own].concat()).unwrap_err();
    let go_on = format!("--resume={}", dir.display());
    run(&["ppo", &go_on, "--quiet", "--kl-coefficient=0.25", "--samples=4"]).unwrap();
    let numbers = |name: &str| metrics(&dir).iter().map(|line| line[name].as_f64().unwrap()).collect::<Vec<f64>>();
    assert_eq!((numbers("kl/coefficient"), numbers("samples")), (vec![0.05, 0.25], vec![4.0, 12.0]));
}

#[test]
fn flags_that_a_checkpoint_depends_on_cannot_change() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    let fails = |command: &str, flag: &str, what: &str| {
        let error = run(&[command, &format!("--resume={}", dir.display()), "--quiet", flag]).unwrap_err();
        assert!(format!("{error:#}").contains(what), "{error:#}");
        fs::remove_dir_all(&dir).unwrap();
    };
    run_ppo(&dir, &["--value-layers=2", "--stop-after=1"]).unwrap_err();
    fails("ppo", "--value-layers=1", "was started with --value-layers 2");
    run_sft(&dir, &["--lora-rank=2", "--stop-after=1"]).unwrap_err();
    fails("sft", "--lora-rank=3", "--lora-rank");
    run_rcrl(&dir, &["--stop-after=1"]).unwrap_err();
    fails("rcrl", "--labels=outcome", "was started with --labels steps");
}

#[test]
fn without_test_problems_there_is_no_table() {
    let folder = tempfile::tempdir().unwrap();
    let runs = [run_sft, run_ppo, run_ei, run_rcrl];
    for (name, run) in ["sft", "ppo", "ei", "rcrl"].iter().zip(runs) {
        for (problems, table) in [("1", true), ("0", false)] {
            let dir = folder.path().join(format!("{name}-{problems}"));
            run(&dir, &[&format!("--test-problems={problems}")]).unwrap();
            let has = |file: &str| dir.join(file).is_file();
            assert_eq!((has("eval.json"), has("before.json"), has("report.html")), (table, table, true), "{name}");
        }
    }
}

#[test]
fn an_sft_run_resumes_without_its_starting_model() {
    let folder = tempfile::tempdir().unwrap();
    let (init, dir) = (folder.path().join("init"), folder.path().join("run"));
    fs::create_dir(&init).unwrap();
    for file in fs::read_dir(common::start()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), init.join(file.file_name())).unwrap();
    }
    run_sft(&dir, &[&format!("--init={}", init.display()), "--stop-after=2"]).unwrap_err();
    fs::remove_dir_all(&init).unwrap();
    resume("sft", &dir).unwrap();
    assert!(dir.join("eval.json").is_file());
}

#[test]
fn a_run_directory_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run_sft(&folder.path().join("run"), &["--steps=1"]).unwrap();
    let before = files(&dir);
    let error = run_sft(&dir, &[]).unwrap_err().to_string();
    assert!(error.contains("exists already"), "{error}");
    assert!(files(&dir) == before);
    assert!(Run::resume(folder.path(), 0).is_err(), "a folder that is no run");
}

#[test]
fn runs_with_the_calculator_that_were_stopped_and_resumed_are_the_runs_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let start = common::start_with_steps().display();
    let (init, base) = (format!("--init={start}"), format!("--base={start}"));
    let flags = [&*init, "--calculator", "--max-new-tokens=72", "--temperature=1"];
    let config = |dir: &Path| -> toml::Table { fs::read_to_string(dir.join("config.toml")).unwrap().parse().unwrap() };
    let plain = run_ppo(&folder.path().join("plain"), &["--steps=1", "--questions=2", "--mini-batch=2"]).unwrap();
    assert!(!config(&plain).contains_key("calculator"), "a run without the flag is written as it always was");
    type Small = fn(&Path, &[&str]) -> anyhow::Result<std::path::PathBuf>;
    for (command, small, own) in [("ppo", run_ppo as Small, vec![]), ("ei", run_ei, vec![&*base, "--rounds=2"])] {
        let flags = [flags.as_slice(), &own].concat();
        let straight = small(&folder.path().join(command), &flags).unwrap();
        assert_eq!(config(&straight)["calculator"].as_bool(), Some(true));
        let samples = read_samples(&straight.join("samples.jsonl")).unwrap();
        let calculated = samples.iter().filter(|sample| !sample.calculated.is_empty()).count();
        assert!(calculated * 2 > samples.len(), "{calculated} of {} samples", samples.len());
        let dir = folder.path().join(format!("{command}-stopped"));
        small(&dir, &[flags.as_slice(), &["--stop-after=1"]].concat()).unwrap_err();
        resume(command, &dir).unwrap();
        assert_same_run(&dir, &straight);
    }
}
