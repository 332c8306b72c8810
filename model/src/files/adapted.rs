//! A base model with a PEFT adapter added into its weights as they are read: W + s B A, with s = α / r, or α / √r for rank-stabilised
//! adapters (Kalajdzievski 2023, arXiv 2312.03732). Adapters of others: any matrices, each with an A of its own. Those that are
//! trained here are read and written by `peft.rs`.

use super::{safetensors::read_tensors, source::Source};
use crate::host::{HostTensor, HostTensors};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;

/// The configuration of an adapter, with the name of its base.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";

/// The file of its weights.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

/// The fields of `adapter_config.json` that decide what is added.
#[derive(Deserialize)]
struct Config {
    peft_type: String,
    base_model_name_or_path: Option<String>,
    #[serde(default)]
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
    #[serde(default)]
    alpha_pattern: Map<String, Value>,
    #[serde(default)]
    init_lora_weights: Value,
}

fn read(folder: &Path) -> Result<Config> {
    let path = folder.join(ADAPTER_CONFIG);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not the configuration of an adapter", path.display()))
}

/// The model that an adapter is added to, as its configuration names it.
///
/// # Errors
/// A missing or malformed `adapter_config.json`, or one that names none.
pub fn adapter_base(folder: &Path) -> Result<String> {
    let name = read(folder)?.base_model_name_or_path.filter(|name| !name.is_empty());
    name.with_context(|| {
        format!(
            "{} names no base_model_name_or_path: write into it the folder of the model that the adapter is added to",
            folder.join(ADAPTER_CONFIG).display()
        )
    })
}

/// The factors of an adapter, and how much they count.
pub(crate) struct Adapter {
    tensors: HostTensors,
    alpha: f64,
    rank_stabilised: bool,
}

impl Adapter {
    /// Reads a PEFT adapter folder.
    ///
    /// # Errors
    /// A missing or malformed file, or what is more than products of two factors, each named.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let config = read(folder)?;
        let init = config.init_lora_weights.as_str().unwrap_or_default();
        let changes_base = ["pissa", "olora", "corda", "loftq"].into_iter().find(|name| init.starts_with(name));
        let unknown = [
            (config.peft_type != "LORA").then(|| format!("peft_type {}", config.peft_type)),
            config.use_dora.then(|| "use_dora".into()),
            config.fan_in_fan_out.then(|| "fan_in_fan_out".into()),
            config.bias.filter(|bias| bias != "none").map(|bias| format!("bias {bias}")),
            config.modules_to_save.filter(|names| !names.is_empty()).map(|_| "modules_to_save".into()),
            (!config.alpha_pattern.is_empty()).then(|| "alpha_pattern".into()),
            changes_base.map(|name| format!("init_lora_weights {name}, which changes the base")),
        ];
        if let Some(unknown) = unknown.into_iter().flatten().next() {
            bail!(
                "{}: {unknown} is not supported; add the adapter into its base with PEFT (merge_and_unload, save_pretrained) and \
                 give that folder",
                folder.join(ADAPTER_CONFIG).display()
            );
        }
        let path = folder.join(ADAPTER_WEIGHTS);
        let tensors = read_tensors(&path)?;
        for (name, tensor) in &tensors {
            tensor.check_finite(name).with_context(|| format!("{} cannot be used", path.display()))?;
        }
        ensure!(!tensors.is_empty(), "{} has no tensors", path.display());
        Ok(Self { tensors, alpha: config.lora_alpha, rank_stabilised: config.use_rslora })
    }
}

/// The tensors of a base, an adapter added to those that it has factors for.
pub(crate) struct Adapted {
    pub(crate) base: Box<dyn Source>,
    pub(crate) adapter: Adapter,
}

impl Source for Adapted {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.base.shape(name)
    }

    fn take(&mut self, name: &str) -> Result<HostTensor> {
        let mut tensor = self.base.take(name)?;
        let Some(matrix) = name.strip_suffix(".weight") else { return Ok(tensor) };
        let mut factor = |part: &str| self.adapter.tensors.remove(&format!("base_model.model.{matrix}.{part}.weight"));
        let (a, b) = match (factor("lora_A"), factor("lora_B")) {
            (None, None) => return Ok(tensor),
            (Some(a), Some(b)) => (a, b),
            _ => bail!("the adapter has only one of the two factors of {matrix}"),
        };
        let rank = a.shape.first().copied().unwrap_or_default();
        let fits = tensor.shape.len() == 2 && a.shape == [rank, tensor.shape[1]] && b.shape == [tensor.shape[0], rank];
        ensure!(
            fits && rank > 0,
            "the adapter's factors of {matrix} are {:?} and {:?}, and the matrix is {:?}: it belongs to another base",
            b.shape,
            a.shape,
            tensor.shape
        );
        let ranks = if self.adapter.rank_stabilised { (rank as f64).sqrt() } else { rank as f64 };
        let scale = (self.adapter.alpha / ranks) as f32;
        let width = tensor.shape[1];
        for (row, factors) in tensor.values.chunks_exact_mut(width).zip(b.values.chunks_exact(rank)) {
            for (factor, direction) in factors.iter().zip(a.values.chunks_exact(width)) {
                let factor = scale * factor;
                row.iter_mut().zip(direction).for_each(|(value, along)| *value += factor * along);
            }
        }
        Ok(tensor)
    }

    fn left(&self) -> Vec<String> {
        let mut left = self.base.left();
        left.extend(self.adapter.tensors.keys().map(|name| format!("{name} of the adapter")));
        left
    }
}

