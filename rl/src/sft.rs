//! Supervised fine-tuning on reference solutions (Havrilla et al. 2024, section on SFT): the likelihood of the completion's
//! tokens, the prompt's tokens left out, end-of-sequence learnt.

use crate::{
    adapters::LoraArgs,
    args::{DataArgs, EvalArgs, InitArgs, RunArgs},
    dry_run, prepare,
    run::{Run, TrainerState, finish},
    supervised::{FitArgs, FitContext, FitNumbers, Look, fit},
    table::FinalTable,
};
use anyhow::{Result, ensure};
use burn::tensor::Device;
use clap::Args;
use data::{Example, Problem, PromptStyle, Split, encode_example};
use eval::{Policy, check_samples, greedy_accuracy};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Fine-tune on the reference solutions of the training split
#[derive(Args, Clone, Debug, Serialize)]
pub struct SftConfig {
    /// Where, and with what.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Which problems.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// What to start from.
    #[command(flatten)]
    #[serde(flatten)]
    pub init: InitArgs,
    /// Adapters.
    #[command(flatten)]
    #[serde(flatten)]
    pub lora: LoraArgs,
    /// How long and how fast.
    #[command(flatten)]
    #[serde(flatten)]
    pub fit: FitArgs,
    /// Looks, and the final table.
    #[command(flatten)]
    #[serde(flatten)]
    pub eval: EvalArgs,
}

/// What differs from the defaults of the flattened groups: a table that costs little, and [`FITTING`].
pub const DEFAULTS: &[(&str, &str)] = &[
    ("test_samples", "1"),
    ("learning_rate", "1.5e-3"),
    ("batch_size", "16"),
    ("micro_batch", "4"),
    ("epochs", "4"),
    ("warm_up", "40"),
    ("eval_every", "150"),
];

/// What the methods that end in an SFT take over.
pub const FITTING: &[(&str, &str)] = DEFAULTS.split_at(1).1;

/// What differs for other sizes than `tiny`, as in pretraining. The learning rate of `small` is scaled by the width, not measured.
pub const BY_SIZE: &[(&str, &str, &str)] =
    &[("learning_rate", "nano", "2.5e-3"), ("learning_rate", "medium", "8e-4"), ("learning_rate", "small", "5e-4")];

/// The defaults for published models: all weights as in Havrilla et al. (2024), adapters as in Dettmers et al. (2023, arXiv 2305.14314,
/// models of 7 and 13 billion parameters).
pub const PUBLISHED: &[(&str, &str, &str)] = &[("learning_rate", "2e-5", "2e-4")];

/// Trains, evaluates before and after on the test split, and leaves a run directory; its path.
///
/// # Errors
/// Missing data, an unusable --init, a full disk, an interrupt.
pub fn train(config: &SftConfig, device: &Device) -> Result<PathBuf> {
    config.fit.check()?;
    config.lora.check()?;
    check_samples(config.eval.test_problems, config.eval.test_samples)?;
    if config.run.dry_run {
        return dry_run(config, device);
    }
    let _lock = prepare::claim(&config.run)?;
    prepare::check_fixed(&config.run, config, &[])?;
    prepare::check_inputs(&config.run, &[("extra", config.data.extra.as_deref())])?;
    let mut config = config.clone();
    // What is wrong with the problems is found before a base is made.
    let problems = config.data.load(Split::Train)?;
    let (policy, resumed) = match &config.run.resume {
        Some(dir) => {
            let adapters = config.init.init.as_deref().and_then(|init| config.lora.on(init));
            let (policy, state) = prepare::resume::<FitNumbers>(&config.run, dir, adapters.as_ref(), device)?;
            (policy, Some(state))
        }
        None => {
            let init = prepare::base(&config.init, &config.data, &config.run, device)?;
            let policy = initial(&init, device)?;
            config.init.init = Some(init);
            (policy, None)
        }
    };
    let examples = examples(&policy, config.data.prompt_style, &problems)?;
    let prompting = config.data.prompting(0)?;
    prepare::check_problems(&policy, &config.data, &prompting, &config.eval, &[Split::Validation, Split::Test])?;
    let validation = prepare::validation(&config.data, config.eval.eval_problems)?;
    prepare::check_before(&config.run, &config.eval, "sft", &config, config.init.init.as_deref())?;
    let step = resumed.as_ref().map_or(0, |state| state.numbers.step);
    let mut run = prepare::open(&config.run, "sft", config.data.benchmark, &config, step)?;
    let table = FinalTable { data: &config.data, eval: &config.eval, run_args: &config.run, device };
    let start = || match &resumed {
        None => Ok(policy.clone()),
        Some(_) => initial(&prepare::base(&config.init, &config.data, &config.run, device)?, device),
    };
    let before = table.before(&mut run, start, &prompting)?;
    let context = FitContext {
        args: &config.fit,
        run_args: &config.run,
        device,
        look_every: config.eval.eval_every,
        label: "sft",
        conditioning: None,
        adapters: config.init.init.as_deref().and_then(|init| config.lora.on(init)),
        sampled: None,
    };
    fit_with_looks(policy, &examples, &validation, &config.data, &context, &mut run, resumed)?;
    table.after(&run, before.as_ref(), &prompting)?;
    Ok(finish(&run))
}

