//! A language model as a guide: how likely it finds the text of each action behind the rules and the state. Independent of learning.

use super::{mdp::Mdp, values::Prior};
use anyhow::{Result, ensure};
use data::Tokenizer;
use eval::Policy;
use model::{score, solutions, to_host};

/// Rows of a pass.
const ROWS: usize = 8;

/// A language model that is asked about states.
pub struct Guide<'a> {
    policy: &'a Policy,
    mdp: &'a Mdp,
    /// Divides the log-probabilities of texts.
    temperature: f64,
}

impl<'a> Guide<'a> {
    /// A guide for an environment. With a `temperature` above 1 it is less sure of itself.
    ///
    /// # Errors
    /// A state that does not fit the model's context, shown.
    pub fn new(policy: &'a Policy, mdp: &'a Mdp, temperature: f64) -> Result<Self> {
        let context = policy.model.config.max_position_embeddings;
        for state in &mdp.states {
            for action in &state.actions {
                let length =
                    prompt(&policy.tokenizer, mdp, &state.text).len() + line(&policy.tokenizer, &action.text).len();
                ensure!(
                    length <= context,
                    "a state with an action has {length} tokens, and the model's context is {context}: {:?}",
                    state.text
                );
            }
        }
        Ok(Self { policy, mdp, temperature })
    }

    /// π_LM(a | s) ∝ p(text of a | rules, s)^(1/temperature), p being the product of the probabilities of its tokens and of the line's end
    /// behind them, so that no text is likelier for being the beginning of another.
    ///
    /// # Errors
    /// A state in which the model gives no action any probability, shown.
    pub fn probabilities(&self, state: usize) -> Result<Vec<f64>> {
        let log_probs = self.log_probs(state);
        let largest = log_probs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        ensure!(
            log_probs.is_empty() || largest.is_finite() && !log_probs.iter().any(|x| x.is_nan()),
            "the guide gives no action any probability in the state {:?}: its weights may be broken",
            self.mdp.states[state].text
        );
        let weights: Vec<f64> = log_probs.iter().map(|x| ((x - largest) / self.temperature).exp()).collect();
        let sum: f64 = weights.iter().sum();
        Ok(weights.iter().map(|weight| weight / sum).collect())
    }

    /// The probabilities of all states, each of which is asked about once.
    ///
    /// # Errors
    /// As [`Guide::probabilities`].
    pub fn prior(&self) -> Result<Prior> {
        (0..self.mdp.states.len()).map(|state| self.probabilities(state)).collect()
    }

    /// Log-probability of the text of each action and of the end of its line, in nats.
    fn log_probs(&self, state: usize) -> Vec<f64> {
        let tokenizer = &self.policy.tokenizer;
        let before = prompt(tokenizer, self.mdp, &self.mdp.states[state].text);
        let rows: Vec<Vec<u32>> = self.mdp.states[state]
            .actions
            .iter()
            .map(|action| [before.as_slice(), &line(tokenizer, &action.text)].concat())
            .collect();
        let rows: Vec<(&[u32], usize)> = rows.iter().map(|row| (row.as_slice(), before.len())).collect();
        let mut sums = Vec::with_capacity(rows.len());
        for some in rows.chunks(ROWS) {
            let batch = solutions(some, &self.policy.model.device());
            let log_probs = to_host(score(&self.policy.model, &batch, 1.0).log_probs).values;
            let mut left = log_probs.iter().map(|&x| f64::from(x));
            sums.extend(some.iter().map(|(tokens, start)| left.by_ref().take(tokens.len() - start).sum::<f64>()));
        }
        sums
    }
}

/// The rules, a state and the beginning of the line of an action.
pub fn prompt(tokenizer: &Tokenizer, mdp: &Mdp, state: &str) -> Vec<u32> {
    [tokenizer.prompt_prefix(), &tokenizer.encode(&question(mdp, state))].concat()
}

/// The text of [`prompt`].
pub fn question(mdp: &Mdp, state: &str) -> String {
    format!("{}\n\nState: {state}\nBest action:", mdp.rules)
}

/// An action behind the prompt, with the end of its line.
pub fn line(tokenizer: &Tokenizer, action: &str) -> Vec<u32> {
    tokenizer.encode(&format!(" {action}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guided::environments::Environment;
    use burn::module::Param;
    use model::{Device, ModelConfig, ModelSize, Transformer};

    fn policy(context: usize) -> Policy {
        let mdp = Environment::Blocks.build(Some(3), 0).unwrap();
        let tokenizer = Tokenizer::train_bpe(&[mdp.rules.repeat(9), "Best action: State:".repeat(9)], 300).unwrap();
        let config = ModelConfig {
            num_hidden_layers: 1,
            max_position_embeddings: context,
            ..ModelConfig::of_size(ModelSize::Pico, tokenizer.vocab_size(), 0)
        };
        Policy {
            model: Transformer::init(&config, 1, &Device::default()),
            tokenizer,
            conditioning: None,
            adapter: None,
        }
    }

    #[test]
    fn a_guide_has_the_probabilities_of_its_texts() {
        let mdp = Environment::Blocks.build(Some(3), 0).unwrap();
        let policy = policy(1024);
        let guide = Guide::new(&policy, &mdp, 1.0).unwrap();
        let probabilities = guide.probabilities(0).unwrap();
        assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        // One row alone, without the batch.
        let tokenizer = &policy.tokenizer;
        let before = prompt(tokenizer, &mdp, &mdp.states[0].text);
        let alone = |action: usize| {
            let text = format!(" {}\n", mdp.states[0].actions[action].text);
            let row = [before.as_slice(), &tokenizer.encode(&text)].concat();
            let batch = solutions(&[(&row, before.len())], &policy.model.device());
            to_host(score(&policy.model, &batch, 1.0).log_probs).values.iter().map(|&x| f64::from(x)).sum::<f64>()
        };
        let ratio = (alone(0) - alone(1)).exp();
        assert!((probabilities[0] / probabilities[1] / ratio - 1.0).abs() < 1e-3);
        let prior = guide.prior().unwrap();
        assert_eq!(prior[0], probabilities);
        assert!(prior.iter().zip(&mdp.states).all(|(row, state)| row.len() == state.actions.len()));
        // A guide that is less sure of itself.
        let warm = Guide::new(&policy, &mdp, 1e9).unwrap().probabilities(0).unwrap();
        assert!(warm.iter().all(|p| (p - 1.0 / warm.len() as f64).abs() < 1e-6));
    }

    #[test]
    fn a_context_that_is_too_short_is_named() {
        let mdp = Environment::Blocks.build(Some(3), 0).unwrap();
        let policy = policy(16);
        let error = Guide::new(&policy, &mdp, 1.0).err().unwrap().to_string();
        assert!(error.contains("the model's context is 16"), "{error}");
    }

    #[test]
    fn a_model_that_gives_no_action_any_probability_is_refused() {
        let mdp = Environment::Blocks.build(Some(3), 0).unwrap();
        let mut policy = policy(1024);
        let norm = policy.model.norm.val();
        policy.model.norm = Param::from_tensor(norm.full_like(f32::NAN));
        let error = Guide::new(&policy, &mdp, 1.0).unwrap().prior().unwrap_err().to_string();
        assert!(error.contains("gives no action any probability in the state"), "{error}");
    }
}
