//! Runs a command from its checks to its training. Models that are missing (base, SFT, reward model) are made first,
//! once, and kept under `runs/`. Stands between the command line and the algorithms: an algorithm receives models that
//! exist.

mod recipe;

use crate::{
    algorithms::{
        Algorithm,
        ares::{self, AresConfig},
        augment::{self, AugmentConfig},
        dpo::{self, DpoConfig},
        expert_iteration::{self, EiConfig},
        mpo::{self, MpoConfig},
        orm::{self, OrmConfig},
        ppo::{self, PpoConfig},
        pretrain::{self, PretrainConfig},
        rcrl::{self, RcrlConfig},
        sft::{self, SftConfig},
    },
    cli::args::RunArgs,
    run::{self, lock::Lock, start::RUNS},
    sampling::problems::Problems,
};
use anyhow::{Context, Result, ensure};
use eval::{parts::Part, resolve_checkpoint};
use model::{Device, ModelSize, ranks};
use recipe::{Kind, Recipe};
use std::path::{Path, PathBuf};

/// Runs an algorithm on the device of its flags; the run directory, or `None` of a dry run.
///
/// # Errors
/// As the algorithm; inference servers that cannot be used.
pub fn run(algorithm: &Algorithm) -> Result<Option<PathBuf>> {
    let mut algorithm = algorithm.clone();
    let run = algorithm.run_args_mut();
    if !run.dry_run {
        run.compute.servers = run.compute.rollout.start(true)?;
    }
    match &algorithm {
        Algorithm::Pretrain(config) => pretrain(config, &config.run.device()?),
        Algorithm::Sft(config) => sft(config, &config.run.device()?),
        Algorithm::Orm(config) => orm(config, &config.run.device()?),
        Algorithm::Ei(config) => expert_iteration(config, &config.run.device()?),
        Algorithm::Ppo(config) => ppo(config, &config.run.device()?),
        Algorithm::Dpo(config) => dpo(config, &config.run.device()?),
        Algorithm::Mpo(config) => mpo(config, &config.dpo.run.device()?),
        Algorithm::Ares(config) => ares(config, &config.run.device()?),
        Algorithm::Rcrl(config) => rcrl(config, &config.run.device()?),
        Algorithm::Augment(config) => augment(config, &config.run.device()?),
    }
}

/// `rl pretrain`.
fn pretrain(config: &PretrainConfig, device: &Device) -> Result<Option<PathBuf>> {
    pretrain_on(config, &Problems::new(&config.data), device)
}

/// `rl sft`: from a base model.
fn sft(config: &SftConfig, device: &Device) -> Result<Option<PathBuf>> {
    sft_on(config, &Problems::new(&config.data), device)
}

/// `rl orm`: on samples of an SFT model, or of another policy.
fn orm(config: &OrmConfig, device: &Device) -> Result<Option<PathBuf>> {
    orm_on(config, &Problems::new(&config.data), device)
}

/// `rl ppo`: starts from an SFT model, with a reward model if the reward needs one.
fn ppo(config: &PpoConfig, device: &Device) -> Result<Option<PathBuf>> {
    let problems = Problems::new(&config.data);
    ppo::check(config, &problems)?;
    if config.run.dry_run {
        return ppo::dry_run(config, device).map(|()| None);
    }
    let _lock = ppo::lock_run(config)?;
    let models = Models { problems: &problems, run: &config.run, size: config.init.model, device };
    let init = models.sft(config.init.init.as_deref())?;
    let orm = match config.reward.needs_reward_model() {
        true => Some(models.orm(config.reward.orm.as_deref(), config.init.init.as_deref())?),
        false => None,
    };
    ppo::train(config, &init, None, orm.as_deref(), &problems, device).map(Some)
}

/// `rl ei`: fine-tunes a base in each round; the first one samples from an SFT model, or from the base.
fn expert_iteration(config: &EiConfig, device: &Device) -> Result<Option<PathBuf>> {
    let problems = Problems::new(&config.data);
    expert_iteration::check(config, &problems, device)?;
    if config.run.dry_run {
        return expert_iteration::dry_run(config, &problems, device).map(|()| None);
    }
    let models = Models { problems: &problems, run: &config.run, size: config.init.model, device };
    let init = |base: &dyn Fn() -> Result<PathBuf>| match (config.start, &config.init.init) {
        (expert_iteration::Start::Sft, init) => models.sft(init.as_deref()),
        (expert_iteration::Start::Base, Some(init)) => resolve_checkpoint(init),
        (expert_iteration::Start::Base, None) => base(),
    };
    if let Some(part) = config.source.share.part {
        let init = init(&|| models.base(config.given_base()))?;
        return expert_iteration::make_part(config, part, &init, &problems, device).map(|()| None);
    }
    let _lock = expert_iteration::lock_run(config)?;
    let base = models.base(config.given_base())?;
    let init = init(&|| Ok(base.clone()))?;
    expert_iteration::train(config, &base, &init, &problems, device).map(Some)
}

