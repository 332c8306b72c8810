//! From graded samples to numbers: pass@k, maj@k, rerank@k, and intervals over questions.
//!
//! Pure: no files, no random numbers, no model. Each metric is the exact probability that k of a question's n samples,
//! drawn at random without replacement, lead to the right answer. That makes it an unbiased estimate of the same
//! probability for k fresh samples of the policy, with the smallest variance that n samples allow.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use data::Answer;
use serde::{Deserialize, Serialize};

/// One sample of a question, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Graded {
    /// What the sample answers; `None` where no answer could be read, which is then no vote either.
    pub answer: Option<Answer>,
    /// Whether that is the question's answer.
    pub correct: bool,
    /// What a reward model thinks of the sample; higher is better.
    pub score: Option<f64>,
}

/// A mean over questions with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean over questions.
    pub value: f64,
    /// Lower and upper end of the 95 % interval over questions, within [0, 1].
    pub ci95: [f64; 2],
}

/// The probability that at least one of k samples is right, of n samples of which c are.
///
/// ```text
/// pass@k = 1 - C(n - c, k) / C(n, k) = 1 - prod_{i = n-c+1}^{n} (1 - k / i)
/// ```
///
/// Chen et al. 2021, arXiv 2107.03374, eq. 1. The product holds no number above 1, so nothing overflows.
pub fn pass_at_k(n: usize, c: usize, k: usize) -> Result<f64> {
    assert!(c <= n, "{c} right samples among {n}");
    check_k(n, k)?;
    Ok(1.0 - none_drawn(n, c, k))
}

/// The probability that the majority vote of k samples is right.
///
/// A tie of m answers is right with probability 1/m if the right answer is among them. A sample without an answer has
/// no vote; a draw without any vote is wrong.
///
/// Exact for every k <= n, by dynamic programming over the answers. Let every sample be drawn independently with
/// probability p = k / n: given that k are drawn in all, each subset of size k is equally likely, so with B_c the
/// binomial distribution of c draws, c_0 samples with the right answer, c_1, c_2, … with each of the others, and c_u
/// without one,
///
/// ```text
/// maj@k = 1 / B_n(k)  sum_{m >= 1} B_{c_0}(m)  sum_{t >= 0} 1 / (t + 1)
///         sum { B_{c_u}(a_u) prod_i B_{c_i}(a_i) : a_u + sum_i a_i = k - m,  a_i <= m,  a_i = m for t of the i }
/// ```
///
/// which equals the ratio of binomial coefficients for any p, but adds only numbers within [0, 1].
pub fn maj_at_k(samples: &[Graded], k: usize) -> Result<f64> {
    check_k(samples.len(), k)?;
    let votes = Votes::count(samples);
    let draw_probability = k as f64 / samples.len() as f64;
    let draws = |count| binomial(count, draw_probability);

    let right = draws(votes.right);
    let wrong: Vec<Vec<f64>> = votes.wrong.iter().map(|&count| draws(count)).collect();
    let unparsable = draws(votes.unparsable);
    let joint: f64 =
        (1..=votes.right.min(k)).map(|top| right[top] * wins_with(top, k - top, &wrong, &unparsable)).sum();
    Ok((joint / draws(samples.len())[k]).clamp(0.0, 1.0))
}

/// The probability that the best-scored of k samples is right; samples with the same score share their chance evenly.
///
/// With the samples in descending order of score, the groups g of equal scores have s_g samples, r_g of them right, and
/// b_g samples before them:
///
/// ```text
/// rerank@k = sum_g r_g / s_g  [C(n - b_g, k) - C(n - b_g - s_g, k)] / C(n, k)
/// ```
///
/// where the bracket counts the draws whose best sample is of group g.
pub fn rerank_at_k(samples: &[Graded], k: usize) -> Result<f64> {
    let n = samples.len();
    check_k(n, k)?;
    let mut scored = Vec::with_capacity(n);
    for (row, sample) in samples.iter().enumerate() {
        let score = sample.score.filter(|score| !score.is_nan());
        ensure!(score.is_some(), "rerank@{k} needs a score of every sample; sample {row} has none");
        scored.extend(score.map(|score| (score, sample.correct)));
    }
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));

    let mut total = 0.0;
    let mut before = 0;
    for group in scored.chunk_by(|a, b| a.0 == b.0) {
        let best_is_here = none_drawn(n, before, k) - none_drawn(n, before + group.len(), k);
        let right = group.iter().filter(|(_, correct)| *correct).count();
        total += best_is_here * right as f64 / group.len() as f64;
        before += group.len();
    }
    Ok(total.clamp(0.0, 1.0))
}

