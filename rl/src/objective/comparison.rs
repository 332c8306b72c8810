//! The objectives of reward models that learn from comparisons of solutions of one question (Zhu, Jiao and Jordan 2023, arXiv 2301.11270):
//! maximum likelihood under the models of Bradley and Terry (pairs) and of Plackett and Luce (rankings). Pure functions of scores.
//!
//! A ranking is given by a value per solution, higher is better. Solutions with equal values are ties and are not compared: each solution is
//! compared with those of lower values. With two values, right and wrong, that is each right solution against all wrong ones; without ties it
//! is a whole ranking.

use burn::tensor::{
    Int, Tensor,
    activation::{log_sigmoid, log_softmax},
};
use clap::ValueEnum;
use serde::Serialize;

/// What a reward model's head is trained towards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RewardObjective {
    /// Binary cross-entropy of the label of each step prefix: the score is a probability
    #[default]
    Bce,
    /// Bradley-Terry likelihood of pairs of a better and a worse solution of a question
    Pairwise,
    /// Plackett-Luce likelihood of rankings of solutions of a question
    Kwise,
    /// The split estimator of the same rankings: the Bradley-Terry likelihood of all their pairs
    KwiseSplit,
}

impl RewardObjective {
    /// Whether it is the default.
    pub fn is_bce(&self) -> bool {
        *self == Self::Bce
    }

    /// Number of terms that a ranking with these values has in the loss.
    pub fn terms(self, values: &[f32]) -> usize {
        match self {
            Self::Kwise => (0..values.len()).filter(|&place| worse(values, place).next().is_some()).count(),
            _ => (0..values.len()).map(|place| worse(values, place).count()).sum(),
        }
    }

    /// The loss of rankings: `values` of each, and the scores of all their solutions end to end.
    ///
    /// # Panics
    /// For cross-entropy, which compares nothing.
    ///
    /// # Shapes
    /// - `scores`: `[M]`; output: `[1]`
    pub fn loss(self, scores: Tensor<1>, values: &[&[f32]], total: usize) -> Tensor<1> {
        match self {
            Self::Bce => panic!("cross-entropy is no loss of rankings"),
            Self::Pairwise | Self::KwiseSplit => split_plackett_luce(scores, values, total),
            Self::Kwise => plackett_luce(scores, values, total),
        }
    }
}

/// The places of the solutions that are worse than the one at `place`.
fn worse(values: &[f32], place: usize) -> impl Iterator<Item = usize> {
    (0..values.len()).filter(move |&other| values[other] < values[place])
}

/// Pairs of a better and a worse solution in rankings that lie end to end, as places in all of them.
pub fn compared_pairs(values: &[&[f32]]) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let mut first = 0;
    for values in values {
        let of = |better| worse(values, better).map(move |worse| (first + better, first + worse));
        pairs.extend((0..values.len()).flat_map(of));
        first += values.len();
    }
    pairs
}

/// The Bradley-Terry likelihood of pairs whose better solution leads by these margins, as a loss:
///
/// -1/total Σ log σ(r_w - r_l) (Zhu et al. 2023, section 3).
///
/// # Shapes
/// - `margins`: `[P]`; output: `[1]`
pub fn bradley_terry(margins: Tensor<1>, total: usize) -> Tensor<1> {
    log_sigmoid(margins).sum().neg().div_scalar(total as f64)
}

/// The split estimator of rankings, which takes their pairs as if they were independent:
///
/// -1/total Σ_{j better than k} log( e^{r_j} / (e^{r_j} + e^{r_k}) ) (Zhu et al. 2023, section 4, MLE_2).
///
/// # Shapes
/// - `scores`: `[M]`, those of the rankings end to end; output: `[1]`
pub fn split_plackett_luce(scores: Tensor<1>, values: &[&[f32]], total: usize) -> Tensor<1> {
    let (better, worse): (Vec<usize>, Vec<usize>) = compared_pairs(values).into_iter().unzip();
    let [better, worse] = [better, worse].map(|places| scores.clone().select(0, indices(&places, &scores)));
    bradley_terry(better - worse, total)
}

