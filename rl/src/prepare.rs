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
use data::{AnswerFormat, Benchmark, Problem, PromptStyle, Prompting, Split, Tokenizer};
use eval::{Policy, RewardModel, encode_prompts, resolve_checkpoint};
use model::{Compute, ModelSize, Transformer};
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
    made_once(init, data, run, Kind::Base, device)
}

/// The SFT model to improve by RL: `--init`, or one that is fine-tuned once from the [`base()`].
///
/// # Errors
/// An unusable `--init`, or what SFT says.
pub fn sft(init: &InitArgs, data: &DataArgs, run: &RunArgs, device: &Device) -> Result<PathBuf> {
    made_once(init, data, run, Kind::Sft, device)
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
    made_once(&init, data, run, Kind::Orm, device)
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

/// Resolves `--init`, or makes the model in [`Plan::dir`] where it is not there yet. An earlier attempt that was interrupted is
/// resumed.
fn made_once(init: &InitArgs, data: &DataArgs, run: &RunArgs, kind: Kind, device: &Device) -> Result<PathBuf> {
    if let Some(path) = &init.init {
        return resolve_checkpoint(path);
    }
    let plan = Plan::of(kind, init.model, data, run)?;
    let finished = plan.dir.join("finished");
    // Another process may be making it: then it is waited for, and used.
    let mut lock = if finished.is_file() { None } else { Some(claim_made(&plan.dir)?) };
    if let Ok(made_for) = std::fs::read_to_string(&finished) {
        let (problems, from) = made_for.split_once('\n').unwrap_or((&made_for, ""));
        plan.check_problems(problems)?;
        plan.check_configuration()?;
        plan.check_made_from(from)?;
    } else {
        let mut arguments: Vec<OsString> = vec!["rl".into(), kind.command().into()];
        if plan.dir.join("checkpoints/index.json").is_file() {
            arguments.extend(["--resume".into(), plan.dir.clone().into()]);
        } else {
            run::remove_unstarted(&plan.dir)?;
            arguments.extend(["--out".into(), plan.dir.clone().into()]);
            arguments.extend(plan.flags.iter().cloned());
        }
        arguments.extend(costs(run));
        // One that was begun earlier has problems and a configuration of its own.
        let is_this = |data: &DataArgs| {
            plan.check_problems(&fingerprint(&kind.reads(data))?)?;
            plan.check_configuration()
        };
        let made = match parse(arguments)? {
            Command::Pretrain(config) => is_this(&config.data).and_then(|()| pretrain::train(&config, device)),
            Command::Sft(config) => is_this(&config.data).and_then(|()| sft::train(&config, device)),
            Command::Orm(config) => is_this(&config.data).and_then(|()| orm::train(&config, device)),
            _ => unreachable!("{} is one of these", kind.command()),
        };
        let made = made.inspect_err(|_| {
            drop(lock.take());
            // Gone if nothing else lies there.
            let _ = std::fs::remove_dir(RUNS);
        });
        made.with_context(|| format!("cannot make the {} model {}", kind.name(), plan.dir.display()))?;
        let from = plan.made_from()?.map(|(from, sum)| format!("from {}, CRC-32C {sum:08x}\n", from.display()));
        eval::write_whole(&finished, plan.problems.clone() + &from.unwrap_or_default())?;
    }
    resolve_checkpoint(&plan.dir)
}

/// Waits until no other process makes the model of a folder under `runs/`, and keeps others from it.
fn claim_made(dir: &Path) -> Result<Lock> {
    std::fs::create_dir_all(RUNS).with_context(|| format!("cannot make {RUNS}"))?;
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let what = format!("another process makes {}: waiting for it", dir.display());
    Lock::wait_for(&dir.with_file_name(format!(".{name}.lock")), &what)
}

/// What is made on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Base,
    Sft,
    Orm,
}

