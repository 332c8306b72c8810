//! How good is a policy: sampling, scoring, metrics, reports. Knows nothing of training.

pub mod metrics;
pub mod policy;
pub mod report;
pub mod sample;
pub mod score;
pub mod terminal;

pub use metrics::{Estimate, Graded, maj_at_k, pass_at_k, rerank_at_k};
pub use policy::{CheckpointIndex, Policy, read_index, resolve_checkpoint};
pub use report::{About, Metric, MetricKind, Report, table};
pub use sample::{
    Evaluation, Sample, SampleConfig, check_samples, complete, encode_prompts, evaluate, grade, greedy_accuracy,
};
pub use score::ScoreArgs;
