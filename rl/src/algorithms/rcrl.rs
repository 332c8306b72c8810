//! Return-conditioned RL (Havrilla et al. 2024, section on return-conditioned RL; Chen et al. 2021, arXiv 2106.01345):
//! train on good and bad samples, each line behind its label, and sample behind the good label.
//!
//! Solutions are sampled from a policy, for example Expert Iteration's best one. Every step prefix S_1..S_i is
//! completed K times; line i is labelled `[GOOD]` if at least half of the completions are correct, else `[BAD]`, and
//! the answer's line by whether it is correct. The *base* model is then trained with the loss -log π(a | s, g) on as
//! many correct solutions as wrong ones; the labels, and what the calculator wrote, are inputs, not targets. The sparse variant has one label before
//! the whole solution. Where we deviate from the paper: K is 4 by default, and the mixture counts solutions.

use crate::{
    algorithms::final_table::FinalTable,
    algorithms::sft::fit_with_validation,
    algorithms::sft::{EVAL_EVERY, fine_tuning},
    algorithms::start::{self, check_prompts},
    cli::args::{DataArgs, EvalArgs, InitArgs, RunArgs},
    cli::defaults::{Configuration, ModelKind, declared},
    cli::effect::{FixedOnResume, FlagEffect},
    run,
    run::lock::Lock,
    run::{Reason, Run, TrainerState, read_state},
    sampling::prefix::{Counts, Labels, PrefixArgs, PrefixedSample},
    sampling::problems::Problems,
    sampling::samples::{SamplingArgs, TrainingSamples, check_differ},
    training::adapters::LoraArgs,
    training::dry_run,
    training::optim::Adam,
    training::order::permutation,
    training::supervised::{CheckpointInfo, FitArgs, FitContext, FitNumbers, checkpoint},
    view::html::write_final_report,
    view::progress::print_line,
};
use anyhow::{Result, ensure};
use clap::Args;
use data::{Conditioning, Example, Goal, Prompting, encode_with_goals, steps};
use eval::{Policy, Sample, check_samples, external::CheckerArgs, parts::Part};
use model::{Device, Finish, Key, Purpose};
use serde::Serialize;
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

/// Improve a policy by return-conditioned RL
#[derive(Args, Clone, Debug, Serialize)]
pub struct RcrlConfig {
    /// Run directory, seed and device.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Benchmark and problems.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// The policy that samples and completes.
    #[command(flatten)]
    #[serde(flatten)]
    pub init: InitArgs,
    /// Adapters.
    #[command(flatten)]
    #[serde(flatten)]
    pub lora: LoraArgs,
    /// Optimisation.
    #[command(flatten)]
    #[serde(flatten)]
    pub fit: FitArgs,
    /// Evaluations.
    #[command(flatten)]
    #[serde(flatten)]
    pub eval: EvalArgs,
    /// Base model that is fine-tuned; required with --init [default: a base model made for the benchmark and kept under
    /// runs/]
    #[arg(long, help_heading = "Model", add = FixedOnResume::Path, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
    /// Solutions to train on.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: SamplingArgs,
    /// What is labelled: every line, by completions of the prefix that ends with it, or the whole solution, by its
    /// outcome (sparse)
    #[arg(long, help_heading = "Objective", add = FixedOnResume::Value, value_enum, default_value = "steps")]
    pub labels: Labels,
    /// Completions of their prefixes.
    #[command(flatten)]
    #[serde(flatten)]
    pub prefixes: PrefixArgs,
    /// Share of correct completions from which on a line is labelled good
    #[arg(long, help_heading = "Objective", add = FlagEffect::with("labels", &["steps"]), value_name = "SHARE", default_value_t = 0.5, value_parser = crate::cli::args::share::<f64>)]
    pub threshold: f64,
    /// Number of correct training solutions per wrong one; the paper compares 100, 10 and 1
    #[arg(long, add = FixedOnResume::OnceLabelled, help_heading = "Objective", value_name = "RATIO", default_value_t = 1.0, value_parser = crate::cli::args::above_0::<f64>)]
    pub right_per_wrong: f64,
    /// An external reward that decides which samples are correct.
    #[command(flatten)]
    #[serde(flatten)]
    pub checker: CheckerArgs,
}

