//! A small run directory for tests, as PPO would leave it. Its numbers are made up.

use eval::{About, Graded, Report, Sample};
use model::Finish;
use serde_json::json;
use std::{fmt::Write, fs, path::Path};

/// The steps of the run.
pub const STEPS: usize = 20;
/// Samples of each step.
pub const SAMPLES: usize = 16;

/// Writes configuration, metrics, samples and evaluation.
pub fn write_run(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("config.toml"), "# rl ppo\nbenchmark = \"synthetic\"\nsteps = 20\nlearning_rate = 2e-4\n")
        .unwrap();
    let (mut metrics, mut samples) = (String::new(), String::new());
    for step in 1..=STEPS {
        writeln!(metrics, "{}", metrics_of(step)).unwrap();
        for sample in samples_of(step) {
            writeln!(samples, "{}", serde_json::to_string(&sample).unwrap()).unwrap();
        }
    }
    fs::write(dir.join("metrics.jsonl"), metrics).unwrap();
    fs::write(dir.join("samples.jsonl"), samples).unwrap();
    let both = json!({"before": report(3), "after": report(9)});
    fs::write(dir.join("eval.json"), serde_json::to_string_pretty(&both).unwrap()).unwrap();
}

/// A report on ten questions, of which some are answered rightly by every sample.
pub fn report(right: usize) -> Report {
    let answer = |correct| Graded { answer: Some(data::Answer::from_integer(5)), correct, score: None };
    let questions: Vec<Vec<Graded>> = (0..10).map(|i| vec![answer(i < right); 4]).collect();
    let about = About {
        answer_format: Default::default(),
        benchmark: "synthetic".into(),
        split: data::Split::Test,
        temperature: Some(0.7),
        checkpoint: None,
        truncated: Some(0.125),
        mean_tokens: Some(31.5),
        checker: None,
    };
    Report::from_graded(&questions, None, &[1, 4], about).unwrap()
}

fn metrics_of(step: usize) -> serde_json::Value {
    let done = step as f64 / STEPS as f64;
    // Something that looks like noise and is the same on every machine.
    let noise = ((step * 37 % 11) as f64 - 5.0) / 100.0;
    let accuracy = 0.1 + 0.6 * done + noise;
    let mut line = json!({
        "step": step, "samples": step * SAMPLES, "reward/mean": accuracy + 0.1, "reward/answer": accuracy,
        "reward/steps": 0.1, "accuracy": accuracy, "kl/k1": 0.02 * done + noise / 10.0, "kl/k3": 0.03 * done,
        "kl/per_completion": 1.2 * done, "kl/old": 0.001 + noise / 1e3, "entropy": 0.9 - 0.5 * done,
        "length/mean": 40.0 + 10.0 * noise, "length/max": 70 + step % 7, "truncated": 0.02 + noise / 5.0,
        "unparsable": 0.1 * (1.0 - done), "ratio/max": 1.5 + noise, "ratio/clipped": 0.05 + noise / 2.0,
        "loss/policy": -0.01 + noise / 10.0, "loss/value": 0.3 - 0.2 * done, "loss/skipped": 0.0, "grad_norm": 1.0 + noise,
        "learning_rate": 2e-4 * (1.0 - 0.9 * done), "kl/coefficient": 0.05, "time/rollout_s": 3.0 + noise,
        "time/update_s": 5.0 - noise, "rollout/tokens_per_s": 3000.0 + 1000.0 * noise,
    });
    if step.is_multiple_of(5) {
        line["validation/maj@1"] = json!(0.1 + 0.55 * done);
    }
    if step == 7 {
        line["kl/k3"] = serde_json::Value::Null;
    }
    line
}

fn samples_of(step: usize) -> Vec<Sample> {
    let sample = |i: usize| {
        let correct = i < step * SAMPLES / STEPS && i != 15;
        Sample {
            step: Some(step),
            id: format!("synthetic-train-{step}-{i}"),
            question: format!("Ann has {i} apples and buys {step} more. How many has she?"),
            completion: format!("Ann has {i} + {step} apples.\n{i} + {step} = <<{i}+{step}>>\n#### {}", i + step),
            answer: (i != 15).then(|| (i + step + usize::from(!correct)).to_string()),
            kind: data::AnswerKind::Number,
            expected: (i + step).to_string(),
            reward: Some(f64::from(u8::from(correct))),
            correct,
            finish: if i == 15 { Finish::Length } else { Finish::Stop },
            tokens: 30 + i,
            greedy: false,
            given: 0,
            calculated: Vec::new(),
            score: None,
        }
    };
    (0..SAMPLES).map(sample).collect()
}
