//! BlocksWorld: blocks stand on a table or on each other, and one that nothing stands on can be moved.

use crate::guided::mdp::{Choice, Mdp, Situation, one_hot};
use anyhow::{Result, ensure};
use model::{Key, Purpose};
use std::collections::{HashMap, VecDeque};

const NAMES: [&str; 5] = ["red", "blue", "green", "yellow", "white"];

/// What each block stands on: another block, or the table.
type Stacks = Vec<Option<usize>>;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Blocks {
    below: Stacks,
    goal: Stacks,
}

/// Blocks and a goal of a seed, as far apart as such configurations can be, or one move less.
pub(super) fn build(count: usize, seed: u64) -> Result<Mdp> {
    ensure!((3..=NAMES.len()).contains(&count), "BlocksWorld has 3 to {} blocks", NAMES.len());
    let key = Key::new(seed, Purpose::Problems);
    let pick = |purpose: u64, below: usize| (key.with(purpose).bits() % below as u64) as usize;
    // All configurations, from one in which all blocks lie on the table.
    let all: Vec<Stacks> = distances(&vec![None; count]).into_iter().map(|(stacks, _)| stacks).collect();
    let first = all[pick(0, all.len())].clone();
    let far = distances(&first);
    let furthest = far.iter().map(|(_, moves)| *moves).max().unwrap_or_default();
    let goals: Vec<&Stacks> = far.iter().filter(|(_, moves)| moves + 1 >= furthest).map(|(goal, _)| goal).collect();
    let goal = goals[pick(1, goals.len())].clone();
    let wanted = sentences(&goal);
    let rules = format!(
        "There are {count} blocks. Move one block at a time; a block with another one on it cannot be moved. Goal: {wanted}"
    );
    Mdp::of(rules, Blocks { below: first, goal }, (furthest + 2).max(6))
}

/// Every configuration, with the number of moves to it, in the order of a breadth-first search.
fn distances(from: &Stacks) -> Vec<(Stacks, usize)> {
    let mut found = HashMap::from([(from.clone(), 0)]);
    let (mut open, mut all) = (VecDeque::from([from.clone()]), Vec::new());
    while let Some(stacks) = open.pop_front() {
        let moves = found[&stacks];
        for (_, next) in moves_of(&stacks) {
            found.entry(next.clone()).or_insert_with(|| {
                open.push_back(next);
                moves + 1
            });
        }
        all.push((stacks, moves));
    }
    all
}

/// The moves of a configuration, each with what it leads to.
fn moves_of(below: &Stacks) -> Vec<(String, Stacks)> {
    let is_clear = |block: usize| !below.contains(&Some(block));
    let mut moves = Vec::new();
    for block in (0..below.len()).filter(|&block| is_clear(block)) {
        let mut put = |text: String, on: Option<usize>| {
            let mut next = below.clone();
            next[block] = on;
            moves.push((text, next));
        };
        if below[block].is_some() {
            put(format!("put the {} block on the table", NAMES[block]), None);
        }
        for on in (0..below.len()).filter(|&on| on != block && is_clear(on) && below[block] != Some(on)) {
            put(format!("put the {} block on the {} block", NAMES[block], NAMES[on]), Some(on));
        }
    }
    moves
}

/// A configuration in words.
fn sentences(below: &Stacks) -> String {
    let sentence = |(block, on): (usize, &Option<usize>)| match on {
        None => format!("The {} block is on the table.", NAMES[block]),
        Some(on) => format!("The {} block is on the {} block.", NAMES[block], NAMES[*on]),
    };
    below.iter().enumerate().map(sentence).collect::<Vec<_>>().join(" ")
}

impl Situation for Blocks {
    fn text(&self) -> String {
        sentences(&self.below)
    }

    fn picture(&self) -> String {
        let bottoms = (0..self.below.len()).filter(|&block| self.below[block].is_none());
        let stack = |bottom: usize| {
            let (mut line, mut top) = (NAMES[bottom].to_string(), bottom);
            while let Some(next) = self.below.iter().position(|on| *on == Some(top)) {
                line += &format!(" < {}", NAMES[next]);
                top = next;
            }
            line + "\n"
        };
        bottoms.map(stack).collect()
    }

    /// What each block is on: the table or one of the blocks.
    fn features(&self) -> Vec<f32> {
        let places = self.below.len() + 1;
        self.below.iter().flat_map(|on| one_hot(on.map_or(0, |on| on + 1), places)).collect()
    }

    /// The share of blocks that stand as in the goal, down to the table.
    fn estimate(&self) -> f64 {
        let is_right = |block: usize| {
            let mut next = Some(block);
            while let Some(block) = next {
                if self.below[block] != self.goal[block] {
                    return false;
                }
                next = self.below[block];
            }
            true
        };
        let right = (0..self.below.len()).filter(|&block| is_right(block)).count();
        if self.below == self.goal { 0.0 } else { right as f64 / self.below.len() as f64 }
    }

    fn actions(&self) -> Vec<Choice<Self>> {
        if self.below == self.goal {
            return Vec::new();
        }
        let with_reward = |(text, below): (String, Stacks)| {
            let reward = f64::from(u8::from(below == self.goal));
            (text, vec![(1.0, Self { below, goal: self.goal.clone() }, reward)])
        };
        moves_of(&self.below).into_iter().map(with_reward).collect()
    }
}
