//! How a run of `rl orm` starts: anew, or from a checkpoint.

use super::config::OrmConfig;
use crate::{
    algorithms::start::{self, likelihood_model},
    run,
    run::{Reason, Run, TrainerState, read_state},
    training::optim::Adam,
    training::supervised::{CheckpointInfo, FitNumbers, checkpoint},
};
use anyhow::Result;
use data::Problem;
use eval::{Policy, RewardModel};
use model::{Device, HostTensors, RewardNetwork, ScoreKind};
use std::path::Path;

/// What a run starts with.
pub(super) struct Setup {
    pub(super) config: OrmConfig,
    /// Samples, and completes prefixes.
    pub(super) policy: Policy,
    pub(super) model: RewardNetwork,
    pub(super) run: Run,
    pub(super) resumed: Option<TrainerState<FitNumbers>>,
}

/// Sets up a new run or a resumed one. The first checkpoint is written before the first sample, so that every
/// interrupted run has one.
pub(super) fn set_up(config: &OrmConfig, init: &Path, problems: &[Problem], device: &Device) -> Result<Setup> {
    let mut config = OrmConfig { init: config.init.resolved(init), ..config.clone() };
    config.run.compute.checker = config.checker.start(config.data.benchmark())?;
    let policy = start::policy(init, device)?;
    if let Some(path) = &config.likelihood_of {
        likelihood_model(path, &policy, device)?;
    }
    eval::encode_prompts(&policy, problems, &config.data.prompting(config.sampling.shots)?)?;
    let Some(dir) = &config.run.resume else {
        let run = run::start::create_or_resume(&config.run, "orm", &config.data, &config, 0)?;
        let kind = if config.objective.is_bce() { ScoreKind::Logit } else { ScoreKind::Relative };
        let model = RewardNetwork { kind, ..RewardNetwork::new(&policy.model) }.with_added_blocks(config.added_blocks);
        let optimizer = Adam::new(0.9, config.fit.beta_2, 1e-8, config.fit.weight_decay, config.fit.max_grad_norm);
        let about = CheckpointInfo { tokenizer: &policy.tokenizer, conditioning: None, adapters: None };
        checkpoint(&run, &model, &about, Reason::Evaluated, FitNumbers::default(), &optimizer)?;
        return Ok(Setup { config, policy, model, run, resumed: None });
    };
    let (model, state) = run::start::read_checkpoint(&config.run, dir, |folder| {
        let (mut state, model) = (read_state::<FitNumbers>(folder)?, RewardModel::load(folder, device)?.model);
        state.optimizer = renamed(state.optimizer);
        // The first checkpoint has no adapters yet.
        if let Some(adapters) = config.lora.on(init).filter(|_| state.numbers.step > 0) {
            adapters.load(folder, device)?;
        }
        Ok((model, state))
    })?;
    let step = state.numbers.step;
    let run = config.sampling.resume(dir, step, problems, &config.run.compute)?;
    let run = run::start::complete_resume(run, &config.run, "orm", &config)?;
    Ok(Setup { config, policy, model, run, resumed: (step > 0).then_some(state) })
}

/// The optimiser's state with the names of today: earlier versions called the parts of a reward model `policy` and `value`.
fn renamed(state: HostTensors) -> HostTensors {
    let name = |name: String| match name.split_once('.') {
        Some(("policy", parameter)) => format!("language_model.{parameter}"),
        Some(("value", parameter)) => format!("score.{parameter}"),
        _ => name,
    };
    state.into_iter().map(|(path, tensor)| (name(path), tensor)).collect()
}
