//! From a path to the checkpoint that it means: a folder, a file, the best checkpoint of a run, a model of the hub. Independent of what
//! is in a checkpoint.

use super::{file_kinds, hub};
use anyhow::{Context, Result, bail, ensure};
use model::{ADAPTER_CONFIG, ADAPTER_WEIGHTS};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// `checkpoints/index.json` of a run: which checkpoints matter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckpointIndex {
    /// Folder name of the newest one.
    pub last: String,
    /// Folder name of the best one on validation.
    pub best: String,
    /// Folder name of the one before the newest, to resume from if that is damaged; empty if there is none.
    #[serde(default)]
    pub previous: String,
    /// Whether the newest one was made only because the run was stopped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last_is_of_a_stop: bool,
}

/// The checkpoint that a path means: itself, the best one of a run directory, or a model of the Hugging Face hub, which is fetched. The
/// folder of a PEFT adapter is one too: that of its base with the adapter added.
///
/// # Errors
/// If there is neither, or the format is one that cannot be read; a model and an adapter in one folder.
pub fn resolve_checkpoint(path: &Path) -> Result<PathBuf> {
    let fetched = hub::name(path).map(hub::fetch).transpose()?;
    let path = fetched.as_deref().unwrap_or(path);
    ensure!(
        path.exists(),
        "{} does not exist: give a run directory, a checkpoint, a Hugging Face folder or a GGUF file{}",
        path.display(),
        hub::hint(path)
    );
    file_kinds::check(path)?;
    if model::is_gguf(path) || is_adapter(path)? || path.join("config.json").is_file() {
        return Ok(path.to_path_buf());
    }
    let index = path.join("checkpoints/index.json");
    ensure!(
        index.is_file(),
        "{} is neither a checkpoint (no config.json in it) nor a run with a finished checkpoint",
        path.display()
    );
    let best = path.join("checkpoints").join(read_index(&index)?.best);
    file_kinds::check(&best)?;
    Ok(best)
}

/// Reads `checkpoints/index.json`.
///
/// # Errors
/// A missing or malformed file.
pub fn read_index(path: &Path) -> Result<CheckpointIndex> {
    let text = data::read_text(path)?;
    serde_json::from_str(&text).with_context(|| format!("{} is malformed", path.display()))
}

/// Whether a path is a folder with an adapter and no model.
///
/// # Errors
/// A folder that has both, or an adapter that cannot be read.
pub(crate) fn is_adapter(path: &Path) -> Result<bool> {
    let has = |name: &str| path.join(name).is_file();
    if !path.is_dir() || !(has(ADAPTER_CONFIG) || has(ADAPTER_WEIGHTS)) {
        return Ok(false);
    }
    let files = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let is_model = |name: &String| name.starts_with("model") && name.ends_with(".safetensors");
    if let Some(weights) = names.into_iter().find(is_model) {
        let adapter = if has(ADAPTER_CONFIG) { ADAPTER_CONFIG } else { ADAPTER_WEIGHTS };
        bail!(
            "{} holds a model ({weights}) and an adapter beside it ({adapter}), and only one of them can be meant: move the adapter's \
             files into a folder of their own and give that folder, or remove them to take the model without the adapter",
            path.display()
        );
    }
    for name in [ADAPTER_CONFIG, ADAPTER_WEIGHTS] {
        ensure!(
            has(name),
            "{} is an adapter without its {name}{}",
            path.display(),
            if has("adapter_model.bin") { ": save it once more with PEFT's save_pretrained" } else { "" }
        );
    }
    Ok(true)
}
