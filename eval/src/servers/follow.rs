//! How the weights of a policy get to servers, and how it is seen that they did: by trial weights before the first ones, by a probe after
//! each update, and by some samples of every call.

use super::{
    connection::Refusal,
    pool::{Pool, ServerFailure},
    probe::{Gap, Reading, closer},
    server::{Current, Server, Status, lock, salt},
    weights::{Payload, Trial, WeightUpdate},
};
use crate::{external::pause, models::policy::Policy};
use anyhow::{Result, anyhow, bail};
use model::{Transformer, checksum};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// Prompts of a probe.
const PROBE_PROMPTS: usize = 4;
/// Checksums from here on are those of adapters.
const ADAPTERS_FROM: u64 = 1 << 32;
/// How far the policy's log-probabilities are from those of a server with trial weights at least, in nats per token in the mean.
const TRIAL_EFFECT: f64 = 0.5;
/// How far those of the trial weights may be from the server's, as a share of that.
const TRIAL_SHARE: f64 = 0.25;

impl Pool {
    /// As [`Servers::follow`], on the first rank.
    pub(super) fn follow(&self, policy: &Policy, prompts: &[Vec<u32>]) -> Result<bool> {
        let has_adapter = self.update == WeightUpdate::Adapter && policy.adapter.is_some();
        let weights = u64::from(checksum(&policy.model)) + if has_adapter { ADAPTERS_FROM } else { 0 };
        let known = lock(&self.current).clone();
        let starts = known.started_with.is_none_or(|first| first == weights);
        let (mut current, payload) = match self.update {
            WeightUpdate::Weights => (Current { weights, ..known }, Payload::of(policy, false)),
            WeightUpdate::Adapter if has_adapter => {
                (Current { weights, is_adapter: true, ..known }, Payload::of(policy, true))
            }
            WeightUpdate::Adapter | WeightUpdate::Fixed if starts => {
                let started_with = Some(weights);
                (Current { weights, folder: None, is_adapter: false, started_with }, None)
            }
            WeightUpdate::Adapter | WeightUpdate::Fixed => {
                if !self.is_said.swap(true, Ordering::Relaxed) {
                    tracing::warn!("policies that the servers do not have are sampled here");
                }
                return Ok(false);
            }
        };
        let outdated: Vec<&Server> =
            self.servers.iter().filter(|server| lock(&server.status).holds != Some(weights)).collect();
        if outdated.is_empty() {
            *lock(&self.current) = current;
            return Ok(true);
        }
        let prompts = probe_prompts(prompts);
        if let Some(payload) = &payload {
            self.try_out(&outdated, policy, payload, &current, &prompts)?;
            current.folder = Some(lock(&self.folder).write(payload, policy)?);
        }
        *lock(&self.current) = current;
        self.for_some(&outdated, |server| self.take(server, &mut lock(&server.status), &policy.model, &prompts))?;
        Ok(true)
    }

    /// Sends trial weights to servers that have taken none yet, and sees whether they write with them.
    fn try_out(
        &self,
        servers: &[&Server],
        policy: &Policy,
        payload: &Payload,
        current: &Current,
        prompts: &[&[u32]],
    ) -> Result<()> {
        let context = policy.model.config.max_position_embeddings;
        for times in [1.0, 4.0, 16.0] {
            let untried = |server: &&Server| !lock(&server.status).is_tried;
            let new: Vec<&Server> = servers.iter().copied().filter(untried).collect();
            if new.is_empty() {
                return Ok(());
            }
            new.iter().for_each(|server| lock(&server.status).holds = None);
            let is_unclear = AtomicBool::new(false);
            let Some(Trial { payload, model }) = Trial::of(policy, payload, prompts, times) else { return Ok(()) };
            let folder = Some(lock(&self.folder).write(&payload, policy)?);
            let trial = Current { folder, weights: u64::from(checksum(&model)), ..current.clone() };
            self.for_some(&new, |server| {
                server.load(&trial)?;
                let written = server.sample(&trial, context, prompts)?;
                let gap = |model: &Transformer| closer(model, &written).0.mean();
                let (of_trial, of_policy) = (gap(&model), gap(&policy.model));
                tracing::info!("{}: {of_trial:.4} nats per token from trial weights, {of_policy:.4} from the policy", server.name());
                if of_trial.is_nan() || of_trial > self.settings.tolerance.max(TRIAL_SHARE * of_policy) {
                    return Err(Refusal::lasting(format!(
                        "did not take the weights that it was sent: its log-probabilities differ from theirs by {of_trial:.3} nats per token, and from the policy's by {of_policy:.3}"
                    )));
                }
                // Of weights that write the same as the policy nothing can be seen: others are tried.
                let shows = of_policy >= TRIAL_EFFECT;
                lock(&server.status).is_tried = shows;
                is_unclear.fetch_or(!shows, Ordering::Relaxed);
                Ok(())
            })?;
            if !is_unclear.into_inner() {
                return Ok(());
            }
        }
        tracing::warn!("trial weights write the same as the policy: nothing shows whether the servers take weights");
        Ok(())
    }

