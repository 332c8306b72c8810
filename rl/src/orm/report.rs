//! How good a reward model is on questions that it has not learnt from, and how good its labels were.

use super::{Labelled, OrmConfig};
use crate::{
    prefix::{Counts, Prefixed},
    progress::print_line,
    run::{Run, write_whole},
};
use anyhow::{Result, ensure};
use comfy_table::{CellAlignment, Table, presets};
use data::{Example, PromptStyle, Prompting, Tokenizer};
use eval::{Calibration, Policy, Prediction, RewardModel, Sample};
use model::Finish;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Prefixes of more lines than this are told of together.
const MOST_LINES: usize = 6;

/// What `eval.json` of `rl orm` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrmReport {
    /// Held-out questions.
    pub questions: usize,
    /// Their samples.
    pub samples: usize,
    /// Solutions that were written to their end, judged by all of it; `None` where there is none.
    pub finished: Option<Calibration>,
    /// All step prefixes and whole samples, against the outcome of their own sample.
    pub prefixes: Calibration,
    /// Unfinished prefixes by their number of lines.
    pub by_lines: BTreeMap<usize, Calibration>,
    /// How good the labels were, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelCheck>,
}

/// Held-out samples with what became of them.
pub struct Judged<'a> {
    samples: Vec<(&'a Sample, Prefixed)>,
}

impl<'a> Judged<'a> {
    /// Tokenises samples; those without a token, and those that do not fit the context, are left out.
    ///
    /// # Errors
    /// No sample at all; a chat style without a template.
    pub fn of(samples: &[&'a Sample], policy: &Policy, style: PromptStyle) -> Result<Self> {
        let context = policy.model.config.max_position_embeddings;
        let prompting = Prompting::bare(style);
        let mut kept = Vec::with_capacity(samples.len());
        for &sample in samples {
            let prefixed = Prefixed::of(&policy.tokenizer, &prompting, sample)?;
            kept.extend(prefixed.filter(|found| found.example.tokens.len() <= context).map(|found| (sample, found)));
        }
        ensure!(!kept.is_empty(), "no sample is of a question that is held out: raise --held-out");
        Ok(Self { samples: kept })
    }

    /// Those of the first questions, at most half of them, and the others. A single question is both.
    pub fn split_at_question(self, questions: usize) -> (Self, Self) {
        let all = self.samples.iter().map(|(sample, _)| sample.id.as_str()).collect::<BTreeSet<_>>().len();
        let questions = questions.min(all / 2);
        let mut seen = BTreeSet::new();
        let is_first: Vec<bool> = self
            .samples
            .iter()
            .map(|(sample, _)| {
                let id = sample.id.as_str();
                seen.contains(id) || seen.len() < questions && seen.insert(id)
            })
            .collect();
        let part = |first: bool| -> Vec<(&'a Sample, Prefixed)> {
            let of = self.samples.iter().zip(&is_first).filter(|(_, is_first)| **is_first == first);
            of.map(|(sample, _)| sample.clone()).collect()
        };
        let (looked_at, told_of) = (part(true), part(false));
        let looked_at = if looked_at.is_empty() { told_of.clone() } else { looked_at };
        (Self { samples: looked_at }, Self { samples: told_of })
    }

    /// What a reward model says of them.
    pub fn report(&self, model: &RewardModel, at_once: usize, threads: usize) -> OrmReport {
        let rows: Vec<Example> = self.samples.iter().map(|(_, prefixed)| prefixed.example.clone()).collect();
        let judged = model.probabilities(&rows, at_once, threads);
        let (mut finished, mut all) = (Vec::new(), Vec::new());
        let mut by_lines: BTreeMap<usize, Vec<Prediction>> = BTreeMap::new();
        for ((sample, prefixed), probabilities) in self.samples.iter().zip(&judged) {
            let prediction = |end: usize| Prediction {
                probability: f64::from(probabilities[end - prefixed.example.prompt_len]),
                is_true: sample.correct,
            };
            let (&last, unfinished) = prefixed.ends.split_last().expect("a sample has a token");
            finished.extend((sample.finish == Finish::Stop).then(|| prediction(last)));
            for (lines, &end) in (1..).zip(unfinished) {
                by_lines.entry(lines.min(MOST_LINES)).or_default().push(prediction(end));
            }
            all.extend(prefixed.ends.iter().map(|&end| prediction(end)));
        }
        OrmReport {
            questions: self.samples.iter().map(|(sample, _)| &sample.id).collect::<BTreeSet<_>>().len(),
            samples: self.samples.len(),
            finished: (!finished.is_empty()).then(|| Calibration::of(&finished)),
            prefixes: Calibration::of(&all),
            by_lines: by_lines.into_iter().map(|(lines, predictions)| (lines, Calibration::of(&predictions))).collect(),
            labels: None,
        }
    }
}

/// How far two kinds of labels are from the value of a prefix: the share of right ones among many fresh completions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelCheck {
    /// Unfinished prefixes.
    pub prefixes: usize,
    /// Completions behind each value.
    pub completions: usize,
    /// Of labels by the outcome of the prefix's own sample.
    pub outcome: Agreement,
    /// Of labels by fresh completions, as `--completions` and `--step-label` say.
    pub steps: Agreement,
}

