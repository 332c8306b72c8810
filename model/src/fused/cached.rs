//! Attention of one new token a row to what its row has read and written, on plain slices.
//!
//! Rows that are samples of one prompt read its keys and values from one place, four rows together: most of the time of decoding
//! goes into fetching them.

use super::{
    attention::{MAX_LANES, Matrix, ROWS, Rotary, Shape, product},
    rows::softmax,
};
use pulp::{Arch, Simd, WithSimd};

/// What the slots of a cache are a multiple of, so that its keys are read in whole vectors.
pub(crate) const SLOTS: usize = 4 * MAX_LANES;

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
            let (group, scale) = (heads / kv_heads, 1.0 / (width as f32).sqrt());
            let mut out = vec![0.0; batch * heads * width];
            let seen = prompt_slots + slots;
            let (mut queries, mut scores) = (vec![0.0; ROWS * width], vec![0.0; ROWS * seen]);
            let (mut of_read, mut of_written) = (vec![0.0; ROWS * width], vec![0.0; width]);
            let mut order: Vec<usize> = (0..batch).collect();
            order.sort_by_key(|&row| prompts.of_row[row]);
            for (kv_head, rows) in tiles(&order, prompts.of_row, kv_heads) {
                for &row in rows {
                    let (projected, filled) = (&qkv[row * shape.projected()..][..shape.projected()], filled[row]);
                    assert!(filled < slots, "token {filled} of a cache of {slots} slots");
                    let at = (places[row] * kv_heads + kv_head) * of_head;
                    rotary.rotate(row, &projected[(heads + kv_head) * width..][..width], &mut of_written);
                    for (e, &x) in of_written.iter().enumerate() {
                        keys[at + e * slots + filled] = x;
                    }
                    let value = &projected[(heads + kv_heads + kv_head) * width..][..width];
                    values[at + filled * width..][..width].copy_from_slice(value);
                }
                let prompt = prompts.of_row[rows[0]];
                let read = prompts.lengths[prompt];
                let at = (prompt * kv_heads + kv_head) * of_prompt;
                let prompt_keys = Matrix { numbers: &prompts.keys[at..at + of_prompt], width: prompt_slots };
                let prompt_values = Matrix { numbers: &prompts.values[at..at + of_prompt], width };
                // The scores of what was written begin at a whole vector.
                let first = read.next_multiple_of(MAX_LANES);
                for head in kv_head * group..(kv_head + 1) * group {
                    // Where a tile is not full its last rows belong to another tile, and their results are not read.
                    for (&row, query) in rows.iter().zip(queries.chunks_mut(width)) {
                        rotary.rotate(row, &qkv[row * shape.projected() + head * width..][..width], query);
                        query.iter_mut().for_each(|x| *x *= scale);
                    }
                    rows_product(simd, rows.len(), (&queries, width), prompt_keys, width, read, &mut scores, seen);
                    for (place, &row) in rows.iter().enumerate() {
                        let at = (places[row] * kv_heads + kv_head) * of_head;
                        let (scores, written) = (&mut scores[place * seen..][..seen], filled[row] + 1);
                        let end = (first + written).next_multiple_of(MAX_LANES);
                        scores[read..first].fill(f32::NEG_INFINITY);
                        let keys = Matrix { numbers: &keys[at..at + of_head], width: slots };
                        row_product(simd, &queries[place * width..][..width], keys, written, &mut scores[first..]);
                        scores[first + written..end].fill(f32::NEG_INFINITY);
                        softmax(&mut scores[..end]);
                    }
                    rows_product(simd, rows.len(), (&scores, seen), prompt_values, read, width, &mut of_read, width);
                    for (place, &row) in rows.iter().enumerate() {
                        let at = (places[row] * kv_heads + kv_head) * of_head;
                        let probabilities = &scores[place * seen + first..][..filled[row] + 1];
                        let values = Matrix { numbers: &values[at..at + of_head], width };
                        row_product(simd, probabilities, values, width, &mut of_written);
                        let out = &mut out[(row * heads + head) * width..][..width];
                        for ((out, x), y) in out.iter_mut().zip(&of_read[place * width..]).zip(&of_written) {
                            *out = x + y;
                        }
                    }
                }
            }
            out
        }
    }
    Arch::new().dispatch(WithCache { qkv, rotary: Rotary { cos, sin }, written, prompts, shape })
}

