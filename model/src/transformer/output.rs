//! The output matrix: from the normed residual stream to logits. Independent of the blocks.

use super::operations::matmul;
use crate::dtype::Dtype;
use burn::{module::Param, tensor::Tensor};

/// The output matrix of a model, and what its products are computed in.
#[derive(Clone, Debug)]
pub(crate) struct OutputMatrix {
    /// `[D, V]`, or the embedding, `[V, D]`.
    pub(super) param: Param<Tensor<2>>,
    /// Whether the parameter is the embedding.
    pub(super) is_tied: bool,
    /// What products are computed in.
    pub(super) dtype: Dtype,
}

impl OutputMatrix {
    /// `[D, V]`.
    pub(crate) fn weights(&self) -> Tensor<2> {
        if self.is_tied { self.param.val().transpose() } else { self.param.val() }
    }

    /// `[M, D]` to `[M, V]`.
    pub(crate) fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        matmul(hidden, self.weights(), None, self.dtype)
    }
}
