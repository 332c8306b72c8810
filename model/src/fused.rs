//! Operations of a transformer that cost the CPU backend more than their arithmetic when they are put together from small
//! ones: each is one pass here, with a gradient of its own. Backends of GPUs fuse by themselves (burn's `fusion`); for them every
//! function returns `None`, and the caller takes the plain form instead.
//!
//! `product.rs`, `rows.rs`, `attention.rs` and `cached.rs` have the arithmetic, on slices; `operation.rs` has the step back through
//! each. This file and `decode.rs` make burn call it (a *backend extension*); `adamw.rs` has both of the optimiser's step.

mod adamw;
mod attention;
mod backend;
mod cached;
mod decode;
mod operation;
mod product;
mod rows;

pub use adamw::{AdamWStep, adamw};
#[cfg(test)]
pub(crate) use backend::plainly;
pub(crate) use backend::serves;
use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex,
        autodiff::checkpoint::strategy::CheckpointStrategy,
        backend_extension,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{Int, Tensor},
};
pub(crate) use cached::SLOTS;
pub(crate) use decode::{CachedRows, attention_with_cache};
use operation::{Operation, ids, tracked};

/// x W, added to `sum` where one is given.
///
/// # Shapes
/// - `x`: `[M, I]`; `weight`: `[I, O]`; `sum` and output: `[M, O]`
pub(crate) fn product(x: &Tensor<2>, weight: &Tensor<2>, sum: Option<&Tensor<2>>) -> Option<Tensor<2>> {
    serves(x).then(|| {
        let (x, weight) = (x.clone().into_dispatch(), weight.clone().into_dispatch());
        Tensor::from_dispatch(match sum {
            Some(sum) => Dispatch::fused_product_sum(x, weight, sum.clone().into_dispatch()),
            None => Dispatch::fused_product(x, weight),
        })
    })
}

/// x / sqrt(mean(x²) + ε) · scale over the last dimension; see `rms_norm` of the transformer.
///
/// # Shapes
/// - `x`: `[.., D]`; `scale`: `[D]`
pub(crate) fn rms_norm<const D: usize>(x: &Tensor<D>, scale: &Tensor<1>, epsilon: f64) -> Option<Tensor<D>> {
    serves(x).then(|| {
        let (x, scale) = (x.clone().into_dispatch(), scale.clone().into_dispatch());
        Tensor::from_dispatch(Dispatch::fused_rms_norm(x, scale, epsilon as f32))
    })
}

/// silu(gate) · up.
///
/// # Shapes
/// - `gate_up`: `[.., 2 F]`, the gate first; output: `[.., F]`
pub(crate) fn swiglu<const D: usize>(gate_up: &Tensor<D>) -> Option<Tensor<D>> {
    serves(gate_up).then(|| Tensor::from_dispatch(Dispatch::fused_swiglu(gate_up.clone().into_dispatch())))
}

/// Causal attention over whole sequences, rotary positions included.
///
/// # Shapes
/// - `qkv`: `[B, T, (H + 2 G) E]`, queries, keys and values side by side; `cos`, `sin`: `[1, T, 1, E / 2]`
/// - output: `[B, T, H E]`
pub(crate) fn attention(
    qkv: &Tensor<3>,
    [cos, sin]: [&Tensor<4>; 2],
    heads: usize,
    kv_heads: usize,
) -> Option<Tensor<3>> {
    serves(qkv).then(|| {
        let [qkv, cos, sin] = [qkv.clone().into_dispatch(), cos.clone().into_dispatch(), sin.clone().into_dispatch()];
        Tensor::from_dispatch(Dispatch::fused_attention(qkv, cos, sin, heads, kv_heads))
    })
}

/// log softmax(z / temperature) at one target per row.
///
/// # Shapes
/// - `logits`: `[M, V]`; `targets`: `[M]`; output: `[M]`
pub(crate) fn token_log_probs(logits: &Tensor<2>, targets: &Tensor<1, Int>, temperature: f64) -> Option<Tensor<1>> {
    serves(logits).then(|| {
        let (logits, targets) = (logits.clone().into_dispatch(), targets.clone().into_dispatch());
        Tensor::from_dispatch(Dispatch::fused_token_log_probs(logits, targets, temperature as f32))
    })
}

/// log softmax(x W / temperature) at one target per row, in parts of `part` rows: the logits of all rows never exist together,
/// and are computed once more for the gradient.
///
/// # Shapes
/// - `hidden`: `[M, D]`; `output`: `[D, V]`; `targets`: `[M]`; output: `[M]`
pub(crate) fn output_log_probs(
    hidden: &Tensor<2>,
    output: &Tensor<2>,
    targets: &Tensor<1, Int>,
    temperature: f64,
    part: usize,
) -> Option<Tensor<1>> {
    serves(hidden).then(|| {
        let (hidden, output) = (hidden.clone().into_dispatch(), output.clone().into_dispatch());
        let targets = targets.clone().into_dispatch();
        Tensor::from_dispatch(Dispatch::fused_output_log_probs(hidden, output, targets, temperature as f32, part))
    })
}

