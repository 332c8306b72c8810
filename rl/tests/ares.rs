//! Claims about ARES as a whole: what each stage starts from and trains on, whichever teacher it has, and that a run that was stopped is the run
//! that never stopped.

mod common;
#[path = "common/place.rs"]
mod place;

use common::{assert_same_run, files, metrics, resume, run, run_ares, run_orm, start_with_steps};
use data::{Split, checked_lines, synthetic};
use eval::read_samples;
use place::place;
use std::{collections::HashMap, fs, path::Path};

fn config(dir: &Path) -> toml::Table {
    fs::read_to_string(dir.join("config.toml")).unwrap().parse().unwrap()
}

/// Question and solution of each corrected sample.
fn corrections(dir: &Path, round: usize) -> Vec<(String, String)> {
    let text = fs::read_to_string(dir.join(format!("rounds/{round}/corrections.jsonl"))).unwrap();
    let line = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap().to_string();
        (text("question"), text("answer"))
    };
    text.lines().map(line).collect()
}

#[test]
fn ppo_and_sft_take_turns_and_sft_learns_samples_whose_lines_are_all_right() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run_ares(&folder.path().join("run"), &[]).unwrap();
    let from = |stage: &str| config(&dir.join(stage))["init"].as_str().unwrap().to_string();
    assert!(from("rounds/1/sft").contains("/rounds/1/ppo/checkpoints/"), "{}", from("rounds/1/sft"));
    assert!(from("rounds/2/ppo").ends_with("checkpoints/step-000001"), "{}", from("rounds/2/ppo"));
    assert!(from("rounds/2/sft").contains("/rounds/2/ppo/checkpoints/"), "{}", from("rounds/2/sft"));
    let weights = config(&dir.join("rounds/1/ppo"))["reward_weights"].as_str().unwrap().to_string();
    assert_eq!(weights, "checked-lines=1,lines=-0.5");
    let problems = synthetic::FIRST.problems(Split::Train);
    let by_question: HashMap<&str, &data::Problem> =
        problems.iter().map(|problem| (problem.question.as_str(), problem)).collect();
    let samples = read_samples(&dir.join("samples.jsonl")).unwrap();
    for round in [1, 2] {
        let of_round = samples.iter().filter(|sample| sample.step == Some(round)).count();
        let corrected = corrections(&dir, round);
        assert!(!corrected.is_empty() && corrected.len() <= of_round, "{} of {of_round}", corrected.len());
        for (question, solution) in &corrected {
            let problem = by_question[question.as_str()];
            let lines = checked_lines(problem, solution, true);
            assert!(lines.iter().all(|line| line.kind.score() > 0.0), "{solution}");
            assert_eq!(data::gold_answer(solution).unwrap(), problem.answer, "{solution}");
        }
        let line = &metrics(&dir)[round - 1];
        assert_eq!(line["samples"].as_f64(), Some((round * (3 * 2 * 4 + of_round)) as f64));
        assert_eq!(line["round/corrections"].as_f64(), Some(corrected.len() as f64));
        for name in ["ppo/maj@1", "ppo/repeated", "ppo/truncated", "validation/maj@1", "validation/truncated"] {
            assert!(line[name].is_number(), "{name}: {line:?}");
        }
    }
    assert!(dir.join("eval.json").is_file() && dir.join("report.html").is_file());
    assert!(!dir.join("rounds/1/ppo/eval.json").exists());
    eval::Policy::load(&dir, &Default::default()).unwrap();
}

