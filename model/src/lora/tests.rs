//! What adapters do to a model.

use super::*;
use crate::{
    config::{ModelConfig, ModelSize},
    device::Device,
    host::to_host,
};
use burn::{
    module::{ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Int, Tensor, TensorData},
};

pub(crate) const CONFIG: LoraConfig = LoraConfig { rank: 3, alpha: 6.0, targets: LoraTargets::All };

/// Two blocks without adapters.
pub(crate) fn model() -> Transformer {
    let config = ModelConfig {
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: Some(2),
        ..ModelConfig::of_size(ModelSize::Tiny, 19, 0)
    };
    Transformer::init(&config, 2, &Device::default())
}

fn tokens() -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new((0..10).collect::<Vec<i32>>(), [2, 5]), &Device::default())
}

/// Adapters whose B is not 0.
pub(crate) fn taught(seed: u64) -> Transformer {
    let value_of = |path: &str, shape: [usize; 2]| {
        let values = (0..shape[0] * shape[1]).map(|i| 0.05 * ((i * 7 + path.len()) % 11) as f32 - 0.2).collect();
        path.ends_with(".lora.b").then_some(HostTensor { shape: shape.to_vec(), values })
    };
    set_factors(with_adapters(model(), CONFIG, seed), value_of)
}

pub(crate) fn logits(model: &Transformer) -> Vec<f32> {
    to_host(model.forward(tokens())).values
}

#[test]
fn new_adapters_change_nothing_and_belong_to_their_seed() {
    assert_eq!(logits(&with_adapters(model(), CONFIG, 1)), logits(&model()));
    assert_eq!(logits(&taught(1)), logits(&taught(1)));
    assert_ne!(logits(&taught(1)), logits(&taught(2)));
}

#[test]
fn merged_weights_are_base_plus_scaled_product_and_say_what_the_adapters_say() {
    let adapted = taught(1);
    let (apart, together) = (logits(&adapted), logits(&merged(&adapted)));
    for (apart, together) in apart.iter().zip(&together) {
        assert!((apart - together).abs() < 1e-5, "{apart} against {together}");
    }
    assert_ne!(apart, logits(&model()));
    let adapter = adapted.blocks[1].down.adapter().unwrap();
    let product = to_host(adapter.a.val().matmul(adapter.b.val())).values;
    let (base, sum) = (to_host(model().blocks[1].down.val()).values, to_host(merged(&adapted).blocks[1].down.val()));
    for ((base, product), sum) in base.iter().zip(&product).zip(&sum.values) {
        assert!((base + 2.0 * product - sum).abs() < 1e-5);
    }
    assert!(merged(&adapted).blocks[0].qkv.adapter().is_none());
}

#[test]
fn only_factors_have_a_gradient() {
    struct GradientCount<'a>(&'a GradientsParams, usize, usize);
    impl ModuleVisitor for GradientCount<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let has = self.0.get::<D>(param.id).is_some();
            self.1 += usize::from(has);
            self.2 += usize::from(!has);
        }
    }
    let replica = taught(1).train();
    let loss = replica.forward(tokens()).square().mean();
    let gradients = GradientsParams::from_grads(loss.backward(), &replica);
    let mut count = GradientCount(&gradients, 0, 0);
    replica.visit(&mut count);
    // Two factors for each of four matrices in two blocks; six tensors a block, embedding and last norm are frozen.
    assert_eq!((count.1, count.2), (2 * 4 * 2, 6 * 2 + 2));
}
