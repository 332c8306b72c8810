//! How good a policy is: sampling, scoring, metrics, reports. Independent of training.

mod evaluation;
pub mod external;
mod io;
pub mod linear;
pub mod metrics;
mod models;
mod reports;
mod sampling;
pub mod servers;

pub use evaluation::{
    evaluate::{Evaluation, evaluate, evaluate_part, greedy_accuracy},
    saved::evaluate_saved,
    score::{self, ScoreArgs},
};
pub use io::{
    checksums::{check_files, write_checksums},
    palette::PALETTE,
    parts, terminal,
    whole_files::{CONDITIONING, check_outputs, data_inputs, rename_synced, write_whole},
};
pub use metrics::{
    Bin, Calibration, Estimate, Graded, Prediction,
    calibration::{self, auc},
    maj_at_k, pass_at_k, rerank_at_k,
};
pub use models::{
    adapter::{load_extrapolated_weights, load_weights, read_shape},
    coverage::Coverage,
    likelihood::{Likelihood, Signal, Weights},
    policy::{self, Policy, load_tokenizer},
    resolve::{CheckpointIndex, read_index, resolve_checkpoint},
    reward_model::{self, Outcome, RewardModel, RewardModelKind},
};
pub use reports::{
    compare::{self, ByQuestion, CompareArgs, Questions},
    diversity::{self, Diversity},
    report::{self, About, Metric, MetricKind, Report, by_question, warn_of_unreadable},
    reward_report::{self, Agreement, LabelCheck, OrmReport, RankingCounts},
    table::{self, diversity_table, table},
};
pub use sampling::{
    completions::{
        SampleConfig, check_samples, complete, complete_prompts, complete_prompts_each, complete_until, encode_prompts,
    },
    graded::{check, sample_graded},
    sample::{self, Sample, ending, grade, read_samples},
    scores::score,
    work::sampling_work,
};
