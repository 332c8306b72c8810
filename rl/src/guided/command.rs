//! `rl guide`: learns in an environment with a guide, for several seeds, and shows how many episodes and queries it takes.
//!
//! A seed is what is resumed from: `seeds.jsonl` has a line for each that is done.

use super::{
    args::{GuideArgs, Method, name},
    demonstrations::{self, PriorConfig},
    guide::Guide,
    lagr::{self, LagrConfig},
    linvit::{self, LinvitConfig},
    lmgt::{self, LmgtConfig},
    mdp::Mdp,
    prior::{prior_of_divergence, prior_that_knows, uniform_prior},
    slinvit::{self, SlinvitConfig},
    summary::{SeedResult, cost_of_model, half_width, mean, table},
    values::{Prior, at_every_step, divergence, evaluated, optimal, soonest},
};
use crate::{
    run::{
        Run, append_line, interrupted,
        metrics::Metrics,
        open_for_append,
        start::{check_unchanged, create_or_resume_task, lock_run},
    },
    view::html::write_final_report,
    view::progress::{Progress, print_line},
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use eval::Policy;
use model::{Device, parallel_map, save_model};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

/// The results of seeds, in a run directory.
const SEEDS: &str = "seeds.jsonl";
/// The folder of a guide that has learnt from demonstrations.
const PRIOR: &str = "prior";

/// Runs the command; the run directory, if there is one.
///
/// # Errors
/// A size that the environment does not have, a divergence that no guide has, an unusable `--init`, a full disk, Ctrl-C.
pub fn run(args: &GuideArgs) -> Result<Option<PathBuf>> {
    let _lock = lock_run(&args.run)?;
    check_unchanged(&args.run, args, &[])?;
    let has_model = args.init.is_some() || args.train_prior.is_some();
    ensure!(
        args.method != Method::Linvit || args.lambda > 0.0 || !has_model,
        "--lambda 0 ignores the guide: leave --init and --train-prior out"
    );
    // A first environment, so that what none of them can have is known before anything is written.
    let first = args.environment.build(args.size, args.run.seed)?;
    if args.method == Method::Slinvit {
        slinvit_config(args).check(&first)?;
    }
    let device = args.run.compute.choose_device()?;
    if args.show || args.run.dry_run {
        show(args, &first, &device)?;
        return Ok(None);
    }
    let earlier = args.run.resume.as_deref().map(read_results).transpose()?.unwrap_or_default();
    ensure!(
        earlier.len() < args.seeds || args.run.resume.is_none() || !is_reported(args, &earlier),
        "the run has all of its {} seeds: raise --seeds, or look at it with rl inspect",
        args.seeds
    );
    let policy = args.init.as_deref().map(|path| Policy::load(path, &device)).transpose()?;
    match &policy {
        Some(policy) => Guide::new(policy, &first, args.guide_temperature).map(drop)?,
        None => made_prior(args, &first, args.run.seed).map(drop)?,
    }
    if let Some(dir) = &args.run.resume {
        // They are means over all seeds, and are written when the last one is done.
        eval::write_whole(&dir.join("metrics.jsonl"), "")?;
    }
    let mut run = create_or_resume_task(&args.run, "guide", &name(args.environment), args, 0)?;
    let policy = match args.train_prior {
        None => policy,
        Some(demonstrations) => Some(trained(args, policy, demonstrations, run.dir(), &device)?),
    };
    let all = learn(args, policy.as_ref(), earlier, run.dir(), &device)?;
    write_metrics(&mut run, &all)?;
    write_final_report::<GuideArgs>(&run);
    cost_of_model(&all).map_or(Ok(()), |line| print_line(&line))?;
    print_line(&table(args, &all))?;
    Ok(Some(run.dir().to_path_buf()))
}

/// The results of the seeds of a run; those of a line that was cut off are missing.
fn read_results(dir: &Path) -> Result<Vec<SeedResult>> {
    let path = dir.join(SEEDS);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8_lossy(&text);
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let results = whole.map(serde_json::from_str).collect::<Result<Vec<SeedResult>, _>>();
    results.with_context(|| format!("{} is malformed", path.display()))
}

/// Whether metrics and report of all seeds have been written.
fn is_reported(args: &GuideArgs, all: &[SeedResult]) -> bool {
    let dir = args.run.resume.as_ref().expect("a resumed run has a directory");
    let lines = fs::read_to_string(dir.join("metrics.jsonl")).unwrap_or_default().lines().count();
    lines == all[0].curve.len() && dir.join("report.html").is_file()
}

/// The guide that was fine-tuned on demonstrations, in the run directory already or made now.
fn trained(
    args: &GuideArgs,
    policy: Option<Policy>,
    demonstrations: usize,
    dir: &Path,
    device: &Device,
) -> Result<Policy> {
    let folder = dir.join(PRIOR);
    if folder.is_dir() {
        return Policy::load(&folder, device);
    }
    let GuideArgs { prior_epochs: epochs, prior_learning_rate: learning_rate, .. } = *args;
    let config = PriorConfig { demonstrations, epochs, learning_rate, seed: args.run.seed };
    let (compute, quiet) = (&args.run.compute, args.run.quiet);
    let policy = demonstrations::train(policy, args.environment, args.size, &config, compute, device, quiet)?;
    let unfinished = dir.join(format!(".{PRIOR}"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    save_model(&unfinished, &policy.model)?;
    policy.tokenizer.save(&unfinished)?;
    eval::rename_synced(&unfinished, &folder)?;
    Ok(policy)
}

/// Learns the seeds that are left, some at a time, and appends each to `seeds.jsonl`.
fn learn(
    args: &GuideArgs,
    policy: Option<&Policy>,
    mut all: Vec<SeedResult>,
    dir: &Path,
    device: &Device,
) -> Result<Vec<SeedResult>> {
    let path = dir.join(SEEDS);
    // Without a line that was cut off.
    let lines = all.iter().map(|result| Ok(serde_json::to_string(result)? + "\n")).collect::<Result<String>>()?;
    eval::write_whole(&path, lines)?;
    let mut file = open_for_append(&path)?;
    let threads = args.run.compute.threads(device);
    let progress = Progress::new(args.seeds, "guide", "seeds", args.run.quiet);
    progress.start_at(all.len());
    let left: Vec<u64> = (all.len()..args.seeds).map(|number| args.run.seed + number as u64).collect();
    for some in left.chunks(threads) {
        let results = parallel_map(
            some,
            threads,
            || policy.cloned(),
            |policy, _, seed| of_seed(args, policy.as_ref(), *seed).map_err(|error| format!("{error:#}")),
        );
        for result in results {
            let result = result.map_err(|error| anyhow!(error))?;
            append_line(&mut file, &result).with_context(|| format!("cannot write {}", path.display()))?;
            all.push(result);
            progress.advance(1);
        }
        let done = all.len();
        if done < args.seeds && (interrupted() || args.run.stop_after.is_some_and(|stop| done >= stop)) {
            bail!("interrupted after {done} of {} seeds; resume with --resume {}", args.seeds, dir.display());
        }
    }
    Ok(all)
}

/// A guide that is no language model.
fn made_prior(args: &GuideArgs, mdp: &Mdp, seed: u64) -> Result<Prior> {
    match (args.guide_divergence, args.guide_knows) {
        (Some(nats), _) => prior_of_divergence(mdp, nats),
        (None, Some(share)) => Ok(prior_that_knows(mdp, share, seed)),
        (None, None) => Ok(uniform_prior(mdp)),
    }
}

/// Learns in the environment of a seed.
fn of_seed(args: &GuideArgs, policy: Option<&Policy>, seed: u64) -> Result<SeedResult> {
    let mdp = args.environment.build(args.size, seed)?;
    let started = Instant::now();
    let (prior, model_states) = match policy {
        Some(policy) => {
            let guide = Guide::new(policy, &mdp, args.guide_temperature)?;
            let asked = mdp.states.iter().filter(|state| !state.actions.is_empty()).count();
            (guide.prior()?, asked)
        }
        None => (made_prior(args, &mdp, seed)?, 0),
    };
    let model_seconds = if model_states > 0 { started.elapsed().as_secs_f64() } else { 0.0 };
    let started = Instant::now();
    let &GuideArgs { lambda, bonus, episodes, evaluate_every, .. } = args;
    let &GuideArgs { shift, shift_scale: scale, anneal, learner, query, query_price: price, .. } = args;
    let learnt = match args.method {
        Method::Linvit => linvit::learn(&mdp, &prior, &LinvitConfig { lambda, bonus, episodes, evaluate_every }, seed),
        Method::Slinvit => slinvit::play(&mdp, &prior, &slinvit_config(args), seed),
        Method::Lmgt => {
            let config = LmgtConfig { shift, scale, anneal, learner, episodes, evaluate_every };
            lmgt::learn(&mdp, &prior, &config, seed)
        }
        Method::LagrSeq => {
            lagr::learn(&mdp, &prior, &LagrConfig { query, price, learner, episodes, evaluate_every }, seed)
        }
    };
    let learn_seconds = started.elapsed().as_secs_f64();
    let value = |prior: &Prior| evaluated(&mdp, &at_every_step(&mdp, prior)).values[0][mdp.start];
    Ok(SeedResult {
        seed,
        divergence: divergence(&mdp, &at_every_step(&mdp, &soonest(&mdp).policy[0]), &prior),
        guide: value(&prior),
        greedy_guide: value(&greedy(&prior)),
        best: learnt.best,
        hits: learnt.asked.hits,
        model_states,
        model_seconds,
        learn_seconds,
        curve: learnt.curve,
    })
}

fn slinvit_config(args: &GuideArgs) -> SlinvitConfig {
    let &GuideArgs { lambda, breadth, depth, leaf, rollouts, episodes, evaluate_every, .. } = args;
    SlinvitConfig { lambda, breadth, depth, leaf, rollouts, episodes, evaluate_every }
}

/// The likeliest action of each state; of equal ones, all alike.
fn greedy(prior: &Prior) -> Prior {
    let of_state = |row: &Vec<f64>| {
        let most = row.iter().copied().fold(0.0, f64::max);
        let count = row.iter().filter(|&&p| p == most).count() as f64;
        row.iter().map(|&p| if p == most { 1.0 / count } else { 0.0 }).collect()
    };
    prior.iter().map(of_state).collect()
}

/// The rules, the first state, its actions, and what the guide says of them.
fn show(args: &GuideArgs, mdp: &Mdp, device: &Device) -> Result<()> {
    let first = &mdp.states[mdp.start];
    let policy = args.init.as_deref().map(|path| Policy::load(path, device)).transpose()?;
    let likely = match &policy {
        Some(policy) => Some(Guide::new(policy, mdp, args.guide_temperature)?.probabilities(mdp.start)?),
        None if args.guide_divergence.is_some() || args.guide_knows.is_some() => {
            Some(made_prior(args, mdp, args.run.seed)?[mdp.start].clone())
        }
        None => None,
    };
    let actions = first.actions.iter().enumerate().map(|(place, action)| match &likely {
        Some(likely) => format!("  {:.3}  {}", likely[place], action.text),
        None => format!("  {}", action.text),
    });
    let config = match args.run.dry_run {
        true => format!("# rl guide --dry-run: nothing is written\n\n{}\n", toml::to_string(args)?),
        false => String::new(),
    };
    print_line(&format!(
        "{config}{}\n\n{}\n{}\n\nactions{}\n{}\n\n{} states, at most {} steps, best expected return {:.3}",
        mdp.rules,
        first.picture,
        first.text,
        if likely.is_some() { ", with the guide's probabilities" } else { "" },
        actions.collect::<Vec<_>>().join("\n"),
        mdp.states.len(),
        mdp.horizon,
        optimal(mdp).values[0][mdp.start]
    ))
}

/// A line of metrics for each evaluation, with means over seeds.
fn write_metrics(run: &mut Run, all: &[SeedResult]) -> Result<()> {
    let mean_of = |value: &dyn Fn(&SeedResult) -> f64| mean(&all.iter().map(value).collect::<Vec<_>>());
    for place in 0..all[0].curve.len() {
        let mut metrics = Metrics::for_step(all[0].curve[place].episodes);
        let values: Vec<f64> = all.iter().map(|seed| seed.curve[place].value).collect();
        metrics.put("return/mean", mean(&values));
        if let Some(half) = half_width(&values) {
            metrics.put("return/interval", half);
        }
        metrics.put("return/best", mean_of(&|seed| seed.best));
        metrics.put("return/guide", mean_of(&|seed| seed.guide));
        metrics.put("return/greedy_guide", mean_of(&|seed| seed.greedy_guide));
        metrics.put("queries/mean", mean_of(&|seed| seed.curve[place].queries as f64));
        metrics.put("queries/right", mean_of(&|seed| seed.curve[place].right as f64));
        for (seed, value) in all.iter().zip(values) {
            metrics.put(&format!("return/seed{}", seed.seed), value);
        }
        run.log(&metrics)?;
    }
    Ok(())
}
