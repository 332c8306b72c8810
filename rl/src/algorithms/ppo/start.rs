//! The starting state of a PPO run: a new policy with its critic, reference and reward model, or those of a checkpoint.
//! Computes nothing.

use super::{
    alarms::Alarms,
    config::{PpoConfig, check_value_layers},
};
use crate::{
    algorithms::start::{check_compatible, check_prompts, check_reference, policy, reward_model},
    run,
    run::{Run, read_state},
    sampling::curriculum::Curriculum,
    sampling::problems::Problems,
    sampling::rollout::RolloutConfig,
    training::adapters::Adapters,
    training::optim::Adam,
    training::optim::GradientOptions,
};
use anyhow::{Context, Result, ensure};
use eval::{Policy, RewardModel, external::Checker, servers::WeightUpdate};
use model::{ActorCritic, Device, Transformer, ValueBranch, load_value_branch};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The curriculum's state in a checkpoint.
pub(super) const CURRICULUM: &str = "trainer/curriculum.json";
/// What alarms have seen, in a checkpoint.
pub(super) const ALARMS: &str = "trainer/alarms.json";

/// The numbers that a resumed run continues with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PpoNumbers {
    pub(super) step: usize,
    /// Samples drawn so far.
    #[serde(default)]
    pub(super) samples: usize,
    pub(super) beta: f64,
    pub(super) best: Option<f64>,
}

/// The state of a training run.
pub(super) struct Trainer {
    pub(super) model: ActorCritic,
    pub(super) reference: Transformer,
    /// Whether the reference is the model that the run starts from.
    pub(super) starts_at_reference: bool,
    pub(super) optimizer: Adam,
    pub(super) tokenizer: data::Tokenizer,
    pub(super) rollout: RolloutConfig,
    pub(super) curriculum: Curriculum,
    pub(super) alarms: Alarms,
    pub(super) gradients: GradientOptions,
    /// The trained adapters; `None` if all weights are trained.
    pub(super) adapters: Option<Adapters>,
    /// Number of consecutive updates whose loss was not finite.
    pub(super) failures: usize,
}

/// All that a run has before its first step.
pub(super) struct Start {
    pub(super) config: PpoConfig,
    pub(super) trainer: Trainer,
    pub(super) run: Run,
    pub(super) initial: Policy,
    pub(super) numbers: PpoNumbers,
}

/// Sets up a new run or a resumed one.
///
/// # Errors
/// An `init`, reference or `orm` that cannot be used, a run that cannot be made or resumed.
pub(super) fn start(
    config: &PpoConfig,
    init: &Path,
    (reference, orm): (Option<&Path>, Option<&Path>),
    problems: &Problems,
    device: &Device,
) -> Result<Start> {
    let mut config = PpoConfig { init: config.init.resolved(init), ..config.clone() };
    config.reward.orm = orm.map(Path::to_path_buf).or(config.reward.orm);
    if let Some(servers) = &config.run.compute.servers {
        let follows = match servers.update() {
            WeightUpdate::Weights => true,
            WeightUpdate::Adapter => config.lora.lora_rank.is_some(),
            WeightUpdate::Fixed => false,
        };
        ensure!(
            follows,
            "the servers of --rollout-server would not follow the trained weights: --rollout-update weights, or adapter with --lora-rank (a server of llama.cpp keeps its model)"
        );
    }
    let gradients = GradientOptions::of(&config.run.compute, device);
    let initial = policy(init, device)?;
    let other = reference.map(|path| policy(path, device)).transpose()?;
    other.as_ref().map_or(Ok(()), |other| check_reference(&initial, other))?;
    let pessimism = config.reward.orm_pessimism;
    let reward_model = orm.map(|path| reward_model(path, &initial, device)).transpose()?;
    let reward_model = reward_model.map(|model| RewardModel { pessimism, ..model });
    check_value_layers(&config, initial.model.blocks.len())?;
    // Adam's epsilon is larger than for supervised work, as in every PPO that works on language models.
    let mut optimizer = Adam::new(0.9, 0.95, 1e-5, 0.0, config.max_grad_norm);
    let adapters = config.lora.on(init);
    let Trained { policy: trained, value, curriculum, alarms, numbers } = match &config.run.resume {
        Some(dir) => resumed(&config, dir, &initial, adapters.as_ref(), &mut optimizer, device)?,
        None => new(&config, &initial, adapters.as_ref()),
    };
    let prompting = config.data.prompting(config.shots)?;
    let evaluated = [problems.validation(config.eval.eval_problems)?, problems.test(config.eval.test_problems)?];
    check_prompts(&initial, &[&[problems.train()?], evaluated.as_slice()].concat(), &prompting)?;
    let run = run::start::create_or_resume(&config.run, "ppo", &config.data, &config, numbers.step)?;
    config.run.compute.checker = Checker::of_benchmark(config.data.benchmark())?;
    let compute = &config.run.compute;
    let sampling = compute.sampling(&config.data, prompting, config.samples, config.temperature, device);
    let (reward, external) = (config.reward.clone(), config.reward.weights.external.start()?);
    let rollout = RolloutConfig { sampling, reward, reward_model, external, seed: config.run.seed };
    let trainer = Trainer {
        model: ActorCritic { policy: trained.model, value },
        starts_at_reference: other.is_none(),
        reference: other.map_or_else(|| initial.model.clone(), |other| other.model),
        optimizer,
        tokenizer: trained.tokenizer,
        rollout,
        curriculum,
        alarms,
        gradients,
        adapters,
        failures: 0,
    };
    Ok(Start { config, trainer, run, initial, numbers })
}

