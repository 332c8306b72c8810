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
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
            (mean, Z95 * (variance / n).sqrt())
        };
        // Rounding must not push the value itself out of its interval.
        let ci95 = [(centre - half).clamp(0.0, mean), (centre + half).clamp(mean, 1.0)];
        Estimate { value: mean, ci95 }
    }
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
mod tests {
    use super::*;

    const RIGHT: i64 = 72;

    /// Samples by their answers; 72 is right.
    fn samples(answers: &[Option<i64>]) -> Vec<Graded> {
        answers
            .iter()
            .map(|answer| Graded {
                answer: answer.map(Answer::from_integer),
                correct: *answer == Some(RIGHT),
                score: None,
            })
            .collect()
    }

    /// Samples by score and correctness.
    fn scored(rows: &[(f64, bool)]) -> Vec<Graded> {
        rows.iter()
            .map(|&(score, correct)| Graded {
                answer: Some(Answer::from_integer(if correct { RIGHT } else { 5 })),
                correct,
                score: Some(score),
            })
            .collect()
    }

    fn votes(right: usize, wrong: &[usize], unparsable: usize) -> Vec<Graded> {
        let mut answers = vec![Some(RIGHT); right];
        for (class, count) in wrong.iter().enumerate() {
            answers.extend(vec![Some(class as i64); *count]);
        }
        answers.extend(vec![None; unparsable]);
        samples(&answers)
    }

    #[track_caller]
    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    /// The mean of `value` over all subsets of size k.
    fn over_subsets(samples: &[Graded], k: usize, value: impl Fn(&[&Graded]) -> f64) -> f64 {
        let (mut total, mut count) = (0.0, 0);
        for subset in 0u32..1 << samples.len() {
            if subset.count_ones() as usize != k {
                continue;
            }
            let drawn: Vec<&Graded> =
                samples.iter().enumerate().filter(|(row, _)| subset >> row & 1 == 1).map(|(_, s)| s).collect();
            total += value(&drawn);
            count += 1;
        }
        total / f64::from(count)
    }

    fn majority_is_right(drawn: &[&Graded]) -> f64 {
        let mut counts: HashMap<&Answer, (usize, bool)> = HashMap::new();
        for sample in drawn {
            if let Some(answer) = &sample.answer {
                counts.entry(answer).or_insert((0, sample.correct)).0 += 1;
            }
        }
        let top = counts.values().map(|(count, _)| *count).max().unwrap_or(0);
        let winners: Vec<bool> = counts.values().filter(|(count, _)| *count == top).map(|(_, right)| *right).collect();
        if winners.contains(&true) { 1.0 / winners.len() as f64 } else { 0.0 }
    }

    fn best_is_right(drawn: &[&Graded]) -> f64 {
        let best = drawn.iter().filter_map(|sample| sample.score).fold(f64::NEG_INFINITY, f64::max);
        let top: Vec<bool> = drawn.iter().filter(|s| s.score == Some(best)).map(|s| s.correct).collect();
        top.iter().filter(|right| **right).count() as f64 / top.len() as f64
    }

    /// Many small sets of samples, among them all-right, all-wrong, all-unparsable and tied ones.
    fn small_sets() -> Vec<Vec<Graded>> {
        let mut state = 12345u64;
        let mut draw = move |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        let mut sets: Vec<Vec<Graded>> =
            vec![votes(6, &[], 0), votes(0, &[3, 2], 1), votes(0, &[], 4), votes(2, &[2, 2], 2)];
        for _ in 0..150 {
            let n = 1 + draw(9) as usize;
            let mut set = Vec::new();
            for _ in 0..n {
                let answer = match draw(6) {
                    0 => None,
                    1 | 2 => Some(RIGHT),
                    other => Some(other as i64),
                };
                let mut sample = samples(&[answer]).remove(0);
                sample.score = Some(draw(4) as f64 / 4.0);
                set.push(sample);
            }
            sets.push(set);
        }
        sets
    }

