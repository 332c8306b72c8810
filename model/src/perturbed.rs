//! Models that differ from another in every weight: what shows whether an inference server takes weights that it is sent.

use crate::{
    by_path::{Weight, with_replaced},
    host::HostTensor,
    random::{Key, Purpose},
    transformer::Transformer,
};

/// The same model with every weight multiplied by a number of its own between 1 - `strength` and 1 + `strength`.
pub fn perturbed(model: &Transformer, strength: f64) -> Transformer {
    with_replaced(model.clone(), |weight| {
        Some(changed(weight, |value, random| value * (1.0 + strength as f32 * random)))
    })
}

/// The same model with numbers between -`strength` and `strength` added to the second matrix of each of its adapters, and all other
/// weights as they are.
pub fn perturbed_adapters(model: &Transformer, strength: f64) -> Transformer {
    let is_second = |weight: &Weight<'_>| weight.path.ends_with(".lora.b");
    with_replaced(model.clone(), |weight| {
        is_second(weight).then(|| changed(weight, |value, random| value + strength as f32 * random))
    })
}

/// A weight whose values are changed by random numbers from -1 to 1, which depend on its path.
fn changed(weight: &Weight<'_>, change: impl Fn(f32, f32) -> f32) -> HostTensor {
    let key = weight.path.bytes().fold(Key::new(0, Purpose::Weights), |key, byte| key.with(u64::from(byte)));
    let random = |place: u64| (key.with(place).bits() >> 40) as f32 / (1 << 23) as f32 - 1.0;
    let values = (0..).zip(weight.values()).map(|(place, value)| change(value, random(place))).collect();
    HostTensor { shape: weight.shape.clone(), values }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, LoraConfig, LoraTargets, ModelConfig, ModelSize, checksum, merged, with_adapters};

    #[test]
    fn every_weight_moves_by_its_share_at_most() {
        let config = ModelConfig { num_hidden_layers: 1, ..ModelConfig::of_size(ModelSize::Tiny, 11, 0) };
        let model = Transformer::init(&config, 1, &Device::default());
        let other = perturbed(&model, 0.1);
        let values = |model: &Transformer| model.blocks[0].qkv.val().into_data().iter::<f32>().collect::<Vec<f32>>();
        let shares: Vec<f32> = values(&other).iter().zip(values(&model)).map(|(new, old)| new / old - 1.0).collect();
        assert!(shares.iter().all(|share| share.abs() <= 0.1001 && *share != 0.0));
        let mean = shares.iter().sum::<f32>() / shares.len() as f32;
        assert!(mean.abs() < 0.002, "{mean}");
        assert_eq!(checksum(&perturbed(&model, 0.1)), checksum(&other));
    }

    #[test]
    fn new_adapters_change_a_model_once_they_are_perturbed() {
        let config = ModelConfig { num_hidden_layers: 1, ..ModelConfig::of_size(ModelSize::Tiny, 11, 0) };
        let base = Transformer::init(&config, 1, &Device::default());
        let lora = LoraConfig { rank: 2, alpha: 4.0, targets: LoraTargets::All };
        let model = with_adapters(base.clone(), lora, 1);
        assert_eq!(checksum(&merged(&model)), checksum(&base));
        let other = merged(&perturbed_adapters(&model, 0.1));
        assert_ne!(checksum(&other.blocks[0].down), checksum(&base.blocks[0].down));
        assert_eq!(checksum(&other.embedding), checksum(&base.embedding));
    }
}
