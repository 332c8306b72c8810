//! Statistics of a step of PPO: of its rollouts, and of its updates. Pure functions; nothing here changes training.

use crate::{
    objective::weights::Component,
    run::metrics::Metrics,
    sampling::rollout::{Rollout, Sampled},
    training::batch::{Row, response_tokens},
};
use burn::tensor::Tensor;
use model::{Finish, ScoreKind, to_host_together};
use serde::{Deserialize, Serialize};

/// Statistics of the rollouts of a step, before the update. Means are over samples, unless stated otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RolloutStats {
    /// Mean reward, without the KL penalty.
    pub reward: f64,
    /// The part of it that right answers earn.
    pub answer_reward: f64,
    /// Mean probability of a right completion by the reward model, if there is one.
    pub reward_model_score: Option<f64>,
    /// The mean of each component of a weighted sum, multiplied by its weight, in the order of [`Component::ALL`].
    pub components: [Option<f64>; Component::ALL.len()],
    /// Share of samples of which the reward from outside had no opinion, if there is one.
    pub no_opinion: Option<f64>,
    /// Share of right samples.
    pub accuracy: f64,
    /// KL(π || π_ref) per token, by the estimator k1. It, what follows of the divergence, and the entropy are those of the rollouts alone.
    pub k1: f64,
    /// The same by the estimator k3, which is not negative.
    pub k3: f64,
    /// Mean of the log-ratio to the reference summed over a completion, in nats.
    pub kl_per_completion: f64,
    /// Mean entropy per token, in nats.
    pub entropy: f64,
    /// Mean number of tokens.
    pub mean_length: f64,
    /// Largest number of tokens.
    pub max_length: usize,
    /// Share of samples that were cut off at the maximum length.
    pub truncated: f64,
    /// Share of samples without an answer that can be read.
    pub unparsable: f64,
}

impl RolloutStats {
    /// The statistics of at least one rollout, and of samples that were left out of the updates without log-probabilities; a right answer
    /// earns `answer_weight`.
    pub fn new(rollouts: &[Rollout], left_out: &[Sampled], answer_weight: f32) -> Self {
        let all: Vec<&Sampled> = rollouts.iter().map(|rollout| &rollout.sampled).chain(left_out).collect();
        let samples = all.len() as f64;
        let tokens: usize = all.iter().map(|sampled| sampled.response_len()).sum();
        let share = |test: &dyn Fn(&Sampled) -> bool| all.iter().filter(|s| test(s)).count() as f64 / samples;
        let rewards: f64 = all.iter().flat_map(|s| &s.rewards).map(|&x| f64::from(x)).sum();
        let accuracy = share(&|s| s.sample.correct);
        let scores: Vec<f64> = all.iter().filter_map(|s| s.reward_model_score).map(f64::from).collect();
        let KlEstimates { k1, k3 } = KlEstimates::of(rollouts);
        Self {
            reward: rewards / samples,
            answer_reward: f64::from(answer_weight) * accuracy,
            components: Component::ALL.map(|component| component_mean(&all, component)),
            no_opinion: all
                .iter()
                .map(|s| s.parts.no_opinion.map(|none| f64::from(u8::from(none))))
                .sum::<Option<f64>>()
                .map(|count| count / samples),
            reward_model_score: (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / samples),
            accuracy,
            k1,
            k3,
            kl_per_completion: kl_per_completion(rollouts),
            entropy: rollouts.iter().flat_map(|r| &r.entropies).map(|&x| f64::from(x)).sum::<f64>()
                / response_tokens(rollouts) as f64,
            mean_length: tokens as f64 / samples,
            max_length: all.iter().map(|sampled| sampled.response_len()).max().unwrap_or(0),
            truncated: share(&|s| s.sample.finish == Finish::Length),
            unparsable: share(&|s| s.sample.answer.is_none()),
        }
    }

    /// Adds them to the metrics of the step; `score` is what the reward model's score means, if there is one.
    pub fn write(&self, metrics: &mut Metrics, score: ScoreKind) {
        metrics.put("reward/mean", self.reward);
        let is_sum = self.components.iter().any(Option::is_some);
        for (component, mean) in Component::ALL.into_iter().zip(self.components) {
            if let Some(mean) = mean {
                metrics.put(&format!("reward/{}", component.name()), mean);
            }
        }
        if let Some(share) = self.no_opinion {
            metrics.put("external/no_opinion", share);
        }
        if !is_sum {
            metrics.put("reward/answer", self.answer_reward);
        }
        match self.reward_model_score {
            None if is_sum => {}
            None => metrics.put("reward/steps", self.reward - self.answer_reward),
            Some(mean) => {
                if !is_sum {
                    metrics.put("reward/orm", self.reward - self.answer_reward);
                }
                let name = if score == ScoreKind::Logit { "orm/probability" } else { "orm/score" };
                metrics.put(name, mean);
            }
        }
        metrics.put("accuracy", self.accuracy);
        metrics.put("kl/k1", self.k1);
        metrics.put("kl/k3", self.k3);
        metrics.put("kl/per_completion", self.kl_per_completion);
        metrics.put("entropy", self.entropy);
        metrics.put("length/mean", self.mean_length);
        metrics.put("length/max", self.max_length as f64);
        metrics.put("truncated", self.truncated);
        metrics.put("unparsable", self.unparsable);
    }
}

