//! Tests of the checks that stop a run of PPO.

use super::{advantages::question_advantages, *};
use crate::{
    algorithms::Algorithm,
    command::{Command, parse},
};
use data::Tokenizer;
use model::{ModelConfig, ModelSize, Transformer, save_model};
use std::ffi::OsString;
use tempfile::TempDir;

/// A model of width 16 with random weights.
fn random_model(vocabulary: usize, seed: u64) -> Transformer {
    let config = ModelConfig {
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: Some(2),
        ..ModelConfig::of_size(ModelSize::Tiny, vocabulary, 0)
    };
    Transformer::init(&config, seed, &Device::default())
}

/// A run of PPO from random weights before its first step, and the samples of that step.
struct Begun {
    config: PpoConfig,
    trainer: Trainer,
    rollouts: Vec<Rollout>,
    _folder: TempDir,
}

/// Four samples and mini-batches of one: four updates of each pass, of which there are two.
fn begun() -> Begun {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    let tokenizer =
        Tokenizer::train_bpe(&["Question: 0 1 2 3 4 5 6 7 8 9\nAnswer: #### 1\n".to_string()], 270).unwrap();
    fs::create_dir(&model).unwrap();
    save_model(&model, &random_model(tokenizer.vocab_size(), 1)).unwrap();
    tokenizer.save(&model).unwrap();
    let paths = [("init", model), ("out", folder.path().join("run"))];
    let flags = [
        "--quiet",
        "--device=cpu",
        "--limit=2",
        "--questions=2",
        "--samples=2",
        "--mini-batch=1",
        "--ppo-epochs=2",
        "--steps=2",
        "--value-warm-up=0",
        "--value-layers=1",
        "--max-new-tokens=6",
        "--threads=1",
    ];
    let arguments = ["rl", "ppo"].iter().chain(&flags).map(OsString::from);
    let paths = paths.iter().map(|(flag, path)| format!("--{flag}={}", path.display()).into());
    let Command::Train(Algorithm::Ppo(config)) = parse(arguments.chain(paths).collect()).unwrap() else {
        panic!("another command")
    };
    let Start { config, trainer, .. } = {
        let init = config.init.init.clone().unwrap();
        start(&config, &init, (None, None), &Problems::new(&config.data), &Device::default()).unwrap()
    };
    let mut rollouts = collect(&trainer, 0, &config).unwrap();
    // One of the samples is right, so that there is something to learn.
    *rollouts[0].sampled.rewards.last_mut().unwrap() = 1.0;
    Begun { config, trainer, rollouts, _folder: folder }
}

fn collect(trainer: &Trainer, step: usize, config: &PpoConfig) -> Result<Vec<Rollout>> {
    let problems = Problems::new(&config.data);
    Ok(trainer.collect_rollouts(problems.train()?, &[0, 1], step, config, &mut Metrics::for_step(step + 1))?.rollouts)
}

fn update(begun: &mut Begun) -> Result<Metrics> {
    let mut metrics = Metrics::for_step(1);
    begun.trainer.update(&begun.rollouts, 0, 0.05, &begun.config, &mut metrics)?;
    Ok(metrics)
}

/// All weights of policy and critic.
fn weights(trainer: &Trainer) -> Vec<f32> {
    struct All(Vec<f32>);
    impl burn::module::ModuleVisitor for All {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            self.0.extend(model::to_host(param.val()).values);
        }
    }
    let mut all = All(Vec::new());
    burn::module::Module::visit(&trainer.model, &mut all);
    all.0
}

#[test]
fn an_update_on_samples_of_the_policy_itself_passes_the_checks() {
    let mut begun = begun();
    let before = weights(&begun.trainer);
    let metrics = update(&mut begun).unwrap();
    let metrics = serde_json::to_value(metrics).unwrap();
    assert_eq!((metrics["loss/skipped"].as_f64(), begun.trainer.failures), (Some(0.0), 0));
    assert_ne!(weights(&begun.trainer), before);
}

