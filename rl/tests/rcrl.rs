//! Claims about return-conditioned RL as a whole: what its policy is conditioned on when it samples, and that a run that was stopped is the
//! run that never stopped. That it learns what its labels say is claimed in `tests/`.

mod common;

use common::{assert_same_run, problems, resume, run_rcrl};
use data::{Goal, PromptStyle, Prompting, encode_with_goals, goal::lines};
use eval::{Policy, SampleConfig, complete};
use model::{Device, Finish, Key, Purpose, score, to_host};
use rl::training::batch::{Row, pad};
use serde_json::Value;
use std::process::Command;

#[test]
fn a_completion_after_labels_has_the_probability_that_training_computes() {
    let folder = tempfile::tempdir().unwrap();
    let problems = problems();
    for (labels, per_line) in [("steps", true), ("outcome", false)] {
        let dir =
            run_rcrl(&folder.path().join(labels), &[&format!("--labels={labels}"), "--steps=40", "--eval-every=40"])
                .unwrap();
        let policy = Policy::load(&dir, &Device::default()).unwrap();
        let mut compared = 0;
        for goal in [Goal::Good, Goal::Bad] {
            let config = SampleConfig {
                calculator: false,
                checker: None,
                servers: None,
                samples: 4,
                temperature: 0.7,
                max_new_tokens: 64,
                rows: 5,
                streams: None,
                threads: 2,
                prompting: Prompting { goal, ..Prompting::default() },
                answer_format: data::AnswerFormat::Gsm8k,
            };
            let key =
                |problem: usize, sample: usize| Key::new(1, Purpose::Generate).with(problem as u64).with(sample as u64);
            let (completions, stats) = complete(&policy, &problems, &config, key, &|_| ()).unwrap();
            assert!(stats.new_tokens > 0);
            // Samples of one prompt are read together, and each has its own draws all the same.
            let one = SampleConfig { samples: 1, ..config.clone() };
            let (alone, _) = complete(&policy, &problems[..1], &one, |_, _| key(0, 2), &|_| ()).unwrap();
            assert_eq!(alone[0][0].tokens, completions[0][2].tokens);
            for (problem, completion) in
                problems.iter().zip(&completions).flat_map(|(problem, row)| row.iter().map(move |c| (problem, c)))
            {
                assert!(completion.tokens.len() <= 64 && completion.tokens.len() == completion.log_probs.len());
                let text = policy.tokenizer.decode(&completion.tokens);
                let goals = vec![goal; if per_line { lines(&text).count() } else { 1 }];
                if goals.is_empty() {
                    continue;
                }
                let style = PromptStyle::Plain;
                let mut example =
                    encode_with_goals(&policy.tokenizer, &style.into(), &problem.question, &text, &goals, &[]).unwrap();
                if completion.finish == Finish::Length {
                    example.tokens.pop();
                }
                let targets: Vec<u32> = example.response().map(|place| example.tokens[place]).collect();
                // A text may be put into tokens in several ways: those that are what was written can be compared.
                if targets == completion.tokens {
                    let scored = score(&policy.model, &pad(&[&example], &Device::default()), 1.0);
                    let log_probs = to_host(scored.log_probs).values;
                    for (trained, sampled) in log_probs.iter().zip(&completion.log_probs) {
                        assert!((trained - sampled).abs() < 1e-3, "{labels}: {trained} against {sampled} in {text:?}");
                    }
                    compared += 1;
                }
            }
        }
        assert!(compared >= 8, "{labels}: only {compared} completions could be compared");
    }
}

#[test]
fn a_run_that_was_stopped_and_resumed_is_the_run_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let straight = run_rcrl(&folder.path().join("straight"), &[]).unwrap();
    for step in [1, 3] {
        let dir = folder.path().join(format!("stopped-after-{step}"));
        let error = run_rcrl(&dir, &[&format!("--stop-after={step}")]).unwrap_err().to_string();
        assert!(error.ends_with(&format!("--resume {}", dir.display())), "{error}");
        resume("rcrl", &dir).unwrap();
        assert_same_run(&dir, &straight);
    }
    let report = std::fs::read_to_string(straight.join("eval.json")).unwrap();
    assert!(report.contains("\"bad\"") && straight.join("report.html").is_file());
}

#[test]
fn a_policy_that_expects_labels_cannot_start_ppo_and_keeps_them_when_exported() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run_rcrl(&folder.path().join("rcrl"), &["--steps=1"]).unwrap();
    let exported = folder.path().join("exported");
    let program = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_rl")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let paths = [format!("--checkpoint={}", dir.display()), format!("--out={}", exported.display())];
    program(&["export", &paths[0], &paths[1]]);
    let (problem, policy) = (&problems()[..1], Policy::load(&exported, &Device::default()).unwrap());
    let (init, question) = (format!("--init={}", exported.display()), format!("--question={}", problem[0].question));
    for (name, goal) in [("--goal=good", Goal::Good), ("--goal=bad", Goal::Bad)] {
        let fixed = ["generate", &init, &question, "--temperature=0", "--max-new-tokens=32", "--device=cpu", "--json"];
        let line: Value = serde_json::from_str(&program(&[fixed.as_slice(), &[name]].concat())).unwrap();
        let config = SampleConfig {
            calculator: false,
            checker: None,
            servers: None,
            samples: 1,
            temperature: 0.0,
            max_new_tokens: 32,
            rows: 1,
            streams: None,
            threads: 1,
            prompting: Prompting { goal, ..Prompting::default() },
            answer_format: data::AnswerFormat::Gsm8k,
        };
        let key = |_: usize, _: usize| Key::new(0, Purpose::Generate);
        let (completions, _) = complete(&policy, problem, &config, key, &|_| ()).unwrap();
        assert_eq!(line["tokens"], serde_json::json!(completions[0][0].tokens), "{name}");
    }
    let init = format!("--init={}", dir.display());
    let error = common::run_ppo(&folder.path().join("ppo"), &[&init]).unwrap_err().to_string();
    assert!(error.contains("needs labels"), "{error}");
    assert!(!folder.path().join("ppo").exists());
    let likelihood_of = format!("--likelihood-of={}", dir.display());
    let out = folder.path().join("orm");
    let error = common::run_orm(common::start_with_steps(), &out, &[&likelihood_of]).unwrap_err().to_string();
    assert!(error.contains("needs labels") && !out.exists(), "{error}");
}
