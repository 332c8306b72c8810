//! Uniform, normal and Gumbel numbers from a counter-based generator.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::f64::consts::TAU;

/// Random numbers of one repetition: they depend on the seed and its number only.
pub(super) struct Random(ChaCha8Rng);

impl Random {
    pub(super) fn new(seed: u64, repetition: usize) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(repetition as u64);
        Self(generator)
    }

    /// In (0, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// A vector of standard normal numbers (Box and Muller 1958).
    pub(super) fn normal(&mut self, width: usize) -> Vec<f64> {
        (0..width).map(|_| (-2.0 * self.uniform().ln()).sqrt() * (TAU * self.uniform()).cos()).collect()
    }

    /// A standard Gumbel number: utilities plus such noise are in the order of a Plackett-Luce ranking (Yellott 1977).
    pub(super) fn gumbel(&mut self) -> f64 {
        -(-self.uniform().ln()).ln()
    }
}
