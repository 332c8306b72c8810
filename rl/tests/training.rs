//! Claims about training: micro-batches and threads change no result, rewards and values are at the right tokens, and a run
//! that was stopped and resumed is the run that never stopped.
//! Longer than other files: each file here is a program of its own, which links all of burn.

mod common;

use burn::{
    module::Param,
    tensor::{Int, Tensor, TensorData},
};
use common::{PROBLEMS, false_calculator, metrics, policy, problems, random_model, run_ppo, run_sft, short_examples};
use data::{Example, Prompting, Split, calculation_result, calculations_hold};
use eval::{About, Sample, SampleConfig, evaluate, sample_graded};
use model::{
    ActorCritic, Device, Finish, Key, Purpose, Transformer, ValueBranch, read_tensors, score, score_with_values,
    to_host, token_log_probs,
};
use rl::{
    objective::loss::{negative_log_likelihood, ppo_policy, ppo_value},
    objective::reward::{OrmScore, RewardArgs, RewardKind},
    objective::weights::WeightArgs,
    run::last_folder,
    sampling::rollout::{Query, Rollout, RolloutConfig, Sampled, log_probs_pass, sample_completions},
    training::batch::{flat, micro_batches, pad, response_tokens},
    training::optim::{Adam, GradientOptions, gradient_list, gradients},
    training::order::permutation,
    training::supervised::{likelihood_loss, update},
};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// Sixteen rows of 3 to 40 tokens over 50 ids.
fn examples() -> Vec<Example> {
    let example = |row: usize| {
        let length = 3 + (row * 7) % 38;
        let tokens = (0..length).map(|i| ((row * 13 + i * i * 5 + i) % 50) as u32).collect();
        Example::new(tokens, 1 + row % 2)
    };
    (0..16).map(example).collect()
}

/// The loss of the one supervised loop and its gradient of every parameter.
fn supervised(model: &Transformer, examples: &[Example], micro_batch: usize, threads: usize) -> (f64, Vec<Vec<f32>>) {
    let total = response_tokens(examples);
    let found =
        gradients(model, &micro_batches(examples, micro_batch), GradientOptions::on(threads), |model, indices| {
            let rows: Vec<&Example> = indices.iter().map(|&index| &examples[index]).collect();
            let loss = negative_log_likelihood(score(model, &pad(&rows, &model.device()), 1.0).log_probs, total);
            let value = loss.clone().inner();
            (loss, move || f64::from(value.into_scalar::<f32>()))
        });
    let list = gradient_list(model, &found.params).into_iter().map(|gradient| gradient.unwrap()).collect();
    (found.reports.iter().sum(), list)
}

fn assert_close(ours: &[Vec<f32>], theirs: &[Vec<f32>], tolerance: f32, what: &str) {
    assert_eq!(ours.len(), theirs.len());
    for (parameter, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let scale = theirs.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let difference = ours.iter().zip(theirs).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(difference <= tolerance * scale, "{what}: parameter {parameter} off by {difference:e} of {scale:e}");
    }
}

#[test]
fn loss_and_gradients_are_the_same_for_any_split_into_micro_batches() {
    let (model, examples) = (random_model(50, 1), examples());
    let (loss, expected) = supervised(&model, &examples, 16, 1);
    for micro_batch in [1, 2, 5] {
        let (found, gradients) = supervised(&model, &examples, micro_batch, 1);
        assert!((found - loss).abs() < 1e-6 * loss, "micro-batches of {micro_batch}: {found} against {loss}");
        assert_close(&gradients, &expected, 1e-5, &format!("micro-batches of {micro_batch}"));
    }
}

#[test]
fn threads_change_no_bit_of_loss_and_gradients() {
    let (model, examples) = (random_model(50, 1), examples());
    for micro_batch in [1, 2, 5, 16] {
        let expected = supervised(&model, &examples, micro_batch, 1);
        assert!(supervised(&model, &examples, micro_batch, 2) == expected, "micro-batches of {micro_batch}");
    }
}

