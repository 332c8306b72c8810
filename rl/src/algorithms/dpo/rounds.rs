//! Rounds of preference optimisation, as in iterative reasoning preference optimisation (Pang et al. 2024, arXiv 2404.19733): each round samples
//! solutions of the training questions from the policy of the round before, makes pairs of them, and trains that policy on these pairs alone.
//!
//! The reference is the policy at the start of the round, as there; with `--reference first` it stays the first model (Xiong et al. 2024, arXiv
//! 2312.11456). Where we deviate from the former: the pairs are made by [`DpoConfig::making`], the loss is that of the flags, and its
//! likelihood term is `--nll-weight`, off by default. A round's last checkpoint is taken. The starting model counts as round 0 on validation.
//! Rounds end early where the samples of a later round make no pair.

use super::{
    config::{DpoConfig, RoundReference},
    examples::PreferenceData,
    training::{divergence, optimise},
};
use crate::{
    algorithms::final_table::FinalTable,
    algorithms::rounds::{self, Source, checkpoint, part_of_round},
    algorithms::start::{check_compatible, check_prompts, policy},
    run,
    run::metrics::Metrics,
    run::{Reason, Run, checkpoint_name, last_folder, stops_after},
    sampling::from_samples::Rounds,
    sampling::problems::Problems,
    sampling::samples::SamplingPhase,
    training::resume,
    training::supervised::{FitContext, FitNumbers},
    view::html::write_final_report,
    view::progress::sparkline,
};
use anyhow::{Context, Result};
use eval::{Policy, Sample, encode_prompts, greedy_accuracy};
use model::Device;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    time::Instant,
};

/// The numbers that a resumed run continues with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct RoundNumbers {
    round: usize,
    /// Validation maj@1 of the best checkpoint, the starting model included.
    best: Option<f64>,
}

/// Trains in rounds, evaluates before and after on the test split, and leaves a run directory; its path.
///
/// # Errors
/// As [`super::train`].
pub(super) fn train(config: &DpoConfig, init: &Path, problems: &Problems, device: &Device) -> Result<PathBuf> {
    let Setup { config, initial, mut policy, mut run, mut numbers } = set_up(config, init, problems, device)?;
    let prompting = config.data.prompting(0)?;
    let validation = problems.validation(config.eval.eval_problems)?;
    let table = FinalTable { problems, eval: &config.eval, run_args: &config.run, device };
    let initial_report = table.evaluate_initial(&mut run, || Ok(initial.clone()), &prompting)?;
    let sampling = config.run.compute.sampling(&config.data, prompting.clone(), 1, 0.0, device);
    let validate = |policy: &Policy| greedy_accuracy(policy, validation, &sampling).map(|(accuracy, _)| accuracy);
    if numbers.round == 0 {
        numbers.best = Some(validate(&initial).map_err(|error| run.with_resume(error))?);
    }
    let written = eval::read_samples(&run.dir().join("samples.jsonl"))?;
    let (earlier, mut this_round): (Vec<Sample>, Vec<Sample>) =
        written.into_iter().partition(|sample| sample.step.is_some_and(|round| round <= numbers.round));
    let (mut sampled, mut curve) = (earlier.len(), Vec::new());
    while numbers.round < config.rounds {
        let round = numbers.round + 1;
        let mut metrics = Metrics::for_step(round);
        let samples =
            sample(&policy, problems, round, std::mem::take(&mut this_round), &config, &mut run, &mut metrics)?;
        sampled += samples.len();
        metrics.put_count("samples", sampled);
        metrics.put("accuracy", samples.iter().filter(|sample| sample.correct).count() as f64 / samples.len() as f64);
        let data = match PreferenceData::of_samples(&samples, &config.making, config.preference.loss, config.run.seed) {
            Err(error) if round > 1 => {
                tracing::warn!("round {round} of {} is the end: {error:#}", config.rounds);
                break;
            }
            data => data?,
        };
        metrics.put_count("round/pairs", data.pairs.pairs.len());
        metrics.put_count("round/questions_without_pair", data.pairs.without_pair);
        let reference = match config.reference {
            RoundReference::Round => policy.clone(),
            RoundReference::First => initial.clone(),
        };
        policy = train_round((policy, &reference), &data, problems, round, &config, &run, device, &mut metrics)
            .inspect_err(|_| run.save_cpu_seconds())?;
        let accuracy = validate(&policy).map_err(|error| run.with_resume(error))?;
        metrics.put("validation/maj@1", accuracy);
        let divergence = divergence(&policy, &initial, validation, &sampling, config.run.seed);
        if let Some(nats) = divergence.map_err(|error| run.with_resume(error))? {
            metrics.put("kl/per_completion", nats);
        }
        curve.push(accuracy);
        let is_best = numbers.best.is_none_or(|best| accuracy > best);
        numbers = RoundNumbers { round, best: Some(numbers.best.map_or(accuracy, |best| best.max(accuracy))) };
        if !config.run.quiet {
            let (pairs, curve) = (data.pairs.pairs.len(), sparkline(&curve));
            eprintln!("dpo round {round}  samples {sampled}  pairs {pairs}  validation maj@1 {accuracy:.3}  {curve}");
        }
        run.log(&metrics)?;
        checkpoint(&run, &policy, Reason::of(true, is_best), round, numbers)?;
        if stops_after(&config.run, round) && round < config.rounds {
            return Err(run.interruption());
        }
    }
    table.evaluate_best_and_last(&run, initial_report.as_ref(), &prompting, &prompting)?;
    Ok(write_final_report::<DpoConfig>(&run))
}

