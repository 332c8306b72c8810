//! Gradients of a whole batch, their global norm, and the AdamW step. Knows no loss and no data.

use anyhow::{Context, Result, ensure};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, GradientsAccumulator, GradientsParams, Optimizer},
    tensor::{Device, Tensor, TensorData},
};
use model::{AdamWStep, HostTensor, HostTensors, adamw, parallel_for_each, recorded, to_host};
use std::collections::BTreeMap;

/// How gradients are computed. They are the same in any way, but for rounding.
#[derive(Clone, Copy, Debug)]
pub struct Computing {
    /// Replicas at work at the same time.
    pub threads: usize,
    /// Whether blocks are computed again for the gradients, and their insides not kept.
    pub checkpointing: bool,
}

impl Computing {
    /// On so many threads, and nothing twice.
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

/// Sums the gradients of `loss` over micro-batches, on replicas of the model with a thread each.
///
/// The sum is taken in the order of the micro-batches, so it is the same for any number of threads. Nothing is divided
/// here: a loss divides by the token count of the *whole* batch, which makes the split invisible (`numerics` 4). What a loss has to
/// report beside it is asked after the backward pass, which a device that works on its own has begun by then.
pub fn gradients<M: Module + Sync, T: Sync, R: Send, F: FnOnce() -> R>(
    model: &M,
    micro_batches: &[T],
    computing: Computing,
    loss: impl Fn(&M, &T) -> (Tensor<1>, F) + Sync,
) -> Gradients<R> {
    let mut sum = GradientsAccumulator::new();
    let mut reports = Vec::with_capacity(micro_batches.len());
    parallel_for_each(
        micro_batches,
        computing.threads,
        || model.clone(),
        |model, _, micro_batch| {
            // A replica with gradients has a graph of its own, which ends with it.
            let replica = model.clone().train();
            let ((loss, report), recorded) = recorded(computing.checkpointing, || loss(&replica, micro_batch));
            (recorded.backward(&loss, &replica), report())
        },
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
    /// An optimiser without history. `max_norm` bounds the Euclidean norm of all gradients taken together; 0 leaves it as it is.
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
    /// `learning_rate` is asked with the path of each parameter. Threads change no digit.
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

    /// The history as named tensors: two moments of each parameter, and how many steps it has taken. These differ where a
    /// parameter began to learn later than others.
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

    /// Takes up a history again.
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

/// What the history of a parameter is made of.
const HISTORY: [&str; 3] = ["moment_1", "moment_2", "steps"];

/// The parameters of a history as [`Adam::to_tensors`] makes it.
///
/// # Errors
/// If one lacks a moment or its number of steps, or a tensor belongs to none.
pub fn check_history(tensors: &HostTensors) -> Result<Vec<String>> {
    let paths: Vec<String> =
        tensors.keys().filter_map(|name| name.strip_suffix(".moment_1").map(str::to_string)).collect();
    for path in &paths {
        for part in HISTORY {
            let tensor = tensors.get(&format!("{path}.{part}"));
            let tensor = tensor.with_context(|| format!("the optimiser's {part} of {path} is missing"))?;
            let steps = tensor.values.len();
            ensure!(part != "steps" || steps == 1, "the optimiser's steps of {path} are {steps} numbers");
        }
    }
    let left = tensors.len() - HISTORY.len() * paths.len();
    ensure!(left == 0, "the optimiser's file holds {left} tensors that belong to nothing");
    Ok(paths)
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
mod tests {
    use super::*;

    #[derive(Module, Debug)]
    struct Pair {
        first: Param<Tensor<2>>,
        second: Param<Tensor<1>>,
    }

    fn pair() -> Pair {
        let device = Device::default();
        Pair {
            first: Param::from_tensor(Tensor::from_floats([[1.0, 2.0]], &device)),
            second: Param::from_tensor(Tensor::from_floats([3.0], &device)),
        }
    }

    fn gradients_of(model: &Pair, first: [f32; 2], second: f32) -> GradientsParams {
        let mut gradients = GradientsParams::new();
        gradients.register(model.first.id, Tensor::<2>::from_floats([first], &Device::default()));
        gradients.register(model.second.id, Tensor::<1>::from_floats([second], &Device::default()));
        gradients
    }

    fn values(model: &Pair) -> Vec<f32> {
        [to_host(model.first.val()).values, to_host(model.second.val()).values].concat()
    }

    fn adam(max_norm: f64) -> Adam {
        Adam::new(0.9, 0.95, 1e-8, 0.0, max_norm)
    }

    #[test]
    fn the_norm_is_taken_over_all_gradients_together() {
        let model = pair();
        assert_eq!(global_norm(&model, &gradients_of(&model, [2.0, 3.0], 6.0)), 7.0);
        assert_eq!(global_norm(&model, &GradientsParams::new()), 0.0);
    }

    #[test]
    fn clipping_scales_all_gradients_by_one_factor_and_reports_the_norm_before() {
        let model = pair();
        let mut optimizer = adam(3.5);
        let gradients = gradients_of(&model, [2.0, 3.0], 6.0);
        let (_, norm) = optimizer.step(model, gradients, &|_| 1e-3, 1);
        assert_eq!(norm, 7.0);
        // After one step the first moment is a tenth of the clipped gradient.
        let moments = optimizer.to_tensors();
        let moment = |name: &str| moments[&format!("{name}.moment_1")].values.clone();
        for (found, expected) in [moment("first"), moment("second")].concat().iter().zip([0.1, 0.15, 0.3]) {
            assert!((found - expected).abs() < 1e-6, "{found} against {expected}");
        }
        assert_eq!(moments["first.steps"].values, [1.0]);
    }

    #[test]
    fn a_bound_of_0_clips_nothing() {
        let step = |max_norm: f64| {
            let (model, mut optimizer) = (pair(), adam(max_norm));
            let gradients = gradients_of(&model, [2.0, 3.0], 6.0);
            let (model, norm) = optimizer.step(model, gradients, &|_| 1e-3, 1);
            assert_eq!(norm, 7.0);
            (values(&model), optimizer.to_tensors())
        };
        assert_eq!(step(0.0), step(1e9));
        assert_ne!(step(0.0).0, values(&pair()));
    }

    #[test]
    fn the_first_step_moves_every_weight_by_the_learning_rate_of_its_path() {
        let model = pair();
        let gradients = gradients_of(&model, [0.5, -0.001], 0.3);
        let rate = |path: &str| if path == "second" { 0.2 } else { 0.1 };
        let (model, _) = adam(10.0).step(model, gradients, &rate, 1);
        for (found, expected) in values(&model).iter().zip([0.9, 2.1, 2.8]) {
            assert!((found - expected).abs() < 1e-4, "{found} against {expected}");
        }
    }

    #[test]
    fn steps_in_one_pass_are_those_of_burn_to_the_last_digit_on_any_number_of_threads() {
        const COUNT: usize = 300_001;
        let device = Device::default();
        let wave = |at: f32| (0..COUNT).map(|i| (1.3 * i as f32 + at).sin()).collect::<Vec<_>>();
        let of = |values: Vec<f32>| Tensor::<1>::from_floats(values.as_slice(), &device);
        let mut optimizer = Adam::new(0.9, 0.98, 1e-8, 0.1, 1.0);
        let (rule, mut state) = (optimizer.burns(), None);
        let (mut found, mut expected) = (of(wave(0.0)), of(wave(0.0)));
        for step in 1..5 {
            let (gradient, rate) = (of(wave(step as f32)), 0.01 * step as f64);
            found = optimizer.advance("w", found, gradient.clone(), (rate, 0.3), step);
            (expected, state) = rule.step(rate, expected, gradient.mul_scalar(0.3), state);
            assert_eq!(to_host(found.clone()), to_host(expected.clone()), "step {step}");
        }
    }

    #[test]
    fn a_norm_that_is_not_finite_changes_neither_weights_nor_history() {
        for broken in [f32::NAN, f32::INFINITY] {
            let (model, mut optimizer) = (pair(), adam(1.0));
            let gradients = gradients_of(&model, [1.0, broken], 1.0);
            let (model, norm) = optimizer.step(model, gradients, &|_| 0.1, 1);
            assert!(!norm.is_finite());
            assert_eq!(values(&model), [1.0, 2.0, 3.0]);
            assert!(optimizer.to_tensors().is_empty());
        }
    }

    #[test]
    fn a_parameter_without_a_gradient_stays_as_it_is() {
        let model = pair();
        let mut gradients = GradientsParams::new();
        gradients.register(model.second.id, Tensor::<1>::from_floats([1.0], &Device::default()));
        let (model, norm) = Adam::new(0.9, 0.95, 1e-8, 0.1, 1.0).step(model, gradients, &|_| 0.1, 1);
        assert_eq!(norm, 1.0);
        assert_eq!(values(&model)[..2], [1.0, 2.0]);
        assert!(values(&model)[2] < 3.0);
    }

    #[test]
    fn a_history_that_was_stored_goes_on_as_if_it_had_not_been() {
        let stepped = |restart: bool| {
            let (mut model, mut optimizer) = (pair(), adam(1.0));
            for step in 0..4 {
                if restart && step == 2 {
                    let tensors = optimizer.to_tensors();
                    // Burn's parameter ids are others in another process.
                    model = Pair {
                        first: Param::from_tensor(model.first.val()),
                        second: Param::from_tensor(model.second.val()),
                    };
                    optimizer = adam(1.0);
                    optimizer.load_tensors(tensors, &Device::default()).unwrap();
                }
                let mut gradients = gradients_of(&model, [step as f32, 0.3], -0.7);
                if step == 0 {
                    // One parameter begins later, as a policy does behind a critic that learns alone.
                    gradients.remove::<2>(model.first.id);
                }
                model = optimizer.step(model, gradients, &|_| 0.1, 1).0;
            }
            values(&model)
        };
        assert_eq!(stepped(true), stepped(false));
    }

    #[test]
    fn a_history_with_a_moment_too_few_or_too_many_is_refused() {
        let moment = HostTensor { shape: vec![1], values: vec![0.5] };
        let load = |names: &[&str]| {
            let tensors = names.iter().map(|name| (name.to_string(), moment.clone())).collect();
            adam(1.0).load_tensors(tensors, &Device::default())
        };
        assert!(load(&["w.moment_1", "w.moment_2", "w.steps"]).is_ok());
        assert!(load(&["w.moment_1", "w.moment_2"]).unwrap_err().to_string().contains("steps of w is missing"));
        assert!(load(&["w.moment_1", "w.steps"]).unwrap_err().to_string().contains("moment_2 of w is missing"));
        assert!(load(&["w.moment_2"]).unwrap_err().to_string().contains("belong to nothing"));
    }

    #[test]
    fn gradients_of_parts_are_added_and_reports_keep_their_order() {
        let model = pair();
        let parts = [1.0f32, 2.0, 4.0, 8.0];
        for threads in [1, 3] {
            let found = gradients(&model, &parts, Computing::on(threads), |model, &part| {
                (model.first.val().sum().mul_scalar(part) + model.second.val().square().mul_scalar(part), move || part)
            });
            assert_eq!(found.reports, parts);
            let first = found.params.get::<2>(model.first.id).unwrap();
            let second = found.params.get::<1>(model.second.id).unwrap();
            assert_eq!([to_host(first).values, to_host(second).values].concat(), [15.0, 15.0, 90.0]);
        }
    }

    #[test]
    fn the_learning_rate_rises_in_a_line_and_falls_along_a_cosine() {
        let rate = |step| learning_rate(step, 12, 2, 1.0, 0.2);
        assert_eq!([rate(0), rate(1), rate(2)], [0.5, 1.0, 1.0]);
        assert!((rate(7) - 0.6).abs() < 1e-12, "half-way: the mean of peak and end");
        assert!((rate(12) - 0.2).abs() < 1e-12 && (rate(100) - 0.2).abs() < 1e-12);
        assert!((2..11).all(|step| rate(step + 1) < rate(step)));
        assert_eq!(learning_rate(0, 1, 0, 3.0, 0.1), 3.0);
        assert!(learning_rate(5, 3, 8, 1.0, 0.1) < 1.0, "a warm-up longer than the run");
    }
}
