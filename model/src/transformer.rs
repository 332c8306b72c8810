//! A decoder of the Llama family: RMSNorm, rotary positions, grouped-query attention, SwiGLU.
//!
//! Matrices are stored `[in, out]`, query/key/value and gate/up each fused into one product; `checkpoint.rs` alone knows
//! how Hugging Face lays them out. Models are kept without gradients; a training step works on `model.clone().train()`.

use crate::{
    cache::{Cache, causal_mask},
    compute::Compute,
    config::ModelConfig,
    fused,
    random::{Key, Purpose},
    recompute,
};
use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Device, Int, Tensor, TensorData, activation},
};
use std::ops::Range;

/// A language model: tokens to next-token logits.
#[derive(Module, Debug)]
pub struct Transformer {
    /// `[V, D]`; also the output matrix where that is tied.
    pub embedding: Param<Tensor<2>>,
    /// The blocks, bottom first.
    pub blocks: Vec<Block>,
    /// Scale of the last RMSNorm, `[D]`.
    pub norm: Param<Tensor<1>>,
    /// `[D, V]`; absent where the embedding serves.
    pub output: Option<Param<Tensor<2>>>,
    /// The shape this model was built for.
    #[module(skip)]
    pub config: ModelConfig,
}

/// Attention and feed-forward part, each behind its RMSNorm and added to the residual stream.
#[derive(Module, Debug)]
pub struct Block {
    /// Scale of the RMSNorm before attention, `[D]`.
    pub attention_norm: Param<Tensor<1>>,
    /// Query, key and value side by side, `[D, (H + 2 G) E]`.
    pub qkv: Param<Tensor<2>>,
    /// Bias of `qkv`, `[(H + 2 G) E]`.
    pub qkv_bias: Option<Param<Tensor<1>>>,
    /// Scale of the RMSNorm of each query head, `[E]` (Qwen3).
    pub query_norm: Option<Param<Tensor<1>>>,
    /// Scale of the RMSNorm of each key head, `[E]` (Qwen3).
    pub key_norm: Option<Param<Tensor<1>>>,
    /// `[H E, D]`.
    pub attention_output: Param<Tensor<2>>,
    /// Scale of the RMSNorm before the feed-forward part, `[D]`.
    pub feed_forward_norm: Param<Tensor<1>>,
    /// Gate and up side by side, `[D, 2 F]`.
    pub gate_up: Param<Tensor<2>>,
    /// `[F, D]`.
    pub down: Param<Tensor<2>>,
}

/// Cosines and sines of the rotary embedding for the positions of one call.
///
/// # Shapes
/// - `cos`, `sin`: `[1 or B, T, 1, E / 2]`
#[derive(Clone, Debug)]
pub struct Rotary {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Transformer {
    /// A model with random weights: normal with deviation 1 / sqrt(D), so that narrow models start at the scale of their
    /// activations, the projections back into the residual stream scaled by 1 / sqrt(2 layers) (Radford et al. 2019,
    /// section 2.3), scales 1, biases 0.
    pub fn init(config: &ModelConfig, seed: u64, device: &Device) -> Self {
        let (d, v) = (config.hidden_size, config.vocab_size);
        let deviation = initial_deviation(config);
        let mut draw = Initialiser { seed, tensors: 0, device };
        Self {
            embedding: draw.normal([v, d], deviation),
            blocks: (0..config.num_hidden_layers).map(|_| Block::init(config, &mut draw)).collect(),
            norm: draw.constant(d, 1.0),
            output: (!config.tie_word_embeddings).then(|| draw.normal([d, v], deviation)),
            config: config.clone(),
        }
    }

    /// The device of the weights.
    pub fn device(&self) -> Device {
        self.embedding.val().device()
    }

    /// The same with its matrices in the type that products are computed in, so that a rollout does not convert them for every
    /// token. Not to be trained.
    pub(crate) fn for_decoding(&self) -> Self {
        struct Convert(Compute);
        impl ModuleMapper for Convert {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                if D < 2 { param } else { param.map(|matrix| self.0.enter(matrix)) }
            }
        }
        match self.config.compute {
            Compute::F32 => self.clone(),
            compute => self.clone().map(&mut Convert(compute)),
        }
    }

