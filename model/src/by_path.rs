//! Weights replaced by their place in a model.

use crate::{host::HostTensor, transformer::Transformer};
use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Tensor, TensorData},
};

/// A weight of a model.
pub(crate) struct Weight<'a> {
    /// Its path, such as `blocks.0.qkv.lora.a`.
    pub path: &'a str,
    pub shape: Vec<usize>,
    read: &'a dyn Fn() -> Vec<f32>,
}

impl Weight<'_> {
    /// Its values, copied to the host.
    pub fn values(&self) -> Vec<f32> {
        (self.read)()
    }
}

/// The same model with the weights replaced for which `new` gives others.
pub(crate) fn with_replaced(model: Transformer, new: impl Fn(&Weight<'_>) -> Option<HostTensor>) -> Transformer {
    model.map(&mut Replace { new, path: Vec::new() })
}

struct Replace<F> {
    new: F,
    path: Vec<String>,
}

impl<F: Fn(&Weight<'_>) -> Option<HostTensor>> ModuleMapper for Replace<F> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        let read = || param.val().into_data().iter::<f32>().collect();
        let weight = Weight { path: &path, shape: param.dims().to_vec(), read: &read };
        match (self.new)(&weight) {
            Some(HostTensor { shape, values }) => {
                let device = param.device();
                param.map(|_| Tensor::from_data(TensorData::new(values, shape), &device))
            }
            None => param,
        }
    }
}
