//! One training on pairs or completions relative to a reference, with its evaluations: the whole of a run, or a round.

use super::{
    completions::{self, TokenCompletion, set_reference_point},
    config::DpoConfig,
    examples::PreferenceData,
    pairs::{PairLogProbs, PairReport, TokenPair, gains, log_probs, tokenise},
};
use crate::{
    objective::loss::negative_log_likelihood,
    objective::preference::{PreferenceArgs, margin, preference},
    run::{Run, TrainerState},
    sampling::labelled::LabelledCompletion,
    sampling::pairs::Pair,
    training::order::permutation,
    training::supervised::{FitContext, FitNumbers, ValidationScore, fit, fit_prepared},
};
use anyhow::Result;
use burn::tensor::Tensor;
use data::{Example, Problem, Prompting};
use eval::{Policy, SampleConfig, complete, encode_prompts, greedy_accuracy};
use model::{Key, Purpose, Transformer};
use std::collections::BTreeSet;

/// Training pairs that are measured where none is held out.
const MEASURED_PAIRS: usize = 200;
/// Validation problems whose samples measure the KL divergence from the reference.
const KL_PROBLEMS: usize = 64;

/// Trains a policy on pairs or completions relative to a reference; the policy of the last step.
///
/// # Errors
/// Data that do not fit the model, a full disk, an interrupt, a loss that is not finite in three steps in a row.
pub(super) fn optimise(
    (policy, reference): (Policy, &Policy),
    data: &PreferenceData,
    validation: &[Problem],
    config: &DpoConfig,
    context: &FitContext<'_>,
    run: &mut Run,
    resumed: Option<TrainerState<FitNumbers>>,
) -> Result<Policy> {
    let threads = config.run.compute.threads(context.device);
    let held_out = held_out(&data.questions(), config.held_out, config.run.seed);
    let is_held_out = |question: &str| held_out.contains(question);
    let (of_held_out, of_training): (Vec<Pair>, Vec<Pair>) =
        data.pairs.pairs.iter().cloned().partition(|pair| is_held_out(&pair.question));
    let bare = Prompting::bare(config.data.prompt_format());
    let tokenised = |pairs: &[Pair]| match pairs.is_empty() {
        true => Ok(Vec::new()),
        false => tokenise(pairs, reference, &bare, threads),
    };
    let args = &config.preference;
    let training = if args.loss.is_of_pairs() { tokenised(&of_training)? } else { Vec::new() };
    let first = |count: usize| count.min(MEASURED_PAIRS);
    let measured = match (of_held_out.is_empty(), args.loss.is_of_pairs()) {
        (false, _) => tokenised(&of_held_out)?,
        (true, true) => training[..first(training.len())].to_vec(),
        (true, false) => tokenised(&of_training[..first(of_training.len())])?,
    };
    let sampling = config.run.compute.sampling(&config.data, config.data.prompting(0)?, 1, 0.0, context.device);
    let Policy { model, tokenizer, conditioning, .. } = policy;
    let mut is_warned = false;
    let evaluate = |model: &Transformer| {
        let policy = Policy { model: model.clone(), tokenizer: tokenizer.clone(), conditioning, adapter: None };
        let (accuracy, _) = greedy_accuracy(&policy, validation, &sampling)?;
        let report = PairReport::of(&measured, &log_probs(model, &measured, threads));
        let gain = report.map_or(0.0, |report| report.chosen_gain);
        if !is_warned && gain < 0.0 && args.nll_weight == 0.0 && args.loss.is_of_pairs() {
            is_warned = true;
            tracing::warn!(
                "the chosen completions have become less likely, by {:.2} nats in the mean: --nll-weight holds them",
                -gain
            );
        }
        let divergence = divergence(&policy, reference, validation, &sampling, config.run.seed)?;
        let of_pairs = report.iter().flat_map(PairReport::metrics);
        let more = of_pairs.chain(divergence.map(|nats| ("kl/per_completion", nats))).collect();
        Ok(ValidationScore { name: "validation/maj@1", score: accuracy, more })
    };
    let model = match args.loss.is_of_pairs() {
        true => {
            let loss = |model: &Transformer, pairs: &[&TokenPair], total| loss(model, pairs, args, total);
            fit(model, &tokenizer, &training, loss, context, run, resumed, evaluate)?
        }
        false => {
            let of_training = data.completions.iter().filter(|completion| !is_held_out(&completion.question));
            let of_training: Vec<LabelledCompletion> = of_training.cloned().collect();
            let training = completions::tokenise(&of_training, args, reference, &bare, threads)?;
            let prepare = |model: &Transformer, batch: &mut [TokenCompletion]| {
                let nats = set_reference_point(model, &reference.model, batch, threads);
                vec![("kto/reference_point", nats)]
            };
            let loss =
                |model: &Transformer, rows: &[&TokenCompletion], total| completions::loss(model, rows, args, total);
            fit_prepared(model, &tokenizer, &training, prepare, loss, context, run, resumed, evaluate)?
        }
    };
    Ok(Policy { model, tokenizer, conditioning, adapter: None })
}

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

/// A share of the questions, chosen by the seed, whose pairs are held out. At least one question is trained on.
fn held_out<'a>(questions: &BTreeSet<&'a str>, share: f64, seed: u64) -> BTreeSet<&'a str> {
    let questions: Vec<&str> = questions.iter().copied().collect();
    let count = ((share * questions.len() as f64).round() as usize).min(questions.len() - 1);
    let order = permutation(questions.len(), Key::new(seed, Purpose::HeldOut));
    order[..count].iter().map(|&place| questions[place]).collect()
}

/// KL(π ‖ π_ref) of a completion in nats, as the mean of log π - log π_ref over one sample of each of some problems; `None` of no problems.
/// The random numbers are the same at each evaluation.
pub(super) fn divergence(
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
    let gains = gains(&policy.model, &reference.model, &rows, sampling.threads);
    let sum: f64 = gains.iter().map(|&gain| f64::from(gain)).sum();
    Ok((!gains.is_empty()).then(|| sum / gains.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        objective::preference::PreferenceLoss,
        training::optim::{Adam, GradientOptions},
        training::supervised::update,
    };
    use model::{Device, ModelConfig, ModelSize};
    use std::slice::from_ref;

    fn args(loss: PreferenceLoss, beta: f64, nll_weight: f64) -> PreferenceArgs {
        let (desirable_weight, undesirable_weight) = (None, None);
        PreferenceArgs {
            loss,
            beta,
            label_smoothing: 0.0,
            simpo_margin: 0.5,
            desirable_weight,
            undesirable_weight,
            nll_weight,
        }
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
    fn a_share_of_the_questions_is_held_out_and_some_are_always_trained_on() {
        let names: Vec<String> = (0..10).map(|question| format!("{question}?")).collect();
        let of = |count: usize, share| {
            let questions: BTreeSet<&str> = names[..count].iter().map(String::as_str).collect();
            held_out(&questions, share, 3).len()
        };
        assert_eq!([of(10, 0.2), of(10, 0.0), of(1, 0.9), of(10, 1.0)], [2, 0, 0, 9]);
        let questions: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(held_out(&questions, 0.5, 3), held_out(&questions, 0.5, 3));
        assert_ne!(held_out(&questions, 0.5, 3), held_out(&questions, 0.5, 4));
    }
}
