//! Low-rank adapters on the matrices of the blocks (Hu et al. 2021, arXiv 2106.09685): W + α/r A B with W frozen, A `[in, r]`,
//! B `[r, out]` that starts at 0. The adapters are burn's; where they sit, what they start from, and how PEFT stores them stands
//! here.
//!
//! Query, key and value are one matrix here, and gate and up another: each has one A. PEFT keeps them apart, so there they
//! have the same A.

use crate::{
    adapted::{ADAPTER_CONFIG, ADAPTER_WEIGHTS},
    checkpoint::{QKV, qkv_widths},
    config::read_text,
    random::{Key, Purpose},
    tensors::{HostTensor, HostTensors, read_tensors, split_rows, to_host, transposed, write_tensors},
    transformer::{Block, Transformer},
};
use anyhow::{Context, Result, ensure};
use burn::{
    module::{Lora, LoraAdapter, Module, ModuleMapper, Param, ParamGroup},
    tensor::{Tensor, TensorData},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// Rank and scale of adapters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoraConfig {
    /// r, columns of A and rows of B.
    pub rank: usize,
    /// α: the product of A and B is scaled by α / r.
    pub alpha: f64,
    /// Which matrices have adapters.
    pub targets: LoraTargets,
}

/// Which matrices of every block have adapters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoraTargets {
    /// All of them.
    #[default]
    All,
    /// Those of queries, keys, values and of attention's output.
    Attention,
    /// Those of the feed-forward part.
    FeedForward,
}

impl LoraTargets {
    /// By the name of the field.
    fn matrices(self) -> &'static [&'static str] {
        const MATRICES: [&str; 4] = ["qkv", "attention_output", "gate_up", "down"];
        match self {
            Self::All => &MATRICES,
            Self::Attention => &MATRICES[..2],
            Self::FeedForward => &MATRICES[2..],
        }
    }
}

/// What `adapter_config.json` says, as far as it is read.
#[derive(Serialize, Deserialize)]
struct AdapterConfig {
    peft_type: String,
    task_type: Option<String>,
    base_model_name_or_path: Option<String>,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default = "no_bias")]
    bias: String,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    inference_mode: bool,
    target_modules: Vec<String>,
}

fn no_bias() -> String {
    "none".into()
}

/// A model that learns nothing but new adapters on its blocks, and says at first what it said before.
///
/// A is normal with variance 1 / (3 in), the variance that PEFT starts from.
pub fn with_adapters(model: Transformer, config: LoraConfig, seed: u64) -> Transformer {
    let of_block = |block| config.targets.matrices().iter().map(move |matrix| format!("blocks.{block}.{matrix}"));
    let paths: Vec<String> = (0..model.blocks.len()).flat_map(of_block).collect();
    let lora = Lora::new(config.rank, config.alpha).set_param_group(ParamGroup::from_paths(paths));
    let first = |path: &str, shape: [usize; 2]| {
        // Drawn on the host by the place of the matrix, so that a seed means the same adapters on every backend.
        let key = path.bytes().fold(Key::new(seed, Purpose::Weights), |key, byte| key.with(u64::from(byte)));
        let deviation = (3.0 * shape[0] as f32).sqrt().recip();
        let values = (0..(shape[0] * shape[1]) as u64).map(|i| deviation * key.normal(i)).collect();
        path.ends_with(".lora.a").then_some(HostTensor { shape: shape.to_vec(), values })
    };
    model.apply_lora(lora).map(&mut SetFactors { value_of: first, path: Vec::new() })
}

/// The same model with its adapters added into its weights.
pub fn merged(model: &Transformer) -> Transformer {
    model.clone().materialize()
}

