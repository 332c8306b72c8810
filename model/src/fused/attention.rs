//! Causal attention with rotary positions over whole sequences, and its gradient, on plain slices.
//!
//! One sequence and one key/value head at a time: queries and keys are rotated into small buffers that stay in the cache
//! of a core, and what lies above the diagonal is never computed. All products have one form, C = A B with B row by row, A
//! in any order, made of tiles of four rows. No score is kept for the gradient: it computes them again.
//!
//! Longer than other files: forward pass and gradient are made of the same tiles.

use super::rows::{each, softmax, sum};
use pulp::{Arch, Simd, WithSimd};

/// Rows of a tile.
pub(super) const ROWS: usize = 4;
/// Most lanes of a vector that a tile is two of.
pub(super) const MAX_LANES: usize = 16;

/// What attention is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Sequences.
    pub(super) batch: usize,
    /// Tokens of each.
    pub(super) time: usize,
    /// Query heads.
    pub(super) heads: usize,
    /// Key/value heads.
    pub(super) kv_heads: usize,
    /// Width of a head.
    pub(super) width: usize,
}

impl Shape {
    /// Numbers that a token has in the fused projection.
    pub(super) fn projected(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.width
    }

    /// Tokens, up to whole tiles either way.
    fn padded_time(&self) -> usize {
        self.time.next_multiple_of(2 * MAX_LANES)
    }

    fn padded_width(&self) -> usize {
        self.width.next_multiple_of(2 * MAX_LANES)
    }
}

/// softmax(rot(Q) rot(K)ᵀ / sqrt(E)) V under the causal mask.
///
/// # Shapes
/// - `qkv`: `[B, T, (H + 2 G) E]`, queries, keys and values side by side
/// - `cos`, `sin`: `[T, E / 2]`
/// - output: `[B, T, H E]`
pub(super) fn forward(qkv: &[f32], cos: &[f32], sin: &[f32], shape: Shape) -> Vec<f32> {
    struct Forward<'a> {
        qkv: &'a [f32],
        rotary: Rotary<'a>,
        shape: Shape,
    }
    impl WithSimd for Forward<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
            let Self { qkv, rotary, shape } = self;
            let Shape { batch, time, heads, kv_heads, width } = shape;
            let mut out = vec![0.0; batch * time * heads * width];
            let mut head = Head::new(shape);
            let mut scores = vec![0.0; ROWS * head.time];
            let mut rows = vec![0.0; ROWS * head.width];
            for sequence in 0..batch {
                let qkv = &qkv[sequence * time * shape.projected()..][..time * shape.projected()];
                let out = &mut out[sequence * time * heads * width..][..time * heads * width];
                for query_head in 0..heads {
                    let kv_head = query_head / (heads / kv_heads);
                    if query_head % (heads / kv_heads) == 0 {
                        head.take_keys(qkv, kv_head, rotary, shape);
                        head.take_values(qkv, kv_head, shape);
                    }
                    head.take_queries(qkv, query_head, rotary, shape);
                    for first in (0..time).step_by(ROWS) {
                        let seen = first + ROWS;
                        head.probabilities(simd, first, &mut scores);
                        let values = Matrix { numbers: &head.values, width: head.width };
                        product(simd, (&scores, head.time, 1), values, seen, width, &mut rows, head.width);
                        for row in 0..ROWS.min(time - first) {
                            let place = (first + row) * heads * width + query_head * width;
                            out[place..place + width].copy_from_slice(&rows[row * head.width..][..width]);
                        }
                    }
                }
            }
            out
        }
    }
    Arch::new().dispatch(Forward { qkv, rotary: Rotary { cos, sin }, shape })
}