    /// Next-token logits of every position.
    ///
    /// # Shapes
    /// - `tokens`: `[B, T]`, padding on the right
    /// - output: `[B, T, V]`
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [_, time] = tokens.dims();
        let rotary = self.rotary_range(0..time, &tokens.device());
        let hidden = self.embed(tokens);
        let hidden = self.run_blocks(hidden, 0..self.blocks.len(), &rotary);
        self.logits(self.final_norm(hidden))
    }

    /// `[B, T]` ids to `[B, T, D]`.
    pub fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [batch, time] = tokens.dims();
        let rows = self.embedding.val().select(0, tokens.reshape([batch * time]));
        self.config.compute.leave(rows.reshape([batch, time, self.config.hidden_size]))
    }

    /// The residual stream `[B, T, D]` through the blocks of a range, each token seeing those before it.
    pub fn run_blocks(&self, mut hidden: Tensor<3>, range: Range<usize>, rotary: &Rotary) -> Tensor<3> {
        for block in &self.blocks[range] {
            hidden = recompute::through(block, hidden, rotary, &self.config);
        }
        hidden
    }

    /// One step with a cache: the residual stream of new tokens `[B, T, D]` through all blocks.
    pub fn run_cached(&self, mut hidden: Tensor<3>, rotary: &Rotary, cache: &mut Cache) -> Tensor<3> {
        cache.begin(hidden.dims()[1]);
        for (layer, block) in self.blocks.iter().enumerate() {
            hidden = block.forward_cached(hidden, rotary, &self.config, layer, cache);
        }
        cache.advance();
        hidden
    }

    /// The last RMSNorm, any leading shape folded into `[B, T, D]`.
    pub fn final_norm(&self, hidden: Tensor<3>) -> Tensor<3> {
        rms_norm(hidden, &self.norm, self.config.rms_norm_eps)
    }

    /// Normed residual stream to logits, `[B, T, D]` to `[B, T, V]`.
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [batch, time, width] = hidden.dims();
        let logits = self.logits_of_rows(hidden.reshape([batch * time, width]));
        logits.reshape([batch, time, self.config.vocab_size])
    }

    /// Normed residual stream of chosen positions to logits, `[M, D]` to `[M, V]`.
    pub fn logits_of_rows(&self, hidden: Tensor<2>) -> Tensor<2> {
        matmul(hidden, self.output_matrix(), None, self.config.compute)
    }

    /// What makes logits of the normed residual stream, `[D, V]`.
    pub(crate) fn output_matrix(&self) -> Tensor<2> {
        match &self.output {
            Some(output) => output.val(),
            None => self.embedding.val().transpose(),
        }
    }

    /// Rotary tables of consecutive positions that all rows share.
    pub fn rotary_range(&self, positions: Range<usize>, device: &Device) -> Rotary {
        let positions: Vec<usize> = positions.collect();
        let time = positions.len();
        Rotary::new(&positions, [1, time], &self.config, device)
    }

    /// Rotary tables of one position a row, for decoding.
    pub fn rotary_rows(&self, positions: &[usize], device: &Device) -> Rotary {
        Rotary::new(positions, [positions.len(), 1], &self.config, device)
    }
}

impl Block {
    pub(crate) fn init(config: &ModelConfig, draw: &mut Initialiser<'_>) -> Self {
        let (d, f, e) = (config.hidden_size, config.intermediate_size, config.head_width());
        let (heads, kv_heads) = (config.num_attention_heads, config.kv_heads());
        let deviation = initial_deviation(config);
        let residual = deviation / (2.0 * config.num_hidden_layers as f32).sqrt();
        let qkv_width = (heads + 2 * kv_heads) * e;
        Self {
            attention_norm: draw.constant(d, 1.0),
            qkv: draw.normal([d, qkv_width], deviation),
            qkv_bias: config.attention_bias.then(|| draw.constant(qkv_width, 0.0)),
            query_norm: config.qk_norm().then(|| draw.constant(e, 1.0)),
            key_norm: config.qk_norm().then(|| draw.constant(e, 1.0)),
            attention_output: draw.normal([heads * e, d], residual),
            feed_forward_norm: draw.constant(d, 1.0),
            gate_up: draw.normal([d, 2 * f], deviation),
            down: draw.normal([f, d], residual),
        }
    }

