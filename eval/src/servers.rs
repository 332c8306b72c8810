//! Sampling on inference servers: vLLM, SGLang and llama.cpp write the completions, and the trained weights follow to them. Independent of
//! grades, rewards and training. `docs/machines.md` shows how to start such servers.
//!
//! A server's samples cannot be repeated from a seed: it batches requests as they come. What they depend on otherwise is decided here:
//! samplers' own defaults are switched off, prompts are token ids, and the log-probabilities that a server gives for what it wrote are
//! compared with those of the policy, so that a server with other weights is refused.

mod args;
mod connection;
mod draft;
mod engine;
mod follow;
mod pool;
mod probe;
mod server;
mod weights;

pub use args::ServerArgs;
pub(crate) use pool::Request;
pub use pool::{ServerFailure, Servers};
pub use weights::WeightUpdate;