/// Writes `adapter_config.json` and `adapter_model.safetensors` as PEFT reads them.
///
/// # Errors
/// What the file system says.
///
/// # Panics
/// If the model has no adapters.
pub fn save_adapters(folder: &Path, model: &Transformer, base: &str) -> Result<()> {
    let of_first = model.blocks.first().map(|block| parts(block, model)).unwrap_or_default();
    let first = of_first.first().expect("the model has adapters").adapter;
    let [_, rank] = first.a.val().dims();
    let config = AdapterConfig {
        peft_type: "LORA".into(),
        task_type: Some("CAUSAL_LM".into()),
        base_model_name_or_path: Some(base.into()),
        r: rank,
        lora_alpha: first.scale * rank as f64,
        lora_dropout: 0.0,
        bias: no_bias(),
        fan_in_fan_out: false,
        use_rslora: false,
        inference_mode: true,
        target_modules: of_first
            .iter()
            .flat_map(|part| part.names)
            .map(|name| name.rsplit('.').next().expect("a name has a last part").to_string())
            .collect(),
    };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(ADAPTER_CONFIG);
    std::fs::write(&path, serde_json::to_string_pretty(&config)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let mut tensors = HostTensors::new();
    for (layer, block) in model.blocks.iter().enumerate() {
        for Part { adapter, names, widths, .. } in parts(block, model) {
            let a = transposed(&to_host(adapter.a.val()));
            let b = split_rows(&transposed(&to_host(adapter.b.val())), &widths);
            for (name, b) in names.iter().zip(b) {
                let name = peft_name(layer, name);
                tensors.insert(format!("{name}.lora_A.weight"), a.clone());
                tensors.insert(format!("{name}.lora_B.weight"), b);
            }
        }
    }
    write_tensors(&folder.join(ADAPTER_WEIGHTS), &tensors)
}

/// Rank, scale and places of the adapters that [`save_adapters`] wrote.
///
/// # Errors
/// A missing or malformed file, other adapters than plain LoRA.
pub fn adapters_config(folder: &Path) -> Result<LoraConfig> {
    let path = folder.join(ADAPTER_CONFIG);
    let text = read_text(&path)?;
    let config: AdapterConfig =
        serde_json::from_str(&text).with_context(|| format!("{} is malformed", path.display()))?;
    ensure!(
        config.peft_type == "LORA" && config.bias == "none" && !config.use_rslora && config.r > 0,
        "{}: only plain LoRA without biases is supported",
        path.display()
    );
    let has = |module: &str| config.target_modules.iter().any(|name| name == module);
    let targets = match (has("q_proj"), has("gate_proj")) {
        (true, true) => LoraTargets::All,
        (true, false) => LoraTargets::Attention,
        (false, _) => LoraTargets::FeedForward,
    };
    Ok(LoraConfig { rank: config.r, alpha: config.lora_alpha, targets })
}

/// Puts the adapters that [`save_adapters`] wrote on a model without any.
///
/// # Errors
/// A missing or malformed file, adapters of another model or with an A of their own for query, key and value.
pub fn load_adapters(folder: &Path, model: Transformer) -> Result<Transformer> {
    let config = adapters_config(folder)?;
    let path = folder.join(ADAPTER_WEIGHTS);
    let tensors = read_tensors(&path)?;
    let adapted = with_adapters(model, config, 0);
    let mut values = BTreeMap::new();
    for (layer, block) in adapted.blocks.iter().enumerate() {
        for Part { matrix, adapter, names, widths } in parts(block, &adapted) {
            let take = |name: &str, part: &str, shape: &[usize]| {
                let name = format!("{}.{part}.weight", peft_name(layer, name));
                let tensor = tensors.get(&name).with_context(|| format!("{} has no tensor {name}", path.display()))?;
                ensure!(tensor.shape == shape, "{name} is {:?} where the model has {shape:?}", tensor.shape);
                tensor.check_finite(&name).with_context(|| format!("{} cannot be used", path.display()))?;
                Ok(tensor)
            };
            let [input, rank] = adapter.a.val().dims();
            let a = take(names[0], "lora_A", &[rank, input])?;
            let mut b = HostTensor { shape: vec![widths.iter().sum(), rank], values: Vec::new() };
            for (name, &width) in names.iter().zip(&widths) {
                ensure!(
                    take(name, "lora_A", &[rank, input])? == a,
                    "{}: {name} has an A of its own, and one that {} share is wanted",
                    path.display(),
                    names.join(", ")
                );
                b.values.extend(&take(name, "lora_B", &[width, rank])?.values);
            }
            values.insert(format!("blocks.{layer}.{matrix}.lora.a"), transposed(a));
            values.insert(format!("blocks.{layer}.{matrix}.lora.b"), transposed(&b));
        }
    }
    let value_of = |path: &str, _: [usize; 2]| values.get(path).cloned();
    Ok(adapted.map(&mut SetFactors { value_of, path: Vec::new() }))
}

/// An adapter of a block.
struct Part<'a> {
    /// The name of the field.
    matrix: &'static str,
    adapter: &'a LoraAdapter,
    /// The matrices in Hugging Face's layout that it stands for, and their widths.
    names: &'static [&'static str],
    widths: Vec<usize>,
}

fn parts<'a>(block: &'a Block, model: &Transformer) -> Vec<Part<'a>> {
    let config = &model.config;
    let (d, f) = (config.hidden_size, config.intermediate_size);
    let part = |matrix, param: &'a Param<Tensor<2>>, names, widths| {
        param.adapter().map(|adapter| Part { matrix, adapter, names, widths })
    };
    let all = [
        part("qkv", &block.qkv, &QKV[..], qkv_widths(config).to_vec()),
        part("attention_output", &block.attention_output, &["self_attn.o_proj"], vec![d]),
        part("gate_up", &block.gate_up, &["mlp.gate_proj", "mlp.up_proj"], vec![f, f]),
        part("down", &block.down, &["mlp.down_proj"], vec![d]),
    ];
    all.into_iter().flatten().collect()
}

