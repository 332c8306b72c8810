//! The metrics of a step, by name. Independent of files.

use model::Device;
use serde::Serialize;
use serde_json::Value;

/// One line of `metrics.jsonl`: names and numbers in the order they were put in.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Vec<(String, Value)>);

impl Metrics {
    /// The metrics of a step.
    pub fn for_step(step: usize) -> Self {
        Self(vec![("step".into(), step.into())])
    }

    /// Adds a number; one that is not finite becomes null.
    pub fn put(&mut self, name: &str, value: f64) {
        self.0.push((name.into(), value.into()));
    }

    /// Adds a count.
    pub fn put_count(&mut self, name: &str, value: usize) {
        self.0.push((name.into(), value.into()));
    }

    /// Adds the peak memory of the process and its memory on a GPU, in MB.
    pub fn put_memory(&mut self, device: &Device) {
        let held = [
            ("time/peak_memory_mb", model::peak_memory_bytes()),
            ("device/memory_mb", model::device_memory_bytes(device)),
        ];
        for (name, bytes) in held {
            if let Some(bytes) = bytes {
                self.put(name, bytes as f64 / 1e6);
            }
        }
    }
}

impl Serialize for Metrics {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
