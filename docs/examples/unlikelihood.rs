//! Unlikelihood training (Welleck et al. 2019, arXiv 1908.04319, section 5) on graded samples: correct ones become likelier, each token of wrong
//! ones less likely.
//!
//! The samples come from a file, as any run leaves them in `samples.jsonl`. Where we deviate from the paper: what is made unlikely are wrong
//! solutions instead of repetitions, a whole sequence at a time.

use crate::{
    algorithms::final_table::FinalTable,
    algorithms::start::{check_prompts, policy},
    cli::args::{DataArgs, EvalArgs, InitArgs, RunArgs},
    cli::defaults::{Configuration, ModelKind, declared},
    cli::effect::FixedOnResume,
    objective::loss::{negative_log_likelihood, unlikelihood},
    run,
    run::lock::Lock,
    sampling::problems::Problems,
    training::batch::{Row, flat, pad},
    training::dry_run,
    training::resume,
    training::supervised::{FitArgs, FitContext, FitNumbers, ValidationScore, fit},
    view::html::write_final_report,
};
use anyhow::{Context, Result, ensure};
use burn::tensor::Tensor;
use clap::Args;
use data::{Example, Prompting, encode_written};
use eval::{Policy, Sample, check_samples, greedy_accuracy, read_samples};
use model::{Device, Finish, Transformer, score};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Learn from correct and wrong solutions
#[derive(Args, Clone, Debug, Serialize)]
pub struct UnlikelihoodConfig {
    /// Run directory, seed and device.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Benchmark of the evaluations.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// The policy to start from.
    #[command(flatten)]
    #[serde(flatten)]
    pub init: InitArgs,
    /// Graded solutions to train on: the samples.jsonl of a run
    #[arg(long, add = FixedOnResume::Value, help_heading = "Data", value_name = "FILE", default_value = "samples.jsonl")]
    pub solutions: PathBuf,
    /// α: weight of the tokens of wrong solutions
    #[arg(long, help_heading = "Objective", default_value_t = 0.1, value_parser = crate::cli::args::at_least_0::<f32>)]
    pub alpha: f32,
    /// Optimisation.
    #[command(flatten)]
    #[serde(flatten)]
    pub fit: FitArgs,
    /// Evaluations and the final table.
    #[command(flatten)]
    #[serde(flatten)]
    pub eval: EvalArgs,
}

impl Configuration for UnlikelihoodConfig {
    fn defaults(kind: ModelKind) -> Self {
        let mut config: Self = declared();
        config.fit.learning_rate = if matches!(kind, ModelKind::Size(_)) { 2e-4 } else { 1e-6 };
        config
    }

    fn trained(&self) -> Option<&Path> {
        self.init.init.as_deref()
    }

    fn has_adapters(&self) -> bool {
        false
    }

    fn run_mut(&mut self) -> &mut RunArgs {
        &mut self.run
    }

    fn data_mut(&mut self) -> &mut DataArgs {
        &mut self.data
    }
}

/// Refuses flags that contradict each other, and a file without whole solutions.
///
/// # Errors
/// Naming the flag, or the line of the file.
pub fn check(config: &UnlikelihoodConfig) -> Result<()> {
    check_samples(config.eval.test_problems, config.eval.test_samples)?;
    read(&config.solutions).map(drop)
}

/// Takes the run that is resumed, if one is, for as long as the result lives.
///
/// # Errors
/// A run that is in use, or was begun otherwise.
pub fn lock_run(config: &UnlikelihoodConfig) -> Result<Option<Lock>> {
    let lock = run::start::lock_run(&config.run)?;
    run::start::check_unchanged(&config.run, config, &[])?;
    run::start::check_inputs(&config.run, &[("solutions", Some(&config.solutions))])?;
    Ok(lock)
}

/// Trains, evaluates before and after on the test split, and leaves a run directory; its path.
///
/// # Errors
/// Solutions that cannot be used, an unusable `init`, a full disk, an interrupt.
pub fn train(config: &UnlikelihoodConfig, init: &Path, problems: &Problems, device: &Device) -> Result<PathBuf> {
    let config = UnlikelihoodConfig { init: config.init.resolved(init), ..config.clone() };
    let initial = policy(init, device)?;
    let (policy, resumed) = match &config.run.resume {
        Some(dir) => {
            let (policy, state) = resume::load_checkpoint::<FitNumbers>(&config.run, dir, None, device)?;
            (policy, Some(state))
        }
        None => (initial.clone(), None),
    };
    let examples = examples(&config, &policy)?;
    let prompting = config.data.prompting(0)?;
    let validation = problems.validation(config.eval.eval_problems)?;
    check_prompts(&policy, &[validation, problems.test(config.eval.test_problems)?], &prompting)?;
    run::start::check_initial_report(&config.run, &config.eval, "unlikelihood", &config, Some(init))?;
    let step = resumed.as_ref().map_or(0, |state| state.numbers.step);
    let mut run = run::start::create_or_resume(&config.run, "unlikelihood", &config.data, &config, step)?;
    let table = FinalTable { problems, eval: &config.eval, run_args: &config.run, device };
    let initial_report = table.evaluate_initial(&mut run, || Ok(initial), &prompting)?;
    let context = FitContext {
        args: &config.fit,
        run_args: &config.run,
        device,
        evaluate_every: config.eval.eval_every,
        label: "unlikelihood",
        conditioning: None,
        adapters: None,
        sampled: None,
    };
    let sampling = config.run.compute.sampling(&config.data, prompting.clone(), 1, 0.0, device);
    let Policy { model, tokenizer, conditioning, .. } = policy;
    let loss = |model: &Transformer, rows: &[&Graded], total| loss(model, rows, config.alpha, total);
    fit(model, &tokenizer, &examples, loss, &context, &mut run, resumed, |model| {
        let policy = Policy { model: model.clone(), tokenizer: tokenizer.clone(), conditioning, adapter: None };
        let (accuracy, _) = greedy_accuracy(&policy, validation, &sampling)?;
        Ok(ValidationScore::new("validation/maj@1", accuracy))
    })?;
    table.evaluate_best(&run, initial_report.as_ref(), &prompting)?;
    Ok(write_final_report::<UnlikelihoodConfig>(&run))
}

