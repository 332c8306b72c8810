//! Scalar heads on a language model: the critic beside a policy, and the reward model. Independent of files and losses.

mod actor_critic;
mod reward;

pub use actor_critic::{ActorCritic, ActorCriticOutput, ValueBranch, score_with_values};
pub use reward::{RewardNetwork, ScalarHead, ScoreKind, solutions};
