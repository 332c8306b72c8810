//! The quality of a reward model on held-out questions, and of its labels.

use super::config::{BestBy, OrmConfig, StepLabel};
use crate::{
    run::Run,
    sampling::prefix::{Counts, PrefixedSample},
    training::supervised::ValidationScore,
    view::progress::print_line,
};
use anyhow::{Result, ensure};
use data::{Example, PromptFormat, Prompting, Tokenizer};
use eval::{
    Agreement, Calibration, LabelCheck, OrmReport, Outcome, Policy, Prediction, RewardModel, Sample, auc,
    reward_report::MAX_LINES,
};
use model::{Finish, ScoreKind};
use std::collections::{BTreeMap, BTreeSet};

/// Held-out samples with their outcomes.
pub struct HeldOut<'a> {
    samples: Vec<(&'a Sample, PrefixedSample)>,
}

impl<'a> HeldOut<'a> {
    /// Tokenises samples; empty samples and samples that do not fit the context are left out.
    ///
    /// # Errors
    /// No sample at all; a chat style without a template.
    pub fn from_samples(samples: &[&'a Sample], policy: &Policy, format: &PromptFormat) -> Result<Self> {
        let context = policy.model.config.max_position_embeddings;
        let prompting = Prompting::bare(format.clone());
        let mut kept = Vec::with_capacity(samples.len());
        for &sample in samples {
            let prefixed = PrefixedSample::of(&policy.tokenizer, &prompting, sample)?;
            kept.extend(prefixed.filter(|found| found.example.tokens.len() <= context).map(|found| (sample, found)));
        }
        ensure!(!kept.is_empty(), "no sample belongs to a held-out question: raise --held-out");
        Ok(Self { samples: kept })
    }

    /// Splits the samples: those of the first questions (at most half of all), and the rest. A single question is in
    /// both.
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
        let part = |first: bool| -> Vec<(&'a Sample, PrefixedSample)> {
            let of = self.samples.iter().zip(&is_first).filter(|(_, is_first)| **is_first == first);
            of.map(|(sample, _)| sample.clone()).collect()
        };
        let (first, rest) = (part(true), part(false));
        let first = if first.is_empty() { rest.clone() } else { first };
        (Self { samples: first }, Self { samples: rest })
    }

    /// The scored position and the outcome of each.
    pub fn outcomes(&self) -> Vec<Outcome<'_>> {
        let of =
            self.samples.iter().map(|(sample, prefixed)| (&prefixed.example, prefixed.ends.as_slice(), sample.correct));
        of.map(|(example, places, right)| Outcome { example, places, right }).collect()
    }

    /// The report of a reward model on these samples.
    pub fn report(&self, model: &RewardModel, at_once: usize, threads: usize) -> OrmReport {
        let rows: Vec<Example> = self.samples.iter().map(|(_, prefixed)| prefixed.example.clone()).collect();
        let predicted = model.scores(&rows, at_once, threads);
        let order = self.order(&predicted);
        if model.kind() == ScoreKind::Relative {
            return OrmReport { pair_accuracy: order.pair_accuracy, ..self.about(order.within_questions) };
        }
        let (mut finished, mut all) = (Vec::new(), Vec::new());
        let mut by_lines: BTreeMap<usize, Vec<Prediction>> = BTreeMap::new();
        for ((sample, prefixed), probabilities) in self.samples.iter().zip(&predicted) {
            let prediction = |end: usize| Prediction {
                probability: f64::from(probabilities[end - prefixed.example.prompt_len]),
                is_true: sample.correct,
            };
            let (&last, unfinished) = prefixed.ends.split_last().expect("a sample has a token");
            if sample.finish == Finish::Stop {
                finished.push(prediction(last));
            }
            for (lines, &end) in (1..).zip(unfinished) {
                by_lines.entry(lines.min(MAX_LINES)).or_default().push(prediction(end));
            }
            all.extend(prefixed.ends.iter().map(|&end| prediction(end)));
        }
        OrmReport {
            finished: (!finished.is_empty()).then(|| Calibration::of(&finished)),
            prefixes: Some(Calibration::of(&all)),
            by_lines: by_lines.into_iter().map(|(lines, predictions)| (lines, Calibration::of(&predictions))).collect(),
            ..self.about(order.within_questions)
        }
    }

    /// A report without probabilities.
    fn about(&self, within_questions: Option<f64>) -> OrmReport {
        OrmReport {
            questions: self.samples.iter().map(|(sample, _)| &sample.id).collect::<BTreeSet<_>>().len(),
            samples: self.samples.len(),
            finished: None,
            within_questions,
            pair_accuracy: None,
            prefixes: None,
            by_lines: BTreeMap::new(),
            labels: None,
            rankings: None,
        }
    }

    /// How well the scores at their ends order the finished solutions of each question.
    fn order(&self, scores: &[Vec<f32>]) -> Order {
        let mut by_question: BTreeMap<&str, Vec<(f64, bool)>> = BTreeMap::new();
        for ((sample, prefixed), scores) in self.samples.iter().zip(scores) {
            if sample.finish == Finish::Stop {
                let last = prefixed.ends.last().expect("a sample has a token") - prefixed.example.prompt_len;
                by_question.entry(&sample.id).or_default().push((f64::from(scores[last]), sample.correct));
            }
        }
        // The area under the curve of a question is the share of its pairs that are in order.
        let of_question = |scored: &Vec<(f64, bool)>| {
            let right = scored.iter().filter(|(_, right)| *right).count();
            auc(scored).map(|auc| (auc, (right * (scored.len() - right)) as f64))
        };
        let areas: Vec<(f64, f64)> = by_question.values().filter_map(of_question).collect();
        let pairs: f64 = areas.iter().map(|(_, pairs)| pairs).sum();
        Order {
            within_questions: (!areas.is_empty())
                .then(|| areas.iter().map(|(area, _)| area).sum::<f64>() / areas.len() as f64),
            pair_accuracy: (pairs > 0.0).then(|| areas.iter().map(|(area, of)| area * of).sum::<f64>() / pairs),
        }
    }
}

