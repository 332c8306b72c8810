//! Claims about preference optimisation as a whole: its losses and their gradients are TRL's and an extrapolated model is numpy's (reference
//! numbers of `scripts/fixtures_trl.py`); what rounds and KTO train on; that a run that was stopped is the run that never stopped.

mod common;
#[path = "common/place.rs"]
mod place;

use burn::tensor::Tensor;
use common::{assert_same_run, metrics, resume, run, run_dpo};
use eval::{Sample, load_extrapolated_weights, read_samples};
use model::{Device, model_tensors, to_host};
use place::place;
use rl::objective::preference::{PreferenceArgs, PreferenceLoss, kto, margin, preference, reference_point};
use rl::sampling::pairs::read_pairs;
use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::Path};

#[derive(Deserialize)]
struct Preference {
    parameters: Parameters,
    inputs: Inputs,
    losses: BTreeMap<String, Loss>,
}

#[derive(Deserialize)]
struct Parameters {
    beta: f64,
    label_smoothing: f64,
    simpo_beta: f64,
    simpo_margin: f64,
    desirable_weight: f32,
    undesirable_weight: f32,
}

#[derive(Deserialize)]
struct Inputs {
    chosen: Vec<f32>,
    rejected: Vec<f32>,
    ref_chosen: Vec<f32>,
    ref_rejected: Vec<f32>,
    chosen_tokens: Vec<f32>,
    rejected_tokens: Vec<f32>,
    mismatched_gains: Vec<f32>,
}

#[derive(Deserialize)]
struct Loss {
    loss: f32,
    grad_chosen: Vec<f32>,
    grad_rejected: Vec<f32>,
    reference_point: Option<f64>,
}

#[derive(Deserialize)]
struct Extrapolation {
    alpha: f64,
    tensors: BTreeMap<String, Summary>,
}

#[derive(Deserialize)]
struct Summary {
    first: Vec<f32>,
    sum: f64,
    absolute: f64,
}

fn fixture<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn tensor(values: &[f32]) -> Tensor<1> {
    Tensor::from_floats(values, &Device::default()).autodiff()
}

#[track_caller]
fn assert_close(ours: &[f32], theirs: &[f32], what: &str) {
    assert_eq!(ours.len(), theirs.len());
    let difference = ours.iter().zip(theirs).map(|(x, y)| (x - y).abs() / y.abs().max(1.0)).fold(0.0, f32::max);
    assert!(difference < 1e-5, "{what}: {ours:?} against {theirs:?}");
}

impl Preference {
    /// Compares the loss of the sums of log-probabilities and its gradients with TRL's of this name.
    #[track_caller]
    fn assert_same(&self, name: &str, loss: impl Fn(Tensor<1>, Tensor<1>) -> Tensor<1>) {
        let theirs = &self.losses[name];
        let [chosen, rejected] = [&self.inputs.chosen, &self.inputs.rejected].map(|sums| tensor(sums).require_grad());
        let ours = loss(chosen.clone(), rejected.clone());
        let gradients = ours.backward();
        let gradient = |of: &Tensor<1>| to_host(of.grad(&gradients).unwrap()).values;
        assert_close(&[ours.inner().into_scalar::<f32>()], &[theirs.loss], name);
        assert_close(&gradient(&chosen), &theirs.grad_chosen, name);
        assert_close(&gradient(&rejected), &theirs.grad_rejected, name);
    }

    fn args(&self, loss: PreferenceLoss) -> PreferenceArgs {
        PreferenceArgs {
            loss,
            beta: self.parameters.beta,
            label_smoothing: 0.0,
            simpo_margin: self.parameters.simpo_margin,
            desirable_weight: None,
            undesirable_weight: None,
            nll_weight: 0.0,
        }
    }

    /// The margins of sums.
    fn margins(&self, chosen: Tensor<1>, rejected: Tensor<1>) -> Tensor<1> {
        margin(chosen, rejected, tensor(&self.inputs.ref_chosen), tensor(&self.inputs.ref_rejected))
    }