    /// Whole sequences: `[B, T, D]` to `[B, T, D]`.
    pub fn forward(&self, hidden: Tensor<3>, rotary: &Rotary, config: &ModelConfig) -> Tensor<3> {
        let normed = rms_norm(hidden.clone(), &self.attention_norm, config.rms_norm_eps);
        let projected = self.project(normed, config);
        let heads = (config.num_attention_heads, config.kv_heads());
        let fused = || fused::attention(&projected, [&rotary.cos, &rotary.sin], heads.0, heads.1);
        let attended = config.compute.fused(fused).unwrap_or_else(|| {
            let (query, key, value) = query_key_value(projected, rotary, config);
            let [_, _, time, _] = key.dims();
            let mask = causal_mask(time, &key.device());
            attend(query, key.swap_dims(2, 3), value, Some(mask), config.compute)
        });
        self.after_attention(hidden, attended, config)
    }

    fn forward_cached(
        &self,
        hidden: Tensor<3>,
        rotary: &Rotary,
        config: &ModelConfig,
        layer: usize,
        cache: &mut Cache,
    ) -> Tensor<3> {
        let normed = rms_norm(hidden.clone(), &self.attention_norm, config.rms_norm_eps);
        let projected = self.project(normed, config);
        let (heads, tables) = (config.num_attention_heads, [&rotary.cos, &rotary.sin]);
        let attended = cache.attend(layer, &projected, tables, heads).unwrap_or_else(|| {
            let (query, key, value) = query_key_value(projected, rotary, config);
            let (key, value) = cache.append(layer, key, value);
            attend(query, key, value, cache.mask(), config.compute)
        });
        self.after_attention(hidden, attended, config)
    }

    /// Queries, keys and values side by side, `[B, T, D]` to `[B, T, (H + 2 G) E]`.
    fn project(&self, normed: Tensor<3>, config: &ModelConfig) -> Tensor<3> {
        let mut projected = matmul_rows(normed, &self.qkv, config.compute);
        let [batch, time, width] = projected.dims();
        if let Some(bias) = &self.qkv_bias {
            projected = projected + bias.val().reshape([1, 1, width]);
        }
        let (Some(query_norm), Some(key_norm)) = (&self.query_norm, &self.key_norm) else { return projected };
        let e = config.head_width();
        let [queries, keys] = [config.num_attention_heads * e, config.kv_heads() * e];
        let by_head = |start: usize, width: usize, scale: &Param<Tensor<1>>| {
            let heads = projected.clone().narrow(2, start, width).reshape([batch * time, width / e, e]);
            rms_norm(heads, scale, config.rms_norm_eps).reshape([batch, time, width])
        };
        let values = projected.clone().narrow(2, queries + keys, keys);
        Tensor::cat(vec![by_head(0, queries, query_norm), by_head(queries, keys, key_norm), values], 2)
    }

    /// Output projection, residual additions and the feed-forward part; `attended`: `[B, T, H E]`.
    fn after_attention(&self, hidden: Tensor<3>, attended: Tensor<3>, config: &ModelConfig) -> Tensor<3> {
        let hidden = add_matmul_rows(hidden, attended, &self.attention_output, config.compute);
        let normed = rms_norm(hidden.clone(), &self.feed_forward_norm, config.rms_norm_eps);
        let gate_up = matmul_rows(normed, &self.gate_up, config.compute);
        add_matmul_rows(hidden, swiglu(gate_up), &self.down, config.compute)
    }
}

impl Rotary {
    /// Outside of any graph.
    pub(crate) fn inner(&self) -> Self {
        let inner =
            |table: &Tensor<4>| if table.device().is_autodiff() { table.clone().inner() } else { table.clone() };
        Self { cos: inner(&self.cos), sin: inner(&self.sin) }
    }

