//! Weights on disk, under Hugging Face's names and layouts, in safetensors. Independent of optimiser and tokenizer.
//!
//! Hugging Face stores matrices `[out, in]` and query, key, value, gate and up apart; here they are `[in, out]` and fused.
//! Only this file knows both.

use super::{
    adapted::{Adapted, Adapter},
    extrapolated::Extrapolated,
    gguf::Gguf,
    safetensors::{NumberFormat, read_tensors, write_tensors, write_tensors_as},
    source::{Shards, Source},
};
use crate::{
    config::ModelConfig,
    device::Device,
    dtype::Dtype,
    heads::ValueBranch,
    host::{HostTensor, HostTensors, NotFinite, split_rows, to_host, transposed},
    transformer::{Block, Transformer},
};
use anyhow::{Context, Result, ensure};
use burn::{
    module::Param,
    tensor::{self, Tensor, TensorData},
};
use std::path::{Path, PathBuf};

/// Writes `config.json` and `model.safetensors` into an existing folder.
///
/// # Errors
/// Whatever the file system reports.
pub fn save_model(folder: &Path, model: &Transformer) -> Result<()> {
    save_model_as(folder, model, NumberFormat::F32)
}

/// [`save_model`] in a number format of choice.
///
/// # Errors
/// Whatever the file system reports.
pub fn save_model_as(folder: &Path, model: &Transformer, format: NumberFormat) -> Result<()> {
    let dtype = match format {
        NumberFormat::F32 => "float32",
        NumberFormat::Bf16 => "bfloat16",
        NumberFormat::F16 => "float16",
    };
    let config = ModelConfig { dtype: dtype.into(), ..model.config.clone() };
    let config = serde_json::to_string_pretty(&config).context("cannot write the configuration")?;
    let path = folder.join("config.json");
    std::fs::write(&path, config).with_context(|| format!("cannot write {}", path.display()))?;
    write_tensors_as(&folder.join("model.safetensors"), &model_tensors(model), format)
}

/// Reads a model: a folder with `config.json` and safetensors, one of our checkpoints or one of Hugging Face's, or a GGUF file.
///
/// # Errors
/// A missing, truncated or foreign file, a missing or unknown tensor, a shape that does not fit the configuration, weights that are
/// no finite numbers: each named.
pub fn load_model(path: &Path, device: &Device) -> Result<Transformer> {
    load_adapted_model(path, &[], device)
}

/// [`load_model`] with PEFT adapters added into its weights, one after the other.
///
/// # Errors
/// As [`load_model`]; an adapter that cannot be read or does not fit, named.
pub fn load_adapted_model(path: &Path, adapters: &[PathBuf], device: &Device) -> Result<Transformer> {
    let opened = open(path, adapters)?;
    load_opened(opened, path, device)
}

/// The model θ₁ + α (θ₁ - θ₀) of two models of the same shape, each with its adapters; beside it, two tensors are in memory at a time.
///
/// # Errors
/// As [`load_adapted_model`]; models of different shapes.
pub fn load_extrapolated_model(
    (from, from_adapters): (&Path, &[PathBuf]),
    (to, to_adapters): (&Path, &[PathBuf]),
    alpha: f64,
    device: &Device,
) -> Result<Transformer> {
    let start = open(from, from_adapters)?;
    let opened = open(to, to_adapters)?;
    let what = format!("{} and {}", start.what, opened.what);
    let source = Box::new(Extrapolated { from: start.source, to: opened.source, alpha });
    load_opened(Opened { source, what, ..opened }, to, device)
}

/// A model whose tensors have not been read.
struct Opened {
    config: ModelConfig,
    source: Box<dyn Source>,
    /// For messages.
    what: String,
}

fn open(path: &Path, adapters: &[PathBuf]) -> Result<Opened> {
    let (config, mut source): (ModelConfig, Box<dyn Source>) = match is_gguf(path) {
        true => {
            let mut gguf = Gguf::open(path)?;
            (gguf.config()?, Box::new(gguf))
        }
        false => {
            ensure!(path.is_dir(), "{} is not a checkpoint folder", path.display());
            (ModelConfig::read(&path.join("config.json"))?, Box::new(Shards::open(path)?))
        }
    };
    let mut what = path.display().to_string();
    for folder in adapters {
        source = Box::new(Adapted { base: source, adapter: Adapter::read(folder)? });
        what += &format!(" with the adapter {}", folder.display());
    }
    Ok(Opened { config, source, what })
}

