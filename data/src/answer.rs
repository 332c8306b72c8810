//! The final answer of a solution, as an exact rational number. Independent of models, files and rewards.
//!
//! Two answers are equal when they are equal as rationals: 72 = 72.00, 1,000 = 1000, 0.5 = 1/2. A percent sign is a
//! unit like any other and is dropped, as currency is: 10% = 10, and 50% is not 0.5. What does not fit 127 bits is no
//! answer. No text makes these functions panic.

mod final_part;
mod format;
pub mod math;
mod number;
mod plain;

pub use crate::rational::Answer;
pub use final_part::own_part;
pub use format::{AnswerFormat, Ending};

#[cfg(test)]
mod tests;
