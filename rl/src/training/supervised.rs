//! The one supervised loop. Pretraining, SFT and the methods built on them maximise the likelihood of chosen tokens and
//! differ only in their examples; a reward model has its own loss.

use crate::{
    cli::args::RunArgs,
    cli::effect::InSummary,
    objective::loss::negative_log_likelihood,
    run::metrics::Metrics,
    run::{Reason, Run, TrainerState, last_folder, stops_after},
    training::adapters::Adapters,
    training::batch::{Row, micro_batches, pad, padding_share},
    training::optim::{Adam, GradientOptions, gradients, learning_rate},
    training::order::batch_of_step,
    view::progress::{Progress, sparkline},
};
use anyhow::{Result, ensure};
use burn::tensor::Tensor;
use clap::Args;
use data::{Conditioning, Example, Tokenizer};
use eval::CONDITIONING;
use model::{Device, Transformer, merged, score};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path, time::Instant};

/// Flags of supervised training.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Optimisation")]
pub struct FitArgs {
    /// Optimiser steps [default: as many as --epochs needs]
    #[arg(long, add = InSummary, value_name = "N", value_parser = crate::cli::args::positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Passes over the examples, if --steps is not given
    #[arg(long, add = InSummary, default_value_t = 1.0, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub epochs: f64,
    /// Examples per optimiser step
    #[arg(long, add = InSummary, value_name = "N", default_value_t = 64, value_parser = crate::cli::args::positive)]
    pub batch_size: usize,
    /// Peak learning rate, reached after the warm-up
    #[arg(long, add = InSummary, default_value_t = 1e-3, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub learning_rate: f64,
    /// Final learning rate as a share of the peak, at the end of the cosine schedule
    #[arg(long, default_value_t = 0.1, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub final_learning_rate: f64,
    /// Steps of linear warm-up
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub warm_up: usize,
    /// AdamW's decoupled weight decay
    #[arg(long, default_value_t = 0.01, value_parser = crate::cli::args::at_least_0::<f32>)]
    pub weight_decay: f32,
    /// AdamW's decay of the second moment
    #[arg(long, default_value_t = 0.98, value_parser = crate::cli::args::below_1::<f32>)]
    pub beta_2: f32,
    /// Maximum global gradient norm; 0 for no clipping
    #[arg(long, default_value_t = 1.0, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub max_grad_norm: f64,
}

/// The numbers that a resumed training continues with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FitNumbers {
    /// Steps taken.
    pub step: usize,
    /// The best score so far, higher is better.
    pub best: Option<f64>,
}

impl FitNumbers {
    /// Adds the score of an evaluation; whether it is the best so far.
    fn add_score(&mut self, score: f64) -> bool {
        let is_best = self.best.is_none_or(|best| score > best);
        self.best = Some(self.best.map_or(score, |best| best.max(score)));
        is_best
    }
}

/// An evaluation of the model during training.
pub struct ValidationScore {
    /// The metric's name.
    pub name: &'static str,
    /// Higher is better.
    pub score: f64,
    /// Further metrics.
    pub more: Vec<(&'static str, f64)>,
}

impl ValidationScore {
    /// A score without further metrics.
    pub fn new(name: &'static str, score: f64) -> Self {
        Self { name, score, more: Vec::new() }
    }

    /// Adds it to the metrics of a step.
    fn write(&self, metrics: &mut Metrics) {
        for (name, value) in [(self.name, self.score)].iter().chain(&self.more) {
            metrics.put(name, *value);
        }
    }
}

/// What can be trained on examples: a language model, or a reward model.
pub trait Learner: model::Trainable + Sync {
    /// The language model that a checkpoint holds.
    fn language_model(&self) -> &Transformer;

    /// The same with another language model.
    fn with_language_model(self, language_model: Transformer) -> Self;

    /// Writes further files of the checkpoint.
    ///
    /// # Errors
    /// Errors of the file system.
    fn save_more(&self, folder: &Path) -> Result<()>;
}

impl Learner for Transformer {
    fn language_model(&self) -> &Transformer {
        self
    }

