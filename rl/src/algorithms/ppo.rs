//! Proximal policy optimisation on answers that can be checked (Schulman et al. 2017; Havrilla et al. 2024, section on PPO).
//!
//! A step samples K solutions of some questions, rewards them, computes log-probabilities and values with policy,
//! reference and critic in one pass without gradients, and then makes several passes over them with the clipped losses
//! of `objective/loss.rs`. Where we deviate from the paper: small models are fine-tuned in full (unless `--lora-rank` says
//! otherwise) at a larger learning rate; only the critic is trained in the first steps; questions whose samples
//! all have the same reward are left out of the updates (`--filter-groups=false` keeps them); λ is 1, not 0.95, because
//! solutions are short; the critic's branch is one block of four, not four of thirty-two. Losses are means over the
//! tokens of an update, also with `--advantage group`, where GRPO takes the mean of each sample first. Where
//! `--mini-batch` does not divide the samples of a step, the loss of the rest is multiplied by its share of a
//! mini-batch; elsewhere such a rest is refused (verl), dropped, or a full step.
//!
//! What the calculator writes (`--calculator`) is text of the environment: policy, reference and critic read it as part of the state, and
//! it has no ratio, KL penalty, value, advantage, loss or statistic of its own. GAE goes from the token before to the token after it, so that
//! γ and λ count chosen tokens, and a reward that lies on it is earned by the last chosen token before it.

mod advantages;
mod alarms;
mod checks;
mod config;
pub mod diagnostics;
mod schedules;
mod stage;
mod start;

use crate::{
    algorithms::final_table::FinalTable,
    objective::advantage::whiten,
    objective::loss::{ppo_policy, ppo_value},
    run::comes_from_outside,
    run::metrics::Metrics,
    run::stops_after,
    run::{Reason, Run, TrainerState},
    sampling::curriculum::{CurriculumKind, solution_prefix},
    sampling::problems::Problems,
    sampling::rollout::{Query, Rollout, Sampled, log_probs_pass, sample_completions},
    training::batch::{Row, flat, micro_batches, pad, padding_share, response_tokens},
    training::optim::gradients,
    training::order::permutation,
    view::html::write_final_report,
    view::progress::{Progress, sparkline},
};
use anyhow::{Result, ensure};
use burn::{optim::GradientsParams, tensor::Tensor};
use data::Problem;
use eval::external::RewardClient;
use eval::{Policy, RewardModel, Sample, greedy_accuracy, policy::Adapter};
use model::{ActorCritic, Device, Dtype, Key, Purpose, ScoreKind, merged, save_value_branch, score_with_values};
use std::{
    collections::HashSet,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    time::Instant,
};

use advantages::{StepAdvantages, compute_advantages, mixed_groups, weight_by_importance};
use alarms::{Alarm, Health};
use checks::{check_divergence, check_first_ratio, check_server_log_probs};
use diagnostics::{RolloutStats, ServerStats, UpdateStats};
use schedules::{Rates, next_beta};
use start::{ALARMS, CURRICULUM, PpoNumbers, Start, Trainer, start};

pub use config::{PpoConfig, check, dry_run, lock_run};
pub use stage::{PpoStageArgs, Whole};

