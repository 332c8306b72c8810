//! The shape of a model, under the field names of Hugging Face's `config.json`. Independent of tensors.

mod family;
mod rope;
mod size;

pub use rope::{Llama3Scaling, RopeParameters, RopeScaling};
pub use size::ModelSize;

use crate::dtype::Dtype;
use anyhow::{Context, Result, bail, ensure};
use family::{check_architectures, name_architecture};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;

/// Configuration of a decoder of the Llama family; reads and writes Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// What products are computed in. A model has it from its device when it is made or loaded; a checkpoint does not store it.
    #[serde(skip)]
    pub compute_dtype: Dtype,
    /// Class that Hugging Face transformers loads the checkpoint with.
    #[serde(default = "default_architectures")]
    pub architectures: Vec<String>,
    /// Hugging Face's name of the family.
    #[serde(default = "default_model_type")]
    pub model_type: String,
    /// V, the number of token ids.
    pub vocab_size: usize,
    /// D, the width of the residual stream.
    pub hidden_size: usize,
    /// F, the width of the feed-forward part.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// H, the number of query heads.
    pub num_attention_heads: usize,
    /// G, the number of key/value heads; each serves H / G query heads. Absent means H.
    #[serde(default)]
    pub num_key_value_heads: Option<usize>,
    /// E, the width of one head. Absent means D / H.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Longest sequence, in tokens, that the model may be given.
    #[serde(default = "default_max_position_embeddings")]
    pub max_position_embeddings: usize,
    /// Added to the mean square in every RMSNorm.
    #[serde(default = "default_rms_norm_eps")]
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    #[serde(default = "default_rope_theta")]
    pub rope_theta: f64,
    /// The same base where transformers 5 writes it, with the scaling of the rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_parameters: Option<RopeParameters>,
    /// The same in the form of transformers 4, which calls it scaling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// Share of a head that is rotated. Read only to be refused where it is not all of it.
    #[serde(default, skip_serializing)]
    pub partial_rotary_factor: Option<f64>,
    /// How far back a token attends. Read only to be refused where it is less than the context; written as none, because
    /// transformers takes 4096 where Mistral's configuration does not state it.
    #[serde(default)]
    pub sliding_window: Option<usize>,
    /// Whether `sliding_window` is meant at all (Qwen2, Qwen3). Absent means no for these two, and yes for Mistral.
    #[serde(default, skip_serializing)]
    pub use_sliding_window: Option<bool>,
    /// Whether the output matrix is the embedding matrix.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Whether the query, key and value projections have a bias (Qwen2 has).
    #[serde(default)]
    pub attention_bias: bool,
    /// Activation of the feed-forward part; only `silu` is known.
    #[serde(default = "default_hidden_act")]
    pub hidden_act: String,
    /// Beginning of a sequence, where the tokenizer has one.
    #[serde(default)]
    pub bos_token_id: Option<u32>,
    /// End of a sequence.
    #[serde(default)]
    pub eos_token_id: Option<EosTokenId>,
    /// Padding, where the tokenizer has one. Never read here: masks come from lengths.
    #[serde(default)]
    pub pad_token_id: Option<u32>,
    /// Number format of the stored weights.
    #[serde(default = "default_dtype")]
    pub dtype: String,
}

/// One end-of-sequence id or several: both forms occur in published configurations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EosTokenId {
    /// A single id.
    One(u32),
    /// Any of these ends a sequence.
    Several(Vec<u32>),
}

/// The text of a file beside the weights, without the byte-order mark that some editors put before it.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.strip_prefix('\u{FEFF}').map(str::to_string).unwrap_or(text))
}

