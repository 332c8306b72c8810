//! The number type that matrix products are computed in. Independent of devices and models.

use anyhow::{Result, bail};
use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// The number type of matrix products. Weights, norms, rotations, softmax, losses and the optimiser are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32 bits.
    #[default]
    F32,
    /// The upper half of them: 8 bits of a number instead of 24, and half of the memory to read.
    Bf16,
}

impl Dtype {
    /// A factor of a product, in this type.
    pub(crate) fn to_factor<const D: usize>(self, factor: Tensor<D>) -> Tensor<D> {
        match self {
            Self::F32 => factor,
            Self::Bf16 => cast(factor, FloatDType::BF16),
        }
    }

    /// The result of a product, in f32.
    pub(crate) fn to_f32<const D: usize>(self, product: Tensor<D>) -> Tensor<D> {
        match self {
            Self::F32 => product,
            Self::Bf16 => cast(product, FloatDType::F32),
        }
    }

    /// The result of a fused operation, `None` where there is none for this type: all of them are in f32.
    pub(crate) fn fused<T>(self, operation: impl FnOnce() -> Option<T>) -> Option<T> {
        if self == Self::F32 { operation() } else { None }
    }
}

/// A tensor in another number type, itself where it has that already.
pub(crate) fn cast<const D: usize>(tensor: Tensor<D>, to: FloatDType) -> Tensor<D> {
    if tensor.dtype() == to.into() { tensor } else { tensor.cast(to) }
}

impl FromStr for Dtype {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => bail!("unknown number type {text}; known are f32, bf16"),
        }
    }
}
