//! The algorithms, one file each, all with the same skeleton: configuration, `train`, an update. Each receives its
//! starting models; none depends on how these are made. [`Algorithm`] lists them.

pub mod ares;
pub mod augment;
pub mod dpo;
pub mod expert_iteration;
pub mod final_table;
pub mod mpo;
pub mod orm;
pub mod ppo;
pub mod pretrain;
pub mod rcrl;
mod rounds;
pub mod sft;
pub mod start;

use crate::cli::{
    args::{DataArgs, RunArgs},
    defaults::{Configuration, Defaults},
};
use ares::AresConfig;
use augment::AugmentConfig;
use clap::Subcommand;
use dpo::DpoConfig;
use expert_iteration::EiConfig;
use model::ModelSize;
use mpo::MpoConfig;
use orm::OrmConfig;
use ppo::PpoConfig;
use pretrain::PretrainConfig;
use rcrl::RcrlConfig;
use sft::SftConfig;
use std::path::Path;

/// An algorithm, which is a command, with its resolved configuration.
#[derive(Subcommand, Clone, Debug)]
pub enum Algorithm {
    /// Train a tokenizer and a base model from scratch
    Pretrain(PretrainConfig),
    /// Fine-tune on reference solutions
    Sft(SftConfig),
    /// Train an outcome reward model: the probability that a solution, finished or not, is correct
    Orm(OrmConfig),
    /// Improve a policy by Expert Iteration: sample, keep correct solutions, fine-tune the base model on them, repeat
    Ei(EiConfig),
    /// Improve a policy by PPO with rewards for correct answers: the main command
    Ppo(PpoConfig),
    /// Improve a policy by preference optimisation (DPO, IPO, SimPO, KTO …) on correct and wrong completions
    Dpo(DpoConfig),
    /// Improve a policy by mixed preference optimisation: DPO on pairs that a reward model finds easy, then PPO on the questions of hard ones
    Mpo(MpoConfig),
    /// Improve a policy by ARES: PPO with a score for each line and SFT on corrected samples, in turn
    Ares(AresConfig),
    /// Improve a policy by return-conditioned RL: train on good and bad samples behind labels, sample behind the good
    /// label
    Rcrl(RcrlConfig),
    /// Make more training problems by backtranslation
    Augment(AugmentConfig),
}

/// The defaults of each algorithm, by the name of its command.
pub(crate) const DEFAULTS: &[Defaults] = &[
    Defaults::new::<PretrainConfig>("pretrain"),
    Defaults::new::<SftConfig>("sft"),
    Defaults::new::<OrmConfig>("orm"),
    Defaults::new::<EiConfig>("ei"),
    Defaults::new::<PpoConfig>("ppo"),
    Defaults::new::<DpoConfig>("dpo"),
    Defaults::new::<MpoConfig>("mpo"),
    Defaults::new::<AresConfig>("ares"),
    Defaults::new::<RcrlConfig>("rcrl"),
    Defaults::new::<AugmentConfig>("augment"),
];

impl Algorithm {
    /// The flags of the run.
    pub(crate) fn run_args_mut(&mut self) -> &mut RunArgs {
        match self {
            Self::Pretrain(config) => config.run_mut(),
            Self::Sft(config) => config.run_mut(),
            Self::Orm(config) => config.run_mut(),
            Self::Ei(config) => config.run_mut(),
            Self::Ppo(config) => config.run_mut(),
            Self::Dpo(config) => config.run_mut(),
            Self::Mpo(config) => config.run_mut(),
            Self::Ares(config) => config.run_mut(),
            Self::Rcrl(config) => config.run_mut(),
            Self::Augment(config) => config.run_mut(),
        }
    }

    /// The flags of the problems.
    pub(crate) fn data_args_mut(&mut self) -> &mut DataArgs {
        match self {
            Self::Pretrain(config) => config.data_mut(),
            Self::Sft(config) => config.data_mut(),
            Self::Orm(config) => config.data_mut(),
            Self::Ei(config) => config.data_mut(),
            Self::Ppo(config) => config.data_mut(),
            Self::Dpo(config) => config.data_mut(),
            Self::Mpo(config) => config.data_mut(),
            Self::Ares(config) => config.data_mut(),
            Self::Rcrl(config) => config.data_mut(),
            Self::Augment(config) => config.data_mut(),
        }
    }

    /// The trained model, if a flag names it, and whether only adapters are trained.
    pub(crate) fn trained(&self) -> (Option<&Path>, bool) {
        fn of(config: &impl Configuration) -> (Option<&Path>, bool) {
            (config.trained(), config.has_adapters())
        }
        match self {
            Self::Pretrain(config) => of(config),
            Self::Sft(config) => of(config),
            Self::Orm(config) => of(config),
            Self::Ei(config) => of(config),
            Self::Ppo(config) => of(config),
            Self::Dpo(config) => of(config),
            Self::Mpo(config) => of(config),
            Self::Ares(config) => of(config),
            Self::Rcrl(config) => of(config),
            Self::Augment(config) => of(config),
        }
    }

    /// The size of the models that are made on demand.
    pub(crate) fn made_size(&self) -> ModelSize {
        match self {
            Self::Pretrain(config) => config.model,
            Self::Sft(config) => config.init.model,
            Self::Orm(config) => config.init.model,
            Self::Ei(config) => config.init.model,
            Self::Ppo(config) => config.init.model,
            Self::Dpo(config) => config.init.model,
            Self::Mpo(config) => config.dpo.init.model,
            Self::Ares(config) => config.init.model,
            Self::Rcrl(config) => config.init.model,
            Self::Augment(config) => config.init.model,
        }
    }
}
