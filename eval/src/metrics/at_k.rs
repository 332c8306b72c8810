//! pass@k, maj@k and rerank@k of the graded samples of a question. Pure: no files, no random numbers, no model.
//!
//! Each metric is the exact probability that k of a question's n samples,
//! drawn at random without replacement, lead to the right answer. That makes it an unbiased estimate of the same
//! probability for k fresh samples of the policy, with the smallest variance that n samples allow.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, ensure};
use data::{Answer, AsWritten};

/// One sample of a question, graded.
#[derive(Clone, Debug, PartialEq)]
pub struct Graded {
    /// The sample's answer; `None` if it could not be read, which is then not a vote.
    pub answer: Option<Answer>,
    /// Whether that is the question's answer.
    pub correct: bool,
    /// The reward model's score of the sample; higher is better.
    pub score: Option<f64>,
}

impl Graded {
    /// A sample as a vote. What a checker has found correct is a vote for the right answer, whatever can be read in it; what it has
    /// found wrong is none for that answer.
    pub fn of(answer: Option<Answer>, expected: Option<Answer>, correct: bool, score: Option<f64>) -> Self {
        let answer =
            if correct { expected.or(answer) } else { answer.filter(|answer| expected.as_ref() != Some(answer)) };
        Self { answer, correct, score }
    }
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
/// which equals the ratio of binomial coefficients for any p, but adds only numbers within [0, 1]. Answers that cannot
/// have m votes are one binomial distribution together with the samples without an answer; and what has a probability
/// below 1e-25 is left out, so that thousands of samples take milliseconds.
pub fn maj_at_k(samples: &[Graded], k: usize) -> Result<f64> {
    check_k(samples.len(), k)?;
    let votes = Votes::count(samples);
    let draw_probability = k as f64 / samples.len() as f64;
    let draws = |count| Draws::binomial(count, draw_probability);
    let others: Vec<Rivals> =
        votes.wrong.iter().map(|(&count, &answers)| Rivals { count, answers, draws: draws(count) }).collect();
    let wins = |top: usize| wins_with(top, k - top, &others, votes.unparsable, draw_probability);

    let right = draws(votes.right);
    let joint: f64 =
        right.each().filter(|(top, _)| (1..=k).contains(top)).map(|(top, chance)| chance * wins(top)).sum();
    Ok((joint / draws(samples.len()).at(k)).clamp(0.0, 1.0))
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
    // C(n - b, k) / C(n, k) of the samples before the group, and with it.
    let mut none_before = 1.0;
    for group in scored.chunk_by(|a, b| a.0 == b.0) {
        let after = before + group.len();
        let none_so_far =
            (before..after).fold(none_before, |none, b| none * (n - b).saturating_sub(k) as f64 / (n - b) as f64);
        let right = group.iter().filter(|(_, correct)| *correct).count();
        total += (none_before - none_so_far) * right as f64 / group.len() as f64;
        (before, none_before) = (after, none_so_far);
    }
    Ok(total.clamp(0.0, 1.0))
}

/// Numbers of samples of a question by answer.
struct Votes {
    right: usize,
    /// How many of the other answers have so many samples.
    wrong: BTreeMap<usize, usize>,
    unparsable: usize,
}

impl Votes {
    fn count(samples: &[Graded]) -> Votes {
        let (mut right, mut unparsable) = (0, 0);
        let mut right_answer = None;
        let mut as_written: HashMap<AsWritten<'_>, (&Answer, usize)> = HashMap::new();
        for sample in samples {
            match &sample.answer {
                None => {
                    assert!(!sample.correct, "a sample without an answer is graded right");
                    unparsable += 1;
                }
                Some(answer) if sample.correct => {
                    let first = *right_answer.get_or_insert(answer);
                    assert!(first == answer, "both {first} and {answer} are graded right");
                    right += 1;
                }
                Some(answer) => as_written.entry(answer.as_written()).or_insert((answer, 0)).1 += 1,
            }
        }
        let of_answer = joined(as_written.into_values());
        let both = right_answer.filter(|right| of_answer.iter().any(|(answer, _)| answer == right));
        assert!(both.is_none(), "one answer is graded both right and wrong: {both:?}");
        let mut wrong = BTreeMap::new();
        of_answer.into_iter().for_each(|(_, count)| *wrong.entry(count).or_default() += 1);
        Votes { right, wrong, unparsable }
    }
}

/// Numbers of samples by answer, where equal answers are counted together although they are written differently. Numbers that are equal are
/// written alike.
fn joined<'a>(as_written: impl Iterator<Item = (&'a Answer, usize)>) -> Vec<(&'a Answer, usize)> {
    let mut all: Vec<(&Answer, usize)> = as_written.collect();
    if all.iter().all(|(answer, _)| answer.kind().is_number()) {
        return all;
    }
    // Which of two equal spellings stands for both must not depend on the order of a map.
    all.sort_by_cached_key(|(answer, _)| answer.to_string());
    let mut joined: Vec<(&Answer, usize)> = Vec::new();
    for (answer, count) in all {
        match joined.iter_mut().find(|(known, _)| *known == answer) {
            Some((_, known)) => *known += count,
            None => joined.push((answer, count)),
        }
    }
    joined
}

