//! Exact values of small environments by backward induction: of the best policy, of the best policy that stays near a prior, and of a given
//! policy. Pure functions.

use super::mdp::Mdp;

/// Action values Q_h(s, a), by step, state and action.
pub type ActionValues = Vec<Vec<Vec<f64>>>;

/// Probabilities π_h(a | s), by step, state and action; nothing in states that end an episode.
pub type Policy = Vec<Vec<Vec<f64>>>;

/// Probabilities of actions by state and action, the same at every step: what a guide gives.
pub type Prior = Vec<Vec<f64>>;

/// Values of every step and state, and the policy that has them.
#[derive(Clone, Debug)]
pub struct Solution {
    /// V_h(s); V_H(s) = 0.
    pub values: Vec<Vec<f64>>,
    /// Q_h(s, a).
    pub action_values: ActionValues,
    /// π_h(a | s).
    pub policy: Policy,
}

/// The soft maximum over actions and the distribution that attains it (Zhang et al. 2024, arXiv 2402.16181, eq. 3.2):
///
/// max_π ⟨π, q⟩ - λ KL(π ‖ p) = λ log Σ_a p(a) exp(q(a) / λ), attained by π(a) ∝ p(a) exp(q(a) / λ).
///
/// With λ = 0 the maximum over all actions, attained by the first of the best.
///
/// # Panics
/// If no action has any probability, or there is no action.
pub fn soft_maximum(q: &[f64], prior: &[f64], lambda: f64) -> (f64, Vec<f64>) {
    assert_eq!(q.len(), prior.len(), "one value and one probability an action");
    if lambda == 0.0 {
        let best = (0..q.len()).reduce(|best, a| if q[a] > q[best] { a } else { best }).expect("at least one action");
        return (q[best], (0..q.len()).map(|a| f64::from(u8::from(a == best))).collect());
    }
    let exponents: Vec<f64> = q.iter().zip(prior).map(|(q, p)| q / lambda + p.ln()).collect();
    let largest = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    assert!(largest > f64::NEG_INFINITY, "the prior gives no action any probability");
    let weights: Vec<f64> = exponents.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    (lambda * (largest + sum.ln()), weights.iter().map(|weight| weight / sum).collect())
}

/// Backward induction with any rule that makes the value and the policy of a state from its action values: `choose(h, s, q)`. Of what comes
/// later, the share `discount` counts.
pub fn backward(mdp: &Mdp, discount: f64, mut choose: impl FnMut(usize, usize, &[f64]) -> (f64, Vec<f64>)) -> Solution {
    let count = mdp.states.len();
    let mut values = vec![vec![0.0; count]; mdp.horizon + 1];
    let (mut action_values, mut policy) = (Vec::new(), Vec::new());
    for step in (0..mdp.horizon).rev() {
        let (mut of_step, mut chosen) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (state, row) in mdp.states.iter().enumerate() {
            let next = &values[step + 1];
            let q: Vec<f64> = row
                .actions
                .iter()
                .map(|action| {
                    action.outcomes.iter().map(|o| o.probability * (o.reward + discount * next[o.next])).sum()
                })
                .collect();
            let (value, distribution) = if q.is_empty() { (0.0, Vec::new()) } else { choose(step, state, &q) };
            values[step][state] = value;
            of_step.push(q);
            chosen.push(distribution);
        }
        action_values.push(of_step);
        policy.push(chosen);
    }
    action_values.reverse();
    policy.reverse();
    Solution { values, action_values, policy }
}

/// The optimal values and an optimal policy: with λ = 0 without regard to the prior.
pub fn optimal(mdp: &Mdp) -> Solution {
    backward(mdp, 1.0, |_, _, q| soft_maximum(q, &vec![1.0; q.len()], 0.0))
}

/// An optimal policy that also loses no time, and values that are a little lower where the reward comes later. Where there is time left, an
/// [`optimal`] policy may do anything first.
pub fn soonest(mdp: &Mdp) -> Solution {
    backward(mdp, 0.95, |_, _, q| soft_maximum(q, &vec![1.0; q.len()], 0.0))
}

/// The optimal policy under a penalty of λ KL(π ‖ prior) a step, and its values with the penalty.
pub fn regularised(mdp: &Mdp, prior: &Prior, lambda: f64) -> Solution {
    backward(mdp, 1.0, |_, state, q| soft_maximum(q, &prior[state], lambda))
}

/// The values of a policy, without any penalty.
pub fn evaluated(mdp: &Mdp, policy: &Policy) -> Solution {
    backward(mdp, 1.0, |step, state, q| {
        let chosen = policy[step][state].clone();
        (q.iter().zip(&chosen).map(|(q, p)| q * p).sum(), chosen)
    })
}

/// A policy that is the same at every step.
pub fn at_every_step(mdp: &Mdp, prior: &Prior) -> Policy {
    vec![prior.clone(); mdp.horizon]
}

