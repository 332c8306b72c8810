//! Direct preference optimisation (DPO; Rafailov et al. 2023, arXiv 2305.18290, section 4): of two completions of a question, raises the
//! likelihood of the chosen one over that of the rejected one, relative to a frozen reference.
//!
//! The pairs come from a file. The starting policy is the reference; its log-probabilities are computed once, before training. Where we
//! deviate from the paper: AdamW instead of RMSprop, and a cosine schedule.

use crate::{
    algorithms::final_table::FinalTable,
    algorithms::start::{check_compatible, check_prompts, policy},
    cli::args::{DataArgs, EvalArgs, InitArgs, RunArgs},
    cli::defaults::{Configuration, ModelKind, declared},
    cli::effect::FixedOnResume,
    objective::loss::dpo,
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
use data::{Example, Prompting, encode_written, read_text};
use eval::{Policy, check_samples, greedy_accuracy};
use model::{Device, Transformer, parallel_map, score, to_host};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    slice::from_ref,
};

/// Learn from pairs of a better and a worse completion
#[derive(Args, Clone, Debug, Serialize)]
pub struct DpoConfig {
    /// Run directory, seed and device.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Benchmark of the evaluations.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// The policy to start from, which is also the reference.
    #[command(flatten)]
    #[serde(flatten)]
    pub init: InitArgs,
    /// Pairs to train on, one per line: {"question": …, "chosen": …, "rejected": …}, completions as in samples.jsonl
    #[arg(long, add = FixedOnResume::Value, help_heading = "Data", value_name = "FILE", default_value = "pairs.jsonl")]
    pub pairs: PathBuf,
    /// Strength of the reference: the larger β, the less the policy leaves it
    #[arg(long, help_heading = "Objective", default_value_t = 0.1, value_parser = crate::cli::args::above_0::<f64>)]
    pub beta: f64,
    /// Optimisation.
    #[command(flatten)]
    #[serde(flatten)]
    pub fit: FitArgs,
    /// Evaluations and the final table.
    #[command(flatten)]
    #[serde(flatten)]
    pub eval: EvalArgs,
}

