//! What a guide thinks of actions: a distribution over the actions of each state. Here are guides that know the solution as well as is
//! wanted, from the solution itself over no opinion to the opposite. Pure functions.

use super::{
    mdp::Mdp,
    values::{Prior, Solution, at_every_step, divergence, soonest},
};
use anyhow::{Result, ensure};
use model::{Key, Purpose, uniform};

/// Smallest share of a guide that is spread over all actions: without it, no policy but one would be possible.
const LEAST_SPREAD: f64 = 1e-6;

/// The share of its probability that a guide which knows only some states gives to one action in each.
const SURE: f64 = 0.9;

/// A guide without an opinion.
pub fn uniform_prior(mdp: &Mdp) -> Prior {
    (0..mdp.states.len()).map(|state| vec![1.0 / mdp.actions(state).max(1) as f64; mdp.actions(state)]).collect()
}

/// A guide of a given KL(π* ‖ guide) over an episode, in nats: a mixture of no opinion with the first optimal action of each state where
/// it is to be nearer to π* than no opinion is, and with the worst action where it is to be further away. π* is the policy of [`soonest`].
///
/// # Errors
/// A divergence that no such mixture has; the message has the range.
pub fn prior_of_divergence(mdp: &Mdp, nats: f64) -> Result<Prior> {
    let best = &soonest(mdp);
    let target = at_every_step(mdp, &best.policy[0]);
    let of = |lean: f64| divergence(mdp, &target, &leaning(mdp, best, lean));
    let (mut wrong, mut right) = (LEAST_SPREAD - 1.0, 1.0 - LEAST_SPREAD);
    let [most, least] = [of(wrong), of(right)];
    ensure!(
        (least..=most).contains(&nats),
        "no guide of this environment has KL(π* ‖ guide) = {nats} nats: it can be from {least:.3} to {most:.1}"
    );
    // The divergence falls as the guide leans towards the solution.
    for _ in 0..200 {
        let middle = (wrong + right) / 2.0;
        if of(middle) > nats { wrong = middle } else { right = middle }
    }
    Ok(leaning(mdp, best, (wrong + right) / 2.0))
}

/// A guide that is sure of an optimal action in a share of the states, chosen at random, and as sure of another one in the others.
pub fn prior_that_knows(mdp: &Mdp, share: f64, seed: u64) -> Prior {
    let best = &soonest(mdp);
    let key = Key::new(seed, Purpose::Mixture);
    let of_state = |state: usize| {
        let (count, q) = (mdp.actions(state), &best.action_values[0][state]);
        let number = |place: u64| f64::from(uniform(key.with(state as u64), place));
        let right = (0..count).find(|&a| best.policy[0][state][a] > 0.0);
        let wrong: Vec<usize> = (0..count).filter(|&a| right.is_some_and(|right| q[a] < q[right])).collect();
        let chosen = match wrong.len() {
            others if others > 0 && number(0) >= share => Some(wrong[(number(1) * others as f64) as usize]),
            _ => right,
        };
        let spread = (1.0 - SURE) / count.max(1) as f64;
        (0..count).map(|a| spread + if Some(a) == chosen { SURE } else { 0.0 }).collect()
    };
    (0..mdp.states.len()).map(of_state).collect()
}

/// The mixture that gives a share of `lean` to the optimal action, or of `-lean` to the worst one, and the rest to all alike.
fn leaning(mdp: &Mdp, best: &Solution, lean: f64) -> Prior {
    let of_state = |state: usize| {
        let q = &best.action_values[0][state];
        let count = q.len() as f64;
        let worst = (0..q.len()).reduce(|worst, a| if q[a] < q[worst] { a } else { worst });
        let chosen = |a: usize| match lean >= 0.0 {
            true => best.policy[0][state][a],
            false => f64::from(u8::from(Some(a) == worst)),
        };
        (0..q.len()).map(|a| (1.0 - lean.abs()) / count + lean.abs() * chosen(a)).collect()
    };
    (0..mdp.states.len()).map(of_state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guided::environments::Environment;

    #[test]
    fn a_guide_has_the_divergence_that_is_asked_for() {
        let mdp = Environment::Blocks.build(None, 0).unwrap();
        let target = at_every_step(&mdp, &soonest(&mdp).policy[0]);
        let of_uniform = divergence(&mdp, &target, &uniform_prior(&mdp));
        for nats in [0.1, 1.0, of_uniform, of_uniform + 3.0] {
            let prior = prior_of_divergence(&mdp, nats).unwrap();
            assert!((divergence(&mdp, &target, &prior) - nats).abs() < 1e-6);
            for (row, state) in prior.iter().zip(&mdp.states) {
                assert!(state.actions.is_empty() || (row.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            }
        }
        let error = prior_of_divergence(&mdp, 1e6).unwrap_err().to_string();
        assert!(error.contains("it can be from"), "{error}");
    }

    #[test]
    fn a_guide_knows_the_share_of_states_that_is_asked_for() {
        let mdp = Environment::Cubes.build(None, 0).unwrap();
        let best = soonest(&mdp);
        let open: Vec<usize> = (0..mdp.states.len()).filter(|&state| mdp.actions(state) > 0).collect();
        for share in [0.0, 0.5, 1.0] {
            let prior = prior_that_knows(&mdp, share, 0);
            let knows = |&&state: &&usize| {
                let right = best.policy[0][state].iter().position(|&p| p > 0.0).unwrap();
                assert!((prior[state].iter().sum::<f64>() - 1.0).abs() < 1e-9);
                prior[state][right] > 0.5
            };
            let known = open.iter().filter(knows).count() as f64 / open.len() as f64;
            assert!((known - share).abs() < 0.12, "{known} for {share}");
        }
    }
}
