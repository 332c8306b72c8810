//! The servers of a process: who is asked for which samples, and what is done when one does not answer.

use super::{
    connection::Refusal,
    draft::{Draft, Rules},
    engine::Ask,
    probe::{Gap, Reading},
    server::{Current, Server, Status, lock, salt},
    weights::{WeightFolder, WeightUpdate},
};
use crate::{external::pause, models::policy::Policy};
use anyhow::{Result, anyhow, bail};
use model::{Completion, GenerateStats, Giver, parallel_map, ranks};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

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

pub(super) struct Pool {
    pub(super) servers: Vec<Server>,
    pub(super) update: WeightUpdate,
    pub(super) settings: Settings,
    pub(super) folder: Mutex<WeightFolder>,
    pub(super) current: Mutex<Current>,
    /// What was found between servers and policy since it was asked for.
    pub(super) gap: Mutex<Option<Gap>>,
    /// Whether it was said that some policies are sampled here.
    pub(super) is_said: AtomicBool,
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
    /// Without a prompt.
    pub(super) fn of(what: String) -> Self {
        Self { what, prompt: None, question: None }
    }

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
        let pool = Pool {
            servers,
            update,
            folder,
            settings,
            current: Mutex::default(),
            gap: Mutex::default(),
            is_said: AtomicBool::new(false),
        };
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
            true => ServerFailure::of(what).into(),
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
                    return Err(None);
                }
                let completions = pool.item(policy, request, item, *home).map_err(Some);
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
            // Of items that were not asked for any more, nothing is known.
            let what = rows.as_ref().err()?.clone()?;
            Some(ServerFailure { prompt: Some(item.prompt), ..ServerFailure::of(what) })
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

impl Pool {
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
        let (mut attempts, count) = (0, self.servers.len());
        loop {
            let next = home + attempts;
            let awake =
                (next..next + count).map(|place| place % count).find(|&place| !self.servers[place].is_resting());
            let place = awake.unwrap_or(next % count);
            let server = &self.servers[place];
            // Of a lost server, one thread finds out whether it is there again.
            server.rest(false);
            let Refusal { what, is_lost, is_passing } = match self.ready(server, policy).and_then(|()| work(server)) {
                Ok(answer) => {
                    server.found();
                    return Ok((place, answer));
                }
                Err(refusal) => refusal,
            };
            server.rest(is_lost);
            if is_lost && lock(&server.status).holds.take().is_some() {
                tracing::warn!("{} {what}: it is asked again, as are the other servers", server.name());
            }
            attempts += 1;
            if !is_passing || attempts > self.settings.retries {
                let times = if attempts == 1 { "once".into() } else { format!("{attempts} times") };
                return Err(format!("{} {what} (asked {times})", server.name()));
            }
            if attempts % count == 0 {
                thread::sleep(pause(attempts));
            }
        }
    }
}
