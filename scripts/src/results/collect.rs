//! Keeps what a run came to as one small file.

use super::result::{Reports, RunResult, check_name};
use anyhow::{Context, Result};
use std::{fs, path::Path};

/// Reads a run directory and the reports on the test split, each where it is given, and writes the result. It is named as its file is.
///
/// # Errors
/// A name that could not be that of a run, a folder that is no run, a malformed file, what the file system says.
pub fn collect(model_and_seed: (&str, u64), run: Option<&Path>, reports: Reports<'_>, out: &Path) -> Result<()> {
    let name = out.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    check_name(name)?;
    let result = RunResult::of(name, model_and_seed, run, reports)?;
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let inputs = [
        ("report", reports.report),
        ("by-question", reports.by_question),
        ("single", reports.single),
        ("single-by-question", reports.single_by_question),
    ];
    let inputs: Vec<_> = inputs.into_iter().filter_map(|(flag, file)| Some((flag, file?))).collect();
    eval::check_outputs(&[("out", out)], &inputs)?;
    // Written whole or not at all: that it is there says that the run is done.
    eval::write_whole(out, serde_json::to_string(&result)? + "\n")
}
