//! Samples of a policy: drawn, graded, and scored by a reward model. Independent of metrics and training.

pub(crate) mod completions;
pub(crate) mod given;
pub(crate) mod graded;
pub mod sample;
pub(crate) mod scores;
pub(crate) mod work;
