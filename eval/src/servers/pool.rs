//! The servers of a process: which weights they hold, who is asked, and what is done when one does not answer.

use super::{
    args::WeightUpdate,
    connection::{Connection, Refusal},
    draft::{Draft, Rules},
    engine::{Ask, Engine, Written},
    probe::{Gap, Reading},
    weights::{ADAPTER, Payload, Trial, WeightFolder},
};
use crate::{external::pause, models::policy::Policy};
use anyhow::{Result, anyhow, bail};
use model::{Completion, GenerateStats, Giver, Transformer, checksum, parallel_map, ranks};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// Prompts of a probe, and most tokens that are written after each.
const PROBE: (usize, usize) = (4, 32);
/// How often a request of a probe is sent again after an error that may pass.
const PROBE_RETRIES: usize = 3;
/// The temperature of a probe, at which log-probabilities differ from those at temperature 1.
const PROBE_TEMPERATURE: f64 = 0.7;
/// Checksums from here on are those of adapters.
const ADAPTERS_FROM: u64 = 1 << 32;
/// How far the policy's log-probabilities are from those of a server with trial weights at least, in nats per token in the mean.
const TRIAL_EFFECT: f64 = 0.5;
/// How far those of the trial weights may be from the server's, as a share of that.
const TRIAL_SHARE: f64 = 0.25;
/// Most requests that a server has at a time.
const MOST_REQUESTS: usize = 256;
/// Completions of each server that are compared with the policy after each call.
const CHECKED: usize = 4;

/// What the flags say.
pub(super) struct Settings {
    /// How weights follow; `None` for what the engine can.
    pub(super) update: Option<WeightUpdate>,
    /// Where weights are written.
    pub(super) folder: PathBuf,
    /// Largest mean difference of log-probabilities, in nats.
    pub(super) tolerance: f64,
    pub(super) timeout: Duration,
    pub(super) retries: usize,
}

/// Servers that sample. Clones are the same servers.
#[derive(Clone)]
pub struct Servers(Arc<Pool>);

struct Pool {
    servers: Vec<Server>,
    update: WeightUpdate,
    settings: Settings,
    folder: Mutex<WeightFolder>,
    current: Mutex<Current>,
    /// What was found between servers and policy since it was asked for.
    gap: Mutex<Option<Gap>>,
}

struct Server {
    connection: Connection,
    engine: Engine,
    /// The model that it was started with, by the name that requests have for it.
    model: String,
    status: Mutex<Status>,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Status {
    /// [`Current::weights`] that it has been seen to write with.
    holds: Option<u64>,
    /// Whether it has been seen to take weights.
    is_tried: bool,
    /// Whether its log-probabilities are those at temperature 1, whatever it samples at.
    is_raw: bool,
}

/// The policy that servers sample from.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Current {
    /// Checksum of its weights, above 2³² where they are an adapter's: the same weights may lie at a server in two ways.
    weights: u64,
    /// Where they lie, if they were written.
    folder: Option<PathBuf>,
    /// Whether that is an adapter.
    is_adapter: bool,
    /// Checksum of the weights that the servers were started with, once they are known.
    started_with: Option<u64>,
}

/// No server gave a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerFailure {
    what: String,
    /// Which prompt of the call, if it is known.
    prompt: Option<usize>,
    question: Option<String>,
}

impl fmt::Display for ServerFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.question, self.prompt) {
            (Some(question), _) => write!(formatter, "{}, asked for samples of {question}", self.what),
            (None, Some(prompt)) => write!(formatter, "{}, asked for samples of prompt {prompt}", self.what),
            (None, None) => formatter.write_str(&self.what),
        }
    }
}

impl std::error::Error for ServerFailure {}

impl ServerFailure {
    /// An error of sampling with the name of the question, if it is a failure of servers.
    pub fn named(error: anyhow::Error, question: impl Fn(usize) -> String) -> anyhow::Error {
        match error.downcast::<Self>() {
            Ok(failure) => Self { question: failure.prompt.map(question), ..failure }.into(),
            Err(error) => error,
        }
    }
}

