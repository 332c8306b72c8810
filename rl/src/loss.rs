//! The losses, and nothing else: pure functions of tensors over the M response tokens of a micro-batch.
//!
//! Tokens of prompts and padding never come here: rows are laid end to end, so no mask is needed. Every loss is a sum over
//! its tokens divided by `total`, the number of response tokens of the *whole* batch, so that sums over micro-batches are
//! the loss of the batch (`numerics` 4).

use burn::tensor::Tensor;

/// Range of log π - log π_old before it is exponentiated: beyond it a ratio says nothing but "broken".
const LOG_RATIO_LIMIT: f64 = 20.0;

/// Negative log-likelihood of the chosen tokens: -1/total Σ log π(a_t | s_t).
///
/// # Shapes
/// - `log_probs`: `[M]`; output: `[1]`
pub fn negative_log_likelihood(log_probs: Tensor<1>, total: usize) -> Tensor<1> {
    log_probs.sum().neg().div_scalar(total as f64)
}

/// The clipped surrogate of PPO (Schulman et al. 2017, arXiv 1707.06347, eq. 7), as a loss:
///
/// -1/total Σ min(r_t A_t, clip(r_t, 1 - ε, 1 + ε) A_t) with r_t = π(a_t | s_t) / π_old(a_t | s_t).
///
/// # Shapes
/// - `log_probs` (of the policy that is trained), `old_log_probs`, `advantages`: `[M]`; output: `[1]`
pub fn ppo_policy(
    log_probs: Tensor<1>,
    old_log_probs: Tensor<1>,
    advantages: Tensor<1>,
    epsilon: f64,
    total: usize,
) -> Tensor<1> {
    let ratio = (log_probs - old_log_probs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp();
    let clipped = ratio.clone().clamp(1.0 - epsilon, 1.0 + epsilon);
    let surrogate = (ratio * advantages.clone()).min_pair(clipped * advantages);
    surrogate.sum().neg().div_scalar(total as f64)
}

/// The critic's loss with clipping around its old prediction (as OpenAI's PPO code and trlX have it; not in the paper of PPO):
///
/// 1/total Σ ½ max((V_t - R_t)², (V_old,t + clip(V_t - V_old,t, -c, c) - R_t)²).
///
/// # Shapes
/// - `values` (of the critic that is trained), `old_values`, `returns`: `[M]`; output: `[1]`
pub fn ppo_value(
    values: Tensor<1>,
    old_values: Tensor<1>,
    returns: Tensor<1>,
    value_clip: f64,
    total: usize,
) -> Tensor<1> {
    let clipped = old_values.clone() + (values.clone() - old_values).clamp(-value_clip, value_clip);
    let error = (values - returns.clone()).square();
    let clipped_error = (clipped - returns).square();
    error.max_pair(clipped_error).sum().mul_scalar(0.5 / total as f64)
}