impl Kind {
    /// In the name of its folder.
    fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Sft => "sft",
            Self::Orm => "orm",
        }
    }

    /// The command that makes it.
    fn command(self) -> &'static str {
        match self {
            Self::Base => "pretrain",
            Self::Sft => "sft",
            Self::Orm => "orm",
        }
    }

    /// The problems that it is made of. The embedded benchmark's base reads a text of its own, and no problem is put to any base.
    fn reads(self, data: &DataArgs) -> DataArgs {
        let mut data = data.clone();
        if self == Self::Base {
            (data.prompt_style, data.answer_format) = (PromptStyle::Plain, AnswerFormat::Gsm8k);
            data.max_new_tokens = None;
            if data.benchmark == Benchmark::Synthetic {
                (data.limit, data.extra) = (None, None);
            }
        }
        data
    }
}

/// A model that is made on demand: what it is made of, which is what tells it from another, and where it lies.
struct Plan {
    /// `runs/KIND-BENCHMARK-SIZE-seedSEED`, and what differs from the defaults.
    dir: PathBuf,
    /// What it is made of, for the command that makes it.
    flags: Vec<OsString>,
    /// Tells its problems from others.
    problems: String,
    /// The entries of its `config.toml` that a command which needs it decides.
    asked: Vec<(&'static str, toml::Value)>,
}

impl Plan {
    fn of(kind: Kind, size: ModelSize, data: &DataArgs, run: &RunArgs) -> Result<Self> {
        let data = &kind.reads(data);
        let problems = fingerprint(data)?;
        let solutions = data.svamp_solutions.to_possible_value().expect("no value is skipped");
        let style = data.prompt_style.to_possible_value().expect("no value is skipped");
        let dtype = match run.compute.dtype {
            Compute::F32 => "f32",
            Compute::Bf16 => "bf16",
        };
        let mut name = format!("{}-{}-{size}-seed{}", kind.name(), data.benchmark, run.seed);
        if run.compute.dtype != Compute::default() {
            name += &format!("-{dtype}");
        }
        if data.prompt_style != PromptStyle::default() {
            name += &format!("-{}", style.get_name());
        }
        let usual = match data.prompt_style {
            PromptStyle::Plain => AnswerFormat::Gsm8k,
            PromptStyle::Chat => AnswerFormat::Auto,
        };
        let format = data.answer_format.to_string();
        match &data.answer_format {
            same if *same == usual => {}
            // A pattern may hold what no file name may.
            AnswerFormat::Regex(_) => name += &format!("-regex{:08x}", crc32c::crc32c(format.as_bytes())),
            _ => name += &format!("-{format}"),
        }
        if let Some(limit) = data.limit {
            name += &format!("-limit{limit}");
        }
        if let Some(tokens) = data.max_new_tokens {
            name += &format!("-tokens{tokens}");
        }
        if let Some(extra) = &data.extra {
            name += &format!("-extra{:08x}", checksum(&data::read_problems(extra)?));
        }
        let text = |text: &str| toml::Value::String(text.to_string());
        let number = |number: u64| toml::Value::Integer(number as i64);
        let mut asked = vec![
            ("model", text(&size.to_string())),
            ("benchmark", text(&data.benchmark.to_string())),
            ("seed", number(run.seed)),
            ("dtype", text(dtype)),
            ("svamp_solutions", text(solutions.get_name())),
            ("prompt_style", text(style.get_name())),
            ("answer_format", text(&format)),
        ];
        asked.extend(data.limit.map(|limit| ("limit", number(limit as u64))));
        asked.extend(data.max_new_tokens.map(|tokens| ("max_new_tokens", number(tokens as u64))));
        let flag = |(key, value): &(&str, toml::Value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
            OsString::from(format!("--{}={value}", key.replace('_', "-")))
        };
        // No problem is put to a base, and what is typed in vain is a warning.
        let is_flag =
            |(key, _): &&(&str, toml::Value)| kind != Kind::Base || !matches!(*key, "prompt_style" | "answer_format");
        let mut flags: Vec<OsString> = asked.iter().filter(is_flag).map(flag).collect();
        for (name, path) in [("--data-dir", &data.data_dir), ("--extra", &data.extra)] {
            if let Some(path) = path {
                flags.extend([name.into(), path.clone().into()]);
            }
        }
        // The command that needs it has a table of its own.
        if kind == Kind::Sft {
            flags.extend(["--test-problems".into(), "0".into()]);
        }
        Ok(Self { dir: Path::new(RUNS).join(name), flags, problems, asked })
    }

