//! Which of many samples of a question are kept: the first ones, or those that differ. Independent of how they were sampled.

use clap::ValueEnum;
use data::calculation_trace;
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// Selects the first solutions of each question.
pub struct FirstPerQuestion<'a> {
    most: usize,
    taken: HashMap<&'a str, usize>,
}

impl<'a> FirstPerQuestion<'a> {
    /// At most `most` per question; all with `None`.
    pub fn new(most: Option<usize>) -> Self {
        Self { most: most.unwrap_or(usize::MAX), taken: HashMap::new() }
    }

    /// Takes one more solution of the question, if the limit allows it; returns whether it did.
    pub fn has_room(&mut self, question: &'a str) -> bool {
        let taken = self.taken.entry(question).or_default();
        let has_room = *taken < self.most;
        *taken += usize::from(has_room);
        has_room
    }
}

/// When two solutions of a question count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Deduplicate {
    /// Never: a solution that was sampled twice counts twice.
    None,
    /// The same text.
    Text,
    /// The same chain of calculations (calculation trace).
    Trace,
}

/// Deduplicates solutions.
pub struct Deduplicator {
    by: Deduplicate,
    seen: HashSet<(String, String)>,
}

impl Deduplicator {
    /// An empty set.
    pub fn new(by: Deduplicate) -> Self {
        Self { by, seen: HashSet::new() }
    }

    /// Whether this solution is new for the question; it is then remembered.
    pub fn is_new(&mut self, question: &str, solution: &str) -> bool {
        let kind = match self.by {
            Deduplicate::None => return true,
            Deduplicate::Text => solution.trim().to_string(),
            Deduplicate::Trace => calculation_trace(solution).join("\n"),
        };
        self.seen.insert((question.to_string(), kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solutions_are_equal_by_their_text_or_by_their_calculations() {
        let (first, reworded, other) = ("She has 1+2 = <<1+2=3>>3.", "So 1+2 = <<1+2=3>>3.", "So 2+1 = <<2+1=3>>3.");
        let new = |by: Deduplicate| {
            let mut distinct = Deduplicator::new(by);
            [first, reworded, other, first].map(|solution| distinct.is_new("q", solution))
        };
        assert_eq!(new(Deduplicate::None), [true; 4]);
        assert_eq!(new(Deduplicate::Text), [true, true, true, false]);
        assert_eq!(new(Deduplicate::Trace), [true, false, true, false]);
        assert!(Deduplicator::new(Deduplicate::Text).is_new("another question", first));
    }
}