    /// The margins of means per token.
    fn mean_margins(&self, chosen: Tensor<1>, rejected: Tensor<1>) -> Tensor<1> {
        let Inputs { ref_chosen, ref_rejected, chosen_tokens, rejected_tokens, .. } = &self.inputs;
        let (of_chosen, of_rejected) = (tensor(chosen_tokens), tensor(rejected_tokens));
        let (ref_chosen, ref_rejected) =
            (tensor(ref_chosen) / of_chosen.clone(), tensor(ref_rejected) / of_rejected.clone());
        margin(chosen / of_chosen, rejected / of_rejected, ref_chosen, ref_rejected)
    }
}

#[test]
fn losses_of_pairs_and_their_gradients_are_those_of_trl() {
    let trl: Preference = fixture("preference.json");
    let pairs = trl.inputs.chosen.len();
    for (name, loss) in [("sigmoid", PreferenceLoss::Sigmoid), ("hinge", PreferenceLoss::Hinge)] {
        trl.assert_same(name, |w, l| preference(trl.margins(w, l), &trl.args(loss), pairs));
    }
    let smoothed =
        PreferenceArgs { label_smoothing: trl.parameters.label_smoothing, ..trl.args(PreferenceLoss::Sigmoid) };
    trl.assert_same("smoothed", |w, l| preference(trl.margins(w, l), &smoothed, pairs));
}

#[test]
fn ipo_is_trls_of_means_per_token_and_the_papers_of_sums() {
    let trl: Preference = fixture("preference.json");
    let (ipo, pairs) = (trl.args(PreferenceLoss::Ipo), trl.inputs.chosen.len());
    assert!(ipo.loss.takes_means(), "`rl dpo --loss ipo` is TRL's");
    trl.assert_same("ipo", |w, l| preference(trl.mean_margins(w, l), &ipo, pairs));
    trl.assert_same("ipo_sums", |w, l| preference(trl.margins(w, l), &ipo, pairs));
}

#[test]
fn simpo_and_its_gradient_are_those_of_trl() {
    let trl: Preference = fixture("preference.json");
    let pairs = trl.inputs.chosen.len();
    let plain = PreferenceArgs { beta: trl.parameters.simpo_beta, ..trl.args(PreferenceLoss::Simpo) };
    let smoothed = PreferenceArgs { label_smoothing: trl.parameters.label_smoothing, ..plain.clone() };
    let mean_lead =
        |w: Tensor<1>, l: Tensor<1>| w / tensor(&trl.inputs.chosen_tokens) - l / tensor(&trl.inputs.rejected_tokens);
    trl.assert_same("simpo", |w, l| preference(mean_lead(w, l), &plain, pairs));
    trl.assert_same("simpo_smoothed", |w, l| preference(mean_lead(w, l), &smoothed, pairs));
}

#[test]
fn kto_its_reference_point_and_its_gradient_are_those_of_trl() {
    let trl: Preference = fixture("preference.json");
    let Inputs { ref_chosen, ref_rejected, mismatched_gains, .. } = &trl.inputs;
    let pairs = ref_chosen.len();
    let of_kinds =
        |desirable: f32, undesirable: f32| tensor(&[vec![desirable; pairs], vec![undesirable; pairs]].concat());
    let (signs, weights) =
        (of_kinds(1.0, -1.0), of_kinds(trl.parameters.desirable_weight, trl.parameters.undesirable_weight));
    let references = tensor(&[ref_chosen.as_slice(), ref_rejected].concat());
    let negated: Vec<f32> = mismatched_gains.iter().map(|gain| -gain).collect();
    for (name, mismatched) in [("kto", mismatched_gains), ("kto_clamped", &negated)] {
        let point = reference_point(mismatched);
        assert!((point - trl.losses[name].reference_point.unwrap()).abs() < 1e-6, "{name}: {point}");
        trl.assert_same(name, |w, l| {
            let gains = Tensor::cat(vec![w, l], 0) - references.clone();
            let points = gains.zeros_like().add_scalar(point);
            kto(gains, signs.clone(), weights.clone(), points, trl.parameters.beta, 2 * pairs)
        });
    }
    assert_eq!(trl.losses["kto_clamped"].reference_point, Some(0.0));
}

