//! Random weights of a new model.

use crate::{
    config::ModelConfig,
    random::{Key, Purpose},
};
use burn::{
    module::Param,
    tensor::{Device, Tensor, TensorData},
};

/// Standard deviation of new matrices, 1 / sqrt(D).
pub(super) fn initial_deviation(config: &ModelConfig) -> f32 {
    (config.hidden_size as f32).sqrt().recip()
}

/// Draws weights on the host, so that a seed means the same model on every backend.
pub(super) struct Initialiser<'a> {
    pub(super) seed: u64,
    pub(super) tensors: u64,
    pub(super) device: &'a Device,
}

impl Initialiser<'_> {
    pub(super) fn normal(&mut self, shape: [usize; 2], deviation: f32) -> Param<Tensor<2>> {
        let key = Key::new(self.seed, Purpose::Weights).with(self.tensors);
        self.tensors += 1;
        let values: Vec<f32> = (0..(shape[0] * shape[1]) as u64).map(|i| deviation * key.normal(i)).collect();
        Param::from_data(TensorData::new(values, shape), self.device)
    }

    pub(super) fn constant(&mut self, length: usize, value: f32) -> Param<Tensor<1>> {
        Param::from_data(TensorData::new(vec![value; length], [length]), self.device)
    }
}
