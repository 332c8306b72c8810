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

/// Reads the checkpoint that a run resumes from: `named`, or the last one that is whole.
///
/// # Errors
/// Errors of `read`, with the whole checkpoint to resume from instead; no whole checkpoint.
pub fn read_checkpoint<T>(dir: &Path, named: Option<&str>, read: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = match named {
        Some(name) => dir.join("checkpoints").join(name),
        None => last_whole(dir)?,
    };
    let checked = named.map_or(Ok(()), |_| check_whole(&folder));
    checked.and_then(|()| read(&folder)).map_err(|error| {
        let mut others = checkpoints(dir).into_iter().rev().filter(|other| *other != folder);
        let which = format!("{} cannot be used", folder.display());
        error.context(match others.find(|other| check_whole(other).is_ok()) {
            Some(whole) => {
                let whole = whole.display();
                format!("{which}; {whole} is whole: resume from it with --resume {whole}")
            }
            None => format!("{which}, and {}", without_another(dir)),
        })
    })
}

/// The last checkpoint of a run that is whole. Damaged ones behind it are skipped with a warning: the run makes them again.
///
/// # Errors
/// If none is whole.
pub fn last_whole(dir: &Path) -> Result<PathBuf> {
    let all = || checkpoints(dir).into_iter().rev();
    let candidates: Vec<PathBuf> = match last_folder(dir) {
        Ok(last) => {
            let is_before = |other: &PathBuf| step_of(other) < step_of(&last);
            [last.clone()].into_iter().chain(all().filter(is_before)).collect()
        }
        // Without an index, the last one is that of the last step.
        Err(error) => {
            ensure!(all().next().is_some(), error);
            tracing::warn!("{error:#}");
            all().collect()
        }
    };
    let mut skipped: Option<anyhow::Error> = None;
    for folder in candidates {
        match check_whole(&folder) {
            Ok(()) => {
                if let Some(error) = skipped {
                    tracing::warn!("{error:#}; {} is whole, and the run goes on from it", folder.display());
                }
                return Ok(folder);
            }
            Err(error) => skipped = Some(skipped.unwrap_or(error)),
        }
    }
    Err(skipped.expect("there was a candidate").context(without_another(dir)))
}

/// The end of the message that a run has no whole checkpoint.
fn without_another(dir: &Path) -> String {
    let config = dir.join("config.toml");
    let (dir, config) = (dir.display(), config.display());
    format!("{dir} has no other whole checkpoint: start again with --config {config} and another --out")
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

/// Checks that a checkpoint has all its files as they were written. One that is older than checksums needs the files that a run is resumed
/// from, none of them truncated.
///
/// # Errors
/// Naming what is missing or damaged.
fn check_whole(folder: &Path) -> Result<()> {
    ensure!(folder.is_dir(), "{} is missing", folder.display());
    let needed =
        ["config.json", "model.safetensors", "tokenizer.json", "trainer/state.json", "trainer/optimizer.safetensors"];
    for file in needed.map(|file| folder.join(file)) {
        ensure!(file.is_file(), "{} is missing", file.display());
    }
    let is_checked = eval::check_files(folder, |_| true)?;
    ensure!(is_checked || has_no_truncated_file(folder), "{} has a truncated file", folder.display());
    Ok(())
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

/// Removes what a process that was killed has left of a checkpoint.
pub(super) fn remove_unfinished(checkpoints: &Path) -> Result<()> {
    let entries = fs::read_dir(checkpoints).into_iter().flatten().filter_map(Result::ok);
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".step-")) {
        fs::remove_dir_all(entry.path()).with_context(|| format!("cannot remove {}", entry.path().display()))?;
    }
    Ok(())
}

/// Makes the checkpoint of a step the last one; later ones are made again. If the best one is damaged, the last one takes its place.
pub(super) fn rewind_to(checkpoints: &Path, step: usize) -> Result<()> {
    let (path, name) = (checkpoints.join("index.json"), checkpoint_name(step));
    let old = read_index(&path).unwrap_or_default();
    if !checkpoints.join(&name).is_dir() {
        return Ok(());
    }
    let is_before = |other: &str| step_of(Path::new(other)).is_some_and(|other| other < step);
    let mut index =
        if old.last == name { old.clone() } else { CheckpointIndex { last: name.clone(), ..Default::default() } };
    if index.previous.is_empty() && is_before(&old.previous) && checkpoints.join(&old.previous).is_dir() {
        index.previous = old.previous.clone();
    }
    index.best = match check_whole(&checkpoints.join(&old.best)) {
        _ if old.best == name || !is_before(&old.best) => name,
        Ok(()) => old.best.clone(),
        Err(error) => {
            tracing::warn!("{error:#}; it was the best checkpoint, and {name} takes its place");
            name
        }
    };
    if index == old { Ok(()) } else { eval::write_whole(&path, serde_json::to_vec_pretty(&index)?) }
}

/// Whether a run was stopped before its first checkpoint: one that is finished, or whose checkpoints were removed, is another case.
pub fn is_unstarted(dir: &Path) -> bool {
    let folder = dir.join("checkpoints");
    folder.is_dir()
        && !folder.join("index.json").exists()
        && checkpoints(dir).is_empty()
        && !dir.join("eval.json").exists()
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
