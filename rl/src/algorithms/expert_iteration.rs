//! Expert Iteration (Havrilla et al. 2024, section on Expert Iteration; Anthony et al. 2017): sample, keep correct
//! solutions, and fine-tune the *base* model again on all kept solutions.
//!
//! Round i samples K solutions of every training question from the policy of round i - 1, keeps the correct ones
//! without duplicates, D_i = R_i ∪ D_{i-1}, and fine-tunes on D_i with the supervised loop. With SFT data, round 1
//! samples from the SFT model and D_0 is the reference solutions. Without it, round 1 samples from the base model with
//! a few-shot prompt, which no later round uses, and D_0 is empty. Where we deviate from the paper: a round ends after
//! a fixed number of epochs and its last checkpoint is taken, and K is 4 by default. The starting model counts as round
//! 0 on validation, and is the best checkpoint if no round is better. A run ends early after `--patience` rounds in a
//! row that gain no more than `--margin` over the best.

mod config;
mod pool;

use crate::{
    algorithms::final_table::FinalTable,
    algorithms::rounds::{self, Source, checkpoint, part_of_round},
    algorithms::sft::{fit_with_validation, fitting},
    algorithms::start::{self, check_prompts},
    run,
    run::metrics::Metrics,
    run::read::json_lines,
    run::stops_after,
    run::{Reason, Run, checkpoint_name, last_folder},
    sampling::from_samples::Rounds,
    sampling::problems::Problems,
    sampling::samples::SamplingPhase,
    training::resume,
    training::supervised::{FitContext, FitNumbers},
    view::html::write_final_report,
    view::progress::sparkline,
};
use anyhow::{Context, Result, ensure};
use data::{Problem, Prompting};
use eval::{Policy, Sample, greedy_accuracy, parts::Part};
use model::{Device, Finish};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Instant,
};

use pool::{Filter, Pool, RoundStats, Solved};

pub use config::{EiConfig, ResetTo, Start, check, dry_run, lock_run};

/// The numbers that a resumed run continues with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct EiNumbers {
    round: usize,
    /// Validation maj@1 of the best checkpoint, the starting model included.
    best: Option<f64>,
    /// Number of consecutive last rounds that did not gain `--margin` over the best before them.
    rounds_since_best: usize,
    /// Validation maj@1 of the starting model.
    #[serde(default)]
    start: Option<f64>,
    /// Validation maj@1 after the last round.
    #[serde(default)]
    last: Option<f64>,
}

/// Trains, evaluates before and after on the test split, and leaves a run directory; its path.
///
/// # Errors
/// A `base` or `init` that cannot be used, a full disk, an interrupt, a policy without a correct
/// sample.
pub fn train(config: &EiConfig, base: &Path, init: &Path, problems: &Problems, device: &Device) -> Result<PathBuf> {
    let Setup { config, initial, mut policy, mut run, mut numbers } = set_up(config, base, init, problems, device)?;
    let (train, validation) = (problems.train()?, problems.validation(config.eval.eval_problems)?);
    let (first_prompting, prompting) = (config.first_prompting()?, config.data.prompting(0)?);
    let table = FinalTable { problems, eval: &config.eval, run_args: &config.run, device };
    let initial_report = table.evaluate_initial(&mut run, || Ok(initial.clone()), &first_prompting)?;
    let validate = |policy: &Policy, prompting: &Prompting| -> Result<f64> {
        let sampling = config.run.compute.sampling(&config.data, prompting.clone(), 1, 0.0, device);
        Ok(greedy_accuracy(policy, validation, &sampling)?.0)
    };
    if numbers.round == 0 {
        let accuracy = validate(&initial, &first_prompting).map_err(|error| run.with_resume(error))?;
        numbers = EiNumbers { start: Some(accuracy), best: Some(accuracy), ..numbers };
        if !config.run.quiet {
            eprintln!("ei start  validation maj@1 {accuracy:.3}");
        }
    }
    let filter = Filter::of(&config, device)?;
    let mut pool = Pool::new(train, config.start, config.deduplicate);
    let Written { earlier: mut sampled, mut solved, mut this_round } = refill(&mut pool, &filter, &run, numbers.round)?;
    let mut curve = Vec::new();
    while numbers.round < config.rounds && numbers.rounds_since_best < config.patience {
        let round = numbers.round + 1;
        let mut metrics = Metrics::for_step(round);
        let sampling_prompt = if round == 1 { &first_prompting } else { &prompting };
        let written = std::mem::take(&mut this_round);
        let questions = config.questions(train, round, &solved);
        let samples = sample(&policy, &questions, round, sampling_prompt, written, &config, &mut run, &mut metrics)?;
        sampled += samples.len();
        solved.extend(solved_by(&samples));
        metrics.put_count("samples", sampled);
        let stats = add_to_pool(&samples, &filter, &mut pool, round, &config)?;
        stats.write(&mut metrics);
        let (from, path) = match config.reset_to {
            ResetTo::Base => (start::policy(base, device)?, base.to_path_buf()),
            ResetTo::Last => (policy, last_folder(run.dir())?),
        };
        policy = fine_tune((from, &path), &pool.solved, validation, round, &config, &run, device, &mut metrics)
            .inspect_err(|_| run.save_cpu_seconds())?;
        let accuracy = validate(&policy, &prompting).map_err(|error| run.with_resume(error))?;
        metrics.put("validation/maj@1", accuracy);
        curve.push(accuracy);
        let is_best = numbers.best.is_none_or(|best| accuracy > best);
        numbers = numbers.after(round, accuracy, config.margin);
        numbers.write(&mut metrics);
        if !config.run.quiet {
            eprintln!("{}", line(round, sampled, &stats, &curve));
        }
        run.log(&metrics)?;
        checkpoint(&run, &policy, Reason::of(true, is_best), round, numbers)?;
        if stops_after(&config.run, round) && round < config.rounds {
            return Err(run.interruption());
        }
    }
    let of_best =
        if report_best(&run, &numbers, &first_prompting, config.run.quiet)? { &first_prompting } else { &prompting };
    table.evaluate_best_and_last(&run, initial_report.as_ref(), of_best, &prompting)?;
    Ok(write_final_report::<EiConfig>(&run))
}

