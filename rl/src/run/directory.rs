//! A run is a directory, written as it goes and never overwritten: configuration, metrics, samples, checkpoints, report.

use super::{
    checkpoints::{Reason, TrainerState, checkpoint_name, index_after, remove_unfinished, rewind_to},
    folders::{DirectoryExists, ensure_new, make_folder, suffixed},
    lines::{SampleBlocks, append_line, lines_up_to, open_for_append, remove_file_if_there, remove_if_there},
    lock::Lock,
    metrics::Metrics,
    ranks,
    tensorboard::TensorBoard,
};
use crate::cli::config_file::PART_OF;
use anyhow::{Context, Result};
use data::Tokenizer;
use eval::{CheckpointIndex, Report, Sample, external::RewardFailure, read_index, servers::ServerFailure};
use model::{Transformer, save_model, write_tensors};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// A run directory that is being written.
pub struct Run {
    dir: PathBuf,
    /// The run that this one is a part of; a user resumes that one.
    whole: Option<PathBuf>,
    metrics: File,
    samples: File,
    tensorboard: Option<TensorBoard>,
    /// CPU seconds of this process when the last line was logged.
    cpu_seconds: Option<f64>,
    /// CPU seconds of the interrupted run since its last line.
    earlier_cpu_seconds: f64,
    /// The lock of the directory; a resumed run's lock is held by the command.
    _lock: Option<Lock>,
}

/// The report of the starting policy on the test split.
pub const INITIAL_REPORT: &str = "before.json";
/// The file of a run that holds the CPU seconds since its last line, while it is interrupted.
const INTERRUPTED_CPU_SECONDS: &str = "interrupted-cpu-seconds";
/// The file that is locked while a process writes into a run directory.
const LOCK: &str = ".lock";

/// Whether an error is the failure of an external reward or of an inference server: it may be gone when the run is resumed.
pub fn comes_from_outside(error: &anyhow::Error) -> bool {
    error.is::<RewardFailure>() || error.is::<ServerFailure>()
}

impl Run {
    /// Makes a new run directory with its `config.toml`.
    ///
    /// # Errors
    /// If the directory exists, or cannot be written; then nothing of it is left.
    pub fn create(dir: &Path, command: &str, config: &impl Serialize) -> Result<Self> {
        Self::create_as(dir, &format!("rl {command}"), config)
    }

    /// [`Run::create`] under the first free name of `NAME`, `NAME-2`, `NAME-3`, …, for runs that start in the same
    /// second.
    ///
    /// # Errors
    /// As [`Run::create`].
    pub fn create_numbered(dir: &Path, command: &str, config: &impl Serialize) -> Result<Self> {
        for number in 1.. {
            let name = if number == 1 { dir.as_os_str().to_owned() } else { suffixed(dir, &format!("-{number}")) };
            match Self::create(Path::new(&name), command, config) {
                Err(error) if error.is::<DirectoryExists>() => {}
                made => return made,
            }
        }
        unreachable!("there is a number that no folder has")
    }

    fn create_as(dir: &Path, heading: &str, config: &impl Serialize) -> Result<Self> {
        ensure_new(dir)?;
        let text = configuration(heading, config)?;
        let mut made = Vec::new();
        let fill = |dir: &Path| {
            fs::create_dir(dir.join("checkpoints")).with_context(|| format!("cannot make {}", dir.display()))?;
            eval::write_whole(&dir.join("config.toml"), text.as_bytes())
        };
        let mut make = || {
            make_folder(dir, &mut made, fill)?;
            let lock = lock(dir)?;
            Ok(Self { _lock: Some(lock), ..Self::open(dir)? })
        };
        make().inspect_err(|_| {
            // None of them existed before; a failure to remove one is ignored.
            if made.iter().any(|folder| folder == dir) {
                let _ = fs::remove_dir_all(dir);
            }
            for folder in made.iter().rev() {
                let _ = fs::remove_dir(folder);
            }
        })
    }

