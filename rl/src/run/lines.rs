//! Files of JSON lines that grow: appending to them, and cutting them to the step that a run is resumed from.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::Path,
};

/// Blocks in which the samples of a long step are written: `lines` at a time, `total` in all.
#[derive(Clone, Copy, Debug)]
pub struct SampleBlocks {
    /// Lines of a block; the last one of a step may have fewer.
    pub lines: usize,
    /// Lines of a step.
    pub total: usize,
}

impl SampleBlocks {
    /// Nothing of an unfinished step is kept.
    pub const NONE: Self = Self { lines: 1, total: 0 };
    /// All samples are written at once: all are kept.
    pub const ALL: Self = Self { lines: 1, total: usize::MAX };
}

pub(crate) fn open_for_append(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("cannot write {}", path.display()))
}

pub(crate) fn append_line(file: &mut File, value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(file.write_all(&line)?)
}

pub(super) fn remove_if_there(dir: &Path) -> Result<()> {
    if dir.exists() { Ok(fs::remove_dir_all(dir)?) } else { Ok(()) }
}

pub(super) fn remove_file_if_there(file: &Path) -> Result<()> {
    fs::remove_file(file).or_else(|error| match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(error.into()),
    })
}

/// The lines of a JSON-lines file up to `step`, and whole blocks of the next step; without a truncated line.
pub(super) fn lines_up_to(path: &Path, step: usize, blocks: SampleBlocks) -> Result<String> {
    #[derive(Deserialize)]
    struct Line {
        step: usize,
    }
    // A truncated line may end within a character.
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("{} is missing", path.display()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let step_of = |line: &str| serde_json::from_str::<Line>(line).ok().map(|line| line.step);
    let lines: Vec<(&str, usize)> =
        text.split_inclusive('\n').filter_map(|line| Some((line, step_of(line)?))).collect();
    let of_next = lines.iter().filter(|(_, of)| *of == step + 1).count().min(blocks.total);
    let mut room = if of_next == blocks.total { of_next } else { of_next / blocks.lines * blocks.lines };
    let mut is_kept = |of: usize| {
        let in_block = of == step + 1 && room > 0;
        room -= usize::from(in_block);
        of <= step || in_block
    };
    Ok(lines.iter().filter(|(_, of)| is_kept(*of)).map(|(line, _)| *line).collect())
}
