//! A language model that judges what was written, token by token: the tensors of an outcome reward model. The logit of being right
//! after a token is a scalar head on the last residual stream, whose gradient reaches the language model.

use crate::{
    checkpoint::{load_value_branch, save_value_branch},
    heads::{ActorCritic, ValueBranch},
    padding::pad_right,
    score::{Padded, score_hidden},
    transformer::Transformer,
};
use anyhow::Result;
use burn::tensor::{Device, Tensor};
use std::path::Path;

/// The head's file in the checkpoint of a reward model: what tells it from a policy.
pub const REWARD_HEAD: &str = "reward_head.safetensors";

/// A reward model's half of what it shares with policy and critic.
impl ActorCritic {
    /// A head that says 1/2 of everything, on the trunk of a policy.
    pub fn judge_of(policy: &Transformer) -> Self {
        Self { policy: policy.clone(), value: ValueBranch::of(policy, 0, false) }
    }

    /// The logit of being right after chosen places of each row; rows are tokens and how many of them are the prompt.
    ///
    /// # Shapes
    /// - `places`: a list a row, M in all; output: `[M]`, rows end to end
    pub fn judge(&self, rows: &[(&[u32], usize)], places: &[&[usize]]) -> Tensor<1> {
        let tokens: Vec<&[u32]> = rows.iter().map(|(tokens, _)| *tokens).collect();
        at(self.forward(pad_right(&tokens, &self.policy.device())).values, places)
    }

    /// [`judge`](Self::judge), and the log-probability of every token of the solutions to the language model, `[N]`, in one pass.
    ///
    /// # Panics
    /// If a row has no prompt.
    pub fn judge_and_score(&self, rows: &[(&[u32], usize)], places: &[&[usize]]) -> (Tensor<1>, Tensor<1>) {
        let batch = solutions(rows, &self.policy.device());
        let output = self.forward(batch.tokens.clone());
        (at(output.values, places), score_hidden(&self.policy, output.hidden, &batch, 1.0).log_probs)
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

/// The values `[B, T]` at places of each row, `[M]`.
fn at(values: Tensor<2>, places: &[&[usize]]) -> Tensor<1> {
    let [rows, time] = values.dims();
    let chosen =
        places.iter().enumerate().flat_map(|(row, places)| places.iter().map(move |at| (row * time + at) as i32));
    let chosen: Vec<i32> = chosen.collect();
    let chosen = Tensor::from_ints(chosen.as_slice(), &values.device());
    values.reshape([rows * time]).select(0, chosen)
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
        let places: [&[usize]; 2] = [&[2, 4], &[1, 2]];
        let judge = ActorCritic::judge_of(&policy);
        let (logits, log_probs) = judge.judge_and_score(&rows, &places);
        assert_eq!(to_host(logits).values, [0.0; 4]);
        assert_eq!(to_host(judge.judge(&rows, &places)).values, [0.0; 4]);
        let alone = score(&policy, &solutions(&rows, &policy.device()), 1.0).log_probs;
        assert_eq!(to_host(log_probs).values, to_host(alone).values);
    }
}
