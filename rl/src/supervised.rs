//! The one supervised loop. Pretraining, SFT and what builds on them maximise the likelihood of chosen tokens and differ in
//! the examples they make; a reward model has a loss of its own.

use crate::{
    adapters::Adapters,
    args::{RunArgs, not_negative},
    batch::{Row, micro_batches, pad, padding_share},
    loss::negative_log_likelihood,
    metrics::Metrics,
    optim::{Adam, Computing, gradients, learning_rate},
    order::batch_of_step,
    progress::{Progress, sparkline},
    run::{Reason, Run, TrainerState, last_folder},
};
use anyhow::{Result, ensure};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use clap::Args;
use data::{Conditioning, Example, Tokenizer};
use eval::CONDITIONING;
use model::{Transformer, merged, score};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path, time::Instant};

/// How long and how fast to learn from examples.
#[derive(Args, Clone, Debug, Serialize)]
pub struct FitArgs {
    /// Optimiser steps; without it as many as --epochs asks for
    #[arg(long, value_name = "N", value_parser = crate::args::positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Passes over the examples, where --steps is not given
    #[arg(long, default_value_t = 1.0)]
    pub epochs: f64,
    /// Examples of one step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = crate::args::positive)]
    pub batch_size: usize,
    /// Peak learning rate, reached after the warm-up
    #[arg(long, default_value_t = 1e-3)]
    pub learning_rate: f64,
    /// Share of the peak that is left at the end of the cosine
    #[arg(long, default_value_t = 0.1)]
    pub final_learning_rate: f64,
    /// Steps of linear warm-up
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub warm_up: usize,
    /// AdamW's decoupled weight decay
    #[arg(long, default_value_t = 0.01)]
    pub weight_decay: f32,
    /// AdamW's decay of the second moment
    #[arg(long, default_value_t = 0.98)]
    pub beta_2: f32,
    /// Bound of the global gradient norm; 0 for none
    #[arg(long, default_value_t = 1.0)]
    pub max_grad_norm: f64,
}

/// The numbers that a resumed fit goes on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FitNumbers {
    /// Steps taken.
    pub step: usize,
    /// The best score so far, higher is better.
    pub best: Option<f64>,
}

/// A look at the model while it learns.
pub struct Look {
    /// What to call the score.
    pub name: &'static str,
    /// Higher is better.
    pub score: f64,
    /// What else was seen, for `metrics.jsonl`.
    pub more: Vec<(&'static str, f64)>,
}

impl Look {
    /// A score alone.
    pub fn of(name: &'static str, score: f64) -> Self {
        Self { name, score, more: Vec::new() }
    }
}

/// What can be fitted: a language model to chosen tokens, a reward model to labels.
pub trait Learner: Module + Sync {
    /// What it learns from.
    type Example: Row + Clone + Sync;

    /// How many terms the loss of an example is a sum of.
    fn terms(example: &Self::Example) -> usize;

    /// The loss of some rows: the sum of their terms divided by `total`, the terms of the whole batch; `[1]`.
    fn loss(&self, rows: &[&Self::Example], total: usize) -> Tensor<1>;

    /// The language model that a checkpoint holds.
    fn language_model(&self) -> &Transformer;

    /// The same with another language model.
    fn with_language_model(self, language_model: Transformer) -> Self;

    /// Writes what a checkpoint holds beside it.
    ///
    /// # Errors
    /// What the file system says.
    fn save_more(&self, folder: &Path) -> Result<()>;
}

impl Learner for Transformer {
    type Example = Example;

    fn terms(example: &Example) -> usize {
        example.response_len()
    }