/// Wrong answers that have the same number of samples.
struct Rivals {
    count: usize,
    answers: usize,
    /// How many of one answer's samples are drawn.
    draws: Draws,
}

/// The chance that `rest` draws fall on the other samples such that `top` votes of the right answer win: no other answer
/// has more, and each of t others that have as many takes its share of the win, 1 / (t + 1) being left.
fn wins_with(top: usize, rest: usize, others: &[Rivals], unparsable: usize, draw_probability: f64) -> f64 {
    // Samples that are drawn freely: whatever is drawn of them, the vote of the right answer stands.
    let mut free = unparsable;
    // By how many answers have `top` votes, from `fewest_ties` on: the chances of so many draws.
    let (mut fewest_ties, mut by_ties) = (0, vec![Draws { first: 0, chances: vec![1.0] }]);
    for Rivals { count, answers, draws } in others {
        if draws.end() <= top {
            free += count * answers;
            continue;
        }
        for _ in 0..*answers {
            let tied = draws.at(top);
            let mut next = vec![Draws::default(); by_ties.len() + 1];
            for (ties, so_far) in by_ties.iter().enumerate() {
                for (votes, weight) in draws.each().take_while(|(votes, _)| *votes < top) {
                    next[ties].add(so_far, votes, weight, rest);
                }
                next[ties + 1].add(so_far, top, tied, rest);
            }
            next.iter_mut().for_each(Draws::trim);
            let Some(first) = next.iter().position(|draws| !draws.chances.is_empty()) else { return 0.0 };
            let last = next.iter().rposition(|draws| !draws.chances.is_empty()).unwrap_or(first);
            fewest_ties += first;
            by_ties = next.drain(first..=last).collect();
        }
    }
    let free = Draws::binomial(free, draw_probability);
    let won = |(ties, so_far): (usize, &Draws)| {
        let all: f64 = so_far.each().map(|(drawn, chance)| chance * free.at(rest - drawn)).sum();
        all / (fewest_ties + ties + 1) as f64
    };
    by_ties.iter().enumerate().map(won).sum()
}

/// Chances below this are left out.
const NEGLIGIBLE: f64 = 1e-25;

/// The probabilities of `first`, `first` + 1, … draws; those of all other numbers are negligible.
#[derive(Clone, Default)]
struct Draws {
    first: usize,
    chances: Vec<f64>,
}

impl Draws {
    /// Of `count` draws that each happen with `probability`: from the likeliest number outwards by the ratio of
    /// neighbours, B(i + 1) / B(i) = (count - i) / (i + 1) p / (1 - p), and divided by the sum of all.
    fn binomial(count: usize, probability: f64) -> Draws {
        if probability >= 1.0 {
            return Draws { first: count, chances: vec![1.0] };
        }
        let mode = (((count + 1) as f64 * probability) as usize).min(count);
        let odds = probability / (1.0 - probability);
        let ratio = |i: usize| (count - i) as f64 / (i + 1) as f64 * odds;
        let is_kept = |chance: &f64| *chance >= NEGLIGIBLE;
        let downwards = (0..mode).rev().scan(1.0, |chance, i| {
            *chance /= ratio(i);
            Some(*chance)
        });
        let mut chances: Vec<f64> = downwards.take_while(is_kept).collect();
        chances.reverse();
        let first = mode - chances.len();
        chances.push(1.0);
        let upwards = (mode..count).scan(1.0, |chance, i| {
            *chance *= ratio(i);
            Some(*chance)
        });
        chances.extend(upwards.take_while(is_kept));
        let sum: f64 = chances.iter().sum();
        chances.iter_mut().for_each(|chance| *chance /= sum);
        Draws { first, chances }
    }

    /// One more than the largest number that is not negligible.
    fn end(&self) -> usize {
        self.first + self.chances.len()
    }

    fn at(&self, drawn: usize) -> f64 {
        drawn.checked_sub(self.first).and_then(|place| self.chances.get(place)).copied().unwrap_or(0.0)
    }

    fn each(&self) -> impl Iterator<Item = (usize, f64)> {
        (self.first..).zip(self.chances.iter().copied())
    }

    /// Adds the chances of `other`, multiplied with `weight`, `more` draws later; those of more than `most` fall away.
    fn add(&mut self, other: &Draws, more: usize, weight: f64, most: usize) {
        let first = other.first + more;
        let count = other.chances.len().min((most + 1).saturating_sub(first));
        if weight == 0.0 || count == 0 {
            return;
        }
        if self.chances.is_empty() {
            self.first = first;
        }
        if first < self.first {
            self.chances.splice(0..0, std::iter::repeat_n(0.0, self.first - first));
            self.first = first;
        }
        let start = first - self.first;
        self.chances.resize(self.chances.len().max(start + count), 0.0);
        let sums = &mut self.chances[start..start + count];
        sums.iter_mut().zip(&other.chances).for_each(|(sum, chance)| *sum += weight * chance);
    }

    /// Leaves out what is negligible at both ends.
    fn trim(&mut self) {
        let is_kept = |chance: &f64| *chance >= NEGLIGIBLE;
        self.chances.truncate(self.chances.iter().rposition(is_kept).map_or(0, |last| last + 1));
        let start = self.chances.iter().position(is_kept).unwrap_or(0);
        self.chances.drain(..start);
        self.first += start;
    }
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
mod tests;