#[test]
fn the_first_update_of_ppo_is_the_same_for_any_split_into_micro_batches() {
    let line = |micro_batch: &str| {
        let folder = tempfile::tempdir().unwrap();
        let micro_batch = format!("--micro-batch={micro_batch}");
        let flags = ["--steps=1", "--value-warm-up=0", "--ppo-epochs=1", "--mini-batch=8", &micro_batch];
        metrics(&run_ppo(&folder.path().join("run"), &flags).unwrap()).remove(0)
    };
    let expected = line("16");
    assert!(expected["accuracy"].as_f64().unwrap() > 0.0, "the test needs a reward");
    for micro_batch in ["1", "2", "5"] {
        let found = line(micro_batch);
        for (name, tolerance) in
            [("reward/mean", 0.0), ("loss/value", 1e-6), ("loss/policy", 1e-6), ("grad_norm", 1e-5)]
        {
            let [found, expected] = [&found[name], &expected[name]].map(|value| value.as_f64().unwrap());
            assert!((found - expected).abs() <= tolerance, "{name}, {micro_batch} rows: {found} against {expected}");
        }
    }
}

#[test]
fn gradient_checkpointing_changes_no_digit_of_a_step_of_ppo() {
    let line = |more: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let flags = [&["--steps=1", "--value-warm-up=0", "--mini-batch=8"], more].concat();
        let mut line = metrics(&run_ppo(&folder.path().join("run"), &flags).unwrap()).remove(0);
        line.retain(|name, _| !name.contains("time/") && !name.contains("_per_s"));
        line
    };
    let expected = line(&[]);
    assert!(expected["grad_norm"].as_f64().unwrap() > 0.0, "the test needs a gradient");
    assert_eq!(line(&["--gradient-checkpointing"]), expected);
}

#[test]
fn the_rest_of_a_pass_weighs_its_share_of_a_mini_batch() {
    let folder = tempfile::tempdir().unwrap();
    // Weights that stay where they are have the same gradients in every mini-batch of a step.
    let still = ["--steps=1", "--value-warm-up=0", "--ppo-epochs=1", "--learning-rate=0", "--value-learning-rate=0"];
    let run = |size: usize| {
        let size = format!("--mini-batch={size}");
        let flags = [still.as_slice(), &["--max-grad-norm=0", &size]].concat();
        run_ppo(&folder.path().join(&size), &flags).unwrap()
    };
    let (whole, cut) = (run(8), run(6));
    let history = |run: &Path| read_tensors(&last_folder(run).unwrap().join("trainer/optimizer.safetensors")).unwrap();
    let (whole, after_two) = (history(&whole), history(&cut));
    let samples = eval::read_samples(&cut.join("samples.jsonl")).unwrap();
    let order = permutation(8, Key::new(3, Purpose::Shuffle).with(0).with(0));
    let tokens = |places: &[usize]| places.iter().map(|&place| samples[place].tokens).sum::<usize>() as f64;
    let (first, rest, share) = (tokens(&order[..6]), tokens(&order[6..]), 2.0 / 6.0);
    let amplified = share - 0.9 * rest / first;
    assert!(amplified.abs() > 1e-3, "the test needs other lengths");
    let (mut found, mut expected) = (0.0, 0.0);
    for (name, all) in whole.iter().filter(|(name, _)| name.ends_with(".moment_1")) {
        let [moment_1, moment_2] =
            ["moment_1", "moment_2"].map(|kind| &after_two[&name.replace("moment_1", kind)].values);
        for ((all, moment_1), moment_2) in all.values.iter().zip(moment_1).zip(moment_2) {
            // Both gradients, from the first moment after two steps (0.9, 0.1) and the gradient of the whole batch, a mean over tokens.
            let all = f64::from(*all) / 0.1;
            let of_rest = (f64::from(*moment_1) / 0.1 - 0.9 * (first + rest) / first * all) / amplified;
            let of_first = ((first + rest) * all - rest * of_rest) / first;
            found += f64::from(*moment_2);
            expected += 0.05 * (0.95 * of_first.powi(2) + (share * of_rest).powi(2));
        }
    }
    assert!(found > 0.0 && (found - expected).abs() < 0.01 * expected, "{found:e} against {expected:e}");
}

