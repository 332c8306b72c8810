//! Outcome reward models (Havrilla et al. 2024, section on reward models; Cobbe et al. 2021, arXiv 2110.14168): how likely is
//! a solution, finished or not, to end in the right answer.
//!
//! K solutions of every training question are sampled from a policy, or taken from another run. Every step prefix S_1..S_i is
//! labelled: with the correctness of its own sample (outcome), or by K fresh completions of it (steps; Havrilla et al. 2024,
//! arXiv 2402.10963, "SORM"). The trunk of the policy with a scalar head learns the labels by binary cross-entropy; the last
//! token of a prefix is where the head is read. Questions that are held out tell how good it is, always against the outcome
//! of their own samples. With `--language-modelling` the trunk goes on learning to write the right solutions, as that of Cobbe
//! et al. goes on with its training solutions; with `--likelihood-of` the judgement counts how likely a solution is to a language
//! model beside what the head says (`eval/src/likelihood.rs`).
//! Where we deviate from the papers: the trunk is the sampling policy itself, K is 8 unless asked for
//! more, and a label by steps is the share of right completions, not whether there is one: it lies closer to what many
//! completions come to (`--check-labels` compares them).

mod config;
mod report;

use crate::{
    batch::{Row, flat},
    harvest::{Distinct, First, Gathered},
    loss::{binary_cross_entropy, negative_log_likelihood},
    optim::Adam,
    order::permutation,
    prefix::{self, Completing, Counts, Labels, Prefixed},
    prepare,
    run::{Reason, Run, TrainerState, finish, read_state},
    supervised::{About, FitContext, FitNumbers, Learner, Look, checkpoint, fit},
};
use anyhow::{Result, ensure};
use burn::tensor::{Device, Tensor};
use data::{Problem, Prompting, Split, Tokenizer};
use eval::{LabelCheck, Policy, RewardModel, Sample, resolve_checkpoint};
use model::{ActorCritic, Key, Purpose, Transformer};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

pub use config::{ClassWeights, DEFAULTS, JudgeAfter, OrmConfig, PUBLISHED, StepLabel};
pub use report::Judged;

/// A solution with a label for each of its step prefixes.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// The solution and where its prefixes end.
    pub prefixed: Prefixed,
    /// In [0, 1], one a prefix.
    pub labels: Vec<f32>,
    /// Weights in the loss, one a prefix.
    pub weights: Vec<f32>,
    /// How much writing it is learnt beside judging it.
    pub written: f32,
}

impl Row for Labelled {
    fn tokens(&self) -> &[u32] {
        &self.prefixed.example.tokens
    }

    fn prompt_len(&self) -> usize {
        self.prefixed.example.prompt_len
    }
}

/// A reward model: the language model and its head, which is read after each labelled prefix.
impl Learner for ActorCritic {
    type Example = Labelled;

    fn terms(example: &Labelled) -> usize {
        example.labels.len()
    }

    /// Binary cross-entropy of the labels and, of solutions that are to be written as well, the mean negative log-likelihood
    /// of a token, which weighs as much as the labels of its solution together.
    fn loss(&self, rows: &[&Labelled], total: usize) -> Tensor<1> {
        let device = self.policy.device();
        let solutions: Vec<(&[u32], usize)> = rows.iter().map(|row| (row.tokens(), row.prompt_len())).collect();
        let ends: Vec<&[usize]> = rows.iter().map(|row| row.prefixed.ends.as_slice()).collect();
        let (logits, log_probs) = match rows.iter().any(|row| row.written > 0.0) {
            false => (self.judge(&solutions, &ends), None),
            true => {
                let (logits, log_probs) = self.judge_and_score(&solutions, &ends);
                (logits, Some(log_probs))
            }
        };
        let labels = flat(rows.iter().map(|row| row.labels.as_slice()), &device);
        let weights = flat(rows.iter().map(|row| row.weights.as_slice()), &device);
        let judging = binary_cross_entropy(logits, labels, weights, total);
        let Some(log_probs) = log_probs else { return judging };
        let weights: Vec<Vec<f32>> = rows.iter().map(|row| writing_weights(row)).collect();
        judging + negative_log_likelihood(log_probs * flat(weights.iter().map(Vec::as_slice), &device), total)
    }

