//! Proximal policy optimisation on answers that can be checked (Schulman et al. 2017; Havrilla et al. 2024, section on PPO).
//!
//! A step samples K solutions of a few questions, rewards them, lets policy, reference and critic look at them once, and
//! then makes several passes over them with the clipped losses of `loss.rs`. Where we deviate from the paper: small models
//! are fine-tuned in full (unless `--lora-rank` says otherwise) at a larger learning rate; the critic learns alone for the first steps; λ is 1, not 0.95,
//! because solutions are short; the critic's branch is one block of four, not four of thirty-two. Losses are means over the tokens of
//! an update, also with `--advantage group`, where GRPO takes the mean of each sample first. Where `--mini-batch` does not divide the
//! samples of a step, the loss of the rest is multiplied by its share of a mini-batch; elsewhere such a rest is refused (verl), dropped,
//! or a full step.

mod config;
mod start;

use crate::{
    adapters::Adapters,
    advantage::{gae, group, leave_one_out, whiten},
    batch::{Row, flat, micro_batches, pad, padding_share, response_tokens},
    curriculum::{Curriculum, CurriculumKind, beginning},
    diagnostics::{self, PolicyStats},
    loss::{ppo_policy, ppo_value},
    metrics::Metrics,
    optim::{Adam, Computing, gradients, learning_rate},
    order::permutation,
    prepare,
    progress::{Progress, sparkline},
    reward::{adapted_beta, with_kl_penalty},
    rollout::{Asked, Rollout, RolloutConfig, look, sample_rollouts},
    run::{Reason, Run, TrainerState, finish},
    table::FinalTable,
};
use anyhow::{Result, ensure};
use burn::tensor::{Device, Tensor};
use data::{Problem, Split};
use eval::{Policy, greedy_accuracy};
use model::{ActorCritic, Compute, Key, Purpose, Transformer, merged, save_value_branch, score_with_values};
use serde::{Deserialize, Serialize};
use std::{fs, path::PathBuf, time::Instant};

use start::{Start, start};

pub use config::{AdvantageKind, DEFAULTS, PUBLISHED, PpoConfig};

/// Ratios further from 1 than this before any update mean that sampling and training disagree about the policy.
const RATIO_TOLERANCE: f32 = 1e-4;
/// The same of their root mean square, where products are computed in bf16, or in TF32 for f32.
const RATIO_TOLERANCE_SHORT: f32 = 0.1;

/// What a checkpoint keeps of the curriculum.
const CURRICULUM: &str = "trainer/curriculum.json";

/// The numbers that a resumed run goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct PpoNumbers {
    step: usize,
    /// Drawn so far.
    #[serde(default)]
    samples: usize,
    beta: f64,
    best: Option<f64>,
}

