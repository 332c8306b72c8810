//! SLINVIT: planning from sub-goal to sub-goal with a language model as a heuristic (Zhang et al. 2024, *How Can LLM Guide RL? A Value-Based
//! Approach*, arXiv 2402.16181, algorithm 3). Nothing is learnt; the dynamics are known.
//!
//! From the state that was reached, a tree of the k actions that the guide finds likeliest is grown to a depth d. Its leaves are scored by
//!
//! λ Σ log π_LM(a | s) + Σ r + V̂(leaf),
//!
//! V̂ being a rule's estimate or the mean return of the guide's own play from there. The path to the best leaf, the next sub-goal, is
//! executed; what deviates from the likeliest outcome is planned anew.

use super::{
    episodes::{Asked, Learnt, Point, drawn, outcome},
    mdp::Mdp,
    values::{Prior, optimal},
};
use anyhow::{Result, ensure};
use clap::ValueEnum;
use model::{Key, Purpose, uniform};
use serde::Serialize;

/// Largest number of leaves of a tree.
const MAX_LEAVES: usize = 100_000;

/// The value of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leaf {
    /// A rule's estimate, such as the share of blocks that are where they belong
    Rule,
    /// The mean return of the guide's own play from there
    MonteCarlo,
    /// Nothing: the guide and the rewards alone
    None,
}

/// How SLINVIT plans.
#[derive(Clone, Copy, Debug)]
pub struct SlinvitConfig {
    /// λ: weight of the guide's log-probability of a path.
    pub lambda: f64,
    /// k: actions of a state that are tried.
    pub breadth: usize,
    /// d: actions to the next sub-goal, at most.
    pub depth: usize,
    /// The value of a leaf.
    pub leaf: Leaf,
    /// Episodes of the guide that a Monte Carlo estimate is the mean of.
    pub rollouts: usize,
    /// Episodes.
    pub episodes: usize,
    /// Episodes between two points of the curve.
    pub evaluate_every: usize,
}

impl SlinvitConfig {
    /// Refuses trees that are too large.
    ///
    /// # Errors
    /// Naming the flags.
    pub fn check(&self, mdp: &Mdp) -> Result<()> {
        let most = mdp.states.iter().map(|state| state.actions.len().min(self.breadth)).max().unwrap_or(0);
        let leaves = u32::try_from(self.depth).ok().and_then(|depth| most.checked_pow(depth));
        ensure!(
            leaves.is_some_and(|leaves| leaves <= MAX_LEAVES),
            "a tree of {most} actions a state and {} deep has more than {MAX_LEAVES} leaves: lower --breadth or --depth",
            self.depth
        );
        Ok(())
    }
}

/// A path from a state.
#[derive(Clone)]
struct Path {
    /// Each action with the state that it is expected to lead to.
    steps: Vec<(usize, usize)>,
    score: f64,
}

struct Planner<'a> {
    mdp: &'a Mdp,
    prior: &'a Prior,
    config: SlinvitConfig,
    asked: Asked,
}

impl Planner<'_> {
    /// The best path from a state, with so many steps left; without steps where an episode ends.
    fn plan(&mut self, state: usize, left: usize, key: Key) -> Path {
        let mut best: Option<Path> = None;
        let mut open = vec![(state, Path { steps: Vec::new(), score: 0.0 })];
        let mut leaves = 0;
        while let Some((state, path)) = open.pop() {
            let length = path.steps.len();
            if length == self.config.depth.min(left) || self.mdp.actions(state) == 0 {
                leaves += 1;
                let score = path.score + self.value(state, left - length, key.with(leaves));
                if best.as_ref().is_none_or(|best| score > best.score) {
                    best = Some(Path { score, ..path });
                }
                continue;
            }
            self.asked.look_up(self.mdp, state);
            // The likeliest action is tried first, so that it wins where scores are equal.
            for &action in self.likeliest(state).iter().rev() {
                let outcome = self.mdp.likeliest(state, action);
                let mut path = path.clone();
                path.steps.push((action, outcome.next));
                path.score += outcome.reward;
                if self.config.lambda > 0.0 {
                    path.score += self.config.lambda * self.prior[state][action].ln();
                }
                open.push((outcome.next, path));
            }
        }
        best.expect("the state itself is a path")
    }

    /// The k likeliest actions of a state, by the guide.
    fn likeliest(&self, state: usize) -> Vec<usize> {
        let prior = &self.prior[state];
        let mut actions: Vec<usize> = (0..prior.len()).filter(|&a| prior[a] > 0.0).collect();
        // Stable, so that equal ones stay in their order.
        actions.sort_by(|&a, &b| prior[b].total_cmp(&prior[a]));
        actions.truncate(self.config.breadth);
        actions
    }

    /// The estimated return from a leaf.
    fn value(&mut self, state: usize, left: usize, key: Key) -> f64 {
        match self.config.leaf {
            Leaf::None => 0.0,
            Leaf::Rule => self.mdp.states[state].estimate,
            Leaf::MonteCarlo => {
                let all = self.config.rollouts;
                (0..all as u64).map(|number| self.played(state, left, key.with(number))).sum::<f64>() / all as f64
            }
        }
    }

    /// The return of one episode of the guide itself.
    fn played(&mut self, mut state: usize, left: usize, key: Key) -> f64 {
        let mut sum = 0.0;
        for step in 0..left as u64 {
            self.asked.look_up(self.mdp, state);
            let Some(action) = drawn(&self.prior[state], f64::from(uniform(key.with(step), 0))) else { break };
            let (reward, next) = outcome(self.mdp, state, action, f64::from(uniform(key.with(step), 1)));
            sum += reward;
            state = next;
        }
        sum
    }

    /// The return of one episode.
    fn episode(&mut self, key: Key) -> f64 {
        let (mut state, mut step, mut sum) = (self.mdp.start, 0, 0.0);
        while step < self.mdp.horizon && self.mdp.actions(state) > 0 {
            let path = self.plan(state, self.mdp.horizon - step, key.with(step as u64));
            for (action, expected) in path.steps {
                let (reward, next) = outcome(self.mdp, state, action, f64::from(uniform(key.with(step as u64), 0)));
                sum += reward;
                state = next;
                step += 1;
                if next != expected {
                    break;
                }
            }
        }
        sum
    }
}