#[test]
fn an_extrapolated_checkpoint_is_that_of_numpy() {
    let numpy: Extrapolation = fixture("extrapolation.json");
    let folder = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures").join(name);
    let [from, to] = ["llama_tiny", "mistral_tiny"].map(folder);
    let ours = model_tensors(&load_extrapolated_weights(&from, &to, numpy.alpha, &Device::default()).unwrap());
    assert_eq!(ours.keys().collect::<Vec<_>>(), numpy.tensors.keys().collect::<Vec<_>>());
    for (name, theirs) in &numpy.tensors {
        let values = &ours[name].values;
        assert_close(&values[..theirs.first.len()], &theirs.first, name);
        let sum = |of: fn(f32) -> f64| values.iter().map(|&value| of(value)).sum::<f64>();
        let (all, absolute) = (sum(f64::from), sum(|value| f64::from(value.abs())));
        assert!((all - theirs.sum).abs() < 1e-5 && (absolute - theirs.absolute).abs() < 1e-5, "{name}");
    }
}

/// Three rounds of two steps.
const ROUNDS: [&str; 7] = [
    "--rounds=3",
    "--steps=2",
    "--eval-every=1",
    "--held-out=0",
    "--samples=16",
    "--temperature=0.8",
    "--learning-rate=2e-4",
];

#[test]
fn each_round_trains_on_pairs_of_its_own_samples_and_starts_at_its_reference() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run_dpo(&folder.path().join("run"), &ROUNDS).unwrap();
    let samples = read_samples(&dir.join("samples.jsonl")).unwrap();
    let rounds = metrics(&dir);
    assert_eq!(rounds.len(), 3, "{rounds:?}");
    for (round, line) in (1..).zip(&rounds) {
        let drawn: Vec<&Sample> = samples.iter().filter(|sample| sample.step == Some(round)).collect();
        assert_eq!(
            (drawn.len(), line["samples"].as_u64()),
            (128, Some(128 * round as u64)),
            "16 samples of 8 questions"
        );
        let pairs = read_pairs(&dir.join(format!("rounds/{round}/pairs.jsonl"))).unwrap();
        let is_sampled =
            |text: &str, correct| drawn.iter().any(|sample| sample.completion == text && sample.correct == correct);
        assert!(pairs.iter().all(|pair| is_sampled(&pair.chosen, true) && is_sampled(&pair.rejected, false)));
        assert_eq!(line["round/pairs"].as_u64(), Some(pairs.len() as u64));
        let steps = metrics(&dir.join(format!("rounds/{round}")));
        assert_eq!(steps.len(), 2);
        assert!((steps[0]["loss"].as_f64().unwrap() - std::f64::consts::LN_2).abs() < 1e-5, "{steps:?}");
        assert!(line["kl/per_completion"].as_f64().unwrap() != 0.0);
    }
    let first = run_dpo(&folder.path().join("first"), &[&ROUNDS[..], &["--reference=first"]].concat()).unwrap();
    let loss = |dir: &Path, round: usize| metrics(&dir.join(format!("rounds/{round}")))[0]["loss"].as_f64().unwrap();
    assert_eq!(loss(&first, 1), loss(&dir, 1));
    assert!((loss(&first, 2) - std::f64::consts::LN_2).abs() > 1e-4, "round 2 starts away from the first model");
    let error = resume("dpo", &dir.join("rounds/1")).unwrap_err().to_string();
    assert!(error.ends_with("rounds/1 is a part of a run of `rl dpo`: resume the run that contains it"), "{error}");
}

