//! Small environments as tables: every state that can be reached, in words and as a picture, with what each action leads to. Independent of
//! learning and of language models.

use anyhow::{Result, ensure};
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

/// A finite-horizon Markov decision process whose states and actions are described in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Mdp {
    /// The rules, in words: what a guide reads before a state.
    pub rules: String,
    /// All states that can be reached.
    pub states: Vec<State>,
    /// Index of the first state of an episode.
    pub start: usize,
    /// H, steps of an episode at most.
    pub horizon: usize,
    /// Number of different texts of actions.
    pub action_texts: usize,
}

/// A state.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The state in words.
    pub text: String,
    /// The state for the terminal.
    pub picture: String,
    /// The state as numbers, as many in each state: what a network reads.
    pub features: Vec<f32>,
    /// A rule's estimate of the return from here on, from 0 to 1.
    pub estimate: f64,
    /// What can be done; nothing in a state that ends an episode.
    pub actions: Vec<Action>,
}

/// An action in a state.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// The action in words; no two actions of a state have the same.
    pub text: String,
    /// The number of its text, below [`Mdp::action_texts`]: the same in all states that have such an action.
    pub number: usize,
    /// What it leads to; the probabilities sum to 1.
    pub outcomes: Vec<Outcome>,
}

/// What an action may lead to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// How likely it is.
    pub probability: f64,
    /// Index of the next state.
    pub next: usize,
    /// The reward, from 0 to 1.
    pub reward: f64,
}

/// An action in words, and the situations that may follow it, each with its probability before it and its reward behind it.
pub type Choice<S> = (String, Vec<(f64, S, f64)>);

/// A state of a game, before it is a row of a table.
pub trait Situation: Clone + Eq + Hash {
    /// The state in words.
    fn text(&self) -> String;
    /// The state for the terminal.
    fn picture(&self) -> String;
    /// The state as numbers, as many in each state.
    fn features(&self) -> Vec<f32>;
    /// A rule's estimate of the return from here on, from 0 to 1; 0 where an episode ends.
    fn estimate(&self) -> f64;
    /// What can be done.
    fn actions(&self) -> Vec<Choice<Self>>;
}

/// Maximum number of states: all of them are in memory, and each episode plans over them.
const MAX_STATES: usize = 20_000;

impl Mdp {
    /// All that can be reached from a first situation, in the order of a breadth-first search.
    ///
    /// # Errors
    /// Too many states; a state in which two actions have the same text, between which a guide cannot choose.
    pub fn of<S: Situation>(rules: String, first: S, horizon: usize) -> Result<Self> {
        let mut index = HashMap::from([(first.clone(), 0)]);
        let mut numbers = HashMap::new();
        let (mut states, mut open) = (Vec::new(), VecDeque::from([first]));
        while let Some(situation) = open.pop_front() {
            let mut texts = HashSet::new();
            let mut actions = Vec::new();
            for (text, outcomes) in situation.actions() {
                ensure!(
                    texts.insert(text.clone()),
                    "two actions are called {text:?} in the state {:?}: a guide cannot tell them apart",
                    situation.text()
                );
                let outcomes = outcomes.into_iter().map(|(probability, situation, reward)| {
                    let count = index.len();
                    let next = *index.entry(situation.clone()).or_insert_with(|| {
                        open.push_back(situation);
                        count
                    });
                    Outcome { probability, next, reward }
                });
                let outcomes = outcomes.collect();
                let count = numbers.len();
                let number = *numbers.entry(text.clone()).or_insert(count);
                actions.push(Action { text, number, outcomes });
            }
            let (text, picture) = (situation.text(), situation.picture());
            let (features, estimate) = (situation.features(), situation.estimate());
            states.push(State { text, picture, features, estimate, actions });
            ensure!(index.len() <= MAX_STATES, "the environment has more than {MAX_STATES} states: make it smaller");
        }
        Ok(Self { rules, states, start: 0, horizon, action_texts: numbers.len() })
    }

    /// Number of actions in a state.
    pub fn actions(&self, state: usize) -> usize {
        self.states[state].actions.len()
    }

    /// The likeliest outcome of an action.
    pub fn likeliest(&self, state: usize, action: usize) -> Outcome {
        let outcomes = &self.states[state].actions[action].outcomes;
        let best = outcomes
            .iter()
            .copied()
            .reduce(|best, other| if other.probability > best.probability { other } else { best });
        best.expect("an action has an outcome")
    }
}

/// Numbers of which the one at `place` is 1 and the others are 0.
pub fn one_hot(place: usize, length: usize) -> impl Iterator<Item = f32> {
    (0..length).map(move |other| f32::from(u8::from(other == place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up to 3, by actions with given texts.
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct Counter(usize, [&'static str; 2]);

    impl Situation for Counter {
        fn text(&self) -> String {
            format!("The counter is at {}.", self.0)
        }

        fn picture(&self) -> String {
            self.text()
        }

        fn features(&self) -> Vec<f32> {
            vec![self.0 as f32]
        }

        fn estimate(&self) -> f64 {
            0.0
        }

        fn actions(&self) -> Vec<Choice<Self>> {
            let to = |by: usize| vec![(0.75, Self(self.0 + by, self.1), 0.0), (0.25, self.clone(), 0.0)];
            if self.0 >= 3 {
                return Vec::new();
            }
            vec![(self.1[0].into(), to(1)), (self.1[1].into(), to(2))]
        }
    }

    #[test]
    fn all_states_that_can_be_reached_are_there_and_a_text_has_one_number() {
        let mdp = Mdp::of(String::new(), Counter(0, ["one", "two"]), 4).unwrap();
        assert_eq!(mdp.states.len(), 5);
        assert_eq!(mdp.action_texts, 2);
        for state in &mdp.states {
            assert!(state.actions.iter().all(|action| action.number == usize::from(action.text == "two")));
        }
        let next = mdp.likeliest(0, 1).next;
        assert_eq!(mdp.states[next].text, "The counter is at 2.");
    }

    #[test]
    fn actions_that_share_a_text_are_refused() {
        let error = Mdp::of(String::new(), Counter(0, ["more", "more"]), 4).unwrap_err().to_string();
        assert!(error.contains("two actions are called \"more\" in the state \"The counter is at 0.\""), "{error}");
    }
}
