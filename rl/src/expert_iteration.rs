//! Expert Iteration (Havrilla et al. 2024, section on Expert Iteration; Anthony et al. 2017): sample, keep what is right,
//! and fine-tune the *base* again on all that was ever kept.
//!
//! Round i samples K solutions of every training question from the policy of round i - 1, keeps the right ones without
//! duplicates, D_i = R_i ∪ D_{i-1}, and learns D_i by the one supervised loop. With SFT data, round 1 samples from the SFT
//! model and D_0 is the reference solutions. Without, round 1 samples from the base after a few solved problems, which no
//! later prompt shows, and D_0 is empty. Where we deviate from the paper: a round ends after a fixed number of epochs and
//! its last checkpoint is taken, and K is 4 unless asked for more. What round 1 samples from is round 0 on validation, and the best
//! checkpoint where no round is better; a run ends early after `--patience` rounds in a row that gain no more than `--margin` over the best.

mod config;

use crate::{
    args::InitArgs,
    harvest::{self, Deduplicate, Distinct, Harvest, Rounds},
    metrics::Metrics,
    prepare,
    progress::sparkline,
    run::{Blocks, Reason, Run, TrainerState, checkpoint_name, finish, last_folder},
    sft::{examples, fit_with_looks},
    supervised::{FitContext, FitNumbers},
    table::FinalTable,
};
use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use data::{Problem, Prompting, Split, calculations_hold, own_part};
use eval::{Diversity, Policy, RewardModel, Sample, SampleConfig, greedy_accuracy};
use model::Finish;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

pub use config::{DEFAULTS, EiConfig, ResetTo, Start};

/// The numbers that a resumed run goes on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct EiNumbers {
    round: usize,
    /// Validation maj@1 of the best checkpoint, what round 1 samples from among them.
    best: Option<f64>,
    /// Rounds in a row, up to the last one, that did not gain `--margin` over the best before them.
    rounds_since_best: usize,
    /// Validation maj@1 of what round 1 samples from.
    #[serde(default)]
    start: Option<f64>,
    /// Validation maj@1 after the last round.
    #[serde(default)]
    last: Option<f64>,
}