impl Configuration for RcrlConfig {
    /// It ends in an SFT.
    fn defaults(kind: ModelKind) -> Self {
        let mut config: Self = declared();
        fine_tuning(&mut config.fit, &mut config.run, kind);
        config.eval.eval_every = EVAL_EVERY;
        config
    }

    fn trained(&self) -> Option<&Path> {
        self.base.as_deref()
    }

    fn has_adapters(&self) -> bool {
        self.lora.lora_rank.is_some()
    }

    fn run_mut(&mut self) -> &mut RunArgs {
        &mut self.run
    }

    fn data_mut(&mut self) -> &mut DataArgs {
        &mut self.data
    }
}

/// Takes the run that is resumed, if one is, for as long as the result lives.
///
/// # Errors
/// A run that is in use, or was begun otherwise.
pub fn lock_run(config: &RcrlConfig) -> Result<Option<Lock>> {
    let lock = run::start::lock_run(&config.run)?;
    run::start::check_inputs(
        &config.run,
        &config.sampling.source.inputs(&config.data, config.prefixes.from_prefixes.as_deref()),
    )?;
    run::start::check_unchanged(&config.run, config, config.prefixes.fixed(config.labels, &config.run))?;
    Ok(lock)
}

/// Samples, labels, trains, evaluates after both labels, and writes a run directory; returns its path.
///
/// # Errors
/// Missing data, an unusable `--init` or `--base`, samples that are all right or all wrong, a full disk, an interrupt.
pub fn train(config: &RcrlConfig, base: &Path, init: &Path, problems: &Problems, device: &Device) -> Result<PathBuf> {
    let Setup { config, sampler, learner, mut run, resumed } = set_up(config, base, init, problems, device)?;
    let (train, validation) = (problems.train()?, problems.validation(config.eval.eval_problems)?);
    let table = FinalTable { problems, eval: &config.eval, run_args: &config.run, device };
    let initial_report =
        table.evaluate_initial(&mut run, || Ok(sampler.clone()), &config.data.prompting(config.sampling.shots)?)?;
    let drawn = config.sampling.training_samples(&sampler, train, (&config.data, &config.run), &mut run, device)?;
    drawn.check_differ()?;
    let TrainingSamples { samples, sampled } = drawn;
    let chosen = mixture(&samples, config.right_per_wrong, config.run.seed)?;
    let flags = (&config.sampling, &config.data, &config.run);
    let (counts, completed) = config.prefixes.counts(config.labels, &sampler, train, &chosen, flags, &run)?;
    let goals = goals_of(&chosen, &counts, &sampler, &config)?;
    let examples = examples(&chosen, &goals, &learner, &config)?;
    let context = FitContext {
        args: &config.fit,
        run_args: &config.run,
        device,
        evaluate_every: config.eval.eval_every,
        label: "rcrl",
        conditioning: learner.conditioning,
        adapters: config.lora.on(base),
        sampled: Some(sampled + completed),
    };
    fit_with_validation(learner, &examples, validation, &config.data, &context, &mut run, resumed)?;
    let good = config.data.prompting(0)?;
    let bad = Prompting { goal: Goal::Bad, ..good.clone() };
    table.evaluate_best_with_prompts(&run, initial_report.as_ref(), &[("after", &good), ("bad", &bad)])?;
    Ok(write_final_report::<RcrlConfig>(&run))
}

/// Makes the part of the samples that `--part` names, or with `--from-samples` of the completions of their prefixes.
///
/// # Errors
/// As [`train`], and of a part of other work in its place.
pub fn make_part(config: &RcrlConfig, part: Part, init: &Path, problems: &Problems, device: &Device) -> Result<()> {
    let mut config = config.clone();
    config.run.compute.checker = config.checker.start(config.data.benchmark())?;
    let (sampler, train) = (start::policy(init, device)?, problems.train()?);
    let flags = (&config.sampling, &config.data, &config.run);
    config.prefixes.make_part((part, config.labels), &sampler, train, flags, |samples| {
        mixture(samples, config.right_per_wrong, config.run.seed)
    })
}

