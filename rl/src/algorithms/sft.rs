//! Supervised fine-tuning on reference solutions (Havrilla et al. 2024, section on SFT): maximises the likelihood of the
//! completion's tokens, end-of-sequence included, given the prompt.

use crate::{
    algorithms::final_table::FinalTable,
    algorithms::start::check_prompts,
    cli::args::{DataArgs, EvalArgs, InitArgs, RunArgs},
    cli::defaults::{Configuration, ModelKind, declared},
    run,
    run::lock::Lock,
    run::{Run, TrainerState},
    sampling::problems::Problems,
    training::adapters::LoraArgs,
    training::dry_run,
    training::resume,
    training::supervised::{FitArgs, FitContext, FitNumbers, ValidationScore, fit, likelihood_loss},
    view::html::write_final_report,
};
use anyhow::{Result, ensure};
use clap::Args;
use data::{Example, Problem, encode_example};
use eval::{Policy, check_samples, external::Checker, greedy_accuracy};
use model::{Device, ModelSize};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Fine-tune on the reference solutions of the training split
#[derive(Args, Clone, Debug, Serialize)]
pub struct SftConfig {
    /// Run directory, seed and device.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Benchmark and problems.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// The model to start from.
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
    /// Evaluations and the final table.
    #[command(flatten)]
    #[serde(flatten)]
    pub eval: EvalArgs,
}

impl Configuration for SftConfig {
    /// A table that costs little: the greedy sample alone.
    fn defaults(kind: ModelKind) -> Self {
        let mut config: Self = declared();
        fine_tuning(&mut config.fit, &mut config.run, kind);
        config.eval.eval_every = EVAL_EVERY;
        config.eval.test_samples = 1;
        config
    }