#[test]
fn what_stands_after_the_end_of_a_row_enters_neither_loss_nor_gradients() {
    let model = random_model(50, 2);
    let rows = [Example::new(vec![3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5], 4), Example::new(vec![2, 7, 1, 0], 2)];
    let rows: Vec<&Example> = rows.iter().collect();
    let found = |padding: i32| {
        let result = gradients(&model, &[()], GradientOptions::on(1), |model, ()| {
            let mut batch = pad(&rows, &Device::default());
            let mut ids = batch.tokens.into_data().convert::<i32>().try_to_vec::<i32>().unwrap();
            ids[11 + 4..].fill(padding);
            batch.tokens = Tensor::from_data(TensorData::new(ids, [2, 11]), &Device::default());
            let loss = negative_log_likelihood(score(model, &batch, 1.0).log_probs, 9);
            let value = loss.clone().inner();
            (loss, move || value.into_scalar::<f32>())
        });
        (result.reports, gradient_list(&model, &result.params))
    };
    assert!(found(0) == found(49));
}

#[test]
fn the_end_of_sequence_token_is_trained_on() {
    let policy = policy();
    let eos = policy.tokenizer.eos_ids()[0];
    let mut model = random_model(policy.model.config.vocab_size, 4);
    let examples = short_examples(&policy.tokenizer);
    let log_prob_of_end = |model: &Transformer| {
        let rows: Vec<&Example> = examples.iter().collect();
        let batch = pad(&rows, &Device::default());
        let targets = batch.targets.clone().into_data().convert::<i64>().try_to_vec::<i64>().unwrap();
        let log_probs = to_host(score(model, &batch, 1.0).log_probs).values;
        let of_end: Vec<f32> =
            targets.iter().zip(log_probs).filter(|(id, _)| **id == i64::from(eos)).map(|(_, value)| value).collect();
        assert_eq!(of_end.len(), PROBLEMS, "one end a row is a target");
        of_end.iter().sum::<f32>() / of_end.len() as f32
    };
    let before = log_prob_of_end(&model);
    let mut optimizer = Adam::new(0.9, 0.98, 1e-8, 0.0, 1.0);
    for _ in 0..10 {
        model =
            update(model, &examples, &likelihood_loss, &mut optimizer, 3e-3, PROBLEMS, GradientOptions::on(1)).model;
    }
    let after = log_prob_of_end(&model);
    assert!(after > before + 0.5, "log-probability of the end: {before} before, {after} after");
}

#[test]
fn the_reward_sits_on_the_last_token_written_and_truncated_samples_keep_their_tokens() {
    let policy = policy();
    let eos = policy.tokenizer.eos_ids()[0];
    let all = rollouts(1.0, 24);
    let (right, wrong): (Vec<&Rollout>, Vec<&Rollout>) = all.iter().partition(|rollout| rollout.sampled.sample.correct);
    assert!(!right.is_empty() && !wrong.is_empty(), "the test needs both");
    for rollout in &right {
        let (last, others) = rollout.sampled.rewards.split_last().unwrap();
        assert!(*last == 1.0 && others.iter().all(|&reward| reward == 0.0));
        assert_eq!(rollout.sampled.tokens.last(), Some(&eos));
    }
    assert!(wrong.iter().all(|rollout| rollout.sampled.rewards.iter().all(|&reward| reward == 0.0)));
    // Two tokens are never enough for an answer and its end.
    for rollout in rollouts(1.0, 2).iter().filter(|rollout| rollout.sampled.tokens.last() != Some(&eos)) {
        assert_eq!(rollout.sampled.sample.finish, Finish::Length);
        let written = rollout.sampled.tokens.len() - rollout.sampled.prompt_len;
        assert_eq!(
            [written, rollout.sampled.rewards.len(), rollout.log_probs.len(), rollout.sampled.sample.tokens],
            [2; 4]
        );
    }
}

