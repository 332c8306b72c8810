//! How good is a policy: sampling, scoring, metrics, reports. Knows nothing of training.

mod adapter;
pub mod calibration;
pub mod compare;
pub mod diversity;
mod files;
mod hub;
mod likelihood;
pub mod metrics;
mod model_files;
mod palette;
pub mod policy;
mod predictions;
pub mod report;
pub mod reward_model;
pub mod reward_report;
pub mod sample;
mod saved;
pub mod score;
pub mod table;
pub mod terminal;

pub use adapter::{load_weights, read_shape};
pub use calibration::{Bin, Calibration, Prediction};
pub use compare::{ByQuestion, CompareArgs, Questions};
pub use diversity::Diversity;
pub use files::{check_outputs, data_inputs, rename_synced, write_whole};
pub use likelihood::{Likelihood, Signal, Weights};
pub use metrics::{Estimate, Graded, maj_at_k, pass_at_k, rerank_at_k};
pub use palette::PALETTE;
pub use policy::{CONDITIONING, CheckpointIndex, Policy, load_tokenizer, read_index, resolve_checkpoint};
pub use report::{About, Metric, MetricKind, Report, by_question, warn_of_unreadable};
pub use reward_model::{Outcome, RewardModel};
pub use reward_report::{Agreement, LabelCheck, OrmReport};
pub use sample::{
    Evaluation, Sample, SampleConfig, check_samples, complete, complete_prompts, complete_until, encode_prompts,
    ending, evaluate, grade, greedy_accuracy, read_samples, score,
};
pub use saved::evaluate_saved;
pub use score::ScoreArgs;
pub use table::{diversity_table, table};
