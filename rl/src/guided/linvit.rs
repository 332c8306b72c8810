//! LINVIT: value iteration with a language model as a prior, in an environment whose dynamics are learnt from episodes (Zhang et al. 2024, *How
//! Can LLM Guide RL? A Value-Based Approach*, arXiv 2402.16181, algorithm 1).
//!
//! After each episode, backward induction over the empirical dynamics gives optimistic and pessimistic values of the problem that is
//! regularised towards the prior. An episode takes the action whose value is least certain among those that the optimistic policy
//! considers. The policy that is returned is the regularised one of the plain estimates.
//!
//! Where we deviate: returns of an episode are at most 1, which bounds the values in place of H; the constant of the bonus is a parameter; dynamics do
//! not depend on the step, so counts are shared by all steps; rewards are estimated with the transitions. With λ = 0 the prior is
//! ignored: optimistic value iteration with exploration by uncertainty (UCBVI, Azar et al. 2017, has the same bonus).

use super::{
    episodes::{Asked, Learnt, Point, outcome},
    mdp::Mdp,
    values::{Policy, Prior, evaluated, optimal, soft_maximum},
};
use model::{Key, Purpose, uniform};
use std::collections::BTreeMap;

/// Largest return of an episode.
const LARGEST_RETURN: f64 = 1.0;

/// How LINVIT learns.
#[derive(Clone, Copy, Debug)]
pub struct LinvitConfig {
    /// λ: weight of KL(π ‖ prior); 0 ignores the prior.
    pub lambda: f64,
    /// c of the bonus c / √n of an action that was taken n times.
    pub bonus: f64,
    /// Episodes.
    pub episodes: usize,
    /// Episodes between two evaluations of the policy, which are exact.
    pub evaluate_every: usize,
}

/// Transitions that were seen, by state and action.
struct Counts(Vec<Vec<Seen>>);

/// What was seen of an action.
#[derive(Clone, Default)]
struct Seen {
    /// How often it was taken.
    count: f64,
    /// The sum of its rewards.
    rewards: f64,
    /// How often each state followed.
    followed: BTreeMap<usize, f64>,
}

impl Counts {
    fn new(mdp: &Mdp) -> Self {
        Self((0..mdp.states.len()).map(|state| vec![Seen::default(); mdp.actions(state)]).collect())
    }

    fn add(&mut self, state: usize, action: usize, reward: f64, next: usize) {
        let Seen { count, rewards, followed } = &mut self.0[state][action];
        *count += 1.0;
        *rewards += reward;
        *followed.entry(next).or_default() += 1.0;
    }

    /// r̂ + P̂ V of every action of a state, with a bonus of `bonus` / √n, within the range of returns; `unseen` of one that was never taken.
    fn action_values(&self, state: usize, next: &[f64], bonus: f64, unseen: f64) -> Vec<f64> {
        let of_action = |Seen { count, rewards, followed }: &Seen| {
            if *count == 0.0 {
                return unseen;
            }
            let expected: f64 = followed.iter().map(|(state, times)| times * next[*state]).sum();
            ((rewards + expected) / count + bonus / count.sqrt()).clamp(0.0, LARGEST_RETURN)
        };
        self.0[state].iter().map(of_action).collect()
    }

    /// Values, action values and policy by backward induction.
    fn plan(&self, mdp: &Mdp, prior: &Prior, lambda: f64, bonus: f64, unseen: f64) -> Plan {
        let count = mdp.states.len();
        let mut values = vec![0.0; count];
        let (mut action_values, mut policy) = (Vec::new(), Vec::new());
        for _ in 0..mdp.horizon {
            let q: Vec<Vec<f64>> = (0..count).map(|state| self.action_values(state, &values, bonus, unseen)).collect();
            let chosen = q.iter().zip(prior).map(|(q, prior)| match q.is_empty() {
                true => (0.0, Vec::new()),
                false => soft_maximum(q, prior, lambda),
            });
            let (new, of_step): (Vec<f64>, Vec<Vec<f64>>) = chosen.unzip();
            values = new;
            action_values.push(q);
            policy.push(of_step);
        }
        action_values.reverse();
        policy.reverse();
        Plan { action_values, policy }
    }
}

/// What backward induction gives.
struct Plan {
    action_values: Vec<Vec<Vec<f64>>>,
    policy: Policy,
}

