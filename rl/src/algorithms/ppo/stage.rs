//! PPO as a stage of another algorithm: its flags, which begin with `--ppo-`.

use super::PpoConfig;
use crate::{
    cli::args::{DataArgs, EvalArgs, InitArgs, RunArgs},
    cli::defaults::{Configuration, ModelKind, declared},
    cli::effect::InSummary,
    training::adapters::LoraArgs,
};
use clap::Args;
use serde::Serialize;

/// Flags of a stage of PPO.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Stage of PPO")]
pub struct PpoStageArgs {
    /// Steps of PPO
    #[arg(long, add = InSummary, value_name = "N", default_value_t = 100, value_parser = crate::cli::args::positive)]
    pub ppo_steps: usize,
    /// Questions per step of PPO
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = crate::cli::args::positive)]
    pub ppo_questions: usize,
    /// Solutions sampled per question of a step of PPO
    #[arg(long, value_name = "K", default_value_t = 4, value_parser = crate::cli::args::positive)]
    pub ppo_samples: usize,
    /// Samples per optimiser step of PPO
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = crate::cli::args::positive)]
    pub ppo_mini_batch: usize,
    /// Peak learning rate of PPO's policy
    #[arg(long, default_value_t = 1.5e-4, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub ppo_learning_rate: f64,
    /// Peak learning rate of PPO's critic
    #[arg(long, default_value_t = 2e-3, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub ppo_value_learning_rate: f64,
    /// First steps of PPO in which only the critic is trained
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub ppo_value_warm_up: usize,
    /// β of PPO: weight of the KL penalty
    #[arg(long, default_value_t = 0.05, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub ppo_kl_coefficient: f64,
    /// Reward of a correct answer in PPO, beside the other rewards of the stage; 0, as in the paper, for those alone
    #[arg(long, default_value_t = 0.0, value_parser = crate::cli::args::at_least_0::<f32>)]
    pub ppo_answer_weight: f32,
    /// Steps of PPO between two evaluations on the validation split
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = crate::cli::args::positive)]
    pub ppo_eval_every: usize,
}

/// What a stage shares with the run that it is a part of.
pub struct Whole {
    /// The flags of the stage's own run.
    pub run: RunArgs,
    /// Benchmark and problems.
    pub data: DataArgs,
    /// The starting model.
    pub init: InitArgs,
    /// Adapters.
    pub lora: LoraArgs,
    /// Evaluations.
    pub eval: EvalArgs,
}

impl PpoStageArgs {
    /// With the learning rates that `rl ppo` has for a model.
    pub fn for_model(self, kind: ModelKind) -> Self {
        let PpoConfig { learning_rate, value_learning_rate, .. } = PpoConfig::defaults(kind);
        Self { ppo_learning_rate: learning_rate, ppo_value_learning_rate: value_learning_rate, ..self }
    }

    /// Samples that the stage draws.
    pub fn drawn(&self) -> usize {
        self.ppo_steps * self.ppo_questions * self.ppo_samples
    }

    /// A run of PPO with these flags, without a final table. Its reward is the caller's to set.
    pub fn config(&self, Whole { run, data, init, lora, eval }: Whole) -> PpoConfig {
        PpoConfig {
            run,
            data,
            init,
            lora,
            eval: EvalArgs { test_problems: 0, eval_every: self.ppo_eval_every, ..eval },
            steps: self.ppo_steps,
            questions: self.ppo_questions,
            samples: self.ppo_samples,
            mini_batch: self.ppo_mini_batch,
            learning_rate: self.ppo_learning_rate,
            value_learning_rate: self.ppo_value_learning_rate,
            value_warm_up: self.ppo_value_warm_up,
            kl_coefficient: self.ppo_kl_coefficient,
            ..declared()
        }
    }
}