/// What servers are asked for: K completions of each prompt.
pub(crate) struct Request<'a> {
    pub(crate) prompts: &'a [Vec<u32>],
    pub(crate) samples: usize,
    pub(crate) max_new_tokens: usize,
    pub(crate) temperature: f64,
    /// Sequences that end a completion.
    pub(crate) stops: &'a [Vec<u32>],
    /// The texts of those that are longer than a token.
    pub(crate) stop_texts: &'a [String],
    /// What is given after chosen tokens, and after which tokens there may be anything.
    pub(crate) giver: Option<(&'a Giver, &'a [u32])>,
    /// Completions that a server writes at the same time.
    pub(crate) rows: usize,
}

/// Some samples of one prompt.
struct Item {
    prompt: usize,
    first: usize,
    samples: usize,
}

impl fmt::Debug for Servers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.servers.iter().map(|server| &server.connection.url)).finish()
    }
}

impl Servers {
    /// Finds out what each server is.
    pub(super) fn connect(urls: &[String], settings: Settings) -> Result<Self> {
        let servers = urls.iter().map(|url| Server::find(url, settings.timeout)).collect::<Result<Vec<_>>>()?;
        let fixed = servers.iter().find(|server| !server.engine.takes_weights());
        let update = match (settings.update, fixed) {
            (None, Some(_)) => WeightUpdate::Fixed,
            (None, None) => WeightUpdate::Weights,
            (Some(update), Some(server)) if update != WeightUpdate::Fixed => {
                bail!("--rollout-update: {} and keeps the model that it was started with", server.name())
            }
            (Some(update), _) => update,
        };
        let names: Vec<String> = servers.iter().map(Server::name).collect();
        if ranks::is_first() {
            tracing::warn!(
                "samples come from {}: they cannot be repeated from the seed, only from samples.jsonl",
                names.join(", ")
            );
        }
        let folder = Mutex::new(WeightFolder::within(&settings.folder));
        let pool = Pool { servers, update, folder, settings, current: Mutex::default(), gap: Mutex::default() };
        Ok(Self(Arc::new(pool)))
    }

    /// How trained weights get to the servers.
    pub fn update(&self) -> WeightUpdate {
        self.0.update
    }

    /// The mean absolute difference between the log-probabilities of servers and policy, in nats per token, over what was compared since the
    /// last call; `None` where nothing was.
    pub fn take_gap(&self) -> Option<f64> {
        lock(&self.0.gap).take().map(Gap::mean)
    }

    /// Has the servers take the weights of a policy; whether they sample from it. Policies that servers of fixed weights do not have
    /// are sampled in this process.
    ///
    /// # Errors
    /// A [`ServerFailure`] where no server can be reached; a server that does not take them, a full disk.
    pub(crate) fn follow(&self, policy: &Policy, prompts: &[Vec<u32>]) -> Result<bool> {
        let pool = &*self.0;
        let outcome = ranks::from_first(|| {
            let followed = pool.follow(policy, prompts);
            let followed = followed.map_err(|error| (error.is::<ServerFailure>(), format!("{error:#}")));
            let statuses: Vec<Status> = pool.servers.iter().map(|server| *lock(&server.status)).collect();
            (followed, lock(&pool.current).clone(), statuses)
        });
        let (followed, current, statuses) = outcome;
        if !ranks::is_first() {
            *lock(&pool.current) = current;
            pool.servers.iter().zip(statuses).for_each(|(server, status)| *lock(&server.status) = status);
        }
        followed.map_err(|(is_passing, what)| match is_passing {
            true => ServerFailure { what, prompt: None, question: None }.into(),
            false => anyhow!(what),
        })
    }

