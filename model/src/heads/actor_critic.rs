//! The critic beside the policy: its own branch on a shared trunk (Havrilla et al. 2024, value branch).

use crate::{
    config::ModelConfig,
    score::{Padded, Scored, score_hidden},
    transformer::{
        Block, Rotary, Transformer,
        operations::rms_norm,
        recompute::{Tape, Trainable, through},
    },
};
use burn::{
    module::{Module, ModuleMapper, Param, ParamId},
    tensor::{Int, Tensor},
};

/// A policy and its critic, which share the lower blocks.
#[derive(Module, Debug)]
pub struct ActorCritic {
    /// The language model that is trained.
    pub policy: Transformer,
    /// Predicts the return from the same trunk.
    pub value: ValueBranch,
}

/// Own copies of the top n blocks, an RMSNorm and a scalar head that starts at exactly 0.
#[derive(Module, Debug)]
pub struct ValueBranch {
    /// The copied blocks; with none the head is on the policy's last residual stream.
    pub blocks: Vec<Block>,
    /// Scale of the RMSNorm before the head, `[D]`.
    pub norm: Param<Tensor<1>>,
    /// `[D, 1]`.
    pub head: Param<Tensor<2>>,
    /// `[1]`.
    pub head_bias: Param<Tensor<1>>,
    /// Whether the trunk is spared the critic's gradient.
    #[module(skip)]
    pub detach: bool,
}

/// What one pass gives.
///
/// # Shapes
/// - `hidden`: `[B, T, D]`, normed, ready for the output matrix
/// - `values`: `[B, T]`; entry t is the expected return of the state after `tokens[:, ..=t]`
pub struct ActorCriticOutput {
    /// The policy's last hidden state.
    pub hidden: Tensor<3>,
    /// The critic's prediction.
    pub values: Tensor<2>,
}

impl ValueBranch {
    /// Copies the top `layers` blocks of a policy.
    ///
    /// # Panics
    /// If the policy has fewer blocks.
    pub fn of(policy: &Transformer, layers: usize, detach: bool) -> Self {
        let total = policy.blocks.len();
        assert!(layers <= total, "a value branch of {layers} blocks over a model of {total}");
        let device = policy.device();
        let width = policy.config.hidden_size;
        let branch = Self {
            blocks: policy.blocks[total - layers..].to_vec(),
            norm: policy.norm.clone(),
            head: Param::from_tensor(Tensor::zeros([width, 1], &device)),
            head_bias: Param::from_tensor(Tensor::zeros([1], &device)),
            detach,
        };
        fresh_ids(branch)
    }

    /// `[B, T, D]` of the trunk to `[B, T]`.
    fn forward(&self, mut hidden: Tensor<3>, rotary: &Rotary, config: &ModelConfig, tape: Option<&Tape>) -> Tensor<2> {
        for block in &self.blocks {
            hidden = through(block, hidden, rotary, config, tape);
        }
        let hidden = rms_norm(hidden, &self.norm, config.rms_norm_eps);
        let [batch, time, width] = hidden.dims();
        let values = hidden.reshape([batch * time, width]).matmul(self.head.val());
        (values + self.head_bias.val().reshape([1, 1])).reshape([batch, time])
    }
}

impl ActorCritic {
    /// One pass over `[B, T]` tokens: the trunk once, then both branches.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> ActorCriticOutput {
        let [_, time] = tokens.dims();
        let total = self.policy.blocks.len();
        let split = total - self.value.blocks.len();
        let rotary = self.policy.rotary_range(0..time, &tokens.device());
        let trunk = self.policy.run_blocks(self.policy.embed(tokens), 0..split, &rotary);
        let for_value = if self.value.detach { trunk.clone().detach() } else { trunk.clone() };
        let values = self.value.forward(for_value, &rotary, &self.policy.config, self.policy.tape.as_ref());
        let hidden = self.policy.final_norm(self.policy.run_blocks(trunk, split..total, &rotary));
        ActorCriticOutput { hidden, values }
    }
}

