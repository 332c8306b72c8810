//! Keys and values of what was written so far, so that a new token costs one position. Knows no sampling.
//!
//! Rows of a batch may have prompts of differing lengths. The prompt stands right-padded in the first slots; every token
//! written after it takes the next slot of all rows, and the padding between is hidden by a mask made from lengths.

use crate::config::ModelConfig;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Added to a score that must not be seen. Finite, so that a row whose every slot is hidden stays free of NaN.
pub(crate) const HIDDEN: f32 = -1e9;

/// The cache of one batch.
///
/// # Shapes
/// - keys and values, one pair a layer: `[B, G, S, E]`
#[derive(Debug)]
pub struct Cache {
    // `None` only while a slot is being written: the tensor must be uniquely owned then, or the whole cache is copied.
    layers: Vec<Option<(Tensor<4>, Tensor<4>)>>,
    filled: usize,
    pending: usize,
    prompt_slots: usize,
    prompt_mask: Option<Tensor<4>>,
}

impl Cache {
    /// Room for `slots` tokens in each of `batch` rows.
    pub fn new(config: &ModelConfig, batch: usize, slots: usize, device: &Device) -> Self {
        let shape = [batch, config.kv_heads(), slots, config.head_width()];
        let layers = (0..config.num_hidden_layers)
            .map(|_| Some((Tensor::zeros(shape, device), Tensor::zeros(shape, device))))
            .collect();
        Self { layers, filled: 0, pending: 0, prompt_slots: 0, prompt_mask: None }
    }

    /// Number of slots that hold something.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Writes new keys and values `[B, G, T, E]` after the last slot of a layer; returns all that is filled.
    pub(crate) fn append(&mut self, layer: usize, key: Tensor<4>, value: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [batch, kv_heads, time, e] = key.dims();
        let end = self.filled + time;
        let ranges = [0..batch, 0..kv_heads, self.filled..end, 0..e];
        let (keys, values) = self.layers[layer].take().expect("a layer is written once a step");
        let [_, _, slots, _] = keys.dims();
        assert!(end <= slots, "{end} tokens do not fit a cache of {slots} slots");
        let keys = keys.slice_assign(ranges.clone(), key);
        let values = values.slice_assign(ranges, value);
        let seen = (keys.clone().narrow(2, 0, end), values.clone().narrow(2, 0, end));
        self.layers[layer] = Some((keys, values));
        self.pending = time;
        seen
    }

    /// What every layer has appended counts as filled from now on.
    pub(crate) fn advance(&mut self) {
        self.filled += std::mem::take(&mut self.pending);
    }

    /// `[B, 1, 1, S]` or, while the prompt is read, `[1, 1, T, T]`: added to the scores; `None` where nothing is hidden.
    pub(crate) fn mask(&self) -> Option<Tensor<4>> {
        let seen = self.filled + self.pending;
        if self.filled == 0 {
            return (self.pending > 1).then(|| causal_mask(seen, &self.device()));
        }
        let mask = self.prompt_mask.clone()?;
        let [batch, ..] = mask.dims();
        let written = Tensor::zeros([batch, 1, 1, seen - self.prompt_slots], &mask.device());
        Some(Tensor::cat(vec![mask, written], 3))
    }

    /// After the prompts were read: hides the slots past each row's own length.
    pub fn hide_padding(&mut self, lengths: &[usize]) {
        self.prompt_slots = self.filled;
        self.prompt_mask = padding_mask(lengths, self.filled, &self.device());
    }

    /// The rows `rows` of this cache, in that order; a row may be taken several times.
    pub fn select(mut self, rows: &[usize]) -> Self {
        let index = row_index(rows, &self.device());
        for layer in &mut self.layers {
            let (keys, values) = layer.take().expect("no step is under way");
            *layer = Some((keys.select(0, index.clone()), values.select(0, index.clone())));
        }
        self.prompt_mask = self.prompt_mask.map(|mask| mask.select(0, index));
        self
    }

    /// The rows `rows` of a cache that is exactly full, with room for `slots` tokens.
    pub(crate) fn spread(mut self, rows: &[usize], slots: usize) -> Self {
        let filled = self.filled;
        self = self.select(rows);
        for layer in &mut self.layers {
            let (keys, values) = layer.take().expect("no step is under way");
            *layer = Some((grow(keys, filled, slots), grow(values, filled, slots)));
        }
        self
    }

    fn device(&self) -> Device {
        let (keys, _) = self.layers.iter().flatten().next().expect("a model has at least one layer");
        keys.device()
    }
}

fn grow(held: Tensor<4>, filled: usize, slots: usize) -> Tensor<4> {
    let [batch, kv_heads, _, e] = held.dims();
    let room = Tensor::zeros([batch, kv_heads, slots, e], &held.device());
    room.slice_assign([0..batch, 0..kv_heads, 0..filled, 0..e], held.narrow(2, 0, filled))
}

/// `[rows]` as a tensor of indices.
pub(crate) fn row_index(rows: &[usize], device: &Device) -> Tensor<1, Int> {
    let rows: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
    let length = rows.len();
    Tensor::from_data(TensorData::new(rows, [length]), device)
}

/// `[1, 1, T, T]`: 0 where a token may look, [`HIDDEN`] where it may not.
pub(crate) fn causal_mask(time: usize, device: &Device) -> Tensor<4> {
    let mut mask = vec![0.0f32; time * time];
    for row in 0..time {
        mask[row * time + row + 1..(row + 1) * time].fill(HIDDEN);
    }
    Tensor::from_data(TensorData::new(mask, [1, 1, time, time]), device)
}

fn padding_mask(lengths: &[usize], slots: usize, device: &Device) -> Option<Tensor<4>> {
    if lengths.iter().all(|&length| length == slots) {
        return None;
    }
    let mut mask = vec![0.0f32; lengths.len() * slots];
    for (row, &length) in lengths.iter().enumerate() {
        mask[row * slots + length..(row + 1) * slots].fill(HIDDEN);
    }
    Some(Tensor::from_data(TensorData::new(mask, [lengths.len(), 1, 1, slots]), device))
}
