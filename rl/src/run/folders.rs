//! New folders: a run never writes into a directory that exists.

use anyhow::{Context, Result, anyhow};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// The error that a folder exists already.
#[derive(Debug)]
pub(super) struct DirectoryExists(String);

impl std::fmt::Display for DirectoryExists {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for DirectoryExists {}

/// Makes a folder that must not exist, and its parents; `made` receives those that did not exist. The folder appears with all that `fill`
/// writes into it, or not at all.
pub(super) fn make_folder(dir: &Path, made: &mut Vec<PathBuf>, fill: impl Fn(&Path) -> Result<()>) -> Result<()> {
    let failed = || format!("cannot make {}: give another --out", dir.display());
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists()) {
        let missing: Vec<&Path> = parent.ancestors().take_while(|folder| !folder.exists()).collect();
        let missing = missing.into_iter().rev().filter(|folder| !folder.as_os_str().is_empty()).map(Path::to_path_buf);
        let missing: Vec<PathBuf> = missing.collect();
        fs::create_dir_all(parent).with_context(failed)?;
        made.extend(missing);
    }
    let unfinished = hidden_folder_beside(dir).with_context(failed)?;
    fill(unfinished.path()).with_context(|| format!("cannot make {}", dir.display()))?;
    match fs::rename(unfinished.path(), dir) {
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) => {
            return Err(directory_exists(dir));
        }
        done => done.with_context(failed)?,
    }
    // It has another name now: nothing is removed.
    let _ = unfinished.keep();
    made.push(dir.to_path_buf());
    Ok(())
}

/// A new folder with the permissions that any folder gets; it is removed when it is dropped.
fn hidden_folder_beside(dir: &Path) -> Result<TempDir> {
    let name = dir.file_name().context("it has no name")?.to_string_lossy();
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let prefix = format!(".{name}-");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    Ok(builder.tempdir_in(parent)?)
}

pub(super) fn directory_exists(dir: &Path) -> anyhow::Error {
    let dir = dir.display();
    anyhow!(DirectoryExists(format!("{dir} exists already: give another --out, or resume it with --resume {dir}")))
}

pub(super) fn suffixed(path: &Path, suffix: &str) -> std::ffi::OsString {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name
}

/// Refuses a run directory that exists.
///
/// # Errors
/// If it does.
pub fn ensure_new(dir: &Path) -> Result<()> {
    if dir.exists() { Err(directory_exists(dir)) } else { Ok(()) }
}
