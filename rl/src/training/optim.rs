//! Gradients of a whole batch, their global norm, and the AdamW step. Independent of losses and data.

mod shared;

use crate::{
    cli::args::ComputeArgs,
    run::checkpoints::{HISTORY, check_history},
};
use anyhow::Result;
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, GradientsAccumulator, GradientsParams, Optimizer},
    tensor::{Tensor, TensorData},
};
use model::{AdamWStep, Device, HostTensor, HostTensors, Trainable, adamw, parallel_here, ranks, to_host};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;

/// How gradients are computed; the choice changes them only by rounding.
#[derive(Clone, Copy, Debug)]
pub struct GradientOptions {
    /// Number of replicas that work in parallel.
    pub threads: usize,
    /// Whether blocks are recomputed in the backward pass (gradient checkpointing).
    pub checkpointing: bool,
}

impl GradientOptions {
    /// As flags say, on a device.
    pub fn of(args: &ComputeArgs, device: &Device) -> Self {
        Self { threads: args.threads(device), checkpointing: args.gradient_checkpointing }
    }

    /// On so many threads, without gradient checkpointing.
    pub fn on(threads: usize) -> Self {
        Self { threads, checkpointing: false }
    }
}

/// Gradients of a sum of losses, and what each part of the sum reported.
pub struct Gradients<R> {
    /// By parameter id, summed over the parts.
    pub params: GradientsParams,
    /// In the order of the parts.
    pub reports: Vec<R>,
}

/// Sums the gradients of `loss` over micro-batches, on replicas of the model with a thread each, and on all ranks.
///
/// The sum is taken in the order of the micro-batches, so it is the same for any number of threads and ranks. Nothing is divided
/// here: a loss divides by the token count of the *whole* batch, so the split changes no result. The
/// report of a loss is computed after the backward pass has started, so that an asynchronous device is not blocked.
pub fn gradients<M: Trainable + Sync, T: Sync, R: Send + Serialize + DeserializeOwned, F: FnOnce() -> R>(
    model: &M,
    micro_batches: &[T],
    computing: GradientOptions,
    loss: impl Fn(&M, &T) -> (Tensor<1>, F) + Sync,
) -> Gradients<R> {
    let of_micro_batch = |model: &mut M, _, micro_batch: &T| {
        // A replica with gradients has a graph of its own, which ends with it.
        let (replica, tape) = model.replica(computing.checkpointing);
        let (loss, report) = loss(&replica, micro_batch);
        (tape.backward(&loss, &replica), report())
    };
    if ranks::ranks() > 1 {
        return shared::gradients(model, micro_batches, computing.threads, of_micro_batch);
    }
    let mut sum = GradientsAccumulator::new();
    let mut reports = Vec::with_capacity(micro_batches.len());
    parallel_here(
        micro_batches,
        computing.threads,
        || model.clone(),
        of_micro_batch,
        |_, (params, report)| {
            sum.accumulate(model, params);
            reports.push(report);
        },
    );
    Gradients { params: sum.grads(), reports }
}

/// Gradients in the order of the parameters; `None` where a parameter has none.
pub fn gradient_list<M: Module>(model: &M, gradients: &GradientsParams) -> Vec<Option<Vec<f32>>> {
    struct Visitor<'a>(&'a GradientsParams, Vec<Option<Vec<f32>>>);
    impl ModuleVisitor for Visitor<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push(self.0.get::<D>(param.id).map(|gradient| to_host(gradient).values));
        }
    }
    let mut visitor = Visitor(gradients, Vec::new());
    model.visit(&mut visitor);
    visitor.1
}

/// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) after clipping by the global norm.
///
/// The arithmetic of one tensor is burn's, in one pass where the backend has it; the states are kept by the path of the
/// parameter, so that they survive a process: burn's parameter ids do not.
pub struct Adam {
    beta_1: f32,
    beta_2: f32,
    epsilon: f32,
    weight_decay: f32,
    max_norm: f64,
    states: BTreeMap<String, AdamWState<1>>,
}

impl Adam {
    /// An optimiser without state. `max_norm` bounds the global gradient norm; 0 means no bound.
    pub fn new(beta_1: f32, beta_2: f32, epsilon: f32, weight_decay: f32, max_norm: f64) -> Self {
        Self { beta_1, beta_2, epsilon, weight_decay, max_norm, states: BTreeMap::new() }
    }

    fn burns(&self) -> AdamW {
        let config = AdamWConfig::new().with_beta_1(self.beta_1).with_beta_2(self.beta_2);
        config.with_epsilon(self.epsilon).with_weight_decay(self.weight_decay).build()
    }

