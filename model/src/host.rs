//! Tensors on the host. Independent of files and models.

use anyhow::Result;
use burn::tensor::{Tensor, TensorData, Transaction};
use std::collections::BTreeMap;

/// A tensor on the host, row-major f32.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// As many values as the product of the sizes.
    pub values: Vec<f32>,
}

impl HostTensor {
    /// Refuses weights that are NaN or infinite, which would make every output of a model the same.
    ///
    /// # Errors
    /// As a [`NotFinite`], naming the tensor.
    pub(crate) fn check_finite(&self, name: &str) -> Result<()> {
        match self.values.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(place) => Err(NotFinite(format!(
                "the tensor {name} has weights that are no finite numbers ({} at {place} of {}): take an earlier checkpoint, or \
                 fetch the file again",
                self.values[place],
                self.values.len()
            ))
            .into()),
        }
    }
}

/// Weights that are no finite numbers.
#[derive(Debug)]
pub(crate) struct NotFinite(String);

impl std::fmt::Display for NotFinite {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for NotFinite {}

/// Tensors by name.
pub type HostTensors = BTreeMap<String, HostTensor>;

/// The values of several lists on the host, read in one synchronisation.
pub fn to_host_together<const N: usize>(tensors: [Tensor<1>; N]) -> [Vec<f32>; N] {
    let read = tensors.into_iter().fold(Transaction::default(), Transaction::register).execute();
    let values = |data: TensorData| data.convert::<f32>().try_to_vec::<f32>().expect("converted above");
    read.into_iter().map(values).collect::<Vec<_>>().try_into().expect("as many as were registered")
}

/// The values of a tensor on the host.
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> HostTensor {
    let shape = tensor.dims().to_vec();
    let values = tensor.into_data().convert::<f32>().try_to_vec::<f32>().expect("converted above");
    HostTensor { shape, values }
}

/// A matrix with rows and columns exchanged.
pub(crate) fn transposed(matrix: &HostTensor) -> HostTensor {
    let [rows, columns] = [matrix.shape[0], matrix.shape[1]];
    let mut values = Vec::with_capacity(rows * columns);
    for column in 0..columns {
        values.extend((0..rows).map(|row| matrix.values[row * columns + column]));
    }
    HostTensor { shape: vec![columns, rows], values }
}

/// Cuts a tensor along its first dimension.
pub(crate) fn split_rows(tensor: &HostTensor, heights: &[usize]) -> Vec<HostTensor> {
    let row: usize = tensor.shape[1..].iter().product();
    let mut start = 0;
    let mut parts = Vec::new();
    for &height in heights {
        let mut shape = tensor.shape.clone();
        shape[0] = height;
        parts.push(HostTensor { shape, values: tensor.values[start * row..(start + height) * row].to_vec() });
        start += height;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(shape: [usize; 2], values: &[f32]) -> HostTensor {
        HostTensor { shape: shape.to_vec(), values: values.to_vec() }
    }

    #[test]
    fn transposing_swaps_rows_and_columns() {
        let found = transposed(&matrix([2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        assert_eq!(found, matrix([3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
    }

    #[test]
    fn a_fused_matrix_is_cut_at_the_heights_of_its_parts() {
        let parts = split_rows(&matrix([3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), &[1, 2]);
        assert_eq!(parts, [matrix([1, 2], &[1.0, 2.0]), matrix([2, 2], &[3.0, 4.0, 5.0, 6.0])]);
    }
}
