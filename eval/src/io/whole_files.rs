//! Files that are written whole or not at all, and outputs that are not regular files: devices, pipes, links.
//!
//! Not `tempfile`'s `persist`: its names are random, so each kill would leave a file behind; a fixed name is overwritten by the next attempt.

use anyhow::{Context, Result, bail, ensure};
use data::{Benchmark, DataOptions};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

/// The file of the labels that a policy of return-conditioned RL expects.
pub const CONDITIONING: &str = "conditioning.json";

/// Maximum number of links followed in a row; more are taken for a cycle.
const MAX_LINKS: usize = 40;

/// Where the bytes of an output go.
enum Destination {
    /// A regular file, or one that is not there yet: another takes its place once it is complete. No part of the path is a link to it.
    Replaced(PathBuf),
    /// What is open already: a device, a pipe, an output of this process.
    Into(File),
}

/// Writes a file whole or not at all, so that it outlives a crash of the machine. An existing file keeps its mode and, where that is
/// allowed, its owner; behind a symbolic link the file is written and the link stays. What is no regular file (a device, a pipe,
/// `/dev/stdout`, `/dev/fd/N`) is written into.
///
/// # Errors
/// Whatever the file system reports.
pub fn write_whole(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    let write = || match destination(path)? {
        Destination::Replaced(file) => replace(&file, contents.as_ref()),
        Destination::Into(mut file) => file.write_all(contents.as_ref()).and_then(|()| file.flush()),
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn destination(path: &Path) -> io::Result<Destination> {
    let mut place = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        if let Some(stream) = standard_stream(&place)? {
            return Ok(Destination::Into(stream));
        }
        let found = match fs::symlink_metadata(&place) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Destination::Replaced(place)),
            Err(error) => return Err(error),
        };
        if found.is_file() {
            return Ok(Destination::Replaced(place));
        }
        // The target of a link below /proc is no path: the file that it means is open.
        let parent = folder_of(&place);
        let is_open = found.is_symlink() && parent.canonicalize().is_ok_and(|parent| parent.starts_with("/proc"));
        if !found.is_symlink() || is_open {
            let is_file = fs::metadata(&place)?.is_file();
            return Ok(Destination::Into(OpenOptions::new().write(true).append(is_file).open(&place)?));
        }
        place = parent.join(fs::read_link(&place)?);
    }
    Err(io::Error::other("too many symbolic links, one behind the other"))
}

/// An output of this process that a path means: opened by its name, a file behind it would be written from its beginning.
#[cfg(unix)]
fn standard_stream(path: &Path) -> io::Result<Option<File>> {
    use std::os::fd::AsFd;
    let stream = match path.to_str() {
        Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => io::stdout().as_fd().try_clone_to_owned()?,
        Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => io::stderr().as_fd().try_clone_to_owned()?,
        _ => return Ok(None),
    };
    Ok(Some(File::from(stream)))
}

#[cfg(not(unix))]
fn standard_stream(_: &Path) -> io::Result<Option<File>> {
    Ok(None)
}

fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let write = || -> io::Result<()> {
        // A file left by an earlier attempt is not reused.
        remove_if_there(&unfinished)?;
        let mut file = OpenOptions::new().write(true).create_new(true).open(&unfinished)?;
        if let Ok(there) = fs::metadata(path) {
            take_over(&there, &unfinished)?;
        }
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        sync_entries(folder_of(path))
    };
    write().inspect_err(|_| {
        // The rest of a failed attempt is useless; it may not exist, which is no second error.
        let _ = fs::remove_file(&unfinished);
    })
}

/// Gives a file the mode of another and, where that is allowed, its owner.
fn take_over(there: &fs::Metadata, file: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, chown};
        // Only root gives files away.
        let _ = chown(file, Some(there.uid()), Some(there.gid()));
    }
    fs::set_permissions(file, there.permissions())
}

fn remove_if_there(file: &Path) -> io::Result<()> {
    fs::remove_file(file).or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// The folder of a file that may be named without one.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Renames a folder, once all files in it have reached the disk; and waits until its new name has.
///
/// # Errors
/// Whatever the file system reports.
pub fn rename_synced(from: &Path, to: &Path) -> io::Result<()> {
    sync_all_in(from)?;
    fs::rename(from, to)?;
    sync_entries(folder_of(to))
}

fn sync_all_in(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_all_in(&path)?;
        } else {
            OpenOptions::new().read(true).write(true).open(&path)?.sync_all()?;
        }
    }
    sync_entries(folder)
}

