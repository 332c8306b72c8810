//! Direct preference optimisation (DPO; Rafailov et al. 2023, arXiv 2305.18290) and its kin: of two completions of a question, the likelihood of
//! the chosen one rises over that of the rejected one, relative to a frozen reference. KTO takes correct and wrong completions one by one.
//! `objective/preference.rs` has the losses.
//!
//! The pairs come from a file, or are made of correct and wrong samples of the starting policy; with `--rounds` each round makes its own
//! (`dpo/rounds.rs`). The starting policy is the reference; its log-probabilities are computed once, before training, so that no reference
//! takes part in a training step, but for KTO's reference point (`dpo/completions.rs`). Where we deviate from the paper: AdamW instead of RMSprop, a cosine schedule, and pairs made by a checker of answers instead of people.

mod completions;
mod config;
mod examples;
mod pairs;
mod rounds;
mod training;

use crate::{
    algorithms::final_table::FinalTable,
    algorithms::start::{check_compatible, check_prompts, policy},
    run,
    run::{Reason, Run, TrainerState, read_state},
    sampling::pairs::read_pairs,
    sampling::problems::Problems,
    training::optim::Adam,
    training::resume,
    training::supervised::{CheckpointInfo, FitContext, FitNumbers, checkpoint},
    view::html::write_final_report,
};
use anyhow::{Context, Result, ensure};
use data::Prompting;
use eval::{Policy, encode_prompts, parts::Part};
use model::Device;
use std::path::{Path, PathBuf};

pub use config::{DpoConfig, check, dry_run, lock_run};

use examples::PreferenceData;
use training::optimise;

/// Trains, evaluates before and after on the test split, and leaves a run directory; its path.
///
/// # Errors
/// An unusable `init`, samples without a pair, pairs that do not fit the model, a full disk, an interrupt.
pub fn train(config: &DpoConfig, init: &Path, problems: &Problems, device: &Device) -> Result<PathBuf> {
    if config.rounds > 1 {
        return rounds::train(config, init, problems, device);
    }
    let Setup { config, reference, policy, mut run, resumed } = set_up(config, init, problems, device)?;
    let prompting = config.data.prompting(0)?;
    let table = FinalTable { problems, eval: &config.eval, run_args: &config.run, device };
    let initial_report = table.evaluate_initial(&mut run, || Ok(reference.clone()), &prompting)?;
    let (data, sampled) = preference_data(&config, &reference, problems, &mut run, device)?;
    let context = FitContext {
        args: &config.fit,
        run_args: &config.run,
        device,
        evaluate_every: config.eval.eval_every,
        label: "dpo",
        conditioning: None,
        adapters: config.lora.on(init),
        sampled,
    };
    let validation = problems.validation(config.eval.eval_problems)?;
    optimise((policy, &reference), &data, validation, &config, &context, &mut run, resumed)?;
    table.evaluate_best(&run, initial_report.as_ref(), &prompting)?;
    Ok(write_final_report::<DpoConfig>(&run))
}

/// Makes the part of the samples that `--part` names.
///
/// # Errors
/// As [`train`], and of a part of other work in its place; `--pairs`, which takes the place of samples.
pub fn make_part(config: &DpoConfig, part: Part, init: &Path, problems: &Problems, device: &Device) -> Result<()> {
    ensure!(config.pairs.is_none(), "--part {part} has nothing to sample: --pairs gives the pairs");
    let mut config = config.clone();
    config.run.compute.checker = config.checker.start(config.data.benchmark())?;
    config.sampling.sample_part(part, &policy(init, device)?, problems.train()?, (&config.data, &config.run))
}

struct Setup {
    config: DpoConfig,
    /// The policy at the start, which samples.
    reference: Policy,
    policy: Policy,
    run: Run,
    resumed: Option<TrainerState<FitNumbers>>,
}

/// Sets up a new run or a resumed one. The first checkpoint is written before the first sample, so that every interrupted run has one.
fn set_up(config: &DpoConfig, init: &Path, problems: &Problems, device: &Device) -> Result<Setup> {
    let mut config = DpoConfig { init: config.init.resolved(init), ..config.clone() };
    let reference = policy(init, device)?;
    let evaluated = [problems.validation(config.eval.eval_problems)?, problems.test(config.eval.test_problems)?];
    check_prompts(&reference, &evaluated, &config.data.prompting(0)?)?;
    if config.pairs.is_none() {
        encode_prompts(&reference, problems.train()?, &config.data.prompting(config.sampling.shots)?)?;
    }
    if let (Some(path), None) = (&config.pairs, &config.run.resume) {
        pairs::check_lengths(
            &read_pairs(path).context("--pairs")?,
            &reference,
            &Prompting::bare(config.data.prompt_format()),
        )?;
    }
    run::start::check_initial_report(&config.run, &config.eval, "dpo", &config, Some(init))?;
    let Some(dir) = &config.run.resume else {
        let run = run::start::create_or_resume(&config.run, "dpo", &config.data, &config, 0)?;
        let optimizer = Adam::new(0.9, config.fit.beta_2, 1e-8, config.fit.weight_decay, config.fit.max_grad_norm);
        let about = CheckpointInfo { tokenizer: &reference.tokenizer, conditioning: None, adapters: None };
        checkpoint(&run, &reference.model, &about, Reason::Evaluated, FitNumbers::default(), &optimizer)?;
        config.run.compute.checker = config.checker.start(config.data.benchmark())?;
        return Ok(Setup { config, policy: reference.clone(), reference, run, resumed: None });
    };
    let (policy, state) = run::start::read_checkpoint(&config.run, dir, |folder| {
        let state = read_state::<FitNumbers>(folder)?;
        // The first checkpoint has no adapters yet.
        let adapters = config.lora.on(init).filter(|_| state.numbers.step > 0);
        resume::load_policy(folder, adapters.as_ref(), device).map(|policy| (policy, state))
    })?;
    check_compatible(&reference, &policy)?;
    let step = state.numbers.step;
    let run = match &config.pairs {
        Some(_) => Run::resume(dir, step)?,
        None => config.sampling.resume(dir, step, problems.train()?, &config.run.compute)?,
    };
    let run = run::start::complete_resume(run, &config.run, "dpo", &config)?;
    config.run.compute.checker = config.checker.start(config.data.benchmark())?;
    Ok(Setup { config, reference, policy, run, resumed: (step > 0).then_some(state) })
}

/// The pairs of `--pairs`, or of samples; and how many samples the run has drawn for them, if they are its own.
fn preference_data(
    config: &DpoConfig,
    reference: &Policy,
    problems: &Problems,
    run: &mut Run,
    device: &Device,
) -> Result<(PreferenceData, Option<usize>)> {
    let loss = config.preference.loss;
    if let Some(path) = &config.pairs {
        return Ok((PreferenceData::of_pairs(read_pairs(path).context("--pairs")?, loss), None));
    }
    let flags = (&config.data, &config.run);
    let drawn = config.sampling.training_samples(reference, problems.train()?, flags, run, device)?;
    let data = PreferenceData::of_samples(&drawn.samples, &config.making, loss, config.run.seed)?;
    data.write(run.dir())?;
    Ok((data, Some(drawn.sampled)))
}
