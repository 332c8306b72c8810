//! The fused operations against the plain forms that other backends have.

use super::*;
use crate::{
    Device, GenerateConfig, Given, Giver, HostTensor, Key, ModelConfig, ModelSize, Purpose, Transformer, to_host,
    token_log_probs,
};
use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::TensorData,
};

/// A loss of a model with all its gradients, by name.
fn loss_and_gradients(model: &Transformer, tokens: &Tensor<2, Int>, temperature: f64) -> Vec<(String, HostTensor)> {
    struct Named<'a> {
        gradients: &'a GradientsParams,
        path: Vec<String>,
        found: Vec<(String, HostTensor)>,
    }
    impl ModuleVisitor for Named<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = self.gradients.get::<D>(param.id).expect("every parameter has a gradient");
            self.found.push((self.path.join("."), to_host(gradient)));
        }
    }
    let model = model.clone().train();
    let [batch, time] = tokens.dims();
    let logits = model.forward(tokens.clone()).reshape([batch * time, model.config.vocab_size]);
    let targets = tokens.clone().reshape([batch * time]);
    // Every token has a weight of its own, so that no gradient cancels.
    let weights: Vec<f32> = (0..batch * time).map(|i| (i as f32 * 0.7).sin()).collect();
    let weights = Tensor::<1>::from_floats(weights.as_slice(), &tokens.device());
    let loss = (token_log_probs(logits, targets, temperature) * weights).sum();
    let value = to_host(loss.clone().inner());
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    let mut named = Named { gradients: &gradients, path: Vec::new(), found: vec![("loss".into(), value)] };
    model.visit(&mut named);
    named.found
}

/// Two blocks, a vocabulary of 29.
fn config(heads: usize, kv_heads: usize, width: usize) -> ModelConfig {
    ModelConfig {
        hidden_size: width,
        intermediate_size: 37,
        num_hidden_layers: 2,
        num_attention_heads: heads,
        num_key_value_heads: Some(kv_heads),
        ..ModelConfig::of_size(ModelSize::Tiny, 29, 0)
    }
}

#[test]
fn loss_and_every_gradient_are_those_of_the_plain_forms() {
    let device = Device::default();
    let shapes = [(4, 4, 32, false, 1.0), (4, 2, 24, true, 0.7), (6, 1, 84, true, 1.3), (1, 1, 8, false, 1.0)];
    for (index, (heads, kv_heads, width, bias, temperature)) in shapes.into_iter().enumerate() {
        let config =
            ModelConfig { attention_bias: bias, tie_word_embeddings: index % 2 == 0, ..config(heads, kv_heads, width) };
        let model = Transformer::init(&config, index as u64, &device);
        for (batch, time) in [(1, 1), (2, 5), (3, 33), (1, 70)] {
            let ids: Vec<i32> = (0..batch * time).map(|i| i * 7919 % 29).collect();
            let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids, [batch, time]), &device);
            let fused = loss_and_gradients(&model, &tokens, temperature);
            let plain = plainly(|| loss_and_gradients(&model, &tokens, temperature));
            for ((name, fused), (_, plain)) in fused.iter().zip(&plain) {
                let largest = plain.values.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
                let differences = fused.values.iter().zip(&plain.values).map(|(x, y)| (x - y).abs());
                let worst = differences.fold(0.0, f32::max);
                assert!(worst <= 1e-5 + 3e-5 * largest, "{name} of shape {index}, {batch} x {time}: {worst:e}");
            }
        }
    }
}