/// Rows of one prompt, at most [`ROWS`], with each head: all rows of a prompt with one head before the next, so that its keys and
/// values stay in the cache of a core.
fn tiles<'a>(
    order: &'a [usize],
    prompt_of_row: &'a [usize],
    kv_heads: usize,
) -> impl Iterator<Item = (usize, &'a [usize])> {
    let of_head = |rows: &'a [usize], head: usize| rows.chunks(ROWS).map(move |rows| (head, rows));
    order
        .chunk_by(|&x, &y| prompt_of_row[x] == prompt_of_row[y])
        .flat_map(move |rows| (0..kv_heads).flat_map(move |head| of_head(rows, head)))
}

/// `rows` of A B, at most [`ROWS`]: together where they are several and whole tiles cover the columns. `a` comes with the distance
/// between its rows.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "those of a product, and how many rows of it count")]
fn rows_product<S: Simd>(
    simd: S,
    rows: usize,
    (a, a_width): (&[f32], usize),
    b: Matrix<'_>,
    depth: usize,
    columns: usize,
    out: &mut [f32],
    out_width: usize,
) {
    if rows > 1 && b.width.is_multiple_of(2 * S::F32_LANES) {
        return product(simd, (a, a_width, 1), b, depth, columns, out, out_width);
    }
    for row in 0..rows {
        let out = &mut out[row * out_width..][..out_width];
        row_product(simd, &a[row * a_width..][..depth], b, columns, out);
    }
}

/// One row times a matrix: its first `columns` columns, and as many more as fill the last vectors and have room in `out`.
#[inline(always)]
fn row_product<S: Simd>(simd: S, row: &[f32], b: Matrix<'_>, columns: usize, out: &mut [f32]) {
    assert!(row.len() * b.width <= b.numbers.len() && columns <= b.width, "a product reaches past its factor");
    let room = b.width.min(out.len());
    let mut column = 0;
    while column < columns {
        let (left, room) = (columns - column, room - column);
        // As wide a tile as there is need of and room for: several sums beside each other hide the time that an addition takes.
        if left > 2 * S::F32_LANES && room >= 4 * S::F32_LANES {
            column += tile::<S, 4, 2>(simd, row, b, column, out);
        } else if left > S::F32_LANES && room >= 2 * S::F32_LANES {
            column += tile::<S, 2, 4>(simd, row, b, column, out);
        } else if room >= S::F32_LANES {
            column += tile::<S, 1, 8>(simd, row, b, column, out);
        } else {
            let out = &mut out[column..columns];
            out.fill(0.0);
            for (k, &x) in row.iter().enumerate() {
                for (out, &y) in out.iter_mut().zip(&b.numbers[k * b.width + column..]) {
                    *out += x * y;
                }
            }
            return;
        }
    }
}

/// `VECTORS` vectors of a row times a matrix, from a column on, each the sum of `SUMS`; the columns that were done. There is room
/// for them in each row of the matrix and in `out`.
#[inline(always)]
fn tile<S: Simd, const VECTORS: usize, const SUMS: usize>(
    simd: S,
    row: &[f32],
    b: Matrix<'_>,
    column: usize,
    out: &mut [f32],
) -> usize {
    let width = VECTORS * S::F32_LANES;
    assert!(column + width <= b.width && row.len() * b.width <= b.numbers.len(), "a tile inside its matrix");
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; SUMS];
    let add = |k: usize, x: f32, sums: &mut [S::f32s; VECTORS]| {
        let x = simd.splat_f32s(x);
        for (vector, sum) in sums.iter_mut().enumerate() {
            let start = k * b.width + column + vector * S::F32_LANES;
            // Sound: the tile lies inside the matrix, as asserted above. With checks the loop takes twice as long.
            let y = unsafe { b.numbers.as_ptr().add(start).cast::<S::f32s>().read_unaligned() };
            *sum = simd.mul_add_e_f32s(x, y, *sum);
        }
    };
    // Blocks of a known length: their sums stay in registers.
    let (blocks, rest) = row.as_chunks::<SUMS>();
    for (block, xs) in blocks.iter().enumerate() {
        for place in 0..SUMS {
            add(block * SUMS + place, xs[place], &mut sums[place]);
        }
    }
    for (place, &x) in rest.iter().enumerate() {
        add(blocks.len() * SUMS + place, x, &mut sums[0]);
    }
    let (vectors, _) = S::as_mut_simd_f32s(&mut out[column..column + width]);
    for (at, vector) in vectors.iter_mut().enumerate() {
        *vector = sums[1..].iter().fold(sums[0][at], |sum, more| simd.add_f32s(sum, more[at]));
    }
    width
}