impl Configuration for DpoConfig {
    /// The learning rate of a published model is that of the paper; that of the named sizes is `rl ppo`'s.
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

/// Refuses flags that contradict each other, and a file without pairs.
///
/// # Errors
/// Naming the flag, or the line of the file.
pub fn check(config: &DpoConfig) -> Result<()> {
    check_samples(config.eval.test_problems, config.eval.test_samples)?;
    read(&config.pairs).map(drop)
}

/// Takes the run that is resumed, if one is, for as long as the result lives.
///
/// # Errors
/// A run that is in use, or was begun otherwise.
pub fn lock_run(config: &DpoConfig) -> Result<Option<Lock>> {
    let lock = run::start::lock_run(&config.run)?;
    run::start::check_unchanged(&config.run, config, &[])?;
    run::start::check_inputs(&config.run, &[("pairs", Some(&config.pairs))])?;
    Ok(lock)
}

/// Trains, evaluates before and after on the test split, and leaves a run directory; its path.
///
/// # Errors
/// Pairs that cannot be used, an unusable `init`, a full disk, an interrupt.
pub fn train(config: &DpoConfig, init: &Path, problems: &Problems, device: &Device) -> Result<PathBuf> {
    let config = DpoConfig { init: config.init.resolved(init), ..config.clone() };
    let reference = policy(init, device)?;
    let (policy, resumed) = match &config.run.resume {
        Some(dir) => {
            let (policy, state) = resume::load_checkpoint::<FitNumbers>(&config.run, dir, None, device)?;
            (policy, Some(state))
        }
        None => (reference.clone(), None),
    };
    check_compatible(&reference, &policy)?;
    let pairs = pairs(&config, &reference, device)?;
    let prompting = config.data.prompting(0)?;
    let validation = problems.validation(config.eval.eval_problems)?;
    check_prompts(&policy, &[validation, problems.test(config.eval.test_problems)?], &prompting)?;
    run::start::check_initial_report(&config.run, &config.eval, "dpo", &config, Some(init))?;
    let step = resumed.as_ref().map_or(0, |state| state.numbers.step);
    let mut run = run::start::create_or_resume(&config.run, "dpo", &config.data, &config, step)?;
    let table = FinalTable { problems, eval: &config.eval, run_args: &config.run, device };
    let initial_report = table.evaluate_initial(&mut run, || Ok(reference), &prompting)?;
    let context = FitContext {
        args: &config.fit,
        run_args: &config.run,
        device,
        evaluate_every: config.eval.eval_every,
        label: "dpo",
        conditioning: None,
        adapters: None,
        sampled: None,
    };
    let sampling = config.run.compute.sampling(&config.data, prompting.clone(), 1, 0.0, device);
    let Policy { model, tokenizer, conditioning } = policy;
    let loss = |model: &Transformer, pairs: &[&Pair], total| loss(model, pairs, config.beta, total);
    fit(model, &tokenizer, &pairs, loss, &context, &mut run, resumed, |model| {
        let policy = Policy { model: model.clone(), tokenizer: tokenizer.clone(), conditioning };
        let (accuracy, _) = greedy_accuracy(&policy, validation, &sampling)?;
        Ok(ValidationScore::new("validation/maj@1", accuracy))
    })?;
    table.evaluate_best(&run, initial_report.as_ref(), &prompting)?;
    Ok(write_final_report::<DpoConfig>(&run))
}

/// The loss of some pairs, in a batch of `total` pairs; `[1]`.
fn loss(model: &Transformer, pairs: &[&Pair], beta: f64, total: usize) -> Tensor<1> {
    let device = model.device();
    let chosen = log_probs(model, pairs.iter().map(|pair| &pair.chosen));
    let rejected = log_probs(model, pairs.iter().map(|pair| &pair.rejected));
    let ref_chosen = flat(pairs.iter().map(|pair| from_ref(&pair.ref_chosen)), &device);
    let ref_rejected = flat(pairs.iter().map(|pair| from_ref(&pair.ref_rejected)), &device);
    dpo(chosen, rejected, ref_chosen, ref_rejected, beta, total)
}

/// Log-probabilities of whole completions: the sums over their tokens; `[P]`.
fn log_probs<'a>(model: &Transformer, completions: impl Iterator<Item = &'a Example>) -> Tensor<1> {
    let rows: Vec<&Example> = completions.collect();
    let of_tokens = score(model, &pad(&rows, &model.device()), 1.0).log_probs;
    let lengths = rows.iter().map(|row| row.response_len()).collect();
    let of_rows = of_tokens.split_with_sizes(lengths, 0).into_iter().map(Tensor::sum);
    Tensor::cat(of_rows.collect(), 0)
}

/// Two completions of a question, with their log-probabilities under the reference.
#[derive(Clone)]
struct Pair {
    chosen: Example,
    rejected: Example,
    ref_chosen: f32,
    ref_rejected: f32,
}

/// The longer completion stands for both where pairs of similar length are put into a micro-batch. A pair is one term of the loss.
impl Row for Pair {
    fn tokens(&self) -> &[u32] {
        let both = [&self.chosen.tokens, &self.rejected.tokens];
        both[usize::from(both[1].len() > both[0].len())]
    }

    fn prompt_len(&self) -> usize {
        self.chosen.prompt_len
    }

    fn loss_terms(&self) -> usize {
        1
    }
}

/// The pairs of the file as tokens, with their log-probabilities under the reference.
fn pairs(config: &DpoConfig, reference: &Policy, device: &Device) -> Result<Vec<Pair>> {
    let (tokenizer, longest) = (&reference.tokenizer, reference.model.config.max_position_embeddings);
    let prompting = Prompting::bare(config.data.prompt_format());
    let encode = |line: &Line, completion: &str| -> Result<Example> {
        let example = encode_written(tokenizer, &prompting, &line.question, completion, true)?;
        let tokens = example.tokens.len();
        ensure!(tokens <= longest, "--pairs: {completion:?} is longer than the context of {longest} tokens");
        Ok(example)
    };
    let both = |line: &Line| Ok([encode(line, &line.chosen)?, encode(line, &line.rejected)?]);
    let encoded = read(&config.pairs)?.iter().map(both).collect::<Result<Vec<_>>>()?;
    let threads = config.run.compute.threads(device);
    let of_pair = |model: &mut Transformer, _, pair: &[Example; 2]| to_host(log_probs(model, pair.iter())).values;
    let references = parallel_map(&encoded, threads, || reference.model.clone(), of_pair);
    let pair = |([chosen, rejected], of_reference): ([Example; 2], Vec<f32>)| Pair {
        chosen,
        rejected,
        ref_chosen: of_reference[0],
        ref_rejected: of_reference[1],
    };
    Ok(encoded.into_iter().zip(references).map(pair).collect())
}

