//! The run directory: its files, metrics, checkpoints and lock, how they are written and read, and how a run is resumed.

pub mod checkpoints;
mod directory;
#[cfg(test)]
pub(crate) mod fixture;
mod folders;
mod interrupt;
mod lines;
pub mod lock;
pub mod metrics;
pub mod ranks;
pub mod read;
pub mod start;
pub mod tensorboard;

pub use checkpoints::{Reason, TrainerState, checkpoint_name, last_folder, read_state};
pub use directory::{INITIAL_REPORT, Run, comes_from_outside, has_configuration, lock, remove_unstarted};
pub use folders::ensure_new;
pub use interrupt::{interrupted, stop_on_interrupt, stops_after};
pub use lines::SampleBlocks;
pub(crate) use lines::{append_line, open_for_append};
