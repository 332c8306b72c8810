//! The checkpoints of a run: their names, their index, the training state beside the model, and which one a run is resumed from.

use anyhow::{Context, Result, ensure};
use eval::{CheckpointIndex, read_index};
use model::{HostTensors, read_tensors};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The reason for a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The policy was evaluated and is not the best so far.
    Evaluated,
    /// The policy was evaluated, and is the best so far.
    Best,
    /// The run is stopped between two evaluations.
    Stopped,
}

impl Reason {
    /// The reason of a checkpoint after a step, evaluated or not.
    pub fn of(evaluated: bool, is_best: bool) -> Self {
        match (evaluated, is_best) {
            (false, _) => Self::Stopped,
            (true, false) => Self::Evaluated,
            (true, true) => Self::Best,
        }
    }
}

/// What a checkpoint holds beside the model: everything a resumed run needs to equal an uninterrupted one.
#[derive(Clone, Debug)]
pub struct TrainerState<S> {
    /// Numbers: step, coefficients, the best score.
    pub numbers: S,
    /// The optimiser's state.
    pub optimizer: HostTensors,
}

/// The index after a new checkpoint. A checkpoint of a stop is not the previous one, so the index equals that of an
/// uninterrupted run.
pub(super) fn index_after(index: CheckpointIndex, name: String, reason: Reason) -> CheckpointIndex {
    let CheckpointIndex { last, best, previous, last_is_of_a_stop } = index;
    let previous = if last_is_of_a_stop || last == name { previous } else { last };
    let best = if reason == Reason::Best || best.is_empty() { name.clone() } else { best };
    CheckpointIndex { last: name, best, previous, last_is_of_a_stop: reason == Reason::Stopped }
}

/// The state of a checkpoint.
///
/// # Errors
/// If it is incomplete.
pub fn read_state<S: DeserializeOwned>(folder: &Path) -> Result<TrainerState<S>> {
    let path = folder.join("trainer/state.json");
    let text = data::read_text(&path)?;
    let numbers = serde_json::from_str(&text).with_context(|| format!("{} is malformed", path.display()))?;
    let path = folder.join("trainer/optimizer.safetensors");
    let optimizer = read_tensors(&path)?;
    check_history(&optimizer).with_context(|| format!("{} is malformed", path.display()))?;
    Ok(TrainerState { numbers, optimizer })
}

/// Reads the checkpoint that a run resumes from: `named`, or the last one.
///
/// # Errors
/// Errors of `read`, with the complete checkpoint to resume from instead.
pub fn read_checkpoint<T>(dir: &Path, named: Option<&str>, read: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = match named {
        Some(name) => Ok(dir.join("checkpoints").join(name)),
        None => last_folder(dir),
    };
    let name = folder.as_ref().ok().and_then(|folder| folder.file_name()).map(|name| name.to_os_string());
    folder.and_then(|folder| read(&folder)).map_err(|error| {
        let others = checkpoints(dir).into_iter().filter(|other| other.file_name() != name.as_deref());
        let whole = others.rev().find(|folder| is_complete(folder)).map(|folder| folder.display().to_string());
        let which = match &name {
            Some(name) => format!("{} cannot be used", dir.join("checkpoints").join(name).display()),
            None => "it is unknown which checkpoint is the last".to_string(),
        };
        let (dir, config) = (dir.display(), dir.join("config.toml").display().to_string());
        error.context(match whole {
            Some(whole) => format!("{which}; {whole} is complete: resume from it with --resume {whole}"),
            None => format!(
                "{which}, and {dir} has no other complete checkpoint: start again with --config {config} and another --out"
            ),
        })
    })
}

/// The name of the folder of a step's checkpoint.
pub fn checkpoint_name(step: usize) -> String {
    format!("step-{step:06}")
}

/// The folders of a run's finished checkpoints, in the order of their steps.
fn checkpoints(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("checkpoints")).into_iter().flatten();
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut folders: Vec<PathBuf> = folders.filter(|folder| step_of(folder).is_some()).collect();
    folders.sort_by_key(|folder| step_of(folder));
    folders
}

/// The step of a checkpoint, by the name of its folder.
fn step_of(folder: &Path) -> Option<usize> {
    folder.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()
}

/// Whether a checkpoint has all required files, none of them truncated.
fn is_complete(folder: &Path) -> bool {
    let has = |file: &&str| folder.join(file).is_file();
    let needed =
        ["config.json", "model.safetensors", "tokenizer.json", "trainer/state.json", "trainer/optimizer.safetensors"];
    needed.iter().all(has) && has_no_truncated_file(folder)
}

fn has_no_truncated_file(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.filter_map(Result::ok).map(|entry| entry.path()).all(|path| {
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if path.is_dir() => has_no_truncated_file(&path),
            Some("safetensors") => read_tensors(&path).is_ok(),
            Some("json") => fs::read(&path).is_ok_and(|text| serde_json::from_slice::<Value>(&text).is_ok()),
            _ => true,
        }
    })
}

/// Makes the checkpoint of a step the last one; later ones are made again.
pub(super) fn rewind_to(checkpoints: &Path, step: usize) -> Result<()> {
    let (path, name) = (checkpoints.join("index.json"), checkpoint_name(step));
    let index = read_index(&path).unwrap_or_default();
    if index.last == name || !checkpoints.join(&name).is_dir() {
        return Ok(());
    }
    let is_before = |other: &String| step_of(Path::new(other)).is_some_and(|other| other < step);
    let is_there = |other: &String| is_before(other) && checkpoints.join(other).is_dir();
    let best = Some(index.best).filter(is_there).unwrap_or_else(|| name.clone());
    let previous = Some(index.previous).filter(is_there).unwrap_or_default();
    let index = CheckpointIndex { last: name, best, previous, last_is_of_a_stop: false };
    eval::write_whole(&path, serde_json::to_vec_pretty(&index)?)
}

/// The folder of a run's last checkpoint.
///
/// # Errors
/// If the run has none.
pub fn last_folder(dir: &Path) -> Result<PathBuf> {
    let index = dir.join("checkpoints/index.json");
    ensure!(index.is_file(), "{} has no finished checkpoint to resume from", dir.display());
    Ok(dir.join("checkpoints").join(read_index(&index)?.last))
}

/// The tensors of a parameter's state.
pub(crate) const HISTORY: [&str; 3] = ["moment_1", "moment_2", "steps"];

/// The parameters of a state that `training::optim::Adam::to_tensors` wrote.
///
/// # Errors
/// If one lacks a moment or its number of steps, or a tensor belongs to none.
pub fn check_history(tensors: &HostTensors) -> Result<Vec<String>> {
    let paths: Vec<String> =
        tensors.keys().filter_map(|name| name.strip_suffix(".moment_1").map(str::to_string)).collect();
    for path in &paths {
        for part in HISTORY {
            let tensor = tensors.get(&format!("{path}.{part}"));
            let tensor = tensor.with_context(|| format!("the optimiser's {part} of {path} is missing"))?;
            let steps = tensor.values.len();
            ensure!(part != "steps" || steps == 1, "the optimiser's steps of {path} are {steps} numbers");
        }
    }
    let left = tensors.len() - HISTORY.len() * paths.len();
    ensure!(left == 0, "the optimiser's file holds {left} tensors that belong to nothing");
    Ok(paths)
}
