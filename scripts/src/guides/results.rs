//! What `rl guide` leaves of each seed: a line of `seeds.jsonl`.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::{fs, path::Path};

/// A seed.
#[derive(Clone, Debug, Deserialize)]
pub struct SeedResult {
    /// KL(π* ‖ guide) over an episode, in nats.
    pub divergence: f64,
    /// The expected return of the guide alone.
    pub guide: f64,
    /// That of its likeliest actions.
    pub greedy_guide: f64,
    /// The largest expected return.
    pub best: f64,
    /// Evaluations, in the order of episodes.
    pub curve: Vec<Evaluation>,
}

/// An evaluation.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Evaluation {
    /// Episodes before it.
    pub episodes: f64,
    /// The expected return of the policy.
    pub value: f64,
    /// Queries of the guide before it.
    pub queries: f64,
    /// Those whose answer solved the task.
    pub right: f64,
}

impl SeedResult {
    /// The last evaluation.
    pub fn last(&self) -> Evaluation {
        self.curve[self.curve.len() - 1]
    }

    /// The first evaluation that is within ε of the best return, and after which all are.
    pub fn reached(&self, epsilon: f64) -> Option<Evaluation> {
        self.curve.iter().rev().take_while(|evaluation| self.best - evaluation.value <= epsilon).last().copied()
    }
}

/// The seeds of a run.
///
/// # Errors
/// A file that is missing or malformed, a run without a seed or an evaluation.
pub fn read(path: &Path) -> Result<Vec<SeedResult>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let seeds = text.lines().map(serde_json::from_str).collect::<Result<Vec<SeedResult>, _>>();
    let seeds = seeds.with_context(|| format!("{} is malformed", path.display()))?;
    let length = seeds.first().map_or(0, |seed| seed.curve.len());
    ensure!(
        length > 0 && seeds.iter().all(|seed| seed.curve.len() == length),
        "{}: seeds are missing, or have other evaluations than the first",
        path.display()
    );
    Ok(seeds)
}
