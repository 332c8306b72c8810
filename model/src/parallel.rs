//! Replicas on threads, and on ranks: parallelism over micro-batches on the CPU.

use crate::ranks;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

/// Applies `work` to every item on up to `threads` threads; hands the results to `consume` on the calling thread, in the
/// order of the items, as soon as they are there. All items belong to this process.
///
/// Each thread makes its own `state` once (a replica of a model, say). Which thread takes which item is a matter of
/// timing; nothing else depends on it.
pub fn parallel_here<S, T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize, &T) -> R + Sync,
    mut consume: impl FnMut(usize, R),
) {
    let threads = threads.min(items.len());
    if threads <= 1 {
        let mut state = state();
        for (index, item) in items.iter().enumerate() {
            consume(index, work(&mut state, index, item));
        }
        return;
    }
    let next = AtomicUsize::new(0);
    // Bounded, so that results do not pile up in front of a slow consumer.
    let (sender, receiver) = mpsc::sync_channel(threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            scope.spawn(|| {
                let sender = sender;
                let mut state = state();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    if sender.send((index, work(&mut state, index, item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut turn = 0;
        for (index, result) in receiver {
            early.insert(index, result);
            while let Some(result) = early.remove(&turn) {
                consume(turn, result);
                turn += 1;
            }
        }
    });
}

/// The results of `work` on every item, in the order of the items, on up to `threads` threads of each rank: every rank has all of them.
pub fn parallel_map<S, T: Sync, R: Send + Serialize + DeserializeOwned>(
    items: &[T],
    threads: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize, &T) -> R + Sync,
) -> Vec<R> {
    let (rank, ranks) = (ranks::rank(), ranks::ranks());
    let mine: Vec<usize> = (rank..items.len()).step_by(ranks).collect();
    let mut results = Vec::with_capacity(mine.len());
    let work = |state: &mut S, _, index: &usize| work(state, *index, &items[*index]);
    parallel_here(&mine, threads, state, work, |_, result| results.push(result));
    if ranks == 1 {
        return results;
    }
    let mut of_ranks: Vec<_> = ranks::gather(results).into_iter().map(Vec::into_iter).collect();
    (0..items.len())
        .map(|index| of_ranks[index % ranks].next().expect("a rank has a result of each of its items"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items_for_any_number_of_threads() {
        let items: Vec<u64> = (0..100).collect();
        for threads in [1, 2, 7, 200] {
            let squares = parallel_map(&items, threads, || (), |(), index, item| index as u64 * item);
            assert_eq!(squares, items.iter().map(|x| x * x).collect::<Vec<_>>());
        }
    }
}
