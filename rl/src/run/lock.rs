//! A lock file: one process at a time works on a run. The operating system releases the lock of a process that died.

use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// Attempts to take a lock that its last owner removes at the same moment, before the file system counts as one without
/// locks.
const MAX_TRIES: usize = 1000;
/// Pause between two attempts to take a lock.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A lock that this process holds. Its file is removed with it.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: Option<File>,
}

impl Lock {
    /// Takes a lock; `None` if another process holds it. On a file system without locks, a warning replaces the lock.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn try_lock(path: &Path) -> Result<Option<Self>> {
        for _ in 0..MAX_TRIES {
            let file = OpenOptions::new().create(true).write(true).truncate(false).open(path);
            let file = file.with_context(|| format!("cannot make {}", path.display()))?;
            match file.try_lock() {
                Ok(()) if is_at(&file, path) => return Ok(Some(Self { path: path.to_path_buf(), file: Some(file) })),
                // Its owner has released and removed it in the meantime.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Ok(Some(Self::none(path, &error.to_string()))),
            }
        }
        Ok(Some(Self::none(path, "its file keeps disappearing")))
    }

    /// The substitute on a file system without locks.
    fn none(path: &Path, why: &str) -> Self {
        tracing::warn!(
            "{} cannot be locked ({why}): make sure that no other process works on the same run or model",
            path.display()
        );
        Self { path: path.to_path_buf(), file: None }
    }

    /// Waits until the lock is free and takes it; prints `what` if it has to wait.
    ///
    /// # Errors
    /// As [`Lock::try_lock`]; an interrupt.
    pub fn wait(path: &Path, what: &str) -> Result<Self> {
        let mut has_warned = false;
        loop {
            if let Some(lock) = Self::try_lock(path)? {
                return Ok(lock);
            }
            if !has_warned {
                tracing::warn!("{what}");
                has_warned = true;
            }
            if super::interrupt::interrupted_here() {
                bail!("interrupted");
            }
            thread::sleep(RETRY_PAUSE);
        }
    }
}

impl Drop for Lock {
    /// The file is removed before the lock is released: a waiting process notices that and makes another.
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!("{} is left behind: {error}", self.path.display());
        }
        self.file = None;
    }
}

/// Whether an open file is still the file at this path.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (Ok(held), Ok(named)) = (file.metadata(), fs::metadata(path)) else { return false };
        (held.dev(), held.ino()) == (named.dev(), named.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_process_at_a_time_holds_a_lock_and_no_file_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = Lock::try_lock(&path).unwrap().unwrap();
        assert!(Lock::try_lock(&path).unwrap().is_none());
        drop(lock);
        assert!(!path.exists());
        // The file that a dead process left.
        fs::write(&path, "").unwrap();
        assert!(Lock::try_lock(&path).unwrap().is_some());
        assert!(!path.exists());
        assert!(Lock::try_lock(&folder.path().join("nowhere/lock")).is_err());
    }

    #[test]
    fn waiting_processes_get_the_lock_in_turn_and_never_two_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let inside = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let _lock = Lock::wait(&path, "waiting").unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    thread::sleep(Duration::from_millis(20));
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!(!path.exists());
    }
}
