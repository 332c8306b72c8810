//! GGUF files of llama.cpp as Hugging Face models: names, layouts and configuration. The container and the quantised blocks are
//! read by candle. Independent of text: the tokenizer's part of the metadata is passed on as it is.

mod header;

use super::source::Source;
use crate::{
    config::{EosTokenId, Llama3Scaling, ModelConfig, ModelSize, RopeParameters, RopeScaling},
    host::HostTensor,
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::{
    Device as Host,
    quantized::gguf_file::{Content, Value},
};
use std::{
    collections::BTreeSet,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

/// Tensors outside the blocks: Hugging Face's name, and GGUF's.
const OUTSIDE: [(&str, &str); 3] =
    [("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")];

/// Tensors of a block.
const INSIDE: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// What each pair's frequency is divided by, where the rotation is scaled.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The context that Llama 3 was trained on before its rotation was scaled; its GGUF files do not state it.
const LLAMA_3_CONTEXT: usize = 8192;

/// An open GGUF file.
pub struct Gguf {
    path: PathBuf,
    file: BufReader<File>,
    content: Content,
    /// GGUF names that have not been taken.
    left: BTreeSet<String>,
}

impl Gguf {
    /// Reads the header.
    ///
    /// # Errors
    /// A file that is missing, cut short or something else.
    pub fn open(path: &Path) -> Result<Self> {
        let read = || -> Result<(BufReader<File>, Content)> {
            let mut file = BufReader::new(File::open(path)?);
            let counts = header::check(&mut file)?;
            let content = Content::read(&mut file).map_err(without_backtrace)?;
            let alignment = content.metadata.get("general.alignment").and_then(whole_number);
            header::check_read(&content, &counts, alignment)?;
            Ok((file, content))
        };
        let (file, content) = read().with_context(|| format!("cannot read {} as a GGUF file", path.display()))?;
        let left = content.tensor_infos.keys().filter(|name| *name != ROPE_FACTORS).cloned().collect();
        Ok(Self { path: path.to_path_buf(), file, content, left })
    }

    /// The configuration in the words of Hugging Face's.
    ///
    /// # Errors
    /// An architecture that is not supported, or metadata that is missing or requires what is not supported.
    pub fn config(&mut self) -> Result<ModelConfig> {
        let path = self.path.clone();
        self.read_config().with_context(|| format!("{} cannot be used", path.display()))
    }

    /// A text of the metadata.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.content.metadata.get(key)?.to_string().ok().map(String::as_str)
    }

    /// A list of texts of the metadata.
    pub fn texts(&self, key: &str) -> Option<Vec<String>> {
        self.content.metadata.get(key)?.to_vec().ok()?.iter().map(|value| value.to_string().ok().cloned()).collect()
    }

    /// A whole number of the metadata.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.content.metadata.get(key).and_then(whole_number)
    }

    /// A list of whole numbers of the metadata.
    pub fn numbers(&self, key: &str) -> Option<Vec<u64>> {
        self.content.metadata.get(key)?.to_vec().ok()?.iter().map(whole_number).collect()
    }

    /// Yes or no.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.content.metadata.get(key)?.to_bool().ok()
    }

    fn read_config(&mut self) -> Result<ModelConfig> {
        let family = self.text("general.architecture").context("it does not name its architecture")?.to_string();
        let mut config = self.config_of_metadata(&family)?;
        config.settle();
        config.check()?;
        self.check_supported(&family, &config)?;
        if let Some(scaling) = self.llama3_scaling(&config)? {
            let scaling = RopeScaling {
                rope_type: "llama3".into(),
                older_type: None,
                llama3: Some(scaling),
                partial_rotary_factor: None,
            };
            config.rope_parameters = Some(RopeParameters { rope_theta: config.rope_theta, scaling });
            config.settle();
            config.check()?;
        }
        Ok(config)
    }

    /// The configuration that the metadata state, without rotary scaling.
    fn config_of_metadata(&self, family: &str) -> Result<ModelConfig> {
        let class = match family {
            "llama" => "LlamaForCausalLM",
            "qwen2" => "Qwen2ForCausalLM",
            "qwen3" => "Qwen3ForCausalLM",
            other => bail!("the architecture {other} is not supported; supported are llama, qwen2, qwen3"),
        };
        let optional = |key: &str| self.number(&format!("{family}.{key}"));
        let size = |key: &str| -> Result<usize> {
            let size = optional(key).with_context(|| format!("{family}.{key} is missing"))?;
            usize::try_from(size).with_context(|| format!("{family}.{key} = {size} is out of range"))
        };
        for (key, what) in [("expert_count", "a mixture of experts"), ("attention.sliding_window", "a sliding window")]
        {
            ensure!(optional(key).is_none_or(|count| count == 0), "{what} is not supported");
        }
        let heads = size("attention.head_count")?;
        let embedding = self.content.tensor_infos.get("token_embd.weight").context("token_embd.weight is missing")?;
        let vocab_size = *embedding.shape.dims().first().context("token_embd.weight is not a matrix")?;
        Ok(ModelConfig {
            architectures: vec![class.into()],
            model_type: family.into(),
            vocab_size,
            hidden_size: size("embedding_length")?,
            intermediate_size: size("feed_forward_length")?,
            num_hidden_layers: size("block_count")?,
            num_attention_heads: heads,
            num_key_value_heads: Some(match optional("attention.head_count_kv") {
                None => heads,
                Some(_) => size("attention.head_count_kv")?,
            }),
            head_dim: optional("attention.key_length").map(|width| width as usize),
            max_position_embeddings: size("context_length")?,
            rms_norm_eps: self.fraction(&format!("{family}.attention.layer_norm_rms_epsilon"), 1e-5)?,
            rope_theta: self.fraction(&format!("{family}.rope.freq_base"), 10_000.0)?,
            tie_word_embeddings: !self.content.tensor_infos.contains_key("output.weight"),
            bos_token_id: self.token("bos"),
            eos_token_id: self.end_tokens(),
            pad_token_id: self.token("padding"),
            ..ModelConfig::of_size(ModelSize::Tiny, vocab_size, 0)
        })
    }

    /// A number of the metadata; `otherwise` where the file does not have it.
    fn fraction(&self, key: &str, otherwise: f64) -> Result<f64> {
        match self.content.metadata.get(key) {
            None => Ok(otherwise),
            // The number that was meant, 1e-5 and not what is left of it in 32 bits.
            Some(Value::F32(value)) => Ok(value.to_string().parse()?),
            Some(Value::F64(value)) => Ok(*value),
            Some(other) => Err(anyhow!("{key} is {other:?}, not a number")),
        }
    }

    /// The id of a special token.
    fn token(&self, name: &str) -> Option<u32> {
        self.number(&format!("tokenizer.ggml.{name}_token_id")).map(|id| id as u32)
    }

    /// The tokens that end a text, a turn or a message.
    fn end_tokens(&self) -> Option<EosTokenId> {
        let mut ends: Vec<u32> = ["eos", "eot", "eom"].into_iter().filter_map(|name| self.token(name)).collect();
        ends.dedup();
        match ends[..] {
            [] => None,
            [end] => Some(EosTokenId::One(end)),
            _ => Some(EosTokenId::Several(ends)),
        }
    }

    /// Refuses heads that are rotated in part, values of another width, and rotary scaling that the metadata name.
    fn check_supported(&self, family: &str, config: &ModelConfig) -> Result<()> {
        for (key, width) in [("rope.dimension_count", "rotated"), ("attention.value_length", "of a value")] {
            let found = self.number(&format!("{family}.{key}")).unwrap_or(config.head_width() as u64);
            ensure!(found == config.head_width() as u64, "{found} numbers {width} in heads of {}", config.head_width());
        }
        if let Some(scaling) = self.content.metadata.get(&format!("{family}.rope.scaling.type")) {
            let scaling = scaling.to_string().map_err(without_backtrace)?;
            ensure!(scaling == "none", "rotary scaling of the type {scaling} is not supported");
        }
        // Without a type llama.cpp takes these for linear scaling.
        for key in ["rope.scaling.factor", "rope.scale_linear"] {
            let factor = self.fraction(&format!("{family}.{key}"), 1.0)?;
            ensure!(factor == 1.0 || factor == 0.0, "rotary scaling by {factor} ({key}) is not supported");
        }
        Ok(())
    }

    /// The scaling that the factors of the frequencies come from, which the file does not name: Llama 3's, with the largest of
    /// them as its factor, or none that is known.
    fn llama3_scaling(&mut self, config: &ModelConfig) -> Result<Option<Llama3Scaling>> {
        let Some(shape) = self.content.tensor_infos.get(ROPE_FACTORS).map(|info| info.shape.dims().to_vec()) else {
            return Ok(None);
        };
        let pairs = config.head_width() / 2;
        ensure!(shape == [pairs], "{ROPE_FACTORS} has the shape {shape:?}, the configuration asks for [{pairs}]");
        let factors = self.values(ROPE_FACTORS)?;
        if factors.iter().all(|&factor| factor == 1.0) {
            return Ok(None);
        }
        let factor = f64::from(factors.iter().copied().fold(1.0, f32::max));
        let scaling = Llama3Scaling {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: LLAMA_3_CONTEXT,
        };
        for (pair, &found) in factors.iter().enumerate() {
            let period = config.rope_theta.powf(2.0 * pair as f64 / config.head_width() as f64);
            ensure!(
                (scaling.stretch(period) / f64::from(found) - 1.0).abs() < 1e-4, // Not so for a NaN either.
                "{ROPE_FACTORS} is not Llama 3's scaling, the only supported one"
            );
        }
        Ok(Some(scaling))
    }

    fn values(&mut self, name: &str) -> Result<Vec<f32>> {
        let read = |error| without_backtrace(error).context(format!("the tensor {name} cannot be read"));
        let tensor = self.content.tensor(&mut self.file, name, &Host::Cpu).map_err(read)?;
        let values = tensor.dequantize(&Host::Cpu).and_then(|tensor| tensor.flatten_all()?.to_vec1::<f32>());
        values.map_err(read)
    }

    fn is_llama(&self) -> bool {
        self.text("general.architecture") == Some("llama")
    }
}

