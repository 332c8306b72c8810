//! The types of `study.toml`: profiles, runs and exhibits. It is long because it mirrors that file field by field.

use super::{
    claim::{Claim, Temperatures},
    verdicts::{Comparable, Verdicts},
};
use anyhow::{Context, Result, ensure};
use data::Benchmark;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

/// What an exhibit calls all benchmarks that are not built in.
const DESCRIPTION: &str = "description";

/// All that `study.toml` declares.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Study {
    /// What every profile does unless it says otherwise.
    pub settings: Profile,
    /// Budgets by name.
    #[serde(rename = "profile")]
    pub profiles: BTreeMap<String, Profile>,
    /// Flags that every run of a command has.
    pub commands: BTreeMap<String, String>,
    /// In the order in which they are done.
    #[serde(rename = "run")]
    pub runs: Vec<Run>,
    /// Runs that others are compared with.
    pub reference: Reference,
    /// Tables, figures and claims.
    #[serde(rename = "exhibit")]
    pub exhibits: Vec<Exhibit>,
    /// How verdicts come about.
    pub verdicts: Verdicts,
    /// Runs whose measures vary alike with the seed.
    pub comparable: Vec<Comparable>,
    /// Names for several runs.
    pub run_sets: BTreeMap<String, Vec<String>>,
    /// Two runs that differ in temperature.
    pub temperatures: Temperatures,
    /// What the paper claims.
    #[serde(rename = "claim")]
    pub claims: Vec<Claim>,
}

/// A budget: how many seeds, which sizes, and settings by name.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Profile {
    /// How many seeds there are, from 0 on.
    pub seeds: Option<Seeds>,
    /// Sizes of model.
    pub sizes: Option<Vec<String>>,
    /// What sizes are called that are given by path.
    pub given_sizes: Option<Vec<String>>,
    /// Models must be given by path.
    #[serde(default)]
    pub needs_init: bool,
    /// What is trained first where no model is given, in the place of a pretrained one: the last of these.
    #[serde(default)]
    pub stand_in: Vec<StandIn>,
    /// An exhibit of another benchmark.
    pub also: Option<Also>,
    /// Settings that differ on a benchmark.
    #[serde(default)]
    pub on: BTreeMap<String, BTreeMap<String, Setting>>,
    /// Flags and numbers that runs refer to in braces.
    #[serde(flatten)]
    pub settings: BTreeMap<String, Setting>,
}

/// How many seeds there are.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Seeds {
    /// Of every size.
    All(u64),
    /// By size.
    BySize(BTreeMap<String, u64>),
}

impl Seeds {
    /// Those of a size; none where the size is not named.
    pub fn of(&self, size: &str) -> u64 {
        match self {
            Self::All(count) => *count,
            Self::BySize(counts) => counts.get(size).copied().unwrap_or(0),
        }
    }
}

/// Flags or a number.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// Flags, in which names in braces stand for other settings.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Number(f64),
}

/// A run of a model that stands for a pretrained one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandIn {
    /// Its directory in that of the study.
    pub name: String,
    /// Of `rl`.
    pub command: String,
    /// All flags but `--out`.
    pub flags: String,
}

/// An exhibit that is made of a study of another benchmark, in a directory of its own.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Also {
    /// Which one.
    pub exhibit: String,
    /// The benchmark with whose study it is made.
    pub from: String,
    /// The benchmark that it shows.
    pub benchmark: String,
    /// Where its problems are, from the root of the repository.
    pub data_dir: String,
}

