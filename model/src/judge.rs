//! A language model that judges what was written, token by token: the tensors of an outcome reward model.
//!
//! The logit of being right after token t of a solution is v(h_t), a scalar head on the last residual stream. Where the language
//! model goes on learning to write, it may also count how likely the solution is to the language model itself:
//! v(h_t) + a m_t, with m_t the mean log-probability of the solution's tokens up to t and a learned number a. Through m_t no
//! gradient flows: what the language model expects is learnt from its own loss alone.

use crate::{
    checkpoint::{load_value_branch, value_branch_tensors},
    config::ModelConfig,
    heads::{ActorCritic, ValueBranch},
    score::{Padded, score_hidden},
    tensors::{HostTensor, read_tensors, to_host, write_tensors},
    transformer::Transformer,
};
use anyhow::{Result, ensure};
use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};
use std::path::Path;

/// The head's file in the checkpoint of a reward model: what tells it from a policy.
pub const REWARD_HEAD: &str = "reward_head.safetensors";

/// What `a` is counted in, so that it moves as far in some hundred steps as it has to.
const LIKELIHOOD_UNIT: f64 = 100.0;

const LIKELIHOOD: &str = "likelihood";

/// A language model with a head that judges.
#[derive(Module, Debug)]
pub struct Judge {
    /// The language model, and a head on its last residual stream whose gradient reaches it.
    pub trunk: ActorCritic,
    /// How much the mean log-probability counts, `[1]`, in hundreds; `None`: the head judges alone.
    pub likelihood: Option<Param<Tensor<1>>>,
}

/// What a judge says of some rows.
///
/// # Shapes
/// - `logits`: `[M]`, of the places asked for; `log_probs`: `[N]`, of all tokens of the solutions; both rows end to end
pub struct Judgement {
    /// Of being right after each place.
    pub logits: Tensor<1>,
    /// To the language model; `None` where the head judges alone.
    pub log_probs: Option<Tensor<1>>,
}

impl Judge {
    /// A head that says 1/2 of everything, on the trunk of a policy.
    pub fn of(policy: &Transformer, counts_likelihood: bool) -> Self {
        let trunk = ActorCritic { policy: policy.clone(), value: ValueBranch::of(policy, 0, false) };
        let likelihood = counts_likelihood.then(|| Param::from_tensor(Tensor::zeros([1], &policy.device())));
        Self { trunk, likelihood }
    }

    /// Judges rows, each tokens and how many of them are the prompt, after chosen places of each.
    ///
    /// # Panics
    /// If a row has no prompt, or a place is not one of its solution.
    pub fn judge(&self, rows: &[(&[u32], usize)], places: &[&[usize]]) -> Judgement {
        let policy = &self.trunk.policy;
        let device = policy.device();
        let tokens: Vec<&[u32]> = rows.iter().map(|(tokens, _)| *tokens).collect();
        let solutions: Vec<Vec<usize>> =
            rows.iter().map(|(tokens, prompt_len)| (*prompt_len..tokens.len()).collect()).collect();
        let batch = Padded::of(&tokens, &solutions, &device);
        let output = self.trunk.forward(batch.tokens.clone());
        let [count, time] = output.values.dims();
        let chosen = places.iter().enumerate().flat_map(|(row, places)| places.iter().map(move |at| row * time + at));
        let chosen: Vec<i32> = chosen.map(|place| place as i32).collect();
        let logits = output.values.reshape([count * time]).select(0, Tensor::from_ints(chosen.as_slice(), &device));
        let Some(likelihood) = &self.likelihood else { return Judgement { logits, log_probs: None } };
        let log_probs = score_hidden(policy, output.hidden, &batch, 1.0).log_probs;
        let so_far = means_so_far(&to_host(log_probs.clone().detach()).values, rows, places);
        let so_far = Tensor::from_data(TensorData::new(so_far, [chosen.len()]), &device);
        let logits = logits + so_far * likelihood.val().mul_scalar(LIKELIHOOD_UNIT);
        Judgement { logits, log_probs: Some(log_probs) }
    }

    /// Writes the head into a checkpoint that holds the language model.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save_head(&self, folder: &Path) -> Result<()> {
        let mut tensors = value_branch_tensors(&self.trunk.value, &self.trunk.policy.config);
        if let Some(likelihood) = &self.likelihood {
            tensors.insert(LIKELIHOOD.into(), to_host(likelihood.val()));
        }
        write_tensors(&folder.join(REWARD_HEAD), &tensors)
    }

    /// Reads what [`Self::save_head`] wrote, for the language model beside it.
    ///
    /// # Errors
    /// A file that is missing, cut, or of another model.
    pub fn with_head(policy: Transformer, folder: &Path, device: &Device) -> Result<Self> {
        let path = folder.join(REWARD_HEAD);
        let value = load_value_branch(&path, &policy.config, 0, false, device)?;
        let likelihood = match read_tensors(&path)?.remove(LIKELIHOOD) {
            None => None,
            Some(HostTensor { shape, values }) => {
                ensure!(shape == [1], "{}: {LIKELIHOOD} is not one number", path.display());
                Some(Param::from_data(TensorData::new(values, [1]), device))
            }
        };
        Ok(Self { trunk: ActorCritic { policy, value }, likelihood })
    }

    /// The configuration of the language model.
    pub fn config(&self) -> &ModelConfig {
        &self.trunk.policy.config
    }
}

