//! The arithmetic of a block on tensors: RMSNorm, SwiGLU, attention, and products with or without an adapter. Each takes the fused
//! operation where the backend has it. Independent of the model's parameters.

use super::rotary::Rotary;
use crate::{config::ModelConfig, dtype::Dtype, fused};
use burn::{
    module::Param,
    tensor::{Tensor, activation},
};

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
pub(super) fn swiglu(gate_up: Tensor<3>) -> Tensor<3> {
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
pub(super) fn query_key_value(
    projected: Tensor<3>,
    rotary: &Rotary,
    config: &ModelConfig,
) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
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
pub(super) fn attend(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    mask: Option<Tensor<4>>,
    dtype: Dtype,
) -> Tensor<3> {
    let [batch, heads, time, e] = query.dims();
    let [_, kv_heads, _, slots] = key.dims();
    let group = heads / kv_heads;
    let folded = if group == 1 { query } else { query.reshape([batch, kv_heads, group * time, e]) };
    let mut scores = dtype.to_f32(dtype.to_factor(folded).matmul(dtype.to_factor(key)));
    if let Some(mask) = mask {
        scores = if group == 1 {
            scores + mask
        } else {
            let scores: Tensor<5> = scores.reshape([batch, kv_heads, group, time, slots]);
            let masked = scores + mask.unsqueeze_dim::<5>(2);
            masked.reshape([batch, kv_heads, group * time, slots])
        };
    }
    let probabilities = dtype.to_factor(activation::softmax(scores, 3));
    let attended = dtype.to_f32(probabilities.matmul(dtype.to_factor(value)));
    let attended = if group == 1 { attended } else { attended.reshape([batch, heads, time, e]) };
    attended.swap_dims(1, 2).reshape([batch, time, heads * e])
}

/// `[B, T, I]` times `[I, O]` as one product over B T rows.
pub(super) fn matmul_rows(x: Tensor<3>, weight: &Param<Tensor<2>>, dtype: Dtype) -> Tensor<3> {
    let ([batch, time, input], [_, output]) = (x.dims(), weight.dims());
    adapted_matmul(x.reshape([batch * time, input]), weight, None, dtype).reshape([batch, time, output])
}

/// [`matmul_rows`] added to a residual stream `[B, T, O]`.
pub(super) fn add_matmul_rows(hidden: Tensor<3>, x: Tensor<3>, weight: &Param<Tensor<2>>, dtype: Dtype) -> Tensor<3> {
    let ([batch, time, input], [_, output]) = (x.dims(), weight.dims());
    let (hidden, x) = (hidden.reshape([batch * time, output]), x.reshape([batch * time, input]));
    adapted_matmul(x, weight, Some(hidden), dtype).reshape([batch, time, output])
}

/// x W + `sum`, and with an adapter x W + (α / r) (x A) B + `sum`: the sum of W and the product of A and B is never made, nor is
/// the gradient of W, which is frozen.
fn adapted_matmul(x: Tensor<2>, weight: &Param<Tensor<2>>, sum: Option<Tensor<2>>, dtype: Dtype) -> Tensor<2> {
    let Some(adapter) = weight.adapter() else { return matmul(x, weight.val(), sum, dtype) };
    let narrow = matmul(x.clone(), adapter.a.val(), None, dtype).mul_scalar(adapter.scale);
    matmul(narrow, adapter.b.val(), Some(matmul(x, weight.base(), sum, dtype)), dtype)
}

pub(crate) fn matmul(x: Tensor<2>, weight: Tensor<2>, sum: Option<Tensor<2>>, dtype: Dtype) -> Tensor<2> {
    dtype.fused(|| fused::product(&x, &weight, sum.as_ref())).unwrap_or_else(|| {
        let product = dtype.to_f32(dtype.to_factor(x).matmul(dtype.to_factor(weight)));
        match sum {
            Some(sum) => sum + product,
            None => product,
        }
    })
}
