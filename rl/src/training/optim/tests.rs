//! Tests of `optim.rs`.

use super::*;

#[derive(Module, Debug)]
struct Pair {
    first: Param<Tensor<2>>,
    second: Param<Tensor<1>>,
}

impl Trainable for Pair {}

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
fn a_norm_that_is_not_finite_changes_neither_weights_nor_moments() {
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
fn an_optimiser_state_that_was_saved_and_loaded_continues_unchanged() {
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
                // One parameter starts later, as the policy does after the critic's warm-up.
                gradients.remove::<2>(model.first.id);
            }
            model = optimizer.step(model, gradients, &|_| 0.1, 1).0;
        }
        values(&model)
    };
    assert_eq!(stepped(true), stepped(false));
}

#[test]
fn an_optimiser_state_with_a_missing_or_surplus_moment_is_refused() {
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
        let found = gradients(&model, &parts, GradientOptions::on(threads), |model, &part| {
            (model.first.val().sum().mul_scalar(part) + model.second.val().square().mul_scalar(part), move || part)
        });
        assert_eq!(found.reports, parts);
        let first = found.params.get::<2>(model.first.id).unwrap();
        let second = found.params.get::<1>(model.second.id).unwrap();
        assert_eq!([to_host(first).values, to_host(second).values].concat(), [15.0, 15.0, 90.0]);
    }
}

#[test]
fn the_learning_rate_rises_linearly_and_falls_along_a_cosine() {
    let rate = |step| learning_rate(step, 12, 2, 1.0, 0.2);
    assert_eq!([rate(0), rate(1), rate(2)], [0.5, 1.0, 1.0]);
    assert!((rate(7) - 0.6).abs() < 1e-12, "half-way: the mean of peak and end");
    assert!((rate(12) - 0.2).abs() < 1e-12 && (rate(100) - 0.2).abs() < 1e-12);
    assert!((2..11).all(|step| rate(step + 1) < rate(step)));
    assert_eq!(learning_rate(0, 1, 0, 3.0, 0.1), 3.0);
    assert!(learning_rate(5, 3, 8, 1.0, 0.1) < 1.0, "a warm-up longer than the run");
}
