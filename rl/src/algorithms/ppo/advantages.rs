//! From the rewards of a step of PPO to the advantages of its rows, and which questions have any: KL penalty, critic or comparison within a
//! question.

use super::PpoConfig;
use crate::{
    objective::advantage::{RowAdvantages, gae, truncated_importance},
    objective::reward::with_kl_penalty,
    sampling::rollout::{Rollout, Sampled},
    training::batch::Row,
};

/// The advantages and returns of the rollouts of a step. Each row has an entry per response token.
pub(super) struct StepAdvantages {
    pub(super) advantages: Vec<Vec<f32>>,
    pub(super) returns: Vec<Vec<f32>>,
    /// Mean absolute advantage over the tokens of each question, before whitening.
    pub(super) mean_abs: Vec<f64>,
}

/// The places of completions of questions whose `samples` completions differ in reward; all places where there is no such question.
pub(super) fn mixed_groups<'a>(completions: impl Iterator<Item = &'a Sampled>, samples: usize) -> Vec<usize> {
    let rewards: Vec<f32> = completions.map(|sampled| sampled.rewards.iter().sum()).collect();
    let is_mixed = |group: &[f32]| group.iter().any(|reward| *reward != group[0]);
    let groups = (0..).step_by(samples).zip(rewards.chunks(samples));
    let mixed: Vec<usize> =
        groups.filter(|(_, group)| is_mixed(group)).flat_map(|(first, group)| first..first + group.len()).collect();
    if mixed.is_empty() { (0..rewards.len()).collect() } else { mixed }
}

/// Advantages and returns of every rollout, with the KL penalty in its rewards. Advantages of a critic are not whitened yet.
pub(super) fn compute_advantages(rollouts: &[Rollout], beta: f64, config: &PpoConfig) -> StepAdvantages {
    // The samples of a question are adjacent.
    let rows = rollouts.chunks(config.samples).flat_map(|samples| question_advantages(samples, beta, config));
    let (advantages, returns): (Vec<Vec<f32>>, Vec<Vec<f32>>) =
        rows.map(|RowAdvantages { advantages, returns }| (advantages, returns)).unzip();
    let mean_abs = advantages.chunks(config.samples).map(mean_absolute).collect();
    StepAdvantages { advantages, returns, mean_abs }
}

/// Advantages and returns of the samples of one question, before whitening: relative to each other, or of the critic.
pub(super) fn question_advantages(samples: &[Rollout], beta: f64, config: &PpoConfig) -> Vec<RowAdvantages> {
    let sum = |row: &[f32]| row.iter().sum::<f32>();
    let penalised: Vec<Vec<f32>> = samples
        .iter()
        .map(|r| with_kl_penalty(&r.sampled.rewards, &r.log_probs, &r.ref_log_probs, beta as f32))
        .collect();
    let rewards: Vec<f32> = samples.iter().map(|rollout| sum(&rollout.sampled.rewards)).collect();
    let returns: Vec<f32> = penalised.iter().map(|row| sum(row)).collect();
    let kl_penalties: Vec<f32> = returns.iter().zip(&rewards).map(|(total, reward)| total - reward).collect();
    match config.advantage.relative(&rewards, &kl_penalties, &returns) {
        Some(relative) => {
            let row = |value: f32, length: usize| vec![value; length];
            let of_sample = |(&value, rollout): (&f32, &Rollout)| {
                let length = rollout.response_len();
                RowAdvantages { advantages: row(value, length), returns: row(0.0, length) }
            };
            relative.iter().zip(samples).map(of_sample).collect()
        }
        None => {
            let of_sample =
                |(rewards, rollout): (&Vec<f32>, &Rollout)| gae(rewards, &rollout.values, config.gamma, config.lambda);
            penalised.iter().zip(samples).map(of_sample).collect()
        }
    }
}

/// Multiplies advantages by the importance weights of tokens that inference servers chose, at most `clip`. The surrogate loss is linear in the
/// advantages, so these are weights of the loss.
pub(super) fn weight_by_importance<'a>(
    advantages: &mut [Vec<f32>],
    rollouts: impl Iterator<Item = &'a Rollout>,
    clip: f32,
) {
    for (row, Rollout { sampled, log_probs, .. }) in advantages.iter_mut().zip(rollouts) {
        let Some(server_log_probs) = &sampled.server_log_probs else { continue };
        let weights = truncated_importance(log_probs, server_log_probs, clip);
        row.iter_mut().zip(weights).for_each(|(advantage, weight)| *advantage *= weight);
    }
}

fn mean_absolute(rows: &[Vec<f32>]) -> f64 {
    let count = rows.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    rows.iter().flatten().map(|&x| f64::from(x.abs())).sum::<f64>() / count
}
