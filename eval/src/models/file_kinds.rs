//! Whether the files of a model are what their names say, before they are read: a pointer, an error page or a PyTorch pickle in
//! their place is named with what to do about it. Independent of weights.

use anyhow::{Context, Result, bail};
use data::text::check_file;
use std::path::Path;

/// Checks the first bytes of a model's files. A missing file is left to whoever reads it.
///
/// # Errors
/// A file that is something else; a folder with weights in PyTorch's format alone.
pub(crate) fn check(path: &Path) -> Result<()> {
    if model::is_gguf(path) {
        return check_file(path, "a GGUF model");
    }
    if !path.is_dir() {
        return check_file(path, "a checkpoint folder");
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    for name in &names {
        let expected = match name.rsplit_once('.') {
            Some((_, "json" | "jinja")) => "text",
            Some((_, "safetensors")) => "a safetensors file",
            _ => continue,
        };
        check_file(&path.join(name), expected)?;
    }
    refuse_pickles_alone(&path.display().to_string(), &names)
}

/// Refuses a model, by the names of its files, that has weights in PyTorch's format alone.
///
/// # Errors
/// Such a model, with what to do.
pub(crate) fn refuse_pickles_alone(model: &str, files: &[String]) -> Result<()> {
    let is_pickle =
        |name: &&String| name.starts_with("pytorch_model") && name.ends_with(".bin") || name.ends_with(".pth");
    let has_weights = files.iter().any(|name| name.ends_with(".safetensors"));
    match files.iter().find(is_pickle).filter(|_| !has_weights) {
        Some(name) => bail!(
            "{model} has its weights in PyTorch's format alone ({name}), which is not read: load it in transformers and save it with \
             `model.save_pretrained(DIR, safe_serialization=True)`"
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The message for a folder, or one file of it, with these files.
    fn error_of(files: &[(&str, &[u8])], path: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let error = format!("{:#}", check(&folder.path().join(path)).unwrap_err());
        assert!(!error.contains('\n'), "{error}");
        error
    }

    const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";

    #[test]
    fn a_model_file_that_is_something_else_is_named_with_what_to_do() {
        let config: (&str, &[u8]) = ("config.json", b"{}");
        let safetensors = "model-00001-of-00002.safetensors";
        for (files, path, parts) in [
            (&[config, (safetensors, POINTER)][..], "", [safetensors, "Git LFS pointer", "git lfs pull"]),
            (
                &[config, ("model.safetensors", b"\x80\x04pickled")],
                "",
                ["model.safetensors", "PyTorch pickle", "save_pretrained"],
            ),
            (&[config, ("tokenizer.json", POINTER)], "", ["tokenizer.json", "Git LFS pointer", "git lfs pull"]),
            (&[("config.json", b"<!doctype html><html>")], "", ["config.json", "HTML page", "download"]),
            (
                &[config, ("pytorch_model.bin", b"PK")],
                "",
                ["pytorch_model.bin", "transformers", "safe_serialization=True"],
            ),
            (&[("m.gguf", POINTER)], "m.gguf", ["m.gguf", "Git LFS pointer", "git lfs pull"]),
            (&[("m.gguf", b"\x1F\x8B")], "m.gguf", ["m.gguf", "gzip", "gunzip"]),
            (&[("blob", b"GGUF\x03")], "blob", ["blob is a GGUF model", "not a checkpoint folder", ".gguf"]),
            (&[("m.pt", b"\x80\x02")], "m.pt", ["m.pt is a PyTorch pickle", "transformers", "save_pretrained"]),
            (
                &[("model.safetensors", b"\x20\0\0\0\0\0\0\0{\"a\":{")],
                "model.safetensors",
                ["a safetensors file", "not a checkpoint folder", "give the folder"],
            ),
        ] {
            let error = error_of(files, path);
            assert!(parts.iter().all(|part| error.contains(part)), "{error} has not all of {parts:?}");
        }
    }

    #[test]
    fn a_model_on_the_hub_with_pickles_alone_is_refused_by_its_list_of_files() {
        let files = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<String>>();
        let error = refuse_pickles_alone("hf:a/b", &files(&["config.json", "pytorch_model.bin"])).unwrap_err();
        assert!(error.to_string().starts_with("hf:a/b has its weights in PyTorch's format alone"), "{error}");
        refuse_pickles_alone("hf:a/b", &files(&["model.safetensors", "pytorch_model.bin"])).unwrap();
    }

    #[test]
    fn a_pickle_beside_safetensors_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("pytorch_model.bin"), b"PK\x03\x04").unwrap();
        fs::write(folder.path().join("model.safetensors"), b"\x02\0\0\0\0\0\0\0{}").unwrap();
        check(folder.path()).unwrap();
        check(&folder.path().join("nowhere")).unwrap();
    }
}
