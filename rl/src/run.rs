//! A run is a directory, written as it goes and never overwritten: configuration, metrics, samples, checkpoints, report.

use crate::{html, lock::Lock, metrics::Metrics, optim::check_history, tensorboard::TensorBoard};
use anyhow::{Context, Result, anyhow, bail, ensure};
use data::Tokenizer;
use eval::{CheckpointIndex, Report, Sample, read_index};
use model::{HostTensors, Transformer, read_tensors, save_model, write_tensors};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// How the first line of `config.toml` begins, after its `# `, in a run that is a part of another.
pub(crate) const PART_OF: &str = "part of rl ";

/// A run directory that is being written.
pub struct Run {
    dir: PathBuf,
    /// The run that this one is a part of, and that a user goes on with.
    whole: Option<PathBuf>,
    metrics: File,
    samples: File,
    tensorboard: Option<TensorBoard>,
    /// Of this process, when the last line was logged.
    cpu_seconds: Option<f64>,
    /// What the run had spent since its last line when it was interrupted.
    spent_before: f64,
    /// That no other process writes into the directory; of a run that goes on, the command has it.
    _lock: Option<Lock>,
}

/// What the starting policy came to on the test split.
pub const BEFORE: &str = "before.json";
/// The file of a run that holds the CPU seconds since its last line, while it is interrupted.
const SPENT: &str = "interrupted-cpu-seconds";
/// The file that is locked while a process writes into a run directory.
const LOCK: &str = ".lock";

/// Why a checkpoint is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The policy was evaluated, and is not the best so far.
    Evaluated,
    /// The policy was evaluated, and is the best so far.
    Best,
    /// The run is stopped between two evaluations.
    Stopped,
}

impl Reason {
    /// Of a checkpoint at an evaluation, if there was one.
    pub fn of(evaluated: bool, is_best: bool) -> Self {
        match (evaluated, is_best) {
            (false, _) => Self::Stopped,
            (true, false) => Self::Evaluated,
            (true, true) => Self::Best,
        }
    }
}

/// How the samples of a step are written that takes long: `lines` at a time, `total` in all.
#[derive(Clone, Copy, Debug)]
pub struct Blocks {
    /// Lines of a block; the last one of a step may have fewer.
    pub lines: usize,
    /// Lines of a step.
    pub total: usize,
}

impl Blocks {
    /// Written at once: all of them stay.
    pub const ALL: Self = Self { lines: 1, total: usize::MAX };
}

/// What a checkpoint holds beside the model: everything a resumed run needs to go on as if it had never stopped.
#[derive(Clone, Debug)]
pub struct TrainerState<S> {
    /// Numbers: step, coefficients, the best score.
    pub numbers: S,
    /// The optimiser's history.
    pub optimizer: HostTensors,
}

impl Run {
    /// Makes a new run directory with its `config.toml`.
    ///
    /// # Errors
    /// If the directory exists, or cannot be written; then nothing of it is left.
    pub fn create(dir: &Path, command: &str, config: &impl Serialize) -> Result<Self> {
        Self::create_as(dir, &format!("rl {command}"), config)
    }

    /// [`Run::create`] under the first of `NAME`, `NAME-2`, `NAME-3`, … that nobody has: two runs that begin in one second are two.
    ///
    /// # Errors
    /// As [`Run::create`].
    pub fn create_numbered(dir: &Path, command: &str, config: &impl Serialize) -> Result<Self> {
        for number in 1.. {
            let name = if number == 1 { dir.as_os_str().to_owned() } else { suffixed(dir, &format!("-{number}")) };
            match Self::create(Path::new(&name), command, config) {
                Err(error) if error.is::<Taken>() => {}
                made => return made,
            }
        }
        unreachable!("there is a number that no folder has")
    }

    fn create_as(dir: &Path, heading: &str, config: &impl Serialize) -> Result<Self> {
        ensure_new(dir)?;
        let text = configuration(heading, config)?;
        let mut made = Vec::new();
        let mut make = || {
            make_folder(dir, &mut made)?;
            let lock = lock(dir)?;
            fs::create_dir(dir.join("checkpoints")).with_context(|| format!("cannot make {}", dir.display()))?;
            eval::write_whole(&dir.join("config.toml"), text.as_bytes())?;
            Ok(Self { _lock: Some(lock), ..Self::open(dir)? })
        };
        make().inspect_err(|_| {
            // None of them existed before; that one cannot be removed is no second error.
            if made.iter().any(|folder| folder == dir) {
                let _ = fs::remove_dir_all(dir);
            }
            for folder in made.iter().rev() {
                let _ = fs::remove_dir(folder);
            }
        })
    }