/// How far labels are from values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Mean squared distance.
    pub squared_distance: f64,
    /// Share of labels on the same side of 1/2.
    pub same_side: f64,
    /// Pearson's correlation; 0 where one of the two is constant.
    pub correlation: f64,
}

impl LabelCheck {
    /// Compares on the unfinished prefixes of samples, each as often as samples begin with it.
    ///
    /// # Errors
    /// Samples without an unfinished prefix; a chat style without a template.
    pub fn of(
        samples: &[&Sample],
        value: &Counts,
        steps: &Counts,
        tokenizer: &Tokenizer,
        config: &OrmConfig,
    ) -> Result<Self> {
        let prompting = Prompting::bare(config.data.prompt_style);
        let (mut values, mut outcomes, mut by_steps) = (Vec::new(), Vec::new(), Vec::new());
        for sample in samples {
            let Some(prefixed) = Prefixed::of(tokenizer, &prompting, sample)? else { continue };
            for &end in prefixed.unfinished() {
                let key = (sample.id.clone(), prefixed.text(tokenizer, end));
                let (Some(&(right, of)), Some(&(some_right, some))) = (value.get(&key), steps.get(&key)) else {
                    continue;
                };
                values.push(right as f64 / of as f64);
                outcomes.push(f64::from(u8::from(sample.correct)));
                by_steps.push(f64::from(config.step_label.of(some_right, some)));
            }
        }
        ensure!(!values.is_empty(), "the samples of --check-labels have no unfinished prefix");
        Ok(Self {
            prefixes: values.len(),
            completions: config.check_completions,
            outcome: Agreement::of(&outcomes, &values),
            steps: Agreement::of(&by_steps, &values),
        })
    }
}

impl Agreement {
    fn of(labels: &[f64], values: &[f64]) -> Self {
        let count = labels.len() as f64;
        let pairs = || labels.iter().zip(values);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
        let (mean_label, mean_value) = (mean(labels), mean(values));
        let moment =
            |of: &dyn Fn(f64, f64) -> f64| pairs().map(|(&label, &value)| of(label, value)).sum::<f64>() / count;
        let covariance = moment(&|label, value| (label - mean_label) * (value - mean_value));
        let deviations = (moment(&|label, _| (label - mean_label).powi(2))
            * moment(&|_, value| (value - mean_value).powi(2)))
        .sqrt();
        Self {
            squared_distance: moment(&|label, value| (label - value).powi(2)),
            same_side: moment(&|label, value| f64::from(u8::from((label > 0.5) == (value > 0.5)))),
            correlation: if deviations > 0.0 { covariance / deviations } else { 0.0 },
        }
    }
}