/// Trains, evaluates before and after on the test split, and leaves a run directory; its path.
///
/// # Errors
/// Missing data, an unusable `--init`, contradictory flags, a full disk, an interrupt, a policy that falls apart.
pub fn train(config: &PpoConfig, device: &Device) -> Result<PathBuf> {
    config::check(config)?;
    if config.run.dry_run {
        return config::dry_run(config, device);
    }
    let _lock = prepare::claim(&config.run)?;
    let Start { config, mut trainer, mut run, initial, mut numbers } = start(config, device)?;
    config::warn(&config);
    let problems = config.data.load(Split::Train)?;
    let validation = prepare::validation(&config.data, config.eval.eval_problems)?;
    let table = FinalTable { data: &config.data, eval: &config.eval, run_args: &config.run, device };
    let before = table.before(&mut run, || Ok(initial.clone()), &trainer.rollout.sampling.prompting)?;
    let progress = Progress::new(config.steps, "ppo", "steps", config.run.quiet);
    progress.start_at(numbers.step);
    let mut curve = Vec::new();
    for step in numbers.step..config.steps {
        let started = Instant::now();
        let mut metrics = Metrics::of_step(step + 1);
        let (args, seed) = (&config.curriculum, config.run.seed);
        let places = trainer.curriculum.choose(args, problems.len(), config.questions, step, seed);
        let rollouts = trainer.experience(&problems, &places, step, &config, &mut metrics)?;
        numbers.samples += rollouts.len();
        metrics.put_count("samples", numbers.samples);
        run.write_samples(rollouts.iter().map(|rollout| &rollout.sample))?;
        let surprise = trainer.update(&rollouts, step, numbers.beta, &config, &mut metrics)?;
        let accuracy = metrics.get("accuracy").unwrap_or(0.0);
        trainer.curriculum.learn(args, &places, &surprise, accuracy, step);
        numbers.beta = next_beta(numbers.beta, &rollouts, &config);
        numbers.step = step + 1;
        metrics.put("time/step_s", started.elapsed().as_secs_f64());
        metrics.put_memory(device);

        let stop = config.run.stops_after(step + 1);
        let looks = (step + 1) % config.eval.eval_every == 0 || step + 1 == config.steps;
        let mut is_best = false;
        if looks {
            let (accuracy, _) = greedy_accuracy(&trainer.policy(), &validation, &trainer.rollout.sampling)?;
            metrics.put("validation/maj@1", accuracy);
            curve.push(accuracy);
            is_best = numbers.best.is_none_or(|best| accuracy > best);
            numbers.best = Some(numbers.best.map_or(accuracy, |best| best.max(accuracy)));
            progress.say(&line(step + 1, &metrics, &curve));
        }
        run.log(&metrics)?;
        // A stop between two looks makes a checkpoint but no look: the resumed run is the one that never stopped.
        if looks || stop {
            trainer.checkpoint(&run, Reason::of(looks, is_best), numbers)?;
            if stop && step + 1 < config.steps {
                return Err(run.interruption());
            }
        }
        progress.note(note(&metrics));
        progress.advance(1);
    }
    drop(progress);
    table.after(&run, before.as_ref(), &trainer.rollout.sampling.prompting)?;
    Ok(finish(&run))
}

/// The moving parts of a run.
struct Trainer {
    model: ActorCritic,
    reference: Transformer,
    optimizer: Adam,
    tokenizer: data::Tokenizer,
    rollout: RolloutConfig,
    curriculum: Curriculum,
    computing: Computing,
    /// What is trained of the policy, where that is not all of it.
    adapters: Option<Adapters>,
    /// Updates in a row whose loss was not finite, up to the last one.
    failures: usize,
}

impl Trainer {
    /// Samples, grades and looks.
    fn experience(
        &self,
        problems: &[Problem],
        places: &[usize],
        step: usize,
        config: &PpoConfig,
        metrics: &mut Metrics,
    ) -> Result<Vec<Rollout>> {
        let started = Instant::now();
        let asked = places.iter().map(|&place| {
            let problem = &problems[place];
            let lines = data::steps(&problem.solution).len();
            let given = self.curriculum.given_lines(&config.curriculum, step, config.steps, lines);
            Asked { problem, place, beginning: beginning(problem, given) }
        });
        let asked: Vec<Asked<'_>> = asked.collect();
        let (mut rollouts, stats) = sample_rollouts(&self.policy(), &asked, step, &self.rollout)?;
        if config.curriculum.curriculum == CurriculumKind::Backtracking {
            let lines = |text: &str| data::steps(text).len();
            let given: usize = asked.iter().map(|question| lines(question.beginning)).sum();
            let all: usize = asked.iter().map(|question| lines(&question.problem.solution)).sum();
            metrics.put("curriculum/given", given as f64 / all.max(1) as f64);
        }
        let sampled = started.elapsed().as_secs_f64();
        look(
            &mut rollouts,
            &self.model,
            &self.reference,
            config.temperature,
            config.run.compute.micro_batch,
            self.computing.threads,
        );
        diagnostics::of_rollouts(&rollouts, config.reward.answer_weight, metrics);
        let k3 = metrics.get("kl/k3").unwrap_or(0.0);
        check_divergence(k3, step <= config.critic_warm_up(), self.has_short_products(config))?;
        metrics.put("padding", padding_share(&rollouts, config.run.compute.micro_batch));
        metrics.put("time/rollout_s", sampled);
        metrics.put("time/look_s", started.elapsed().as_secs_f64() - sampled);
        metrics.put("rollout/tokens_per_s", stats.new_tokens as f64 / sampled);
        Ok(rollouts)
    }

