//! Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): of the forward pass only what enters each block is kept, and
//! the block is computed once more when its gradients are. The result is the same to the last digit, but for a trunk that
//! two branches send gradients into: their sum is taken in another order. Independent of the loss.
//!
//! burn's own strategy recomputes what small operations keep; a fused operation, which keeps what it needs itself, is not
//! reached by it. Here a replica with a [`Tape`] cuts the graph before and behind each block: what comes out of a block is a
//! leaf, and [`Tape::backward`] carries its gradient through the block, the last one first.
//!
//! Logits of a large vocabulary are computed again in any pass with a tape, where there is no fused operation that does so.
//! The gradient of a log-probability by the residual stream is known in the forward pass, (W_t − W softmax(z / T)) / T, one vector per
//! row: it is put into the graph instead of the logits. The gradient by W needs the gradient that comes back, and waits for it.

use super::{block::Block, operations::matmul, output::OutputMatrix, rotary::Rotary};
use crate::{config::ModelConfig, log_probs::token_log_probs};
use burn::{
    module::Module,
    optim::{GradientsAccumulator, GradientsParams},
    tensor::{Gradients, Int, Tensor, activation::softmax},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A model that training steps compute gradients of.
pub trait Trainable: Module {
    /// The same model; its forward passes leave to the tape what is computed again. A model without blocks has nothing to leave.
    #[must_use]
    fn with_tape(self, _tape: Tape) -> Self {
        self
    }

    /// A copy with gradients for one forward pass, and the tape of that pass, whose [`Tape::backward`] belongs to it. With
    /// `checkpointing` blocks are computed again for the gradients.
    fn replica(&self, checkpointing: bool) -> (Self, Tape) {
        let tape = Tape { checkpointing, left_out: Arc::default() };
        (self.clone().train().with_tape(tape.clone()), tape)
    }
}

/// What one forward pass leaves out of its graph.
#[derive(Clone, Debug)]
pub struct Tape {
    checkpointing: bool,
    /// Shared with the replica that writes it. One thread works on a replica: the lock is never waited for.
    left_out: Arc<Mutex<LeftOut>>,
}

#[derive(Debug, Default)]
struct LeftOut {
    cuts: Vec<Cut>,
    heads: Vec<Head>,
}

/// A block that was left out of the graph.
#[derive(Debug)]
struct Cut {
    block: Block,
    rotary: Rotary,
    config: ModelConfig,
    /// In the graph of whatever comes before.
    input: Tensor<3>,
    /// A leaf.
    output: Tensor<3>,
}

/// Log-probabilities whose logits were left out of the graph.
#[derive(Debug)]
struct Head {
    matrix: OutputMatrix,
    /// Outside any graph, as are the targets.
    hidden: Tensor<2>,
    targets: Tensor<1, Int>,
    temperature: f64,
    /// Rows whose logits exist together.
    part: usize,
    /// A leaf.
    log_probs: Tensor<1>,
}

/// A block's forward pass: inside the graph or, where a tape asks for checkpointing, outside.
///
/// # Shapes
/// - `hidden` and output: `[B, T, D]`
pub(crate) fn through(
    block: &Block,
    hidden: Tensor<3>,
    rotary: &Rotary,
    config: &ModelConfig,
    tape: Option<&Tape>,
) -> Tensor<3> {
    let tape = tape.filter(|tape| tape.checkpointing && hidden.device().is_autodiff());
    let Some(tape) = tape else { return block.forward(hidden, rotary, config) };
    let output = block.valid().forward(hidden.clone().inner(), &rotary.inner(), config);
    let output = Tensor::from_inner(output).require_grad();
    tape.left_out().cuts.push(Cut {
        block: block.clone(),
        rotary: rotary.clone(),
        config: config.clone(),
        input: hidden,
        output: output.clone(),
    });
    output
}

/// Log-probabilities of `targets` with no logits in the graph; `None` outside of a graph.
///
/// # Shapes
/// - `hidden`: `[M, D]`; `targets`: `[M]`; output: `[M]`
pub(crate) fn output_log_probs(
    matrix: OutputMatrix,
    hidden: &Tensor<2>,
    targets: &Tensor<1, Int>,
    temperature: f64,
    part: usize,
    tape: &Tape,
) -> Option<Tensor<1>> {
    if !hidden.device().is_autodiff() {
        return None;
    }
    let outside = (hidden.clone().inner(), targets.clone().inner());
    let weights = matrix.weights().inner();
    let columns = weights.clone().transpose();
    let mut log_probs = Vec::new();
    let mut slopes = Vec::new();
    for (hidden, targets) in parts(&outside.0, &outside.1, part) {
        let logits = matmul(hidden, weights.clone(), None, matrix.dtype);
        log_probs.push(token_log_probs(logits.clone(), targets.clone(), temperature));
        let expected = matmul(softmax(logits.div_scalar(temperature), 1), columns.clone(), None, matrix.dtype);
        slopes.push((columns.clone().select(0, targets) - expected).div_scalar(temperature));
    }
    let log_probs = Tensor::from_inner(Tensor::cat(log_probs, 0)).require_grad();
    let along_slope = (hidden.clone() * Tensor::from_inner(Tensor::cat(slopes, 0))).sum_dim(1).flatten::<1>(0, 1);
    let result = log_probs.clone() + (along_slope.clone() - along_slope.detach());
    let (hidden, targets) = outside;
    tape.left_out().heads.push(Head { matrix, hidden, targets, temperature, part, log_probs });
    Some(result)
}

/// Rows and what belongs to them, `part` at a time.
fn parts(
    hidden: &Tensor<2>,
    targets: &Tensor<1, Int>,
    part: usize,
) -> impl Iterator<Item = (Tensor<2>, Tensor<1, Int>)> {
    let [rows, _] = hidden.dims();
    let of = move |start: usize| {
        let count = part.min(rows - start);
        (hidden.clone().narrow(0, start, count), targets.clone().narrow(0, start, count))
    };
    (0..rows).step_by(part).map(of)
}

impl Tape {
    /// The gradients of a loss by the parameters of `model`, the replica whose forward pass has led to it.
    pub fn backward<M: Module>(&self, loss: &Tensor<1>, model: &M) -> GradientsParams {
        std::mem::take(&mut *self.left_out()).backward(loss, model)
    }

    fn left_out(&self) -> MutexGuard<'_, LeftOut> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeftOut {
    fn backward<M: Module>(mut self, loss: &Tensor<1>, model: &M) -> GradientsParams {
        let mut behind = loss.backward();
        if self.cuts.is_empty() && self.heads.is_empty() {
            return GradientsParams::from_grads(behind, model);
        }
        let mut sum = GradientsAccumulator::new();
        for head in &self.heads {
            let Some(grad) = head.log_probs.grad_remove(&mut behind) else { continue };
            head.accumulate(grad, model, &mut sum);
        }
        // What has reached the leaves so far.
        let mut reached: Vec<Option<Tensor<3>>> = vec![None; self.cuts.len()];
        self.take_reached(&mut behind, &mut reached);
        sum.accumulate(model, GradientsParams::from_grads(behind, model));
        // Toward what stands before the first blocks: the embedding, whose graph can be walked once only.
        let mut before: Option<Tensor<1>> = None;
        while let Some(Cut { block, rotary, config, input, .. }) = self.cuts.pop() {
            let Some(grad) = reached.pop().flatten() else { continue };
            let entered = Tensor::from_inner(input.clone().inner()).require_grad();
            let output = block.forward(entered.clone(), &rotary, &config);
            let mut gradients = along(output, grad).backward();
            let by_input = entered.grad_remove(&mut gradients).expect("a block's output depends on what enters it");
            sum.accumulate(model, GradientsParams::from_grads(gradients, model));
            if input.is_require_grad() {
                self.take_reached(&mut along(input, by_input).backward(), &mut reached);
            } else if input.is_tracked() {
                let toward = along(input, by_input);
                before = Some(before.map_or(toward.clone(), |before| before + toward));
            }
        }
        if let Some(before) = before {
            sum.accumulate(model, GradientsParams::from_grads(before.backward(), model));
        }
        sum.grads()
    }

    fn take_reached(&self, gradients: &mut Gradients, reached: &mut [Option<Tensor<3>>]) {
        for (cut, reached) in self.cuts.iter().zip(reached) {
            if let Some(grad) = cut.output.grad_remove(gradients) {
                *reached = Some(match reached.take() {
                    Some(earlier) => earlier + grad,
                    None => grad,
                });
            }
        }
    }
}

impl Head {
    /// Adds the gradient by the output matrix; `grad` is that by the log-probabilities.
    fn accumulate<M: Module>(&self, grad: Tensor<1>, model: &M, sum: &mut GradientsAccumulator<M>) {
        if !self.matrix.weights().is_tracked() {
            return;
        }
        for (place, (hidden, targets)) in parts(&self.hidden, &self.targets, self.part).enumerate() {
            let [rows, _] = hidden.dims();
            let (hidden, targets) = (Tensor::from_inner(hidden), Tensor::from_inner(targets));
            let log_probs = token_log_probs(self.matrix.logits(hidden), targets, self.temperature);
            let loss = along(log_probs, grad.clone().narrow(0, place * self.part, rows));
            sum.accumulate(model, GradientsParams::from_grads(loss.backward(), model));
        }
    }
}

/// A number whose gradient by `output` is `grad`.
fn along<const D: usize>(output: Tensor<D>, grad: Tensor<D>) -> Tensor<1> {
    (output * Tensor::from_inner(grad)).sum()
}

#[cfg(test)]
mod tests;
