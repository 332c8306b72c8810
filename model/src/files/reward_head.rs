//! The head of a reward model on disk, beside its language model.

use super::{
    checkpoint::Loader,
    safetensors::{read_tensors, write_tensors},
};
use crate::{
    heads::{RewardNetwork, ScalarHead},
    host::{HostTensors, to_host, transposed},
    transformer::Transformer,
};
use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use std::path::Path;

/// The head's file in the checkpoint of a reward model: a checkpoint with this file is no policy.
pub const REWARD_HEAD: &str = "reward_head.safetensors";

impl RewardNetwork {
    /// Writes the head into a checkpoint that holds the language model.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn save_reward_head(&self, folder: &Path) -> Result<()> {
        let ScalarHead { norm, head, head_bias, .. } = &self.score;
        let mut tensors = HostTensors::new();
        tensors.insert("norm.weight".into(), to_host(norm.val()));
        tensors.insert("head.weight".into(), transposed(&to_host(head.val())));
        tensors.insert("head.bias".into(), to_host(head_bias.val()));
        write_tensors(&folder.join(REWARD_HEAD), &tensors)
    }

    /// Reads what [`Self::save_reward_head`] wrote, for the language model beside it.
    ///
    /// # Errors
    /// A file that is missing, cut, or of another model.
    pub fn with_reward_head(language_model: Transformer, folder: &Path, device: &Device) -> Result<Self> {
        let path = folder.join(REWARD_HEAD);
        let mut tensors = read_tensors(&path)?;
        let mut load = Loader { source: &mut tensors, device };
        let width = language_model.config.hidden_size;
        let mut score = || -> Result<ScalarHead> {
            let head = ScalarHead {
                norm: load.vector("norm.weight", width)?,
                head: load.matrix(&["head.weight"], &[1], width)?,
                head_bias: load.vector("head.bias", 1)?,
            };
            let left = load.source.left();
            ensure!(left.is_empty(), "it has other tensors too: {}", left.join(", "));
            Ok(head)
        };
        let score = score().with_context(|| format!("{} is not the head of this model", path.display()))?;
        Ok(Self { language_model, score })
    }
}