impl ModelConfig {
    /// A fresh model of a named size over a vocabulary of `vocab_size` ids, tied embeddings.
    pub fn of_size(size: ModelSize, vocab_size: usize, eos_token_id: u32) -> Self {
        let (hidden_size, num_hidden_layers, heads, intermediate_size) = match size {
            ModelSize::Pico => (64, 4, 2, 176),
            ModelSize::Nano => (96, 4, 3, 256),
            ModelSize::Tiny => (128, 4, 4, 344),
            ModelSize::Medium => (192, 6, 6, 512),
            ModelSize::Small => (384, 6, 6, 1024),
        };
        Self {
            compute_dtype: Dtype::default(),
            architectures: default_architectures(),
            model_type: default_model_type(),
            vocab_size,
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: Some(heads),
            head_dim: None,
            max_position_embeddings: 1024,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_parameters: None,
            rope_scaling: None,
            partial_rotary_factor: None,
            sliding_window: None,
            use_sliding_window: None,
            tie_word_embeddings: true,
            attention_bias: false,
            hidden_act: default_hidden_act(),
            bos_token_id: Some(eos_token_id),
            eos_token_id: Some(EosTokenId::One(eos_token_id)),
            pad_token_id: Some(eos_token_id),
            dtype: default_dtype(),
        }
    }

