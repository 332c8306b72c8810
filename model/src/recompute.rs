//! Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): of the forward pass only what enters each block is kept, and
//! the block is computed once more when its gradients are. The result is the same to the last digit, but for a trunk that
//! two branches send gradients into: their sum is taken in another order.
//!
//! burn's own strategy recomputes what small operations keep; a fused operation, which keeps what it needs itself, is not
//! reached by it. Here a pass that is recorded cuts the graph before and behind each block: what comes out of a block is a
//! leaf, and [`Recorded::backward`] carries its gradient through the block, the last one first.
//!
//! Logits of a large vocabulary are computed again in any pass that is recorded, where there is no fused operation that does so.
//! What a log-probability owes to the residual stream is known in the forward pass, (W_t − W softmax(z / T)) / T, one vector a row:
//! it is put into the graph instead of the logits. What it owes to W needs the gradient that comes back, and waits for it.

use crate::{
    config::ModelConfig,
    logits::token_log_probs,
    transformer::{Block, Rotary, Transformer, matmul},
};
use burn::{
    module::Module,
    optim::{GradientsAccumulator, GradientsParams},
    tensor::{Gradients, Int, Tensor, activation::softmax},
};
use std::cell::RefCell;

thread_local! {
    static RECORD: RefCell<Option<Recorded>> = const { RefCell::new(None) };
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

/// Log-probabilities whose logits were left out of the graph.
struct Head {
    model: Transformer,
    /// Outside any graph, as are the targets.
    hidden: Tensor<2>,
    targets: Tensor<1, Int>,
    temperature: f64,
    /// Rows whose logits exist together.
    part: usize,
    /// A leaf.
    told: Tensor<1>,
}

/// What a pass has left out of its graph.
pub struct Recorded {
    checkpointing: bool,
    cuts: Vec<Cut>,
    heads: Vec<Head>,
}

/// Runs a forward pass whose blocks are computed again for the gradients, if `checkpointing`.
pub fn recorded<R>(checkpointing: bool, pass: impl FnOnce() -> R) -> (R, Recorded) {
    RECORD.set(Some(Recorded { checkpointing, cuts: Vec::new(), heads: Vec::new() }));
    let result = pass();
    (result, RECORD.take().expect("set above, and taken here alone"))
}

fn record(what: impl FnOnce(&mut Recorded)) {
    RECORD.with_borrow_mut(|record| what(record.as_mut().expect("asked before")));
}

/// A block's forward pass, inside the graph or, where a pass is recorded, outside.
///
/// # Shapes
/// - `hidden` and output: `[B, T, D]`
pub(crate) fn through(block: &Block, hidden: Tensor<3>, rotary: &Rotary, config: &ModelConfig) -> Tensor<3> {
    let checkpointing = RECORD.with_borrow(|record| record.as_ref().is_some_and(|record| record.checkpointing));
    if !checkpointing || !hidden.device().is_autodiff() {
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
    record(|record| record.cuts.push(cut));
    output
}

/// Log-probabilities of `targets` with no logits in the graph, where a pass is recorded.
///
/// # Shapes
/// - `hidden`: `[M, D]`; `targets`: `[M]`; output: `[M]`
pub(crate) fn output_log_probs(
    model: &Transformer,
    hidden: &Tensor<2>,
    targets: &Tensor<1, Int>,
    temperature: f64,
    part: usize,
) -> Option<Tensor<1>> {
    if RECORD.with_borrow(Option::is_none) || !hidden.device().is_autodiff() {
        return None;
    }
    let (outside, head) = (model.valid(), (hidden.clone().inner(), targets.clone().inner()));
    let columns = outside.output_matrix().transpose();
    let mut told = Vec::new();
    let mut slopes = Vec::new();
    for (hidden, targets) in parts(&head.0, &head.1, part) {
        let logits = outside.logits_of_rows(hidden);
        told.push(token_log_probs(logits.clone(), targets.clone(), temperature));
        let expected =
            matmul(softmax(logits.div_scalar(temperature), 1), columns.clone(), None, outside.config.compute);
        slopes.push((columns.clone().select(0, targets) - expected).div_scalar(temperature));
    }
    let told = Tensor::from_inner(Tensor::cat(told, 0)).require_grad();
    let along_slope = (hidden.clone() * Tensor::from_inner(Tensor::cat(slopes, 0))).sum_dim(1).flatten::<1>(0, 1);
    let result = told.clone() + (along_slope.clone() - along_slope.detach());
    let (hidden, targets) = head;
    record(|record| record.heads.push(Head { model: model.clone(), hidden, targets, temperature, part, told }));
    Some(result)
}

/// Rows and what belongs to them, `part` at a time.
fn parts(
    hidden: &Tensor<2>,
    targets: &Tensor<1, Int>,
    part: usize,
) -> impl Iterator<Item = (Tensor<2>, Tensor<1, Int>)> {
    let [rows, _] = hidden.dims();
    let of = move |start: usize| {
        let count = part.min(rows - start);
        (hidden.clone().narrow(0, start, count), targets.clone().narrow(0, start, count))
    };
    (0..rows).step_by(part).map(of)
}

impl Recorded {
    /// The gradients of a loss by the parameters of `model`, whose pass was recorded.
    pub fn backward<M: Module>(mut self, loss: &Tensor<1>, model: &M) -> GradientsParams {
        let mut behind = loss.backward();
        if self.cuts.is_empty() && self.heads.is_empty() {
            return GradientsParams::from_grads(behind, model);
        }
        let mut sum = GradientsAccumulator::new();
        for head in &self.heads {
            let Some(grad) = head.told.grad_remove(&mut behind) else { continue };
            head.accumulate(grad, model, &mut sum);
        }
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

impl Head {
    /// Adds what the output matrix owes to the log-probabilities, whose gradient is `grad`.
    fn accumulate<M: Module>(&self, grad: Tensor<1>, model: &M, sum: &mut GradientsAccumulator<M>) {
        if !self.model.output_matrix().is_tracked() {
            return;
        }
        for (place, (hidden, targets)) in parts(&self.hidden, &self.targets, self.part).enumerate() {
            let [rows, _] = hidden.dims();
            let (hidden, targets) = (Tensor::from_inner(hidden), Tensor::from_inner(targets));
            let told = token_log_probs(self.model.logits_of_rows(hidden), targets, self.temperature);
            let loss = along(told, grad.clone().narrow(0, place * self.part, rows));
            sum.accumulate(model, GradientsParams::from_grads(loss.backward(), model));
        }
    }
}

/// A number whose gradient by `output` is `grad`.
fn along<const D: usize>(output: Tensor<D>, grad: Tensor<D>) -> Tensor<1> {
    (output * Tensor::from_inner(grad)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::ModelSize,
        fused::plainly,
        heads::{ActorCritic, ValueBranch},
        logits::{LOGITS_TOGETHER, output_log_probs},
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

    #[test]
    fn without_a_fused_operation_logits_are_computed_again_and_gradients_are_those_with_all_of_them() {
        for tie_word_embeddings in [true, false] {
            let config = ModelConfig {
                hidden_size: 4,
                intermediate_size: 4,
                num_hidden_layers: 1,
                num_attention_heads: 2,
                num_key_value_heads: Some(2),
                tie_word_embeddings,
                // Of 100 rows 64 together.
                ..ModelConfig::of_size(ModelSize::Tiny, LOGITS_TOGETHER / 64, 0)
            };
            let model = Transformer::init(&config, 2, &Device::default());
            let ids: Vec<i32> = (0..100).map(|i| i * 7919 % 65_536).collect();
            let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids, [2, 50]), &Device::default());
            let loss = |model: &Transformer| {
                let rotary = model.rotary_range(0..50, &Device::default());
                let hidden = model.run_blocks(model.embed(tokens.clone()), 0..1, &rotary);
                let hidden = model.final_norm(hidden).reshape([100, 4]);
                let targets = tokens.clone().to_device(&model.device()).flatten(0, 1);
                let weights = Tensor::from_floats([0.5, -1.0, 2.0, 1.0].repeat(25).as_slice(), &model.device());
                (output_log_probs(model, hidden, targets, 0.7) * weights).sum()
            };
            let of = |model: &Transformer, recorded: bool| {
                let replica = model.clone().train();
                let gradients = match recorded {
                    true => {
                        let (loss, recorded) = super::recorded(false, || loss(&replica));
                        recorded.backward(&loss, &replica)
                    }
                    false => GradientsParams::from_grads(loss(&replica).backward(), &replica),
                };
                let mut collect = Collect { gradients: &gradients, found: BTreeMap::new() };
                replica.visit(&mut collect);
                collect.found
            };
            let adapted =
                with_adapters(model.clone(), LoraConfig { rank: 2, alpha: 4.0, targets: LoraTargets::All }, 3);
            for model in [model, adapted] {
                let [fused, again, all] =
                    [of(&model, true), plainly(|| of(&model, true)), plainly(|| of(&model, false))];
                assert!(fused.keys().eq(all.keys()) && again.keys().eq(all.keys()) && !all.is_empty());
                for (id, all) in &all {
                    let largest = all.values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                    for (found, expected) in again[id].values.iter().zip(&all.values) {
                        assert!((found - expected).abs() <= 1e-3 * largest, "{found}, not {expected}");
                    }
                }
            }
        }
    }
}
