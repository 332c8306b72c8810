//! From graded samples to numbers: pass@k, maj@k, rerank@k, intervals over questions, calibration. Pure: no files, no random numbers,
//! no model.

mod at_k;
pub mod calibration;
mod interval;

pub use at_k::{Graded, maj_at_k, pass_at_k, rerank_at_k};
pub use calibration::{Bin, Calibration, Prediction};
pub use interval::Estimate;
pub(crate) use interval::normal;