    /// Has a server take the current weights, and sees whether it writes with them.
    fn take(
        &self,
        server: &Server,
        status: &mut Status,
        model: &Transformer,
        prompts: &[&[u32]],
    ) -> Result<(), Refusal> {
        let current = lock(&self.current).clone();
        server.load(&current)?;
        let written = server.sample(&current, model.config.max_position_embeddings, prompts)?;
        let (gap, is_raw) = closer(model, &written);
        tracing::info!("{}: {}, {:.4} nats per token off", server.name(), salt(&current), gap.mean());
        self.check_gap(gap).map_err(Refusal::lasting)?;
        (status.holds, status.is_raw) = (Some(current.weights), is_raw);
        Ok(())
    }

    /// Refuses weights that are others.
    fn check_gap(&self, gap: Gap) -> Result<(), String> {
        let (mean, limit) = (gap.mean(), self.settings.tolerance);
        if mean > limit || mean.is_nan() {
            return Err(format!(
                "does not write with the weights of the policy: its log-probabilities differ by {mean:.3} nats per token (--rollout-tolerance {limit})"
            ));
        }
        if mean > limit / 2.0 {
            tracing::warn!("the log-probabilities of a server differ from the policy's by {mean:.3} nats per token");
        }
        Ok(())
    }

    /// Does something with each of some servers at the same time. Those that cannot be reached are left out, as long as others can.
    fn for_some(&self, servers: &[&Server], work: impl Fn(&Server) -> Result<(), Refusal> + Sync) -> Result<()> {
        let work = &work;
        let mut attempts = 0;
        loop {
            let outcomes: Vec<Result<(), Refusal>> = thread::scope(|scope| {
                let threads: Vec<_> = servers.iter().map(|server| scope.spawn(move || work(server))).collect();
                threads.into_iter().map(|thread| thread.join().expect("no request panics")).collect()
            });
            let mut lost = Vec::new();
            for (server, outcome) in servers.iter().zip(outcomes) {
                match outcome {
                    Ok(()) => {}
                    Err(refusal) if refusal.is_passing => lost.push(format!("{} {}", server.name(), refusal.what)),
                    Err(refusal) => bail!("{} {}", server.name(), refusal.what),
                }
            }
            if lost.len() < self.servers.len() {
                lost.iter().for_each(|what| tracing::warn!("{what}: the others sample without it"));
                return Ok(());
            }
            attempts += 1;
            if attempts > self.settings.retries {
                return Err(ServerFailure::of(lost.join("; ")).into());
            }
            thread::sleep(pause(attempts));
        }
    }

    /// Sees to it that a server has the current weights: one that was lost may have been started again with others.
    pub(super) fn ready(&self, server: &Server, policy: &Policy) -> Result<(), Refusal> {
        let mut status = lock(&server.status);
        let weights = lock(&self.current).weights;
        if status.holds == Some(weights) {
            return Ok(());
        }
        let prompt = policy.tokenizer.encode("Question: 1 and 2?");
        self.take(server, &mut status, &policy.model, &[prompt.as_slice(); PROBE_PROMPTS])
    }

    /// Compares some of what each server wrote with the policy.
    pub(super) fn check(&self, policy: &Policy, of_servers: &[Vec<Reading>], temperature: f64) -> Result<()> {
        for (server, readings) in self.servers.iter().zip(of_servers) {
            if readings.is_empty() {
                continue;
            }
            let at = if lock(&server.status).is_raw { 1.0 } else { temperature };
            let gap = Gap::of(&policy.model, readings, at);
            let mut all = lock(&self.gap);
            *all = Some(all.map_or(gap, |all| all.and(gap)));
            self.check_gap(gap).map_err(|what| anyhow!("{} {what}", server.name()))?;
        }
        Ok(())
    }
}

/// The prompts of a probe: few, and different ones.
fn probe_prompts(prompts: &[Vec<u32>]) -> Vec<&[u32]> {
    let step = prompts.len().div_ceil(PROBE_PROMPTS).max(1);
    prompts.iter().step_by(step).map(Vec::as_slice).collect()
}
