//! An outcome reward model: how likely a solution, finished or not, is to be right. Here its text and tensors meet.
//!
//! p(correct | Q, S_1..S_i) is the sigmoid of a scalar head on the last residual stream of a language model, read at the token
//! that ends the prefix (Havrilla et al. 2024, section on reward models; Cobbe et al. 2021, arXiv 2110.14168). The head starts
//! at 0, which is p = 1/2 for everything.

use crate::{
    likelihood::{Likelihood, Signal, Weights, mean_log_probs},
    policy::{Policy, load_trunk, resolve_checkpoint},
};
use anyhow::{Result, ensure};
use burn::tensor::Device;
use data::{Example, Tokenizer};
use model::{ActorCritic, REWARD_HEAD, Transformer, parallel_map, to_host};
use std::path::Path;

/// A language model with a scalar head that judges what it reads.
#[derive(Clone)]
pub struct RewardModel {
    /// The language model, and a head on its last residual stream.
    pub model: ActorCritic,
    /// What counts beside the head, where anything does.
    pub likelihood: Option<Likelihood>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

/// A solution with what became of it.
pub struct Outcome<'a> {
    /// Prompt and solution.
    pub example: &'a Example,
    /// Where it is judged, among the tokens after the prompt.
    pub places: &'a [usize],
    /// Whether it is right.
    pub right: bool,
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
        let model = ActorCritic::with_reward_head(model, &folder, device)?;
        Ok(Self { model, likelihood: Likelihood::load(&folder, device)?, tokenizer })
    }

    /// The probability of being right after each token of each completion, the rows `at_once` in a batch.
    ///
    /// # Panics
    /// If a row has no completion, or is longer than the model's context.
    pub fn probabilities(&self, rows: &[Example], at_once: usize, threads: usize) -> Vec<Vec<f32>> {
        let weights = self.likelihood.as_ref().map_or(Weights::HEAD, |likelihood| likelihood.weights);
        let probability = |signal: Signal| (1.0 / (1.0 + (-weights.logit(signal)).exp())) as f32;
        let of_row = |signals: Vec<Signal>| signals.into_iter().map(probability).collect();
        self.signals(rows, at_once, threads).into_iter().map(of_row).collect()
    }

    /// Lets the opinion of a language model count as much as it should by the outcomes of some solutions, none of which was
    /// learnt from.
    pub fn count_likelihood(&mut self, of: Transformer, outcomes: &[Outcome<'_>], at_once: usize, threads: usize) {
        self.likelihood = Some(Likelihood { model: of, weights: Weights::HEAD });
        let rows: Vec<Example> = outcomes.iter().map(|outcome| outcome.example.clone()).collect();
        let signals = self.signals(&rows, at_once, threads);
        let at_places = outcomes.iter().zip(&signals).flat_map(|(outcome, signals)| {
            outcome.places.iter().map(|place| (signals[place - outcome.example.prompt_len], outcome.right))
        });
        let weights = Weights::fit(&at_places.collect::<Vec<_>>());
        self.likelihood.iter_mut().for_each(|likelihood| likelihood.weights = weights);
    }

    /// What is known after each token of each completion.
    fn signals(&self, rows: &[Example], at_once: usize, threads: usize) -> Vec<Vec<Signal>> {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&row| rows[row].tokens.len());
        let batches: Vec<&[usize]> = order.chunks(at_once.max(1)).collect();
        let judged = parallel_map(
            &batches,
            threads,
            || (self.model.clone(), self.likelihood.as_ref().map(|likelihood| likelihood.model.clone())),
            |(model, likelihood), _, batch| {
                let solutions: Vec<(&[u32], usize)> =
                    batch.iter().map(|&row| (rows[row].tokens.as_slice(), rows[row].prompt_len)).collect();
                let places: Vec<Vec<usize>> =
                    solutions.iter().map(|(tokens, prompt_len)| (*prompt_len..tokens.len()).collect()).collect();
                assert!(places.iter().all(|places| !places.is_empty()), "there are rows without a completion");
                let places: Vec<&[usize]> = places.iter().map(Vec::as_slice).collect();
                let heads = to_host(model.judge(&solutions, &places, false).logits).values;
                let likelihoods = match likelihood {
                    Some(model) => mean_log_probs(model, &solutions),
                    None => vec![0.0; heads.len()],
                };
                let mut signals =
                    heads.into_iter().zip(likelihoods).map(|(head, likelihood)| Signal { head, likelihood });
                places.iter().map(|places| signals.by_ref().take(places.len()).collect()).collect::<Vec<_>>()
            },
        );
        let mut signals = vec![Vec::new(); rows.len()];
        for (&row, of_row) in order.iter().zip(judged.into_iter().flatten()) {
            signals[row] = of_row;
        }
        signals
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
        let Policy { model: policy, tokenizer, .. } = policy();
        let mut model = ActorCritic::judge_of(&policy);
        model.value.head = model.value.head.map(|head| head.add_scalar(0.3));
        let weights = Weights { head: 0.5, likelihood: 0.7, constant: 3.0 };
        RewardModel { model, likelihood: Some(Likelihood { model: policy, weights }), tokenizer }
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
        save_model(folder.path(), &reward_model.model.policy).unwrap();
        reward_model.tokenizer.save(folder.path()).unwrap();
        let error = |error: anyhow::Error| error.to_string();
        assert!(error(RewardModel::load(folder.path(), &device).err().unwrap()).contains("not a reward model"));
        reward_model.model.save_reward_head(folder.path()).unwrap();
        reward_model.likelihood.as_ref().unwrap().save(folder.path()).unwrap();
        assert!(error(Policy::load(folder.path(), &device).err().unwrap()).contains("is a reward model"));
        let loaded = RewardModel::load(folder.path(), &device).unwrap();
        assert_eq!(loaded.probabilities(&rows(), 4, 1), reward_model.probabilities(&rows(), 4, 1));
    }
}