    /// Opens a run to go on after `step`: what was written after that step is dropped, and will be written again. Whoever calls has
    /// the [`lock`] of the directory, and has found nothing wrong.
    ///
    /// # Errors
    /// If the directory is not a run.
    pub fn resume(dir: &Path, step: usize) -> Result<Self> {
        Self::resume_within(dir, step, Blocks { lines: 1, total: 0 })
    }

    /// As [`Run::resume`], but whole blocks of the samples of the step that was under way stay.
    ///
    /// # Errors
    /// If the directory is not a run.
    pub fn resume_within(dir: &Path, step: usize, blocks: Blocks) -> Result<Self> {
        let logs = [("metrics.jsonl", Blocks { lines: 1, total: 0 }), ("samples.jsonl", blocks)];
        let logs = logs.map(|(name, blocks)| (dir.join(name), blocks));
        // Both are read before the first is changed.
        let kept =
            logs.iter().map(|(path, blocks)| kept_up_to(path, step, *blocks)).collect::<Result<Vec<String>>>()?;
        for ((path, _), kept) in logs.iter().zip(kept) {
            eval::write_whole(path, kept)?;
        }
        go_back_to(&dir.join("checkpoints"), step)?;
        Self::open(dir)
    }

    /// Writes `config.toml` anew where the flags given to go on have changed it: it says what the run does from now on. What the
    /// starting policy came to is then found out again.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep_configuration(&self, command: &str, config: &impl Serialize) -> Result<()> {
        let (path, text) = (self.dir.join("config.toml"), configuration(&format!("rl {command}"), config)?);
        if has_configuration(&self.dir, command, config)? {
            return Ok(());
        }
        // What the start came to in other ways is not to be compared with.
        remove_file_if_there(&self.dir.join(BEFORE))?;
        eval::write_whole(&path, text)
    }

    /// Whether a part of this run is there, made with the same configuration.
    ///
    /// # Errors
    /// A configuration that cannot be written as text.
    pub fn has_part(&self, name: &str, command: &str, config: &impl Serialize) -> Result<bool> {
        let text = configuration(&format!("{PART_OF}{command}"), config)?;
        Ok(fs::read_to_string(self.dir.join(name).join("config.toml")).is_ok_and(|there| there == text))
    }

    /// Makes or opens a run that is a part of this one, to go on after `step`; it lies in a folder of this run, which `rl COMMAND` has
    /// made and alone can go on with.
    ///
    /// # Errors
    /// As [`Run::create`] and [`Run::resume`].
    pub fn part(&self, name: &str, command: &str, config: &impl Serialize, step: usize) -> Result<Self> {
        let dir = self.dir.join(name);
        let part = if step == 0 {
            // What stands there without a checkpoint has nothing to lose.
            remove_if_there(&dir)?;
            Self::create_as(&dir, &format!("{PART_OF}{command}"), config)?
        } else {
            Self::resume(&dir, step)?
        };
        Ok(Self { whole: Some(self.dir.clone()), ..part })
    }

    fn open(dir: &Path) -> Result<Self> {
        Ok(Self {
            dir: dir.to_path_buf(),
            whole: None,
            metrics: append_to(&dir.join("metrics.jsonl"))?,
            samples: append_to(&dir.join("samples.jsonl"))?,
            tensorboard: None,
            cpu_seconds: model::cpu_seconds(),
            spent_before: fs::read_to_string(dir.join(SPENT)).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0),
            _lock: None,
        })
    }

    /// From now on metrics also go to TensorBoard event files, if `wanted`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn with_tensorboard(mut self, wanted: bool) -> Result<Self> {
        if wanted {
            self.tensorboard = Some(TensorBoard::open(&self.dir)?);
        }
        Ok(self)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps what was spent since the last line, so that the next one of a run that is gone on with has it. What is killed
    /// cannot say what it has spent.
    pub fn keep_spent(&self) {
        if let (None, Some(now), Some(before)) = (&self.whole, model::cpu_seconds(), self.cpu_seconds) {
            let spent = self.spent_before + now - before;
            // That it cannot be written is no reason to end otherwise.
            let _ = eval::write_whole(&self.dir.join(SPENT), spent.to_string());
        }
    }

    /// Does something whose CPU time is no part of what the run costs.
    pub fn uncounted<T>(&mut self, something: impl FnOnce() -> T) -> T {
        let started = model::cpu_seconds();
        let done = something();
        if let (Some(started), Some(now), Some(counted_to)) = (started, model::cpu_seconds(), &mut self.cpu_seconds) {
            *counted_to += now - started;
        }
        done
    }

    /// The error that ends an interrupted run, naming what it can go on from.
    pub fn interruption(&self) -> anyhow::Error {
        self.keep_spent();
        let whole = self.whole.as_ref().unwrap_or(&self.dir);
        let of = |dir: &Path| {
            let checkpoints = dir.join("checkpoints");
            Some(checkpoints.join(read_index(&checkpoints.join("index.json")).ok()?.last))
        };
        // A part that only samples has none of its own.
        let last = of(&self.dir).or_else(|| of(whole)).unwrap_or_default();
        anyhow::anyhow!(
            "interrupted; the last checkpoint is {}; go on with --resume {}",
            last.display(),
            whole.display()
        )
    }

    /// Appends a line to `metrics.jsonl`, with the CPU time since the one before (`time/cpu_s`, all threads): what a run costs
    /// also where the machine does other things.
    ///
    /// # Errors
    /// What the file system says.
    pub fn log(&mut self, metrics: &Metrics) -> Result<()> {
        let (now, mut metrics) = (model::cpu_seconds(), metrics.clone());
        if let (Some(now), Some(before)) = (now, self.cpu_seconds) {
            metrics.put("time/cpu_s", self.spent_before + now - before);
        }
        self.cpu_seconds = now;
        if self.spent_before > 0.0 {
            self.spent_before = 0.0;
            remove_file_if_there(&self.dir.join(SPENT))?;
        }
        if let Some(tensorboard) = &mut self.tensorboard {
            tensorboard.log_metrics(&metrics)?;
        }
        append_line(&mut self.metrics, &metrics)
            .with_context(|| format!("cannot write metrics to {}", self.dir.display()))
    }

    /// Appends lines to `samples.jsonl`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_samples<'a>(&mut self, samples: impl IntoIterator<Item = &'a Sample>) -> Result<()> {
        for sample in samples {
            append_line(&mut self.samples, sample)
                .with_context(|| format!("cannot write samples to {}", self.dir.display()))?;
        }
        Ok(())
    }

    /// Appends to `samples.jsonl` the samples of a step that are there at once, whole or not at all.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_samples_whole(&mut self, samples: &[Sample]) -> Result<()> {
        let path = self.dir.join("samples.jsonl");
        let mut bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for sample in samples {
            serde_json::to_writer(&mut bytes, sample)?;
            bytes.push(b'\n');
        }
        eval::write_whole(&path, bytes)?;
        self.samples = append_to(&path)?;
        Ok(())
    }

    /// Writes a checkpoint, whole or not at all, and removes those that are neither the last nor the best, nor the one before the last.
    ///
    /// # Errors
    /// What the file system says.
    pub fn checkpoint<S: Serialize>(
        &self,
        step: usize,
        reason: Reason,
        model: &Transformer,
        tokenizer: &Tokenizer,
        state: &TrainerState<S>,
        more: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let name = checkpoint_name(step);
        let parent = self.dir.join("checkpoints");
        let (unfinished, finished) = (parent.join(format!(".{name}")), parent.join(&name));
        let write = || -> Result<()> {
            remove_if_there(&unfinished)?;
            fs::create_dir_all(unfinished.join("trainer"))?;
            save_model(&unfinished, model)?;
            tokenizer.save(&unfinished)?;
            write_tensors(&unfinished.join("trainer/optimizer.safetensors"), &state.optimizer)?;
            fs::write(unfinished.join("trainer/state.json"), serde_json::to_vec_pretty(&state.numbers)?)?;
            more(&unfinished)?;
            remove_if_there(&finished)?;
            eval::rename_synced(&unfinished, &finished)?;
            // What a resumed run takes up beside the checkpoint.
            self.metrics.sync_all()?;
            self.samples.sync_all()?;
            Ok(())
        };
        let index_path = parent.join("index.json");
        let previous = read_index(&index_path).unwrap_or_default();
        if let Err(error) = write() {
            let _ = remove_if_there(&unfinished);
            let message = format!("cannot write the checkpoint {}", finished.display());
            return Err(error.context(match previous.last.is_empty() {
                true => message,
                false => {
                    format!("{message}; make room, and go on from the one before with --resume {}", self.dir.display())
                }
            }));
        }
        let index = superseded_by(previous, name, reason);
        eval::write_whole(&index_path, serde_json::to_vec_pretty(&index)?)?;
        self.remove_superseded(&index)?;
        Ok(finished)
    }

    fn remove_superseded(&self, index: &CheckpointIndex) -> Result<()> {
        for entry in fs::read_dir(self.dir.join("checkpoints"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_kept = [&index.last, &index.best, &index.previous].contains(&&name);
            if name.starts_with("step-") && !is_kept {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// Writes `eval.json` of a training command: reports by name, "before" and "after" among them.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_evaluation(&self, reports: &[(&str, &Report)]) -> Result<()> {
        let named = |(name, report): &(&str, &Report)| Ok((name.to_string(), serde_json::to_value(report)?));
        let all = reports.iter().map(named).collect::<Result<Map<String, Value>>>()?;
        eval::write_whole(&self.dir.join("eval.json"), serde_json::to_vec_pretty(&all)?)
    }
}

/// The index once another checkpoint is made. The one before the newest is that of a run that was never stopped.
fn superseded_by(index: CheckpointIndex, name: String, reason: Reason) -> CheckpointIndex {
    let CheckpointIndex { last, best, previous, last_is_of_a_stop } = index;
    let previous = if last_is_of_a_stop || last == name { previous } else { last };
    let best = if reason == Reason::Best || best.is_empty() { name.clone() } else { best };
    CheckpointIndex { last: name, best, previous, last_is_of_a_stop: reason == Reason::Stopped }
}

/// Takes the lock of a run directory, for as long as a command works on it.
///
/// # Errors
/// If another process has it.
pub fn lock(dir: &Path) -> Result<Lock> {
    let busy = || format!("{} is in use by another process: wait for it to end, or stop it first", dir.display());
    Lock::try_take(&dir.join(LOCK))?.with_context(busy)
}

/// Removes what was begun and has no checkpoint: it has nothing to lose.
///
/// # Errors
/// If another process is at it, or it cannot be removed.
pub fn remove_unstarted(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let _lock = lock(dir)?;
    fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))
}