struct Setup {
    config: RcrlConfig,
    /// Samples, and completes prefixes.
    sampler: Policy,
    /// The base model, which expects labels from now on.
    learner: Policy,
    run: Run,
    resumed: Option<TrainerState<FitNumbers>>,
}

/// Sets up a new run or a resumed one. The first checkpoint is written before the first sample, so that every
/// interrupted run has one.
fn set_up(config: &RcrlConfig, base: &Path, init: &Path, problems: &Problems, device: &Device) -> Result<Setup> {
    let mut config = RcrlConfig { init: config.init.resolved(init), ..config.clone() };
    config.base = Some(base.to_path_buf());
    config.run.compute.checker = config.checker.start(config.data.benchmark())?;
    let sampler = start::policy(init, device)?;
    let conditioning = match config.labels {
        Labels::Steps => Conditioning::Lines,
        Labels::Outcome => Conditioning::Solutions,
    };
    let train = problems.train()?;
    let problem_sets =
        [train, problems.validation(config.eval.eval_problems)?, problems.test(config.eval.test_problems)?];
    check_prompts(&sampler, &problem_sets, &config.data.prompting(config.sampling.shots)?)?;
    let Some(dir) = &config.run.resume else {
        let learner = Policy { conditioning: Some(conditioning), ..Policy::load(base, device)? };
        check_prompts(&learner, &problem_sets, &config.data.prompting(0)?)?;
        let run = run::start::create_or_resume(&config.run, "rcrl", &config.data, &config, 0)?;
        let optimizer = Adam::new(0.9, config.fit.beta_2, 1e-8, config.fit.weight_decay, config.fit.max_grad_norm);
        let about =
            CheckpointInfo { tokenizer: &learner.tokenizer, conditioning: learner.conditioning, adapters: None };
        checkpoint(&run, &learner.model, &about, Reason::Evaluated, FitNumbers::default(), &optimizer)?;
        return Ok(Setup { config, sampler, learner, run, resumed: None });
    };
    let (learner, state) = run::start::read_checkpoint(&config.run, dir, |folder| {
        let (state, learner) = (read_state::<FitNumbers>(folder)?, Policy::load(folder, device)?);
        // The first one has no adapters yet.
        if let Some(adapters) = config.lora.on(base).filter(|_| state.numbers.step > 0) {
            adapters.load(folder, device)?;
        }
        ensure!(learner.conditioning == Some(conditioning), "{} expects other --labels", folder.display());
        Ok((learner, state))
    })?;
    check_prompts(&learner, &problem_sets, &config.data.prompting(0)?)?;
    run::start::check_initial_report(&config.run, &config.eval, "rcrl", &config, None)?;
    let step = state.numbers.step;
    let run = config.sampling.resume(dir, step, train, &config.run.compute)?;
    let run = run::start::complete_resume(run, &config.run, "rcrl", &config)?;
    Ok(Setup { config, sampler, learner, run, resumed: (step > 0).then_some(state) })
}

/// Distinct complete solutions, `right_per_wrong` correct ones per wrong one, drawn at random.
fn mixture(samples: &[Sample], right_per_wrong: f64, seed: u64) -> Result<Vec<&Sample>> {
    let mut known = HashSet::new();
    let whole = samples.iter().filter(|sample| sample.finish == Finish::Stop && !sample.completion.trim().is_empty());
    let distinct = whole.filter(|sample| known.insert((sample.id.as_str(), sample.completion.trim_end())));
    let (right, wrong): (Vec<&Sample>, Vec<&Sample>) = distinct.partition(|sample| sample.correct);
    ensure!(
        !right.is_empty() && !wrong.is_empty(),
        "of {} samples, {} distinct complete solutions are correct and {} wrong: both are needed; sample more (--samples), from more problems (--limit) or longer (--max-new-tokens)",
        samples.len(),
        right.len(),
        wrong.len()
    );
    let (all_right, all_wrong) = (right.len() as f64, wrong.len() as f64);
    let keep_right = all_right.min(all_wrong * right_per_wrong).round().max(1.0) as usize;
    let keep_wrong = all_wrong.min(all_right / right_per_wrong).round().max(1.0) as usize;
    let mut chosen = Vec::with_capacity(keep_right + keep_wrong);
    for (kind, all, kept) in [(1, right, keep_right), (0, wrong, keep_wrong)] {
        let order = permutation(all.len(), Key::new(seed, Purpose::Mixture).with(kind));
        chosen.extend(order[..kept].iter().map(|&place| all[place]));
    }
    Ok(chosen)
}

