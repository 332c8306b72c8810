//! Operations of a transformer that cost the CPU backend more than their arithmetic when they are put together from small
//! ones: each is one pass here, with a gradient of its own. Other backends fuse by themselves; for them every function says
//! `None`, and the caller has the plain form beside it.
//!
//! `product.rs`, `rows.rs`, `attention.rs` and `cached.rs` have the arithmetic, on slices. This file and `decode.rs`
//! make burn call it (a *backend extension*); `adamw.rs` has both of the optimiser's step.

mod adamw;
mod attention;
mod cached;
mod decode;
mod product;
mod rows;

pub use adamw::{AdamWStep, adamw};
use attention::Shape;
use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, TensorMetadata,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{DType, Int, Tensor, TensorData},
};
pub(crate) use cached::SLOTS;
pub(crate) use decode::{CachedRows, attention_with_cache};
use product::Matrix;
use std::borrow::Cow;

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

/// log softmax(z / temperature) at one target a row.
///
/// # Shapes
/// - `logits`: `[M, V]`; `targets`: `[M]`; output: `[M]`
pub(crate) fn token_log_probs(logits: &Tensor<2>, targets: &Tensor<1, Int>, temperature: f64) -> Option<Tensor<1>> {
    serves(logits).then(|| {
        let (logits, targets) = (logits.clone().into_dispatch(), targets.clone().into_dispatch());
        Tensor::from_dispatch(Dispatch::fused_token_log_probs(logits, targets, temperature as f32))
    })
}

/// log softmax(x W / temperature) at one target a row, in parts of `part` rows: the logits of all rows never exist together,
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

/// Draws one token a row and tells its log-probability at temperature 1, on the host where the logits are already.
///
/// # Shapes
/// - `logits`: `[B, V]`; `uniforms`: B numbers in [0, 1)
pub(crate) fn sample(logits: &Tensor<2>, temperature: f64, uniforms: &[f32]) -> Option<(Vec<u32>, Vec<f32>)> {
    serves(logits).then(|| {
        let logits = logits.to_data();
        rows::sample(logits.as_slice().expect("f32"), temperature as f32, uniforms)
    })
}

/// Whether a tensor lives on the backend that this file is for.
pub(crate) fn serves<const D: usize>(tensor: &Tensor<D>) -> bool {
    #[cfg(test)]
    if PLAIN.get() {
        return false;
    }
    tensor.dtype() == DType::F32 && crate::device::is_cpu(&tensor.device())
}

