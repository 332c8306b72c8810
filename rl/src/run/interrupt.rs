//! Ctrl-C: a run stops after its current step, with a checkpoint to resume from.

use crate::cli::args::RunArgs;
use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by the signal handler, which can reach no other state: signals are global to the process.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on, Ctrl-C stops after the current step; a second Ctrl-C stops at once.
///
/// # Errors
/// If the handler cannot be set.
pub fn stop_on_interrupt() -> Result<()> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; Ctrl-C again stops at once");
    })
    .context("cannot listen for Ctrl-C")
}

/// Whether a run is to stop after `step` steps: Ctrl-C, or `--stop-after`.
pub fn stops_after(args: &RunArgs, step: usize) -> bool {
    interrupted() | (args.stop_after == Some(step))
}

/// Whether Ctrl-C was pressed, on any rank. All ranks ask at the same time.
pub fn interrupted() -> bool {
    model::ranks::any(interrupted_here())
}

/// Whether Ctrl-C was pressed, whatever other ranks do.
pub(super) fn interrupted_here() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}
