//! Random numbers that depend only on what they are for, and the draw of a token from a distribution.
//!
//! A generator with a state would tie a sample to its batch, to the number of threads and to where a run was resumed.
//! Here every number is a hash of a key (seed, purpose, step, problem, sample, position).

use crate::{fused, logits::token_log_probs};
use burn::tensor::{Int, Tensor, TensorData, Transaction, activation};

/// A hash chain over the coordinates of a random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

/// What a random number is for: the same coordinates give unrelated numbers for different purposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights.
    Weights = 1,
    /// Order of the training examples.
    Shuffle = 2,
    /// Tokens of rollouts.
    Rollout = 3,
    /// Tokens of an evaluation.
    Evaluation = 4,
    /// Which problems a step takes.
    Problems = 5,
    /// Everything a user samples by hand.
    Generate = 6,
    /// Fresh completions of prefixes of solutions.
    Prefixes = 7,
    /// Which questions a reward model does not learn from.
    HeldOut = 8,
    /// Which samples are learnt from.
    Mixture = 9,
    /// Which questions are taken again.
    Replay = 10,
    /// Tokens of questions that are made for solutions.
    Questions = 11,
    /// Tokens of answers that verify them.
    Verify = 12,
}

impl Key {
    /// The start of a chain.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self(mix(seed)).with(purpose as u64)
    }

    /// The chain with one more coordinate.
    pub fn with(self, coordinate: u64) -> Self {
        Self(mix(self.0 ^ mix(coordinate.wrapping_add(0x9e37_79b9_7f4a_7c15))))
    }

    /// 64 random bits, to seed a generator with.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// A standard normal number (Box and Muller 1958).
    pub fn normal(self, index: u64) -> f32 {
        let radius = 1.0 - f64::from(uniform(self, 2 * index));
        let angle = std::f64::consts::TAU * f64::from(uniform(self, 2 * index + 1));
        ((-2.0 * radius.ln()).sqrt() * angle.cos()) as f32
    }
}

/// A number in [0, 1) with 24 random bits, for one position of a sequence.
pub fn uniform(key: Key, position: u64) -> f32 {
    (key.with(position).0 >> 40) as f32 / (1u64 << 24) as f32
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Draws one token a row: the first whose cumulative probability exceeds the row's uniform number, or the likeliest
/// where `temperature` is 0. With it the token's natural log-probability under the full distribution at temperature 1.
///
/// # Shapes
/// - `logits`: `[B, V]`; `uniforms`: B numbers in [0, 1)
pub(crate) fn sample(logits: Tensor<2>, temperature: f64, uniforms: &[f32]) -> (Vec<u32>, Vec<f32>) {
    let [batch, _] = logits.dims();
    assert_eq!(batch, uniforms.len(), "one uniform number a row");
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

    #[test]
    fn a_uniform_number_is_below_one_and_depends_on_every_coordinate() {
        let key = Key::new(1, Purpose::Rollout).with(2).with(3);
        for position in 0..10_000 {
            assert!((0.0..1.0).contains(&uniform(key, position)));
        }
        let others = [
            Key::new(2, Purpose::Rollout).with(2).with(3),
            Key::new(1, Purpose::Evaluation).with(2).with(3),
            Key::new(1, Purpose::Rollout).with(3).with(2),
            Key::new(1, Purpose::Rollout).with(2),
        ];
        for other in others {
            assert_ne!(uniform(key, 0), uniform(other, 0));
        }
    }

    #[test]
    fn initial_weights_are_standard_normal() {
        let key = Key::new(3, Purpose::Weights);
        let values: Vec<f32> = (0..50_000).map(|i| key.normal(i)).collect();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "mean {mean}, variance {variance}");
    }
}