/// Trains, evaluates before and after on the test split, and writes a run directory; returns its path. The reference of the KL penalty is
/// `reference`, or `init` where none is given.
///
/// # Errors
/// An `init`, `reference` or `orm` that cannot be used, a full disk, an interrupt, losses that are not finite, a ratio or KL divergence that is
/// impossible.
pub fn train(
    config: &PpoConfig,
    init: &Path,
    reference: Option<&Path>,
    orm: Option<&Path>,
    problems: &Problems,
    device: &Device,
) -> Result<PathBuf> {
    let start = start(config, init, (reference, orm), problems, device)?;
    let Start { config, mut trainer, mut run, initial, mut numbers } = start;
    config::warn(&config);
    let (train, validation) = (problems.train()?, problems.validation(config.eval.eval_problems)?);
    let table = FinalTable { problems, eval: &config.eval, run_args: &config.run, device };
    let initial_report =
        table.evaluate_initial(&mut run, || Ok(initial.clone()), &trainer.rollout.sampling.prompting)?;
    let progress = Progress::new(config.steps, "ppo", "steps", config.run.quiet);
    progress.start_at(numbers.step);
    let mut curve = Vec::new();
    for step in numbers.step..config.steps {
        let started = Instant::now();
        let mut metrics = Metrics::for_step(step + 1);
        let (args, seed) = (&config.curriculum, config.run.seed);
        let chosen_before = trainer.curriculum.clone();
        let questions = trainer.curriculum.choose(args, train.len(), config.questions, step, seed);
        let collected = trainer.collect_rollouts(train, &questions, step, &config, &mut metrics);
        let Collected { samples, rollouts, stats: rollout_stats, servers } = match collected {
            // Rewards and samples that come from outside may come again when the run is resumed.
            Err(error) if comes_from_outside(&error) => {
                trainer.curriculum = chosen_before;
                trainer.checkpoint(&run, Reason::of(false, false), numbers)?;
                return Err(run.with_resume(error));
            }
            collected => collected?,
        };
        numbers.samples += samples.len();
        metrics.put_count("samples", numbers.samples);
        run.write_samples(&samples)?;
        let Updated { mean_abs_advantages, stats: update_stats, explained_variance } =
            trainer.update(&rollouts, step, numbers.beta, &config, &mut metrics)?;
        trainer.curriculum.update(args, &questions, &mean_abs_advantages, rollout_stats.accuracy, step);
        let alarms = trainer.alarms.watch(Health::of(&rollout_stats, &update_stats, explained_variance, servers));
        let alarm = announce(&alarms, step + 1, &mut metrics);
        numbers.beta = next_beta(numbers.beta, rollout_stats.kl_per_completion, samples.len(), &config);
        numbers.step = step + 1;
        metrics.put("time/step_s", started.elapsed().as_secs_f64());
        metrics.put_memory(device);

        let ending = alarm.filter(|_| config.strict);
        let stop = ending.is_some() || stops_after(&config.run, step + 1);
        let evaluates = (step + 1) % config.eval.eval_every == 0 || step + 1 == config.steps;
        let mut is_best = false;
        if evaluates {
            let (accuracy, _) = greedy_accuracy(&trainer.policy(), validation, &trainer.rollout.sampling)
                .map_err(|error| run.with_resume(error))?;
            metrics.put("validation/maj@1", accuracy);
            curve.push(accuracy);
            is_best = numbers.best.is_none_or(|best| accuracy > best);
            numbers.best = Some(numbers.best.map_or(accuracy, |best| best.max(accuracy)));
            progress.print_above(&line(step + 1, numbers.samples, &rollout_stats, &curve));
        }
        run.log(&metrics)?;
        // A stop between two evaluations makes a checkpoint and evaluates nothing: the resumed run equals one that never stopped.
        if evaluates || stop {
            trainer.checkpoint(&run, Reason::of(evaluates, is_best), numbers)?;
            if let Some(alarm) = ending {
                return Err(run.interruption().context(alarm));
            }
            if stop && step + 1 < config.steps {
                return Err(run.interruption());
            }
        }
        progress.set_message(note(&rollout_stats));
        progress.advance(1);
    }
    drop(progress);
    table.evaluate_best(&run, initial_report.as_ref(), &trainer.rollout.sampling.prompting)?;
    Ok(write_final_report::<PpoConfig>(&run))
}

/// Warns of the alarms of a step, and adds them to its metrics; all that is said of them, if there are some.
fn announce(alarms: &[(Alarm, String)], step: usize, metrics: &mut Metrics) -> Option<String> {
    for (alarm, _) in alarms {
        metrics.put(&format!("alarm/{}", alarm.name()), 1.0);
    }
    let sentences: Vec<&str> = alarms.iter().map(|(_, sentence)| &**sentence).collect();
    let said = (!alarms.is_empty()).then(|| format!("alarm at step {step}: {}", sentences.join("; ")))?;
    tracing::warn!("{said}");
    Some(said)
}

