//! The paper's tables, figures and claims: the runs behind them, and how their results are shown. No language model is trained or
//! sampled here.
//!
//! `study.toml` declares all of it, and `study` has it as types. `results` has one small file a run, and means over the seeds of each
//! size; `exhibits` makes tables, figures and claims of them; `reproduce` does the runs by calling `rl` and `eval`. Each uses
//! those before it alone. Two stand by themselves: `comparisons`, a numerical study of the estimators behind reward models
//! that compare, and `guides`, language models that guide a learner (`rl guide`), declared in `guides.toml`.

pub mod comparisons;
mod door;
pub mod exhibits;
pub mod guides;
pub mod reproduce;
pub mod results;
pub mod study;

pub use door::{exhibit, exit, index, run_study};
