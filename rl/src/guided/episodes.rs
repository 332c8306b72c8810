//! What all learners share: what happens in an episode, when a guide is asked, and what comes of learning from many. Pure but for the count of
//! questions.

use super::mdp::Mdp;
use serde::{Deserialize, Serialize};

/// What was learnt.
#[derive(Clone, Debug, PartialEq)]
pub struct Learnt {
    /// Evaluations, in the order of episodes.
    pub curve: Vec<Point>,
    /// V* of the start: the largest expected return.
    pub best: f64,
    /// How the guide was asked.
    pub asked: Asked,
}

/// An evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Episodes before it.
    pub episodes: usize,
    /// The expected return of the policy.
    pub value: f64,
    /// Queries of the guide before it.
    pub queries: usize,
    /// Queries whose answer solved the task, of a learner that asks for whole solutions.
    pub right: usize,
}

impl Learnt {
    /// The first evaluation at which the policy is within ε of the best one, and stays so; `None` if there is none.
    pub fn reached(&self, epsilon: f64) -> Option<Point> {
        reached(&self.curve, self.best, epsilon)
    }
}

/// The first point of a curve that is within ε of the best return, and after which the curve stays so.
pub fn reached(curve: &[Point], best: f64, epsilon: f64) -> Option<Point> {
    curve.iter().rev().take_while(|point| best - point.value <= epsilon).last().copied()
}

/// The states that a learner has asked its guide about. Each is asked about once: later the answer is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    states: Vec<bool>,
    /// Queries: states that were asked about.
    pub queries: usize,
    /// How often the answer was known already.
    pub hits: usize,
}

impl Asked {
    /// Nothing has been asked.
    pub fn new(mdp: &Mdp) -> Self {
        Self { states: vec![false; mdp.states.len()], queries: 0, hits: 0 }
    }

    /// Counts that a learner looks up what the guide says of a state. States without actions need no guide.
    pub fn look_up(&mut self, mdp: &Mdp, state: usize) {
        match (mdp.actions(state), &mut self.states[state]) {
            (0, _) => {}
            (_, true) => self.hits += 1,
            (_, is_known) => {
                *is_known = true;
                self.queries += 1;
            }
        }
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

/// An action drawn from a distribution, by a number from 0 to 1; `None` where there is none.
pub fn drawn(distribution: &[f64], number: f64) -> Option<usize> {
    let mut left = number;
    let place = distribution.iter().position(|p| {
        left -= p;
        left < 0.0
    });
    place.or_else(|| distribution.iter().rposition(|&p| p > 0.0))
}
