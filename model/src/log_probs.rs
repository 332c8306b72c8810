//! Log-probabilities and entropies of logits. Pure functions of tensors, in f32.

use crate::fused;
use burn::tensor::{Int, Tensor, activation::log_softmax};

/// Log-probability of one token per row: the entry of `target` in log softmax(z / temperature).
///
/// # Shapes
/// - `logits`: `[M, V]`; `targets`: `[M]`; output: `[M]`
pub fn token_log_probs(logits: Tensor<2>, targets: Tensor<1, Int>, temperature: f64) -> Tensor<1> {
    if let Some(log_probs) = fused::token_log_probs(&logits, &targets, temperature) {
        return log_probs;
    }
    let [rows, _] = logits.dims();
    let logits = if temperature == 1.0 { logits } else { logits.div_scalar(temperature) };
    // Subtracting the maximum changes nothing but the range; it carries no gradient.
    let shifted = logits.clone() - logits.detach().max_dim(1);
    let chosen = shifted.clone().gather(1, targets.reshape([rows, 1]));
    (chosen - shifted.exp().sum_dim(1).log()).reshape([rows])
}

/// Entropy of softmax(z / temperature) per row, in nats.
///
/// # Shapes
/// - `logits`: `[M, V]`; output: `[M]`
pub fn entropy(logits: Tensor<2>, temperature: f64) -> Tensor<1> {
    let [rows, _] = logits.dims();
    let log_probs = log_softmax(logits.div_scalar(temperature), 1);
    (log_probs.clone().exp() * log_probs).sum_dim(1).neg().reshape([rows])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn log_probs_are_those_of_the_softmax_at_the_temperature() {
        let device = Device::default();
        let logits = Tensor::<2>::from_floats([[1.0, 2.0, 3.0], [1000.0, 0.0, -1000.0]], &device);
        let targets = Tensor::<1, Int>::from_ints([2, 0], &device);
        let values = token_log_probs(logits, targets, 2.0).into_data().try_to_vec::<f32>().unwrap();
        let expected = 1.5 - (0.5f32.exp() + 1.0f32.exp() + 1.5f32.exp()).ln();
        assert!((values[0] - expected).abs() < 1e-6 && values[1] == 0.0, "{values:?}");
    }

    #[test]
    fn a_uniform_distribution_has_the_entropy_log_v() {
        let logits = Tensor::<2>::zeros([1, 8], &Device::default());
        let value = entropy(logits, 0.7).into_scalar::<f32>();
        assert!((value - 8.0f32.ln()).abs() < 1e-6);
    }
}
