//! Models with their tokenizers, loaded from any supported path: here text and tensors meet. Independent of problems
//! and answers.

pub(crate) mod adapter;
pub(crate) mod coverage;
mod file_kinds;
mod hub;
pub(crate) mod likelihood;
pub mod policy;
pub(crate) mod resolve;
pub mod reward_model;
