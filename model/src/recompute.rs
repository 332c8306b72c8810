//! Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): of the forward pass only what enters each block is kept, and
//! the block is computed once more when its gradients are. The result is the same to the last digit, but for a trunk that
//! two branches send gradients into: their sum is taken in another order.
//!
//! burn's own strategy recomputes what small operations keep; a fused operation, which keeps what it needs itself, is not
//! reached by it. Here a pass that is recorded cuts the graph before and behind each block: what comes out of a block is a
//! leaf, and [`Recorded::backward`] carries its gradient through the block, the last one first.

use crate::{
    config::ModelConfig,
    transformer::{Block, Rotary},
};
use burn::{
    module::Module,
    optim::{GradientsAccumulator, GradientsParams},
    tensor::{Gradients, Tensor},
};
use std::cell::RefCell;

thread_local! {
    static RECORD: RefCell<Option<Vec<Cut>>> = const { RefCell::new(None) };
}

/// A block that was left out of the graph.
struct Cut {
    block: Block,
    rotary: Rotary,
    config: ModelConfig,
    /// In the graph of whatever comes before.
    input: Tensor<3>,
    /// A leaf.
    output: Tensor<3>,
}

/// The blocks that a pass has left out of its graph; none where it was not to leave any out.
pub struct Recorded {
    cuts: Vec<Cut>,
}

/// Runs a forward pass whose blocks are computed again for the gradients, if `checkpointing`.
pub fn recorded<R>(checkpointing: bool, pass: impl FnOnce() -> R) -> (R, Recorded) {
    RECORD.set(checkpointing.then(Vec::new));
    let result = pass();
    (result, Recorded { cuts: RECORD.take().unwrap_or_default() })
}

/// A block's forward pass, inside the graph or, where a pass is recorded, outside.
///
/// # Shapes
/// - `hidden` and output: `[B, T, D]`
pub(crate) fn through(block: &Block, hidden: Tensor<3>, rotary: &Rotary, config: &ModelConfig) -> Tensor<3> {
    if RECORD.with_borrow(Option::is_none) || !hidden.device().is_autodiff() {
        return block.forward(hidden, rotary, config);
    }
    let output = block.valid().forward(hidden.clone().inner(), &rotary.inner(), config);
    let output = Tensor::from_inner(output).require_grad();
    let cut = Cut {
        block: block.clone(),
        rotary: rotary.clone(),
        config: config.clone(),
        input: hidden,
        output: output.clone(),
    };
    RECORD.with_borrow_mut(|record| record.as_mut().expect("asked above").push(cut));
    output
}

impl Recorded {
    /// The gradients of a loss by the parameters of `model`, whose pass was recorded.
    pub fn backward<M: Module>(mut self, loss: &Tensor<1>, model: &M) -> GradientsParams {
        let mut behind = loss.backward();
        if self.cuts.is_empty() {
            return GradientsParams::from_grads(behind, model);
        }
        let mut sum = GradientsAccumulator::new();
        // What has reached the leaves so far.
        let mut reached: Vec<Option<Tensor<3>>> = vec![None; self.cuts.len()];
        self.take_reached(&mut behind, &mut reached);
        sum.accumulate(model, GradientsParams::from_grads(behind, model));
        // Toward what stands before the first blocks: the embedding, whose graph can be walked once only.
        let mut before: Option<Tensor<1>> = None;
        while let Some(Cut { block, rotary, config, input, .. }) = self.cuts.pop() {
            let Some(grad) = reached.pop().flatten() else { continue };
            let entered = Tensor::from_inner(input.clone().inner()).require_grad();
            let output = block.forward(entered.clone(), &rotary, &config);
            let mut gradients = along(output, grad).backward();
            let by_input = entered.grad_remove(&mut gradients).expect("a block's output depends on what enters it");
            sum.accumulate(model, GradientsParams::from_grads(gradients, model));
            if input.is_require_grad() {
                self.take_reached(&mut along(input, by_input).backward(), &mut reached);
            } else if input.is_tracked() {
                let toward = along(input, by_input);
                before = Some(before.map_or(toward.clone(), |before| before + toward));
            }
        }
        if let Some(before) = before {
            sum.accumulate(model, GradientsParams::from_grads(before.backward(), model));
        }
        sum.grads()
    }

