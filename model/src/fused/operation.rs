//! The operations as burn's graph of gradients has them: what one computes, and the step back through it.

use super::{
    attention::{self, Shape},
    product::{self, Matrix},
    rows,
};
use burn::{
    backend::{
        Autodiff, Flex, TensorMetadata,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        tensor::{FloatTensor, IntTensor},
    },
    tensor::TensorData,
};
use std::borrow::Cow;

/// An operation with all that is not differentiated.
#[derive(Clone, Debug)]
pub(super) enum Operation {
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
    pub(super) fn forward(&self, inputs: &[FloatTensor<Flex>]) -> FloatTensor<Flex> {
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
pub(super) fn tracked<C: CheckpointStrategy, const N: usize>(
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
pub(super) fn numbers(tensor: &FloatTensor<Flex>) -> Cow<'_, [f32]> {
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

pub(super) fn tensor(values: Vec<f32>, shape: Vec<usize>) -> FloatTensor<Flex> {
    FloatTensor::<Flex>::from_data(TensorData::new(values, shape))
}

pub(super) fn ids(tensor: IntTensor<Flex>) -> Vec<usize> {
    let ids = tensor.into_data().convert::<i64>().try_to_vec::<i64>().expect("converted above");
    ids.into_iter().map(|id| id as usize).collect()
}
