//! Signs that a run of PPO goes wrong, each with its likely cause and the flag to change. Pure: statistics of steps in, sentences out.
//!
//! The mean of the last steps is compared with a bound, or with the mean of the first steps; docs/reliability.md says how far from them runs are
//! that learn.

use super::diagnostics::{RolloutStats, ServerStats, UpdateStats};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Number of steps of a mean.
const WINDOW: usize = 8;

/// What alarms read of a step. A step without an update has no entropy: NaN, which JSON writes as null.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// KL(π || π_ref) per token, by the estimator k1, in nats.
    #[serde(deserialize_with = "number_or_nan")]
    pub kl: f64,
    /// Entropy per token, in nats.
    #[serde(deserialize_with = "number_or_nan")]
    pub entropy: f64,
    /// Tokens of a sample.
    #[serde(deserialize_with = "number_or_nan")]
    pub length: f64,
    /// Share of samples that were cut off.
    #[serde(deserialize_with = "number_or_nan")]
    pub truncated: f64,
    /// Share of samples without an answer.
    #[serde(deserialize_with = "number_or_nan")]
    pub unparsable: f64,
    /// Share of tokens whose ratio left the clip range.
    #[serde(deserialize_with = "number_or_nan")]
    pub clipped: f64,
    /// Share of the returns' variance that the critic predicts, if there is one.
    pub explained_variance: Option<f64>,
    /// Mean reward.
    #[serde(deserialize_with = "number_or_nan")]
    pub reward: f64,
    /// Share of right samples.
    #[serde(deserialize_with = "number_or_nan")]
    pub accuracy: f64,
    /// KL(μ || π) per token from the inference servers μ, if there are some, in nats.
    pub server_kl: Option<f64>,
}

fn number_or_nan<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Option::<f64>::deserialize(deserializer).map(|number| number.unwrap_or(f64::NAN))
}

impl Health {
    /// Of a step's rollouts and updates.
    pub fn of(
        rollouts: &RolloutStats,
        updates: &UpdateStats,
        explained_variance: Option<f64>,
        servers: Option<ServerStats>,
    ) -> Self {
        Self {
            kl: rollouts.k1,
            entropy: rollouts.entropy,
            length: rollouts.mean_length,
            truncated: rollouts.truncated,
            unparsable: rollouts.unparsable,
            clipped: updates.clipped_share(),
            explained_variance,
            reward: rollouts.reward,
            accuracy: rollouts.accuracy,
            server_kl: servers.map(|servers| servers.kl),
        }
    }

    /// The mean of steps, of each value over the steps that have it; NaN or absent where none has.
    fn mean<'a>(steps: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let mean_of = |value: fn(&Self) -> Option<f64>| {
            let finite: Vec<f64> = steps.clone().filter_map(value).filter(|x| x.is_finite()).collect();
            (!finite.is_empty()).then(|| finite.iter().sum::<f64>() / finite.len() as f64)
        };
        Self {
            kl: mean_of(|step| Some(step.kl)).unwrap_or(f64::NAN),
            entropy: mean_of(|step| Some(step.entropy)).unwrap_or(f64::NAN),
            length: mean_of(|step| Some(step.length)).unwrap_or(f64::NAN),
            truncated: mean_of(|step| Some(step.truncated)).unwrap_or(f64::NAN),
            unparsable: mean_of(|step| Some(step.unparsable)).unwrap_or(f64::NAN),
            clipped: mean_of(|step| Some(step.clipped)).unwrap_or(f64::NAN),
            explained_variance: mean_of(|step| step.explained_variance),
            reward: mean_of(|step| Some(step.reward)).unwrap_or(f64::NAN),
            accuracy: mean_of(|step| Some(step.accuracy)).unwrap_or(f64::NAN),
            server_kl: mean_of(|step| step.server_kl),
        }
    }
}

/// A sign that a run goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alarm {
    /// The policy is far from the reference.
    Divergence,
    /// The entropy has fallen: samples are all alike.
    LowEntropy,
    /// The entropy has risen: samples are noise.
    HighEntropy,
    /// Samples are much longer or shorter than at first.
    Length,
    /// Many samples are cut off.
    Truncated,
    /// Many samples have no answer.
    Unparsable,
    /// Updates move the policy far from the one that sampled.
    Clipped,
    /// The critic predicts worse than a constant.
    Critic,
    /// The reward rises while accuracy falls.
    Reward,
    /// The inference servers sample from another policy.
    Servers,
}