#[test]
fn rounds_that_were_stopped_in_any_phase_and_resumed_are_the_rounds_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    for (name, more) in [
        ("full", &[][..]),
        ("adapters", &["--lora-rank=2", "--reference=first"]),
        ("kto", &["--loss=kto", "--beta=0.5"]),
    ] {
        let flags = [&ROUNDS[..], more].concat();
        let straight = run_dpo(&folder.path().join(name), &flags).unwrap();
        assert_eq!(metrics(&straight).len(), 3, "the test needs all rounds");
        let assert_same = |dir: &Path| {
            assert_same_run(dir, &straight);
            for round in 1..=3 {
                let part = |dir: &Path| dir.join(format!("rounds/{round}"));
                assert_eq!(metrics(&part(dir)), metrics(&part(&straight)));
                let pairs = |dir: &Path| fs::read(part(dir).join("pairs.jsonl")).unwrap();
                assert!(pairs(dir) == pairs(&straight));
            }
        };
        let stopped = |label: &str, step: usize| {
            let dir = folder.path().join(format!("{name}-{label}"));
            let error = run_dpo(&dir, &[&flags[..], &[&format!("--stop-after={step}")]].concat()).unwrap_err();
            assert!(error.to_string().ends_with(&format!("--resume {}", dir.display())), "{error}");
            dir
        };
        // In the training of round 1.
        let dir = stopped("training", 1);
        assert!(metrics(&dir).is_empty() && metrics(&dir.join("rounds/1")).len() == 1);
        resume("dpo", &dir).unwrap();
        assert_same(&dir);
        // After round 2, then in the training of round 3.
        let dir = stopped("between", 2);
        assert_eq!(metrics(&dir).len(), 2);
        run(&["dpo", &format!("--resume={}", dir.display()), "--quiet", "--stop-after=1"]).unwrap_err();
        assert_eq!(metrics(&dir.join("rounds/3")).len(), 1);
        resume("dpo", &dir).unwrap();
        assert_same(&dir);
        // Killed while round 3 sampled.
        let dir = stopped("sampling", 2);
        let whole = fs::read_to_string(straight.join("samples.jsonl")).unwrap();
        let written = fs::read_to_string(dir.join("samples.jsonl")).unwrap();
        assert!(whole.starts_with(&written) && written.len() < whole.len());
        fs::write(dir.join("samples.jsonl"), &whole[..(written.len() + whole.len()) / 2]).unwrap();
        resume("dpo", &dir).unwrap();
        assert_same(&dir);
    }
}

