//! The algorithms, one file each, all with the same skeleton: configuration, `train`, an update. Each receives its
//! starting models; none depends on how these are made.

pub mod augment;
pub mod expert_iteration;
pub mod final_table;
pub mod orm;
pub mod ppo;
pub mod pretrain;
pub mod rcrl;
pub mod sft;
pub mod start;
