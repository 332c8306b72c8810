//! What changes from step to step in PPO: learning rates and the KL coefficient. Independent of models.

use super::config::PpoConfig;
use crate::{objective::reward::adapted_beta, training::optim::learning_rate};

/// The learning rates of a step. The critic starts untrained and has no reference: it is trained first, with a larger
/// rate.
pub(super) struct Rates {
    /// `None` while only the critic is trained.
    pub(super) policy: Option<f64>,
    /// Of the critic.
    pub(super) value: f64,
}

impl Rates {
    /// Those of a step, counted from 0.
    pub(super) fn of_step(step: usize, config: &PpoConfig) -> Self {
        let steps = config.steps;
        let policy = step.checked_sub(config.critic_warm_up()).map(|step| {
            let steps = steps.saturating_sub(config.critic_warm_up());
            learning_rate(step, steps, config.warm_up, config.learning_rate, config.final_learning_rate)
        });
        Self { policy, value: learning_rate(step, steps, 1, config.value_learning_rate, config.final_learning_rate) }
    }
}

/// The KL coefficient of the next step: adapted to `--kl-target` where one is given.
pub(super) fn next_beta(beta: f64, kl_per_completion: f64, samples: usize, config: &PpoConfig) -> f64 {
    let Some(target) = config.kl_target else { return beta };
    adapted_beta(beta, kl_per_completion, target, samples, config.kl_horizon)
}