fn load_opened(opened: Opened, path: &Path, device: &Device) -> Result<Transformer> {
    let Opened { config, mut source, what } = opened;
    whole(source.as_mut(), &config, device).map_err(|error| match error.is::<NotFinite>() || is_gguf(path) {
        true => error.context(format!("{what} cannot be used")),
        false => error.context(format!("the tensors in {what} do not fit its config.json")),
    })
}

/// The configuration of what [`load_model`] would read, without its weights.
///
/// # Errors
/// As [`load_model`].
pub fn read_config(path: &Path) -> Result<ModelConfig> {
    match is_gguf(path) {
        true => Gguf::open(path)?.config(),
        false => ModelConfig::read(&path.join("config.json")),
    }
}

/// Whether a path means a GGUF file.
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// A model out of all tensors of a source: one that nothing reads would mean that the model is another than it seems.
fn whole(source: &mut dyn Source, config: &ModelConfig, device: &Device) -> Result<Transformer> {
    let model = Loader { source, device }.model(config, device.dtype())?;
    let tied = |name: &String| config.tie_word_embeddings && name == "lm_head.weight";
    // Tables that older versions of transformers have stored, and that follow from the configuration.
    let derived = |name: &String| name.ends_with("rotary_emb.inv_freq");
    let left: Vec<String> = source.left().into_iter().filter(|name| !tied(name) && !derived(name)).collect();
    ensure!(
        left.is_empty(),
        "there are tensors that a {} does not have: {}{}",
        config.architectures.first().map_or("model of this kind", String::as_str),
        left[..left.len().min(3)].join(", "),
        if left.len() > 3 { ", …" } else { "" }
    );
    Ok(model)
}

/// Writes the critic's branch to a safetensors file.
///
/// # Errors
/// Whatever the file system reports.
pub fn save_value_branch(path: &Path, branch: &ValueBranch, config: &ModelConfig) -> Result<()> {
    let mut tensors = HostTensors::new();
    for (layer, block) in branch.blocks.iter().enumerate() {
        block_tensors(&mut tensors, &format!("layers.{layer}"), block, config);
    }
    tensors.insert("norm.weight".into(), to_host(branch.norm.val()));
    tensors.insert("head.weight".into(), transposed(&to_host(branch.head.val())));
    tensors.insert("head.bias".into(), to_host(branch.head_bias.val()));
    write_tensors(path, &tensors)
}

/// Reads what [`save_value_branch`] wrote.
///
/// # Errors
/// As [`load_model`].
pub fn load_value_branch(
    path: &Path,
    config: &ModelConfig,
    layers: usize,
    detach: bool,
    device: &tensor::Device,
) -> Result<ValueBranch> {
    let mut tensors = read_tensors(path)?;
    let mut load = Loader { source: &mut tensors, device };
    let d = config.hidden_size;
    let mut branch = || -> Result<ValueBranch> {
        let branch = ValueBranch {
            blocks: (0..layers).map(|layer| load.block(&format!("layers.{layer}"), config)).collect::<Result<_>>()?,
            norm: load.vector("norm.weight", d)?,
            head: load.matrix(&["head.weight"], &[1], d)?,
            head_bias: load.vector("head.bias", 1)?,
            detach,
        };
        let left = load.source.left();
        ensure!(left.is_empty(), "it has more blocks than {layers}: {}", left.join(", "));
        Ok(branch)
    };
    branch().with_context(|| format!("{} is not the value branch of this model", path.display()))
}

/// Every tensor of a model under its Hugging Face name.
pub fn model_tensors(model: &Transformer) -> HostTensors {
    let mut tensors = HostTensors::new();
    tensors.insert("model.embed_tokens.weight".into(), to_host(model.embedding.val()));
    for (layer, block) in model.blocks.iter().enumerate() {
        block_tensors(&mut tensors, &format!("model.layers.{layer}"), block, &model.config);
    }
    tensors.insert("model.norm.weight".into(), to_host(model.norm.val()));
    if let Some(output) = &model.output {
        tensors.insert("lm_head.weight".into(), transposed(&to_host(output.val())));
    }
    tensors
}