    #[test]
    fn pass_at_k_is_the_share_of_subsets_with_a_right_sample() {
        // 1 - C(3, 2) / C(5, 2) = 1 - 3/10.
        close(pass_at_k(5, 2, 2).unwrap(), 0.7);
        // 1 - C(2, 2) / C(4, 2) = 1 - 1/6.
        close(pass_at_k(4, 2, 2).unwrap(), 5.0 / 6.0);
        assert_eq!(pass_at_k(10, 0, 4).unwrap(), 0.0);
        assert_eq!(pass_at_k(10, 7, 4).unwrap(), 1.0);
        for set in small_sets() {
            let right = set.iter().filter(|sample| sample.correct).count();
            for k in 1..=set.len() {
                let any = |drawn: &[&Graded]| f64::from(u8::from(drawn.iter().any(|sample| sample.correct)));
                close(pass_at_k(set.len(), right, k).unwrap(), over_subsets(&set, k, any));
            }
        }
    }

    #[test]
    fn pass_at_n_asks_whether_any_sample_is_right() {
        assert_eq!(pass_at_k(96, 1, 96).unwrap(), 1.0);
        assert_eq!(pass_at_k(96, 0, 96).unwrap(), 0.0);
    }

    #[test]
    fn with_one_sample_all_metrics_are_the_accuracy() {
        for set in small_sets() {
            let right = set.iter().filter(|sample| sample.correct).count();
            let accuracy = right as f64 / set.len() as f64;
            close(pass_at_k(set.len(), right, 1).unwrap(), accuracy);
            close(maj_at_k(&set, 1).unwrap(), accuracy);
            if set.iter().all(|sample| sample.score.is_some()) {
                close(rerank_at_k(&set, 1).unwrap(), accuracy);
            }
        }
    }

    #[test]
    fn a_vote_of_all_samples_is_won_shared_or_lost() {
        assert_eq!(maj_at_k(&votes(3, &[2, 2], 1), 8).unwrap(), 1.0);
        assert_eq!(maj_at_k(&votes(2, &[2, 1], 5), 10).unwrap(), 0.5);
        assert_eq!(maj_at_k(&votes(2, &[2, 2], 0), 6).unwrap(), 1.0 / 3.0);
        assert_eq!(maj_at_k(&votes(2, &[3], 0), 5).unwrap(), 0.0);
    }

    #[test]
    fn an_unparsable_sample_has_no_vote() {
        assert_eq!(maj_at_k(&votes(1, &[], 95), 96).unwrap(), 1.0);
        assert_eq!(maj_at_k(&votes(0, &[], 4), 2).unwrap(), 0.0);
        // Of the three pairs of {right, none, none} two hold the vote; the third has none and is wrong.
        close(maj_at_k(&votes(1, &[], 2), 2).unwrap(), 2.0 / 3.0);
    }

    #[test]
    fn the_order_of_the_samples_does_not_break_ties() {
        let first = samples(&[Some(RIGHT), Some(1), Some(1), Some(RIGHT)]);
        let last = samples(&[Some(1), Some(RIGHT), Some(RIGHT), Some(1)]);
        for k in 1..=4 {
            close(maj_at_k(&first, k).unwrap(), 0.5);
            close(maj_at_k(&last, k).unwrap(), 0.5);
        }
    }

    #[test]
    fn a_vote_among_three_of_four_follows_the_hand_count() {
        // Right, right, 0, 1: the triples {r, r, 0} and {r, r, 1} win; {r, 0, 1}, twice, is a tie of three.
        close(maj_at_k(&votes(2, &[1, 1], 0), 3).unwrap(), (1.0 + 1.0 + 1.0 / 3.0 + 1.0 / 3.0) / 4.0);
    }

    #[test]
    fn the_vote_equals_the_enumeration_of_all_subsets() {
        for set in small_sets() {
            for k in 1..=set.len() {
                close(maj_at_k(&set, k).unwrap(), over_subsets(&set, k, majority_is_right));
            }
        }
    }