    fn new(positions: &[usize], shape: [usize; 2], config: &ModelConfig, device: &Device) -> Self {
        let half = config.head_width() / 2;
        // In f32 throughout, as Hugging Face computes it.
        let exponent = |pair: usize| (2 * pair) as f32 / config.head_width() as f32;
        let scaling = config.llama3_scaling();
        let period = |pair: usize| {
            let period = (config.rope_theta as f32).powf(exponent(pair));
            scaling.map_or(period, |scaling| period * scaling.stretch(f64::from(period)) as f32)
        };
        let periods: Vec<f32> = (0..half).map(period).collect();
        let mut cos: Vec<f32> = Vec::with_capacity(positions.len() * half);
        let mut sin: Vec<f32> = Vec::with_capacity(positions.len() * half);
        for (index, &position) in positions.iter().enumerate() {
            // Rows that decode samples of one prompt stand at one position.
            if index > 0 && positions[index - 1] == position {
                cos.extend_from_within((index - 1) * half..);
                sin.extend_from_within((index - 1) * half..);
                continue;
            }
            for &period in &periods {
                let angle = position as f32 / period;
                cos.push(angle.cos());
                sin.push(angle.sin());
            }
        }
        let shape = [shape[0], shape[1], 1, half];
        Self {
            cos: Tensor::from_data(TensorData::new(cos, shape), device),
            sin: Tensor::from_data(TensorData::new(sin, shape), device),
        }
    }

    /// Rotates `[B, T, heads, E]`, first half of a head against its second half, as Hugging Face's weights expect.
    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, _, e] = x.dims();
        let (first, second) = (x.clone().narrow(3, 0, e / 2), x.narrow(3, e / 2, e / 2));
        let (cos, sin) = (self.cos.clone(), self.sin.clone());
        let rotated_first = first.clone() * cos.clone() - second.clone() * sin.clone();
        let rotated_second = second * cos + first * sin;
        Tensor::cat(vec![rotated_first, rotated_second], 3)
    }
}

/// x / sqrt(mean(x^2) + eps) * scale over the last dimension (Zhang and Sennrich 2019, arXiv 1910.07467, eq. 4).
pub(crate) fn rms_norm(x: Tensor<3>, scale: &Param<Tensor<1>>, eps: f64) -> Tensor<3> {
    if let Some(normed) = fused::rms_norm(&x, &scale.val(), eps) {
        return normed;
    }
    let [_, _, width] = x.dims();
    let mean_square = x.clone().square().mean_dim(2);
    let inverse = mean_square.add_scalar(eps).sqrt().recip();
    x * inverse * scale.val().reshape([1, 1, width])
}

/// silu(gate) * up of `[B, T, 2 F]`, the gate first.
fn swiglu(gate_up: Tensor<3>) -> Tensor<3> {
    if let Some(product) = fused::swiglu(&gate_up) {
        return product;
    }
    let [_, _, width] = gate_up.dims();
    let gate = activation::silu(gate_up.clone().narrow(2, 0, width / 2));
    gate * gate_up.narrow(2, width / 2, width / 2)
}

/// Splits a projection and rotates queries and keys.
///
/// # Shapes
/// - `projected`: `[B, T, (H + 2 G) E]`
/// - query: `[B, H, T, E]`, scaled by 1 / sqrt(E); key and value: `[B, G, T, E]`
fn query_key_value(projected: Tensor<3>, rotary: &Rotary, config: &ModelConfig) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
    let [batch, time, _] = projected.dims();
    let (heads, kv_heads, e) = (config.num_attention_heads, config.kv_heads(), config.head_width());
    let all = projected.reshape([batch, time, heads + 2 * kv_heads, e]);
    let rotated = rotary.apply(all.clone().narrow(2, 0, heads + kv_heads));
    let query = rotated.clone().narrow(2, 0, heads).mul_scalar(1.0 / (e as f64).sqrt());
    let key = rotated.narrow(2, heads, kv_heads);
    let value = all.narrow(2, heads + kv_heads, kv_heads);
    (query.swap_dims(1, 2), key.swap_dims(1, 2), value.swap_dims(1, 2))
}

