//! Keys and values of what was written so far, so that a new token costs one position. Independent of sampling.
//!
//! Rows of a batch may have prompts of differing lengths. Where the backend has a fused pass for it, the rows share what
//! their prompts left, and have slots of their own for what they write. Elsewhere the prompt stands right-padded in the first
//! slots of each row; every token written after it takes the next slot of all rows, and the padding between is hidden by a
//! mask made from lengths. There the slots that a step attends to are a multiple of [`SLOTS`](fused::SLOTS), those not written yet
//! hidden as well: few shapes, whatever is written, so that a GPU's kernels are tuned once and read whole vectors.

use crate::{
    config::ModelConfig,
    dtype::cast,
    fused::{self, CachedRows},
};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Added to a score that must not be seen. Finite, so that a row whose every slot is hidden stays free of NaN.
pub(crate) const HIDDEN: f32 = -1e9;

/// The cache of one batch.
///
/// # Shapes
/// - keys, one tensor per layer: `[B, G, E, S]`; values: `[B, G, S, E]`
#[derive(Debug)]
pub struct Cache {
    // `None` only while a slot is being written: the tensor must be uniquely owned then, or the whole cache is copied.
    layers: Vec<Option<(Tensor<4>, Tensor<4>)>>,
    filled: usize,
    pending: usize,
    prompt_slots: usize,
    prompt_lengths: Vec<usize>,
    prompt_mask: Option<Tensor<4>>,
    // Of the step under way: the same for every layer.
    mask: Option<Tensor<4>>,
    shared: Option<Shared>,
}

/// The prompts that rows share; the layers of the cache hold only what was written after them.
#[derive(Debug)]
struct Shared {
    layers: Vec<(Tensor<4>, Tensor<4>)>,
    lengths: Vec<usize>,
    rows: Vec<SharedRow>,
}

/// A row whose prompt is shared.
#[derive(Clone, Copy, Debug)]
struct SharedRow {
    prompt: usize,
    /// Where it writes in the layers of the cache.
    place: usize,
    written: usize,
}

impl Cache {
    /// Room for `slots` tokens in each of `batch` rows.
    pub fn new(config: &ModelConfig, batch: usize, slots: usize, device: &Device) -> Self {
        let (kv_heads, e) = (config.kv_heads(), config.head_width());
        let layer = || {
            let (keys, values) = empty([batch, kv_heads, e], slots, device);
            (config.compute_dtype.to_factor(keys), config.compute_dtype.to_factor(values))
        };
        let layers = (0..config.num_hidden_layers).map(|_| Some(layer())).collect();
        Self {
            layers,
            filled: 0,
            pending: 0,
            prompt_slots: 0,
            prompt_lengths: Vec::new(),
            prompt_mask: None,
            mask: None,
            shared: None,
        }
    }

    /// Number of slots that hold something.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// A step begins that writes `time` tokens to each row.
    pub(crate) fn begin(&mut self, time: usize) {
        self.pending = time;
        self.make_room();
        self.mask = if self.shares_prompts() { None } else { self.mask_of_step() };
    }

    /// Adds slots where a row has none left: what rows read while they write was not planned for.
    fn make_room(&mut self) {
        let written = match &self.shared {
            Some(shared) => shared.rows.iter().map(|row| row.written).max().unwrap_or(0),
            None => self.filled,
        };
        for layer in &mut self.layers {
            let (keys, values) = layer.take().expect("no step is under way");
            let (slots, needed) = (values.dims()[2], written + self.pending);
            *layer = Some(match needed > slots {
                true => (grow(keys, 3, slots, needed), grow(values, 2, slots, needed)),
                false => (keys, values),
            });
        }
    }

    /// Slots that the step under way attends to: those of the prompt while it is read, whole vectors of them afterwards.
    fn seen(&self) -> usize {
        let end = self.filled + self.pending;
        if self.filled == 0 { end } else { end.next_multiple_of(fused::SLOTS) }
    }

    /// Writes new keys and values `[B, G, T, E]` after the last slot of a layer; returns all that the step attends to, keys
    /// as `[B, G, E, S]`.
    pub(crate) fn append(&mut self, layer: usize, key: Tensor<4>, value: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [batch, kv_heads, time, e] = key.dims();
        let end = self.filled + time;
        let (keys, values) = self.layers[layer].take().expect("a layer is written once a step");
        let [_, _, slots, _] = values.dims();
        let of_cache = values.dtype().into();
        let (key, value) = (cast(key, of_cache), cast(value, of_cache));
        debug_assert!(end <= slots, "a step begins with room for it");
        let keys = keys.slice_assign([0..batch, 0..kv_heads, 0..e, self.filled..end], key.swap_dims(2, 3));
        let values = values.slice_assign([0..batch, 0..kv_heads, self.filled..end, 0..e], value);
        let seen = (keys.clone().narrow(3, 0, self.seen()), values.clone().narrow(2, 0, self.seen()));
        self.layers[layer] = Some((keys, values));
        seen
    }