/// Four samples of each problem after the log-probs pass: the policy is its own reference, and the critic is new.
fn rollouts(temperature: f64, max_new_tokens: usize) -> Vec<Rollout> {
    let (policy, problems) = (policy(), problems());
    let sampling = SampleConfig {
        samples: 4,
        temperature,
        max_new_tokens,
        rows: 64,
        streams: None,
        threads: 1,
        prompting: Prompting::default(),
        answer_format: data::AnswerFormat::Gsm8k,
        calculator: false,
        checker: None,
        servers: None,
    };
    let reward = RewardArgs {
        reward: RewardKind::Sparse,
        answer_weight: 1.0,
        dense_scale: 0.5,
        orm: None,
        orm_weight: 1.0,
        orm_pessimism: 0.0,
        orm_score: OrmScore::Potential,
        weights: WeightArgs::default(),
    };
    let config = RolloutConfig { sampling, reward, reward_model: None, external: None, seed: 1 };
    let queries = problems.iter().enumerate().map(|(index, problem)| Query { problem, index, prefix: "" });
    let (sampled, _) = sample_completions(&policy, &queries.collect::<Vec<_>>(), 0, &config).unwrap();
    log_probs_pass(sampled, &actor_critic(1, true), &policy.model, temperature, 8, 1)
}

fn actor_critic(layers: usize, detach: bool) -> ActorCritic {
    let policy = policy().model;
    ActorCritic { value: ValueBranch::of(&policy, layers, detach), policy }
}

/// The same with a head that is not 0, as after some training.
fn trained_actor_critic(detach: bool) -> ActorCritic {
    let mut model = actor_critic(1, detach);
    let head: Vec<f32> = (0..32).map(|i| ((i * 7 % 11) as f32 - 5.0) / 20.0).collect();
    model.value.head = Param::from_data(TensorData::new(head, [32, 1]), &Device::default());
    model
}

#[test]
fn the_first_loss_of_the_critic_is_half_the_mean_squared_return() {
    let rollouts = rollouts(1.0, 24);
    let device = Device::default();
    let rows: Vec<&Rollout> = rollouts.iter().collect();
    for layers in 0..=2 {
        let (_, values) = score_with_values(&actor_critic(layers, true), &pad(&rows, &device), 1.0);
        assert!(to_host(values.clone()).values.iter().all(|&value| value == 0.0));
        let total = response_tokens(&rollouts);
        let returns: Vec<f32> = (0..total).map(|i| (i % 7) as f32 / 3.0 - 0.5).collect();
        let half_mean_square = returns.iter().map(|r| r * r).sum::<f32>() / total as f32 / 2.0;
        let returns = flat([returns.as_slice()].into_iter(), &device);
        let loss = ppo_value(values, Tensor::zeros([total], &device), returns, 0.2, total).into_scalar::<f32>();
        assert!((loss - half_mean_square).abs() < 1e-6, "{loss} against {half_mean_square}");
    }
}

#[test]
fn the_first_logged_loss_of_the_critic_is_half_the_mean_squared_return() {
    // Without a KL penalty, with γ = λ = 1, the return of every token is the reward of its sample.
    let folder = tempfile::tempdir().unwrap();
    let flags =
        ["--steps=1", "--ppo-epochs=1", "--mini-batch=8", "--kl-coefficient=0", "--lambda=1", "--value-layers=2"];
    let dir = run_ppo(&folder.path().join("run"), &flags).unwrap();
    let samples = samples(&dir);
    let tokens: usize = samples.iter().map(|sample| sample.tokens).sum();
    let squares: f64 = samples.iter().map(|sample| sample.reward.unwrap().powi(2) * sample.tokens as f64).sum();
    assert!(squares > 0.0, "the test needs a reward");
    let loss = metrics(&dir)[0]["loss/value"].as_f64().unwrap();
    assert!((loss - 0.5 * squares / tokens as f64).abs() < 1e-6, "{loss}");
}

