//! Log-probabilities of the response tokens of a batch under a language model, in one pass. Independent of losses.

use crate::{logits::output_log_probs, padding::pad_right, transformer::Transformer};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// A micro-batch on the device.
///
/// # Shapes
/// - `tokens`: `[B, T]`, padding on the right
/// - `positions`: `[M]`, places in the flattened `[B T]` whose *next* token is a response token: the one shift there is
/// - `targets`: `[M]`, those next tokens
pub struct Padded {
    /// Ids of prompts and responses.
    pub tokens: Tensor<2, Int>,
    /// Where response tokens are predicted.
    pub positions: Tensor<1, Int>,
    /// The response tokens, rows end to end.
    pub targets: Tensor<1, Int>,
}

impl Padded {
    /// Rows on the device; `responses` are the places of the tokens of each that are predicted.
    ///
    /// # Panics
    /// If the first token of a row is to be predicted: there is nothing to predict it from.
    pub fn of(rows: &[&[u32]], responses: &[Vec<usize>], device: &Device) -> Self {
        let tokens = pad_right(rows, device);
        let [_, time] = tokens.dims();
        let (mut positions, mut targets) = (Vec::new(), Vec::new());
        for (index, (row, response)) in rows.iter().zip(responses).enumerate() {
            assert!(response.first() != Some(&0), "row {index} of a batch has no prompt");
            for &column in response {
                positions.push((index * time + column - 1) as i32);
                targets.push(row[column] as i32);
            }
        }
        let flat = |values: Vec<i32>| {
            let length = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [length]), device)
        };
        Self { tokens, positions: flat(positions), targets: flat(targets) }
    }
}

/// The response tokens of a micro-batch under a policy.
///
/// # Shapes
/// - `hidden`: `[M, D]`; `log_probs`: `[M]`
pub struct Scored {
    /// Normed residual stream where response tokens are predicted; logits of prompts and padding are never computed.
    pub hidden: Tensor<2>,
    /// Log-probabilities of the response tokens at the temperature of the call.
    pub log_probs: Tensor<1>,
}

/// One pass of a language model over a micro-batch.
pub fn score(policy: &Transformer, batch: &Padded, temperature: f64) -> Scored {
    let [_, time] = batch.tokens.dims();
    let rotary = policy.rotary_range(0..time, &batch.tokens.device());
    let hidden = policy.run_blocks(policy.embed(batch.tokens.clone()), 0..policy.blocks.len(), &rotary);
    score_hidden(policy, policy.final_norm(hidden), batch, temperature)
}

/// [`score`] of what the model has computed already: its normed residual stream, `[B, T, D]`.
pub(crate) fn score_hidden(policy: &Transformer, hidden: Tensor<3>, batch: &Padded, temperature: f64) -> Scored {
    let [rows, time, width] = hidden.dims();
    let hidden = hidden.reshape([rows * time, width]).select(0, batch.positions.clone());
    let log_probs = output_log_probs(policy, hidden.clone(), batch.targets.clone(), temperature);
    Scored { hidden, log_probs }
}
