//! Claims that the mathematics of PPO and AdamW is that of a plain PyTorch implementation: values and gradients. The
//! reference numbers come from `scripts/fixtures.py`.

use burn::{
    module::{Module, Param},
    optim::GradientsParams,
    tensor::{Tensor, TensorData},
};
use eval::Sample;
use model::{Device, Finish, entropy, to_host};
use rl::{
    algorithms::ppo::diagnostics::{KlEstimates, UpdateStats},
    objective::advantage::{gae, whiten},
    objective::loss::{ppo_policy, ppo_value},
    sampling::rollout::{RewardParts, Rollout, Sampled},
    training::optim::{Adam, global_norm},
};
use serde::Deserialize;
use std::path::Path;

type Table = Vec<Vec<f32>>;

#[derive(Deserialize)]
struct Ppo {
    parameters: Parameters,
    inputs: Inputs,
    gae: Gae,
    gae_discounted: Gae,
    whitened_advantages: Table,
    policy: PolicyLoss,
    policy_raw: PolicyLoss,
    value: ValueLoss,
    kl_to_reference: Kl,
    kl_to_old: Kl,
    entropy: Entropy,
}

#[derive(Deserialize)]
struct Parameters {
    epsilon: f64,
    value_clip: f64,
}

#[derive(Deserialize)]
struct Inputs {
    response_starts: Vec<usize>,
    response_ends: Vec<usize>,
    log_probs: Table,
    old_log_probs: Table,
    ref_log_probs: Table,
    values: Table,
    old_values: Table,
    rewards: Table,
    advantages: Table,
    returns: Table,
    logits: Vec<Table>,
}

#[derive(Deserialize)]
struct Gae {
    gamma: f32,
    lambda: f32,
    advantages: Table,
    returns: Table,
}

#[derive(Deserialize)]
struct PolicyLoss {
    loss: f32,
    ratio_outside_fraction: f64,
    grad_log_probs: Table,
}

#[derive(Deserialize)]
struct ValueLoss {
    loss: f32,
    grad_values: Table,
}

#[derive(Deserialize)]
struct Kl {
    k1_mean: f64,
    k3_mean: f64,
}

#[derive(Deserialize)]
struct Entropy {
    per_token: Table,
    mean: f32,
}

fn fixture<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

impl Ppo {
    /// The response tokens of each row.
    fn rows(&self, table: &Table) -> Vec<Vec<f32>> {
        let Inputs { response_starts, response_ends, .. } = &self.inputs;
        let spans = response_starts.iter().zip(response_ends);
        table.iter().zip(spans).map(|(row, (&start, &end))| row[start..end].to_vec()).collect()
    }

    /// The response tokens, rows end to end.
    fn flat(&self, table: &Table) -> Tensor<1> {
        let values = self.rows(table).concat();
        let length = values.len();
        Tensor::from_data(TensorData::new(values, [length]), &Device::default())
    }

    /// The same, with gradients.
    fn leaf(&self, table: &Table) -> Tensor<1> {
        self.flat(table).autodiff().require_grad()
    }
}

#[track_caller]
fn assert_close(ours: &[f32], theirs: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), theirs.len());
    for (index, (x, y)) in ours.iter().zip(theirs).enumerate() {
        assert!((x - y).abs() <= tolerance, "entry {index}: {x} against {y}");
    }
}

#[test]
fn advantages_and_returns_are_those_of_the_reference() {
    let ppo: Ppo = fixture("ppo.json");
    for expected in [&ppo.gae, &ppo.gae_discounted] {
        let (rewards, values) = (ppo.rows(&ppo.inputs.rewards), ppo.rows(&ppo.inputs.old_values));
        let (advantages, returns) = (ppo.rows(&expected.advantages), ppo.rows(&expected.returns));
        for row in 0..rewards.len() {
            let ours = gae(&rewards[row], &values[row], expected.gamma, expected.lambda);
            assert_close(&ours.advantages, &advantages[row], 1e-6);
            assert_close(&ours.returns, &returns[row], 1e-6);
        }
    }
}