#[test]
fn kto_trains_on_correct_and_wrong_completions_and_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--loss=kto", "--beta=0.5", "--steps=8", "--eval-every=4", "--held-out=0", "--learning-rate=5e-4"];
    let straight = run_dpo(&folder.path().join("straight"), &flags).unwrap();
    let lines = metrics(&straight);
    // Before the first update every gain is 0, and so is the reference point; the loss of a completion is half its weight.
    assert_eq!(lines[0]["kto/reference_point"].as_f64(), Some(0.0));
    let first = lines[0]["loss"].as_f64().unwrap();
    assert!((0.5..3.0).contains(&first), "{first}");
    assert!(lines.iter().all(|line| line["kto/reference_point"].as_f64().unwrap() >= 0.0));
    let margin = |line: usize| lines[line]["pairs/margin"].as_f64().unwrap();
    assert!(margin(7) > margin(3) && margin(3) > 0.0, "{} and {}", margin(3), margin(7));
    for step in [1, 4] {
        let dir = folder.path().join(format!("stopped-after-{step}"));
        run_dpo(&dir, &[&flags[..], &[&format!("--stop-after={step}")]].concat()).unwrap_err();
        resume("dpo", &dir).unwrap();
        assert_same_run(&dir, &straight);
    }
    // Of pairs in a file it takes both sides.
    let pairs = format!("--pairs={}", straight.join("pairs.jsonl").display());
    let of_pairs = run_dpo(&folder.path().join("pairs"), &[&flags[..], &[&pairs]].concat()).unwrap();
    assert!(metrics(&of_pairs)[7]["pairs/margin"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_mistake_of_preference_optimisation_is_named_before_anything_is_made() {
    let place = place();
    let dpo = |more: &[&'static str]| -> Vec<&'static str> {
        let place = ["dpo", "--init=model", "--out=run", "--quiet", "--device=cpu"];
        let problems = ["--benchmark=synthetic-1", "--limit=4", "--test-problems=0"];
        [place.as_slice(), &problems, more].concat()
    };
    let pair = |chosen: &str, rejected: &str| {
        serde_json::json!({"question": "1 + 1?", "chosen": chosen, "rejected": rejected}).to_string()
    };
    place.write("pairs.jsonl", pair(" #### 2", " #### 3"));
    place.write("equal.jsonl", pair(" #### 2", "#### 2 "));
    place.write("long.jsonl", pair(&"2 ".repeat(600), " #### 3"));
    place.fails(&dpo(&["--pairs=none.jsonl"]), &["none.jsonl", "No such file"]);
    for loss in ["sigmoid", "kto"] {
        let loss: &'static str = if loss == "kto" { "--loss=kto" } else { "--loss=sigmoid" };
        place.fails(&dpo(&["--pairs=equal.jsonl", loss]), &["equal.jsonl, line 1", "chosen and rejected are the same"]);
        place.fails(&dpo(&["--pairs=long.jsonl", loss]), &["all 1 pairs are longer than the context of 512 tokens"]);
        place.fails(&dpo(&["--pairs=pairs.jsonl", "--init=nowhere", loss]), &["nowhere"]);
    }
    place.fails(&dpo(&["--pairs=pairs.jsonl", "--rounds=2"]), &["--pairs is for one round", "--rounds 2"]);
    place.fails(&dpo(&["--rounds=2", "--temperature=0"]), &["--temperature 0", "equal solutions"]);
    place.fails(&dpo(&["--samples=1"]), &["--samples 1", "two samples"]);
    place.refuses_usage(&dpo(&["--rounds=0"]), &["--rounds", "at least 1"]);
    place.refuses_usage(&dpo(&["--desirable-weight=-1"]), &["--desirable-weight", "at least 0"]);
    // Samples of one kind only.
    let problem = &common::problems()[0];
    let sample = serde_json::json!({
        "step": 1, "id": problem.id, "question": problem.question, "completion": format!(" #### {}", problem.answer),
        "answer": null, "expected": problem.answer.to_string(), "reward": 1.0, "correct": true, "finish": "stop", "tokens": 3,
    });
    place.write("correct.jsonl", sample.to_string());
    place.fails(&dpo(&["--from-samples=correct.jsonl"]), &["--from-samples", "no pair can be made"]);
    let both = ["--from-samples=correct.jsonl", "--loss=kto"];
    place.fails(&dpo(&both), &["--from-samples", "1 of 1 samples are correct", "both correct and wrong"]);
}

#[test]
fn a_dry_run_counts_the_samples_and_steps_of_all_rounds() {
    let place = place();
    let printed = |more: &[&str]| {
        let flags = ["dpo", "--init=model", "--device=cpu", "--limit=4", "--samples=4", "--batch-size=2", "--dry-run"];
        let output = place.run(&[flags.as_slice(), more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let one = printed(&[]);
    assert!(one.contains("# optimiser steps       8\n") && one.contains("# pairs                 16 at most"), "{one}");
    assert!(!one.contains("rounds ="), "{one}");
    let three = printed(&["--rounds=3"]);
    assert!(three.contains("rounds = 3") && three.contains("# optimiser steps       24\n"), "{three}");
    assert!(three.contains("# samples in all        48 of 3 rounds"), "{three}");
    let kto = printed(&["--loss=kto", "--rounds=2"]);
    assert!(
        kto.contains("# completions           16 at most") && kto.contains("# optimiser steps       16\n"),
        "{kto}"
    );
}
