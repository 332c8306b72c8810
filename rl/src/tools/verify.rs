//! `rl verify`: does a device compute what the CPU computes? The delicate parts, on models of a few thousand random weights,
//! each against the CPU in f32, with the tolerance beside the error.

use crate::{
    cli::args::device_kind,
    objective::loss::{negative_log_likelihood, ppo_policy, ppo_value},
    training::batch::{flat, pad},
    training::optim::{Adam, GradientOptions, gradient_list, gradients},
    view::progress::print_line,
};
use anyhow::{Result, ensure};
use burn::tensor::Tensor;
use clap::Args;
use comfy_table::{Table, presets};
use data::Example;
use model::{
    ActorCritic, Completion, Device, DeviceKind, Dtype, GenerateConfig, Key, LOGITS_TOGETHER, LoraConfig, LoraTargets,
    ModelConfig, ModelSize, Purpose, RewardNetwork, Transformer, ValueBranch, generate, model_tensors, score,
    score_with_values, to_host, with_adapters,
};
use std::time::Instant;

/// Compare what a device computes with the CPU
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// Device to compare with the CPU, among the compiled backends
    #[arg(long, default_value = "auto", value_parser = device_kind())]
    pub device: DeviceKind,
}

/// A computation that is made on both devices, as plain numbers.
struct Check {
    name: &'static str,
    /// Most that any number may differ, as a share of the largest one.
    tolerance: f32,
    /// Computes on a device; `reference` on the CPU, where the same quantity may be computed in another way.
    compute: fn(device: &Device, reference: bool) -> Vec<f32>,
    /// Whether it needs bf16: it is left out on a device without it.
    in_bf16: bool,
    /// Whether the error is the share of tokens that differ: 0 where logits are the same.
    of_tokens: bool,
}

impl Check {
    const fn new(name: &'static str, tolerance: f32, compute: fn(&Device, bool) -> Vec<f32>) -> Self {
        Self { name, tolerance, compute, in_bf16: false, of_tokens: false }
    }

    const fn of_tokens(name: &'static str, compute: fn(&Device, bool) -> Vec<f32>) -> Self {
        Self { of_tokens: true, ..Self::new(name, 0.0, compute) }
    }

    /// The tolerance where products of f32 keep ten bits of a factor (TF32).
    fn tolerance_of_short_products(&self) -> f32 {
        if self.of_tokens { 0.25 } else { self.tolerance.max(2e-2) }
    }
}

/// From the basic operations to what is built on them.
const CHECKS: [Check; 11] = [
    Check::new("logits of padded rows", 1e-4, |device, _| logits(device, Dtype::F32)),
    Check::new("the likelihood, and its gradients", 1e-3, |device, _| likelihood(device, false, Dtype::F32)),
    Check::new("the same, blocks recomputed", 1e-3, |device, reference| likelihood(device, !reference, Dtype::F32)),
    Check::new("log-probabilities of 49,152 tokens, in parts", 1e-3, |device, _| in_parts(device)),
    Check::new("gradients of adapters", 1e-3, |device, _| adapters(device)),
    Check::new("probabilities of a reward model", 1e-3, |device, _| reward_probabilities(device)),
    Check::new("weights after two updates of PPO", 1e-3, |device, _| updates(device)),
    Check::of_tokens("greedy completions", |device, _| completions(device, 0.0)),
    Check::of_tokens("sampled completions", |device, _| completions(device, 1.0)),
    Check {
        in_bf16: true,
        ..Check::new("logits, products in bf16", 5e-2, |device, reference| {
            logits(device, if reference { Dtype::F32 } else { Dtype::Bf16 })
        })
    },
    Check {
        in_bf16: true,
        ..Check::new("the likelihood, and its gradients, in bf16", 5e-2, |device, reference| {
            likelihood(device, false, if reference { Dtype::F32 } else { Dtype::Bf16 })
        })
    },
];

