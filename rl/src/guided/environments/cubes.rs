//! A stack of coloured cubes that follow a pattern (after Karimpanal et al. 2023, arXiv 2308.13542): some are there, the others are to be
//! put on them one by one.

use crate::guided::mdp::{Choice, Mdp, Situation, one_hot};
use anyhow::{Result, ensure};
use model::{Key, Purpose};

const COLOURS: [&str; 4] = ["red", "blue", "green", "yellow"];

/// Cubes that are there at first: two periods of the longest pattern would be six.
const GIVEN: usize = 4;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Cubes {
    /// The colours of the whole stack, bottom first.
    wanted: Vec<usize>,
    /// Those that are there.
    stack: Vec<usize>,
}

/// A pattern of a seed: two or three colours that repeat.
pub(super) fn build(height: usize, seed: u64) -> Result<Mdp> {
    ensure!((GIVEN + 2..=GIVEN + 5).contains(&height), "a stack has {} to {} cubes", GIVEN + 2, GIVEN + 5);
    let key = Key::new(seed, Purpose::Problems);
    let pick = |purpose: u64, below: usize| (key.with(purpose).bits() % below as u64) as usize;
    let period = 2 + pick(0, 2);
    // The first colours of an order of all of them are different ones.
    let mut colours: Vec<usize> = (0..COLOURS.len()).collect();
    for place in 0..period {
        colours.swap(place, place + pick(1 + place as u64, COLOURS.len() - place));
    }
    let wanted: Vec<usize> = (0..height).map(|place| colours[place % period]).collect();
    let rules = format!("Stack {height} cubes so that their colours follow a pattern that repeats.");
    let stack = wanted[..GIVEN].to_vec();
    Mdp::of(rules, Cubes { wanted, stack }, height - GIVEN)
}

impl Situation for Cubes {
    fn text(&self) -> String {
        let names: Vec<&str> = self.stack.iter().map(|&colour| COLOURS[colour]).collect();
        format!("The stack is, from the bottom: {}.", names.join(", "))
    }

    fn picture(&self) -> String {
        self.stack.iter().rev().map(|&colour| format!("[{}]\n", COLOURS[colour])).collect()
    }

    /// The colour of each place, or that it is empty.
    fn features(&self) -> Vec<f32> {
        let colour = |place: usize| self.stack.get(place).map_or(0, |colour| colour + 1);
        (GIVEN..self.wanted.len()).flat_map(|place| one_hot(colour(place), COLOURS.len() + 1)).collect()
    }

    /// The share of the return that the cubes that are missing can still earn.
    fn estimate(&self) -> f64 {
        (self.wanted.len() - self.stack.len()) as f64 / (self.wanted.len() - GIVEN) as f64
    }

    fn actions(&self) -> Vec<Choice<Self>> {
        let Some(&wanted) = self.wanted.get(self.stack.len()) else { return Vec::new() };
        // Each right cube earns its share; the sum is 1.
        let share = 1.0 / (self.wanted.len() - GIVEN) as f64;
        let put = |(colour, name): (usize, &&str)| {
            let stack = [self.stack.as_slice(), &[colour]].concat();
            let reward = if colour == wanted { share } else { 0.0 };
            (
                format!("put a {name} cube on the stack"),
                vec![(1.0, Self { stack, wanted: self.wanted.clone() }, reward)],
            )
        };
        COLOURS.iter().enumerate().map(put).collect()
    }
}
