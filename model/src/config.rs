//! The shape of a model, under the field names of Hugging Face's `config.json`.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Configuration of a decoder of the Llama family; reads and writes Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
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
    /// The same base where transformers 5 writes it, and what else it says of the rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_parameters: Option<RopeParameters>,
    /// Scaling of the rotation in the form of transformers 4. Read only to be refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<serde_json::Value>,
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

/// How positions are rotated, in the form of transformers 5.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RopeParameters {
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Only `default`, without scaling, is known.
    #[serde(default = "default_rope_type")]
    pub rope_type: String,
}

/// The sizes that have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelSize {
    /// Width 128, 4 layers, 4 heads, feed-forward 344: 0.9 million parameters with 512 tokens. Stands for the paper's 7B.
    Tiny,
    /// Width 192, 6 layers, 6 heads, feed-forward 512: 2.8 million parameters. Stands for the paper's 13B.
    Medium,
    /// Width 384, 6 layers, 6 heads, feed-forward 1024: 10.8 million parameters.
    Small,
}

impl ModelConfig {
    /// A fresh model of a named size over a vocabulary of `vocab_size` ids, tied embeddings.
    pub fn of_size(size: ModelSize, vocab_size: usize, eos_token_id: u32) -> Self {
        let (hidden_size, num_hidden_layers, heads, intermediate_size) = match size {
            ModelSize::Tiny => (128, 4, 4, 344),
            ModelSize::Medium => (192, 6, 6, 512),
            ModelSize::Small => (384, 6, 6, 1024),
        };
        Self {
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
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let malformed = || format!("{} is not a model configuration", path.display());
        // First of all: other architectures have other fields, and a field that they lack is not what is wrong.
        let Architectures { architectures } = serde_json::from_str(&text).with_context(malformed)?;
        check_architectures(&architectures).with_context(|| format!("{} cannot be used", path.display()))?;
        let mut config: Self = serde_json::from_str(&text).with_context(malformed)?;
        // Qwen2 has the bias by construction, and does not say so in its configuration.
        config.attention_bias |= config.model_type == "qwen2";
        if let Some(parameters) = &config.rope_parameters {
            config.rope_theta = parameters.rope_theta;
        }
        config.check().with_context(|| format!("{} cannot be used", path.display()))?;
        Ok(config)
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
        let block = d * qkv + bias + h * e * d + 3 * d * f + 2 * d;
        let matrices = if self.tie_word_embeddings { 1 } else { 2 };
        matrices * v * d + layers * block + d
    }

    fn check(&self) -> Result<()> {
        ensure!(self.hidden_act == "silu", "activation {} is not supported; only silu is", self.hidden_act);
        if let Some(RopeParameters { rope_type, .. }) = &self.rope_parameters {
            ensure!(rope_type == "default", "rotary scaling of the type {rope_type} is not supported");
        }
        ensure!(self.rope_scaling.is_none(), "rotary scaling is not supported");
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
        ensure!(parameters <= 1 << 42, "its sizes ask for {parameters} parameters, more than any model has");
        Ok(())
    }
}

/// The part of a configuration that says whether the rest can be read.
#[derive(Deserialize)]
struct Architectures {
    #[serde(default = "default_architectures")]
    architectures: Vec<String>,
}

fn check_architectures(architectures: &[String]) -> Result<()> {
    const SUPPORTED: [&str; 2] = ["LlamaForCausalLM", "Qwen2ForCausalLM"];
    for name in architectures {
        ensure!(
            SUPPORTED.contains(&name.as_str()),
            "architecture {name} is not supported; supported are {}",
            SUPPORTED.join(", ")
        );
    }
    Ok(())
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

fn default_rope_type() -> String {
    "default".into()
}

fn default_hidden_act() -> String {
    "silu".into()
}

fn default_dtype() -> String {
    "float32".into()
}

impl std::str::FromStr for ModelSize {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "tiny" => Ok(Self::Tiny),
            "medium" => Ok(Self::Medium),
            "small" => Ok(Self::Small),
            _ => anyhow::bail!("unknown size {text}; known are tiny, medium, small"),
        }
    }
}

