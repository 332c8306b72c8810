//! Losses, advantages and rewards: pure functions, each with its equation and its source. Independent of models, files
//! and random numbers.

pub mod advantage;
pub mod comparison;
pub mod components;
pub mod loss;
pub mod preference;
pub mod reward;
pub mod weights;