    #[test]
    fn among_96_samples_some_answer_wins_or_there_is_no_vote() {
        let counts = [30, 20, 9, 9, 8, 4, 3, 3, 2, 1, 1, 1];
        let unparsable = 5;
        for k in [2, 4, 7, 48, 90, 95, 96] {
            // Each answer in turn is the right one.
            let wins: f64 = (0..counts.len())
                .map(|right| {
                    let others: Vec<usize> = (0..counts.len()).filter(|i| *i != right).map(|i| counts[i]).collect();
                    maj_at_k(&votes(counts[right], &others, unparsable), k).unwrap()
                })
                .sum();
            close(wins, 1.0 - none_drawn(96, 91, k));
        }
    }

    #[test]
    fn thousands_of_samples_neither_overflow_nor_vanish() {
        close(maj_at_k(&votes(1000, &[1000], 0), 999).unwrap(), 0.5);
        let likely = maj_at_k(&votes(1100, &[900], 0), 501).unwrap();
        assert!(likely > 0.99 && likely < 1.0, "{likely}");
        close(pass_at_k(4000, 2000, 1).unwrap(), 0.5);
    }

    #[test]
    fn the_best_score_decides_and_equal_scores_share() {
        let set = scored(&[(0.9, false), (0.5, true), (0.1, true)]);
        assert_eq!(rerank_at_k(&set, 3).unwrap(), 0.0);
        // Of the pairs only {0.5, 0.1} leaves out the wrong favourite.
        close(rerank_at_k(&set, 2).unwrap(), 1.0 / 3.0);
        assert_eq!(rerank_at_k(&scored(&[(0.5, true), (0.5, false), (0.1, false)]), 3).unwrap(), 0.5);
        assert_eq!(rerank_at_k(&scored(&[(0.0, true), (-0.0, false)]), 2).unwrap(), 0.5);
    }

    #[test]
    fn reranking_equals_the_enumeration_of_all_subsets() {
        for set in small_sets().into_iter().filter(|set| set.iter().all(|sample| sample.score.is_some())) {
            for k in 1..=set.len() {
                close(rerank_at_k(&set, k).unwrap(), over_subsets(&set, k, best_is_right));
            }
        }
    }

    #[test]
    fn a_perfect_reranker_reaches_pass_at_k() {
        let rows: Vec<(f64, bool)> =
            (0..96).map(|row| row % 7 == 0).map(|right| (f64::from(u8::from(right)), right)).collect();
        let set = scored(&rows);
        let right = set.iter().filter(|sample| sample.correct).count();
        for k in [1, 4, 50, 96] {
            close(rerank_at_k(&set, k).unwrap(), pass_at_k(96, right, k).unwrap());
        }
    }

    #[test]
    fn a_missing_score_is_an_error_that_names_the_sample() {
        let mut set = scored(&[(0.9, false), (0.5, true)]);
        for missing in [None, Some(f64::NAN)] {
            set[1].score = missing;
            let error = rerank_at_k(&set, 1).unwrap_err().to_string();
            assert!(error.contains("sample 1"), "{error}");
        }
    }

    #[test]
    fn k_beyond_the_samples_and_k_of_none_are_errors() {
        let set = scored(&[(0.9, false), (0.5, true)]);
        for k in [0, 3] {
            assert!(pass_at_k(2, 1, k).is_err());
            assert!(maj_at_k(&set, k).is_err());
            assert!(rerank_at_k(&set, k).is_err());
        }
        assert!(pass_at_k(0, 0, 1).is_err());
        let error = pass_at_k(4, 1, 96).unwrap_err().to_string();
        assert!(error.contains("96") && error.contains('4'), "{error}");
    }

    #[test]
    #[should_panic(expected = "graded both right and wrong")]
    fn a_contradictory_grade_is_refused() {
        let mut set = votes(2, &[], 0);
        set[1].correct = false;
        let _ = maj_at_k(&set, 1);
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
