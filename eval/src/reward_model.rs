//! An outcome reward model: how likely a solution, finished or not, is to be right. Here its text and tensors meet.
//!
//! p(correct | Q, S_1..S_i) is the sigmoid of a scalar head on the last residual stream of a language model, read at the token
//! that ends the prefix (Havrilla et al. 2024, section on reward models; Cobbe et al. 2021, arXiv 2110.14168). The head starts
//! at 0, which is p = 1/2 for everything.

use crate::policy::{Policy, load_trunk, resolve_checkpoint};
use anyhow::{Result, ensure};
use burn::tensor::{Device, activation::sigmoid};
use data::{Example, Tokenizer};
use model::{Judge, REWARD_HEAD, parallel_map, to_host};
use std::path::Path;

/// A language model with a scalar head that judges what it reads.
#[derive(Clone)]
pub struct RewardModel {
    /// The language model and its head.
    pub model: Judge,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

impl RewardModel {
    /// Loads a checkpoint of `rl orm`, or the best one of its run.
    ///
    /// # Errors
    /// As [`Policy::load`]; or if it is a policy and no reward model.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let folder = resolve_checkpoint(path)?;
        ensure!(
            folder.join(REWARD_HEAD).is_file(),
            "{} is not a reward model (no {REWARD_HEAD} in it): give a run of `rl orm`",
            folder.display()
        );
        let Policy { model, tokenizer, .. } = load_trunk(&folder, device)?;
        Ok(Self { model: Judge::with_head(model, &folder, device)?, tokenizer })
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
                let solutions: Vec<(&[u32], usize)> =
                    batch.iter().map(|&row| (rows[row].tokens.as_slice(), rows[row].prompt_len)).collect();
                let places: Vec<Vec<usize>> =
                    solutions.iter().map(|(tokens, prompt_len)| (*prompt_len..tokens.len()).collect()).collect();
                let places: Vec<&[usize]> = places.iter().map(Vec::as_slice).collect();
                assert!(places.iter().all(|places| !places.is_empty()), "there are rows without a completion");
                let probabilities = to_host(sigmoid(model.judge(&solutions, &places).logits)).values;
                let mut left = probabilities.as_slice();
                let of_row = |places: &&[usize]| left.split_off(..places.len()).expect("one each").to_vec();
                places.iter().map(of_row).collect::<Vec<_>>()
            },
        );
        let mut probabilities = vec![Vec::new(); rows.len()];
        for (&row, of_row) in order.iter().zip(judged.into_iter().flatten()) {
            probabilities[row] = of_row;
        }
        probabilities
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ModelConfig, ModelSize, Transformer, save_model};

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
        let Policy { model, tokenizer, .. } = policy();
        let mut model = Judge::of(&model, true);
        let value = &mut model.trunk.value;
        value.head = value.head.clone().map(|head| head.add_scalar(0.3));
        model.likelihood = model.likelihood.map(|likelihood| likelihood.map(|likelihood| likelihood.add_scalar(0.01)));
        RewardModel { model, tokenizer }
    }

    fn rows() -> Vec<Example> {
        let row = |length: u32| Example::new((0..length).map(|i| (7 * i + length) % 250).collect(), 3);
        [9, 4, 12, 5].map(row).to_vec()
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
    fn there_is_a_judgement_after_every_token_of_the_completion() {
        let lengths: Vec<usize> = reward_model().probabilities(&rows(), 3, 1).iter().map(Vec::len).collect();
        assert_eq!(lengths, [6, 1, 9, 2]);
    }

    #[test]
    fn a_policy_is_no_reward_model_and_a_reward_model_no_policy() {
        let folder = tempfile::tempdir().unwrap();
        let (reward_model, device) = (reward_model(), Device::default());
        save_model(folder.path(), &reward_model.model.trunk.policy).unwrap();
        reward_model.tokenizer.save(folder.path()).unwrap();
        let error = |error: anyhow::Error| error.to_string();
        assert!(error(RewardModel::load(folder.path(), &device).err().unwrap()).contains("not a reward model"));
        reward_model.model.save_head(folder.path()).unwrap();
        assert!(error(Policy::load(folder.path(), &device).err().unwrap()).contains("is a reward model"));
        let loaded = RewardModel::load(folder.path(), &device).unwrap();
        assert_eq!(loaded.probabilities(&rows(), 4, 1), reward_model.probabilities(&rows(), 4, 1));
    }
}
