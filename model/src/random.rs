//! Counter-based random numbers: each depends only on its key.
//!
//! A generator with a state would tie a sample to its batch, to the number of threads and to where a run was resumed.
//! Here every number is a hash of a key (seed, purpose, step, problem, sample, position).

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
    /// Which samples are trained on.
    Mixture = 9,
    /// Which questions are taken again.
    Replay = 10,
    /// Tokens of questions that are made for solutions.
    Questions = 11,
    /// Tokens of answers that verify them.
    Verify = 12,
    /// What happens in episodes of an environment.
    Episodes = 13,
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

#[cfg(test)]
mod tests {
    use super::*;

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
