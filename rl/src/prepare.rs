//! What commands need before they start: a run directory, a model to start from, problems to look at.

use crate::{
    args::{DataArgs, InitArgs, RunArgs},
    command::{Command, parse},
    pretrain,
    run::{Run, TrainerState, last_checkpoint},
    sft,
};
use anyhow::{Context, Result};
use burn::tensor::Device;
use data::{Benchmark, Problem, Split};
use eval::{Policy, resolve_checkpoint};
use serde::de::DeserializeOwned;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// The folder that holds the runs which commands make for themselves.
const RUNS: &str = "runs";

/// Where a run goes: `--out`, or a name of its own under `runs/`.
pub fn run_dir(run: &RunArgs, command: &str, benchmark: Benchmark) -> PathBuf {
    let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    run.out.clone().unwrap_or_else(|| Path::new(RUNS).join(format!("{command}-{benchmark}-{}", seconds())))
}

/// Loads the last checkpoint of a run, and opens the run to go on after it.
///
/// # Errors
/// If the directory is not a run with a checkpoint.
pub fn resume<S: DeserializeOwned + HasStep>(dir: &Path, device: &Device) -> Result<(Policy, TrainerState<S>, Run)> {
    let (folder, state) = last_checkpoint::<S>(dir)?;
    let policy = Policy::load(&folder, device)?;
    let run = Run::resume(dir, state.numbers.step())?;
    Ok((policy, state, run))
}

/// The numbers of a trainer know how far it has come.
pub trait HasStep {
    /// Steps taken.
    fn step(&self) -> usize;
}

impl HasStep for crate::supervised::FitNumbers {
    fn step(&self) -> usize {
        self.step
    }
}

/// The base model to fine-tune: `--init`, or one that is pretrained once for the benchmark, size and seed.
///
/// # Errors
/// An unusable `--init`, or what pretraining says.
pub fn base(init: &InitArgs, data: &DataArgs, run: &RunArgs, device: &Device) -> Result<PathBuf> {
    made_once(init, data, run, "base", |arguments| match parse(arguments)? {
        Command::Pretrain(config) => pretrain::train(&config, device),
        _ => unreachable!("the arguments name pretrain"),
    })
}

/// The SFT model to improve by RL: `--init`, or one that is fine-tuned once from the [`base`].
///
/// # Errors
/// An unusable `--init`, or what SFT says.
pub fn sft(init: &InitArgs, data: &DataArgs, run: &RunArgs, device: &Device) -> Result<PathBuf> {
    made_once(init, data, run, "sft", |arguments| match parse(arguments)? {
        Command::Sft(config) => sft::train(&config, device),
        _ => unreachable!("the arguments name sft"),
    })
}

/// Resolves `--init`, or makes `runs/<kind>-<benchmark>-<size>-seed<seed>` where it is not there yet. An earlier attempt
/// that was interrupted is resumed.
fn made_once(
    init: &InitArgs,
    data: &DataArgs,
    run: &RunArgs,
    kind: &str,
    make: impl Fn(Vec<OsString>) -> Result<PathBuf>,
) -> Result<PathBuf> {
    if let Some(path) = &init.init {
        return resolve_checkpoint(path);
    }
    let dir = Path::new(RUNS).join(format!("{kind}-{}-{}-seed{}", data.benchmark, init.model, run.seed));
    let finished = dir.join("finished");
    if !finished.is_file() {
        let command = if kind == "base" { "pretrain" } else { kind };
        let mut arguments: Vec<OsString> = vec!["rl".into(), command.into()];
        if dir.join("checkpoints/index.json").is_file() {
            arguments.extend(["--resume".into(), dir.clone().into()]);
        } else {
            // What stands there without a checkpoint has nothing to lose.
            std::fs::remove_dir_all(&dir).or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            arguments.extend(["--out".into(), dir.clone().into()]);
            arguments.extend(["--model".into(), init.model.to_string().into()]);
            arguments.extend(["--benchmark".into(), data.benchmark.to_string().into()]);
            arguments.extend(["--seed".into(), run.seed.to_string().into()]);
            if let Some(data_dir) = &data.data_dir {
                arguments.extend(["--data-dir".into(), data_dir.clone().into()]);
            }
        }
        if let Some(threads) = run.compute.threads {
            arguments.extend(["--threads".into(), threads.to_string().into()]);
        }
        if run.quiet {
            arguments.push("--quiet".into());
        }
        make(arguments).with_context(|| format!("cannot make the {kind} model {}", dir.display()))?;
        std::fs::write(&finished, "")?;
    }
    resolve_checkpoint(&dir)
}

/// The problems that a run is looked at with: the first of the validation split.
///
/// # Errors
/// Missing data.
pub fn validation(data: &DataArgs, problems: usize) -> Result<Vec<Problem>> {
    let mut validation = data.load(Split::Validation)?;
    validation.truncate(problems);
    Ok(validation)
}
