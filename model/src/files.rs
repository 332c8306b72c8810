//! Models on disk: checkpoints and adapters under Hugging Face's names, safetensors and GGUF files. Independent of text: tokenizers
//! have files of their own.

mod adapted;
mod checkpoint;
mod extrapolated;
mod gguf;
mod peft;
mod reward_head;
mod safetensors;
mod source;

pub use adapted::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_base};
pub use checkpoint::{
    is_gguf, load_adapted_model, load_extrapolated_model, load_model, load_value_branch, model_tensors, read_config,
    save_model, save_model_as, save_value_branch,
};
pub use gguf::Gguf;
pub use peft::{adapters_config, load_adapters, save_adapters};
pub use reward_head::{REWARD_HEAD, read_score_kind};
pub use safetensors::{NumberFormat, read_tensors, write_tensors};