    /// Several passes over the rollouts of a step; how much the tokens of each question surprised, as [`Judgement::surprise`].
    fn update(
        &mut self,
        rollouts: &[Rollout],
        step: usize,
        beta: f64,
        config: &PpoConfig,
        metrics: &mut Metrics,
    ) -> Result<Vec<f64>> {
        let started = Instant::now();
        let Judgement { advantages, returns, surprise } = judge(rollouts, beta, config);
        let rates = Rates::of_step(step, config);
        let mut stats = PolicyStats::default();
        let mut skipped = 0;
        for epoch in 0..config.ppo_epochs {
            let key = Key::new(config.run.seed, Purpose::Shuffle).with(step as u64).with(epoch as u64);
            for mini_batch in permutation(rollouts.len(), key).chunks(config.mini_batch) {
                let parts: Vec<Sample<'_>> = mini_batch
                    .iter()
                    .map(|&i| Sample { rollout: &rollouts[i], advantages: &advantages[i], returns: &returns[i] })
                    .collect();
                let seen = self.mini_batch(&parts, &rates, config);
                if stats.updates == 0 {
                    check_first_ratio(&seen, self.has_short_products(config))?;
                }
                skipped += usize::from(!seen.is_finite());
                self.failures = if seen.is_finite() { 0 } else { self.failures + 1 };
                ensure!(self.failures < 3, "the loss was not finite in 3 updates in a row; lower --learning-rate");
                stats.add(&seen);
            }
        }
        stats.write(metrics);
        metrics.put("loss/skipped", skipped as f64);
        metrics.put("kl/coefficient", beta);
        metrics.put("learning_rate", rates.policy.unwrap_or(0.0));
        if config.has_critic() {
            metrics.put("value/explained_variance", diagnostics::explained_variance(rollouts, &returns));
        }
        metrics.put("time/update_s", started.elapsed().as_secs_f64());
        Ok(surprise)
    }

    fn has_short_products(&self, config: &PpoConfig) -> bool {
        config.run.compute.dtype == Compute::Bf16 || model::has_short_products(&self.model.policy.device())
    }

