//! Evaluations of a policy, of saved samples, and of completions from elsewhere. Independent of training.

pub(crate) mod evaluate;
mod predictions;
pub(crate) mod saved;
pub mod score;
