//! Keeps what a run came to as one small file.

use super::result::{RunResult, check_name};
use anyhow::{Context, Result};
use std::{fs, path::Path};

/// Reads a run directory, the report on the test split and its scores by question, each where it is given, and writes the result. It is
/// named as its file is.
///
/// # Errors
/// A name that could not be that of a run, a folder that is no run, a malformed file, what the file system says.
pub fn collect(
    model_and_seed: (&str, u64),
    run: Option<&Path>,
    report: Option<&Path>,
    by_question: Option<&Path>,
    out: &Path,
) -> Result<()> {
    let name = out.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    check_name(name)?;
    let result = RunResult::of(name, model_and_seed, run, report, by_question)?;
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let inputs: Vec<_> = [("report", report), ("by-question", by_question)]
        .into_iter()
        .filter_map(|(flag, file)| Some((flag, file?)))
        .collect();
    eval::check_outputs(&[("out", out)], &inputs)?;
    // Written whole or not at all: that it is there says that the run is done.
    eval::write_whole(out, serde_json::to_string(&result)? + "\n")
}
