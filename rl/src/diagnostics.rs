//! What is worth knowing of a PPO step. Numbers in, numbers out; nothing here changes training.

use crate::{batch::Row, rollout::Rollout, run::Metrics};
use burn::tensor::Tensor;
use model::{Finish, to_host};

/// What rollouts say before anything is learnt from them.
pub fn of_rollouts(rollouts: &[Rollout], metrics: &mut Metrics) {
    let samples = rollouts.len() as f64;
    let tokens = crate::batch::response_tokens(rollouts) as f64;
    let share = |test: &dyn Fn(&Rollout) -> bool| rollouts.iter().filter(|r| test(r)).count() as f64 / samples;
    let rewards: f64 = rollouts.iter().flat_map(|r| &r.rewards).map(|&x| f64::from(x)).sum();
    let correct = share(&|r| r.sample.correct);
    metrics.put("reward/mean", rewards / samples);
    metrics.put("reward/answer", correct);
    metrics.put("reward/steps", rewards / samples - correct);
    metrics.put("accuracy", correct);
    let (k1, k3) = kl(rollouts);
    metrics.put("kl/k1", k1);
    metrics.put("kl/k3", k3);
    metrics.put("kl/per_completion", kl_per_completion(rollouts));
    metrics.put("entropy", rollouts.iter().flat_map(|r| &r.entropies).map(|&x| f64::from(x)).sum::<f64>() / tokens);
    metrics.put("length/mean", tokens / samples);
    metrics.put("length/max", rollouts.iter().map(Row::response_len).max().unwrap_or(0) as f64);
    metrics.put("truncated", share(&|r| r.sample.finish == Finish::Length));
    metrics.put("unparsable", share(&|r| r.sample.answer.is_none()));
}

/// Two estimates of KL(π || π_ref) per token, from samples of π (Schulman 2020, "Approximating KL divergence"): the mean
/// of -log ρ, and of ρ - 1 - log ρ, which is never negative, with ρ = π_ref / π.
pub fn kl(rollouts: &[Rollout]) -> (f64, f64) {
    let log_ratio = |r: &Rollout| -> Vec<f64> {
        r.ref_log_probs.iter().zip(&r.log_probs).map(|(reference, policy)| f64::from(reference - policy)).collect()
    };
    let all: Vec<f64> = rollouts.iter().flat_map(log_ratio).collect();
    let count = all.len().max(1) as f64;
    let k1 = all.iter().map(|x| -x).sum::<f64>() / count;
    let k3 = all.iter().map(|x| x.exp_m1() - x).sum::<f64>() / count;
    (k1, k3)
}

/// Mean over completions of the summed log-ratio to the reference, in nats.
pub fn kl_per_completion(rollouts: &[Rollout]) -> f64 {
    let (k1, _) = kl(rollouts);
    k1 * crate::batch::response_tokens(rollouts) as f64 / rollouts.len().max(1) as f64
}

/// 1 - Var(R - V) / Var(R): how much of the returns the critic foresaw.
pub fn explained_variance(rollouts: &[Rollout], returns: &[Vec<f32>]) -> f64 {
    let returns: Vec<f64> = returns.iter().flatten().map(|&x| f64::from(x)).collect();
    let values = rollouts.iter().flat_map(|r| &r.values).map(|&x| f64::from(x));
    let errors: Vec<f64> = returns.iter().zip(values).map(|(r, v)| r - v).collect();
    let total = variance(&returns);
    if total == 0.0 { 0.0 } else { 1.0 - variance(&errors) / total }
}

fn variance(values: &[f64]) -> f64 {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count
}

/// Sums over the response tokens of an update, or means over several updates.
#[derive(Clone, Copy, Debug, Default)]
pub struct PolicyStats {
    /// Mini-batches that are in it.
    pub updates: usize,
    /// The clipped surrogate.
    pub policy_loss: f64,
    /// The critic's loss.
    pub value_loss: f64,
    /// Tokens whose ratio is outside the clip range.
    pub clipped: f64,
    /// Sum of k3 between the old policy and the one that is trained.
    pub old_kl: f64,
    /// Largest |log ratio| to the old policy.
    pub max_log_ratio: f32,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
}

impl PolicyStats {
    /// What a micro-batch says: sums over its tokens (losses already have the batch's denominator).
    pub fn of(
        log_probs: &Tensor<1>,
        old_log_probs: &Tensor<1>,
        policy_loss: &Tensor<1>,
        value_loss: &Tensor<1>,
        epsilon: f32,
    ) -> Self {
        let new = to_host(log_probs.clone().inner()).values;
        let old = to_host(old_log_probs.clone().inner()).values;
        let log_ratios: Vec<f32> = new.iter().zip(&old).map(|(new, old)| new - old).collect();
        let outside = |x: &&f32| (x.exp() - 1.0).abs() > epsilon;
        Self {
            updates: 1,
            policy_loss: f64::from(policy_loss.clone().inner().into_scalar::<f32>()),
            value_loss: f64::from(value_loss.clone().inner().into_scalar::<f32>()),
            clipped: log_ratios.iter().filter(outside).count() as f64,
            old_kl: log_ratios.iter().map(|&x| f64::from(x)).map(|x| x.exp_m1() - x).sum(),
            max_log_ratio: log_ratios.iter().fold(0.0, |largest, x| x.abs().max(largest)),
            grad_norm: 0.0,
        }
    }

    /// A mini-batch from its micro-batches; `total` response tokens in all.
    pub fn of_parts(parts: &[Self], total: usize) -> Self {
        let sum = |value: fn(&Self) -> f64| parts.iter().map(value).sum::<f64>();
        Self {
            updates: 1,
            policy_loss: sum(|part| part.policy_loss),
            value_loss: sum(|part| part.value_loss),
            clipped: sum(|part| part.clipped) / total as f64,
            old_kl: sum(|part| part.old_kl) / total as f64,
            max_log_ratio: parts.iter().map(|part| part.max_log_ratio).fold(0.0, f32::max),
            grad_norm: 0.0,
        }
    }

    /// Whether the losses are numbers.
    pub fn is_finite(&self) -> bool {
        self.policy_loss.is_finite() && self.value_loss.is_finite() && self.grad_norm.is_finite()
    }

    /// Adds a mini-batch.
    pub fn add(&mut self, other: &Self) {
        self.updates += other.updates;
        self.policy_loss += other.policy_loss;
        self.value_loss += other.value_loss;
        self.clipped += other.clipped;
        self.old_kl += other.old_kl;
        self.max_log_ratio = self.max_log_ratio.max(other.max_log_ratio);
        self.grad_norm += other.grad_norm;
    }

    /// Writes the means over updates.
    pub fn write(&self, metrics: &mut Metrics) {
        let count = self.updates.max(1) as f64;
        metrics.put("ratio/max", f64::from(self.max_log_ratio.exp()));
        metrics.put("ratio/clipped", self.clipped / count);
        metrics.put("kl/old", self.old_kl / count);
        metrics.put("loss/policy", self.policy_loss / count);
        metrics.put("loss/value", self.value_loss / count);
        metrics.put("grad_norm", self.grad_norm / count);
    }
}