/// The samples that a resumed run has written.
struct Written {
    /// Number of those of earlier rounds.
    earlier: usize,
    /// The questions that those have solved.
    solved: BTreeSet<String>,
    /// Those of the round that was interrupted.
    this_round: Vec<Sample>,
}

/// Adds the kept samples of earlier rounds to the pool, and returns what the run has written.
fn refill(pool: &mut Pool<'_>, filter: &Filter, run: &Run, rounds: usize) -> Result<Written> {
    let written = eval::read_samples(&run.dir().join("samples.jsonl"))?;
    let (earlier, this_round): (Vec<Sample>, Vec<Sample>) =
        written.into_iter().partition(|sample| sample.step.is_some_and(|round| round <= rounds));
    // Round by round, as they were scored: a score depends on its batch by rounding.
    for round in earlier.chunk_by(|a, b| a.step == b.step) {
        for sample in filter.accepted(round)? {
            pool.add(sample);
        }
    }
    Ok(Written { earlier: earlier.len(), solved: solved_by(&earlier).collect(), this_round })
}

/// The questions with a correct sample.
fn solved_by(samples: &[Sample]) -> impl Iterator<Item = String> {
    samples.iter().filter(|sample| sample.correct).map(|sample| sample.id.clone())
}

/// The samples of a round: those that are written, and those that are missing; in round 1 from `--from-samples` if it is given.
#[allow(clippy::too_many_arguments, reason = "one of them is an output")]
fn sample(
    policy: &Policy,
    problems: &[Problem],
    round: usize,
    prompting: &Prompting,
    written: Vec<Sample>,
    config: &EiConfig,
    run: &mut Run,
    metrics: &mut Metrics,
) -> Result<Vec<Sample>> {
    if let (Some(file), true) = (&config.source.from_samples, config.source.round()? == Some(round)) {
        let grading = (&config.data.answer_format(), config.run.compute.checker.as_ref());
        return config.source.take(file, problems, grading, (Rounds::First, round), written, run);
    }
    let sampling = &config.sampling(prompting, policy);
    let (seed, quiet, label) = (config.run.seed, config.run.quiet, &format!("ei round {round}"));
    SamplingPhase { problems, sampling, step: round, seed, label, quiet }.sample(policy, written, run, metrics)
}

