//! Outcome reward models (Havrilla et al. 2024, section on reward models; Cobbe et al. 2021, arXiv 2110.14168): the
//! probability that a solution, finished or not, ends in the correct answer.
//!
//! K solutions of every training question are sampled from a policy, or taken from another run. Every step prefix S_1..S_i is
//! labelled: with the correctness of its own sample (outcome), or by K fresh completions of it (steps; Havrilla et al. 2024,
//! arXiv 2402.10963, "SORM"). The trunk of the policy with a scalar head learns the labels by binary cross-entropy; the
//! head is read at the last token of a prefix. It is evaluated on held-out questions, always against the outcome of
//! their own samples. With `--language-modelling` the trunk is also trained on the correct solutions, as that of Cobbe
//! et al. is on its training solutions; with `--likelihood-of` a solution's likelihood under a language model is added
//! to the head's score (`eval/src/models/likelihood.rs`). Where we deviate from the papers: the trunk is the sampling policy
//! itself, K is 8 by default, and a step label is the share of correct completions, not whether there is one: it is
//! closer to the share among many completions (`--check-labels` compares them).
//!
//! With `--objective pairwise`, `kwise` or `kwise-split` the head learns to order the solutions of one question instead (Zhu, Jiao and Jordan
//! 2023, arXiv 2301.11270; `objective/comparison.rs` has the losses): its score is read at the end of a solution and has no zero. At the end, the
//! covariance of the features that were compared is kept for pessimism (`eval/src/models/coverage.rs`).

mod config;
mod labels;
mod rankings;
mod report;
mod setup;

use crate::{
    algorithms::start::{self, likelihood_model},
    objective::loss::{binary_cross_entropy, negative_log_likelihood},
    run::Run,
    sampling::deduplicate::{Deduplicator, FirstPerQuestion},
    sampling::prefix::{self, CompletionConfig, Labels, PrefixedSample},
    sampling::problems::Problems,
    sampling::samples::TrainingSamples,
    training::batch::{Row, flat},
    training::order::permutation,
    training::supervised::{FitContext, Learner, fit},
    view::html::write_final_report,
};
use anyhow::{Result, ensure};
use burn::tensor::Tensor;
use data::{Problem, Prompting};
use eval::{LabelCheck, Policy, RankingCounts, RewardModel, Sample, parts::Part, resolve_checkpoint};
use model::{Device, Key, Purpose, RewardNetwork, Transformer};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

pub use config::{BestBy, ClassWeights, LossPositions, OrmConfig, StepLabel, check, dry_run, lock_run};
pub use labels::LabelledSolution;
pub use rankings::Ranking;
pub use report::HeldOut;

use labels::{after_tokens, balance_classes, outcome, step_labels};
use rankings::{RankingConfig, Rankings};
use setup::{Setup, set_up};

impl Learner for RewardNetwork {
    fn language_model(&self) -> &Transformer {
        &self.language_model
    }

    fn with_language_model(self, language_model: Transformer) -> Self {
        Self { language_model, ..self }
    }

    fn save_more(&self, folder: &Path) -> Result<()> {
        self.save_reward_head(folder)
    }
}

/// Binary cross-entropy of the labels, read after each labelled prefix; for solutions with a language-modelling loss, plus the mean
/// negative log-likelihood per token, which weighs as much as the labels of its solution together. `total` labels in the batch; `[1]`.
fn loss(model: &RewardNetwork, rows: &[&LabelledSolution], total: usize) -> Tensor<1> {
    let device = model.language_model.device();
    let solutions: Vec<(&[u32], usize)> = rows.iter().map(|row| (row.tokens(), row.prompt_len())).collect();
    let ends: Vec<&[usize]> = rows.iter().map(|row| row.prefixed.ends.as_slice()).collect();
    let (logits, log_probs) = match rows.iter().any(|row| row.language_modelling > 0.0) {
        false => (model.reward_logits(&solutions, &ends), None),
        true => {
            let (logits, log_probs) = model.reward_logits_and_log_probs(&solutions, &ends);
            (logits, Some(log_probs))
        }
    };
    let labels = flat(rows.iter().map(|row| row.labels.as_slice()), &device);
    let weights = flat(rows.iter().map(|row| row.weights.as_slice()), &device);
    let of_labels = binary_cross_entropy(logits, labels, weights, total);
    let Some(log_probs) = log_probs else { return of_labels };
    let weights: Vec<Vec<f32>> = rows.iter().map(|row| language_modelling_weights(row)).collect();
    of_labels + negative_log_likelihood(log_probs * flat(weights.iter().map(Vec::as_slice), &device), total)
}

