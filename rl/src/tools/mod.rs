//! Commands that do not train: complete prompts, make pairs of samples, export a checkpoint, measure speed, check a device.

pub mod bench;
pub mod check_data;
pub mod export;
pub mod extrapolate;
pub mod generate;
pub mod make_pairs;
pub mod verify;