#[cfg(test)]
mod tests {
    use super::super::safetensors::write_tensors;
    use super::*;
    use serde_json::json;

    fn tensor(shape: [usize; 2], values: &[f32]) -> HostTensor {
        HostTensor { shape: shape.to_vec(), values: values.to_vec() }
    }

    /// An adapter of rank 2 on one matrix of three rows and two columns.
    fn adapter(more: &Value) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut config = json!({"peft_type": "LORA", "base_model_name_or_path": "base", "r": 2, "lora_alpha": 4.0});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        std::fs::write(folder.path().join(ADAPTER_CONFIG), config.to_string()).unwrap();
        let name = |part: &str| format!("base_model.model.model.layers.0.self_attn.q_proj.{part}.weight");
        let factors = [
            (name("lora_A"), tensor([2, 2], &[1.0, 2.0, 0.0, 1.0])),
            (name("lora_B"), tensor([3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0])),
        ];
        write_tensors(&folder.path().join(ADAPTER_WEIGHTS), &factors.into_iter().collect()).unwrap();
        folder
    }

    fn adapted(folder: &Path) -> Adapted {
        let matrix = tensor([3, 2], &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        let names = ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight"];
        let base: HostTensors = names.map(|name| (name.to_string(), matrix.clone())).into_iter().collect();
        Adapted { base: Box::new(base), adapter: Adapter::read(folder).unwrap() }
    }

    #[test]
    fn the_scaled_product_of_the_factors_is_added_where_there_are_some() {
        for (more, scale) in [(json!({}), 2.0), (json!({"use_rslora": true}), 4.0 / 2.0_f32.sqrt())] {
            let mut source = adapted(adapter(&more).path());
            let product = [1.0, 2.0, 0.0, 1.0, 1.0, 3.0];
            let base = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0];
            let found = source.take("model.layers.0.self_attn.q_proj.weight").unwrap().values;
            for ((found, base), product) in found.iter().zip(base).zip(product) {
                assert!((found - (base + scale * product)).abs() < 1e-4, "{found}");
            }
            assert_eq!(source.left(), ["model.layers.0.mlp.down_proj.weight"]);
            assert_eq!(source.take("model.layers.0.mlp.down_proj.weight").unwrap().values, base);
        }
    }

    #[test]
    fn factors_that_nothing_takes_are_left_and_those_that_do_not_fit_are_refused() {
        let folder = adapter(&json!({}));
        let mut source = adapted(folder.path());
        let left = source.left();
        assert!(left.iter().filter(|name| name.ends_with("of the adapter")).count() == 2, "{left:?}");
        source.base = Box::new(HostTensors::from([(
            "model.layers.0.self_attn.q_proj.weight".to_string(),
            tensor([2, 2], &[0.0; 4]),
        )]));
        let error = source.take("model.layers.0.self_attn.q_proj.weight").unwrap_err().to_string();
        assert!(error.contains("belongs to another base"), "{error}");
    }

    #[test]
    fn what_is_more_than_a_product_of_two_factors_is_refused_by_name() {
        for (more, name) in [
            (json!({"peft_type": "IA3"}), "peft_type IA3"),
            (json!({"use_dora": true}), "use_dora"),
            (json!({"bias": "all"}), "bias all"),
            (json!({"modules_to_save": ["lm_head"]}), "modules_to_save"),
            (json!({"alpha_pattern": {"q_proj": 8}}), "alpha_pattern"),
            (json!({"init_lora_weights": "pissa_niter_4"}), "init_lora_weights pissa"),
        ] {
            let error = Adapter::read(adapter(&more).path()).err().unwrap().to_string();
            assert!(error.contains(name) && error.contains("merge_and_unload"), "{error}");
        }
        for fine in [json!({"bias": "none", "target_modules": "all-linear", "modules_to_save": null}), json!({})] {
            assert!(Adapter::read(adapter(&fine).path()).is_ok());
        }
    }
}
