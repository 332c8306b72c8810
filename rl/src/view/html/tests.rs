use super::*;
use crate::run::fixture::{report, write_run};
use std::fs;

fn run_dir() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path());
    folder
}

fn report_of(dir: &Path) -> String {
    fs::read_to_string(write_report(dir, &summary_keys::<crate::algorithms::ppo::PpoConfig>()).unwrap()).unwrap()
}

#[test]
fn a_report_has_table_curves_samples_and_configuration() {
    let folder = run_dir();
    let text = report_of(folder.path());
    for part in [
        "rl ppo · benchmark synthetic",
        "<th>before</th><th>after</th><th>change</th>",
        "+0.600",
        "Reward and accuracy",
        "<svg",
        "The same at every step: kl&#x2f;coefficient 0.05, loss&#x2f;skipped 0",
        "<dt>learning_rate</dt><dd>0.0002</dd>",
        "synthetic-train-20-15",
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert_eq!(text.matches("<article").count(), 320);
    assert!(text.len() < 1_000_000, "{} bytes", text.len());
}

#[test]
fn html_in_a_sample_is_escaped() {
    let folder = run_dir();
    let path = folder.path().join("samples.jsonl");
    let hostile = "</pre><script>alert(1)</script>\\\" onload='x'";
    let line = fs::read_to_string(&path).unwrap().lines().next().unwrap().replace("Ann has 0 + 1", hostile);
    fs::write(&path, line.replace("synthetic-train-1-0", hostile) + "\n").unwrap();
    let text = report_of(folder.path());
    assert!(text.contains("&lt;script&gt;alert(1)"), "{text}");
    assert_eq!(text.matches("<script>").count(), 1, "the page's own");
    assert!(!text.contains("onload='x'") && !text.contains("\" onload"));
}

#[test]
fn a_name_of_a_metric_and_a_setting_are_escaped() {
    let folder = run_dir();
    fs::write(folder.path().join("config.toml"), "init = \"<b>\"\n").unwrap();
    let line = |step: usize| format!("{{\"step\":{step},\"<i>&\":{step}}}\n");
    fs::write(folder.path().join("metrics.jsonl"), line(1) + &line(2)).unwrap();
    let text = report_of(folder.path());
    assert!(!text.contains("<i>&") && text.contains("&lt;i&gt;&amp;") && text.contains("<dd>&lt;b&gt;</dd>"));
}

#[test]
fn a_report_loads_nothing() {
    let folder = run_dir();
    let text = report_of(folder.path()).replace("http://www.w3.org/2000/svg", "");
    for part in ["http:", "https:", "src=", "href=", "url(", "@import", "fetch("] {
        assert!(!text.contains(part), "{part}");
    }
}

#[test]
fn long_samples_are_thinned_until_the_page_is_small() {
    let folder = run_dir();
    let path = folder.path().join("samples.jsonl");
    let long = fs::read_to_string(&path).unwrap().replace("apples.", &"many apples. ".repeat(1000));
    fs::write(&path, long).unwrap();
    let text = report_of(folder.path());
    assert!(text.len() < 1_000_000, "{} bytes", text.len());
    assert!(text.contains("data-step=\"1\"") && text.contains("many apples"));
}

#[test]
fn a_run_without_samples_or_table_has_a_report() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.toml"), "benchmark = \"synthetic\"\n").unwrap();
    let text = report_of(folder.path());
    assert!(text.contains("no step is finished yet"));
    for part in ["<article", "<table", "<svg", "<script"] {
        assert!(!text.contains(part), "{part}");
    }
}

#[test]
fn a_single_evaluation_has_no_change() {
    let folder = run_dir();
    fs::write(folder.path().join("eval.json"), serde_json::to_string(&report(4)).unwrap()).unwrap();
    let text = report_of(folder.path());
    assert!(text.contains("<th>policy</th></tr>") && text.contains("0.400") && !text.contains("<th>change"));
}
