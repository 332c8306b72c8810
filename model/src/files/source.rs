//! Where the tensors of a model come from: a map on the host, or safetensors files of which one tensor at a time is read.
//! Independent of the model: only names and shapes.

use super::safetensors::{parse, to_host_tensor};
use crate::{
    config::read_text,
    host::{HostTensor, HostTensors},
};
use anyhow::{Context, Result, ensure};
use memmap2::Mmap;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
};

/// Tensors under their Hugging Face names.
pub(crate) trait Source {
    /// The shape of a tensor, outermost size first; `None` where there is none of this name.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// The values of a tensor that is there, and for the last time.
    fn take(&mut self, name: &str) -> Result<HostTensor>;

    /// The names that have not been taken.
    fn left(&self) -> Vec<String>;
}

impl Source for HostTensors {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.get(name).map(|tensor| tensor.shape.clone())
    }

    fn take(&mut self, name: &str) -> Result<HostTensor> {
        self.remove(name).with_context(|| format!("the tensor {name} is missing"))
    }

    fn left(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

/// The safetensors files of a model.
pub(crate) struct Shards {
    files: Vec<(PathBuf, Mmap)>,
    /// Which file has a tensor, and its shape.
    tensors: BTreeMap<String, (usize, Vec<usize>)>,
}

/// `model.safetensors.index.json`, as far as it is read.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

const INDEX: &str = "model.safetensors.index.json";

impl Shards {
    /// Opens `model.safetensors`; where there is none, the files that the index names, or all of `model*.safetensors`.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let mut shards = Self { files: Vec::new(), tensors: BTreeMap::new() };
        for name in files_of(folder)? {
            shards.add(folder.join(name))?;
        }
        Ok(shards)
    }

    fn add(&mut self, path: PathBuf) -> Result<()> {
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        // Sound as long as the file is not truncated meanwhile: checkpoints are written beside and renamed, never changed.
        let bytes = unsafe { Mmap::map(&file) }.with_context(|| format!("cannot read {}", path.display()))?;
        let tensors = parse(&path, &bytes)?;
        for (name, view) in tensors.tensors() {
            let known = self.tensors.insert(name.clone(), (self.files.len(), view.shape().to_vec()));
            ensure!(known.is_none(), "the tensor {name} of {} is in another file too", path.display());
        }
        self.files.push((path, bytes));
        Ok(())
    }
}

impl Source for Shards {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|(_, shape)| shape.clone())
    }

    fn take(&mut self, name: &str) -> Result<HostTensor> {
        let (file, _) = self.tensors.remove(name).with_context(|| format!("the tensor {name} is missing"))?;
        let (path, bytes) = &self.files[file];
        let tensors = parse(path, bytes)?;
        to_host_tensor(&tensors.tensor(name)?)
            .with_context(|| format!("the tensor {name} of {} cannot be read", path.display()))
    }

    fn left(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }
}

/// The names of the files that hold a model's tensors.
fn files_of(folder: &Path) -> Result<Vec<String>> {
    const ONE: &str = "model.safetensors";
    let index = folder.join(INDEX);
    if folder.join(ONE).exists() {
        return Ok(vec![ONE.into()]);
    }
    if index.exists() {
        let text = read_text(&index)?;
        let Index { weight_map } =
            serde_json::from_str(&text).with_context(|| format!("{} is malformed", index.display()))?;
        let files: BTreeSet<String> = weight_map.into_values().collect();
        for file in &files {
            let beside = Path::new(file).file_name().is_some_and(|name| name == file.as_str());
            ensure!(beside, "{} names the file {file}, which is not beside it", index.display());
        }
        ensure!(!files.is_empty(), "{} names no file", index.display());
        return Ok(files.into_iter().collect());
    }
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("model") && name.ends_with(".safetensors"))
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "cannot read {}: there is no such file", folder.join(ONE).display());
    Ok(files)
}
