//! Claims about reward models as a whole: that one learns to tell right from wrong, what its labels are, and that a run that
//! was stopped is the run that never stopped.

mod common;
#[path = "../../eval/tests/common/mistakes.rs"]
mod mistakes;

use common::{
    PROBLEMS, assert_same_run, files, metrics, problems, resume, run, run_ei, run_orm, run_ppo, start, start_with_steps,
};
use data::{Example, Prompting, encode_written};
use eval::{Calibration, Policy, Prediction, RewardModel, Sample, Weights, read_samples};
use mistakes::copy;
use model::{Device, model_tensors};
use rl::algorithms::orm::held_out;
use rl::sampling::prefix::{FILE, PrefixCount};
use std::{collections::BTreeSet, fs, path::Path};

fn samples(dir: &Path) -> Vec<Sample> {
    read_samples(&dir.join("samples.jsonl")).unwrap()
}

fn counted(dir: &Path) -> Vec<PrefixCount> {
    let text = fs::read_to_string(dir.join(FILE)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_reward_model_learns_to_tell_right_from_wrong() {
    learns_to_tell_right_from_wrong("--language-modelling=0");
}

#[test]
fn a_reward_model_with_a_language_modelling_loss_tells_right_from_wrong() {
    learns_to_tell_right_from_wrong("--language-modelling=1");
}

#[test]
fn a_reward_model_combines_its_head_with_a_likelihood() {
    let flag = format!("--likelihood-of={}", start().display());
    let likelihood = learns_to_tell_right_from_wrong(&flag).likelihood.unwrap();
    let of_start = Policy::load(start(), &Device::default()).unwrap().model;
    assert_eq!(model_tensors(&likelihood.model), model_tensors(&of_start));
    assert!(likelihood.weights != Weights::HEAD, "{:?}", likelihood.weights);
}

fn learns_to_tell_right_from_wrong(flag: &str) -> RewardModel {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        flag,
        "--steps=120",
        "--samples=16",
        "--batch-size=32",
        "--learning-rate=4e-3",
        "--eval-every=60",
        "--temperature=1.5",
    ];
    let dir = run_orm(start(), &folder.path().join("run"), &flags).unwrap();
    // So few questions do not generalise to held-out ones: it is evaluated on its training questions, after the last step.
    let last = fs::read_to_string(dir.join("checkpoints/index.json")).unwrap();
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    let last = dir.join("checkpoints").join(last["last"].as_str().unwrap());
    let mut model = RewardModel::load(&last, &Device::default()).unwrap();
    let problems = problems();
    let held_out = held_out(&problems, 0.25, 3);
    let samples: Vec<Sample> =
        samples(&dir).into_iter().filter(|sample| !held_out.contains(sample.id.as_str())).collect();
    let encode = |sample: &Sample| {
        let Sample { question, completion, .. } = sample;
        encode_written(&model.tokenizer, &Prompting::default(), question, completion, true).unwrap()
    };
    let rows: Vec<Example> = samples.iter().map(encode).collect();
    let probabilities = model.scores(&rows, 8, 1);
    let predictions: Vec<Prediction> = samples
        .iter()
        .zip(&probabilities)
        .map(|(sample, probabilities)| Prediction {
            probability: f64::from(probabilities[probabilities.len() - 1]),
            is_true: sample.correct,
        })
        .collect();
    let after = Calibration::of(&predictions);
    assert!((0.1..0.9).contains(&after.base_rate), "the policy of these tests is sometimes right: {after:?}");
    let of_a_constant = after.base_rate * (1.0 - after.base_rate);
    assert!(after.auc.unwrap() > 0.85 && after.brier < 0.5 * of_a_constant, "{after:?}");
    for name in ["eval.json", "report.html", "samples.jsonl"] {
        assert!(dir.join(name).is_file(), "{name}");
    }
    assert!(fs::read_to_string(dir.join("report.html")).unwrap().contains("the whole solution"));
    model.likelihood = RewardModel::load(&dir, &Device::default()).unwrap().likelihood;
    model
}

#[test]
fn labels_by_steps_complete_every_distinct_unfinished_prefix_once_and_no_known_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--labels=steps", "--completions=3", "--max-new-tokens=64"];
    let first = run_orm(start_with_steps(), &folder.path().join("first"), &flags).unwrap();
    let counted = counted(&first);
    let keys: BTreeSet<(&str, &str)> = counted.iter().map(|line| (line.id.as_str(), line.prefix.as_str())).collect();
    assert!(counted.len() > 8 && keys.len() == counted.len(), "{} lines, {} prefixes", counted.len(), keys.len());
    assert!(counted.iter().all(|line| line.of == 3 && line.right <= 3));
    assert!(counted.iter().any(|line| line.right > 0), "the policy of these tests is sometimes right");
    let samples = samples(&first);
    for line in &counted {
        assert!(samples.iter().any(|sample| sample.id == line.id && sample.completion.starts_with(&line.prefix)));
    }
    // The same samples and counts again: nothing is left to complete, and the result is the same.
    let (file, prefixes) = (first.join("samples.jsonl"), first.join(FILE));
    let known = [format!("--from-samples={}", file.display()), format!("--from-prefixes={}", prefixes.display())];
    let flags = [flags.as_slice(), &[&known[0], &known[1]]].concat();
    let again = folder.path().join("again");
    run_orm(start_with_steps(), &again, &flags).unwrap();
    // What was taken from a file is the run's own from then on.
    let stopped = folder.path().join("stopped");
    run_orm(start_with_steps(), &stopped, &[flags.as_slice(), &["--stop-after=1"]].concat()).unwrap_err();
    for path in [&file, &prefixes] {
        fs::rename(path, path.with_extension("moved")).unwrap();
    }
    let before = files(&stopped);
    let error =
        run(&["orm", &format!("--resume={}", stopped.display()), "--quiet", "--limit=2"]).unwrap_err().to_string();
    assert!(error.contains("not among its problems now") && error.contains("--limit"), "{error}");
    assert!(files(&stopped) == before, "it is as it was");
    resume("orm", &stopped).unwrap();
    assert_same_run(&stopped, &again);
    assert!(fs::read_to_string(again.join(FILE)).unwrap().is_empty());
    let without_cost = |dir: &Path, sampled: usize| {
        let mut lines = metrics(dir);
        assert!(lines.iter_mut().all(|line| line.remove("sampled") == Some(sampled.into())), "{sampled}");
        lines
    };
    assert_eq!(without_cost(&again, 0), without_cost(&first, PROBLEMS * 6 + counted.len() * 3));
}

