//! The same seed gives the same run. That resuming changes nothing, and that configurations repeat, is claimed in `rl`.

use std::{
    fs,
    path::{Path, PathBuf},
};
use tests::{Solved, curve, flag, metrics_without_clocks, rl, write_gsm8k};

/// Problems with three answers, so that a policy that has learnt little more than their form is right sometimes.
fn problems() -> Vec<Solved> {
    (0..30).map(|i| (format!("What is {i} modulo 3?"), format!("#### {}", i % 3))).collect()
}

/// The way from text to a policy in three commands of few steps each; the three run directories.
fn pipeline(folder: &Path, name: &str, more: &[&str]) -> [PathBuf; 3] {
    let runs = ["pretrain", "sft", "ppo"].map(|command| folder.join(format!("{name}-{command}")));
    let data = flag("data-dir", folder);
    let shared = [&*data, "--benchmark=gsm8k", "--seed=5"];
    let outs = runs.each_ref().map(|run| flag("out", run));
    let pretrain = [&*outs[0], "--vocabulary=290", "--context=32", "--steps=3", "--batch-size=8"];
    rl("pretrain", &[&shared[..], &pretrain[..], more].concat()).unwrap();
    let sft = [&*flag("init", &runs[0]), &*outs[1], "--max-new-tokens=16", "--steps=30", "--batch-size=8"];
    rl("sft", &[&shared[..], &sft[..], more].concat()).unwrap();
    let ppo = [
        &*flag("init", &runs[1]),
        &*outs[2],
        "--max-new-tokens=16",
        "--steps=3",
        "--questions=4",
        "--samples=3",
        "--mini-batch=6",
        "--value-warm-up=1",
        "--eval-every=3",
        "--learning-rate=1e-3",
        "--test-problems=6",
        "--test-samples=2",
    ];
    rl("ppo", &[&shared[..], &ppo[..], more].concat()).unwrap();
    runs
}

/// The last checkpoint, as a path in the run.
fn last_checkpoint(run: &Path) -> String {
    format!("checkpoints/{}", eval::read_index(&run.join("checkpoints/index.json")).unwrap().last)
}

/// Metrics but for clocks, samples, final evaluation, and the last weights, tokenizer and state of the optimiser: every byte.
#[track_caller]
fn assert_same(left: &Path, right: &Path) {
    assert_eq!(metrics_without_clocks(left).unwrap(), metrics_without_clocks(right).unwrap());
    let names = ["model.safetensors", "config.json", "tokenizer.json", "trainer/optimizer.safetensors"];
    let checkpoint = names.map(|name| format!("{}/{name}", last_checkpoint(left)));
    for name in checkpoint.iter().map(String::as_str).chain(["samples.jsonl", "eval.json"]) {
        let bytes = |run: &Path| fs::read(run.join(name)).ok();
        assert!(bytes(left) == bytes(right), "{name} differs: {} and {}", left.display(), right.display());
    }
    assert!(left.join(&checkpoint[0]).is_file());
}

#[test]
fn the_same_seed_repeats_pretraining_sft_and_ppo_to_the_byte_with_any_threads_and_rollout_batch() {
    let folder = tempfile::tempdir().unwrap();
    write_gsm8k(folder.path(), &problems(), &problems()).unwrap();
    let first = pipeline(folder.path(), "first", &["--threads=2"]);
    let ways: [(&str, &[&str]); 4] = [
        ("again", &["--threads=2"]),
        ("one-thread", &["--threads=1"]),
        ("one-row", &["--rollout-batch=1"]),
        ("five-rows", &["--rollout-batch=5", "--threads=3"]),
    ];
    for (name, flags) in ways {
        for (run, first) in pipeline(folder.path(), name, flags).iter().zip(&first) {
            assert_same(run, first);
        }
    }
    let weights = |run: &Path| fs::read(run.join(last_checkpoint(run)).join("model.safetensors")).unwrap();
    assert!(
        weights(&first[0]) != weights(&first[1]) && weights(&first[1]) != weights(&first[2]),
        "each has changed the weights"
    );
    assert!(curve(&first[2], "reward/mean").unwrap().iter().any(|reward| *reward > 0.0), "rewards took part");
    let samples = fs::read_to_string(first[2].join("samples.jsonl")).unwrap();
    assert_eq!(samples.lines().count(), 3 * 4 * 3);
}
