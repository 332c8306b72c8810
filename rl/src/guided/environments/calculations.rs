//! The solution of a word problem as a decision process: each action is a calculation with two numbers that are known, and its result is
//! known from then on. The reward comes with the calculation whose result is the answer, if it is the last one that is needed.

use crate::guided::mdp::{Choice, Mdp, Situation};
use anyhow::{Result, ensure};
use model::{Key, Purpose};

/// Largest result of a calculation.
const LARGEST: u32 = 999;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Calculations {
    /// In the order in which they became known.
    known: Vec<u32>,
    /// How many of them the question has.
    given: usize,
    answer: u32,
    /// Calculations in all, and those that are left.
    calculations: usize,
    left: usize,
}

/// A question of a seed with so many calculations.
pub(super) fn build(count: usize, seed: u64) -> Result<Mdp> {
    ensure!((1..=2).contains(&count), "a word problem has 1 or 2 calculations here");
    let key = Key::new(seed, Purpose::Problems);
    let pick = |purpose: u64, from: u32, below: u32| from + (key.with(purpose).bits() % u64::from(below - from)) as u32;
    let (bags, nuts) = (pick(0, 3, 10), pick(1, 11, 20));
    let eaten = pick(2, 21, 30);
    let all = bags * nuts;
    let (question, known, answer) = match count {
        1 => (format!("Ann has {bags} bags of {nuts} nuts. How many nuts has she?"), vec![bags, nuts], all),
        _ => (
            format!("Ann has {bags} bags of {nuts} nuts and eats {eaten} of them. How many are left?"),
            vec![bags, nuts, eaten],
            all - eaten,
        ),
    };
    let given = known.len();
    Mdp::of(question, Calculations { known, given, answer, calculations: count, left: count }, count)
}

impl Situation for Calculations {
    fn text(&self) -> String {
        let list = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        let (given, results) = self.known.split_at(self.given);
        let results = if results.is_empty() { "none".into() } else { list(results) };
        format!("Numbers of the question: {}. Results so far: {results}.", list(given))
    }

    fn picture(&self) -> String {
        self.text() + "\n"
    }

    /// The numbers that are known, as shares of the largest.
    fn features(&self) -> Vec<f32> {
        let missing = self.known.len()..self.given + self.calculations;
        let known = self.known.iter().map(|&number| number as f32 / LARGEST as f32);
        known.chain(missing.map(|_| -1.0)).collect()
    }

    /// No rule is known.
    fn estimate(&self) -> f64 {
        0.0
    }

    fn actions(&self) -> Vec<Choice<Self>> {
        if self.left == 0 {
            return Vec::new();
        }
        let mut actions: Vec<Choice<Self>> = Vec::new();
        for (i, &a) in self.known.iter().enumerate() {
            for (j, &b) in self.known.iter().enumerate().filter(|(j, _)| *j != i) {
                let quotient = (b != 0 && a % b == 0).then(|| a / b);
                let results = [
                    ("+", (i < j).then_some(a + b)),
                    ("*", (i < j).then_some(a * b)),
                    ("-", a.checked_sub(b)),
                    ("/", quotient),
                ];
                for (sign, result) in results {
                    let text = format!("{a} {sign} {b}");
                    let Some(result) = result.filter(|&result| result <= LARGEST) else { continue };
                    if actions.iter().any(|(other, _)| *other == text) {
                        continue;
                    }
                    let left = self.left - 1;
                    let reward = f64::from(u8::from(left == 0 && result == self.answer));
                    let known = [self.known.as_slice(), &[result]].concat();
                    actions.push((text, vec![(1.0, Self { known, left, ..self.clone() }, reward)]));
                }
            }
        }
        actions
    }
}
