//! LoRA adapters in training: their flags, and how a run starts and resumes with them. A checkpoint holds the weights
//! with the adapters merged, for sampling, and beside them the adapters, for resuming, in a folder that PEFT reads.

use crate::cli::effect::{FixedOnResume, FlagEffect};
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use eval::{load_weights, policy::ADAPTERS};
use model::{
    Device, LoraConfig, LoraTargets, ModelConfig, Transformer, adapters_config, load_adapters, save_adapters,
    with_adapters,
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Flags of LoRA adapters, for models too large to train in full.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Model")]
pub struct LoraArgs {
    /// Train only LoRA adapters of this rank on the matrices of the blocks [default: train all weights]
    #[arg(long, add = FixedOnResume::Value, value_name = "R", value_parser = crate::cli::args::positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_rank: Option<usize>,
    /// LoRA's α: adapters are scaled by α / rank
    #[arg(long, add = FixedOnResume::Value, add = FlagEffect::if_given("lora-rank"), value_name = "ALPHA", default_value_t = 16.0, value_parser = crate::cli::args::above_0::<f64>)]
    pub lora_alpha: f64,
    /// Matrices that get adapters
    #[arg(long, add = FixedOnResume::Value, add = FlagEffect::if_given("lora-rank"), value_enum, default_value = "all")]
    pub lora_targets: Targets,
}

/// Which matrices of every block have adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Targets {
    /// All of them
    All,
    /// Query, key, value and output projections of attention
    Attention,
    /// Gate, up and down projections of the feed-forward layer
    FeedForward,
}

impl LoraArgs {
    /// The configuration of the adapters, if the flags ask for any.
    fn config(&self) -> Option<LoraConfig> {
        let targets = match self.lora_targets {
            Targets::All => LoraTargets::All,
            Targets::Attention => LoraTargets::Attention,
            Targets::FeedForward => LoraTargets::FeedForward,
        };
        self.lora_rank.map(|rank| LoraConfig { rank, alpha: self.lora_alpha, targets })
    }

    /// Adapters on the model in `base`, if the flags ask for any.
    pub fn on(&self, base: &Path) -> Option<Adapters> {
        Some(Adapters { config: self.config()?, base: base.to_path_buf() })
    }

    /// Number of adapter parameters on a model of this shape, if the flags ask for adapters.
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
}

/// Adapters of a run.
#[derive(Clone, Debug)]
pub struct Adapters {
    /// Rank, scale and target matrices.
    config: LoraConfig,
    /// The checkpoint of the model that the adapters belong to.
    base: PathBuf,
}

impl Adapters {
    /// Adds new adapters to the model of `base`.
    pub fn new_on(&self, model: Transformer, seed: u64) -> Transformer {
        with_adapters(model, self.config, seed)
    }

    /// Loads the adapters of a checkpoint onto the weights that they were trained on.
    ///
    /// # Errors
    /// If either cannot be read, they do not fit, or they differ from the flags.
    pub fn load(&self, checkpoint: &Path, device: &Device) -> Result<Transformer> {
        let folder = checkpoint.join(ADAPTERS);
        let found = adapters_config(&folder)?;
        ensure!(
            found == self.config,
            "--lora-rank, --lora-alpha and --lora-targets differ from those of {}: a run resumes with the adapters that it has",
            folder.display()
        );
        load_adapters(&folder, load_weights(&self.base, device)?)
    }

    /// Writes a model's adapters into a checkpoint.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn save(&self, checkpoint: &Path, model: &Transformer) -> Result<()> {
        save_adapters(&checkpoint.join(ADAPTERS), model, &self.base.display().to_string())
    }
}
