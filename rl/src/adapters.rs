//! Low-rank adapters in training: their flags, and how a run begins with them and goes on. A checkpoint holds the weights with
//! the adapters added, which sample; the adapters lie beside them, to go on from, in a folder that PEFT reads.

use anyhow::{Result, ensure};
use burn::tensor::Device;
use clap::{Args, ValueEnum};
use eval::load_weights;
use model::{
    LoraConfig, LoraTargets, ModelConfig, Transformer, adapters_config, load_adapters, save_adapters, with_adapters,
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The folder of the adapters in a checkpoint.
const FOLDER: &str = "adapters";

/// Low-rank adapters, for models too large to train whole.
#[derive(Args, Clone, Debug, Serialize)]
pub struct LoraArgs {
    /// Train adapters of this rank on the matrices of the blocks, and nothing else of the language model [default: train all of it]
    #[arg(long, value_name = "R", value_parser = crate::args::positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_rank: Option<usize>,
    /// α: adapters are scaled by α / rank
    #[arg(long, value_name = "ALPHA", default_value_t = 16.0)]
    pub lora_alpha: f64,
    /// Matrices that have adapters
    #[arg(long, value_enum, default_value = "all")]
    pub lora_targets: Targets,
}

/// Which matrices of every block have adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Targets {
    /// All of them
    All,
    /// Queries, keys, values and attention's output
    Attention,
    /// Gate, up and down
    FeedForward,
}

impl LoraArgs {
    /// The adapters, if any.
    fn config(&self) -> Option<LoraConfig> {
        let targets = match self.lora_targets {
            Targets::All => LoraTargets::All,
            Targets::Attention => LoraTargets::Attention,
            Targets::FeedForward => LoraTargets::FeedForward,
        };
        self.lora_rank.map(|rank| LoraConfig { rank, alpha: self.lora_alpha, targets })
    }

    /// Adapters on the model in `base`, where any were asked for.
    pub fn on(&self, base: &Path) -> Option<Adapters> {
        Some(Adapters { config: self.config()?, base: base.to_path_buf() })
    }

    /// How many parameters adapters on a model of this shape have, where any were asked for.
    pub fn parameters(&self, shape: &ModelConfig) -> Option<usize> {
        let rank = self.lora_rank?;
        let (d, f, e) = (shape.hidden_size, shape.intermediate_size, shape.head_width());
        let heads = shape.num_attention_heads * e;
        let attention = (d + heads + 2 * shape.kv_heads() * e) + (heads + d);
        let feed_forward = (d + 2 * f) + (f + d);
        let sides = match self.lora_targets {
            Targets::All => attention + feed_forward,
            Targets::Attention => attention,
            Targets::FeedForward => feed_forward,
        };
        Some(rank * sides * shape.num_hidden_layers)
    }

    /// Refuses numbers that cannot be meant.
    ///
    /// # Errors
    /// Naming the flag.
    pub fn check(&self) -> Result<()> {
        let alpha = self.lora_alpha;
        ensure!(alpha > 0.0 && alpha.is_finite(), "--lora-alpha {alpha}: give a number above 0");
        Ok(())
    }
}

/// Adapters of a run.
#[derive(Clone, Debug)]
pub struct Adapters {
    /// Rank, scale, places.
    config: LoraConfig,
    /// The checkpoint of the model that they are put on.
    base: PathBuf,
}

impl Adapters {
    /// New ones on the model of `base`.
    pub fn new_on(&self, model: Transformer, seed: u64) -> Transformer {
        with_adapters(model, self.config, seed)
    }

    /// Those of a checkpoint, on the weights that they were trained on.
    ///
    /// # Errors
    /// If either cannot be read, they do not fit, or are others than the flags say.
    pub fn load(&self, checkpoint: &Path, device: &Device) -> Result<Transformer> {
        let folder = checkpoint.join(FOLDER);
        let found = adapters_config(&folder)?;
        ensure!(
            found == self.config,
            "--lora-rank, --lora-alpha and --lora-targets are others than those of {}: a run goes on with the adapters that it has",
            folder.display()
        );
        load_adapters(&folder, load_weights(&self.base, device)?)
    }

    /// Writes those of a model into a checkpoint.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, checkpoint: &Path, model: &Transformer) -> Result<()> {
        save_adapters(&checkpoint.join(FOLDER), model, &self.base.display().to_string())
    }
}