    fn loss(&self, rows: &[&Example], total: usize) -> Tensor<1> {
        negative_log_likelihood(score(self, &pad(rows, &self.device()), 1.0).log_probs, total)
    }

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

impl FitArgs {
    /// Refuses numbers that cannot be meant.
    ///
    /// # Errors
    /// Naming the flag.
    pub fn check(&self) -> Result<()> {
        not_negative(&[
            ("epochs", self.epochs),
            ("learning-rate", self.learning_rate),
            ("final-learning-rate", self.final_learning_rate),
            ("weight-decay", f64::from(self.weight_decay)),
            ("max-grad-norm", self.max_grad_norm),
        ])?;
        ensure!((0.0..1.0).contains(&self.beta_2), "--beta-2 {}: give a number from 0 to below 1", self.beta_2);
        Ok(())
    }

    /// Number of optimiser steps over a number of examples.
    pub fn total_steps(&self, examples: usize) -> usize {
        self.steps.unwrap_or_else(|| ((self.epochs * examples as f64) / self.batch_size as f64).ceil() as usize).max(1)
    }
}

/// Everything around a fit that is not the model or the data.
pub struct FitContext<'a> {
    /// Learning rates and lengths.
    pub args: &'a FitArgs,
    /// Seed, micro-batch, verbosity.
    pub run_args: &'a RunArgs,
    /// Where to compute.
    pub device: &'a Device,
    /// Steps between two looks.
    pub look_every: usize,
    /// What the bar is called.
    pub label: &'a str,
    /// Before what the model expects labels, for its checkpoints.
    pub conditioning: Option<Conditioning>,
    /// What is trained of the language model, where that is not all of it.
    pub adapters: Option<Adapters>,
    /// Solutions and completions that the run has sampled to make its examples, for its metrics; `None` for what never samples.
    pub sampled: Option<usize>,
}

/// Trains `model` on examples and leaves checkpoints in `run`; the model of the last step, adapters added into its weights.
///
/// # Errors
/// A full disk, an interrupt, a loss that stays not finite.
pub fn fit<M: Learner>(
    model: M,
    tokenizer: &Tokenizer,
    examples: &[M::Example],
    context: &FitContext<'_>,
    run: &mut Run,
    resumed: Option<TrainerState<FitNumbers>>,
    mut look: impl FnMut(&M) -> Result<Look>,
) -> Result<M> {
    ensure!(!examples.is_empty(), "there are no examples to learn from");
    let &FitContext { args, run_args, device, ref adapters, .. } = context;
    let mut model = adapted(model, context, run, resumed.is_some())?;
    let computing = run_args.compute.computing(device);
    let steps = args.total_steps(examples.len());
    let mut optimizer = Adam::new(0.9, args.beta_2, 1e-8, args.weight_decay, args.max_grad_norm);
    let mut numbers = FitNumbers::default();
    if let Some(state) = resumed {
        optimizer.load_tensors(state.optimizer, device)?;
        numbers = state.numbers;
    }
    let progress = Progress::new(steps, context.label, "steps", run_args.quiet);
    progress.start_at(numbers.step);
    let (mut losses, mut scores) = (Vec::new(), Vec::new());
    let mut failures = 0;
    for step in numbers.step..steps {
        let started = Instant::now();
        let batch = batch_of_step(examples, step, args.batch_size, run_args.seed);
        let rate = learning_rate(step, steps, args.warm_up, args.learning_rate, args.final_learning_rate);
        let outcome = update(model, &batch, &mut optimizer, rate, run_args.compute.micro_batch, computing);
        model = outcome.model;
        failures = if outcome.loss.is_finite() && outcome.grad_norm.is_finite() { 0 } else { failures + 1 };
        ensure!(failures < 3, "the loss was not finite in {failures} steps in a row; lower --learning-rate");

        let mut metrics = metrics_of(
            step,
            &batch,
            (outcome.loss, outcome.grad_norm),
            rate,
            started.elapsed().as_secs_f64(),
            run_args,
        );
        if let Some(sampled) = context.sampled {
            metrics.put_count("sampled", sampled);
        }
        metrics.put_memory(context.device);
        losses.push(outcome.loss);

        numbers.step = step + 1;
        let stop = run_args.stops_after(step + 1);
        let looks = (step + 1) % context.look_every == 0 || step + 1 == steps;
        let mut is_best = false;
        if looks {
            let seen = look(&whole(&model, adapters.as_ref()))?;
            metrics.put(seen.name, seen.score);
            for (name, value) in &seen.more {
                metrics.put(name, *value);
            }
            scores.push(seen.score);
            is_best = numbers.best.is_none_or(|best| seen.score > best);
            numbers.best = Some(numbers.best.map_or(seen.score, |best| best.max(seen.score)));
            progress.say(&format!(
                "{} step {:>5}  loss {:.4}  {} {:.4}  {}",
                context.label,
                step + 1,
                mean(&losses),
                seen.name,
                seen.score,
                sparkline(&scores)
            ));
            losses.clear();
        }
        run.log(&metrics)?;
        // A stop between two looks makes a checkpoint but no look: the resumed run is the one that never stopped.
        if looks || stop {
            let about = About { tokenizer, conditioning: context.conditioning, adapters: adapters.as_ref() };
            checkpoint(run, &model, &about, Reason::of(looks, is_best), numbers, &optimizer)?;
            if stop && step + 1 < steps {
                return Err(run.interruption());
            }
        }
        progress.note(format!("loss {:.3}", outcome.loss));
        progress.advance(1);
    }
    Ok(whole(&model, adapters.as_ref()))
}

/// What is told of every step.
fn metrics_of<E: Row>(
    step: usize,
    batch: &[E],
    (loss, grad_norm): (f64, f64),
    rate: f64,
    seconds: f64,
    run_args: &RunArgs,
) -> Metrics {
    let tokens: usize = batch.iter().map(|example| example.tokens().len()).sum();
    let mut metrics = Metrics::of_step(step + 1);
    metrics.put_count("samples", (step + 1) * batch.len());
    metrics.put("loss", loss);
    metrics.put("learning_rate", rate);
    metrics.put("grad_norm", grad_norm);
    metrics.put("padding", padding_share(batch, run_args.compute.micro_batch));
    metrics.put("time/step_s", seconds);
    metrics.put("time/tokens_per_s", tokens as f64 / seconds);
    metrics
}

/// The model as it is trained: with new adapters, or those of the last checkpoint, where there are to be any.
fn adapted<M: Learner>(model: M, context: &FitContext<'_>, run: &Run, resumed: bool) -> Result<M> {
    let Some(adapters) = &context.adapters else { return Ok(model) };
    let language_model = match resumed {
        false => adapters.new_on(model.language_model().clone(), context.run_args.seed),
        true => adapters.load(&last_folder(run.dir())?, context.device)?,
    };
    Ok(model.with_language_model(language_model))
}

/// The model as it is used: adapters added into the weights.
fn whole<M: Learner>(model: &M, adapters: Option<&Adapters>) -> M {
    match adapters {
        None => model.clone(),
        Some(_) => model.clone().with_language_model(merged(model.language_model())),
    }
}

/// What a checkpoint says of its model beside the weights.
pub struct About<'a> {
    /// What it reads and writes.
    pub tokenizer: &'a Tokenizer,
    /// Before what it expects labels.
    pub conditioning: Option<Conditioning>,
    /// What was trained, where that was not all of it.
    pub adapters: Option<&'a Adapters>,
}