/// How well scores order the solutions of one question.
struct Order {
    /// AUC within a question, as a mean over questions.
    within_questions: Option<f64>,
    /// Share of all pairs within questions.
    pair_accuracy: Option<f64>,
}

/// A report as the evaluation of a model during training.
pub(super) fn validation_score(report: &OrmReport, best_by: BestBy) -> ValidationScore {
    let more = report.finished.iter().flat_map(|finished| {
        let auc = finished.auc.map(|auc| ("validation/auc", auc));
        [("validation/accuracy", finished.accuracy), ("validation/ece", finished.ece)].into_iter().chain(auc)
    });
    let brier = report.prefixes.as_ref().map(|prefixes| ("validation/negative_brier", -prefixes.brier));
    let within = report.within_questions.map(|auc| ("validation/auc_within", auc));
    // Where no question has right and wrong solutions, there is no order to find.
    let order = within.unwrap_or(("validation/auc_within", 0.5));
    let ((name, score), other) = match (best_by, brier) {
        (BestBy::Brier, Some(brier)) => (brier, within),
        (BestBy::Brier | BestBy::AucWithin, _) => (order, brier),
    };
    let pairs = report.pair_accuracy.map(|share| ("validation/pair_accuracy", share));
    ValidationScore { name, score, more: more.chain(other).chain(pairs).collect() }
}

/// Compares all kinds of labels with values on the unfinished prefixes of samples; a prefix counts once per sample that
/// starts with it.
///
/// # Errors
/// Samples without an unfinished prefix; a chat style without a template.
pub(super) fn compare_labels(
    samples: &[&Sample],
    value: &Counts,
    steps: &Counts,
    tokenizer: &Tokenizer,
    config: &OrmConfig,
) -> Result<LabelCheck> {
    let prompting = Prompting::bare(config.data.prompt_format());
    let (mut values, mut outcomes, mut any, mut share) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for sample in samples {
        let Some(prefixed) = PrefixedSample::of(tokenizer, &prompting, sample)? else { continue };
        for &end in prefixed.unfinished() {
            let key = (sample.id.clone(), prefixed.text(tokenizer, end));
            let (Some(&(right, of)), Some(&(some_right, some))) = (value.get(&key), steps.get(&key)) else {
                continue;
            };
            values.push(right as f64 / of as f64);
            outcomes.push(f64::from(u8::from(sample.correct)));
            any.push(f64::from(StepLabel::Any.of(some_right, some)));
            share.push(f64::from(StepLabel::Share.of(some_right, some)));
        }
    }
    ensure!(!values.is_empty(), "the samples of --check-labels have no unfinished prefix");
    Ok(LabelCheck {
        prefixes: values.len(),
        completions: config.check_completions,
        outcome: Agreement::of(&outcomes, &values),
        any: Agreement::of(&any, &values),
        share: Agreement::of(&share, &values),
    })
}

/// At most `count` samples, evenly spaced over a list.
pub(super) fn spread_over<'a>(samples: &[&'a Sample], count: usize) -> Vec<&'a Sample> {
    crate::run::read::evenly(samples.len(), count).map(|place| samples[place]).collect()
}

/// Writes the report into a run, and prints it below what the model was `trained_on`.
pub(super) fn write_and_print(run: &Run, report: &OrmReport, trained_on: &str) -> Result<()> {
    eval::write_whole(&run.dir().join("eval.json"), &serde_json::to_vec_pretty(report)?)?;
    print_line(&format!(
        "\ntrained on {trained_on}; held out: {} questions, {} solutions\n{}\nrun directory: {}",
        report.questions,
        report.samples,
        report.text(),
        run.dir().display()
    ))
}
