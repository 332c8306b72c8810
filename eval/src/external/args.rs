//! The flags of an external reward, which `rl` and `eval` share.

use super::{
    checker::{Checker, Condition},
    client::{RewardClient, Source},
    transport::Bounds,
};
use anyhow::Result;
use clap::{ArgGroup, Args};
use data::Benchmark;
use serde::Serialize;
use std::time::Duration;

/// Flags of an external reward. They are written to a configuration only where they are given.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize)]
#[command(next_help_heading = "External reward", group(ArgGroup::new("reward_source").multiple(true)))]
pub struct ExternalArgs {
    /// Command that rewards completions, as in 'python3 reward.py': it reads one JSON line per batch and answers each with one
    /// (docs/rewards.md)
    #[arg(long, value_name = "COMMAND", group = "reward_source", overrides_with = "reward_url")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_command: Option<String>,
    /// HTTP endpoint that rewards completions: each batch is posted to it as JSON. Of a command and an endpoint the last one counts
    #[arg(long, value_name = "URL", group = "reward_source", overrides_with = "reward_command", value_parser = address)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_url: Option<String>,
    /// Seconds without an answer after which the command is started again, or the endpoint asked again [default: 60]
    #[arg(long, value_name = "SECONDS", requires = "reward_source", value_parser = seconds)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_timeout: Option<f64>,
    /// Completions per batch [default: 16]
    #[arg(long, value_name = "N", requires = "reward_source", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_batch: Option<usize>,
    /// Batches that may wait for an answer at the same time [default: 4]
    #[arg(long, value_name = "N", requires = "reward_source", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_in_flight: Option<usize>,
    /// How often a batch is sent again after a command that ended, a time limit or an error of the server [default: 3]
    #[arg(long, value_name = "N", requires = "reward_source", value_parser = retries)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_retries: Option<usize>,
}

/// Flags of an external reward that decides which completions are correct, in place of their answers.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize)]
#[command(next_help_heading = "External reward")]
pub struct CheckerArgs {
    /// The reward.
    #[command(flatten)]
    #[serde(flatten)]
    pub external: ExternalArgs,
    /// A completion is correct if its external reward fulfils this: >=, >, <=, < or == and a number [default: '>= 0.5']
    #[arg(long, value_name = "CONDITION", requires = "reward_source")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correct_if: Option<Condition>,
}

impl ExternalArgs {
    /// Whether there is an external reward.
    pub fn is_given(&self) -> bool {
        self.source().is_some()
    }

    /// Starts the command or prepares the connections; `None` without an external reward.
    ///
    /// # Errors
    /// As [`RewardClient::start`].
    pub fn start(&self) -> Result<Option<RewardClient>> {
        let usual = Bounds::default();
        let bounds = Bounds {
            timeout: self.reward_timeout.map_or(usual.timeout, Duration::from_secs_f64),
            batch: self.reward_batch.unwrap_or(usual.batch),
            in_flight: self.reward_in_flight.unwrap_or(usual.in_flight),
            retries: self.reward_retries.unwrap_or(usual.retries),
        };
        self.source().map(|source| RewardClient::start(source, bounds)).transpose()
    }

    fn source(&self) -> Option<Source> {
        let command = self.reward_command.clone().map(Source::command);
        command.or_else(|| self.reward_url.clone().map(Source::Url))
    }
}

impl CheckerArgs {
    /// Whether an external reward decides which completions for the problems of a benchmark are correct.
    pub fn decides(&self, benchmark: &Benchmark) -> bool {
        self.external.is_given() || benchmark.answer_command().is_some()
    }

    /// The checker of the flags, or else of the benchmark; `None` where answers are compared.
    ///
    /// # Errors
    /// As [`ExternalArgs::start`] and [`Checker::of_benchmark`].
    pub fn start(&self, benchmark: &Benchmark) -> Result<Option<Checker>> {
        match self.external.start()? {
            Some(client) => Ok(Some(Checker { client, correct_if: self.correct_if.unwrap_or_default() })),
            None => Checker::of_benchmark(benchmark),
        }
    }
}

pub(crate) fn address(text: &str) -> Result<String, String> {
    let is_address = ["http://", "https://"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
    if is_address { Ok(text.into()) } else { Err("give an address that begins with http:// or https://".into()) }
}

pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|error: std::num::ParseFloatError| error.to_string())?;
    // A day, which no batch needs, keeps the sum with a time of day from overflow.
    if value > 0.0 && value <= 86_400.0 {
        Ok(value)
    } else {
        Err("give a number of seconds above 0, at most 86400".into())
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(value) if (1..=65_536).contains(&value) => Ok(value),
        Ok(_) => Err("give a whole number from 1 to 65536".into()),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn retries(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(value) if value <= 1000 => Ok(value),
        Ok(_) => Err("give a whole number of at most 1000".into()),
        Err(error) => Err(error.to_string()),
    }
}