/// Plays episodes. A point of the curve is the mean return of the episodes so far. Everything random depends on the seed alone.
pub fn play(mdp: &Mdp, prior: &Prior, config: &SlinvitConfig, seed: u64) -> Learnt {
    let mut planner = Planner { mdp, prior, config: *config, asked: Asked::new(mdp) };
    let (mut curve, mut sum) = (Vec::new(), 0.0);
    for episode in 1..=config.episodes {
        sum += planner.episode(Key::new(seed, Purpose::Episodes).with(episode as u64));
        if episode % config.evaluate_every == 0 || episode == config.episodes {
            let (value, queries) = (sum / episode as f64, planner.asked.queries);
            curve.push(Point { episodes: episode, value, queries, right: 0 });
        }
    }
    Learnt { curve, best: optimal(mdp).values[0][mdp.start], asked: planner.asked }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guided::{
        environments::Environment,
        prior::{prior_of_divergence, uniform_prior},
        values::{at_every_step, evaluated},
    };

    const CONFIG: SlinvitConfig = SlinvitConfig {
        lambda: 0.1,
        breadth: 3,
        depth: 2,
        leaf: Leaf::Rule,
        rollouts: 4,
        episodes: 5,
        evaluate_every: 5,
    };

    /// The mean return over environments.
    fn mean(nats: Option<f64>, config: &SlinvitConfig) -> f64 {
        let of_seed = |seed: u64| {
            let mdp = Environment::Blocks.build(Some(4), seed).unwrap();
            let prior = nats.map_or_else(|| uniform_prior(&mdp), |nats| prior_of_divergence(&mdp, nats).unwrap());
            play(&mdp, &prior, config, seed).curve[0].value
        };
        (0..5).map(of_seed).sum::<f64>() / 5.0
    }

    #[test]
    fn a_tree_as_deep_as_the_task_with_all_actions_solves_it() {
        let mdp = Environment::Calculations.build(None, 0).unwrap();
        let config = SlinvitConfig { breadth: 100, depth: 2, leaf: Leaf::None, lambda: 0.0, ..CONFIG };
        let learnt = play(&mdp, &uniform_prior(&mdp), &config, 0);
        assert_eq!(learnt.curve[0].value, 1.0);
        let error = SlinvitConfig { depth: 9, ..config }.check(&mdp).unwrap_err();
        assert!(error.to_string().contains("lower --breadth or --depth"), "{error}");
    }

    #[test]
    fn a_good_guide_solves_the_blocks_and_its_search_needs_few_states() {
        let greedy = SlinvitConfig { breadth: 1, depth: 1, leaf: Leaf::None, ..CONFIG };
        assert_eq!(mean(Some(1.0), &greedy), 1.0, "the best action is the likeliest");
        assert_eq!(mean(Some(20.0), &greedy), 0.0, "and the worst one of a wrong guide");
        // Breadth and a rule help where the guide has no opinion.
        let wide = SlinvitConfig { breadth: 12, depth: 3, ..CONFIG };
        assert!(mean(None, &wide) > mean(None, &SlinvitConfig { leaf: Leaf::None, ..wide }));
    }

    #[test]
    fn a_monte_carlo_estimate_is_the_expected_return_of_the_guide() {
        let mdp = Environment::Blocks.build(Some(3), 0).unwrap();
        let prior = prior_of_divergence(&mdp, 2.0).unwrap();
        let config = SlinvitConfig { leaf: Leaf::MonteCarlo, rollouts: 4000, ..CONFIG };
        let mut planner = Planner { mdp: &mdp, prior: &prior, config, asked: Asked::new(&mdp) };
        let exact = evaluated(&mdp, &at_every_step(&mdp, &prior)).values[0][mdp.start];
        let estimate = planner.value(mdp.start, mdp.horizon, Key::new(1, Purpose::Episodes));
        assert!((estimate - exact).abs() < 0.03, "{estimate} for {exact}");
    }
}