fn peft_name(layer: usize, matrix: &str) -> String {
    format!("base_model.model.model.layers.{layer}.{matrix}")
}

/// Gives factors of adapters their values, by path and shape.
struct SetFactors<F> {
    value_of: F,
    path: Vec<String>,
}

impl<F: Fn(&str, [usize; 2]) -> Option<HostTensor>> ModuleMapper for SetFactors<F> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        let Ok(shape) = <[usize; 2]>::try_from(param.dims().as_slice()) else { return param };
        if !path.contains(".lora.") {
            return param;
        }
        match (self.value_of)(&path, shape) {
            Some(HostTensor { shape, values }) => {
                let device = param.device();
                param.map(|_| Tensor::from_data(TensorData::new(values, shape), &device))
            }
            None => param,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::model_tensors,
        config::{ModelConfig, ModelSize},
    };
    use burn::{
        module::ModuleVisitor,
        optim::GradientsParams,
        tensor::{Device, Int},
    };

    const CONFIG: LoraConfig = LoraConfig { rank: 3, alpha: 6.0, targets: LoraTargets::All };

    fn model() -> Transformer {
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
    fn taught(seed: u64) -> Transformer {
        let value_of = |path: &str, shape: [usize; 2]| {
            let values = (0..shape[0] * shape[1]).map(|i| 0.05 * ((i * 7 + path.len()) % 11) as f32 - 0.2).collect();
            path.ends_with(".lora.b").then_some(HostTensor { shape: shape.to_vec(), values })
        };
        with_adapters(model(), CONFIG, seed).map(&mut SetFactors { value_of, path: Vec::new() })
    }

    fn logits(model: &Transformer) -> Vec<f32> {
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
        let (base, sum) =
            (to_host(model().blocks[1].down.val()).values, to_host(merged(&adapted).blocks[1].down.val()));
        for ((base, product), sum) in base.iter().zip(&product).zip(&sum.values) {
            assert!((base + 2.0 * product - sum).abs() < 1e-5);
        }
        assert!(merged(&adapted).blocks[0].qkv.adapter().is_none());
    }

    #[test]
    fn only_factors_have_a_gradient() {
        struct Learnt<'a>(&'a GradientsParams, usize, usize);
        impl ModuleVisitor for Learnt<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let has = self.0.get::<D>(param.id).is_some();
                self.1 += usize::from(has);
                self.2 += usize::from(!has);
            }
        }
        let replica = taught(1).train();
        let loss = replica.forward(tokens()).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &replica);
        let mut learnt = Learnt(&gradients, 0, 0);
        replica.visit(&mut learnt);
        // Two factors for each of four matrices in two blocks; six tensors a block, embedding and last norm are frozen.
        assert_eq!((learnt.1, learnt.2), (2 * 4 * 2, 6 * 2 + 2));
    }

    #[test]
    fn adapters_of_a_part_come_back_as_those_of_that_part() {
        let folder = tempfile::tempdir().unwrap();
        for (targets, modules) in [(LoraTargets::Attention, 4), (LoraTargets::FeedForward, 3)] {
            save_adapters(folder.path(), &with_adapters(model(), LoraConfig { targets, ..CONFIG }, 1), "base").unwrap();
            let tensors = read_tensors(&folder.path().join("adapter_model.safetensors")).unwrap();
            assert_eq!(tensors.len(), 2 * 2 * modules);
            let again = load_adapters(folder.path(), model()).unwrap();
            assert_eq!(again.blocks[0].qkv.adapter().is_some(), targets == LoraTargets::Attention);
            assert_eq!(again.blocks[1].down.adapter().is_some(), targets == LoraTargets::FeedForward);
        }
    }

    #[test]
    fn written_and_read_again_they_are_the_same_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let adapted = taught(1);
        save_adapters(folder.path(), &adapted, "base").unwrap();
        let again = load_adapters(folder.path(), model()).unwrap();
        assert_eq!(logits(&again), logits(&adapted));
        assert_eq!(model_tensors(&merged(&again)), model_tensors(&merged(&adapted)));
        let config: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(folder.path().join("adapter_config.json")).unwrap()).unwrap();
        assert_eq!((config["r"].as_u64(), config["lora_alpha"].as_f64()), (Some(3), Some(6.0)));
        assert_eq!(config["target_modules"].as_array().unwrap().len(), 7);
        let tensors = read_tensors(&folder.path().join("adapter_model.safetensors")).unwrap();
        let key = &tensors["base_model.model.model.layers.1.self_attn.k_proj.lora_B.weight"];
        assert_eq!(key.shape, [8, 3], "two key heads of width 4");
    }
}