/// The weight of each token of a solution in the language-modelling loss.
fn language_modelling_weights(row: &LabelledSolution) -> Vec<f32> {
    let tokens = row.response_len();
    vec![row.language_modelling * row.labels.len() as f32 / tokens as f32; tokens]
}

/// Samples, labels, trains, evaluates on held-out questions, and writes a run directory; returns its path.
///
/// # Errors
/// An `init` that cannot be used, samples that are all right or all wrong, a full disk, an interrupt.
pub fn train(config: &OrmConfig, init: &Path, problems: &Problems, device: &Device) -> Result<PathBuf> {
    let problems = problems.train()?;
    let Setup { config, policy, model, mut run, resumed } = set_up(config, init, problems, device)?;
    let drawn = config.sampling.training_samples(&policy, problems, (&config.data, &config.run), &mut run, device)?;
    drawn.check_differ()?;
    let TrainingSamples { samples, sampled } = drawn;
    let held_out = held_out(problems, config.held_out, config.run.seed);
    let (held_out_samples, training): (Vec<&Sample>, Vec<&Sample>) =
        samples.iter().partition(|sample| held_out.contains(sample.id.as_str()));
    // The checkpoint is chosen on some of the held-out questions and reported on the others.
    let (validation, reported) = HeldOut::from_samples(&held_out_samples, &policy, &config.data.prompt_format())?
        .split_at_question(config.eval_problems);
    let training = training_samples(training, &config);
    let encoded = encode(&training, &policy, &config)?;
    let (examples, completed) = examples(&config, &policy, problems, encoded, &run)?;
    let (fit_args, run_args) = config.in_examples();
    let context = FitContext {
        args: &fit_args,
        run_args: &run_args,
        device,
        evaluate_every: config.eval_every,
        label: "orm",
        conditioning: None,
        adapters: config.lora.on(init),
        sampled: Some(sampled + completed),
    };
    let (compute, tokenizer) = (&config.run.compute, policy.tokenizer.clone());
    let threads = compute.threads(device);
    let evaluate = |model: &RewardNetwork| {
        let reward_model = RewardModel::new(model.clone(), tokenizer.clone());
        let report = validation.report(&reward_model, compute.rollout_batch, threads);
        Ok(report::validation_score(&report, config.chosen_by()))
    };
    match &examples {
        Examples::Labelled(labelled) => {
            fit(model, &tokenizer, labelled, loss, &context, &mut run, resumed, evaluate)?;
        }
        Examples::Ranked(made) => {
            let loss =
                |model: &RewardNetwork, rows: &[&Ranking], total| rankings::loss(model, rows, config.objective, total);
            fit(model, &tokenizer, &made.rankings, loss, &context, &mut run, resumed, evaluate)?;
        }
    }
    let mut best = RewardModel::load(run.dir(), device)?;
    if let Examples::Ranked(made) = &examples {
        let coverage = rankings::coverage(&best, made, config.covariance_lambda, (compute.rollout_batch, threads));
        coverage.save(&resolve_checkpoint(run.dir())?)?;
        best.coverage = Some(coverage);
    }
    if let Some(path) = &config.likelihood_of {
        let writer = likelihood_model(path, &policy, device)?;
        let likelihood = best.likelihood_to(writer, &validation.outcomes(), compute.rollout_batch, threads);
        tracing::info!("{:?}", likelihood.weights);
        likelihood.save(&resolve_checkpoint(run.dir())?)?;
        best.likelihood = Some(likelihood);
    }
    let mut report = reported.report(&best, compute.rollout_batch, threads);
    report.rankings = examples.counts();
    if config.check_labels > 0 {
        report.labels = Some(check_labels(&config, &policy, problems, &held_out_samples, &run, device)?);
    }
    report::write_and_print(&run, &report, &examples.text())?;
    Ok(write_final_report::<OrmConfig>(&run))
}