    fn with_language_model(self, language_model: Transformer) -> Self {
        language_model
    }

    fn save_more(&self, _: &Path) -> Result<()> {
        Ok(())
    }
}

/// The loss of supervised fine-tuning: the mean negative log-likelihood of the response tokens of a batch that has `total` of them, `[1]`.
pub fn likelihood_loss(model: &Transformer, rows: &[&Example], total: usize) -> Tensor<1> {
    negative_log_likelihood(score(model, &pad(rows, &model.device()), 1.0).log_probs, total)
}

impl FitArgs {
    /// Number of optimiser steps over a number of examples.
    pub fn total_steps(&self, examples: usize) -> usize {
        self.steps.unwrap_or_else(|| ((self.epochs * examples as f64) / self.batch_size as f64).ceil() as usize).max(1)
    }
}

/// The context of a training loop, except model and data.
pub struct FitContext<'a> {
    /// Learning rates and lengths.
    pub args: &'a FitArgs,
    /// Seed, micro-batch, verbosity.
    pub run_args: &'a RunArgs,
    /// The device.
    pub device: &'a Device,
    /// Steps between two evaluations.
    pub evaluate_every: usize,
    /// Label of the progress bar.
    pub label: &'a str,
    /// Where the model expects labels, for its checkpoints.
    pub conditioning: Option<Conditioning>,
    /// The trained adapters; `None` if all weights are trained.
    pub adapters: Option<Adapters>,
    /// Number of solutions and completions sampled for the examples, for the metrics; `None` for commands that do not
    /// sample.
    pub sampled: Option<usize>,
}

/// Trains `model` on examples and leaves checkpoints in `run`; the model of the last step, adapters merged into its weights.
///
/// `loss` of a model and some rows is the sum of the rows' loss terms divided by the number that it is given, the terms of the whole batch
/// ([`Row::loss_terms`]); `[1]`. `evaluate` is called every [`FitContext::evaluate_every`] steps.
///
/// # Errors
/// A full disk, an interrupt, a loss that is not finite in three steps in a row.
#[allow(clippy::too_many_arguments, reason = "model, data, loss and evaluation are what a fit is made of")]
pub fn fit<M: Learner, E: Row + Clone + Sync>(
    model: M,
    tokenizer: &Tokenizer,
    examples: &[E],
    loss: impl Fn(&M, &[&E], usize) -> Tensor<1> + Sync,
    context: &FitContext<'_>,
    run: &mut Run,
    resumed: Option<TrainerState<FitNumbers>>,
    evaluate: impl FnMut(&M) -> Result<ValidationScore>,
) -> Result<M> {
    fit_prepared(model, tokenizer, examples, |_, _| Vec::new(), loss, context, run, resumed, evaluate)
}

