//! Gradients of a whole batch, their global norm, and the AdamW step. Knows no loss and no data.

use anyhow::{Context, Result, ensure};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, GradientsAccumulator, GradientsParams, Optimizer},
    tensor::{Device, Tensor, TensorData},
};
use model::{HostTensor, HostTensors, parallel_for_each, to_host};
use std::collections::BTreeMap;

/// Gradients of a sum of losses, and what each part of the sum reported.
pub struct Gradients<R> {
    /// By parameter id, summed over the parts.
    pub params: GradientsParams,
    /// In the order of the parts.
    pub reports: Vec<R>,
}

/// Sums the gradients of `loss` over micro-batches, on replicas of the model with a thread each.
///
/// The sum is taken in the order of the micro-batches, so it is the same for any number of threads. Nothing is divided
/// here: a loss divides by the token count of the *whole* batch, which makes the split invisible (`numerics` 4).
pub fn gradients<M: Module + Sync, T: Sync, R: Send>(
    model: &M,
    micro_batches: &[T],
    threads: usize,
    loss: impl Fn(&M, &T) -> (Tensor<1>, R) + Sync,
) -> Gradients<R> {
    let mut sum = GradientsAccumulator::new();
    let mut reports = Vec::with_capacity(micro_batches.len());
    parallel_for_each(
        micro_batches,
        threads,
        || model.clone(),
        |model, _, micro_batch| {
            // A replica with gradients has a graph of its own, which ends with it.
            let replica = model.clone().train();
            let (loss, report) = loss(&replica, micro_batch);
            (GradientsParams::from_grads(loss.backward(), &replica), report)
        },
        |_, (params, report)| {
            sum.accumulate(model, params);
            reports.push(report);
        },
    );
    Gradients { params: sum.grads(), reports }
}

/// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) after clipping by the global norm.
///
/// The arithmetic of one tensor is burn's; the states are kept by the path of the parameter, so that they survive a
/// process: burn's parameter ids do not.
pub struct Adam {
    rule: AdamW,
    max_norm: f64,
    states: BTreeMap<String, AdamWState<1>>,
}

impl Adam {
    /// An optimiser without history. `max_norm` bounds the Euclidean norm of all gradients taken together.
    pub fn new(beta_1: f32, beta_2: f32, epsilon: f32, weight_decay: f32, max_norm: f64) -> Self {
        let rule = AdamWConfig::new()
            .with_beta_1(beta_1)
            .with_beta_2(beta_2)
            .with_epsilon(epsilon)
            .with_weight_decay(weight_decay)
            .build();
        Self { rule, max_norm, states: BTreeMap::new() }
    }

    /// One step; the new model and the norm of the gradients before clipping. A norm that is not finite changes nothing.
    pub fn step<M: Module>(&mut self, model: M, gradients: GradientsParams, learning_rate: f64) -> (M, f64) {
        let norm = global_norm(&model, &gradients);
        if !norm.is_finite() {
            return (model, norm);
        }
        let scale = (self.max_norm / (norm + 1e-6)).min(1.0);
        let mut update = Update { optimizer: self, gradients, learning_rate, scale, path: Vec::new() };
        (model.map(&mut update), norm)
    }

    /// The history as named tensors, and the number of steps taken.
    pub fn to_tensors(&self) -> (HostTensors, usize) {
        let mut tensors = HostTensors::new();
        let mut time = 0;
        for (path, state) in &self.states {
            tensors.insert(format!("{path}.moment_1"), to_host(state.momentum.moment_1.clone()));
            tensors.insert(format!("{path}.moment_2"), to_host(state.momentum.moment_2.clone()));
            time = state.momentum.time;
        }
        (tensors, time)
    }

    /// Takes up a history again.
    ///
    /// # Errors
    /// If a moment lacks its pair.
    pub fn load_tensors(&mut self, mut tensors: HostTensors, time: usize, device: &Device) -> Result<()> {
        let paths: Vec<String> =
            tensors.keys().filter_map(|name| name.strip_suffix(".moment_1").map(str::to_string)).collect();
        for path in paths {
            let mut moment = |suffix: &str| -> Result<Tensor<1>> {
                let HostTensor { values, .. } = tensors
                    .remove(&format!("{path}.{suffix}"))
                    .with_context(|| format!("the optimiser's {suffix} of {path} is missing"))?;
                let length = values.len();
                Ok(Tensor::from_data(TensorData::new(values, [length]), device))
            };
            let momentum = AdaptiveMomentumState::new(time, moment("moment_1")?, moment("moment_2")?);
            self.states.insert(path, AdamWState::new(momentum));
        }
        ensure!(tensors.is_empty(), "the optimiser's file holds {} tensors that belong to nothing", tensors.len());
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
    learning_rate: f64,
    scale: f64,
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
        let mut gradient = gradient.reshape([length]);
        if self.scale < 1.0 {
            gradient = gradient.mul_scalar(self.scale);
        }
        let path = self.path.join(".");
        let state = self.optimizer.states.remove(&path);
        let (tensor, state) = self.optimizer.rule.step(self.learning_rate, tensor.reshape([length]), gradient, state);
        self.optimizer.states.insert(path, state.expect("AdamW always has a state"));
        Param::from_mapped_value(id, tensor.reshape(shape), mapper)
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
