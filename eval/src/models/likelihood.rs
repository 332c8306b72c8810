//! The likelihood of a solution under a language model, combined with the head of a reward model.
//!
//! logit p(right) = a v + b m + c, with v the logit of the reward model's head and m the mean log-probability of the solution's tokens
//! so far under a frozen language model. The three numbers are those of a logistic regression on solutions of
//! questions that the head was not trained on (stacking, Wolpert 1992; with v alone it would be Platt's scaling).

use crate::io::whole_files::write_whole;
use anyhow::{Context, Result};
use model::{Device, Transformer, load_model, save_model, score, solutions, to_host};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

const FOLDER: &str = "likelihood";
const WEIGHTS: &str = "weights.json";

/// A language model whose likelihood is combined with the head, and the weights of both.
#[derive(Clone)]
pub struct Likelihood {
    /// Frozen.
    pub model: Transformer,
    /// The weights of head and likelihood.
    pub weights: Weights,
}

/// The weights of a logistic regression on head and likelihood.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// a, of the head's logit.
    pub head: f64,
    /// b, of the mean log-probability.
    pub likelihood: f64,
    /// c.
    pub constant: f64,
}

/// The inputs of the combined score, for a solution or a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// The logit of the head.
    pub head: f32,
    /// Mean log-probability so far.
    pub likelihood: f32,
}

impl Weights {
    /// The head alone.
    pub const HEAD: Self = Self { head: 1.0, likelihood: 0.0, constant: 0.0 };

    /// The logit of being right.
    pub fn logit(&self, signal: Signal) -> f64 {
        self.head * f64::from(signal.head) + self.likelihood * f64::from(signal.likelihood) + self.constant
    }

    /// Logistic regression by Newton's method, on standardised signals and with a little ridge, so that it ends where one of
    /// them separates the outcomes perfectly.
    pub fn fit(signals: &[(Signal, bool)]) -> Self {
        let raw = |signal: &Signal| [f64::from(signal.head), f64::from(signal.likelihood)];
        let count = signals.len().max(1) as f64;
        let mean_of = |value: &dyn Fn(&[f64; 2]) -> f64| {
            signals.iter().map(|(signal, _)| value(&raw(signal))).sum::<f64>() / count
        };
        let mean = [0, 1].map(|at| mean_of(&|x| x[at]));
        let deviation = [0, 1].map(|at: usize| mean_of(&|x| (x[at] - mean[at]).powi(2)).sqrt().max(1e-6));
        let mut weights = [0.0; 3];
        for _ in 0..30 {
            let mut gradient = weights.map(|weight| RIDGE * weight);
            let mut curvature = [[0.0; 3]; 3];
            (0..3).for_each(|at| curvature[at][at] = RIDGE);
            for (signal, right) in signals {
                let [head, likelihood] = [0, 1].map(|at| (raw(signal)[at] - mean[at]) / deviation[at]);
                let x = [head, likelihood, 1.0];
                let logit: f64 = x.iter().zip(&weights).map(|(x, weight)| x * weight).sum();
                let p = 1.0 / (1.0 + (-logit).exp());
                for row in 0..3 {
                    gradient[row] += (p - f64::from(u8::from(*right))) * x[row] / count;
                    (0..3).for_each(|column| curvature[row][column] += p * (1.0 - p) * x[row] * x[column] / count);
                }
            }
            let step = solve(curvature, gradient);
            (0..3).for_each(|at| weights[at] -= step[at]);
        }
        let [head, likelihood] = [0, 1].map(|at| weights[at] / deviation[at]);
        Self { head, likelihood, constant: weights[2] - head * mean[0] - likelihood * mean[1] }
    }
}

const RIDGE: f64 = 1e-4;

/// x of A x = b, A symmetric and positive definite, by Cramer's rule.
fn solve(a: [[f64; 3]; 3], b: [f64; 3]) -> [f64; 3] {
    let determinant = |m: [[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    let whole = determinant(a);
    [0, 1, 2].map(|column| {
        let mut with_b = a;
        (0..3).for_each(|row| with_b[row][column] = b[row]);
        determinant(with_b) / whole
    })
}

impl Likelihood {
    /// Writes it into the checkpoint of a reward model; the weights last, so that an interrupted write is not read.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn save(&self, checkpoint: &Path) -> Result<()> {
        let folder = checkpoint.join(FOLDER);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        save_model(&folder, &self.model)?;
        write_whole(&folder.join(WEIGHTS), serde_json::to_vec_pretty(&self.weights)?)
    }

    /// Reads what [`Self::save`] wrote; `None` where there is nothing.
    ///
    /// # Errors
    /// Files that are cut or do not belong together.
    pub fn load(checkpoint: &Path, device: &Device) -> Result<Option<Self>> {
        let (folder, path) = (checkpoint.join(FOLDER), checkpoint.join(FOLDER).join(WEIGHTS));
        let Some(text) = data::read_text_if_there(&path)? else { return Ok(None) };
        let weights = serde_json::from_str(&text).with_context(|| format!("{} is malformed", path.display()))?;
        Ok(Some(Self { model: load_model(&folder, device)?, weights }))
    }
}

/// The mean log-probability of each solution up to and with each of its tokens, rows end to end.
pub(crate) fn mean_log_probs(model: &Transformer, rows: &[(&[u32], usize)]) -> Vec<f32> {
    let log_probs = to_host(score(model, &solutions(rows, &model.device()), 1.0).log_probs).values;
    let mut left = log_probs.iter();
    let of_row = |(tokens, prompt_len): &(&[u32], usize)| -> Vec<f32> {
        let mut sum = 0.0;
        let so_far = (1..).zip(left.by_ref().take(tokens.len() - prompt_len)).map(|(count, log_prob)| {
            sum += f64::from(*log_prob);
            (sum / f64::from(count)) as f32
        });
        so_far.collect()
    };
    rows.iter().flat_map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_are_those_that_made_the_outcomes() {
        let made = Weights { head: 0.8, likelihood: 5.0, constant: 1.0 };
        // Every signal is right as often, of a thousand, as the weights predict.
        let signal = |i: usize| Signal { head: (i % 7) as f32 - 3.0, likelihood: -0.1 * (i % 5) as f32 };
        let of_signal = |i: usize| {
            let p = 1.0 / (1.0 + (-made.logit(signal(i))).exp());
            (0..1000).map(move |draw| (signal(i), f64::from(draw) < 1000.0 * p))
        };
        let fitted = Weights::fit(&(0..35).flat_map(of_signal).collect::<Vec<_>>());
        for (fitted, made) in
            [(fitted.head, made.head), (fitted.likelihood, made.likelihood), (fitted.constant, made.constant)]
        {
            assert!((fitted - made).abs() < 0.02 * made.abs(), "{fitted} for {made}");
        }
    }

    #[test]
    fn a_signal_that_separates_the_outcomes_has_finite_weights() {
        let signals = [(-1.0, false), (1.0, true)].map(|(head, right)| (Signal { head, likelihood: -0.3 }, right));
        let Weights { head, likelihood, constant } = Weights::fit(&signals);
        assert!(head > 1.0 && head.is_finite() && likelihood.abs() < 1e-6 && constant.abs() < 1e-6);
    }
}
