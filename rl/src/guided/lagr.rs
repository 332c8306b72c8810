//! LaGR-SEQ: a learner that may ask a language model to complete what it has begun (Karimpanal et al. 2023, *LaGR-SEQ: Language-Guided
//! Reinforcement Learning with Sample-Efficient Querying*, arXiv 2308.13542).
//!
//! LaGR: in a state of an episode, the guide proposes the rest of the solution, its likeliest action in each state that follows. The proposal
//! is tried, and its transitions become experience of the primary learner, a Q-learner; the episode goes on. SEQ: a secondary learner decides
//! in which states to ask. Its reward for asking is 1 if the proposal solves the task and 0 if it does not, less the price of a query, and
//! for not asking 0: it learns where the guide is right.
//!
//! A query of a state that was asked about before costs as much again, as the query of a model that samples would.

use super::{
    episodes::{Learnt, Point, outcome},
    lmgt::{QLearning, Shift, Transition, exploration},
    mdp::Mdp,
    q_function::{Learner, Outputs, QFunction, Target, q_function},
    values::{Prior, optimal},
};
use clap::ValueEnum;
use model::{Key, Purpose, uniform};
use serde::Serialize;

/// A return this close to the best one solves the task.
const SOLVED: f64 = 1e-6;
/// The outputs of the secondary learner.
const KEEP_ON: usize = 0;
const ASK: usize = 1;

/// When the guide is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Query {
    /// Where a secondary learner expects a solution (SEQ)
    Learnt,
    /// In every state (LaGR alone)
    Always,
    /// Never: the primary learner alone
    Never,
}

/// How LaGR-SEQ learns.
#[derive(Clone, Copy, Debug)]
pub struct LagrConfig {
    /// When the guide is asked.
    pub query: Query,
    /// The price of a query, in returns of a solved task.
    pub price: f64,
    /// What holds the Q-functions of both learners.
    pub learner: Learner,
    /// Episodes.
    pub episodes: usize,
    /// Episodes between two evaluations of the greedy policy, which are exact.
    pub evaluate_every: usize,
}

/// The secondary learner.
struct Secondary {
    q: Box<dyn QFunction>,
    /// States that were asked about, with the rewards.
    buffer: Vec<(usize, f64)>,
}

impl Secondary {
    fn new(learner: Learner, mdp: &Mdp, key: Key) -> Self {
        Self { q: q_function(learner, mdp, Outputs::alike(mdp, 2), key), buffer: Vec::new() }
    }

    /// Whether asking in a state is worth its price.
    fn asks(&self, state: usize) -> bool {
        let values = self.q.values(state);
        values[ASK] > values[KEEP_ON]
    }

    /// Learns from the reward of a query, and from earlier ones.
    fn learn(&mut self, state: usize, reward: f64, number: impl Fn(usize) -> f64) {
        self.buffer.push((state, reward));
        let earlier = |place: usize| self.buffer[(number(place) * self.buffer.len() as f64) as usize];
        let all: Vec<(usize, f64)> = [(state, reward)].into_iter().chain((0..self.q.replays()).map(earlier)).collect();
        for some in all.chunks(self.q.together()) {
            let target = |&(state, value): &(usize, f64)| {
                [Target { state, action: ASK, value }, Target { state, action: KEEP_ON, value: 0.0 }]
            };
            self.q.learn(&some.iter().flat_map(target).collect::<Vec<_>>());
        }
    }
}

/// The guide's rest of a solution, and the sum of its rewards.
fn proposal(
    mdp: &Mdp,
    prior: &Prior,
    from: usize,
    steps: usize,
    number: impl Fn(u64) -> f64,
) -> (Vec<Transition>, f64) {
    let (mut state, mut transitions, mut sum) = (from, Vec::new(), 0.0);
    for step in 0..steps as u64 {
        let likely = &prior[state];
        let Some(action) = (0..likely.len()).reduce(|best, a| if likely[a] > likely[best] { a } else { best }) else {
            break;
        };
        let (reward, next) = outcome(mdp, state, action, number(step));
        transitions.push(Transition { state, action, reward, next });
        sum += reward;
        state = next;
    }
    (transitions, sum)
}

/// Learns from episodes. Everything random depends on the seed alone.
pub fn learn(mdp: &Mdp, prior: &Prior, config: &LagrConfig, seed: u64) -> Learnt {
    learn_both(mdp, prior, config, seed).0
}

