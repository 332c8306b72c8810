//! The tensors of an outcome reward model: a language model with a scalar head on its last residual stream, which gives a score after each
//! token: the logit of being right, or a number that orders solutions. The gradient of the head reaches the language model. Independent of
//! text.

use super::actor_critic::fresh_ids;
use crate::{
    padding::pad_right,
    score::{Padded, score_hidden},
    transformer::{
        Transformer,
        operations::rms_norm,
        recompute::{Tape, Trainable},
    },
};
use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor},
};
use serde::{Deserialize, Serialize};

/// What the number of a head means: it depends on the objective that the head was trained with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoreKind {
    /// The logit of being right.
    #[default]
    Logit,
    /// A number that is higher for better solutions of a question, learnt from comparisons: a logit without a zero, of which only differences
    /// within a question mean something.
    Relative,
}

/// A language model and its scalar head.
#[derive(Module, Debug)]
pub struct RewardNetwork {
    /// The language model; its gradient comes from the head, and from the language-modelling loss if there is one.
    pub language_model: Transformer,
    /// Gives the score.
    pub score: ScalarHead,
    /// What the score means.
    #[module(skip)]
    pub kind: ScoreKind,
}

/// An RMSNorm and a projection to one number, which starts at exactly 0.
#[derive(Module, Debug)]
pub struct ScalarHead {
    /// Scale of the RMSNorm, `[D]`.
    pub norm: Param<Tensor<1>>,
    /// `[D, 1]`.
    pub head: Param<Tensor<2>>,
    /// `[1]`.
    pub head_bias: Param<Tensor<1>>,
}

impl Trainable for RewardNetwork {
    fn with_tape(self, tape: Tape) -> Self {
        Self { language_model: self.language_model.with_tape(tape), ..self }
    }
}

impl RewardNetwork {
    /// A copy of a language model with a new head, which gives everything the probability 1/2.
    pub fn new(language_model: &Transformer) -> Self {
        let (device, width) = (language_model.device(), language_model.config.hidden_size);
        let score = ScalarHead {
            norm: language_model.norm.clone(),
            head: Param::from_tensor(Tensor::zeros([width, 1], &device)),
            head_bias: Param::from_tensor(Tensor::zeros([1], &device)),
        };
        Self { language_model: language_model.clone(), score: fresh_ids(score), kind: ScoreKind::Logit }
    }

    /// With more blocks above the trunk, copies of its top ones. The top state of a trunk is made to predict the next token, and no token
    /// reads that of another: blocks above it do.
    ///
    /// # Panics
    /// If the trunk has fewer blocks.
    pub fn with_added_blocks(mut self, added: usize) -> Self {
        let blocks = &mut self.language_model.blocks;
        let first = blocks.len().checked_sub(added).expect("as many blocks to copy");
        blocks.extend(fresh_ids(blocks[first..].to_vec()));
        self.language_model.config.num_hidden_layers = blocks.len();
        self
    }

    /// The last residual stream `[B, T, D]`, what the head reads `[B T, D]`, and the logits `[B, T]` of `[B, T]` tokens.
    fn forward(&self, tokens: Tensor<2, Int>) -> (Tensor<3>, Tensor<2>, Tensor<2>) {
        let (model, [batch, time]) = (&self.language_model, tokens.dims());
        let rotary = model.rotary_range(0..time, &tokens.device());
        let residual = model.run_blocks(model.embed(tokens), 0..model.blocks.len(), &rotary);
        let normed = rms_norm(residual.clone(), &self.score.norm, model.config.rms_norm_eps);
        let width = model.config.hidden_size;
        let features = normed.reshape([batch * time, width]);
        let logits = features.clone().matmul(self.score.head.val());
        (residual, features, (logits + self.score.head_bias.val().reshape([1, 1])).reshape([batch, time]))
    }

    /// The score after chosen places of each row. A row is its tokens and how many of them are the prompt.
    ///
    /// # Shapes
    /// - `places`: a list per row, M in all; output: `[M]`, rows end to end
    pub fn reward_logits(&self, rows: &[(&[u32], usize)], places: &[&[usize]]) -> Tensor<1> {
        let tokens: Vec<&[u32]> = rows.iter().map(|(tokens, _)| *tokens).collect();
        at(self.forward(pad_right(&tokens, &self.language_model.device())).2, places)
    }

    /// [`reward_logits`](Self::reward_logits), and what the head reads there, the normed top of the residual stream: the score is linear in it.
    ///
    /// # Shapes
    /// - output: `[M]` and `[M, D]`
    pub fn reward_logits_and_features(&self, rows: &[(&[u32], usize)], places: &[&[usize]]) -> (Tensor<1>, Tensor<2>) {
        let tokens: Vec<&[u32]> = rows.iter().map(|(tokens, _)| *tokens).collect();
        let (_, features, logits) = self.forward(pad_right(&tokens, &self.language_model.device()));
        let chosen = chosen(places, logits.dims()[1], &logits.device());
        (at(logits, places), features.select(0, chosen))
    }

    /// [`reward_logits`](Self::reward_logits), and the log-probability of every token of the solutions to the language model, `[N]`, in one pass.
    ///
    /// # Panics
    /// If a row has no prompt.
    pub fn reward_logits_and_log_probs(&self, rows: &[(&[u32], usize)], places: &[&[usize]]) -> (Tensor<1>, Tensor<1>) {
        let batch = solutions(rows, &self.language_model.device());
        let (residual, _, logits) = self.forward(batch.tokens.clone());
        let hidden = self.language_model.final_norm(residual);
        (at(logits, places), score_hidden(&self.language_model, hidden, &batch, 1.0).log_probs)
    }
}