/// Learns from episodes. Everything random depends on the seed alone.
pub fn learn(mdp: &Mdp, prior: &Prior, config: &LinvitConfig, seed: u64) -> Learnt {
    let mut counts = Counts::new(mdp);
    let LinvitConfig { lambda, bonus, episodes, evaluate_every } = *config;
    let estimate = |counts: &Counts| counts.plan(mdp, prior, lambda, 0.0, 0.0).policy;
    let point = |policy: &Policy, episodes: usize, asked: &Asked| {
        let value = evaluated(mdp, policy).values[0][mdp.start];
        Point { episodes, value, queries: asked.queries, right: 0 }
    };
    let mut asked = Asked::new(mdp);
    let mut curve = Vec::new();
    for episode in 0..episodes {
        if episode % evaluate_every == 0 {
            curve.push(point(&estimate(&counts), episode, &asked));
        }
        let upper = counts.plan(mdp, prior, lambda, bonus, LARGEST_RETURN);
        let lower = counts.plan(mdp, prior, lambda, -bonus, 0.0);
        let key = Key::new(seed, Purpose::Episodes).with(episode as u64);
        let mut state = mdp.start;
        for step in 0..mdp.horizon {
            // In states that were never visited all actions have the same values, and the guide makes no difference.
            if lambda > 0.0 {
                asked.look_up(mdp, state);
            }
            let Some(action) = least_certain(&upper, &lower, step, state) else { break };
            let (reward, next) = outcome(mdp, state, action, f64::from(uniform(key, step as u64)));
            counts.add(state, action, reward, next);
            state = next;
        }
    }
    let policy = estimate(&counts);
    curve.push(point(&policy, episodes, &asked));
    Learnt { curve, best: optimal(mdp).values[0][mdp.start], asked }
}

/// The action with the largest π̄(a | s) (Q̄ - Q̲); `None` in a state that ends an episode.
fn least_certain(upper: &Plan, lower: &Plan, step: usize, state: usize) -> Option<usize> {
    let [high, low] = [upper, lower].map(|plan| &plan.action_values[step][state]);
    let likely = &upper.policy[step][state];
    let doubt = |a: usize| likely[a] * (high[a] - low[a]);
    (0..high.len()).reduce(|best, a| if doubt(a) > doubt(best) { a } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guided::{
        environments::Environment,
        prior::{prior_of_divergence, uniform_prior},
        values::{
            regularised,
            tests::{random_mdp, random_prior},
        },
    };

    #[test]
    fn with_much_experience_the_policy_is_the_regularised_one_of_the_true_dynamics() {
        for seed in 0..3 {
            let mdp = random_mdp(seed, 3, 2, 3);
            let prior = random_prior(&mdp, seed);
            let config = LinvitConfig { lambda: 0.1, bonus: 0.5, episodes: 4000, evaluate_every: 1000 };
            let learnt = learn(&mdp, &prior, &config, seed);
            let exact = evaluated(&mdp, &regularised(&mdp, &prior, 0.1).policy).values[0][0];
            let value = learnt.curve[learnt.curve.len() - 1].value;
            assert!((value - exact).abs() < 0.01, "{value} for {exact}");
        }
    }

    #[test]
    fn optimistic_and_pessimistic_values_hold_the_true_ones_between_them() {
        let mdp = random_mdp(7, 3, 2, 3);
        let prior = random_prior(&mdp, 7);
        let mut counts = Counts::new(&mdp);
        for draw in 0..300 {
            let key = Key::new(1, Purpose::Episodes).with(draw);
            let (state, action) = ((key.with(0).bits() % 3) as usize, (key.with(1).bits() % 2) as usize);
            let (reward, next) = outcome(&mdp, state, action, f64::from(uniform(key, 2)));
            counts.add(state, action, reward, next);
            let exact = regularised(&mdp, &prior, 0.2).action_values;
            let [high, low] =
                [(2.0, 1.0), (-2.0, 0.0)].map(|(bonus, unseen)| counts.plan(&mdp, &prior, 0.2, bonus, unseen));
            for step in 0..3 {
                for state in 0..3 {
                    for action in 0..2 {
                        let exact = exact[step][state][action];
                        assert!(high.action_values[step][state][action] >= exact - 1e-9);
                        assert!(low.action_values[step][state][action] <= exact + 1e-9);
                    }
                }
            }
        }
    }

    #[test]
    fn a_good_guide_saves_episodes_and_a_bad_one_does_not_keep_the_optimum_from_being_found() {
        let episodes = |nats: Option<f64>, lambda: f64| -> Vec<usize> {
            let of_seed = |seed: u64| {
                let mdp = Environment::Blocks.build(Some(3), seed).unwrap();
                let prior = match nats {
                    Some(nats) => prior_of_divergence(&mdp, nats).unwrap(),
                    None => uniform_prior(&mdp),
                };
                let config = LinvitConfig { lambda, bonus: 0.05, episodes: 400, evaluate_every: 1 };
                learn(&mdp, &prior, &config, seed).reached(0.1).expect("the optimum is found").episodes
            };
            (0..10).map(of_seed).collect()
        };
        let mean = |all: Vec<usize>| all.iter().sum::<usize>() as f64 / all.len() as f64;
        let good = mean(episodes(Some(0.3), 0.02));
        let none = mean(episodes(None, 0.02));
        let bad = mean(episodes(Some(8.0), 0.02));
        assert!(good < 0.5 * none, "{good} {none} {bad}");
    }
}
