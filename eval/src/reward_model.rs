//! An outcome reward model: how likely a solution, finished or not, is to be right. Here its text and tensors meet.
//!
//! p(correct | Q, S_1..S_i) is the sigmoid of a scalar head on the last residual stream of a language model, read at the token
//! that ends the prefix (Havrilla et al. 2024, section on reward models; Cobbe et al. 2021, arXiv 2110.14168). The head starts
//! at 0, which is p = 1/2 for everything.

use crate::policy::{Policy, REWARD_HEAD, load_trunk, resolve_checkpoint};
use anyhow::{Result, ensure};
use burn::tensor::{Device, Tensor, activation::sigmoid};
use data::{Example, Tokenizer};
use model::{ActorCritic, ValueBranch, load_value_branch, pad_right, parallel_map, to_host};
use std::path::Path;

/// A language model with a scalar head that judges what it reads.
#[derive(Clone)]
pub struct RewardModel {
    /// The trunk, and a head on its last residual stream whose gradient reaches the trunk.
    pub model: ActorCritic,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

impl RewardModel {
    /// A head that says 1/2 on the trunk of a policy.
    pub fn of(policy: &Policy) -> Self {
        let value = ValueBranch::of(&policy.model, 0, false);
        Self { model: ActorCritic { policy: policy.model.clone(), value }, tokenizer: policy.tokenizer.clone() }
    }

    /// Loads a checkpoint of `rl orm`, or the best one of its run.
    ///
    /// # Errors
    /// As [`Policy::load`]; or if it is a policy and no reward model.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let folder = resolve_checkpoint(path)?;
        let head = folder.join(REWARD_HEAD);
        ensure!(
            head.is_file(),
            "{} is not a reward model (no {REWARD_HEAD} in it): give a run of `rl orm`",
            folder.display()
        );
        let Policy { model, tokenizer, .. } = load_trunk(&folder, device)?;
        let value = load_value_branch(&head, &model.config, 0, false, device)?;
        Ok(Self { model: ActorCritic { policy: model, value }, tokenizer })
    }

    /// The probability of being right after each token of each completion, the rows `at_once` in a batch.
    ///
    /// # Panics
    /// If a row has no completion, or is longer than the model's context.
    pub fn probabilities(&self, rows: &[Example], at_once: usize, threads: usize) -> Vec<Vec<f32>> {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&row| rows[row].tokens.len());
        let batches: Vec<&[usize]> = order.chunks(at_once.max(1)).collect();
        let judged = parallel_map(
            &batches,
            threads,
            || self.model.clone(),
            |model, _, batch| {
                let tokens: Vec<&[u32]> = batch.iter().map(|&row| rows[row].tokens.as_slice()).collect();
                let logits = model.forward(pad_right(&tokens, &model.policy.device())).values;
                let [_, time] = logits.dims();
                let probabilities = to_host::<2>(sigmoid(logits)).values;
                let of_row = |(place, &row): (usize, &usize)| {
                    let Example { tokens, prompt_len, .. } = &rows[row];
                    assert!(*prompt_len < tokens.len(), "row {row} has no completion");
                    probabilities[place * time + prompt_len..place * time + tokens.len()].to_vec()
                };
                batch.iter().enumerate().map(of_row).collect::<Vec<_>>()
            },
        );
        let mut probabilities = vec![Vec::new(); rows.len()];
        for (&row, of_row) in order.iter().zip(judged.into_iter().flatten()) {
            probabilities[row] = of_row;
        }
        probabilities
    }
}

