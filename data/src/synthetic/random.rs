//! Random draws that are the same on every machine and with every version of the `rand` crates: only the ChaCha8
//! stream itself is used, seeded by explicit bytes, and every draw is 32 bits wide.

use super::numbers::{MAGNITUDES, Magnitude, Number, Range};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of draws.
#[derive(Clone)]
pub(super) struct Random(ChaCha8Rng);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Random(ChaCha8Rng::from_seed(bytes))
    }

    /// Uniform in `0..bound`, by the high word of a product. Its bias is below one in a hundred million here.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "nothing lies below 0");
        ((u64::from(self.0.next_u32()) * u64::from(bound)) >> 32) as u32
    }

    /// Uniform in `low..=high`.
    pub(super) fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high - low + 1)
    }

    /// True in `percent` of 100 calls.
    pub(super) fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// A number from a range.
    pub(super) fn draw_from(&mut self, range: Range, magnitude: Magnitude) -> Number {
        let (low, high) = range.0[magnitude as usize];
        Number::whole(self.between(low, high))
    }

    /// One of the items.
    pub(super) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u32) as usize]
    }

    /// An index, drawn in proportion to its weight.
    pub(super) fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut rest = self.below(weights.iter().sum());
        for (index, &weight) in weights.iter().enumerate() {
            if rest < weight {
                return index;
            }
            rest -= weight;
        }
        unreachable!("a draw below the sum falls into one of the weights")
    }

    /// How large the numbers of a problem are, drawn in proportion to the weights of small, middle and large.
    pub(super) fn magnitude(&mut self, weights: [u32; 3]) -> Magnitude {
        MAGNITUDES[self.weighted(&weights)]
    }

    /// Reorders the items uniformly.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index as u32 + 1) as usize);
        }
    }
}