impl Source for Gguf {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let info = self.content.tensor_infos.get(&gguf_name(name)?)?;
        Some(info.shape.dims().to_vec())
    }

    fn take(&mut self, name: &str) -> Result<HostTensor> {
        let missing = || format!("the tensor {name} is missing");
        let (shape, theirs) = (self.shape(name).with_context(missing)?, gguf_name(name).with_context(missing)?);
        let mut tensor = HostTensor { shape, values: self.values(&theirs)? };
        self.left.remove(&theirs);
        let heads = match name {
            _ if !self.is_llama() => None,
            _ if name.contains("self_attn.q_proj") => self.number("llama.attention.head_count"),
            _ if name.contains("self_attn.k_proj") => {
                self.number("llama.attention.head_count_kv").or(self.number("llama.attention.head_count"))
            }
            _ => None,
        };
        if let Some(heads) = heads {
            tensor = halves_apart(&tensor, heads as usize);
        }
        Ok(tensor)
    }

    fn left(&self) -> Vec<String> {
        self.left.iter().cloned().collect()
    }
}

/// GGUF's name of one of Hugging Face's tensors.
fn gguf_name(name: &str) -> Option<String> {
    let (matrix, kind) = name.rsplit_once('.')?;
    let of = |names: &[(&str, &'static str)], matrix: &str| {
        names.iter().find(|(ours, _)| *ours == matrix).map(|pair| pair.1)
    };
    if let Some(theirs) = of(&OUTSIDE, matrix) {
        return Some(format!("{theirs}.{kind}"));
    }
    let (layer, matrix) = matrix.strip_prefix("model.layers.")?.split_once('.')?;
    Some(format!("blk.{layer}.{}.{kind}", of(&INSIDE, matrix)?))
}

/// The rows of each head in Hugging Face's order, the first of all pairs before the second of all; llama.cpp keeps the two rows
/// of a pair side by side.
fn halves_apart(tensor: &HostTensor, heads: usize) -> HostTensor {
    let row: usize = tensor.shape[1..].iter().product();
    let half = tensor.shape[0] / heads / 2;
    let mut values = Vec::with_capacity(tensor.values.len());
    for head in 0..heads {
        for second in 0..2 {
            for pair in 0..half {
                let start = ((head * half + pair) * 2 + second) * row;
                values.extend_from_slice(&tensor.values[start..start + row]);
            }
        }
    }
    HostTensor { shape: tensor.shape.clone(), values }
}

/// candle's message, without the backtrace that it adds below where `RUST_BACKTRACE` is set.
fn without_backtrace(error: candle_core::Error) -> anyhow::Error {
    anyhow!("{}", error.to_string().lines().next().unwrap_or("an error without a name"))
}

fn whole_number(value: &Value) -> Option<u64> {
    let signed = match value {
        Value::I8(value) => i64::from(*value),
        Value::I16(value) => i64::from(*value),
        Value::I32(value) => i64::from(*value),
        Value::I64(value) => *value,
        Value::Bool(_) => return None,
        other => return other.to_u64().ok(),
    };
    u64::try_from(signed).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_llama_cpp() {
        assert_eq!(gguf_name("model.embed_tokens.weight").unwrap(), "token_embd.weight");
        assert_eq!(gguf_name("model.layers.11.self_attn.k_proj.bias").unwrap(), "blk.11.attn_k.bias");
        assert_eq!(gguf_name("model.layers.0.mlp.experts.weight"), None);
        assert_eq!(gguf_name("nonsense"), None);
    }

    #[test]
    fn rows_that_stand_in_pairs_come_apart_in_halves() {
        // Two heads of width 4, rows of one number.
        let pairs = HostTensor { shape: vec![8, 1], values: vec![0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0] };
        assert_eq!(halves_apart(&pairs, 2).values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    }
}
