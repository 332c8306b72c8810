//! How to make a policy better: pretraining, SFT, reward models, Expert Iteration, PPO, return-conditioned RL, and the commands
//! around them. Samples and scores through `eval`.
//!
//! Dependencies go from the first of these to the last: [`command`] parses and runs; [`pipeline`] makes the models that a command
//! needs; [`algorithms`] and [`tools`] are what the commands do; [`sampling`] and [`training`] are the two halves of an algorithm;
//! [`objective`], [`run`], [`cli`] and [`view`] serve them all. No file depends on itself through others.

pub mod algorithms;
pub mod cli;
pub mod command;
pub mod guided;
pub mod objective;
pub mod pipeline;
pub mod run;
pub mod sampling;
pub mod tools;
pub mod training;
pub mod view;