    /// Refuses a model of other problems.
    fn check_problems(&self, made_for: &str) -> Result<()> {
        let (made_for, problems) = (made_for.trim(), self.problems.trim());
        ensure!(
            made_for == problems,
            "{} was made for other problems ({made_for}) than this command has now ({problems}): move it away, or name it with --init",
            self.dir.display()
        );
        Ok(())
    }

    /// The model that this one was made from, a base or an SFT, and a checksum of its weights, where they are still there.
    fn made_from(&self) -> Result<Option<(PathBuf, u32)>> {
        let text = std::fs::read_to_string(self.dir.join("config.toml")).unwrap_or_default();
        let made: toml::Table = text.parse().unwrap_or_default();
        let Some(from) = made.get("init").and_then(toml::Value::as_str).map(PathBuf::from) else { return Ok(None) };
        let weights = from.join("model.safetensors");
        if !weights.is_file() {
            return Ok(None);
        }
        let bytes = std::fs::read(&weights).with_context(|| format!("cannot read {}", weights.display()))?;
        Ok(Some((from, crc32c::crc32c(&bytes))))
    }

    /// Refuses a model that was made from another one than what stands in its place now; earlier versions have not written which.
    fn check_made_from(&self, written: &str) -> Result<()> {
        let Some((from, sum)) = self.made_from()?.filter(|_| !written.is_empty()) else { return Ok(()) };
        ensure!(
            written.trim().ends_with(&format!("{sum:08x}")),
            "{} was made from {} as it was before (CRC-32C {}; now {sum:08x}): move it away, or name it with --init",
            self.dir.display(),
            from.display(),
            written.trim().rsplit(' ').next().unwrap_or_default()
        );
        Ok(())
    }