/// At most `count` samples, evenly over a list.
pub(super) fn spread_over<'a>(samples: &[&'a Sample], count: usize) -> Vec<&'a Sample> {
    crate::inspect::read::evenly(samples.len(), count).map(|place| samples[place]).collect()
}

pub(super) fn write_and_print(run: &Run, report: &OrmReport, examples: &[Labelled]) -> Result<()> {
    write_whole(&run.dir().join("eval.json"), &serde_json::to_vec_pretty(report)?)?;
    let labels: usize = examples.iter().map(|example| example.labels.len()).sum();
    print_line(&format!(
        "\nlearnt {labels} labels of {} solutions; held out: {} questions, {} solutions\n{}\nrun directory: {}",
        examples.len(),
        report.questions,
        report.samples,
        report.text(),
        run.dir().display()
    ))
}

impl OrmReport {
    /// Tables to read: how good it is by the length of what it judges, and how often its probabilities come true.
    pub fn text(&self) -> String {
        let mut table = right_aligned(&["judged after", "count", "right", "accuracy", "AUC", "ECE", "Brier"]);
        let mut row = |name: String, of: &Calibration| {
            let auc = of.auc.map_or("–".into(), |auc| format!("{auc:.3}"));
            let number = |value: f64| format!("{value:.3}");
            table.add_row([
                name,
                of.count.to_string(),
                number(of.base_rate),
                number(of.accuracy),
                auc,
                number(of.ece),
                number(of.brier),
            ]);
        };
        if let Some(finished) = &self.finished {
            row("the whole solution".into(), finished);
        }
        for (&lines, calibration) in &self.by_lines {
            let more = if lines == MOST_LINES { " or more" } else { "" };
            row(format!("{lines}{more} line{}", if lines == 1 { "" } else { "s" }), calibration);
        }
        row("all of these".into(), &self.prefixes);
        let mut reliability = right_aligned(&["probability", "solutions", "mean", "came true"]);
        for bin in self.finished.iter().flat_map(|finished| &finished.reliability) {
            reliability.add_row([
                format!("{:.1} to {:.1}", bin.from, bin.from + 0.1),
                bin.count.to_string(),
                format!("{:.3}", bin.confidence),
                format!("{:.3}", bin.frequency),
            ]);
        }
        let labels = self.labels.as_ref().map_or(String::new(), |check| {
            let mut table = right_aligned(&["labels by", "squared distance", "same side of 1/2", "correlation"]);
            for (name, of) in [("outcome", check.outcome), ("steps", check.steps)] {
                let numbers = [of.squared_distance, of.same_side, of.correlation].map(|value| format!("{value:.3}"));
                table.add_row([name.to_string()].into_iter().chain(numbers));
            }
            format!(
                "\n\nlabels against the share of right ones among {} completions, {} prefixes\n{table}",
                check.completions, check.prefixes
            )
        });
        format!("{table}\n\nhow often whole solutions come true\n{reliability}{labels}")
    }
}

fn right_aligned(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_are_the_values_agree_and_their_opposites_do_not() {
        let values = [0.0, 1.0, 1.0, 0.0];
        let same = Agreement::of(&values, &values);
        assert_eq!((same.squared_distance, same.same_side, same.correlation), (0.0, 1.0, 1.0));
        let opposite = Agreement::of(&[1.0, 0.0, 0.0, 1.0], &values);
        assert_eq!((opposite.squared_distance, opposite.same_side, opposite.correlation), (1.0, 0.0, -1.0));
        assert_eq!(Agreement::of(&[1.0; 4], &values).correlation, 0.0);
    }

    #[test]
    fn a_coin_with_the_right_odds_is_as_far_as_its_variance() {
        // Half of the prefixes with value 1/2 have label 1.
        let agreement = Agreement::of(&[1.0, 0.0], &[0.5, 0.5]);
        assert_eq!(agreement.squared_distance, 0.25);
    }
}