    /// One optimiser step.
    fn mini_batch(&mut self, samples: &[Sample<'_>], rates: &Rates, config: &PpoConfig) -> PolicyStats {
        let total = response_tokens(samples);
        // What is left of a pass moves the weights by no more than its share of a mini-batch.
        let share = samples.len() as f64 / config.mini_batch as f64;
        let parts = micro_batches(samples, config.run.compute.micro_batch);
        let gradients = gradients(&self.model, &parts, self.computing, |model, indices| {
            let rows: Vec<&Sample<'_>> = indices.iter().map(|&index| &samples[index]).collect();
            let device = model.policy.device();
            let padded = pad(&rows, &device);
            let (scored, values) = score_with_values(model, &padded, config.temperature);
            let old_log_probs = flat(rows.iter().map(|row| row.rollout.log_probs.as_slice()), &device);
            let advantages = flat(rows.iter().map(|row| row.advantages), &device);
            let old_values = flat(rows.iter().map(|row| row.rollout.values.as_slice()), &device);
            let returns = flat(rows.iter().map(|row| row.returns), &device);
            let policy_loss = ppo_policy(scored.log_probs.clone(), old_log_probs, advantages, config.epsilon, total);
            let value_loss = match config.has_critic() {
                true => ppo_value(values, old_values, returns, config.value_clip, total),
                false => policy_loss.zeros_like(),
            };
            let told = [scored.log_probs, policy_loss.clone(), value_loss.clone()].map(Tensor::inner);
            let old: Vec<f32> = rows.iter().flat_map(|row| row.rollout.log_probs.iter().copied()).collect();
            let value_loss = value_loss.mul_scalar(config.value_weight);
            let loss = match (rates.policy.is_some(), config.has_critic()) {
                (true, true) => policy_loss + value_loss,
                (true, false) => policy_loss,
                (false, _) => value_loss,
            };
            let loss = if share < 1.0 { loss.mul_scalar(share) } else { loss };
            (loss, move || PolicyStats::of(told, &old, config.epsilon as f32))
        });
        let mut stats = PolicyStats { share, ..PolicyStats::of_parts(&gradients.reports, total) };
        // A step whose loss is not finite changes nothing, and is counted.
        if stats.is_finite() {
            let rate_of =
                |path: &str| if path.starts_with("value.") { rates.value } else { rates.policy.unwrap_or(0.0) };
            let threads = self.computing.threads;
            let (model, grad_norm) = self.optimizer.step(self.model.clone(), gradients.params, &rate_of, threads);
            self.model = model;
            stats.grad_norm = grad_norm;
        }
        stats
    }

    fn policy(&self) -> Policy {
        Policy { model: merged(&self.model.policy), tokenizer: self.tokenizer.clone(), conditioning: None }
    }

    fn checkpoint(&self, run: &Run, reason: Reason, numbers: PpoNumbers) -> Result<PathBuf> {
        let state = TrainerState { numbers, optimizer: self.optimizer.to_tensors() };
        // The weights are those that sample, adapters added; these lie beside them, to go on from.
        run.checkpoint(numbers.step, reason, &merged(&self.model.policy), &self.tokenizer, &state, |folder| {
            if let Some(adapters) = &self.adapters {
                adapters.save(folder, &self.model.policy)?;
            }
            fs::write(folder.join(CURRICULUM), serde_json::to_vec(&self.curriculum)?)?;
            save_value_branch(&folder.join("trainer/value.safetensors"), &self.model.value, &self.model.policy.config)
        })
    }
}

/// The learning rates of a step. The critic starts from nothing and is not bound to a reference: it learns first, and
/// faster.
struct Rates {
    /// `None` while the critic learns alone.
    policy: Option<f64>,
    value: f64,
}

impl Rates {
    fn of_step(step: usize, config: &PpoConfig) -> Self {
        let steps = config.steps;
        let policy = step.checked_sub(config.critic_warm_up()).map(|step| {
            let steps = steps.saturating_sub(config.critic_warm_up());
            learning_rate(step, steps, config.warm_up, config.learning_rate, config.final_learning_rate)
        });
        Self { policy, value: learning_rate(step, steps, 1, config.value_learning_rate, config.final_learning_rate) }
    }
}

/// A rollout with what PPO made of its rewards.
struct Sample<'a> {
    rollout: &'a Rollout,
    advantages: &'a [f32],
    returns: &'a [f32],
}

impl Row for Sample<'_> {
    fn tokens(&self) -> &[u32] {
        &self.rollout.tokens
    }

    fn prompt_len(&self) -> usize {
        self.rollout.prompt_len
    }
}

/// What a step learns from its rollouts; the rows of the first two have an entry a token.
struct Judgement {
    advantages: Vec<Vec<f32>>,
    returns: Vec<Vec<f32>>,
    /// Mean absolute advantage of the tokens of each question, before whitening.
    surprise: Vec<f64>,
}

/// Advantages and returns of every rollout, the price of divergence in the rewards. Those of a critic are whitened.
fn judge(rollouts: &[Rollout], beta: f64, config: &PpoConfig) -> Judgement {
    let penalised = |r: &Rollout| with_kl_penalty(&r.rewards, &r.log_probs, &r.ref_log_probs, beta as f32);
    let (mut advantages, returns): (Vec<Vec<f32>>, Vec<Vec<f32>>) = match config.advantage {
        AdvantageKind::Gae => {
            let of_rollout = |rollout: &Rollout| {
                let result = gae(&penalised(rollout), &rollout.values, config.gamma, config.lambda);
                (result.advantages, result.returns)
            };
            rollouts.iter().map(of_rollout).unzip()
        }
        AdvantageKind::Group | AdvantageKind::Rloo => {
            // The samples of a question stand together.
            let compared = rollouts.chunks(config.samples).flat_map(|question| {
                let rewards: Vec<f32> = question.iter().map(|rollout| rollout.rewards.iter().sum()).collect();
                let totals: Vec<f32> = question.iter().map(|rollout| penalised(rollout).iter().sum()).collect();
                let prices: Vec<f32> = totals.iter().zip(&rewards).map(|(total, reward)| total - reward).collect();
                if config.advantage == AdvantageKind::Group { group(&rewards, &prices) } else { leave_one_out(&totals) }
            });
            let row = |value: f32, rollout: &Rollout| vec![value; rollout.response_len()];
            compared.zip(rollouts).map(|(value, rollout)| (row(value, rollout), row(0.0, rollout))).unzip()
        }
    };
    let surprise = advantages.chunks(config.samples).map(mean_absolute).collect();
    if config.has_critic() {
        whiten(&mut advantages);
    }
    Judgement { advantages, returns, surprise }
}