/// `rl dpo`: starts from an SFT model.
fn dpo(config: &DpoConfig, device: &Device) -> Result<Option<PathBuf>> {
    let problems = Problems::new(&config.data);
    dpo::check(config, &problems)?;
    if config.run.dry_run {
        return dpo::dry_run(config, &problems, device).map(|()| None);
    }
    let models = Models { problems: &problems, run: &config.run, size: config.init.model, device };
    if let Some(part) = config.sampling.source.share.part {
        return dpo_part(config, part, &models).map(|()| None);
    }
    let _lock = dpo::lock_run(config)?;
    let init = models.sft(config.init.init.as_deref())?;
    dpo::train(config, &init, &problems, device).map(Some)
}

/// A part of the samples that pairs are made of.
fn dpo_part(config: &DpoConfig, part: Part, models: &Models<'_>) -> Result<()> {
    let init = models.sft(config.init.init.as_deref())?;
    dpo::make_part(config, part, &init, models.problems, models.device)
}

/// `rl mpo`: starts from an SFT model, with a reward model.
fn mpo(config: &MpoConfig, device: &Device) -> Result<Option<PathBuf>> {
    let problems = Problems::new(&config.dpo.data);
    mpo::check(config, &problems)?;
    if config.dpo.run.dry_run {
        return mpo::dry_run(config, &problems, device).map(|()| None);
    }
    let models = Models { problems: &problems, run: &config.dpo.run, size: config.dpo.init.model, device };
    if let Some(part) = config.dpo.sampling.source.share.part {
        return dpo_part(&config.dpo, part, &models).map(|()| None);
    }
    let _lock = mpo::lock_run(config)?;
    let named = config.dpo.init.init.as_deref();
    let (init, orm) = (models.sft(named)?, models.orm(config.orm.as_deref(), named)?);
    mpo::train(config, &init, &orm, &problems, device).map(Some)
}

/// `rl ares`: starts from an SFT model, with a reward model if that is the teacher.
fn ares(config: &AresConfig, device: &Device) -> Result<Option<PathBuf>> {
    let problems = Problems::new(&config.data);
    ares::check(config, &problems)?;
    if config.run.dry_run {
        return ares::dry_run(config, &problems, device).map(|()| None);
    }
    let _lock = ares::lock_run(config)?;
    let models = Models { problems: &problems, run: &config.run, size: config.init.model, device };
    let named = config.init.init.as_deref();
    let init = models.sft(named)?;
    let orm = match config.teacher {
        ares::Teacher::Orm => Some(models.orm(config.orm.as_deref(), named)?),
        _ => None,
    };
    ares::train(config, &init, orm.as_deref(), &problems, device).map(Some)
}

/// `rl rcrl`: fine-tunes a base on samples of an SFT model, or of another policy.
fn rcrl(config: &RcrlConfig, device: &Device) -> Result<Option<PathBuf>> {
    let problems = Problems::new(&config.data);
    rcrl::check(config, &problems)?;
    if config.run.dry_run {
        return rcrl::dry_run(config, &problems, device).map(|()| None);
    }
    let models = Models { problems: &problems, run: &config.run, size: config.init.model, device };
    if let Some(part) = config.sampling.source.share.part {
        let init = models.sft(config.init.init.as_deref())?;
        return rcrl::make_part(config, part, &init, &problems, device).map(|()| None);
    }
    let _lock = rcrl::lock_run(config)?;
    let (base, init) = (models.base(config.base.as_deref())?, models.sft(config.init.init.as_deref())?);
    rcrl::train(config, &base, &init, &problems, device).map(Some)
}

/// `rl augment`: fine-tunes a base model as the backward model; an SFT model, or another policy, samples and verifies.
fn augment(config: &AugmentConfig, device: &Device) -> Result<Option<PathBuf>> {
    let problems = Problems::new(&config.data);
    augment::check(config, &problems)?;
    if config.run.dry_run {
        return augment::dry_run(config, &problems, device).map(|()| None);
    }
    let models = Models { problems: &problems, run: &config.run, size: config.init.model, device };
    if let Some(part) = config.sampling.source.share.part {
        let init = models.sft(config.init.init.as_deref())?;
        return augment::make_part(config, part, &init, &problems, device).map(|()| None);
    }
    let _lock = augment::lock_run(config)?;
    let (base, init) = (models.base(config.base.as_deref())?, models.sft(config.init.init.as_deref())?);
    augment::train(config, &base, &init, &problems, device).map(Some)
}

fn pretrain_on(config: &PretrainConfig, problems: &Problems, device: &Device) -> Result<Option<PathBuf>> {
    if config.run.dry_run {
        return pretrain::dry_run(config, device).map(|()| None);
    }
    let _lock = pretrain::lock_run(config)?;
    pretrain::train(config, problems, device).map(Some)
}

