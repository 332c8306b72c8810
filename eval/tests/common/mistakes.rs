//! A folder of its own in which a program is run by mistake, and a check of what the mistake left behind.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

/// The folder, and the program that is run in it.
pub struct Place {
    folder: TempDir,
    program: &'static str,
}

impl Place {
    pub fn new(program: &'static str) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), program }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A copy of the folder `model` under another name, which is then spoilt.
    pub fn spoilt_model(&self, name: &str, spoil: impl FnOnce(&Path)) {
        copy(&self.path("model"), &self.path(name));
        spoil(&self.path(name));
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command.args(arguments).current_dir(self.folder.path()).env("RUST_BACKTRACE", "1");
        command.env_remove("RL_DATA_DIR").env_remove("RUST_LOG");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A usage error: exit code 2.
    #[track_caller]
    pub fn refuses_usage(&self, arguments: &[&str], parts: &[&str]) -> String {
        self.refuses(self.command(arguments), 2, parts)
    }

    /// Any other error: exit code 1, and not a line but the error.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str], parts: &[&str]) {
        let stderr = self.refuses(self.command(arguments), 1, parts);
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }

    /// Runs a command that must fail, print nothing that suggests success, leave every file as it was and make none; what
    /// it wrote to stderr.
    #[track_caller]
    pub fn refuses(&self, mut command: Command, code: i32, parts: &[&str]) -> String {
        let before = everything(self.folder.path());
        let output = command.output().unwrap();
        let stderr = error_of(&output, code, parts);
        assert!(output.stdout.is_empty(), "nothing that suggests success");
        let left = everything(self.folder.path());
        let names = |all: &[(PathBuf, Vec<u8>)]| all.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
        assert_eq!(names(&before), names(&left), "something half-written was left; {stderr}");
        assert!(before == left, "a file was changed; {stderr}");
        stderr
    }
}

/// Checks the exit code, and that stderr has one `error:` line with these parts in it and no trace of a panic.
#[track_caller]
pub fn error_of(output: &Output, code: i32, parts: &[&str]) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    for part in parts {
        assert!(errors[0].contains(part), "no `{part}` in: {}", errors[0]);
    }
    for trace in ["panicked", "backtrace", "RUST_BACKTRACE"] {
        assert!(!stderr.contains(trace), "{stderr}");
    }
    stderr
}

/// Every file with its bytes and every folder, below a folder.
pub fn everything(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(everything(&path));
            found.push((path, Vec::new()));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}
