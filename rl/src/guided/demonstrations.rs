//! `--train-prior`: a guide that has learnt from demonstrations, the episodes of an optimal policy in other environments of the same kind.

use super::{
    environments::Environment,
    guide::{line, prompt, question},
    mdp::Mdp,
    values::soonest,
};
use crate::{
    cli::args::ComputeArgs,
    run::interrupted,
    training::{
        optim::{Adam, GradientOptions, learning_rate},
        order::batch_of_step,
        supervised::{likelihood_loss, update},
    },
    view::progress::Progress,
};
use anyhow::{Result, ensure};
use data::{Example, Tokenizer};
use eval::Policy;
use model::{Device, ModelConfig, ModelSize, Transformer};

/// Demonstrations are in environments of seeds from here on, which nobody learns in.
const FIRST_SEED: u64 = 1 << 32;
/// Examples of an optimiser step.
const BATCH: usize = 32;
/// Tokens of a new model's vocabulary.
const VOCABULARY: usize = 500;

/// How a guide learns from demonstrations.
#[derive(Clone, Copy, Debug)]
pub struct PriorConfig {
    /// Episodes that are demonstrated.
    pub demonstrations: usize,
    /// Passes over their steps.
    pub epochs: usize,
    /// The largest learning rate.
    pub learning_rate: f64,
    /// Of the order of the examples, and of a new model's weights.
    pub seed: u64,
}

/// A state and the action of the demonstration.
struct Shown<'a> {
    mdp: &'a Mdp,
    state: &'a str,
    action: &'a str,
}

/// The steps of an episode of the optimal policy that loses no time, along the likeliest outcomes.
fn episode(mdp: &Mdp) -> Vec<Shown<'_>> {
    let best = soonest(mdp);
    let (mut state, mut steps) = (mdp.start, Vec::new());
    for of_step in &best.policy {
        let Some(action) = of_step[state].iter().position(|&p| p > 0.0) else { break };
        let row = &mdp.states[state];
        steps.push(Shown { mdp, state: &row.text, action: &row.actions[action].text });
        state = mdp.likeliest(state, action).next;
    }
    steps
}

/// Fine-tunes a policy on demonstrations; without one, a new model of size `pico` with a vocabulary of their words.
///
/// # Errors
/// A size that the environment does not have, a demonstration that does not fit the model's context, Ctrl-C, a loss that is not finite.
pub fn train(
    policy: Option<Policy>,
    environment: Environment,
    size: Option<usize>,
    config: &PriorConfig,
    compute: &ComputeArgs,
    device: &Device,
    quiet: bool,
) -> Result<Policy> {
    let seeds = FIRST_SEED..FIRST_SEED + config.demonstrations as u64;
    let all: Vec<Mdp> = seeds.map(|seed| environment.build(size, seed)).collect::<Result<_>>()?;
    let shown: Vec<Shown<'_>> = all.iter().flat_map(episode).collect();
    let mut policy = match policy {
        Some(policy) => policy,
        None => new_policy(&shown, config.seed, device)?,
    };
    let examples: Vec<Example> = shown.iter().map(|shown| example(&policy.tokenizer, shown)).collect();
    let context = policy.model.config.max_position_embeddings;
    let longest = examples.iter().map(|example| example.tokens.len()).max().unwrap_or(0);
    ensure!(longest <= context, "a demonstration has {longest} tokens, and the model's context is {context}");
    let steps = (config.epochs * examples.len()).div_ceil(BATCH).max(1);
    let options = GradientOptions::of(compute, device);
    let mut optimizer = Adam::new(0.9, 0.98, 1e-8, 0.01, 1.0);
    let progress = Progress::new(steps, "prior", "steps", quiet);
    for step in 0..steps {
        ensure!(!interrupted(), "interrupted while the guide learns from demonstrations; nothing of it is kept");
        let batch = batch_of_step(&examples, step, BATCH.min(examples.len()), config.seed);
        let rate = learning_rate(step, steps, steps.div_ceil(20), config.learning_rate, 0.1);
        let outcome =
            update(policy.model, &batch, &likelihood_loss, &mut optimizer, rate, compute.micro_batch, options);
        ensure!(outcome.loss.is_finite(), "the loss on demonstrations is not finite; lower --prior-learning-rate");
        policy.model = outcome.model;
        progress.set_message(format!("loss {:.3}", outcome.loss));
        progress.advance(1);
    }
    Ok(policy)
}

fn example(tokenizer: &Tokenizer, shown: &Shown<'_>) -> Example {
    let before = prompt(tokenizer, shown.mdp, shown.state);
    Example::new([before.as_slice(), &line(tokenizer, shown.action)].concat(), before.len())
}

/// A model that knows nothing.
fn new_policy(shown: &[Shown<'_>], seed: u64, device: &Device) -> Result<Policy> {
    let text = |shown: &Shown<'_>| format!("{} {}\n", question(shown.mdp, shown.state), shown.action);
    let texts: Vec<String> = shown.iter().map(text).collect();
    let tokenizer = Tokenizer::train_bpe(&texts, VOCABULARY)?;
    let config = ModelConfig::of_size(ModelSize::Pico, tokenizer.vocab_size(), tokenizer.pad_id());
    Ok(Policy { model: Transformer::init(&config, seed, device), tokenizer, conditioning: None, adapter: None })
}
