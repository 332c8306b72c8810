//! The gradients of a batch whose micro-batches are shared among ranks, with the same bits as those of one process: ((g₀ + g₁) + g₂) + ….
//!
//! A round gives each rank a block of micro-batches in a row. Each adds its gradients to what the ranks before it have summed, and passes the
//! sum on, slice by slice; the next round goes the other way, so that nothing is sent in between. At the end the last rank gives all the
//! whole sum. So a step with one round sends and receives the gradient twice on each rank, whatever the number of micro-batches.

use super::{Gradients, gradient_list};
use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Tensor, TensorData},
};
use model::{Trainable, parallel_here, ranks};
use serde::{Serialize, de::DeserializeOwned};
use std::ops::Range;

/// Numbers that a rank holds of its gradients in a round at most, but for one gradient a thread: 1 GiB.
const HELD: usize = 1 << 28;

/// What a parameter without a gradient adds to a sum: the one number that changes no other, 0 with either sign included.
const NOTHING: f32 = -0.0;

/// As [`super::gradients`]. `of_micro_batch` gives the gradients and the report of one.
pub(super) fn gradients<M: Trainable + Sync, T: Sync, R: Send + Serialize + DeserializeOwned>(
    model: &M,
    micro_batches: &[T],
    threads: usize,
    of_micro_batch: impl Fn(&mut M, usize, &T) -> (GradientsParams, R) + Sync,
) -> Gradients<R> {
    let lengths = lengths(model);
    let (rank, ranks) = (ranks::rank(), ranks::ranks());
    let block = block(micro_batches.len(), threads, ranks, lengths.iter().sum());
    // Of each parameter that has a gradient; the whole sum is with `holder`.
    let mut sum: Vec<Option<Vec<f32>>> = vec![None; lengths.len()];
    let (mut holder, mut reports) = (0, Vec::with_capacity(micro_batches.len()));
    for (round, batches) in micro_batches.chunks(block * ranks).enumerate() {
        let order = order_of_round(round, batches.len().div_ceil(block), ranks);
        let mine =
            order.iter().position(|other| *other == rank).map_or(0..0, |place| share(place, block, batches.len()));
        let (mut made, mut reported) = (Vec::new(), Vec::new());
        parallel_here(
            &batches[mine],
            threads,
            || model.clone(),
            &of_micro_batch,
            |_, (params, report)| {
                made.push(gradient_list(model, &params));
                reported.push(report);
            },
        );
        let of_ranks = ranks::gather((presence(&made, lengths.len()), reported));
        let is_there: Vec<bool> = (0..lengths.len())
            .map(|parameter| sum[parameter].is_some() || of_ranks.iter().any(|(there, _)| there[parameter]))
            .collect();
        let mut of_ranks: Vec<Option<Vec<R>>> = of_ranks.into_iter().map(|(_, reports)| Some(reports)).collect();
        reports.extend(order.iter().flat_map(|rank| of_ranks[*rank].take().unwrap_or_default()));
        let mut flat_sum = flat(&sum, &is_there, &lengths);
        let made: Vec<Vec<f32>> = made.iter().map(|gradients| flat(gradients, &is_there, &lengths)).collect();
        ranks::add_in_order(&mut flat_sum, &made, &order);
        sum = apart(&flat_sum, &is_there, &lengths);
        holder = *order.last().expect("a round has a micro-batch");
    }
    let is_there: Vec<bool> = sum.iter().map(Option::is_some).collect();
    let mut flat_sum = flat(&sum, &is_there, &lengths);
    ranks::broadcast(&mut flat_sum, holder);
    Gradients { params: params(model, apart(&flat_sum, &is_there, &lengths)), reports }
}

/// Micro-batches of a rank in a round: as many as it takes for one round, unless their gradients fill the memory, and one a thread at least.
fn block(micro_batches: usize, threads: usize, ranks: usize, numbers: usize) -> usize {
    let in_memory = (HELD / numbers.max(1)).max(threads);
    micro_batches.div_ceil(ranks).min(in_memory).max(1)
}

/// The ranks that have a block in a round, in the order of the blocks. A round goes the way back of the one before.
fn order_of_round(round: usize, blocks: usize, ranks: usize) -> Vec<usize> {
    let there = 0..ranks;
    let order: Vec<usize> = if round.is_multiple_of(2) { there.collect() } else { there.rev().collect() };
    order.into_iter().take(blocks).collect()
}

