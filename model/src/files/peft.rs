//! The adapters that are trained here, as PEFT stores them. Those of others, which are added into a base, stand in `adapted.rs`.
//!
//! PEFT keeps query, key and value apart, and gate and up: each of them is stored with the A that they share here.

use super::{
    adapted::{ADAPTER_CONFIG, ADAPTER_WEIGHTS},
    checkpoint::{QKV, qkv_widths},
    safetensors::{read_tensors, write_tensors},
};
use crate::{
    config::read_text,
    host::{HostTensor, HostTensors, split_rows, to_host, transposed},
    lora::{LoraConfig, LoraTargets, with_adapters, with_factors},
    transformer::{Block, Transformer},
};
use anyhow::{Context, Result, ensure};
use burn::{
    module::{LoraAdapter, Param},
    tensor::Tensor,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// The fields of `adapter_config.json` that are read.
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

/// Writes `adapter_config.json` and `adapter_model.safetensors` as PEFT reads them.
///
/// # Errors
/// Whatever the file system reports.
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
/// A missing or malformed file, adapters of another model, or query, key and value without a common A.
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
                    "{}: {name} has its own A, where {} must share one",
                    path.display(),
                    names.join(", ")
                );
                b.values.extend(&take(name, "lora_B", &[width, rank])?.values);
            }
            values.insert(format!("blocks.{layer}.{matrix}.lora.a"), transposed(a));
            values.insert(format!("blocks.{layer}.{matrix}.lora.b"), transposed(&b));
        }
    }
    Ok(with_factors(adapted, &values))
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

#[cfg(test)]
mod tests;
