//! LMGT: Q-learning from a replay buffer, with rewards that a guide shifts (Deng et al. 2024, *LMGT: Optimizing Exploration-Exploitation Balance
//! in Reinforcement Learning through Language Model Guided Trade-offs*, arXiv 2409.04744): r' = r + δr, where δr is positive where the guide approves
//! of an action, and negative where it disapproves.
//!
//! Such a shift can move the optimum. Two remedies are options: it is annealed to 0, or it is a potential of state and action (Wiewiora et al.
//! 2003, look-ahead advice), which leaves the optimal policy as it is.

use super::{
    episodes::{Asked, Learnt, Point, outcome},
    mdp::Mdp,
    q_function::{Learner, Outputs, QFunction, Target, q_function},
    values::{Prior, at_every_step, evaluated, optimal},
};
use clap::ValueEnum;
use model::{Key, Purpose, uniform};
use serde::Serialize;

/// γ: what comes a step later counts this much, so that time is not lost.
const DISCOUNT: f64 = 0.95;
/// The share of random actions at first, and at least; it falls linearly over the first half of the episodes.
const EXPLORATION: [f64; 2] = [1.0, 0.05];
/// A guide approves of an action to which it gives this many times the probability of no opinion, and disapproves below the second.
const APPROVED: [f64; 2] = [1.5, 0.5];

/// What becomes of the guide's opinion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shift {
    /// No shift: plain Q-learning
    None,
    /// +1, 0 or -1 times the scale
    Signs,
    /// Between -1 and 1 times the scale, by how sure the guide is
    Graded,
    /// The signs as a potential
    Potential,
}

/// How LMGT learns.
#[derive(Clone, Copy, Debug)]
pub struct LmgtConfig {
    /// What becomes of the guide's opinion.
    pub shift: Shift,
    /// The largest shift.
    pub scale: f64,
    /// Episodes in which the shift falls to 0.
    pub anneal: Option<usize>,
    /// What holds the Q-function.
    pub learner: Learner,
    /// Episodes.
    pub episodes: usize,
    /// Episodes between two evaluations of the greedy policy, which are exact.
    pub evaluate_every: usize,
}

/// The guide's opinion of the actions of a state, from -1 to 1, by its probabilities.
pub fn opinions(prior: &[f64], shift: Shift) -> Vec<f64> {
    let count = prior.len() as f64;
    let opinion = |&p: &f64| match shift {
        Shift::None => 0.0,
        Shift::Signs | Shift::Potential if p * count >= APPROVED[0] => 1.0,
        Shift::Signs | Shift::Potential if p * count <= APPROVED[1] => -1.0,
        Shift::Signs | Shift::Potential => 0.0,
        // 1 where the guide is certain of an action.
        Shift::Graded if count > 1.0 => ((p * count).ln() / count.ln()).clamp(-1.0, 1.0),
        Shift::Graded => 0.0,
    };
    prior.iter().map(opinion).collect()
}

/// A transition of the buffer.
#[derive(Clone, Copy)]
pub(super) struct Transition {
    pub(super) state: usize,
    pub(super) action: usize,
    pub(super) reward: f64,
    pub(super) next: usize,
}

/// Off-policy learning from single transitions.
pub(super) struct QLearning<'a> {
    mdp: &'a Mdp,
    q: Box<dyn QFunction>,
    opinions: Vec<Vec<f64>>,
    shift: Shift,
    buffer: Vec<Transition>,
    /// The states whose opinions were used.
    pub(super) asked: Asked,
}

impl<'a> QLearning<'a> {
    /// A learner with a guide's probabilities of actions.
    pub(super) fn new(mdp: &'a Mdp, prior: &Prior, shift: Shift, learner: Learner, seed: u64) -> Self {
        Self {
            mdp,
            q: q_function(learner, mdp, Outputs::actions(mdp), Key::new(seed, Purpose::Weights)),
            opinions: prior.iter().map(|row| opinions(row, shift)).collect(),
            shift,
            buffer: Vec::new(),
            asked: Asked::new(mdp),
        }
    }

