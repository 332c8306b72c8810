//! Products of matrices with the sum that follows them, into memory of their own: burn's `flex` zeroes the place of a product
//! and then copies it, since bytes that were allocated as bytes are not aligned enough for it.

/// A matrix in any order: numbers, and how far apart its rows and its columns are.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) numbers: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row by row.
    pub(super) fn by_rows(numbers: &'a [f32], columns: usize) -> Self {
        let rows = numbers.len() / columns.max(1);
        Self { numbers, rows, columns, row_stride: columns, column_stride: 1 }
    }

    pub(super) fn transposed(self) -> Self {
        let Self { numbers, rows, columns, row_stride, column_stride } = self;
        Self { numbers, rows: columns, columns: rows, row_stride: column_stride, column_stride: row_stride }
    }

    /// `rows` rows from `start` on.
    pub(super) fn part(self, start: usize, rows: usize) -> Self {
        assert!(start + rows <= self.rows, "rows {start} to {} of {}", start + rows, self.rows);
        Self { numbers: &self.numbers[start * self.row_stride..], rows, ..self }
    }

    fn assert_inside(&self) {
        if self.rows > 0 && self.columns > 0 {
            let last = (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride;
            assert!(last < self.numbers.len(), "a matrix of {} numbers reaches for number {last}", self.numbers.len());
        }
    }
}

/// A B, added to `sum` where one is given; row by row.
pub(super) fn product(a: Matrix<'_>, b: Matrix<'_>, sum: Option<Vec<f32>>) -> Vec<f32> {
    assert_eq!(a.columns, b.rows, "a product of {} columns with {} rows", a.columns, b.rows);
    a.assert_inside();
    b.assert_inside();
    let (m, n, k) = (a.rows, b.columns, a.columns);
    let adds = sum.is_some();
    let mut out = sum.unwrap_or_else(|| Vec::with_capacity(m * n));
    assert!(!adds || out.len() == m * n, "a product of {m} x {n} is added to {} numbers", out.len());
    // Sound: all three lie inside their slices, which was asserted above, nothing else holds `out`, and a product that is not
    // added writes all of it.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            adds,
            a.numbers.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.numbers.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
        out.set_len(m * n);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_taken_in_any_order_and_added() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 2.0, -1.0, 1.0, 1.0]);
        let (by_rows, other) = (Matrix::by_rows(&a, 3), Matrix::by_rows(&b, 2));
        assert_eq!(product(by_rows, other, None), [8.0, 1.0, 20.0, 1.0]);
        assert_eq!(product(other.transposed(), by_rows.transposed(), None), [8.0, 20.0, 1.0, 1.0]);
        assert_eq!(product(by_rows, other, Some(vec![1.0, 2.0, 3.0, 4.0])), [9.0, 3.0, 23.0, 5.0]);
        assert!(product(Matrix::by_rows(&[], 3), other, None).is_empty());
    }
}