impl Trainable for ActorCritic {
    fn with_tape(self, tape: Tape) -> Self {
        Self { policy: self.policy.with_tape(tape), ..self }
    }
}

/// One pass of policy and critic over a micro-batch; the critic's values `[M]` belong to the states in which the response
/// tokens were chosen.
pub fn score_with_values(model: &ActorCritic, batch: &Padded, temperature: f64) -> (Scored, Tensor<1>) {
    let output = model.forward(batch.tokens.clone());
    let [rows, time] = batch.tokens.dims();
    let values = output.values.reshape([rows * time]).select(0, batch.positions.clone());
    (score_hidden(&model.policy, output.hidden, batch, temperature), values)
}

/// A module with parameter ids of its own. Gradients are kept by id: a copy must not share the ids of its original.
pub(super) fn fresh_ids<M: Module>(module: M) -> M {
    module.map(&mut FreshIds)
}

struct FreshIds;

impl ModuleMapper for FreshIds {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (_, tensor, mapper) = param.consume();
        Param::from_mapped_value(ParamId::new(), tensor, mapper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::ModelSize, device::Device, host::to_host};
    use burn::{module::ModuleVisitor, tensor::TensorData};
    use std::collections::BTreeSet;

    fn policy() -> Transformer {
        let config = ModelConfig {
            hidden_size: 16,
            intermediate_size: 24,
            num_hidden_layers: 3,
            ..ModelConfig::of_size(ModelSize::Tiny, 19, 0)
        };
        Transformer::init(&config, 2, &Device::default())
    }

    fn tokens() -> Tensor<2, Int> {
        Tensor::from_data(TensorData::new((0..10).collect::<Vec<i32>>(), [2, 5]), &Device::default())
    }

    /// A critic with a head that is not 0.
    fn with_head(policy: &Transformer, layers: usize, detach: bool) -> ActorCritic {
        let mut value = ValueBranch::of(policy, layers, detach);
        value.head = value.head.map(|head| head.ones_like());
        ActorCritic { policy: policy.clone(), value }
    }

    #[test]
    fn a_new_critic_says_exactly_zero() {
        let policy = policy();
        for layers in 0..=3 {
            let model = ActorCritic { value: ValueBranch::of(&policy, layers, true), policy: policy.clone() };
            assert_eq!(to_host(model.forward(tokens()).values).values, [0.0; 10]);
        }
    }

    #[test]
    fn the_policy_beside_a_critic_is_the_policy_alone() {
        let policy = policy();
        let alone = to_host(policy.forward(tokens()));
        for layers in 0..=3 {
            let output = with_head(&policy, layers, layers % 2 == 0).forward(tokens());
            assert_eq!(to_host(policy.logits(output.hidden)), alone, "{layers} blocks");
        }
    }

    #[test]
    fn a_copied_branch_ends_where_the_policy_ends() {
        // With a head of ones the value is the sum of the normed residual stream, which the copies compute anew.
        let policy = policy();
        for layers in 0..=3 {
            let output = with_head(&policy, layers, true).forward(tokens());
            let expected = to_host(output.hidden.sum_dim(2).reshape([10])).values;
            let values = to_host(output.values).values;
            for (value, expected) in values.iter().zip(&expected) {
                assert!((value - expected).abs() < 1e-4, "{layers} blocks: {value} against {expected}");
            }
        }
    }

    #[test]
    fn no_parameter_of_the_branch_has_the_id_of_one_of_the_policy() {
        struct Ids(Vec<u64>);
        impl ModuleVisitor for Ids {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.push(param.id.val());
            }
        }
        let mut ids = Ids(Vec::new());
        with_head(&policy(), 3, true).visit(&mut ids);
        assert_eq!(ids.0.iter().collect::<BTreeSet<_>>().len(), ids.0.len());
        // Three blocks of six tensors on either side, embedding and norm, norm and head with its bias.
        assert_eq!(ids.0.len(), 2 * 18 + 2 + 3);
    }
}
