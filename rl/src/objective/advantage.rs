//! Rewards and values to advantages and returns. Pure functions of numbers: no model, no tensors, no random numbers.
//!
//! A row has one entry per response token, from the first to the last. Padding is not part of a row, so it cannot
//! affect the result.

use clap::ValueEnum;
use serde::Serialize;

/// How advantages are estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdvantageKind {
    /// Generalised advantage estimation (GAE) with a critic, whitened over the step.
    #[default]
    Gae,
    /// Relative to the mean of the question's samples, divided by their standard deviation (GRPO); no critic.
    Group,
    /// Relative to the mean of the question's other samples (RLOO); no critic.
    Rloo,
}

impl AdvantageKind {
    /// The advantages of the K samples of one question, relative to each other: one per sample, the same for all of its tokens; `None`
    /// for those that a critic estimates. A sample has a reward R, a KL penalty P and a return, which is their sum.
    pub fn relative(self, rewards: &[f32], kl_penalties: &[f32], returns: &[f32]) -> Option<Vec<f32>> {
        match self {
            Self::Gae => None,
            Self::Group => Some(group_relative(rewards, kl_penalties)),
            Self::Rloo => Some(leave_one_out(returns)),
        }
    }
}

/// Advantages and returns of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct RowAdvantages {
    /// Â_t, one per token.
    pub advantages: Vec<f32>,
    /// Â_t + V_t: what the critic is trained towards.
    pub returns: Vec<f32>,
}

/// Generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438, eq. 16):
///
/// Â_t = Σ_l (γλ)^l δ_{t+l} with δ_t = r_t + γ V_{t+1} - V_t, and V = 0 after the last token: an episode ends there,
/// also where the sample was cut off at the maximum length.
///
/// # Panics
/// If `rewards` and `values` differ in length.
pub fn gae(rewards: &[f32], values: &[f32], gamma: f32, lambda: f32) -> RowAdvantages {
    assert_eq!(rewards.len(), values.len(), "one value per reward");
    let mut advantages = vec![0.0; rewards.len()];
    let (mut next_advantage, mut next_value) = (0.0, 0.0);
    for t in (0..rewards.len()).rev() {
        let delta = rewards[t] + gamma * next_value - values[t];
        advantages[t] = delta + gamma * lambda * next_advantage;
        (next_advantage, next_value) = (advantages[t], values[t]);
    }
    let returns = advantages.iter().zip(values).map(|(advantage, value)| advantage + value).collect();
    RowAdvantages { advantages, returns }
}

/// Group-relative advantages of the K samples of one question (GRPO; Shao et al. 2024, arXiv 2402.03300, section 4.1.2):
///
/// Â_i = (R_i - mean(R)) / (std(R) + 1e-4) + P_i - mean(P), the same for every token of sample i.
///
/// R is the task reward; if all samples of a question have the same reward, it contributes nothing. P is the KL penalty
/// of a sample (usually negative), which is a second term of the loss in that paper. P is not divided by a standard
/// deviation: where all rewards are equal, that would magnify small differences of P. The loss differs from that paper
/// as well: it is a mean over the tokens of all samples of an update, so long samples weigh more; the paper takes the
/// mean of each sample first.
///
/// # Panics
/// If `rewards` and `kl_penalties` differ in length.
pub fn group_relative(rewards: &[f32], kl_penalties: &[f32]) -> Vec<f32> {
    assert_eq!(rewards.len(), kl_penalties.len(), "one KL penalty per reward");
    let count = rewards.len() as f32;
    let mean = |values: &[f32]| values.iter().sum::<f32>() / count;
    let (reward, kl_penalty) = (mean(rewards), mean(kl_penalties));
    let deviation = (rewards.iter().map(|r| (r - reward).powi(2)).sum::<f32>() / count).sqrt();
    rewards.iter().zip(kl_penalties).map(|(r, p)| (r - reward) / (deviation + 1e-4) + p - kl_penalty).collect()
}

/// Advantages against the other samples of the same question (RLOO; Ahmadian et al. 2024, arXiv 2402.14740, eq. 7):
///
/// Â_i = R_i - 1/(K-1) Σ_{j≠i} R_j, the same for every token of sample i.
///
/// # Panics
/// With fewer than two samples: there is nothing to compare with.
pub fn leave_one_out(returns: &[f32]) -> Vec<f32> {
    assert!(returns.len() >= 2, "{} samples cannot be compared with the others", returns.len());
    let (sum, others) = (returns.iter().sum::<f32>(), (returns.len() - 1) as f32);
    returns.iter().map(|r| r - (sum - r) / others).collect()
}