    /// New weights, all `[N]`, after one step whose gradient is multiplied with `scale` first.
    fn advance(
        &mut self,
        path: &str,
        mut weights: Tensor<1>,
        gradient: Tensor<1>,
        (rate, scale): (f64, f64),
        threads: usize,
    ) -> Tensor<1> {
        let AdaptiveMomentumState { time, moment_1, moment_2, .. } = match self.states.remove(path) {
            Some(state) => state.momentum,
            None => AdaptiveMomentumState::new(0, gradient.zeros_like(), gradient.zeros_like()),
        };
        let mut moments = [moment_1, moment_2];
        let in_one_pass = AdamWStep {
            gradient_scale: scale as f32,
            beta_1: self.beta_1,
            beta_2: self.beta_2,
            epsilon: self.epsilon,
            rate: rate as f32,
            kept: (1.0 - rate * f64::from(self.weight_decay)) as f32,
            time: time as i32 + 1,
            threads,
        };
        let is_done = adamw(&mut weights, &gradient, &mut moments, in_one_pass).is_some();
        let [moment_1, moment_2] = moments;
        let state = |time| AdamWState::new(AdaptiveMomentumState::new(time, moment_1, moment_2));
        let (weights, state) = if is_done {
            (weights, state(time + 1))
        } else {
            let (weights, state) = self.burns().step(rate, weights, gradient.mul_scalar(scale), Some(state(time)));
            (weights, state.expect("AdamW always has a state"))
        };
        self.states.insert(path.to_string(), state);
        weights
    }

    /// One step; the new model and the norm of the gradients before clipping. A norm that is not finite changes nothing.
    /// `learning_rate` is called with the path of each parameter. The number of threads changes no digit.
    pub fn step<M: Module>(
        &mut self,
        model: M,
        gradients: GradientsParams,
        learning_rate: &dyn Fn(&str) -> f64,
        threads: usize,
    ) -> (M, f64) {
        let norm = global_norm(&model, &gradients);
        if !norm.is_finite() {
            return (model, norm);
        }
        let scale = if self.max_norm > 0.0 { (self.max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let mut update = Update { optimizer: self, gradients, learning_rate, scale, threads, path: Vec::new() };
        (model.map(&mut update), norm)
    }

    /// The state as named tensors: two moments and the number of steps of each parameter. The number of steps differs
    /// if a parameter was trained later than others.
    pub fn to_tensors(&self) -> HostTensors {
        let mut tensors = HostTensors::new();
        for (path, state) in &self.states {
            tensors.insert(format!("{path}.moment_1"), to_host(state.momentum.moment_1.clone()));
            tensors.insert(format!("{path}.moment_2"), to_host(state.momentum.moment_2.clone()));
            // Exact in f32 up to 16 million steps.
            let steps = HostTensor { shape: vec![1], values: vec![state.momentum.time as f32] };
            tensors.insert(format!("{path}.steps"), steps);
        }
        tensors
    }

    /// Restores the state.
    ///
    /// # Errors
    /// If a parameter lacks a moment or its number of steps.
    pub fn load_tensors(&mut self, mut tensors: HostTensors, device: &Device) -> Result<()> {
        for path in check_history(&tensors)? {
            let mut take = |part: &str| tensors.remove(&format!("{path}.{part}")).map_or_else(Vec::new, |t| t.values);
            let [moment_1, moment_2, steps] = HISTORY.map(&mut take);
            let tensor = |values: Vec<f32>| {
                let length = values.len();
                Tensor::from_data(TensorData::new(values, [length]), device)
            };
            let momentum = AdaptiveMomentumState::new(steps[0] as usize, tensor(moment_1), tensor(moment_2));
            self.states.insert(path, AdamWState::new(momentum));
        }
        Ok(())
    }
}

/// Euclidean norm of all gradients of a model taken together.
pub fn global_norm<M: Module>(model: &M, gradients: &GradientsParams) -> f64 {
    struct Norm<'a> {
        gradients: &'a GradientsParams,
        sum: Option<Tensor<1>>,
    }
    impl ModuleVisitor for Norm<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                let square = gradient.square().sum();
                self.sum = Some(match self.sum.take() {
                    Some(sum) => sum + square,
                    None => square,
                });
            }
        }
    }
    let mut norm = Norm { gradients, sum: None };
    model.visit(&mut norm);
    norm.sum.map_or(0.0, |sum| f64::from(sum.into_scalar::<f32>()).sqrt())
}

struct Update<'a> {
    optimizer: &'a mut Adam,
    gradients: GradientsParams,
    learning_rate: &'a dyn Fn(&str) -> f64,
    scale: f64,
    threads: usize,
    path: Vec<String>,
}

impl ModuleMapper for Update<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return param };
        let (id, tensor, mapper) = param.consume();
        let (shape, length) = (tensor.dims(), tensor.shape().num_elements());
        let path = self.path.join(".");
        let rate = (self.learning_rate)(&path);
        let (weights, gradient) = (tensor.reshape([length]), gradient.reshape([length]));
        let weights = self.optimizer.advance(&path, weights, gradient, (rate, self.scale), self.threads);
        Param::from_mapped_value(id, weights.reshape(shape), mapper)
    }
}

/// The learning rate of a step.
///
/// Linear from 0 over `warm_up` steps, then half a cosine from 1 to `final_fraction` of the peak at the last step.
/// `step` counts from 0.
pub fn learning_rate(step: usize, steps: usize, warm_up: usize, peak: f64, final_fraction: f64) -> f64 {
    if step < warm_up {
        return peak * (step + 1) as f64 / warm_up as f64;
    }
    let progress = (step - warm_up) as f64 / (steps.saturating_sub(warm_up)).max(1) as f64;
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos());
    peak * (final_fraction + (1.0 - final_fraction) * cosine)
}

#[cfg(test)]
mod tests;