/// Waits until the names in a folder have reached the disk, where the file system can do that for folders.
#[cfg(unix)]
fn sync_entries(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

#[cfg(not(unix))]
fn sync_entries(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Refuses, before any work is done, outputs that cannot be written: in a folder that does not exist, a folder themselves, the same file
/// as an input or as another output. Outputs and inputs come with their flags; an input that is a folder stands for the files of a model
/// in it. Devices and pipes may be named several times.
///
/// # Errors
/// Naming the flag and the file.
pub fn check_outputs(outputs: &[(&str, &Path)], inputs: &[(&str, &Path)]) -> Result<()> {
    for (place, &(flag, output)) in outputs.iter().enumerate() {
        ensure!(folder_of(output).is_dir(), "--{flag}: the folder of {} does not exist: make it", output.display());
        ensure!(!output.is_dir(), "--{flag}: {} is a folder: give the name of a file", output.display());
        for &(other, input) in inputs {
            if files_of_input(input).iter().any(|input| are_one_file(output, input)) {
                bail!("--{flag} {} would overwrite what --{other} reads: give another file", output.display());
            }
        }
        if let Some((other, _)) = outputs[..place].iter().find(|(_, other)| are_one_file(output, other)) {
            bail!("--{other} and --{flag} both write {}: give two files", output.display());
        }
    }
    Ok(())
}

/// The files of a benchmark, as inputs of [`check_outputs`]: of a built-in one, those below `--data-dir`.
pub fn data_inputs(benchmark: &Benchmark, data_dir: Option<&Path>) -> Vec<(&'static str, PathBuf)> {
    const FILES: [&str; 4] =
        ["gsm8k/train.jsonl", "gsm8k/test.jsonl", "svamp/SVAMP.json", "svamp/mawps-asdiv-a_svamp/train.csv"];
    if !benchmark.is_built_in() {
        return benchmark.files(&DataOptions::default()).into_iter().map(|file| ("benchmark", file)).collect();
    }
    data_dir.into_iter().flat_map(|folder| FILES.map(|file| ("data-dir", folder.join(file)))).collect()
}

/// Whether two paths mean one regular file, there already or yet to be made.
fn are_one_file(first: &Path, second: &Path) -> bool {
    match (fs::metadata(first), fs::metadata(second)) {
        (Ok(one), Ok(other)) => one.is_file() && other.is_file() && is_same(first, &one, second, &other),
        (Err(_), Err(_)) => {
            let whole = |path: &Path| Some(folder_of(path).canonicalize().ok()?.join(path.file_name()?));
            whole(first).is_some_and(|first| whole(second) == Some(first))
        }
        _ => false,
    }
}

#[cfg(unix)]
fn is_same(_: &Path, one: &fs::Metadata, _: &Path, other: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(first: &Path, _: &fs::Metadata, second: &Path, _: &fs::Metadata) -> bool {
    first.canonicalize().is_ok_and(|first| second.canonicalize().is_ok_and(|second| first == second))
}

/// The file itself, or what makes a model in a folder.
fn files_of_input(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_path_buf()];
    }
    const BESIDE_WEIGHTS: [&str; 7] = [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "model.safetensors.index.json",
        CONDITIONING,
    ];
    let files = fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let is_part = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default();
        file.extension().is_some_and(|extension| extension == "safetensors")
            || BESIDE_WEIGHTS.iter().any(|known| name == *known)
    };
    files.filter(is_part).collect()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
    use std::{process::Command, thread};

    #[test]
    fn a_file_keeps_its_mode_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_whole(&path, "first").unwrap();
        for mode in [0o600, 0o664, 0o755] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            write_whole(&path, format!("{mode:o}")).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{mode:o}"));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn behind_a_link_the_file_is_written_and_the_link_stays() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, second, dangling] = ["file", "link", "second", "dangling"].map(|n| folder.path().join(n));
        fs::write(&file, "old").unwrap();
        symlink("file", &link).unwrap();
        symlink(&link, &second).unwrap();
        symlink("made", &dangling).unwrap();
        write_whole(&second, "new").unwrap();
        write_whole(&dangling, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::read_to_string(folder.path().join("made")).unwrap(), "new");
        for link in [&link, &second, &dangling] {
            assert!(fs::symlink_metadata(link).unwrap().is_symlink(), "{}", link.display());
        }
        symlink("circle", folder.path().join("circle")).unwrap();
        let error = format!("{:#}", write_whole(&folder.path().join("circle"), "").unwrap_err());
        assert!(error.contains("too many symbolic links"), "{error}");
    }

    #[test]
    fn devices_and_pipes_are_written_into_and_not_replaced() {
        write_whole(Path::new("/dev/null"), "gone").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        let folder = tempfile::tempdir().unwrap();
        let [link, pipe] = ["null", "pipe"].map(|name| folder.path().join(name));
        symlink("/dev/null", &link).unwrap();
        write_whole(&link, "gone").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).unwrap()
        });
        write_whole(&pipe, "through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_open_as_a_descriptor_is_written_into() {
        use std::os::fd::AsRawFd;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("open");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"begun ").unwrap();
        for name in ["/dev/fd", "/proc/self/fd"] {
            write_whole(&Path::new(name).join(file.as_raw_fd().to_string()), name).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "begun /dev/fd/proc/self/fd");
    }

    #[test]
    fn an_output_that_is_an_input_or_another_output_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str| folder.path().join(name);
        fs::create_dir(of("model")).unwrap();
        for name in ["a", "b", "model/config.json", "model/notes.json"] {
            fs::write(of(name), "").unwrap();
        }
        fs::hard_link(of("a"), of("hard")).unwrap();
        symlink("a", of("soft")).unwrap();
        let (a, model) = (of("a"), of("model"));
        let refused = |output: PathBuf| {
            let inputs: [(&str, &Path); 2] = [("predictions", &a), ("checkpoint", &model)];
            check_outputs(&[("out", &output)], &inputs).map_err(|error| error.to_string())
        };
        for name in ["a", "hard", "soft", "model/../a"] {
            assert!(
                refused(of(name)).unwrap_err().ends_with("would overwrite what --predictions reads: give another file")
            );
        }
        assert!(refused(of("model/config.json")).unwrap_err().contains("--checkpoint"));
        assert!(refused(of("model")).unwrap_err().contains("is a folder"));
        assert!(refused(of("nowhere/x")).unwrap_err().contains("does not exist: make it"));
        for name in ["b", "new", "model/notes.json"] {
            refused(of(name)).unwrap();
        }
        let both = |first: &Path, second: &Path| check_outputs(&[("out", first), ("per-sample", second)], &[]);
        assert!(
            both(&of("new"), &of("model/../new")).unwrap_err().to_string().starts_with("--out and --per-sample both")
        );
        assert!(both(&of("b"), &of("b")).is_err());
        both(&of("b"), &of("new")).unwrap();
        both(Path::new("/dev/null"), Path::new("/dev/null")).unwrap();
    }
}
