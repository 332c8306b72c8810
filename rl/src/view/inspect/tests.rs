use super::*;
use crate::run::fixture::write_run;
use crate::{algorithms::ppo::PpoConfig, cli::effect::summary_keys};
use std::{fs, path::Path};

fn config(dir: &Path) -> InspectConfig {
    InspectConfig { dir: dir.into(), metric: vec![], samples: 6, right: false, wrong: false, step: None, html: false }
}

fn run_dir() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path());
    folder
}

/// As [`describe`], with the summary of PPO.
fn shown(config: &InspectConfig) -> Result<String> {
    describe(config, &RunFiles::read(&config.dir)?, &summary_keys::<PpoConfig>())
}

#[test]
fn a_run_is_shown_from_its_command_to_its_last_samples() {
    let folder = run_dir();
    let text = shown(&InspectConfig { wrong: true, step: Some(10), ..config(folder.path()) }).unwrap();
    let places: Vec<usize> = [
        "rl ppo · benchmark synthetic · steps 20",
        "last step: 20",
        "\nreward/mean: ",
        "\nvalidation/maj@1: 0.2375 -> 0.65",
        "\nkl/k3: ",
        "| before |",
        "| after ",
        "step 10: 16 samples, 8 of them correct",
        "✗ synthetic-train-10-8",
        "wrong: answer 19, expected 18 · reward 0 · 38 tokens\n",
        "answer none, expected 25 · reward 0 · 45 tokens, truncated",
    ]
    .iter()
    .map(|part| text.find(part).unwrap_or_else(|| panic!("{part} is not in\n{text}")))
    .collect();
    assert!(places.is_sorted(), "{text}");
    assert!(!text.contains('✓'));
}

#[test]
fn the_samples_of_the_last_step_are_shown_without_a_flag() {
    let folder = run_dir();
    let text = shown(&InspectConfig { samples: 2, right: true, ..config(folder.path()) }).unwrap();
    assert_eq!(text.matches('✓').count(), 2, "{text}");
    assert!(text.contains("step 20: 16 samples, 15 of them correct"), "{text}");
    let none = shown(&InspectConfig { right: true, step: Some(1), ..config(folder.path()) }).unwrap();
    assert!(none.contains("none of them is correct"), "{none}");
}

#[test]
fn a_missing_metric_or_step_is_an_error_that_lists_those_that_exist() {
    let folder = run_dir();
    let metric = InspectConfig { metric: vec!["reward".into()], ..config(folder.path()) };
    let error = shown(&metric).unwrap_err().to_string();
    assert!(error.contains("`reward`") && error.contains("reward/mean"), "{error}");
    let error = shown(&InspectConfig { step: Some(99), ..config(folder.path()) }).unwrap_err().to_string();
    assert!(error.contains("step 99") && error.contains("from 1 to 20"), "{error}");
}

#[test]
fn a_supervised_run_has_curves_and_no_samples() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String =
        (1..30).map(|step| format!("{{\"step\":{step},\"loss\":{}}}\n", 3.0 / f64::from(step))).collect();
    fs::write(folder.path().join("metrics.jsonl"), lines).unwrap();
    fs::write(folder.path().join("samples.jsonl"), "").unwrap();
    let text = shown(&config(folder.path())).unwrap();
    assert!(text.contains("loss: 3 -> 0.1034") && text.ends_with("no samples\n"), "{text}");
    let error = shown(&InspectConfig { right: true, ..config(folder.path()) }).unwrap_err().to_string();
    assert!(error.contains("no samples"), "{error}");
}

#[test]
fn absurd_values_are_drawn_without_a_panic() {
    for (low, high) in [(-1e300, 1e300), (1e-320, 2e-320), (1e-60, 2e-60), (1.0, 1.0 + 1e-16), (1.0, 1.0 + 1e-12)] {
        let curves = Curves::from([("x".to_string(), vec![(1.0, low), (2.0, high)])]);
        let mut text = String::new();
        draw(&mut text, "x", &curves).unwrap();
        assert!(text.contains("x: "), "{text}");
    }
}

#[test]
fn control_characters_are_replaced() {
    assert_eq!(printable("a\u{1b}[2Jb\nc\r"), "a\u{fffd}[2Jb\nc\u{fffd}");
}