    fn language_model(&self) -> &Transformer {
        &self.policy
    }

    fn with_language_model(mut self, language_model: Transformer) -> Self {
        self.policy = language_model;
        self
    }

    fn save_more(&self, folder: &Path) -> Result<()> {
        self.save_reward_head(folder)
    }
}

/// The weight of each token of a solution in the loss of writing it.
fn writing_weights(row: &Labelled) -> Vec<f32> {
    let tokens = row.response_len();
    vec![row.written * row.labels.len() as f32 / tokens as f32; tokens]
}

/// Samples, labels, trains, judges what was held out, and leaves a run directory; its path.
///
/// # Errors
/// Missing data, an unusable `--init`, samples that are all right or all wrong, a full disk, an interrupt.
pub fn train(config: &OrmConfig, device: &Device) -> Result<PathBuf> {
    config::check(config)?;
    if config.run.dry_run {
        return config::dry_run(config, device);
    }
    let _lock = prepare::claim(&config.run)?;
    let Setup { config, policy, model, mut run, resumed } = set_up(config, device)?;
    let problems = config.data.load(Split::Train)?;
    let gathered = config.sampling.gather(&policy, &problems, (&config.data, &config.run), &mut run, device)?;
    gathered.check_differ()?;
    let Gathered { samples, sampled } = gathered;
    let held_out = held_out(&problems, config.held_out, config.run.seed);
    let (unseen, learnt): (Vec<&Sample>, Vec<&Sample>) =
        samples.iter().partition(|sample| held_out.contains(sample.id.as_str()));
    // The checkpoint is chosen on some of the held-out questions, and told of on the others.
    let (looked_at, judged) =
        Judged::of(&unseen, &policy, config.data.prompt_style)?.split_at_question(config.eval_problems);
    let learnt = chosen(learnt, &config);
    let (examples, completed) = label(&config, &policy, &problems, &learnt, &run)?;
    let context = FitContext {
        args: &config.fit,
        run_args: &config.run,
        device,
        look_every: config.eval_every,
        label: "orm",
        conditioning: None,
        adapters: config.init.init.as_deref().and_then(|init| config.lora.on(init)),
        sampled: Some(sampled + completed),
    };
    let (compute, tokenizer) = (&config.run.compute, policy.tokenizer.clone());
    let threads = compute.threads(device);
    fit(model, &tokenizer, &examples, &context, &mut run, resumed, |model| {
        let reward_model = RewardModel { model: model.clone(), likelihood: None, tokenizer: tokenizer.clone() };
        let seen = looked_at.report(&reward_model, compute.rollout_batch, threads);
        let more = seen.finished.iter().flat_map(|finished| {
            let auc = finished.auc.map(|auc| ("validation/auc", auc));
            [("validation/accuracy", finished.accuracy), ("validation/ece", finished.ece)].into_iter().chain(auc)
        });
        let within = seen.within_questions.map(|auc| ("validation/auc_within", auc));
        let more = more.chain(within).collect();
        Ok(Look { name: "validation/negative_brier", score: -seen.prefixes.brier, more })
    })?;
    let mut best = RewardModel::load(run.dir(), device)?;
    if let Some(path) = &config.likelihood_of {
        let writer = prepare::writer(path, &policy, device)?;
        let likelihood = best.likelihood_to(writer, &looked_at.outcomes(), compute.rollout_batch, threads);
        tracing::info!("{:?}", likelihood.weights);
        likelihood.save(&resolve_checkpoint(run.dir())?)?;
        best.likelihood = Some(likelihood);
    }
    let mut report = judged.report(&best, compute.rollout_batch, threads);
    if config.check_labels > 0 {
        report.labels = Some(check_labels(&config, &policy, &problems, &unseen, &run, device)?);
    }
    report::write_and_print(&run, &report, &examples)?;
    Ok(finish(&run))
}