/// KL(π ‖ prior) of whole episodes from the start, in nats: the expected sum over steps of Σ_a π log(π / prior).
pub fn divergence(mdp: &Mdp, policy: &Policy, prior: &Prior) -> f64 {
    let mut reach = vec![0.0; mdp.states.len()];
    reach[mdp.start] = 1.0;
    let mut sum = 0.0;
    for of_step in policy {
        let mut next = vec![0.0; mdp.states.len()];
        for (state, row) in mdp.states.iter().enumerate().filter(|(state, _)| reach[*state] > 0.0) {
            for ((action, &p), &q) in row.actions.iter().zip(&of_step[state]).zip(&prior[state]) {
                if p > 0.0 {
                    sum += reach[state] * p * (p / q).ln();
                }
                for outcome in &action.outcomes {
                    next[outcome.next] += reach[state] * p * outcome.probability;
                }
            }
        }
        reach = next;
    }
    sum
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::guided::mdp::{Action, Outcome, State};
    use model::{Key, Purpose, uniform};

    /// Random transitions and rewards between a few states.
    pub fn random_mdp(seed: u64, states: usize, actions: usize, horizon: usize) -> Mdp {
        let key = Key::new(seed, Purpose::Problems);
        let number = |s: usize, a: usize, i: usize| f64::from(uniform(key.with(s as u64).with(a as u64), i as u64));
        let state = |s: usize| State {
            text: format!("s{s}"),
            picture: String::new(),
            features: vec![s as f32],
            estimate: 0.0,
            actions: (0..actions)
                .map(|a| {
                    let weights: Vec<f64> = (0..states).map(|next| number(s, a, next)).collect();
                    let sum: f64 = weights.iter().sum();
                    let outcomes = weights.iter().enumerate().map(|(next, weight)| Outcome {
                        probability: weight / sum,
                        next,
                        reward: number(s, a, states + next) / horizon as f64,
                    });
                    Action { text: format!("a{a}"), number: a, outcomes: outcomes.collect() }
                })
                .collect(),
        };
        Mdp { rules: String::new(), states: (0..states).map(state).collect(), start: 0, horizon, action_texts: actions }
    }

    pub fn random_prior(mdp: &Mdp, seed: u64) -> Prior {
        let key = Key::new(seed, Purpose::Rollout);
        let of_state = |state: usize| {
            let number = |a: usize| 0.05 + f64::from(uniform(key.with(state as u64), a as u64));
            let weights: Vec<f64> = (0..mdp.actions(state)).map(number).collect();
            let sum: f64 = weights.iter().sum();
            weights.iter().map(|weight| weight / sum).collect()
        };
        (0..mdp.states.len()).map(of_state).collect()
    }

    /// The value of the start by trying every deterministic policy: one action for each step and state.
    fn brute_force(mdp: &Mdp) -> f64 {
        let places = mdp.horizon * mdp.states.len();
        let actions = mdp.actions(0);
        (0..actions.pow(places as u32))
            .map(|code| {
                let action = |place: usize| code / actions.pow(place as u32) % actions;
                let policy = (0..mdp.horizon).map(|step| {
                    let of_state = |state: usize| {
                        let chosen = action(step * mdp.states.len() + state);
                        (0..actions).map(|a| f64::from(u8::from(a == chosen))).collect()
                    };
                    (0..mdp.states.len()).map(of_state).collect()
                });
                evaluated(mdp, &policy.collect()).values[0][mdp.start]
            })
            .fold(f64::NEG_INFINITY, f64::max)
    }

    #[test]
    fn value_iteration_finds_what_trying_all_policies_finds() {
        for seed in 0..5 {
            let mdp = random_mdp(seed, 3, 2, 3);
            assert!((optimal(&mdp).values[0][0] - brute_force(&mdp)).abs() < 1e-9);
        }
    }

    #[test]
    fn the_soft_maximum_is_the_largest_value_less_penalty_of_any_distribution() {
        let (q, prior) = ([0.3, 0.9, 0.5], [0.5, 0.1, 0.4]);
        for lambda in [0.05, 0.3, 2.0] {
            let (value, best) = soft_maximum(&q, &prior, lambda);
            let penalised = |pi: &[f64]| -> f64 {
                (0..3).map(|a| pi[a] * (q[a] - if pi[a] > 0.0 { lambda * (pi[a] / prior[a]).ln() } else { 0.0 })).sum()
            };
            let definition = lambda * (0..3).map(|a| prior[a] * (q[a] / lambda).exp()).sum::<f64>().ln();
            assert!((value - definition).abs() < 1e-12 && (value - penalised(&best)).abs() < 1e-12);
            // No distribution of a fine grid is better.
            for i in 0..=100 {
                for j in 0..=100 - i {
                    let pi = [f64::from(i) / 100.0, f64::from(j) / 100.0, f64::from(100 - i - j) / 100.0];
                    assert!(penalised(&pi) <= value + 1e-12);
                }
            }
        }
        assert_eq!(soft_maximum(&q, &prior, 0.0), (0.9, vec![0.0, 1.0, 0.0]));
        // As λ grows the prior's own mean, as it falls the maximum.
        assert!((soft_maximum(&q, &prior, 1e6).0 - 0.44).abs() < 1e-5);
        assert!((soft_maximum(&q, &prior, 1e-4).0 - 0.9).abs() < 1e-3);
    }

    #[test]
    fn the_regularised_policy_has_its_value_less_its_divergence() {
        for seed in 0..5 {
            let mdp = random_mdp(seed, 4, 3, 4);
            let prior = random_prior(&mdp, seed);
            let lambda = 0.2;
            let solution = regularised(&mdp, &prior, lambda);
            let plain = evaluated(&mdp, &solution.policy).values[0][mdp.start];
            let penalty = lambda * divergence(&mdp, &solution.policy, &prior);
            assert!((solution.values[0][mdp.start] - (plain - penalty)).abs() < 1e-9);
            assert!(plain <= optimal(&mdp).values[0][mdp.start] + 1e-12);
        }
    }
}
