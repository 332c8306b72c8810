//! What several test files need: a tiny policy that is sometimes right, and commands run in this process.

#![allow(dead_code, reason = "each test file uses a part of it")]

use anyhow::Result;
use data::{
    Benchmark, DataOptions, Example, Problem, PromptStyle, Split, Tokenizer, completion_text, encode_example,
    question_prompt,
};
use eval::Policy;
use model::{Device, ModelConfig, ModelSize, Transformer, save_model};
use rl::{
    command::parse,
    training::optim::{Adam, GradientOptions},
    training::supervised::{likelihood_loss, update},
};
use serde_json::{Map, Value};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};
use tempfile::TempDir;

/// Number of problems that the policy of these tests was trained on.
pub const PROBLEMS: usize = 8;

/// The embedded benchmark of short solutions, all of which are worked out by the policy.
pub const BENCHMARK: &str = "synthetic-1";

/// The first training problems of the benchmark.
pub fn problems() -> Vec<Problem> {
    let all = BENCHMARK.parse::<Benchmark>().unwrap().load(Split::Train, &DataOptions::default()).unwrap();
    all[..PROBLEMS].to_vec()
}

/// A tokenizer trained on these problems.
fn tokenizer() -> Tokenizer {
    let texts: Vec<String> =
        problems().iter().map(|p| question_prompt(&p.question) + &completion_text(&p.solution)).collect();
    Tokenizer::train_bpe(&texts, 300).unwrap()
}

/// Width 32, two blocks, grouped heads: random weights.
pub fn random_model(vocabulary: usize, seed: u64) -> Transformer {
    let config = ModelConfig {
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: Some(2),
        max_position_embeddings: 512,
        ..ModelConfig::of_size(ModelSize::Tiny, vocabulary, 0)
    };
    Transformer::init(&config, seed, &Device::default())
}

/// A problem answered without any step, so that completions are short.
pub fn short_examples(tokenizer: &Tokenizer) -> Vec<Example> {
    let example = |problem: &Problem| {
        let mut tokens = tokenizer.encode(&question_prompt(&problem.question));
        let prompt_len = tokens.len();
        tokens.extend(tokenizer.encode(&completion_text(&format!("#### {}", problem.answer))));
        tokens.push(tokenizer.eos_ids()[0]);
        Example::new(tokens, prompt_len)
    };
    problems().iter().map(example).collect()
}

/// A folder with a policy that answers at once and is sometimes right. Made once in a process.
pub fn start() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| taught(&short_examples(&tokenizer()), 60)).path()
}

/// A folder with a policy that writes solutions of several lines and is sometimes right. Made once in a process.
pub fn start_with_steps() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let tokenizer = tokenizer();
    let example = |problem: &Problem| encode_example(&tokenizer, &PromptStyle::Plain.into(), problem).unwrap();
    FOLDER.get_or_init(|| taught(&problems().iter().map(example).collect::<Vec<_>>(), 120)).path()
}

/// A policy that has learnt a result that is one too large for every calculation.
pub fn false_calculator() -> Policy {
    let tokenizer = tokenizer();
    let falsified = |problem: &Problem| {
        let one_more = |part: &str| match part.rsplit_once('=') {
            Some((before, result)) => match result.parse::<u64>() {
                Ok(result) => format!("{before}={}", result + 1),
                Err(_) => part.to_string(),
            },
            None => part.to_string(),
        };
        let solution = problem.solution.split(">>").map(one_more).collect::<Vec<_>>().join(">>");
        let problem = Problem { solution, ..problem.clone() };
        encode_example(&tokenizer, &PromptStyle::Plain.into(), &problem).unwrap()
    };
    let folder = taught(&problems().iter().map(falsified).collect::<Vec<_>>(), 120);
    Policy::load(folder.path(), &Device::default()).unwrap()
}

fn taught(examples: &[Example], steps: usize) -> TempDir {
    let tokenizer = tokenizer();
    let mut model = random_model(tokenizer.vocab_size(), 1);
    let mut optimizer = Adam::new(0.9, 0.98, 1e-8, 0.0, 1.0);
    for _ in 0..steps {
        model = update(model, examples, &likelihood_loss, &mut optimizer, 3e-3, PROBLEMS, GradientOptions::on(1)).model;
    }
    let folder = tempfile::tempdir().unwrap();
    save_model(folder.path(), &model).unwrap();
    tokenizer.save(folder.path()).unwrap();
    folder
}

