//! Commands that do not train: complete prompts, export a checkpoint, measure speed, check a device.

pub mod bench;
pub mod check_data;
pub mod export;
pub mod generate;
pub mod verify;
