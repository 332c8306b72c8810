//! The difference of two models continued: θ = θ₁ + α (θ₁ - θ₀), tensor by tensor as they are read (model extrapolation, Zheng et al. 2024, arXiv
//! 2404.16792, eq. 2).

use super::source::Source;
use crate::host::HostTensor;
use anyhow::{Result, ensure};

/// θ₀ and θ₁ as one source; a tensor of each is in memory at a time.
pub(crate) struct Extrapolated {
    /// θ₀.
    pub(crate) from: Box<dyn Source>,
    /// θ₁.
    pub(crate) to: Box<dyn Source>,
    /// α.
    pub(crate) alpha: f64,
}

impl Source for Extrapolated {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.to.shape(name)
    }

    fn take(&mut self, name: &str) -> Result<HostTensor> {
        let shapes = [&self.from, &self.to].map(|source| source.shape(name));
        ensure!(
            shapes[0] == shapes[1],
            "the tensor {name} has the shape {:?} in one of the models and {:?} in the other: models of one shape are extrapolated",
            shapes[0].as_deref().unwrap_or_default(),
            shapes[1].as_deref().unwrap_or_default()
        );
        let (from, mut to) = (self.from.take(name)?, self.to.take(name)?);
        for (to, from) in to.values.iter_mut().zip(&from.values) {
            *to = (f64::from(*to) + self.alpha * (f64::from(*to) - f64::from(*from))) as f32;
        }
        Ok(to)
    }

    fn left(&self) -> Vec<String> {
        let mut left = [self.from.left(), self.to.left()].concat();
        left.sort();
        left.dedup();
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostTensors;

    fn source(tensors: &[(&str, &[f32])]) -> Box<dyn Source> {
        let tensor = |values: &[f32]| HostTensor { shape: vec![values.len()], values: values.to_vec() };
        let tensors: HostTensors = tensors.iter().map(|(name, values)| ((*name).to_owned(), tensor(values))).collect();
        Box::new(tensors)
    }

    #[test]
    fn a_tensor_goes_on_by_a_share_of_its_difference() {
        let both =
            |alpha| Extrapolated { from: source(&[("w", &[1.0, 4.0])]), to: source(&[("w", &[2.0, 2.0])]), alpha };
        let values = |alpha| both(alpha).take("w").unwrap().values;
        assert_eq!(values(0.5), [2.5, 1.0]);
        assert_eq!(values(0.0), [2.0, 2.0]);
        assert_eq!(values(-1.0), [1.0, 4.0]);
    }

    #[test]
    fn tensors_that_one_of_the_models_lacks_or_has_in_another_shape_are_named() {
        let mut both = Extrapolated {
            from: source(&[("w", &[1.0]), ("more", &[1.0])]),
            to: source(&[("w", &[1.0, 2.0])]),
            alpha: 1.0,
        };
        assert_eq!(both.left(), ["more", "w"]);
        let error = both.take("w").unwrap_err().to_string();
        assert!(error.contains("the tensor w has the shape [1] in one of the models and [2] in the other"), "{error}");
    }
}
