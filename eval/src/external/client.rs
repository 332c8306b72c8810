//! The client of an external reward: batches of completions go out while others are still sampled, and their rewards come back in
//! the order of the completions.

use super::{
    child, http,
    protocol::{Item, Job, Outcome, Reward, RewardFailure},
    transport::{Bounds, Event},
};
use anyhow::{Result, bail};
use model::ranks;
use std::{
    fmt,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// What gives the rewards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A command for the shell, which reads requests from its standard input and writes responses to its standard output.
    Command {
        /// What the shell runs.
        command: String,
        /// The folder it runs in; `None` for the current one.
        folder: Option<PathBuf>,
    },
    /// Address that requests are posted to.
    Url(String),
}

/// An external reward in use. Clones share the child process or the connections, which end with the last of them.
#[derive(Clone)]
pub struct RewardClient(Arc<Inner>);

struct Inner {
    source: Source,
    bounds: Bounds,
    /// `None` while it is dropped, and on ranks that are not the first, which asks for all.
    events: Option<Sender<Event>>,
    /// The thread that owns a child process.
    owner: Option<JoinHandle<()>>,
    /// Number of the next batch.
    next: AtomicU64,
    /// Nanoseconds in which a phase waited for rewards, with nothing left to sample.
    waited: AtomicU64,
}

/// The rewards of one phase of sampling. Completions come in any order, from any thread; a batch holds consecutive ones and is sent
/// as soon as it is whole, so that what a batch holds depends on no timing.
pub struct Phase<'a> {
    client: &'a RewardClient,
    completions: usize,
    first_id: u64,
    batches: Mutex<Vec<Batch>>,
    replies: Mutex<Receiver<(usize, Outcome)>>,
    reply: Sender<(usize, Outcome)>,
}

/// A batch that is not whole yet.
struct Batch {
    items: Vec<Option<Item>>,
    missing: usize,
}

impl Source {
    /// A command that runs in the current folder.
    pub fn command(command: impl Into<String>) -> Self {
        Self::Command { command: command.into(), folder: None }
    }
}

impl RewardClient {
    /// Starts the command, or prepares connections to the address.
    ///
    /// # Errors
    /// A shell that cannot be started, an address that is none.
    pub fn start(source: Source, bounds: Bounds) -> Result<Self> {
        let who = source.to_string();
        let (events, owner) = match &source {
            _ if !ranks::is_first() => (None, None),
            Source::Command { command, folder } => {
                let (events, owner) = child::start(command, folder.as_deref(), who, bounds)?;
                (Some(events), Some(owner))
            }
            Source::Url(url) => {
                if !url.starts_with("http://") && !url.starts_with("https://") {
                    bail!("{url} is no address of an HTTP endpoint: it begins with http:// or https://");
                }
                (Some(http::start(url, &who, bounds)), None)
            }
        };
        let [next, waited] = [0, 0].map(AtomicU64::new);
        Ok(Self(Arc::new(Inner { source, bounds, events, owner, next, waited })))
    }

    /// What gives the rewards.
    pub fn source(&self) -> &Source {
        &self.0.source
    }

    /// Begins a phase of so many completions.
    pub fn phase(&self, completions: usize) -> Phase<'_> {
        let size = self.0.bounds.batch;
        let batch = |first: usize| {
            let missing = size.min(completions - first);
            Batch { items: vec![None; missing], missing }
        };
        let batches: Vec<Batch> = (0..completions).step_by(size).map(batch).collect();
        let first_id = self.0.next.fetch_add(batches.len() as u64, Ordering::Relaxed);
        let (reply, replies) = channel();
        let (batches, replies) = (Mutex::new(batches), Mutex::new(replies));
        Phase { client: self, completions, first_id, batches, replies, reply }
    }

    /// The rewards of completions that are all there.
    ///
    /// # Errors
    /// As [`Phase::finish`].
    pub fn rewards(&self, items: impl IntoIterator<Item = Item>) -> Result<Vec<Reward>> {
        let items: Vec<Item> = items.into_iter().collect();
        let phase = self.phase(items.len());
        items.into_iter().enumerate().for_each(|(place, item)| phase.put(place, item));
        phase.finish()
    }

    /// How long phases have waited for rewards in all, with nothing left to sample.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.0.waited.load(Ordering::Relaxed))
    }
}

impl Phase<'_> {
    /// Hands in a completion, which is sent with the others of its batch.
    ///
    /// # Panics
    /// If the place has a completion already, or the phase has no such place.
    pub fn put(&self, place: usize, item: Item) {
        let size = self.client.0.bounds.batch;
        let number = place / size;
        let mut batches = self.batches.lock().expect("no thread panics with the lock");
        let batch = &mut batches[number];
        let before = batch.items[place % size].replace(item);
        assert!(before.is_none(), "completion {place} was handed in before");
        batch.missing -= 1;
        if batch.missing > 0 {
            return;
        }
        let items = std::mem::take(&mut batch.items).into_iter().flatten().collect();
        drop(batches);
        let Some(events) = &self.client.0.events else { return };
        let job = Job { id: self.first_id + number as u64, items, place: number, reply: self.reply.clone() };
        // Its owner ends with the client alone.
        let _ = events.send(Event::Job(job));
    }

    /// Waits for the rewards of all completions, in their order. Several ranks have the same completions: the first of them asks.
    ///
    /// # Errors
    /// [`RewardFailure`]: a command or endpoint that ended, hung or answered nonsense, after all attempts.
    ///
    /// # Panics
    /// If a completion is missing.
    pub fn finish(self) -> Result<Vec<Reward>> {
        Ok(ranks::from_first(|| self.outcome())?)
    }

    fn outcome(self) -> Outcome {
        let started = Instant::now();
        let Self { client, completions, batches, replies, reply, .. } = self;
        drop(reply);
        let batches = batches.into_inner().expect("no thread panicked with the lock");
        assert!(batches.iter().all(|batch| batch.missing == 0), "every completion was handed in");
        let replies = replies.into_inner().expect("no thread panicked with the lock");
        let size = client.0.bounds.batch;
        let mut rewards = vec![Reward::None; completions];
        for _ in 0..batches.len() {
            let (number, outcome) =
                replies.recv().map_err(|_| RewardFailure(format!("{} has been stopped", client.0.source)))?;
            let places: Range<usize> = number * size..completions.min((number + 1) * size);
            rewards[places].clone_from_slice(&outcome?);
        }
        client.0.waited.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        Ok(rewards)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let (Some(events), Some(owner)) = (self.events.take(), self.owner.take()) {
            let _ = events.send(Event::Stop);
            let _ = owner.join();
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { command, .. } => write!(f, "the reward command `{command}`"),
            Self::Url(url) => write!(f, "the reward endpoint {url}"),
        }
    }
}

impl fmt::Debug for RewardClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RewardClient").field(&self.0.source).finish()
    }
}

#[cfg(test)]
mod tests;