    /// Where one new token a row is all there is to do, attends to a layer and appends to it in one pass; `None` where
    /// the backend has no such pass.
    ///
    /// # Shapes
    /// - `projected`: `[B, T, (H + 2 G) E]`; output: `[B, 1, H E]`
    pub(crate) fn attend(
        &mut self,
        layer: usize,
        projected: &Tensor<3>,
        rotary: [&Tensor<4>; 2],
        heads: usize,
    ) -> Option<Tensor<3>> {
        let shared = self.shared.as_ref()?;
        let (keys, values) = self.layers[layer].take().expect("a layer is written once a step");
        let (prompt_keys, prompt_values) = &shared.layers[layer];
        let rows = CachedRows {
            heads,
            prompt_lengths: shared.lengths.clone(),
            prompt_of_row: shared.rows.iter().map(|row| row.prompt).collect(),
            place_of_row: shared.rows.iter().map(|row| row.place).collect(),
            filled_of_row: shared.rows.iter().map(|row| row.written).collect(),
        };
        let (attended, [keys, values]) =
            fused::attention_with_cache(projected.clone(), rotary, [keys, values], [prompt_keys, prompt_values], rows);
        self.layers[layer] = Some((keys, values));
        Some(attended)
    }

    /// What every layer has appended counts as filled from now on.
    pub(crate) fn advance(&mut self) {
        let new = std::mem::take(&mut self.pending);
        self.filled += new;
        for row in self.shared.iter_mut().flat_map(|shared| &mut shared.rows) {
            row.written += new;
        }
    }

    /// `[B or 1, 1, 1, S]` or, while the prompt is read, `[1, 1, T, T]`: added to the scores; `None` where nothing is hidden.
    pub(crate) fn mask(&self) -> Option<Tensor<4>> {
        self.mask.clone()
    }

    fn mask_of_step(&self) -> Option<Tensor<4>> {
        let (end, device) = (self.filled + self.pending, self.device());
        if self.filled == 0 {
            return (end > 1).then(|| causal_mask(end, &device));
        }
        let behind = self.seen() - end;
        if behind == 0 && self.prompt_mask.is_none() {
            return None;
        }
        let prompt = self.prompt_mask.clone().unwrap_or_else(|| Tensor::zeros([1, 1, 1, self.prompt_slots], &device));
        let [rows, ..] = prompt.dims();
        let written = Tensor::zeros([rows, 1, 1, end - self.prompt_slots], &device);
        let mut parts = vec![prompt, written];
        if behind > 0 {
            parts.push(Tensor::full([rows, 1, 1, behind], HIDDEN, &device));
        }
        Some(Tensor::cat(parts, 3))
    }

    /// After the prompts were read: hides the slots past each row's own length.
    pub fn hide_padding(&mut self, lengths: &[usize]) {
        self.prompt_slots = self.filled;
        self.prompt_lengths = lengths.to_vec();
        self.prompt_mask = padding_mask(lengths, self.filled, &self.device());
    }

    /// Whether rows can leave at no cost, and others [`join`](Self::join).
    pub(crate) fn shares_prompts(&self) -> bool {
        self.shared.is_some()
    }

    /// The rows `rows` of this cache, in that order. A row may be taken several times, but not where rows share their prompts:
    /// each has one place to write to there.
    pub fn select(mut self, rows: &[usize]) -> Self {
        if let Some(shared) = &mut self.shared {
            shared.rows = rows.iter().map(|&row| shared.rows[row]).collect();
            return self;
        }
        let index = row_index(rows, &self.device());
        for layer in &mut self.layers {
            let (keys, values) = layer.take().expect("no step is under way");
            *layer = Some((keys.select(0, index.clone()), values.select(0, index.clone())));
        }
        self.prompt_mask = self.prompt_mask.map(|mask| mask.select(0, index));
        self
    }