#[test]
fn a_detached_critic_leaves_the_gradient_of_the_policy_as_it_was_and_one_that_is_not_changes_the_trunk() {
    let rollouts = rollouts(1.0, 24);
    let (device, total) = (Device::default(), response_tokens(&rollouts));
    let rows: Vec<&Rollout> = rollouts.iter().collect();
    let of_losses = |model: &ActorCritic, policy_weight: f64, value_weight: f64| {
        let result = gradients(model, &[()], GradientOptions::on(1), |model, ()| {
            let (scored, values) = score_with_values(model, &pad(&rows, &device), 1.0);
            let old = flat(rows.iter().map(|row| row.log_probs.as_slice()), &device);
            let advantages: Vec<f32> = (0..total).map(|i| (i % 5) as f32 - 2.0).collect();
            let advantages = flat([advantages.as_slice()].into_iter(), &device);
            let policy_loss = ppo_policy(scored.log_probs, old, advantages.clone(), 0.2, total);
            let value_loss = ppo_value(values, Tensor::zeros([total], &device), advantages, 0.2, total);
            (policy_loss.mul_scalar(policy_weight) + value_loss.mul_scalar(value_weight), || ())
        });
        let of_policy = gradient_list(&model.policy, &result.params);
        (of_policy, gradient_list(&model.value, &result.params))
    };
    let zero = |gradient: &Option<Vec<f32>>| gradient.as_ref().is_none_or(|values| values.iter().all(|&x| x == 0.0));

    let detached = trained_actor_critic(true);
    let (policy_alone, _) = of_losses(&detached, 1.0, 0.0);
    let (with_critic, value) = of_losses(&detached, 1.0, 1.0);
    assert!(with_critic == policy_alone);
    assert!(value.iter().all(|gradient| !zero(gradient)), "the branch itself learns");
    let (critic_alone, _) = of_losses(&detached, 0.0, 1.0);
    assert!(critic_alone.iter().all(zero));

    let (critic_alone, _) = of_losses(&trained_actor_critic(false), 0.0, 1.0);
    let touched: Vec<bool> = critic_alone.iter().map(|gradient| !zero(gradient)).collect();
    // The embedding and the six tensors of the block that both share; not the policy's own block, nor its last norm.
    assert_eq!(touched, [vec![true; 7], vec![false; 7]].concat());
}

#[test]
fn temperature_divides_the_logits_of_policy_and_reference_and_not_the_values_of_the_critic() {
    let sampled: Vec<Sampled> = rollouts(1.0, 24).into_iter().map(|rollout| rollout.sampled).collect();
    let model = trained_actor_critic(true);
    let reference = random_model(model.policy.config.vocab_size, 9);
    let [warm, cold] =
        [1.0, 0.5].map(|temperature| log_probs_pass(sampled.clone(), &model, &reference, temperature, 5, 1));
    for (warm, cold) in warm.iter().zip(&cold) {
        assert_eq!(warm.values, cold.values);
        assert!(warm.values.iter().any(|&value| value != 0.0));
        let ids: Vec<i32> = warm.sampled.tokens.iter().map(|&id| id as i32).collect();
        let (time, written) = (ids.len(), ids.len() - warm.sampled.prompt_len);
        let tokens: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, [1, time]), &Device::default());
        let targets = tokens.clone().reshape([time]).narrow(0, warm.sampled.prompt_len, written);
        for (model, found) in [(&model.policy, &cold.log_probs), (&reference, &cold.ref_log_probs)] {
            let vocabulary = model.config.vocab_size;
            let logits = model.forward(tokens.clone()).reshape([time, vocabulary]);
            let logits = logits.narrow(0, warm.sampled.prompt_len - 1, written).div_scalar(0.5);
            let expected = to_host(token_log_probs(logits, targets.clone(), 1.0)).values;
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-4, "{found} against {expected}");
            }
        }
    }
}

#[test]
fn ppo_refuses_what_would_make_its_ratios_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let refusal = |flag: &str| format!("{:#}", run_ppo(&out, &[flag]).unwrap_err());
    for flag in ["--top-k=5", "--top-p=0.9"] {
        assert!(refusal(flag).contains("the full distribution"), "{}", refusal(flag));
    }
    assert!(refusal("--temperature=0").contains("PPO needs samples that differ"), "{}", refusal("--temperature=0"));
    assert!(refusal("--samples=0").contains("at least 1"));
    assert!(refusal("--mini-batch=9").contains("more than the 8 samples of a step"));
    assert!(!out.exists(), "nothing half-written");
}

