//! Claims about reward models that learn from comparisons: that one learns the order of solutions, that a run that was stopped is the run that
//! never stopped, and what their scores can be used for.

mod common;

use common::{assert_same_run, metrics, problems, resume, run, run_ei, run_orm, run_ppo, start};
use data::{Example, Prompting, encode_written};
use eval::{OrmReport, RewardModel, RewardModelKind, auc, read_samples};
use model::{Device, ScoreKind};
use rl::algorithms::orm::held_out;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const COMPARING: [&str; 3] = ["pairwise", "kwise", "kwise-split"];

fn report(dir: &Path) -> OrmReport {
    serde_json::from_str(&fs::read_to_string(dir.join("eval.json")).unwrap()).unwrap()
}

/// A small reward model that has compared.
fn compared(folder: &Path, more: &[&str]) -> PathBuf {
    let flags = ["--objective=pairwise", "--steps=30", "--samples=16", "--temperature=1.5", "--learning-rate=4e-3"];
    run_orm(start(), &folder.join("orm"), &[flags.as_slice(), more].concat()).unwrap()
}

#[test]
fn each_objective_that_compares_learns_the_order_of_the_solutions_of_a_question() {
    for objective in COMPARING {
        let folder = tempfile::tempdir().unwrap();
        let flag = format!("--objective={objective}");
        let flags = [&*flag, "--steps=100", "--samples=16", "--batch-size=32", "--learning-rate=4e-3"];
        let more = ["--ranking-size=4", "--eval-every=50", "--temperature=1.5", "--lm-weight=0.1"];
        let dir = run_orm(start(), &folder.path().join("run"), &[flags.as_slice(), &more].concat()).unwrap();
        let model = RewardModel::load(&rl::run::last_folder(&dir).unwrap(), &Device::default()).unwrap();
        assert_eq!(model.kind(), ScoreKind::Relative);
        // So few questions do not generalise to held-out ones: the order is that of training questions.
        let problems = problems();
        let held_out = held_out(&problems, 0.25, 3);
        let mut samples = read_samples(&dir.join("samples.jsonl")).unwrap();
        samples.retain(|sample| !held_out.contains(sample.id.as_str()));
        let rows: Vec<Example> = samples
            .iter()
            .map(|sample| {
                encode_written(&model.tokenizer, &Prompting::default(), &sample.question, &sample.completion, true)
                    .unwrap()
            })
            .collect();
        let mut of_question: BTreeMap<&str, Vec<(f64, bool)>> = BTreeMap::new();
        for (sample, scores) in samples.iter().zip(model.scores(&rows, 8, 1)) {
            of_question.entry(&sample.id).or_default().push((f64::from(*scores.last().unwrap()), sample.correct));
        }
        let areas: Vec<f64> = of_question.values().filter_map(|scored| auc(scored)).collect();
        let mean = areas.iter().sum::<f64>() / areas.len() as f64;
        assert!(areas.len() > 2 && mean > 0.9, "{objective}: {areas:?}");
        let report = report(&dir);
        let counts = report.rankings.unwrap();
        assert!(
            report.prefixes.is_none() && report.finished.is_none(),
            "a score that is no probability has no Brier score"
        );
        assert_eq!(counts.questions + counts.left_out, 6);
        assert!(counts.questions == areas.len() && counts.rankings >= counts.questions && !counts.by_reward);
        assert!(fs::read_to_string(dir.join("report.html")).unwrap().contains("AUC among the solutions"));
    }
}

#[test]
fn a_run_that_compares_and_was_stopped_resumes_as_if_it_had_not_also_with_adapters_and_blocks() {
    let with = [&["--lm-weight=0.5"][..], &["--lora-rank=2"], &["--added-blocks=1"]];
    for (objective, more) in COMPARING.iter().zip(with) {
        let folder = tempfile::tempdir().unwrap();
        let flag = format!("--objective={objective}");
        let flags = [&[&*flag, "--ranking-size=3", "--temperature=1.3"], more].concat();
        let straight = run_orm(start(), &folder.path().join("straight"), &flags).unwrap();
        assert!(RewardModelKind::of(&straight).unwrap().has_coverage);
        for step in 1..=3 {
            let dir = folder.path().join(format!("stopped-after-{step}"));
            let stop = format!("--stop-after={step}");
            run_orm(start(), &dir, &[flags.as_slice(), &[&stop]].concat()).unwrap_err();
            if step == 2 {
                let other = [&*format!("--resume={}", dir.display()), "--objective=bce", "--quiet"];
                let error = run(&[&["orm"], other.as_slice()].concat()).unwrap_err().to_string();
                assert!(error.contains("its checkpoints depend on that"), "{error}");
            }
            resume("orm", &dir).unwrap();
            assert_same_run(&dir, &straight);
        }
    }
}

