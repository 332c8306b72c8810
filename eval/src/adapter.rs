//! A PEFT adapter folder in the place of a model: it stands for its base with the adapter added. Knows where the base lies, and nothing
//! of what is in either.

use crate::policy::resolve_checkpoint;
use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use model::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, ModelConfig, Transformer, adapter_base, load_adapted_model, read_config};
use std::path::{Path, PathBuf};

/// Adapters on adapters, at most: more are a circle.
const DEEPEST: usize = 8;

/// Whether a path means a folder with an adapter and no model.
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

/// What a resolved checkpoint is made of: a model, and the adapters that are added to it, in their order.
fn layers(path: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    let (mut base, mut adapters) = (path.to_path_buf(), Vec::new());
    while is_adapter(&base)? {
        ensure!(adapters.len() < DEEPEST, "{} is an adapter whose base is an adapter, and so on", path.display());
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

/// What has the tokenizer of a checkpoint: the adapter, where it has one, or else its base.
pub(crate) fn with_tokenizer(path: &Path) -> Result<PathBuf> {
    let (base, adapters) = layers(path)?;
    Ok(adapters.into_iter().rev().find(|adapter| adapter.join("tokenizer.json").is_file()).unwrap_or(base))
}
