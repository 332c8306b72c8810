//! Tests of `supervised.rs`.

use super::*;
use model::{ModelConfig, ModelSize};

fn examples(count: u32) -> Vec<Example> {
    (0..count).map(|i| Example::new(vec![i, 1 + i % 3, 5, 6 + i % 2][..2 + (i as usize) % 3].to_vec(), 1)).collect()
}

fn model() -> Transformer {
    let config = ModelConfig { hidden_size: 16, intermediate_size: 24, ..ModelConfig::of_size(ModelSize::Tiny, 20, 0) };
    Transformer::init(&config, 1, &Device::default())
}

#[test]
fn steps_win_over_epochs_and_there_is_at_least_one() {
    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        fit: FitArgs,
    }
    let steps = |flags: &[&str], examples| {
        let flags = ["fit", "--batch-size=64"].iter().chain(flags);
        <Flags as clap::Parser>::try_parse_from(flags).unwrap().fit.total_steps(examples)
    };
    assert_eq!(steps(&["--epochs=1"], 130), 3);
    assert_eq!(steps(&["--epochs=2.5"], 64), 3);
    assert_eq!(steps(&["--epochs=3", "--steps=7"], 130), 7);
    assert_eq!(steps(&["--epochs=0"], 130), 1);
}

#[test]
fn an_update_reports_the_loss_before_it_and_lowers_it() {
    let (examples, mut model) = (examples(12), model());
    let mut optimizer = Adam::new(0.9, 0.98, 1e-8, 0.0, 1.0);
    let before = mean_loss(&model, &examples, 5, 1);
    for step in 0..20 {
        let update = update(model, &examples, &likelihood_loss, &mut optimizer, 3e-3, 3, GradientOptions::on(2));
        model = update.model;
        if step == 0 {
            assert!((update.loss - before).abs() < 1e-5, "{} against {before}", update.loss);
            assert!(update.grad_norm > 0.0);
        }
    }
    let after = mean_loss(&model, &examples, 5, 1);
    assert!(after < 0.7 * before, "{after} after, {before} before");
}

#[test]
fn the_mean_loss_does_not_depend_on_the_split() {
    let (examples, model) = (examples(12), model());
    let expected = mean_loss(&model, &examples, 12, 1);
    for (micro_batch, threads) in [(1, 1), (5, 2)] {
        assert!((mean_loss(&model, &examples, micro_batch, threads) - expected).abs() < 1e-6 * expected);
    }
}
