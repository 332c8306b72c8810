//! What the solutions that a reward model was fitted on say of new ones: how far the features φ of a solution lie from what was compared.
//!
//! x is what the head reads at the end of a solution, v its mean over the solutions that the head was fitted on, and φ = W (x - v) is white
//! on them: mean 0, covariance I. Σ_D = (1/n) Σ Δφ Δφᵀ is the covariance of the differences of the n pairs of a better and a worse solution
//! that were compared, and the distance of a solution is ‖φ‖ in the norm of (Σ_D + λ I)⁻¹ (Zhu, Jiao and Jordan 2023, arXiv 2301.11270).
//! A constant among the features would change nothing: it has no difference, neither between two solutions nor from v.

use crate::linear::{Matrix, Root};
use anyhow::{Context, Result, ensure};
use burn::tensor::{Tensor, TensorData};
use model::{HostTensor, HostTensors, read_tensors, write_tensors};
use std::path::Path;

/// The file in the checkpoint of a reward model.
const FILE: &str = "coverage.safetensors";

/// Share of the mean variance that is added to each, so that features that are constant or depend on others can be whitened.
const RIDGE: f64 = 1e-6;

/// The features of the solutions that a head was fitted on: their mean, and the covariance of the differences that were compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Coverage {
    /// v, `[D]`.
    mean: Vec<f32>,
    /// W, `[D, D]`.
    whitening: HostTensor,
    /// Σ_D + λ I of white features, `[D, D]`.
    covariance: HostTensor,
    /// A with ‖φ‖ = |A (x - v)|, `[D, D]`: A = C⁻¹ W with C Cᵀ = Σ_D + λ I.
    metric: HostTensor,
}

impl Coverage {
    /// Of features `[D]` each, and pairs of a better and a worse solution by their places.
    ///
    /// # Panics
    /// Without features or pairs, if features differ in length, or for λ of 0 where the differences leave out a direction.
    pub fn fit(features: &[Vec<f32>], pairs: &[(usize, usize)], lambda: f64) -> Self {
        assert!(!features.is_empty() && !pairs.is_empty(), "{} features, {} pairs", features.len(), pairs.len());
        let (count, width) = (features.len(), features[0].len());
        let mut mean = vec![0.0; width];
        for row in features {
            assert_eq!(row.len(), width, "features differ in length");
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x) / count as f64);
        }
        let mut variance = Matrix::zeros(width);
        for row in features {
            let centred: Vec<f64> = row.iter().zip(&mean).map(|(x, mean)| f64::from(*x) - mean).collect();
            variance.add_outer(1.0 / count as f64, &centred);
        }
        variance.add_diagonal(RIDGE * (variance.trace() / width as f64).max(f64::MIN_POSITIVE.sqrt()));
        let root = variance.cholesky().expect("a covariance with a ridge is positive definite");
        let mut differences = Matrix::zeros(width);
        for &(better, worse) in pairs {
            let difference: Vec<f64> =
                features[better].iter().zip(&features[worse]).map(|(b, w)| f64::from(*b) - f64::from(*w)).collect();
            differences.add_outer(1.0 / pairs.len() as f64, &difference);
        }
        // W S Wᵀ of the symmetric S, with W = L⁻¹: L⁻¹ of its columns, and L⁻¹ of the columns of the transposed result.
        let half = differences.map_rows(|row| root.forward(row)).transposed();
        let mut covariance = half.map_rows(|row| root.forward(row));
        covariance.add_diagonal(lambda);
        Self::of(mean.iter().map(|&x| x as f32).collect(), host(&inverse(&root, width)), host(&covariance))
    }

    fn of(mean: Vec<f32>, whitening: HostTensor, covariance: HostTensor) -> Self {
        let root = matrix(&covariance).cholesky().expect("a covariance with λ is positive definite");
        let metric = host(&matrix(&whitening).transposed().map_rows(|column| root.forward(column)).transposed());
        Self { mean, whitening, covariance, metric }
    }

    /// v, `[D]`.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// ‖φ - v‖ of features.
    ///
    /// # Shapes
    /// - `features`: `[M, D]`; output: `[M]`
    pub fn distances(&self, features: Tensor<2>) -> Tensor<1> {
        let (device, width) = (features.device(), self.mean.len());
        let tensor = |values: &[f32], rows: usize| -> Tensor<2> {
            Tensor::from_data(TensorData::new(values.to_vec(), [rows, width]), &device)
        };
        let metric = tensor(&self.metric.values, width);
        let moved = (features - tensor(&self.mean, 1)).matmul(metric.transpose());
        moved.square().sum_dim(1).sqrt().flatten(0, 1)
    }

    /// Writes it into the checkpoint of a reward model.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn save(&self, checkpoint: &Path) -> Result<()> {
        let mut tensors = HostTensors::new();
        tensors.insert("mean".into(), HostTensor { shape: vec![self.mean.len()], values: self.mean.clone() });
        tensors.insert("whitening".into(), self.whitening.clone());
        tensors.insert("covariance".into(), self.covariance.clone());
        write_tensors(&checkpoint.join(FILE), &tensors)
    }

    /// Whether a checkpoint has one.
    pub(super) fn is_in(checkpoint: &Path) -> bool {
        checkpoint.join(FILE).is_file()
    }

    /// Reads what [`Self::save`] wrote for a head of this width; `None` where there is nothing.
    ///
    /// # Errors
    /// A file that is cut, or belongs to another model.
    pub fn load(checkpoint: &Path, width: usize) -> Result<Option<Self>> {
        if !Self::is_in(checkpoint) {
            return Ok(None);
        }
        let path = checkpoint.join(FILE);
        let mut tensors = read_tensors(&path)?;
        let mut take = |name: &str, shape: &[usize]| -> Result<HostTensor> {
            let found = tensors.remove(name).with_context(|| format!("{} has no {name}", path.display()))?;
            ensure!(
                found.shape == shape && found.values.iter().all(|value| value.is_finite()),
                "{}: {name} does not belong to this reward model",
                path.display()
            );
            Ok(found)
        };
        let mean = take("mean", &[width])?.values;
        let (whitening, covariance) = (take("whitening", &[width, width])?, take("covariance", &[width, width])?);
        ensure!(matrix(&covariance).cholesky().is_some(), "{}: the covariance is not one", path.display());
        Ok(Some(Self::of(mean, whitening, covariance)))
    }
}

