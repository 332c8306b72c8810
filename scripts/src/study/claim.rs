//! What `study.toml` says of claims: sums of runs, what is measured of them, and where that has to lie.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer, de::Error};
use std::{collections::BTreeMap, str::FromStr};

/// A claim and how it is tested.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// What it says.
    pub text: String,
    /// What its words are taken to mean.
    pub test: String,
    /// What has to hold at a size for it to be about anything there.
    #[serde(default)]
    pub premises: Vec<Part>,
    /// What it says of each size.
    pub parts: Vec<Part>,
    /// What it says of the larger size against the smaller one.
    #[serde(default)]
    pub across: Vec<Part>,
}

/// One comparison that a claim rests on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What it says; `{measure}` is replaced by the name of what is measured.
    pub what: String,
    /// What is compared.
    pub of: Sum,
    /// The number of each run.
    #[serde(default)]
    pub measure: MeasureName,
    /// Where the sum has to lie.
    #[serde(default)]
    pub expect: Expect,
    /// The set of runs that the best and the worst are chosen from.
    pub among: Option<String>,
    /// What the choice stands for.
    pub says: Option<Says>,
    /// What they are chosen by, where it is not the measure.
    pub by: Option<MeasureName>,
    /// Whether it is enough that either this part or the one before holds.
    #[serde(default)]
    pub or: bool,
}

/// A weighted sum of runs, written as `a - 0.5 b`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum(pub Vec<(f64, Operand)>);

/// A run, or how one is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// By its name.
    Run(String),
    /// The best or the worst of some.
    Of(Among),
    /// The one of two with the higher temperature.
    Hot,
    /// The one with the lower temperature.
    Cold,
}

/// Which of some runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// With the highest mean.
    Best,
    /// With the lowest mean.
    Worst,
}

/// What is measured of a run; `study.toml` has the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeasureName {
    /// Of greedy samples.
    #[default]
    #[serde(rename = "maj@1")]
    Maj1,
    /// Of single samples at the reports' temperature.
    #[serde(rename = "pass@1")]
    Pass1,
    /// Majority vote of the most samples that there are.
    #[serde(rename = "maj@K")]
    MajK,
    /// The choice of the reward model among them.
    #[serde(rename = "rerank@K")]
    RerankK,
    /// Whether any of them is right.
    #[serde(rename = "pass@K")]
    PassK,
    /// Of maj@1 on validation, from the best evaluation to the last.
    Fall,
    /// Drawn until convergence.
    Samples,
    /// The same, where convergence came after the first round.
    KnownSamples,
    /// Until convergence.
    Rounds,
    /// maj@1 on validation until plain PPO has converged.
    Early,
    /// What later rounds add.
    AfterTwoRounds,
    /// Between the calculation traces of right solutions, in the first round.
    TraceDistance,
}

/// Where a sum has to lie; `study.toml` has the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// Above zero, by more than is too small to matter.
    #[default]
    Better,
    /// Above zero.
    More,
    /// Not above zero, but for little.
    NoGain,
    /// Zero, but for little.
    Close,
    /// A factor near one.
    Similar,
    /// Not above a million samples.
    AMillionAtMost,
}

/// What a chosen run stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// The part says it of every run: the one that speaks most against it is taken.
    Every,
    /// The part says it of some run: the one that speaks most for it is taken.
    Some,
}

/// Two runs that differ in temperature. Which of two temperatures the first run has is the profile's choice.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Temperatures {
    /// The hot one if its temperature is above the bound, else the cold one.
    pub run: String,
    /// A temperature.
    pub bound: f64,
    /// The other one, where `run` is the cold one.
    pub hotter: String,
    /// The other one, where `run` is the hot one.
    pub colder: String,
}

impl Claim {
    /// The runs that it compares, or chooses from.
    pub fn runs<'a>(
        &'a self,
        sets: &'a BTreeMap<String, Vec<String>>,
        Temperatures { run, hotter, colder, .. }: &'a Temperatures,
    ) -> Vec<&'a str> {
        let of_operand = |(_, operand): &'a (f64, Operand)| match operand {
            Operand::Run(name) => vec![name.as_str()],
            Operand::Hot | Operand::Cold => vec![run.as_str(), hotter, colder],
            Operand::Of(_) => Vec::new(),
        };
        let of_part = |part: &'a Part| {
            let among = part.among.as_ref().and_then(|set| sets.get(set));
            let chosen = among.into_iter().flatten().map(String::as_str);
            part.of.0.iter().flat_map(of_operand).chain(chosen).collect::<Vec<_>>()
        };
        self.premises.iter().chain(&self.parts).chain(&self.across).flat_map(of_part).collect()
    }
}

impl FromStr for Sum {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (mut terms, mut sign, mut weight) = (Vec::new(), 1.0, 1.0);
        for word in text.split_whitespace() {
            match word {
                "+" => sign = 1.0,
                "-" => sign = -1.0,
                number if number.starts_with(|first: char| first.is_ascii_digit()) => {
                    weight = number.parse::<f64>().with_context(|| format!("{number} is no number in {text:?}"))?;
                }
                name => {
                    terms.push((sign * weight, operand(name)));
                    (sign, weight) = (1.0, 1.0);
                }
            }
        }
        if terms.is_empty() {
            bail!("{text:?} names no run");
        }
        Ok(Self(terms))
    }
}

fn operand(name: &str) -> Operand {
    match name {
        "BEST" => Operand::Of(Among::Best),
        "WORST" => Operand::Of(Among::Worst),
        "HOT" => Operand::Hot,
        "COLD" => Operand::Cold,
        name => Operand::Run(name.into()),
    }
}

impl<'de> Deserialize<'de> for Sum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_has_signs_weights_and_chosen_runs() {
        let run = |name: &str| Operand::Run(name.into());
        let sum = |text: &str| text.parse::<Sum>().unwrap().0;
        assert_eq!(sum("sft-1"), [(1.0, run("sft-1"))]);
        assert_eq!(sum("rcrl-bad - 0.5 rcrl"), [(1.0, run("rcrl-bad")), (-0.5, run("rcrl"))]);
        assert_eq!(sum("sft - base + ei"), [(1.0, run("sft")), (-1.0, run("base")), (1.0, run("ei"))]);
        assert_eq!(sum("BEST - WORST"), [(1.0, Operand::Of(Among::Best)), (-1.0, Operand::Of(Among::Worst))]);
        assert!("".parse::<Sum>().is_err());
    }
}