/// Draws one token per row; returns it with its log-probability at temperature 1, on the host where the logits are already.
///
/// # Shapes
/// - `logits`: `[B, V]`; `uniforms`: B numbers in [0, 1)
pub(crate) fn sample(logits: &Tensor<2>, temperature: f64, uniforms: &[f32]) -> Option<(Vec<u32>, Vec<f32>)> {
    serves(logits).then(|| {
        let logits = logits.to_data();
        rows::sample(logits.as_slice().expect("f32"), temperature as f32, uniforms)
    })
}

/// What burn calls.
#[backend_extension(Flex, Autodiff)]
trait FusedOps: Backend {
    fn fused_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_product_sum(x: FloatTensor<Self>, weight: FloatTensor<Self>, sum: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_rms_norm(x: FloatTensor<Self>, scale: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self>;
    fn fused_swiglu(gate_up: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_attention(
        qkv: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: usize,
        kv_heads: usize,
    ) -> FloatTensor<Self>;
    fn fused_token_log_probs(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        temperature: f32,
    ) -> FloatTensor<Self>;
    fn fused_output_log_probs(
        hidden: FloatTensor<Self>,
        output: FloatTensor<Self>,
        targets: IntTensor<Self>,
        temperature: f32,
        part: usize,
    ) -> FloatTensor<Self>;
}

impl FusedOps for Flex {
    fn fused_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        Operation::Product.forward(&[x, weight])
    }

    fn fused_product_sum(x: FloatTensor<Self>, weight: FloatTensor<Self>, sum: FloatTensor<Self>) -> FloatTensor<Self> {
        Operation::Product.forward(&[x, weight, sum])
    }

    fn fused_rms_norm(x: FloatTensor<Self>, scale: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        Operation::RmsNorm { epsilon }.forward(&[x, scale])
    }

    fn fused_swiglu(gate_up: FloatTensor<Self>) -> FloatTensor<Self> {
        Operation::Swiglu.forward(&[gate_up])
    }

    fn fused_attention(
        qkv: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: usize,
        kv_heads: usize,
    ) -> FloatTensor<Self> {
        Operation::Attention { rotary: Box::new([cos, sin]), heads, kv_heads }.forward(&[qkv])
    }

    fn fused_token_log_probs(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        temperature: f32,
    ) -> FloatTensor<Self> {
        Operation::TokenLogProbs { targets: ids(targets), temperature }.forward(&[logits])
    }

    fn fused_output_log_probs(
        hidden: FloatTensor<Self>,
        output: FloatTensor<Self>,
        targets: IntTensor<Self>,
        temperature: f32,
        part: usize,
    ) -> FloatTensor<Self> {
        Operation::OutputLogProbs { targets: ids(targets), temperature, part }.forward(&[hidden, output])
    }
}

impl<C: CheckpointStrategy> FusedOps for Autodiff<Flex, C> {
    fn fused_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        tracked::<C, 2>([x, weight], Operation::Product)
    }

    fn fused_product_sum(x: FloatTensor<Self>, weight: FloatTensor<Self>, sum: FloatTensor<Self>) -> FloatTensor<Self> {
        tracked::<C, 3>([x, weight, sum], Operation::Product)
    }

    fn fused_rms_norm(x: FloatTensor<Self>, scale: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        tracked::<C, 2>([x, scale], Operation::RmsNorm { epsilon })
    }

    fn fused_swiglu(gate_up: FloatTensor<Self>) -> FloatTensor<Self> {
        tracked::<C, 1>([gate_up], Operation::Swiglu)
    }

    fn fused_attention(
        qkv: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: usize,
        kv_heads: usize,
    ) -> FloatTensor<Self> {
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        tracked::<C, 1>([qkv], Operation::Attention { rotary: Box::new([cos, sin]), heads, kv_heads })
    }

    fn fused_token_log_probs(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        temperature: f32,
    ) -> FloatTensor<Self> {
        tracked::<C, 1>([logits], Operation::TokenLogProbs { targets: ids(targets), temperature })
    }

    fn fused_output_log_probs(
        hidden: FloatTensor<Self>,
        output: FloatTensor<Self>,
        targets: IntTensor<Self>,
        temperature: f32,
        part: usize,
    ) -> FloatTensor<Self> {
        tracked::<C, 2>([hidden, output], Operation::OutputLogProbs { targets: ids(targets), temperature, part })
    }
}

#[cfg(test)]
mod tests;
