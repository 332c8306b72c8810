//! Rewards from outside: a child process or an HTTP endpoint reads batches of completions and answers with numbers. `docs/rewards.md`
//! has the protocol. Independent of sampling and of the use of a reward.

mod args;
mod checker;
mod child;
mod client;
mod http;
mod protocol;
mod transport;

pub use args::{CheckerArgs, ExternalArgs};
pub(crate) use args::{address, retries, seconds};
pub use checker::{Checker, Condition};
pub use client::{Phase, RewardClient, Source};
pub(crate) use protocol::excerpt;
pub use protocol::{Item, Reward, RewardFailure, line_ends};
pub use transport::Bounds;
pub(crate) use transport::pause;
