//! Event files for TensorBoard: numbers with a name and a step. Independent of their meaning.
//!
//! An event file is a list of TFRecords, each of which holds an `Event` message as protocol buffers encode it. Scalars
//! need five fields of the schema (`tensorflow/core/util/event.proto`, `framework/summary.proto`), so they are written
//! here: the crates that write event files want `protoc` at build time, or bring codecs of images.

use crate::run::metrics::Metrics;
use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// An event file that is being written.
pub struct TensorBoard {
    path: PathBuf,
    file: File,
    started: bool,
}

/// The content of an event.
enum Event<'a> {
    /// The first event of every file.
    FileVersion,
    /// Values of an earlier part of the run that lie at this step or after it are void.
    SessionStart,
    /// Values of a step.
    Scalars(&'a [(&'a str, f64)]),
}

impl TensorBoard {
    /// Starts a new event file in `<dir>/tensorboard/`, beside those of earlier parts of the run.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn open(dir: &Path) -> Result<Self> {
        let folder = dir.join("tensorboard");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let (path, file) = new_file(&folder)?;
        let mut board = Self { path, file, started: false };
        board.write(0, &Event::FileVersion)?;
        Ok(board)
    }

    /// Writes a number.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn log(&mut self, step: usize, name: &str, value: f64) -> Result<()> {
        self.log_all(step, &[(name, value)])
    }

    /// Writes every number of a line of `metrics.jsonl`.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn log_metrics(&mut self, metrics: &Metrics) -> Result<()> {
        let Value::Object(line) = serde_json::to_value(metrics)? else { return Ok(()) };
        let step = line.get("step").and_then(Value::as_u64).context("metrics without a step")? as usize;
        let named = |(name, value): (&'_ String, &Value)| Some((name.clone(), value.as_f64()?));
        let values: Vec<(String, f64)> = line.iter().filter_map(named).filter(|(name, _)| name != "step").collect();
        let values: Vec<(&str, f64)> = values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        self.log_all(step, &values)
    }

    fn log_all(&mut self, step: usize, values: &[(&str, f64)]) -> Result<()> {
        // A resumed run continues from its last checkpoint and writes later values again.
        if !self.started {
            self.write(step, &Event::SessionStart)?;
            self.started = true;
        }
        self.write(step, &Event::Scalars(values))
    }

    fn write(&mut self, step: usize, event: &Event<'_>) -> Result<()> {
        let record = record(&encode(since_epoch(), step, event));
        self.file.write_all(&record).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// A new file of this process. TensorBoard reads the files of a folder in the order of their names.
fn new_file(folder: &Path) -> Result<(PathBuf, File)> {
    let seconds = since_epoch().as_secs();
    for number in 0.. {
        let path = folder.join(format!("events.out.tfevents.{seconds:010}.rl.{number:04}"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            opened => {
                let file = opened.with_context(|| format!("cannot write {}", path.display()))?;
                return Ok((path, file));
            }
        }
    }
    unreachable!("there is a number that no file has")
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// A TFRecord: the length, its checksum, the data, its checksum; all little-endian.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked_checksum(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_checksum(data).to_le_bytes());
    record
}

/// CRC-32C, rotated and shifted: the format wants it so, as the checksum of data that has checksums in it is weak.
fn masked_checksum(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// An `Event` message: wall_time = 1 (double), step = 2, file_version = 3, summary = 5, session_log = 7.
fn encode(wall_time: Duration, step: usize, event: &Event<'_>) -> Vec<u8> {
    let mut message = field(1, Wire::Bits64(wall_time.as_secs_f64()));
    message.extend(field(2, Wire::Varint(step as u64)));
    message.extend(match event {
        Event::FileVersion => field(3, Wire::Bytes(b"brain.Event:2")),
        // SessionLog: status = 1, of which START is 1.
        Event::SessionStart => field(7, Wire::Bytes(&field(1, Wire::Varint(1)))),
        Event::Scalars(values) => {
            // Summary: value = 1, repeated.
            let summary: Vec<u8> =
                values.iter().flat_map(|&(name, value)| field(1, Wire::Bytes(&scalar(name, value)))).collect();
            field(5, Wire::Bytes(&summary))
        }
    });
    message
}

/// A `Summary.Value` message: tag = 1, simple_value = 2 (float).
fn scalar(name: &str, value: f64) -> Vec<u8> {
    let mut message = field(1, Wire::Bytes(name.as_bytes()));
    message.extend(field(2, Wire::Bits32(value as f32)));
    message
}

/// The four ways in which protocol buffers put a value.
enum Wire<'a> {
    Varint(u64),
    Bits64(f64),
    Bytes(&'a [u8]),
    Bits32(f32),
}

fn field(number: u64, value: Wire<'_>) -> Vec<u8> {
    let tagged = |wire_type: u64| varint(number << 3 | wire_type);
    match value {
        Wire::Varint(value) => [tagged(0), varint(value)].concat(),
        Wire::Bits64(value) => [tagged(1), value.to_le_bytes().to_vec()].concat(),
        Wire::Bytes(bytes) => [tagged(2), varint(bytes.len() as u64), bytes.to_vec()].concat(),
        Wire::Bits32(value) => [tagged(5), value.to_le_bytes().to_vec()].concat(),
    }
}

/// Seven bits per byte, the lowest first; the top bit says that more follow.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of an event file, every checksum checked.
    fn messages(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut rest = bytes;
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked_checksum(&rest[..8]).to_le_bytes());
            let data = &rest[12..12 + length];
            assert_eq!(rest[12 + length..16 + length], masked_checksum(data).to_le_bytes());
            messages.push(data.to_vec());
            rest = &rest[16 + length..];
        }
        messages
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(dir.join("tensorboard")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn the_checksum_is_the_masked_crc32c_of_the_format() {
        // 0xe3069283 is the check value of CRC-32C; rotated by 15 bits it is 0x2507c60d.
        assert_eq!(masked_checksum(b"123456789"), 0x2507_c60d_u32.wrapping_add(0xa282_ead8));
    }

    #[test]
    fn an_event_is_encoded_as_computed_by_hand() {
        let bytes = encode(Duration::from_secs(1), 300, &Event::Scalars(&[("kl", 0.5)]));
        let expected = [
            &[0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f][..],
            &[0x10, 0xac, 0x02],
            &[0x2a, 11, 0x0a, 9],
            &[0x0a, 2, b'k', b'l', 0x15, 0, 0, 0, 0x3f],
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn every_number_of_a_step_is_one_event_after_the_first_event_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = TensorBoard::open(folder.path()).unwrap();
        let mut metrics = Metrics::for_step(7);
        metrics.put("reward/mean", 0.25);
        metrics.put("ratio/max", f64::NAN);
        board.log_metrics(&metrics).unwrap();
        let written = messages(&fs::read(&files(folder.path())[0]).unwrap());
        assert_eq!(written.len(), 3);
        assert!(written[0].ends_with(b"brain.Event:2"));
        assert!(written[1].ends_with(&[0x10, 7, 0x3a, 2, 0x08, 1]));
        assert!(written[2].ends_with(&scalar("reward/mean", 0.25)), "not finite is null, and has no point");
        assert!(!written[2].windows(5).any(|window| window == b"ratio"));
    }

    #[test]
    fn a_resumed_run_writes_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        for step in [1, 2] {
            TensorBoard::open(folder.path()).unwrap().log(step, "loss", 1.0).unwrap();
        }
        let files = files(folder.path());
        assert_eq!(files.len(), 2);
        for (file, step) in files.iter().zip([1, 2]) {
            let written = messages(&fs::read(file).unwrap());
            assert!(written[1].ends_with(&[0x10, step, 0x3a, 2, 0x08, 1]));
        }
    }
}
