//! How far the K-wise maximum likelihood estimate and the split one are from the truth, on rankings drawn by Plackett and Luce's model.

use super::{
    likelihood::{difference, length, maximise, split, whole},
    random::Random,
};
use eval::linear::dot;

/// Rankings of an estimate.
pub const RANKINGS: usize = 400;
/// Length of the true θ.
const LENGTH: f64 = 2.0;

/// Errors of both estimators on the same rankings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    /// Mean squared error |θ̂ - θ*|² of the K-wise estimate.
    pub kwise: f64,
    /// Of the split estimate.
    pub split: f64,
    /// The latter divided by the former: how many times as many rankings the split estimate needs.
    pub ratio: f64,
    /// Half of a 95 % interval of the ratio over the repetitions (delta method).
    pub half_interval: f64,
}

/// The errors with `width` features, which are standard normal, and rankings of `size` items; θ* has a random direction in each repetition.
pub fn errors(width: usize, size: usize, rankings: usize, repetitions: usize, seed: u64) -> Errors {
    let of_repetition = |repetition: usize| {
        let mut random = Random::new(seed, repetition);
        let direction = random.normal(width);
        let truth: Vec<f64> = direction.iter().map(|x| LENGTH * x / length(&direction)).collect();
        let drawn: Vec<Vec<Vec<f64>>> = (0..rankings).map(|_| ranking(&truth, size, &mut random)).collect();
        let error = |theta: Vec<f64>| length(&difference(&theta, &truth)).powi(2);
        [whole, split].map(|of| error(maximise(width, 0.0, |theta| of(&drawn, theta))))
    };
    let found: Vec<[f64; 2]> = (0..repetitions).map(of_repetition).collect();
    let count = found.len() as f64;
    let [kwise, split] = [0, 1].map(|at| found.iter().map(|errors| errors[at]).sum::<f64>() / count);
    let ratio = split / kwise;
    let residual = |errors: &[f64; 2]| (errors[1] - ratio * errors[0]) / kwise;
    let variance = found.iter().map(|errors| residual(errors).powi(2)).sum::<f64>() / (count - 1.0);
    Errors { kwise, split, ratio, half_interval: 1.96 * (variance / count).sqrt() }
}

/// Random items in the order that Plackett and Luce's model draws, best first.
fn ranking(truth: &[f64], size: usize, random: &mut Random) -> Vec<Vec<f64>> {
    let mut noisy: Vec<(f64, Vec<f64>)> = (0..size)
        .map(|_| {
            let item = random.normal(truth.len());
            (dot(&item, truth) + random.gumbel(), item)
        })
        .collect();
    noisy.sort_by(|a, b| b.0.total_cmp(&a.0));
    noisy.into_iter().map(|(_, item)| item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_ranking_says_more_than_its_pairs() {
        let of = errors(5, 8, 60, 100, 1);
        assert!(of.ratio - of.half_interval > 1.0, "{of:?}");
        // Both are consistent: four times as many rankings, a quarter of the error or so.
        let more = errors(5, 8, 240, 25, 1);
        assert!(more.kwise < 0.5 * of.kwise && more.split < 0.5 * of.split, "{of:?}, {more:?}");
    }

    #[test]
    fn of_two_items_both_are_the_same() {
        let of = errors(3, 2, 100, 5, 2);
        assert!((of.ratio - 1.0).abs() < 1e-6, "{of:?}");
    }
}
