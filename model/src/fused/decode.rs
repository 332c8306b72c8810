//! How burn calls the attention of `cached.rs`: an operation for models without gradients alone.

use super::{
    attention::Shape,
    cached::{self, Prompts, Written},
    operation::{numbers, tensor},
};
use burn::{
    backend::{Backend, Dispatch, ExtensionType, Flex, TensorMetadata, backend_extension, tensor::FloatTensor},
    tensor::Tensor,
};

/// Attention of one new token a row to its prompt and to what the row has written, whose cache takes up its key and value;
/// output, keys and values.
///
/// # Shapes
/// - `qkv`: `[B, 1, (H + 2 G) E]`; `cos`, `sin`: `[B, 1, 1, E / 2]`
/// - `written`, keys: `[R, G, E, S]`, values: `[R, G, S, E]`, S a multiple of [`SLOTS`](super::SLOTS); each of the B rows has
///   one of the R places; `read`, of each prompt: the same
/// - output: `[B, 1, H E]`
pub(crate) fn attention_with_cache(
    qkv: Tensor<3>,
    [cos, sin]: [&Tensor<4>; 2],
    written: [Tensor<4>; 2],
    read: [&Tensor<4>; 2],
    rows: CachedRows,
) -> (Tensor<3>, [Tensor<4>; 2]) {
    let (cos, sin) = (cos.clone().into_dispatch(), sin.clone().into_dispatch());
    let [keys, values] = written.map(|tensor| tensor.into_dispatch());
    let [prompt_keys, prompt_values] = read.map(|tensor| tensor.clone().into_dispatch());
    let cache = Cached { keys, values, prompt_keys, prompt_values };
    let (out, keys, values) = Dispatch::fused_attention_with_cache(qkv.into_dispatch(), cos, sin, cache, rows);
    (Tensor::from_dispatch(out), [Tensor::from_dispatch(keys), Tensor::from_dispatch(values)])
}

/// Which row of a batch has read and written what.
#[derive(Clone, Debug)]
pub(crate) struct CachedRows {
    /// Query heads.
    pub(crate) heads: usize,
    /// Tokens of each prompt.
    pub(crate) prompt_lengths: Vec<usize>,
    /// The prompt of each row.
    pub(crate) prompt_of_row: Vec<usize>,
    /// Where each row writes.
    pub(crate) place_of_row: Vec<usize>,
    /// Tokens that each row has written.
    pub(crate) filled_of_row: Vec<usize>,
}

/// The tensors of a cache.
#[derive(ExtensionType)]
struct Cached<B: Backend> {
    keys: FloatTensor<B>,
    values: FloatTensor<B>,
    prompt_keys: FloatTensor<B>,
    prompt_values: FloatTensor<B>,
}

/// What burn calls.
#[backend_extension(Flex)]
trait DecodingOps: Backend {
    fn fused_attention_with_cache(
        qkv: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        #[extension_type] cache: Cached<Self>,
        rows: CachedRows,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl DecodingOps for Flex {
    fn fused_attention_with_cache(
        qkv: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        cache: Cached<Self>,
        rows: CachedRows,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let Cached { mut keys, mut values, prompt_keys, prompt_values } = cache;
        let CachedRows { heads, prompt_lengths, prompt_of_row, place_of_row, filled_of_row } = rows;
        let &[_, kv_heads, width, slots] = &keys.shape().to_vec()[..] else { panic!("a cache of four dimensions") };
        let batch = place_of_row.len();
        let shape = Shape { batch, time: 1, heads, kv_heads, width };
        let out = {
            let (prompt_keys, prompt_values) = (numbers(&prompt_keys), numbers(&prompt_values));
            let prompts = Prompts {
                keys: &prompt_keys,
                values: &prompt_values,
                lengths: &prompt_lengths,
                of_row: &prompt_of_row,
            };
            let (cos, sin) = (numbers(&cos), numbers(&sin));
            // Copied only if something else still holds the cache.
            let (keys, values) = (keys.storage_mut(), values.storage_mut());
            let written = Written { keys, values, slots, places: &place_of_row, filled: &filled_of_row };
            cached::with_cache(&numbers(&qkv), [&cos, &sin], written, prompts, shape)
        };
        (tensor(out, vec![batch, 1, heads * width]), keys, values)
    }
}
