//! What end-to-end claims need: problems of their own in a benchmark's format, a tiny model, commands run in this process.
//! The claims stand in `tests/`.

use anyhow::Result;
use data::{Tokenizer, completion_text, question_prompt};
use model::{Device, ModelConfig, ModelSize, Transformer, save_model};
use serde_json::{Map, Value, json};
use std::{ffi::OsString, fs, path::Path};

/// A question with its solution, whose last line is `#### ` and a number.
pub type Solved = (String, String);

/// Writes problems as GSM8K's authors publish theirs, for `--benchmark gsm8k --data-dir FOLDER`.
///
/// # Errors
/// Errors of the file system.
pub fn write_gsm8k(folder: &Path, train: &[Solved], test: &[Solved]) -> Result<()> {
    fs::create_dir_all(folder.join("gsm8k"))?;
    for (name, problems) in [("train", train), ("test", test)] {
        let line = |(question, solution): &Solved| json!({"question": question, "answer": solution}).to_string() + "\n";
        fs::write(folder.join(format!("gsm8k/{name}.jsonl")), problems.iter().map(line).collect::<String>())?;
    }
    Ok(())
}

/// Makes a folder with a model of width 64 and two blocks, random weights, and a tokenizer that was trained on the problems.
///
/// # Errors
/// Errors of the file system.
pub fn write_random_model(folder: &Path, problems: &[Solved], seed: u64) -> Result<()> {
    let texts: Vec<String> =
        problems.iter().map(|(question, solution)| question_prompt(question) + &completion_text(solution)).collect();
    let tokenizer = Tokenizer::train_bpe(&texts, 300)?;
    let config = ModelConfig {
        hidden_size: 64,
        intermediate_size: 128,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: Some(4),
        max_position_embeddings: 256,
        ..ModelConfig::of_size(ModelSize::Tiny, tokenizer.vocab_size(), tokenizer.eos_ids()[0])
    };
    fs::create_dir_all(folder)?;
    save_model(folder, &Transformer::init(&config, seed, &Device::default()))?;
    tokenizer.save(folder)
}

/// Runs `rl` with these arguments on the CPU, without progress bars. Later flags win over earlier ones.
///
/// # Errors
/// What the command says.
pub fn rl(command: &str, flags: &[&str]) -> Result<()> {
    let fixed = ["rl", command, "--quiet", "--device=cpu"];
    let arguments: Vec<OsString> = fixed.iter().chain(flags).map(OsString::from).collect();
    rl::command::parse(arguments)?.execute().map(drop)
}

/// A flag whose value is a path.
pub fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

/// The values of a metric, step by step, of the steps that have it.
///
/// # Errors
/// A run without metrics, or a malformed line.
pub fn curve(run: &Path, metric: &str) -> Result<Vec<f64>> {
    let text = fs::read_to_string(run.join("metrics.jsonl"))?;
    let lines = text.lines().map(serde_json::from_str::<Map<String, Value>>).collect::<Result<Vec<_>, _>>()?;
    Ok(lines.iter().filter_map(|line| line.get(metric)?.as_f64()).collect())
}

/// The text of `metrics.jsonl` without times, speeds and memory: `time/*` and `rollout/tokens_per_s`.
///
/// # Errors
/// A run without metrics, or a malformed line.
pub fn metrics_without_clocks(run: &Path) -> Result<String> {
    let text = fs::read_to_string(run.join("metrics.jsonl"))?;
    let mut kept = String::new();
    for line in text.lines() {
        let mut metrics: Map<String, Value> = serde_json::from_str(line)?;
        metrics.retain(|name, _| !name.starts_with("time/") && name != "rollout/tokens_per_s");
        kept += &(Value::Object(metrics).to_string() + "\n");
    }
    Ok(kept)
}

/// Mean of some values; NaN if there are none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
