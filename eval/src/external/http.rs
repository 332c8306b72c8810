//! An HTTP endpoint that rewards completions: each batch is one POST request. Knows the protocol's texts, not their use.

use super::{
    protocol::{Job, Outcome, Reward, RewardFailure, excerpt, response},
    transport::{Bounds, Event, LARGEST_RESPONSE, pause},
};
use crate::io::http::agent;
use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};
use ureq::Agent;

/// Why a request gave no rewards.
struct Refusal {
    told: String,
    /// Whether the same request may succeed later.
    is_passing: bool,
}

/// Starts as many threads as there may be requests at a time; they end with what is returned.
pub(super) fn start(url: &str, who: &str, bounds: Bounds) -> Sender<Event> {
    let (events, received) = channel();
    let received = Arc::new(Mutex::new(received));
    let failure = Arc::new(Mutex::new(None));
    for _ in 0..bounds.in_flight {
        let worker = Worker {
            agent: agent(url, bounds.timeout),
            url: url.into(),
            who: who.into(),
            bounds,
            failure: Arc::clone(&failure),
        };
        let received = Arc::clone(&received);
        thread::spawn(move || worker.run(&received));
    }
    events
}

struct Worker {
    agent: Agent,
    url: String,
    who: String,
    bounds: Bounds,
    /// The failure of any worker, after which none sends anything.
    failure: Arc<Mutex<Option<RewardFailure>>>,
}

impl Worker {
    fn run(&self, received: &Mutex<Receiver<Event>>) {
        loop {
            let event = received.lock().expect("no thread panics with the lock").recv();
            let Ok(Event::Job(job)) = event else { break };
            let outcome = self.rewards(&job);
            if let Err(failure) = &outcome {
                self.failure.lock().expect("no thread panics with the lock").get_or_insert(failure.clone());
            }
            job.answer(outcome);
        }
    }

    fn rewards(&self, job: &Job) -> Outcome {
        let request = job.request();
        let mut attempts = 0;
        loop {
            if let Some(failure) = self.failure.lock().expect("no thread panics with the lock").clone() {
                return Err(failure);
            }
            attempts += 1;
            let Refusal { told, is_passing } = match self.post(&request, job) {
                Ok(rewards) => return Ok(rewards),
                Err(refusal) => refusal,
            };
            if !is_passing || attempts > self.bounds.retries {
                let times = if attempts == 1 { "once".into() } else { format!("{attempts} times") };
                return Err(RewardFailure(format!("{} {told}, asked {times} for {}", self.who, job.name())));
            }
            tracing::warn!("{} {told}: it is asked again ({attempts} of {})", self.who, self.bounds.retries);
            thread::sleep(pause(attempts));
        }
    }

    fn post(&self, request: &str, job: &Job) -> Result<Vec<Reward>, Refusal> {
        let passing = |error: ureq::Error| Refusal {
            told: match error {
                ureq::Error::Timeout(_) => format!("did not answer within {} s", self.bounds.timeout.as_secs_f64()),
                error => format!("cannot be reached ({error})"),
            },
            is_passing: true,
        };
        let posted = self.agent.post(&self.url).header("Content-Type", "application/json").send(request);
        let mut answer = posted.map_err(passing)?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(LARGEST_RESPONSE).read_to_string().map_err(passing)?;
        if !status.is_success() {
            let is_passing = status.is_server_error() || status.as_u16() == 429;
            return Err(Refusal { told: format!("answered with status {status}: {}", excerpt(&body)), is_passing });
        }
        let lasting = |told: String| Refusal { told, is_passing: false };
        job.rewards(response(&body).map_err(lasting)?).map_err(lasting)
    }
}
