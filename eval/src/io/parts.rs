//! Work that several processes or machines share: each makes a part, a file of JSON lines below a header; read together, the parts are
//! the work of one process. Independent of what the lines hold.

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use data::text::from_json_object;
use model::ranks;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{BufRead, BufReader, Write},
    ops::Range,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The flags of a process that makes one part.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Sampling")]
pub struct PartArgs {
    /// Sample only part I of N, write it to a file in --parts, and end: N processes, on any machines, share the sampling. The same command
    /// resumes its part; --from-samples 'DIR/*.jsonl' reads all of them
    #[arg(long, value_name = "I/N")]
    pub part: Option<Part>,
    /// The folder that --part writes to
    #[arg(long, value_name = "DIR", default_value = "parts", requires = "part")]
    pub parts: PathBuf,
}

/// Which of how many parts, counted from 1: `2/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    number: usize,
    of: usize,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            Some((number, of)) => Err(format!("there is no part {number} of {of}: parts are counted from 1 to {of}")),
            None => Err("give the number of the part and of all parts, such as 2/8".into()),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl Part {
    /// Its share of `items`, which are made in blocks of `block`: whole blocks in a row. Empty where there are fewer blocks than parts.
    pub fn range(self, items: usize, block: usize) -> Range<usize> {
        let blocks = items.div_ceil(block);
        let at = |number: usize| items.min(blocks * number / self.of * block);
        at(self.number - 1)..at(self.number)
    }

    /// The name of its file.
    fn file(self) -> String {
        let width = self.of.to_string().len();
        format!("part-{:0width$}-of-{}.jsonl", self.number, self.of)
    }
}

/// The first line of a part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    part: usize,
    of: usize,
    /// Lines below the header once it is complete.
    lines: usize,
    /// What all parts make together: the same in each of them.
    work: Map<String, Value>,
}

/// The file of a part that is being made. No other process can open it meanwhile.
pub struct PartFile {
    path: PathBuf,
    file: File,
    lines: usize,
}