    /// Refuses a model that was made with another configuration than its folder's name says.
    fn check_configuration(&self) -> Result<()> {
        let Ok(text) = std::fs::read_to_string(self.dir.join("config.toml")) else { return Ok(()) };
        let Ok(made) = text.parse::<toml::Table>() else { return Ok(()) };
        for (key, asked) in &self.asked {
            let found = made.get(*key);
            ensure!(
                found.is_none_or(|found| found == asked),
                "{} was made with {key} = {}, and this command asks for {asked}: move it away, or name it with --init",
                self.dir.display(),
                found.unwrap_or(asked)
            );
        }
        Ok(())
    }
}

/// Flags that change what a model costs to make, and nothing of what it is.
fn costs(run: &RunArgs) -> Vec<OsString> {
    let mut flags: Vec<OsString> = Vec::new();
    if let Some(threads) = run.compute.threads {
        flags.extend(["--threads".into(), threads.to_string().into()]);
    }
    flags.extend(run.compute.gradient_checkpointing.then(|| "--gradient-checkpointing".into()));
    flags.extend(run.quiet.then(|| "--quiet".into()));
    flags
}

/// Tells one set of training problems from another.
fn fingerprint(data: &DataArgs) -> Result<String> {
    let problems = data.load(Split::Train)?;
    Ok(format!("{} problems, CRC-32C {:08x}\n", problems.len(), checksum(&problems)))
}

fn checksum(problems: &[Problem]) -> u32 {
    problems.iter().fold(0, |sum, problem| {
        crc32c::crc32c_append(crc32c::crc32c_append(sum, problem.question.as_bytes()), problem.solution.as_bytes())
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/tests/fixtures");

    /// What a command makes for itself, and the configuration that it is made with.
    fn made(kind: Kind, line: &[&str]) -> (String, RunArgs, DataArgs) {
        let arguments = |line: &[&str]| line.iter().map(OsString::from).collect::<Vec<_>>();
        let Command::Ppo(asking) = parse(arguments(&[&["rl", "ppo"], line].concat())).unwrap() else { unreachable!() };
        let plan = Plan::of(kind, asking.init.model, &asking.data, &asking.run).unwrap();
        let flags = [arguments(&["rl", kind.command()]), plan.flags, costs(&asking.run)].concat();
        let (run, data) = match parse(flags).unwrap() {
            Command::Pretrain(config) => (config.run, config.data),
            Command::Sft(config) => (config.run, config.data),
            Command::Orm(config) => (config.run, config.data),
            _ => unreachable!("nothing else is made"),
        };
        assert_eq!(fingerprint(&kind.reads(&data)).unwrap(), plan.problems);
        (plan.dir.display().to_string(), run, data)
    }

    #[test]
    fn what_is_made_by_default_has_the_name_of_its_size_and_seed_and_nothing_else() {
        for (kind, name) in [(Kind::Base, "base"), (Kind::Sft, "sft"), (Kind::Orm, "orm")] {
            let (dir, run, data) = made(kind, &["--seed=3", "--threads=1", "--micro-batch=2"]);
            assert_eq!(dir, format!("runs/{name}-synthetic-tiny-seed3"));
            assert_eq!((run.compute.dtype, run.compute.threads, run.seed), (Compute::F32, Some(1), 3));
            assert_eq!((data.limit, data.extra, run.compute.gradient_checkpointing), (None, None, false));
        }
    }

    #[test]
    fn what_a_model_is_made_of_is_passed_on_and_tells_it_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let extra = |name: &str, question: &str| {
            let line = serde_json::json!({"question": question, "answer": "1+1 = <<1+1=2>>2\n#### 2"});
            std::fs::write(folder.path().join(name), format!("{line}\n")).unwrap();
            format!("--extra={}", folder.path().join(name).display())
        };
        let (one, other) = (extra("one.jsonl", "One and one?"), extra("other.jsonl", "And one?"));
        let flags = ["--dtype=bf16", "--limit=100", &one, "--gradient-checkpointing"];
        let mut names = Vec::new();
        for kind in [Kind::Sft, Kind::Orm] {
            let (dir, run, data) = made(kind, &flags);
            assert_eq!((run.compute.dtype, run.compute.gradient_checkpointing), (Compute::Bf16, true));
            assert_eq!((data.limit, data.extra), (Some(100), Some(folder.path().join("one.jsonl"))));
            assert!(dir.contains("-seed0-bf16-limit100-extra"), "{dir}");
            names.push(dir);
        }
        for flags in [
            &[][..],
            &["--answer-format=boxed"],
            &["--answer-format=regex:a/b"],
            &["--max-new-tokens=64"],
            &["--dtype=bf16"],
            &["--limit=100"],
            &[&one],
            &[&other],
            &["--limit=99"],
        ] {
            names.push(made(Kind::Sft, flags).0);
        }
        let different: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
        // What costs less or more is the same model.
        assert_eq!(made(Kind::Sft, &["--gradient-checkpointing"]).0, made(Kind::Sft, &[]).0);
    }

    #[test]
    fn a_base_is_told_apart_by_the_problems_that_it_reads() {
        let (dir, run, data) = made(Kind::Base, &["--dtype=bf16", "--limit=100", "--max-new-tokens=64"]);
        assert_eq!((dir.as_str(), data.limit), ("runs/base-synthetic-tiny-seed0-bf16", None), "it reads no problems");
        assert_eq!(run.compute.dtype, Compute::Bf16);
        let data_dir = format!("--data-dir={FIXTURES}");
        let (dir, _, data) = made(Kind::Base, &["--benchmark=svamp", &data_dir, "--limit=3"]);
        assert_eq!((dir.as_str(), data.limit), ("runs/base-svamp-tiny-seed0-limit3", Some(3)));
    }
}
