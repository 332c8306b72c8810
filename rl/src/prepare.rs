//! What commands need before they start: a run directory, a model to start from, problems to look at.

use crate::{
    adapters::Adapters,
    args::{DataArgs, EvalArgs, InitArgs, RunArgs},
    command::{Command, parse},
    lock::Lock,
    orm, pretrain,
    run::{self, BEFORE, Run, TrainerState, ensure_new, has_configuration},
    sft,
};
use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use clap::ValueEnum;
use data::{Benchmark, Problem, Prompting, Split, Tokenizer};
use eval::{Policy, RewardModel, encode_prompts, resolve_checkpoint};
use model::Transformer;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// The folder that holds the runs which commands make for themselves.
const RUNS: &str = "runs";

/// The name of a run without `--out`, under `runs/`.
fn default_dir(command: &str, benchmark: Benchmark) -> PathBuf {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    Path::new(RUNS).join(format!("{command}-{benchmark}-{seconds}"))
}

/// The first thing that a command does: refuses a run directory that was typed and exists; takes the lock of a run that is to go on,
/// which is held as long as the command works, and refuses one that another process has.
///
/// # Errors
/// As said.
pub fn claim(args: &RunArgs) -> Result<Option<Lock>> {
    match (&args.resume, &args.out) {
        (Some(dir), _) => run::lock(dir).map(Some),
        (None, Some(out)) => ensure_new(out).map(|()| None),
        (None, None) => Ok(None),
    }
}

/// Flags that say what the checkpoints of a run are made of, as keys of `config.toml`.
const FIXED: [&str; 7] = ["model", "vocabulary", "init", "base", "lora_rank", "lora_alpha", "lora_targets"];
/// Those of them that are paths: another path of the same model may be given, or where the model lies now.
const FIXED_PATHS: [&str; 2] = ["init", "base"];