#[test]
fn a_reward_of_zero_is_a_reward_and_a_missing_one_is_null() {
    let (policy, problems) = (policy(), problems());
    let config = SampleConfig {
        samples: 2,
        temperature: 1.0,
        max_new_tokens: 24,
        rows: 8,
        streams: None,
        threads: 1,
        prompting: Prompting::default(),
        answer_format: data::AnswerFormat::Gsm8k,
        calculator: false,
        checker: None,
        servers: None,
    };
    let about = About {
        answer_format: data::AnswerFormat::Gsm8k,
        benchmark: "synthetic".into(),
        split: Split::Train,
        temperature: Some(1.0),
        checkpoint: None,
        truncated: None,
        mean_tokens: None,
        checker: None,
    };
    let evaluation = evaluate(&policy, &problems, about, &config, 0, None, &|_| ()).unwrap();
    for sample in evaluation.samples.iter().flatten().chain(&evaluation.greedy) {
        let json = serde_json::to_value(sample).unwrap();
        assert!(json["reward"].is_null() && json["step"].is_null());
        assert_eq!(serde_json::from_value::<Sample>(json).unwrap().reward, None);
    }
    let all = rollouts(1.0, 24);
    for rollout in &all {
        let json = serde_json::to_value(&rollout.sampled.sample).unwrap();
        assert_eq!(json["reward"].as_f64(), Some(if rollout.sampled.sample.correct { 1.0 } else { 0.0 }));
        assert_eq!(serde_json::from_value::<Sample>(json).unwrap().reward, rollout.sampled.sample.reward);
    }
    assert!(all.iter().any(|rollout| rollout.sampled.sample.reward == Some(0.0)));
}

fn samples(dir: &Path) -> Vec<Sample> {
    let text = fs::read_to_string(dir.join("samples.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_step_of_ppo_logs_the_metrics_that_tables_read() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run_ppo(&folder.path().join("run"), &[]).unwrap();
    let text = fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Map<String, serde_json::Value>> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(line["step"], index + 1);
        assert_eq!(line["samples"], 8 * (index + 1));
        for name in [
            "reward/mean",
            "accuracy",
            "kl/k1",
            "kl/k3",
            "entropy",
            "ratio/max",
            "ratio/clipped",
            "loss/policy",
            "loss/value",
            "grad_norm",
            "value/explained_variance",
            "length/mean",
            "truncated",
            "unparsable",
            "time/rollout_s",
            "time/update_s",
            "time/peak_memory_mb",
            "rollout/tokens_per_s",
        ] {
            assert!(
                line.get(name).is_some_and(|value| value.as_f64().is_some_and(f64::is_finite)),
                "{name} of {line:?}"
            );
        }
        assert!(line["kl/k3"].as_f64().unwrap() >= 0.0);
        assert_eq!(line.contains_key("validation/maj@1"), index % 2 == 1);
    }
    let first = &lines[0];
    assert_eq!((first["kl/k1"].as_f64(), first["kl/k3"].as_f64()), (Some(0.0), Some(0.0)), "before the first update");
    assert!(lines[3]["kl/k3"].as_f64().unwrap() > 0.0);
    let samples = samples(&dir);
    assert_eq!(samples.len(), 4 * 8);
    for (line, samples) in lines.iter().zip(samples.chunks(8)) {
        let mean = |value: &dyn Fn(&Sample) -> f64| samples.iter().map(value).sum::<f64>() / 8.0;
        assert!(samples.iter().all(|sample| line["step"] == sample.step.unwrap()), "both count from 1");
        assert_eq!(line["reward/mean"].as_f64(), Some(mean(&|sample| sample.reward.unwrap())));
        assert_eq!(line["length/mean"].as_f64(), Some(mean(&|sample| sample.tokens as f64)));
    }
    assert!(samples.iter().any(|sample| sample.correct) && samples.iter().any(|sample| !sample.correct));
    let evaluation: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("eval.json")).unwrap()).unwrap();
    for part in ["before", "after"] {
        assert_eq!(evaluation[part]["problems"], 4);
        assert!(evaluation[part]["maj@1"]["value"].is_number() && evaluation[part]["pass@2"]["value"].is_number());
    }
}

