//! How good predicted probabilities are: accuracy, ranking, calibration. Pure: no files, no random numbers, no model.

use serde::{Deserialize, Serialize};

/// Bins of the reliability table, of equal width.
const BINS: usize = 10;

/// A predicted probability, and whether the event came true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// In [0, 1].
    pub probability: f64,
    /// The label.
    pub is_true: bool,
}

/// The quality of a set of predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Number of predictions.
    pub count: usize,
    /// Share of true labels.
    pub base_rate: f64,
    /// Share of predictions on the right side of 1/2.
    pub accuracy: f64,
    /// Probability that a true one is ranked above a false one; `None` where there is only one kind.
    pub auc: Option<f64>,
    /// Expected calibration error: mean distance of confidence and frequency over the bins, weighted by their size.
    pub ece: f64,
    /// Mean squared distance of probability and label (Brier 1950).
    pub brier: f64,
    /// The reliability table; bins without a prediction are left out.
    pub reliability: Vec<Bin>,
}

/// A row of a reliability table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Lower end; the upper one is a tenth above.
    pub from: f64,
    /// Number of predictions.
    pub count: usize,
    /// Their mean probability.
    pub confidence: f64,
    /// Share of them that came true.
    pub frequency: f64,
}

impl Calibration {
    /// # Panics
    /// Without a prediction, or with one outside [0, 1].
    pub fn of(predictions: &[Prediction]) -> Self {
        assert!(!predictions.is_empty(), "no predictions");
        assert!(predictions.iter().all(|p| (0.0..=1.0).contains(&p.probability)), "a probability outside [0, 1]");
        let count = predictions.len() as f64;
        let mean = |value: &dyn Fn(&Prediction) -> f64| predictions.iter().map(value).sum::<f64>() / count;
        let reliability = reliability(predictions);
        Self {
            count: predictions.len(),
            base_rate: mean(&|p| label(p)),
            accuracy: mean(&|p| f64::from(u8::from((p.probability > 0.5) == p.is_true))),
            auc: auc(&predictions.iter().map(|p| (p.probability, p.is_true)).collect::<Vec<_>>()),
            ece: reliability.iter().map(|bin| bin.count as f64 * (bin.confidence - bin.frequency).abs()).sum::<f64>()
                / count,
            brier: mean(&|p| (p.probability - label(p)).powi(2)),
            reliability,
        }
    }
}

fn label(prediction: &Prediction) -> f64 {
    f64::from(u8::from(prediction.is_true))
}

fn reliability(predictions: &[Prediction]) -> Vec<Bin> {
    let bin_of = |p: &Prediction| ((p.probability * BINS as f64) as usize).min(BINS - 1);
    let bin = |index: usize| {
        let inside: Vec<&Prediction> = predictions.iter().filter(|p| bin_of(p) == index).collect();
        let mean = |value: &dyn Fn(&Prediction) -> f64| {
            inside.iter().map(|p| value(p)).sum::<f64>() / inside.len().max(1) as f64
        };
        Bin {
            from: index as f64 / BINS as f64,
            count: inside.len(),
            confidence: mean(&|p| p.probability),
            frequency: mean(&label),
        }
    };
    (0..BINS).map(bin).filter(|bin| bin.count > 0).collect()
}

/// The area under the ROC curve of scores with their labels, as the statistic of Mann and Whitney (1947), ties counted half; `None` where
/// there is only one kind.
pub fn auc(scored: &[(f64, bool)]) -> Option<f64> {
    let mut sorted = scored.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = sorted.iter().filter(|(_, is_true)| *is_true).count() as f64;
    let negatives = sorted.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let (mut wins, mut negatives_below) = (0.0, 0.0);
    for ties in sorted.chunk_by(|a, b| a.0 == b.0) {
        let positives_here = ties.iter().filter(|(_, is_true)| *is_true).count() as f64;
        let negatives_here = ties.len() as f64 - positives_here;
        wins += positives_here * (negatives_below + 0.5 * negatives_here);
        negatives_below += negatives_here;
    }
    Some(wins / (positives * negatives))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions(pairs: &[(f64, bool)]) -> Vec<Prediction> {
        pairs.iter().map(|&(probability, is_true)| Prediction { probability, is_true }).collect()
    }

    #[test]
    fn the_auc_is_the_share_of_pairs_in_the_right_order() {
        let of = auc;
        assert_eq!(of(&[(0.9, true), (0.8, true), (0.1, false)]), Some(1.0));
        assert_eq!(of(&[(0.1, true), (0.9, false)]), Some(0.0));
        assert_eq!(of(&[(0.4, true), (0.4, false)]), Some(0.5));
        // Of four pairs two are in order, one is not, one is a tie.
        assert_eq!(of(&[(0.9, true), (0.3, true), (0.3, false), (0.5, false)]), Some(2.5 / 4.0));
        assert_eq!(of(&[(0.9, true)]), None);
    }

    #[test]
    fn a_prediction_that_says_how_often_it_is_right_is_calibrated() {
        let calibrated: Vec<(f64, bool)> = (0..10).map(|i| (0.7, i < 7)).chain((0..10).map(|i| (0.2, i < 2))).collect();
        let calibration = Calibration::of(&predictions(&calibrated));
        assert!(calibration.ece < 1e-9, "{calibration:?}");
        assert_eq!((calibration.count, calibration.reliability.len()), (20, 2));
        assert!((calibration.accuracy - 0.75).abs() < 1e-9 && (calibration.base_rate - 0.45).abs() < 1e-9);
        assert!((calibration.brier - (0.7 * 0.3 + 0.2 * 0.8) / 2.0).abs() < 1e-9);
    }

    #[test]
    fn certainty_that_errs_half_the_time_is_off_by_a_half() {
        let calibration = Calibration::of(&predictions(&[(1.0, true), (1.0, false)]));
        assert!((calibration.ece - 0.5).abs() < 1e-9);
        assert_eq!(calibration.reliability[0].from, 0.9, "1 belongs to the last bin");
    }
}
