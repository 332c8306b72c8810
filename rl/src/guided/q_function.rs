//! Q-functions that learn from targets: a table, or a network (DQN, Mnih et al. 2015, *Human-level control through deep reinforcement learning*,
//! with the double estimate of van Hasselt et al. 2016, arXiv 1509.06461). Independent of where targets come from.

use super::mdp::Mdp;
use crate::training::optim::{Adam, GradientOptions, gradients};
use burn::{
    module::{Module, Param},
    tensor::{Int, Tensor, TensorData, activation::relu},
};
use clap::ValueEnum;
use model::{Device, Key, Trainable, to_host};
use serde::Serialize;
use std::cell::RefCell;

/// The step size of the table.
const LEARNING_RATE: f64 = 0.3;
/// The width of the network's two hidden layers.
const WIDTH: usize = 64;
/// The learning rate of the network.
const NETWORK_RATE: f64 = 1e-3;
/// Updates after which the target network becomes a copy of the other.
const COPY_EVERY: usize = 100;
/// Beyond this error the loss grows linearly (Huber).
const HUBER: f64 = 1.0;

/// What holds the Q-function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Learner {
    /// A table of states and actions
    Table,
    /// A network that reads the state as numbers (DQN)
    Dqn,
}

/// What Q of an action in a state is to be nearer to.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The state.
    pub state: usize,
    /// The action's place among those of the state.
    pub action: usize,
    /// The target.
    pub value: f64,
}

/// A Q-function.
pub trait QFunction {
    /// Q(s, ·) of the actions of a state.
    fn values(&self, state: usize) -> Vec<f64>;

    /// Q(s, ·) of which targets are made.
    fn target_values(&self, state: usize) -> Vec<f64> {
        self.values(state)
    }

    /// How many transitions are learnt from before new targets are made.
    fn together(&self) -> usize;

    /// How many earlier transitions are learnt from after each step.
    fn replays(&self) -> usize;

    /// One step towards targets.
    fn learn(&mut self, targets: &[Target]);
}

/// What a Q-function is for: the outputs of each state.
pub struct Outputs {
    /// The outputs that a state has, by the numbers that they have over all states.
    pub of_states: Vec<Vec<usize>>,
    /// How many there are.
    pub count: usize,
}

impl Outputs {
    /// The actions of an environment.
    pub fn actions(mdp: &Mdp) -> Self {
        let of_state = |state: &super::mdp::State| state.actions.iter().map(|action| action.number).collect();
        Self { of_states: mdp.states.iter().map(of_state).collect(), count: mdp.action_texts }
    }

    /// As many of its own in each state of an environment.
    pub fn alike(mdp: &Mdp, count: usize) -> Self {
        Self { of_states: vec![(0..count).collect(); mdp.states.len()], count }
    }
}

/// A Q-function that is 0, or nearly so in a network.
pub fn q_function(learner: Learner, mdp: &Mdp, outputs: Outputs, key: Key) -> Box<dyn QFunction> {
    match learner {
        Learner::Table => Box::new(Table(outputs.of_states.iter().map(|of_state| vec![0.0; of_state.len()]).collect())),
        Learner::Dqn => Box::new(Dqn::new(mdp, outputs, key)),
    }
}

/// Q by state and action.
struct Table(Vec<Vec<f64>>);

impl QFunction for Table {
    fn values(&self, state: usize) -> Vec<f64> {
        self.0[state].clone()
    }

    fn together(&self) -> usize {
        1
    }

    fn replays(&self) -> usize {
        8
    }

    fn learn(&mut self, targets: &[Target]) {
        for Target { state, action, value } in targets {
            let q = &mut self.0[*state][*action];
            *q += LEARNING_RATE * (value - *q);
        }
    }
}

/// Three layers, the last one without an activation.
#[derive(Module, Debug)]
struct Network {
    /// `[in, out]` of each layer.
    weights: Vec<Param<Tensor<2>>>,
    /// `[1, out]` of each layer.
    biases: Vec<Param<Tensor<2>>>,
}

impl Trainable for Network {}

impl Network {
    /// Weights of variance 2 / in (He et al. 2015), and a last layer of zeros.
    fn new(inputs: usize, outputs: usize, key: Key, device: &Device) -> Self {
        let sizes = [(inputs, WIDTH), (WIDTH, WIDTH), (WIDTH, outputs)];
        let weights = sizes.iter().enumerate().map(|(layer, &(from, to))| {
            let scale = if layer + 1 == sizes.len() { 0.0 } else { (2.0 / from as f32).sqrt() };
            let of_layer = key.with(layer as u64);
            let values: Vec<f32> = (0..(from * to) as u64).map(|place| scale * of_layer.normal(place)).collect();
            Param::from_tensor(Tensor::from_data(TensorData::new(values, [from, to]), device))
        });
        let biases = sizes.iter().map(|&(_, to)| Param::from_tensor(Tensor::zeros([1, to], device)));
        Self { weights: weights.collect(), biases: biases.collect() }
    }

