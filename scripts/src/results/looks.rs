//! Looks at a study while its seeds come in, and how often each of them may err, so that all of them together err as often as is allowed.
//! Independent of runs.
//!
//! The error is spent as Lan and DeMets (1983) have it, by the function that behaves as O'Brien and Fleming's boundaries (1979), and the
//! boundaries follow by the recursive integration of Armitage, McPherson and Rowe (1969). An interval that misses as often as its look may
//! is a repeated confidence interval (Jennison and Turnbull 1989): those of all looks together hold the truth with the probability 1 − α,
//! whenever one stops.

use super::interval::normal;
use statrs::distribution::{ContinuousCDF, Normal};

/// After how many seeds intervals are made of which something follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Looks {
    /// Numbers of seeds, rising. The last one ends the study.
    pub seeds: Vec<usize>,
}

impl Looks {
    /// The number of seeds of the last look that so many seeds are enough for.
    pub fn reached(&self, seeds: usize) -> Option<usize> {
        self.seeds.iter().copied().rfind(|&look| look <= seeds)
    }

    /// How often the interval of a look at so many seeds may miss, where all looks together may miss with the probability `alpha`.
    ///
    /// `variance` is that of an estimate of so many seeds.
    ///
    /// # Panics
    /// Where there is no look at so many seeds.
    pub fn error(&self, alpha: f64, seeds: usize, variance: impl Fn(usize) -> f64) -> f64 {
        let boundaries = boundaries(alpha, &self.information(seeds, variance));
        2.0 * Normal::standard().sf(*boundaries.last().expect("a look"))
    }

    /// The information of each look up to the one at so many seeds: the final variance divided by its own. Questions are the same at each
    /// look, so that what they leave open is known at the first. It is rounded to hundredths; it is not known better.
    ///
    /// # Panics
    /// Where there is no look at so many seeds.
    pub fn information(&self, seeds: usize, variance: impl Fn(usize) -> f64) -> Vec<f64> {
        let place = self.seeds.iter().position(|&look| look == seeds).expect("a look at so many seeds");
        let last = variance(*self.seeds.last().expect("a look"));
        let share = |&look: &usize| match last / variance(look) {
            share if share.is_finite() => (100.0 * share).round().clamp(1.0, 100.0) / 100.0,
            // Estimates without a variance are all the same.
            _ => 1.0,
        };
        self.seeds[..=place].iter().map(share).collect()
    }
}

/// How much of `alpha` is spent when the share `information` is there (Lan and DeMets 1983): on each side 2 − 2 Φ(z / √t), where
/// 1 − Φ(z) = α / 4.
fn spent(alpha: f64, information: f64) -> f64 {
    4.0 * Normal::standard().sf(normal(alpha / 2.0) / information.sqrt())
}

/// What a standardised estimate without an effect exceeds in size for the first time at each look with the probability that is spent there.
///
/// `information` is a share of the final one at each look, not falling. A look that adds none has the boundary of the one before.
pub fn boundaries(alpha: f64, information: &[f64]) -> Vec<f64> {
    let mut boundaries: Vec<f64> = Vec::new();
    let (mut inside, mut before) = (Inside::start(), 0.0);
    for (look, &now) in information.iter().enumerate() {
        let deviation = (now - before).sqrt();
        if deviation > 0.0 {
            let spends = spent(alpha, now) - if before > 0.0 { spent(alpha, before) } else { 0.0 };
            let bound = inside.bound(spends, deviation);
            // The next integrand is as narrow as the next step.
            let next = information[look + 1..].iter().map(|next| next - now).find(|&step| step > 0.0);
            inside = inside.after(bound, deviation, next.map_or(deviation, f64::sqrt));
            boundaries.push(bound / now.sqrt());
            before = now;
        } else {
            let last = *boundaries.last().expect("the first look has information");
            boundaries.push(last);
        }
    }
    boundaries
}

/// The density of Brownian motion that has not crossed a boundary at any look so far, as points with weights of a quadrature.
struct Inside(Vec<[f64; 2]>);

impl Inside {
    /// At zero, before the first look.
    fn start() -> Self {
        Self(vec![[0.0, 1.0]])
    }

    /// The bound that the motion exceeds in size with a probability, after a step of a standard deviation.
    fn bound(&self, probability: f64, deviation: f64) -> f64 {
        let (mut low, mut high) = (0.0, 10.0);
        // A bisection to the last digits.
        for _ in 0..50 {
            let middle = (low + high) / 2.0;
            if self.exit(middle, deviation) > probability { low = middle } else { high = middle }
        }
        (low + high) / 2.0
    }

    fn exit(&self, bound: f64, deviation: f64) -> f64 {
        let normal = Normal::standard();
        // The density is even.
        self.0.iter().map(|[at, weight]| 2.0 * weight * normal.sf((bound - at) / deviation)).sum()
    }

    /// After a step that has stayed within the bound; with points for an integrand that is as narrow as the next step.
    fn after(&self, bound: f64, deviation: f64, next: f64) -> Self {
        let intervals = 2 * (2.0 * bound / deviation.min(next)).ceil().max(16.0) as usize;
        let width = 2.0 * bound / intervals as f64;
        let point = |place: usize| {
            // Simpson's rule.
            let factor = match place {
                0 => 1.0,
                _ if place == intervals => 1.0,
                _ if place % 2 == 1 => 4.0,
                _ => 2.0,
            };
            let at = -bound + width * place as f64;
            let density: f64 = self.0.iter().map(|[from, weight]| weight * bell((at - from) / deviation)).sum();
            [at, factor * width / 3.0 * density / deviation]
        };
        Self((0..=intervals).map(point).collect())
    }
}

/// Density of the normal distribution.
fn bell(x: f64) -> f64 {
    (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 6e-4, "{found} {expected}");
        }
    }

    #[test]
    fn boundaries_are_those_of_published_tables() {
        // Lan and DeMets (1983), also in Proschan, Lan and Wittes (2006), for looks at thirds and at fifths.
        near(&boundaries(0.05, &[1.0 / 3.0, 2.0 / 3.0, 1.0]), &[3.710, 2.511, 1.993]);
        near(&boundaries(0.05, &[0.2, 0.4, 0.6, 0.8, 1.0]), &[4.877, 3.357, 2.680, 2.290, 2.031]);
        near(&boundaries(0.05, &[0.5, 1.0]), &[2.963, 1.969]);
    }

    #[test]
    fn one_look_has_the_quantile_of_the_normal_distribution_and_a_look_that_adds_nothing_the_boundary_before() {
        near(&boundaries(0.05, &[1.0]), &[1.960]);
        near(&boundaries(0.01, &[1.0, 1.0]), &[2.576, 2.576]);
    }
}
