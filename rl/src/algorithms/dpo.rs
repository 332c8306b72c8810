//! Direct preference optimisation (DPO; Rafailov et al. 2023, arXiv 2305.18290) and its kin: of two completions of a question, the likelihood of
//! the chosen one rises over that of the rejected one, relative to a frozen reference. `objective/preference.rs` has the losses.
//!
//! The pairs come from a file, or are made of correct and wrong samples of the starting policy. The starting policy is the reference; its
//! log-probabilities are computed once, before training, so that no reference takes part in a training step. Where we deviate from the
//! paper: AdamW instead of RMSprop, a cosine schedule, and pairs made by a checker of answers instead of people.

mod config;
mod pairs;

use crate::{
    algorithms::final_table::FinalTable,
    algorithms::start::{check_compatible, check_prompts, policy},
    objective::loss::negative_log_likelihood,
    objective::preference::{PreferenceArgs, margin, preference},
    run,
    run::{Reason, Run, TrainerState, read_state},
    sampling::pairs::{Pair, make_pairs, read_pairs},
    sampling::problems::Problems,
    training::batch::pad,
    training::optim::Adam,
    training::order::permutation,
    training::resume,
    training::supervised::{CheckpointInfo, FitContext, FitNumbers, ValidationScore, checkpoint, fit},
    view::html::write_final_report,
};
use anyhow::{Context, Result};
use burn::tensor::Tensor;
use data::{Example, Problem, Prompting};
use eval::{Policy, SampleConfig, complete, encode_prompts, greedy_accuracy};
use model::{Device, Key, Purpose, Transformer, parallel_map, score, to_host};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

pub use config::{DpoConfig, check, dry_run, lock_run};

use pairs::{PairLogProbs, PairReport, TokenPair, log_probs, tokenise};

/// Training pairs that are measured where none is held out.
const MEASURED_PAIRS: usize = 200;
/// Validation problems whose samples measure the KL divergence from the reference.
const KL_PROBLEMS: usize = 64;

/// The loss of some pairs, in a batch of `total` pairs; `[1]`.
fn loss(model: &Transformer, pairs: &[&TokenPair], args: &PreferenceArgs, total: usize) -> Tensor<1> {
    let (kind, sums) = (args.loss, PairLogProbs::under(model, pairs));
    let reference = PairLogProbs::under_reference(pairs, &model.device());
    let (policy, reference) = match kind.takes_means() {
        true => (sums.clone().per_token(pairs), reference.per_token(pairs)),
        false => (sums.clone(), reference),
    };
    let margins = match kind.has_reference() {
        true => margin(policy.chosen, policy.rejected, reference.chosen, reference.rejected),
        false => policy.chosen - policy.rejected,
    };
    let of_pairs = preference(margins, args, total);
    match args.nll_weight {
        0.0 => of_pairs,
        weight => of_pairs + negative_log_likelihood(sums.per_token(pairs).chosen, total).mul_scalar(weight),
    }
}

