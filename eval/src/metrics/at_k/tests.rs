//! The metrics against hand-computed numbers and against counting all draws.

use super::*;

const RIGHT: i64 = 72;

/// Samples by their answers; 72 is right.
fn samples(answers: &[Option<i64>]) -> Vec<Graded> {
    answers
        .iter()
        .map(|answer| Graded { answer: answer.map(Answer::from_integer), correct: *answer == Some(RIGHT), score: None })
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
    let mut counts: HashMap<data::AsWritten<'_>, (usize, bool)> = HashMap::new();
    for sample in drawn {
        if let Some(answer) = &sample.answer {
            counts.entry(answer.as_written()).or_insert((0, sample.correct)).0 += 1;
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

/// maj@k by the plain sum over all answers and all numbers of votes, without merging answers and without leaving anything out.
fn plain_maj_at_k(samples: &[Graded], k: usize) -> f64 {
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
    let votes = Votes::count(samples);
    let probability = k as f64 / samples.len() as f64;
    let (right, free) = (binomial(votes.right, probability), binomial(votes.unparsable, probability));
    let wrong: Vec<Vec<f64>> = votes
        .wrong
        .iter()
        .flat_map(|(&count, &answers)| std::iter::repeat_n(binomial(count, probability), answers))
        .collect();
    let wins = |top: usize| -> f64 {
        let rest = k - top;
        let mut chances = vec![vec![0.0; rest + 1]; wrong.len() + 1];
        free.iter().take(rest + 1).enumerate().for_each(|(drawn, chance)| chances[0][drawn] = *chance);
        for draws in &wrong {
            let mut next = vec![vec![0.0; rest + 1]; wrong.len() + 1];
            for (tied, row) in chances.iter().enumerate() {
                for (drawn, chance) in row.iter().enumerate().filter(|(_, chance)| **chance > 0.0) {
                    for (votes, weight) in draws.iter().enumerate().take(top.min(rest - drawn) + 1) {
                        next[tied + usize::from(votes == top)][drawn + votes] += chance * weight;
                    }
                }
            }
            chances = next;
        }
        chances.iter().enumerate().map(|(tied, row)| row[rest] / (tied + 1) as f64).sum()
    };
    let joint: f64 = (1..=votes.right.min(k)).map(|top| right[top] * wins(top)).sum();
    joint / binomial(samples.len(), probability)[k]
}

#[test]
fn the_vote_is_that_of_the_plain_sum_over_all_answers() {
    let sets = [
        votes(30, &[25, 9, 9, 8, 4, 3, 3, 2, 1, 1, 1], 0),
        votes(12, &[12, 12, 12, 12, 12, 12], 24),
        votes(1, &[1; 60], 3),
        votes(3, &[2; 30], 33),
        votes(5, &[80], 11),
        votes(120, &[100, 30], 50),
    ];
    for set in sets {
        let n = set.len();
        for k in [1, 2, 3, 5, 10, n / 4, n / 2, n - 3, n - 1, n] {
            close(maj_at_k(&set, k).unwrap(), plain_maj_at_k(&set, k));
        }
    }
}

#[test]
fn among_ten_thousand_samples_some_answer_wins_or_there_is_no_vote() {
    let counts = [2500, 2400, 2400, 1200, 500, 300, 100, 30, 30, 30, 5, 3, 1, 1];
    for k in [1, 10, 100, 1000, 9_999, 10_000] {
        // Each answer in turn is the right one.
        let wins: f64 = (0..counts.len())
            .map(|right| {
                let others: Vec<usize> = (0..counts.len()).filter(|i| *i != right).map(|i| counts[i]).collect();
                maj_at_k(&votes(counts[right], &others, 500), k).unwrap()
            })
            .sum();
        close(wins, 1.0 - none_drawn(10_000, 9_500, k));
    }
}

#[test]
fn reranking_of_ten_thousand_samples_is_that_of_the_products() {
    let rows: Vec<(f64, bool)> = (0..10_000).map(|row| (f64::from(row * 7919 % 3001), row % 11 < 3)).collect();
    let set = scored(&rows);
    let mut sorted = rows;
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    for k in [1, 10, 100, 10_000] {
        let (mut total, mut before) = (0.0, 0);
        for group in sorted.chunk_by(|a, b| a.0 == b.0) {
            let chance = none_drawn(10_000, before, k) - none_drawn(10_000, before + group.len(), k);
            total += chance * group.iter().filter(|(_, right)| *right).count() as f64 / group.len() as f64;
            before += group.len();
        }
        close(rerank_at_k(&set, k).unwrap(), total);
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