/// As [`fit`], for a loss that needs a number of the whole batch: `prepare` puts it into the rows of each batch, before the batch is divided
/// into micro-batches, and returns metrics of the step.
///
/// # Errors
/// As [`fit`].
#[allow(clippy::too_many_arguments, reason = "model, data, loss and evaluation are what a fit is made of")]
pub fn fit_prepared<M: Learner, E: Row + Clone + Sync>(
    model: M,
    tokenizer: &Tokenizer,
    examples: &[E],
    prepare: impl Fn(&M, &mut [E]) -> Vec<(&'static str, f64)>,
    loss: impl Fn(&M, &[&E], usize) -> Tensor<1> + Sync,
    context: &FitContext<'_>,
    run: &mut Run,
    resumed: Option<TrainerState<FitNumbers>>,
    mut evaluate: impl FnMut(&M) -> Result<ValidationScore>,
) -> Result<M> {
    ensure!(!examples.is_empty(), "there are no examples to train on");
    let &FitContext { args, run_args, device, ref adapters, .. } = context;
    let mut model = with_adapters(model, context, run, resumed.is_some())?;
    let options = GradientOptions::of(&run_args.compute, device);
    let steps = args.total_steps(examples.len());
    let (mut optimizer, mut numbers) = optimizer(args, resumed, device)?;
    let progress = Progress::new(steps, context.label, "steps", run_args.quiet);
    progress.start_at(numbers.step);
    let (mut losses, mut scores) = (Vec::new(), Vec::new());
    let mut failures = 0;
    for step in numbers.step..steps {
        let started = Instant::now();
        let mut batch = batch_of_step(examples, step, args.batch_size, run_args.seed);
        let of_batch = prepare(&model, &mut batch);
        let rate = learning_rate(step, steps, args.warm_up, args.learning_rate, args.final_learning_rate);
        let outcome = update(model, &batch, &loss, &mut optimizer, rate, run_args.compute.micro_batch, options);
        let of_update = (outcome.loss, outcome.grad_norm);
        model = outcome.model;
        failures = if outcome.loss.is_finite() && outcome.grad_norm.is_finite() { 0 } else { failures + 1 };
        ensure!(failures < 3, "the loss was not finite in {failures} steps in a row; lower --learning-rate");
        let mut metrics = metrics_of(step, &batch, of_update, rate, started.elapsed().as_secs_f64(), context);
        of_batch.iter().for_each(|(name, value)| metrics.put(name, *value));
        losses.push(outcome.loss);

        numbers.step = step + 1;
        let stop = stops_after(run_args, step + 1);
        let evaluates = (step + 1) % context.evaluate_every == 0 || step + 1 == steps;
        let mut is_best = false;
        if evaluates {
            let validation = evaluate(&with_merged_adapters(&model, adapters.as_ref()));
            let validation = validation.map_err(|error| run.with_resume(error))?;
            validation.write(&mut metrics);
            scores.push(validation.score);
            is_best = numbers.add_score(validation.score);
            progress.print_above(&line(context.label, step + 1, mean(&losses), &validation, &scores));
            losses.clear();
        }
        run.log(&metrics)?;
        // A stop between two evaluations makes a checkpoint and evaluates nothing: the resumed run equals one that never stopped.
        if evaluates || stop {
            let info = CheckpointInfo { tokenizer, conditioning: context.conditioning, adapters: adapters.as_ref() };
            checkpoint(run, &model, &info, Reason::of(evaluates, is_best), numbers, &optimizer)?;
            if stop && step + 1 < steps {
                return Err(run.interruption());
            }
        }
        progress.set_message(format!("loss {:.3}", outcome.loss));
        progress.advance(1);
    }
    Ok(with_merged_adapters(&model, adapters.as_ref()))
}

/// A new optimiser before the first step, or that of a checkpoint with its numbers.
fn optimizer(args: &FitArgs, resumed: Option<TrainerState<FitNumbers>>, device: &Device) -> Result<(Adam, FitNumbers)> {
    let mut optimizer = Adam::new(0.9, args.beta_2, 1e-8, args.weight_decay, args.max_grad_norm);
    let Some(state) = resumed else { return Ok((optimizer, FitNumbers::default())) };
    optimizer.load_tensors(state.optimizer, device)?;
    Ok((optimizer, state.numbers))
}

/// The metrics of a step.
fn metrics_of<E: Row>(
    step: usize,
    batch: &[E],
    (loss, grad_norm): (f64, f64),
    rate: f64,
    seconds: f64,
    context: &FitContext<'_>,
) -> Metrics {
    let tokens: usize = batch.iter().map(|example| example.tokens().len()).sum();
    let mut metrics = Metrics::for_step(step + 1);
    metrics.put_count("samples", (step + 1) * batch.len());
    metrics.put("loss", loss);
    metrics.put("learning_rate", rate);
    metrics.put("grad_norm", grad_norm);
    metrics.put("padding", padding_share(batch, context.run_args.compute.micro_batch));
    metrics.put("time/step_s", seconds);
    metrics.put("time/tokens_per_s", tokens as f64 / seconds);
    if let Some(sampled) = context.sampled {
        metrics.put_count("sampled", sampled);
    }
    metrics.put_memory(context.device);
    metrics
}

fn line(label: &str, step: usize, loss: f64, validation: &ValidationScore, scores: &[f64]) -> String {
    let ValidationScore { name, score, .. } = validation;
    format!("{label} step {step:>5}  loss {loss:.4}  {name} {score:.4}  {}", sparkline(scores))
}

/// The model to train: with new adapters, or those of the last checkpoint, if the flags ask for adapters.
fn with_adapters<M: Learner>(model: M, context: &FitContext<'_>, run: &Run, resumed: bool) -> Result<M> {
    let Some(adapters) = &context.adapters else { return Ok(model) };
    let language_model = match resumed {
        false => adapters.new_on(model.language_model().clone(), context.run_args.seed),
        true => adapters.load(&last_folder(run.dir())?, context.device)?,
    };
    Ok(model.with_language_model(language_model))
}

/// The model with its adapters merged into the weights.
fn with_merged_adapters<M: Learner>(model: &M, adapters: Option<&Adapters>) -> M {
    match adapters {
        None => model.clone(),
        Some(_) => model.clone().with_language_model(merged(model.language_model())),
    }
}

/// Metadata of a checkpoint.
pub struct CheckpointInfo<'a> {
    /// The tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Where the model expects labels.
    pub conditioning: Option<Conditioning>,
    /// The trained adapters, if any.
    pub adapters: Option<&'a Adapters>,
}