#[test]
fn a_run_that_was_stopped_or_died_resumes_as_if_it_had_not() {
    let folder = tempfile::tempdir().unwrap();
    let labels = ["--labels=steps", "--completions=2", "--step-label=share"];
    let likelihood = format!("--likelihood-of={}", start_with_steps().display());
    let more = ["--max-new-tokens=64", "--language-modelling=0.5", &likelihood];
    let flags = [labels.as_slice(), &more].concat();
    let straight = run_orm(start_with_steps(), &folder.path().join("straight"), &flags).unwrap();
    let stopped = |name: &str, step: usize| {
        let dir = folder.path().join(name);
        let stop = format!("--stop-after={step}");
        let error = run_orm(start_with_steps(), &dir, &[flags.as_slice(), &[&stop]].concat()).unwrap_err().to_string();
        assert!(error.ends_with(&format!("--resume {}", dir.display())), "{error}");
        dir
    };
    let dir = stopped("stopped", 3);
    resume("orm", &dir).unwrap();
    assert_same_run(&dir, &straight);
    // As if the process had died while it completed prefixes, before the first step.
    let dir = stopped("died", 1);
    let first = folder.path().join("first-checkpoint");
    copy(&dir.join("checkpoints/step-000000"), &first);
    forget_steps(&dir, &first);
    let counts = fs::read_to_string(dir.join(FILE)).unwrap();
    fs::write(dir.join(FILE), &counts[..counts.len() / 2]).unwrap();
    resume("orm", &dir).unwrap();
    assert_same_run(&dir, &straight);
    assert_eq!(counted(&dir), counted(&straight));
    // Or while it sampled.
    forget_steps(&dir, &first);
    fs::remove_file(dir.join(FILE)).unwrap();
    let text = fs::read_to_string(dir.join("samples.jsonl")).unwrap();
    fs::write(dir.join("samples.jsonl"), &text[..text.len() / 2]).unwrap();
    let before = files(&dir);
    for flag in ["--samples=3", "--samples=12", "--limit=2"] {
        let error = run(&["orm", &format!("--resume={}", dir.display()), "--quiet", flag]).unwrap_err().to_string();
        assert!(
            error.contains("was sampling other questions") && error.contains(flag.split_once('=').unwrap().0),
            "{error}"
        );
        assert!(files(&dir) == before, "{flag} has changed the run");
    }
    resume("orm", &dir).unwrap();
    assert_same_run(&dir, &straight);
}