/// The gradient of [`forward`] by `qkv`, given that by its output.
pub(super) fn backward(qkv: &[f32], cos: &[f32], sin: &[f32], shape: Shape, grad: &[f32]) -> Vec<f32> {
    struct Backward<'a> {
        qkv: &'a [f32],
        rotary: Rotary<'a>,
        shape: Shape,
        grad: &'a [f32],
    }
    impl WithSimd for Backward<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
            let Self { qkv, rotary, shape, grad } = self;
            let Shape { batch, time, heads, kv_heads, width } = shape;
            let projected = shape.projected();
            let mut by_qkv = vec![0.0; qkv.len()];
            let mut head = HeadGradient::new(shape, rotary);
            for sequence in 0..batch {
                let qkv = &qkv[sequence * time * projected..][..time * projected];
                let grad = &grad[sequence * time * heads * width..][..time * heads * width];
                let by_qkv = &mut by_qkv[sequence * time * projected..][..time * projected];
                for query_head in 0..heads {
                    let kv_head = query_head / (heads / kv_heads);
                    if query_head % (heads / kv_heads) == 0 {
                        head.take_keys_and_values(qkv, kv_head);
                    }
                    head.take_queries(qkv, grad, query_head);
                    for first in (0..time).step_by(ROWS) {
                        head.by_scores(simd, first);
                        head.add_by_queries(simd, first, query_head, by_qkv);
                    }
                    for first in (0..time).step_by(ROWS) {
                        head.add_by_keys(simd, first, kv_head, by_qkv);
                        head.add_by_values(simd, first, kv_head, by_qkv);
                    }
                }
            }
            by_qkv
        }
    }
    Arch::new().dispatch(Backward { qkv, rotary: Rotary { cos, sin }, shape, grad })
}

/// The gradient of one head of one sequence, in steps of [`ROWS`] tokens; rows and columns past the end are zeros.
struct HeadGradient<'a> {
    shape: Shape,
    rotary: Rotary<'a>,
    head: Head,
    /// `[T, E]`, rotated.
    keys: Vec<f32>,
    /// `[E, T]`.
    values_across: Vec<f32>,
    /// Gradient by the output, `[T, E]`.
    by_out: Vec<f32>,
    /// `[T, T]`.
    probabilities: Vec<f32>,
    /// Gradient by the scores, `[T, T]`.
    by_scores: Vec<f32>,
    /// Rows of a product, `[ROWS, E]`.
    rows: Vec<f32>,
    /// One of them, rotated back, `[E]`.
    turned: Vec<f32>,
}

impl<'a> HeadGradient<'a> {
    fn new(shape: Shape, rotary: Rotary<'a>) -> Self {
        let head = Head::new(shape);
        let square = || vec![0.0; head.time * head.time];
        let tall = || vec![0.0; head.time * head.width];
        let (keys, values_across, by_out, probabilities, by_scores) = (tall(), tall(), tall(), square(), square());
        let (rows, turned) = (vec![0.0; ROWS * head.width], vec![0.0; shape.width]);
        Self { shape, rotary, keys, values_across, by_out, probabilities, by_scores, rows, turned, head }
    }

    #[inline(always)]
    fn take_keys_and_values(&mut self, qkv: &[f32], kv_head: usize) {
        let Self { shape, rotary, head, keys, values_across, .. } = self;
        head.take_keys(qkv, kv_head, *rotary, *shape);
        // What `take_keys` has left there.
        keys.copy_from_slice(&head.values);
        head.take_values(qkv, kv_head, *shape);
        transpose(&head.values, head.width, values_across, head.time, shape.time, shape.width);
    }

    /// Queries, and the gradient by their output.
    #[inline(always)]
    fn take_queries(&mut self, qkv: &[f32], grad: &[f32], query_head: usize) {
        let Shape { time, heads, width, .. } = self.shape;
        self.head.take_queries(qkv, query_head, self.rotary, self.shape);
        for t in 0..time {
            let place = t * heads * width + query_head * width;
            self.by_out[t * self.head.width..][..width].copy_from_slice(&grad[place..place + width]);
        }
    }