struct Setup {
    config: OrmConfig,
    /// Samples, and completes prefixes.
    policy: Policy,
    model: ActorCritic,
    run: Run,
    resumed: Option<TrainerState<FitNumbers>>,
}

/// A fresh run, or one that goes on. The first checkpoint stands before the first sample, so that an interrupt always leaves
/// one.
fn set_up(config: &OrmConfig, device: &Device) -> Result<Setup> {
    prepare::check_inputs(&config.run, &config.sampling.foreign.inputs(&config.data, &config.prefixes))?;
    let labelled =
        ["completions", "seed", "limit", "extra", "from_prefixes", "per_question", "deduplicate", "held_out"];
    prepare::check_fixed(&config.run, config, config.prefixes.fixed(config.labels, &config.run, &labelled))?;
    let mut config = config.clone();
    let init = prepare::sft(&config.init, &config.data, &config.run, device)?;
    config.init.init = Some(init.clone());
    let policy = prepare::policy(&init, device)?;
    if let Some(path) = &config.likelihood_of {
        prepare::writer(path, &policy, device)?;
    }
    let problems = config.data.load(Split::Train)?;
    eval::encode_prompts(&policy, &problems, &config.data.prompting(config.sampling.shots)?)?;
    let Some(dir) = &config.run.resume else {
        let run = prepare::open(&config.run, "orm", config.data.benchmark, &config, 0)?;
        let model = ActorCritic::judge_of(&policy.model);
        let untaught = Adam::new(0.9, config.fit.beta_2, 1e-8, config.fit.weight_decay, config.fit.max_grad_norm);
        let about = About { tokenizer: &policy.tokenizer, conditioning: None, adapters: None };
        checkpoint(&run, &model, &about, Reason::Evaluated, FitNumbers::default(), &untaught)?;
        return Ok(Setup { config, policy, model, run, resumed: None });
    };
    let (model, state) = prepare::from_checkpoint(&config.run, dir, |folder| {
        let (state, model) = (read_state::<FitNumbers>(folder)?, RewardModel::load(folder, device)?.model);
        // The first one has no adapters yet.
        if let Some(adapters) = config.lora.on(&init).filter(|_| state.numbers.step > 0) {
            adapters.load(folder, device)?;
        }
        Ok((model, state))
    })?;
    let step = state.numbers.step;
    let run = config.sampling.resume(dir, step, &problems)?;
    let run = prepare::go_on(run, &config.run, "orm", &config)?;
    Ok(Setup { config, policy, model, run, resumed: (step > 0).then_some(state) })
}

/// The ids of the questions that are not learnt from: a share of them, in an order of the seed's.
pub fn held_out(problems: &[Problem], share: f64, seed: u64) -> BTreeSet<&str> {
    let count = ((share * problems.len() as f64).round() as usize).clamp(1, problems.len() - 1);
    let order = permutation(problems.len(), Key::new(seed, Purpose::HeldOut));
    order[..count].iter().map(|&place| problems[place].id.as_str()).collect()
}

/// The samples to learn from: the first of each question, those that are repeated once only where that is asked for.
fn chosen<'a>(samples: Vec<&'a Sample>, config: &OrmConfig) -> Vec<&'a Sample> {
    let (mut distinct, mut first) = (Distinct::by(config.deduplicate), First::of(config.per_question));
    let is_chosen = |sample: &&'a Sample| distinct.is_new(&sample.id, &sample.completion) && first.has_room(&sample.id);
    samples.into_iter().filter(is_chosen).collect()
}

