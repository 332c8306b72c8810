//! Rewards as a weighted sum: their names, their weights, and the flags. Independent of how a reward is computed.

use clap::Args;
use eval::external::ExternalArgs;
use serde::{Serialize, Serializer};
use std::{fmt, str::FromStr};

/// Flags of a reward from outside, and of a sum of several rewards.
#[derive(Args, Clone, Debug, Default, Serialize)]
#[command(next_help_heading = "Objective")]
pub struct WeightArgs {
    /// Reward as a weighted sum, in place of --reward, as in answer=1,external=0.5,length=-0.001. Names: answer (1 if correct), dense
    /// (share of intermediate results), orm (the reward model's probability), length (tokens), format (1 if an answer can be read),
    /// external; and for each line checked-lines (1 if it works out a result of the reference, 0.5 if it calculates nothing, else 0),
    /// orm-lines (the reward model's probability after it), lines (1) [default: external=1 with --reward-command or --reward-url]
    #[arg(long, value_name = "NAME=WEIGHT,…", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_weights: Option<RewardWeights>,
    /// The reward from outside.
    #[command(flatten)]
    #[serde(flatten)]
    pub external: ExternalArgs,
}

impl WeightArgs {
    /// The weights of the sum; `None` if the reward is that of `--reward`.
    pub fn weights(&self) -> Option<RewardWeights> {
        let alone = || RewardWeights(vec![(Component::External, 1.0)]);
        self.reward_weights.clone().or_else(|| self.external.is_given().then(alone))
    }

    /// Whether a reward is a part of the sum.
    pub fn has(&self, component: Component) -> bool {
        self.weights().is_some_and(|weights| weights.0.iter().any(|(name, _)| *name == component))
    }
}

/// A reward that a sum may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// 1 on the last token of a correct completion.
    Answer,
    /// For each intermediate result of the reference solution its share of 1, on the token that ends its line.
    Dense,
    /// The reward model's probability that the completion is correct, on the last token.
    Orm,
    /// The number of tokens, on the last one.
    Length,
    /// 1 on the last token if an answer can be read from the completion, right or wrong.
    Format,
    /// What a command or an endpoint says: on the last token, or on the token that ends each line.
    External,
    /// What a checker says of each line, from 0 to 1 ([`data::checked_lines`]), on the token that ends the line.
    CheckedLines,
    /// The reward model's probability after each line, on the token that ends the line.
    OrmLines,
    /// 1 on the token that ends each line; with a negative weight the price of a line.
    Lines,
}

impl Component {
    /// All of them, in the order of their metrics.
    pub const ALL: [Self; 9] = [
        Self::Answer,
        Self::Dense,
        Self::Orm,
        Self::Length,
        Self::Format,
        Self::External,
        Self::CheckedLines,
        Self::OrmLines,
        Self::Lines,
    ];

    /// Its name in `--reward-weights`, and in the metric `reward/NAME`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Dense => "dense",
            Self::Orm => "orm",
            Self::Length => "length",
            Self::Format => "format",
            Self::External => "external",
            Self::CheckedLines => "checked-lines",
            Self::OrmLines => "orm-lines",
            Self::Lines => "lines",
        }
    }
}

/// The rewards of a sum with their weights, each at most once, as in `answer=1,external=0.5`.
#[derive(Clone, Debug, PartialEq)]
pub struct RewardWeights(pub Vec<(Component, f32)>);

impl FromStr for RewardWeights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weights: Vec<(Component, f32)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').ok_or("give NAME=WEIGHT,…, as in answer=1,length=-0.001")?;
            let name = name.trim();
            let component = Component::ALL.into_iter().find(|component| component.name() == name).ok_or_else(|| {
                format!("there is no reward {name:?}: the names are {}", Component::ALL.map(Component::name).join(", "))
            })?;
            let weight = weight.trim().parse::<f32>().ok().filter(|weight| weight.is_finite());
            let weight = weight.ok_or_else(|| format!("the weight of {name} is not a finite number"))?;
            if weights.iter().any(|(other, _)| *other == component) {
                return Err(format!("{name} has two weights"));
            }
            weights.push((component, weight));
        }
        Ok(Self(weights))
    }
}

impl fmt::Display for RewardWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> =
            self.0.iter().map(|(component, weight)| format!("{}={weight}", component.name())).collect();
        f.write_str(&parts.join(","))
    }
}

impl Serialize for RewardWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_written_as_they_are_read() {
        let text = "answer=1,external=0.5,length=-0.001";
        let weights: RewardWeights = text.parse().unwrap();
        assert_eq!(weights.0, [(Component::Answer, 1.0), (Component::External, 0.5), (Component::Length, -0.001)]);
        assert_eq!(weights.to_string(), text);
        assert_eq!(" format = 2 , dense=0.5".parse::<RewardWeights>().unwrap().to_string(), "format=2,dense=0.5");
    }

    #[test]
    fn a_name_that_is_unknown_or_given_twice_and_a_weight_that_is_no_number_are_refused() {
        for (text, said) in [
            (
                "helpful=1",
                "there is no reward \"helpful\": the names are answer, dense, orm, length, format, external, checked-lines, orm-lines, lines",
            ),
            ("answer=1,answer=2", "answer has two weights"),
            ("answer=much", "the weight of answer is not a finite number"),
            ("answer=inf", "the weight of answer is not a finite number"),
            ("answer", "NAME=WEIGHT"),
            ("", "NAME=WEIGHT"),
            ("answer=1,", "NAME=WEIGHT"),
        ] {
            let error = text.parse::<RewardWeights>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn a_reward_from_outside_alone_is_the_whole_reward() {
        let external = ExternalArgs { reward_command: Some("true".into()), ..ExternalArgs::default() };
        assert_eq!(WeightArgs { external, reward_weights: None }.weights().unwrap().to_string(), "external=1");
        assert!(WeightArgs::default().weights().is_none());
    }
}
