//! Rows of different lengths as one tensor. Padding is determined by lengths, never by token ids.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// Rows of token ids as `[B, T]`, T the length of the longest, padded on the right.
///
/// # Panics
/// Without a row.
pub fn pad_right(rows: &[&[u32]], device: &Device) -> Tensor<2, Int> {
    let time = rows.iter().map(|row| row.len()).max().expect("there are rows to pad");
    let mut ids = vec![0i32; rows.len() * time];
    for (places, row) in ids.chunks_mut(time.max(1)).zip(rows) {
        places.iter_mut().zip(*row).for_each(|(place, &id)| *place = id as i32);
    }
    Tensor::from_data(TensorData::new(ids, [rows.len(), time]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_rows_end_in_padding() {
        let tokens = pad_right(&[&[5, 6], &[7, 8, 9], &[]], &Device::default());
        assert_eq!(tokens.dims(), [3, 3]);
        let ids = tokens.into_data().convert::<i32>().try_to_vec::<i32>().unwrap();
        assert_eq!(ids, [5, 6, 0, 7, 8, 9, 0, 0, 0]);
    }
}