    /// Completions by the servers, which follow the policy. `each` is called with prompt, sample and completion as soon as one has ended.
    ///
    /// # Errors
    /// A [`ServerFailure`] where no server answers; a server that turns out to have other weights.
    pub(crate) fn complete(
        &self,
        policy: &Policy,
        request: &Request<'_>,
        ended: &(dyn Fn(usize) + Sync),
        each: &(dyn Fn(usize, usize, &Completion) + Sync),
    ) -> Result<(Vec<Vec<Completion>>, GenerateStats)> {
        let pool = &*self.0;
        let most = pool.servers.iter().map(|server| server.engine.most_samples()).min().unwrap_or(1);
        // A completion that is given something goes on by itself.
        let together = if request.giver.is_some() { 1 } else { most };
        let items = items(request, together);
        let requests = request.rows.div_ceil(together.min(request.samples)).clamp(1, MOST_REQUESTS);
        let homes = AtomicUsize::new(ranks::rank());
        let has_failed = AtomicBool::new(false);
        let several = ranks::ranks() > 1;
        let written = parallel_map(
            &items,
            requests * pool.servers.len(),
            || homes.fetch_add(1, Ordering::Relaxed) % pool.servers.len(),
            |home, _, item| {
                if has_failed.load(Ordering::Relaxed) {
                    return Err(String::new());
                }
                let completions = pool.item(policy, request, item, *home);
                match &completions {
                    Err(_) => has_failed.store(true, Ordering::Relaxed),
                    Ok(_) if several => {}
                    Ok(rows) => {
                        (item.first..).zip(rows).for_each(|(sample, row)| each(item.prompt, sample, &row.completion));
                    }
                }
                ended(item.samples);
                completions
            },
        );
        let mut checked: Vec<Vec<Reading>> = pool.servers.iter().map(|_| Vec::new()).collect();
        let mut completions: Vec<Vec<Completion>> = request.prompts.iter().map(|_| Vec::new()).collect();
        let failure = items.iter().zip(&written).find_map(|(item, rows)| {
            let what = rows.as_ref().err().filter(|what| !what.is_empty())?;
            Some(ServerFailure { what: what.clone(), prompt: Some(item.prompt), question: None })
        });
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        for (item, rows) in items.iter().zip(written) {
            for (sample, row) in (item.first..).zip(rows.unwrap_or_default()) {
                if several {
                    each(item.prompt, sample, &row.completion);
                }
                if request.temperature > 0.0 && checked[row.server].len() < CHECKED {
                    checked[row.server].push(row.reading());
                }
                completions[item.prompt].push(row.finished(request.temperature));
            }
        }
        pool.check(policy, &checked, request.temperature)?;
        let new_tokens = completions.iter().flatten().map(|completion| completion.tokens.len()).sum();
        let prompt_tokens = request.prompts.iter().map(Vec::len).sum();
        Ok((completions, GenerateStats { prompt_tokens, new_tokens, padding_tokens: 0 }))
    }
}

/// A completion, and who wrote it.
#[derive(Serialize, Deserialize)]
struct Row {
    completion: Completion,
    /// What the model read: prompt, completion and hidden tokens.
    read: Vec<u32>,
    /// Places in it that were chosen.
    chosen: Vec<usize>,
    /// The server that wrote the last of it.
    server: usize,
    /// Whether that server's log-probabilities are those at temperature 1.
    is_raw: bool,
}

impl Row {
    fn reading(&self) -> Reading {
        let log_probs = self.completion.server_log_probs.clone().unwrap_or_default();
        Reading { tokens: self.read.clone(), chosen: self.chosen.clone(), log_probs }
    }

    /// The completion, without log-probabilities if these are not of the temperature it was sampled at.
    fn finished(self, temperature: f64) -> Completion {
        let has_them = !self.is_raw || temperature == 1.0;
        let server_log_probs = self.completion.server_log_probs.filter(|_| has_them);
        Completion { server_log_probs, ..self.completion }
    }
}

fn items(request: &Request<'_>, together: usize) -> Vec<Item> {
    let of_prompt = |prompt: usize| {
        let firsts = (0..request.samples).step_by(together);
        firsts.map(move |first| Item { prompt, first, samples: together.min(request.samples - first) })
    };
    (0..request.prompts.len()).flat_map(of_prompt).collect()
}

impl Server {
    /// Asks a server what it is.
    fn find(url: &str, timeout: Duration) -> Result<Self> {
        let connection = Connection::new(url, timeout);
        let mut refusal = None;
        for (engine, path, sign) in Engine::SIGNS {
            match connection.get(path) {
                Ok(answer) if !answer[sign].is_null() => {
                    let model = if engine == Engine::Vllm { served_model(&connection)? } else { String::new() };
                    return Ok(Self { connection, engine, model, status: Mutex::default() });
                }
                Ok(_) => {}
                Err(error) if error.is_lost => bail!("{url} {}", error.what),
                Err(error) => refusal = Some(error.what),
            }
        }
        let refusal = refusal.map(|what| format!(" (it {what})")).unwrap_or_default();
        bail!("{url} is no server of vLLM, SGLang or llama.cpp{refusal}")
    }

