//! A checksum of weights: whether two processes have the same model.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::Tensor,
};

/// CRC-32C of all weights, as f32, in the order of the module. Different weights have the same one by chance alone, once in 4 billion.
pub fn checksum<M: Module>(model: &M) -> u32 {
    struct Sum(u32);
    impl ModuleVisitor for Sum {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let values: Vec<f32> = param.val().into_data().iter::<f32>().collect();
            self.0 = crc32c::crc32c_append(self.0, bytemuck::cast_slice(&values));
        }
    }
    let mut sum = Sum(0);
    model.visit(&mut sum);
    sum.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, ModelConfig, ModelSize, Transformer};

    #[test]
    fn one_other_bit_is_another_checksum() {
        let config = ModelConfig { num_hidden_layers: 1, ..ModelConfig::of_size(ModelSize::Tiny, 11, 0) };
        let model = |seed| Transformer::init(&config, seed, &Device::default());
        assert_eq!(checksum(&model(1)), checksum(&model(1)));
        assert_ne!(checksum(&model(1)), checksum(&model(2)));
        let mut changed = model(1);
        changed.norm = changed.norm.map(|norm| {
            let mut values: Vec<f32> = norm.to_data().iter::<f32>().collect();
            values[3] = f32::from_bits(values[3].to_bits() ^ 1);
            Tensor::from_floats(values.as_slice(), &norm.device())
        });
        assert_ne!(checksum(&model(1)), checksum(&changed));
    }
}
