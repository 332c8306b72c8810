//! A language model that judges what was written, token by token: the tensors of an outcome reward model. The logit of being right
//! after a token is a scalar head on the last residual stream, whose gradient reaches the language model.

use crate::{
    checkpoint::{load_value_branch, save_value_branch},
    heads::{ActorCritic, ValueBranch},
    score::{Padded, score_hidden},
    transformer::Transformer,
};
use anyhow::Result;
use burn::tensor::{Device, Tensor};
use std::path::Path;

/// The head's file in the checkpoint of a reward model: what tells it from a policy.
pub const REWARD_HEAD: &str = "reward_head.safetensors";

/// What is said of some rows.
///
/// # Shapes
/// - `logits`: `[M]`, of the places asked for; `log_probs`: `[N]`, of all tokens of the solutions; both rows end to end
pub struct Judgement {
    /// Of being right after each place.
    pub logits: Tensor<1>,
    /// To the language model, where they were asked for.
    pub log_probs: Option<Tensor<1>>,
}

/// A reward model's half of what it shares with policy and critic.
impl ActorCritic {
    /// A head that says 1/2 of everything, on the trunk of a policy.
    pub fn judge_of(policy: &Transformer) -> Self {
        Self { policy: policy.clone(), value: ValueBranch::of(policy, 0, false) }
    }

    /// Judges rows, each tokens and how many of them are the prompt, after chosen places of each.
    ///
    /// # Panics
    /// If a row has no prompt.
    pub fn judge(&self, rows: &[(&[u32], usize)], places: &[&[usize]], with_log_probs: bool) -> Judgement {
        let batch = solutions(rows, &self.policy.device());
        let output = self.forward(batch.tokens.clone());
        let [count, time] = output.values.dims();
        let chosen = places.iter().enumerate().flat_map(|(row, places)| places.iter().map(move |at| row * time + at));
        let chosen: Vec<i32> = chosen.map(|place| place as i32).collect();
        let chosen = Tensor::from_ints(chosen.as_slice(), &batch.tokens.device());
        Judgement {
            logits: output.values.reshape([count * time]).select(0, chosen),
            log_probs: with_log_probs.then(|| score_hidden(&self.policy, output.hidden, &batch, 1.0).log_probs),
        }
    }

    /// Writes the head into a checkpoint that holds the language model.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save_reward_head(&self, folder: &Path) -> Result<()> {
        save_value_branch(&folder.join(REWARD_HEAD), &self.value, &self.policy.config)
    }

    /// Reads what [`Self::save_reward_head`] wrote, for the language model beside it.
    ///
    /// # Errors
    /// A file that is missing, cut, or of another model.
    pub fn with_reward_head(policy: Transformer, folder: &Path, device: &Device) -> Result<Self> {
        let value = load_value_branch(&folder.join(REWARD_HEAD), &policy.config, 0, false, device)?;
        Ok(Self { policy, value })
    }
}

/// Rows, each tokens and how many of them are the prompt, with all that was written after it as response.
pub fn solutions(rows: &[(&[u32], usize)], device: &Device) -> Padded {
    let tokens: Vec<&[u32]> = rows.iter().map(|(tokens, _)| *tokens).collect();
    let written: Vec<Vec<usize>> =
        rows.iter().map(|(tokens, prompt_len)| (*prompt_len..tokens.len()).collect()).collect();
    Padded::of(&tokens, &written, device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{ModelConfig, ModelSize},
        score::score,
        tensors::to_host,
    };

    #[test]
    fn a_new_judge_says_one_half_and_what_the_language_model_says_beside_it() {
        let config =
            ModelConfig { hidden_size: 16, intermediate_size: 24, ..ModelConfig::of_size(ModelSize::Tiny, 19, 0) };
        let policy = Transformer::init(&config, 2, &Device::default());
        let rows: [(&[u32], usize); 2] = [(&[3, 1, 4, 1, 5], 2), (&[9, 2, 6], 1)];
        let judged = ActorCritic::judge_of(&policy).judge(&rows, &[&[2, 4], &[1, 2]], true);
        assert_eq!(to_host(judged.logits).values, [0.0; 4]);
        let alone = score(&policy, &solutions(&rows, &policy.device()), 1.0).log_probs;
        assert_eq!(to_host(judged.log_probs.unwrap()).values, to_host(alone).values);
    }
}