    fn is_potential(&self) -> bool {
        self.shift == Shift::Potential
    }

    /// What the actions of a state are compared by. A potential is taken off Q, so it is added again.
    fn preferences(&self, state: usize, scale: f64) -> Vec<f64> {
        let advice = if self.is_potential() { scale } else { 0.0 };
        self.q.values(state).iter().zip(&self.opinions[state]).map(|(q, opinion)| q + advice * opinion).collect()
    }

    /// The best action; among equal ones, the `tie`-th share of them. `None` in a state that ends an episode.
    pub(super) fn best(&self, state: usize, scale: f64, tie: f64) -> Option<usize> {
        let preferences = self.preferences(state, scale);
        let largest = preferences.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let best: Vec<usize> = (0..preferences.len()).filter(|&a| preferences[a] == largest).collect();
        best.get((tie * best.len() as f64) as usize).copied()
    }

    fn target(&mut self, transition: Transition, scale: f64) -> Target {
        let Transition { state, action, reward, next } = transition;
        let follower = self.best(next, scale, 0.0);
        let value = follower.map_or(0.0, |a| self.q.target_values(next)[a]);
        let shift = match self.is_potential() {
            false => scale * self.opinions[state][action],
            true => {
                let after = follower.map_or(0.0, |a| self.opinions[next][a]);
                scale * (DISCOUNT * after - self.opinions[state][action])
            }
        };
        Target { state, action, value: reward + shift + DISCOUNT * value }
    }

    /// Keeps a transition, and learns from it and from others of the buffer.
    pub(super) fn add(&mut self, new: Transition, scale: f64, number: impl Fn(usize) -> f64) {
        if self.shift != Shift::None {
            self.asked.look_up(self.mdp, new.state);
        }
        if self.is_potential() {
            self.asked.look_up(self.mdp, new.next);
        }
        let mut all = vec![new];
        self.buffer.push(new);
        all.extend((0..self.q.replays()).map(|place| self.buffer[(number(place) * self.buffer.len() as f64) as usize]));
        for some in all.chunks(self.q.together()) {
            let targets: Vec<Target> = some.iter().map(|transition| self.target(*transition, scale)).collect();
            self.q.learn(&targets);
        }
    }

    /// The greedy policy, the same at every step.
    pub(super) fn policy(&self, scale: f64) -> Prior {
        let of_state = |state: usize| {
            let best = self.best(state, scale, 0.0);
            (0..self.mdp.actions(state)).map(|a| f64::from(u8::from(Some(a) == best))).collect()
        };
        (0..self.mdp.states.len()).map(of_state).collect()
    }

    /// The expected return of the greedy policy.
    pub(super) fn value(&self, scale: f64) -> f64 {
        evaluated(self.mdp, &at_every_step(self.mdp, &self.policy(scale))).values[0][self.mdp.start]
    }
}

/// The share of random actions in an episode of so many.
pub(super) fn exploration(episode: usize, episodes: usize) -> f64 {
    let done = 2.0 * episode as f64 / episodes as f64;
    (EXPLORATION[0] * (1.0 - done)).max(EXPLORATION[1])
}