    /// The probabilities of a tile's rows, and the gradient by their scores.
    #[inline(always)]
    fn by_scores<S: Simd>(&mut self, simd: S, first: usize) {
        let Self { shape, head, values_across, by_out, probabilities, by_scores, .. } = self;
        let seen = first + ROWS;
        let at = first * head.time;
        let block = at..at + ROWS * head.time;
        head.probabilities(simd, first, &mut probabilities[block.clone()]);
        let across = Matrix { numbers: values_across, width: head.time };
        let by_out = (&by_out[first * head.width..], head.width, 1);
        product(simd, by_out, across, shape.width, seen, &mut by_scores[block], head.time);
        for row in 0..ROWS {
            let start = at + row * head.time;
            let whole = start..start + seen.next_multiple_of(MAX_LANES);
            softmax_backward(&probabilities[whole.clone()], &mut by_scores[whole]);
        }
    }

    /// Adds the gradient by the queries of a tile, rotated back, to that by the projection.
    #[inline(always)]
    fn add_by_queries<S: Simd>(&mut self, simd: S, first: usize, query_head: usize, by_qkv: &mut [f32]) {
        let Self { shape, rotary, head, keys, by_scores, rows, turned, .. } = self;
        let width = shape.width;
        let keys = Matrix { numbers: keys, width: head.width };
        let by_scores = (&by_scores[first * head.time..][..ROWS * head.time], head.time, 1);
        product(simd, by_scores, keys, first + ROWS, width, rows, head.width);
        for row in 0..ROWS.min(shape.time - first) {
            let t = first + row;
            let place = t * shape.projected() + query_head * width;
            rotary.unrotate(t, &rows[row * head.width..][..width], head.scale, turned);
            add(&mut by_qkv[place..place + width], turned);
        }
    }

    /// Adds the gradient by the keys of a tile, rotated back: each is seen by the tokens from its own on.
    #[inline(always)]
    fn add_by_keys<S: Simd>(&mut self, simd: S, first: usize, kv_head: usize, by_qkv: &mut [f32]) {
        let Self { shape, rotary, head, by_scores, rows, turned, .. } = self;
        let width = shape.width;
        let queries = Matrix { numbers: &head.queries, width: head.width };
        let by_scores = (&by_scores[first * head.time + first..], 1, head.time);
        product(simd, by_scores, queries.rows_from(first), shape.time - first, width, rows, head.width);
        for row in 0..ROWS.min(shape.time - first) {
            let s = first + row;
            let place = s * shape.projected() + (shape.heads + kv_head) * width;
            rotary.unrotate(s, &rows[row * head.width..][..width], 1.0, turned);
            add(&mut by_qkv[place..place + width], turned);
        }
    }

    /// Adds the gradient by the values of a tile: each is seen by the tokens from its own on.
    #[inline(always)]
    fn add_by_values<S: Simd>(&mut self, simd: S, first: usize, kv_head: usize, by_qkv: &mut [f32]) {
        let Self { shape, head, by_out, probabilities, rows, .. } = self;
        let width = shape.width;
        let by_out = Matrix { numbers: by_out, width: head.width };
        let probabilities = (&probabilities[first * head.time + first..], 1, head.time);
        product(simd, probabilities, by_out.rows_from(first), shape.time - first, width, rows, head.width);
        for row in 0..ROWS.min(shape.time - first) {
            let place = (first + row) * shape.projected() + (shape.heads + shape.kv_heads + kv_head) * width;
            add(&mut by_qkv[place..place + width], &rows[row * head.width..][..width]);
        }
    }
}

/// Queries, keys and values of one head of one sequence; rows and columns past the end are zeros.
struct Head {
    /// `[T, E]`, rotated and scaled.
    queries: Vec<f32>,
    /// `[E, T]`, rotated.
    keys_across: Vec<f32>,
    /// `[T, E]`.
    values: Vec<f32>,
    time: usize,
    width: usize,
    used_width: usize,
    used_time: usize,
    scale: f32,
}

