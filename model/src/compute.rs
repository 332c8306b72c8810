//! What numbers matrix products are computed with: chosen once for a process, where a command begins, and kept by every model.

use anyhow::{Result, bail};
use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};
use std::{
    str::FromStr,
    sync::atomic::{AtomicBool, Ordering},
};

/// What matrix products are computed in. Weights, norms, rotations, softmax, losses and the optimiser are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compute {
    /// 32 bits.
    #[default]
    F32,
    /// The upper half of them: 8 bits of a number instead of 24, and half of the memory to read.
    Bf16,
}

impl Compute {
    /// A factor of a product.
    pub(crate) fn enter<const D: usize>(self, factor: Tensor<D>) -> Tensor<D> {
        match self {
            Self::F32 => factor,
            Self::Bf16 => cast(factor, FloatDType::BF16),
        }
    }

    /// What a fused operation gives, where there is one for these numbers: all of them are in f32.
    pub(crate) fn fused<T>(self, operation: impl FnOnce() -> Option<T>) -> Option<T> {
        if self == Self::F32 { operation() } else { None }
    }

    /// What a product has given, in f32.
    pub(crate) fn leave<const D: usize>(self, product: Tensor<D>) -> Tensor<D> {
        match self {
            Self::F32 => product,
            Self::Bf16 => cast(product, FloatDType::F32),
        }
    }
}

/// A tensor in another type of numbers, itself where it has that already.
pub(crate) fn cast<const D: usize>(tensor: Tensor<D>, to: FloatDType) -> Tensor<D> {
    if tensor.dtype() == to.into() { tensor } else { tensor.cast(to) }
}

impl FromStr for Compute {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => bail!("unknown type of numbers {text}; known are f32, bf16"),
        }
    }
}

/// Whether products of this process are computed in bf16.
static IN_BF16: AtomicBool = AtomicBool::new(false);

/// What models that are made or read from now on compute products in.
pub(crate) fn compute_in(compute: Compute) {
    IN_BF16.store(compute == Compute::Bf16, Ordering::Relaxed);
}

/// What [`compute_in`] has said.
pub(crate) fn computing() -> Compute {
    if IN_BF16.load(Ordering::Relaxed) { Compute::Bf16 } else { Compute::F32 }
}
