//! `rl guide`: learns in an environment with a guide, for several seeds, and shows how many episodes it takes.

use super::{
    environments::Environment,
    episodes::Learnt,
    guide::Guide,
    linvit::{self, LinvitConfig},
    lmgt::{self, LmgtConfig, Shift},
    mdp::Mdp,
    prior::{prior_of_divergence, uniform_prior},
    values::{Prior, at_every_step, divergence, evaluated, optimal, soonest},
};
use crate::{
    cli::args::{ComputeArgs, above_0, at_least_0, positive},
    run::{Run, ensure_new, metrics::Metrics},
    view::html::write_final_report,
    view::progress::{Progress, print_line},
};
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use eval::Policy;
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};
use std::{path::PathBuf, time::Instant};

/// Flags of `rl guide`.
#[derive(Args, Clone, Debug, Serialize)]
pub struct GuideArgs {
    /// Method
    #[arg(long, value_enum, default_value = "linvit")]
    pub method: Method,
    /// Environment
    #[arg(long, value_enum, default_value = "blocks")]
    pub environment: Environment,
    /// Side of the grid, number of blocks, height of the stack, or number of calculations [default: 5, 4, 8, 2]
    #[arg(long, value_name = "N", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Language model as guide: a checkpoint, run directory, Hugging Face folder, GGUF file or hf:OWNER/NAME [default: a guide without an
    /// opinion]
    #[arg(long, value_name = "PATH", conflicts_with = "guide_divergence")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// Divides the language model's log-probabilities of actions
    #[arg(long, default_value_t = 1.0, value_parser = above_0::<f64>)]
    pub guide_temperature: f64,
    /// A guide made from the solution, with this KL(π* ‖ guide) over an episode, in nats: 0 knows it, much is a wrong guide
    #[arg(long, value_name = "NATS", value_parser = at_least_0::<f64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guide_divergence: Option<f64>,
    /// LINVIT's λ: weight of KL(π ‖ guide) per step; 0 ignores the guide
    #[arg(long, default_value_t = 0.02, value_parser = at_least_0::<f64>)]
    pub lambda: f64,
    /// c of LINVIT's bonus c / √n of an action that was taken n times
    #[arg(long, default_value_t = 0.05, value_parser = at_least_0::<f64>)]
    pub bonus: f64,
    /// What LMGT makes of the guide
    #[arg(long, value_enum, default_value = "signs")]
    pub shift: Shift,
    /// LMGT's largest shift of a reward
    #[arg(long, default_value_t = 0.1, value_parser = at_least_0::<f64>)]
    pub shift_scale: f64,
    /// Episodes in which LMGT's shift falls to 0 [default: it does not fall]
    #[arg(long, value_name = "N", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anneal: Option<usize>,
    /// Episodes of each seed
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = positive)]
    pub episodes: usize,
    /// Episodes between two evaluations, which are exact
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    pub evaluate_every: usize,
    /// ε: a policy whose expected return is this close to the best one has learnt
    #[arg(long, default_value_t = 0.1, value_parser = above_0::<f64>)]
    pub epsilon: f64,
    /// Seeds 0 to N - 1, each with an environment of its own
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = positive)]
    pub seeds: usize,
    /// Run directory; must not exist yet [default: none is written]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub out: Option<PathBuf>,
    /// Show the first environment and stop
    #[arg(long)]
    #[serde(skip)]
    pub show: bool,
    /// Show no progress bars
    #[arg(long)]
    #[serde(skip)]
    pub quiet: bool,
    /// Device and batches.
    #[command(flatten)]
    #[serde(flatten)]
    pub compute: ComputeArgs,
}

/// How the guide is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// LINVIT: value iteration that is regularised towards the guide (Zhang et al. 2024)
    Linvit,
    /// LMGT: Q-learning with rewards that the guide shifts (Deng et al. 2024)
    Lmgt,
}

/// What a seed came to.
struct OfSeed {
    learnt: Learnt,
    /// KL(π* ‖ guide) over an episode.
    divergence: f64,
    /// The expected return of the guide alone.
    alone: f64,
}

