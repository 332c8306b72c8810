//! Gradients with a tape against those of the whole graph.

use super::*;
use crate::{
    config::ModelSize,
    device::Device,
    fused::plainly,
    heads::{ActorCritic, ValueBranch},
    host::{HostTensor, to_host},
    logits::{LOGITS_TOGETHER, output_log_probs},
    lora::{LoraConfig, LoraTargets, with_adapters},
    transformer::Transformer,
};
use burn::{
    module::{ModuleVisitor, Param},
    tensor::TensorData,
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

fn gradients<M: Trainable>(
    model: &M,
    checkpointing: bool,
    loss: impl FnOnce(&M) -> Tensor<1>,
) -> BTreeMap<u64, HostTensor> {
    let (replica, tape) = model.replica(checkpointing);
    let loss = loss(&replica);
    assert_eq!(tape.left_out().cuts.is_empty(), !checkpointing);
    let gradients = tape.backward(&loss, &replica);
    let mut collect = Collect { gradients: &gradients, found: BTreeMap::new() };
    replica.visit(&mut collect);
    collect.found
}

fn tokens() -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new((0..12).map(|i| i * 5 % 19).collect::<Vec<i32>>(), [2, 6]), &Device::default())
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
        let of = |model: &Transformer, with_tape: bool| {
            let (replica, gradients) = if with_tape {
                let (replica, tape) = model.replica(false);
                let gradients = tape.backward(&loss(&replica), &replica);
                (replica, gradients)
            } else {
                let replica = model.clone().train();
                let gradients = GradientsParams::from_grads(loss(&replica).backward(), &replica);
                (replica, gradients)
            };
            let mut collect = Collect { gradients: &gradients, found: BTreeMap::new() };
            replica.visit(&mut collect);
            collect.found
        };
        let adapted = with_adapters(model.clone(), LoraConfig { rank: 2, alpha: 4.0, targets: LoraTargets::All }, 3);
        for model in [model, adapted] {
            let [fused, again, all] = [of(&model, true), plainly(|| of(&model, true)), plainly(|| of(&model, false))];
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