/// A run, or an evaluation of one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Run {
    /// Of its directory and its result.
    pub name: String,
    /// Profiles that have it; all of them where nothing is said.
    pub profiles: Option<Vec<String>>,
    /// Of `rl`; `None` where a checkpoint of another run is evaluated.
    pub command: Option<String>,
    /// The run whose model it starts from.
    pub start: Option<String>,
    /// Other runs that must be finished first.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Of the command.
    #[serde(default)]
    pub flags: String,
    /// The run that it begins as a copy of.
    pub continues: Option<String>,
    /// Whether a published model takes its place.
    #[serde(default)]
    pub replaced_by_init: bool,
    /// The run that is evaluated, where it is another one.
    pub of: Option<String>,
    /// The run whose cost and curve are kept with the report, where it is neither this one nor `of`.
    pub costs_of: Option<String>,
    /// Flags of the evaluation.
    #[serde(default)]
    pub report: String,
    /// The run whose samples are evaluated, where its report has kept them.
    pub samples_of: Option<String>,
    /// The run that reranks the samples of the evaluation, where it is not the usual one.
    pub reward_model: Option<String>,
    /// Which checkpoint is evaluated.
    #[serde(default)]
    pub checkpoint: Checkpoint,
    /// What the command leaves.
    #[serde(default)]
    pub leaves: Leaves,
    /// What is kept as a result.
    #[serde(default)]
    pub keeps: Keeps,
    /// Of the smaller size alone.
    #[serde(default)]
    pub ablation: bool,
    /// How many seeds have it, where these are fewer than those of the profile.
    pub seeds: Option<u64>,
}

/// Which checkpoint of a run is evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checkpoint {
    /// The one that was best on validation.
    #[default]
    Best,
    /// The one at the end.
    Last,
}

/// What a command of `rl` leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leaves {
    /// A run directory.
    #[default]
    Run,
    /// A folder with a model, and no costs or curves: it has trained nothing.
    Model,
}

/// What is kept of a run as a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeps {
    /// Its report on the test split, its curve and its cost.
    #[default]
    Report,
    /// Its curve and its cost.
    Run,
    /// Nothing: other runs need it.
    Nothing,
}

/// Runs that exhibits and claims compare others with.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Reference {
    /// The base model.
    pub base: String,
    /// The reward model that reranks samples where nothing is said.
    pub reward_model: String,
    /// The fine-tuned model.
    pub sft: String,
    /// Plain PPO.
    pub ppo: String,
    /// Expert Iteration from both starts.
    pub ei: Vec<String>,
}

/// A row of a table or a line of a figure: what it is called, and its run.
pub type Row = (String, String);

/// A table, a figure or the claims.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Exhibit {
    /// Of its files and of its command.
    pub name: String,
    /// What it shows, for the help of its command.
    pub about: String,
    /// Its first line.
    pub title: String,
    /// Benchmarks that it is made of, with `description` for all that are not built in; all of them where nothing is said.
    pub benchmarks: Option<Vec<String>>,
    /// Made where ablations are.
    #[serde(default)]
    pub ablation: bool,
    /// Runs that it needs beside those that it names.
    #[serde(default)]
    pub with: Vec<String>,
    /// What is shown, and how.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What the problems of an embedded benchmark are classed by.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassBy {
    /// The largest number in question and answer.
    Numbers,
    /// The number of steps of the worked solution.
    Steps,
}

/// What an exhibit shows of which runs.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Kind {
    /// A row a run, a column a metric.
    Methods {
        /// In their order.
        rows: Vec<Row>,
        /// Reward models, in tables of their own below.
        #[serde(default)]
        reward_models: Vec<Row>,
    },
    /// A row a round of Expert Iteration.
    Rounds {
        /// By start.
        rows: Vec<Row>,
    },
    /// Metrics of an embedded benchmark's problems by class.
    Classes {
        /// In their order.
        rows: Vec<Row>,
        /// What makes the classes.
        by: ClassBy,
    },
    /// Differences of two runs.
    Differences {
        /// A run, and others that it is subtracted from.
        pairs: Vec<(String, Vec<String>)>,
        /// Runs whose reranking is compared with their vote.
        reranked: Vec<String>,
    },
    /// Metrics on the test split by passes of SFT.
    Passes {
        /// Passes, and the run that made them.
        rows: Vec<Row>,
    },
    /// Metrics of the validation split along a run.
    Curves(Curves),
    /// Verdicts on the paper's claims.
    Claims,
}

/// Metrics of the validation split along a run.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Curves {
    /// What x is called, and its name among the metrics.
    pub x: (String, String),
    /// Whether x is drawn by its logarithm.
    #[serde(default)]
    pub scale: Scale,
    /// Names among the metrics, a panel each.
    pub y: Vec<String>,
    /// The run at which lines begin that start from it.
    pub begins_with: Option<String>,
    /// How to read it; names in braces stand for sentences that are computed.
    pub note: String,
    /// In the order of their colours.
    pub rows: Vec<Row>,
}