impl Trainer {
    /// Samples completions of the chosen questions, rewards them and computes log-probabilities and values of those that the step updates on,
    /// or of all of them where a curriculum scores questions by their advantages.
    fn collect_rollouts(
        &self,
        problems: &[Problem],
        questions: &[usize],
        step: usize,
        config: &PpoConfig,
        metrics: &mut Metrics,
    ) -> Result<Collected> {
        let started = Instant::now();
        let line_count = |text: &str| data::steps(text).len();
        let query = |&index: &usize| {
            let problem = &problems[index];
            let all = line_count(&problem.solution);
            let lines = self.curriculum.prefix_lines(&config.curriculum, step, config.steps, all);
            Query { problem, index, prefix: solution_prefix(problem, lines) }
        };
        let queries: Vec<Query<'_>> = questions.iter().map(query).collect();
        let checking = self.rollout.sampling.checker.as_ref().map(|checker| &checker.client);
        let clients = || self.rollout.external.iter().chain(checking);
        let waited = || clients().map(RewardClient::waited).reduce(|one, other| one + other);
        let waited_before = waited();
        let (sampled, speed) = sample_completions(&self.policy(), &queries, step, &self.rollout)?;
        if self.rollout.sampling.servers.is_some() {
            check_server_log_probs(&sampled)?;
        }
        if let (Some(before), Some(after)) = (waited_before, waited()) {
            metrics.put("time/reward_wait_s", (after - before).as_secs_f64());
        }
        if config.curriculum.curriculum == CurriculumKind::Backtracking {
            let in_prefixes: usize = queries.iter().map(|query| line_count(query.prefix)).sum();
            let all: usize = queries.iter().map(|query| line_count(&query.problem.solution)).sum();
            metrics.put("curriculum/given", in_prefixes as f64 / all.max(1) as f64);
        }
        let sampling_s = started.elapsed().as_secs_f64();
        let samples: Vec<Sample> = sampled.iter().map(|sampled| sampled.sample.clone()).collect();
        let (mut kept, mut left_out) = (sampled, Vec::new());
        if config.filter_groups {
            let mixed = mixed_groups(kept.iter(), config.samples);
            metrics.put("groups/used", mixed.len() as f64 / kept.len() as f64);
            if config.curriculum.curriculum != CurriculumKind::Plr {
                let is_mixed: HashSet<usize> = mixed.into_iter().collect();
                let (of_mixed, rest): (Vec<_>, Vec<_>) =
                    kept.into_iter().enumerate().partition(|(place, _)| is_mixed.contains(place));
                let alone = |part: Vec<(usize, Sampled)>| part.into_iter().map(|(_, sampled)| sampled).collect();
                (kept, left_out) = (alone(of_mixed), alone(rest));
            }
        }
        let rollouts = log_probs_pass(
            kept,
            &self.model,
            &self.reference,
            config.temperature,
            config.run.compute.micro_batch,
            self.gradients.threads,
        );
        let servers = ServerStats::of(&rollouts, config.importance_clip());
        if let Some(stats) = &servers {
            stats.write(metrics);
        }
        let stats = RolloutStats::new(&rollouts, &left_out, config.reward.answer_weight);
        let score = self.rollout.reward_model.as_ref().map_or(ScoreKind::Logit, RewardModel::kind);
        stats.write(metrics, score);
        check_divergence(
            stats.k3,
            self.starts_at_reference && step <= config.critic_warm_up(),
            self.has_short_products(config),
        )?;
        metrics.put("padding", padding_share(&rollouts, config.run.compute.micro_batch));
        metrics.put("time/rollout_s", sampling_s);
        metrics.put("time/log_probs_s", started.elapsed().as_secs_f64() - sampling_s);
        metrics.put("rollout/tokens_per_s", speed.new_tokens as f64 / sampling_s);
        Ok(Collected { samples, rollouts, stats, servers })
    }

