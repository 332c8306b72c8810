//! What is worth knowing of a PPO step. Numbers in, numbers out; nothing here changes training.

use crate::{batch::Row, metrics::Metrics, rollout::Rollout};
use burn::tensor::Tensor;
use model::{Finish, to_host_together};

/// What rollouts say before anything is learnt from them.
pub fn of_rollouts(rollouts: &[Rollout], answer_weight: f32, metrics: &mut Metrics) {
    let samples = rollouts.len() as f64;
    let tokens = crate::batch::response_tokens(rollouts) as f64;
    let share = |test: &dyn Fn(&Rollout) -> bool| rollouts.iter().filter(|r| test(r)).count() as f64 / samples;
    let rewards: f64 = rollouts.iter().flat_map(|r| &r.rewards).map(|&x| f64::from(x)).sum();
    let correct = share(&|r| r.sample.correct);
    metrics.put("reward/mean", rewards / samples);
    let answer = f64::from(answer_weight) * correct;
    metrics.put("reward/answer", answer);
    let judged: Vec<f64> = rollouts.iter().filter_map(|r| r.judged).map(f64::from).collect();
    if judged.is_empty() {
        metrics.put("reward/steps", rewards / samples - answer);
    } else {
        metrics.put("reward/orm", rewards / samples - answer);
        metrics.put("orm/probability", judged.iter().sum::<f64>() / samples);
    }
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
    // Subtracted from 0, so that no divergence is 0 and not -0.
    let k1 = (0.0 - all.iter().sum::<f64>()) / count;
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
pub struct PolicyStats {
    /// Mini-batches that are in it.
    pub updates: usize,
    /// How much they weigh together: each 1, or the share that it has of a whole one.
    pub share: f64,
    /// The clipped surrogate.
    pub policy_loss: f64,
    /// The critic's loss.
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

impl Default for PolicyStats {
    /// Of no tokens.
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

impl PolicyStats {
    /// What a micro-batch says, of its log-probabilities, policy loss and value loss: sums over its tokens (losses already have the
    /// batch's denominator).
    pub fn of(told: [Tensor<1>; 3], old_log_probs: &[f32], epsilon: f32) -> Self {
        let [new, policy_loss, value_loss] = to_host_together(told);
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
    use burn::tensor::Device;
    use eval::Sample;

    /// A rollout of as many tokens as there are log-probabilities, with its reward on the last.
    fn rollout(log_probs: &[f32], ref_log_probs: &[f32], values: &[f32], reward: f32, answer: Option<&str>) -> Rollout {
        let count = log_probs.len();
        let mut rewards = vec![0.0; count];
        rewards[count - 1] = reward;
        Rollout {
            tokens: vec![1; 2 + count],
            prompt_len: 2,
            rewards,
            log_probs: log_probs.to_vec(),
            ref_log_probs: ref_log_probs.to_vec(),
            values: values.to_vec(),
            entropies: vec![0.5; count],
            judged: None,
            sample: Sample {
                step: Some(1),
                id: "test/0".into(),
                question: String::new(),
                completion: String::new(),
                answer: answer.map(str::to_string),
                expected: "4".into(),
                reward: Some(f64::from(reward)),
                correct: answer == Some("4"),
                finish: if answer.is_some() { Finish::Stop } else { Finish::Length },
                tokens: count,
                greedy: false,
                given: 0,
                score: None,
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
        let (k1, k3) = kl(&rollouts());
        assert_close(k1, (0.5 - 1.0) / 4.0);
        assert_close(k3, ((-0.5f64).exp() - 1.0 + 0.5 + 1.0f64.exp() - 1.0 - 1.0) / 4.0);
        assert_close(kl_per_completion(&rollouts()), (0.5 - 1.0) / 2.0);
        for difference in [-30.0, -1.0, -1e-4, 0.0, 1e-4, 1.0, 5.0] {
            let (_, k3) = kl(&[rollout(&[-1.0 + difference], &[-1.0], &[0.0], 0.0, None)]);
            assert!(k3 >= 0.0, "{difference}: {k3}");
        }
        assert_eq!(kl(&[rollout(&[-1.0], &[-1.0], &[0.0], 0.0, None)]), (0.0, 0.0));
    }

    #[test]
    fn what_rollouts_say_is_a_share_of_samples_or_a_mean_over_tokens() {
        let mut metrics = Metrics::default();
        of_rollouts(&rollouts(), 1.0, &mut metrics);
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
            assert_close(metrics.get(name).unwrap_or_else(|| panic!("{name} is missing")), expected);
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

    fn part(log_ratios: &[f32], policy_loss: f32) -> PolicyStats {
        let old = vec![0.0; log_ratios.len()];
        PolicyStats::of([tensor(log_ratios), tensor(&[policy_loss]), tensor(&[0.5])], &old, 0.2)
    }

    #[test]
    fn a_mini_batch_is_the_sum_of_its_parts_over_its_tokens() {
        let parts = [part(&[0.0, 0.3], 0.1), part(&[-0.5, 0.1], 0.2)];
        let stats = PolicyStats::of_parts(&parts, 4);
        let mut metrics = Metrics::default();
        stats.write(&mut metrics);
        let k3 = [0.3f64, -0.5, 0.1].map(|x| x.exp() - 1.0 - x).iter().sum::<f64>() / 4.0;
        for (name, expected) in [
            ("ratio/max", 0.3f64.exp()),
            ("ratio/min", (-0.5f64).exp()),
            ("ratio/clipped", 0.5),
            ("kl/old", k3),
            ("loss/policy", 0.3),
            ("loss/value", 1.0),
        ] {
            assert_close(metrics.get(name).unwrap_or_else(|| panic!("{name} is missing")), expected);
        }
    }

    #[test]
    fn several_updates_are_a_mean_with_the_extremes_of_all() {
        let mut stats = PolicyStats::default();
        for (log_ratio, loss, norm) in [(0.4, 0.1, 1.0), (-0.1, 0.3, 2.0)] {
            let mut update = PolicyStats::of_parts(&[part(&[log_ratio], loss)], 1);
            update.grad_norm = norm;
            stats.add(&update);
        }
        let mut metrics = Metrics::default();
        stats.write(&mut metrics);
        for (name, expected) in [
            ("ratio/max", 0.4f64.exp()),
            ("ratio/min", (-0.1f64).exp()),
            ("ratio/clipped", 0.5),
            ("loss/policy", 0.2),
            ("grad_norm", 1.5),
        ] {
            assert_close(metrics.get(name).unwrap_or_else(|| panic!("{name} is missing")), expected);
        }
    }

    #[test]
    fn a_loss_that_is_no_number_is_noticed() {
        assert!(part(&[0.0], 0.1).is_finite());
        for broken in [f32::NAN, f32::INFINITY] {
            assert!(!PolicyStats::of_parts(&[part(&[0.0], 0.1), part(&[0.0], broken)], 2).is_finite());
        }
    }
}