/// Makes the part of the samples of a round that `--part` names: of round 1, or with `--resume` of the round after the last checkpoint of
/// that run, which is only read.
///
/// # Errors
/// As [`train`], and of a part of other work in its place.
pub fn make_part(config: &EiConfig, part: Part, init: &Path, problems: &Problems, device: &Device) -> Result<()> {
    let mut config = config.clone();
    config.run.compute.checker = config.checker.start(config.data.benchmark())?;
    let train = problems.train()?;
    let (policy, round, prompting, questions) = match &config.run.resume {
        None => {
            ensure!(
                !config.source.is_given(),
                "--part {part} has nothing to sample: --from-samples gives the samples of round 1; --resume samples those of a later one"
            );
            (start::policy(init, device)?, 1, config.first_prompting()?, Cow::Borrowed(train))
        }
        Some(dir) => {
            let (policy, state) = resume::load_checkpoint::<EiNumbers>(&config.run, dir, None, device)?;
            let round = state.numbers.round + 1;
            let prompting = if round == 1 { config.first_prompting()? } else { config.data.prompting(0)? };
            let solved = solved_before(dir, round, &config)?;
            (policy, round, prompting, config.questions(train, round, &solved))
        }
    };
    let sampling = &config.sampling(&prompting, &policy);
    let (seed, quiet, label) = (config.run.seed, config.run.quiet, &format!("ei round {round}"));
    let phase = SamplingPhase { problems: &questions, sampling, step: round, seed, label, quiet };
    phase.sample_part(&policy, part, &config.source.share.parts)
}

/// The questions that rounds before this one have solved, if the round depends on them.
fn solved_before(dir: &Path, round: usize, config: &EiConfig) -> Result<BTreeSet<String>> {
    let mut solved = BTreeSet::new();
    if config.unsolved_samples.is_some() {
        // The last line may be cut.
        json_lines(&dir.join("samples.jsonl"), |_, sample: Sample| {
            if sample.correct && sample.step.is_some_and(|step| step < round) {
                solved.insert(sample.id);
            }
            Ok(())
        })?;
    }
    Ok(solved)
}

/// Adds the samples of a round that pass the filter to the pool.
///
/// # Errors
/// If the pool is empty then.
fn add_to_pool(
    samples: &[Sample],
    filter: &Filter,
    pool: &mut Pool<'_>,
    round: usize,
    config: &EiConfig,
) -> Result<RoundStats> {
    let passed = filter.accepted(samples)?;
    let kept = passed.iter().filter(|sample| pool.add(sample)).count();
    ensure!(!pool.solved.is_empty(), "there is nothing to train on: {}", explain_empty_round(samples, config));
    if passed.is_empty() {
        tracing::warn!("round {round} adds nothing: {}", explain_empty_round(samples, config));
    }
    Ok(RoundStats::new(samples, passed.len(), kept, pool.solved.len()))
}

/// Whether no round was better on validation than the starting model; prints the best and the last maj@1.
fn report_best(run: &Run, numbers: &EiNumbers, first_prompting: &Prompting, quiet: bool) -> Result<bool> {
    let best = eval::read_index(&run.dir().join("checkpoints/index.json"))?.best;
    let start_is_best = best == checkpoint_name(0);
    if start_is_best && numbers.round > 0 {
        tracing::warn!(
            "no round is better on validation than the starting model: the best checkpoint is the starting model{}",
            if first_prompting.shots.is_empty() { "" } else { ", prompted with --shots solved problems" }
        );
    }
    if let (false, Some(of_best), Some(of_last)) = (quiet, numbers.best, numbers.last) {
        eprintln!("ei validation maj@1: best {of_best:.3} ({best}), last {of_last:.3} (round {})", numbers.round);
    }
    Ok(start_is_best)
}

impl EiNumbers {
    /// After a round whose policy has this validation maj@1.
    fn after(self, round: usize, accuracy: f64, margin: f64) -> Self {
        let gains = self.best.is_none_or(|best| accuracy > best + margin);
        Self {
            round,
            best: Some(self.best.map_or(accuracy, |best| best.max(accuracy))),
            rounds_since_best: if gains { 0 } else { self.rounds_since_best + 1 },
            last: Some(accuracy),
            ..self
        }
    }

    /// Adds the scores of the starting model and of the best checkpoint to the metrics of a round.
    fn write(&self, metrics: &mut Metrics) {
        for (name, value) in [("validation/start", self.start), ("validation/best", self.best)] {
            if let Some(value) = value {
                metrics.put(name, value);
            }
        }
    }
}

struct Setup {
    config: EiConfig,
    /// The starting model, from which round 1 samples.
    initial: Policy,
    /// The policy that the next round samples from.
    policy: Policy,
    run: Run,
    numbers: EiNumbers,
}

