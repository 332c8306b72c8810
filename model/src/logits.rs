//! Log-probabilities and entropies under a model, from its normed residual stream: the logits of a large vocabulary never exist
//! all at once. Independent of batches.

use crate::{
    fused,
    log_probs::{entropy, token_log_probs},
    transformer::{Transformer, recompute},
};
use burn::tensor::{Int, Tensor};

/// Most logits that exist together where a model's vocabulary is large: 16 MB of them.
pub const LOGITS_TOGETHER: usize = 1 << 22;

/// Log-probability of one token per row under a model, from its normed residual stream: [`token_log_probs`]
/// of its logits, without all of them at once, neither here nor for the gradient.
///
/// # Shapes
/// - `hidden`: `[M, D]`; `targets`: `[M]`; output: `[M]`
pub fn output_log_probs(
    model: &Transformer,
    hidden: Tensor<2>,
    targets: Tensor<1, Int>,
    temperature: f64,
) -> Tensor<1> {
    let ([rows, _], part) = (hidden.dims(), rows_together(model));
    let log_probs = |hidden, targets| token_log_probs(model.logits_of_rows(hidden), targets, temperature);
    if rows <= part {
        return log_probs(hidden, targets);
    }
    let matrix = model.output_matrix();
    let fused = || fused::output_log_probs(&hidden, &matrix.weights(), &targets, temperature, part);
    let recomputed = || {
        let tape = model.tape.as_ref()?;
        recompute::output_log_probs(matrix.clone(), &hidden, &targets, temperature, part, tape)
    };
    model.config.compute_dtype.fused(fused).or_else(recomputed).unwrap_or_else(|| {
        in_parts(rows, part, |start, count| {
            log_probs(hidden.clone().narrow(0, start, count), targets.clone().narrow(0, start, count))
        })
    })
}

/// [`entropy`] of a model's next-token distribution per row, from its normed residual stream, in parts as well.
///
/// # Shapes
/// - `hidden`: `[M, D]`; output: `[M]`
pub fn output_entropy(model: &Transformer, hidden: Tensor<2>, temperature: f64) -> Tensor<1> {
    let [rows, _] = hidden.dims();
    in_parts(rows, rows_together(model), |start, count| {
        entropy(model.logits_of_rows(hidden.clone().narrow(0, start, count)), temperature)
    })
}

fn rows_together(model: &Transformer) -> usize {
    (LOGITS_TOGETHER / model.config.vocab_size).max(1)
}

/// The results for parts of `rows` rows, end to end.
fn in_parts(rows: usize, part: usize, of_part: impl Fn(usize, usize) -> Tensor<1>) -> Tensor<1> {
    Tensor::cat((0..rows).step_by(part).map(|start| of_part(start, part.min(rows - start))).collect(), 0)
}
