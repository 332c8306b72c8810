//! Attention of one new token a row to what its row has read and written, on plain slices.
//!
//! Rows that are samples of one prompt read its keys and values from one place, four rows together: most of the time of decoding
//! goes into fetching them.

use super::{
    attention::{MAX_LANES, Matrix, ROWS, Rotary, Shape, product},
    rows::softmax,
};
use pulp::{Arch, Simd, WithSimd};
use std::ops::Range;

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
    Arch::new().dispatch(WithCache { qkv, rotary: Rotary { cos, sin }, written, prompts, shape })
}

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
    fn with_simd<S: Simd>(mut self, simd: S) -> Vec<f32> {
        let Shape { batch, heads, kv_heads, width, .. } = self.shape;
        let (slots, prompt_slots) = (self.written.slots, self.of_prompt() / width.max(1));
        assert!(slots.is_multiple_of(SLOTS) && prompt_slots.is_multiple_of(SLOTS), "slots in whole vectors");
        let group = heads / kv_heads;
        let mut out = vec![0.0; batch * heads * width];
        let mut tile = Tile {
            queries: vec![0.0; ROWS * width],
            scores: vec![0.0; ROWS * (prompt_slots + slots)],
            seen: prompt_slots + slots,
            of_read: vec![0.0; ROWS * width],
            of_written: vec![0.0; width],
        };
        let prompt_of_row = self.prompts.of_row;
        let mut order: Vec<usize> = (0..batch).collect();
        order.sort_by_key(|&row| prompt_of_row[row]);
        for (kv_head, rows) in tiles(&order, prompt_of_row, kv_heads) {
            self.write(kv_head, rows, &mut tile.of_written);
            for head in kv_head * group..(kv_head + 1) * group {
                self.probabilities(simd, (kv_head, head), rows, &mut tile);
                self.values(simd, (kv_head, head), rows, &mut tile, &mut out);
            }
        }
        out
    }
}

/// The buffers of a tile: rows of one prompt with one head.
struct Tile {
    /// `[ROWS, E]`, rotated and scaled.
    queries: Vec<f32>,
    /// `[ROWS, seen]`: those of the prompt, then, from a whole vector on, those of what each row has written.
    scores: Vec<f32>,
    seen: usize,
    /// What the prompt gives to each row, `[ROWS, E]`.
    of_read: Vec<f32>,
    /// What a row's own tokens give to it, `[E]`.
    of_written: Vec<f32>,
}

impl WithCache<'_> {
    /// Numbers of a prompt's keys with one head.
    #[inline(always)]
    fn of_prompt(&self) -> usize {
        self.prompts.keys.len() / (self.prompts.lengths.len() * self.shape.kv_heads).max(1)
    }

    /// Where the keys, and the values, of a row with one head lie among those that were written.
    #[inline(always)]
    fn place(&self, row: usize, kv_head: usize) -> Range<usize> {
        let of_head = self.written.slots * self.shape.width;
        let at = (self.written.places[row] * self.shape.kv_heads + kv_head) * of_head;
        at..at + of_head
    }

    /// Tokens of the rows' prompt, and where its keys and values with one head lie.
    #[inline(always)]
    fn prompt(&self, rows: &[usize], kv_head: usize) -> (usize, Range<usize>) {
        let prompt = self.prompts.of_row[rows[0]];
        let at = (prompt * self.shape.kv_heads + kv_head) * self.of_prompt();
        (self.prompts.lengths[prompt], at..at + self.of_prompt())
    }

    /// Writes the new token's key and value of each row behind those that the row has written.
    #[inline(always)]
    fn write(&mut self, kv_head: usize, rows: &[usize], key: &mut [f32]) {
        let Shape { heads, kv_heads, width, .. } = self.shape;
        for &row in rows {
            let projected = &self.qkv[row * self.shape.projected()..][..self.shape.projected()];
            let (slots, filled) = (self.written.slots, self.written.filled[row]);
            assert!(filled < slots, "token {filled} of a cache of {slots} slots");
            let at = self.place(row, kv_head).start;
            self.rotary.rotate(row, &projected[(heads + kv_head) * width..][..width], key);
            for (e, &x) in key.iter().enumerate() {
                self.written.keys[at + e * slots + filled] = x;
            }
            let value = &projected[(heads + kv_heads + kv_head) * width..][..width];
            self.written.values[at + filled * width..][..width].copy_from_slice(value);
        }
    }

    /// What each row attends to: its prompt, and what it has written itself.
    #[inline(always)]
    fn probabilities<S: Simd>(
        &self,
        simd: S,
        (kv_head, head): (usize, usize),
        rows: &[usize],
        Tile { queries, scores, seen, .. }: &mut Tile,
    ) {
        let (width, seen) = (self.shape.width, *seen);
        let scale = 1.0 / (width as f32).sqrt();
        // Where a tile is not full its last rows belong to another tile, and their results are not read.
        for (&row, query) in rows.iter().zip(queries.chunks_mut(width)) {
            self.rotary.rotate(row, &self.qkv[row * self.shape.projected() + head * width..][..width], query);
            query.iter_mut().for_each(|x| *x *= scale);
        }
        let (read, prompt) = self.prompt(rows, kv_head);
        let prompt_keys = Matrix { numbers: &self.prompts.keys[prompt], width: self.of_prompt() / width.max(1) };
        rows_product(simd, rows.len(), (queries, width), prompt_keys, width, read, scores, seen);
        // The scores of what was written begin at a whole vector.
        let first = read.next_multiple_of(MAX_LANES);
        for (place, &row) in rows.iter().enumerate() {
            let (scores, written) = (&mut scores[place * seen..][..seen], self.written.filled[row] + 1);
            let end = (first + written).next_multiple_of(MAX_LANES);
            scores[read..first].fill(f32::NEG_INFINITY);
            let keys = Matrix { numbers: &self.written.keys[self.place(row, kv_head)], width: self.written.slots };
            row_product(simd, &queries[place * width..][..width], keys, written, &mut scores[first..]);
            scores[first + written..end].fill(f32::NEG_INFINITY);
            softmax(&mut scores[..end]);
        }
    }

    /// The output of each row with one head: the values by their probabilities.
    #[inline(always)]
    fn values<S: Simd>(
        &self,
        simd: S,
        (kv_head, head): (usize, usize),
        rows: &[usize],
        Tile { scores, seen, of_read, of_written, .. }: &mut Tile,
        out: &mut [f32],
    ) {
        let (width, seen) = (self.shape.width, *seen);
        let (read, prompt) = self.prompt(rows, kv_head);
        let first = read.next_multiple_of(MAX_LANES);
        let prompt_values = Matrix { numbers: &self.prompts.values[prompt], width };
        rows_product(simd, rows.len(), (scores, seen), prompt_values, read, width, of_read, width);
        for (place, &row) in rows.iter().enumerate() {
            let probabilities = &scores[place * seen + first..][..self.written.filled[row] + 1];
            let values = Matrix { numbers: &self.written.values[self.place(row, kv_head)], width };
            row_product(simd, probabilities, values, width, of_written);
            let out = &mut out[(row * self.shape.heads + head) * width..][..width];
            for ((out, x), y) in out.iter_mut().zip(&of_read[place * width..]).zip(&*of_written) {
                *out = x + y;
            }
        }
    }
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