/// That a folder cannot be made because somebody else just has.
#[derive(Debug)]
struct Taken(String);

impl std::fmt::Display for Taken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Taken {}

/// Makes a folder that must not be there, and those that it lies in; `made` are those that did not exist.
fn make_folder(dir: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
    let failed = || format!("cannot make {}: give another --out", dir.display());
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists()) {
        let missing: Vec<&Path> = parent.ancestors().take_while(|folder| !folder.exists()).collect();
        let missing = missing.into_iter().rev().filter(|folder| !folder.as_os_str().is_empty()).map(Path::to_path_buf);
        let missing: Vec<PathBuf> = missing.collect();
        fs::create_dir_all(parent).with_context(failed)?;
        made.extend(missing);
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(taken(dir)),
        done => done.with_context(failed)?,
    }
    made.push(dir.to_path_buf());
    Ok(())
}

fn taken(dir: &Path) -> anyhow::Error {
    let dir = dir.display();
    anyhow!(Taken(format!("{dir} exists already: give another --out, or go on with it by --resume {dir}")))
}

fn suffixed(path: &Path, suffix: &str) -> std::ffi::OsString {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name
}

/// Whether a run has just this configuration.
///
/// # Errors
/// A configuration that cannot be written as text.
pub fn has_configuration(dir: &Path, command: &str, config: &impl Serialize) -> Result<bool> {
    let text = configuration(&format!("rl {command}"), config)?;
    Ok(fs::read_to_string(dir.join("config.toml")).is_ok_and(|there| there == text))
}