/// How numbers, all of them counts, are placed on the x axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Evenly.
    #[default]
    Linear,
    /// By their logarithm. A count of zero has none: it stands in the table but is not drawn.
    Log,
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl Exhibit {
    /// Whether it is made of a benchmark, given by name or as the path of a description.
    pub fn is_made_of(&self, benchmark: &str) -> bool {
        let is_built_in = Benchmark::names().any(|name| name == benchmark);
        let named = if is_built_in { benchmark } else { DESCRIPTION };
        self.benchmarks.as_ref().is_none_or(|benchmarks| benchmarks.iter().any(|name| name == named))
    }
}

impl Study {
    /// The study of `study.toml`, which is compiled in.
    pub fn declared() -> &'static Self {
        static DECLARED: LazyLock<Study> =
            LazyLock::new(|| Study::parse(include_str!("../../study.toml")).expect("a test reads the same text"));
        &DECLARED
    }

    /// # Errors
    /// A malformed text, a name of a run that none has.
    pub fn parse(text: &str) -> Result<Self> {
        let study: Self = toml::from_str(text).context("the study is malformed")?;
        let names: BTreeSet<&str> = study.runs.iter().map(|run| run.name.as_str()).collect();
        ensure!(names.len() == study.runs.len(), "two runs have the same name");
        for name in study.referenced() {
            ensure!(names.contains(name), "the study has no run {name}");
        }
        study.verdicts.check()?;
        Ok(study)
    }

    /// The run of this name.
    ///
    /// # Panics
    /// Where there is none; [`Study::parse`] refuses a text that refers to one.
    pub fn run(&self, name: &str) -> &Run {
        self.find(name).unwrap_or_else(|| panic!("the study has no run {name}"))
    }

    fn find(&self, name: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.name == name)
    }

    /// The exhibit of this name.
    pub fn exhibit(&self, name: &str) -> Option<&Exhibit> {
        self.exhibits.iter().find(|exhibit| exhibit.name == name)
    }

    /// Whether a run starts from the base model; SFT does too, but is what others start from.
    pub fn is_from_base(&self, name: &str) -> bool {
        let start = self.find(name).and_then(|run| run.start.as_ref());
        name != self.reference.sft && start == Some(&self.reference.base)
    }

    /// The runs that an exhibit is made of.
    pub fn runs_of<'a>(&'a self, exhibit: &'a Exhibit) -> BTreeSet<&'a str> {
        let of_rows = |rows: &'a [Row]| rows.iter().map(|(_, run)| run.as_str()).collect::<Vec<_>>();
        let named = match &exhibit.kind {
            Kind::Methods { rows, reward_models } => [of_rows(rows), of_rows(reward_models)].concat(),
            Kind::Rounds { rows } | Kind::Classes { rows, .. } | Kind::Passes { rows } => of_rows(rows),
            Kind::Curves(curves) => {
                of_rows(&curves.rows).into_iter().chain(curves.begins_with.as_deref()).collect::<Vec<_>>()
            }
            // It compares what there is.
            Kind::Differences { .. } => Vec::new(),
            Kind::Claims => {
                self.claims.iter().flat_map(|claim| claim.runs(&self.run_sets, &self.temperatures)).collect()
            }
        };
        named.into_iter().chain(exhibit.with.iter().map(String::as_str)).collect()
    }

    /// All names of runs in the file, but for the runs' own.
    fn referenced(&self) -> Vec<&str> {
        let of_runs = self.runs.iter().flat_map(|run| {
            let single = [&run.start, &run.continues, &run.of, &run.costs_of, &run.samples_of, &run.reward_model];
            single.into_iter().flatten().chain(&run.needs).map(String::as_str)
        });
        let comparable = self.comparable.iter().flat_map(|of| &of.runs).map(String::as_str);
        of_runs.chain(comparable).chain(self.exhibits.iter().flat_map(|exhibit| self.runs_of(exhibit))).collect()
    }
}
