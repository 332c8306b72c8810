//! Tensors on the host, and safetensors files of them. Knows no model.

use anyhow::{Context, Result, bail};
use burn::tensor::{Tensor, TensorData, Transaction, bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::{borrow::Cow, collections::BTreeMap, path::Path};

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

/// How numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberFormat {
    /// 32 bits, as they are held here.
    F32,
    /// 16 bits with the range of f32.
    Bf16,
    /// 16 bits with more digits and less range.
    F16,
}

/// Reads a safetensors file in f32, f16 or bf16 as f32.
///
/// # Errors
/// A missing, truncated or malformed file, or another number format.
pub fn read_tensors(path: &Path) -> Result<HostTensors> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let convert = |(name, view): (String, TensorView<'_>)| {
        let tensor =
            to_host_tensor(&view).with_context(|| format!("the tensor {name} of {} cannot be read", path.display()))?;
        Ok((name, tensor))
    };
    parse(path, &bytes)?.tensors().into_iter().map(convert).collect()
}

/// Writes f32 tensors as safetensors, with the metadata that Hugging Face asks for.
///
/// # Errors
/// What the file system says.
pub fn write_tensors(path: &Path, tensors: &HostTensors) -> Result<()> {
    write_tensors_as(path, tensors, NumberFormat::F32)
}

pub(crate) fn write_tensors_as(path: &Path, tensors: &HostTensors, format: NumberFormat) -> Result<()> {
    type Stored<'a> = (Dtype, Cow<'a, [u8]>);
    fn halves(to_bits: fn(f32) -> u16, values: &[f32]) -> Cow<'_, [u8]> {
        values.iter().flat_map(|&value| to_bits(value).to_le_bytes()).collect::<Vec<u8>>().into()
    }
    fn stored(values: &[f32], format: NumberFormat) -> Stored<'_> {
        match format {
            NumberFormat::F32 => (Dtype::F32, Cow::Borrowed(bytemuck::cast_slice(values))),
            NumberFormat::Bf16 => (Dtype::BF16, halves(|value| bf16::from_f32(value).to_bits(), values)),
            NumberFormat::F16 => (Dtype::F16, halves(|value| f16::from_f32(value).to_bits(), values)),
        }
    }
    let stored: Vec<(&String, &[usize], Stored<'_>)> =
        tensors.iter().map(|(name, tensor)| (name, tensor.shape.as_slice(), stored(&tensor.values, format))).collect();
    let views = stored
        .iter()
        .map(|(name, shape, (dtype, bytes))| Ok((name.as_str(), TensorView::new(*dtype, shape.to_vec(), bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    let metadata = [("format".to_string(), "pt".to_string())].into_iter().collect();
    safetensors::serialize_to_file(views, Some(metadata), path)
        .with_context(|| format!("cannot write {}", path.display()))
}

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

/// A tensor of a file as f32.
pub(crate) fn to_host_tensor(view: &TensorView<'_>) -> Result<HostTensor> {
    Ok(HostTensor { shape: view.shape().to_vec(), values: to_f32(view.dtype(), view.data())? })
}

fn to_f32(dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>> {
    let pairs = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    Ok(match dtype {
        Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::BF16 => pairs().map(|bits| f32::from_bits(u32::from(bits) << 16)).collect(),
        Dtype::F16 => pairs().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        other => bail!("the number format {other:?} is not supported; supported are F32, F16, BF16"),
    })
}

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

/// A safetensors file: sizes, offsets and overlaps are checked by its crate.
pub(crate) fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes).with_context(|| format!("{} is not a whole safetensors file", path.display()))
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

    #[test]
    fn half_precision_formats_are_read_as_the_numbers_they_name() {
        // 1.5 and -0.25 in each format, little-endian.
        assert_eq!(to_f32(Dtype::BF16, &[0xc0, 0x3f, 0x80, 0xbe]).unwrap(), [1.5, -0.25]);
        assert_eq!(to_f32(Dtype::F16, &[0x00, 0x3e, 0x00, 0xb4]).unwrap(), [1.5, -0.25]);
        let error = to_f32(Dtype::I64, &[0; 8]).unwrap_err().to_string();
        assert!(error.contains("I64 is not supported"), "{error}");
    }
}