/// Whitens: shifts and scales to mean 0 and standard deviation 1 over all tokens of all rows; if all entries are equal,
/// they become 0.
pub fn whiten(rows: &mut [Vec<f32>]) {
    let count = rows.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    let all = || rows.iter().flatten().map(|&x| f64::from(x));
    let mean = all().sum::<f64>() / count;
    let deviation = (all().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
    for x in rows.iter_mut().flatten() {
        *x = ((f64::from(*x) - mean) / (deviation + 1e-8)) as f32;
    }
}

/// Truncated importance weights of tokens that a sampler μ chose in place of the policy that the advantages are of (Espeholt et al. 2018,
/// arXiv 1802.01561, eq. 1, ρ with its bound): min(π_old(a_t | s_t) / μ(a_t | s_t), C). One per token; a surrogate loss is multiplied by
/// them.
///
/// # Panics
/// If the two lists differ in length.
pub fn truncated_importance(log_probs: &[f32], sampler_log_probs: &[f32], clip: f32) -> Vec<f32> {
    assert_eq!(log_probs.len(), sampler_log_probs.len(), "one log-probability of each token by policy and sampler");
    log_probs.iter().zip(sampler_log_probs).map(|(policy, sampler)| (policy - sampler).exp().min(clip)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REWARDS: [f32; 5] = [0.1, -0.2, 0.0, 0.3, 1.0];
    const VALUES: [f32; 5] = [0.5, 0.4, 0.6, 0.2, 0.9];

    #[test]
    fn the_recursion_is_the_double_sum_of_the_definition() {
        let (gamma, lambda) = (0.97f32, 0.9f32);
        let recursion = gae(&REWARDS, &VALUES, gamma, lambda);
        for t in 0..5 {
            let delta = |i: usize| REWARDS[i] + gamma * VALUES.get(i + 1).unwrap_or(&0.0) - VALUES[i];
            let sum: f32 = (t..5).map(|i| (gamma * lambda).powi((i - t) as i32) * delta(i)).sum();
            assert!((recursion.advantages[t] - sum).abs() < 1e-6);
        }
    }

    #[test]
    fn with_lambda_and_gamma_one_it_is_return_minus_value() {
        let result = gae(&REWARDS, &VALUES, 1.0, 1.0);
        for t in 0..5 {
            let to_go: f32 = REWARDS[t..].iter().sum();
            assert!((result.advantages[t] - (to_go - VALUES[t])).abs() < 1e-6);
            assert!((result.returns[t] - to_go).abs() < 1e-6);
        }
    }

    #[test]
    fn a_sample_is_compared_with_the_others_of_its_question() {
        assert_eq!(leave_one_out(&[3.0, 0.0, 0.0, 3.0]), [2.0, -2.0, -2.0, 2.0]);
        assert_eq!(leave_one_out(&[0.5, 0.5]), [0.0, 0.0]);
    }

    #[test]
    fn the_advantages_of_a_group_have_mean_zero_and_deviation_one_or_are_all_zero() {
        let advantages = group_relative(&[1.0, 0.0, 0.0, 0.0], &[0.0; 4]);
        let root = 3.0f32.sqrt();
        for (advantage, expected) in advantages.iter().zip([root, -1.0 / root, -1.0 / root, -1.0 / root]) {
            assert!((advantage - expected).abs() < 1e-3, "{advantages:?}");
        }
        assert_eq!(group_relative(&[1.0; 4], &[0.0; 4]), [0.0; 4]);
    }

    #[test]
    fn the_kl_penalty_stays_small_where_all_samples_earn_the_same() {
        for (advantage, expected) in
            group_relative(&[1.0; 4], &[-0.02, 0.0, 0.0, 0.02]).iter().zip([-0.02, 0.0, 0.0, 0.02])
        {
            assert!((advantage - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn importance_weights_make_a_samplers_mean_the_policys_up_to_the_bound() {
        // Two tokens, of which the policy chooses the first with 0.6 and the sampler with 0.5.
        let (policy, sampler) = ([0.6f32.ln(), 0.4f32.ln()], [0.5f32.ln(); 2]);
        let weights = truncated_importance(&policy, &sampler, 2.0);
        assert!((weights[0] - 1.2).abs() < 1e-6 && (weights[1] - 0.8).abs() < 1e-6);
        let rewards = [1.0, 0.0];
        let mean: f32 = weights.iter().zip(rewards).map(|(weight, reward)| 0.5 * weight * reward).sum();
        assert!((mean - 0.6).abs() < 1e-6);
        assert_eq!(truncated_importance(&policy, &sampler, 1.0)[0], 1.0);
    }

    #[test]
    fn whitened_rows_have_mean_zero_and_deviation_one_over_the_whole_batch() {
        let mut rows = vec![vec![3.0, 5.0, -1.0], vec![10.0], vec![], vec![0.5, 0.25]];
        whiten(&mut rows);
        let all: Vec<f32> = rows.concat();
        let mean = all.iter().sum::<f32>() / 6.0;
        let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 6.0;
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5);
    }

    #[test]
    fn whitening_equal_advantages_gives_zeros() {
        let mut rows = vec![vec![0.7; 3], vec![0.7]];
        whiten(&mut rows);
        assert!(rows.concat().iter().all(|x| x.abs() < 1e-3));
        whiten(&mut []);
    }
}
