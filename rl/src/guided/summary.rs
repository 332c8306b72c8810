//! What a run of `rl guide` came to: a line of `seeds.jsonl` for each seed, and the table over seeds. Independent of learning.

use super::{
    args::{GuideArgs, Method, name},
    episodes::{Point, reached},
    lagr::Query,
    lmgt::Shift,
};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// What a seed came to: a line of `seeds.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedResult {
    /// The seed of environment and learning.
    pub seed: u64,
    /// KL(π* ‖ guide) over an episode, in nats.
    pub divergence: f64,
    /// The expected return of the guide alone: an action is drawn by its probability.
    pub guide: f64,
    /// The same where its likeliest action is taken.
    pub greedy_guide: f64,
    /// The largest expected return.
    pub best: f64,
    /// Answers of the guide that were known already, because it had been asked about the state.
    pub hits: usize,
    /// States that a language model was asked about, those of exact evaluations included; 0 without one.
    pub model_states: usize,
    /// Seconds that it took.
    #[serde(rename = "time/model_s")]
    pub model_seconds: f64,
    /// Seconds of learning.
    #[serde(rename = "time/learn_s")]
    pub learn_seconds: f64,
    /// Evaluations.
    pub curve: Vec<Point>,
}

impl SeedResult {
    /// The last evaluation.
    pub fn last(&self) -> Point {
        *self.curve.last().expect("the last episode is evaluated")
    }
}

/// The mean of numbers.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Half of the 95 % interval of the mean over seeds (Student's t); `None` of less than two.
pub fn half_width(values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    if values.len() < 2 {
        return None;
    }
    let variance = values.iter().map(|x| (x - mean(values)).powi(2)).sum::<f64>() / (count - 1.0);
    let t = StudentsT::new(0.0, 1.0, count - 1.0).expect("degrees of freedom above 0").inverse_cdf(0.975);
    Some(t * (variance / count).sqrt())
}

/// The mean with half of its interval.
fn with_interval(values: &[f64]) -> String {
    match (values.is_empty(), half_width(values)) {
        (true, _) => "—".into(),
        (_, None) => format!("{:.3}", mean(values)),
        (_, Some(half)) => format!("{:.3} ± {half:.3}", mean(values)),
    }
}

/// One row: what the guide is, what was reached, and how many episodes and queries that took.
pub fn table(args: &GuideArgs, all: &[SeedResult]) -> String {
    let of = |value: &dyn Fn(&SeedResult) -> f64| with_interval(&all.iter().map(value).collect::<Vec<_>>());
    let points: Vec<Point> = all.iter().filter_map(|seed| reached(&seed.curve, seed.best, args.epsilon)).collect();
    let at = |value: fn(&Point) -> usize| with_interval(&points.iter().map(|p| value(p) as f64).collect::<Vec<_>>());
    let columns = [
        ("environment", name(args.environment)),
        ("method", method(args)),
        ("KL(π* ‖ guide)", of(&|seed| seed.divergence)),
        ("guide alone", of(&|seed| seed.guide)),
        ("its likeliest actions", of(&|seed| seed.greedy_guide)),
        ("best", of(&|seed| seed.best)),
        ("return at the end", of(&|seed| seed.last().value)),
        ("queries in all", of(&|seed| seed.last().queries as f64)),
        (&format!("episodes to ε = {}", args.epsilon), at(|point| point.episodes)),
        ("queries to ε", at(|point| point.queries)),
        ("seeds that got there", format!("{} of {}", points.len(), all.len())),
    ];
    let line = |cells: Vec<&str>| format!("| {} |", cells.join(" | "));
    [
        line(columns.iter().map(|(head, _)| *head).collect()),
        format!("|{}", " --- |".repeat(columns.len())),
        line(columns.iter().map(|(_, cell)| cell.as_str()).collect()),
    ]
    .join("\n")
}

/// The method with what it depends on.
fn method(args: &GuideArgs) -> String {
    let learner = || name(args.learner);
    match args.method {
        Method::Linvit => format!("LINVIT, λ = {}", args.lambda),
        Method::Slinvit => {
            format!("SLINVIT, λ = {}, {} × {}, leaf {}", args.lambda, args.breadth, args.depth, name(args.leaf))
        }
        Method::Lmgt if args.shift == Shift::None => format!("Q-learning, {}", learner()),
        Method::Lmgt => format!("LMGT, {} of {}, {}", name(args.shift), args.shift_scale, learner()),
        Method::LagrSeq if args.query == Query::Never => format!("Q-learning, {}", learner()),
        Method::LagrSeq => format!("LaGR-SEQ, query {}, {}", name(args.query), learner()),
    }
}

/// How long a language model took, if there was one.
pub fn cost_of_model(all: &[SeedResult]) -> Option<String> {
    let states: usize = all.iter().map(|seed| seed.model_states).sum();
    let seconds: f64 = all.iter().map(|seed| seed.model_seconds).sum();
    let [queries, hits, episodes] = [
        all.iter().map(|seed| seed.last().queries).sum::<usize>(),
        all.iter().map(|seed| seed.hits).sum(),
        all.iter().map(|seed| seed.last().episodes).sum(),
    ]
    .map(|count| count as f64);
    (states > 0).then(|| {
        format!(
            "the model was asked about {states} states in {seconds:.1} s; the learners asked about {queries} of them, and knew the \
             answer already {:.0} % of the times that they needed one: {:.3} s of the model an episode",
            100.0 * hits / (hits + queries).max(1.0),
            seconds / states as f64 * queries / episodes
        )
    })
}
