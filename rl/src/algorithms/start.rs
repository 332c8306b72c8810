//! What algorithms load and check before their first step: models, whether they are compatible, and whether all prompts
//! fit.

use anyhow::{Result, ensure};
use data::{Problem, Prompting, Tokenizer};
use eval::{Policy, RewardModel, encode_prompts};
use model::{Device, Transformer};
use std::path::Path;

/// Loads a policy to train, or to sample from.
///
/// # Errors
/// As [`Policy::load`]; a return-conditioned policy, whose labels only an evaluation gives.
pub fn policy(path: &Path, device: &Device) -> Result<Policy> {
    let policy = Policy::load(path, device)?;
    ensure!(
        policy.conditioning.is_none(),
        "{} was trained by `rl rcrl` and needs labels in its completions, which this command does not give: start from another policy",
        path.display()
    );
    Ok(policy)
}

/// Loads a reward model to score a policy's tokens.
///
/// # Errors
/// If it is not a reward model, or its vocabulary differs from the policy's.
pub fn reward_model(path: &Path, policy: &Policy, device: &Device) -> Result<RewardModel> {
    let reward_model = RewardModel::load(path, device)?;
    check_vocabulary(
        policy,
        &reward_model.tokenizer,
        &reward_model.model.language_model,
        &format!("the reward model {}", path.display()),
    )?;
    Ok(reward_model)
}

/// Loads a language model whose likelihood of a policy's tokens is used.
///
/// # Errors
/// If it is not a policy, expects labels, or its vocabulary differs from the policy's.
pub fn likelihood_model(path: &Path, policy: &Policy, device: &Device) -> Result<Transformer> {
    let writer = self::policy(path, device)?;
    check_vocabulary(policy, &writer.tokenizer, &writer.model, &format!("the policy {}", path.display()))?;
    Ok(writer.model)
}

/// Checks that a model has the policy's vocabulary and a context as long as the policy's.
fn check_vocabulary(policy: &Policy, tokenizer: &Tokenizer, model: &Transformer, who: &str) -> Result<()> {
    ensure!(
        tokenizer.to_json() == policy.tokenizer.to_json(),
        "{who} has another vocabulary than the policy: train one on the policy's own model"
    );
    ensure!(
        model.config.max_position_embeddings >= policy.model.config.max_position_embeddings,
        "{who} has a shorter context than the policy"
    );
    Ok(())
}

/// Refuses a reference that reads other tokens than the policy.
///
/// # Errors
/// If the two differ in their vocabulary, or the reference has a shorter context.
pub fn check_reference(policy: &Policy, reference: &Policy) -> Result<()> {
    check_vocabulary(policy, &reference.tokenizer, &reference.model, "the reference")
}

/// Refuses a reference that the policy cannot be derived from.
///
/// # Errors
/// If the two differ in shape or vocabulary.
pub fn check_compatible(reference: &Policy, policy: &Policy) -> Result<()> {
    let shape = |policy: &Policy| {
        let config = &policy.model.config;
        let heads = [config.num_attention_heads, config.kv_heads(), config.head_width()];
        (config.vocab_size, config.hidden_size, config.intermediate_size, config.num_hidden_layers, heads)
    };
    ensure!(
        shape(reference) == shape(policy) && reference.tokenizer.to_json() == policy.tokenizer.to_json(),
        "--init has another shape or another tokenizer than the checkpoints of the run: give the --init that the run was started with"
    );
    Ok(())
}

/// Checks that all prompts of a run fit the policy.
///
/// # Errors
/// A prompt that is too long for the model, by the id of its problem.
pub fn check_prompts(policy: &Policy, splits: &[&[Problem]], prompting: &Prompting) -> Result<()> {
    splits.iter().try_for_each(|problems| encode_prompts(policy, problems, prompting).map(drop))
}
