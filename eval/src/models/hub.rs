//! Models of the Hugging Face hub: `hf:OWNER/NAME` means the folder into which their files were fetched. Independent of
//! what is in the files.

use anyhow::{Context, Result, ensure};
use data::hub;
use hf_hub::api::sync::ApiError;
use std::path::{Path, PathBuf};

use super::file_kinds::refuse_pickles_alone;

/// What such a path begins with.
const PREFIX: &str = "hf:";

/// The name of a model on the hub, if the path is one.
pub(crate) fn name(path: &Path) -> Option<&str> {
    path.to_str()?.strip_prefix(PREFIX)
}

/// Whether a text is the name of a model: an owner and a name.
fn is_name(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let is_plain = |part: &&str| {
        !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c)) && !part.starts_with('.')
    };
    parts.len() == 2 && parts.iter().all(is_plain)
}

/// A hint for a path that does not exist and may be the name of a model on the hub.
pub(crate) fn hint(path: &Path) -> String {
    let Some(text) = path.to_str().filter(|text| is_name(text)) else { return String::new() };
    let is_beside = path.parent().is_some_and(Path::is_dir);
    if is_beside || model::is_gguf(path) {
        return String::new();
    }
    format!("; if it is the name of a model on the Hugging Face hub, write it as {PREFIX}{text}")
}

/// Fetches a model's files into the hub's cache ([`hub::cache`]), those that are not there yet; the folder that they lie in.
///
/// # Errors
/// A malformed name; a model with weights in PyTorch's format alone; a hub that cannot be reached, where the cache does not
/// have the model.
pub(crate) fn fetch(name: &str) -> Result<PathBuf> {
    ensure!(is_name(name), "hf:{name}: write it as hf:OWNER/NAME");
    download(name).or_else(|error| {
        if !error.is::<ApiError>() {
            return Err(error);
        }
        let kept = MAIN_FILES.iter().find_map(|file| hub::cache().model(name.to_string()).get(file));
        match kept.as_deref().and_then(Path::parent) {
            Some(folder) => {
                tracing::warn!("the hub cannot be reached for {name} ({error}); using the files that were fetched before");
                Ok(folder.to_path_buf())
            }
            None => Err(error).with_context(|| {
                format!(
                    "cannot fetch {name} from the Hugging Face hub; without a network, give a folder that was downloaded \
                     elsewhere (config.json, *.safetensors, tokenizer.json), or a GGUF file"
                )
            }),
        }
    })
}

fn download(name: &str) -> Result<PathBuf> {
    let repository = hub::api()?.model(name.to_string());
    let files: Vec<String> = repository.info()?.siblings.into_iter().map(|file| file.rfilename).collect();
    refuse_pickles_alone(&format!("{PREFIX}{name}"), &files)?;
    let wanted: Vec<&str> = files.iter().map(String::as_str).filter(|file| is_wanted(file)).collect();
    for file in &wanted {
        repository.get(file)?;
    }
    let main = MAIN_FILES.iter().find(|file| wanted.contains(file)).unwrap_or(&MAIN_FILES[0]);
    Ok(repository.get(main)?.parent().expect("a file lies in a folder").to_path_buf())
}

/// The one file that every model has, and the one that every adapter has.
const MAIN_FILES: [&str; 2] = ["config.json", "adapter_config.json"];

fn is_wanted(file: &str) -> bool {
    const BESIDE: [&str; 5] = [
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "adapter_model.safetensors",
    ];
    let holds_weights = file.starts_with("model") && (file.ends_with(".safetensors") || file.ends_with(".index.json"));
    MAIN_FILES.contains(&file) || BESIDE.contains(&file) || (holds_weights && !file.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_makes_a_model_is_fetched() {
        for wanted in ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"] {
            assert!(is_wanted(wanted), "{wanted}");
        }
        for other in ["README.md", "pytorch_model.bin", "onnx/model.safetensors", "model.onnx", "training_args.bin"] {
            assert!(!is_wanted(other), "{other}");
        }
    }

    #[test]
    fn a_path_that_may_be_a_name_gets_a_hint_and_a_mistyped_path_does_not() {
        assert!(hint(Path::new("Qwen/Qwen3-0.6B")).ends_with("write it as hf:Qwen/Qwen3-0.6B"));
        // `src` is a folder here.
        for path in ["src/sft-seed0", "runs/a/b", "gpt2", "/Qwen/Qwen3-0.6B", "models/smollm2.gguf", "../Qwen3"] {
            assert_eq!(hint(Path::new(path)), "", "{path}");
        }
    }

    #[test]
    fn a_name_has_an_owner_and_leads_to_no_other_folder() {
        assert_eq!(name(Path::new("hf:a/b")), Some("a/b"));
        assert_eq!(name(Path::new("runs/b")), None);
        for wrong in ["", "b", "a/b/c", "../b", "a/", "a/b c"] {
            let message = format!("{:#}", fetch(wrong).unwrap_err());
            assert!(message.contains("write it as hf:OWNER/NAME"), "{message}");
        }
    }
}