impl Estimate {
    /// The mean of one value in [0, 1] a question, and how far it would move with other questions.
    ///
    /// Where every value is 0 or 1 the interval is Wilson's, which is sound also for few questions and for a mean of 0
    /// or 1 (Wilson 1927, eq. 7, without continuity correction), with z = 1.96:
    ///
    /// ```text
    /// (p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n)
    /// ```
    ///
    /// Else it is the normal interval, mean ± z sqrt(s² / n) with the unbiased sample variance s², cut to [0, 1]. One
    /// question alone has no variance: its interval is [0, 1].
    pub fn over_questions(values: &[f64]) -> Estimate {
        assert!(!values.is_empty(), "a mean over no questions");
        assert!(values.iter().all(|value| (0.0..=1.0).contains(value)), "values outside [0, 1]: {values:?}");
        let n = values.len() as f64;
        // A sum of nothing is -0 in floating point; adding 0 takes the sign away.
        let mean = (values.iter().sum::<f64>() / n).clamp(0.0, 1.0) + 0.0;
        // A probability of 1 that was summed from parts may miss it by a rounding error.
        let is_certain = |value: &f64| value.min(1.0 - value) < 1e-9;
        let (centre, half) = if values.iter().all(is_certain) {
            wilson(mean, n)
        } else if values.len() == 1 {
            (0.5, 0.5)
        } else {
            (mean, normal(values, mean))
        };
        // Rounding must not push the value itself out of its interval.
        let ci95 = [(centre - half).clamp(0.0, mean), (centre + half).clamp(mean, 1.0)];
        Estimate { value: mean, ci95 }
    }
}

/// Half of the normal 95 % interval of a mean of two values at least, z sqrt(s² / n) with the unbiased sample variance s².
pub(crate) fn normal(values: &[f64], mean: f64) -> f64 {
    let n = values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Z95 * (variance / n).sqrt()
}

/// The 97.5 % quantile of the normal distribution.
const Z95: f64 = 1.959963984540054;

/// Centre and half width of Wilson's interval for the mean of n values that are 0 or 1.
fn wilson(mean: f64, n: f64) -> (f64, f64) {
    let z2 = Z95 * Z95;
    let scale = 1.0 + z2 / n;
    let centre = (mean + z2 / (2.0 * n)) / scale;
    let half = Z95 * (mean * (1.0 - mean) / n + z2 / (4.0 * n * n)).sqrt() / scale;
    (centre, half)
}

/// How many samples of a question stand for what.
struct Votes {
    right: usize,
    /// One count for every other answer.
    wrong: Vec<usize>,
    unparsable: usize,
}

impl Votes {
    fn count(samples: &[Graded]) -> Votes {
        let mut votes = Votes { right: 0, wrong: Vec::new(), unparsable: 0 };
        let mut right_answer = None;
        let mut places: HashMap<&Answer, usize> = HashMap::new();
        for sample in samples {
            match &sample.answer {
                None => {
                    assert!(!sample.correct, "a sample without an answer is graded right");
                    votes.unparsable += 1;
                }
                Some(answer) if sample.correct => {
                    let first = *right_answer.get_or_insert(answer);
                    assert!(first == answer, "both {first} and {answer} are graded right");
                    votes.right += 1;
                }
                Some(answer) => {
                    let place = *places.entry(answer).or_insert(votes.wrong.len());
                    votes.wrong.resize(votes.wrong.len().max(place + 1), 0);
                    votes.wrong[place] += 1;
                }
            }
        }
        let both = right_answer.filter(|answer| places.contains_key(answer));
        assert!(both.is_none(), "one answer is graded both right and wrong: {both:?}");
        votes
    }
}

/// The chance that `rest` draws fall on the other samples such that `top` votes of the right answer win: no other answer
/// has more, and each of t others that have as many takes its share of the win, 1 / (t + 1) being left.
fn wins_with(top: usize, rest: usize, wrong: &[Vec<f64>], unparsable: &[f64]) -> f64 {
    let can_tie = wrong.iter().filter(|draws| draws.len() > top).count();
    let most_ties = can_tie.min(rest / top);
    // chances[tied][drawn]: over the answers seen so far, `tied` of them have `top` votes, and `drawn` samples are used.
    let mut chances = vec![vec![0.0; rest + 1]; most_ties + 1];
    for (drawn, chance) in unparsable.iter().take(rest + 1).enumerate() {
        chances[0][drawn] = *chance;
    }
    for draws in wrong {
        let mut next = vec![vec![0.0; rest + 1]; most_ties + 1];
        for (tied, row) in chances.iter().enumerate() {
            for (drawn, chance) in row.iter().enumerate().filter(|(_, chance)| **chance > 0.0) {
                for (votes, weight) in draws.iter().enumerate().take(top.min(rest - drawn) + 1) {
                    // More ties than `most_ties` cannot happen within `rest` draws, so the index stays in range.
                    let tied = tied + usize::from(votes == top);
                    next[tied][drawn + votes] += chance * weight;
                }
            }
        }
        chances = next;
    }
    chances.iter().enumerate().map(|(tied, row)| row[rest] / (tied + 1) as f64).sum()
}

/// The probabilities of 0, 1, … `count` draws when each happens with `probability`, by adding one chance at a time:
/// sums of products within [0, 1], for any count.
fn binomial(count: usize, probability: f64) -> Vec<f64> {
    let mut chances = vec![1.0];
    for _ in 0..count {
        chances.push(0.0);
        for drawn in (1..chances.len()).rev() {
            chances[drawn] = chances[drawn] * (1.0 - probability) + chances[drawn - 1] * probability;
        }
        chances[0] *= 1.0 - probability;
    }
    chances
}

/// The probability that k of n samples, drawn without replacement, hold none of `special` of them:
/// C(n - special, k) / C(n, k), as a product.
fn none_drawn(n: usize, special: usize, k: usize) -> f64 {
    if n - special < k {
        return 0.0;
    }
    (n - special + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product()
}

fn check_k(n: usize, k: usize) -> Result<()> {
    ensure!(k > 0, "k must be at least 1");
    ensure!(k <= n, "k = {k} needs at least {k} samples of a question; there are {n}");
    Ok(())
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
