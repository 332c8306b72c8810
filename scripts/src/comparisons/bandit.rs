//! Pessimism on a bandit with four actions, two of which are bad and are compared once, with each other.
//!
//! The features of an action are its indicator, and the rewards are those of `REWARDS` less their mean. Of n comparisons, n - 1 are of the
//! two good actions and one is of the two bad ones. Whichever bad action wins that one comparison has the largest reward in the maximum
//! likelihood estimate over |θ| <= B, for every n.

use super::{
    likelihood::{Curve, add_pair, difference, maximise_in_ball},
    random::Random,
};
use eval::linear::{Matrix, dot};

/// Rewards of the actions, before their mean is taken off.
const REWARDS: [f64; 4] = [1.0, 0.5, 0.0, 0.0];
/// B: bound of |θ|.
const BOUND: f64 = 1.0;
/// δ: how often the truth may lie outside of the radius f.
const DELTA: f64 = 0.1;

/// Mean sub-optimality over repetitions of the actions that a greedy and a pessimistic policy choose after `comparisons`: the best reward less
/// that of the chosen action.
pub fn sub_optimality(comparisons: usize, repetitions: usize, seed: u64) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for repetition in 0..repetitions {
        let mut random = Random::new(seed, repetition);
        let mut wins = |better: usize, worse: usize, of: usize| {
            let chance = 1.0 / (1.0 + (REWARDS[worse] - REWARDS[better]).exp());
            (0..of).filter(|_| random.uniform() < chance).count()
        };
        let good = comparisons - 1;
        let pairs = [(0, 1, good, wins(0, 1, good)), (2, 3, 1, wins(2, 3, 1))];
        let theta = estimate(&pairs);
        let chosen = [best(&theta, &[0.0; 4]), best(&theta, &penalties(&pairs))];
        sums.iter_mut().zip(chosen).for_each(|(sum, action)| *sum += REWARDS[0] - REWARDS[action]);
    }
    sums.map(|sum| sum / repetitions as f64)
}

/// Two actions, how often they were compared, and how often the first one has won.
type Compared = (usize, usize, usize, usize);

/// φ(a).
fn feature(action: usize) -> Vec<f64> {
    (0..4).map(|place| f64::from(u8::from(place == action))).collect()
}

/// The maximum likelihood estimate over |θ| <= B.
fn estimate(pairs: &[Compared]) -> Vec<f64> {
    maximise_in_ball(4, BOUND, |theta| {
        let mut curve = Curve::zero(4);
        for &(first, second, of, won) in pairs {
            let (first, second) = (feature(first), feature(second));
            add_pair(&mut curve, &difference(&first, &second), won as f64, theta);
            add_pair(&mut curve, &difference(&second, &first), (of - won) as f64, theta);
        }
        curve
    })
}

/// f ‖φ(a) - v‖ of each action in the norm of (Σ_D + λ I)⁻¹, with λ = 1/n, v the mean feature of what was compared, and
/// f = √((d + log 1/δ) / (γ² n) + λ B²), γ = 1 / (2 + e^B + e^-B).
fn penalties(pairs: &[Compared]) -> Vec<f64> {
    let count: usize = pairs.iter().map(|pair| pair.2).sum();
    let (n, lambda) = (count as f64, 1.0 / count as f64);
    let (mut covariance, mut mean) = (Matrix::zeros(4), vec![0.0; 4]);
    covariance.add_diagonal(lambda);
    for &(first, second, of, _) in pairs {
        let of_all = of as f64 / n;
        covariance.add_outer(of_all, &difference(&feature(first), &feature(second)));
        mean[first] += 0.5 * of_all;
        mean[second] += 0.5 * of_all;
    }
    let gamma = 1.0 / (2.0 + BOUND.exp() + (-BOUND).exp());
    let radius = ((4.0 - DELTA.ln()) / (gamma * gamma * n) + lambda * BOUND * BOUND).sqrt();
    let root = covariance.cholesky().expect("a covariance with a ridge");
    let penalty = |action: usize| {
        let moved = difference(&feature(action), &mean);
        radius * dot(&moved, &root.solve(&moved)).sqrt()
    };
    (0..4).map(penalty).collect()
}

/// The action with the largest estimate less its penalty; of equal ones the first.
fn best(theta: &[f64], penalties: &[f64]) -> usize {
    let value = |action: usize| theta[action] - penalties[action];
    (1..4).fold(0, |best, action| if value(action) > value(best) { action } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greedy_policy_stays_sub_optimal_however_much_is_compared_and_the_pessimistic_one_does_not() {
        let of = |comparisons| sub_optimality(comparisons, 40, 1);
        let [few, some, many] = [10, 100, 2_000].map(of);
        assert!([few, some, many].iter().all(|[greedy, _]| *greedy >= 0.1), "{few:?}, {some:?}, {many:?}");
        assert!(few[1] < few[0] && some[1] < 0.1 && many[1] == 0.0, "{few:?}, {some:?}, {many:?}");
    }

    #[test]
    fn an_action_that_was_hardly_compared_has_the_larger_penalty() {
        let penalties = penalties(&[(0, 1, 99, 60), (2, 3, 1, 1)]);
        // The two actions of a pair are alike.
        assert!((penalties[0] - penalties[1]).abs() < 1e-9 && (penalties[2] - penalties[3]).abs() < 1e-9);
        assert!(penalties[2] > 3.0 * penalties[0], "{penalties:?}");
    }
}