#[test]
fn three_steps_of_sft_in_a_row_that_are_not_finite_end_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // Weights of 1e18, whose products are beyond f32.
    let flags = ["--learning-rate=1e18", "--warm-up=0", "--steps=9", "--eval-every=9", "--test-problems=0"];
    let error = run_sft(&run, &flags).unwrap_err().to_string();
    assert_eq!(error, "the loss was not finite in 3 steps in a row; lower --learning-rate");
    let losses: Vec<bool> = metrics(&run).iter().map(|line| line["loss"].is_number()).collect();
    assert_eq!(losses, [true, false, false], "one step that was finite, and two before the last");
}

#[test]
fn a_ratio_before_any_update_of_a_step_is_one() {
    // One update per step: every ratio of the line precedes it. The log-probs pass has another micro-batch.
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--ppo-epochs=1", "--mini-batch=8", "--temperature=0.8", "--value-shares-trunk"];
    let dir = run_ppo(&folder.path().join("run"), &flags).unwrap();
    for line in metrics(&dir) {
        for name in ["ratio/max", "ratio/min"] {
            let ratio = line[name].as_f64().unwrap();
            assert!((ratio - 1.0).abs() < 1e-4, "{name} {ratio}");
        }
        assert_eq!(line["ratio/clipped"].as_f64(), Some(0.0));
        assert!(line["loss/policy"].as_f64().unwrap().abs() < 1e-6, "whitened advantages have the mean 0");
    }
}

/// The annotated calculations of a text, as `<<6*4=24>>`: within the brackets there is no other bracket, and no line ends.
fn calculations(text: &str) -> Vec<&str> {
    let ends = text.match_indices(">>").map(|(end, _)| end + 2);
    let annotated = ends.filter_map(|end| Some(&text[text[..end].rfind("<<")?..end]));
    let is_one = |part: &&str| part.contains('=') && !part[2..part.len() - 2].contains(['<', '>', '\n']);
    annotated.filter(is_one).collect()
}

#[test]
fn with_the_calculator_every_result_is_right_whatever_the_policy_would_have_written() {
    let policy = false_calculator();
    let sampled = |calculator: bool, rows: usize, threads: usize| -> Vec<Sample> {
        let sampling = SampleConfig {
            samples: 8,
            temperature: 0.8,
            max_new_tokens: 96,
            rows,
            streams: None,
            threads,
            prompting: Prompting::default(),
            answer_format: data::AnswerFormat::Gsm8k,
            calculator,
            checker: None,
            servers: None,
        };
        let key =
            |problem: usize, sample: usize| Key::new(5, Purpose::Rollout).with(problem as u64).with(sample as u64);
        let (samples, _) = sample_graded(&policy, &problems(), &sampling, key, &|_| ()).unwrap();
        samples.into_iter().flatten().collect()
    };
    let (without, with) = (sampled(false, 64, 1), sampled(true, 64, 1));
    let of = |samples: &[Sample]| -> (usize, usize) {
        let all: Vec<&str> = samples.iter().flat_map(|sample| calculations(&sample.completion)).collect();
        (all.len(), all.iter().filter(|calculation| !calculations_hold(calculation)).count())
    };
    let (all, wrong) = of(&without);
    assert!(all > 40 && wrong * 10 > all * 8, "{wrong} of {all} are false without it");
    let all: Vec<&str> = with.iter().flat_map(|sample| calculations(&sample.completion)).collect();
    let wrong: Vec<&&str> = all.iter().filter(|calculation| !calculations_hold(calculation)).collect();
    assert!(all.len() > 40 && wrong.is_empty(), "{wrong:?} of {} are false with it", all.len());
    assert!(without.iter().all(|sample| sample.calculated.is_empty()));
    for sample in &with {
        for &[start, end] in &sample.calculated {
            let result = calculation_result(&sample.completion[..start]);
            let written = &sample.completion[start..end];
            let is_cut = end == sample.completion.len() && sample.finish == Finish::Length;
            assert!(
                result.as_deref() == Some(written)
                    || is_cut && result.is_some_and(|result| result.starts_with(written)),
                "{written}"
            );
        }
        let calculated = sample.calculated.len();
        assert!(calculated >= calculations(&sample.completion).len(), "{}", sample.completion);
    }
    for (rows, threads) in [(3, 2), (10, 1)] {
        assert!(sampled(true, rows, threads) == with, "{rows} rows, {threads} threads");
    }
}