/// Makes the part of the samples that `--part` names, or with `--from-samples` and `--labels steps` of the completions of their prefixes.
///
/// # Errors
/// As [`train`], and of a part of other work in its place.
pub fn make_part(config: &OrmConfig, part: Part, init: &Path, problems: &Problems, device: &Device) -> Result<()> {
    let mut config = config.clone();
    config.run.compute.checker = config.checker.start(config.data.benchmark())?;
    let (policy, problems) = (start::policy(init, device)?, problems.train()?);
    let flags = (&config.sampling, &config.data, &config.run);
    config.prefixes.make_part((part, config.labels), &policy, problems, flags, |samples| {
        let held_out = held_out(problems, config.held_out, config.run.seed);
        let training = samples.iter().filter(|sample| !held_out.contains(sample.id.as_str())).collect();
        Ok(training_samples(training, &config))
    })
}

/// The ids of the held-out questions: a share of all, chosen by the seed.
pub fn held_out(problems: &[Problem], share: f64, seed: u64) -> BTreeSet<&str> {
    let count = ((share * problems.len() as f64).round() as usize).clamp(1, problems.len() - 1);
    let order = permutation(problems.len(), Key::new(seed, Purpose::HeldOut));
    order[..count].iter().map(|&place| problems[place].id.as_str()).collect()
}

/// The training samples: the first of each question, without duplicates if the flags ask for that.
fn training_samples<'a>(samples: Vec<&'a Sample>, config: &OrmConfig) -> Vec<&'a Sample> {
    let (mut distinct, mut first) = (Deduplicator::new(config.deduplicate), FirstPerQuestion::new(config.per_question));
    let is_chosen = |sample: &&'a Sample| distinct.is_new(&sample.id, &sample.completion) && first.has_room(&sample.id);
    samples.into_iter().filter(is_chosen).collect()
}

/// What a reward model is trained on.
enum Examples {
    Labelled(Vec<LabelledSolution>),
    Ranked(Rankings),
}

impl Examples {
    /// How many there are, in words.
    fn text(&self) -> String {
        match self {
            Self::Labelled(examples) => {
                let labels: usize = examples.iter().map(|example| example.labels.len()).sum();
                format!("{labels} labels of {} solutions", examples.len())
            }
            Self::Ranked(made) => made.counts.text(),
        }
    }

    fn counts(&self) -> Option<RankingCounts> {
        match self {
            Self::Labelled(_) => None,
            Self::Ranked(made) => Some(made.counts),
        }
    }
}

/// Samples as examples, and the number of completions sampled for their labels.
fn examples(
    config: &OrmConfig,
    policy: &Policy,
    problems: &[Problem],
    encoded: Vec<(&Sample, PrefixedSample)>,
    run: &Run,
) -> Result<(Examples, usize)> {
    if config.objective.is_bce() {
        let (labelled, completed) = label(config, policy, problems, encoded, run)?;
        return Ok((Examples::Labelled(labelled), completed));
    }
    let making = RankingConfig {
        objective: config.objective,
        size: config.solutions_of_example(),
        language_modelling: config.language_modelling,
        seed: config.run.seed,
    };
    let made = rankings::make(&encoded, &making)?;
    tracing::info!("{}", made.counts.text());
    Ok((Examples::Ranked(made), 0))
}