/// The values `[B, T]` at places of each row, `[M]`.
fn at(values: Tensor<2>, places: &[&[usize]]) -> Tensor<1> {
    let [rows, time] = values.dims();
    let chosen = chosen(places, time, &values.device());
    values.reshape([rows * time]).select(0, chosen)
}

/// Places of each row of `time` tokens as indices into the rows end to end, `[M]`.
fn chosen(places: &[&[usize]], time: usize, device: &Device) -> Tensor<1, Int> {
    let chosen =
        places.iter().enumerate().flat_map(|(row, places)| places.iter().map(move |at| (row * time + at) as i32));
    let chosen: Vec<i32> = chosen.collect();
    Tensor::from_ints(chosen.as_slice(), device)
}

/// A micro-batch of rows, each its tokens and how many of them are the prompt. All tokens after the prompt are the response.
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
        device::Device,
        host::to_host,
        score::score,
    };

    #[test]
    fn a_new_reward_model_gives_one_half_and_the_log_probs_of_its_language_model() {
        let config =
            ModelConfig { hidden_size: 16, intermediate_size: 24, ..ModelConfig::of_size(ModelSize::Tiny, 19, 0) };
        let policy = Transformer::init(&config, 2, &Device::default());
        let rows: [(&[u32], usize); 2] = [(&[3, 1, 4, 1, 5], 2), (&[9, 2, 6], 1)];
        let places: [&[usize]; 2] = [&[2, 4], &[1, 2]];
        let reward_model = RewardNetwork::new(&policy);
        let (logits, log_probs) = reward_model.reward_logits_and_log_probs(&rows, &places);
        assert_eq!(to_host(logits).values, [0.0; 4]);
        assert_eq!(to_host(reward_model.reward_logits(&rows, &places)).values, [0.0; 4]);
        let alone = score(&policy, &solutions(&rows, &policy.device()), 1.0).log_probs;
        assert_eq!(to_host(log_probs).values, to_host(alone).values);
    }

    #[test]
    fn added_blocks_are_copies_of_the_top_ones_that_are_trained_by_themselves_and_saved() {
        let config = ModelConfig {
            hidden_size: 16,
            intermediate_size: 24,
            num_hidden_layers: 3,
            ..ModelConfig::of_size(ModelSize::Tiny, 19, 0)
        };
        let device = Device::default();
        let plain = RewardNetwork::new(&Transformer::init(&config, 2, &device));
        let mut deeper = plain.clone().with_added_blocks(2);
        let names = |model: &RewardNetwork| model.language_model.blocks.iter().map(|block| block.qkv.id).collect();
        let ids: std::collections::BTreeSet<_> = names(&deeper);
        assert_eq!((ids.len(), deeper.language_model.config.num_hidden_layers), (5, 5));
        let weights = |at: usize| to_host(deeper.language_model.blocks[at].qkv.val()).values;
        assert_eq!((weights(3), weights(4)), (weights(1), weights(2)));
        let rows: [(&[u32], usize); 1] = [(&[3, 1, 4, 1, 5], 2)];
        deeper.score.head = Param::from_tensor(Tensor::ones([16, 1], &deeper.language_model.device()));
        let logits = |model: &RewardNetwork| to_host(model.reward_logits(&rows, &[&[2, 4]])).values;
        assert_ne!(logits(&deeper), logits(&RewardNetwork { score: deeper.score.clone(), ..plain }));
        let folder = tempfile::tempdir().unwrap();
        crate::save_model(folder.path(), &deeper.language_model).unwrap();
        deeper.save_reward_head(folder.path()).unwrap();
        let model = crate::load_model(folder.path(), &device).unwrap();
        let loaded = RewardNetwork::with_reward_head(model, folder.path(), &device).unwrap();
        assert_eq!(logits(&loaded), logits(&deeper));
    }

    #[test]
    fn the_score_is_linear_in_the_features_and_its_kind_is_saved() {
        let config =
            ModelConfig { hidden_size: 16, intermediate_size: 24, ..ModelConfig::of_size(ModelSize::Tiny, 19, 0) };
        let device = Device::default();
        let policy = Transformer::init(&config, 2, &device);
        let mut model = RewardNetwork::new(&policy);
        model.score.head = model.score.head.map(|head| head.add_scalar(0.3));
        model.score.head_bias = model.score.head_bias.map(|bias| bias.add_scalar(0.7));
        let rows: [(&[u32], usize); 2] = [(&[3, 1, 4, 1, 5], 2), (&[9, 2, 6], 1)];
        let places: [&[usize]; 2] = [&[2, 4], &[1]];
        let (logits, features) = model.reward_logits_and_features(&rows, &places);
        assert_eq!(features.dims(), [3, 16]);
        let sums = to_host(features.sum_dim(1)).values;
        let logits = to_host(logits).values;
        assert!(logits.iter().zip(sums).all(|(logit, sum)| (logit - 0.3 * sum - 0.7).abs() < 1e-5), "{logits:?}");
        assert_eq!(to_host(model.reward_logits(&rows, &places)).values, logits);
        for kind in [ScoreKind::Relative, ScoreKind::Logit] {
            let folder = tempfile::tempdir().unwrap();
            RewardNetwork { kind, ..model.clone() }.save_reward_head(folder.path()).unwrap();
            let loaded = RewardNetwork::with_reward_head(policy.clone(), folder.path(), &device).unwrap();
            assert_eq!(loaded.kind, kind);
        }
    }
}