    /// Begins a run again in the directory of one that was stopped before its first checkpoint; what that has written is removed. The
    /// caller holds the [`lock`] of the directory.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn begin_again(dir: &Path, command: &str, config: &impl Serialize) -> Result<Self> {
        let text = configuration(&format!("rl {command}"), config)?;
        let cannot = || format!("cannot begin {} again", dir.display());
        for entry in fs::read_dir(dir).with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            // The configuration is there at any time, so that the run can be begun again once more.
            match entry.file_name().to_str() {
                Some(LOCK | "config.toml" | "checkpoints") => {}
                _ if entry.file_type().with_context(cannot)?.is_dir() => {
                    fs::remove_dir_all(entry.path()).with_context(cannot)?
                }
                _ => fs::remove_file(entry.path()).with_context(cannot)?,
            }
        }
        remove_unfinished(&dir.join("checkpoints"))?;
        eval::write_whole(&dir.join("config.toml"), text)?;
        Self::open(dir)
    }

    /// Resumes a run after `step`: lines written after that step are dropped and will be written again. The
    /// caller holds the [`lock`] of the directory and has checked the run.
    ///
    /// # Errors
    /// If the directory is not a run.
    pub fn resume(dir: &Path, step: usize) -> Result<Self> {
        Self::resume_keeping_samples(dir, step, SampleBlocks::NONE)
    }

    /// As [`Run::resume`], but whole blocks of the samples of the unfinished step are kept.
    ///
    /// # Errors
    /// If the directory is not a run.
    pub fn resume_keeping_samples(dir: &Path, step: usize, blocks: SampleBlocks) -> Result<Self> {
        let logs = [("metrics.jsonl", SampleBlocks::NONE), ("samples.jsonl", blocks)];
        let logs = logs.map(|(name, blocks)| (dir.join(name), blocks));
        // Both files are read before either is changed.
        let kept =
            logs.iter().map(|(path, blocks)| lines_up_to(path, step, *blocks)).collect::<Result<Vec<String>>>()?;
        for ((path, _), kept) in logs.iter().zip(kept) {
            eval::write_whole(path, kept)?;
        }
        remove_unfinished(&dir.join("checkpoints"))?;
        rewind_to(&dir.join("checkpoints"), step)?;
        Self::open(dir)
    }

    /// Rewrites `config.toml` if the flags given with `--resume` have changed it. The starting policy is then evaluated
    /// again.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn keep_configuration(&self, command: &str, config: &impl Serialize) -> Result<()> {
        let (path, text) = (self.dir.join("config.toml"), configuration(&format!("rl {command}"), config)?);
        if has_configuration(&self.dir, command, config)? {
            return Ok(());
        }
        // A report with other flags is not comparable.
        remove_file_if_there(&self.dir.join(INITIAL_REPORT))?;
        eval::write_whole(&path, text)
    }

    /// Whether this part of the run exists, made with the same configuration.
    ///
    /// # Errors
    /// A configuration that cannot be written as text.
    pub fn has_part(&self, name: &str, command: &str, config: &impl Serialize) -> Result<bool> {
        let text = configuration(&format!("{PART_OF}{command}"), config)?;
        Ok(fs::read_to_string(self.dir.join(name).join("config.toml")).is_ok_and(|there| there == text))
    }

    /// Creates or resumes, after `step`, a part of this run, a nested run; it lies in a folder of this run and can
    /// only be resumed through it.
    ///
    /// # Errors
    /// As [`Run::create`] and [`Run::resume`].
    pub fn part(&self, name: &str, command: &str, config: &impl Serialize, step: usize) -> Result<Self> {
        let dir = self.dir.join(name);
        let part = if step == 0 {
            // A folder without a checkpoint holds nothing to keep.
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
            metrics: open_for_append(&dir.join("metrics.jsonl"))?,
            samples: open_for_append(&dir.join("samples.jsonl"))?,
            tensorboard: None,
            cpu_seconds: model::cpu_seconds(),
            earlier_cpu_seconds: fs::read_to_string(dir.join(INTERRUPTED_CPU_SECONDS))
                .ok()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0.0),
            _lock: None,
        })
    }

    /// From now on metrics also go to TensorBoard event files, if `wanted`.
    ///
    /// # Errors
    /// Errors of the file system.
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

    /// Saves the CPU time since the last line, for the next line of the resumed run. A killed run loses it.
    pub fn save_cpu_seconds(&self) {
        if let (None, Some(now), Some(before)) = (&self.whole, model::cpu_seconds(), self.cpu_seconds) {
            let spent = self.earlier_cpu_seconds + now - before;
            // A failure to write it is ignored.
            let _ = eval::write_whole(&self.dir.join(INTERRUPTED_CPU_SECONDS), spent.to_string());
        }
    }

    /// Runs something whose CPU time does not count as the run's cost.
    pub fn without_counting_cpu_time<T>(&mut self, something: impl FnOnce() -> T) -> T {
        let started = model::cpu_seconds();
        let done = something();
        if let (Some(started), Some(now), Some(counted_to)) = (started, model::cpu_seconds(), &mut self.cpu_seconds) {
            *counted_to += now - started;
        }
        done
    }

    /// The error that ends an interrupted run; it names the checkpoint to resume from.
    pub fn interruption(&self) -> anyhow::Error {
        self.save_cpu_seconds();
        let whole = self.whole.as_ref().unwrap_or(&self.dir);
        let of = |dir: &Path| {
            let checkpoints = dir.join("checkpoints");
            Some(checkpoints.join(read_index(&checkpoints.join("index.json")).ok()?.last))
        };
        // A part that only samples has no checkpoint of its own.
        let last = of(&self.dir).or_else(|| of(whole));
        let whole = whole.display();
        match last {
            Some(last) => {
                anyhow::anyhow!("interrupted; the last checkpoint is {}; resume with --resume {whole}", last.display())
            }
            None => anyhow::anyhow!("interrupted before the first checkpoint; --resume {whole} begins again"),
        }
    }

    /// An error with the checkpoint to resume from, if it [comes from outside](comes_from_outside); any other as it is.
    pub fn with_resume(&self, error: anyhow::Error) -> anyhow::Error {
        if comes_from_outside(&error) { self.interruption().context(error) } else { error }
    }

    /// Appends a line to `metrics.jsonl`, with the CPU time since the one before (`time/cpu_s`, all threads): the cost
    /// of a run even if the machine is busy.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn log(&mut self, metrics: &Metrics) -> Result<()> {
        let (now, mut metrics) = (model::cpu_seconds(), metrics.clone());
        if let (Some(now), Some(before)) = (now, self.cpu_seconds) {
            metrics.put("time/cpu_s", self.earlier_cpu_seconds + now - before);
        }
        self.cpu_seconds = now;
        if self.earlier_cpu_seconds > 0.0 {
            self.earlier_cpu_seconds = 0.0;
            remove_file_if_there(&self.dir.join(INTERRUPTED_CPU_SECONDS))?;
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
    /// Errors of the file system.
    pub fn write_samples<'a>(&mut self, samples: impl IntoIterator<Item = &'a Sample>) -> Result<()> {
        for sample in samples {
            append_line(&mut self.samples, sample)
                .with_context(|| format!("cannot write samples to {}", self.dir.display()))?;
        }
        Ok(())
    }

    /// Appends all samples of a step to `samples.jsonl`, whole or not at all.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn write_samples_whole(&mut self, samples: &[Sample]) -> Result<()> {
        let path = self.dir.join("samples.jsonl");
        let mut bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for sample in samples {
            serde_json::to_writer(&mut bytes, sample)?;
            bytes.push(b'\n');
        }
        eval::write_whole(&path, bytes)?;
        self.samples = open_for_append(&path)?;
        Ok(())
    }

    /// Writes a checkpoint, whole or not at all, and removes those that are neither the last nor the best, nor the one before the last.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn checkpoint<S: Serialize>(
        &self,
        step: usize,
        reason: Reason,
        model: &Transformer,
        tokenizer: &Tokenizer,
        state: &TrainerState<S>,
        more: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        ranks::check_same("the weights", step, model::checksum(model))?;
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
            eval::write_checksums(&unfinished)?;
            remove_if_there(&finished)?;
            eval::rename_synced(&unfinished, &finished)?;
            // Files that a resumed run reads beside the checkpoint.
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
                    format!(
                        "{message}; free some space, and resume from the previous one with --resume {}",
                        self.dir.display()
                    )
                }
            }));
        }
        let index = index_after(previous, name, reason);
        eval::write_whole(&index_path, serde_json::to_vec_pretty(&index)?)?;
        self.remove_old_checkpoints(&index)?;
        Ok(finished)
    }

    fn remove_old_checkpoints(&self, index: &CheckpointIndex) -> Result<()> {
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
    /// Errors of the file system.
    pub fn write_evaluation(&self, reports: &[(&str, &Report)]) -> Result<()> {
        let named = |(name, report): &(&str, &Report)| Ok((name.to_string(), serde_json::to_value(report)?));
        let all = reports.iter().map(named).collect::<Result<Map<String, Value>>>()?;
        eval::write_whole(&self.dir.join("eval.json"), serde_json::to_vec_pretty(&all)?)
    }
}

/// Takes the lock of a run directory, for as long as a command works on it.
///
/// # Errors
/// If another process has it.
pub fn lock(dir: &Path) -> Result<Lock> {
    let busy = || format!("{} is in use by another process: wait for it to end, or stop it first", dir.display());
    Lock::try_lock(&dir.join(LOCK))?.with_context(busy)
}

/// Removes a run that was started and has no checkpoint.
///
/// # Errors
/// If another process works on it, or it cannot be removed.
pub fn remove_unstarted(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let _lock = lock(dir)?;
    fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))
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
