//! The head of a reward model on disk, beside its language model.

use super::{
    checkpoint::Loader,
    safetensors::{read_tensors, write_tensors},
};
use crate::{
    heads::{RewardNetwork, ScalarHead, ScoreKind},
    host::{HostTensors, to_host, transposed},
    transformer::Transformer,
};
use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The head's file in the checkpoint of a reward model: a checkpoint with this file is no policy.
pub const REWARD_HEAD: &str = "reward_head.safetensors";

/// What is known of the head beside its tensors. A checkpoint without this file has a head that gives logits of being right.
const ABOUT: &str = "reward_head.json";

#[derive(Serialize, Deserialize)]
struct About {
    score: ScoreKind,
}

/// What the score of the reward model in a checkpoint means.
///
/// # Errors
/// A file that is malformed.
pub fn read_score_kind(folder: &Path) -> Result<ScoreKind> {
    let path = folder.join(ABOUT);
    match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ScoreKind::Logit),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        Ok(text) => {
            let about: About =
                serde_json::from_slice(&text).with_context(|| format!("{} is malformed", path.display()))?;
            Ok(about.score)
        }
    }
}

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
        if self.kind != ScoreKind::Logit {
            let path = folder.join(ABOUT);
            let about = serde_json::to_vec(&About { score: self.kind })?;
            std::fs::write(&path, about).with_context(|| format!("cannot write {}", path.display()))?;
        }
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
        Ok(Self { language_model, score, kind: read_score_kind(folder)? })
    }
}