/// Trains, evaluates before and after on the test split, and leaves a run directory; its path.
///
/// # Errors
/// An unusable `init`, samples without a pair, pairs that do not fit the model, a full disk, an interrupt.
pub fn train(config: &DpoConfig, init: &Path, problems: &Problems, device: &Device) -> Result<PathBuf> {
    let Setup { config, reference, policy, mut run, resumed } = set_up(config, init, problems, device)?;
    let prompting = config.data.prompting(0)?;
    let table = FinalTable { problems, eval: &config.eval, run_args: &config.run, device };
    let initial_report = table.evaluate_initial(&mut run, || Ok(reference.clone()), &prompting)?;
    let (all, sampled) = all_pairs(&config, &reference, problems, &mut run, device)?;
    let threads = config.run.compute.threads(device);
    let (held_out, training) = split(&all, config.held_out, config.run.seed);
    let bare = Prompting::bare(config.data.prompt_format());
    let training = tokenise(&training, &reference, &bare, threads)?;
    let measured = match held_out.is_empty() {
        true => training[..training.len().min(MEASURED_PAIRS)].to_vec(),
        false => tokenise(&held_out, &reference, &bare, threads)?,
    };
    let validation = problems.validation(config.eval.eval_problems)?;
    let context = FitContext {
        args: &config.fit,
        run_args: &config.run,
        device,
        evaluate_every: config.eval.eval_every,
        label: "dpo",
        conditioning: None,
        adapters: config.lora.on(init),
        sampled,
    };
    let sampling = config.run.compute.sampling(&config.data, prompting.clone(), 1, 0.0, device);
    let Policy { model, tokenizer, conditioning } = policy;
    let loss = |model: &Transformer, pairs: &[&TokenPair], total| loss(model, pairs, &config.preference, total);
    let mut is_warned = false;
    fit(model, &tokenizer, &training, loss, &context, &mut run, resumed, |model| {
        let policy = Policy { model: model.clone(), tokenizer: tokenizer.clone(), conditioning };
        let (accuracy, _) = greedy_accuracy(&policy, validation, &sampling)?;
        let report = PairReport::of(&measured, &log_probs(model, &measured, threads)).expect("some pairs are measured");
        if !is_warned && report.chosen_gain < 0.0 && config.preference.nll_weight == 0.0 {
            is_warned = true;
            tracing::warn!(
                "the chosen completions have become less likely, by {:.2} nats in the mean: --nll-weight holds them",
                -report.chosen_gain
            );
        }
        let divergence = divergence(&policy, &reference, validation, &sampling, config.run.seed)?;
        let more = report.metrics().into_iter().chain(divergence.map(|nats| ("kl/per_completion", nats))).collect();
        Ok(ValidationScore { name: "validation/maj@1", score: accuracy, more })
    })?;
    table.evaluate_best(&run, initial_report.as_ref(), &prompting)?;
    Ok(write_final_report::<DpoConfig>(&run))
}

struct Setup {
    config: DpoConfig,
    /// The policy at the start, which samples.
    reference: Policy,
    policy: Policy,
    run: Run,
    resumed: Option<TrainerState<FitNumbers>>,
}

/// Sets up a new run or a resumed one. The first checkpoint is written before the first sample, so that every interrupted run has one.
fn set_up(config: &DpoConfig, init: &Path, problems: &Problems, device: &Device) -> Result<Setup> {
    let mut config = DpoConfig { init: config.init.resolved(init), ..config.clone() };
    let reference = policy(init, device)?;
    let evaluated = [problems.validation(config.eval.eval_problems)?, problems.test(config.eval.test_problems)?];
    check_prompts(&reference, &evaluated, &config.data.prompting(0)?)?;
    if config.pairs.is_none() {
        encode_prompts(&reference, problems.train()?, &config.data.prompting(config.sampling.shots)?)?;
    }
    run::start::check_initial_report(&config.run, &config.eval, "dpo", &config, Some(init))?;
    let Some(dir) = &config.run.resume else {
        let run = run::start::create_or_resume(&config.run, "dpo", &config.data, &config, 0)?;
        let optimizer = Adam::new(0.9, config.fit.beta_2, 1e-8, config.fit.weight_decay, config.fit.max_grad_norm);
        let about = CheckpointInfo { tokenizer: &reference.tokenizer, conditioning: None, adapters: None };
        checkpoint(&run, &reference.model, &about, Reason::Evaluated, FitNumbers::default(), &optimizer)?;
        config.run.compute.checker = config.checker.start(config.data.benchmark())?;
        return Ok(Setup { config, policy: reference.clone(), reference, run, resumed: None });
    };
    let (policy, state) = run::start::read_checkpoint(&config.run, dir, |folder| {
        let state = read_state::<FitNumbers>(folder)?;
        // The first checkpoint has no adapters yet.
        let adapters = config.lora.on(init).filter(|_| state.numbers.step > 0);
        resume::load_policy(folder, adapters.as_ref(), device).map(|policy| (policy, state))
    })?;
    check_compatible(&reference, &policy)?;
    let step = state.numbers.step;
    let run = match &config.pairs {
        Some(_) => Run::resume(dir, step)?,
        None => config.sampling.resume(dir, step, problems.train()?)?,
    };
    let run = run::start::complete_resume(run, &config.run, "dpo", &config)?;
    config.run.compute.checker = config.checker.start(config.data.benchmark())?;
    Ok(Setup { config, reference, policy, run, resumed: (step > 0).then_some(state) })
}

