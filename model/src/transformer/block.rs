//! One block of the transformer: attention and feed-forward part. Independent of what stands before and after it.

use super::{
    cache::{Cache, causal_mask},
    initial::{Initialiser, initial_deviation},
    operations::{add_matmul_rows, attend, matmul_rows, query_key_value, rms_norm, swiglu},
    rotary::Rotary,
};
use crate::{config::ModelConfig, fused};
use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

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

impl Block {
    pub(super) fn init(config: &ModelConfig, draw: &mut Initialiser<'_>) -> Self {
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
        let attended = config.compute_dtype.fused(fused).unwrap_or_else(|| {
            let (query, key, value) = query_key_value(projected, rotary, config);
            let [_, _, time, _] = key.dims();
            let mask = causal_mask(time, &key.device());
            attend(query, key.swap_dims(2, 3), value, Some(mask), config.compute_dtype)
        });
        self.after_attention(hidden, attended, config)
    }

    pub(super) fn forward_cached(
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
            attend(query, key, value, cache.mask(), config.compute_dtype)
        });
        self.after_attention(hidden, attended, config)
    }

    /// Queries, keys and values side by side, `[B, T, D]` to `[B, T, (H + 2 G) E]`.
    fn project(&self, normed: Tensor<3>, config: &ModelConfig) -> Tensor<3> {
        let mut projected = matmul_rows(normed, &self.qkv, config.compute_dtype);
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
        let hidden = add_matmul_rows(hidden, attended, &self.attention_output, config.compute_dtype);
        let normed = rms_norm(hidden.clone(), &self.feed_forward_norm, config.rms_norm_eps);
        let gate_up = matmul_rows(normed, &self.gate_up, config.compute_dtype);
        add_matmul_rows(hidden, swiglu(gate_up), &self.down, config.compute_dtype)
    }
}
