//! ARES: alternating reinforcement learning and supervised fine-tuning with feedback on single lines (Byun et al. 2024, arXiv 2407.00087).
//!
//! An alternation is a stage of PPO, in which the last token of each line earns the line's score less 0.5, and a stage of SFT on samples of the
//! policy that PPO has made: lines that are repeated or cut are dropped, the first bad line and all that follow are replaced. Each stage is a run of
//! `rl ppo` or `rl sft` in a folder of this run; its best checkpoint is taken.
//!
//! Where we deviate from the paper: the teacher is a checker that knows the reference solution, a reward model, or a program, where the paper asks
//! a large language model; the reference goes on after what is right of a sample, so that the SFT stage learns from questions with a reference
//! alone, unless `--corrector-command` corrects; PPO has the KL penalty, λ and critic of `rl ppo`, not β = 1e-4, λ = 0.95 and a network of its own.

mod config;
mod corrections;

use crate::{
    algorithms::final_table::FinalTable,
    algorithms::ppo,
    algorithms::rounds::{self, Source, checkpoint, part_of_round},
    algorithms::sft,
    algorithms::start::{check_prompts, policy, reward_model},
    run::metrics::Metrics,
    run::{self, Reason, Run, checkpoint_name, stops_after},
    sampling::problems::Problems,
    sampling::samples::SamplingPhase,
    training::resume,
    view::html::write_final_report,
    view::progress::print_line,
};
use anyhow::{Context, Result, ensure};
use corrections::{Faults, LineTeacher};
use data::Problem;
use eval::{
    Policy, RewardModel, Sample, SampleConfig, external::Checker, external::RewardClient, resolve_checkpoint,
    sample_graded,
};
use model::{Device, Key, Purpose};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

pub use config::{AresConfig, Teacher, check, dry_run, lock_run};

/// The numbers that a resumed run continues with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct AresNumbers {
    /// Finished alternations.
    round: usize,
    /// Validation maj@1 of the best checkpoint, the starting model included.
    best: Option<f64>,
}