/// Trains, evaluates before and after on the test split, and leaves a run directory; its path.
///
/// # Errors
/// Missing data, an unusable `--init` or `--base`, contradictory flags, a full disk, an interrupt, a policy that is never
/// right.
pub fn train(config: &EiConfig, device: &Device) -> Result<PathBuf> {
    config::check(config, device)?;
    if config.run.dry_run {
        return config::dry_run(config, device);
    }
    let _lock = prepare::claim(&config.run)?;
    let Setup { config, base, initial, mut policy, mut run, mut numbers } = set_up(config, device)?;
    let problems = config.data.load(Split::Train)?;
    let validation = prepare::validation(&config.data, config.eval.eval_problems)?;
    let (first_prompting, prompting) = (config.first_prompting()?, config.data.prompting(0)?);
    let table = FinalTable { data: &config.data, eval: &config.eval, run_args: &config.run, device };
    let before = table.before(&mut run, || Ok(initial.clone()), &first_prompting)?;
    let validate = |policy: &Policy, prompting: &Prompting| -> Result<f64> {
        let sampling = config.run.compute.sampling(&config.data, prompting.clone(), 1, 0.0, device);
        Ok(greedy_accuracy(policy, &validation, &sampling)?.0)
    };
    if numbers.round == 0 {
        let accuracy = validate(&initial, &first_prompting)?;
        numbers = EiNumbers { start: Some(accuracy), best: Some(accuracy), ..numbers };
        if !config.run.quiet {
            eprintln!("ei start  validation maj@1 {accuracy:.3}");
        }
    }
    let filter = Filter::of(&config, device)?;
    let mut pool = Pool::new(&problems, config.start, config.deduplicate);
    let written = eval::read_samples(&run.dir().join("samples.jsonl"))?;
    let (earlier, mut this_round): (Vec<Sample>, Vec<Sample>) =
        written.into_iter().partition(|sample| sample.step.is_some_and(|round| round <= numbers.round));
    // Round by round, as they were judged: a judgement depends on its batch by rounding.
    for round in earlier.chunk_by(|a, b| a.step == b.step) {
        for sample in filter.passed(round)? {
            pool.keep(sample);
        }
    }
    let mut sampled = earlier.len();
    let mut curve = Vec::new();
    while numbers.round < config.rounds && numbers.rounds_since_best < config.patience {
        let round = numbers.round + 1;
        let mut metrics = Metrics::of_step(round);
        let asked = if round == 1 { &first_prompting } else { &prompting };
        let sampling =
            config.run.compute.sampling(&config.data, asked.clone(), config.samples, config.temperature, device);
        let label = format!("ei round {round}");
        let had = std::mem::take(&mut this_round);
        let samples = match &config.foreign.from_samples {
            Some(file) if round == 1 => {
                config.foreign.take(file, &problems, &config.data.answer_format, Rounds::First, had, &mut run)?
            }
            _ => {
                let (problems, sampling, label) = (&problems, &sampling, &label);
                let (seed, quiet) = (config.run.seed, config.run.quiet);
                let harvest = Harvest { problems, sampling, step: round, seed, label, quiet };
                harvest.gather(&policy, had, &mut run, &mut metrics)?
            }
        };
        sampled += samples.len();
        metrics.put_count("samples", sampled);
        let passed = filter.passed(&samples)?;
        let kept = passed.iter().filter(|sample| pool.keep(sample)).count();
        describe(&samples, passed.len(), kept, &pool, &mut metrics);
        ensure!(!pool.solved.is_empty(), "there is nothing to learn from: {}", fate(&samples, &config));
        if passed.is_empty() {
            tracing::warn!("round {round} adds nothing: {}", fate(&samples, &config));
        }
        let (from, path) = match config.reset_to {
            ResetTo::Base => (prepare::policy(&base, device)?, base.clone()),
            ResetTo::Last => (policy, last_folder(run.dir())?),
        };
        policy = learn((from, &path), &pool.solved, &validation, round, &config, &run, device, &mut metrics)
            .inspect_err(|_| run.keep_spent())?;
        let accuracy = validate(&policy, &prompting)?;
        metrics.put("validation/maj@1", accuracy);
        curve.push(accuracy);
        let is_best = numbers.best.is_none_or(|best| accuracy > best);
        numbers = numbers.after(round, accuracy, config.margin);
        for (name, value) in [("validation/start", numbers.start), ("validation/best", numbers.best)] {
            if let Some(value) = value {
                metrics.put(name, value);
            }
        }
        if !config.run.quiet {
            eprintln!("{}", line(round, &metrics, &curve));
        }
        run.log(&metrics)?;
        checkpoint(&run, &policy, Reason::of(true, is_best), numbers)?;
        if config.run.stops_after(round) && round < config.rounds {
            return Err(run.interruption());
        }
    }
    let of_best =
        if start_is_best(&run, &numbers, &first_prompting, config.run.quiet)? { &first_prompting } else { &prompting };
    table.after_and_last(&run, before.as_ref(), of_best, &prompting)?;
    Ok(finish(&run))
}