    /// Makes several passes over the rollouts of a step.
    fn update(
        &mut self,
        rollouts: &[Rollout],
        step: usize,
        beta: f64,
        config: &PpoConfig,
        metrics: &mut Metrics,
    ) -> Result<Updated> {
        let started = Instant::now();
        let StepAdvantages { advantages: mut all, returns, mean_abs } = compute_advantages(rollouts, beta, config);
        let used = if config.filter_groups {
            mixed_groups(rollouts.iter().map(|rollout| &rollout.sampled), config.samples)
        } else {
            (0..rollouts.len()).collect()
        };
        let mut advantages: Vec<Vec<f32>> = used.iter().map(|&place| std::mem::take(&mut all[place])).collect();
        if config.has_critic() {
            whiten(&mut advantages);
        }
        weight_by_importance(&mut advantages, used.iter().map(|&place| &rollouts[place]), config.importance_clip());
        let rates = Rates::of_step(step, config);
        let mut stats = UpdateStats::default();
        let mut skipped = 0;
        for epoch in 0..config.ppo_epochs {
            let key = Key::new(config.run.seed, Purpose::Shuffle).with(step as u64).with(epoch as u64);
            for mini_batch in permutation(used.len(), key).chunks(config.mini_batch) {
                let row = |&i: &usize| UpdateRow {
                    rollout: &rollouts[used[i]],
                    advantages: &advantages[i],
                    returns: &returns[used[i]],
                };
                let rows: Vec<UpdateRow<'_>> = mini_batch.iter().map(row).collect();
                let update = self.update_on_mini_batch(&rows, &rates, config);
                if stats.updates == 0 {
                    check_first_ratio(&update, self.has_short_products(config))?;
                }
                skipped += usize::from(!update.is_finite());
                self.failures = if update.is_finite() { 0 } else { self.failures + 1 };
                ensure!(self.failures < 3, "the loss was not finite in 3 updates in a row; lower --learning-rate");
                stats.add(&update);
            }
        }
        stats.write(metrics);
        metrics.put("loss/skipped", skipped as f64);
        metrics.put("kl/coefficient", beta);
        metrics.put("learning_rate", rates.policy.unwrap_or(0.0));
        let explained_variance = config.has_critic().then(|| diagnostics::explained_variance(rollouts, &returns));
        if let Some(explained) = explained_variance {
            metrics.put("value/explained_variance", explained);
        }
        metrics.put("time/update_s", started.elapsed().as_secs_f64());
        Ok(Updated { mean_abs_advantages: mean_abs, stats, explained_variance })
    }

    fn has_short_products(&self, config: &PpoConfig) -> bool {
        config.run.compute.dtype == Dtype::Bf16 || model::uses_tf32(&self.model.policy.device())
    }

