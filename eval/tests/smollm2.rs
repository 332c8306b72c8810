//! Claims about a published model, read from its GGUF file: the tokens, logits, log-probabilities and likelihoods that Hugging Face
//! transformers computes from the same weights.
//!
//! `cargo test` lists them as ignored, since they need the file, which `scripts/smollm2.sh DATA_DIR DIR --fetch` fetches:
//!
//! ```sh
//! RL_SMOLLM2=…/SmolLM2-135M-Instruct.Q4_1.gguf RL_DATA_DIR=… cargo test --workspace --release --test smollm2 -- --include-ignored
//! ```

use burn::tensor::{Int, Tensor, TensorData};
use eval::Policy;
use model::{Device, GenerateConfig, Key, Purpose, generate, to_host, token_log_probs};
use serde::Deserialize;
use std::path::Path;

/// `fixtures/smollm2.json`.
#[derive(Deserialize)]
struct Reference {
    prompt: String,
    input_ids: Vec<u32>,
    last_logits_first8: Vec<f32>,
    first_pos_logits_first8: Vec<f32>,
    prompt_token_logprobs: Vec<f32>,
    greedy_24_ids: Vec<u32>,
    nll_per_token_first12_gsm8k_train: f64,
    nll_tokens: usize,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("fixtures/smollm2.json")).unwrap()
}

fn policy() -> Policy {
    let path = std::env::var_os("RL_SMOLLM2").expect("RL_SMOLLM2 names no file");
    Policy::load(Path::new(&path), &Device::default()).unwrap()
}

fn as_tensor(ids: &[u32]) -> Tensor<2, Int> {
    let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let time = ids.len();
    Tensor::from_data(TensorData::new(ids, [1, time]), &Device::default())
}

/// Logits `[T, V]` of one sequence, and the log-probability of each token but the first.
fn score_once(policy: &Policy, ids: &[u32]) -> (Tensor<2>, Vec<f32>) {
    let (tokens, time) = (as_tensor(ids), ids.len());
    let logits = policy.model.forward(tokens.clone()).reshape([time, policy.model.config.vocab_size]);
    let targets = tokens.reshape([time]).narrow(0, 1, time - 1);
    let log_probs = to_host(token_log_probs(logits.clone().narrow(0, 0, time - 1), targets, 1.0)).values;
    (logits, log_probs)
}

fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

#[test]
#[ignore = "needs SmolLM2-135M-Instruct as a GGUF file: set RL_SMOLLM2"]
fn prompt_logits_and_log_probabilities_are_those_of_transformers() {
    let policy = policy();
    let reference = reference();
    let ids = policy.tokenizer.encode(&reference.prompt);
    assert_eq!(ids, reference.input_ids);
    let (logits, log_probs) = score_once(&policy, &ids);
    let first_eight = |row: usize| to_host(logits.clone().narrow(0, row, 1).narrow(1, 0, 8)).values;
    for (row, expected) in [(0, &reference.first_pos_logits_first8), (ids.len() - 1, &reference.last_logits_first8)] {
        let difference = largest_difference(&first_eight(row), expected);
        assert!(difference < 1e-3, "logits of token {row}: {difference:e}");
    }
    let difference = largest_difference(&log_probs, &reference.prompt_token_logprobs);
    assert!(difference < 1e-3, "log-probabilities: {difference:e}");
}

#[test]
#[ignore = "needs SmolLM2-135M-Instruct as a GGUF file: set RL_SMOLLM2"]
fn the_likeliest_tokens_are_those_of_transformers() {
    let policy = policy();
    let reference = reference();
    let config = GenerateConfig {
        max_new_tokens: 24,
        temperature: 0.0,
        stops: Vec::new(),
        giver: None,
        rows: 1,
        streams: None,
        threads: 1,
    };
    let keys = vec![vec![Key::new(0, Purpose::Generate)]];
    let (completions, _) = generate(&policy.model, &[reference.input_ids], &keys, &config, &|_| ());
    assert_eq!(completions[0][0].tokens, reference.greedy_24_ids);
}

#[test]
#[ignore = "needs SmolLM2-135M-Instruct as a GGUF file and the published GSM8K: set RL_SMOLLM2 and RL_DATA_DIR"]
fn the_likelihood_of_real_problems_is_that_of_transformers() {
    let (policy, data_dir) = (policy(), std::env::var_os("RL_DATA_DIR").expect("RL_DATA_DIR names no folder"));
    let reference = reference();
    let problems = data::read_problems(&Path::new(&data_dir).join("gsm8k/train.jsonl")).unwrap();
    let (mut sum, mut tokens) = (0.0, 0);
    for problem in &problems[..12] {
        let text = format!("Question: {}\nAnswer: {}", problem.question, problem.solution);
        let (_, log_probs) = score_once(&policy, &policy.tokenizer.encode(&text));
        sum -= log_probs.iter().map(|&log_prob| f64::from(log_prob)).sum::<f64>();
        tokens += log_probs.len();
    }
    assert_eq!(tokens, reference.nll_tokens);
    let mean = sum / tokens as f64;
    let expected = reference.nll_per_token_first12_gsm8k_train;
    assert!((mean - expected).abs() < 1e-4, "{mean} against {expected}");
}