/// The samples of a round: those that are written, and those that are missing; in round 1 from `--from-samples` if it is given. Solved
/// problems are shown in round 1 alone.
fn sample(
    policy: &Policy,
    problems: &Problems,
    round: usize,
    written: Vec<Sample>,
    config: &DpoConfig,
    run: &mut Run,
    metrics: &mut Metrics,
) -> Result<Vec<Sample>> {
    let (compute, args, problems) = (&config.run.compute, &config.sampling, problems.train()?);
    if let Some(file) = args.source.from_samples.as_ref().filter(|_| round == 1) {
        let grading = (&config.data.answer_format(), compute.checker.as_ref());
        return args.source.take(file, problems, grading, (Rounds::All, 1), written, run);
    }
    let prompting = config.data.prompting(if round == 1 { args.shots } else { 0 })?;
    let device = policy.model.device();
    let sampling = &compute.sampling(&config.data, prompting, args.samples, args.temperature, &device);
    let (seed, quiet, label) = (config.run.seed, config.run.quiet, &format!("dpo round {round}"));
    SamplingPhase { problems, sampling, step: round, seed, label, quiet }.sample(policy, written, run, metrics)
}

/// Trains on the data of a round, in a nested run.
#[allow(clippy::too_many_arguments, reason = "one of them is an output")]
fn train_round(
    (policy, reference): (Policy, &Policy),
    data: &PreferenceData,
    problems: &Problems,
    round: usize,
    config: &DpoConfig,
    run: &Run,
    device: &Device,
    metrics: &mut Metrics,
) -> Result<Policy> {
    let started = Instant::now();
    let name = part_of_round(round);
    let part = resume::load_checkpoint_of_part::<FitNumbers>(&run.dir().join(&name), None, device)?;
    let (policy, resumed) = part.map_or((policy, None), |(policy, state)| (policy, Some(state)));
    let step = resumed.as_ref().map_or(0, |state| state.numbers.step);
    let mut part = run.part(&name, "dpo", config, step).with_context(|| format!("round {round}"))?;
    data.write(part.dir())?;
    let context = FitContext {
        args: &config.fit,
        run_args: &config.run,
        device,
        evaluate_every: config.eval.eval_every,
        label: &format!("dpo round {round}"),
        conditioning: None,
        // The adapters of each round are new, on the policy of the round before.
        adapters: config.lora.on(&last_folder(run.dir())?),
        sampled: None,
    };
    let validation = problems.validation(config.eval.eval_problems)?;
    let policy = optimise((policy, reference), data, validation, config, &context, &mut part, resumed)?;
    write_final_report::<DpoConfig>(&part);
    metrics.put("time/fit_s", started.elapsed().as_secs_f64());
    metrics.put_memory(device);
    Ok(policy)
}

struct Setup {
    config: DpoConfig,
    /// The first model.
    initial: Policy,
    /// The policy that the next round samples from.
    policy: Policy,
    run: Run,
    numbers: RoundNumbers,
}

/// Sets up a new run or a resumed one.
fn set_up(config: &DpoConfig, init: &Path, problems: &Problems, device: &Device) -> Result<Setup> {
    let mut config = DpoConfig { init: config.init.resolved(init), ..config.clone() };
    config.run.compute.checker = config.checker.start(config.data.benchmark())?;
    let (initial, train) = (policy(init, device)?, problems.train()?);
    let evaluated = [problems.validation(config.eval.eval_problems)?, problems.test(config.eval.test_problems)?];
    check_prompts(&initial, &[&[train], evaluated.as_slice()].concat(), &config.data.prompting(0)?)?;
    encode_prompts(&initial, train, &config.data.prompting(config.sampling.shots)?)?;
    run::start::check_initial_report(&config.run, &config.eval, "dpo", &config, Some(init))?;
    let Some(dir) = &config.run.resume else {
        let run = run::start::create_or_resume(&config.run, "dpo", &config.data, &config, 0)?;
        checkpoint(&run, &initial, Reason::Evaluated, 0, RoundNumbers::default())?;
        return Ok(Setup { policy: initial.clone(), initial, run, numbers: RoundNumbers::default(), config });
    };
    let (policy, state) = resume::load_checkpoint::<RoundNumbers>(&config.run, dir, None, device)?;
    check_compatible(&initial, &policy)?;
    let round = state.numbers.round;
    let from = dir.join("checkpoints").join(checkpoint_name(round));
    let under_way = dir.join(part_of_round(round + 1));
    resume::load_checkpoint_of_part::<FitNumbers>(&under_way, config.lora.on(&from).as_ref(), device)?;
    let is_copied = round == 0 && config.sampling.source.is_given();
    let source = Source { train, samples: config.sampling.samples, is_copied };
    let run = rounds::resume("dpo", &config.run, &config, dir, round, source)?;
    Ok(Setup { initial, policy, run, numbers: state.numbers, config })
}