/// Whether no round was better on validation than what round 1 samples from; says what best and last came to.
fn start_is_best(run: &Run, numbers: &EiNumbers, first_prompting: &Prompting, quiet: bool) -> Result<bool> {
    let best = eval::read_index(&run.dir().join("checkpoints/index.json"))?.best;
    let start_is_best = best == checkpoint_name(0);
    if start_is_best && numbers.round > 0 {
        tracing::warn!(
            "no round is better on validation than what round 1 samples from: the best checkpoint is that{}",
            if first_prompting.shots.is_empty() { "" } else { ", asked after --shots solved problems" }
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
}

struct Setup {
    config: EiConfig,
    /// What every round is fine-tuned from.
    base: PathBuf,
    /// What round 1 samples from.
    initial: Policy,
    /// What the next round samples from.
    policy: Policy,
    run: Run,
    numbers: EiNumbers,
}

/// A fresh run, or one that goes on.
fn set_up(config: &EiConfig, device: &Device) -> Result<Setup> {
    prepare::check_fixed(&config.run, config, &["start"])?;
    let inputs = [("extra", &config.data.extra), ("from-samples", &config.foreign.from_samples)];
    prepare::check_inputs(&config.run, &inputs.map(|(flag, file)| (flag, file.as_deref())))?;
    let mut config = config.clone();
    let of_base = InitArgs { init: config.given_base().map(Path::to_path_buf), model: config.init.model };
    let base = prepare::base(&of_base, &config.data, &config.run, device)?;
    let init = match config.start {
        Start::Sft => prepare::sft(&config.init, &config.data, &config.run, device)?,
        Start::Base => config.init.init.as_deref().map_or(Ok(base.clone()), eval::resolve_checkpoint)?,
    };
    (config.base, config.init.init) = (Some(base.clone()), Some(init.clone()));
    let initial = prepare::policy(&init, device)?;
    let splits = [Split::Train, Split::Validation, Split::Test];
    prepare::check_problems(&initial, &config.data, &config.first_prompting()?, &config.eval, &splits)?;
    if config.reset_to == ResetTo::Base && base != init {
        let base = prepare::policy(&base, device)?;
        prepare::check_problems(&base, &config.data, &config.data.prompting(0)?, &config.eval, &splits)?;
    }
    let Some(dir) = &config.run.resume else {
        let run = prepare::open(&config.run, "ei", config.data.benchmark, &config, 0)?;
        checkpoint(&run, &initial, Reason::Evaluated, EiNumbers::default())?;
        return Ok(Setup { base, policy: initial.clone(), initial, run, numbers: EiNumbers::default(), config });
    };
    let (policy, state) = prepare::resume::<EiNumbers>(&config.run, dir, None, device)?;
    let round = state.numbers.round;
    let problems = config.data.load(Split::Train)?;
    let from = match config.reset_to {
        ResetTo::Base => base.clone(),
        ResetTo::Last => dir.join("checkpoints").join(checkpoint_name(round)),
    };
    let under_way = dir.join(part_of_round(round + 1));
    prepare::resume_part::<FitNumbers>(&under_way, config.lora.on(&from).as_ref(), device)?;
    prepare::check_before(&config.run, &config.eval, "ei", &config, None)?;
    let run = match round == 0 && config.foreign.are_given() {
        true => {
            harvest::check_taken(dir, &problems)?;
            Run::resume_within(dir, round, Blocks::ALL)?
        }
        false => {
            harvest::check_drawn(dir, round + 1, &problems, config.samples)?;
            Run::resume_within(dir, round, harvest::blocks(problems.len(), config.samples))?
        }
    };
    let run = prepare::go_on(run, &config.run, "ei", &config)?;
    // What an earlier checkpoint is gone on from makes again.
    for later in (round + 2..).map(|later| dir.join(part_of_round(later))).take_while(|later| later.exists()) {
        fs::remove_dir_all(&later).with_context(|| format!("cannot remove {}", later.display()))?;
    }
    Ok(Setup { base, initial, policy, run, numbers: state.numbers, config })
}

/// The part of a run that fits the policy of a round.
fn part_of_round(round: usize) -> String {
    format!("rounds/{round}")
}

fn checkpoint(run: &Run, policy: &Policy, reason: Reason, numbers: EiNumbers) -> Result<PathBuf> {
    let state = TrainerState { numbers, optimizer: BTreeMap::new() };
    run.checkpoint(numbers.round, reason, &policy.model, &policy.tokenizer, &state, |_| Ok(()))
}

/// What a sample must be to be learnt: right, whole, rightly calculated where that is asked for, and, where a reward model is asked,
/// likely to be right by its judgement.
struct Filter {
    require_calculations: bool,
    reward_model: Option<RewardModel>,
    threshold: f64,
    sampling: SampleConfig,
}

impl Filter {
    fn of(config: &EiConfig, device: &Device) -> Result<Self> {
        let reward_model = config.orm.as_deref().map(|path| RewardModel::load(path, device)).transpose()?;
        let compute = &config.run.compute;
        let sampling = compute.sampling(&config.data, config.data.prompting(0)?, 1, 0.0, device);
        let require_calculations = config.require_calculations;
        Ok(Self { require_calculations, reward_model, threshold: config.orm_threshold, sampling })
    }

    /// Only right samples are judged: others are not learnt whatever the reward model says.
    fn passed<'a>(&self, samples: &'a [Sample]) -> Result<Vec<&'a Sample>> {
        let is_right = |sample: &&Sample| {
            let is_whole = sample.correct && sample.finish == Finish::Stop;
            is_whole && (!self.require_calculations || calculations_hold(own_part(&sample.completion)))
        };
        let right: Vec<&Sample> = samples.iter().filter(is_right).collect();
        let Some(reward_model) = &self.reward_model else { return Ok(right) };
        let mut judged: Vec<Sample> = right.iter().map(|sample| (*sample).clone()).collect();
        eval::score(reward_model, &mut judged.iter_mut().collect::<Vec<_>>(), &self.sampling)?;
        let likely = |sample: &Sample| sample.score.is_some_and(|score| score >= self.threshold);
        Ok(right.into_iter().zip(&judged).filter(|(_, judged)| likely(judged)).map(|(sample, _)| sample).collect())
    }
}

