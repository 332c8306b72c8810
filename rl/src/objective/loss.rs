//! The losses, and nothing else: pure functions of tensors over the M response tokens of a micro-batch.
//!
//! Tokens of prompts and padding never come here: rows are laid end to end, so no mask is needed. Every loss is a sum over
//! its tokens divided by `total`, the number of response tokens of the *whole* batch, so that sums over micro-batches are
//! the loss of the batch.

use burn::tensor::{Tensor, activation::softplus};

/// Range of log π - log π_old before it is exponentiated: a ratio beyond it only shows that something is broken.
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

/// Binary cross-entropy of logits z against labels y in [0, 1], each with a weight w:
///
/// 1/total Σ w (log(1 + e^z) - y z) = -1/total Σ w (y log σ(z) + (1 - y) log(1 - σ(z))).
///
/// The gradient by z is w (σ(z) - y) / total, also at z = 0, where a reward model's new head stands.
///
/// # Shapes
/// - `logits`, `labels`, `weights`: `[M]`; output: `[1]`
pub fn binary_cross_entropy(logits: Tensor<1>, labels: Tensor<1>, weights: Tensor<1>, total: usize) -> Tensor<1> {
    let terms = softplus(logits.clone(), 1.0) - labels * logits;
    (terms * weights).sum().div_scalar(total as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Device, to_host};

    fn tensor(values: &[f32]) -> Tensor<1> {
        Tensor::from_floats(values, &Device::default())
    }

    /// The loss of one token with a ratio and an advantage, and its derivative by the log-probability.
    fn surrogate(ratio: f32, advantage: f32) -> (f32, f32) {
        let log_probs = tensor(&[ratio.ln() - 1.0]).autodiff().require_grad();
        let loss = ppo_policy(log_probs.clone(), tensor(&[-1.0]), tensor(&[advantage]), 0.2, 1);
        let gradient = log_probs.grad(&loss.backward()).unwrap();
        (loss.inner().into_scalar::<f32>(), gradient.into_scalar::<f32>())
    }

    /// The critic's loss of one token, and its derivative by the value.
    fn squares(value: f32, old: f32, target: f32) -> (f32, f32) {
        let values = tensor(&[value]).autodiff().require_grad();
        let loss = ppo_value(values.clone(), tensor(&[old]), tensor(&[target]), 0.2, 1);
        let gradient = values.grad(&loss.backward()).unwrap();
        (loss.inner().into_scalar::<f32>(), gradient.into_scalar::<f32>())
    }

    #[track_caller]
    fn assert_close((loss, gradient): (f32, f32), expected: (f32, f32)) {
        let close = (loss - expected.0).abs() < 1e-5 && (gradient - expected.1).abs() < 1e-5;
        assert!(close, "loss {loss}, gradient {gradient}; expected {expected:?}");
    }

    #[test]
    fn the_likelihood_is_divided_by_the_tokens_of_the_whole_batch() {
        let loss = negative_log_likelihood(tensor(&[-1.0, -2.0, -0.5]), 7).into_scalar::<f32>();
        assert!((loss - 0.5).abs() < 1e-6);
    }

    #[test]
    fn within_the_clip_the_gradient_is_minus_the_ratio_times_the_advantage() {
        assert_close(surrogate(1.0, 2.0), (-2.0, -2.0));
        assert_close(surrogate(1.1, -2.0), (2.2, 2.2));
        assert_close(surrogate(0.9, 1.0), (-0.9, -0.9));
    }

    #[test]
    fn a_good_token_gains_nothing_past_the_clip() {
        assert_close(surrogate(1.5, 1.0), (-1.2, 0.0));
    }

    #[test]
    fn a_bad_token_loses_nothing_below_the_clip() {
        assert_close(surrogate(0.5, -1.0), (0.8, 0.0));
    }

    #[test]
    fn a_token_that_moved_the_wrong_way_is_brought_back_from_any_distance() {
        assert_close(surrogate(1.5, -1.0), (1.5, 1.5));
        assert_close(surrogate(0.5, 1.0), (-0.5, -0.5));
    }

    #[test]
    fn an_extreme_ratio_stays_finite() {
        let loss = ppo_policy(tensor(&[500.0]), tensor(&[0.0]), tensor(&[-1.0]), 0.2, 1).into_scalar::<f32>();
        assert!((loss / 20.0f32.exp() - 1.0).abs() < 1e-5, "{loss}");
        let loss = ppo_policy(tensor(&[-500.0]), tensor(&[0.0]), tensor(&[1.0]), 0.2, 1).into_scalar::<f32>();
        assert!((loss + (-20.0f32).exp()).abs() < 1e-12, "{loss}");
    }

    #[test]
    fn a_value_is_pulled_to_the_return_by_half_the_squared_error() {
        assert_close(squares(0.1, 0.0, 1.0), (0.405, -0.9));
    }

    #[test]
    fn a_value_past_its_clip_on_the_way_to_the_return_is_left_alone() {
        // The clipped value 0.2 is further from the return than 0.5 is.
        assert_close(squares(0.5, 0.0, 1.0), (0.32, 0.0));
    }

    #[test]
    fn a_value_that_moved_away_from_the_return_is_brought_back_from_any_distance() {
        assert_close(squares(-0.5, 0.0, 1.0), (1.125, -1.5));
    }

    #[test]
    fn the_cross_entropy_pulls_a_logit_to_its_label_also_from_exactly_zero() {
        let of = |logit: f32, label: f32, weight: f32| {
            let logits = tensor(&[logit]).autodiff().require_grad();
            let loss = binary_cross_entropy(logits.clone(), tensor(&[label]), tensor(&[weight]), 2);
            let gradient = logits.grad(&loss.backward()).unwrap();
            (loss.inner().into_scalar::<f32>(), gradient.into_scalar::<f32>())
        };
        assert_close(of(0.0, 1.0, 1.0), (2.0f32.ln() / 2.0, -0.25));
        assert_close(of(0.0, 0.0, 3.0), (1.5 * 2.0f32.ln(), 0.75));
        // σ(1) = 0.731059.
        assert_close(of(1.0, 0.25, 1.0), (0.5 * (1.313262 - 0.25), 0.5 * (0.731059 - 0.25)));
        assert_close(of(200.0, 1.0, 1.0), (0.0, 0.0));
        assert_close(of(-200.0, 1.0, 1.0), (100.0, -0.5));
    }

    #[test]
    fn losses_of_parts_add_up_to_the_loss_of_the_whole() {
        let [log_probs, old, advantages] =
            [[-0.1, -2.0, -1.0, -0.4], [-0.2, -1.5, -1.0, -0.9], [1.0, -1.0, 0.5, 2.0]].map(|values| values.to_vec());
        let of = |range: std::ops::Range<usize>| {
            let part = |values: &[f32]| tensor(&values[range.clone()]);
            let policy = ppo_policy(part(&log_probs), part(&old), part(&advantages), 0.2, 4);
            let value = ppo_value(part(&log_probs), part(&old), part(&advantages), 0.2, 4);
            let likelihood = negative_log_likelihood(part(&log_probs), 4);
            to_host(Tensor::cat(vec![policy, value, likelihood], 0)).values
        };
        let (whole, first, second) = (of(0..4), of(0..1), of(1..4));
        for index in 0..3 {
            assert!((whole[index] - first[index] - second[index]).abs() < 1e-6);
        }
    }
}