impl Head {
    fn new(shape: Shape) -> Self {
        let (time, width) = (shape.padded_time(), shape.padded_width());
        let buffer = || vec![0.0; time * width];
        let scale = 1.0 / (shape.width as f32).sqrt();
        let (used_time, used_width) = (shape.time, shape.width);
        Self { queries: buffer(), keys_across: buffer(), values: buffer(), time, width, used_width, used_time, scale }
    }

    #[inline(always)]
    fn take_queries(&mut self, qkv: &[f32], head: usize, rotary: Rotary<'_>, shape: Shape) {
        for t in 0..shape.time {
            let query = &qkv[t * shape.projected() + head * shape.width..][..shape.width];
            rotary.rotate(t, query, &mut self.queries[t * self.width..][..shape.width]);
            for x in &mut self.queries[t * self.width..][..shape.width] {
                *x *= self.scale;
            }
        }
    }

    #[inline(always)]
    fn take_keys(&mut self, qkv: &[f32], head: usize, rotary: Rotary<'_>, shape: Shape) {
        // The values' buffer is free, and keeps the keys as they were: values are taken after them.
        for t in 0..shape.time {
            let key = &qkv[t * shape.projected() + (shape.heads + head) * shape.width..][..shape.width];
            rotary.rotate(t, key, &mut self.values[t * self.width..][..shape.width]);
        }
        transpose(&self.values, self.width, &mut self.keys_across, self.time, shape.time, shape.width);
    }

    #[inline(always)]
    fn take_values(&mut self, qkv: &[f32], head: usize, shape: Shape) {
        for t in 0..shape.time {
            let place = t * shape.projected() + (shape.heads + shape.kv_heads + head) * shape.width;
            self.values[t * self.width..][..shape.width].copy_from_slice(&qkv[place..place + shape.width]);
        }
    }

    /// What each of [`ROWS`] tokens from `first` on gives to each token before it, 0 to those after it in its tile.
    #[inline(always)]
    fn probabilities<S: Simd>(&self, simd: S, first: usize, out: &mut [f32]) {
        let keys = Matrix { numbers: &self.keys_across, width: self.time };
        let queries = (&self.queries[first * self.width..], self.width, 1);
        product(simd, queries, keys, self.used_width, first + ROWS, out, self.time);
        for row in 0..ROWS {
            // A row past the end gives nothing to anybody.
            let seen = if first + row < self.used_time { first + row + 1 } else { 0 };
            // In whole vectors: what is hidden takes part as 0.
            let whole = &mut out[row * self.time..][..(first + ROWS).next_multiple_of(MAX_LANES)];
            whole[seen..].fill(f32::NEG_INFINITY);
            if seen > 0 {
                softmax(whole);
            }
            whole[seen..].fill(0.0);
        }
    }
}

/// The gradient by scores from that by probabilities: p (g - Σ p g), in whole vectors.
#[inline(always)]
fn softmax_backward(probabilities: &[f32], grad: &mut [f32]) {
    let mean = sum([probabilities, grad], |[p, g]| p * g);
    let (probabilities, _) = probabilities.as_chunks::<MAX_LANES>();
    let (grad, _) = grad.as_chunks_mut::<MAX_LANES>();
    for (probabilities, grad) in probabilities.iter().zip(grad) {
        for (grad, p) in grad.iter_mut().zip(probabilities) {
            *grad = p * (*grad - mean);
        }
    }
}

/// Rotates first half against second half of a head.
#[derive(Clone, Copy)]
pub(super) struct Rotary<'a> {
    pub(super) cos: &'a [f32],
    pub(super) sin: &'a [f32],
}