/// Trains, evaluates before and after on the test split, and leaves a run directory; its path.
///
/// # Errors
/// An unusable `init` or `orm`, a teacher or corrector that fails, and the errors of the stages.
pub fn train(
    config: &AresConfig,
    init: &Path,
    orm: Option<&Path>,
    problems: &Problems,
    device: &Device,
) -> Result<PathBuf> {
    let Setup { config, initial, teacher, mut run, mut numbers } = set_up(config, init, orm, problems, device)?;
    let prompting = config.data.prompting(0)?;
    let table = FinalTable { problems, eval: &config.eval, run_args: &config.run, device };
    let initial_report = table.evaluate_initial(&mut run, || Ok(initial.clone()), &prompting)?;
    let validation = problems.validation(config.eval.eval_problems)?;
    let sampling = config.run.compute.sampling(&config.data, prompting.clone(), 1, config.temperature, device);
    let health = |policy: &Policy| Health::of(policy, validation, &sampling, config.run.seed);
    if numbers.round == 0 {
        let of_start = health(&initial).map_err(|error| run.with_resume(error))?;
        numbers.best = Some(of_start.accuracy);
        of_start.print(&config, "start")?;
    }
    let corrected_problems = match config.corrector_command {
        Some(_) => problems.train()?,
        None => problems.solved()?,
    };
    let written = eval::read_samples(&run.dir().join("samples.jsonl"))?;
    let mut this_round: Vec<Sample> =
        written.into_iter().filter(|sample| sample.step == Some(numbers.round + 1)).collect();
    while numbers.round < config.alternations {
        let round = numbers.round + 1;
        let mut metrics = Metrics::for_step(round);
        let folder = run.dir().join(part_of_round(round));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let from = match round {
            1 => init.to_path_buf(),
            _ => run.dir().join("checkpoints").join(checkpoint_name(numbers.round)),
        };
        let stage = run::start::stage(&config.run, &folder.join("ppo"))?;
        let made = ppo::train(&config.ppo_stage(stage, orm), &from, None, orm, problems, device);
        let after_ppo = in_stage(made, &run, round, "PPO").and_then(|made| resolve_checkpoint(&made))?;
        let ppo_policy = policy(&after_ppo, device)?;
        let of_ppo = health(&ppo_policy).map_err(|error| run.with_resume(error))?;
        of_ppo.print(&config, &format!("round {round}, PPO"))?;
        of_ppo.write("ppo", &mut metrics);

        let phase = SamplingPhase {
            problems: corrected_problems,
            sampling: &SampleConfig { samples: config.samples, ..sampling.clone() },
            step: round,
            seed: config.run.seed,
            label: &format!("ares round {round}"),
            quiet: config.run.quiet,
        };
        let written = std::mem::take(&mut this_round);
        let corrections = corrections(&phase, &ppo_policy, written, &teacher.of(&config), &mut run, &mut metrics)?;
        drop(ppo_policy);

        let stage = run::start::stage(&config.run, &folder.join("sft"))?;
        let made = sft::train(&config.sft_stage(stage), &after_ppo, &problems.with_train(corrections), device);
        let made = in_stage(made, &run, round, "SFT")?;
        let policy = policy(&made, device)?;
        let of_sft = health(&policy).map_err(|error| run.with_resume(error))?;
        of_sft.print(&config, &format!("round {round}, SFT"))?;
        of_sft.write("validation", &mut metrics);
        let is_best = numbers.best.is_none_or(|best| of_sft.accuracy > best);
        let best = numbers.best.map_or(of_sft.accuracy, |best| best.max(of_sft.accuracy));
        numbers = AresNumbers { round, best: Some(best) };
        metrics.put_memory(device);
        run.log(&metrics)?;
        checkpoint(&run, &policy, Reason::of(true, is_best), round, numbers)?;
        if stops_after(&config.run, round) && round < config.alternations {
            return Err(run.interruption());
        }
    }
    table.evaluate_best_and_last(&run, initial_report.as_ref(), &prompting, &prompting)?;
    Ok(write_final_report::<AresConfig>(&run))
}

/// Samples of a policy, corrected, and written beside the stages of their round.
fn corrections(
    phase: &SamplingPhase<'_>,
    policy: &Policy,
    written: Vec<Sample>,
    teacher: &LineTeacher<'_>,
    run: &mut Run,
    metrics: &mut Metrics,
) -> Result<Vec<Problem>> {
    let round = phase.step;
    let samples = phase.sample(policy, written, run, metrics)?;
    let corrections = teacher.corrections(policy, phase.problems, &samples)?;
    ensure!(!corrections.is_empty(), "none of {} samples of round {round} was corrected", samples.len());
    write_corrections(&run.dir().join(part_of_round(round)).join("corrections.jsonl"), &corrections)?;
    metrics.put_count("samples", (teacher.config.ppo.drawn() + samples.len()) * round);
    metrics.put_count("round/corrections", corrections.len());
    Ok(corrections)
}

/// What a stage has made; an error says which stage it was, and how to go on.
fn in_stage(made: Result<PathBuf>, run: &Run, round: usize, name: &str) -> Result<PathBuf> {
    made.inspect_err(|_| run.save_cpu_seconds())
        .with_context(|| format!("{name} of round {round}; the whole is resumed with --resume {}", run.dir().display()))
}

/// How a policy does on the validation problems.
struct Health {
    /// Share of greedy solutions that are right.
    accuracy: f64,
    /// Of a sample of each problem.
    faults: Faults,
}

impl Health {
    fn of(policy: &Policy, validation: &[Problem], sampling: &SampleConfig, seed: u64) -> Result<Self> {
        let greedy = SampleConfig { temperature: 0.0, ..sampling.clone() };
        let (accuracy, _) = eval::greedy_accuracy(policy, validation, &greedy)?;
        let key = |problem: usize, _: usize| Key::new(seed, Purpose::Evaluation).with(problem as u64);
        let (samples, _) = sample_graded(policy, validation, sampling, key, &|_| ())?;
        Ok(Self { accuracy, faults: Faults::of(&samples.concat()) })
    }

