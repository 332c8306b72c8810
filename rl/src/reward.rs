//! What a completion earns, a number for each of its tokens. Pure functions: no model, no random numbers.

use data::{Problem, Tokenizer, matched_steps, reference_results};
use serde::{Deserialize, Serialize};

/// Which reward the environment gives (Havrilla et al. 2024, section on rewards).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RewardKind {
    /// 1 on the last token where the final answer is right, else 0.
    #[default]
    Sparse,
    /// Sparse, and a share for every line whose result is an intermediate result of the reference solution.
    Dense,
}

/// The environment's rewards of a completion, one a token.
///
/// - sparse: 1 on the last token written (end-of-sequence, or the last one of a completion that was cut) if `correct`.
/// - dense: besides, `dense_scale` / (number of results in the reference) on the token that ends each line whose result
///   equals one of them; each counts once, in any order.
pub fn task_rewards(
    kind: RewardKind,
    dense_scale: f32,
    tokenizer: &Tokenizer,
    problem: &Problem,
    tokens: &[u32],
    correct: bool,
) -> Vec<f32> {
    let mut rewards = vec![0.0; tokens.len()];
    if let Some(last) = rewards.last_mut() {
        *last = if correct { 1.0 } else { 0.0 };
    }
    if kind == RewardKind::Dense {
        let text = tokenizer.decode(tokens);
        // Some reference solutions show no readable calculation: then there is nothing to match.
        let share = dense_scale / reference_results(&problem.solution).len().max(1) as f32;
        for line_end in matched_steps(&text, &problem.solution) {
            rewards[tokenizer.token_reaching(tokens, line_end)] += share;
        }
    }
    rewards
}

/// The reward that PPO sees: r_t - β (log π(a_t) - log π_ref(a_t)), the k1 estimate of the divergence as a cost per token.
pub fn with_kl_penalty(rewards: &[f32], log_probs: &[f32], ref_log_probs: &[f32], beta: f32) -> Vec<f32> {
    assert!(rewards.len() == log_probs.len() && rewards.len() == ref_log_probs.len(), "one entry a token");
    let penalised =
        |((reward, log_prob), ref_log_prob): ((&f32, &f32), &f32)| reward - beta * (log_prob - ref_log_prob);
    rewards.iter().zip(log_probs).zip(ref_log_probs).map(penalised).collect()
}

/// Keeps the divergence from the reference near a target by moving β (Ziegler et al. 2019, arXiv 1909.08593, eq. 4):
///
/// β ← β (1 + clip((KL - target) / target, -0.2, 0.2) · n / horizon), with KL summed over a completion.
pub fn adapted_beta(beta: f64, kl: f64, target: f64, samples: usize, horizon: usize) -> f64 {
    let error = ((kl - target) / target).clamp(-0.2, 0.2);
    beta * (1.0 + error * samples as f64 / horizon as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::Answer;

    fn problem() -> Problem {
        Problem {
            id: "test/0".into(),
            question: "Ann has 6 bags of 4 nuts and eats 3. How many are left?".into(),
            solution: "6*4 = <<6*4=24>>24 nuts.\n24-3 = <<24-3=21>>21 nuts.\n#### 21".into(),
            answer: Answer::from_integer(21),
        }
    }

    fn tokenizer() -> Tokenizer {
        Tokenizer::train_bpe(&[problem().solution], 300).unwrap()
    }

    fn rewards(kind: RewardKind, text: &str, correct: bool) -> (Vec<f32>, Vec<u32>) {
        let tokenizer = tokenizer();
        let mut tokens = tokenizer.encode(text);
        tokens.push(tokenizer.eos_ids()[0]);
        (task_rewards(kind, 0.5, &tokenizer, &problem(), &tokens, correct), tokens)
    }

    #[test]
    fn the_sparse_reward_sits_on_the_end_of_sequence_token_and_is_zero_when_wrong() {
        let (right, _) = rewards(RewardKind::Sparse, " #### 21", true);
        assert_eq!(*right.last().unwrap(), 1.0);
        assert!(right[..right.len() - 1].iter().all(|&r| r == 0.0));
        let (wrong, _) = rewards(RewardKind::Sparse, " #### 22", false);
        assert!(wrong.iter().all(|&r| r == 0.0));
    }

    #[test]
    fn a_dense_reward_sits_on_the_last_token_of_each_matching_line_once() {
        let text = " 6*4 = <<6*4=24>>24 nuts.\n20+4 = <<20+4=24>>24.\n24-2 = <<24-2=22>>22\n#### 22";
        let (rewards, tokens) = rewards(RewardKind::Dense, text, false);
        let paid: Vec<usize> = (0..rewards.len()).filter(|&t| rewards[t] != 0.0).collect();
        assert_eq!(paid.len(), 1, "{rewards:?}");
        assert_eq!(rewards[paid[0]], 0.25);
        assert_eq!(tokenizer().decode(&tokens[..=paid[0]]), " 6*4 = <<6*4=24>>24 nuts.");
    }

    #[test]
    fn the_penalty_is_beta_times_the_log_ratio() {
        let rewards = with_kl_penalty(&[0.0, 1.0], &[-1.0, -2.0], &[-1.5, -1.0], 0.1);
        assert!((rewards[0] + 0.05).abs() < 1e-6 && (rewards[1] - 1.1).abs() < 1e-6);
    }

    #[test]
    fn beta_rises_above_the_target_and_falls_below_it() {
        assert!(adapted_beta(0.1, 8.0, 4.0, 256, 1024) > 0.1);
        assert!(adapted_beta(0.1, 1.0, 4.0, 256, 1024) < 0.1);
        assert_eq!(adapted_beta(0.1, 4.0, 4.0, 256, 1024), 0.1);
    }
}
