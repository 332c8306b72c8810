//! A run of several ranks. The first one alone writes the run directory. The others keep what they read back (checkpoints, samples) in a
//! folder of their own, which they remove at the end.

use crate::cli::args::RunArgs;
use anyhow::{Context, Result, ensure};
use model::ranks;
use std::{fs, path::Path};
use tempfile::TempDir;

/// Makes the flags of a run those of this rank; the folder that it keeps as long as it works.
///
/// # Errors
/// A dry run; a run to be resumed that this rank cannot read.
pub fn of_rank(args: &mut RunArgs) -> Result<Option<TempDir>> {
    if ranks::ranks() == 1 {
        return Ok(None);
    }
    ensure!(!args.dry_run, "--dry-run works in one process: start it without mpirun or srun");
    let folder = match ranks::is_first() {
        true => None,
        false => {
            let folder = TempDir::with_prefix(format!("rl-rank-{}-", ranks::rank())).context("cannot make a folder")?;
            let own = folder.path().join("run");
            match &mut args.resume {
                Some(dir) => {
                    copy(dir, &own).with_context(|| format!("rank {} cannot copy {}", ranks::rank(), dir.display()))?;
                    *dir = own;
                }
                None => args.out = Some(own),
            }
            args.quiet = true;
            Some(folder)
        }
    };
    let features = ranks::gather(model::cpu_features());
    if let Some(other) = features.iter().position(|other| *other != features[0]) {
        tracing::warn!(
            "the processors of ranks 0 and {other} differ ({} and {}): results may differ in their last digits, and the run ends if weights do",
            features[0],
            features[other]
        );
    }
    // The first rank changes a run only when all others have read it.
    ranks::gather(());
    Ok(folder)
}

/// Checks that something is the same in all ranks.
///
/// # Errors
/// If it is not, with the numbers of ranks that differ.
pub fn check_same(what: &str, step: usize, checksum: u32) -> Result<()> {
    let of_ranks = ranks::gather(checksum);
    let different = of_ranks.iter().position(|other| *other != of_ranks[0]);
    ensure!(
        different.is_none(),
        "{what} of ranks 0 and {} differ after step {step}: their processors may compute differently; use processors of one kind",
        different.unwrap_or_default()
    );
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else if entry.file_name() != ".lock" {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