/// A line of `--pairs`. Completions are taken word for word, as a policy writes them: in the plain style they begin with a space.
#[derive(Deserialize)]
struct Line {
    #[serde(alias = "prompt")]
    question: String,
    chosen: String,
    rejected: String,
}

fn read(path: &Path) -> Result<Vec<Line>> {
    let text = read_text(path).context("--pairs")?;
    let line = |(index, line): (usize, &str)| -> Result<Line> {
        data::text::from_json_object(line).with_context(|| format!("--pairs {}, line {}", path.display(), index + 1))
    };
    let lines = text.lines().enumerate().map(line).collect::<Result<Vec<_>>>()?;
    ensure!(!lines.is_empty(), "--pairs {} holds no pair", path.display());
    Ok(lines)
}

/// Prints what a run would do and need.
///
/// # Errors
/// An `--init` that cannot be read, no pairs.
pub fn dry_run(config: &DpoConfig, device: &Device) -> Result<()> {
    let shape = dry_run::shape(config.init.init.as_deref(), config.init.model)?;
    let new_tokens = config.data.max_new_tokens();
    let work = dry_run::TrainingWorkload {
        rows: config.fit.batch_size,
        // Two completions a pair, each with a prompt that may be as long.
        positions: config.run.compute.micro_batch.min(config.fit.batch_size) * 4 * new_tokens,
        extra_models: 0.0,
        trained: None,
        steps: config.fit.total_steps(read(&config.pairs)?.len()),
        sampled: config.eval.rows(&config.data),
        new_tokens,
        samples: 0,
    };
    dry_run::print("dpo", config, &config.run, &shape, &work, device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::optim::{Adam, GradientOptions};
    use crate::training::supervised::update;
    use model::{ModelConfig, ModelSize};

    #[test]
    fn the_loss_begins_at_log_2_and_falls_as_the_chosen_completion_becomes_likelier() {
        let size = ModelConfig { hidden_size: 16, ..ModelConfig::of_size(ModelSize::Tiny, 12, 0) };
        let mut model = Transformer::init(&size, 1, &Device::default());
        let (chosen, rejected) = (Example::new(vec![3, 1, 4, 1], 2), Example::new(vec![3, 1, 5, 9, 2], 2));
        let both = |model: &Transformer| to_host(log_probs(model, [&chosen, &rejected].into_iter())).values;
        let at_first = both(&model);
        let pair = Pair {
            chosen: chosen.clone(),
            rejected: rejected.clone(),
            ref_chosen: at_first[0],
            ref_rejected: at_first[1],
        };
        let mut optimizer = Adam::new(0.9, 0.98, 1e-8, 0.0, 1.0);
        let mut losses = Vec::new();
        for _ in 0..30 {
            let loss = |model: &Transformer, pairs: &[&Pair], total| loss(model, pairs, 0.5, total);
            let step = update(model, from_ref(&pair), &loss, &mut optimizer, 3e-3, 8, GradientOptions::on(1));
            (model, losses) = (step.model, [losses, vec![step.loss]].concat());
        }
        let at_last = both(&model);
        assert!((losses[0] - std::f64::consts::LN_2).abs() < 1e-5, "{losses:?}");
        assert!(losses[29] < 0.1, "{losses:?}");
        assert!(at_last[0] > at_first[0] && at_last[1] < at_first[1], "{at_first:?}, {at_last:?}");
    }
}