/// What is fine-tuned. Reference solutions have no labels: who learns them expects none.
fn initial(init: &Path, device: &Device) -> Result<Policy> {
    Ok(Policy { conditioning: None, ..Policy::load(init, device)? })
}

/// [`fit`] with looks at the greedy accuracy on validation problems.
///
/// # Errors
/// As [`fit`].
pub(crate) fn fit_with_looks(
    policy: Policy,
    examples: &[Example],
    validation: &[Problem],
    data: &DataArgs,
    context: &FitContext<'_>,
    run: &mut Run,
    resumed: Option<TrainerState<FitNumbers>>,
) -> Result<Policy> {
    let sampling = context.run_args.compute.sampling(data, data.prompting(0)?, 1, 0.0, context.device);
    let Policy { model, tokenizer, conditioning } = policy;
    let model = fit(model, &tokenizer, examples, context, run, resumed, |model| {
        let policy = Policy { model: model.clone(), tokenizer: tokenizer.clone(), conditioning };
        let (accuracy, _) = greedy_accuracy(&policy, validation, &sampling)?;
        Ok(Look::of("validation/maj@1", accuracy))
    })?;
    Ok(Policy { model, tokenizer, conditioning })
}

fn dry_run(config: &SftConfig, device: &Device) -> Result<PathBuf> {
    let problems = config.data.load(Split::Train)?;
    let shape = dry_run::shape(config.init.init.as_deref(), config.init.model)?;
    let work = dry_run::Work {
        rows: config.fit.batch_size,
        positions: dry_run::largest_micro_batch(&config.init, &config.data, &config.fit, &config.run)?,
        extra_models: 0.0,
        trained: config.lora.parameters(&shape),
        steps: config.fit.total_steps(problems.len()),
        sampled: config.eval.rows(&config.data),
        new_tokens: config.data.max_new_tokens(),
        samples: 0,
    };
    dry_run::print("sft", config, &config.run, &shape, &work, device)?;
    Ok(PathBuf::new())
}

/// Solved problems as examples. Those that do not fit the model's context are left out, and counted aloud.
pub(crate) fn examples(policy: &Policy, style: PromptStyle, problems: &[Problem]) -> Result<Vec<Example>> {
    let all = problems.iter().map(|problem| encode_example(&policy.tokenizer, style, problem));
    let mut examples = all.collect::<Result<Vec<Example>>>()?;
    let context = policy.model.config.max_position_embeddings;
    examples.retain(|example| example.tokens.len() <= context);
    ensure!(!examples.is_empty(), "all {} problems are longer than the context of {context} tokens", problems.len());
    if examples.len() < problems.len() {
        let dropped = problems.len() - examples.len();
        tracing::warn!("{dropped} of {} problems are longer than the context of {context} tokens", problems.len());
    }
    Ok(examples)
}
