//! Work of many like parts, a line of a file each, written as it is done. Knows not what it is.
//!
//! An interrupted run takes up whole chunks again, so that the batches of a resumed run are those of the run that never stopped.

use crate::{
    inspect::read::json_lines,
    progress::Progress,
    run::{Run, append_line, append_to},
};
use anyhow::{Context, Result, ensure};
use serde::{Serialize, de::DeserializeOwned};
use std::{ops::Range, path::Path};

/// Rows that are sampled and written at a time: what an interrupt can lose.
const CHUNK_ROWS: usize = 1024;

/// Questions, or beginnings, of a chunk with so many samples each.
pub(crate) fn chunk(samples: usize) -> usize {
    CHUNK_ROWS.div_ceil(samples)
}

/// How work is done in chunks.
pub struct Chunked<'a> {
    /// Whose it is.
    pub run: &'a Run,
    /// The name of the file in the run directory.
    pub file: &'static str,
    /// What the bar is called.
    pub label: &'static str,
    /// What it counts.
    pub unit: &'static str,
    /// How many of them there are to a line: rows that are sampled.
    pub per_line: usize,
    /// No bar.
    pub quiet: bool,
}

impl Chunked<'_> {
    /// All lines, in order: those that the file has, and what `make` makes of the places of a chunk. `belongs` says whether a line of
    /// the file is the one of its place.
    ///
    /// # Errors
    /// A file with other lines than belong there, a full disk, an interrupt, what `make` says.
    pub fn lines<L: Serialize + DeserializeOwned>(
        &self,
        total: usize,
        belongs: impl Fn(usize, &L) -> bool,
        mut make: impl FnMut(Range<usize>, &Progress) -> Result<Vec<L>>,
    ) -> Result<Vec<L>> {
        let path = self.run.dir().join(self.file);
        let mut lines: Vec<L> = taken_up(&path, chunk(self.per_line), total)?;
        ensure!(
            lines.len() <= total && lines.iter().enumerate().all(|(place, line)| belongs(place, line)),
            "{} is of other work than is to be done now: what the run was begun with has changed",
            path.display()
        );
        let mut file = append_to(&path)?;
        let progress = Progress::new(total * self.per_line, self.label, self.unit, self.quiet);
        progress.start_at(lines.len() * self.per_line);
        while lines.len() < total {
            if crate::run::interrupted() {
                return Err(self.run.interruption());
            }
            let places = lines.len()..total.min(lines.len() + chunk(self.per_line));
            let made = make(places, &progress)?;
            for line in &made {
                append_line(&mut file, line).with_context(|| format!("cannot write {}", path.display()))?;
            }
            lines.extend(made);
        }
        Ok(lines)
    }
}

/// The whole chunks of an interrupted run; what stands behind them is dropped from the file.
fn taken_up<L: Serialize + DeserializeOwned>(path: &Path, chunk: usize, total: usize) -> Result<Vec<L>> {
    let mut lines: Vec<L> = Vec::new();
    json_lines(path, |_, line| {
        lines.push(line);
        Ok(())
    })?;
    if lines.len() < total {
        lines.truncate(lines.len() / chunk * chunk);
    }
    if path.exists() {
        let kept: Vec<String> = lines.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        eval::write_whole(path, kept.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>().as_bytes())?;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::RefCell, fs};

    fn squares(run: &Run, total: usize, made: &RefCell<Vec<usize>>) -> Result<Vec<[usize; 2]>> {
        // Two lines a chunk.
        let per_line = CHUNK_ROWS / 2;
        let work = Chunked { run, file: "squares.jsonl", label: "square", unit: "numbers", per_line, quiet: true };
        let belongs = |place: usize, [number, _]: &[usize; 2]| *number == place;
        work.lines(total, belongs, |places, _| {
            made.borrow_mut().extend(places.clone());
            Ok(places.map(|place| [place, place * place]).collect())
        })
    }

    #[test]
    fn whole_chunks_are_taken_up_and_all_else_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::create(&folder.path().join("run"), "augment", &serde_json::Map::new()).unwrap();
        let file = run.dir().join("squares.jsonl");
        let all = [[0, 0], [1, 1], [2, 4], [3, 9], [4, 16]];
        let made = RefCell::default();
        assert_eq!(squares(&run, 5, &made).unwrap(), all);
        assert_eq!(made.take(), [0, 1, 2, 3, 4]);
        let whole = fs::read(&file).unwrap();
        // What is whole is not made again, and neither is a last chunk that is shorter.
        assert_eq!(squares(&run, 5, &made).unwrap(), all);
        assert!(made.take().is_empty());
        // Cut in the fourth line: the second chunk is made anew.
        fs::write(&file, "[0,0]\n[1,1]\n[2,4]\n[3,").unwrap();
        assert_eq!(squares(&run, 5, &made).unwrap(), all);
        assert_eq!(made.take(), [2, 3, 4]);
        assert_eq!(fs::read(&file).unwrap(), whole);
        // What is there is used, whatever would be made now.
        fs::write(&file, "[0,7]\n[1,1]\n").unwrap();
        assert_eq!(squares(&run, 3, &made).unwrap(), [[0, 7], [1, 1], [2, 4]]);
    }

    #[test]
    fn lines_of_other_work_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::create(&folder.path().join("run"), "augment", &serde_json::Map::new()).unwrap();
        let file = run.dir().join("squares.jsonl");
        for other in ["[5,25]\n[6,36]\n", "[0,0]\n[1,1]\n[2,4]\n[3,9]\n"] {
            fs::write(&file, other).unwrap();
            let error = squares(&run, 3, &RefCell::default()).unwrap_err().to_string();
            assert!(error.contains("squares.jsonl is of other work"), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), other, "nothing is lost");
        }
    }
}
