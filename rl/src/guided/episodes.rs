//! What all learners share: what happens in an episode, and what comes of learning from many.

use super::{mdp::Mdp, values::Policy};

/// What was learnt.
#[derive(Clone, Debug, PartialEq)]
pub struct Learnt {
    /// Episodes, and the expected return of the policy after them.
    pub curve: Vec<(usize, f64)>,
    /// V* of the start: the largest expected return.
    pub best: f64,
    /// The policy after the last episode.
    pub policy: Policy,
}

impl Learnt {
    /// The first evaluated number of episodes after which the policy is within ε of the best one, and stays so; `None` if it never does.
    pub fn episodes_to(&self, epsilon: f64) -> Option<usize> {
        let is_there = |(_, value): &&(usize, f64)| self.best - value <= epsilon;
        self.curve.iter().rev().take_while(is_there).last().map(|(episodes, _)| *episodes)
    }
}

/// Reward and next state of an action, by a number from 0 to 1.
pub fn outcome(mdp: &Mdp, state: usize, action: usize, number: f64) -> (f64, usize) {
    let outcomes = &mdp.states[state].actions[action].outcomes;
    let mut left = number;
    for outcome in outcomes {
        left -= outcome.probability;
        if left < 0.0 {
            return (outcome.reward, outcome.next);
        }
    }
    let last = outcomes.last().expect("an action has an outcome");
    (last.reward, last.next)
}
