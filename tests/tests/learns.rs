//! Tiny models must learn what can be learnt: by imitation, and from rewards alone.

use data::{Benchmark, DataOptions, Goal, Prompting, Split};
use eval::{About, Policy, Sample, SampleConfig, evaluate, greedy_accuracy};
use model::Device;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};
use tempfile::TempDir;
use tests::{Solved, curve, flag, mean, rl, write_gsm8k, write_random_model};

/// Two-step problems whose numbers and words differ.
fn word_problems() -> Vec<Solved> {
    let names = ["Ann", "Ben", "Eve", "Tom"];
    (0..16)
        .map(|i| {
            let (name, a, b, c) = (names[i % 4], 2 + i % 7, 3 + i % 5, 1 + i % 3);
            let (product, rest) = (a * b, a * b - c);
            (
                format!("{name} has {a} bags of {b} nuts and eats {c}. How many are left?"),
                format!("{a}*{b} = <<{a}*{b}={product}>>{product} nuts.\n{product}-{c} = <<{product}-{c}={rest}>>{rest}.\n#### {rest}"),
            )
        })
        .collect()
}

#[test]
fn sft_learns_a_handful_of_problems_by_heart() {
    let folder = tempfile::tempdir().unwrap();
    let [model, run] = ["model", "run"].map(|name| folder.path().join(name));
    let problems = word_problems();
    write_gsm8k(folder.path(), &problems, &problems).unwrap();
    write_random_model(&model, &problems, 1).unwrap();
    let flags = [
        &*flag("init", &model),
        &*flag("out", &run),
        &*flag("data-dir", folder.path()),
        "--benchmark=gsm8k",
        "--steps=150",
        "--batch-size=14",
        "--learning-rate=4e-3",
        "--weight-decay=0",
        "--eval-every=150",
        "--max-new-tokens=64",
    ];
    rl("sft", &flags).unwrap();

    let loss = curve(&run, "loss").unwrap();
    let (first, last) = (loss[0], mean(&loss[loss.len() - 10..]));
    assert!(first > 4.0, "random weights know nothing: {first} nats per token");
    assert!(last < 0.03, "{last} nats per token are left of {first}");

    let policy = Policy::load(&run, &Device::default()).unwrap();
    let data = DataOptions { data_dir: Some(folder.path().to_path_buf()), ..DataOptions::default() };
    let training = Benchmark::gsm8k().load(Split::Train, &data).unwrap();
    assert_eq!(training.len(), 14, "a tenth is held out");
    let sampling = SampleConfig {
        samples: 1,
        temperature: 0.0,
        max_new_tokens: 64,
        rows: 16,
        streams: None,
        threads: 1,
        prompting: Prompting::default(),
        answer_format: data::AnswerFormat::Gsm8k,
        calculator: false,
        checker: None,
        servers: None,
    };
    let (accuracy, samples) = greedy_accuracy(&policy, &training, &sampling).unwrap();
    assert_eq!(accuracy, 1.0, "{samples:#?}");
    let [before, after] = ["before", "after"].map(|part| greedy_accuracy_of(&run, part));
    assert!(before == 0.0 && after >= 0.875, "of the sixteen, two of which are held out: {before} and {after}");
}

/// Requests for a number, each answered by a number without a step.
fn requests(answers: impl Fn(usize) -> Vec<usize>) -> Vec<Solved> {
    let forms = [("Say ", "."), ("Write ", "."), ("Give me ", "."), ("Which number is ", "?"), ("Please name ", ".")];
    let mut solved = Vec::new();
    for number in 0..10 {
        for (before, after) in forms {
            for answer in answers(number) {
                solved.push((format!("{before}{number}{after}"), format!("#### {answer}")));
            }
        }
    }
    solved
}

/// The answers of the policy before PPO: the requested number in 7 cases of 20, the next one in 10, and the one after that in 3. So
/// its likeliest answer is wrong.
fn often_wrong(number: usize) -> Vec<usize> {
    [[number].repeat(7), [(number + 1) % 10].repeat(10), [(number + 2) % 10].repeat(3)].concat()
}

/// maj@1 of the final table.
fn greedy_accuracy_of(run: &Path, part: &str) -> f64 {
    let evaluation: Value = serde_json::from_slice(&fs::read(run.join("eval.json")).unwrap()).unwrap();
    evaluation[part]["maj@1"]["value"].as_f64().unwrap()
}

/// A policy that is right sometimes, what it was made from, and the requests with their right answers.
struct Sometimes {
    base: PathBuf,
    policy: PathBuf,
    truth: PathBuf,
    _folder: TempDir,
}