#[test]
fn the_split_into_micro_batches_changes_a_run_that_compares_only_by_rounding() {
    let folder = tempfile::tempdir().unwrap();
    let of = |micro_batch: &str| {
        let flags = ["--objective=kwise", "--ranking-size=3", "--batch-size=12", "--temperature=1.3", micro_batch];
        let dir =
            run_orm(start(), &folder.path().join(micro_batch), &[flags.as_slice(), &["--steps=1"]].concat()).unwrap();
        ["loss", "grad_norm"].map(|name| metrics(&dir)[0][name].as_f64().unwrap())
    };
    let (small, large) = (of("--micro-batch=1"), of("--micro-batch=64"));
    assert!(small.iter().zip(large).all(|(a, b)| (a - b).abs() < 1e-5 * b && b > 0.0), "{small:?}, {large:?}");
}

#[test]
fn ppo_takes_a_score_from_comparisons_with_or_without_pessimism_and_refuses_it_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let orm = format!("--orm={}", compared(folder.path(), &[]).display());
    let reward = ["--reward=sparse-orm", "--orm-weight=0.5", "--answer-weight=0", &orm];
    let ppo = |name: &str, more: &[&str]| run_ppo(&folder.path().join(name), &[reward.as_slice(), more].concat());
    let score = |dir: &Path, name: &str| metrics(dir)[0][name].as_f64().unwrap();
    let plain = ppo("plain", &[]).unwrap();
    let careful = ppo("careful", &["--orm-pessimism=0.5"]).unwrap();
    for dir in [&plain, &careful] {
        assert!((score(dir, "reward/orm") - 0.5 * score(dir, "orm/score")).abs() < 1e-5);
        assert!(!metrics(dir)[0].contains_key("orm/probability"));
    }
    // The first samples are the same.
    assert!(score(&careful, "orm/score") < score(&plain, "orm/score") - 0.1);
    let stopped = folder.path().join("stopped");
    ppo("stopped", &["--orm-pessimism=0.5", "--stop-after=2"]).unwrap_err();
    resume("ppo", &stopped).unwrap();
    assert_same_run(&stopped, &careful);
    let refused = |flags: &[&str], said: &str| {
        let error = format!("{:#}", ppo("refused", flags).unwrap_err());
        assert!(error.contains(said) && !folder.path().join("refused").exists(), "{error}");
    };
    refused(&["--reward=dense-orm"], "has learnt to compare finished ones: give --reward sparse-orm");
    refused(&["--reward=dense-orm", "--orm-pessimism=1"], "--orm-pessimism is for whole solutions");
}

#[test]
fn a_score_without_a_zero_is_refused_where_a_probability_is_needed_and_pessimism_without_a_covariance() {
    let folder = tempfile::tempdir().unwrap();
    let comparing = format!("--orm={}", compared(folder.path(), &[]).display());
    let out = folder.path().join("out");
    let refused = |error: anyhow::Result<PathBuf>, said: &str| {
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.contains(said) && !error.contains('\n') && !out.exists(), "{error}");
    };
    refused(run_ei(&out, &[&comparing]), "its score is no probability");
    let likelihood = format!("--likelihood-of={}", start().display());
    refused(run_orm(start(), &out, &["--objective=kwise", &likelihood]), "--likelihood-of is combined with a logit");
    let judge = run_orm(start(), &folder.path().join("judge"), &["--steps=1", "--eval-every=1"]).unwrap();
    assert!(!RewardModelKind::of(&judge).unwrap().has_coverage);
    let judge = format!("--orm={}", judge.display());
    let careful = ["--reward=sparse-orm", "--orm-pessimism=1"];
    refused(run_ppo(&out, &[careful.as_slice(), &[&judge]].concat()), "has no covariance of features");
    refused(run_ppo(&out, &careful), "--orm-pessimism needs --orm");
}