/// Samples as examples, and how many completions were sampled for their labels: what a reward model reads has no solved problems
/// before the question.
fn label(
    config: &OrmConfig,
    policy: &Policy,
    problems: &[Problem],
    samples: &[&Sample],
    run: &Run,
) -> Result<(Vec<Labelled>, usize)> {
    let prompting = Prompting::bare(config.data.prompt_style);
    let mut prefixed: Vec<(&Sample, Prefixed)> = Vec::with_capacity(samples.len());
    for &sample in samples {
        if let Some(found) = Prefixed::of(&policy.tokenizer, &prompting, sample)? {
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
    let samples: Vec<&Sample> = prefixed.iter().map(|(sample, _)| *sample).collect();
    let around = (&config.sampling, &config.data, &config.run);
    let (counts, completed) = config.prefixes.counts(config.labels, policy, problems, &samples, around, run)?;
    let mut examples = Vec::with_capacity(prefixed.len());
    for (sample, prefixed) in prefixed {
        let labels = match config.labels {
            Labels::Outcome => vec![outcome(sample); prefixed.ends.len()],
            Labels::Steps => step_labels(sample, &prefixed, &policy.tokenizer, &counts, config.step_label)?,
        };
        let (prefixed, labels) = match config.judge_after {
            JudgeAfter::Lines => (prefixed, labels),
            JudgeAfter::Tokens => after_tokens(prefixed, &labels),
        };
        let written = if sample.correct { config.language_modelling } else { 0.0 };
        examples.push(Labelled { weights: vec![1.0; labels.len()], prefixed, labels, written });
    }
    ensure!(!examples.is_empty(), "no sample of a question to learn from has a token");
    if config.class_weights == ClassWeights::Balanced {
        balance(&mut examples);
    }
    Ok((examples, completed))
}

/// Every token of a solution as the end of a prefix, with the label of the line that it stands in.
fn after_tokens(prefixed: Prefixed, labels: &[f32]) -> (Prefixed, Vec<f32>) {
    let Prefixed { example, ends } = prefixed;
    let last = *ends.last().expect("the whole is a prefix");
    let places: Vec<usize> = (example.prompt_len..=last).collect();
    let labels = places.iter().map(|&place| labels[ends.partition_point(|&end| end < place)]).collect();
    (Prefixed { example, ends: places }, labels)
}

fn outcome(sample: &Sample) -> f32 {
    f32::from(u8::from(sample.correct))
}

/// Labels by fresh completions; the whole solution has been judged.
fn step_labels(
    sample: &Sample,
    prefixed: &Prefixed,
    tokenizer: &Tokenizer,
    counts: &Counts,
    step_label: StepLabel,
) -> Result<Vec<f32>> {
    let of = |counted| match counted {
        Some((right, of)) => step_label.of(right, of),
        None => outcome(sample),
    };
    Ok(prefixed.counted(&sample.id, tokenizer, counts)?.into_iter().map(of).collect())
}

/// Gives right and wrong the same weight in all, and keeps the sum of the weights.
fn balance(examples: &mut [Labelled]) {
    let count: usize = examples.iter().map(|example| example.labels.len()).sum();
    let right: f32 = examples.iter().flat_map(|example| &example.labels).sum();
    let wrong = count as f32 - right;
    let weight_of = |label: f32| {
        let half = count as f32 / 2.0;
        label * half / right.max(1.0) + (1.0 - label) * half / wrong.max(1.0)
    };
    for example in examples {
        example.weights = example.labels.iter().map(|&label| weight_of(label)).collect();
    }
}

/// How well labels agree with the share of right ones among many completions, on prefixes that are held out.
fn check_labels(
    config: &OrmConfig,
    policy: &Policy,
    problems: &[Problem],
    unseen: &[&Sample],
    run: &Run,
    device: &Device,
) -> Result<LabelCheck> {
    let chosen = report::spread_over(unseen, config.check_labels);
    let count = |name: &str, completions: usize, seed: u64| {
        // What was completed before an interrupt, or at the end of a run that is gone on with, is not completed again.
        let part = run.part(name, "orm", config, usize::from(run.has_part(name, "orm", config)?))?;
        let sampling = config.sampling.config(completions, &config.data, &config.run, device)?;
        let completing = Completing { sampling: &sampling, seed, quiet: config.run.quiet };
        prefix::count(policy, problems, &chosen, None, &completing, &part).map(|(counts, _)| counts)
    };
    let value = count("check/value", config.check_completions, config.run.seed)?;
    // Other draws than those of the value, or the two would agree by themselves.
    let steps = count("check/steps", config.prefixes.completions, config.run.seed.wrapping_add(1))?;
    report::compare_labels(&chosen, &value, &steps, &policy.tokenizer, config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::Example;
    use model::{ModelConfig, ModelSize, to_host};

    fn labelled(labels: &[f32]) -> Labelled {
        let example = Example::new(vec![1; 1 + labels.len()], 1);
        let prefixed = Prefixed { example, ends: (1..=labels.len()).collect() };
        Labelled { prefixed, labels: labels.to_vec(), weights: vec![1.0; labels.len()], written: 0.0 }
    }

    #[test]
    fn a_step_has_the_label_of_its_own_completions_and_the_whole_that_of_its_answer() {
        let text = " 6*4 = <<6*4=24>>24\n24-3 = <<24-3=21>>21\n#### 22";
        let tokenizer = Tokenizer::train_bpe(&[text.to_string()], 280).unwrap();
        let sample = Sample { correct: false, ..crate::prefix::tests::sample("a", text) };
        let prefixed = Prefixed::of(&tokenizer, &Prompting::default(), &sample).unwrap().unwrap();
        let key = |end: usize| ("a".to_string(), prefixed.text(&tokenizer, prefixed.ends[end]));
        let mut counts = Counts::from([(key(0), (3, 4)), (key(1), (0, 4))]);
        // A count of the whole is not looked at: its answer is there to be read.
        counts.insert(key(2), (4, 4));
        let labels = |kind| step_labels(&sample, &prefixed, &tokenizer, &counts, kind).unwrap();
        assert_eq!(labels(StepLabel::Any), [1.0, 0.0, 0.0]);
        assert_eq!(labels(StepLabel::Share), [0.75, 0.0, 0.0]);
        counts.remove(&key(1));
        assert!(step_labels(&sample, &prefixed, &tokenizer, &counts, StepLabel::Any).is_err());
    }

    #[test]
    fn a_token_has_the_label_of_its_line() {
        let prefixed = Prefixed { example: Example::new(vec![9; 8], 2), ends: vec![3, 6, 7] };
        let (after, labels) = after_tokens(prefixed, &[0.75, 0.5, 1.0]);
        assert_eq!(after.ends, [2, 3, 4, 5, 6, 7]);
        assert_eq!(labels, [0.75, 0.75, 0.5, 0.5, 0.5, 1.0]);
    }

    #[test]
    fn balanced_classes_weigh_the_same_and_as_much_as_before_in_all() {
        let mut examples = [labelled(&[1.0, 0.0, 0.0]), labelled(&[0.0])];
        balance(&mut examples);
        assert_eq!(examples[0].weights, [2.0, 2.0 / 3.0, 2.0 / 3.0]);
        assert_eq!(examples[1].weights, [2.0 / 3.0]);
        // A label between the two is a bit of both.
        let mut soft = [labelled(&[0.5, 0.5])];
        balance(&mut soft);
        assert_eq!(soft[0].weights, [1.0, 1.0]);
    }

    #[test]
    fn writing_a_solution_weighs_as_much_as_its_labels() {
        let size = ModelConfig { hidden_size: 16, ..ModelConfig::of_size(ModelSize::Tiny, 12, 0) };
        let judge = ActorCritic::judge_of(&Transformer::init(&size, 1, &Device::default()));
        let (mut right, wrong) = (labelled(&[1.0, 1.0, 1.0]), labelled(&[0.0, 0.0]));
        right.prefixed.example.tokens = vec![1, 5, 2, 9];
        let loss = |right: &Labelled| judge.loss(&[right, &wrong], 10).into_scalar::<f32>();
        // A new head says 1/2 of all five.
        let judging = 0.5 * std::f32::consts::LN_2;
        assert!((loss(&right) - judging).abs() < 1e-6);
        right.written = 0.5;
        let (_, written) = judge.judge_and_score(&[(&right.prefixed.example.tokens, 1)], &[&[1]]);
        let mean = to_host(written).values.iter().sum::<f32>() / 3.0;
        assert!((loss(&right) - judging + 0.5 * 3.0 * mean / 10.0).abs() < 1e-6);
    }

    #[test]
    fn held_out_questions_belong_to_the_seed_and_some_are_always_left_on_either_side() {
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
