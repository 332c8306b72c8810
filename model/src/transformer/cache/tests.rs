//! What rows see of a cache.

use super::*;
use crate::config::ModelSize;

fn config() -> ModelConfig {
    ModelConfig {
        hidden_size: 4,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: Some(1),
        ..ModelConfig::of_size(ModelSize::Tiny, 11, 0)
    }
}

/// A cache of two rows of one head of width 2, with key `[10 row + slot, 0]` in each of `filled` slots of `slots`.
fn cache(filled: usize, slots: usize) -> Cache {
    let device = Device::default();
    let mut cache = Cache::new(&config(), 2, slots, &device);
    let keys: Vec<f32> =
        (0..2).flat_map(|row| (0..filled).flat_map(move |s| [10.0 * row as f32 + s as f32, 0.0])).collect();
    let keys = Tensor::from_data(TensorData::new(keys, [2, 1, filled, 2]), &device);
    cache.begin(filled);
    cache.append(0, keys.clone(), keys);
    cache.advance();
    cache
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

/// The first number of every key that each row sees, hidden ones left out, after appending one of -1 to it.
fn seen(cache: &mut Cache) -> Vec<Vec<f32>> {
    let rows = cache.layers[0].as_ref().unwrap().0.dims()[0];
    let new = Tensor::full([rows, 1, 1, 2], -1.0, &Device::default());
    cache.begin(1);
    let (keys, _) = cache.append(0, new.clone(), new);
    let [_, _, _, slots] = keys.dims();
    assert_eq!(slots, fused::SLOTS, "one shape for all steps");
    let mask = cache.mask().expect("slots that nothing was written to").expand([rows, 1, 1, slots]);
    let (keys, mask) = (values(keys.swap_dims(2, 3)), values(mask));
    let of_row = |row: usize| (row * slots..(row + 1) * slots).filter(|&at| mask[at] == 0.0).map(|at| keys[2 * at]);
    (0..rows).map(|row| of_row(row).collect()).collect()
}

#[test]
fn a_token_attends_to_itself_and_those_before_it() {
    let (o, x) = (0.0, HIDDEN);
    assert_eq!(values(causal_mask(3, &Device::default())), [o, x, x, o, o, x, o, o, o]);
}

#[test]
fn padding_is_hidden_by_length_and_rows_of_one_length_need_no_mask() {
    assert!(padding_mask(&[3, 3], 3, &Device::default()).is_none());
    let mask = padding_mask(&[1, 3], 3, &Device::default()).unwrap();
    assert_eq!(mask.dims(), [2, 1, 1, 3]);
    assert_eq!(values(mask), [0.0, HIDDEN, HIDDEN, 0.0, 0.0, 0.0]);
}

#[test]
fn what_is_written_after_a_padded_prompt_is_seen_by_all_rows() {
    let mut cache = cache(2, 4);
    cache.hide_padding(&[1, 2]);
    assert_eq!(seen(&mut cache), [vec![0.0, -1.0], vec![10.0, 11.0, -1.0]]);
    cache.advance();
    assert_eq!(cache.filled(), 3);
    assert_eq!(seen(&mut cache), [vec![0.0, -1.0, -1.0], vec![10.0, 11.0, -1.0, -1.0]]);
}

#[test]
fn rows_are_taken_with_their_padding_in_any_order_and_several_times() {
    let mut cache = cache(2, 3);
    cache.hide_padding(&[1, 2]);
    let mut cache = cache.select(&[1, 0, 1]);
    assert_eq!(seen(&mut cache), [vec![10.0, 11.0, -1.0], vec![0.0, -1.0], vec![10.0, 11.0, -1.0]]);
}

#[test]
fn spreading_a_full_cache_makes_room_and_keeps_what_is_in_it() {
    let mut cache = cache(2, 2);
    cache.hide_padding(&[2, 2]);
    let mut cache = fused::plainly(|| cache.spread(&[0, 0, 1], 3));
    assert_eq!(seen(&mut cache), [vec![0.0, 1.0, -1.0], vec![0.0, 1.0, -1.0], vec![10.0, 11.0, -1.0]]);
}

#[test]
fn a_cache_that_is_full_grows_and_keeps_what_is_in_it() {
    let mut cache = cache(fused::SLOTS, fused::SLOTS);
    cache.begin(1);
    let new = Tensor::full([2, 1, 1, 2], -1.0, &Device::default());
    let (keys, of_new) = cache.append(0, new.clone(), new);
    assert_eq!((keys.dims()[3], of_new.dims()[2]), (2 * fused::SLOTS, 2 * fused::SLOTS));
    let of_row = values(keys.narrow(0, 1, 1).narrow(2, 0, 1).narrow(3, 0, fused::SLOTS + 1));
    let written = (0..fused::SLOTS).map(|slot| 10.0 + slot as f32);
    assert_eq!(of_row, written.chain([-1.0]).collect::<Vec<_>>());
}