impl PartFile {
    /// Begins the file of a part in a folder, or resumes it: `lines` lines, of which whole blocks of `block` are kept. `work` says what all
    /// parts make together.
    ///
    /// # Errors
    /// A part of other work in its place, a file that another process writes, errors of the file system.
    pub fn open(folder: &Path, part: Part, lines: usize, block: usize, work: Map<String, Value>) -> Result<Self> {
        ensure!(
            ranks::ranks() == 1,
            "--part works in one process: start it without mpirun, and without srun's several tasks"
        );
        let path = folder.join(part.file());
        let header = Header { part: part.number, of: part.of, lines, work };
        let cannot_write = || format!("cannot write {}", path.display());
        fs::create_dir_all(folder).with_context(cannot_write)?;
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path).with_context(cannot_write)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another process is writing {}", path.display()),
            Err(TryLockError::Error(error)) => {
                tracing::warn!(
                    "{} cannot be locked ({error}): make sure that no other process writes it",
                    path.display()
                );
            }
        }
        let mut part = Self { path, file, lines: 0 };
        part.take_up(&header, block)?;
        Ok(part)
    }

    /// Keeps the whole blocks of a file that was begun, or writes the header.
    fn take_up(&mut self, header: &Header, block: usize) -> Result<()> {
        let mut reader = BufReader::new(&self.file);
        let mut line = Vec::new();
        let length =
            reader.read_until(b'\n', &mut line).with_context(|| format!("cannot read {}", self.path.display()))?;
        if !line.ends_with(b"\n") {
            let written = self.file.set_len(0).and_then(|()| writeln!(self.file, "{}", serde_json::to_string(header)?));
            return written.with_context(|| format!("cannot write {}", self.path.display()));
        }
        let begun: Header = serde_json::from_slice(&line)
            .with_context(|| format!("{} is not a part that --part has written", self.path.display()))?;
        ensure!(
            begun == *header,
            "{} is a part of other work{}: remove it, or give another folder with --parts",
            self.path.display(),
            difference(&begun.work, &header.work)
        );
        let (mut kept, mut read, mut lines) = (length, length, 0);
        loop {
            line.clear();
            read += reader.read_until(b'\n', &mut line)?;
            if !line.ends_with(b"\n") {
                break;
            }
            lines += 1;
            if lines % block == 0 || lines == header.lines {
                (kept, self.lines) = (read, lines);
            }
        }
        drop(reader);
        self.file.set_len(kept as u64).with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// How many lines it has.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the next lines.
    ///
    /// # Errors
    /// A full disk.
    pub fn write<'a, L: Serialize + 'a>(&mut self, lines: impl IntoIterator<Item = &'a L>) -> Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
            self.lines += 1;
        }
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// The lines of a file, or of all parts of some work.
pub struct Gathered<L> {
    /// In the order of the work.
    pub lines: Vec<L>,
    /// What the parts make together; `None` of a file that is no part.
    pub work: Option<Map<String, Value>>,
}

/// Reads a file of JSON lines, or all parts of some work by a pattern such as `parts/*.jsonl`. `what` is what a line should be.
///
/// # Errors
/// A missing file; a line that is something else, by its number; parts that are missing, unfinished, there twice or of other work, by
/// their names.
pub fn gather<L: DeserializeOwned>(pattern: &Path, what: &str) -> Result<Gathered<L>> {
    let mut parts = Vec::new();
    let paths = paths(pattern)?;
    for path in &paths {
        let text = data::read_text(path)?;
        match header(&text) {
            Some(header) => parts.push((path, header, text)),
            None if paths.len() == 1 => return Ok(Gathered { lines: lines(path, &text, 0, what)?, work: None }),
            None => bail!(
                "{} is not a part that --part has written, and {} means {} files: give one file, or all parts of one work",
                path.display(),
                pattern.display(),
                paths.len()
            ),
        }
    }
    parts.sort_by_key(|(_, header, _)| header.part);
    let Some((first_path, Header { of, work, .. }, _)) = parts.first().cloned() else {
        bail!("cannot read {}: no file has such a name", pattern.display());
    };
    for (path, header, _) in &parts[1..] {
        ensure!(
            (header.of, &header.work) == (of, &work),
            "{} and {} are parts of different work{}",
            first_path.display(),
            path.display(),
            if header.of == of {
                difference(&work, &header.work)
            } else {
                format!(": of {of} parts, and of {}", header.of)
            }
        );
    }
    if let Some(pair) = parts.windows(2).find(|pair| pair[0].1.part == pair[1].1.part) {
        bail!("{} and {} are the same part: remove one", pair[0].0.display(), pair[1].0.display());
    }
    let missing: Vec<String> = (1..=of)
        .filter(|number| parts.iter().all(|(_, header, _)| header.part != *number))
        .map(|number| format!("{number}/{of}"))
        .collect();
    ensure!(missing.is_empty(), "{} lacks parts: make them with --part {}", pattern.display(), missing.join(", "));
    let mut all = Vec::new();
    for (path, header, text) in &parts {
        let found = text.lines().count() - 1;
        ensure!(
            found == header.lines && text.ends_with('\n'),
            "{} is unfinished, with {found} of {} lines: run its command again, with --part {}/{of}",
            path.display(),
            header.lines,
            header.part
        );
        all.extend(lines(path, text, 1, what)?);
    }
    Ok(Gathered { lines: all, work: Some(work) })
}

/// What the parts of some work make together, without their lines; `None` where a file is no part.
///
/// # Errors
/// A file that cannot be read.
pub fn work_of_parts(pattern: &Path) -> Result<Option<Map<String, Value>>> {
    let Some(path) = paths(pattern)?.into_iter().next() else { return Ok(None) };
    let mut first = String::new();
    let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    // What is not text is no part; reading all of it says so.
    Ok(BufReader::new(file).read_line(&mut first).ok().and_then(|_| header(&first)).map(|header| header.work))
}

/// The files that a path or a pattern means: a file of exactly this name comes first.
fn paths(pattern: &Path) -> Result<Vec<PathBuf>> {
    let text = pattern.to_str().filter(|text| text.contains(['*', '?', '[']) && !pattern.exists());
    let Some(text) = text else { return Ok(vec![pattern.to_path_buf()]) };
    let found = glob::glob(text).with_context(|| format!("{text} is not a pattern of files"))?;
    found.map(|path| path.with_context(|| format!("cannot read {text}"))).collect()
}

fn header(text: &str) -> Option<Header> {
    serde_json::from_str(text.lines().next()?).ok()
}

fn lines<L: DeserializeOwned>(path: &Path, text: &str, skipped: usize, what: &str) -> Result<Vec<L>> {
    let line = |(index, line): (usize, &str)| {
        from_json_object(line).with_context(|| format!("{}, line {}: not {what}", path.display(), index + 1))
    };
    text.lines().enumerate().skip(skipped).filter(|(_, line)| !line.trim().is_empty()).map(line).collect()
}

/// The first setting in which two works differ, in words.
fn difference(one: &Map<String, Value>, other: &Map<String, Value>) -> String {
    let differing = one.keys().chain(other.keys()).find(|key| one.get(*key) != other.get(*key));
    let value = |work: &Map<String, Value>, key: &str| work.get(key).map_or_else(|| "nothing".into(), Value::to_string);
    differing.map_or_else(String::new, |key| format!(": {key} is {}, and {}", value(one, key), value(other, key)))
}

#[cfg(test)]
mod tests;