/// The labels of solutions: one per line, or one for the whole. Prefixes are tokenised with the sampler's tokenizer.
fn goals_of(chosen: &[&Sample], counts: &Counts, sampler: &Policy, config: &RcrlConfig) -> Result<Vec<Vec<Goal>>> {
    let of = |sample: &&Sample| match config.labels {
        Labels::Outcome => Ok(vec![goal(sample.correct)]),
        Labels::Steps => {
            let prefixed =
                PrefixedSample::of(&sampler.tokenizer, &Prompting::bare(config.data.prompt_format()), sample)?;
            let prefixed = prefixed.expect("a solution that was written to its end has a token");
            Ok(line_goals(sample, &prefixed.counted(&sample.id, &sampler.tokenizer, counts)?, config.threshold))
        }
    };
    chosen.iter().map(of).collect()
}

fn goal(is_good: bool) -> Goal {
    if is_good { Goal::Good } else { Goal::Bad }
}

/// The label of each line: of a step, by the counts of the prefix that ends with it; of any other line, such as the
/// answer's, by whether the solution is correct.
fn line_goals(sample: &Sample, counted: &[Option<(usize, usize)>], threshold: f64) -> Vec<Goal> {
    let completion = sample.completion.trim_end();
    let step_ends: Vec<usize> = steps(completion).iter().map(|step| step.line_end).collect();
    let mut end = 0;
    let goals = data::goal::lines(completion).map(|line| {
        end += line.len();
        let line_end = end - usize::from(line.ends_with('\n'));
        let step = step_ends.iter().position(|&step_end| step_end == line_end);
        match step.and_then(|step| counted.get(step).copied().flatten()) {
            Some((right, of)) => goal(right as f64 >= threshold * of as f64),
            None => goal(sample.correct),
        }
    });
    goals.collect()
}

/// Solutions with their labels. Solutions that do not fit the model's context are left out, with a warning.
fn examples(chosen: &[&Sample], goals: &[Vec<Goal>], learner: &Policy, config: &RcrlConfig) -> Result<Vec<Example>> {
    let format = config.data.prompt_format();
    let encode = |(sample, goals): (&&Sample, &Vec<Goal>)| {
        let Sample { question, completion, calculated, .. } = sample;
        encode_with_goals(&learner.tokenizer, &format, question, completion.trim_end(), goals, calculated)
    };
    let mut examples = chosen.iter().zip(goals).map(encode).collect::<Result<Vec<Example>>>()?;
    let context = learner.model.config.max_position_embeddings;
    let all = examples.len();
    examples.retain(|example| example.tokens.len() <= context);
    ensure!(
        !examples.is_empty(),
        "all {all} solutions with their labels are longer than the context of {context} tokens"
    );
    if examples.len() < all {
        tracing::warn!("{} of {all} solutions with their labels are longer than the context", all - examples.len());
    }
    Ok(examples)
}

