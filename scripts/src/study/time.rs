//! How long runs take, by what the same runs of the same size have taken. Independent of what they do.

use anyhow::{Context, Result};
use std::{collections::BTreeMap, fs::OpenOptions, io::Write, path::Path};

/// Seconds by size and name of a run.
#[derive(Debug, Default)]
pub struct Times(BTreeMap<String, Vec<f64>>);

/// How long some runs take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expected {
    /// The sum over those that are known.
    pub seconds: f64,
    /// How many are not.
    pub unknown: usize,
}

impl Times {
    /// Reads a file of lines `SIZE NAME<tab>SECONDS`; what a file before has of the same runs is replaced. A missing file has none.
    pub fn read(&mut self, path: &Path) {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (run, seconds) in text.lines().filter_map(|line| line.split_once('\t')) {
            times.entry(run.into()).or_default().extend(seconds.parse::<f64>().ok());
        }
        self.0.extend(times);
    }

    /// The sum of the means.
    pub fn expected<'a>(&self, runs: impl Iterator<Item = (&'a str, &'a str)>) -> Expected {
        runs.fold(Expected::default(), |Expected { seconds, unknown }, (size, name)| {
            match self.0.get(&format!("{size} {name}")).filter(|times| !times.is_empty()) {
                Some(times) => Expected { seconds: seconds + times.iter().sum::<f64>() / times.len() as f64, unknown },
                None => Expected { seconds, unknown: unknown + 1 },
            }
        })
    }
}

/// Appends a run to the file that [`Times::read`] reads.
///
/// # Errors
/// What the file system says.
pub fn append_time(path: &Path, size: &str, name: &str, seconds: u64) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let line = format!("{size} {name}\t{seconds}\n");
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} min left", (self.seconds / 60.0) as u64)?;
        match self.unknown {
            0 => Ok(()),
            unknown => write!(f, " and {unknown} runs of unknown length"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_the_mean_of_the_same_runs_and_those_of_this_machine_count_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, here) = (folder.path().join("kept.tsv"), folder.path().join("here.tsv"));
        append_time(&kept, "tiny", "ei", 100).unwrap();
        append_time(&kept, "tiny", "ppo", 600).unwrap();
        append_time(&here, "tiny", "ei", 60).unwrap();
        append_time(&here, "tiny", "ei", 180).unwrap();
        let mut times = Times::default();
        for path in [&kept, &here, &folder.path().join("missing")] {
            times.read(path);
        }
        let expected = times.expected([("tiny", "ei"), ("tiny", "ppo"), ("nano", "ei")].into_iter());
        assert_eq!(expected, Expected { seconds: 720.0, unknown: 1 });
        assert_eq!(expected.to_string(), "12 min left and 1 runs of unknown length");
    }
}