fn sft_on(config: &SftConfig, problems: &Problems, device: &Device) -> Result<Option<PathBuf>> {
    sft::check(config, problems)?;
    if config.run.dry_run {
        return sft::dry_run(config, problems, device).map(|()| None);
    }
    let _lock = sft::lock_run(config)?;
    let init = match (&config.run.resume, &config.init.init) {
        // A resumed run needs it only for its final table, and may have that row already.
        (Some(_), Some(init)) => init.clone(),
        (_, init) => Models { problems, run: &config.run, size: config.init.model, device }.base(init.as_deref())?,
    };
    sft::train(config, &init, problems, device).map(Some)
}

fn orm_on(config: &OrmConfig, problems: &Problems, device: &Device) -> Result<Option<PathBuf>> {
    orm::check(config, problems)?;
    if config.run.dry_run {
        return orm::dry_run(config, problems, device).map(|()| None);
    }
    let models = Models { problems, run: &config.run, size: config.init.model, device };
    if let Some(part) = config.sampling.source.share.part {
        let init = models.sft(config.init.init.as_deref())?;
        return orm::make_part(config, part, &init, problems, device).map(|()| None);
    }
    let _lock = orm::lock_run(config)?;
    orm::train(config, &models.sft(config.init.init.as_deref())?, problems, device).map(Some)
}

/// The models that a command starts from: those that its flags name; otherwise models made once for its problems, size
/// and seed.
struct Models<'a> {
    problems: &'a Problems,
    run: &'a RunArgs,
    size: ModelSize,
    device: &'a Device,
}

impl Models<'_> {
    /// A base model.
    fn base(&self, named: Option<&Path>) -> Result<PathBuf> {
        named.map_or_else(|| self.made_once(Kind::Base), resolve_checkpoint)
    }

    /// An SFT model.
    fn sft(&self, named: Option<&Path>) -> Result<PathBuf> {
        named.map_or_else(|| self.made_once(Kind::Sft), resolve_checkpoint)
    }

    /// A reward model for the policy `init`.
    fn orm(&self, named: Option<&Path>, init: Option<&Path>) -> Result<PathBuf> {
        ensure!(
            named.is_some() || init.is_none(),
            "with --init, the reward model must be trained on the same policy: train one with `rl orm --init` and give it with --orm"
        );
        named.map_or_else(|| self.made_once(Kind::Orm), resolve_checkpoint)
    }

    /// The model in [`Recipe::dir`], made if it does not exist yet. An interrupted attempt is resumed.
    fn made_once(&self, kind: Kind) -> Result<PathBuf> {
        // Several ranks would wait for each other: the first one makes it.
        let made = ranks::from_first(|| self.made_here(kind).map_err(|error| format!("{error:#}")));
        made.map_err(anyhow::Error::msg)
    }

    fn made_here(&self, kind: Kind) -> Result<PathBuf> {
        let data = kind.reads(self.problems.data());
        let own = (data != *self.problems.data()).then(|| Problems::new(&data));
        let problems = own.as_ref().unwrap_or(self.problems);
        problems.solved()?;
        let recipe = Recipe::new(kind, self.size, problems, self.run)?;
        // If another process is making it, wait for it and use its result.
        let mut lock = if recipe.finished().is_file() { None } else { Some(claim_made(&recipe.dir)?) };
        if recipe.is_made()? {
            return resolve_checkpoint(&recipe.dir);
        }
        let made = self.make(&recipe, problems).inspect_err(|_| {
            drop(lock.take());
            // Removed if it is empty.
            let _ = std::fs::remove_dir(RUNS);
        });
        made.with_context(|| format!("cannot make the {} model {}", kind.name(), recipe.dir.display()))?;
        recipe.finish()?;
        resolve_checkpoint(&recipe.dir)
    }

    fn make(&self, recipe: &Recipe, problems: &Problems) -> Result<Option<PathBuf>> {
        if recipe.is_begun() {
            return match recipe.kind {
                Kind::Base => {
                    pretrain_on(&recipe.begun::<PretrainConfig>(self.run, |c| &c.data)?, problems, self.device)
                }
                Kind::Sft => sft_on(&recipe.begun::<SftConfig>(self.run, |c| &c.data)?, problems, self.device),
                Kind::Orm => orm_on(&recipe.begun::<OrmConfig>(self.run, |c| &c.data)?, problems, self.device),
            };
        }
        run::remove_unstarted(&recipe.dir)?;
        let run = recipe.run_args(self.run);
        match recipe.kind {
            Kind::Base => pretrain_on(&recipe.pretrain(run, problems.data()), problems, self.device),
            Kind::Sft => sft_on(&recipe.sft(run, problems.data(), self.base(None)?), problems, self.device),
            Kind::Orm => orm_on(&recipe.orm(run, problems.data(), self.sft(None)?), problems, self.device),
        }
    }
}

/// Takes the lock of a model's folder under `runs/`, and waits while another process holds it.
fn claim_made(dir: &Path) -> Result<Lock> {
    std::fs::create_dir_all(RUNS).with_context(|| format!("cannot make {RUNS}"))?;
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let what = format!("another process is making {}: waiting for it", dir.display());
    Lock::wait(&dir.with_file_name(format!(".{name}.lock")), &what)
}
