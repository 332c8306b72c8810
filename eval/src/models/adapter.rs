//! A PEFT adapter folder in the place of a model: it means its base with the adapter added. Independent of what is in either: only
//! where the base lies.

use super::resolve::{is_adapter, resolve_checkpoint};
use anyhow::{Context, Result, bail, ensure};
use model::{
    ADAPTER_CONFIG, Device, ModelConfig, Transformer, adapter_base, load_adapted_model, load_extrapolated_model,
    read_config,
};
use std::path::{Path, PathBuf};

/// Maximum number of stacked adapters; more are taken for a cycle.
const MAX_DEPTH: usize = 8;

/// The model that an adapter is added to. Its name is a path, as it stands, beside the adapter or from the working folder, or a model
/// of the hub.
pub(crate) fn base_of(adapter: &Path) -> Result<PathBuf> {
    let name = adapter_base(adapter)?;
    let base = || format!("the base of the adapter {}", adapter.display());
    let places = [adapter.join(&name), PathBuf::from(&name)];
    if let Some(place) = places.iter().find(|place| place.exists()) {
        return resolve_checkpoint(place).with_context(base);
    }
    let on_hub = match name.strip_prefix("hf:") {
        Some(_) => name.clone(),
        None if name.split('/').count() == 2 && !name.starts_with(['.', '/']) => format!("hf:{name}"),
        None => bail!(
            "{} names its base {name}, which is neither beside it nor in the working folder: write the folder of the base into {}",
            adapter.display(),
            adapter.join(ADAPTER_CONFIG).display()
        ),
    };
    resolve_checkpoint(Path::new(&on_hub)).with_context(|| format!("{} ({name}) is no folder here", base()))
}

/// The parts of a resolved checkpoint: a model, and the adapters added to it, in order.
fn layers(path: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    let (mut base, mut adapters) = (path.to_path_buf(), Vec::new());
    while is_adapter(&base)? {
        ensure!(adapters.len() < MAX_DEPTH, "{} is an adapter on an adapter on an adapter, too deep", path.display());
        let next = base_of(&base)?;
        adapters.insert(0, std::mem::replace(&mut base, next));
    }
    Ok((base, adapters))
}

/// The language model of a resolved checkpoint, adapters added into its weights.
///
/// # Errors
/// As [`model::load_model`]; a base that is not there, an adapter that is not its own.
pub fn load_weights(path: &Path, device: &Device) -> Result<Transformer> {
    let (base, adapters) = layers(path)?;
    load_adapted_model(&base, &adapters, device)
}

/// The language model θ₁ + α (θ₁ - θ₀) of two resolved checkpoints, as [`model::load_extrapolated_model`].
///
/// # Errors
/// As [`load_weights`]; models of different shapes.
pub fn load_extrapolated_weights(from: &Path, to: &Path, alpha: f64, device: &Device) -> Result<Transformer> {
    let [(from, from_adapters), (to, to_adapters)] = [layers(from)?, layers(to)?];
    load_extrapolated_model((&from, &from_adapters), (&to, &to_adapters), alpha, device)
}

/// The shape of what [`load_weights`] would load.
///
/// # Errors
/// As [`model::read_config`]; a base that is not there.
pub fn read_shape(path: &Path) -> Result<ModelConfig> {
    read_config(&layers(path)?.0)
}

/// A file beside a checkpoint: the adapter's own, or else that of its base.
///
/// # Errors
/// A base that is not there.
pub(crate) fn beside(path: &Path, file: &str) -> Result<PathBuf> {
    let (base, adapters) = layers(path)?;
    let own = adapters.iter().rev().map(|adapter| adapter.join(file)).find(|own| own.exists());
    Ok(own.unwrap_or_else(|| base.join(file)))
}

/// The folder with a checkpoint's tokenizer: the adapter's if it has one, otherwise the base model's.
pub(crate) fn with_tokenizer(path: &Path) -> Result<PathBuf> {
    let (base, adapters) = layers(path)?;
    Ok(adapters.into_iter().rev().find(|adapter| adapter.join("tokenizer.json").is_file()).unwrap_or(base))
}
