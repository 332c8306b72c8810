//! Rows of tokens to padded tensors. Padding is on the right and known by lengths, never by token ids.

use burn::tensor::{Device, Int, Tensor, TensorData};
use model::{ActorCritic, Transformer, token_log_probs};

/// A row that can be learnt from: a prompt and what was written after it.
pub trait Row {
    /// Prompt and response, end-of-sequence token included where it was written.
    fn tokens(&self) -> &[u32];
    /// How many of the tokens are the prompt; at least 1.
    fn prompt_len(&self) -> usize;

    /// Number of response tokens.
    fn response_len(&self) -> usize {
        self.tokens().len() - self.prompt_len()
    }
}

impl Row for data::Example {
    fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    fn prompt_len(&self) -> usize {
        self.prompt_len
    }
}

/// Sorts rows by length and cuts them into micro-batches of at most `rows` rows, so that little is padding. Returns the
/// indices of the rows of each.
pub fn micro_batches<R: Row>(batch: &[R], rows: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_by_key(|&index| batch[index].tokens().len());
    order.chunks(rows.max(1)).map(<[usize]>::to_vec).collect()
}

/// Number of response tokens of rows.
pub fn response_tokens<R: Row>(rows: &[R]) -> usize {
    rows.iter().map(Row::response_len).sum()
}

/// Share of computed positions that are padding, for rows cut by [`micro_batches`].
pub fn padding_share<R: Row>(batch: &[R], rows: usize) -> f64 {
    let (mut used, mut computed) = (0, 0);
    for part in micro_batches(batch, rows) {
        let lengths: Vec<usize> = part.iter().map(|&index| batch[index].tokens().len()).collect();
        used += lengths.iter().sum::<usize>();
        computed += lengths.iter().max().unwrap_or(&0) * lengths.len();
    }
    1.0 - used as f64 / computed.max(1) as f64
}

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

/// Pads rows on the right and finds their response tokens.
///
/// # Panics
/// If a row has no prompt: its first token would have nothing to be predicted from.
pub fn pad<R: Row>(rows: &[&R], device: &Device) -> Padded {
    let time = rows.iter().map(|row| row.tokens().len()).max().expect("a micro-batch has rows");
    let mut tokens = vec![0i32; rows.len() * time];
    let (mut positions, mut targets) = (Vec::new(), Vec::new());
    for (index, row) in rows.iter().enumerate() {
        assert!(row.prompt_len() >= 1, "row {index} of a micro-batch has no prompt");
        for (column, &id) in row.tokens().iter().enumerate() {
            tokens[index * time + column] = id as i32;
            if column >= row.prompt_len() {
                positions.push((index * time + column - 1) as i32);
                targets.push(id as i32);
            }
        }
    }
    let flat = |values: Vec<i32>| {
        let length = values.len();
        Tensor::<1, Int>::from_data(TensorData::new(values, [length]), device)
    };
    Padded {
        tokens: Tensor::from_data(TensorData::new(tokens, [rows.len(), time]), device),
        positions: flat(positions),
        targets: flat(targets),
    }
}

/// Values that belong to the response tokens of rows, end to end, as `[M]`.
pub fn flat<'a>(rows: impl Iterator<Item = &'a [f32]>, device: &Device) -> Tensor<1> {
    let values: Vec<f32> = rows.flatten().copied().collect();
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}

/// What a policy says of the response tokens of a micro-batch.
///
/// # Shapes
/// - `logits`: `[M, V]`; `log_probs`: `[M]`
pub struct Scored {
    /// Of response positions only; those of prompts and padding are never computed.
    pub logits: Tensor<2>,
    /// At the temperature asked for.
    pub log_probs: Tensor<1>,
}

/// One pass of a language model over a micro-batch.
pub fn score(policy: &Transformer, batch: &Padded, temperature: f64) -> Scored {
    let [_, time] = batch.tokens.dims();
    let rotary = policy.rotary_range(0..time, &batch.tokens.device());
    let hidden = policy.run_blocks(policy.embed(batch.tokens.clone()), 0..policy.blocks.len(), &rotary);
    score_hidden(policy, policy.final_norm(hidden), batch, temperature)
}

/// One pass of policy and critic over a micro-batch; the critic's values `[M]` are of the states in which the response
/// tokens were chosen.
pub fn score_with_values(model: &ActorCritic, batch: &Padded, temperature: f64) -> (Scored, Tensor<1>) {
    let output = model.forward(batch.tokens.clone());
    let [rows, time] = batch.tokens.dims();
    let values = output.values.reshape([rows * time]).select(0, batch.positions.clone());
    (score_hidden(&model.policy, output.hidden, batch, temperature), values)
}

fn score_hidden(policy: &Transformer, hidden: Tensor<3>, batch: &Padded, temperature: f64) -> Scored {
    let [rows, time, width] = hidden.dims();
    let chosen = hidden.reshape([rows * time, width]).select(0, batch.positions.clone());
    let logits = policy.logits_of_rows(chosen);
    let log_probs = token_log_probs(logits.clone(), batch.targets.clone(), temperature);
    Scored { logits, log_probs }
}
