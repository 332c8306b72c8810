//! Results of evaluations, as JSON and as tables. Independent of models.

pub mod compare;
pub mod diversity;
pub mod report;
pub mod reward_report;
pub mod table;