    /// Reads and checks a `config.json`.
    ///
    /// # Errors
    /// A missing or malformed file, an architecture that is not supported, sizes that do not fit each other.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        let malformed = || format!("{} is not a model configuration", path.display());
        let mut fields: Map<String, Value> = serde_json::from_str(&text).with_context(malformed)?;
        // First of all: other architectures have other fields, and a field that they lack is not what is wrong.
        name_architecture(&mut fields).with_context(|| format!("{} cannot be used", path.display()))?;
        let mut config: Self = serde_json::from_value(Value::Object(fields)).with_context(malformed)?;
        config.settle();
        config.check().with_context(|| format!("{} cannot be used", path.display()))?;
        Ok(config)
    }

    /// Fills in what a family implies, and brings older forms into the current one.
    pub(crate) fn settle(&mut self) {
        // Qwen2 has the bias by construction, and does not state it in its configuration.
        self.attention_bias |= self.model_type == "qwen2";
        if self.model_type == "qwen3" {
            self.head_dim.get_or_insert(128);
        }
        if let Some(parameters) = &self.rope_parameters {
            self.rope_theta = parameters.rope_theta;
        }
        if let Some(mut scaling) = self.rope_scaling.take() {
            if let Some(older) = scaling.older_type.take().filter(|_| scaling.rope_type == "default") {
                scaling.rope_type = older;
            }
            self.rope_parameters = Some(RopeParameters { rope_theta: self.rope_theta, scaling });
        }
        if let Some(RopeParameters { scaling, .. }) = &mut self.rope_parameters {
            scaling.llama3 = scaling.llama3.filter(|_| scaling.rope_type != "default");
        }
        // Transformers 4 and llama.cpp read this one.
        let scaling = self.rope_parameters.as_ref().map(|parameters| &parameters.scaling);
        self.rope_scaling = scaling.filter(|scaling| scaling.llama3.is_some()).cloned();
        if self.use_sliding_window == Some(false) || self.sliding_window >= Some(self.max_position_embeddings) {
            self.sliding_window = None;
        }
        // As the weights are held, and will be written.
        self.dtype = default_dtype();
    }

    /// Whether queries and keys pass an RMSNorm of their own, head by head (Qwen3).
    pub fn qk_norm(&self) -> bool {
        self.model_type == "qwen3"
    }

    /// The scaling of the rotation, if there is one.
    pub fn llama3_scaling(&self) -> Option<Llama3Scaling> {
        self.rope_parameters.as_ref()?.scaling.llama3
    }

    /// G, the number of key/value heads.
    pub fn kv_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// E, the width of one head.
    pub fn head_width(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads)
    }

    /// The ids that end a sequence.
    pub fn eos_ids(&self) -> Vec<u32> {
        match &self.eos_token_id {
            None => Vec::new(),
            Some(EosTokenId::One(id)) => vec![*id],
            Some(EosTokenId::Several(ids)) => ids.clone(),
        }
    }

    /// Number of parameters of the language model (a tied output matrix counts once).
    pub fn parameters(&self) -> usize {
        usize::try_from(self.count_parameters()).unwrap_or(usize::MAX)
    }

    /// As [`Self::parameters`], for sizes from a file that may be broken.
    fn count_parameters(&self) -> u128 {
        let [d, f, e, h, g, v, layers] = [
            self.hidden_size,
            self.intermediate_size,
            self.head_width(),
            self.num_attention_heads,
            self.kv_heads(),
            self.vocab_size,
            self.num_hidden_layers,
        ]
        .map(|size| size as u128);
        let qkv = (h + 2 * g) * e;
        let bias = if self.attention_bias { qkv } else { 0 };
        let norms = 2 * d + if self.qk_norm() { 2 * e } else { 0 };
        let block = d * qkv + bias + h * e * d + 3 * d * f + norms;
        let matrices = if self.tie_word_embeddings { 1 } else { 2 };
        matrices * v * d + layers * block + d
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_architectures(&self.architectures)?;
        ensure!(self.hidden_act == "silu", "activation {} is not supported; only silu is", self.hidden_act);
        self.check_rotation()?;
        let epsilon = self.rms_norm_eps;
        ensure!(epsilon > 0.0 && epsilon < 1.0, "rms_norm_eps = {epsilon} is out of range");
        if let Some(window) = self.sliding_window {
            bail!(
                "a sliding window of {window} tokens within a context of {} is not supported",
                self.max_position_embeddings
            );
        }
        let heads = self.num_attention_heads;
        for (name, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", heads),
            ("num_key_value_heads", self.kv_heads()),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            // The upper bound keeps products of sizes from a broken file far from overflow.
            ensure!((1..=1 << 24).contains(&value), "{name} = {value} is out of range");
        }
        ensure!(
            heads.is_multiple_of(self.kv_heads()),
            "{heads} attention heads cannot share {} key/value heads evenly",
            self.kv_heads()
        );
        ensure!(
            self.head_dim.is_some() || self.hidden_size.is_multiple_of(heads),
            "hidden_size {} is not a multiple of {heads} heads",
            self.hidden_size
        );
        ensure!((1..=1 << 24).contains(&self.head_width()), "head_dim = {} is out of range", self.head_width());
        ensure!(
            self.head_width().is_multiple_of(2),
            "the head width {} is odd; rotary embeddings need pairs",
            self.head_width()
        );
        let parameters = self.count_parameters();
        ensure!(parameters <= 1 << 42, "its sizes need {parameters} parameters, more than any model has");
        Ok(())
    }

    fn check_rotation(&self) -> Result<()> {
        let scaling = self.rope_parameters.as_ref().map(|parameters| &parameters.scaling);
        if let Some(RopeScaling { rope_type, llama3, .. }) = scaling {
            match rope_type.as_str() {
                "default" => {}
                "llama3" => ensure!(
                    llama3.is_some_and(|scaling| scaling.factor >= 1.0
                        && scaling.low_freq_factor > 0.0
                        && scaling.high_freq_factor > scaling.low_freq_factor
                        && scaling.original_max_position_embeddings > 0),
                    "the rotary scaling llama3 needs factor, low_freq_factor, high_freq_factor and \
                     original_max_position_embeddings that make sense"
                ),
                other => bail!("rotary scaling of the type {other} is not supported; only llama3 is"),
            }
        }
        let partial = self.partial_rotary_factor.or(scaling.and_then(|scaling| scaling.partial_rotary_factor));
        ensure!(partial.is_none_or(|share| share == 1.0), "partial rotary embeddings are not supported");
        ensure!(
            self.rope_theta.is_finite() && self.rope_theta >= 1.0,
            "rope_theta = {} is out of range",
            self.rope_theta
        );
        Ok(())
    }
}

fn default_architectures() -> Vec<String> {
    vec!["LlamaForCausalLM".into()]
}

fn default_model_type() -> String {
    "llama".into()
}

fn default_max_position_embeddings() -> usize {
    2048
}

fn default_rms_norm_eps() -> f64 {
    1e-6
}

fn default_rope_theta() -> f64 {
    10_000.0
}

fn default_hidden_act() -> String {
    "silu".into()
}

fn default_dtype() -> String {
    "float32".into()
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
