//! The flags of sampling on inference servers, which `rl` and `eval` share.

use super::{
    pool::{Servers, Settings},
    weights::WeightUpdate,
};
use crate::external::{address, retries, seconds};
use anyhow::Result;
use clap::{ArgAction, Args};
use serde::Serialize;
use std::{path::PathBuf, time::Duration};

/// Flags of inference servers. They are written to a configuration only where they are given.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize)]
#[command(next_help_heading = "Inference servers")]
pub struct ServerArgs {
    /// Servers that sample in place of this process, with commas between: vLLM, SGLang or llama.cpp, started with the model of --init
    /// (docs/machines.md). Their samples cannot be repeated from --seed
    #[arg(long, action = ArgAction::Set, value_name = "URL,…", value_delimiter = ',', value_parser = address)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rollout_server: Vec<String>,
    /// How trained weights get to the servers: as a whole model, as a LoRA adapter (`rl ppo --lora-rank`), or not at all, so that other
    /// policies than the first one are sampled here [default: weights; fixed for llama.cpp and where nothing is trained]
    #[arg(long, value_enum, requires = "rollout_server")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_update: Option<WeightUpdate>,
    /// Folder, on a disk that the servers share, through which trained weights get to them; they are removed at the end
    /// [default: runs/rollout-weights]
    #[arg(long, value_name = "DIR", requires = "rollout_server")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_weights: Option<PathBuf>,
    /// How much a server's log-probabilities of the tokens that it wrote may differ from those of the policy, in nats per token in the
    /// mean; beyond it the server is refused [default: 0.1]
    #[arg(long, value_name = "NATS", requires = "rollout_server", value_parser = nats)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_tolerance: Option<f64>,
    /// Seconds that a server may take for a request [default: 600]
    #[arg(long, value_name = "SECONDS", requires = "rollout_server", value_parser = seconds)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_timeout: Option<f64>,
    /// How often a request is sent again, to the next server, after an error or a time limit [default: 5]
    #[arg(long, value_name = "N", requires = "rollout_server", value_parser = retries)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_retries: Option<usize>,
}

impl ServerArgs {
    /// Whether servers sample.
    pub fn is_given(&self) -> bool {
        !self.rollout_server.is_empty()
    }

    /// Connects to the servers; `None` without any. `trains`: whether the command samples from more policies than one.
    ///
    /// # Errors
    /// A server that cannot be reached, that is of no known kind, or whose weights cannot be updated as asked for.
    pub fn start(&self, trains: bool) -> Result<Option<Servers>> {
        if !self.is_given() {
            return Ok(None);
        }
        let settings = Settings {
            update: self.rollout_update.or((!trains).then_some(WeightUpdate::Fixed)),
            folder: self.rollout_weights.clone().unwrap_or_else(|| PathBuf::from("runs/rollout-weights")),
            tolerance: self.rollout_tolerance.unwrap_or(0.1),
            timeout: Duration::from_secs_f64(self.rollout_timeout.unwrap_or(600.0)),
            retries: self.rollout_retries.unwrap_or(5),
        };
        Servers::connect(&self.rollout_server, settings).map(Some)
    }
}

fn nats(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        Ok(_) => Err("give a number above 0".into()),
        Err(error) => Err(error.to_string()),
    }
}