    /// One optimiser step on a mini-batch, skipped if its loss is not finite; returns its statistics.
    fn update_on_mini_batch(&mut self, mini_batch: &[UpdateRow<'_>], rates: &Rates, config: &PpoConfig) -> UpdateStats {
        let total = response_tokens(mini_batch);
        // A smaller rest of a pass has a weight proportional to its size.
        let share = mini_batch.len() as f64 / config.mini_batch as f64;
        let parts = micro_batches(mini_batch, config.run.compute.micro_batch);
        let gradients = gradients(&self.model, &parts, self.gradients, |model, indices| {
            let rows: Vec<&UpdateRow<'_>> = indices.iter().map(|&index| &mini_batch[index]).collect();
            let losses = Losses::of(model, &rows, total, config);
            let statistics = losses.statistics(&rows, config);
            let loss = losses.weighted_sum(rates.policy.is_some(), config);
            (if share < 1.0 { loss.mul_scalar(share) } else { loss }, statistics)
        });
        let stats = UpdateStats { share, ..UpdateStats::of_parts(&gradients.reports, total) };
        if !stats.is_finite() {
            return stats;
        }
        UpdateStats { grad_norm: self.optimizer_step(gradients.params, rates), ..stats }
    }

    /// Moves policy and critic along their gradients; returns the global gradient norm before clipping.
    fn optimizer_step(&mut self, gradients: GradientsParams, rates: &Rates) -> f64 {
        let rate_of = |path: &str| if path.starts_with("value.") { rates.value } else { rates.policy.unwrap_or(0.0) };
        let (model, grad_norm) = self.optimizer.step(self.model.clone(), gradients, &rate_of, self.gradients.threads);
        self.model = model;
        grad_norm
    }

    fn policy(&self) -> Policy {
        let adapter = self.adapters.as_ref().map(|_| Adapter::Trained(Box::new(self.model.policy.clone())));
        Policy { model: merged(&self.model.policy), tokenizer: self.tokenizer.clone(), conditioning: None, adapter }
    }

    fn checkpoint(&self, run: &Run, reason: Reason, numbers: PpoNumbers) -> Result<PathBuf> {
        let state = TrainerState { numbers, optimizer: self.optimizer.to_tensors() };
        // The checkpoint's weights have the adapters merged, for sampling; the adapters are saved beside them, for
        // resuming.
        run.checkpoint(numbers.step, reason, &merged(&self.model.policy), &self.tokenizer, &state, |folder| {
            if let Some(adapters) = &self.adapters {
                adapters.save(folder, &self.model.policy)?;
            }
            fs::write(folder.join(CURRICULUM), serde_json::to_vec(&self.curriculum)?)?;
            fs::write(folder.join(ALARMS), serde_json::to_vec(&self.alarms)?)?;
            save_value_branch(&folder.join("trainer/value.safetensors"), &self.model.value, &self.model.policy.config)
        })
    }
}

/// The losses of the rows of a micro-batch, divided by the response tokens of the mini-batch.
struct Losses {
    /// log π(a_t | s_t) of the trained policy, `[M]`.
    log_probs: Tensor<1>,
    /// Clipped policy loss, `[1]`.
    policy: Tensor<1>,
    /// Value loss, `[1]`; 0 without a critic.
    value: Tensor<1>,
}

impl Losses {
    /// `total`: response tokens of the mini-batch.
    fn of(model: &ActorCritic, rows: &[&UpdateRow<'_>], total: usize, config: &PpoConfig) -> Self {
        let device = model.policy.device();
        let padded = pad(rows, &device);
        let (scored, values) = score_with_values(model, &padded, config.temperature);
        let old_log_probs = flat(rows.iter().map(|row| row.rollout.log_probs.as_slice()), &device);
        let advantages = flat(rows.iter().map(|row| row.advantages), &device);
        let old_values = flat(rows.iter().map(|row| row.rollout.values.as_slice()), &device);
        let returns = flat(rows.iter().map(|row| row.returns), &device);
        let policy = ppo_policy(scored.log_probs.clone(), old_log_probs, advantages, config.epsilon, total);
        let value = match config.has_critic() {
            true => ppo_value(values, old_values, returns, config.value_clip, total),
            false => policy.zeros_like(),
        };
        Self { log_probs: scored.log_probs, policy, value }
    }

    /// Reads the statistics of the rows from the device, when it is called.
    fn statistics(&self, rows: &[&UpdateRow<'_>], config: &PpoConfig) -> impl FnOnce() -> UpdateStats + use<> {
        let outputs = [&self.log_probs, &self.policy, &self.value].map(|output| output.clone().inner());
        let old: Vec<f32> = rows.iter().flat_map(|row| row.rollout.log_probs.iter().copied()).collect();
        let epsilon = config.epsilon as f32;
        move || UpdateStats::of(outputs, &old, epsilon)
    }

    /// The loss that is minimised, `[1]`: L_policy + c L_value, with c of `--value-weight`; of the two, those that are trained.
    fn weighted_sum(self, trains_policy: bool, config: &PpoConfig) -> Tensor<1> {
        let value = self.value.mul_scalar(config.value_weight);
        match (trains_policy, config.has_critic()) {
            (true, true) => self.policy + value,
            (true, false) => self.policy,
            (false, _) => value,
        }
    }
}

/// What a step has sampled.
struct Collected {
    /// All samples, in their order.
    samples: Vec<Sample>,
    /// Those that have log-probabilities.
    rollouts: Vec<Rollout>,
    stats: RolloutStats,
    /// Of the inference servers that sampled, if there are some.
    servers: Option<ServerStats>,
}

/// The updates of a step.
struct Updated {
    /// The mean absolute advantage of each question.
    mean_abs_advantages: Vec<f64>,
    stats: UpdateStats,
    /// Of the critic before the updates, if there is one.
    explained_variance: Option<f64>,
}

/// A rollout with its advantages and returns.
struct UpdateRow<'a> {
    rollout: &'a Rollout,
    advantages: &'a [f32],
    returns: &'a [f32],
}

impl Row for UpdateRow<'_> {
    fn tokens(&self) -> &[u32] {
        self.rollout.tokens()
    }

    fn prompt_len(&self) -> usize {
        self.rollout.prompt_len()
    }

    fn given(&self) -> &[Range<usize>] {
        self.rollout.given()
    }
}

fn line(step: usize, samples: usize, stats: &RolloutStats, curve: &[f64]) -> String {
    format!(
        "ppo step {step:>4}  samples {samples:>6}  reward {:.3}  kl {:.4}  validation maj@1 {:.3}  {}",
        stats.reward,
        stats.k3,
        curve.last().unwrap_or(&f64::NAN),
        sparkline(curve)
    )
}

fn note(stats: &RolloutStats) -> String {
    format!("reward {:.3} · kl {:.4} · entropy {:.3}", stats.reward, stats.k3, stats.entropy)
}

#[cfg(test)]
mod tests;