/// Runs the command.
///
/// # Errors
/// A size that the environment does not have, a divergence that no guide has, an unusable `--init`, a full disk.
pub fn run(args: &GuideArgs) -> Result<()> {
    args.out.as_deref().map_or(Ok(()), ensure_new)?;
    if args.show {
        let mdp = args.environment.build(args.size, 0)?;
        return print_line(&shown(&mdp));
    }
    ensure!(
        args.method != Method::Linvit || args.lambda > 0.0 || args.init.is_none(),
        "--lambda 0 ignores the guide: leave --init out"
    );
    let device = args.compute.choose_device()?;
    let policy = args.init.as_deref().map(|path| Policy::load(path, &device)).transpose()?;
    let progress = Progress::new(args.seeds, "guide", "seeds", args.quiet);
    let mut all = Vec::new();
    let (mut queries, mut seconds) = (0, 0.0);
    for seed in 0..args.seeds as u64 {
        let mdp = args.environment.build(args.size, seed)?;
        let prior: Prior = match (&policy, args.guide_divergence) {
            (Some(policy), _) => {
                let (started, guide) = (Instant::now(), Guide::new(policy, &mdp, args.guide_temperature)?);
                let prior = guide.prior();
                queries += guide.queries().0;
                seconds += started.elapsed().as_secs_f64();
                prior
            }
            (None, Some(nats)) => prior_of_divergence(&mdp, nats)?,
            (None, None) => uniform_prior(&mdp),
        };
        let GuideArgs { lambda, bonus, episodes, evaluate_every, shift, shift_scale: scale, anneal, .. } = *args;
        let learnt = match args.method {
            Method::Linvit => {
                linvit::learn(&mdp, &prior, &LinvitConfig { lambda, bonus, episodes, evaluate_every }, seed)
            }
            Method::Lmgt => {
                lmgt::learn(&mdp, &prior, &LmgtConfig { shift, scale, anneal, episodes, evaluate_every }, seed)
            }
        };
        let alone = evaluated(&mdp, &at_every_step(&mdp, &prior)).values[0][mdp.start];
        let divergence = divergence(&mdp, &at_every_step(&mdp, &soonest(&mdp).policy[0]), &prior);
        all.push(OfSeed { learnt, divergence, alone });
        progress.advance(1);
    }
    drop(progress);
    if let Some(out) = &args.out {
        write(args, out, &all)?;
    }
    if queries > 0 {
        print_line(&format!("{queries} states asked about in {seconds:.1} s"))?;
    }
    print_line(&table(args, &all))
}

/// The rules, the first state and its actions.
fn shown(mdp: &Mdp) -> String {
    let first = &mdp.states[mdp.start];
    let actions: Vec<&str> = first.actions.iter().map(|action| action.text.as_str()).collect();
    format!(
        "{}\n\n{}\n{}\n\nactions: {}\n{} states, at most {} steps, best expected return {:.3}",
        mdp.rules,
        first.picture,
        first.text,
        actions.join("; "),
        mdp.states.len(),
        mdp.horizon,
        optimal(mdp).values[0][mdp.start]
    )
}

/// The run directory: one line of metrics for each evaluation, with means over seeds.
fn write(args: &GuideArgs, out: &std::path::Path, all: &[OfSeed]) -> Result<()> {
    let mut run = Run::create(out, "guide", args)?;
    for place in 0..all[0].learnt.curve.len() {
        let mut metrics = Metrics::for_step(all[0].learnt.curve[place].0);
        let values: Vec<f64> = all.iter().map(|seed| seed.learnt.curve[place].1).collect();
        metrics.put("return/mean", mean(&values));
        metrics.put("return/best", mean(&all.iter().map(|seed| seed.learnt.best).collect::<Vec<_>>()));
        metrics.put("return/guide", mean(&all.iter().map(|seed| seed.alone).collect::<Vec<_>>()));
        for (seed, value) in values.iter().enumerate() {
            metrics.put(&format!("return/seed{seed}"), *value);
        }
        run.log(&metrics)?;
    }
    write_final_report::<GuideArgs>(&run);
    Ok(())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The mean with half of its 95 % interval over seeds (Student's t).
fn with_interval(values: &[f64]) -> String {
    let count = values.len() as f64;
    if values.len() < 2 {
        return format!("{:.3}", mean(values));
    }
    let variance = values.iter().map(|x| (x - mean(values)).powi(2)).sum::<f64>() / (count - 1.0);
    let t = StudentsT::new(0.0, 1.0, count - 1.0).expect("degrees of freedom above 0").inverse_cdf(0.975);
    format!("{:.3} ± {:.3}", mean(values), t * (variance / count).sqrt())
}

/// One row: what the guide is, and how many episodes it took.
fn table(args: &GuideArgs, all: &[OfSeed]) -> String {
    let of = |value: fn(&OfSeed) -> f64| with_interval(&all.iter().map(value).collect::<Vec<_>>());
    let reached: Vec<f64> =
        all.iter().filter_map(|seed| seed.learnt.episodes_to(args.epsilon)).map(|episodes| episodes as f64).collect();
    let method = match args.method {
        Method::Linvit => format!("LINVIT, λ = {}", args.lambda),
        Method::Lmgt if args.shift == Shift::None => "Q-learning".into(),
        Method::Lmgt => format!("LMGT, {} of {}", name(args.shift), args.shift_scale),
    };
    let episodes = if reached.is_empty() { "—".into() } else { with_interval(&reached) };
    format!(
        "| environment | method | KL(π* ‖ guide) | guide alone | best | episodes to ε = {} | seeds that got there |\n| --- | --- | --- | --- | --- | --- | --- |\n| {} | {} | {} | {} | {} | {} | {} of {} |",
        args.epsilon,
        name(args.environment),
        method,
        of(|seed| seed.divergence),
        of(|seed| seed.alone),
        of(|seed| seed.learnt.best),
        episodes,
        reached.len(),
        all.len()
    )
}

/// The name of a value on the command line.
fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().expect("no value is skipped").get_name().to_string()
}
