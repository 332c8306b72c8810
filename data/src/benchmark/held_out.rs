//! The rows of a training file that are held out for validation. Independent of files.

use std::collections::HashMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::{Problem, Split};

/// The training or the validation part of training rows.
pub(super) fn part(rows: Vec<Problem>, validation_rows: usize, split: Split) -> Vec<Problem> {
    let questions: Vec<String> = rows.iter().map(|problem| problem.question.to_lowercase()).collect();
    let held_out = held_out(&questions, validation_rows);
    let wanted = split == Split::Validation;
    rows.into_iter().zip(held_out).filter(|(_, held_out)| *held_out == wanted).map(|(problem, _)| problem).collect()
}

/// Which rows are held out: the last `count` of a fixed shuffle, or a tenth where `count` is more than that.
///
/// A question that stands in the file twice is never held out, because its twin would be trained on.
fn held_out(questions: &[String], count: usize) -> Vec<bool> {
    let rows = questions.len();
    let count = count.min(rows.div_ceil(10)).min(rows.saturating_sub(1));
    let mut copies: HashMap<&str, usize> = HashMap::new();
    for question in questions {
        *copies.entry(question).or_default() += 1;
    }
    let mut held_out = vec![false; rows];
    shuffled(rows)
        .into_iter()
        .rev()
        .filter(|&row| copies[questions[row].as_str()] == 1)
        .take(count)
        .for_each(|row| held_out[row] = true);
    held_out
}

/// The numbers below `rows` in an order that never changes, whatever the platform or the version of a library: sorted by
/// one ChaCha8 word each, from a seed of 32 zero bytes.
fn shuffled(rows: usize) -> Vec<usize> {
    let mut words = ChaCha8Rng::from_seed([0; 32]);
    let mut order: Vec<(u64, usize)> = (0..rows).map(|row| (words.next_u64(), row)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn questions(count: usize) -> Vec<String> {
        (0..count).map(|row| format!("question {row}")).collect()
    }

    #[test]
    fn the_shuffle_is_the_one_it_always_was() {
        assert_eq!(shuffled(8), [6, 5, 3, 2, 4, 7, 1, 0]);
    }

    #[test]
    fn a_large_file_gives_the_asked_number_and_a_small_one_a_tenth() {
        let count = |rows, asked| held_out(&questions(rows), asked).into_iter().filter(|held| *held).count();
        assert_eq!(count(7473, 473), 473);
        assert_eq!(count(20, 473), 2);
        assert_eq!(count(5, 473), 1);
        assert_eq!(count(1, 473), 0);
        assert_eq!(count(0, 473), 0);
    }

    #[test]
    fn a_question_that_stands_twice_is_never_held_out() {
        let mut all = questions(30);
        all.extend(questions(30));
        all.push("alone".to_owned());
        let held: Vec<usize> = held_out(&all, 10).iter().enumerate().filter(|(_, h)| **h).map(|(row, _)| row).collect();
        assert_eq!(held, [60]);
    }
}
