//! Adapters that are written and read again.

use super::{super::checkpoint::model_tensors, *};
use crate::lora::{
    merged,
    tests::{CONFIG, logits, model, taught},
};

#[test]
fn adapters_of_a_part_come_back_as_those_of_that_part() {
    let folder = tempfile::tempdir().unwrap();
    for (targets, modules) in [(LoraTargets::Attention, 4), (LoraTargets::FeedForward, 3)] {
        save_adapters(folder.path(), &with_adapters(model(), LoraConfig { targets, ..CONFIG }, 1), "base").unwrap();
        let tensors = read_tensors(&folder.path().join("adapter_model.safetensors")).unwrap();
        assert_eq!(tensors.len(), 2 * 2 * modules);
        let again = load_adapters(folder.path(), model()).unwrap();
        assert_eq!(again.blocks[0].qkv.adapter().is_some(), targets == LoraTargets::Attention);
        assert_eq!(again.blocks[1].down.adapter().is_some(), targets == LoraTargets::FeedForward);
    }
}

#[test]
fn written_and_read_again_they_are_the_same_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let adapted = taught(1);
    save_adapters(folder.path(), &adapted, "base").unwrap();
    let again = load_adapters(folder.path(), model()).unwrap();
    assert_eq!(logits(&again), logits(&adapted));
    assert_eq!(model_tensors(&merged(&again)), model_tensors(&merged(&adapted)));
    let config: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!((config["r"].as_u64(), config["lora_alpha"].as_f64()), (Some(3), Some(6.0)));
    assert_eq!(config["target_modules"].as_array().unwrap().len(), 7);
    let tensors = read_tensors(&folder.path().join("adapter_model.safetensors")).unwrap();
    let key = &tensors["base_model.model.model.layers.1.self_attn.k_proj.lora_B.weight"];
    assert_eq!(key.shape, [8, 3], "two key heads of width 4");
}
