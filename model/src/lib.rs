//! Tensors to tensors: the language model, its cache, its sampler, its checkpoints. Independent of text.
//!
//! One alphabet for shapes, here and in every crate above:
//!
//! | letter | meaning |
//! | --- | --- |
//! | B | rows of a batch |
//! | T | tokens of a row, padding on the right |
//! | N | predicted tokens of a row, N = T - 1: column t belongs to `tokens[:, t + 1]` |
//! | D | width of the model (`hidden_size`) |
//! | H | attention heads; G key/value heads; E = width of a head |
//! | F | width of the feed-forward part (`intermediate_size`) |
//! | V | vocabulary |
//! | K | samples of one prompt |
//! | S | slots of a key/value cache |

mod by_path;
mod checksum;
mod config;
mod device;
mod dtype;
mod files;
mod fused;
mod generation;
mod heads;
mod host;
mod log_probs;
mod logits;
mod lora;
mod padding;
mod parallel;
mod perturbed;
mod process;
mod random;
pub mod ranks;
mod score;
mod transformer;

pub use checksum::checksum;
pub use config::{EosTokenId, Llama3Scaling, ModelConfig, ModelSize, RopeParameters, RopeScaling};
pub use device::{Device, DeviceKind, choose_device, device_memory_bytes, has_bf16, streams, threads, uses_tf32};
pub use dtype::Dtype;
pub use files::{
    ADAPTER_CONFIG, ADAPTER_WEIGHTS, Gguf, NumberFormat, REWARD_HEAD, adapter_base, adapters_config, is_gguf,
    load_adapted_model, load_adapters, load_extrapolated_model, load_model, load_value_branch, model_tensors,
    read_config, read_score_kind, read_tensors, save_adapters, save_model, save_model_as, save_value_branch,
    write_tensors,
};
pub use fused::{AdamWStep, adamw};
pub use generation::{Completion, Finish, GenerateConfig, GenerateStats, Given, Giver, generate, generate_each};
pub use heads::{
    ActorCritic, ActorCriticOutput, RewardNetwork, ScalarHead, ScoreKind, ValueBranch, score_with_values, solutions,
};
pub use host::{HostTensor, HostTensors, to_host, to_host_together};
pub use log_probs::{entropy, token_log_probs};
pub use logits::{LOGITS_TOGETHER, output_entropy, output_log_probs};
pub use lora::{LoraConfig, LoraTargets, merged, with_adapters};
pub use padding::pad_right;
pub use parallel::{parallel_here, parallel_map};
pub use perturbed::{perturbed, perturbed_adapters};
pub use process::{cpu_features, cpu_seconds, keep_pages, peak_memory_bytes};
pub use random::{Key, Purpose, uniform};
pub use score::{Padded, Scored, score};
pub use transformer::{
    Block, Cache, Rotary, Transformer,
    recompute::{Tape, Trainable},
};
