//! Attention of one new token a row to what its row has read and written, on plain slices.
//!
//! Rows that are samples of one prompt read its keys and values from one place, which stays in the cache of a core from row to
//! row; most of the time of decoding goes into fetching them.

use super::{
    attention::{MOST_LANES, Rotary, Shape},
    rows::softmax,
};
use pulp::{Arch, Simd, WithSimd};

/// What the slots of a cache are a multiple of, so that its keys are read in whole vectors.
pub(crate) const SLOTS: usize = 4 * MOST_LANES;

/// What the rows of a batch share of a cache: the keys and values of their prompts.
#[derive(Clone, Copy)]
pub(super) struct Prompts<'a> {
    /// `[P, G, E, S]`, S a multiple of [`SLOTS`].
    pub(super) keys: &'a [f32],
    /// `[P, G, S, E]`.
    pub(super) values: &'a [f32],
    /// Tokens of each prompt.
    pub(super) lengths: &'a [usize],
    /// The prompt of each row.
    pub(super) of_row: &'a [usize],
}

/// What the rows have written.
pub(super) struct Written<'a> {
    /// `[R, G, E, S]`, S a multiple of [`SLOTS`].
    pub(super) keys: &'a mut [f32],
    /// `[R, G, S, E]`.
    pub(super) values: &'a mut [f32],
    /// S.
    pub(super) slots: usize,
    /// Of each row, which of the R it writes to, no two the same.
    pub(super) places: &'a [usize],
    /// Of each row, how many of its slots are filled.
    pub(super) filled: &'a [usize],
}

/// One new token a row: writes its key and value behind those that the row has written, and attends to them and to its
/// prompt.
///
/// # Shapes
/// - `qkv`: `[B, (H + 2 G) E]`; `cos`, `sin`: `[B, E / 2]`
/// - output: `[B, H E]`
pub(super) fn with_cache(
    qkv: &[f32],
    [cos, sin]: [&[f32]; 2],
    written: Written<'_>,
    prompts: Prompts<'_>,
    shape: Shape,
) -> Vec<f32> {
    struct WithCache<'a> {
        qkv: &'a [f32],
        rotary: Rotary<'a>,
        written: Written<'a>,
        prompts: Prompts<'a>,
        shape: Shape,
    }
    impl WithSimd for WithCache<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
            let Self { qkv, rotary, written, prompts, shape } = self;
            let Written { keys, values, slots, places, filled } = written;
            let Shape { batch, heads, kv_heads, width, .. } = shape;
            let of_prompt = prompts.keys.len() / (prompts.lengths.len() * kv_heads).max(1);
            let (of_head, prompt_slots) = (slots * width, of_prompt / width.max(1));
            assert!(slots.is_multiple_of(SLOTS) && prompt_slots.is_multiple_of(SLOTS), "slots in whole vectors");
            let group = heads / kv_heads;
            let mut out = vec![0.0; batch * heads * width];
            let (mut rotated, mut scores) = (vec![0.0; width], vec![0.0; prompt_slots + slots]);
            let mut of_written = vec![0.0; width];
            for row in 0..batch {
                let projected = &qkv[row * shape.projected()..][..shape.projected()];
                let (prompt, filled) = (prompts.of_row[row], filled[row]);
                assert!(filled < slots, "token {filled} of a cache of {slots} slots");
                let written = filled + 1;
                let read = prompts.lengths[prompt];
                // The scores of what was written begin at a whole vector.
                let first = read.next_multiple_of(MOST_LANES);
                let end = (first + written).next_multiple_of(MOST_LANES);
                for kv_head in 0..kv_heads {
                    let at = (places[row] * kv_heads + kv_head) * of_head;
                    let (keys, values) = (&mut keys[at..at + of_head], &mut values[at..at + of_head]);
                    rotary.rotate(row, &projected[(heads + kv_head) * width..][..width], &mut rotated);
                    for (e, &x) in rotated.iter().enumerate() {
                        keys[e * slots + filled] = x;
                    }
                    let value = &projected[(heads + kv_heads + kv_head) * width..][..width];
                    values[filled * width..][..width].copy_from_slice(value);
                    let at = (prompt * kv_heads + kv_head) * of_prompt;
                    let prompt_keys = &prompts.keys[at..at + of_prompt];
                    let prompt_values = &prompts.values[at..at + of_prompt];
                    for head in kv_head * group..(kv_head + 1) * group {
                        rotary.rotate(row, &projected[head * width..][..width], &mut rotated);
                        let scale = 1.0 / (width as f32).sqrt();
                        rotated.iter_mut().for_each(|x| *x *= scale);
                        row_product(simd, &rotated, prompt_keys, prompt_slots, read, &mut scores);
                        scores[read..first].fill(f32::NEG_INFINITY);
                        row_product(simd, &rotated, keys, slots, written, &mut scores[first..]);
                        scores[first + written..end].fill(f32::NEG_INFINITY);
                        softmax(&mut scores[..end]);
                        let out = &mut out[(row * heads + head) * width..][..width];
                        row_product(simd, &scores[..read], prompt_values, width, width, out);
                        row_product(simd, &scores[first..first + written], values, width, width, &mut of_written);
                        for (out, of_written) in out.iter_mut().zip(&of_written) {
                            *out += of_written;
                        }
                    }
                }
            }
            out
        }
    }
    Arch::new().dispatch(WithCache { qkv, rotary: Rotary { cos, sin }, written, prompts, shape })
}

/// One row times a matrix of rows `width` apart: its first `columns` columns, and as many more as fill the last vectors and
/// have room in `out`.
#[inline(always)]
fn row_product<S: Simd>(simd: S, row: &[f32], b: &[f32], width: usize, columns: usize, out: &mut [f32]) {
    // Four sums beside each other and two of each hide the time that an addition takes.
    let tile = 4 * S::F32_LANES;
    let mut column = 0;
    while column < columns && column + tile <= width.min(out.len()) {
        let (mut even, mut odd) = ([simd.splat_f32s(0.0); 4], [simd.splat_f32s(0.0); 4]);
        let add = |k: usize, x: f32, sums: &mut [S::f32s; 4]| {
            let (vectors, _) = S::as_simd_f32s(&b[k * width + column..][..tile]);
            let x = simd.splat_f32s(x);
            for (sum, &vector) in sums.iter_mut().zip(vectors) {
                *sum = simd.mul_add_e_f32s(x, vector, *sum);
            }
        };
        let (pairs, last) = row.as_chunks::<2>();
        for (pair, [x, y]) in pairs.iter().enumerate() {
            add(2 * pair, *x, &mut even);
            add(2 * pair + 1, *y, &mut odd);
        }
        for x in last {
            add(row.len() - 1, *x, &mut even);
        }
        let (vectors, _) = S::as_mut_simd_f32s(&mut out[column..column + tile]);
        for ((vector, even), odd) in vectors.iter_mut().zip(even).zip(odd) {
            *vector = simd.add_f32s(even, odd);
        }
        column += tile;
    }
    if column < columns {
        let out = &mut out[column..columns];
        out.fill(0.0);
        for (k, &x) in row.iter().enumerate() {
            for (out, &y) in out.iter_mut().zip(&b[k * width + column..]) {
                *out += x * y;
            }
        }
    }
}
