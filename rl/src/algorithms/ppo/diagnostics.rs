//! Statistics of a step of PPO: of its rollouts, and of its updates. Pure functions; nothing here changes training.

use crate::{
    objective::weights::Component,
    run::metrics::Metrics,
    sampling::rollout::Rollout,
    training::batch::{Row, response_tokens},
};
use burn::tensor::Tensor;
use model::{Finish, to_host_together};

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
    /// KL(π || π_ref) per token, by the estimator k1.
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
    /// The statistics of at least one rollout; a right answer earns `answer_weight`.
    pub fn new(rollouts: &[Rollout], answer_weight: f32) -> Self {
        let samples = rollouts.len() as f64;
        let tokens = response_tokens(rollouts) as f64;
        let share = |test: &dyn Fn(&Rollout) -> bool| rollouts.iter().filter(|r| test(r)).count() as f64 / samples;
        let rewards: f64 = rollouts.iter().flat_map(|r| &r.sampled.rewards).map(|&x| f64::from(x)).sum();
        let accuracy = share(&|r| r.sampled.sample.correct);
        let scores: Vec<f64> = rollouts.iter().filter_map(|r| r.sampled.reward_model_score).map(f64::from).collect();
        let KlEstimates { k1, k3 } = KlEstimates::of(rollouts);
        Self {
            reward: rewards / samples,
            answer_reward: f64::from(answer_weight) * accuracy,
            components: Component::ALL.map(|component| component_mean(rollouts, component)),
            no_opinion: rollouts
                .iter()
                .map(|r| r.sampled.parts.no_opinion.map(|none| f64::from(u8::from(none))))
                .sum::<Option<f64>>()
                .map(|count| count / samples),
            reward_model_score: (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / samples),
            accuracy,
            k1,
            k3,
            kl_per_completion: kl_per_completion(rollouts),
            entropy: rollouts.iter().flat_map(|r| &r.entropies).map(|&x| f64::from(x)).sum::<f64>() / tokens,
            mean_length: tokens / samples,
            max_length: rollouts.iter().map(Row::response_len).max().unwrap_or(0),
            truncated: share(&|r| r.sampled.sample.finish == Finish::Length),
            unparsable: share(&|r| r.sampled.sample.answer.is_none()),
        }
    }

    /// Adds them to the metrics of the step.
    pub fn write(&self, metrics: &mut Metrics) {
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
            Some(score) => {
                if !is_sum {
                    metrics.put("reward/orm", self.reward - self.answer_reward);
                }
                metrics.put("orm/probability", score);
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
fn component_mean(rollouts: &[Rollout], component: Component) -> Option<f64> {
    let sum_of = |rollout: &Rollout| {
        let sums = &rollout.sampled.parts.sums;
        sums.iter().find(|(name, _)| *name == component).map(|(_, sum)| f64::from(*sum))
    };
    rollouts.iter().map(sum_of).sum::<Option<f64>>().map(|sum| sum / rollouts.len() as f64)
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
#[derive(Clone, Copy, Debug)]
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

    /// Writes the means over updates, each by its share.
    pub fn write(&self, metrics: &mut Metrics) {
        let count = if self.updates == 0 { 1.0 } else { self.share };
        metrics.put("ratio/max", f64::from(self.max_ratio));
        metrics.put("ratio/min", f64::from(self.min_ratio));
        metrics.put("ratio/clipped", self.clipped / count);
        metrics.put("kl/old", self.old_kl / count);
        metrics.put("loss/policy", self.policy_loss / count);
        metrics.put("loss/value", self.value_loss / count);
        metrics.put("grad_norm", self.grad_norm / count);
    }
}

#[cfg(test)]
mod tests {
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
                rewards,
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
        RolloutStats::new(&rollouts(), 1.0).write(&mut metrics);
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
}