/// What a run trains, and where it stands.
struct Trained {
    policy: Policy,
    value: ValueBranch,
    curriculum: Curriculum,
    alarms: Alarms,
    numbers: PpoNumbers,
}

/// Before the first step: a critic on the initial policy, and new adapters if the flags ask for them.
fn new(config: &PpoConfig, initial: &Policy, adapters: Option<&Adapters>) -> Trained {
    let value = ValueBranch::of(&initial.model, config.critic_layers(), !config.value_shares_trunk);
    let mut policy = initial.clone();
    if let Some(adapters) = adapters {
        policy.model = adapters.new_on(policy.model, config.run.seed);
    }
    let numbers = PpoNumbers { step: 0, samples: 0, beta: config.kl_coefficient, best: None };
    Trained { policy, value, curriculum: Curriculum::new(), alarms: Alarms::default(), numbers }
}

/// From the checkpoint that a run resumes from; with the state of the optimiser.
fn resumed(
    config: &PpoConfig,
    dir: &Path,
    initial: &Policy,
    adapters: Option<&Adapters>,
    optimizer: &mut Adam,
    device: &Device,
) -> Result<Trained> {
    let (policy, value, (curriculum, alarms), state) = run::start::read_checkpoint(&config.run, dir, |folder| {
        let (state, mut policy) = (read_state::<PpoNumbers>(folder)?, Policy::load(folder, device)?);
        if let Some(adapters) = adapters {
            policy.model = adapters.load(folder, device)?;
        }
        let path = folder.join("trainer/value.safetensors");
        let (layers, detach) = (config.critic_layers(), !config.value_shares_trunk);
        let value = load_value_branch(&path, &policy.model.config, layers, detach, device)?;
        let path = folder.join(CURRICULUM);
        let text = data::read_text(&path)?;
        let curriculum: Curriculum =
            serde_json::from_str(&text).with_context(|| format!("{} is malformed", path.display()))?;
        // A checkpoint that is older than alarms has none.
        let path = folder.join(ALARMS);
        let alarms = match data::read_text_if_there(&path)? {
            Some(text) => serde_json::from_str(&text).with_context(|| format!("{} is malformed", path.display()))?,
            None => Alarms::default(),
        };
        Ok((policy, value, (curriculum, alarms), state))
    })?;
    check_compatible(initial, &policy)?;
    run::start::check_initial_report(&config.run, &config.eval, "ppo", config, None)?;
    optimizer.load_tensors(state.optimizer, device)?;
    let mut numbers = state.numbers;
    if config.kl_target.is_none() {
        numbers.beta = config.kl_coefficient;
    }
    Ok(Trained { policy, value, curriculum, alarms, numbers })
}
