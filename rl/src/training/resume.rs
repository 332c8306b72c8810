//! Models and their training state from the checkpoints of a run that is resumed.

use crate::{
    cli::args::RunArgs,
    run::{self, TrainerState},
    training::adapters::Adapters,
};
use anyhow::{Context, Result};
use eval::Policy;
use model::Device;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Loads the checkpoint that a run resumes from; the run is unchanged until [`run::start::create_or_resume`].
///
/// # Errors
/// If the directory is not a run with a complete checkpoint.
pub fn load_checkpoint<S: DeserializeOwned>(
    args: &RunArgs,
    dir: &Path,
    adapters: Option<&Adapters>,
    device: &Device,
) -> Result<(Policy, TrainerState<S>)> {
    run::start::read_checkpoint(args, dir, |folder| {
        let state = run::read_state::<S>(folder)?;
        Ok((load_policy(folder, adapters, device)?, state))
    })
}

/// Loads the policy of a checkpoint, with its adapters apart from the weights if it is trained with adapters.
///
/// # Errors
/// If either cannot be read.
pub fn load_policy(folder: &Path, adapters: Option<&Adapters>, device: &Device) -> Result<Policy> {
    let mut policy = Policy::load(folder, device)?;
    if let Some(adapters) = adapters {
        policy.model = adapters.load(folder, device)?;
    }
    Ok(policy)
}

/// The last whole checkpoint of a part of a run, if it has one. Without one the part is made again, with a warning where it had a damaged one.
///
/// # Errors
/// If it cannot be used.
pub fn load_checkpoint_of_part<S: DeserializeOwned>(
    dir: &Path,
    adapters: Option<&Adapters>,
    device: &Device,
) -> Result<Option<(Policy, TrainerState<S>)>> {
    if !dir.join("checkpoints/index.json").is_file() {
        return Ok(None);
    }
    let folder = match run::checkpoints::last_whole(dir) {
        Ok(folder) => folder,
        Err(error) => {
            tracing::warn!("{:#}; this part of the run is made again", error.root_cause());
            return Ok(None);
        }
    };
    let read = || -> Result<(Policy, TrainerState<S>)> {
        if let Some(adapters) = adapters {
            adapters.load(&folder, device)?;
        }
        Ok((Policy::load(&folder, device)?, run::read_state::<S>(&folder)?))
    };
    read()
        .map(Some)
        .with_context(|| format!("a part of the run cannot be used; remove {} to make it again", dir.display()))
}