    fn name(&self) -> String {
        format!("{} ({})", self.connection.url, self.engine)
    }

    /// Continuations of a prompt.
    fn write(&self, ask: &Ask<'_>) -> Result<Vec<Written>, Refusal> {
        let (path, request) = self.engine.request(ask);
        self.engine.response(&self.connection.post(path, &request)?, ask.samples)
    }

    /// Has it take weights from a folder.
    fn load(&self, current: &Current) -> Result<(), Refusal> {
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
    fn sample(&self, current: &Current, context: usize, prompts: &[&[u32]]) -> Result<Vec<Reading>, Refusal> {
        let (model, salt) = (self.model_name(current), &salt(current));
        let write = |prompt: &[u32]| {
            let max_tokens = PROBE.1.min(context.saturating_sub(prompt.len())).max(1);
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

    fn model_name<'a>(&'a self, current: &Current) -> &'a str {
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
fn salt(current: &Current) -> String {
    format!("weights-{:09x}", current.weights)
}

impl Pool {
    /// As [`Servers::follow`], on the first rank.
    fn follow(&self, policy: &Policy, prompts: &[Vec<u32>]) -> Result<bool> {
        let has_adapter = self.update == WeightUpdate::Adapter && policy.adapter.is_some();
        let weights = u64::from(checksum(&policy.model)) + if has_adapter { ADAPTERS_FROM } else { 0 };
        let known = lock(&self.current).clone();
        let starts = known.started_with.is_none_or(|first| first == weights);
        let (mut current, payload) = match self.update {
            WeightUpdate::Weights => (Current { weights, ..known }, Payload::of(policy, false)),
            WeightUpdate::Adapter if has_adapter => {
                (Current { weights, is_adapter: true, ..known }, Payload::of(policy, true))
            }
            WeightUpdate::Adapter | WeightUpdate::Fixed if starts => {
                let started_with = Some(weights);
                (Current { weights, folder: None, is_adapter: false, started_with }, None)
            }
            WeightUpdate::Adapter | WeightUpdate::Fixed => {
                let why = match self.update {
                    WeightUpdate::Adapter => "it is no adapter",
                    _ => "they keep their weights",
                };
                tracing::warn!("a policy that the servers do not have is sampled here: {why}");
                return Ok(false);
            }
        };
        let outdated: Vec<&Server> =
            self.servers.iter().filter(|server| lock(&server.status).holds != Some(weights)).collect();
        if outdated.is_empty() {
            *lock(&self.current) = current;
            return Ok(true);
        }
        let prompts = probe_prompts(prompts);
        if let Some(payload) = &payload {
            self.try_out(&outdated, policy, payload, &current, &prompts)?;
            current.folder = Some(lock(&self.folder).write(payload, policy)?);
        }
        *lock(&self.current) = current;
        self.for_some(&outdated, |server| self.take(server, &mut lock(&server.status), &policy.model, &prompts))?;
        Ok(true)
    }

    /// Sends trial weights to servers that have taken none yet, and sees whether they write with them.
    fn try_out(
        &self,
        servers: &[&Server],
        policy: &Policy,
        payload: &Payload,
        current: &Current,
        prompts: &[&[u32]],
    ) -> Result<()> {
        let context = policy.model.config.max_position_embeddings;
        for times in [1.0, 4.0, 16.0] {
            let untried = |server: &&Server| !lock(&server.status).is_tried;
            let new: Vec<&Server> = servers.iter().copied().filter(untried).collect();
            if new.is_empty() {
                return Ok(());
            }
            new.iter().for_each(|server| lock(&server.status).holds = None);
            let Some(Trial { payload, model }) = Trial::of(policy, payload, prompts, times) else { return Ok(()) };
            let folder = Some(lock(&self.folder).write(&payload, policy)?);
            let trial = Current { folder, weights: u64::from(checksum(&model)), ..current.clone() };
            self.for_some(&new, |server| {
                server.load(&trial)?;
                let written = server.sample(&trial, context, prompts)?;
                let gap = |model: &Transformer| closer(model, &written).0.mean();
                let (of_trial, of_policy) = (gap(&model), gap(&policy.model));
                tracing::info!("{}: {of_trial:.4} nats per token from trial weights, {of_policy:.4} from the policy", server.name());
                if of_trial > self.settings.tolerance.max(TRIAL_SHARE * of_policy) {
                    return Err(Refusal::lasting(format!(
                        "did not take the weights that it was sent: its log-probabilities differ from theirs by {of_trial:.3} nats per token, and from the policy's by {of_policy:.3}"
                    )));
                }
                // Of weights that write the same as the policy nothing can be seen: others are tried.
                lock(&server.status).is_tried = of_policy >= TRIAL_EFFECT;
                Ok(())
            })?;
        }
        tracing::warn!("trial weights write the same as the policy: nothing shows whether the servers take weights");
        Ok(())
    }

    /// Has a server take the current weights, and sees whether it writes with them.
    fn take(
        &self,
        server: &Server,
        status: &mut Status,
        model: &Transformer,
        prompts: &[&[u32]],
    ) -> Result<(), Refusal> {
        let current = lock(&self.current).clone();
        server.load(&current)?;
        let written = server.sample(&current, model.config.max_position_embeddings, prompts)?;
        let (gap, is_raw) = closer(model, &written);
        tracing::info!("{}: {}, {:.4} nats per token off", server.name(), salt(&current), gap.mean());
        self.check_gap(gap).map_err(Refusal::lasting)?;
        (status.holds, status.is_raw) = (Some(current.weights), is_raw);
        Ok(())
    }

    /// Refuses weights that are others.
    fn check_gap(&self, gap: Gap) -> Result<(), String> {
        let (mean, limit) = (gap.mean(), self.settings.tolerance);
        if mean > limit || mean.is_nan() {
            return Err(format!(
                "does not write with the weights of the policy: its log-probabilities differ by {mean:.3} nats per token (--rollout-tolerance {limit})"
            ));
        }
        if mean > limit / 2.0 {
            tracing::warn!("the log-probabilities of a server differ from the policy's by {mean:.3} nats per token");
        }
        Ok(())
    }

    /// Does something with each of some servers at the same time. Those that cannot be reached are left out, as long as others can.
    fn for_some(&self, servers: &[&Server], work: impl Fn(&Server) -> Result<(), Refusal> + Sync) -> Result<()> {
        let work = &work;
        let mut attempts = 0;
        loop {
            let outcomes: Vec<Result<(), Refusal>> = thread::scope(|scope| {
                let threads: Vec<_> = servers.iter().map(|server| scope.spawn(move || work(server))).collect();
                threads.into_iter().map(|thread| thread.join().expect("no request panics")).collect()
            });
            let mut lost = Vec::new();
            for (server, outcome) in servers.iter().zip(outcomes) {
                match outcome {
                    Ok(()) => {}
                    Err(refusal) if refusal.is_passing => lost.push(format!("{} {}", server.name(), refusal.what)),
                    Err(refusal) => bail!("{} {}", server.name(), refusal.what),
                }
            }
            if lost.len() < self.servers.len() {
                lost.iter().for_each(|what| tracing::warn!("{what}: the others sample without it"));
                return Ok(());
            }
            attempts += 1;
            if attempts > self.settings.retries {
                return Err(ServerFailure { what: lost.join("; "), prompt: None, question: None }.into());
            }
            thread::sleep(pause(attempts));
        }
    }

    /// Some samples of a prompt, from one server or, where that fails, another.
    fn item(&self, policy: &Policy, request: &Request<'_>, item: &Item, home: usize) -> Result<Vec<Row>, String> {
        let prompt = &request.prompts[item.prompt];
        let rules = Rules {
            max_new_tokens: request.max_new_tokens,
            context: policy.model.config.max_position_embeddings,
            stops: request.stops,
            giver: request.giver.map(|(giver, _)| giver),
            pauses: request.giver.map_or(&[], |(_, pauses)| pauses),
        };
        let single = request.stops.iter().filter(|stop| stop.len() == 1).map(|stop| stop[0]);
        let pauses = request.giver.iter().flat_map(|(_, pauses)| pauses.iter().copied());
        let stop_ids: Vec<u32> = single.chain(pauses).collect();
        let current = lock(&self.current).clone();
        let salt = salt(&current);
        let ask = |read: &[u32], samples: usize, max_tokens: usize| {
            self.ask(policy, home, |server| {
                server.write(&Ask {
                    prompt: read,
                    samples,
                    max_tokens,
                    temperature: request.temperature,
                    stop_ids: &stop_ids,
                    stop_texts: request.stop_texts,
                    model: server.model_name(&current),
                    salt: &salt,
                })
            })
        };
        let mut drafts: Vec<Draft<'_>> = (0..item.samples).map(|_| Draft::new(prompt, rules)).collect();
        let left = drafts[0].left();
        let mut last = home;
        if left > 0 {
            let (server, written) = ask(prompt, item.samples, left)?;
            last = server;
            drafts
                .iter_mut()
                .zip(&written)
                .for_each(|(draft, row)| draft.extend(&row.tokens, &row.log_probs, row.stopped));
        }
        for draft in &mut drafts {
            while draft.left() > 0 {
                let (server, written) = ask(&draft.read, 1, draft.left())?;
                last = server;
                draft.extend(&written[0].tokens, &written[0].log_probs, written[0].stopped);
            }
        }
        let is_raw = lock(&self.servers[last].status).is_raw;
        let row = |draft: Draft<'_>| {
            let Draft { read, chosen, completion, .. } = draft;
            Row { completion, read, chosen, server: last, is_raw }
        };
        Ok(drafts.into_iter().map(row).collect())
    }

    /// Asks a server, or the next ones where that fails; who answered, and what.
    fn ask<R>(
        &self,
        policy: &Policy,
        home: usize,
        work: impl Fn(&Server) -> Result<R, Refusal>,
    ) -> Result<(usize, R), String> {
        let mut attempts = 0;
        loop {
            let place = (home + attempts) % self.servers.len();
            let server = &self.servers[place];
            let Refusal { what, is_lost, is_passing } = match self.ready(server, policy).and_then(|()| work(server)) {
                Ok(answer) => return Ok((place, answer)),
                Err(refusal) => refusal,
            };
            if is_lost && lock(&server.status).holds.take().is_some() {
                tracing::warn!("{} {what}: it is asked again, as are the other servers", server.name());
            }
            attempts += 1;
            if !is_passing || attempts > self.settings.retries {
                let times = if attempts == 1 { "once".into() } else { format!("{attempts} times") };
                return Err(format!("{} {what} (asked {times})", server.name()));
            }
            if attempts % self.servers.len() == 0 {
                thread::sleep(pause(attempts));
            }
        }
    }

    /// Sees to it that a server has the current weights: one that was lost may have been started again with others.
    fn ready(&self, server: &Server, policy: &Policy) -> Result<(), Refusal> {
        let mut status = lock(&server.status);
        let weights = lock(&self.current).weights;
        if status.holds == Some(weights) {
            return Ok(());
        }
        let prompt = policy.tokenizer.encode("Question: 1 and 2?");
        self.take(server, &mut status, &policy.model, &[prompt.as_slice(); PROBE.0])
    }

    /// Compares some of what each server wrote with the policy.
    fn check(&self, policy: &Policy, of_servers: &[Vec<Reading>], temperature: f64) -> Result<()> {
        for (server, readings) in self.servers.iter().zip(of_servers) {
            if readings.is_empty() {
                continue;
            }
            let at = if lock(&server.status).is_raw { 1.0 } else { temperature };
            let gap = Gap::of(&policy.model, readings, at);
            let mut all = lock(&self.gap);
            *all = Some(all.map_or(gap, |all| all.and(gap)));
            self.check_gap(gap).map_err(|what| anyhow!("{} {what}", server.name()))?;
        }
        Ok(())
    }
}

/// How far the log-probabilities of a server are from those of a model, and whether they are at temperature 1 rather than at that of the
/// probe: whichever is closer.
fn closer(model: &Transformer, written: &[Reading]) -> (Gap, bool) {
    let [at_its_own, at_one] = [PROBE_TEMPERATURE, 1.0].map(|at| Gap::of(model, written, at));
    if at_one.mean() < at_its_own.mean() { (at_one, true) } else { (at_its_own, false) }
}

/// The prompts of a probe: few, and different ones.
fn probe_prompts(prompts: &[Vec<u32>]) -> Vec<&[u32]> {
    let step = prompts.len().div_ceil(PROBE.0).max(1);
    prompts.iter().step_by(step).map(Vec::as_slice).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
