//! What methods in rounds share: Expert Iteration, preference optimisation in rounds, and the stages of MPO. A round samples solutions and
//! trains in a nested run of its own.

use crate::{
    cli::args::RunArgs,
    run,
    run::{Reason, Run, SampleBlocks, TrainerState},
    sampling::from_samples::check_copied,
    sampling::samples,
};
use anyhow::{Context, Result};
use data::Problem;
use eval::Policy;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Where the samples of a round come from.
pub(super) struct Source<'a> {
    /// The training problems.
    pub(super) train: &'a [Problem],
    /// Samples of each of them.
    pub(super) samples: usize,
    /// Whether those of the round that goes on are copied from a file.
    pub(super) is_copied: bool,
}

/// The nested run that trains the policy of a round.
pub(super) fn part_of_round(round: usize) -> String {
    format!("rounds/{round}")
}

/// Writes the policy after a round. The optimiser's state is that of the nested run.
///
/// # Errors
/// A full disk.
pub(super) fn checkpoint<N: Serialize>(
    run: &Run,
    policy: &Policy,
    reason: Reason,
    round: usize,
    numbers: N,
) -> Result<PathBuf> {
    let state = TrainerState { numbers, optimizer: BTreeMap::new() };
    run.checkpoint(round, reason, &policy.model, &policy.tokenizer, &state, |_| Ok(()))
}

/// Continues a run after `round` finished rounds, with the samples of the round that was interrupted.
///
/// # Errors
/// Samples of other problems or of another number, a directory that cannot be written.
pub(super) fn resume(
    command: &str,
    args: &RunArgs,
    config: &impl Serialize,
    dir: &Path,
    round: usize,
    Source { train, samples, is_copied }: Source<'_>,
) -> Result<Run> {
    let blocks = if is_copied {
        check_copied(dir, train)?;
        SampleBlocks::ALL
    } else {
        samples::check_sampled(dir, round + 1, train, samples)?;
        samples::blocks(train.len(), samples, &args.compute)
    };
    let run = Run::resume_keeping_samples(dir, round, blocks)?;
    let run = run::start::complete_resume(run, args, command, config)?;
    // A run that is resumed from an earlier checkpoint makes later rounds again.
    for later in (round + 2..).map(|later| dir.join(part_of_round(later))).take_while(|later| later.exists()) {
        fs::remove_dir_all(&later).with_context(|| format!("cannot remove {}", later.display()))?;
    }
    Ok(run)
}
