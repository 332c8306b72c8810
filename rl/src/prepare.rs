//! What commands need before they start: a run directory, a model to start from, problems to look at.

use crate::{
    args::{DataArgs, EvalArgs, InitArgs, RunArgs},
    command::{Command, parse},
    orm, pretrain,
    run::{Run, TrainerState, ensure_new, last_checkpoint},
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

/// Where a run goes: `--out`, or a name of its own under `runs/`.
fn run_dir(run: &RunArgs, command: &str, benchmark: Benchmark) -> PathBuf {
    let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    run.out.clone().unwrap_or_else(|| Path::new(RUNS).join(format!("{command}-{benchmark}-{}", seconds())))
}

/// A run directory that was typed is refused where it exists, before anything is made for it.
///
/// # Errors
/// If it exists.
pub fn check_out(run: &RunArgs) -> Result<()> {
    run.out.as_deref().map_or(Ok(()), ensure_new)
}

/// Loads the last checkpoint of a run, whose folder comes third; the run stays as it is until it is [`open`]ed.
///
/// # Errors
/// If the directory is not a run with a whole checkpoint.
pub fn resume<S: DeserializeOwned>(dir: &Path, device: &Device) -> Result<(Policy, TrainerState<S>, PathBuf)> {
    let (folder, state) = last_checkpoint::<S>(dir)?;
    Ok((Policy::load(&folder, device)?, state, folder))
}

/// Makes the run directory, or opens the one of `--resume` to go on after `step`. The last of all preparations: what they
/// find wrong leaves nothing behind.
///
/// # Errors
/// If the directory exists, is no run, or cannot be written.
pub fn open(args: &RunArgs, command: &str, benchmark: Benchmark, config: &impl Serialize, step: usize) -> Result<Run> {
    match &args.resume {
        Some(dir) => go_on(Run::resume(dir, step)?, args, command, config),
        None => Run::create(&run_dir(args, command, benchmark), command, config)?.with_tensorboard(args.tensorboard),
    }
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
    if let Ok(made_for) = std::fs::read_to_string(&finished) {
        check(&made_for)?;
    } else {
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
        made.with_context(|| format!("cannot make the {kind} model {}", dir.display()))?;
        std::fs::write(&finished, problems)?;
    }
    resolve_checkpoint(&dir)
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
