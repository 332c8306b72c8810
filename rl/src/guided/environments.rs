//! The environments: small, described in words, and the same for the same seed.

mod blocks;
mod calculations;
mod cubes;
mod grid;

use super::mdp::Mdp;
use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

/// An environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Environment {
    /// A grid of two rooms: fetch the key, open the door, reach the goal
    KeyDoor,
    /// BlocksWorld: move one block at a time until a configuration is reached
    Blocks,
    /// Stack cubes so that their colours continue a pattern
    Cubes,
    /// Solve a word problem by calculations over the numbers known so far
    Calculations,
}

impl Environment {
    /// The environment of a seed. `size`: the side of the grid, the number of blocks, the height of the stack, or the number of calculations.
    ///
    /// # Errors
    /// A size that the environment does not have.
    pub fn build(self, size: Option<usize>, seed: u64) -> Result<Mdp> {
        match self {
            Self::KeyDoor => grid::build(size.unwrap_or(5), seed),
            Self::Blocks => blocks::build(size.unwrap_or(4), seed),
            Self::Cubes => cubes::build(size.unwrap_or(8), seed),
            Self::Calculations => calculations::build(size.unwrap_or(2), seed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guided::values::optimal;

    #[test]
    fn every_environment_can_be_solved_within_its_horizon_and_not_at_once() {
        for environment in Environment::value_variants() {
            for seed in 0..6 {
                let mdp = environment.build(None, seed).unwrap();
                let best = optimal(&mdp);
                // On the grid, too many steps may do nothing.
                let value = best.values[0][mdp.start];
                assert!(value > 0.98 && value < 1.0 + 1e-12, "{environment:?} {seed}: {value}");
                let in_one_step = best.values[mdp.horizon - 1][mdp.start];
                assert!(in_one_step < 0.5, "{environment:?} {seed}: {in_one_step}");
                assert_eq!(mdp, environment.build(None, seed).unwrap());
                for state in &mdp.states {
                    for action in &state.actions {
                        let sum: f64 = action.outcomes.iter().map(|outcome| outcome.probability).sum();
                        assert!((sum - 1.0).abs() < 1e-12);
                    }
                }
            }
            assert_ne!(environment.build(None, 0).unwrap(), environment.build(None, 1).unwrap());
            assert!(environment.build(Some(1_000), 0).is_err());
        }
    }
}