    fn take_reached(&self, gradients: &mut Gradients, reached: &mut [Option<Tensor<3>>]) {
        for (cut, reached) in self.cuts.iter().zip(reached) {
            if let Some(grad) = cut.output.grad_remove(gradients) {
                *reached = Some(match reached.take() {
                    Some(earlier) => earlier + grad,
                    None => grad,
                });
            }
        }
    }
}

/// A number whose gradient by `output` is `grad`.
fn along(output: Tensor<3>, grad: Tensor<3>) -> Tensor<1> {
    (output * Tensor::from_inner(grad)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::ModelSize,
        heads::{ActorCritic, ValueBranch},
        lora::{LoraConfig, LoraTargets, with_adapters},
        tensors::{HostTensor, to_host},
        transformer::Transformer,
    };
    use burn::{
        module::{ModuleVisitor, Param},
        tensor::{Device, Int, TensorData},
    };
    use std::collections::BTreeMap;

    struct Collect<'a> {
        gradients: &'a GradientsParams,
        found: BTreeMap<u64, HostTensor>,
    }

    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                self.found.insert(param.id.val(), to_host(gradient));
            }
        }
    }

    fn gradients<M: Module>(
        model: &M,
        checkpointing: bool,
        loss: impl FnOnce(&M) -> Tensor<1>,
    ) -> BTreeMap<u64, HostTensor> {
        let replica = model.clone().train();
        let (loss, recorded) = recorded(checkpointing, || loss(&replica));
        assert_eq!(recorded.cuts.is_empty(), !checkpointing);
        let gradients = recorded.backward(&loss, &replica);
        let mut collect = Collect { gradients: &gradients, found: BTreeMap::new() };
        replica.visit(&mut collect);
        collect.found
    }

    fn tokens() -> Tensor<2, Int> {
        Tensor::from_data(
            TensorData::new((0..12).map(|i| i * 5 % 19).collect::<Vec<i32>>(), [2, 6]),
            &Device::default(),
        )
    }

    fn policy(tied: bool) -> Transformer {
        let config = ModelConfig {
            hidden_size: 16,
            intermediate_size: 24,
            num_hidden_layers: 3,
            tie_word_embeddings: tied,
            ..ModelConfig::of_size(ModelSize::Tiny, 19, 0)
        };
        Transformer::init(&config, 2, &Device::default())
    }

    #[test]
    fn gradients_through_recomputed_blocks_are_the_same_to_the_last_digit() {
        for tied in [true, false] {
            let policy = policy(tied);
            let of = |checkpointing| {
                gradients(&policy, checkpointing, |model| {
                    let logits = model.forward(tokens());
                    logits.clone().sin().sum() + logits.square().mean()
                })
            };
            let (plain, recomputed) = (of(false), of(true));
            assert_eq!(plain.len(), 3 * 6 + if tied { 2 } else { 3 });
            assert_eq!(plain, recomputed);
        }
    }

    #[test]
    fn they_are_beside_a_critic_and_to_rounding_where_its_gradient_enters_the_trunk() {
        for (layers, detach) in [(0, true), (1, true), (0, false), (1, false), (3, false)] {
            let policy = policy(true);
            let mut value = ValueBranch::of(&policy, layers, detach);
            value.head = value.head.map(|head| head.ones_like());
            let model = ActorCritic { policy, value };
            let of = |checkpointing| {
                gradients(&model, checkpointing, |model| {
                    let output = model.forward(tokens());
                    output.hidden.sin().sum() + output.values.square().sum()
                })
            };
            let (plain, recomputed) = (of(false), of(true));
            if detach {
                assert_eq!(plain, recomputed, "{layers} blocks");
            }
            assert!(plain.keys().eq(recomputed.keys()), "{layers} blocks, detached: {detach}");
            for (plain, recomputed) in plain.values().zip(recomputed.values()) {
                for (plain, recomputed) in plain.values.iter().zip(&recomputed.values) {
                    assert!((plain - recomputed).abs() < 1e-3, "{plain} against {recomputed}, {layers} blocks");
                }
            }
        }
    }

    #[test]
    fn they_are_where_adapters_alone_are_trained_and_nothing_before_the_blocks() {
        let config = LoraConfig { rank: 2, alpha: 4.0, targets: LoraTargets::All };
        let policy = with_adapters(policy(true), config, 3);
        let of = |checkpointing| gradients(&policy, checkpointing, |model| model.forward(tokens()).sin().sum());
        let (plain, recomputed) = (of(false), of(true));
        assert!(!plain.is_empty());
        assert_eq!(plain, recomputed);
    }
}