fn learn_both(mdp: &Mdp, prior: &Prior, config: &LagrConfig, seed: u64) -> (Learnt, Secondary) {
    let LagrConfig { query, price, learner, episodes, evaluate_every } = *config;
    let best = optimal(mdp).values[0][mdp.start];
    let mut primary = QLearning::new(mdp, prior, Shift::None, learner, seed);
    let mut secondary = Secondary::new(learner, mdp, Key::new(seed, Purpose::Weights).with(1));
    let (mut queries, mut right) = (0, 0);
    let mut curve = Vec::new();
    for episode in 0..episodes {
        if episode % evaluate_every == 0 {
            curve.push(Point { episodes: episode, value: primary.value(0.0), queries, right });
        }
        let exploration = exploration(episode, episodes);
        let key = Key::new(seed, Purpose::Episodes).with(episode as u64);
        let (mut state, mut sum) = (mdp.start, 0.0);
        for step in 0..mdp.horizon {
            let key = key.with(step as u64);
            let number = |purpose: u64| move |place: usize| f64::from(uniform(key.with(purpose), place as u64));
            let [of_step, of_query, of_proposal, of_replay, of_secondary] = [0, 1, 2, 3, 4].map(number);
            let Some(greedy) = primary.best(state, 0.0, of_step(2)) else { break };
            let asks = match query {
                Query::Always => true,
                Query::Never => false,
                Query::Learnt if of_query(0) < exploration => of_query(1) < 0.5,
                Query::Learnt => secondary.asks(state),
            };
            if asks {
                let left = mdp.horizon - step;
                let (transitions, more) = proposal(mdp, prior, state, left, |step| of_proposal(step as usize));
                let solves = sum + more >= best - SOLVED;
                queries += 1;
                right += usize::from(solves);
                for (place, transition) in transitions.into_iter().enumerate() {
                    primary.add(transition, 0.0, |other| of_replay(1000 * (place + 1) + other));
                }
                primary.asked.look_up(mdp, state);
                if query == Query::Learnt {
                    secondary.learn(state, f64::from(u8::from(solves)) - price, of_secondary);
                }
            }
            let random = (of_step(1) * mdp.actions(state) as f64) as usize;
            let action = if of_step(0) < exploration { random } else { greedy };
            let (reward, next) = outcome(mdp, state, action, of_step(3));
            primary.add(Transition { state, action, reward, next }, 0.0, of_replay);
            sum += reward;
            state = next;
        }
    }
    curve.push(Point { episodes, value: primary.value(0.0), queries, right });
    (Learnt { curve, best, asked: primary.asked }, secondary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guided::{environments::Environment, prior::prior_that_knows};

    fn config(query: Query) -> LagrConfig {
        LagrConfig { query, price: 0.2, learner: Learner::Table, episodes: 300, evaluate_every: 10 }
    }

    #[test]
    fn the_query_policy_learns_where_the_guide_is_right() {
        // States that were asked about often, those of them where the guide solves the task, and those where the policy is wrong about it.
        let (mut often, mut solved, mut wrong) = (0, 0, 0);
        for seed in 0..5 {
            let mdp = Environment::Cubes.build(None, seed).unwrap();
            let prior = prior_that_knows(&mdp, 0.8, seed);
            let (learnt, secondary) = learn_both(&mdp, &prior, &config(Query::Learnt), seed);
            assert!(learnt.best - learnt.curve[learnt.curve.len() - 1].value < 1e-9);
            for state in 0..mdp.states.len() {
                let rewards: Vec<f64> =
                    secondary.buffer.iter().filter(|(asked, _)| *asked == state).map(|(_, reward)| *reward).collect();
                assert!(rewards.iter().all(|reward| *reward == rewards[0]), "nothing in the task is random");
                if rewards.len() >= 3 {
                    often += 1;
                    solved += usize::from(rewards[0] > 0.0);
                    wrong += usize::from(secondary.asks(state) != (rewards[0] > 0.0));
                }
            }
        }
        assert!(often > 40 && solved > 5 && wrong == 0, "{often} {solved} {wrong}");
    }

    #[test]
    fn learning_when_to_ask_saves_queries() {
        let mean = |query: Query| {
            let of_seed = |seed: u64| {
                let mdp = Environment::Cubes.build(None, seed).unwrap();
                let learnt = learn(&mdp, &prior_that_knows(&mdp, 0.6, seed), &config(query), seed);
                let last = learnt.curve[learnt.curve.len() - 1];
                assert!(learnt.best - last.value < 1e-9, "{query:?} {seed}");
                (last.queries, last.right)
            };
            let all: Vec<(usize, usize)> = (0..4).map(of_seed).collect();
            [all.iter().map(|seed| seed.0).sum::<usize>(), all.iter().map(|seed| seed.1).sum::<usize>()]
        };
        let [learnt, right] = mean(Query::Learnt);
        let [always, right_of_always] = mean(Query::Always);
        assert_eq!(mean(Query::Never), [0, 0]);
        assert!(2 * learnt < always, "{learnt} of {always}");
        assert!(right * always > right_of_always * learnt, "a larger share of its queries is answered rightly");
    }
}
