//! How to make a policy better: pretraining, SFT, reward models, Expert Iteration, PPO, return-conditioned RL, and the commands
//! around them. Samples and scores through `eval`.
//!
//! Arrows between these modules go one way, from the first to the last: [`command`] parses and runs, [`pipeline`] makes the models that
//! a command needs, [`algorithms`] train, and the others are what they are made of.

pub mod algorithms;
pub mod cli;
pub mod command;
pub mod objective;
pub mod pipeline;
pub mod run;
pub mod sampling;
pub mod tools;
pub mod training;
pub mod view;