/// softmax(Q K^T + mask) V with the query already scaled. The query heads of one key/value head are folded into rows, so
/// that keys and values are not repeated.
///
/// # Shapes
/// - `query`: `[B, H, T, E]`; `key`: `[B, G, E, S]`; `value`: `[B, G, S, E]`
/// - `mask`: `[1 or B, 1, T, S]`, added to the scores
/// - output: `[B, T, H E]`
fn attend(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, mask: Option<Tensor<4>>, compute: Compute) -> Tensor<3> {
    let [batch, heads, time, e] = query.dims();
    let [_, kv_heads, _, slots] = key.dims();
    let group = heads / kv_heads;
    let folded = if group == 1 { query } else { query.reshape([batch, kv_heads, group * time, e]) };
    let mut scores = compute.leave(compute.enter(folded).matmul(compute.enter(key)));
    if let Some(mask) = mask {
        scores = if group == 1 {
            scores + mask
        } else {
            let scores: Tensor<5> = scores.reshape([batch, kv_heads, group, time, slots]);
            let masked = scores + mask.unsqueeze_dim::<5>(2);
            masked.reshape([batch, kv_heads, group * time, slots])
        };
    }
    let probabilities = compute.enter(activation::softmax(scores, 3));
    let attended = compute.leave(probabilities.matmul(compute.enter(value)));
    let attended = if group == 1 { attended } else { attended.reshape([batch, heads, time, e]) };
    attended.swap_dims(1, 2).reshape([batch, time, heads * e])
}

/// `[B, T, I]` times `[I, O]` as one product over B T rows.
fn matmul_rows(x: Tensor<3>, weight: &Param<Tensor<2>>, compute: Compute) -> Tensor<3> {
    let ([batch, time, input], [_, output]) = (x.dims(), weight.dims());
    adapted_matmul(x.reshape([batch * time, input]), weight, None, compute).reshape([batch, time, output])
}

/// [`matmul_rows`] added to a residual stream `[B, T, O]`.
fn add_matmul_rows(hidden: Tensor<3>, x: Tensor<3>, weight: &Param<Tensor<2>>, compute: Compute) -> Tensor<3> {
    let ([batch, time, input], [_, output]) = (x.dims(), weight.dims());
    let (hidden, x) = (hidden.reshape([batch * time, output]), x.reshape([batch * time, input]));
    adapted_matmul(x, weight, Some(hidden), compute).reshape([batch, time, output])
}

/// x W + `sum`, and with an adapter x W + (α / r) (x A) B + `sum`: the sum of W and the product of A and B is never made, nor is
/// the gradient of W, which is frozen.
fn adapted_matmul(x: Tensor<2>, weight: &Param<Tensor<2>>, sum: Option<Tensor<2>>, compute: Compute) -> Tensor<2> {
    let Some(adapter) = weight.adapter() else { return matmul(x, weight.val(), sum, compute) };
    let narrow = matmul(x.clone(), adapter.a.val(), None, compute).mul_scalar(adapter.scale);
    matmul(narrow, adapter.b.val(), Some(matmul(x, weight.base(), sum, compute)), compute)
}

pub(crate) fn matmul(x: Tensor<2>, weight: Tensor<2>, sum: Option<Tensor<2>>, compute: Compute) -> Tensor<2> {
    compute.fused(|| fused::product(&x, &weight, sum.as_ref())).unwrap_or_else(|| {
        let product = compute.leave(compute.enter(x).matmul(compute.enter(weight)));
        match sum {
            Some(sum) => sum + product,
            None => product,
        }
    })
}

fn initial_deviation(config: &ModelConfig) -> f32 {
    (config.hidden_size as f32).sqrt().recip()
}

/// Draws weights on the host, so that a seed means the same model on every backend.
pub(crate) struct Initialiser<'a> {
    pub(crate) seed: u64,
    pub(crate) tensors: u64,
    pub(crate) device: &'a Device,
}

impl Initialiser<'_> {
    fn normal(&mut self, shape: [usize; 2], deviation: f32) -> Param<Tensor<2>> {
        let key = Key::new(self.seed, Purpose::Weights).with(self.tensors);
        self.tensors += 1;
        let values: Vec<f32> = (0..(shape[0] * shape[1]) as u64).map(|i| deviation * key.normal(i)).collect();
        Param::from_data(TensorData::new(values, shape), self.device)
    }

    fn constant(&mut self, length: usize, value: f32) -> Param<Tensor<1>> {
        Param::from_data(TensorData::new(vec![value; length], [length]), self.device)
    }
}
