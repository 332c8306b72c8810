//! The report of `rl orm` on a reward model: the `eval.json` of its run, and its printed tables.

use crate::metrics::Calibration;
use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Prefixes of more lines than this share a row.
pub const MAX_LINES: usize = 6;

/// What `eval.json` of `rl orm` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrmReport {
    /// Held-out questions.
    pub questions: usize,
    /// Their samples.
    pub samples: usize,
    /// Solutions that were written to their end, scored at their end; `None` where there is none.
    pub finished: Option<Calibration>,
    /// Mean over questions of the AUC among their own finished solutions, of those that have right and wrong ones: what
    /// choosing among the samples of a question can build on. `None` where there is no such question.
    pub within_questions: Option<f64>,
    /// Share of the pairs of a right and a wrong finished solution of one question that the scores order rightly, ties counted half; only
    /// of a reward model that learnt from comparisons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair_accuracy: Option<f64>,
    /// All step prefixes and whole samples, against the outcome of their own sample; `None` of scores that are no probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefixes: Option<Calibration>,
    /// Unfinished prefixes by their number of lines.
    pub by_lines: BTreeMap<usize, Calibration>,
    /// How good the labels were, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelCheck>,
    /// The rankings that it learnt from, if it learnt from comparisons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rankings: Option<RankingCounts>,
}

/// What a reward model has compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankingCounts {
    /// Training questions whose solutions were compared.
    pub questions: usize,
    /// Training questions whose solutions are all equally good, which were left out.
    pub left_out: usize,
    /// Rankings, or pairs.
    pub rankings: usize,
    /// Solutions in them, each counted once.
    pub solutions: usize,
    /// Whether solutions were ranked by their rewards, not by whether they are right.
    pub by_reward: bool,
}

impl RankingCounts {
    /// In words.
    pub fn text(&self) -> String {
        let Self { questions, left_out, rankings, solutions, by_reward } = self;
        let by = if *by_reward { "reward" } else { "correctness" };
        format!(
            "{rankings} rankings by {by} of {solutions} solutions of {questions} questions; {left_out} questions left out, all their solutions \
             are equally good"
        )
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
    /// Of labels by whether any of `--completions` fresh ones is right.
    pub any: Agreement,
    /// Of labels by the share of them that is.
    pub share: Agreement,
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

impl Agreement {
    /// The agreement of labels with values, one each.
    ///
    /// # Panics
    /// Without a label.
    pub fn of(labels: &[f64], values: &[f64]) -> Self {
        assert!(!labels.is_empty() && labels.len() == values.len(), "{} labels, {} values", labels.len(), values.len());
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
            same_side: moment(&|label, value| f64::from(u8::from((label >= 0.5) == (value >= 0.5)))),
            correlation: if deviations > 0.0 { covariance / deviations } else { 0.0 },
        }
    }
}

impl OrmReport {
    /// Tables: the quality by the length of the prefix, and the reliability of the probabilities.
    pub fn text(&self) -> String {
        let mut table = right_aligned(&["scored after", "count", "right", "accuracy", "AUC", "ECE", "Brier"]);
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
            let more = if lines == MAX_LINES { " or more" } else { "" };
            row(format!("{lines}{more} line{}", if lines == 1 { "" } else { "s" }), calibration);
        }
        self.prefixes.iter().for_each(|prefixes| row("all of these".into(), prefixes));
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
            for (name, of) in [("outcome", check.outcome), ("any", check.any), ("share", check.share)] {
                let numbers = [of.squared_distance, of.same_side, of.correlation].map(|value| format!("{value:.3}"));
                table.add_row([name.to_string()].into_iter().chain(numbers));
            }
            format!(
                "\n\nlabels against the share of correct ones among {} completions, {} prefixes\n{table}",
                check.completions, check.prefixes
            )
        });
        let order = self.order();
        let Some(_) = &self.prefixes else { return format!("{order}{labels}") };
        format!("{table}\n{order}\n\nreliability of the probabilities of whole solutions\n{reliability}{labels}")
    }

    /// How well scores order the solutions of one question.
    fn order(&self) -> String {
        let within = self.within_questions.map_or("–".into(), |auc| format!("{auc:.3}"));
        let pairs = self.pair_accuracy.map_or(String::new(), |share| {
            format!("\npairs of a right and a wrong solution of one question in the right order: {share:.3}")
        });
        format!("AUC among the solutions of one question, mean over questions: {within}{pairs}")
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
