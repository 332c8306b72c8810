//! A server: what it is, what it writes, and how it is sent weights.

use super::{
    connection::{Connection, Refusal},
    engine::{Ask, Engine, Written},
    probe::{PROBE_TEMPERATURE, Reading},
    weights::ADAPTER,
};
use crate::external::pause;
use anyhow::{Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

/// Most tokens that are written after each prompt of a probe.
const PROBE_TOKENS: usize = 32;
/// How long a server that was lost is left alone while there are others.
const REST: Duration = Duration::from_secs(30);
/// How often a request of a probe is sent again after an error that may pass.
const PROBE_RETRIES: usize = 3;

/// A server.
pub(super) struct Server {
    pub(super) connection: Connection,
    pub(super) engine: Engine,
    /// The model that it was started with, by the name that requests have for it.
    pub(super) model: String,
    pub(super) status: Mutex<Status>,
    /// When it was last found to be gone, if it has not been found again since.
    lost: Mutex<Option<Instant>>,
}

/// What is known of a server.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Status {
    /// [`Current::weights`] that it has been seen to write with.
    pub(super) holds: Option<u64>,
    /// Whether it has been seen to take weights.
    pub(super) is_tried: bool,
    /// Whether its log-probabilities are those at temperature 1, whatever it samples at.
    pub(super) is_raw: bool,
}

/// The policy that servers sample from.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Current {
    /// Checksum of its weights, above 2³² where they are an adapter's: the same weights may lie at a server in two ways.
    pub(super) weights: u64,
    /// Where they lie, if they were written.
    pub(super) folder: Option<PathBuf>,
    /// Whether that is an adapter.
    pub(super) is_adapter: bool,
    /// Checksum of the weights that the servers were started with, once they are known.
    pub(super) started_with: Option<u64>,
}

impl Server {
    /// Asks a server what it is.
    pub(super) fn find(url: &str, timeout: Duration) -> Result<Self> {
        let connection = Connection::new(url, timeout);
        let mut refusal = None;
        for (engine, path, sign) in Engine::SIGNS {
            match connection.get(path) {
                Ok(answer) if !answer[sign].is_null() => {
                    let model = if engine == Engine::Vllm { served_model(&connection)? } else { String::new() };
                    return Ok(Self { connection, engine, model, status: Mutex::default(), lost: Mutex::default() });
                }
                Ok(_) => {}
                Err(error) if error.is_lost => bail!("{url} {}", error.what),
                Err(error) => refusal = Some(error.what),
            }
        }
        let refusal = refusal.map(|what| format!(" (it {what})")).unwrap_or_default();
        bail!("{url} is no server of vLLM, SGLang or llama.cpp{refusal}")
    }

    pub(super) fn name(&self) -> String {
        format!("{} ({})", self.connection.url, self.engine)
    }

    /// Whether it was lost a moment ago, or is being asked whether it is there again: others are asked first.
    pub(super) fn is_resting(&self) -> bool {
        lock(&self.lost).is_some_and(|since| since.elapsed() < REST)
    }

    /// Lets it rest if it is lost, until it is found again.
    pub(super) fn rest(&self, is_lost: bool) {
        let mut lost = lock(&self.lost);
        if is_lost || lost.is_some() {
            *lost = Some(Instant::now());
        }
    }

    /// It has answered.
    pub(super) fn found(&self) {
        *lock(&self.lost) = None;
    }

    /// Continuations of a prompt.
    pub(super) fn write(&self, ask: &Ask<'_>) -> Result<Vec<Written>, Refusal> {
        let (path, request) = self.engine.request(ask);
        self.engine.response(&self.connection.post(path, &request)?, ask.samples)
    }

    /// Has it take weights from a folder.
    pub(super) fn load(&self, current: &Current) -> Result<(), Refusal> {
        let Some(folder) = &current.folder else { return Ok(()) };
        let folder = folder.display().to_string();
        let requests = self.engine.load(&folder, current.is_adapter.then_some(ADAPTER));
        let last = requests.len().saturating_sub(1);
        for (place, (path, body)) in requests.iter().enumerate() {
            match self.connection.post(path, body) {
                Err(error) if error.is_lost => return Err(error),
                Err(error) if place == last => {
                    let advice = self.engine.advice(current.is_adapter);
                    return Err(Refusal { what: format!("{}; {advice}", error.what), ..error });
                }
                Ok(answer) if place == last && answer["success"] == Value::Bool(false) => {
                    return Err(Refusal::lasting(format!("did not take new weights: {}", answer["message"])));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Has it write something behind prompts.
    pub(super) fn sample(
        &self,
        current: &Current,
        context: usize,
        prompts: &[&[u32]],
    ) -> Result<Vec<Reading>, Refusal> {
        let (model, salt) = (self.model_name(current), &salt(current));
        let write = |prompt: &[u32]| {
            let max_tokens = PROBE_TOKENS.min(context.saturating_sub(prompt.len())).max(1);
            let (samples, temperature) = (1, PROBE_TEMPERATURE);
            let (stop_ids, stop_texts) = (&[], &[]);
            let ask = Ask { prompt, samples, max_tokens, temperature, stop_ids, stop_texts, model, salt };
            let mut attempts = 0;
            let written = loop {
                attempts += 1;
                match self.write(&ask) {
                    Ok(mut written) => break written.remove(0),
                    Err(refusal) if refusal.is_lost || !refusal.is_passing || attempts > PROBE_RETRIES => {
                        return Err(refusal);
                    }
                    Err(_) => thread::sleep(pause(attempts)),
                }
            };
            let tokens = [prompt, written.tokens.as_slice()].concat();
            Ok(Reading { chosen: (prompt.len()..tokens.len()).collect(), tokens, log_probs: written.log_probs })
        };
        thread::scope(|scope| {
            let threads: Vec<_> = prompts.iter().map(|prompt| scope.spawn(move || write(prompt))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no request panics")).collect()
        })
    }

    pub(super) fn model_name<'a>(&'a self, current: &Current) -> &'a str {
        if current.is_adapter { ADAPTER } else { &self.model }
    }
}

/// The model that vLLM was started with, by its name there.
fn served_model(connection: &Connection) -> Result<String> {
    let models = connection.get("/v1/models").map_err(|refusal| anyhow!("{} {}", connection.url, refusal.what))?;
    let base = models["data"].as_array().and_then(|all| all.iter().find(|model| model["parent"].is_null()));
    let name = base.and_then(|model| model["id"].as_str());
    name.map(str::to_string).ok_or_else(|| anyhow!("{} serves no model", connection.url))
}

/// A text that differs for different weights.
pub(super) fn salt(current: &Current) -> String {
    format!("weights-{:09x}", current.weights)
}

/// What a mutex holds, also after a panic of another thread.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