/// D_i: solved problems, no two with the same solution.
struct Pool<'a> {
    problems: BTreeMap<&'a str, &'a Problem>,
    known: Distinct,
    solved: Vec<Problem>,
}

impl<'a> Pool<'a> {
    /// D_0: the reference solutions, or nothing.
    fn new(problems: &'a [Problem], start: Start, deduplicate: Deduplicate) -> Self {
        let mut pool = Self {
            problems: problems.iter().map(|problem| (problem.id.as_str(), problem)).collect(),
            known: Distinct::by(deduplicate),
            solved: Vec::new(),
        };
        if start == Start::Sft {
            for problem in problems {
                pool.insert(problem.clone());
            }
        }
        pool
    }

    /// Takes a sample that has passed the filter, if it is new; whether it did.
    fn keep(&mut self, sample: &Sample) -> bool {
        let Some(&problem) = self.problems.get(sample.id.as_str()) else { return false };
        let solution = own_part(&sample.completion).trim().to_string();
        self.insert(Problem { solution, ..problem.clone() })
    }

    fn insert(&mut self, problem: Problem) -> bool {
        let is_new = self.known.is_new(&problem.id, &problem.solution);
        if is_new {
            self.solved.push(problem);
        }
        is_new
    }
}

/// Why none of a round's samples is learnt, and what to do.
fn fate(samples: &[Sample], config: &EiConfig) -> String {
    let all = samples.len();
    let right = samples.iter().filter(|sample| sample.correct).count();
    let whole = samples.iter().filter(|sample| sample.correct && sample.finish == Finish::Stop).count();
    match (right, whole) {
        (0, _) if config.start == Start::Base => {
            format!("none of {all} samples is right; ask for more --samples or other --shots")
        }
        (0, _) => format!("none of {all} samples is right; ask for more --samples"),
        (_, 0) => format!("{right} of {all} samples are right, and none of these is whole; raise --max-new-tokens"),
        _ if config.orm.is_none() => {
            format!(
                "{right} of {all} samples are right, and all of these have a false calculation: see --require-calculations"
            )
        }
        _ => format!(
            "{right} of {all} samples are right, and none of these passes --orm; lower --orm-threshold {}",
            config.orm_threshold
        ),
    }
}

/// What a round sampled and kept.
fn describe(samples: &[Sample], passed: usize, kept: usize, pool: &Pool<'_>, metrics: &mut Metrics) {
    let diversity = Diversity::of(samples);
    let share = |count: usize| count as f64 / samples.len().max(1) as f64;
    metrics.put("accuracy", share(diversity.right));
    metrics.put("truncated", share(samples.iter().filter(|sample| sample.finish == Finish::Length).count()));
    metrics.put("unparsable", share(samples.iter().filter(|sample| sample.answer.is_none()).count()));
    let right: Vec<&Sample> = samples.iter().filter(|sample| sample.correct).collect();
    let holding = right.iter().filter(|sample| calculations_hold(own_part(&sample.completion))).count();
    metrics.put("calculations_hold", holding as f64 / right.len().max(1) as f64);
    metrics.put_count("round/sampled", samples.len());
    metrics.put_count("round/passed", passed);
    metrics.put_count("round/kept", kept);
    metrics.put_count("round/examples", pool.solved.len());
    metrics.put("diversity/unsolved", diversity.unsolved);
    metrics.put("diversity/distinct_texts", diversity.distinct_texts);
    metrics.put("diversity/distinct_traces", diversity.distinct_traces);
    for (name, distance) in [("text", diversity.text_distance), ("trace", diversity.trace_distance)] {
        if let Some(distance) = distance {
            metrics.put(&format!("diversity/{name}_distance"), distance.value);
        }
    }
}

