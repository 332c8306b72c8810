//! Sampling for the algorithms: many samples of many questions, completions of step prefixes, rollouts, and curricula.
//! Independent of losses.

pub mod chunks;
pub mod curriculum;
pub mod deduplicate;
pub mod from_samples;
pub mod labelled;
pub mod pairs;
pub mod prefix;
pub mod problems;
pub mod rollout;
pub mod samples;