/// The policy of [`start`].
pub fn policy() -> Policy {
    Policy::load(start(), &Device::default()).unwrap()
}

/// Runs a command; its run directory, or an empty path where it leaves none. Later flags win over earlier ones.
pub fn run(arguments: &[&str]) -> Result<PathBuf> {
    let arguments: Vec<OsString> = ["rl"].iter().chain(arguments).map(OsString::from).collect();
    Ok(parse(arguments)?.execute()?.unwrap_or_default())
}

/// Flags of a run of four steps that takes seconds.
const SMALL: &[&str] = &[
    "--benchmark=synthetic-1",
    "--device=cpu",
    "--quiet",
    "--seed=3",
    "--limit=8",
    "--max-new-tokens=24",
    "--steps=4",
    "--eval-every=2",
    "--eval-problems=4",
    "--test-problems=4",
    "--test-samples=2",
    "--test-temperature=0.7",
    "--threads=2",
    "--micro-batch=3",
    "--rollout-batch=5",
    "--max-grad-norm=1.0",
    "--warm-up=1",
    "--final-learning-rate=0.1",
    "--learning-rate=2e-3",
];

/// [`SMALL`] for a command that ends without an evaluation on the test split.
fn small() -> Vec<&'static str> {
    SMALL.iter().filter(|flag| !flag.starts_with("--test-")).copied().collect()
}

/// [`run`] of a small `rl ppo` from [`start`] into `out`.
pub fn run_ppo(out: &Path, more: &[&str]) -> Result<PathBuf> {
    let own = [
        "--questions=4",
        "--samples=2",
        "--mini-batch=4",
        "--ppo-epochs=2",
        "--temperature=1",
        "--kl-coefficient=0.05",
        "--kl-target=0.5",
        "--kl-horizon=100",
        "--epsilon=0.2",
        "--value-clip=0.2",
        "--value-weight=1",
        "--gamma=1",
        "--lambda=0.95",
        "--value-layers=1",
        "--value-learning-rate=4e-3",
        "--value-warm-up=1",
        "--reward=sparse",
    ];
    run_small("ppo", out, &own, more)
}

/// [`run`] of a small `rl sft` from [`start`] into `out`.
pub fn run_sft(out: &Path, more: &[&str]) -> Result<PathBuf> {
    run_small("sft", out, &["--batch-size=6", "--weight-decay=0.01", "--beta-2=0.98"], more)
}

/// [`run`] of a small `rl ei` from [`start`] into `out`.
pub fn run_ei(out: &Path, more: &[&str]) -> Result<PathBuf> {
    let base = format!("--base={}", start().display());
    let own = ["--batch-size=6", "--rounds=3", "--samples=4", "--patience=3", "--max-new-tokens=12", &base];
    run_small("ei", out, &own, more)
}

/// [`run`] of a small `rl orm` from `init` into `out`.
pub fn run_orm(init: &Path, out: &Path, more: &[&str]) -> Result<PathBuf> {
    let (init, out) = (format!("--init={}", init.display()), format!("--out={}", out.display()));
    let small = small();
    let own = ["--batch-size=6", "--samples=6", "--held-out=0.25", "--temperature=1"];
    run(&[&["orm", &init, &out], small.as_slice(), &own, more].concat())
}

/// [`run`] of a small `rl rcrl` from [`start_with_steps`] into `out`.
pub fn run_rcrl(out: &Path, more: &[&str]) -> Result<PathBuf> {
    let start = start_with_steps().display();
    let (init, base) = (format!("--init={start}"), format!("--base={start}"));
    let own = ["--batch-size=6", "--samples=6", "--completions=2", "--temperature=1.3", "--max-new-tokens=64"];
    run_small("rcrl", out, &[own.as_slice(), &[&init, &base]].concat(), more)
}