/// A checkpoint after `numbers.step` steps.
///
/// # Errors
/// Errors of the file system.
pub fn checkpoint<M: Learner>(
    run: &Run,
    model: &M,
    info: &CheckpointInfo<'_>,
    reason: Reason,
    numbers: FitNumbers,
    optimizer: &Adam,
) -> Result<()> {
    let state = TrainerState { numbers, optimizer: optimizer.to_tensors() };
    let used = with_merged_adapters(model, info.adapters);
    run.checkpoint(numbers.step, reason, used.language_model(), info.tokenizer, &state, |folder| {
        if let Some(conditioning) = info.conditioning {
            fs::write(folder.join(CONDITIONING), serde_json::to_vec(&conditioning)?)?;
        }
        if let Some(adapters) = info.adapters {
            adapters.save(folder, model.language_model())?;
        }
        model.save_more(folder)
    })?;
    Ok(())
}

/// The outcome of one optimiser step.
pub struct Update<M> {
    /// The new weights.
    pub model: M,
    /// The loss before the step; for a language model, the mean negative log-likelihood in nats per response token.
    pub loss: f64,
    /// Global norm before clipping.
    pub grad_norm: f64,
}

/// One optimiser step on a batch.
pub fn update<M: Learner, E: Row + Sync>(
    model: M,
    batch: &[E],
    loss: &(impl Fn(&M, &[&E], usize) -> Tensor<1> + Sync),
    optimizer: &mut Adam,
    rate: f64,
    micro_batch: usize,
    options: GradientOptions,
) -> Update<M> {
    let total = batch.iter().map(Row::loss_terms).sum();
    let gradients = gradients(&model, &micro_batches(batch, micro_batch), options, |model, indices| {
        let rows: Vec<&E> = indices.iter().map(|&index| &batch[index]).collect();
        let loss = loss(model, &rows, total);
        let value = loss.clone().inner();
        (loss, move || f64::from(value.into_scalar::<f32>()))
    });
    let loss = gradients.reports.iter().sum();
    let (model, grad_norm) = optimizer.step(model, gradients.params, &|_| rate, options.threads);
    Update { model, loss, grad_norm }
}

/// The mean negative log-likelihood of the response tokens of examples, in nats per token.
pub fn mean_loss(model: &Transformer, examples: &[Example], micro_batch: usize, threads: usize) -> f64 {
    let total = examples.iter().map(Row::loss_terms).sum();
    let parts = micro_batches(examples, micro_batch);
    let losses = model::parallel_map(
        &parts,
        threads,
        || model.clone(),
        |model, _, indices| {
            let rows: Vec<&Example> = indices.iter().map(|&index| &examples[index]).collect();
            f64::from(likelihood_loss(model, &rows, total).into_scalar::<f32>())
        },
    );
    losses.iter().sum()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests;