/// A checkpoint after `numbers.step` steps.
///
/// # Errors
/// What the file system says.
pub fn checkpoint<M: Learner>(
    run: &Run,
    model: &M,
    about: &About<'_>,
    reason: Reason,
    numbers: FitNumbers,
    optimizer: &Adam,
) -> Result<()> {
    let state = TrainerState { numbers, optimizer: optimizer.to_tensors() };
    let used = whole(model, about.adapters);
    run.checkpoint(numbers.step, reason, used.language_model(), about.tokenizer, &state, |folder| {
        if let Some(conditioning) = about.conditioning {
            fs::write(folder.join(CONDITIONING), serde_json::to_vec(&conditioning)?)?;
        }
        if let Some(adapters) = about.adapters {
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
    /// The loss before the step; for a language model the mean negative log-likelihood of a response token, in nats.
    pub loss: f64,
    /// Global norm before clipping.
    pub grad_norm: f64,
}

/// One optimiser step on a batch.
pub fn update<M: Learner>(
    model: M,
    batch: &[M::Example],
    optimizer: &mut Adam,
    rate: f64,
    micro_batch: usize,
    computing: Computing,
) -> Update<M> {
    let total = batch.iter().map(M::terms).sum();
    let gradients = gradients(&model, &micro_batches(batch, micro_batch), computing, |model, indices| {
        let rows: Vec<&M::Example> = indices.iter().map(|&index| &batch[index]).collect();
        let loss = model.loss(&rows, total);
        let value = loss.clone().inner();
        (loss, move || f64::from(value.into_scalar::<f32>()))
    });
    let loss = gradients.reports.iter().sum();
    let (model, grad_norm) = optimizer.step(model, gradients.params, &|_| rate, computing.threads);
    Update { model, loss, grad_norm }
}

/// The loss of examples without a step; for a language model the mean negative log-likelihood of their response tokens, in
/// nats a token.
pub fn mean_loss<M: Learner>(model: &M, examples: &[M::Example], micro_batch: usize, threads: usize) -> f64 {
    let total = examples.iter().map(M::terms).sum();
    let parts = micro_batches(examples, micro_batch);
    let losses = model::parallel_map(
        &parts,
        threads,
        || model.clone(),
        |model, _, indices| {
            let rows: Vec<&M::Example> = indices.iter().map(|&index| &examples[index]).collect();
            f64::from(model.loss(&rows, total).into_scalar::<f32>())
        },
    );
    losses.iter().sum()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ModelConfig, ModelSize};

    fn examples(count: u32) -> Vec<Example> {
        (0..count).map(|i| Example::new(vec![i, 1 + i % 3, 5, 6 + i % 2][..2 + (i as usize) % 3].to_vec(), 1)).collect()
    }

    fn model() -> Transformer {
        let config =
            ModelConfig { hidden_size: 16, intermediate_size: 24, ..ModelConfig::of_size(ModelSize::Tiny, 20, 0) };
        Transformer::init(&config, 1, &Device::default())
    }

    #[test]
    fn steps_win_over_epochs_and_there_is_at_least_one() {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            fit: FitArgs,
        }
        let steps = |flags: &[&str], examples| {
            let flags = ["fit", "--batch-size=64"].iter().chain(flags);
            <Flags as clap::Parser>::try_parse_from(flags).unwrap().fit.total_steps(examples)
        };
        assert_eq!(steps(&["--epochs=1"], 130), 3);
        assert_eq!(steps(&["--epochs=2.5"], 64), 3);
        assert_eq!(steps(&["--epochs=3", "--steps=7"], 130), 7);
        assert_eq!(steps(&["--epochs=0"], 130), 1);
    }

    #[test]
    fn an_update_reports_the_loss_before_it_and_lowers_it() {
        let (examples, mut model) = (examples(12), model());
        let mut optimizer = Adam::new(0.9, 0.98, 1e-8, 0.0, 1.0);
        let before = mean_loss(&model, &examples, 5, 1);
        for step in 0..20 {
            let update = update(model, &examples, &mut optimizer, 3e-3, 3, Computing::on(2));
            model = update.model;
            if step == 0 {
                assert!((update.loss - before).abs() < 1e-5, "{} against {before}", update.loss);
                assert!(update.grad_norm > 0.0);
            }
        }
        let after = mean_loss(&model, &examples, 5, 1);
        assert!(after < 0.7 * before, "{after} after, {before} before");
    }

    #[test]
    fn the_mean_loss_does_not_depend_on_the_split() {
        let (examples, model) = (examples(12), model());
        let expected = mean_loss(&model, &examples, 12, 1);
        for (micro_batch, threads) in [(1, 1), (5, 2)] {
            assert!((mean_loss(&model, &examples, micro_batch, threads) - expected).abs() < 1e-6 * expected);
        }
    }
}