/// What `config.toml` holds.
fn configuration(heading: &str, config: &impl Serialize) -> Result<String> {
    Ok(format!("# {heading}\n{}", toml::to_string(config).context("cannot write the configuration")?))
}

/// Refuses a run directory that exists.
///
/// # Errors
/// If it does.
pub fn ensure_new(dir: &Path) -> Result<()> {
    if dir.exists() { Err(taken(dir)) } else { Ok(()) }
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

/// Reads the checkpoint that a run goes on from: `named`, or the last one.
///
/// # Errors
/// What `read` says; then which checkpoint of the run is whole, and how to go on from it.
pub fn from_checkpoint<T>(dir: &Path, named: Option<&str>, read: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = match named {
        Some(name) => Ok(dir.join("checkpoints").join(name)),
        None => last_folder(dir),
    };
    let name = folder.as_ref().ok().and_then(|folder| folder.file_name()).map(|name| name.to_os_string());
    folder.and_then(|folder| read(&folder)).map_err(|error| {
        let others = checkpoints(dir).into_iter().filter(|other| other.file_name() != name.as_deref());
        let whole = others.rev().find(|folder| is_whole(folder)).map(|folder| folder.display().to_string());
        let which = match &name {
            Some(name) => format!("{} cannot be used", dir.join("checkpoints").join(name).display()),
            None => "there is no telling which checkpoint is the last".to_string(),
        };
        let (dir, config) = (dir.display(), dir.join("config.toml").display().to_string());
        error.context(match whole {
            Some(whole) => format!("{which}; {whole} is whole: go on from that one with --resume {whole}"),
            None => format!(
                "{which}, and {dir} has no other that is whole: begin anew with --config {config} and another --out"
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

/// Whether a checkpoint has all that every one has, and no file that is cut short.
fn is_whole(folder: &Path) -> bool {
    let has = |file: &&str| folder.join(file).is_file();
    let needed =
        ["config.json", "model.safetensors", "tokenizer.json", "trainer/state.json", "trainer/optimizer.safetensors"];
    needed.iter().all(has) && no_file_is_cut(folder)
}

fn no_file_is_cut(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.filter_map(Result::ok).map(|entry| entry.path()).all(|path| {
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if path.is_dir() => no_file_is_cut(&path),
            Some("safetensors") => read_tensors(&path).is_ok(),
            Some("json") => fs::read(&path).is_ok_and(|text| serde_json::from_slice::<Value>(&text).is_ok()),
            _ => true,
        }
    })
}

/// Makes the checkpoint of a step the last one, where it is not: what follows it is made again.
fn go_back_to(checkpoints: &Path, step: usize) -> Result<()> {
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

/// Writes `report.html`, the last thing a run does. Training is done by then: a report that cannot be made is a warning.
pub fn finish(run: &Run) -> PathBuf {
    if let Err(error) = html::write_report(run.dir()) {
        tracing::warn!("no report.html: {error:#}");
    }
    run.dir().to_path_buf()
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C asks for a stop after the current step; a second one stops at once.
///
/// # Errors
/// If the handler cannot be set.
pub fn stop_on_interrupt() -> Result<()> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; Ctrl-C again stops at once");
    })
    .context("cannot listen for Ctrl-C")
}

/// Whether a stop was asked for.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

pub(crate) fn append_to(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("cannot write {}", path.display()))
}

pub(crate) fn append_line(file: &mut File, value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(file.write_all(&line)?)
}

fn remove_if_there(dir: &Path) -> Result<()> {
    if dir.exists() { Ok(fs::remove_dir_all(dir)?) } else { Ok(()) }
}

fn remove_file_if_there(file: &Path) -> Result<()> {
    fs::remove_file(file).or_else(|error| match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(error.into()),
    })
}

/// The lines of a JSON-lines file whose "step" is not past `step`, and whole blocks of the next one; without a line that was cut.
fn kept_up_to(path: &Path, step: usize, blocks: Blocks) -> Result<String> {
    #[derive(Deserialize)]
    struct Line {
        step: usize,
    }
    // The line that was cut may end within a character.
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("{} is missing", path.display()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let step_of = |line: &str| serde_json::from_str::<Line>(line).ok().map(|line| line.step);
    let lines: Vec<(&str, usize)> =
        text.split_inclusive('\n').filter_map(|line| Some((line, step_of(line)?))).collect();
    let of_next = lines.iter().filter(|(_, of)| *of == step + 1).count().min(blocks.total);
    let mut room = if of_next == blocks.total { of_next } else { of_next / blocks.lines * blocks.lines };
    let mut is_kept = |of: usize| {
        let in_block = of == step + 1 && room > 0;
        room -= usize::from(in_block);
        of <= step || in_block
    };
    Ok(lines.iter().filter(|(_, of)| is_kept(*of)).map(|(line, _)| *line).collect())
}