impl std::fmt::Display for ModelSize {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Tiny => "tiny",
            Self::Medium => "medium",
            Self::Small => "small",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(edit: impl FnOnce(&mut serde_json::Value)) -> Result<ModelConfig> {
        let mut json = serde_json::to_value(ModelConfig::of_size(ModelSize::Tiny, 512, 0)).unwrap();
        edit(&mut json);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, json.to_string()).unwrap();
        ModelConfig::read(&path)
    }

    fn refusal(key: &str, value: serde_json::Value) -> String {
        format!("{:#}", read(|json| json[key] = value).unwrap_err())
    }

    #[test]
    fn a_configuration_comes_back_as_it_was_written() {
        assert_eq!(read(|_| ()).unwrap(), ModelConfig::of_size(ModelSize::Tiny, 512, 0));
    }

    #[test]
    fn the_tiny_model_has_the_parameters_that_its_sizes_say() {
        // 512 x 128 for the embedding, 4 blocks of 4 x 128 x 128 + 3 x 128 x 344 + 2 x 128, and a norm of 128.
        let config = ModelConfig::of_size(ModelSize::Tiny, 512, 0);
        assert_eq!(config.parameters(), 65_536 + 4 * (65_536 + 132_096 + 256) + 128);
    }

    #[test]
    fn qwen2_has_the_bias_that_its_configuration_does_not_mention() {
        let qwen2 = |json: &mut serde_json::Value| {
            json["model_type"] = "qwen2".into();
            json["architectures"] = ["Qwen2ForCausalLM"].as_slice().into();
            json.as_object_mut().unwrap().remove("attention_bias");
        };
        assert!(read(qwen2).unwrap().attention_bias);
        assert!(!read(|_| ()).unwrap().attention_bias);
    }

    #[test]
    fn the_rotary_base_is_read_where_either_version_of_transformers_writes_it() {
        let old = read(|json| json["rope_theta"] = 5e5.into()).unwrap();
        assert_eq!(old.rope_theta, 5e5);
        let new = serde_json::json!({"rope_theta": 1e6, "rope_type": "default"});
        assert_eq!(read(|json| json["rope_parameters"] = new).unwrap().rope_theta, 1e6);
    }

    #[test]
    fn both_forms_of_the_end_of_sequence_id_are_read() {
        assert_eq!(read(|json| json["eos_token_id"] = 7.into()).unwrap().eos_ids(), [7]);
        assert_eq!(read(|json| json["eos_token_id"] = [7, 9].as_slice().into()).unwrap().eos_ids(), [7, 9]);
        assert!(read(|json| json["eos_token_id"] = serde_json::Value::Null).unwrap().eos_ids().is_empty());
    }

    #[test]
    fn what_cannot_be_computed_is_refused_and_named() {
        for (key, value, expected) in [
            ("architectures", ["MambaForCausalLM"].as_slice().into(), "architecture MambaForCausalLM is not supported"),
            ("hidden_act", "gelu".into(), "activation gelu is not supported"),
            ("rope_scaling", serde_json::json!({"type": "linear"}), "rotary scaling is not supported"),
            ("rope_parameters", serde_json::json!({"rope_theta": 1e4, "rope_type": "yarn"}), "of the type yarn"),
            ("num_attention_heads", 0.into(), "num_attention_heads = 0 is out of range"),
            ("num_key_value_heads", 3.into(), "4 attention heads cannot share 3"),
            ("hidden_size", 130.into(), "130 is not a multiple of 4 heads"),
            ("head_dim", 33.into(), "the head width 33 is odd"),
            ("head_dim", 0.into(), "head_dim = 0 is out of range"),
            ("head_dim", (1u64 << 60).into(), "is out of range"),
            ("vocab_size", (1u64 << 60).into(), "vocab_size = 1152921504606846976 is out of range"),
        ] {
            let message = refusal(key, value);
            assert!(message.contains(expected), "{key}: {message}");
        }
        let message = refusal("hidden_size", "wide".into());
        assert!(message.contains("is not a model configuration"), "{message}");
    }

    #[test]
    fn sizes_have_names_that_parse() {
        for size in [ModelSize::Tiny, ModelSize::Medium, ModelSize::Small] {
            assert_eq!(size.to_string().parse::<ModelSize>().unwrap(), size);
        }
        assert!("huge".parse::<ModelSize>().is_err());
    }
}