/// Sets up a new run or a resumed one.
fn set_up(config: &EiConfig, base: &Path, init: &Path, problems: &Problems, device: &Device) -> Result<Setup> {
    let mut config = EiConfig { init: config.init.resolved(init), ..config.clone() };
    config.base = Some(base.to_path_buf());
    config.run.compute.checker = config.checker.start(config.data.benchmark())?;
    let initial = start::policy(init, device)?;
    let train = problems.train()?;
    let problem_sets =
        [train, problems.validation(config.eval.eval_problems)?, problems.test(config.eval.test_problems)?];
    check_prompts(&initial, &problem_sets, &config.first_prompting()?)?;
    if config.reset_to == ResetTo::Base && base != init {
        check_prompts(&start::policy(base, device)?, &problem_sets, &config.data.prompting(0)?)?;
    }
    let Some(dir) = &config.run.resume else {
        let run = run::start::create_or_resume(&config.run, "ei", &config.data, &config, 0)?;
        checkpoint(&run, &initial, Reason::Evaluated, 0, EiNumbers::default())?;
        return Ok(Setup { policy: initial.clone(), initial, run, numbers: EiNumbers::default(), config });
    };
    let (policy, state) = resume::load_checkpoint::<EiNumbers>(&config.run, dir, None, device)?;
    let round = state.numbers.round;
    let from = match config.reset_to {
        ResetTo::Base => base.to_path_buf(),
        ResetTo::Last => dir.join("checkpoints").join(checkpoint_name(round)),
    };
    let under_way = dir.join(part_of_round(round + 1));
    resume::load_checkpoint_of_part::<FitNumbers>(&under_way, config.lora.on(&from).as_ref(), device)?;
    run::start::check_initial_report(&config.run, &config.eval, "ei", &config, None)?;
    let solved = solved_before(dir, round + 1, &config)?;
    let questions = config.questions(train, round + 1, &solved);
    let is_copied = config.source.round()? == Some(round + 1);
    let source = Source { train: &questions, samples: config.samples, is_copied };
    let run = rounds::resume("ei", &config.run, &config, dir, round, source)?;
    Ok(Setup { initial, policy, run, numbers: state.numbers, config })
}

/// Why no sample of a round was kept, and what to do.
fn explain_empty_round(samples: &[Sample], config: &EiConfig) -> String {
    let all = samples.len();
    let right = samples.iter().filter(|sample| sample.correct).count();
    let whole = samples.iter().filter(|sample| sample.correct && sample.finish == Finish::Stop).count();
    match (right, whole) {
        (0, _) if config.start == Start::Base => {
            format!("none of {all} samples is correct; raise --samples or change --shots")
        }
        (0, _) => format!("none of {all} samples is correct; raise --samples"),
        (_, 0) => {
            format!("{right} of {all} samples are correct, and all of these are truncated; raise --max-new-tokens")
        }
        _ if config.orm.is_none() => {
            format!(
                "{right} of {all} samples are correct, and all of these have a false calculation: see --require-calculations"
            )
        }
        _ => format!(
            "{right} of {all} samples are correct, and the reward model of --orm accepts none of these; lower --orm-threshold {}",
            config.orm_threshold
        ),
    }
}

/// Fine-tunes on D_i, in a nested run.
#[allow(clippy::too_many_arguments, reason = "one of them is an output")]
fn fine_tune(
    (from, path): (Policy, &Path),
    solved: &[Solved],
    validation: &[Problem],
    round: usize,
    config: &EiConfig,
    run: &Run,
    device: &Device,
    metrics: &mut Metrics,
) -> Result<Policy> {
    let started = Instant::now();
    let format = config.data.prompt_format();
    let examples = fitting(&from, solved, |solved| solved.example(&from.tokenizer, &format))?;
    let name = part_of_round(round);
    let (policy, resumed) = match resume::load_checkpoint_of_part::<FitNumbers>(&run.dir().join(&name), None, device)? {
        Some((policy, state)) => (policy, Some(state)),
        None => (from, None),
    };
    let step = resumed.as_ref().map_or(0, |state| state.numbers.step);
    let mut part = run.part(&name, "ei", config, step).with_context(|| format!("round {round}"))?;
    let label = format!("ei round {round}");
    let context = FitContext {
        args: &config.fit,
        run_args: &config.run,
        device,
        evaluate_every: config.eval.eval_every,
        label: &label,
        conditioning: None,
        adapters: config.lora.on(path),
        sampled: None,
    };
    let policy = fit_with_validation(policy, &examples, validation, &config.data, &context, &mut part, resumed)?;
    write_final_report::<EiConfig>(&part);
    metrics.put("time/fit_s", started.elapsed().as_secs_f64());
    metrics.put_memory(device);
    Ok(policy)
}

fn line(round: usize, sampled: usize, stats: &RoundStats, curve: &[f64]) -> String {
    format!(
        "ei round {round}  samples {sampled}  correct {:.3} kept {} examples {} unsolved questions {:.3} validation maj@1 {:.3}  {}",
        stats.accuracy,
        stats.kept,
        stats.examples,
        stats.diversity.unsolved,
        curve.last().unwrap_or(&f64::NAN),
        sparkline(curve)
    )
}

#[cfg(test)]
mod tests;
