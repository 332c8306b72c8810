//! Results: one small file a run, read as means over the seeds of each size. Independent of tables and of how runs are done.
//!
//! - `result.rs`, `collect.rs`: the result of one run, and what it is collected from
//! - `size.rs`: folders of results, by size and seed
//! - `mean.rs`, `interval.rs`: means over seeds and questions, their intervals
//! - `blocks.rs`: the seeds' variance, pooled over comparable runs
//! - `looks.rs`: how often the interval of each look may miss, where seeds come in one after another

mod blocks;
mod collect;
#[cfg(test)]
mod coverage;
mod interval;
mod looks;
mod mean;
mod result;
mod size;

pub use blocks::{Pool, Spread};
pub use collect::collect;
pub use interval::{Cell, ERROR, mean_over_seeds, means_over_seeds, normal};
pub use looks::Looks;
pub use mean::{Mean, over_seeds};
pub use result::{Cost, Evaluation, Made, Reports, RunResult};
pub use size::{SeedRuns, Size, metric, questions_of, read_results, reports};