/// Fine-tunes on D_i, in a run of its own below the run.
#[allow(clippy::too_many_arguments, reason = "one of them is an output")]
fn learn(
    (from, path): (Policy, &Path),
    solved: &[Problem],
    validation: &[Problem],
    round: usize,
    config: &EiConfig,
    run: &Run,
    device: &Device,
    metrics: &mut Metrics,
) -> Result<Policy> {
    let started = Instant::now();
    let examples = examples(&from, config.data.prompt_style, solved)?;
    let name = part_of_round(round);
    let (policy, resumed) = match prepare::resume_part::<FitNumbers>(&run.dir().join(&name), None, device)? {
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
        look_every: config.eval.eval_every,
        label: &label,
        conditioning: None,
        adapters: config.lora.on(path),
        sampled: None,
    };
    let policy = fit_with_looks(policy, &examples, validation, &config.data, &context, &mut part, resumed)?;
    finish(&part);
    metrics.put("time/fit_s", started.elapsed().as_secs_f64());
    metrics.put_memory(device);
    Ok(policy)
}

fn line(round: usize, metrics: &Metrics, curve: &[f64]) -> String {
    let get = |name: &str| metrics.get(name).unwrap_or(f64::NAN);
    format!(
        "ei round {round}  samples {}  right {:.3}  kept {}  examples {}  questions without any {:.3}  validation maj@1 {:.3}  {}",
        get("samples"),
        get("accuracy"),
        get("round/kept"),
        get("round/examples"),
        get("diversity/unsolved"),
        get("validation/maj@1"),
        sparkline(curve)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_solution_with_a_false_calculation_is_kept_unless_calculations_are_required() {
        let texts = [" 3+4 = <<3+4=7>>7\n#### 7", " 3+3 = <<3+3=7>>7\n#### 7", " #### 7"];
        let samples = texts.map(|text| crate::prefix::tests::sample("test/0", text));
        let passed = |require_calculations| {
            let sampling = SampleConfig {
                samples: 1,
                temperature: 0.0,
                max_new_tokens: 1,
                rows: 1,
                threads: 1,
                prompting: data::Prompting::default(),
                answer_format: data::AnswerFormat::default(),
            };
            let filter = Filter { require_calculations, reward_model: None, threshold: 0.0, sampling };
            filter.passed(&samples).unwrap().into_iter().map(|sample| sample.completion.clone()).collect::<Vec<_>>()
        };
        assert_eq!(passed(false), texts);
        assert_eq!(passed(true), [texts[0], texts[2]]);
    }

    #[test]
    fn a_gain_is_more_than_the_margin_over_the_best_so_far_and_the_best_is_the_best_whatever_the_margin() {
        let start = EiNumbers { start: Some(0.4), best: Some(0.4), ..EiNumbers::default() };
        let rounds = |margin: f64| {
            let mut numbers = start;
            [0.43, 0.41, 0.44, 0.5].map(|accuracy| {
                numbers = numbers.after(numbers.round + 1, accuracy, margin);
                (numbers.best.unwrap(), numbers.rounds_since_best)
            })
        };
        assert_eq!(rounds(0.0), [(0.43, 0), (0.43, 1), (0.44, 0), (0.5, 0)]);
        assert_eq!(rounds(0.02), [(0.43, 0), (0.43, 1), (0.44, 2), (0.5, 0)]);
        assert_eq!(rounds(0.1), [(0.43, 1), (0.43, 2), (0.44, 3), (0.5, 4)]);
        let last = start.after(1, 0.3, 0.0);
        assert_eq!((last.start, last.last, last.best), (Some(0.4), Some(0.3), Some(0.4)));
    }
}