/// The mean of a component of the reward over samples; `None` if it is not one.
fn component_mean(all: &[&Sampled], component: Component) -> Option<f64> {
    let sum_of = |sampled: &&Sampled| {
        sampled.parts.sums.iter().find(|(name, _)| *name == component).map(|(_, sum)| f64::from(*sum))
    };
    all.iter().map(sum_of).sum::<Option<f64>>().map(|sum| sum / all.len() as f64)
}

/// Two estimates of KL(π || π_ref) per token, in nats, from samples of π (Schulman 2020, "Approximating KL divergence"); ρ = π_ref / π.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KlEstimates {
    /// The mean of -log ρ.
    pub k1: f64,
    /// The mean of ρ - 1 - log ρ, which is never negative.
    pub k3: f64,
}

impl KlEstimates {
    /// Over all response tokens of rollouts.
    pub fn of(rollouts: &[Rollout]) -> Self {
        let log_ratio = |r: &Rollout| -> Vec<f64> {
            r.ref_log_probs.iter().zip(&r.log_probs).map(|(reference, policy)| f64::from(reference - policy)).collect()
        };
        let all: Vec<f64> = rollouts.iter().flat_map(log_ratio).collect();
        let count = all.len().max(1) as f64;
        // Subtracted from 0, so that a divergence of 0 is written as 0 instead of -0.
        let k1 = (0.0 - all.iter().sum::<f64>()) / count;
        let k3 = all.iter().map(|x| x.exp_m1() - x).sum::<f64>() / count;
        Self { k1, k3 }
    }
}

/// How the policy π differs from the inference servers μ that chose the tokens, over those tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerStats {
    /// Mean of |log π - log μ|, in nats.
    pub gap: f64,
    /// KL(μ || π) per token, by the estimator k3.
    pub kl: f64,
    /// Mean importance weight π / μ after its bound.
    pub weight: f64,
    /// Share of tokens whose importance weight is bounded.
    pub clipped: f64,
}

impl ServerStats {
    /// Of rollouts; `None` if no server chose a token of them. `clip`: the largest importance weight.
    pub fn of(rollouts: &[Rollout], clip: f32) -> Option<Self> {
        let log_ratios = |r: &Rollout| -> Vec<f64> {
            let of_server = r.sampled.server_log_probs.iter().flatten();
            r.log_probs.iter().zip(of_server).map(|(policy, server)| f64::from(policy - server)).collect()
        };
        let all: Vec<f64> = rollouts.iter().flat_map(log_ratios).collect();
        let (count, clip) = (all.len() as f64, f64::from(clip));
        let mean = |value: &dyn Fn(f64) -> f64| all.iter().map(|&x| value(x)).sum::<f64>() / count;
        (!all.is_empty()).then(|| Self {
            gap: mean(&f64::abs),
            kl: mean(&|x| x.exp_m1() - x),
            weight: mean(&|x| x.exp().min(clip)),
            clipped: mean(&|x| f64::from(u8::from(x.exp() > clip))),
        })
    }

    /// Adds them to the metrics of the step.
    pub fn write(&self, metrics: &mut Metrics) {
        metrics.put("server/gap", self.gap);
        metrics.put("server/kl", self.kl);
        metrics.put("importance/mean", self.weight);
        metrics.put("importance/clipped", self.clipped);
    }
}

/// Mean over completions of the summed log-ratio to the reference, in nats.
pub fn kl_per_completion(rollouts: &[Rollout]) -> f64 {
    KlEstimates::of(rollouts).k1 * response_tokens(rollouts) as f64 / rollouts.len().max(1) as f64
}

/// 1 - Var(R - V) / Var(R): the share of the returns' variance that the critic predicts.
pub fn explained_variance(rollouts: &[Rollout], returns: &[Vec<f32>]) -> f64 {
    let returns: Vec<f64> = returns.iter().flatten().map(|&x| f64::from(x)).collect();
    let values = rollouts.iter().flat_map(|r| &r.values).map(|&x| f64::from(x));
    let errors: Vec<f64> = returns.iter().zip(values).map(|(r, v)| r - v).collect();
    let total = variance(&returns);
    // Returns that differ by less than rounding have nothing to explain.
    if total < 1e-10 { 0.0 } else { 1.0 - variance(&errors) / total }
}