#[test]
fn an_extrapolated_model_lies_beyond_the_second_one_and_the_best_of_several_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let trained = run_sft(&folder.path().join("trained"), &[]).unwrap();
    let weights =
        |path: &Path| read_tensors(&eval::resolve_checkpoint(path).unwrap().join("model.safetensors")).unwrap();
    let extrapolate = |name: &str, alpha: &str| -> anyhow::Result<PathBuf> {
        let out = folder.path().join(name);
        let [from, to, to_write] = [("from", common::start()), ("to", &*trained), ("out", &*out)]
            .map(|(flag, path)| format!("--{flag}={}", path.display()));
        let alpha = format!("--alpha={alpha}");
        let flags = ["rl", "extrapolate", &from, &to, &to_write, &alpha, "--eval-problems=4", "--max-new-tokens=8"];
        rl::command::parse(flags.iter().map(OsString::from).collect())?.execute().map(|_| out)
    };
    let (first, second) = (weights(common::start()), weights(&trained));
    let beyond = weights(&extrapolate("beyond", "0.5").unwrap());
    for (name, tensor) in &beyond {
        let [from, to] = [&first[name].values, &second[name].values];
        for ((value, from), to) in tensor.values.iter().zip(from).zip(to) {
            assert!((value - (to + 0.5 * (to - from))).abs() <= 1e-6 * value.abs().max(1.0), "{name}");
        }
    }
    assert!(beyond != second);
    assert!(weights(&extrapolate("none", "0").unwrap()) == second);
    let chosen = weights(&extrapolate("chosen", "0,-1").unwrap());
    assert!(chosen == second || chosen == first);
    assert!(format!("{:#}", extrapolate("beyond", "0.5").unwrap_err()).contains("exists already"));
}

#[test]
fn ppo_scores_the_samples_of_mixed_groups_alone_and_writes_all() {
    let folder = tempfile::tempdir().unwrap();
    let init = format!("--init={}", common::start_with_steps().display());
    let flags = ["--questions=8", "--samples=4", "--temperature=1.3", "--max-new-tokens=64", "--steps=3", &init];
    for (name, more) in [("filtered", &[][..]), ("replay", &["--curriculum=plr"])] {
        let dir = run_ppo(&folder.path().join(name), &[flags.as_slice(), more].concat()).unwrap();
        let rows = metrics(&dir);
        let samples = eval::read_samples(&dir.join("samples.jsonl")).unwrap();
        assert_eq!(samples.len(), 3 * 8 * 4);
        for (step, row) in rows.iter().enumerate() {
            let of_step = &samples[step * 32..][..32];
            let is_mixed = |group: &&[Sample]| group.iter().any(|sample| sample.correct != group[0].correct);
            let mixed = of_step.chunks(4).filter(is_mixed).count();
            let share = if mixed == 0 { 1.0 } else { mixed as f64 / 8.0 };
            assert_eq!(row["groups/used"].as_f64(), Some(share), "step {step}");
            let right = of_step.iter().filter(|sample| sample.correct).count();
            assert_eq!(row["accuracy"].as_f64(), Some(right as f64 / 32.0), "step {step}");
        }
        assert!(rows.iter().any(|row| row["groups/used"].as_f64().unwrap() < 1.0), "nothing was filtered");
    }
}