/// L⁻¹.
fn inverse(root: &Root, size: usize) -> Matrix {
    let mut identity = Matrix::zeros(size);
    identity.add_diagonal(1.0);
    identity.map_rows(|column| root.forward(column)).transposed()
}

fn host(matrix: &Matrix) -> HostTensor {
    HostTensor { shape: vec![matrix.size; 2], values: matrix.values.iter().map(|&x| x as f32).collect() }
}

fn matrix(tensor: &HostTensor) -> Matrix {
    Matrix { size: tensor.shape[0], values: tensor.values.iter().map(|&x| f64::from(x)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Device, to_host};

    fn distances(coverage: &Coverage, points: &[[f32; 2]]) -> Vec<f32> {
        let points = TensorData::new(points.concat(), [points.len(), 2]);
        to_host(coverage.distances(Tensor::from_data(points, &Device::default()))).values
    }

    /// Mean (1, 2), variances 4 and 1, no correlation.
    fn features() -> Vec<Vec<f32>> {
        vec![vec![-1.0, 1.0], vec![3.0, 1.0], vec![-1.0, 3.0], vec![3.0, 3.0]]
    }

    #[test]
    fn what_was_compared_is_near_and_what_was_never_compared_is_far() {
        // White features are (±1, ±1); all differences are (2, 0): Σ_D + λ I = diag(4 + λ, λ).
        let coverage = Coverage::fit(&features(), &[(1, 0), (3, 2)], 0.25);
        assert_eq!(coverage.mean(), [1.0, 2.0]);
        let found = distances(&coverage, &[[1.0, 2.0], [3.0, 2.0], [1.0, 3.0], [3.0, 3.0]]);
        let expected = [0.0, (1.0f32 / 4.25).sqrt(), (1.0f32 / 0.25).sqrt(), (1.0f32 / 4.25 + 4.0).sqrt()];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?}, expected {expected:?}");
    }

    #[test]
    fn features_in_another_basis_have_the_same_distances_where_lambda_is_small() {
        let turned = |[x, y]: [f32; 2]| [2.0 * x - y, 0.5 * x + 3.0 * y];
        let turned_features: Vec<Vec<f32>> = features().iter().map(|row| turned([row[0], row[1]]).to_vec()).collect();
        let pairs = [(1, 0), (3, 0), (2, 1)];
        let points = [[0.5, 0.5], [4.0, -1.0]];
        let found = distances(&Coverage::fit(&features(), &pairs, 1e-9), &points);
        let again = distances(&Coverage::fit(&turned_features, &pairs, 1e-9), &points.map(turned));
        assert!(found.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-3 * a), "{found:?}, {again:?}");
    }

    #[test]
    fn it_is_the_same_from_disk_and_a_file_of_another_width_is_refused() {
        let (folder, coverage) = (tempfile::tempdir().unwrap(), Coverage::fit(&features(), &[(1, 0), (3, 2)], 0.25));
        assert_eq!(Coverage::load(folder.path(), 2).unwrap(), None);
        coverage.save(folder.path()).unwrap();
        assert_eq!(Coverage::load(folder.path(), 2).unwrap(), Some(coverage));
        let error = Coverage::load(folder.path(), 3).unwrap_err().to_string();
        assert!(error.contains("does not belong to this reward model"), "{error}");
    }

    #[test]
    fn a_feature_that_never_changes_is_no_obstacle() {
        let constant: Vec<Vec<f32>> = features().iter().map(|row| vec![row[0], 7.0]).collect();
        let coverage = Coverage::fit(&constant, &[(1, 0)], 0.5);
        let found = distances(&coverage, &[[1.0, 7.0], [3.0, 7.0]]);
        assert!((found[0]).abs() < 1e-4 && (found[1] - (1.0f32 / 4.5).sqrt()).abs() < 1e-4, "{found:?}");
    }
}