/// [`run`] of a small `rl dpo` from [`start_with_steps`] into `out`.
pub fn run_dpo(out: &Path, more: &[&str]) -> Result<PathBuf> {
    let init = format!("--init={}", start_with_steps().display());
    let own = ["--batch-size=6", "--samples=8", "--temperature=1.3", "--max-new-tokens=64", "--held-out=0.2", &init];
    run_small("dpo", out, &own, more)
}

/// [`run`] of a small `rl mpo` from [`start_with_steps`] with a reward model into `out`.
pub fn run_mpo(orm: &Path, out: &Path, more: &[&str]) -> Result<PathBuf> {
    let (init, orm) = (format!("--init={}", start_with_steps().display()), format!("--orm={}", orm.display()));
    let own =
        ["--batch-size=6", "--samples=8", "--temperature=1.3", "--max-new-tokens=64", "--held-out=0", &init, &orm];
    run_small("mpo", out, &[own.as_slice(), &STAGE_OF_PPO].concat(), more)
}

/// [`run`] of a small `rl ares` from [`start_with_steps`] into `out`.
pub fn run_ares(out: &Path, more: &[&str]) -> Result<PathBuf> {
    let init = format!("--init={}", start_with_steps().display());
    let own = ["--batch-size=6", "--samples=2", "--temperature=1.3", "--max-new-tokens=64", &init];
    run_small("ares", out, &[own.as_slice(), &STAGE_OF_PPO].concat(), more)
}

/// A small stage of PPO.
const STAGE_OF_PPO: [&str; 7] = [
    "--ppo-steps=3",
    "--ppo-questions=2",
    "--ppo-samples=4",
    "--ppo-mini-batch=4",
    "--ppo-eval-every=2",
    "--ppo-value-warm-up=1",
    "--ppo-learning-rate=2e-3",
];

/// [`run`] of a small `rl augment` from [`start_with_steps`] into `out`.
pub fn run_augment(out: &Path, more: &[&str]) -> Result<PathBuf> {
    let start = start_with_steps().display();
    let out = format!("--out={}", out.display());
    let (init, base) = (format!("--init={start}"), format!("--base={start}"));
    let small = small();
    let own = ["--steps=20", "--samples=8", "--temperature=0.9", "--max-new-tokens=120", "--verify=2"];
    run(&[&["augment", &init, &base, &out], small.as_slice(), &own, more].concat())
}

fn run_small(command: &str, out: &Path, own: &[&str], more: &[&str]) -> Result<PathBuf> {
    let init = format!("--init={}", start().display());
    let out = format!("--out={}", out.display());
    run(&[&[command, &init, &out], SMALL, own, more].concat())
}

/// Resumes a run as a user does: by its directory alone.
pub fn resume(command: &str, dir: &Path) -> Result<PathBuf> {
    run(&[command, &format!("--resume={}", dir.display()), "--quiet"])
}

/// `metrics.jsonl` without the values that differ between two equal runs: times and speeds.
pub fn metrics(dir: &Path) -> Vec<Map<String, Value>> {
    let text = fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut metrics: Map<String, Value> = serde_json::from_str(line).unwrap();
        metrics.retain(|name, _| !name.starts_with("time/") && name != "rollout/tokens_per_s");
        metrics
    };
    text.lines().map(line).collect()
}

/// All that two equal runs have in common: metrics but for clocks, samples, every byte of the checkpoints, the evaluation.
#[track_caller]
pub fn assert_same_run(left: &Path, right: &Path) {
    assert_eq!(metrics(left), metrics(right));
    for name in ["samples.jsonl", "config.toml"] {
        let bytes = |dir: &Path| fs::read(dir.join(name)).unwrap();
        assert!(bytes(left) == bytes(right), "{name} differs: {} and {}", left.display(), right.display());
    }
    let evaluation = |dir: &Path| fs::read_to_string(dir.join("eval.json")).ok();
    assert_eq!(evaluation(left), evaluation(right));
    let [left, right] = [left, right].map(|dir| files(&dir.join("checkpoints")));
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&left), names(&right));
    for ((name, left), (_, right)) in left.iter().zip(&right) {
        assert!(left == right, "{} differs", name.display());
    }
}

/// Every file below a folder by its path in it.
pub fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push((path.strip_prefix(folder).unwrap().to_path_buf(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}
