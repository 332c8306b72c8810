//! How to make a policy better: pretraining, SFT, reward models, Expert Iteration, PPO, return-conditioned
//! RL, and the commands around them. Samples and scores through `eval`.

pub mod adapters;
pub mod advantage;
pub mod args;
pub mod augment;
pub mod batch;
pub mod bench;
pub mod command;
pub mod config_file;
pub mod curriculum;
pub mod diagnostics;
pub mod dry_run;
pub mod expert_iteration;
pub mod export;
pub mod generate;
pub mod harvest;
pub mod html;
mod idle;
pub mod inspect;
pub mod loss;
pub mod optim;
pub mod order;
pub mod orm;
pub mod ppo;
pub mod prefix;
pub mod prepare;
pub mod pretrain;
pub mod progress;
pub mod rcrl;
pub mod reward;
pub mod rollout;
pub mod run;
pub mod sft;
pub mod supervised;
pub mod table;
pub mod tensorboard;
pub mod verify;
