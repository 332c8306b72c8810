//! What a child process and an HTTP endpoint have in common: bounds, and the batches that come to them.

use super::protocol::Job;
use std::time::Duration;

/// Most bytes of one response.
pub(super) const LARGEST_RESPONSE: u64 = 64 << 20;

/// Bounds of a client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// How long a command may leave all its batches without an answer, or an endpoint one request.
    pub timeout: Duration,
    /// Completions per batch.
    pub batch: usize,
    /// Batches that are sent and not yet answered.
    pub in_flight: usize,
    /// How often a batch is sent again after a command that ended, a time limit, or an error of the server.
    pub retries: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60), batch: 16, in_flight: 4, retries: 3 }
    }
}

/// What happens to those who ask for rewards. Only a child process writes lines.
pub(super) enum Event {
    /// A batch to reward.
    Job(Job),
    /// A line that the process of this number wrote.
    Line(usize, String),
    /// The process of this number has closed its standard output.
    Closed(usize),
    /// There are no more batches.
    Stop,
}

/// How long to wait before a repeated attempt: a tenth of a second, doubled each time, at most 5 s.
pub(crate) fn pause(attempts: usize) -> Duration {
    Duration::from_millis(50).saturating_mul(1 << attempts.min(10)).min(Duration::from_secs(5))
}