fn mean_absolute(rows: &[Vec<f32>]) -> f64 {
    let count = rows.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    rows.iter().flatten().map(|&x| f64::from(x.abs())).sum::<f64>() / count
}

fn next_beta(beta: f64, rollouts: &[Rollout], config: &PpoConfig) -> f64 {
    let Some(target) = config.kl_target else { return beta };
    let kl = diagnostics::kl_per_completion(rollouts);
    adapted_beta(beta, kl, target, rollouts.len(), config.kl_horizon)
}

/// Whatever the policy is, its divergence from the reference is none below 0, and before its first update there is none at all
/// (`numerics` 2): both are the model that the run starts from.
fn check_divergence(k3: f64, untrained: bool, short_products: bool) -> Result<()> {
    let tolerance = if short_products { RATIO_TOLERANCE_SHORT } else { RATIO_TOLERANCE };
    // k3 is half of the square, near 1. What is not finite is the loss's to tell.
    let [least, most] = [-1e-9, if untrained { f64::from(tolerance).powi(2) / 2.0 } else { f64::INFINITY }];
    ensure!(
        k3.is_nan() || (least..=most).contains(&k3),
        "the divergence from the reference (k3) is {k3:.1e} nats a token {}: policy and reference are not read in the same way, or are \
         not the same model",
        if untrained { "before the policy's first update" } else { "and cannot be below 0" }
    );
    Ok(())
}

/// Before the first update of a step the policy is the one that was looked at: every ratio is 1 (`numerics` 1). Of short products their
/// root mean square distance from it is asked: in bf16 the rounding of thirty blocks moves some tokens by 0.15, and all by 0.04
/// (SmolLM2-135M, SVAMP, temperature 1), where rows that are read in other company round otherwise. Rows out of step are off by far more.
fn check_first_ratio(seen: &PolicyStats, short_products: bool) -> Result<()> {
    let (distance, tolerance) = if short_products {
        // k3 is half of the square, near 1.
        ((2.0 * seen.old_kl).sqrt() as f32, RATIO_TOLERANCE_SHORT)
    } else {
        ((seen.max_ratio - 1.0).max(1.0 - seen.min_ratio), RATIO_TOLERANCE)
    };
    // What is not finite is the next one's to tell.
    ensure!(
        distance.is_nan() || distance <= tolerance,
        "a ratio to the old policy is {distance:.1e} away from 1 before any update: the training pass and the look \
         disagree about the policy"
    );
    Ok(())
}

fn line(step: usize, metrics: &Metrics, curve: &[f64]) -> String {
    let get = |name: &str| metrics.get(name).unwrap_or(f64::NAN);
    format!(
        "ppo step {step:>4}  samples {:>6}  reward {:.3}  kl {:.4}  validation maj@1 {:.3}  {}",
        get("samples"),
        get("reward/mean"),
        get("kl/k3"),
        get("validation/maj@1"),
        sparkline(curve)
    )
}

fn note(metrics: &Metrics) -> String {
    let get = |name: &str| metrics.get(name).unwrap_or(f64::NAN);
    format!("reward {:.3} · kl {:.4} · entropy {:.3}", get("reward/mean"), get("kl/k3"), get("entropy"))
}

#[cfg(test)]
mod tests;
