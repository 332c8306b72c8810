//! The final answer of a solution: an exact rational number, a mathematical expression, the letter of a choice, or a text.
//! Independent of models, files and rewards.
//!
//! Two numbers are equal when they are equal as rationals: 72 = 72.00, 1,000 = 1000, 0.5 = 1/2. A percent sign is a
//! unit like any other and is dropped, as currency is: 10% = 10, and 50% is not 0.5. What does not fit 127 bits is no
//! answer. No text makes these functions panic.

mod final_part;
mod format;
mod kind;
pub mod math;
mod number;
mod number_claim;
mod plain;
mod text_claim;

pub use final_part::own_part;
pub use format::{AnswerFormat, Ending};
pub use kind::{Answer, AnswerKind, AsWritten};
pub(crate) use number_claim::captured;

#[cfg(test)]
mod tests;