#[test]
fn completions_are_those_of_the_plain_forms() {
    // Heads of less than a vector, of one or two (as the processor has them), and of a vector and a half or three.
    for (heads, kv_heads, width) in [(4, 2, 24), (4, 1, 64), (2, 2, 64), (2, 1, 96)] {
        let model = Transformer::init(&config(heads, kv_heads, width), 1, &Device::default());
        let long: Vec<u32> = (0..70).map(|place| place * 7919 % 29).collect();
        let prompts = [vec![1, 2, 3, 4, 5], vec![6], long, vec![7, 8]];
        let key = |prompt: u64, sample: u64| Key::new(2, Purpose::Generate).with(prompt).with(sample);
        let keys: Vec<Vec<Key>> = [30, 31, 1, 40]
            .iter()
            .zip(0..)
            .map(|(&n, prompt)| (0..n).map(|sample| key(prompt, sample)).collect())
            .collect();
        let giver = Giver::new(|written| matches!(written, [.., 18..29]).then(|| Given::Hidden(vec![2, 9, 4])));
        // Rows end at different places, so that the cache is also cut down; where few are written together, others take their
        // places.
        for (rows, giver) in [(120, None), (5, None), (120, Some(giver.clone())), (5, Some(giver))] {
            let stops = vec![vec![3], vec![11], vec![17]];
            let config =
                GenerateConfig { max_new_tokens: 40, temperature: 0.8, stops, giver, rows, streams: None, threads: 1 };
            let generate = || crate::generate(&model, &prompts, &keys, &config, &|_| ()).0;
            let (fused, plain) = (generate(), plainly(generate));
            for (fused, plain) in fused.iter().flatten().zip(plain.iter().flatten()) {
                assert_eq!(fused.tokens, plain.tokens);
                for (fused, plain) in fused.log_probs.iter().zip(&plain.log_probs) {
                    assert!((fused - plain).abs() < 2e-5, "{fused} {plain}");
                }
            }
        }
    }
}

#[test]
fn what_has_no_gradient_is_the_same_number() {
    let device = Device::default();
    let model = Transformer::init(&ModelConfig::of_size(ModelSize::Tiny, 64, 0), 3, &device);
    let tokens = Tensor::<2, Int>::from_ints([[1, 2, 3, 4, 5, 6, 7]], &device);
    let with = model.clone().train().forward(tokens.clone()).inner();
    assert_eq!(to_host(model.forward(tokens)), to_host(with));
}

#[test]
fn log_probabilities_in_parts_have_the_values_and_gradients_of_the_whole() {
    let device = burn::tensor::Device::default().autodiff();
    let numbers = |count: usize, seed: f32| (0..count).map(|i| ((i as f32 + seed) * 1.7).sin()).collect::<Vec<_>>();
    let of = |values: Vec<f32>, shape: [usize; 2]| Tensor::<2>::from_data(TensorData::new(values, shape), &device);
    let targets = Tensor::<1, Int>::from_ints([3, 0, 12, 7, 7, 1, 4], &device);
    let weights = Tensor::<1>::from_floats([0.3, -1.0, 2.0, 0.7, 0.1, -0.4, 1.0], &device);
    // The output matrix as it lies, and transposed as a tied embedding is.
    for tied in [false, true] {
        for part in [1, 3, 7, 100] {
            let gradients = |say: &dyn Fn(Tensor<2>, Tensor<2>) -> Tensor<1>| {
                let hidden = of(numbers(7 * 5, 0.0), [7, 5]).require_grad();
                let stored = of(numbers(5 * 13, 9.0), if tied { [13, 5] } else { [5, 13] }).require_grad();
                let output = if tied { stored.clone().transpose() } else { stored.clone() };
                let log_probs = say(hidden.clone(), output);
                let values = to_host(log_probs.clone().inner()).values;
                let gradients = (log_probs * weights.clone()).sum().backward();
                [
                    values,
                    to_host(hidden.grad(&gradients).unwrap()).values,
                    to_host(stored.grad(&gradients).unwrap()).values,
                ]
            };
            let in_parts =
                gradients(&|hidden, output| output_log_probs(&hidden, &output, &targets, 0.7, part).unwrap());
            let whole =
                gradients(&|hidden, output| crate::token_log_probs(hidden.matmul(output), targets.clone(), 0.7));
            for (found, expected) in in_parts.iter().zip(&whole) {
                let differences = found.iter().zip(expected).map(|(x, y)| (x - y).abs());
                assert!(found.len() == expected.len() && differences.fold(0.0, f32::max) < 1e-5, "{part} rows a part");
            }
        }
    }
}
