//! Low-rank adapters on the matrices of the blocks (Hu et al. 2021, arXiv 2106.09685): W + α/r A B with W frozen, A `[in, r]`,
//! B `[r, out]` that starts at 0. The adapters are burn's; where they sit, what they start from, and how PEFT stores them stands
//! here.
//!
//! Query, key and value are one matrix here, and gate and up another: each has one A. PEFT keeps them apart, so there they
//! have the same A.

use crate::{
    by_path::with_replaced,
    host::HostTensor,
    random::{Key, Purpose},
    transformer::Transformer,
};
use burn::module::{Lora, Module, ParamGroup};
use std::collections::BTreeMap;

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

/// A model of which only new adapters on its blocks are trained. At first they change nothing.
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
    set_factors(model.apply_lora(lora), first)
}

/// The same model with its adapters added into its weights.
pub fn merged(model: &Transformer) -> Transformer {
    model.clone().materialize()
}

/// The same model with the values of factors replaced, by their path in the model, such as `blocks.0.qkv.lora.a`.
pub(crate) fn with_factors(model: Transformer, values: &BTreeMap<String, HostTensor>) -> Transformer {
    set_factors(model, |path, _| values.get(path).cloned())
}

/// [`with_factors`] from a function of path and shape.
fn set_factors(model: Transformer, value_of: impl Fn(&str, [usize; 2]) -> Option<HostTensor>) -> Transformer {
    with_replaced(model, |weight| {
        let shape = <[usize; 2]>::try_from(weight.shape.as_slice()).ok()?;
        if weight.path.contains(".lora.") { value_of(weight.path, shape) } else { None }
    })
}

#[cfg(test)]
pub(crate) mod tests;