/// Compares and prints.
///
/// # Errors
/// A device that cannot be used, or is not there; a build without the CPU; a check that fails, or cannot be computed.
pub fn run(args: &VerifyArgs) -> Result<()> {
    let reference = model::choose_device(DeviceKind::Cpu, Dtype::F32)?;
    let device = model::choose_device(args.device, Dtype::F32)?;
    ensure!(args.device == DeviceKind::Cpu || device != reference, "no GPU was found: there is nothing to compare");
    let short = model::uses_tf32(&device);
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(["", "numbers", "largest error", "tolerance", "seconds", ""]);
    let mut failed = Vec::new();
    let possible = |check: &&Check| !check.in_bf16 || model::has_bf16(&device);
    for check @ Check { name, compute, .. } in CHECKS.iter().filter(possible) {
        let tolerance = if short { check.tolerance_of_short_products() } else { check.tolerance };
        tracing::info!("{name}");
        let expected = compute(&reference, true);
        let started = Instant::now();
        // What cannot be computed has no numbers; why is on the error stream, and the other checks are still of use.
        let found = std::panic::catch_unwind(|| compute(&device, false)).unwrap_or_default();
        let seconds = started.elapsed().as_secs_f64();
        let error = if check.of_tokens { share_of_others(&found, &expected) } else { largest_error(&found, &expected) };
        let holds = error <= tolerance;
        tracing::info!("{name}: off by {error:.1e} in {seconds:.1} s");
        failed.extend((!holds).then_some(*name));
        table.add_row([
            (*name).to_string(),
            found.len().to_string(),
            format!("{error:.1e}"),
            format!("{tolerance:.0e}"),
            format!("{seconds:.1}"),
            if holds { "ok" } else { "DIFFERS" }.to_string(),
        ]);
    }
    let mut without = if model::has_bf16(&device) { String::new() } else { ", which has no bf16".to_string() };
    if short {
        without += ", whose products of f32 may keep ten bits of a factor (TF32)";
    }
    print_line(&format!("{table}\n{:?}{without}, against {:?}", *device, *reference))?;
    ensure!(failed.is_empty(), "not what the CPU computes: {}", failed.join(", "));
    Ok(())
}

/// The largest difference as a share of the largest number; infinite for a NaN, or if the counts differ.
fn largest_error(found: &[f32], expected: &[f32]) -> f32 {
    if found.len() != expected.len() || found.iter().any(|value| !value.is_finite()) {
        return f32::INFINITY;
    }
    let largest = expected.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
    found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max) / largest
}

/// The share of tokens that differ; 1 if the counts differ.
fn share_of_others(found: &[f32], expected: &[f32]) -> f32 {
    if found.len() != expected.len() {
        return 1.0;
    }
    found.iter().zip(expected).filter(|(found, expected)| found != expected).count() as f32 / expected.len() as f32
}

const VOCABULARY: usize = 61;

fn config() -> ModelConfig {
    ModelConfig {
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: Some(2),
        max_position_embeddings: 64,
        ..ModelConfig::of_size(ModelSize::Tiny, VOCABULARY, 0)
    }
}

/// Random weights, the same on every device.
fn model(device: &Device) -> Transformer {
    model_in(Dtype::F32, device)
}

fn model_in(compute: Dtype, device: &Device) -> Transformer {
    Transformer::init(&config(), 7, &device.with_dtype(compute))
}

/// Three rows of differing lengths.
fn rows() -> [Example; 3] {
    let row = |length: u32| (0..length).map(|i| (i * i * 5 + 13 * i + length) % VOCABULARY as u32).collect();
    [(14, 3), (9, 2), (12, 5)].map(|(length, prompt_len)| Example::new(row(length), prompt_len))
}

fn response_tokens() -> usize {
    crate::training::batch::response_tokens(&rows())
}

fn logits(device: &Device, compute: Dtype) -> Vec<f32> {
    let model = model_in(compute, device);
    let rows = rows();
    let batch = pad(&rows.each_ref(), device);
    to_host(model.logits_of_rows(score(&model, &batch, 1.0).hidden)).values
}

/// A loss and all of its gradients, end to end.
fn gradients_of<M: model::Trainable + Sync>(
    model: &M,
    checkpointing: bool,
    loss: impl Fn(&M, &[&Example]) -> Tensor<1> + Sync,
) -> Vec<f32> {
    let rows = rows();
    let computing = GradientOptions { threads: 1, checkpointing };
    let gradients = gradients(model, &[rows.each_ref()], computing, |model, rows| {
        let loss = loss(model, rows);
        let value = loss.clone().inner();
        (loss, move || value.into_scalar::<f32>())
    });
    gradients
        .reports
        .into_iter()
        .chain(gradient_list(model, &gradients.params).into_iter().flatten().flatten())
        .collect()
}

fn language_model_loss(model: &Transformer, rows: &[&Example]) -> Tensor<1> {
    negative_log_likelihood(score(model, &pad(rows, &model.device()), 1.0).log_probs, response_tokens())
}

fn likelihood(device: &Device, checkpointing: bool, compute: Dtype) -> Vec<f32> {
    gradients_of(&model_in(compute, device), checkpointing, language_model_loss)
}

fn adapters(device: &Device) -> Vec<f32> {
    let config = LoraConfig { rank: 3, alpha: 6.0, targets: LoraTargets::All };
    gradients_of(&with_adapters(model(device), config, 5), false, language_model_loss)
}

/// A vocabulary whose logits do not exist together: log-probabilities, and the gradient of the embedding in a few numbers.
fn in_parts(device: &Device) -> Vec<f32> {
    let size = ModelConfig {
        hidden_size: 8,
        intermediate_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 1,
        num_key_value_heads: Some(1),
        max_position_embeddings: 256,
        ..ModelConfig::of_size(ModelSize::Tiny, 49_152, 0)
    };
    let length = LOGITS_TOGETHER / size.vocab_size + 10;
    let model = Transformer::init(&size, 7, device);
    let row = Example::new((0..length as u32).map(|i| (i * 7919) % 49_152).collect(), 1);
    let log_probs = to_host(score(&model, &pad(&[&row], device), 1.0).log_probs).values;
    let gradients = gradients(&model, &[row], GradientOptions::on(1), |model, row| {
        (score(model, &pad(&[row], &model.device()), 1.0).log_probs.sum().neg(), || ())
    });
    let gradient = gradient_list(&model, &gradients.params).remove(0).expect("the embedding has a gradient");
    log_probs.into_iter().chain(gradient.into_iter().step_by(97)).collect()
}