#[test]
fn a_run_that_was_stopped_in_each_stage_and_resumed_is_the_run_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    for (name, more) in [("full", &[][..]), ("adapters", &["--lora-rank=2"])] {
        let straight = run_ares(&folder.path().join(name), more).unwrap();
        let dir = folder.path().join(format!("{name}-stopped"));
        let error = run_ares(&dir, &[more, &["--stop-after=1"]].concat()).unwrap_err();
        let parts = ["PPO of round 1", &format!("the whole is resumed with --resume {}", dir.display())];
        assert!(parts.iter().all(|part| format!("{error:#}").contains(part)), "{error:#}");
        assert_eq!(metrics(&dir.join("rounds/1/ppo")).len(), 1);
        let go_on = format!("--resume={}", dir.display());
        let error = run(&["ares", &go_on, "--quiet", "--stop-after=1"]).unwrap_err();
        assert!(format!("{error:#}").contains("SFT of round 1"), "{error:#}");
        resume("ares", &dir).unwrap();
        assert_same_run(&dir, &straight);
        for stage in ["rounds/1/ppo", "rounds/1/sft", "rounds/2/ppo", "rounds/2/sft"] {
            let [of_dir, of_straight] = [&dir, &straight].map(|dir| dir.join(stage));
            assert_eq!(metrics(&of_dir), metrics(&of_straight), "{stage}");
            let checkpoints = |dir: &Path| {
                let all = files(&dir.join("checkpoints")).into_iter();
                all.filter(|(path, _)| path.extension().is_some_and(|kind| kind == "safetensors")).collect::<Vec<_>>()
            };
            assert!(checkpoints(&of_dir) == checkpoints(&of_straight), "{stage}");
        }
    }
}

#[test]
fn a_reward_model_or_a_program_scores_lines_and_a_program_corrects() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--max-new-tokens=64", "--temperature=1.3", "--steps=30", "--eval-every=30"];
    let orm = run_orm(start_with_steps(), &folder.path().join("orm"), &flags).unwrap();
    let orm = format!("--orm={}", orm.display());
    let dir = run_ares(&folder.path().join("orm-run"), &["--teacher=orm", &orm, "--alternations=1"]).unwrap();
    assert_eq!(config(&dir.join("rounds/1/ppo"))["reward_weights"].as_str(), Some("orm-lines=1,lines=-0.5"));
    assert!(!corrections(&dir, 1).is_empty());
    // All lines are bad: what is left is the reference. Then a program gives its own.
    let bad = r#"--reward-command=python3 -uc "import sys, json
for line in sys.stdin:
    items = json.loads(line)['items']
    print(json.dumps({'id': json.loads(line)['id'], 'rewards': [[0.0] * len(item['line_ends']) for item in items]}))""#;
    let external = ["--teacher=external", bad, "--alternations=1"];
    let dir = run_ares(&folder.path().join("external"), &external).unwrap();
    let problems = synthetic::FIRST.problems(Split::Train);
    let references: Vec<&str> = problems.iter().map(|problem| problem.solution.as_str()).collect();
    assert!(corrections(&dir, 1).iter().all(|(_, solution)| references.contains(&solution.as_str())));
    let corrector =
        r##"--corrector-command=while read -r line; do printf '%s\n' '{"solution":"Nothing.\n#### 0"}'; done"##;
    let dir = run_ares(&folder.path().join("corrector"), &["--alternations=1", corrector]).unwrap();
    assert!(corrections(&dir, 1).iter().all(|(_, solution)| solution == "Nothing.\n#### 0"));
}

#[test]
fn a_mistake_is_named_before_anything_is_made_and_a_dry_run_shows_both_stages() {
    let place = place();
    let ares = |more: &[&'static str]| -> Vec<&'static str> {
        let flags = ["ares", "--init=model", "--out=run", "--quiet", "--device=cpu", "--limit=4", "--test-problems=0"];
        [flags.as_slice(), more].concat()
    };
    place.fails(&ares(&["--teacher=orm"]), &["with --init", "rl orm --init", "--orm"]);
    place.fails(&ares(&["--teacher=orm", "--orm=nowhere"]), &["nowhere"]);
    place.fails(&ares(&["--teacher=orm", "--orm=model"]), &["not a reward model", "rl orm"]);
    place.fails(&ares(&["--orm=model"]), &["--orm is not used by this teacher", "--teacher orm"]);
    place.fails(&ares(&["--teacher=external"]), &["--reward-command or --reward-url"]);
    place.fails(&ares(&["--reward-command=true"]), &["--teacher external"]);
    place.fails(&ares(&["--ppo-mini-batch=500"]), &["--mini-batch 500 is more than the 256 samples"]);
    place.refuses_usage(&ares(&["--alternations=0"]), &["--alternations"]);
    let output = place.run(&ares(&["--dry-run"]));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    let [ppo, sft] = ["# rl ppo --dry-run", "# rl sft --dry-run"].map(|part| printed.find(part).unwrap());
    assert!(ppo < sft, "{printed}");
}