/// Runs `rl sft` on the solutions of a folder until its samples are distributed as they are.
fn sft(base: &Path, out: &Path, data_dir: &Path, more: &[&str]) {
    let flags = [
        &*flag("init", base),
        &*flag("out", out),
        &*flag("data-dir", data_dir),
        "--benchmark=gsm8k",
        "--steps=200",
        "--batch-size=50",
        "--learning-rate=3e-3",
        "--warm-up=20",
        "--eval-every=200",
    ];
    rl("sft", &[flags.as_slice(), more].concat()).unwrap();
}

/// Made once for all tests.
fn right_sometimes() -> &'static Sometimes {
    static MADE: LazyLock<Sometimes> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let [mixture, truth, base, policy] = ["mixture", "truth", "model", "sft"].map(|name| folder.path().join(name));
        let (mixed, right) = (requests(often_wrong), requests(|number| vec![number]));
        write_gsm8k(&mixture, &mixed, &right).unwrap();
        write_gsm8k(&truth, &right, &right).unwrap();
        write_random_model(&base, &mixed, 1).unwrap();
        sft(&base, &policy, &mixture, &["--max-new-tokens=8"]);
        Sometimes { base, policy, truth, _folder: folder }
    });
    &MADE
}

/// Runs `rl ppo` from the policy that is right sometimes; the run, and what its reward was at first and at last.
fn ppo(folder: &Path, name: &str, more: &[&str]) -> (PathBuf, f64, f64) {
    let start = right_sometimes();
    let run = folder.join(name);
    let flags = [
        &*flag("init", &start.policy),
        &*flag("out", &run),
        &*flag("data-dir", &start.truth),
        "--benchmark=gsm8k",
        "--steps=30",
        "--questions=16",
        "--samples=8",
        "--mini-batch=64",
        "--ppo-epochs=2",
        "--learning-rate=5e-4",
        "--value-learning-rate=4e-3",
        "--value-warm-up=2",
        "--value-layers=1",
        "--kl-coefficient=0.03",
        "--eval-every=10",
        "--max-new-tokens=8",
        "--test-samples=4",
    ];
    rl("ppo", &[flags.as_slice(), more].concat()).unwrap();
    let reward = curve(&run, "reward/mean").unwrap();
    let (first, last) = (mean(&reward[..3]), mean(&reward[reward.len() - 5..]));
    assert!((0.25..0.5).contains(&first), "right sometimes: {first}");
    (run, first, last)
}

#[test]
fn ppo_raises_the_reward_of_a_policy_that_is_right_sometimes() {
    let folder = tempfile::tempdir().unwrap();
    for seed in ["--seed=1", "--seed=2"] {
        let (run, first, last) = ppo(folder.path(), seed, &[seed]);
        assert!(last > first + 0.5, "{seed}: from {first} to {last}");
        // Always right, where it was right in 35 of 100 cases, is a divergence of ln(1 / 0.35) = 1.05 nats. It ends near
        // that. On the way it may pass it for a step, where an answer was tried that the start gave rarely, but stays bounded.
        let kl = curve(&run, "kl/per_completion").unwrap();
        assert!(kl.iter().all(|kl| *kl < 3.2), "{seed}: {kl:.2?}");
        assert!(mean(&kl[kl.len() - 5..]) < 1.3, "{seed}: {kl:.2?}");
        let (before, after) = (greedy_accuracy_of(&run, "before"), greedy_accuracy_of(&run, "after"));
        assert!(before < 0.3 && after > 0.9, "{seed}: the likeliest answer is right in {before} before, {after} after");
    }
}

#[test]
fn samples_that_are_compared_with_each_other_need_no_critic() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["group", "rloo"] {
        let (_, first, last) = ppo(folder.path(), kind, &[&format!("--advantage={kind}")]);
        assert!(last > first + 0.5, "{kind}: from {first} to {last}");
    }
}

#[test]
fn a_policy_trained_behind_labels_is_good_after_the_good_label_and_bad_after_the_bad_one() {
    let (folder, start) = (tempfile::tempdir().unwrap(), right_sometimes());
    let run = rcrl(folder.path(), &start.base, &start.policy, &start.truth, "outcome");
    let (before, good, bad) =
        (greedy_accuracy_of(&run, "before"), greedy_accuracy_of(&run, "after"), greedy_accuracy_of(&run, "bad"));
    assert!(
        before < 0.3 && good > 0.9 && bad < 0.1,
        "{before} before, {good} after the good label, {bad} after the bad one"
    );
}