/// The logit of being right after chosen tokens of a batch.
///
/// # Shapes
/// - `rows`: B rows of ids; `ends`: for each of them the places of the tokens to judge after; output: `[M]`, rows end to end
pub fn logits_after(model: &ActorCritic, rows: &[&[u32]], ends: &[&[usize]], device: &Device) -> Tensor<1> {
    let values = model.forward(pad_right(rows, device)).values;
    let [batch, time] = values.dims();
    let places = ends.iter().enumerate().flat_map(|(row, ends)| ends.iter().map(move |end| (row * time + end) as i32));
    let places: Vec<i32> = places.collect();
    values.reshape([batch * time]).select(0, Tensor::from_ints(places.as_slice(), device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ModelConfig, ModelSize, Transformer, save_model, save_value_branch};

    fn policy() -> Policy {
        let tokenizer = Tokenizer::train_bpe(&["one and two is three".to_string()], 260).unwrap();
        let config = ModelConfig {
            hidden_size: 16,
            intermediate_size: 24,
            ..ModelConfig::of_size(ModelSize::Tiny, tokenizer.vocab_size(), 0)
        };
        Policy { model: Transformer::init(&config, 3, &Device::default()), tokenizer, conditioning: None }
    }

    /// A head that is not 0.
    fn reward_model() -> RewardModel {
        let mut reward_model = RewardModel::of(&policy());
        let value = &mut reward_model.model.value;
        value.head = value.head.clone().map(|head| head.add_scalar(0.3));
        reward_model
    }

    fn rows() -> Vec<Example> {
        let row = |length: u32| Example::new((0..length).map(|i| (7 * i + length) % 250).collect(), 3);
        [9, 4, 12, 5].map(row).to_vec()
    }

    #[test]
    fn a_new_head_says_one_half_after_every_token_of_the_completion() {
        let judged = RewardModel::of(&policy()).probabilities(&rows(), 2, 1);
        assert_eq!(judged, [6, 1, 9, 2].map(|length| vec![0.5; length]));
    }

    #[test]
    fn a_judgement_depends_neither_on_the_batch_nor_on_what_comes_after() {
        let (reward_model, rows) = (reward_model(), rows());
        let together = reward_model.probabilities(&rows, 4, 2);
        for (row, judged) in rows.iter().zip(&together) {
            let cut = Example::new(row.tokens[..4].to_vec(), 3);
            let alone = reward_model.probabilities(&[cut], 1, 1);
            assert!((alone[0][0] - judged[0]).abs() < 1e-5 && (judged[0] - 0.5).abs() > 1e-3, "{alone:?}, {judged:?}");
        }
    }

    #[test]
    fn the_logits_to_learn_from_are_those_of_the_probabilities() {
        let (reward_model, rows) = (reward_model(), rows());
        let tokens: Vec<&[u32]> = rows.iter().map(|row| row.tokens.as_slice()).collect();
        let ends: [&[usize]; 4] = [&[3, 8], &[3], &[5, 7, 11], &[4]];
        let logits = logits_after(&reward_model.model, &tokens, &ends, &Device::default());
        let learnt = to_host(sigmoid(logits)).values;
        let judged = reward_model.probabilities(&rows, 4, 1);
        let expected = ends.iter().zip(&judged).flat_map(|(ends, judged)| ends.iter().map(|end| judged[end - 3]));
        assert_eq!(learnt.len(), 7);
        for (learnt, expected) in learnt.iter().zip(expected) {
            assert!((learnt - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn a_policy_is_no_reward_model_and_a_reward_model_no_policy() {
        let folder = tempfile::tempdir().unwrap();
        let (reward_model, device) = (reward_model(), Device::default());
        save_model(folder.path(), &reward_model.model.policy).unwrap();
        reward_model.tokenizer.save(folder.path()).unwrap();
        let error = |error: anyhow::Error| error.to_string();
        assert!(error(RewardModel::load(folder.path(), &device).err().unwrap()).contains("not a reward model"));
        let config = &reward_model.model.policy.config;
        save_value_branch(&folder.path().join(REWARD_HEAD), &reward_model.model.value, config).unwrap();
        assert!(error(Policy::load(folder.path(), &device).err().unwrap()).contains("is a reward model"));
        let loaded = RewardModel::load(folder.path(), &device).unwrap();
        assert_eq!(loaded.probabilities(&rows(), 4, 1), reward_model.probabilities(&rows(), 4, 1));
    }
}