/// The Plackett-Luce likelihood of rankings, as a loss:
///
/// -1/total Σ_j log( e^{r_j} / (e^{r_j} + Σ_{k worse than j} e^{r_k}) ) (Zhu et al. 2023, section 4, MLE_K).
///
/// A solution with none that is worse has no term. Without ties, the solutions that are not better than j are those that are left when j is
/// chosen, and this is -1/total log P(ranking). With ties, each term is the probability that j is chosen among itself and those below.
///
/// # Shapes
/// - `scores`: `[M]`, those of the rankings end to end; output: `[1]`
pub fn plackett_luce(scores: Tensor<1>, values: &[&[f32]], total: usize) -> Tensor<1> {
    // A row per term: the solution, those below it, and the solution again as padding, which is masked.
    let mut terms: Vec<Vec<usize>> = Vec::new();
    for pair in compared_pairs(values) {
        match terms.last_mut() {
            Some(term) if term[0] == pair.0 => term.push(pair.1),
            _ => terms.push(vec![pair.0, pair.1]),
        }
    }
    let (count, width) = (terms.len(), terms.iter().map(Vec::len).max().unwrap_or(0));
    let is_padding: Vec<bool> = terms.iter().flat_map(|term| (0..width).map(|column| column >= term.len())).collect();
    let places: Vec<usize> =
        terms.iter().flat_map(|term| (0..width).map(|column| term.get(column).copied().unwrap_or(term[0]))).collect();
    let device = scores.device();
    let mask = Tensor::<1, burn::tensor::Bool>::from_data(is_padding.as_slice(), &device).reshape([count, width]);
    let chosen: Tensor<2> = scores.clone().select(0, indices(&places, &scores)).reshape([count, width]);
    let log_probs = log_softmax(chosen.mask_fill(mask, f32::NEG_INFINITY), 1).narrow(1, 0, 1);
    log_probs.sum().neg().div_scalar(total as f64)
}

