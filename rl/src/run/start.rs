//! Starting and resuming a run: its directory, the flags that cannot change, and the checkpoint that it resumes from.

use super::{
    checkpoints,
    directory::{self, INITIAL_REPORT, Run, has_configuration},
    folders::ensure_new,
    lock::Lock,
};
use crate::cli::{
    args::{DataArgs, EvalArgs, RunArgs},
    defaults::table,
    effect::{FixedFlag, FixedOnResume},
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use data::Benchmark;
use eval::resolve_checkpoint;
use serde::Serialize;
use std::{
    fmt::Display,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// The description of a benchmark of the user's own, in a run directory.
pub const DESCRIPTION: &str = "benchmark.toml";

/// The default folder of runs.
pub const RUNS: &str = "runs";

/// The name of a run without `--out`, under `runs/`.
fn default_dir(command: &str, task: &impl Display) -> PathBuf {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    Path::new(RUNS).join(format!("{command}-{task}-{seconds}"))
}

/// Makes `--resume` of a run that was stopped before its first checkpoint a run of the same configuration in the same directory.
pub fn begin_unstarted_again(args: &mut RunArgs) {
    let Some(dir) = args.resume.clone().filter(|dir| args.resume_from.is_none() && checkpoints::is_unstarted(dir))
    else {
        return;
    };
    tracing::warn!("{} has no checkpoint yet: the run begins again", dir.display());
    (args.resume, args.out, args.unstarted) = (None, Some(dir.clone()), Some(dir));
}

/// The first check of a command: refuses an existing run directory; takes the lock of a resumed run for the duration of
/// the command, and refuses a run that another process holds.
///
/// # Errors
/// Naming the directory.
pub fn lock_run(args: &RunArgs) -> Result<Option<Lock>> {
    match (&args.resume, &args.out) {
        (Some(dir), _) => directory::lock(dir).map(Some),
        (None, Some(out)) if args.begins_again() => {
            let lock = directory::lock(out)?;
            // What another process has made of it in the meantime is not removed.
            ensure!(checkpoints::is_unstarted(out), "{} has a checkpoint now: resume it once more", out.display());
            Ok(Some(lock))
        }
        (None, Some(out)) => ensure_new(out).map(|()| None),
        (None, None) => Ok(None),
    }
}

/// Refuses, for a run that is resumed, other values of flags that its checkpoints depend on: those that are declared [`FixedOnResume`]; of
/// the conditional kinds, those in `also`.
///
/// # Errors
/// Naming the flag, and the value that the run was begun with.
pub fn check_unchanged<C: Args + Serialize>(args: &RunArgs, config: &C, also: &[FixedOnResume]) -> Result<()> {
    let Some(dir) = &args.resume else { return Ok(()) };
    let path = dir.join("config.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let begun: toml::Table = text.parse().with_context(|| format!("{} is malformed", path.display()))?;
    let now = table(config)?;
    for flag in FixedFlag::all::<C>(also).iter().filter(|flag| flag.has_effect(&begun) || flag.has_effect(&now)) {
        let (begun, now) = (begun.get(&flag.key), now.get(&flag.key));
        let is_same = match (begun.and_then(toml::Value::as_str), now.and_then(toml::Value::as_str)) {
            (Some(begun), Some(now)) if flag.fixed == FixedOnResume::Path => {
                is_same_model(Path::new(begun), Path::new(now))
            }
            _ => begun == now,
        };
        let flag = flag.key.replace('_', "-");
        let with = |value: Option<&toml::Value>| match value {
            Some(toml::Value::String(text)) => format!("--{flag} {text}"),
            Some(value) => format!("--{flag} {value}"),
            None => format!("no --{flag}"),
        };
        ensure!(
            is_same,
            "{}: {} was started with {}, and its checkpoints depend on that: keep it, or start another run with --out",
            with(now),
            dir.display(),
            with(begun)
        );
    }
    Ok(())
}

/// Whether a path means the same model as the original path, or may be the model's new location.
fn is_same_model(begun: &Path, now: &Path) -> bool {
    let place = |path: &Path| path.exists().then(|| resolve_checkpoint(path).ok()?.canonicalize().ok()).flatten();
    begun == now || place(begun).is_none_or(|begun| place(now) == Some(begun))
}

/// Refuses input files inside the directory of the resumed run, because they change while it runs.
///
/// # Errors
/// Naming the flag and the file.
pub fn check_inputs(args: &RunArgs, inputs: &[(&str, Option<&Path>)]) -> Result<()> {
    let Some(dir) = args.resume.as_ref().and_then(|dir| dir.canonicalize().ok()) else { return Ok(()) };
    for (flag, path) in inputs.iter().filter_map(|(flag, path)| Some((flag, path.as_ref()?))) {
        ensure!(
            !path.canonicalize().is_ok_and(|path| path.starts_with(&dir)),
            "--{flag} {} lies in the resumed run's directory, which the run changes: give a copy",
            path.display()
        );
    }
    Ok(())
}

/// Reads the checkpoint that a run resumes from, as [`checkpoints::read_checkpoint`].
///
/// # Errors
/// As that.
pub fn read_checkpoint<T>(args: &RunArgs, dir: &Path, read: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    checkpoints::read_checkpoint(dir, args.resume_from.as_deref(), read)
}

/// Refuses a resumed run whose evaluation before training can neither be read nor repeated.
///
/// # Errors
/// Naming what is missing or malformed.
pub fn check_initial_report(
    args: &RunArgs,
    eval: &EvalArgs,
    command: &str,
    config: &impl Serialize,
    init: Option<&Path>,
) -> Result<()> {
    let Some(dir) = args.resume.as_ref().filter(|_| eval.test_problems > 0) else { return Ok(()) };
    let path = dir.join(INITIAL_REPORT);
    match std::fs::read_to_string(&path).ok().filter(|_| has_configuration(dir, command, config).unwrap_or(false)) {
        Some(text) => {
            let malformed = || format!("{} is malformed: remove it, and the run makes it again", path.display());
            serde_json::from_str::<eval::Report>(&text).map(|_| ()).with_context(malformed)
        }
        None => init.map_or(Ok(()), |init| resolve_checkpoint(init).map(|_| ())),
    }
}

/// Creates the run directory, or resumes that of `--resume` after `step`. It is the last preparation, so a
/// failed check leaves nothing behind.
///
/// # Errors
/// If the directory exists, is not a run, or cannot be written.
pub fn create_or_resume(
    args: &RunArgs,
    command: &str,
    data: &DataArgs,
    config: &impl Serialize,
    step: usize,
) -> Result<Run> {
    let run = create_or_resume_task(args, command, data.benchmark(), config, step)?;
    if args.resume.is_none() {
        keep_description(&run, data.benchmark())?;
    }
    Ok(run)
}

/// As [`create_or_resume`], for a command without a benchmark: `task` is a part of the name of a run without `--out`.
///
/// # Errors
/// As that.
pub fn create_or_resume_task(
    args: &RunArgs,
    command: &str,
    task: &impl Display,
    config: &impl Serialize,
    step: usize,
) -> Result<Run> {
    let run = match (&args.resume, &args.out) {
        (Some(dir), _) => return complete_resume(Run::resume(dir, step)?, args, command, config),
        (None, Some(out)) if args.begins_again() => Run::begin_again(out, command, config)?,
        (None, Some(out)) => Run::create(out, command, config)?,
        (None, None) => Run::create_numbered(&default_dir(command, task), command, config)?,
    };
    run.with_tensorboard(args.tensorboard)
}

/// Keeps the description of a benchmark of the user's own, so that the run says what it was trained on.
fn keep_description(run: &Run, benchmark: &Benchmark) -> Result<()> {
    match benchmark.description().filter(|_| !benchmark.is_of_files()) {
        Some(text) => eval::write_whole(&run.dir().join(DESCRIPTION), text),
        None => Ok(()),
    }
}

/// Completes the resume of a run: writes its current configuration.
///
/// # Errors
/// Errors of the file system.
pub fn complete_resume(run: Run, args: &RunArgs, command: &str, config: &impl Serialize) -> Result<Run> {
    run.keep_configuration(command, config)?;
    run.with_tensorboard(args.tensorboard)
}
/// The flags of a run that is a stage of another, in a folder of its own: it is begun, or resumed if it was begun.
///
/// # Errors
/// A folder that cannot be read or removed.
pub fn stage(whole: &RunArgs, dir: &Path) -> Result<RunArgs> {
    let is_begun = dir.join("checkpoints/index.json").is_file();
    if !is_begun {
        super::remove_unstarted(dir)?;
    }
    let (out, resume) = if is_begun { (None, Some(dir.to_path_buf())) } else { (Some(dir.to_path_buf()), None) };
    Ok(RunArgs { out, resume, resume_from: None, ..whole.clone() })
}