#[test]
fn an_update_on_filtered_groups_is_one_on_the_questions_whose_samples_differ() {
    let updated = |filter: bool, change: fn(&mut Vec<Rollout>)| {
        let mut begun = begun();
        begun.config.filter_groups = filter;
        change(&mut begun.rollouts);
        update(&mut begun).unwrap();
        weights(&begun.trainer)
    };
    let all = |_: &mut Vec<Rollout>| ();
    // The samples of the first question differ, those of the second are both wrong.
    let filtered = updated(true, all);
    assert_eq!(filtered, updated(false, |rollouts| rollouts.truncate(2)));
    assert_ne!(filtered, updated(false, all));
    // Where no question is left, all are used.
    let none = |rollouts: &mut Vec<Rollout>| *rollouts[0].sampled.rewards.last_mut().unwrap() = 0.0;
    assert_eq!(updated(true, none), updated(false, none));
}

#[test]
fn groups_are_mixed_whose_completions_differ_in_their_sum_of_rewards() {
    let Begun { rollouts, .. } = begun();
    let of = |rewards: [[f32; 2]; 4]| {
        let mut sampled: Vec<Sampled> = rollouts.iter().map(|rollout| rollout.sampled.clone()).collect();
        sampled.iter_mut().zip(rewards).for_each(|(sampled, rewards)| sampled.rewards = rewards.to_vec());
        mixed_groups(sampled.iter(), 2)
    };
    assert_eq!(of([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.5]]), [2, 3]);
    assert_eq!(of([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), [0, 1]);
    assert_eq!(of([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), [0, 1, 2, 3], "no group is mixed");
}

#[test]
fn a_ratio_that_is_not_1_before_any_update_ends_the_run() {
    let message = |change: fn(&mut Rollout)| {
        let mut begun = begun();
        begun.rollouts.iter_mut().for_each(change);
        let error = update(&mut begun).unwrap_err().to_string();
        assert!(error.contains("away from 1 before any update"), "{error}");
        error
    };
    let error = message(|rollout| rollout.log_probs[0] -= 0.02);
    assert!(error.contains("2.0e-2"), "{error}");
    // Misaligned by one token, as by a forgotten shift.
    message(|rollout| rollout.log_probs.rotate_left(1));
}

#[test]
fn a_reference_that_is_not_the_starting_policy_ends_the_run() {
    let Begun { config, mut trainer, .. } = begun();
    trainer.reference = random_model(trainer.tokenizer.vocab_size(), 2);
    let error = collect(&trainer, 0, &config).unwrap_err().to_string();
    assert!(error.contains("k3") && error.contains("before the policy's first update"), "{error}");
}

#[test]
fn a_divergence_below_0_or_above_0_before_the_first_update_is_refused() {
    for (k3, untrained) in [(-1e-6, false), (-1e-6, true), (1e-6, true), (f64::INFINITY, true)] {
        assert!(check_divergence(k3, untrained, false).is_err(), "{k3} {untrained}");
    }
    for (k3, untrained) in [(0.0, true), (1e-10, true), (1e-6, false), (3.0, false), (f64::NAN, true)] {
        assert!(check_divergence(k3, untrained, false).is_ok(), "{k3} {untrained}");
    }
    // Products in bf16 round more.
    assert!(check_divergence(1e-3, true, true).is_ok() && check_divergence(1e-2, true, true).is_err());
}

#[test]
fn three_updates_in_a_row_that_are_not_finite_end_the_run_and_change_no_weight() {
    let mut begun = begun();
    let before = weights(&begun.trainer);
    begun.rollouts.iter_mut().for_each(|rollout| rollout.sampled.rewards[0] = f32::NAN);
    let error = update(&mut begun).unwrap_err().to_string();
    assert_eq!(error, "the loss was not finite in 3 updates in a row; lower --learning-rate");
    assert!(weights(&begun.trainer) == before);
}

#[test]
fn two_updates_that_are_not_finite_are_skipped_and_a_finite_one_resets_the_count() {
    let mut begun = begun();
    let StepAdvantages { advantages, returns, .. } = compute_advantages(&begun.rollouts, 0.05, &begun.config);
    let rates = Rates::of_step(0, &begun.config);
    let broken: Vec<Vec<f32>> = advantages.iter().map(|row| vec![f32::NAN; row.len()]).collect();
    let of = |advantages: &[Vec<f32>], trainer: &mut Trainer| {
        let sample = [UpdateRow { rollout: &begun.rollouts[0], advantages: &advantages[0], returns: &returns[0] }];
        trainer.update_on_mini_batch(&sample, &rates, &begun.config).is_finite()
    };
    let before = weights(&begun.trainer);
    assert!(!of(&broken, &mut begun.trainer) && weights(&begun.trainer) == before);
    assert!(of(&advantages, &mut begun.trainer) && weights(&begun.trainer) != before);
    // Two failures that an earlier step has left are forgotten.
    begun.trainer.failures = 2;
    begun.rollouts = collect(&begun.trainer, 1, &begun.config).unwrap();
    update(&mut begun).unwrap();
    assert_eq!(begun.trainer.failures, 0);
}

#[test]
fn rounding_of_low_precision_products_passes_and_misaligned_rows_do_not() {
    let stats = |log_ratios: &[f32]| {
        let k3 = |x: f32| f64::from(x).exp_m1() - f64::from(x);
        let ratios = log_ratios.iter().map(|x| x.exp());
        UpdateStats {
            old_kl: log_ratios.iter().map(|&x| k3(x)).sum::<f64>() / log_ratios.len() as f64,
            max_ratio: ratios.clone().fold(f32::NEG_INFINITY, f32::max),
            min_ratio: ratios.fold(f32::INFINITY, f32::min),
            ..UpdateStats::default()
        }
    };
    let rounded = stats(&[0.14, -0.03, 0.01, 0.02, -0.05, 0.0]);
    assert!(check_first_ratio(&rounded, true).is_ok());
    assert!(check_first_ratio(&rounded, false).is_err());
    assert!(check_first_ratio(&stats(&[5e-5, -5e-5]), false).is_ok());
    for short in [true, false] {
        assert!(check_first_ratio(&stats(&[0.4, -0.2, 0.1, 0.0]), short).is_err());
    }
}

/// A rollout of the first one's prompt and these tokens, of which some are given, and some before them belong to the prompt; the lists have
/// one entry per chosen token.
fn rollout_of(begun: &Begun, tokens: &[u32], chosen_before: usize, given: Range<usize>, lists: [&[f32]; 4]) -> Rollout {
    let mut rollout = begun.rollouts[0].clone();
    let prompt = rollout.sampled.prompt_len;
    rollout.sampled.tokens.truncate(prompt);
    rollout.sampled.tokens.extend(tokens);
    rollout.sampled.prompt_len += chosen_before;
    rollout.sampled.given =
        (!given.is_empty()).then_some(prompt + given.start..prompt + given.end).into_iter().collect();
    let [rewards, log_probs, ref_log_probs, values] = lists.map(<[f32]>::to_vec);
    rollout.sampled.rewards = rewards;
    rollout.entropies = vec![0.5; log_probs.len()];
    Rollout { log_probs, ref_log_probs, values, ..rollout }
}

#[test]
fn given_tokens_are_part_of_the_state_and_have_no_advantage_and_no_loss_of_their_own() {
    let mut begun = begun();
    // A critic that is not 0.
    let head = begun.trainer.model.value.head.val();
    begun.trainer.model.value.head = burn::module::Param::from_tensor(head.add_scalar(0.3));
    (begun.config.gamma, begun.config.lambda) = (0.9, 0.5);
    let tokens = [5, 9, 10, 7, 11];
    let (old, reference, values) = ([-5.0, -6.0, -5.5], [-5.5, -6.0, -5.0], [0.5, 0.25, -0.5]);
    let whole = rollout_of(&begun, &tokens, 0, 1..3, [&[0.25, 0.0, 1.0], &old, &reference, &values]);
    assert_eq!((whole.response_len(), whole.given().len()), (3, 1));

    // With β = 0.1 the rewards are 0.25 - 0.05, 0 and 1 + 0.05. Then δ = r + 0.9 V' - V and Â = δ + 0.45 Â', from behind:
    // δ = 1.05 + 0.5 = 1.55; 0 - 0.45 - 0.25 = -0.7; 0.2 + 0.225 - 0.5 = -0.075.
    // Â = 1.55; -0.7 + 0.6975 = -0.0025; -0.075 - 0.001125 = -0.076125.
    let samples = [whole.clone()];
    let row = question_advantages(&samples, 0.1, &begun.config).remove(0);
    for (found, expected) in row.advantages.iter().zip([-0.076125, -0.0025, 1.55]) {
        assert!((found - expected).abs() < 1e-6, "{:?}", row.advantages);
    }
    for (found, expected) in row.returns.iter().zip([0.423875, 0.2475, 1.05]) {
        assert!((found - expected).abs() < 1e-6, "{:?}", row.returns);
    }

    // The same tokens as two rows: the first alone, and the last two behind a prompt that ends with the given tokens.
    let first = rollout_of(&begun, &tokens[..1], 0, 0..0, [&[0.0], &old[..1], &reference[..1], &values[..1]]);
    let others = rollout_of(&begun, &tokens, 3, 0..0, [&[0.0; 2], &old[1..], &reference[1..], &values[1..]]);
    let of = |rows: &[(&Rollout, Range<usize>)]| -> Vec<f32> {
        let rows: Vec<UpdateRow<'_>> = rows
            .iter()
            .map(|(rollout, part)| UpdateRow {
                rollout,
                advantages: &row.advantages[part.clone()],
                returns: &row.returns[part.clone()],
            })
            .collect();
        let losses = Losses::of(&begun.trainer.model, &rows.iter().collect::<Vec<_>>(), 3, &begun.config);
        model::to_host_together([losses.policy.inner(), losses.value.inner(), losses.log_probs.inner()]).concat()
    };
    let (together, apart) = (of(&[(&whole, 0..3)]), of(&[(&first, 0..1), (&others, 1..3)]));
    assert_eq!(together.len(), 2 + 3, "one log-probability per chosen token");
    for (together, apart) in together.iter().zip(&apart) {
        assert!((together - apart).abs() < 1e-5, "{together} {apart}");
    }
    assert!(together[0].abs() > 1e-3 && together[1] > 1e-3, "{together:?}");
}

#[test]
fn no_digit_of_the_losses_depends_on_how_likely_a_given_token_is() {
    let begun = begun();
    // Two rows that end with given tokens: nothing that was chosen has read them.
    let of = |given: [u32; 2]| -> Vec<f32> {
        let tokens = [5, 9, given[0], given[1]];
        let rollout = rollout_of(&begun, &tokens, 0, 2..4, [&[0.0, 1.0], &[-5.0, -6.0], &[-5.0, -6.0], &[0.5, 0.25]]);
        let row = UpdateRow { rollout: &rollout, advantages: &[0.5, -1.0], returns: &[1.0, 0.5] };
        let losses = Losses::of(&begun.trainer.model, &[&row], 2, &begun.config);
        let all = [losses.log_probs.inner(), losses.policy.inner(), losses.value.inner()];
        let scored = log_probs_pass(
            vec![rollout.sampled],
            &begun.trainer.model,
            &begun.trainer.reference,
            begun.config.temperature,
            4,
            1,
        );
        let Rollout { log_probs, ref_log_probs, values, entropies, .. } = &scored[0];
        [
            model::to_host_together(all).concat(),
            [log_probs, ref_log_probs, values, entropies].map(Clone::clone).concat(),
        ]
        .concat()
    };
    let (one, other) = (of([10, 11]), of([120, 240]));
    assert_eq!(one.len(), 4 + 4 * 2);
    assert_eq!(one, other);
}