/// Learns from episodes. Everything random depends on the seed alone.
pub fn learn(mdp: &Mdp, prior: &Prior, config: &LmgtConfig, seed: u64) -> Learnt {
    let LmgtConfig { shift, scale, anneal, learner, episodes, evaluate_every } = *config;
    let mut learner = QLearning::new(mdp, prior, shift, learner, seed);
    let scale_of = |episode: usize| match anneal {
        Some(length) => scale * (1.0 - episode as f64 / length as f64).max(0.0),
        None => scale,
    };
    let point = |learner: &QLearning<'_>, episode: usize| {
        let (value, queries) = (learner.value(scale_of(episode)), learner.asked.queries);
        Point { episodes: episode, value, queries, right: 0 }
    };
    let mut curve = Vec::new();
    for episode in 0..episodes {
        let scale = scale_of(episode);
        if episode % evaluate_every == 0 {
            curve.push(point(&learner, episode));
        }
        let exploration = exploration(episode, episodes);
        let key = Key::new(seed, Purpose::Episodes).with(episode as u64);
        let mut state = mdp.start;
        for step in 0..mdp.horizon {
            let number = |place: usize| f64::from(uniform(key.with(step as u64), place as u64));
            let count = mdp.actions(state);
            let random = (number(1) * count as f64) as usize;
            let greedy = learner.best(state, scale, number(2));
            let Some(action) = greedy.map(|best| if number(0) < exploration { random } else { best }) else { break };
            let (reward, next) = outcome(mdp, state, action, number(3));
            learner.add(Transition { state, action, reward, next }, scale, |place| number(4 + place));
            state = next;
        }
    }
    curve.push(point(&learner, episodes));
    Learnt { curve, best: optimal(mdp).values[0][mdp.start], asked: learner.asked }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guided::{
        environments::Environment,
        prior::{prior_of_divergence, uniform_prior},
    };

    #[test]
    fn a_guide_approves_of_what_it_finds_likely() {
        assert_eq!(opinions(&[0.5, 0.25, 0.2, 0.05], Shift::Signs), [1.0, 0.0, 0.0, -1.0]);
        assert_eq!(opinions(&[0.25; 4], Shift::Graded), [0.0; 4]);
        assert_eq!(opinions(&[1.0, 0.0], Shift::Graded), [1.0, -1.0]);
        assert_eq!(opinions(&[0.9, 0.1], Shift::None), [0.0, 0.0]);
    }

    fn returns(shift: Shift, nats: Option<f64>, anneal: Option<usize>) -> f64 {
        let of_seed = |seed: u64| {
            let mdp = Environment::Blocks.build(Some(3), seed).unwrap();
            let prior = nats.map_or_else(|| uniform_prior(&mdp), |nats| prior_of_divergence(&mdp, nats).unwrap());
            let learner = Learner::Table;
            let config = LmgtConfig { shift, scale: 0.3, anneal, learner, episodes: 200, evaluate_every: 50 };
            learn(&mdp, &prior, &config, seed).curve.last().unwrap().value
        };
        (0..6).map(of_seed).sum::<f64>() / 6.0
    }

    #[test]
    fn q_learning_solves_the_blocks_and_a_potential_or_an_annealed_shift_leaves_it_so() {
        assert!(returns(Shift::None, None, None) > 0.99);
        assert!(returns(Shift::Signs, Some(0.3), None) > 0.99, "a good guide");
        // A wrong guide.
        assert!(returns(Shift::Signs, Some(12.0), None) < 0.5, "a shift moves the optimum");
        assert!(returns(Shift::Signs, Some(12.0), Some(60)) > 0.99, "not after it has been annealed");
        assert!(returns(Shift::Potential, Some(12.0), None) > 0.99, "and a potential does not");
    }

    #[test]
    fn a_network_solves_the_grid_and_the_guide_is_asked_about_each_state_once() {
        let config = LmgtConfig {
            shift: Shift::None,
            scale: 0.1,
            anneal: None,
            learner: Learner::Dqn,
            episodes: 1000,
            evaluate_every: 1000,
        };
        for seed in 0..2 {
            let mdp = Environment::KeyDoor.build(None, seed).unwrap();
            let learnt = learn(&mdp, &uniform_prior(&mdp), &config, seed);
            let last = learnt.curve[learnt.curve.len() - 1];
            assert!(learnt.best - last.value < 0.05, "{learnt:?}");
            assert_eq!((last.queries, learnt.asked.hits), (0, 0), "no guide is asked without a shift");
        }
        let mdp = Environment::KeyDoor.build(None, 0).unwrap();
        let config = LmgtConfig { shift: Shift::Signs, learner: Learner::Table, episodes: 20, ..config };
        let asked = learn(&mdp, &uniform_prior(&mdp), &config, 0).asked;
        assert!(asked.queries <= mdp.states.len() && asked.hits > asked.queries, "{asked:?}");
    }
}