/// Runs `rl rcrl` on samples of `policy`.
fn rcrl(folder: &Path, base: &Path, policy: &Path, truth: &Path, labels: &str) -> PathBuf {
    let run = folder.join(labels);
    let flags = [
        &*flag("init", policy),
        &*flag("base", base),
        &*flag("out", &run),
        &*flag("data-dir", truth),
        &*format!("--labels={labels}"),
        "--benchmark=gsm8k",
        "--samples=16",
        "--completions=16",
        "--temperature=1",
        "--steps=200",
        "--batch-size=50",
        "--learning-rate=3e-3",
        "--warm-up=20",
        "--eval-every=100",
        "--max-new-tokens=24",
        "--test-samples=4",
    ];
    rl("rcrl", &flags).unwrap();
    run
}

/// Requests whose first line decides how often the second is right: after "Sure." three times of four, after "Perhaps." once of six.
fn by_first_line(number: usize) -> Vec<(&'static str, usize)> {
    let next = (number + 1) % 10;
    let sure = [("Sure.", number), ("Sure.", number), ("Sure.", number), ("Sure.", next)];
    let perhaps = [[("Perhaps.", next)].repeat(5), vec![("Perhaps.", number)]].concat();
    [sure.to_vec(), perhaps].concat()
}

/// The share of solutions that begin with "Sure.", and of those that are right, after the label of a goal.
fn sure_and_right(run: &Path, data_dir: &Path, goal: Goal) -> (f64, f64) {
    let policy = Policy::load(run, &Device::default()).unwrap();
    let data = DataOptions { data_dir: Some(data_dir.to_path_buf()), ..DataOptions::default() };
    let problems = Benchmark::gsm8k().load(Split::Test, &data).unwrap();
    let prompting = Prompting { goal, ..Prompting::default() };
    let sampling = SampleConfig {
        samples: 4,
        temperature: 1.0,
        max_new_tokens: 24,
        rows: 64,
        streams: None,
        threads: 1,
        prompting,
        answer_format: data::AnswerFormat::Gsm8k,
        calculator: false,
        checker: None,
        servers: None,
    };
    let about = About {
        answer_format: data::AnswerFormat::Gsm8k,
        benchmark: "gsm8k".into(),
        split: Split::Test,
        temperature: None,
        checkpoint: None,
        truncated: None,
        mean_tokens: None,
        checker: None,
    };
    let evaluation = evaluate(&policy, &problems, about, &sampling, 1, None, &|_| ()).unwrap();
    let samples: Vec<&Sample> = evaluation.samples.iter().flatten().collect();
    let share =
        |is: fn(&Sample) -> bool| samples.iter().filter(|sample| is(sample)).count() as f64 / samples.len() as f64;
    (share(|sample| sample.completion.trim_start().starts_with("Sure.")), share(|sample| sample.correct))
}

#[test]
fn labels_of_steps_tell_good_lines_from_bad_ones_where_the_outcome_of_the_whole_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let [mixture, truth, base, policy] = ["mixture", "truth", "model", "sft"].map(|name| folder.path().join(name));
    let with_line = |answers: &dyn Fn(usize) -> Vec<(&'static str, usize)>| -> Vec<Solved> {
        let of = |(number, (question, _)): (usize, Solved)| {
            answers(number).into_iter().map(move |(line, answer)| (question.clone(), format!("{line}\n#### {answer}")))
        };
        let requests = requests(|number| vec![number]);
        (0..10).flat_map(|number| [number; 5]).zip(requests).flat_map(of).collect()
    };
    let (mixed, right) = (with_line(&by_first_line), with_line(&|number| vec![("Sure.", number)]));
    write_gsm8k(&mixture, &mixed, &right).unwrap();
    write_gsm8k(&truth, &right, &right).unwrap();
    write_random_model(&base, &mixed, 1).unwrap();
    sft(&base, &policy, &mixture, &["--max-new-tokens=24", "--test-problems=0"]);
    // As many distinct right solutions as wrong ones are trained on, so each first line comes before as many right ones as wrong ones:
    // the outcome does not distinguish first lines. Fresh completions do.
    let of = |labels: &str| {
        let run = rcrl(folder.path(), &base, &policy, &truth, labels);
        [Goal::Good, Goal::Bad].map(|goal| sure_and_right(&run, &truth, goal))
    };
    let [(good_line, good), (bad_line, bad)] = of("steps");
    assert!(
        good_line > 0.9 && bad_line < 0.1,
        "first lines: {good_line} after the good label, {bad_line} after the bad one"
    );
    assert!(good > 0.85 && bad < 0.15, "answers: {good} after the good label, {bad} after the bad one");
    let [(good_line, good), (bad_line, bad)] = of("outcome");
    assert!((good_line - bad_line).abs() < 0.4, "the outcome tells first lines apart: {good_line} and {bad_line}");
    assert!(good > 0.85 && bad < 0.15, "answers: {good} after the good label, {bad} after the bad one");
}
