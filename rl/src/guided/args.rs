//! The flags of `rl guide`.

use super::{environments::Environment, lagr::Query, lmgt::Shift, q_function::Learner, slinvit::Leaf};
use crate::cli::{
    args::{RunArgs, above_0, at_least_0, positive, share},
    effect::{FixedOnResume, FlagEffect, InSummary},
};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;

/// Flags of `rl guide`.
#[derive(Args, Clone, Debug, Serialize)]
pub struct GuideArgs {
    /// Method
    #[arg(long, add = InSummary, add = FixedOnResume::Value, help_heading = "Objective", value_enum, default_value = "linvit")]
    pub method: Method,
    /// Environment
    #[arg(long, add = InSummary, add = FixedOnResume::Value, help_heading = "Data", value_enum, default_value = "blocks")]
    pub environment: Environment,
    /// Side of the grid, number of blocks, height of the stack, or number of calculations [default: 5, 4, 8, 2]
    #[arg(long, add = InSummary, add = FixedOnResume::Value, help_heading = "Data", value_name = "N", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Language model as guide: a checkpoint, run directory, Hugging Face folder, GGUF file or hf:OWNER/NAME [default: a guide without an
    /// opinion]
    #[arg(long, add = InSummary, add = FixedOnResume::Path, help_heading = "Model", value_name = "PATH", conflicts_with_all = ["guide_divergence", "guide_knows"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// Fine-tune the guide on so many episodes of an optimal policy in other environments of the same kind; without --init, a new model
    #[arg(long, add = InSummary, add = FixedOnResume::Value, help_heading = "Model", value_name = "N", value_parser = positive, conflicts_with_all = ["guide_divergence", "guide_knows"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_prior: Option<usize>,
    /// Passes over these episodes
    #[arg(long, add = FixedOnResume::Value, add = FlagEffect::if_given("train-prior"), help_heading = "Model", value_name = "N", default_value_t = 10, value_parser = positive)]
    pub prior_epochs: usize,
    /// Learning rate of this fine-tuning; 5e-5 is right for a model of 135 million parameters
    #[arg(long, add = FixedOnResume::Value, add = FlagEffect::if_given("train-prior"), help_heading = "Model", default_value_t = 3e-3, value_parser = above_0::<f64>)]
    pub prior_learning_rate: f64,
    /// Divides the language model's log-probabilities of actions
    #[arg(long, add = FixedOnResume::Value, help_heading = "Model", default_value_t = 1.0, value_parser = above_0::<f64>)]
    pub guide_temperature: f64,
    /// A guide made from the solution, with this KL(π* ‖ guide) over an episode, in nats: 0 knows it, much is a wrong guide
    #[arg(long, add = InSummary, add = FixedOnResume::Value, help_heading = "Model", value_name = "NATS", value_parser = at_least_0::<f64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guide_divergence: Option<f64>,
    /// A guide made from the solution that knows the best action in this share of the states, and is as sure of a wrong one in the others
    #[arg(long, add = InSummary, add = FixedOnResume::Value, help_heading = "Model", value_name = "SHARE", value_parser = share::<f64>, conflicts_with = "guide_divergence")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guide_knows: Option<f64>,
    /// λ: LINVIT's weight of KL(π ‖ guide) a step, SLINVIT's of the guide's log-probability; 0 ignores the guide
    #[arg(long, add = InSummary, add = FixedOnResume::Value, add = FlagEffect::with("method", &["linvit", "slinvit"]), help_heading = "Objective", default_value_t = 0.02, value_parser = at_least_0::<f64>)]
    pub lambda: f64,
    /// c of LINVIT's bonus c / √n of an action that was taken n times
    #[arg(long, add = FixedOnResume::Value, add = FlagEffect::with("method", &["linvit"]), help_heading = "Objective", default_value_t = 0.05, value_parser = at_least_0::<f64>)]
    pub bonus: f64,
    /// SLINVIT's number of actions of a state that are tried, the likeliest ones
    #[arg(long, add = InSummary, add = FixedOnResume::Value, add = FlagEffect::with("method", &["slinvit"]), help_heading = "Objective", value_name = "K", default_value_t = 3, value_parser = positive)]
    pub breadth: usize,
    /// SLINVIT's number of actions to a sub-goal
    #[arg(long, add = InSummary, add = FixedOnResume::Value, add = FlagEffect::with("method", &["slinvit"]), help_heading = "Objective", value_name = "N", default_value_t = 3, value_parser = positive)]
    pub depth: usize,
    /// SLINVIT's value of a sub-goal
    #[arg(long, add = InSummary, add = FixedOnResume::Value, add = FlagEffect::with("method", &["slinvit"]), help_heading = "Objective", value_enum, default_value = "rule")]
    pub leaf: Leaf,
    /// Episodes of the guide that a Monte Carlo value is the mean of
    #[arg(long, add = FixedOnResume::Value, add = FlagEffect::with("leaf", &["monte-carlo"]), help_heading = "Objective", value_name = "N", default_value_t = 4, value_parser = positive)]
    pub rollouts: usize,
    /// What LMGT makes of the guide
    #[arg(long, add = InSummary, add = FixedOnResume::Value, add = FlagEffect::with("method", &["lmgt"]), help_heading = "Objective", value_enum, default_value = "signs")]
    pub shift: Shift,
    /// LMGT's largest shift of a reward
    #[arg(long, add = FixedOnResume::Value, add = FlagEffect::with("method", &["lmgt"]), help_heading = "Objective", default_value_t = 0.1, value_parser = at_least_0::<f64>)]
    pub shift_scale: f64,
    /// Episodes in which LMGT's shift falls to 0 [default: it does not fall]
    #[arg(long, add = FixedOnResume::Value, add = FlagEffect::with("method", &["lmgt"]), help_heading = "Objective", value_name = "N", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anneal: Option<usize>,
    /// When LaGR-SEQ asks the guide for the rest of a solution
    #[arg(long, add = InSummary, add = FixedOnResume::Value, add = FlagEffect::with("method", &["lagr-seq"]), help_heading = "Objective", value_enum, default_value = "learnt")]
    pub query: Query,
    /// LaGR-SEQ's price of a query; a solved task is worth 1
    #[arg(long, add = FixedOnResume::Value, add = FlagEffect::with("method", &["lagr-seq"]), help_heading = "Objective", default_value_t = 0.2, value_parser = at_least_0::<f64>)]
    pub query_price: f64,
    /// What holds the Q-functions of LMGT and LaGR-SEQ
    #[arg(long, add = InSummary, add = FixedOnResume::Value, add = FlagEffect::with("method", &["lmgt", "lagr-seq"]), help_heading = "Optimisation", value_enum, default_value = "table")]
    pub learner: Learner,
    /// Episodes of each seed
    #[arg(long, add = InSummary, add = FixedOnResume::Value, help_heading = "Optimisation", value_name = "N", default_value_t = 300, value_parser = positive)]
    pub episodes: usize,
    /// Episodes between two evaluations, which are exact but for SLINVIT
    #[arg(long, add = FixedOnResume::Value, help_heading = "Evaluation", value_name = "N", default_value_t = 5, value_parser = positive)]
    pub evaluate_every: usize,
    /// ε: a policy whose expected return is this close to the best one has learnt
    #[arg(long, help_heading = "Evaluation", default_value_t = 0.1, value_parser = above_0::<f64>)]
    pub epsilon: f64,
    /// Number of seeds, from --seed on; each has an environment of its own, and --threads of them are learnt at a time
    #[arg(long, help_heading = "Run", value_name = "N", default_value_t = 10, value_parser = positive)]
    pub seeds: usize,
    /// Show the first environment, and what the guide says of its first state; write nothing
    #[arg(long, help_heading = "Run", conflicts_with = "train_prior")]
    #[serde(skip)]
    pub show: bool,
    /// Run directory, threads and batches.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
}

/// How the guide is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// LINVIT: value iteration that is regularised towards the guide (Zhang et al. 2024)
    Linvit,
    /// SLINVIT: planning from sub-goal to sub-goal, by the guide and a value (Zhang et al. 2024)
    Slinvit,
    /// LMGT: Q-learning with rewards that the guide shifts (Deng et al. 2024)
    Lmgt,
    /// LaGR-SEQ: Q-learning that asks the guide to complete a task, and learns when to ask (Karimpanal et al. 2023)
    LagrSeq,
}

/// The name of a value on the command line.
pub fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().expect("no value is skipped").get_name().to_string()
}
