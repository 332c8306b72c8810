//! Results: one small file a run, read as means over the seeds of each size. Independent of tables and of how runs are done.

mod collect;
mod interval;
mod result;
mod size;

pub use collect::collect;
pub use interval::{Cell, Crossed, ERROR, mean_over_seeds, means_over_seeds, normal, over_seeds};
pub use result::{Cost, Evaluation, Made, RunResult};
pub use size::{SeedRuns, Size, metric, questions_of, read_results, reports};
