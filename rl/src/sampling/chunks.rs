//! Work in chunks: each item is one line of a file, written when its chunk is finished. Independent of the kind of
//! work.
//!
//! A resumed run keeps whole chunks only, so its batches are the same as those of an uninterrupted run.

use crate::{
    run::read::json_lines,
    run::{Run, append_line, open_for_append},
    view::progress::Progress,
};
use anyhow::{Context, Result, ensure};
use eval::SampleConfig;
use serde::{Serialize, de::DeserializeOwned};
use std::{ops::Range, path::Path};

/// Rows sampled and written per chunk at least; an interrupt can lose one chunk.
const CHUNK_ROWS: usize = 1024;

/// Batches of a chunk for each stream of `--rollout-streams`: a stream that has its last rows left would sample them alone otherwise.
const BATCHES_PER_STREAM: usize = 2;

/// Number of questions or prefixes per chunk, with `samples` samples each: as many as give all streams batches of `rows` rows.
pub(crate) fn chunk(samples: usize, rows: usize, streams: Option<usize>) -> usize {
    let of_streams = streams.unwrap_or(0) * rows * BATCHES_PER_STREAM;
    CHUNK_ROWS.max(of_streams).div_ceil(samples)
}

/// How work is done in chunks.
pub struct ChunkedWork<'a> {
    /// The run that the work belongs to.
    pub run: &'a Run,
    /// The name of the file in the run directory.
    pub file: &'static str,
    /// Label of the progress bar.
    pub label: &'static str,
    /// Unit of the progress bar.
    pub unit: &'static str,
    /// Units (sampled rows) per line of the file.
    pub per_line: usize,
    /// How rows are sampled; the size of a chunk follows from its streams and batches.
    pub sampling: &'a SampleConfig,
    /// Whether to hide the progress bar.
    pub quiet: bool,
}

impl ChunkedWork<'_> {
    fn lines_of_chunk(&self) -> usize {
        chunk(self.per_line, self.sampling.rows, self.sampling.streams)
    }

    /// All lines, in order: those of the file, then those that `make` computes for the items of each chunk. `belongs`
    /// checks that a line of the file belongs to its item.
    ///
    /// # Errors
    /// A file of other work, a full disk, an interrupt, errors of `make`.
    pub fn lines<L: Serialize + DeserializeOwned>(
        &self,
        total: usize,
        belongs: impl Fn(usize, &L) -> bool,
        mut make: impl FnMut(Range<usize>, &Progress) -> Result<Vec<L>>,
    ) -> Result<Vec<L>> {
        let path = self.run.dir().join(self.file);
        let mut lines: Vec<L> = taken_up(&path, self.lines_of_chunk(), total)?;
        ensure!(
            lines.len() <= total && lines.iter().enumerate().all(|(place, line)| belongs(place, line)),
            "{} holds other work than this run would do now: the configuration or the problems of the run have changed",
            path.display()
        );
        let mut file = open_for_append(&path)?;
        let progress = Progress::new(total * self.per_line, self.label, self.unit, self.quiet);
        progress.start_at(lines.len() * self.per_line);
        while lines.len() < total {
            if crate::run::interrupted() {
                return Err(self.run.interruption());
            }
            let places = lines.len()..total.min(lines.len() + self.lines_of_chunk());
            let made = make(places, &progress).map_err(|error| self.run.with_resume(error))?;
            for line in &made {
                append_line(&mut file, line).with_context(|| format!("cannot write {}", path.display()))?;
            }
            lines.extend(made);
        }
        Ok(lines)
    }
}

/// Reads the whole chunks of an interrupted run and drops the rest from the file.
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
    use crate::{algorithms::pretrain::PretrainConfig, cli::defaults::declared};
    use data::Prompting;
    use model::Device;
    use std::{cell::RefCell, fs};

    #[test]
    fn a_chunk_has_two_batches_for_each_stream_that_is_asked_for_and_1024_rows_at_least() {
        assert_eq!([chunk(1, 128, None), chunk(4, 128, None), chunk(4, 128, Some(2))], [1024, 256, 256]);
        assert_eq!([chunk(1, 128, Some(16)), chunk(3, 128, Some(16))], [4096, 1366]);
    }

    fn squares(run: &Run, total: usize, made: &RefCell<Vec<usize>>) -> Result<Vec<[usize; 2]>> {
        // Two lines per chunk.
        let per_line = CHUNK_ROWS / 2;
        let PretrainConfig { run: flags, data, .. } = declared();
        let prompting = Prompting::bare(data.prompt_format());
        let sampling = &flags.compute.sampling(&data, prompting, 1, 1.0, &Device::default());
        let (file, label, unit) = ("squares.jsonl", "square", "numbers");
        let work = ChunkedWork { run, file, label, unit, per_line, sampling, quiet: true };
        let belongs = |place: usize, [number, _]: &[usize; 2]| *number == place;
        work.lines(total, belongs, |places, _| {
            made.borrow_mut().extend(places.clone());
            Ok(places.map(|place| [place, place * place]).collect())
        })
    }

    #[test]
    fn complete_chunks_are_kept_and_the_rest_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::create(&folder.path().join("run"), "augment", &serde_json::Map::new()).unwrap();
        let file = run.dir().join("squares.jsonl");
        let all = [[0, 0], [1, 1], [2, 4], [3, 9], [4, 16]];
        let made = RefCell::default();
        assert_eq!(squares(&run, 5, &made).unwrap(), all);
        assert_eq!(made.take(), [0, 1, 2, 3, 4]);
        let whole = fs::read(&file).unwrap();
        // A complete chunk is not made again, and neither is a shorter last one.
        assert_eq!(squares(&run, 5, &made).unwrap(), all);
        assert!(made.take().is_empty());
        // Cut in the fourth line: the second chunk is made anew.
        fs::write(&file, "[0,0]\n[1,1]\n[2,4]\n[3,").unwrap();
        assert_eq!(squares(&run, 5, &made).unwrap(), all);
        assert_eq!(made.take(), [2, 3, 4]);
        assert_eq!(fs::read(&file).unwrap(), whole);
        // Lines that exist are used, whatever would be made now.
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
            assert!(error.contains("squares.jsonl holds other work"), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), other, "nothing is lost");
        }
    }
}