/// The loss of some solutions, in a batch of `total` tokens; `[1]`.
fn loss(model: &Transformer, rows: &[&Graded], alpha: f32, total: usize) -> Tensor<1> {
    let device = model.device();
    let log_probs = score(model, &pad(rows, &device), 1.0).log_probs;
    let of_tokens = |right: f32, wrong: f32| -> Vec<Vec<f32>> {
        rows.iter().map(|row| vec![if row.correct { right } else { wrong }; row.response_len()]).collect()
    };
    let weights = |right: f32, wrong: f32| flat(of_tokens(right, wrong).iter().map(Vec::as_slice), &device);
    negative_log_likelihood(log_probs.clone() * weights(1.0, 0.0), total)
        + unlikelihood(log_probs, weights(0.0, alpha), total)
}

/// A solution as tokens, with its grade.
#[derive(Clone)]
struct Graded {
    example: Example,
    correct: bool,
}

impl Row for Graded {
    fn tokens(&self) -> &[u32] {
        &self.example.tokens
    }

    fn prompt_len(&self) -> usize {
        self.example.prompt_len
    }
}

/// The solutions of the file as tokens.
fn examples(config: &UnlikelihoodConfig, policy: &Policy) -> Result<Vec<Graded>> {
    let (tokenizer, longest) = (&policy.tokenizer, policy.model.config.max_position_embeddings);
    let prompting = Prompting::bare(config.data.prompt_format());
    let graded = |sample: &Sample| -> Result<Graded> {
        let example = encode_written(tokenizer, &prompting, &sample.question, &sample.completion, true)?;
        ensure!(example.tokens.len() <= longest, "a solution of {} is longer than the context", sample.id);
        Ok(Graded { example, correct: sample.correct })
    };
    read(&config.solutions)?.iter().map(graded).collect()
}

/// The samples of the file that were written to their end.
fn read(path: &Path) -> Result<Vec<Sample>> {
    let mut samples = read_samples(path).context("--solutions")?;
    samples.retain(|sample| sample.finish == Finish::Stop && sample.given == 0);
    ensure!(!samples.is_empty(), "--solutions {} holds no whole solution", path.display());
    Ok(samples)
}

/// Prints what a run would do and need.
///
/// # Errors
/// An `--init` that cannot be read, no solutions.
pub fn dry_run(config: &UnlikelihoodConfig, device: &Device) -> Result<()> {
    let shape = dry_run::shape(config.init.init.as_deref(), config.init.model)?;
    let new_tokens = config.data.max_new_tokens();
    let work = dry_run::TrainingWorkload {
        rows: config.fit.batch_size,
        positions: config.run.compute.micro_batch.min(config.fit.batch_size) * 2 * new_tokens,
        extra_models: 0.0,
        trained: None,
        steps: config.fit.total_steps(read(&config.solutions)?.len()),
        sampled: config.eval.rows(&config.data),
        new_tokens,
        samples: 0,
    };
    dry_run::print("unlikelihood", config, &config.run, &shape, &work, device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::optim::{Adam, GradientOptions};
    use crate::training::supervised::update;
    use model::{ModelConfig, ModelSize, to_host};

    #[test]
    fn a_correct_solution_becomes_likelier_and_a_wrong_one_less_likely() {
        let size = ModelConfig { hidden_size: 16, ..ModelConfig::of_size(ModelSize::Tiny, 12, 0) };
        let mut model = Transformer::init(&size, 1, &Device::default());
        let graded = |tokens: &[u32], correct| Graded { example: Example::new(tokens.to_vec(), 2), correct };
        let rows = [graded(&[3, 1, 4, 1], true), graded(&[3, 1, 5, 9, 2], false)];
        let sums = |model: &Transformer| {
            let sum = |row: &Graded| score(model, &pad(&[row], &model.device()), 1.0).log_probs.sum();
            rows.each_ref().map(|row| to_host(sum(row)).values[0])
        };
        let at_first = sums(&model);
        let mut optimizer = Adam::new(0.9, 0.98, 1e-8, 0.0, 1.0);
        for _ in 0..30 {
            let loss = |model: &Transformer, rows: &[&Graded], total| loss(model, rows, 1.0, total);
            model = update(model, &rows, &loss, &mut optimizer, 3e-3, 8, GradientOptions::on(1)).model;
        }
        let at_last = sums(&model);
        assert!(at_last[0] > at_first[0] + 0.5 && at_last[1] < at_first[1], "{at_first:?}, {at_last:?}");
    }
}