impl Rotary<'_> {
    #[inline(always)]
    pub(super) fn rotate(&self, t: usize, x: &[f32], out: &mut [f32]) {
        let (first, second) = x.split_at(x.len() / 2);
        let (out_first, out_second) = out.split_at_mut(first.len());
        let (cos, sin) = self.at(t, first.len());
        each([out_first, out_second], [first, second, cos, sin], |[first, second, cos, sin]| {
            [first * cos - second * sin, second * cos + first * sin]
        });
    }

    /// Turns the other way, times `scale`.
    #[inline(always)]
    fn unrotate(&self, t: usize, x: &[f32], scale: f32, out: &mut [f32]) {
        let (first, second) = x.split_at(x.len() / 2);
        let (out_first, out_second) = out.split_at_mut(first.len());
        let (cos, sin) = self.at(t, first.len());
        each([out_first, out_second], [first, second, cos, sin], |[first, second, cos, sin]| {
            [scale * (first * cos + second * sin), scale * (second * cos - first * sin)]
        });
    }

    #[inline(always)]
    fn at(&self, t: usize, half: usize) -> (&[f32], &[f32]) {
        (&self.cos[t * half..][..half], &self.sin[t * half..][..half])
    }
}

#[inline(always)]
fn add(sum: &mut [f32], x: &[f32]) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum += x;
    }
}

/// `[rows, columns]` of one buffer as `[columns, rows]` of another, in whole blocks: both buffers are that large, and zero there.
#[inline(always)]
fn transpose(from: &[f32], from_width: usize, to: &mut [f32], to_width: usize, rows: usize, columns: usize) {
    const BLOCK: usize = 8;
    for row in (0..rows).step_by(BLOCK) {
        for column in (0..columns).step_by(BLOCK) {
            let place = |i: usize| (row + i) * from_width + column;
            let lines: [&[f32; BLOCK]; BLOCK] =
                std::array::from_fn(|i| from[place(i)..place(i) + BLOCK].try_into().expect("as long"));
            for i in 0..BLOCK {
                to[(column + i) * to_width + row..][..BLOCK].copy_from_slice(&lines.map(|line| line[i]));
            }
        }
    }
}

/// A right-hand side, row by row.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) numbers: &'a [f32],
    pub(super) width: usize,
}

impl Matrix<'_> {
    /// The rows from one on.
    fn rows_from(self, row: usize) -> Self {
        Self { numbers: &self.numbers[row * self.width..], width: self.width }
    }
}

/// [`ROWS`] rows of A B, in tiles of two vectors' width: `depth` products a number, at least the first `columns` columns. `a`
/// comes with the distance between its rows and that between its columns.
#[inline(always)]
pub(super) fn product<S: Simd>(
    simd: S,
    (a, row_stride, column_stride): (&[f32], usize, usize),
    b: Matrix<'_>,
    depth: usize,
    columns: usize,
    out: &mut [f32],
    out_width: usize,
) {
    let tile = 2 * S::F32_LANES;
    if depth > 0 {
        let last_of_a = (ROWS - 1) * row_stride + (depth - 1) * column_stride;
        let last_of_b = (depth - 1) * b.width + columns.next_multiple_of(tile);
        assert!(last_of_a < a.len() && last_of_b <= b.numbers.len(), "a product reaches past its factors");
    }
    for column in (0..columns).step_by(tile) {
        let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
        for k in 0..depth {
            // Sound: the largest places were asserted above. With checks the loop takes twice as long.
            let [first, second]: [S::f32s; 2] = unsafe {
                let place = b.numbers.as_ptr().add(k * b.width + column).cast::<S::f32s>();
                [place.read_unaligned(), place.add(1).read_unaligned()]
            };
            for (row, [sum_first, sum_second]) in sums.iter_mut().enumerate() {
                let x = simd.splat_f32s(unsafe { *a.get_unchecked(row * row_stride + k * column_stride) });
                *sum_first = simd.mul_add_e_f32s(x, first, *sum_first);
                *sum_second = simd.mul_add_e_f32s(x, second, *sum_second);
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let (vectors, _) = S::as_mut_simd_f32s(&mut out[row * out_width + column..][..tile]);
            vectors.copy_from_slice(sums);
        }
    }
}