/// As if a run had come no further than its first checkpoint, which stands before the first sample.
fn forget_steps(dir: &Path, first: &Path) {
    let checkpoints = dir.join("checkpoints");
    fs::remove_dir_all(&checkpoints).unwrap();
    copy(first, &checkpoints.join("step-000000"));
    fs::write(checkpoints.join("index.json"), r#"{"last": "step-000000", "best": "step-000000"}"#).unwrap();
    fs::write(dir.join("metrics.jsonl"), "").unwrap();
}

#[test]
fn ppo_with_a_reward_model_adds_its_score_to_the_reward() {
    let folder = tempfile::tempdir().unwrap();
    let orm = run_orm(start(), &folder.path().join("orm"), &["--steps=30", "--learning-rate=4e-3"]).unwrap();
    let flag = format!("--orm={}", orm.display());
    for kind in ["sparse-orm", "dense-orm"] {
        let out = folder.path().join(kind);
        let dir =
            run_ppo(&out, &[&format!("--reward={kind}"), "--orm-weight=0.5", "--answer-weight=2", &flag]).unwrap();
        for (step, line) in metrics(&dir).iter().enumerate() {
            let [mean, answer, orm, probability, accuracy] =
                ["reward/mean", "reward/answer", "reward/orm", "orm/probability", "accuracy"]
                    .map(|name| line[name].as_f64().unwrap());
            assert!((answer - 2.0 * accuracy).abs() < 1e-6 && (mean - answer - orm).abs() < 1e-6, "{kind} {step}");
            // The rewards of the lines add up to that of the whole solution.
            assert!((orm - 0.5 * probability).abs() < 1e-5 && probability > 0.0, "{kind} {step}: {orm}, {probability}");
        }
        let twin = folder.path().join(format!("{kind}-stopped"));
        let more = [&*format!("--reward={kind}"), "--orm-weight=0.5", "--answer-weight=2", &flag, "--stop-after=2"];
        run_ppo(&twin, &more).unwrap_err();
        resume("ppo", &twin).unwrap();
        assert_same_run(&twin, &dir);
    }
}

#[test]
fn without_a_critic_samples_are_compared_with_each_other() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["group", "rloo"] {
        let flags = [&*format!("--advantage={kind}"), "--kl-coefficient=0"];
        let dir = run_ppo(&folder.path().join(kind), &flags).unwrap();
        let samples = samples(&dir);
        for line in metrics(&dir) {
            assert!(!line.contains_key("value/explained_variance"));
            assert_eq!(line["loss/value"], 0.0);
            // If all samples of each question have the same reward, there is nothing to learn.
            let step = line["step"].as_u64().unwrap() as usize;
            let of_step: Vec<&Sample> = samples.iter().filter(|sample| sample.step == Some(step)).collect();
            let differ = of_step.chunks(2).any(|pair| pair[0].correct != pair[1].correct);
            assert_eq!(line["grad_norm"].as_f64().unwrap() > 0.0, differ, "{kind}, step {step}");
        }
        let twin = folder.path().join(format!("{kind}-stopped"));
        run_ppo(&twin, &[flags.as_slice(), &["--stop-after=1"]].concat()).unwrap_err();
        resume("ppo", &twin).unwrap();
        assert_same_run(&twin, &dir);
    }
}

#[test]
fn expert_iteration_with_a_reward_model_keeps_only_solutions_that_it_accepts() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--steps=30", "--learning-rate=4e-3", "--temperature=1.5"];
    let orm = run_orm(start(), &folder.path().join("orm"), &flags).unwrap();
    let flag = format!("--orm={}", orm.display());
    let run = |threshold: &str| {
        let more = ["--rounds=1", &flag, &format!("--orm-threshold={threshold}")];
        let dir = run_ei(&folder.path().join(threshold), &more).unwrap();
        let [right, passed] = ["accuracy", "round/passed"].map(|name| metrics(&dir)[0][name].as_f64().unwrap());
        (right * metrics(&dir)[0]["round/sampled"].as_f64().unwrap(), passed, dir)
    };
    let (right, passed, _) = run("0");
    assert!(passed > 0.0 && passed <= right);
    let (_, none, dir) = run("1");
    assert_eq!((none, metrics(&dir)[0]["round/kept"].as_f64()), (0.0, Some(0.0)), "no probability is 1");
    let from_base = ["--rounds=1", "--start=base", "--shots=0", &flag, "--orm-threshold=1"];
    let error = run_ei(&folder.path().join("base"), &from_base).unwrap_err().to_string();
    assert!(
        error.contains("are correct, and the reward model of --orm accepts none of these; lower --orm-threshold 1"),
        "{error}"
    );
}

#[test]
fn labels_are_checked_with_completions_that_are_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--check-labels=6", "--check-completions=3", "--temperature=1.3", "--max-new-tokens=64"];
    let dir = run_orm(start_with_steps(), &folder.path().join("run"), &flags).unwrap();
    let report = fs::read_to_string(dir.join("eval.json")).unwrap();
    let part = dir.join("check/value");
    let made = counted(&part);
    assert!(!made.is_empty() && made.iter().all(|counted| counted.of == 3), "{made:?}");
    // As if it had been interrupted in the check, of which one prefix had come out otherwise.
    let mark = |counted: PrefixCount| PrefixCount { right: counted.of - counted.right, ..counted };
    let lines: Vec<String> = made.into_iter().map(|counted| serde_json::to_string(&mark(counted)).unwrap()).collect();
    fs::write(part.join(FILE), lines.join("\n") + "\n").unwrap();
    resume("orm", &dir).unwrap();
    let kept = counted(&part).iter().map(|counted| serde_json::to_string(counted).unwrap()).collect::<Vec<_>>();
    assert!(kept == lines && fs::read_to_string(dir.join("eval.json")).unwrap() != report);
    // With other completions it is made again.
    run(&["orm", &format!("--resume={}", dir.display()), "--quiet", "--check-completions=2"]).unwrap();
    assert!(counted(&part).iter().all(|counted| counted.of == 2));
}
