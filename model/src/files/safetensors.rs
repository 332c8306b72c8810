//! Safetensors files of tensors on the host. Independent of models.

use crate::host::{HostTensor, HostTensors};
use anyhow::{Context, Result, bail};
use burn::tensor::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::{borrow::Cow, path::Path};

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

/// Writes f32 tensors as safetensors, with the metadata that Hugging Face requires.
///
/// # Errors
/// Whatever the file system reports.
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

/// A safetensors file: sizes, offsets and overlaps are checked by its crate.
pub(crate) fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes).with_context(|| format!("{} is not a whole safetensors file", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_formats_are_read_as_the_numbers_they_name() {
        // 1.5 and -0.25 in each format, little-endian.
        assert_eq!(to_f32(Dtype::BF16, &[0xc0, 0x3f, 0x80, 0xbe]).unwrap(), [1.5, -0.25]);
        assert_eq!(to_f32(Dtype::F16, &[0x00, 0x3e, 0x00, 0xb4]).unwrap(), [1.5, -0.25]);
        let error = to_f32(Dtype::I64, &[0; 8]).unwrap_err().to_string();
        assert!(error.contains("I64 is not supported"), "{error}");
    }
}
