//! Checks that end a run of PPO whose policy, reference or log-probabilities cannot be right. Pure functions.

use super::diagnostics::UpdateStats;
use crate::sampling::rollout::Sampled;
use anyhow::{Result, ensure};

/// Tolerance of ratios around 1 before the first update: beyond it, the log-probs pass and the training pass disagree
/// about the policy.
const RATIO_TOLERANCE: f32 = 1e-4;
/// The same tolerance for their root mean square, where matrix products are computed in bf16 or TF32.
const RATIO_TOLERANCE_SHORT: f32 = 0.1;

/// The k3 estimate of the KL divergence from the reference is never negative, and 0 before the policy's first update,
/// because both are the model that the run starts from.
pub(super) fn check_divergence(k3: f64, untrained: bool, short_products: bool) -> Result<()> {
    let tolerance = if short_products { RATIO_TOLERANCE_SHORT } else { RATIO_TOLERANCE };
    // k3 is half of the square, near 1. Values that are not finite are handled by the loss.
    let [least, most] = [-1e-9, if untrained { f64::from(tolerance).powi(2) / 2.0 } else { f64::INFINITY }];
    ensure!(
        k3.is_nan() || (least..=most).contains(&k3),
        "the KL divergence from the reference (k3) is {k3:.1e} nats per token {}: policy and reference are computed differently, or are not the same model",
        if untrained { "before the policy's first update" } else { "and cannot be below 0" }
    );
    Ok(())
}

/// Before the first update of a step, the policy equals the one of the log-probs pass: every ratio is 1.
/// With low-precision products, their root mean square distance from 1 is checked: in bf16 the rounding of thirty
/// blocks moves some tokens by 0.15, and all by 0.04 (SmolLM2-135M, SVAMP, temperature 1), because rounding depends on
/// the other rows of a batch. Misaligned rows are off by far more.
pub(super) fn check_first_ratio(update: &UpdateStats, short_products: bool) -> Result<()> {
    let (distance, tolerance) = if short_products {
        // k3 is half of the square, near 1.
        ((2.0 * update.old_kl).sqrt() as f32, RATIO_TOLERANCE_SHORT)
    } else {
        ((update.max_ratio - 1.0).max(1.0 - update.min_ratio), RATIO_TOLERANCE)
    };
    // Values that are not finite are handled by the next check.
    ensure!(
        distance.is_nan() || distance <= tolerance,
        "a probability ratio is {distance:.1e} away from 1 before any update: the training pass and the log-probs pass disagree about the policy"
    );
    Ok(())
}

/// Samples of inference servers have the log-probabilities that their importance weights are made of.
pub(super) fn check_server_log_probs(sampled: &[Sampled]) -> Result<()> {
    ensure!(
        sampled.iter().all(|sampled| sampled.server_log_probs.is_some()),
        "a server gives log-probabilities at temperature 1, and importance weights need those at --temperature: start vLLM with --logprobs-mode processed_logprobs, or sample at temperature 1"
    );
    Ok(())
}
