//! Maximum likelihood of a linear reward ⟨θ, φ⟩ from rankings, by Newton's method. Concave, so there is one maximum.

use eval::linear::{Matrix, dot};

/// A log-likelihood at θ: its value, gradient and negative Hessian.
pub struct Curve {
    /// log L(θ).
    pub value: f64,
    /// ∇ log L(θ), `[d]`.
    pub gradient: Vec<f64>,
    /// -∇² log L(θ), `[d, d]`.
    pub curvature: Matrix,
}

impl Curve {
    /// Of nothing.
    pub fn zero(width: usize) -> Self {
        Self { value: 0.0, gradient: vec![0.0; width], curvature: Matrix::zeros(width) }
    }

    /// Adds the choice of the first of some items: ⟨θ, φ_1⟩ - log Σ_j e^{⟨θ, φ_j⟩}.
    fn add_choice(&mut self, items: &[Vec<f64>], utilities: &[f64]) {
        let most = utilities.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = utilities.iter().map(|utility| (utility - most).exp()).sum();
        let chance = |utility: &f64| (utility - most).exp() / sum;
        let mut mean = vec![0.0; self.gradient.len()];
        for (item, utility) in items.iter().zip(utilities) {
            add(&mut mean, chance(utility), item);
        }
        self.value += utilities[0] - most - sum.ln();
        add(&mut self.gradient, 1.0, &difference(&items[0], &mean));
        for (item, utility) in items.iter().zip(utilities) {
            self.curvature.add_outer(chance(utility), &difference(item, &mean));
        }
    }
}

/// Adds `weight` x to `sum`.
fn add(sum: &mut [f64], weight: f64, x: &[f64]) {
    sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += weight * x);
}

/// a - b.
pub(super) fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// log P of rankings, best item first, by Plackett and Luce: each item is chosen among itself and those below it (MLE_K).
pub fn whole(rankings: &[Vec<Vec<f64>>], theta: &[f64]) -> Curve {
    let mut curve = Curve::zero(theta.len());
    for ranking in rankings {
        let utilities: Vec<f64> = ranking.iter().map(|item| dot(item, theta)).collect();
        for place in 0..ranking.len() - 1 {
            curve.add_choice(&ranking[place..], &utilities[place..]);
        }
    }
    curve
}

/// Σ log P of all pairs of rankings, as if they were independent (MLE_2, the split estimator).
pub fn split(rankings: &[Vec<Vec<f64>>], theta: &[f64]) -> Curve {
    let mut curve = Curve::zero(theta.len());
    for ranking in rankings {
        let places =
            (0..ranking.len()).flat_map(|better| (better + 1..ranking.len()).map(move |worse| (better, worse)));
        places.for_each(|(better, worse)| {
            add_pair(&mut curve, &difference(&ranking[better], &ranking[worse]), 1.0, theta)
        });
    }
    curve
}

/// Adds `count` pairs of a better and a worse item with this difference of features: count · log σ(⟨θ, Δφ⟩).
pub fn add_pair(curve: &mut Curve, difference: &[f64], count: f64, theta: &[f64]) {
    let margin = dot(difference, theta);
    let chance = 1.0 / (1.0 + (-margin).exp());
    // log σ(m) without overflow.
    curve.value += count * (margin.min(0.0) - (-margin.abs()).exp().ln_1p());
    add(&mut curve.gradient, count * (1.0 - chance), difference);
    curve.curvature.add_outer(count * chance * (1.0 - chance), difference);
}

/// The maximum of log L(θ) - ½ ridge |θ|², by Newton's method with halved steps where a whole one would not rise.
pub fn maximise(width: usize, ridge: f64, of: impl Fn(&[f64]) -> Curve) -> Vec<f64> {
    let penalised = |curve: &Curve, theta: &[f64]| curve.value - 0.5 * ridge * dot(theta, theta);
    let mut theta = vec![0.0; width];
    let mut here = of(&theta);
    for _ in 0..100 {
        add(&mut here.gradient, -ridge, &theta);
        here.curvature.add_diagonal(ridge.max(1e-12));
        let step = here.curvature.cholesky().expect("the curvature of a concave function").solve(&here.gradient);
        let moved = |scale: f64| {
            let mut next = theta.clone();
            add(&mut next, scale, &step);
            next
        };
        // What is left after a short step is of the order of its square.
        if length(&step) < 1e-6 {
            return moved(1.0);
        }
        let rises = (0..40).map(|halvings| moved(0.5f64.powi(halvings))).find_map(|next| {
            let there = of(&next);
            (penalised(&there, &next) >= penalised(&here, &theta)).then_some((next, there))
        });
        let Some((next, there)) = rises else { return theta };
        (theta, here) = (next, there);
    }
    theta
}

/// |x|.
pub(super) fn length(x: &[f64]) -> f64 {
    dot(x, x).sqrt()
}

/// The maximum of log L(θ) over |θ| <= `radius`: with the ridge for which the maximum has that length, or without one.
pub fn maximise_in_ball(width: usize, radius: f64, of: impl Fn(&[f64]) -> Curve) -> Vec<f64> {
    let (mut low, mut high) = (1e-6f64, 1e6f64);
    let free = maximise(width, low, &of);
    if length(&free) <= radius {
        return free;
    }
    for _ in 0..60 {
        let middle = (low * high).sqrt();
        if length(&maximise(width, middle, &of)) > radius { low = middle } else { high = middle }
    }
    maximise(width, high, &of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradient_and_curvature_are_the_slopes_of_the_value_and_of_the_gradient() {
        let ranking = vec![vec![1.0, 0.2], vec![-0.5, 0.8], vec![0.3, -1.0]];
        let rankings = [ranking.clone(), ranking.into_iter().rev().collect()];
        for of in [whole, split] {
            let theta = [0.4, -0.7];
            let here = of(&rankings, &theta);
            for place in 0..2 {
                let moved = |by: f64| {
                    let mut theta = theta;
                    theta[place] += by;
                    of(&rankings, &theta)
                };
                let (above, below) = (moved(1e-5), moved(-1e-5));
                assert!(((above.value - below.value) / 2e-5 - here.gradient[place]).abs() < 1e-7);
                let slopes = difference(&below.gradient, &above.gradient);
                let near = |(slope, entry): (&f64, &f64)| (slope / 2e-5 - entry).abs() < 1e-7;
                assert!(slopes.iter().zip(here.curvature.row(place)).all(near));
            }
        }
    }

    #[test]
    fn the_maximum_of_pairs_is_the_log_odds_and_in_a_ball_it_lies_on_its_edge() {
        let of = |theta: &[f64]| {
            let mut curve = Curve::zero(1);
            add_pair(&mut curve, &[1.0], 3.0, theta);
            add_pair(&mut curve, &[-1.0], 1.0, theta);
            curve
        };
        assert!((maximise(1, 0.0, of)[0] - 3f64.ln()).abs() < 1e-8);
        assert!((maximise_in_ball(1, 0.5, of)[0] - 0.5).abs() < 1e-6);
        assert!((maximise_in_ball(1, 5.0, of)[0] - 3f64.ln()).abs() < 1e-5);
    }
}
