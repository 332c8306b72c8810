//! Symmetric positive definite matrices of some hundred rows, in f64: sums of outer products, and their Cholesky factor. Pure. (A crate for this
//! would turn on features of crates under burn.)

/// A square matrix, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Number of rows.
    pub size: usize,
    /// Entries, row by row.
    pub values: Vec<f64>,
}

/// The product of two vectors.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Matrix {
    /// Zeros.
    pub fn zeros(size: usize) -> Self {
        Self { size, values: vec![0.0; size * size] }
    }

    /// A row.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.size..(row + 1) * self.size]
    }

    /// Adds `weight` x xᵀ.
    pub fn add_outer(&mut self, weight: f64, x: &[f64]) {
        for (row, left) in self.values.chunks_mut(self.size).zip(x) {
            row.iter_mut().zip(x).for_each(|(entry, right)| *entry += weight * left * right);
        }
    }

    /// Adds a number to each diagonal entry.
    pub fn add_diagonal(&mut self, value: f64) {
        self.values.iter_mut().step_by(self.size + 1).for_each(|entry| *entry += value);
    }

    /// Sum of the diagonal.
    pub fn trace(&self) -> f64 {
        self.values.iter().step_by(self.size + 1).sum()
    }

    /// The matrix with rows for columns.
    pub fn transposed(&self) -> Self {
        let size = self.size;
        Self { size, values: (0..size * size).map(|at| self.values[at % size * size + at / size]).collect() }
    }

    /// Each row as the result of a function of it.
    pub fn map_rows(&self, of: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        Self { size: self.size, values: (0..self.size).flat_map(|row| of(self.row(row))).collect() }
    }

    /// L with L Lᵀ = this; `None` if it is not positive definite.
    pub fn cholesky(&self) -> Option<Root> {
        let mut root = Self::zeros(self.size);
        for row in 0..self.size {
            for column in 0..=row {
                let known = dot(&root.row(row)[..column], &root.row(column)[..column]);
                let rest = self.row(row)[column] - known;
                let entry = if row == column { rest.sqrt() } else { rest / root.row(column)[column] };
                root.values[row * self.size + column] = entry;
            }
            let last = root.row(row)[row];
            if !last.is_finite() || last <= 0.0 {
                return None;
            }
        }
        Some(Root(root))
    }
}

/// The lower triangular Cholesky factor L of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Root(Matrix);

impl Root {
    /// L⁻¹ b.
    pub fn forward(&self, b: &[f64]) -> Vec<f64> {
        let mut x: Vec<f64> = Vec::with_capacity(b.len());
        for (row, b) in b.iter().enumerate() {
            let of_row = self.0.row(row);
            x.push((b - dot(&of_row[..row], &x)) / of_row[row]);
        }
        x
    }

    /// (L Lᵀ)⁻¹ b.
    pub fn solve(&self, b: &[f64]) -> Vec<f64> {
        let mut x = self.forward(b);
        for row in (0..x.len()).rev() {
            x[row] /= self.0.row(row)[row];
            for above in 0..row {
                x[above] -= self.0.row(row)[above] * x[row];
            }
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_solves_what_the_matrix_multiplies() {
        let mut matrix = Matrix::zeros(3);
        for x in [[1.0, 2.0, -1.0], [0.5, 0.0, 3.0], [-2.0, 1.0, 1.0]] {
            matrix.add_outer(0.5, &x);
        }
        matrix.add_diagonal(0.1);
        assert!((matrix.trace() - 0.5 * (6.0 + 9.25 + 6.0) - 0.3).abs() < 1e-12);
        assert_eq!(matrix.transposed(), matrix);
        let root = matrix.cholesky().unwrap();
        let x = root.solve(&[1.0, -2.0, 0.25]);
        let back: Vec<f64> = (0..3).map(|row| dot(matrix.row(row), &x)).collect();
        assert!(back.iter().zip([1.0, -2.0, 0.25]).all(|(a, b)| (a - b).abs() < 1e-12), "{back:?}");
        // bᵀ (L Lᵀ)⁻¹ b = |L⁻¹ b|².
        let forward = root.forward(&[1.0, -2.0, 0.25]);
        assert!((dot(&forward, &forward) - dot(&[1.0, -2.0, 0.25], &x)).abs() < 1e-12);
    }

    #[test]
    fn a_matrix_that_is_not_positive_definite_has_no_root() {
        let mut matrix = Matrix::zeros(2);
        matrix.add_outer(1.0, &[1.0, 1.0]);
        matrix.add_diagonal(-0.5);
        assert_eq!(matrix.cholesky(), None);
    }
}