    fn trained(&self) -> Option<&Path> {
        self.init.init.as_deref()
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

/// Steps between two evaluations, also of the methods that end in an SFT.
pub(crate) const EVAL_EVERY: usize = 150;

/// The defaults of fine-tuning a language model on solutions, also for the methods that end in an SFT. The learning rate of `small` is
/// scaled by the width, not measured; those of published models are, for all weights, that of Havrilla et al. (2024) and, for adapters,
/// that of Dettmers et al. (2023, arXiv 2305.14314, models of 7 and 13 billion parameters).
pub(crate) fn fine_tuning(fit: &mut FitArgs, run: &mut RunArgs, kind: ModelKind) {
    fit.learning_rate = match kind {
        ModelKind::Size(ModelSize::Pico | ModelSize::Nano) => 2.5e-3,
        ModelKind::Size(ModelSize::Tiny) => 1.5e-3,
        ModelKind::Size(ModelSize::Medium) => 8e-4,
        ModelKind::Size(ModelSize::Small) => 5e-4,
        ModelKind::Published { adapters: false } => 2e-5,
        ModelKind::Published { adapters: true } => 2e-4,
    };
    (fit.batch_size, fit.epochs, fit.warm_up) = (16, 4.0, 40);
    run.compute.micro_batch = 4;
}

/// Refuses flags that contradict each other, and missing data.
///
/// # Errors
/// Naming the flag.
pub fn check(config: &SftConfig, problems: &Problems) -> Result<()> {
    check_samples(config.eval.test_problems, config.eval.test_samples)?;
    problems.solved().map(drop)
}

/// Takes the run that is resumed, if one is, for as long as the result lives.
///
/// # Errors
/// A run that is in use, or was begun otherwise.
pub fn lock_run(config: &SftConfig) -> Result<Option<Lock>> {
    let lock = run::start::lock_run(&config.run)?;
    run::start::check_unchanged(&config.run, config, &[])?;
    run::start::check_inputs(&config.run, &[("extra", config.data.extra.as_deref())])?;
    Ok(lock)
}

/// Trains, evaluates before and after on the test split, and leaves a run directory; its path.
///
/// # Errors
/// Missing data, an unusable --init, a full disk, an interrupt.
pub fn train(config: &SftConfig, base: &Path, problems: &Problems, device: &Device) -> Result<PathBuf> {
    let mut config = SftConfig { init: config.init.resolved(base), ..config.clone() };
    config.run.compute.checker = Checker::of_benchmark(config.data.benchmark())?;
    let adapters = config.lora.on(base);
    let (policy, resumed) = match &config.run.resume {
        Some(dir) => {
            let (policy, state) = resume::load_checkpoint::<FitNumbers>(&config.run, dir, adapters.as_ref(), device)?;
            (policy, Some(state))
        }
        None => (initial(base, device)?, None),
    };
    let (solved, all) = (problems.solved()?, problems.train()?.len());
    if solved.len() < all && !config.run.quiet {
        eprintln!("sft start  {} of {all} training problems have a reference solution to learn from", solved.len());
    }
    let format = config.data.prompt_format();
    let encode = |problem: &Problem| encode_example(&policy.tokenizer, &format, problem);
    let examples = fitting(&policy, solved, encode)?;
    let prompting = config.data.prompting(0)?;
    let validation = problems.validation(config.eval.eval_problems)?;
    check_prompts(&policy, &[validation, problems.test(config.eval.test_problems)?], &prompting)?;
    run::start::check_initial_report(&config.run, &config.eval, "sft", &config, Some(base))?;
    let step = resumed.as_ref().map_or(0, |state| state.numbers.step);
    let mut run = run::start::create_or_resume(&config.run, "sft", &config.data, &config, step)?;
    let table = FinalTable { problems, eval: &config.eval, run_args: &config.run, device };
    let start = || match &resumed {
        None => Ok(policy.clone()),
        Some(_) => initial(base, device),
    };
    let initial_report = table.evaluate_initial(&mut run, start, &prompting)?;
    let context = FitContext {
        args: &config.fit,
        run_args: &config.run,
        device,
        evaluate_every: config.eval.eval_every,
        label: "sft",
        conditioning: None,
        adapters,
        sampled: None,
    };
    fit_with_validation(policy, &examples, validation, &config.data, &context, &mut run, resumed)?;
    table.evaluate_best(&run, initial_report.as_ref(), &prompting)?;
    Ok(write_final_report::<SftConfig>(&run))
}

/// The model to fine-tune. Reference solutions have no labels, so it must not expect any.
fn initial(init: &Path, device: &Device) -> Result<Policy> {
    Ok(Policy { conditioning: None, ..Policy::load(init, device)? })
}

/// [`fit`] with evaluations of the greedy accuracy on validation problems.
///
/// # Errors
/// As [`fit`].
pub(crate) fn fit_with_validation(
    policy: Policy,
    examples: &[Example],
    validation: &[Problem],
    data: &DataArgs,
    context: &FitContext<'_>,
    run: &mut Run,
    resumed: Option<TrainerState<FitNumbers>>,
) -> Result<Policy> {
    let sampling = context.run_args.compute.sampling(data, data.prompting(0)?, 1, 0.0, context.device);
    let Policy { model, tokenizer, conditioning, .. } = policy;
    let model = fit(model, &tokenizer, examples, likelihood_loss, context, run, resumed, |model| {
        let policy = Policy { model: model.clone(), tokenizer: tokenizer.clone(), conditioning, adapter: None };
        let (accuracy, _) = greedy_accuracy(&policy, validation, &sampling)?;
        Ok(ValidationScore::new("validation/maj@1", accuracy))
    })?;
    Ok(Policy { model, tokenizer, conditioning, adapter: None })
}

/// Prints what a run would do and need.
///
/// # Errors
/// An `--init` that cannot be read.
pub fn dry_run(config: &SftConfig, problems: &Problems, device: &Device) -> Result<()> {
    let shape = dry_run::shape(config.init.init.as_deref(), config.init.model)?;
    let work = dry_run::TrainingWorkload {
        rows: config.fit.batch_size,
        positions: dry_run::largest_micro_batch(
            &config.init,
            &config.data,
            problems.solved()?,
            &config.fit,
            &config.run,
        )?,
        extra_models: 0.0,
        trained: config.lora.parameters(&shape),
        steps: config.fit.total_steps(problems.solved()?.len()),
        sampled: config.eval.rows(&config.data),
        new_tokens: config.data.max_new_tokens(),
        samples: 0,
    };
    dry_run::print("sft", config, &config.run, &shape, &work, device)
}

/// Solved problems as examples. Those that do not fit the model's context are left out, with a warning.
pub(crate) fn fitting<P>(
    policy: &Policy,
    problems: &[P],
    encode: impl Fn(&P) -> Result<Example>,
) -> Result<Vec<Example>> {
    let mut examples = problems.iter().map(encode).collect::<Result<Vec<Example>>>()?;
    let context = policy.model.config.max_position_embeddings;
    examples.retain(|example| example.tokens.len() <= context);
    ensure!(!examples.is_empty(), "all {} problems are longer than the context of {context} tokens", problems.len());
    if examples.len() < problems.len() {
        let dropped = problems.len() - examples.len();
        tracing::warn!("{dropped} of {} problems are longer than the context of {context} tokens", problems.len());
    }
    Ok(examples)
}