#[test]
fn whitened_advantages_are_those_of_the_reference() {
    let ppo: Ppo = fixture("ppo.json");
    let mut rows = ppo.rows(&ppo.inputs.advantages);
    whiten(&mut rows);
    assert_close(&rows.concat(), &ppo.rows(&ppo.whitened_advantages).concat(), 1e-6);
}

#[test]
fn the_policy_loss_and_its_gradient_are_those_of_the_reference() {
    let ppo: Ppo = fixture("ppo.json");
    let cases = [(&ppo.whitened_advantages, &ppo.policy), (&ppo.inputs.advantages, &ppo.policy_raw)];
    for (advantages, expected) in cases {
        let log_probs = ppo.leaf(&ppo.inputs.log_probs);
        let advantages = ppo.flat(advantages);
        let total = advantages.dims()[0];
        let old = ppo.flat(&ppo.inputs.old_log_probs);
        let loss = ppo_policy(log_probs.clone(), old, advantages, ppo.parameters.epsilon, total);
        let gradient = log_probs.grad(&loss.backward()).unwrap();
        assert_close(&to_host(loss).values, &[expected.loss], 1e-6);
        assert_close(&to_host(gradient).values, &ppo.rows(&expected.grad_log_probs).concat(), 1e-6);
    }
}

#[test]
fn the_value_loss_and_its_gradient_are_those_of_the_reference() {
    let ppo: Ppo = fixture("ppo.json");
    let values = ppo.leaf(&ppo.inputs.values);
    let returns = ppo.flat(&ppo.inputs.returns);
    let total = returns.dims()[0];
    let loss = ppo_value(values.clone(), ppo.flat(&ppo.inputs.old_values), returns, ppo.parameters.value_clip, total);
    let gradient = values.grad(&loss.backward()).unwrap();
    assert_close(&to_host(loss).values, &[ppo.value.loss], 1e-6);
    assert_close(&to_host(gradient).values, &ppo.rows(&ppo.value.grad_values).concat(), 1e-6);
}

#[test]
fn the_divergence_from_the_reference_policy_is_that_of_the_reference() {
    let ppo: Ppo = fixture("ppo.json");
    let (log_probs, ref_log_probs) = (ppo.rows(&ppo.inputs.log_probs), ppo.rows(&ppo.inputs.ref_log_probs));
    let rollout = |(log_probs, ref_log_probs): (Vec<f32>, Vec<f32>)| Rollout {
        sampled: Sampled {
            tokens: vec![0; 1 + log_probs.len()],
            prompt_len: 1,
            given: Vec::new(),
            rewards: Vec::new(),
            server_log_probs: None,
            reward_model_score: None,
            parts: RewardParts::default(),
            sample: Sample {
                step: None,
                id: String::new(),
                question: String::new(),
                completion: String::new(),
                answer: None,
                kind: data::AnswerKind::Number,
                expected: String::new(),
                reward: None,
                correct: false,
                finish: Finish::Stop,
                tokens: 0,
                greedy: false,
                given: 0,
                calculated: Vec::new(),
                score: None,
            },
        },
        log_probs,
        ref_log_probs,
        values: Vec::new(),
        entropies: Vec::new(),
    };
    let rollouts: Vec<Rollout> = log_probs.into_iter().zip(ref_log_probs).map(rollout).collect();
    let KlEstimates { k1, k3 } = KlEstimates::of(&rollouts);
    assert!((k1 - ppo.kl_to_reference.k1_mean).abs() < 1e-6, "{k1}");
    assert!((k3 - ppo.kl_to_reference.k3_mean).abs() < 1e-6, "{k3}");
}