/// Refuses, of a run that is to go on, flags that cannot be changed: those that its checkpoints are made of, and `more`.
///
/// # Errors
/// Naming the flag, and what the run was begun with.
pub fn check_fixed(args: &RunArgs, config: &impl Serialize, more: &[&str]) -> Result<()> {
    let Some(dir) = &args.resume else { return Ok(()) };
    let path = dir.join("config.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let begun: toml::Table = text.parse().with_context(|| format!("{} is malformed", path.display()))?;
    let now: toml::Table = toml::to_string(config).context("cannot write the configuration")?.parse()?;
    let has_adapters = begun.contains_key("lora_rank") || now.contains_key("lora_rank");
    for key in FIXED.iter().chain(more).filter(|key| has_adapters || !key.starts_with("lora_")) {
        let (begun, now) = (begun.get(*key), now.get(*key));
        let is_same = match (begun.and_then(toml::Value::as_str), now.and_then(toml::Value::as_str)) {
            (Some(begun), Some(now)) if FIXED_PATHS.contains(key) => means_the_same(Path::new(begun), Path::new(now)),
            _ => begun == now,
        };
        let flag = key.replace('_', "-");
        let with = |value: Option<&toml::Value>| match value {
            Some(toml::Value::String(text)) => format!("--{flag} {text}"),
            Some(value) => format!("--{flag} {value}"),
            None => format!("no --{flag}"),
        };
        ensure!(
            is_same,
            "{}: {} was begun with {}, and what it has made so far goes by that: leave it so, or begin another run with --out",
            with(now),
            dir.display(),
            with(begun)
        );
    }
    Ok(())
}

/// Whether a path that is given now means what a run was begun with, or may be where that has been moved to.
fn means_the_same(begun: &Path, now: &Path) -> bool {
    let place = |path: &Path| path.exists().then(|| resolve_checkpoint(path).ok()?.canonicalize().ok()).flatten();
    begun == now || place(begun).is_none_or(|begun| place(now) == Some(begun))
}

/// Refuses, of a run that is to go on, files to read that lie in its own directory: they change while it goes on.
///
/// # Errors
/// Naming the flag and the file.
pub fn check_inputs(args: &RunArgs, inputs: &[(&str, Option<&Path>)]) -> Result<()> {
    let Some(dir) = args.resume.as_ref().and_then(|dir| dir.canonicalize().ok()) else { return Ok(()) };
    for (flag, path) in inputs.iter().filter_map(|(flag, path)| Some((flag, path.as_ref()?))) {
        ensure!(
            !path.canonicalize().is_ok_and(|path| path.starts_with(&dir)),
            "--{flag} {} lies in the run that goes on, which writes there: give a copy of it",
            path.display()
        );
    }
    Ok(())
}

/// Loads the checkpoint that a run goes on from; the run stays as it is until it is [`open`]ed.
///
/// # Errors
/// If the directory is not a run with a whole checkpoint.
pub fn resume<S: DeserializeOwned>(
    args: &RunArgs,
    dir: &Path,
    adapters: Option<&Adapters>,
    device: &Device,
) -> Result<(Policy, TrainerState<S>)> {
    from_checkpoint(args, dir, |folder| {
        let (state, mut policy) = (run::read_state::<S>(folder)?, Policy::load(folder, device)?);
        if let Some(adapters) = adapters {
            policy.model = adapters.load(folder, device)?;
        }
        Ok((policy, state))
    })
}

/// Reads the checkpoint that a run goes on from, as [`run::from_checkpoint`].
///
/// # Errors
/// As that.
pub fn from_checkpoint<T>(args: &RunArgs, dir: &Path, read: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    run::from_checkpoint(dir, args.resume_from.as_deref(), read)
}

/// The last checkpoint of a part of a run, if it has one.
///
/// # Errors
/// If that is incomplete.
pub fn resume_part<S: DeserializeOwned>(
    dir: &Path,
    adapters: Option<&Adapters>,
    device: &Device,
) -> Result<Option<(Policy, TrainerState<S>)>> {
    if !dir.join("checkpoints/index.json").is_file() {
        return Ok(None);
    }
    let read = || -> Result<(Policy, TrainerState<S>)> {
        let folder = run::last_folder(dir)?;
        if let Some(adapters) = adapters {
            adapters.load(&folder, device)?;
        }
        Ok((Policy::load(&folder, device)?, run::read_state::<S>(&folder)?))
    };
    read()
        .map(Some)
        .with_context(|| format!("a part of the run cannot be used; remove {} to make it again", dir.display()))
}

/// Refuses a reference that a policy cannot have come from.
///
/// # Errors
/// If the two have other shapes or read other tokens.
pub fn check_same_kind(reference: &Policy, policy: &Policy) -> Result<()> {
    let shape = |policy: &Policy| {
        let config = &policy.model.config;
        let heads = [config.num_attention_heads, config.kv_heads(), config.head_width()];
        (config.vocab_size, config.hidden_size, config.intermediate_size, config.num_hidden_layers, heads)
    };
    ensure!(
        shape(reference) == shape(policy) && reference.tokenizer.to_json() == policy.tokenizer.to_json(),
        "--init has another shape or another tokenizer than the checkpoints of the run: give what it was begun with"
    );
    Ok(())
}

/// Refuses, of a run that is to go on, a table whose first row can neither be read nor be found out again.
///
/// # Errors
/// Naming what is missing or malformed.
pub fn check_before(
    args: &RunArgs,
    eval: &EvalArgs,
    command: &str,
    config: &impl Serialize,
    init: Option<&Path>,
) -> Result<()> {
    let Some(dir) = args.resume.as_ref().filter(|_| eval.test_problems > 0) else { return Ok(()) };
    let path = dir.join(BEFORE);
    match std::fs::read_to_string(&path).ok().filter(|_| has_configuration(dir, command, config).unwrap_or(false)) {
        Some(text) => {
            let malformed = || format!("{} is malformed: remove it, and it is made again", path.display());
            serde_json::from_str::<eval::Report>(&text).map(|_| ()).with_context(malformed)
        }
        None => init.map_or(Ok(()), |init| resolve_checkpoint(init).map(|_| ())),
    }
}

/// Makes the run directory, or opens the one of `--resume` to go on after `step`. The last of all preparations: what they
/// find wrong leaves nothing behind.
///
/// # Errors
/// If the directory exists, is no run, or cannot be written.
pub fn open(args: &RunArgs, command: &str, benchmark: Benchmark, config: &impl Serialize, step: usize) -> Result<Run> {
    let run = match (&args.resume, &args.out) {
        (Some(dir), _) => return go_on(Run::resume(dir, step)?, args, command, config),
        (None, Some(out)) => Run::create(out, command, config)?,
        (None, None) => Run::create_numbered(&default_dir(command, benchmark), command, config)?,
    };
    run.with_tensorboard(args.tensorboard)
}

/// A run that was opened to go on with, with the configuration that it has now.
///
/// # Errors
/// What the file system says.
pub fn go_on(run: Run, args: &RunArgs, command: &str, config: &impl Serialize) -> Result<Run> {
    run.keep_configuration(command, config)?;
    run.with_tensorboard(args.tensorboard)
}

/// The base model to fine-tune: `--init`, or one that is pretrained once for the benchmark, size and seed.
///
/// # Errors
/// An unusable `--init`, or what pretraining says.
pub fn base(init: &InitArgs, data: &DataArgs, run: &RunArgs, device: &Device) -> Result<PathBuf> {
    made_once(init, data, run, "base", device)
}

/// The SFT model to improve by RL: `--init`, or one that is fine-tuned once from the [`base()`].
///
/// # Errors
/// An unusable `--init`, or what SFT says.
pub fn sft(init: &InitArgs, data: &DataArgs, run: &RunArgs, device: &Device) -> Result<PathBuf> {
    made_once(init, data, run, "sft", device)
}

/// The [`base()`] to fine-tune and the [`sft()`] model to sample from, of a command that has both; the flags then name them.
///
/// # Errors
/// As those.
pub fn base_and_sft(
    base_flag: &mut Option<PathBuf>,
    init: &mut InitArgs,
    data: &DataArgs,
    run: &RunArgs,
    device: &Device,
) -> Result<(PathBuf, PathBuf)> {
    let base = base(&InitArgs { init: base_flag.clone(), model: init.model }, data, run, device)?;
    let sft = sft(init, data, run, device)?;
    (*base_flag, init.init) = (Some(base.clone()), Some(sft.clone()));
    Ok((base, sft))
}

/// The reward model of a run: `--orm`, or one that is trained once on samples of the [`sft()`] model.
///
/// # Errors
/// An `--init` without its reward model, or what training says.
pub fn orm(orm: &Option<PathBuf>, init: &InitArgs, data: &DataArgs, run: &RunArgs, device: &Device) -> Result<PathBuf> {
    ensure!(
        orm.is_some() || init.init.is_none(),
        "a policy that is given with --init needs a reward model that goes with it: train one by `rl orm --init` and give \
         it with --orm"
    );
    let init = InitArgs { init: orm.clone(), model: init.model };
    made_once(&init, data, run, "orm", device)
}

/// Loads a policy to train, or to sample from.
///
/// # Errors
/// As [`Policy::load`]; a policy that expects labels, which only an evaluation gives.
pub fn policy(path: &Path, device: &Device) -> Result<Policy> {
    let policy = Policy::load(path, device)?;
    ensure!(
        policy.conditioning.is_none(),
        "{} expects labels in what it writes (it was trained by `rl rcrl`), which this command does not give: start from \
         another policy",
        path.display()
    );
    Ok(policy)
}

/// Loads a reward model that is to judge a policy's tokens.
///
/// # Errors
/// What is no reward model, or reads other tokens than the policy writes.
pub fn reward_model(path: &Path, policy: &Policy, device: &Device) -> Result<RewardModel> {
    let reward_model = RewardModel::load(path, device)?;
    reads_like(
        policy,
        &reward_model.tokenizer,
        &reward_model.model.policy,
        &format!("the reward model {}", path.display()),
    )?;
    Ok(reward_model)
}

/// Loads a language model that is to say how likely a policy's tokens are to it.
///
/// # Errors
/// What is no policy, expects labels, or reads other tokens than the policy writes.
pub fn writer(path: &Path, policy: &Policy, device: &Device) -> Result<Transformer> {
    let writer = self::policy(path, device)?;
    reads_like(policy, &writer.tokenizer, &writer.model, &format!("the policy {}", path.display()))?;
    Ok(writer.model)
}

/// Whether a model can read all that a policy writes.
fn reads_like(policy: &Policy, tokenizer: &Tokenizer, model: &Transformer, who: &str) -> Result<()> {
    ensure!(
        tokenizer.to_json() == policy.tokenizer.to_json(),
        "{who} reads other tokens than the policy writes: train one on the policy's own model"
    );
    ensure!(
        model.config.max_position_embeddings >= policy.model.config.max_position_embeddings,
        "{who} has a shorter context than the policy"
    );
    Ok(())
}

/// Resolves `--init`, or makes `runs/KIND-BENCHMARK-SIZE-seedSEED` where it is not there yet. An earlier attempt
/// that was interrupted is resumed.
fn made_once(init: &InitArgs, data: &DataArgs, run: &RunArgs, kind: &str, device: &Device) -> Result<PathBuf> {
    if let Some(path) = &init.init {
        return resolve_checkpoint(path);
    }
    let dir = Path::new(RUNS).join(format!("{kind}-{}-{}-seed{}", data.benchmark, init.model, run.seed));
    let finished = dir.join("finished");
    let problems = fingerprint(data)?;
    let check = |made_for: &str| {
        ensure!(
            made_for == problems,
            "{} was made for other problems than `{}` has now: move it away, or name it with --init",
            dir.display(),
            data.benchmark
        );
        Ok(())
    };
    // Another process may be making it: then it is waited for, and used.
    let mut lock = if finished.is_file() { None } else { Some(claim_made(&dir)?) };
    if let Ok(made_for) = std::fs::read_to_string(&finished) {
        check(&made_for)?;
    } else {
        let command = if kind == "base" { "pretrain" } else { kind };
        let mut arguments: Vec<OsString> = vec!["rl".into(), command.into()];
        if dir.join("checkpoints/index.json").is_file() {
            arguments.extend(["--resume".into(), dir.clone().into()]);
        } else {
            run::remove_unstarted(&dir)?;
            arguments.extend(["--out".into(), dir.clone().into()]);
            arguments.extend(["--model".into(), init.model.to_string().into()]);
            arguments.extend(["--benchmark".into(), data.benchmark.to_string().into()]);
            arguments.extend(["--seed".into(), run.seed.to_string().into()]);
            let svamp_solutions = data.svamp_solutions.to_possible_value().expect("no value is skipped");
            arguments.extend(["--svamp-solutions".into(), svamp_solutions.get_name().into()]);
            if let Some(data_dir) = &data.data_dir {
                arguments.extend(["--data-dir".into(), data_dir.clone().into()]);
            }
            // The command that needs it has a table of its own.
            if kind == "sft" {
                arguments.extend(["--test-problems".into(), "0".into()]);
            }
        }
        if let Some(threads) = run.compute.threads {
            arguments.extend(["--threads".into(), threads.to_string().into()]);
        }
        if run.quiet {
            arguments.push("--quiet".into());
        }
        // One that was begun earlier has problems of its own.
        let is_of_these = |data: &DataArgs| check(&fingerprint(data)?);
        let made = match parse(arguments)? {
            Command::Pretrain(config) => is_of_these(&config.data).and_then(|()| pretrain::train(&config, device)),
            Command::Sft(config) => is_of_these(&config.data).and_then(|()| sft::train(&config, device)),
            Command::Orm(config) => is_of_these(&config.data).and_then(|()| orm::train(&config, device)),
            _ => unreachable!("{command} is one of these"),
        };
        let made = made.inspect_err(|_| {
            drop(lock.take());
            // Gone if nothing else lies there.
            let _ = std::fs::remove_dir(RUNS);
        });
        made.with_context(|| format!("cannot make the {kind} model {}", dir.display()))?;
        eval::write_whole(&finished, problems)?;
    }
    resolve_checkpoint(&dir)
}

/// Waits until no other process makes the model of a folder under `runs/`, and keeps others from it.
fn claim_made(dir: &Path) -> Result<Lock> {
    std::fs::create_dir_all(RUNS).with_context(|| format!("cannot make {RUNS}"))?;
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let what = format!("another process makes {}: waiting for it", dir.display());
    Lock::wait_for(&dir.with_file_name(format!(".{name}.lock")), &what)
}

/// Tells one set of training problems, all of them, from another.
fn fingerprint(data: &DataArgs) -> Result<String> {
    let problems = DataArgs { limit: None, extra: None, ..data.clone() }.load(Split::Train)?;
    let all = problems.iter().fold(0, |sum, problem| {
        crc32c::crc32c_append(crc32c::crc32c_append(sum, problem.question.as_bytes()), problem.solution.as_bytes())
    });
    Ok(format!("{} problems, CRC-32C {all:08x}\n", problems.len()))
}

/// Fails where a policy cannot be asked all that a run will ask it, the problems of the final table too.
///
/// # Errors
/// Missing data, a prompt that does not fit the model.
pub fn check_problems(
    policy: &Policy,
    data: &DataArgs,
    prompting: &Prompting,
    eval: &EvalArgs,
    splits: &[Split],
) -> Result<()> {
    let asked = splits.iter().filter(|&&split| split != Split::Test || eval.test_problems > 0);
    for &split in asked {
        let mut problems = data.load(split)?;
        match split {
            Split::Validation => problems.truncate(eval.eval_problems),
            Split::Test => problems.truncate(eval.test_problems),
            _ => {}
        }
        encode_prompts(policy, &problems, prompting)?;
    }
    Ok(())
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