impl Alarm {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Divergence,
        Self::LowEntropy,
        Self::HighEntropy,
        Self::Length,
        Self::Truncated,
        Self::Unparsable,
        Self::Clipped,
        Self::Critic,
        Self::Reward,
        Self::Servers,
    ];

    /// The name in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Divergence => "divergence",
            Self::LowEntropy => "low_entropy",
            Self::HighEntropy => "high_entropy",
            Self::Length => "length",
            Self::Truncated => "truncated",
            Self::Unparsable => "unparsable",
            Self::Clipped => "clipped",
            Self::Critic => "critic",
            Self::Reward => "reward",
            Self::Servers => "servers",
        }
    }

    /// What is seen, its likely cause, and the flag to change; `None` where nothing is wrong. `first` and `last` are means of steps.
    fn sentence(self, first: &Health, last: &Health) -> Option<String> {
        let Health { kl, entropy, length, truncated, unparsable, clipped, reward, accuracy, .. } = *last;
        let (seen, cause) = match self {
            Self::Divergence if kl > 0.3 => (
                format!("the KL divergence from the reference is {kl:.2} nats per token"),
                "the policy forgets what it could: raise --kl-coefficient, or lower --learning-rate",
            ),
            Self::LowEntropy if entropy < 0.25 * first.entropy => (
                format!("the entropy fell from {:.3} to {entropy:.3} nats per token", first.entropy),
                "samples of a question are all alike, and nothing is left to learn from: raise --kl-coefficient or --temperature, or lower --learning-rate",
            ),
            Self::HighEntropy if entropy > 3.0 * first.entropy => (
                format!("the entropy rose from {:.3} to {entropy:.3} nats per token", first.entropy),
                "samples turn into noise: lower --learning-rate or --temperature, or raise --kl-coefficient",
            ),
            Self::Length if length > 2.0 * first.length || length < 0.4 * first.length => (
                format!("the mean length went from {:.0} to {length:.0} tokens", first.length),
                "the reward may pay for length, or for stopping early: look at samples (rl inspect), and check the reward",
            ),
            Self::Truncated if truncated > 0.5 || truncated > first.truncated + 0.2 => (
                format!("{:.0} % of the samples are cut off", 100.0 * truncated),
                "the policy does not come to an end: raise --max-new-tokens, or lower --temperature",
            ),
            Self::Unparsable if unparsable > 0.5 || unparsable > first.unparsable + 0.2 => (
                format!("{:.0} % of the samples have no answer", 100.0 * unparsable),
                "the format is not the policy's, or was unlearnt: see --answer-format and --shots, start from an SFT model, or raise --kl-coefficient",
            ),
            Self::Clipped if clipped > 0.2 => (
                format!("{:.0} % of the ratios leave the clip range", 100.0 * clipped),
                "updates are too large: lower --learning-rate or --ppo-epochs",
            ),
            Self::Critic => {
                let explained = last.explained_variance.filter(|&explained| explained < -0.2)?;
                (
                    format!("the critic's explained variance is {explained:.2}"),
                    "it predicts worse than a constant: lower --value-learning-rate, raise --value-warm-up, or take --advantage group",
                )
            }
            Self::Reward
                if reward - first.reward > 0.1 * first.reward.abs().max(0.1) && accuracy < first.accuracy - 0.05 =>
            {
                (
                    format!(
                        "the mean reward rose from {:.2} to {reward:.2}, accuracy fell from {:.2} to {accuracy:.2}",
                        first.reward, first.accuracy
                    ),
                    "the policy earns reward without answering correctly: give answers more weight (--answer-weight), or mend the reward",
                )
            }
            Self::Servers => {
                let kl = last.server_kl.filter(|&kl| kl > 0.05)?;
                (
                    format!(
                        "the KL divergence between the servers' policy and the trained one is {kl:.3} nats per token"
                    ),
                    "the servers have other weights or another temperature: see --rollout-update",
                )
            }
            _ => return None,
        };
        Some(format!("{seen}: {cause}"))
    }
}

/// The first and the last steps of a run, and the alarms that it has raised.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alarms {
    first: Vec<Health>,
    last: VecDeque<Health>,
    raised: Vec<Alarm>,
}