#[cfg(test)]
thread_local! {
    static PLAIN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `work` with the plain forms that other backends have.
#[cfg(test)]
pub(crate) fn plainly<R>(work: impl FnOnce() -> R) -> R {
    PLAIN.set(true);
    let result = work();
    PLAIN.set(false);
    result
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

/// An operation with all that is not differentiated.
#[derive(Clone, Debug)]
enum Operation {
    Product,
    RmsNorm {
        epsilon: f32,
    },
    Swiglu,
    /// With the cosines and sines of the rotary positions.
    Attention {
        rotary: Box<[FloatTensor<Flex>; 2]>,
        heads: usize,
        kv_heads: usize,
    },
    TokenLogProbs {
        targets: Vec<usize>,
        temperature: f32,
    },
    OutputLogProbs {
        targets: Vec<usize>,
        temperature: f32,
        /// Rows whose logits exist together.
        part: usize,
    },
}

impl Operation {
    fn forward(&self, inputs: &[FloatTensor<Flex>]) -> FloatTensor<Flex> {
        let mut shape = inputs[0].shape().to_vec();
        let last = shape.len() - 1;
        let out = match self {
            Self::Product => {
                let (x, weight) = (matrix(&inputs[0]), matrix(&inputs[1]));
                shape[last] = weight.columns;
                let sum = inputs.get(2).map(|sum| numbers(sum).into_owned());
                product::product(x, weight, sum)
            }
            Self::RmsNorm { epsilon } => rows::rms_norm(&numbers(&inputs[0]), &numbers(&inputs[1]), *epsilon),
            Self::Swiglu => {
                shape[last] /= 2;
                rows::swiglu(&numbers(&inputs[0]), shape[last])
            }
            Self::Attention { rotary, heads, kv_heads } => {
                let attended = attended(&shape, *heads, *kv_heads);
                shape[last] = attended.heads * attended.width;
                let [cos, sin] = rotary.each_ref().map(numbers);
                attention::forward(&numbers(&inputs[0]), &cos, &sin, attended)
            }
            Self::TokenLogProbs { targets, temperature } => {
                shape = vec![targets.len()];
                rows::token_log_probs(&numbers(&inputs[0]), targets, *temperature)
            }
            Self::OutputLogProbs { targets, temperature, part } => {
                shape = vec![targets.len()];
                let (hidden, output) = (matrix(&inputs[0]), matrix(&inputs[1]));
                let of_part = |(index, targets): (usize, &[usize])| {
                    let logits = product::product(hidden.part(index * part, targets.len()), output, None);
                    rows::token_log_probs(&logits, targets, *temperature)
                };
                targets.chunks(*part).enumerate().flat_map(of_part).collect()
            }
        };
        tensor(out, shape)
    }

    /// The gradients by those inputs that want one, in their order.
    fn backward(
        &self,
        inputs: &[FloatTensor<Flex>],
        output: &FloatTensor<Flex>,
        grad: FloatTensor<Flex>,
        wanted: &[bool],
    ) -> Vec<Option<FloatTensor<Flex>>> {
        let shape = |index: usize| inputs[index].shape().to_vec();
        let width = *shape(0).last().expect("no scalars");
        let by_input = match self {
            Self::Product => {
                let of_grad = matrix(&grad);
                let by_x = || product::product(of_grad, matrix(&inputs[1]).transposed(), None);
                let by_weight = || product::product(matrix(&inputs[0]).transposed(), of_grad, None);
                let by_x = wanted[0].then(|| tensor(by_x(), shape(0)));
                let by_weight = wanted[1].then(|| tensor(by_weight(), shape(1)));
                return vec![by_x, by_weight, Some(grad)];
            }
            Self::RmsNorm { epsilon } => {
                let (x, scale) = (numbers(&inputs[0]), numbers(&inputs[1]));
                let (by_x, by_scale) = rows::rms_norm_backward(&x, &scale, *epsilon, &numbers(&grad));
                return vec![Some(tensor(by_x, shape(0))), Some(tensor(by_scale, shape(1)))];
            }
            Self::Swiglu => rows::swiglu_backward(&numbers(&inputs[0]), width / 2, &numbers(&grad)),
            Self::Attention { rotary, heads, kv_heads } => {
                let attended = attended(&shape(0), *heads, *kv_heads);
                let [cos, sin] = rotary.each_ref().map(numbers);
                attention::backward(&numbers(&inputs[0]), &cos, &sin, attended, &numbers(&grad))
            }
            Self::TokenLogProbs { targets, temperature } => {
                let (logits, log_probs) = (numbers(&inputs[0]), numbers(output));
                rows::token_log_probs_backward(&logits, targets, *temperature, &log_probs, &numbers(&grad))
            }
            Self::OutputLogProbs { targets, temperature, part } => {
                let (hidden, head, log_probs, grad) =
                    (matrix(&inputs[0]), matrix(&inputs[1]), numbers(output), numbers(&grad));
                let (mut by_hidden, mut by_head) = (Vec::with_capacity(hidden.rows * hidden.columns), None);
                for (index, targets) in targets.chunks(*part).enumerate() {
                    let (start, end) = (index * part, index * part + targets.len());
                    let rows_of_part = hidden.part(start, targets.len());
                    let logits = product::product(rows_of_part, head, None);
                    let (log_probs, grad) = (&log_probs[start..end], &grad[start..end]);
                    let by_logits = rows::token_log_probs_backward(&logits, targets, *temperature, log_probs, grad);
                    let by_logits = Matrix::by_rows(&by_logits, head.columns);
                    if wanted[0] {
                        by_hidden.extend(product::product(by_logits, head.transposed(), None));
                    }
                    if wanted[1] {
                        by_head = Some(product::product(rows_of_part.transposed(), by_logits, by_head));
                    }
                }
                let by_hidden = wanted[0].then(|| tensor(by_hidden, shape(0)));
                return vec![by_hidden, by_head.map(|by_head| tensor(by_head, shape(1)))];
            }
        };
        vec![Some(tensor(by_input, shape(0)))]
    }
}

/// An operation that is put into the graph of gradients.
fn tracked<C: CheckpointStrategy, const N: usize>(
    inputs: [FloatTensor<Autodiff<Flex, C>>; N],
    operation: Operation,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = inputs.each_ref().map(|input| input.node());
    let inputs = inputs.map(|input| input.into_primitive());
    match Tracked.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let output = operation.forward(&inputs);
            prep.finish((operation, inputs, output.clone()), output)
        }
        OpsKind::UnTracked(prep) => prep.finish(operation.forward(&inputs)),
    }
}

/// The step back through any [`Operation`].
#[derive(Debug)]
struct Tracked;

impl<const N: usize> Backward<Flex, N> for Tracked {
    type State = (Operation, [FloatTensor<Flex>; N], FloatTensor<Flex>);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (operation, inputs, output) = ops.state;
        let grad = grads.consume::<Flex>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        for (parent, by_input) in ops.parents.iter().zip(operation.backward(&inputs, &output, grad, &wanted)) {
            if let (Some(parent), Some(by_input)) = (parent, by_input) {
                grads.register::<Flex>(parent.id, by_input);
            }
        }
    }
}

fn attended(shape: &[usize], heads: usize, kv_heads: usize) -> Shape {
    let &[batch, time, projected] = shape else { panic!("queries, keys and values of {} dimensions", shape.len()) };
    Shape { batch, time, heads, kv_heads, width: projected / (heads + 2 * kv_heads) }
}

/// The numbers of a tensor in their order; copied only where they do not lie that way.
fn numbers(tensor: &FloatTensor<Flex>) -> Cow<'_, [f32]> {
    match tensor.as_slice() {
        Some(numbers) => Cow::Borrowed(numbers),
        None => Cow::Owned(tensor.to_contiguous().as_slice().expect("contiguous now, and f32").to_vec()),
    }
}

/// A tensor of two dimensions as it lies.
fn matrix(tensor: &FloatTensor<Flex>) -> Matrix<'_> {
    let (layout, shape) = (tensor.layout(), tensor.shape());
    let stride = |dimension: usize| usize::try_from(layout.strides()[dimension]).expect("nothing is flipped here");
    Matrix {
        numbers: &tensor.storage::<f32>()[layout.start_offset()..],
        rows: shape[0],
        columns: shape[1],
        row_stride: stride(0),
        column_stride: stride(1),
    }
}

fn tensor(values: Vec<f32>, shape: Vec<usize>) -> FloatTensor<Flex> {
    FloatTensor::<Flex>::from_data(TensorData::new(values, shape))
}

fn ids(tensor: IntTensor<Flex>) -> Vec<usize> {
    let ids = tensor.into_data().convert::<i64>().try_to_vec::<i64>().expect("converted above");
    ids.into_iter().map(|id| id as usize).collect()
}

#[cfg(test)]
mod tests;