fn variance(values: &[f64]) -> f64 {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count
}

/// Sums over the response tokens of an update, or means over several updates.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct UpdateStats {
    /// Number of mini-batches.
    pub updates: usize,
    /// Total weight of the mini-batches: 1 for each, or its share of a full one.
    pub share: f64,
    /// Clipped surrogate loss.
    pub policy_loss: f64,
    /// Value loss.
    pub value_loss: f64,
    /// Tokens whose ratio is outside the clip range.
    pub clipped: f64,
    /// Sum of k3 between the old policy and the one that is trained.
    pub old_kl: f64,
    /// Largest ratio to the old policy.
    pub max_ratio: f32,
    /// Smallest ratio to the old policy.
    pub min_ratio: f32,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
}

impl Default for UpdateStats {
    /// Statistics of no tokens.
    fn default() -> Self {
        Self {
            updates: 0,
            share: 0.0,
            policy_loss: 0.0,
            value_loss: 0.0,
            clipped: 0.0,
            old_kl: 0.0,
            max_ratio: f32::NEG_INFINITY,
            min_ratio: f32::INFINITY,
            grad_norm: 0.0,
        }
    }
}

impl UpdateStats {
    /// Those of a micro-batch, from its log-probabilities, policy loss and value loss: sums over its tokens (losses are divided by the
    /// tokens of the batch already).
    pub fn of(outputs: [Tensor<1>; 3], old_log_probs: &[f32], epsilon: f32) -> Self {
        let [new, policy_loss, value_loss] = to_host_together(outputs);
        let log_ratios: Vec<f32> = new.iter().zip(old_log_probs).map(|(new, old)| new - old).collect();
        let outside = |x: &&f32| (x.exp() - 1.0).abs() > epsilon;
        Self {
            updates: 1,
            share: 1.0,
            policy_loss: f64::from(policy_loss[0]),
            value_loss: f64::from(value_loss[0]),
            clipped: log_ratios.iter().filter(outside).count() as f64,
            old_kl: log_ratios.iter().map(|&x| f64::from(x)).map(|x| x.exp_m1() - x).sum(),
            max_ratio: log_ratios.iter().fold(f32::NEG_INFINITY, |largest, x| x.exp().max(largest)),
            min_ratio: log_ratios.iter().fold(f32::INFINITY, |smallest, x| x.exp().min(smallest)),
            grad_norm: 0.0,
        }
    }

    /// A mini-batch from its micro-batches; `total` response tokens in all.
    pub fn of_parts(parts: &[Self], total: usize) -> Self {
        let sum = |value: fn(&Self) -> f64| parts.iter().map(value).sum::<f64>();
        Self {
            updates: 1,
            share: 1.0,
            policy_loss: sum(|part| part.policy_loss),
            value_loss: sum(|part| part.value_loss),
            clipped: sum(|part| part.clipped) / total as f64,
            old_kl: sum(|part| part.old_kl) / total as f64,
            max_ratio: parts.iter().map(|part| part.max_ratio).fold(f32::NEG_INFINITY, f32::max),
            min_ratio: parts.iter().map(|part| part.min_ratio).fold(f32::INFINITY, f32::min),
            grad_norm: 0.0,
        }
    }

    /// Whether the losses are numbers.
    pub fn is_finite(&self) -> bool {
        self.policy_loss.is_finite() && self.value_loss.is_finite() && self.grad_norm.is_finite()
    }

    /// Adds a mini-batch, by its share.
    pub fn add(&mut self, other: &Self) {
        self.updates += other.updates;
        self.share += other.share;
        self.policy_loss += other.share * other.policy_loss;
        self.value_loss += other.share * other.value_loss;
        self.clipped += other.share * other.clipped;
        self.old_kl += other.share * other.old_kl;
        self.max_ratio = self.max_ratio.max(other.max_ratio);
        self.min_ratio = self.min_ratio.min(other.min_ratio);
        self.grad_norm += other.share * other.grad_norm;
    }

    fn count(&self) -> f64 {
        if self.updates == 0 { 1.0 } else { self.share }
    }

    /// Share of tokens whose ratio is outside the clip range, over updates.
    pub fn clipped_share(&self) -> f64 {
        self.clipped / self.count()
    }

    /// Writes the means over updates, each by its share.
    pub fn write(&self, metrics: &mut Metrics) {
        let count = self.count();
        metrics.put("ratio/max", f64::from(self.max_ratio));
        metrics.put("ratio/min", f64::from(self.min_ratio));
        metrics.put("ratio/clipped", self.clipped_share());
        metrics.put("kl/old", self.old_kl / count);
        metrics.put("loss/policy", self.policy_loss / count);
        metrics.put("loss/value", self.value_loss / count);
        metrics.put("grad_norm", self.grad_norm / count);
    }
}

#[cfg(test)]
mod tests;
