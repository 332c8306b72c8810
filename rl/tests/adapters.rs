//! Claims about low-rank adapters in every training command: nothing else is trained, a checkpoint is the base with them added, and
//! a run that was stopped is the run that never stopped.

mod common;

use anyhow::Result;
use common::{assert_same_run, resume, run_ei, run_orm, run_ppo, run_rcrl, run_sft, start, start_with_steps};
use eval::{Policy, RewardModel};
use model::{Device, Transformer, load_adapters, merged, model_tensors, to_host};
use std::path::{Path, PathBuf};

const FLAGS: [&str; 2] = ["--lora-rank=2", "--learning-rate=1e-2"];

fn weights(folder: &Path) -> Transformer {
    Policy::load(folder, &Device::default()).unwrap().model
}

/// The last checkpoint of a run.
fn last(run: &Path) -> PathBuf {
    rl::run::last_folder(run).unwrap()
}

/// What lies in a checkpoint of a run that started from `base`.
fn assert_base_and_adapters(found: &Transformer, checkpoint: &Path, base: &Path) {
    let again = merged(&load_adapters(&checkpoint.join("adapters"), weights(base)).unwrap());
    assert!(model_tensors(&again) == model_tensors(found), "base and adapters are the policy");
    assert!(model_tensors(&again) != model_tensors(&weights(base)), "the weights have changed");
    let embedding = |model: &Transformer| to_host(model.embedding.val());
    assert_eq!(embedding(found), embedding(&weights(base)), "the rest is frozen");
}

/// The PEFT folder of a checkpoint is a model to start from; its base is found by the path in it.
fn assert_adapters_start_what_they_were_saved_of(found: &Transformer, checkpoint: &Path) {
    let (started, found) = (model_tensors(&weights(&checkpoint.join("adapters"))), model_tensors(found));
    let near = |(one, other): (&f32, &f32)| (one - other).abs() < 1e-5;
    assert!(started.iter().all(|(name, tensor)| tensor.values.iter().zip(&found[name].values).all(near)));
}

/// A run, and the same one stopped after `step` and resumed; returns the first of the two.
fn stopped_and_straight(
    command: &str,
    step: usize,
    run: impl Fn(&Path, &[&str]) -> Result<PathBuf>,
) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let straight = run(&folder.path().join("straight"), &FLAGS).unwrap();
    let stopped = folder.path().join("stopped");
    run(&stopped, &[FLAGS.as_slice(), &[&format!("--stop-after={step}")]].concat()).unwrap_err();
    resume(command, &stopped).unwrap();
    assert_same_run(&stopped, &straight);
    folder
}

#[test]
fn ppo_trains_adapters_and_resumes_with_them() {
    let folder = stopped_and_straight("ppo", 3, run_ppo);
    let checkpoint = last(&folder.path().join("straight"));
    assert_base_and_adapters(&weights(&checkpoint), &checkpoint, start());
    assert_adapters_start_what_they_were_saved_of(&weights(&checkpoint), &checkpoint);
}

#[test]
fn sft_trains_adapters_and_resumes_with_them() {
    let folder = stopped_and_straight("sft", 3, run_sft);
    let checkpoint = last(&folder.path().join("straight"));
    assert_base_and_adapters(&weights(&checkpoint), &checkpoint, start());
    assert_adapters_start_what_they_were_saved_of(&weights(&checkpoint), &checkpoint);
}

#[test]
fn return_conditioned_rl_trains_adapters_and_resumes_with_them() {
    let folder = stopped_and_straight("rcrl", 3, run_rcrl);
    let checkpoint = last(&folder.path().join("straight"));
    assert_base_and_adapters(&weights(&checkpoint), &checkpoint, start_with_steps());
}

#[test]
fn a_reward_model_has_adapters_on_its_trunk_and_a_head_of_its_own() {
    let folder = stopped_and_straight("orm", 3, |out, more| {
        run_orm(start_with_steps(), out, &[more, &["--max-new-tokens=64"]].concat())
    });
    let checkpoint = last(&folder.path().join("straight"));
    let reward_model = RewardModel::load(&checkpoint, &Device::default()).unwrap();
    assert_base_and_adapters(&reward_model.model.language_model, &checkpoint, start_with_steps());
    assert_adapters_start_what_they_were_saved_of(&reward_model.model.language_model, &checkpoint);
    assert!(to_host(reward_model.model.score.head.val()).values.iter().any(|&weight| weight != 0.0));
}

#[test]
fn every_round_of_expert_iteration_adds_adapters_to_the_model_it_starts_from() {
    for reset_to in ["base", "last"] {
        let flag = format!("--reset-to={reset_to}");
        let folder = stopped_and_straight("ei", 3, |out, more| run_ei(out, &[more, &[&flag]].concat()));
        let straight = folder.path().join("straight");
        let round = last(&straight.join("rounds/1"));
        assert_base_and_adapters(&weights(&round), &round, start());
        assert!(
            model_tensors(&weights(&last(&straight))) != model_tensors(&weights(&round)),
            "later rounds have changed the weights"
        );
    }
}
