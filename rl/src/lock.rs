//! One process at a time: a file that is locked as long as its owner lives. The operating system frees the lock of a process that died.

use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// How often a lock may be removed by its last owner just when it is taken, before the file system is taken for one without locks.
const MOST_TRIES: usize = 1000;
/// How long to wait before a lock that another process has is asked for again.
const PAUSE: Duration = Duration::from_millis(200);

/// A lock that this process has. Its file goes with it.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: Option<File>,
}

impl Lock {
    /// Takes a lock; `None` where another process has it. On a file system without locks there is a warning, and nobody is kept out.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn try_take(path: &Path) -> Result<Option<Self>> {
        for _ in 0..MOST_TRIES {
            let file = OpenOptions::new().create(true).write(true).truncate(false).open(path);
            let file = file.with_context(|| format!("cannot make {}", path.display()))?;
            match file.try_lock() {
                Ok(()) if is_at(&file, path) => return Ok(Some(Self { path: path.to_path_buf(), file: Some(file) })),
                // Its owner has let go of it in the meantime, and removed it.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Ok(Some(Self::none(path, &error.to_string()))),
            }
        }
        Ok(Some(Self::none(path, "its file does not stay")))
    }

    /// Where there are no locks.
    fn none(path: &Path, why: &str) -> Self {
        tracing::warn!("{} cannot be locked ({why}): let no other process use what it is for", path.display());
        Self { path: path.to_path_buf(), file: None }
    }

    /// Takes a lock, once the process that has it lets go of it; `what` is said where that is to be waited for.
    ///
    /// # Errors
    /// As [`Lock::try_take`]; an interrupt.
    pub fn wait_for(path: &Path, what: &str) -> Result<Self> {
        let mut is_told = false;
        loop {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(lock);
            }
            if !is_told {
                tracing::warn!("{what}");
                is_told = true;
            }
            if crate::run::interrupted() {
                bail!("interrupted");
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Lock {
    /// Removed before it is let go of: whoever waits for it sees that, and makes another.
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!("{} is left behind: {error}", self.path.display());
        }
        self.file = None;
    }
}

/// Whether a file is still the one of this name.
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
    fn a_lock_is_had_by_one_at_a_time_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = Lock::try_take(&path).unwrap().unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(lock);
        assert!(!path.exists());
        // What a process left that died.
        fs::write(&path, "").unwrap();
        assert!(Lock::try_take(&path).unwrap().is_some());
        assert!(!path.exists());
        assert!(Lock::try_take(&folder.path().join("nowhere/lock")).is_err());
    }

    #[test]
    fn who_waits_gets_it_in_turn_and_never_two_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let inside = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let _lock = Lock::wait_for(&path, "waiting").unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    thread::sleep(Duration::from_millis(20));
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!(!path.exists());
    }
}