fn indices(places: &[usize], beside: &Tensor<1>) -> Tensor<1, Int> {
    let places: Vec<i32> = places.iter().map(|&place| place as i32).collect();
    Tensor::from_ints(places.as_slice(), &beside.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Device, to_host};

    const SCORES: [f64; 5] = [0.3, -1.2, 2.0, 0.9, -0.4];

    /// A loss of these scores, and its gradient.
    fn of(loss: impl Fn(Tensor<1>) -> Tensor<1>, scores: &[f64]) -> (f64, Vec<f64>) {
        let scores: Vec<f32> = scores.iter().map(|&score| score as f32).collect();
        let scores = Tensor::<1>::from_floats(scores.as_slice(), &Device::default()).autodiff().require_grad();
        let loss = loss(scores.clone());
        let gradient = to_host(scores.grad(&loss.backward()).unwrap()).values;
        (f64::from(loss.inner().into_scalar::<f32>()), gradient.into_iter().map(f64::from).collect())
    }

    fn permutations(items: &[usize]) -> Vec<Vec<usize>> {
        if items.len() <= 1 {
            return vec![items.to_vec()];
        }
        let with_first = |place: usize| {
            let rest = [&items[..place], &items[place + 1..]].concat();
            permutations(&rest).into_iter().map(move |rest| [vec![items[place]], rest].concat())
        };
        (0..items.len()).flat_map(with_first).collect()
    }

    /// The probability that items are drawn in this order, each with a chance in proportion to e^score among those left.
    fn drawn_in_order(order: &[usize], scores: &[f64]) -> f64 {
        let mut left: f64 = order.iter().map(|&item| scores[item].exp()).sum();
        order.iter().fold(1.0, |probability, &item| {
            let chance = scores[item].exp() / left;
            left -= scores[item].exp();
            probability * chance
        })
    }

    /// The derivative by each score, by differences.
    fn slope(value: impl Fn(&[f64]) -> f64, scores: &[f64]) -> Vec<f64> {
        let moved = |place: usize, by: f64| {
            let mut scores = scores.to_vec();
            scores[place] += by;
            value(&scores)
        };
        (0..scores.len()).map(|place| (moved(place, 1e-5) - moved(place, -1e-5)) / 2e-5).collect()
    }

    #[track_caller]
    fn assert_close((loss, gradient): &(f64, Vec<f64>), expected: f64, slope: &[f64]) {
        assert!((loss - expected).abs() < 1e-5, "{loss}, expected {expected}");
        assert_eq!(gradient.len(), slope.len());
        assert!(gradient.iter().zip(slope).all(|(a, b)| (a - b).abs() < 1e-5), "{gradient:?}, expected {slope:?}");
    }

    #[test]
    fn the_likelihood_of_a_ranking_is_the_chance_to_draw_it_and_those_of_all_rankings_sum_to_1() {
        let mut sum = 0.0;
        for order in permutations(&[0, 1, 2, 3, 4]) {
            let mut values = [0.0f32; 5];
            order.iter().enumerate().for_each(|(rank, &item)| values[item] = -(rank as f32));
            let found = of(|scores| plackett_luce(scores, &[&values], 1), &SCORES);
            let expected = |scores: &[f64]| -drawn_in_order(&order, scores).ln();
            assert_close(&found, expected(&SCORES), &slope(expected, &SCORES));
            sum += (-found.0).exp();
        }
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }

    #[test]
    fn of_right_and_wrong_solutions_each_right_one_is_drawn_before_all_wrong_ones() {
        let values = [1.0f32, 0.0, 0.0, 1.0, 0.0];
        // The chance that `right` comes first among itself and the wrong ones, over all their orders.
        let first = |right: usize, scores: &[f64]| -> f64 {
            let all = permutations(&[right, 1, 2, 4]);
            all.iter().filter(|order| order[0] == right).map(|order| drawn_in_order(order, scores)).sum()
        };
        let expected = |scores: &[f64]| -(first(0, scores).ln() + first(3, scores).ln()) / 2.0;
        let found = of(|scores| plackett_luce(scores, &[&values], 2), &SCORES);
        assert_close(&found, expected(&SCORES), &slope(expected, &SCORES));
        assert_eq!(RewardObjective::Kwise.terms(&values), 2);
        assert_eq!(RewardObjective::KwiseSplit.terms(&values), 6);
    }

    #[test]
    fn the_split_estimator_takes_every_pair_of_different_values_by_itself() {
        let values = [2.0f32, 0.0, 1.0, 1.0, 0.0];
        let pairs = [(0, 1), (0, 2), (0, 3), (0, 4), (2, 1), (2, 4), (3, 1), (3, 4)];
        assert_eq!(compared_pairs(&[&values]), pairs);
        let expected = |scores: &[f64]| {
            let chance = |(w, l): &(usize, usize)| drawn_in_order(&[*w, *l], scores);
            -pairs.iter().map(|pair| chance(pair).ln()).sum::<f64>() / 8.0
        };
        let found = of(|scores| split_plackett_luce(scores, &[&values], 8), &SCORES);
        assert_close(&found, expected(&SCORES), &slope(expected, &SCORES));
        assert_eq!(RewardObjective::Kwise.terms(&values), 3);
        assert_eq!(RewardObjective::KwiseSplit.terms(&values), 8);
    }

    #[test]
    fn of_two_solutions_all_objectives_are_the_same() {
        let values = [0.0f32, 1.0];
        for margin in [-3.0, 0.0, 2.0f64] {
            // -log σ(margin), and its derivative σ(margin) - 1.
            let loss = (1.0 + (-margin).exp()).ln();
            let by_margin = -1.0 / (1.0 + margin.exp());
            for objective in [RewardObjective::Pairwise, RewardObjective::Kwise, RewardObjective::KwiseSplit] {
                let found = of(|scores| objective.loss(scores, &[&values], 1), &[0.5, 0.5 + margin]);
                assert_close(&found, loss, &[-by_margin, by_margin]);
                assert_eq!(objective.terms(&values), 1);
            }
        }
    }

    #[test]
    fn a_constant_added_to_the_scores_of_a_ranking_changes_nothing_and_losses_of_rankings_add_up() {
        let (first, second) = ([1.0f32, 0.0], [0.0f32, 1.0, 2.0]);
        for objective in [RewardObjective::Kwise, RewardObjective::KwiseSplit] {
            let loss = |scores: &[f64], values: &[&[f32]]| of(|scores| objective.loss(scores, values, 5), scores).0;
            let both = loss(&SCORES, &[&first, &second]);
            let moved = [0.3 + 7.0, -1.2 + 7.0, 2.0, 0.9, -0.4];
            assert!((loss(&moved, &[&first, &second]) - both).abs() < 1e-5);
            assert!((loss(&SCORES[..2], &[&first]) + loss(&SCORES[2..], &[&second]) - both).abs() < 1e-5);
        }
    }

    #[test]
    fn scores_far_apart_have_finite_losses_and_gradients() {
        let values = [1.0f32, 0.0, 0.0, 1.0, 1.0];
        for objective in [RewardObjective::Kwise, RewardObjective::KwiseSplit] {
            let found = of(|scores| objective.loss(scores, &[&values], 1), &[-500.0, 500.0, 0.0, 900.0, 3.0]);
            assert!(found.0.is_finite() && found.1.iter().all(|slope| slope.is_finite()), "{found:?}");
        }
    }
}
