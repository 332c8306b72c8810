//! The flags of `rl mpo`: those of `rl dpo`, and for its second stage some of `rl ppo`'s; defaults and checks. Computes nothing.

use crate::{
    algorithms::dpo::{self, DpoConfig},
    algorithms::ppo::{self, PpoConfig, PpoStageArgs, Whole},
    cli::args::{DataArgs, RunArgs},
    cli::defaults::{Configuration, ModelKind, declared},
    cli::effect::{FixedOnResume, FlagEffect, InSummary},
    objective::reward::RewardKind,
    run,
    run::lock::Lock,
    sampling::problems::Problems,
    view::progress::print_line,
};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use model::Device;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Improve a policy by mixed preference optimisation: DPO on easy pairs, then PPO on the questions of hard ones
#[derive(Args, Clone, Debug, Serialize)]
pub struct MpoConfig {
    /// The run, its pairs, and the stage of DPO.
    #[command(flatten)]
    #[serde(flatten)]
    pub dpo: DpoConfig,
    /// Reward model (a run of `rl orm`) that splits the pairs and rewards PPO [default: one made for the benchmark and kept under runs/]
    #[arg(long, add = FixedOnResume::Path, help_heading = "Objective", value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orm: Option<PathBuf>,
    /// γ: difference of the reward model's probabilities above which a pair is easy [default: the median]
    #[arg(long, add = InSummary, add = FixedOnResume::Value, add = FlagEffect::unless("all-pairs", &["true"]), help_heading = "Objective", value_name = "DIFFERENCE", value_parser = crate::cli::args::share::<f64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<f64>,
    /// As an ablation, train both stages on all pairs
    #[arg(long, add = FixedOnResume::Value, help_heading = "Objective")]
    pub all_pairs: bool,
    /// Which stage is the first
    #[arg(long, add = FixedOnResume::Value, help_heading = "Objective", value_enum, default_value_t)]
    pub order: StageOrder,
    /// Reference of PPO
    #[arg(long, add = FixedOnResume::Value, help_heading = "Objective", value_enum, default_value_t)]
    pub ppo_reference: PpoReference,
    /// The stage of PPO.
    #[command(flatten)]
    #[serde(flatten)]
    pub ppo: PpoStageArgs,
}

/// A stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// DPO on the easy pairs.
    Dpo,
    /// PPO on the questions of the hard pairs.
    Ppo,
}

impl Stage {
    /// Its folder in the run, which is a run of the command of this name.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Dpo => "dpo",
            Self::Ppo => "ppo",
        }
    }
}

/// Which stage is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageOrder {
    /// DPO on easy pairs, then PPO
    #[default]
    EasyFirst,
    /// PPO, then DPO on easy pairs with PPO's model as its reference: the paper's ablation
    HardFirst,
}

impl StageOrder {
    /// The stages in their order.
    pub(super) fn stages(self) -> [Stage; 2] {
        match self {
            Self::EasyFirst => [Stage::Dpo, Stage::Ppo],
            Self::HardFirst => [Stage::Ppo, Stage::Dpo],
        }
    }
}

/// The reference of PPO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PpoReference {
    /// The model that PPO starts from, which is DPO's
    #[default]
    Start,
    /// The first model: the paper's ablation
    First,
}

impl Configuration for MpoConfig {
    /// Those of `rl dpo` and `rl ppo`.
    fn defaults(kind: ModelKind) -> Self {
        let declared: Self = declared();
        Self { dpo: DpoConfig::defaults(kind), ppo: declared.ppo.clone().for_model(kind), ..declared }
    }

    fn trained(&self) -> Option<&Path> {
        self.dpo.trained()
    }

    fn has_adapters(&self) -> bool {
        self.dpo.has_adapters()
    }

    fn run_mut(&mut self) -> &mut RunArgs {
        &mut self.dpo.run
    }

    fn data_mut(&mut self) -> &mut DataArgs {
        &mut self.dpo.data
    }
}

impl MpoConfig {
    /// The stage of DPO, on the pairs of a file.
    pub(super) fn dpo_stage(&self, run: RunArgs, pairs: &Path) -> DpoConfig {
        let mut config = DpoConfig { run, pairs: Some(pairs.to_path_buf()), ..self.dpo.clone() };
        config.eval.test_problems = 0;
        config
    }

    /// The stage of PPO, with the reward model `orm`.
    pub(super) fn ppo_stage(&self, run: RunArgs, orm: &Path) -> PpoConfig {
        let DpoConfig { data, init, lora, eval, .. } = self.dpo.clone();
        let mut config = self.ppo.config(Whole { run, data, init, lora, eval });
        (config.reward.reward, config.reward.orm) = (RewardKind::SparseOrm, Some(orm.to_path_buf()));
        config.reward.answer_weight = self.ppo.ppo_answer_weight;
        config
    }

    /// The stage of PPO before its reward model is known.
    fn planned_ppo_stage(&self) -> PpoConfig {
        let mut config = self.ppo_stage(self.dpo.run.clone(), Path::new(""));
        config.reward.orm.clone_from(&self.orm);
        config
    }
}

/// Refuses flags that contradict each other, missing data and files that cannot be read.
///
/// # Errors
/// Naming the flag, or the line of the file.
pub fn check(config: &MpoConfig, problems: &Problems) -> Result<()> {
    ensure!(config.dpo.rounds == 1, "--rounds {} is for rl dpo: rl mpo has one stage of each kind", config.dpo.rounds);
    ensure!(config.dpo.preference.loss.is_of_pairs(), "--loss kto is for rl dpo: rl mpo splits pairs");
    ensure!(
        !config.dpo.checker.external.is_given(),
        "rl mpo takes no reward from outside: its second stage is rewarded by --orm"
    );
    dpo::check(&config.dpo, problems)?;
    ppo::check(&config.planned_ppo_stage(), problems).context("the stage of PPO, whose flags begin with --ppo- here")
}

/// Takes the run that is resumed, if one is, for as long as the result lives.
///
/// # Errors
/// A run that is in use, or was begun otherwise.
pub fn lock_run(config: &MpoConfig) -> Result<Option<Lock>> {
    let lock = run::start::lock_run(&config.dpo.run)?;
    run::start::check_unchanged(&config.dpo.run, config, &[])?;
    let inputs = [("pairs", &config.dpo.pairs), ("from-samples", &config.dpo.sampling.source.from_samples)];
    run::start::check_inputs(&config.dpo.run, &inputs.map(|(flag, file)| (flag, file.as_deref())))?;
    Ok(lock)
}

/// Prints what both stages would do and need.
///
/// # Errors
/// An `--init` that cannot be read, a file without pairs.
pub fn dry_run(config: &MpoConfig, problems: &Problems, device: &Device) -> Result<()> {
    print_line(&format!("# rl mpo --dry-run: nothing is written\n\n{}", toml::to_string(config)?))?;
    for (number, stage) in (1..).zip(config.order.stages()) {
        print_line(&format!("\n# stage {number}: at most that of"))?;
        match stage {
            Stage::Dpo => dpo::dry_run(&config.dpo, problems, device)?,
            Stage::Ppo => ppo::dry_run(&config.planned_ppo_stage(), device)?,
        }
    }
    Ok(())
}