/// Samples as tokens; those that are empty or longer than the context are left out. A reward model's input has no few-shot prompt.
fn encode<'a>(
    samples: &[&'a Sample],
    policy: &Policy,
    config: &OrmConfig,
) -> Result<Vec<(&'a Sample, PrefixedSample)>> {
    let prompting = Prompting::bare(config.data.prompt_format());
    let mut prefixed: Vec<(&'a Sample, PrefixedSample)> = Vec::with_capacity(samples.len());
    for &sample in samples {
        if let Some(found) = PrefixedSample::of(&policy.tokenizer, &prompting, sample)? {
            prefixed.push((sample, found));
        }
    }
    let longest = policy.model.config.max_position_embeddings;
    prefixed.retain(|(_, prefixed)| prefixed.example.tokens.len() <= longest);
    if prefixed.len() < samples.len() {
        tracing::warn!(
            "{} of {} samples are empty or longer than the context",
            samples.len() - prefixed.len(),
            samples.len()
        );
    }
    Ok(prefixed)
}

/// Samples with labels of their prefixes, and the number of completions sampled for these.
fn label(
    config: &OrmConfig,
    policy: &Policy,
    problems: &[Problem],
    prefixed: Vec<(&Sample, PrefixedSample)>,
    run: &Run,
) -> Result<(Vec<LabelledSolution>, usize)> {
    let samples: Vec<&Sample> = prefixed.iter().map(|(sample, _)| *sample).collect();
    let flags = (&config.sampling, &config.data, &config.run);
    let (counts, completed) = config.prefixes.counts(config.labels, policy, problems, &samples, flags, run)?;
    let mut examples = Vec::with_capacity(prefixed.len());
    for (sample, prefixed) in prefixed {
        let labels = match config.labels {
            Labels::Outcome => vec![outcome(sample); prefixed.ends.len()],
            Labels::Steps => step_labels(sample, &prefixed, &policy.tokenizer, &counts, config.step_label)?,
        };
        let (prefixed, labels) = match config.loss_positions {
            LossPositions::Lines => (prefixed, labels),
            LossPositions::Tokens => after_tokens(prefixed, &labels),
        };
        let language_modelling = if sample.correct { config.language_modelling } else { 0.0 };
        examples.push(LabelledSolution { weights: vec![1.0; labels.len()], prefixed, labels, language_modelling });
    }
    ensure!(!examples.is_empty(), "no sample of a training question has a token");
    if config.class_weights == ClassWeights::Balanced {
        balance_classes(&mut examples);
    }
    Ok((examples, completed))
}

/// How well labels agree with the share of correct completions among many, on held-out prefixes.
fn check_labels(
    config: &OrmConfig,
    policy: &Policy,
    problems: &[Problem],
    samples: &[&Sample],
    run: &Run,
    device: &Device,
) -> Result<LabelCheck> {
    let chosen = report::spread_over(samples, config.check_labels);
    let count = |name: &str, completions: usize, seed: u64| {
        // Prefixes that were completed before an interrupt, or at the end of the resumed run, are not completed again.
        let part = run.part(name, "orm", config, usize::from(run.has_part(name, "orm", config)?))?;
        let sampling = config.sampling.config(completions, &config.data, &config.run, device)?;
        let completing = CompletionConfig { sampling: &sampling, seed, quiet: config.run.quiet };
        prefix::count(policy, problems, &chosen, None, &completing, &part).map(|(counts, _)| counts)
    };
    let value = count("check/value", config.check_completions, config.run.seed)?;
    // Other random numbers than those of the value; otherwise the two would agree trivially.
    let steps = count("check/steps", config.prefixes.completions, config.run.seed.wrapping_add(1))?;
    report::compare_labels(&chosen, &value, &steps, &policy.tokenizer, config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::prefix::Counts;
    use data::{Example, Tokenizer};
    use model::{ModelConfig, ModelSize, to_host};

    fn labelled(labels: &[f32]) -> LabelledSolution {
        let example = Example::new(vec![1; 1 + labels.len()], 1);
        let prefixed = PrefixedSample { example, ends: (1..=labels.len()).collect() };
        LabelledSolution {
            prefixed,
            labels: labels.to_vec(),
            weights: vec![1.0; labels.len()],
            language_modelling: 0.0,
        }
    }

    #[test]
    fn a_step_is_labelled_by_its_own_completions_and_the_whole_solution_by_its_answer() {
        let text = " 6*4 = <<6*4=24>>24\n24-3 = <<24-3=21>>21\n#### 22";
        let tokenizer = Tokenizer::train_bpe(&[text.to_string()], 280).unwrap();
        let sample = Sample { correct: false, ..crate::sampling::prefix::tests::sample("a", text) };
        let prefixed = PrefixedSample::of(&tokenizer, &Prompting::default(), &sample).unwrap().unwrap();
        let key = |end: usize| ("a".to_string(), prefixed.text(&tokenizer, prefixed.ends[end]));
        let mut counts = Counts::from([(key(0), (3, 4)), (key(1), (0, 4))]);
        // The count of the whole solution is not used: its outcome is known.
        counts.insert(key(2), (4, 4));
        let labels = |kind| step_labels(&sample, &prefixed, &tokenizer, &counts, kind).unwrap();
        assert_eq!(labels(StepLabel::Any), [1.0, 0.0, 0.0]);
        assert_eq!(labels(StepLabel::Share), [0.75, 0.0, 0.0]);
        counts.remove(&key(1));
        assert!(step_labels(&sample, &prefixed, &tokenizer, &counts, StepLabel::Any).is_err());
    }

    #[test]
    fn a_token_has_the_label_of_its_line() {
        let prefixed = PrefixedSample { example: Example::new(vec![9; 8], 2), ends: vec![3, 6, 7] };
        let (after, labels) = after_tokens(prefixed, &[0.75, 0.5, 1.0]);
        assert_eq!(after.ends, [2, 3, 4, 5, 6, 7]);
        assert_eq!(labels, [0.75, 0.75, 0.5, 0.5, 0.5, 1.0]);
    }

    #[test]
    fn balanced_classes_weigh_the_same_and_as_much_as_before_in_all() {
        let mut examples = [labelled(&[1.0, 0.0, 0.0]), labelled(&[0.0])];
        balance_classes(&mut examples);
        assert_eq!(examples[0].weights, [2.0, 2.0 / 3.0, 2.0 / 3.0]);
        assert_eq!(examples[1].weights, [2.0 / 3.0]);
        // A label between the two is a bit of both.
        let mut soft = [labelled(&[0.5, 0.5])];
        balance_classes(&mut soft);
        assert_eq!(soft[0].weights, [1.0, 1.0]);
    }

    #[test]
    fn the_language_modelling_loss_of_a_solution_weighs_as_much_as_its_labels() {
        let size = ModelConfig { hidden_size: 16, ..ModelConfig::of_size(ModelSize::Tiny, 12, 0) };
        let model = RewardNetwork::new(&Transformer::init(&size, 1, &Device::default()));
        let (mut right, wrong) = (labelled(&[1.0, 1.0, 1.0]), labelled(&[0.0, 0.0]));
        right.prefixed.example.tokens = vec![1, 5, 2, 9];
        let loss = |right: &LabelledSolution| loss(&model, &[right, &wrong], 10).into_scalar::<f32>();
        // A new head predicts 1/2 for all five.
        let of_labels = 0.5 * std::f32::consts::LN_2;
        assert!((loss(&right) - of_labels).abs() < 1e-6);
        right.language_modelling = 0.5;
        let (_, log_probs) = model.reward_logits_and_log_probs(&[(&right.prefixed.example.tokens, 1)], &[&[1]]);
        let mean = to_host(log_probs).values.iter().sum::<f32>() / 3.0;
        assert!((loss(&right) - of_labels + 0.5 * 3.0 * mean / 10.0).abs() < 1e-6);
    }

    #[test]
    fn held_out_questions_depend_on_the_seed_and_some_are_always_left_on_either_side() {
        let problem = |id: usize| Problem {
            id: id.to_string(),
            question: String::new(),
            solution: String::new(),
            answer: data::Answer::from_integer(1),
            worked: None,
        };
        let problems: Vec<Problem> = (0..40).map(problem).collect();
        assert_eq!(held_out(&problems, 0.1, 3).len(), 4);
        assert_eq!(held_out(&problems, 0.1, 3), held_out(&problems, 0.1, 3));
        assert_ne!(held_out(&problems, 0.1, 3), held_out(&problems, 0.1, 4));
        assert_eq!(held_out(&problems, 0.001, 3).len(), 1);
        assert_eq!(held_out(&problems, 0.999, 3).len(), 39);
    }
}