/// Refuses flags that contradict each other, missing data and files that cannot be read.
///
/// # Errors
/// Naming the flag.
pub fn check(config: &RcrlConfig, problems: &Problems) -> Result<()> {
    config.init.check_base(config.base.as_deref(), "the base model that is fine-tuned")?;
    let problems = problems.train()?;
    let completes = config.labels == Labels::Steps;
    if let Some(samples) =
        config.sampling.check(problems, &config.data.answer_format(), completes, config.run.resume.as_deref())?
        // A checker grades them when the run has started.
        && !config.checker.decides(config.data.benchmark())
    {
        check_differ(&samples)?;
        mixture(&samples, config.right_per_wrong, config.run.seed)?;
    }
    config.prefixes.check(config.run.resume.as_deref())?;
    config.data.prompting(config.sampling.shots)?;
    check_samples(problems.len(), config.sampling.samples)?;
    check_samples(config.eval.test_problems, config.eval.test_samples)
}

/// Prints what a run would do and need.
///
/// # Errors
/// An `--init` that cannot be read.
pub fn dry_run(config: &RcrlConfig, problems: &Problems, device: &Device) -> Result<()> {
    let (samples, planned) = config.sampling.planned(problems.train()?, &config.data.answer_format())?;
    let shape = dry_run::shape(config.init.init.as_deref(), config.init.model)?;
    let work = dry_run::TrainingWorkload {
        rows: config.fit.batch_size,
        positions: dry_run::largest_micro_batch(
            &config.init,
            &config.data,
            problems.train()?,
            &config.fit,
            &config.run,
        )?,
        extra_models: 1.0,
        trained: config.lora.parameters(&shape),
        steps: config.fit.total_steps(samples),
        sampled: config.sampling.source.sampled(samples).max(config.eval.rows(&config.data)),
        new_tokens: config.data.max_new_tokens(),
        samples,
    };
    dry_run::print("rcrl", config, &config.run, &shape, &work, device)?;
    print_line(&format!("# samples               {planned}; steps if all of them are used"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(id: usize, completion: &str, correct: bool) -> Sample {
        Sample { correct, ..crate::sampling::prefix::tests::sample(&id.to_string(), completion) }
    }

    #[test]
    fn a_line_has_the_label_of_the_prefix_that_ends_with_it_and_the_answer_that_of_the_solution() {
        let text = " 6*4 = <<6*4=24>>24\n24-3 = <<24-3=21>>21\n#### 21";
        let goals =
            |counted: [Option<(usize, usize)>; 3], correct: bool| line_goals(&sample(1, text, correct), &counted, 0.5);
        let (good, bad) = (Goal::Good, Goal::Bad);
        assert_eq!(goals([Some((1, 4)), Some((2, 4)), None], false), [bad, good, bad]);
        assert_eq!(goals([Some((4, 4)), Some((0, 4)), None], true), [good, bad, good]);
        let separated = sample(1, &format!("{text}\n\n"), true);
        assert_eq!(line_goals(&separated, &[Some((0, 1)), Some((1, 1)), None], 0.5), [bad, good, good]);
    }

    #[test]
    fn a_mixture_has_the_given_number_of_right_ones_per_wrong_one_and_no_solution_twice() {
        let mut samples: Vec<Sample> = (0..30).map(|id| sample(id, " #### 7", true)).collect();
        samples.extend((0..10).map(|id| sample(id, " #### 8", false)));
        samples.extend((0..10).map(|id| sample(id, " #### 8", false)));
        samples.push(Sample { finish: Finish::Length, ..sample(50, " #### 8", false) });
        for (ratio, expected) in [(1.0, (10, 10)), (3.0, (30, 10)), (10.0, (30, 3)), (0.5, (5, 10)), (100.0, (30, 1))] {
            let chosen = mixture(&samples, ratio, 1).unwrap();
            let right = chosen.iter().filter(|sample| sample.correct).count();
            assert_eq!((right, chosen.len() - right), expected, "{ratio}");
            let distinct: HashSet<_> = chosen.iter().map(|sample| (&sample.id, &sample.completion)).collect();
            assert_eq!(distinct.len(), chosen.len());
        }
        let ids = |seed| -> Vec<String> {
            mixture(&samples, 1.0, seed).unwrap().iter().map(|sample| sample.id.clone()).collect()
        };
        assert_eq!(ids(1), ids(1));
        assert_ne!(ids(1), ids(2));
        assert!(mixture(&samples[..30], 1.0, 1).is_err(), "nothing is wrong");
    }
}
