//! Claims about the metrics of a PPO step.

use super::*;
use crate::sampling::rollout::{RewardParts, Sampled};
use eval::Sample;
use model::Device;

/// A rollout of as many tokens as there are log-probabilities, with its reward on the last.
fn rollout(log_probs: &[f32], ref_log_probs: &[f32], values: &[f32], reward: f32, answer: Option<&str>) -> Rollout {
    let count = log_probs.len();
    let mut rewards = vec![0.0; count];
    rewards[count - 1] = reward;
    Rollout {
        log_probs: log_probs.to_vec(),
        ref_log_probs: ref_log_probs.to_vec(),
        values: values.to_vec(),
        entropies: vec![0.5; count],
        sampled: Sampled {
            tokens: vec![1; 2 + count],
            prompt_len: 2,
            given: Vec::new(),
            rewards,
            server_log_probs: None,
            reward_model_score: None,
            parts: RewardParts::default(),
            sample: Sample {
                step: Some(1),
                id: "test/0".into(),
                question: String::new(),
                completion: String::new(),
                answer: answer.map(str::to_string),
                kind: data::AnswerKind::Number,
                expected: "4".into(),
                reward: Some(f64::from(reward)),
                correct: answer == Some("4"),
                finish: if answer.is_some() { Finish::Stop } else { Finish::Length },
                tokens: count,
                greedy: false,
                given: 0,
                calculated: Vec::new(),
                score: None,
            },
        },
    }
}

fn rollouts() -> [Rollout; 2] {
    [
        rollout(&[-1.0, -1.0, -0.5], &[-1.5, -1.0, -0.5], &[0.2, 0.4, 0.9], 1.25, Some("4")),
        rollout(&[-2.0], &[-1.0], &[0.5], 0.0, None),
    ]
}

#[track_caller]
fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found} against {expected}");
}

#[test]
fn the_divergence_is_a_mean_over_tokens_and_never_negative_as_k3() {
    let KlEstimates { k1, k3 } = KlEstimates::of(&rollouts());
    assert_close(k1, (0.5 - 1.0) / 4.0);
    assert_close(k3, ((-0.5f64).exp() - 1.0 + 0.5 + 1.0f64.exp() - 1.0 - 1.0) / 4.0);
    assert_close(kl_per_completion(&rollouts()), (0.5 - 1.0) / 2.0);
    for difference in [-30.0, -1.0, -1e-4, 0.0, 1e-4, 1.0, 5.0] {
        let KlEstimates { k3, .. } = KlEstimates::of(&[rollout(&[-1.0 + difference], &[-1.0], &[0.0], 0.0, None)]);
        assert!(k3 >= 0.0, "{difference}: {k3}");
    }
    let same = rollout(&[-1.0], &[-1.0], &[0.0], 0.0, None);
    assert_eq!(KlEstimates::of(&[same]), KlEstimates { k1: 0.0, k3: 0.0 });
}

#[test]
fn rollout_statistics_are_shares_of_samples_or_means_over_tokens() {
    let mut metrics = Metrics::default();
    RolloutStats::new(&rollouts(), &[], 1.0).write(&mut metrics, ScoreKind::Logit);
    let metrics = serde_json::to_value(metrics).unwrap();
    for (name, expected) in [
        ("reward/mean", 0.625),
        ("reward/answer", 0.5),
        ("reward/steps", 0.125),
        ("accuracy", 0.5),
        ("kl/k1", -0.125),
        ("kl/per_completion", -0.25),
        ("entropy", 0.5),
        ("length/mean", 2.0),
        ("length/max", 3.0),
        ("truncated", 0.5),
        ("unparsable", 0.5),
    ] {
        assert_close(metrics[name].as_f64().unwrap_or_else(|| panic!("{name} is missing")), expected);
    }
}

#[test]
fn a_perfect_critic_explains_all_variance_and_a_constant_one_none() {
    let of_values = |values: &[f32]| {
        let rollout = rollout(&[0.0; 4], &[0.0; 4], values, 0.0, None);
        explained_variance(&[rollout], &[vec![0.0, 1.0, 0.0, 1.0]])
    };
    assert_close(of_values(&[0.0, 1.0, 0.0, 1.0]), 1.0);
    assert_close(of_values(&[0.3; 4]), 0.0);
    assert_close(of_values(&[1.0, 0.0, 1.0, 0.0]), -3.0);
    let flat = rollout(&[0.0; 2], &[0.0; 2], &[0.1, 0.2], 0.0, None);
    assert_eq!(explained_variance(&[flat], &[vec![0.5, 0.5]]), 0.0, "nothing to explain");
}

fn tensor(values: &[f32]) -> Tensor<1> {
    Tensor::from_floats(values, &Device::default())
}

fn part(log_ratios: &[f32], policy_loss: f32) -> UpdateStats {
    let old = vec![0.0; log_ratios.len()];
    UpdateStats::of([tensor(log_ratios), tensor(&[policy_loss]), tensor(&[0.5])], &old, 0.2)
}

#[test]
fn a_mini_batch_is_the_sum_of_its_parts_over_its_tokens() {
    let parts = [part(&[0.0, 0.3], 0.1), part(&[-0.5, 0.1], 0.2)];
    let stats = UpdateStats::of_parts(&parts, 4);
    let mut metrics = Metrics::default();
    stats.write(&mut metrics);
    let metrics = serde_json::to_value(metrics).unwrap();
    let k3 = [0.3f64, -0.5, 0.1].map(|x| x.exp() - 1.0 - x).iter().sum::<f64>() / 4.0;
    for (name, expected) in [
        ("ratio/max", 0.3f64.exp()),
        ("ratio/min", (-0.5f64).exp()),
        ("ratio/clipped", 0.5),
        ("kl/old", k3),
        ("loss/policy", 0.3),
        ("loss/value", 1.0),
    ] {
        assert_close(metrics[name].as_f64().unwrap_or_else(|| panic!("{name} is missing")), expected);
    }
}

#[test]
fn several_updates_are_a_mean_with_the_extremes_of_all() {
    let mut stats = UpdateStats::default();
    for (log_ratio, loss, norm) in [(0.4, 0.1, 1.0), (-0.1, 0.3, 2.0)] {
        let mut update = UpdateStats::of_parts(&[part(&[log_ratio], loss)], 1);
        update.grad_norm = norm;
        stats.add(&update);
    }
    let mut metrics = Metrics::default();
    stats.write(&mut metrics);
    let metrics = serde_json::to_value(metrics).unwrap();
    for (name, expected) in [
        ("ratio/max", 0.4f64.exp()),
        ("ratio/min", (-0.1f64).exp()),
        ("ratio/clipped", 0.5),
        ("loss/policy", 0.2),
        ("grad_norm", 1.5),
    ] {
        assert_close(metrics[name].as_f64().unwrap_or_else(|| panic!("{name} is missing")), expected);
    }
}

#[test]
fn a_loss_that_is_not_finite_is_noticed() {
    assert!(part(&[0.0], 0.1).is_finite());
    for broken in [f32::NAN, f32::INFINITY] {
        assert!(!UpdateStats::of_parts(&[part(&[0.0], 0.1), part(&[0.0], broken)], 2).is_finite());
    }
}
