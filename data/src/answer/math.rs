//! Mathematical answers, written in LaTeX or plainly, and when two of them are equal. Independent of models, files and rewards.
//!
//! An answer goes four ways: its text is cleaned, cut into tokens, and read into a tree of lists, intervals, relations, matrices
//! and expressions; two trees are then compared kind by kind. Expressions are compared exactly where they are rational functions
//! (modulo a large prime at random points), and else by complex values with error bounds at several points. Nothing is
//! simplified, so that no input costs more than its length: texts, depths, factorials and comparisons are bounded, and powers are
//! taken modulo the prime.
//!
//! The rules follow Hugging Face's Math-Verify 0.9 where it is right; `docs/answers.md` lists the differences.

mod answer;
mod approximate;
mod canonical;
mod claim;
mod clean;
mod compare;
mod equal;
mod evaluate;
mod field;
mod matrix;
mod reader;
mod region;
mod relation;
mod row;
mod term;
mod token;
mod tree;
mod value;
mod words;

pub use answer::MathAnswer;
pub use claim::{extract, parse_claim};

#[cfg(test)]
mod tests;