    /// The rows `rows` of a cache that holds prompts and nothing else, with room for `slots` tokens in all.
    pub(crate) fn spread(mut self, rows: &[usize], slots: usize) -> Self {
        let filled = self.filled;
        let (keys, _) = self.layers[0].as_ref().expect("no step is under way");
        if fused::serves(keys) && !keys.device().is_autodiff() {
            let ([_, kv_heads, e, _], device) = (keys.dims(), keys.device());
            let room = || empty([rows.len(), kv_heads, e], slots - filled, &device);
            let share = |layer: &mut Option<_>| layer.replace(room()).expect("no step is under way");
            let layers = self.layers.iter_mut().map(share).collect();
            let lengths = std::mem::take(&mut self.prompt_lengths);
            let row = |(place, &prompt)| SharedRow { prompt, place, written: 0 };
            self.shared = Some(Shared { layers, lengths, rows: rows.iter().enumerate().map(row).collect() });
            self.prompt_mask = None;
            return self;
        }
        self = self.select(rows);
        for layer in &mut self.layers {
            let (keys, values) = layer.take().expect("no step is under way");
            *layer = Some((grow(keys, 3, filled, slots), grow(values, 2, filled, slots)));
        }
        self
    }

    /// Puts rows in the places of rows that have left, where rows share their prompts. Of the prompts it had it keeps `kept`, and
    /// takes in those of `more`, a cache that holds prompts and nothing else; `rows` are the prompts of the new rows, counted
    /// in that order.
    pub(crate) fn join(&mut self, kept: &[usize], more: Option<Self>, rows: &[usize]) {
        let places = self.layers[0].as_ref().expect("no step is under way").0.dims()[0];
        let device = self.device();
        let shared = self.shared.as_mut().expect("rows that share their prompts");
        let all_kept = kept.len() == shared.lengths.len();
        let index = (!all_kept).then(|| row_index(kept, &device));
        shared.lengths = kept.iter().map(|&prompt| shared.lengths[prompt]).collect();
        for row in &mut shared.rows {
            row.prompt = kept.iter().position(|&prompt| prompt == row.prompt).expect("the prompt of a row is kept");
        }
        let (more_layers, more_lengths) =
            more.map_or((Vec::new(), Vec::new()), |more| (more.layers, more.prompt_lengths));
        let mut more_layers = more_layers.into_iter().map(|layer| layer.expect("no step is under way"));
        for (keys, values) in &mut shared.layers {
            if let Some(index) = &index {
                (*keys, *values) = (keys.clone().select(0, index.clone()), values.clone().select(0, index.clone()));
            }
            if let Some((more_keys, more_values)) = more_layers.next() {
                *keys = stacked(keys.clone(), more_keys, 3);
                *values = stacked(values.clone(), more_values, 2);
            }
        }
        shared.lengths.extend(more_lengths);
        let free = (0..places).filter(|place| shared.rows.iter().all(|row| row.place != *place));
        let new: Vec<SharedRow> =
            rows.iter().zip(free).map(|(&prompt, place)| SharedRow { prompt, place, written: 0 }).collect();
        assert_eq!(new.len(), rows.len(), "a place for every row that joins");
        shared.rows.extend(new);
    }

    fn device(&self) -> Device {
        let (keys, _) = self.layers.iter().flatten().next().expect("a model has at least one layer");
        keys.device()
    }
}

/// Keys and values for `[B, G, E]` with room for `slots` tokens, in whole vectors.
fn empty([batch, kv_heads, e]: [usize; 3], slots: usize, device: &Device) -> (Tensor<4>, Tensor<4>) {
    let slots = slots.next_multiple_of(fused::SLOTS);
    (Tensor::zeros([batch, kv_heads, e, slots], device), Tensor::zeros([batch, kv_heads, slots, e], device))
}

/// The filled slots of a dimension with room behind them for `slots` in all.
fn grow(held: Tensor<4>, dimension: usize, filled: usize, slots: usize) -> Tensor<4> {
    let mut shape = held.dims();
    shape[dimension] = slots.next_multiple_of(fused::SLOTS) - filled;
    let room = cast(Tensor::zeros(shape, &held.device()), held.dtype().into());
    Tensor::cat(vec![held.narrow(dimension, 0, filled), room], dimension)
}

/// Rows of two caches, whose slots lie along `dimension`, in one.
fn stacked(first: Tensor<4>, second: Tensor<4>, dimension: usize) -> Tensor<4> {
    let slots = first.dims()[dimension].max(second.dims()[dimension]);
    let whole = |held: Tensor<4>| match held.dims()[dimension] {
        filled if filled < slots => grow(held, dimension, filled, slots),
        _ => held,
    };
    Tensor::cat(vec![whole(first), whole(second)], 0)
}

/// `[rows]` as a tensor of indices.
pub(crate) fn row_index(rows: &[usize], device: &Device) -> Tensor<1, Int> {
    let rows: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
    let length = rows.len();
    Tensor::from_data(TensorData::new(rows, [length]), device)
}

/// `[1, 1, T, T]`: 0 where a token may attend, [`HIDDEN`] where it may not.
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

#[cfg(test)]
mod tests;