impl Alarms {
    /// Takes in the next step; the alarms that it raises for the first time, with their sentences. There are none before a whole window, and
    /// in the first one the first steps are the last.
    pub fn watch(&mut self, step: Health) -> Vec<(Alarm, String)> {
        if self.first.len() < WINDOW {
            self.first.push(step);
        }
        self.last.push_back(step);
        if self.last.len() > WINDOW {
            self.last.pop_front();
        }
        if self.last.len() < WINDOW {
            return Vec::new();
        }
        let (first, last) = (Health::mean(self.first.iter()), Health::mean(self.last.iter()));
        let new = Alarm::ALL.into_iter().filter(|alarm| !self.raised.contains(alarm));
        let new: Vec<(Alarm, String)> = new.filter_map(|alarm| Some((alarm, alarm.sentence(&first, &last)?))).collect();
        self.raised.extend(new.iter().map(|(alarm, _)| *alarm));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step of a run that learns.
    const GOOD: Health = Health {
        kl: 0.02,
        entropy: 0.15,
        length: 70.0,
        truncated: 0.01,
        unparsable: 0.01,
        clipped: 0.01,
        explained_variance: Some(0.3),
        reward: 0.3,
        accuracy: 0.3,
        server_kl: Some(0.001),
    };

    fn alarms(steps: impl Iterator<Item = Health>) -> Vec<(usize, Alarm)> {
        let mut alarms = Alarms::default();
        let raised = steps.enumerate().flat_map(|(step, health)| {
            let raised = alarms.watch(health).into_iter().map(|(alarm, _)| (step + 1, alarm));
            raised.collect::<Vec<_>>()
        });
        raised.collect()
    }

    #[test]
    fn a_run_that_learns_raises_none() {
        let step = |i: usize| Health {
            accuracy: 0.3 + 0.004 * i as f64,
            reward: 0.3 + 0.004 * i as f64,
            entropy: 0.15 - 0.001 * i as f64,
            ..GOOD
        };
        assert_eq!(alarms((0..100).map(step)), []);
    }

    #[test]
    fn each_sign_raises_its_alarm_once_when_it_is_the_mean_of_the_last_steps() {
        let signs = [
            (Alarm::Divergence, Health { kl: 0.4, ..GOOD }),
            (Alarm::LowEntropy, Health { entropy: 0.03, ..GOOD }),
            (Alarm::HighEntropy, Health { entropy: 0.5, ..GOOD }),
            (Alarm::Length, Health { length: 150.0, ..GOOD }),
            (Alarm::Length, Health { length: 20.0, ..GOOD }),
            (Alarm::Truncated, Health { truncated: 0.25, ..GOOD }),
            (Alarm::Unparsable, Health { unparsable: 0.25, ..GOOD }),
            (Alarm::Clipped, Health { clipped: 0.3, ..GOOD }),
            (Alarm::Critic, Health { explained_variance: Some(-0.5), ..GOOD }),
            (Alarm::Reward, Health { reward: 0.5, accuracy: 0.2, ..GOOD }),
            (Alarm::Servers, Health { server_kl: Some(0.1), ..GOOD }),
        ];
        assert!(Alarm::ALL.iter().all(|alarm| signs.iter().any(|(of, _)| of == alarm)));
        for (alarm, bad) in signs {
            let raised = alarms([GOOD; 20].into_iter().chain([bad; 30]));
            assert!(matches!(raised[..], [(21..=28, of)] if of == alarm), "{alarm:?}: {raised:?}");
        }
        let broken = Health { unparsable: 0.9, explained_variance: Some(-9.0), ..GOOD };
        assert_eq!(
            alarms([broken; 20].into_iter()),
            [(8, Alarm::Unparsable), (8, Alarm::Critic)],
            "from the beginning"
        );
        // A step without an entropy does not hide that the entropy falls.
        let (without, low) = (Health { entropy: f64::NAN, ..GOOD }, Health { entropy: 0.01, ..GOOD });
        let steps = [without].into_iter().chain([GOOD; 10]).chain([without]).chain([low; 8]);
        assert_eq!(alarms(steps).len(), 1);
        // One bad step among good ones is none.
        let spike = Health { kl: 1.0, clipped: 0.9, ..GOOD };
        assert_eq!(alarms([GOOD; 20].into_iter().chain([spike]).chain([GOOD; 20])), []);
    }

    #[test]
    fn alarms_go_on_after_a_checkpoint() {
        let bad = Health { kl: 0.4, entropy: f64::NAN, ..GOOD };
        let mut whole = Alarms::default();
        let mut resumed = Alarms::default();
        let without = Health { entropy: f64::NAN, ..GOOD };
        for step in [without].into_iter().chain([GOOD; 12]).chain([bad; 12]) {
            resumed = serde_json::from_str(&serde_json::to_string(&resumed).unwrap()).unwrap();
            assert_eq!(whole.watch(step), resumed.watch(step));
        }
        assert_eq!(whole.raised, [Alarm::Divergence]);
    }
}