    /// `[B, features]` to `[B, outputs]`.
    fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let last = self.weights.len() - 1;
        let layers = self.weights.iter().zip(&self.biases).enumerate();
        layers.fold(features, |input, (layer, (weight, bias))| {
            let output = input.matmul(weight.val()) + bias.val();
            if layer == last { output } else { relu(output) }
        })
    }
}

/// A network, an older copy of it for targets, and what both give for all states.
struct Dqn {
    network: Network,
    optimizer: Adam,
    updates: usize,
    /// The features of all states, `[states, features]`.
    features: Vec<Vec<f32>>,
    outputs: Outputs,
    /// The network's outputs by state, since its last update.
    values: RefCell<Option<Vec<f32>>>,
    /// The older copy's outputs.
    older: Vec<f32>,
    device: Device,
}

impl Dqn {
    /// The CPU is fastest for so small a network.
    fn new(mdp: &Mdp, outputs: Outputs, key: Key) -> Self {
        let device = Device::default();
        let features: Vec<Vec<f32>> = mdp.states.iter().map(|state| state.features.clone()).collect();
        let network = Network::new(features[0].len(), outputs.count, key, &device);
        let optimizer = Adam::new(0.9, 0.999, 1e-8, 0.0, 10.0);
        let older = vec![0.0; features.len() * outputs.count];
        Self { network, optimizer, updates: 0, features, outputs, values: RefCell::default(), older, device }
    }

    /// The network's outputs for all states.
    fn all(&self) -> Vec<f32> {
        let shape = [self.features.len(), self.features[0].len()];
        let features = TensorData::new(self.features.concat(), shape);
        to_host(self.network.forward(Tensor::from_data(features, &self.device))).values
    }

    fn of_state(&self, all: &[f32], state: usize) -> Vec<f64> {
        let row = &all[state * self.outputs.count..];
        self.outputs.of_states[state].iter().map(|&output| f64::from(row[output])).collect()
    }
}

impl QFunction for Dqn {
    fn values(&self, state: usize) -> Vec<f64> {
        let mut values = self.values.borrow_mut();
        self.of_state(values.get_or_insert_with(|| self.all()), state)
    }

    fn target_values(&self, state: usize) -> Vec<f64> {
        self.of_state(&self.older, state)
    }

    fn together(&self) -> usize {
        usize::MAX
    }

    fn replays(&self) -> usize {
        63
    }

    fn learn(&mut self, targets: &[Target]) {
        let (rows, width) = (targets.len(), self.features[0].len());
        let features: Vec<f32> = targets.iter().flat_map(|target| self.features[target.state].clone()).collect();
        let chosen = |target: &Target| self.outputs.of_states[target.state][target.action] as i32;
        let chosen: Vec<i32> = targets.iter().map(chosen).collect();
        let wanted: Vec<f32> = targets.iter().map(|target| target.value as f32).collect();
        let device = &self.device;
        let loss = |network: &Network, (): &()| {
            let features: Tensor<2> = Tensor::from_data(TensorData::new(features.clone(), [rows, width]), device);
            let chosen: Tensor<2, Int> = Tensor::from_data(TensorData::new(chosen.clone(), [rows, 1]), device);
            let wanted: Tensor<2> = Tensor::from_data(TensorData::new(wanted.clone(), [rows, 1]), device);
            let error = (network.forward(features).gather(1, chosen) - wanted).abs();
            let quadratic = error.clone().clamp_max(HUBER);
            let linear = error - quadratic.clone();
            ((quadratic.square().mul_scalar(0.5) + linear.mul_scalar(HUBER)).mean(), || ())
        };
        let gradients = gradients(&self.network, &[()], GradientOptions::on(1), loss);
        self.network = self.optimizer.step(self.network.clone(), gradients.params, &|_| NETWORK_RATE, 1).0;
        self.values.replace(None);
        self.updates += 1;
        if self.updates.is_multiple_of(COPY_EVERY) {
            self.older = self.all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guided::environments::Environment;
    use model::Purpose;

    #[test]
    fn a_network_comes_to_its_targets_and_older_values_stay_for_a_while() {
        let mdp = Environment::Blocks.build(Some(3), 0).unwrap();
        let mut q = q_function(Learner::Dqn, &mdp, Outputs::actions(&mdp), Key::new(0, Purpose::Weights));
        assert_eq!(q.values(0), vec![0.0; mdp.actions(0)]);
        let targets: Vec<Target> = (0..mdp.states.len())
            .filter(|&state| mdp.actions(state) > 1)
            .flat_map(|state| [(state, 0, 0.8), (state, 1, -0.3)])
            .map(|(state, action, value)| Target { state, action, value })
            .collect();
        for _ in 0..COPY_EVERY - 1 {
            q.learn(&targets);
        }
        assert!(targets.iter().all(|target| q.target_values(target.state)[target.action] == 0.0));
        for _ in 0..300 {
            q.learn(&targets);
        }
        let is_near = |value: f64, target: f64| (value - target).abs() < 0.02;
        assert!(targets.iter().all(|target| is_near(q.values(target.state)[target.action], target.value)));
        assert!(targets.iter().all(|target| q.target_values(target.state)[target.action] != 0.0));
    }
}