fn reward_probabilities(device: &Device) -> Vec<f32> {
    let mut reward_model = RewardNetwork::new(&model(device));
    reward_model.score.head = reward_model.score.head.map(|head| head.add_scalar(0.1));
    let rows = rows();
    let solutions: Vec<(&[u32], usize)> = rows.iter().map(|row| (row.tokens.as_slice(), row.prompt_len)).collect();
    to_host(reward_model.reward_logits(&solutions, &[&[3, 13], &[8], &[5, 9, 11]])).values
}

/// Clipped surrogate and clipped value loss, two steps of AdamW. Its epsilon is large, or a gradient of nothing but rounding
/// would move a weight as far as any other.
fn updates(device: &Device) -> Vec<f32> {
    let policy = model(device);
    let mut model = ActorCritic { value: ValueBranch::of(&policy, 1, true), policy };
    let mut adam = Adam::new(0.9, 0.99, 1e-2, 0.01, 1.0);
    let number = |index: usize, scale: f32| scale * ((index * 37 % 19) as f32 / 9.0 - 1.0);
    for _ in 0..2 {
        let rows = rows();
        let gradients = gradients(&model, &[rows.each_ref()], GradientOptions::on(1), |model, rows| {
            let device = model.policy.device();
            let (scored, values) = score_with_values(model, &pad(rows, &device), 1.0);
            let total = response_tokens();
            let given = |scale: f32, offset: f32| {
                let values: Vec<f32> = (0..total).map(|index| number(index, scale) + offset).collect();
                flat([values.as_slice()].into_iter(), &device)
            };
            // Old log-probabilities about those of a uniform distribution: ratios on both sides of the clip.
            let old = given(0.3, -(VOCABULARY as f32).ln());
            let policy_loss = ppo_policy(scored.log_probs, old, given(1.0, 0.0), 0.2, total);
            (policy_loss + ppo_value(values, given(0.5, 0.0), given(0.7, 0.1), 0.2, total), || ())
        });
        (model, _) = adam.step(model, gradients.params, &|_| 1e-2, 1);
    }
    model_tensors(&model.policy).into_values().flat_map(|tensor| tensor.values).collect()
}

/// Tokens of completions of three prompts, with the random numbers of a key each.
fn completions(device: &Device, temperature: f64) -> Vec<f32> {
    let prompts: Vec<Vec<u32>> = rows().iter().map(|row| row.tokens[..row.prompt_len].to_vec()).collect();
    let keys: Vec<Vec<Key>> = (0..prompts.len() as u64)
        .map(|prompt| (0..4).map(|sample| Key::new(3, Purpose::Rollout).with(prompt).with(sample)).collect())
        .collect();
    let config = GenerateConfig {
        max_new_tokens: 12,
        temperature,
        stops: vec![vec![11]],
        giver: None,
        rows: 16,
        streams: None,
        threads: 1,
    };
    let (completions, _) = generate(&model(device), &prompts, &keys, &config, &|_| ());
    // The same number for each, so that a shorter completion does not shift the others.
    let padded = |completion: &Completion| {
        let mut tokens: Vec<f32> = completion.tokens.iter().map(|&token| token as f32).collect();
        tokens.resize(config.max_new_tokens, -1.0);
        tokens
    };
    completions.iter().flatten().flat_map(padded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_a_share_of_the_largest_number_and_no_nan_passes() {
        assert_eq!(largest_error(&[1.0, -3.0], &[1.0, -4.0]), 0.25);
        for bad in [&[1.0, f32::NAN][..], &[1.0]] {
            assert_eq!(largest_error(bad, &[1.0, 2.0]), f32::INFINITY);
        }
        assert_eq!(largest_error(&[0.0], &[0.0]), 0.0);
        assert_eq!(share_of_others(&[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 4.0, 4.0]), 0.25);
        assert_eq!(share_of_others(&[1.0], &[]), 1.0);
    }

    #[test]
    fn the_cpu_agrees_with_itself() {
        run(&VerifyArgs { device: DeviceKind::Cpu }).unwrap();
    }

    #[test]
    fn every_check_has_numbers_that_are_not_all_the_same() {
        let device = Device::default();
        for Check { name, compute, .. } in &CHECKS {
            let numbers = compute(&device, true);
            assert!(numbers.len() > 5 && numbers.iter().any(|number| *number != numbers[0]), "{name}: {numbers:?}");
        }
    }
}