/// The mean of a solution's log-probabilities up to and with each of its places, rows end to end.
fn means_so_far(log_probs: &[f32], rows: &[(&[u32], usize)], places: &[&[usize]]) -> Vec<f32> {
    let mut means = Vec::new();
    let mut left = log_probs;
    for ((tokens, prompt_len), places) in rows.iter().zip(places) {
        let (solution, others) = left.split_at(tokens.len() - prompt_len);
        left = others;
        let mut sum = 0.0;
        let so_far: Vec<f32> = (1..)
            .zip(solution)
            .map(|(count, log_prob)| {
                sum += f64::from(*log_prob);
                (sum / f64::from(count)) as f32
            })
            .collect();
        means.extend(places.iter().map(|place| so_far[place - prompt_len]));
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelSize;
    use burn::tensor::Int;

    fn policy() -> Transformer {
        let config =
            ModelConfig { hidden_size: 16, intermediate_size: 24, ..ModelConfig::of_size(ModelSize::Tiny, 19, 0) };
        Transformer::init(&config, 2, &Device::default())
    }

    const ROWS: [(&[u32], usize); 2] = [(&[3, 1, 4, 1, 5], 2), (&[9, 2, 6], 1)];
    const PLACES: [&[usize]; 2] = [&[2, 4], &[1, 2]];

    fn with_likelihood(value: f32) -> Judge {
        let likelihood = Param::from_tensor(Tensor::from_floats([value], &Device::default()));
        Judge { likelihood: Some(likelihood), ..Judge::of(&policy(), true) }
    }

    #[test]
    fn a_new_judge_says_one_half_with_and_without_likelihood() {
        for counts in [false, true] {
            let judged = Judge::of(&policy(), counts).judge(&ROWS, &PLACES);
            assert_eq!(to_host(judged.logits).values, [0.0; 4]);
            assert_eq!(judged.log_probs.is_some(), counts);
        }
    }

    #[test]
    fn what_counts_is_the_mean_log_probability_up_to_the_place() {
        let judge = with_likelihood(0.02);
        let log_prob = |tokens: &[u32], place: usize| {
            let ids: Vec<i32> = tokens[..place].iter().map(|&id| id as i32).collect();
            let ids: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, [1, place]), &Device::default());
            let logits = to_host(judge.trunk.policy.forward(ids)).values;
            let last = &logits[logits.len() - 19..];
            last[tokens[place] as usize] - last.iter().map(|logit| logit.exp()).sum::<f32>().ln()
        };
        let mean = |row: usize, to: usize| {
            let (tokens, prompt_len) = ROWS[row];
            let all: Vec<f32> = (prompt_len..=to).map(|place| log_prob(tokens, place)).collect();
            2.0 * all.iter().sum::<f32>() / all.len() as f32
        };
        let expected = [mean(0, 2), mean(0, 4), mean(1, 1), mean(1, 2)];
        let judged = judge.judge(&ROWS, &PLACES);
        for (found, expected) in to_host(judged.logits).values.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{found} against {expected}");
        }
        assert_eq!(judged.log_probs.unwrap().dims(), [5]);
    }

    #[test]
    fn a_head_comes_back_from_its_file_with_and_without_likelihood() {
        let folder = tempfile::tempdir().unwrap();
        for judge in [Judge::of(&policy(), false), with_likelihood(0.3)] {
            judge.save_head(folder.path()).unwrap();
            let loaded = Judge::with_head(policy(), folder.path(), &Device::default()).unwrap();
            assert_eq!(loaded.likelihood.is_some(), judge.likelihood.is_some());
            let logits = |judge: &Judge| to_host(judge.judge(&ROWS, &PLACES).logits).values;
            assert_eq!(logits(&loaded), logits(&judge));
        }
    }

    #[test]
    fn no_gradient_reaches_the_language_model_through_its_own_log_probabilities() {
        let device = Device::default().autodiff();
        let policy = Transformer::init(&policy().config, 2, &device);
        let mut judge = Judge::of(&policy, true);
        judge.likelihood = Some(Param::from_tensor(Tensor::<1>::from_floats([0.5], &device).require_grad()));
        let gradients = judge.judge(&ROWS, &PLACES).logits.sum().backward();
        let likelihood = judge.likelihood.as_ref().unwrap().val().grad(&gradients).unwrap();
        assert!(to_host(likelihood).values[0] != 0.0);
        // The head is still 0, so nothing reaches the trunk through it either.
        let embedding = judge.trunk.policy.embedding.val().grad(&gradients);
        assert!(embedding.is_none_or(|gradient| to_host(gradient).values.iter().all(|value| *value == 0.0)));
        let gradients = judge.judge(&ROWS, &PLACES).log_probs.unwrap().sum().backward();
        let gradient = to_host(judge.trunk.policy.embedding.val().grad(&gradients).unwrap());
        assert!(gradient.values.iter().any(|value| *value != 0.0));
    }
}