#[test]
fn the_divergence_from_the_old_policy_and_the_share_outside_the_clip_are_those_of_the_reference() {
    let ppo: Ppo = fixture("ppo.json");
    let (new, old) = (ppo.flat(&ppo.inputs.log_probs), to_host(ppo.flat(&ppo.inputs.old_log_probs)).values);
    let total = new.dims()[0];
    let loss = |value: f32| Tensor::<1>::from_floats([value], &Device::default());
    let part = UpdateStats::of([new, loss(0.25), loss(0.5)], &old, ppo.parameters.epsilon as f32);
    let stats = UpdateStats::of_parts(&[part], total);
    assert!((stats.old_kl - ppo.kl_to_old.k3_mean).abs() < 1e-6, "{}", stats.old_kl);
    assert!((stats.clipped - ppo.policy.ratio_outside_fraction).abs() < 1e-6, "{}", stats.clipped);
    assert_eq!((stats.policy_loss, stats.value_loss), (0.25, 0.5));
}

#[test]
fn the_entropy_is_that_of_the_reference() {
    let ppo: Ppo = fixture("ppo.json");
    let Inputs { response_starts, response_ends, logits, .. } = &ppo.inputs;
    let chosen = |row: usize| logits[row][response_starts[row]..response_ends[row]].concat();
    let chosen: Vec<f32> = (0..logits.len()).flat_map(chosen).collect();
    let rows = chosen.len() / 5;
    let ours = to_host(entropy(Tensor::from_data(TensorData::new(chosen, [rows, 5]), &Device::default()), 1.0)).values;
    assert_close(&ours, &ppo.rows(&ppo.entropy.per_token).concat(), 1e-6);
    assert_close(&[ours.iter().sum::<f32>() / rows as f32], &[ppo.entropy.mean], 1e-6);
}

#[derive(Deserialize)]
struct AdamW {
    parameters: AdamParameters,
    initial: Tensors,
    steps: Vec<AdamStep>,
}

#[derive(Deserialize)]
struct AdamParameters {
    lr: f64,
    beta_1: f32,
    beta_2: f32,
    eps: f32,
    weight_decay: f32,
    max_grad_norm: f64,
}

#[derive(Deserialize)]
struct AdamStep {
    gradients: Tensors,
    norm: f64,
    values: Tensors,
}

#[derive(Deserialize)]
struct Tensors {
    a: Table,
    b: Vec<f32>,
}

impl Tensors {
    fn a(&self) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.a.concat(), [2, 3]), &Device::default())
    }

    fn b(&self) -> Tensor<1> {
        Tensor::from_data(TensorData::new(self.b.clone(), [4]), &Device::default())
    }
}

/// The two tensors that PyTorch's AdamW stepped.
#[derive(Module, Debug)]
struct Pair {
    a: Param<Tensor<2>>,
    b: Param<Tensor<1>>,
}

#[test]
fn five_steps_of_adamw_with_clipping_are_those_of_torch() {
    let expected: AdamW = fixture("adamw.json");
    let AdamParameters { lr, beta_1, beta_2, eps, weight_decay, max_grad_norm } = expected.parameters;
    let mut optimizer = Adam::new(beta_1, beta_2, eps, weight_decay, max_grad_norm);
    let mut model = Pair { a: Param::from_tensor(expected.initial.a()), b: Param::from_tensor(expected.initial.b()) };
    let norms = expected.steps.iter().map(|step| step.norm);
    let clipped = norms.filter(|&norm| norm > max_grad_norm).count();
    assert!(0 < clipped && clipped < expected.steps.len(), "the test needs steps with and without clipping");
    for step in &expected.steps {
        let mut gradients = GradientsParams::new();
        gradients.register(model.a.id, step.gradients.a());
        gradients.register(model.b.id, step.gradients.b());
        assert!((global_norm(&model, &gradients) - step.norm).abs() < 1e-5 * step.norm);
        let (stepped, norm) = optimizer.step(model, gradients, &|_| lr, 1);
        model = stepped;
        assert!((norm - step.norm).abs() < 1e-5 * step.norm);
        assert_close(&to_host(model.a.val()).values, &step.values.a.concat(), 1e-6);
        assert_close(&to_host(model.b.val()).values, &step.values.b, 1e-6);
    }
}
