//! Means over questions with their 95 % intervals. Pure: no files, no random numbers.

use serde::{Deserialize, Serialize};

/// A mean over questions with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean over questions.
    pub value: f64,
    /// Lower and upper end of the 95 % interval over questions, within [0, 1].
    pub ci95: [f64; 2],
}

impl Estimate {
    /// The mean of one value in [0, 1] per question, and how far it would move with other questions.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn right_or_wrong_questions_have_wilsons_interval() {
        let half = Estimate::over_questions(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        assert_eq!(half.value, 0.5);
        assert!((half.ci95[0] - 0.2366).abs() < 1e-4 && (half.ci95[1] - 0.7634).abs() < 1e-4, "{half:?}");
        let none = Estimate::over_questions(&[0.0; 10]);
        assert_eq!((none.value, none.ci95[0]), (0.0, 0.0));
        assert!((none.ci95[1] - 0.2775).abs() < 1e-4, "{none:?}");
        let all = Estimate::over_questions(&[1.0 - 1e-15; 10]);
        assert!((all.ci95[0] - 0.7225).abs() < 1e-4 && all.ci95[1] == 1.0, "{all:?}");
    }

    #[test]
    fn shares_have_a_normal_interval_within_zero_and_one() {
        // Mean 0.5, s² = (0.25² + 0.25²) / 2 = 1/16, standard error sqrt(1/48) = 0.144338.
        let estimate = Estimate::over_questions(&[0.25, 0.5, 0.75]);
        close(estimate.value, 0.5);
        close(estimate.ci95[0], 0.5 - Z95 * (1.0f64 / 48.0).sqrt());
        close(estimate.ci95[1], 0.5 + Z95 * (1.0f64 / 48.0).sqrt());
        let wide = Estimate::over_questions(&[0.0, 0.3, 1.0]);
        assert_eq!(wide.ci95[0], 0.0);
        assert_eq!(wide.ci95[1], 1.0);
        assert_eq!(Estimate::over_questions(&[0.4]).ci95, [0.0, 1.0]);
    }
}