/// The pairs of `--pairs`, or of samples; and how many samples the run has drawn for them, if they are its own.
fn all_pairs(
    config: &DpoConfig,
    reference: &Policy,
    problems: &Problems,
    run: &mut Run,
    device: &Device,
) -> Result<(Vec<Pair>, Option<usize>)> {
    if let Some(path) = &config.pairs {
        return Ok((read_pairs(path).context("--pairs")?, None));
    }
    let flags = (&config.data, &config.run);
    let drawn = config.sampling.training_samples(reference, problems.train()?, flags, run, device)?;
    let made = make_pairs(&drawn.samples, &config.making, config.run.seed)?;
    made.check()?;
    tracing::info!("{}", made.summary());
    made.write(&run.dir().join("pairs.jsonl"))?;
    Ok((made.pairs, Some(drawn.sampled)))
}

/// The pairs of a share of the questions, chosen by the seed, and all others. At least one question is trained on.
fn split(pairs: &[Pair], share: f64, seed: u64) -> (Vec<Pair>, Vec<Pair>) {
    let questions: Vec<&str> =
        pairs.iter().map(|pair| pair.question.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
    let count = ((share * questions.len() as f64).round() as usize).min(questions.len() - 1);
    let order = permutation(questions.len(), Key::new(seed, Purpose::HeldOut));
    let held_out: BTreeSet<&str> = order[..count].iter().map(|&place| questions[place]).collect();
    pairs.iter().cloned().partition(|pair| held_out.contains(pair.question.as_str()))
}

/// KL(π ‖ π_ref) of a completion in nats, as the mean of log π - log π_ref over one sample of each of some problems; `None` of no problems.
/// The random numbers are the same at each evaluation.
fn divergence(
    policy: &Policy,
    reference: &Policy,
    problems: &[Problem],
    sampling: &SampleConfig,
    seed: u64,
) -> Result<Option<f64>> {
    let problems = &problems[..problems.len().min(KL_PROBLEMS)];
    let sampling = SampleConfig { samples: 1, temperature: 1.0, ..sampling.clone() };
    let key = |problem: usize, _: usize| Key::new(seed, Purpose::Evaluation).with(problem as u64);
    let prompts = encode_prompts(policy, problems, &sampling.prompting)?;
    let (completions, _) = complete(policy, problems, &sampling, key, &|_| ())?;
    let rows = prompts.into_iter().zip(completions.into_iter().flatten()).filter(|(_, row)| !row.tokens.is_empty());
    let rows: Vec<Example> =
        rows.map(|(prompt, row)| Example::new([&*prompt, &*row.tokens].concat(), prompt.len())).collect();
    let models = || (policy.model.clone(), reference.model.clone());
    let of_row = |models: &mut (Transformer, Transformer), _, row: &Example| {
        let batch = pad(&[row], &models.0.device());
        let [of_policy, of_reference] = [&models.0, &models.1].map(|model| score(model, &batch, 1.0).log_probs.sum());
        f64::from(to_host(of_policy - of_reference).values[0])
    };
    let sums = parallel_map(&rows, sampling.threads, models, of_row);
    Ok((!sums.is_empty()).then(|| sums.iter().sum::<f64>() / sums.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        objective::preference::PreferenceLoss, training::optim::GradientOptions, training::supervised::update,
    };
    use model::{ModelConfig, ModelSize};
    use std::slice::from_ref;

    fn args(loss: PreferenceLoss, beta: f64, nll_weight: f64) -> PreferenceArgs {
        PreferenceArgs { loss, beta, label_smoothing: 0.0, simpo_margin: 0.5, nll_weight }
    }

    fn model() -> Transformer {
        let size = ModelConfig { hidden_size: 16, ..ModelConfig::of_size(ModelSize::Tiny, 12, 0) };
        Transformer::init(&size, 1, &Device::default())
    }

    fn pair(model: &Transformer) -> TokenPair {
        let (chosen, rejected) = (Example::new(vec![3, 1, 4, 1], 2), Example::new(vec![3, 1, 5, 9, 2], 2));
        let pair = TokenPair { chosen, rejected, ref_chosen: 0.0, ref_rejected: 0.0 };
        let [ref_chosen, ref_rejected] = log_probs(model, from_ref(&pair), 1)[0];
        TokenPair { ref_chosen, ref_rejected, ..pair }
    }

    #[test]
    fn every_loss_raises_the_chosen_completion_over_the_rejected_one() {
        for (args, at_first) in [
            (args(PreferenceLoss::Sigmoid, 0.5, 0.0), std::f64::consts::LN_2),
            (args(PreferenceLoss::Ipo, 0.5, 0.0), 1.0),
            (args(PreferenceLoss::Hinge, 0.5, 0.0), 1.0),
            (args(PreferenceLoss::Simpo, 2.0, 0.0), f64::NAN),
        ] {
            let mut model = model();
            let pair = pair(&model);
            let mut optimizer = Adam::new(0.9, 0.98, 1e-8, 0.0, 1.0);
            let mut losses = Vec::new();
            for _ in 0..30 {
                let loss = |model: &Transformer, pairs: &[&TokenPair], total| loss(model, pairs, &args, total);
                let step = update(model, from_ref(&pair), &loss, &mut optimizer, 3e-3, 8, GradientOptions::on(1));
                (model, losses) = (step.model, [losses, vec![step.loss]].concat());
            }
            assert!(at_first.is_nan() || (losses[0] - at_first).abs() < 1e-5, "{args:?}: {losses:?}");
            assert!(losses[29] < 0.6 * losses[0], "{args:?}: {losses:?}");
            let report = PairReport::of(from_ref(&pair), &log_probs(&model, from_ref(&pair), 1)).unwrap();
            assert!(report.accuracy == 1.0 && report.margin > 0.5, "{args:?}: {report:?}");
        }
    }

    #[test]
    fn simpo_and_ipo_count_log_probabilities_per_token_and_the_likelihood_is_added_per_token() {
        let model = model();
        let pair = pair(&model);
        let value = |args: &PreferenceArgs| f64::from(loss(&model, &[&pair], args, 2).into_scalar::<f32>());
        let [chosen, rejected] = log_probs(&model, from_ref(&pair), 1)[0].map(f64::from);
        let lead = 2.0 * (chosen / 2.0 - rejected / 3.0) - 0.5;
        let simpo = args(PreferenceLoss::Simpo, 2.0, 0.0);
        assert!((value(&simpo) - 0.5 * (1.0 + (-lead).exp()).ln()).abs() < 1e-5);
        let with = value(&PreferenceArgs { nll_weight: 0.3, ..simpo }) - value(&simpo);
        assert!((with + 0.5 * 0.3 * chosen / 2.0).abs() < 1e-5);
        let moved = TokenPair { ref_chosen: pair.ref_chosen + 4.0, ..pair.clone() };
        let ipo = loss(&model, &[&moved], &args(PreferenceLoss::Ipo, 0.5, 0.0), 1).into_scalar::<f32>();
        assert!((ipo - (-2.0f32 - 1.0).powi(2)).abs() < 1e-4, "{ipo}");
    }

    #[test]
    fn held_out_questions_are_on_one_side_with_all_their_pairs_and_some_are_always_trained_on() {
        let pair = |question: usize| Pair {
            id: None,
            question: format!("{question}?"),
            chosen: "a".into(),
            rejected: "b".into(),
            chosen_calculated: Vec::new(),
            rejected_calculated: Vec::new(),
        };
        let pairs: Vec<Pair> = (0..40).map(|at| pair(at / 4)).collect();
        let (held_out, training) = split(&pairs, 0.2, 3);
        assert_eq!((held_out.len(), training.len()), (8, 32));
        assert!(held_out.iter().all(|one| training.iter().all(|other| one.question != other.question)));
        assert_eq!(split(&pairs, 0.0, 3).0.len(), 0);
        assert_eq!(split(&pairs[..4], 0.9, 3).1.len(), 4);
    }
}
