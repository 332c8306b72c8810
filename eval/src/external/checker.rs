//! An external reward as a checker: a completion is correct if its reward fulfils a condition.

use super::{
    client::{RewardClient, Source},
    protocol::Reward,
    transport::Bounds,
};
use anyhow::{Context, Result, anyhow};
use data::{AnswerCommand, Benchmark};
use serde::{Serialize, Serializer};
use std::{fmt, str::FromStr};

/// Which rewards make a completion correct, as in `>= 0.5`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Condition {
    comparison: Comparison,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    AtLeast,
    AtMost,
    Equal,
    Above,
    Below,
}

impl Comparison {
    /// Longer signs first.
    const ALL: [Self; 5] = [Self::AtLeast, Self::AtMost, Self::Equal, Self::Above, Self::Below];

    fn sign(self) -> &'static str {
        match self {
            Self::AtLeast => ">=",
            Self::AtMost => "<=",
            Self::Equal => "==",
            Self::Above => ">",
            Self::Below => "<",
        }
    }
}

impl Condition {
    /// Whether a reward fulfils it; no opinion (`null`) fulfils none.
    pub fn holds(self, reward: &Reward) -> bool {
        let Self { comparison, bound } = self;
        reward.sum().is_some_and(|value| match comparison {
            Comparison::AtLeast => value >= bound,
            Comparison::AtMost => value <= bound,
            Comparison::Equal => value == bound,
            Comparison::Above => value > bound,
            Comparison::Below => value < bound,
        })
    }
}

impl Default for Condition {
    fn default() -> Self {
        Self { comparison: Comparison::AtLeast, bound: 0.5 }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let comparison = Comparison::ALL.into_iter().find(|comparison| text.starts_with(comparison.sign()));
        let bound = comparison.and_then(|comparison| text[comparison.sign().len()..].trim().parse::<f64>().ok());
        match (comparison, bound.filter(|bound| bound.is_finite())) {
            (Some(comparison), Some(bound)) => Ok(Self { comparison, bound }),
            _ => Err("give one of >=, >, <=, < and == with a number, as in '>= 0.5'".into()),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.comparison.sign(), self.bound)
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An external reward in use as a checker.
#[derive(Clone, Debug)]
pub struct Checker {
    /// What gives the rewards.
    pub client: RewardClient,
    /// Which rewards make a completion correct.
    pub correct_if: Condition,
}

impl Checker {
    /// Starts the command of a benchmark's description; `None` where answers are compared.
    ///
    /// # Errors
    /// A `correct_if` that is no condition, a shell that cannot be started in the description's folder.
    pub fn of_benchmark(benchmark: &Benchmark) -> Result<Option<Self>> {
        let Some(AnswerCommand { command, folder, correct_if }) = benchmark.answer_command() else { return Ok(None) };
        let correct_if = correct_if.map(str::parse).transpose().map_err(|error: String| anyhow!(error));
        let correct_if = correct_if.with_context(|| format!("{benchmark}, [answer] correct_if"))?.unwrap_or_default();
        let folder = Some(folder).filter(|folder| !folder.as_os_str().is_empty()).map(Into::into);
        let client = RewardClient::start(Source::Command { command: command.to_owned(), folder }, Bounds::default())?;
        Ok(Some(Self { client, correct_if }))
    }
}

impl fmt::Display for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.client.source(), self.correct_if)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_compares_the_reward_of_the_whole_completion() {
        let holds = |text: &str, value: f64| text.parse::<Condition>().unwrap().holds(&Reward::Whole(value));
        assert!(holds(">= 0.5", 0.5) && !holds(">=0.5", 0.49));
        assert!(holds("> 0.5", 0.51) && !holds("> 0.5", 0.5));
        assert!(holds("<= -1", -1.0) && !holds("<= -1", -0.9));
        assert!(holds("<1e-3", 0.0) && !holds("<1e-3", 1e-3));
        assert!(holds(" == 1 ", 1.0) && !holds("==1", 0.999));
        let lines = Reward::Lines(vec![0.25, 0.25]);
        assert!(Condition::default().holds(&lines) && !"> 0.5".parse::<Condition>().unwrap().holds(&lines));
        assert!(!"<= 0".parse::<Condition>().unwrap().holds(&Reward::None), "no opinion is no yes");
    }

    #[test]
    fn a_condition_is_written_as_it_is_read_and_anything_else_is_refused() {
        for text in [">= 0.5", "> 0.25", "<= -1", "< 3", "== 1"] {
            assert_eq!(text.parse::<Condition>().unwrap().to_string(), text);
        }
        for text in ["0.5", "=> 0.5", "= 1", ">= x", ">=", "", ">= inf", "!= 1"] {
            assert!(text.parse::<Condition>().unwrap_err().contains(">= 0.5"), "{text}");
        }
    }
}
