//! The draw of a token from a distribution, by a given random number. Independent of models.

use crate::{fused, log_probs::token_log_probs};
use burn::tensor::{Int, Tensor, TensorData, Transaction, activation};

/// Draws one token per row: the first whose cumulative probability exceeds the row's uniform number, or the likeliest
/// where `temperature` is 0. With it the token's natural log-probability under the full distribution at temperature 1.
///
/// # Shapes
/// - `logits`: `[B, V]`; `uniforms`: B numbers in [0, 1)
pub(crate) fn sample(logits: Tensor<2>, temperature: f64, uniforms: &[f32]) -> (Vec<u32>, Vec<f32>) {
    let [batch, _] = logits.dims();
    assert_eq!(batch, uniforms.len(), "one uniform number per row");
    if let Some(drawn) = fused::sample(&logits, temperature, uniforms) {
        return drawn;
    }
    let tokens = draw(logits.clone(), temperature, uniforms);
    let log_probs = token_log_probs(logits, tokens.clone().flatten(0, 1), 1.0);
    // In one synchronisation.
    let [tokens, log_probs] = Transaction::default()
        .register(tokens)
        .register(log_probs)
        .execute()
        .try_into()
        .expect("two tensors were registered");
    let tokens = tokens.convert::<i64>().try_to_vec::<i64>().expect("converted above");
    let log_probs = log_probs.convert::<f32>().try_to_vec::<f32>().expect("converted above");
    (tokens.into_iter().map(|id| id as u32).collect(), log_probs)
}

/// The tokens of [`sample`] on the device, `[B, 1]`.
fn draw(logits: Tensor<2>, temperature: f64, uniforms: &[f32]) -> Tensor<2, Int> {
    let [batch, vocabulary] = logits.dims();
    if temperature == 0.0 {
        return logits.argmax(1);
    }
    // burn's sum along a row reads all that is before each number. In two levels, first among blocks of the vocabulary and then inside
    // one of them, that is V instead of V²/2 numbers a row.
    let width = vocabulary.isqrt().max(1);
    let count = vocabulary.div_ceil(width);
    let probabilities = activation::softmax(logits.div_scalar(temperature), 1);
    let device = probabilities.device();
    let padded = Tensor::zeros([batch, count * width], &device).slice_assign([0..batch, 0..vocabulary], probabilities);
    let blocks: Tensor<3> = padded.reshape([batch, count, width]);
    let sums = blocks.clone().sum_dim(2).reshape([batch, count]);
    let uniforms: Tensor<2> = Tensor::from_data(TensorData::new(uniforms.to_vec(), [batch, 1]), &device);
    let cumulative = sums.cumsum(1);
    // The total is 1 but for rounding; scaling by it keeps a draw close to 1 inside the vocabulary.
    let target = uniforms * cumulative.clone().narrow(1, count - 1, 1);
    let block = passed(&cumulative, &target);
    let before = Tensor::cat(vec![Tensor::zeros([batch, 1], &device), cumulative], 1).gather(1, block.clone());
    let index = block.clone().reshape([batch, 1, 1]).expand([batch, 1, width]);
    let inside = blocks.gather(1, index).reshape([batch, width]).cumsum(1);
    // Rounded differently, what is left may lie outside the block: at its ends it stays on tokens that have a probability.
    let most = inside.clone().narrow(1, width - 1, 1).mul_scalar(1.0 - f32::EPSILON);
    let left = (target - before).clamp_min(0.0).min_pair(most);
    (block.mul_scalar(width as i64) + passed(&inside, &left)).clamp_max(vocabulary as i64 - 1)
}

/// How many of a row's rising numbers a target has reached, `[B, 1]`; the last place at most.
fn passed(rising: &Tensor<2>, target: &Tensor<2>) -> Tensor<2, Int> {
    let [_, places] = rising.dims();
    rising.clone().lower_equal(target.clone()).int().sum_dim(1).clamp_max(places as i64 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Key, Purpose, uniform};
    use burn::tensor::Device;

    /// What is drawn with the operations of the CPU and with those of other backends.
    fn both(logits: &[f32], width: usize, temperature: f64, uniforms: &[f32]) -> [(Vec<u32>, Vec<f32>); 2] {
        let shape = [logits.len() / width, width];
        let logits = Tensor::<2>::from_data(TensorData::new(logits.to_vec(), shape), &Device::default());
        let plain = fused::plainly(|| sample(logits.clone(), temperature, uniforms));
        [sample(logits, temperature, uniforms), plain]
    }

    #[test]
    fn the_share_of_draws_is_the_probability() {
        let probabilities = [0.5f32, 0.0, 0.3, 0.2];
        let rows = 20_000;
        let logits: Vec<f32> = (0..rows).flat_map(|_| probabilities.map(|p| p.ln().max(-1e9))).collect();
        let key = Key::new(7, Purpose::Generate);
        let uniforms: Vec<f32> = (0..rows).map(|row| uniform(key, row as u64)).collect();
        for (tokens, log_probs) in both(&logits, 4, 1.0, &uniforms) {
            for (token, expected) in probabilities.iter().enumerate() {
                let share = tokens.iter().filter(|&&t| t == token as u32).count() as f32 / rows as f32;
                // Four standard deviations of a share over 20,000 draws.
                assert!((share - expected).abs() < 0.015, "token {token}: share {share}, probability {expected}");
            }
            for (&token, log_prob) in tokens.iter().zip(log_probs) {
                assert!((log_prob - probabilities[token as usize].ln()).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn the_same_number_draws_the_same_token_on_every_backend_at_every_temperature() {
        let (rows, width) = (500, 77);
        let key = Key::new(5, Purpose::Generate);
        let logits: Vec<f32> = (0..(rows * width) as u64).map(|i| 3.0 * key.normal(i)).collect();
        let mut uniforms: Vec<f32> = (0..rows).map(|row| uniform(key, row as u64)).collect();
        // The largest number that there is, and the smallest.
        (uniforms[0], uniforms[1]) = (1.0 - 0.5f32.powi(24), 0.0);
        for temperature in [0.0, 0.3, 1.0, 1.7] {
            let [(tokens, log_probs), (plain_tokens, plain_log_probs)] = both(&logits, width, temperature, &uniforms);
            // Where a number falls on the border of two tokens, rounding decides.
            let same = tokens.iter().zip(&plain_tokens).filter(|(x, y)| x == y).count();
            assert!(same + 1 >= rows, "{same} of {rows} at temperature {temperature}");
            for row in (0..rows).filter(|&row| tokens[row] == plain_tokens[row]) {
                assert!((log_probs[row] - plain_log_probs[row]).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn temperature_zero_takes_the_likeliest_token() {
        for (tokens, _) in both(&[0.1, 2.0, -1.0, 3.0, 2.0, 2.9], 3, 0.0, &[0.99, 0.99]) {
            assert_eq!(tokens, [1, 0]);
        }
    }
}