    fn write(&self, of: &str, metrics: &mut Metrics) {
        metrics.put(&format!("{of}/maj@1"), self.accuracy);
        metrics.put(&format!("{of}/repeated"), self.faults.repeated);
        metrics.put(&format!("{of}/truncated"), self.faults.truncated);
    }

    fn print(&self, config: &AresConfig, when: &str) -> Result<()> {
        if config.run.quiet {
            return Ok(());
        }
        let Self { accuracy, faults: Faults { repeated, truncated } } = self;
        print_line(&format!(
            "ares {when}  validation maj@1 {accuracy:.3}  samples with a repeated line {repeated:.3}, truncated {truncated:.3}"
        ))
    }
}

/// Corrected solutions, in the form that `--extra` reads.
fn write_corrections(file: &Path, corrections: &[Problem]) -> Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        id: &'a str,
        question: &'a str,
        answer: &'a str,
    }
    let lines = corrections.iter().map(|Problem { id, question, solution, .. }| {
        serde_json::to_string(&Line { id, question, answer: solution }).expect("texts are JSON")
    });
    let text: String = lines.flat_map(|line| [line, "\n".into()]).collect();
    eval::write_whole(file, text.as_bytes()).with_context(|| format!("cannot write {}", file.display()))
}

/// What scores lines, loaded.
struct Loaded {
    reward_model: Option<RewardModel>,
    client: Option<RewardClient>,
}

impl Loaded {
    fn of<'a>(&'a self, config: &'a AresConfig) -> LineTeacher<'a> {
        LineTeacher { config, reward_model: self.reward_model.as_ref(), client: self.client.as_ref() }
    }
}

struct Setup {
    config: AresConfig,
    initial: Policy,
    teacher: Loaded,
    run: Run,
    numbers: AresNumbers,
}

/// Sets up a new run or a resumed one.
fn set_up(config: &AresConfig, init: &Path, orm: Option<&Path>, problems: &Problems, device: &Device) -> Result<Setup> {
    let mut config = AresConfig { init: config.init.resolved(init), ..config.clone() };
    config.orm = orm.map(Path::to_path_buf);
    let initial = policy(init, device)?;
    let teacher = Loaded {
        reward_model: orm.map(|path| reward_model(path, &initial, device)).transpose()?,
        client: config.external.start()?,
    };
    let (train, eval) = (problems.train()?, &config.eval);
    let evaluated = [problems.validation(eval.eval_problems)?, problems.test(eval.test_problems)?];
    check_prompts(&initial, &[&[train], evaluated.as_slice()].concat(), &config.data.prompting(0)?)?;
    run::start::check_initial_report(&config.run, eval, "ares", &config, Some(init))?;
    let Some(dir) = &config.run.resume else {
        let run = run::start::create_or_resume(&config.run, "ares", &config.data, &config, 0)?;
        checkpoint(&run, &initial, Reason::Evaluated, 0, AresNumbers::default())?;
        config.run.compute.checker = Checker::of_benchmark(config.data.benchmark())?;
        return Ok(Setup { initial, teacher, run, numbers: AresNumbers::default(), config });
    };
    let (_, state) = resume::load_checkpoint::<AresNumbers>(&config.run, dir, None, device)?;
    let sampled = if config.corrector_command.is_some() { train } else { problems.solved()? };
    let source = Source { train: sampled, samples: config.samples, is_copied: false };
    let run = rounds::resume("ares", &config.run, &config, dir, state.numbers.round, source)?;
    config.run.compute.checker = Checker::of_benchmark(config.data.benchmark())?;
    Ok(Setup { initial, teacher, run, numbers: state.numbers, config })
}
