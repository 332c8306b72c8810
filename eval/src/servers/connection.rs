//! One server: JSON requests over HTTP. Knows neither what is asked nor what it means.

use crate::{external::excerpt, io::http::agent};
use serde_json::Value;
use std::{env, time::Duration};
use ureq::{Agent, Body, http::Response};

/// Maximum number of bytes of a response: log-probabilities of some thousand tokens of some hundred samples.
const LARGEST_RESPONSE: u64 = 256 << 20;

/// The key of servers that want one, sent as `Authorization: Bearer …`.
const KEY: &str = "RL_ROLLOUT_API_KEY";

/// A server.
pub(super) struct Connection {
    /// Where it is, without a slash at the end.
    pub(super) url: String,
    agent: Agent,
    timeout: Duration,
    key: Option<String>,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    /// What happened, as a continuation of the server's address.
    pub(super) what: String,
    /// Whether the server was not reached, or has stopped: it may have lost its weights.
    pub(super) is_lost: bool,
    /// Whether the same request may succeed later.
    pub(super) is_passing: bool,
}

impl Refusal {
    /// An answer that makes no sense, which no repetition would change.
    pub(super) fn lasting(what: impl Into<String>) -> Self {
        Self { what: what.into(), is_lost: false, is_passing: false }
    }
}

impl Connection {
    pub(super) fn new(url: &str, timeout: Duration) -> Self {
        let url = url.trim_end_matches('/').to_string();
        let key = env::var(KEY).ok().filter(|key| !key.is_empty());
        Self { agent: agent(&url, timeout), url, timeout, key }
    }

    /// What the server answers to a request.
    pub(super) fn post(&self, path: &str, request: &Value) -> Result<Value, Refusal> {
        let mut post = self.agent.post(format!("{}{path}", self.url)).header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            post = post.header("Authorization", format!("Bearer {key}"));
        }
        self.read(path, post.send(request.to_string()))
    }

    /// What the server has under a path.
    pub(super) fn get(&self, path: &str) -> Result<Value, Refusal> {
        let mut get = self.agent.get(format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            get = get.header("Authorization", format!("Bearer {key}"));
        }
        self.read(path, get.call())
    }

    /// The JSON of an answer; `Null` of an answer that is empty or a text.
    fn read(&self, path: &str, answer: Result<Response<Body>, ureq::Error>) -> Result<Value, Refusal> {
        let lost = |error: ureq::Error| Refusal {
            what: match error {
                ureq::Error::Timeout(_) => format!("did not answer {path} within {} s", self.timeout.as_secs_f64()),
                error => format!("cannot be reached ({error})"),
            },
            is_lost: true,
            is_passing: true,
        };
        let mut answer = answer.map_err(lost)?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(LARGEST_RESPONSE).read_to_string().map_err(lost)?;
        if !status.is_success() {
            let is_passing = status.is_server_error() || status.as_u16() == 429;
            let what = format!("answered {path} with status {status}: {}", excerpt(&body));
            return Err(Refusal { what, is_lost: false, is_passing });
        }
        Ok(serde_json::from_str(&body).unwrap_or(Value::Null))
    }
}