/// The micro-batches of a block.
fn share(place: usize, block: usize, micro_batches: usize) -> Range<usize> {
    micro_batches.min(place * block)..micro_batches.min((place + 1) * block)
}

/// Numbers of each parameter.
fn lengths<M: Module>(model: &M) -> Vec<usize> {
    struct Lengths(Vec<usize>);
    impl ModuleVisitor for Lengths {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().shape().num_elements());
        }
    }
    let mut lengths = Lengths(Vec::new());
    model.visit(&mut lengths);
    lengths.0
}

/// Which parameters have a gradient in any micro-batch of this rank.
fn presence(made: &[Vec<Option<Vec<f32>>>], parameters: usize) -> Vec<bool> {
    (0..parameters).map(|parameter| made.iter().any(|gradients| gradients[parameter].is_some())).collect()
}

/// The gradients that are there, end to end.
fn flat(gradients: &[Option<Vec<f32>>], is_there: &[bool], lengths: &[usize]) -> Vec<f32> {
    let mut all = Vec::new();
    for ((gradient, length), _) in gradients.iter().zip(lengths).zip(is_there).filter(|(_, is_there)| **is_there) {
        match gradient {
            Some(values) => all.extend_from_slice(values),
            None => all.resize(all.len() + length, NOTHING),
        }
    }
    all
}

/// The opposite of [`flat`].
fn apart(all: &[f32], is_there: &[bool], lengths: &[usize]) -> Vec<Option<Vec<f32>>> {
    let mut rest = all;
    let mut next = |length: usize| {
        let (values, after) = rest.split_at(length);
        rest = after;
        values.to_vec()
    };
    lengths.iter().zip(is_there).map(|(length, is_there)| is_there.then(|| next(*length))).collect()
}

fn params<M: Module>(model: &M, gradients: Vec<Option<Vec<f32>>>) -> GradientsParams {
    struct Register(std::vec::IntoIter<Option<Vec<f32>>>, GradientsParams);
    impl ModuleVisitor for Register {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            if let Some(values) = self.0.next().flatten() {
                let data = TensorData::new(values, value.shape());
                self.1.register::<D>(param.id, Tensor::from_data(data, &value.device()));
            }
        }
    }
    let mut register = Register(gradients.into_iter(), GradientsParams::new());
    model.visit(&mut register);
    register.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_give_each_micro_batch_to_one_rank_in_their_order_and_begin_where_the_last_one_ended() {
        for (micro_batches, threads, ranks, numbers) in
            [(1, 2, 3, 10), (7, 1, 3, HELD), (12, 2, 3, HELD), (13, 1, 4, HELD / 2), (5, 4, 2, 10), (64, 2, 8, 1 << 20)]
        {
            let block = block(micro_batches, threads, ranks, numbers);
            let (mut next, mut last) = (0, None);
            let all: Vec<usize> = (0..micro_batches).collect();
            for (round, batches) in all.chunks(block * ranks).enumerate() {
                let order = order_of_round(round, batches.len().div_ceil(block), ranks);
                assert!(last.is_none_or(|last| last == order[0]), "{order:?} after rank {last:?}");
                for place in 0..order.len() {
                    let share = share(place, block, batches.len());
                    assert!(!share.is_empty());
                    for batch in &batches[share] {
                        assert_eq!(*batch, next);
                        next += 1;
                    }
                }
                last = order.last().copied();
            }
            assert_eq!(next, micro_batches);
        }
        assert_eq!(block(64, 2, 8, 1 << 20), 8, "one round where memory allows it");
        assert_eq!(block(64, 2, 8, HELD), 2, "a gradient a thread otherwise");
    }

    #[test]
    fn a_parameter_without_a_gradient_changes_no_sum() {
        for value in [0.0_f32, -0.0, 1.5, f32::MIN_POSITIVE, f32::INFINITY] {
            assert_eq!((value + NOTHING).to_bits(), value.to_bits());
            assert_eq!((NOTHING + value).to_bits(), value.to_bits());
        }
        let gradients = [Some(vec![1.0, 2.0]), None, Some(vec![3.0]), None];
        let (is_there, lengths) = ([true, true, true, false], [2, 3, 1, 4]);
        let all = flat(&gradients, &is_there, &lengths);
        assert_eq!(all, [1.0, 2.0, 0.0, 0.0, 0.0, 3.0]);
        let expected = [Some(vec![1.0, 2.0]), Some(vec![0.0; 3]), Some(vec![3.0]), None];
        assert_eq!(apart(&all, &is_there, &lengths), expected);
    }
}
