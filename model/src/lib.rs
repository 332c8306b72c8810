//! Tensors to tensors: the language model, its cache, its sampler, its checkpoints. Knows no text.
//!
//! One alphabet for shapes, here and in every crate above:
//!
//! | letter | meaning |
//! | --- | --- |
//! | B | rows of a batch |
//! | T | tokens of a row, padding on the right |
//! | N | predicted tokens of a row, N = T - 1: column t speaks of `tokens[:, t + 1]` |
//! | D | width of the model (`hidden_size`) |
//! | H | attention heads; G key/value heads; E = width of a head |
//! | F | width of the feed-forward part (`intermediate_size`) |
//! | V | vocabulary |
//! | K | samples of one prompt |
//! | S | slots of a key/value cache |

mod adapted;
mod cache;
mod checkpoint;
mod compute;
mod config;
mod device;
mod fused;
mod generate;
mod gguf;
mod heads;
mod judge;
mod logits;
mod lora;
mod padding;
mod parallel;
mod random;
mod recompute;
mod sampling;
mod score;
mod source;
mod tensors;
mod transformer;

pub use adapted::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_base};
pub use cache::Cache;
pub use checkpoint::{
    is_gguf, load_adapted_model, load_model, load_value_branch, model_tensors, read_config, save_model, save_model_as,
    save_value_branch,
};
pub use compute::Compute;
pub use config::{EosTokenId, Llama3Scaling, ModelConfig, ModelSize, RopeParameters, RopeScaling};
pub use device::{
    DeviceKind, choose_device, cpu_seconds, device_memory_bytes, has_bf16, has_short_products, keep_pages,
    peak_memory_bytes, streams, threads,
};
pub use fused::{AdamWStep, adamw};
pub use generate::{Completion, Finish, Forced, GenerateConfig, GenerateStats, generate};
pub use gguf::Gguf;
pub use heads::{ActorCritic, ActorCriticOutput, ValueBranch};
pub use judge::{REWARD_HEAD, solutions};
pub use logits::{LOGITS_TOGETHER, entropy, output_entropy, output_log_probs, token_log_probs};
pub use lora::{LoraConfig, LoraTargets, adapters_config, load_adapters, merged, save_adapters, with_adapters};
pub use padding::pad_right;
pub use parallel::{parallel_for_each, parallel_map};
pub use random::{Key, Purpose, uniform};
pub use recompute::{Recorded, recorded};

pub use score::{Padded, Scored, score, score_with_values};
pub use tensors::{HostTensor, HostTensors, NumberFormat, read_tensors, to_host, to_host_together, write_tensors};
pub use transformer::{Block, Rotary, Transformer};
