//! What a run of PPO starts from: a fresh policy with its critic, reference and reward model, or those of a checkpoint. Computes
//! nothing.

use super::{CURRICULUM, PpoConfig, PpoNumbers, Trainer, config::check_value_layers};
use crate::{
    curriculum::Curriculum,
    optim::Adam,
    prepare,
    rollout::RolloutConfig,
    run::{Run, read_state},
};
use anyhow::{Context, Result};
use burn::tensor::Device;
use data::Split;
use eval::Policy;
use model::{ActorCritic, ValueBranch, load_value_branch};

/// All that a run has before its first step.
pub(super) struct Start {
    pub(super) config: PpoConfig,
    pub(super) trainer: Trainer,
    pub(super) run: Run,
    pub(super) initial: Policy,
    pub(super) numbers: PpoNumbers,
}

/// A fresh run, or one that goes on.
///
/// # Errors
/// Missing data, an unusable `--init` or `--orm`, a run that cannot be made or gone on with.
pub(super) fn start(config: &PpoConfig, device: &Device) -> Result<Start> {
    let fixed: &[&str] = if config.has_critic() { &["advantage", "value_layers"] } else { &["advantage"] };
    prepare::check_fixed(&config.run, config, fixed)?;
    prepare::check_inputs(&config.run, &[("extra", config.data.extra.as_deref())])?;
    let mut config = config.clone();
    let computing = config.run.compute.computing(device);
    let init = prepare::sft(&config.init, &config.data, &config.run, device)?;
    let initial = prepare::policy(&init, device)?;
    let reward_model = match config.reward.reward.asks_reward_model() {
        true => {
            let path = prepare::orm(&config.reward.orm, &config.init, &config.data, &config.run, device)?;
            let reward_model = prepare::reward_model(&path, &initial, device)?;
            config.reward.orm = Some(path);
            Some(reward_model)
        }
        false => None,
    };
    config.init.init = Some(init);
    check_value_layers(&config, initial.model.blocks.len())?;
    // Adam's epsilon is larger than for supervised work, as in every PPO that works on language models.
    let mut optimizer = Adam::new(0.9, 0.95, 1e-5, 0.0, config.max_grad_norm);
    let adapters = config.init.init.as_deref().and_then(|init| config.lora.on(init));
    let detach = !config.value_shares_trunk;
    let fresh = PpoNumbers { step: 0, samples: 0, beta: config.kl_coefficient, best: None };
    let (policy, value, curriculum, numbers) = match &config.run.resume {
        Some(dir) => {
            let (policy, value, curriculum, state) = prepare::from_checkpoint(&config.run, dir, |folder| {
                let (state, mut policy) = (read_state::<PpoNumbers>(folder)?, Policy::load(folder, device)?);
                if let Some(adapters) = &adapters {
                    policy.model = adapters.load(folder, device)?;
                }
                let path = folder.join("trainer/value.safetensors");
                let layers = config.critic_layers();
                let value = load_value_branch(&path, &policy.model.config, layers, detach, device)?;
                let path = folder.join(CURRICULUM);
                let text = data::read_text(&path)?;
                let curriculum: Curriculum =
                    serde_json::from_str(&text).with_context(|| format!("{} is malformed", path.display()))?;
                Ok((policy, value, curriculum, state))
            })?;
            prepare::check_same_kind(&initial, &policy)?;
            prepare::check_before(&config.run, &config.eval, "ppo", &config, None)?;
            optimizer.load_tensors(state.optimizer, device)?;
            let mut numbers = state.numbers;
            if config.kl_target.is_none() {
                numbers.beta = config.kl_coefficient;
            }
            (policy, value, curriculum, numbers)
        }
        None => {
            let value = ValueBranch::of(&initial.model, config.critic_layers(), detach);
            let mut policy = initial.clone();
            if let Some(adapters) = &adapters {
                policy.model = adapters.new_on(policy.model, config.run.seed);
            }
            (policy, value, Curriculum::new(), fresh)
        }
    };
    let prompting = config.data.prompting(config.shots)?;
    let splits = [Split::Train, Split::Validation, Split::Test];
    prepare::check_problems(&initial, &config.data, &prompting, &config.eval, &splits)?;
    let run = prepare::open(&config.run, "ppo", config.data.benchmark, &config, numbers.step)?;
    let compute = &config.run.compute;
    let sampling = compute.sampling(&config.data, prompting, config.samples, config.temperature, device);
    let rollout = RolloutConfig { sampling, reward: config.reward.clone(), reward_model, seed: config.run.seed };
    let trainer = Trainer {
        model: ActorCritic { policy: policy.model, value },
        reference: initial.model.clone(),
        optimizer,
        tokenizer: policy.tokenizer,
        rollout,
        curriculum,
        computing,
        adapters,
        failures: 0,
    };
    Ok(Start { config, trainer, run, initial, numbers })
}
