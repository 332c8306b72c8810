//! Value-based reinforcement learning that a language model guides, in small environments described in words. Independent of the training of
//! language models.

pub mod args;
pub mod command;
pub mod demonstrations;
pub mod environments;
pub mod episodes;
pub mod guide;
pub mod lagr;
pub mod linvit;
pub mod lmgt;
pub mod mdp;
pub mod prior;
pub mod q_function;
pub mod slinvit;
pub mod summary;
pub mod values;