fn block_tensors(tensors: &mut HostTensors, prefix: &str, block: &Block, config: &ModelConfig) {
    let mut put = |name: &str, tensor: HostTensor| {
        tensors.insert(format!("{prefix}.{name}.weight"), tensor);
    };
    put("input_layernorm", to_host(block.attention_norm.val()));
    put("post_attention_layernorm", to_host(block.feed_forward_norm.val()));
    put("self_attn.o_proj", transposed(&to_host(block.attention_output.val())));
    put("mlp.down_proj", transposed(&to_host(block.down.val())));
    let f = config.intermediate_size;
    let gate_up = split_rows(&transposed(&to_host(block.gate_up.val())), &[f, f]);
    for (name, part) in ["mlp.gate_proj", "mlp.up_proj"].iter().zip(gate_up) {
        put(name, part);
    }
    let qkv = split_rows(&transposed(&to_host(block.qkv.val())), &qkv_widths(config));
    for (name, part) in QKV.iter().zip(qkv) {
        put(name, part);
    }
    for (name, norm) in [("q_norm", &block.query_norm), ("k_norm", &block.key_norm)] {
        if let Some(norm) = norm {
            put(&format!("self_attn.{name}"), to_host(norm.val()));
        }
    }
    if let Some(bias) = &block.qkv_bias {
        for (name, part) in QKV.iter().zip(split_rows(&to_host(bias.val()), &qkv_widths(config))) {
            tensors.insert(format!("{prefix}.{name}.bias"), part);
        }
    }
}

pub(crate) const QKV: [&str; 3] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];

pub(crate) fn qkv_widths(config: &ModelConfig) -> [usize; 3] {
    let (e, kv) = (config.head_width(), config.kv_heads());
    [config.num_attention_heads * e, kv * e, kv * e]
}

/// Takes tensors by Hugging Face name, checks their shapes, and lays them out as ours.
pub(super) struct Loader<'a> {
    pub(super) source: &'a mut dyn Source,
    pub(super) device: &'a tensor::Device,
}

