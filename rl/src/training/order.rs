//! The order of training examples: it depends on the seed and the step only. Independent of what an example is.

use model::{Key, Purpose};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// The examples of a step: the examples of each epoch are shuffled by the seed, and steps take them in turn. So a
/// resumed run needs only its step.
pub(crate) fn batch_of_step<E: Clone>(examples: &[E], step: usize, batch_size: usize, seed: u64) -> Vec<E> {
    let mut batch = Vec::with_capacity(batch_size);
    let mut epoch_order: Option<(usize, Vec<usize>)> = None;
    for place in step * batch_size..(step + 1) * batch_size {
        let epoch = place / examples.len();
        let order = match epoch_order.take() {
            Some((known, order)) if known == epoch => order,
            _ => permutation(examples.len(), Key::new(seed, Purpose::Shuffle).with(epoch as u64)),
        };
        batch.push(examples[order[place % examples.len()]].clone());
        epoch_order = Some((epoch, order));
    }
    batch
}

/// A permutation of the numbers below `length`, determined by the key.
pub fn permutation(length: usize, key: Key) -> Vec<usize> {
    let mut order: Vec<usize> = (0..length).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(key.bits()));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::Example;
    use std::collections::BTreeSet;

    fn examples(count: u32) -> Vec<Example> {
        (0..count).map(|i| Example::new(vec![i, 1], 1)).collect()
    }

    #[test]
    fn every_epoch_takes_every_example_once_in_an_order_of_its_own() {
        let examples = examples(10);
        let firsts = |steps: std::ops::Range<usize>| -> Vec<u32> {
            steps.flat_map(|step| batch_of_step(&examples, step, 5, 3)).map(|example| example.tokens[0]).collect()
        };
        let (first, second) = (firsts(0..2), firsts(2..4));
        for epoch in [&first, &second] {
            assert_eq!(epoch.iter().collect::<BTreeSet<_>>().len(), 10);
        }
        assert_ne!(first, second);
        assert_eq!(first, firsts(0..2));
    }

    #[test]
    fn a_batch_continues_into_the_next_epoch_and_steps_need_no_state() {
        let examples = examples(4);
        let take = |step, size| -> Vec<u32> {
            batch_of_step(&examples, step, size, 3).iter().map(|example| example.tokens[0]).collect()
        };
        let in_threes: Vec<u32> = (0..4).flat_map(|step| take(step, 3)).collect();
        let in_sixes: Vec<u32> = (0..2).flat_map(|step| take(step, 6)).collect();
        assert_eq!(in_threes, in_sixes);
        assert!(in_threes.chunks(4).all(|epoch| epoch.iter().collect::<BTreeSet<_>>().len() == 4));
    }

    #[test]
    fn an_order_depends_on_its_key() {
        let key = |seed| Key::new(seed, Purpose::Shuffle);
        let mut order = permutation(50, key(1));
        assert_eq!(order, permutation(50, key(1)));
        assert_ne!(order, permutation(50, key(2)));
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
        assert!(permutation(0, key(1)).is_empty());
    }
}