impl Loader<'_> {
    fn model(&mut self, config: &ModelConfig, compute_dtype: Dtype) -> Result<Transformer> {
        let (v, d) = (config.vocab_size, config.hidden_size);
        let embedding = self.take("model.embed_tokens.weight", &[v, d])?;
        Ok(Transformer {
            embedding: Param::from_data(TensorData::new(embedding.values, [v, d]), self.device),
            blocks: (0..config.num_hidden_layers)
                .map(|layer| self.block(&format!("model.layers.{layer}"), config))
                .collect::<Result<_>>()?,
            norm: self.vector("model.norm.weight", d)?,
            output: match config.tie_word_embeddings {
                true => None,
                false => Some(self.matrix(&["lm_head.weight"], &[v], d)?),
            },
            config: ModelConfig { compute_dtype, ..config.clone() },
            tape: None,
        })
    }

    fn block(&mut self, prefix: &str, config: &ModelConfig) -> Result<Block> {
        let (d, f, e) = (config.hidden_size, config.intermediate_size, config.head_width());
        let weight = |name: &str| format!("{prefix}.{name}.weight");
        let qkv: Vec<String> = QKV.iter().map(|name| weight(name)).collect();
        let qkv: Vec<&str> = qkv.iter().map(String::as_str).collect();
        let widths = qkv_widths(config);
        Ok(Block {
            attention_norm: self.vector(&weight("input_layernorm"), d)?,
            qkv: self.matrix(&qkv, &widths, d)?,
            qkv_bias: match config.attention_bias {
                false => None,
                true => Some(self.bias(prefix, &widths)?),
            },
            query_norm: self.head_norm(&weight("self_attn.q_norm"), config)?,
            key_norm: self.head_norm(&weight("self_attn.k_norm"), config)?,
            attention_output: self.matrix(&[&weight("self_attn.o_proj")], &[d], config.num_attention_heads * e)?,
            feed_forward_norm: self.vector(&weight("post_attention_layernorm"), d)?,
            gate_up: self.matrix(&[&weight("mlp.gate_proj"), &weight("mlp.up_proj")], &[f, f], d)?,
            down: self.matrix(&[&weight("mlp.down_proj")], &[d], f)?,
        })
    }

    /// Matrices `[out_i, in]` stacked along `out` and transposed: `[in, sum of out_i]`.
    pub(super) fn matrix(&mut self, names: &[&str], outputs: &[usize], input: usize) -> Result<Param<Tensor<2>>> {
        let mut stacked = HostTensor { shape: vec![outputs.iter().sum(), input], values: Vec::new() };
        for (name, &output) in names.iter().zip(outputs) {
            stacked.values.extend(self.take(name, &[output, input])?.values);
        }
        let [rows, columns] = [stacked.shape[1], stacked.shape[0]];
        Ok(Param::from_data(TensorData::new(transposed(&stacked).values, [rows, columns]), self.device))
    }

    fn bias(&mut self, prefix: &str, widths: &[usize; 3]) -> Result<Param<Tensor<1>>> {
        let mut values = Vec::new();
        for (name, &width) in QKV.iter().zip(widths) {
            values.extend(self.take(&format!("{prefix}.{name}.bias"), &[width])?.values);
        }
        let length = values.len();
        Ok(Param::from_data(TensorData::new(values, [length]), self.device))
    }

    fn head_norm(&mut self, name: &str, config: &ModelConfig) -> Result<Option<Param<Tensor<1>>>> {
        config.qk_norm().then(|| self.vector(name, config.head_width())).transpose()
    }

    pub(super) fn vector(&mut self, name: &str, length: usize) -> Result<Param<Tensor<1>>> {
        let values = self.take(name, &[length])?.values;
        Ok(Param::from_data(TensorData::new(values, [length]), self.device))
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<HostTensor> {
        let found = self.source.shape(name).with_context(|| format!("the tensor {name} is missing"))?;
        ensure!(found == shape, "the tensor {name} has the shape {found:?}, the configuration asks for {shape:?}");
        let tensor = self.source.take(name)?;
        tensor.check_finite(name)?;
        Ok(tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelSize;

    fn small() -> ModelConfig {
        ModelConfig {
            hidden_size: 8,
            intermediate_size: 6,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            num_key_value_heads: Some(1),
            ..ModelConfig::of_size(ModelSize::Tiny, 11, 0)
        }
    }

    #[test]
    fn a_number_format_of_choice_comes_back_as_the_nearest_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let model = Transformer::init(&small(), 3, &Device::default());
        for (format, exact) in [(NumberFormat::Bf16, 256.0), (NumberFormat::F16, 2048.0)] {
            save_model_as(folder.path(), &model, format).unwrap();
            let loaded = load_model(folder.path(), &Device::default()).unwrap();
            let (ours, theirs) = (model_tensors(&model), model_tensors(&loaded));
            for (name, tensor) in &ours {
                for (ours, theirs) in tensor.values.iter().zip(&theirs[name].values) {
                    assert!((ours - theirs).abs() <= ours.abs() / exact + 1e-7, "{name}: {ours} {theirs}");
                }
            }
            assert_ne!(ours, theirs);
        }
    }

    #[test]
    fn weights_that_are_no_finite_numbers_are_refused_and_the_tensor_is_named() {
        let (folder, device) = (tempfile::tempdir().unwrap(), Device::default());
        let model = Transformer::init(&small(), 3, &device);
        for (format, value) in [(NumberFormat::F32, f32::NAN), (NumberFormat::Bf16, f32::NEG_INFINITY)] {
            save_model_as(folder.path(), &model, format).unwrap();
            let mut tensors = model_tensors(&model);
            let name = "model.layers.1.mlp.up_proj.weight";
            tensors.get_mut(name).unwrap().values[7] = value;
            write_tensors_as(&folder.path().join("model.safetensors"), &tensors, format).unwrap();
            let error = format!("{:#}", load_model(folder.path(), &device).unwrap_err());
            assert!(error.contains(name) && error.contains(&format!("{value} at 7")), "{error}");
            assert!(error.contains("cannot be used") && !error.contains("do not fit"), "{error}");
        }
        let mut branch = ValueBranch::of(&model, 1, true);
        branch.head = branch.head.map(|head| head.mul_scalar(0.0).div_scalar(0.0));
        let path = folder.path().join("value.safetensors");
        save_value_branch(&path, &branch, &small()).unwrap();
        let error = format!("{:#}", load_value_branch(&path, &small(), 1, true, &device).unwrap_err());
        assert!(error.contains("head.weight has weights that are no finite numbers"), "{error}");
    }

    #[test]
    fn a_value_branch_comes_back_as_it_was_written() {
        let (config, device) = (small(), Device::default());
        let policy = Transformer::init(&config, 3, &device);
        let mut branch = ValueBranch::of(&policy, 1, true);
        branch.head =
            Param::from_tensor(Tensor::from_floats([[0.5], [1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [7.0]], &device));
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        save_value_branch(&first, &branch, &config).unwrap();
        let loaded = load_value_branch(&first, &config, 1, true, &device).unwrap();
        save_value_branch(&second, &loaded, &config).unwrap();
        assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
        assert_eq!(to_host(loaded.head.val()), to_host(branch.head.val()));
        let error = format!("{:#}", load_value_branch(&first, &config, 2, true, &device).unwrap_err());
        assert!(error.contains("layers.1.input_layernorm.weight is missing"), "{error}");
    }

    #[test]
    fn every_parameter_is_written_once() {
        let mut config = small();
        for (tied, bias) in [(true, false), (false, true)] {
            (config.tie_word_embeddings, config.attention_bias) = (tied, bias);
            let tensors = model_tensors(&Transformer::init(&config, 0, &Device::default()));
            assert_eq!(tensors.values().map(|tensor| tensor.values.len()).sum::<usize>(), config.parameters());
            assert!(tensors.values().all(|tensor| tensor.values.len() == tensor.shape.iter().product::<usize>()));
        }
    }
}
