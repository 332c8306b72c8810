//! Rewards from outside, end to end: the runs they give, how they fail, and the examples of the documentation. Needs python3.
//! Longer than other files: each file here is a program of its own, which links all of burn.

use data::{Answer, Problem};
use eval::external::{Bounds, Item, Reward, RewardClient, Source};
use model::Finish;
use serde_json::{Map, Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::LazyLock,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tests::{Solved, curve, flag, metrics_without_clocks, rl, write_gsm8k};

/// Problems with three answers, so that a policy that has learnt little more than their form is right sometimes.
fn problems() -> Vec<Solved> {
    (0..30).map(|i| (format!("What is {i} modulo 3?"), format!("#### {}", i % 3))).collect()
}

/// Where the policies lie that the runs start from: `base`, and `sft`.
static PLACE: LazyLock<TempDir> = LazyLock::new(|| {
    let place = tempfile::tempdir().unwrap();
    write_gsm8k(place.path(), &problems(), &problems()).unwrap();
    let out = |name: &str| flag("out", &place.path().join(name));
    let shared = [&*flag("data-dir", place.path()), "--benchmark=gsm8k", "--seed=5"];
    let pretrain = [&*out("base"), "--vocabulary=290", "--context=32", "--steps=3", "--batch-size=8"];
    rl("pretrain", &[&shared[..], &pretrain[..]].concat()).unwrap();
    let init = flag("init", &place.path().join("base"));
    let sft = [&*init, &*out("sft"), "--max-new-tokens=16", "--steps=30", "--batch-size=8", "--test-problems=0"];
    rl("sft", &[&shared[..], &sft[..]].concat()).unwrap();
    place
});

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/rewards").join(name)
}

fn python(name: &str) -> String {
    format!("python3 '{}'", example(name).display())
}

/// `rl ppo` for four steps.
fn ppo(out: &Path, more: &[&str]) -> anyhow::Result<()> {
    let flags = [
        &*flag("init", &PLACE.path().join("sft")),
        &*flag("data-dir", PLACE.path()),
        &*flag("out", out),
        "--benchmark=gsm8k",
        "--seed=5",
        "--max-new-tokens=16",
        "--steps=4",
        "--questions=4",
        "--samples=3",
        "--mini-batch=6",
        "--value-warm-up=1",
        "--warm-up=1",
        "--eval-every=4",
        "--learning-rate=1e-3",
        "--test-problems=6",
        "--test-samples=2",
        "--threads=2",
    ];
    rl("ppo", &[&flags[..], more].concat())
}

fn resume(run: &Path, more: &[&str]) -> anyhow::Result<()> {
    rl("ppo", &[&[&*flag("resume", run)], more].concat())
}

/// Metrics but for clocks and for what only one of the two rewards logs.
fn shared_metrics(run: &Path) -> Vec<Map<String, Value>> {
    let text = metrics_without_clocks(run).unwrap();
    let lines = text.lines().map(|line| {
        let mut metrics: Map<String, Value> = serde_json::from_str(line).unwrap();
        let own = ["reward/answer", "reward/steps", "reward/external", "external/no_opinion"];
        metrics.retain(|name, _| !own.contains(&name.as_str()));
        metrics
    });
    lines.collect()
}

/// Metrics, samples, evaluation and last weights of two runs are the same.
#[track_caller]
fn assert_same(left: &Path, right: &Path) {
    assert_eq!(shared_metrics(left), shared_metrics(right));
    let last = eval::read_index(&left.join("checkpoints/index.json")).unwrap().last;
    let checkpoint =
        ["model.safetensors", "trainer/optimizer.safetensors"].map(|name| format!("checkpoints/{last}/{name}"));
    for name in checkpoint.iter().map(String::as_str).chain(["samples.jsonl", "eval.json"]) {
        assert!(fs::read(left.join(name)).unwrap() == fs::read(right.join(name)).unwrap(), "{name} differs");
    }
}

/// A run of the built-in sparse reward.
static SPARSE: LazyLock<PathBuf> = LazyLock::new(|| {
    let run = PLACE.path().join("sparse");
    ppo(&run, &[]).unwrap();
    run
});

#[test]
fn a_command_or_an_endpoint_that_pays_for_right_answers_gives_the_run_of_the_sparse_reward() {
    let folder = tempfile::tempdir().unwrap();
    assert!(curve(&SPARSE, "reward/mean").unwrap().iter().any(|reward| *reward > 0.0), "rewards took part");
    let [command, url] = ["command", "url"].map(|name| folder.path().join(name));
    ppo(&command, &["--reward-command", &python("regex.py"), "--reward-batch=5"]).unwrap();
    assert_same(&SPARSE, &command);
    assert_eq!(curve(&command, "reward/external").unwrap(), curve(&SPARSE, "reward/mean").unwrap());
    assert!(curve(&command, "external/no_opinion").unwrap().iter().all(|share| *share == 0.0));
    assert!(curve(&command, "reward/answer").unwrap().is_empty());
    let config = fs::read_to_string(command.join("config.toml")).unwrap();
    assert!(config.contains("reward_batch = 5\n") && config.contains("regex.py"), "{config}");
    let sparse = fs::read_to_string(SPARSE.join("config.toml")).unwrap();
    assert!(!sparse.contains("reward_"), "a run without an external reward records none: {sparse}");

    let server = serve(|_, body| Some(regex_rewards(&body)));
    ppo(&url, &["--reward-url", &server, "--reward-in-flight=2"]).unwrap();
    assert_same(&SPARSE, &url);
}

#[test]
fn a_weighted_sum_logs_each_reward_and_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let weights = "answer=1,length=-0.0625,format=0.5,external=0.25";
    let command = "while read -r line; do echo '[1, 1, 1, 1, null, 2, 1, 1, 1, 1, 1, 1]'; done";
    ppo(&run, &["--reward-command", command, "--reward-weights", weights]).unwrap();
    let of = |name: &str| curve(&run, name).unwrap();
    let parts = ["reward/answer", "reward/length", "reward/format", "reward/external"].map(of);
    for (step, mean) in of("reward/mean").into_iter().enumerate() {
        let sum: f64 = parts.iter().map(|part| part[step]).sum();
        assert!((sum - mean).abs() < 1e-6, "{sum} is not {mean}");
        assert!((parts[0][step] - of("accuracy")[step]).abs() < 1e-9);
        assert!((parts[1][step] + 0.0625 * of("length/mean")[step]).abs() < 1e-6);
        assert!((parts[2][step] - 0.5 * (1.0 - of("unparsable")[step])).abs() < 1e-9);
        assert_eq!((parts[3][step], of("external/no_opinion")[step]), (0.25, 1.0 / 12.0));
    }
    assert!(fs::read_to_string(run.join("config.toml")).unwrap().contains(&format!("reward_weights = \"{weights}\"")));
    assert!(of("reward/dense").is_empty() && of("reward/orm").is_empty());
    let sample: Value =
        serde_json::from_str(fs::read_to_string(run.join("samples.jsonl")).unwrap().lines().next().unwrap()).unwrap();
    assert!(sample["reward"].as_f64().unwrap() != 0.0, "the length of a completion is never 0");
}

#[test]
fn dense_rewards_of_a_command_move_the_policy() {
    let folder = tempfile::tempdir().unwrap();
    let [script, run] = ["lines.py", "run"].map(|name| folder.path().join(name));
    let program = "import json, sys\nfor line in sys.stdin:\n    items = json.loads(line)['items']\n    \
                   print([[0.5] * len(item['line_ends']) for item in items], flush=True)\n";
    fs::write(&script, program).unwrap();
    ppo(&run, &["--reward-command", &format!("python3 '{}'", script.display())]).unwrap();
    let samples = fs::read_to_string(run.join("samples.jsonl")).unwrap();
    for sample in samples.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let lines = sample["completion"].as_str().unwrap().lines().filter(|line| !line.trim().is_empty()).count();
        assert_eq!(sample["reward"].as_f64().unwrap(), 0.5 * lines as f64, "{sample}");
    }
}

/// A program like `regex.py` that does something more at its third batch while a file is there.
fn sick(folder: &Path, symptom: &str) -> (String, PathBuf) {
    let [script, illness] = ["sick.py", "ill"].map(|name| folder.join(name));
    let program = format!(
        "import os, runpy, signal, sys, time\nillness = {illness:?}\nregex = runpy.run_path({:?})\n\
         for count, line in enumerate(sys.stdin):\n    if count >= 2 and os.path.exists(illness):\n        {symptom}\n    \
         print(regex['answer'](line), flush=True)\n",
        example("regex.py")
    );
    fs::write(&script, program).unwrap();
    fs::write(&illness, "").unwrap();
    (format!("python3 '{}'", script.display()), illness)
}

#[test]
fn a_child_that_is_killed_once_is_started_again_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (command, illness) = sick(folder.path(), "os.remove(illness); os.kill(os.getpid(), signal.SIGKILL)");
    let run = folder.path().join("run");
    ppo(&run, &["--reward-command", &command]).unwrap();
    assert!(!illness.exists(), "it was killed");
    assert_same(&SPARSE, &run);
}

#[test]
fn a_child_that_dies_hangs_or_talks_nonsense_is_one_clear_error_and_the_run_resumes_to_the_same_weights() {
    for (symptom, said) in [
        ("os.kill(os.getpid(), signal.SIGKILL)", "), asked once for 12 completions"),
        ("time.sleep(1000)", "did not answer within 5 s"),
        ("print('Traceback')", "answered with what is no JSON"),
        ("print('[' + '0, ' * 11 + 'NaN]')", "answered with \"NaN\" for the completion of gsm8k/train/"),
        ("print('[1, 0]')", "answered with 2 rewards for 12 completions; the first without one is the completion of"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (command, illness) = sick(folder.path(), symptom);
        let run = folder.path().join("run");
        let flags = ["--reward-command", &command, "--reward-retries=0", "--reward-timeout=5"];
        let error = format!("{:#}", ppo(&run, &flags).unwrap_err());
        assert!(error.contains(said), "{error}");
        assert!(error.contains("the completion of gsm8k/train/"), "{error}");
        // The third batch is that of the third step; the second step is kept.
        assert!(error.contains("the last checkpoint is ") && error.contains("step-000002; resume with"), "{error}");
        fs::remove_file(illness).unwrap();
        resume(&run, &[]).unwrap();
        assert_same(&SPARSE, &run);
    }
}

#[test]
fn a_server_that_hangs_is_one_clear_error_and_the_run_resumes_with_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let server = serve(|count, body| (count == 0).then(|| regex_rewards(&body)));
    let started = Instant::now();
    let flags = ["--reward-url", &server, "--reward-timeout=0.3", "--reward-retries=1"];
    let error = format!("{:#}", ppo(&run, &flags).unwrap_err());
    assert!(error.contains("did not answer within 0.3 s, asked 2 times for 12 completions"), "{error}");
    assert!(error.contains("step-000001; resume with"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(100));
    resume(&run, &["--reward-command", &python("regex.py"), "--reward-timeout=60"]).unwrap();
    assert_same(&SPARSE, &run);
}

/// Flags of a short run of Expert Iteration or return-conditioned RL, or of a reward model.
fn other(command: &str, out: &Path, more: &[&str]) -> anyhow::Result<()> {
    let [base, sft] = ["base", "sft"].map(|name| PLACE.path().join(name));
    let shared = [
        &*flag("init", &sft),
        &*flag("data-dir", PLACE.path()),
        &*flag("out", out),
        "--benchmark=gsm8k",
        "--seed=5",
        "--max-new-tokens=16",
        "--samples=4",
        "--batch-size=8",
        "--steps=3",
    ];
    let base = flag("base", &base);
    let own: &[&str] = match command {
        "ei" => &[&base, "--rounds=2", "--test-problems=4", "--test-samples=2"],
        "rcrl" => &[&base, "--labels=steps", "--completions=2", "--test-problems=4", "--test-samples=2"],
        _ => &["--labels=steps", "--completions=2"],
    };
    rl(command, &[&shared[..], own, more].concat())
}

/// `eval.json` of a run.
fn reports(run: &Path) -> Map<String, Value> {
    serde_json::from_str(&fs::read_to_string(run.join("eval.json")).unwrap()).unwrap()
}

#[test]
fn a_checker_that_accepts_right_answers_gives_the_runs_of_the_answers() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["ei", "rcrl", "orm"] {
        let [plain, checked] = ["plain", "checked"].map(|name| folder.path().join(format!("{command}-{name}")));
        other(command, &plain, &[]).unwrap();
        other(command, &checked, &["--reward-command", &python("regex.py"), "--correct-if", ">= 0.5"]).unwrap();
        assert_eq!(metrics_without_clocks(&plain).unwrap(), metrics_without_clocks(&checked).unwrap());
        let samples = |run: &Path| fs::read_to_string(run.join("samples.jsonl")).unwrap();
        assert!(samples(&plain) == samples(&checked), "{command}");
        assert!(samples(&checked).contains("\"reward\":1.0"), "some are right");
        let evaluation = |run: &Path| {
            let text = fs::read_to_string(run.join("eval.json")).unwrap();
            text.lines().filter(|line| !line.contains("\"checker\"")).collect::<String>()
        };
        assert_eq!(evaluation(&plain), evaluation(&checked));
        assert!(fs::read_to_string(checked.join("config.toml")).unwrap().contains("correct_if = \">= 0.5\""));
    }
}

/// The description of the problems of [`PLACE`] as a benchmark whose answers a command decides, in the description's folder.
fn command_benchmark(folder: &Path, command: &str, correct_if: &str) -> PathBuf {
    fs::copy(example("regex.py"), folder.join("checker.py")).unwrap();
    let file = |split: &str| PLACE.path().join(format!("gsm8k/{split}.jsonl")).display().to_string();
    let text = format!(
        "[data]\ntrain = {:?}\ntest = {:?}\nvalidation = 473\n[fields]\nsolution = \"answer\"\nanswer = \"answer\"\n\
         [answer]\nkind = \"command\"\ncommand = {command:?}\ncorrect_if = {correct_if:?}\nregex = \"#### (.*)\"\n",
        file("train"),
        file("test")
    );
    let path = folder.join("quiz.toml");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_benchmark_whose_command_accepts_right_answers_gives_the_run_of_the_answers() {
    let folder = tempfile::tempdir().unwrap();
    let benchmark = command_benchmark(folder.path(), "python3 checker.py", ">= 1");
    let run = folder.path().join("run");
    ppo(&run, &[&flag("benchmark", &benchmark)]).unwrap();
    let graded = |run: &Path| {
        let mut metrics = shared_metrics(run);
        // What holds no number is an answer to a command.
        metrics.iter_mut().for_each(|step| drop(step.remove("unparsable")));
        metrics
    };
    assert_eq!(graded(&SPARSE), graded(&run));
    assert_eq!(curve(&SPARSE, "reward/answer").unwrap(), curve(&run, "reward/answer").unwrap());
    for at in ["before", "after"] {
        let (with, without) = (&reports(&run)[at], &reports(&SPARSE)[at]);
        assert_eq!(with["checker"], "the reward command `python3 checker.py` >= 1", "{with}");
        assert_eq!((&with["pass@2"], &with["maj@1"]), (&without["pass@2"], &without["maj@1"]));
        assert!(without.get("checker").is_none());
    }
    let sft = folder.path().join("sft");
    let flags = [&*flag("init", &PLACE.path().join("base")), &*flag("out", &sft), "--max-new-tokens=16", "--steps=2"];
    rl("sft", &[&flags[..], &[&flag("benchmark", &benchmark), "--test-problems=6"]].concat()).unwrap();
    assert_eq!(reports(&sft)["after"]["checker"], "the reward command `python3 checker.py` >= 1");
}

#[test]
fn a_benchmark_whose_command_is_unusable_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = |command: &str, correct_if: &str| {
        let benchmark = flag("benchmark", &command_benchmark(folder.path(), command, correct_if));
        let run = tempfile::tempdir_in(folder.path()).unwrap().path().join("run");
        format!("{:#}", ppo(&run, &[&benchmark]).unwrap_err())
    };
    assert!(
        error("python3 checker.py", "maybe").contains("quiz, [answer] correct_if: give one of >=, >, <=, < and ==")
    );
    assert!(error("python3 missing.py", ">= 1").contains("the reward command `python3 missing.py` ended"));
    assert!(error("missing-program", ">= 1").contains("`missing-program` cannot be run (ended (exit status: 127))"));
}

#[test]
fn a_checker_decides_what_is_correct_and_its_reward_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // Wrong answers alone are accepted.
    other("ei", &run, &["--reward-command", &python("regex.py"), "--correct-if", "< 0.5"]).unwrap();
    let text = fs::read_to_string(run.join("samples.jsonl")).unwrap();
    let samples: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for sample in &samples {
        let is_right = sample["answer"] == sample["expected"];
        assert_eq!(
            (sample["correct"].as_bool(), sample["reward"].as_f64()),
            (Some(!is_right), Some(f64::from(u8::from(is_right))))
        );
    }
    assert!(samples.iter().any(|sample| sample["correct"] == true));
    // The same samples, graded by another checker.
    let again = folder.path().join("again");
    let from = flag("from-samples", &run.join("samples.jsonl"));
    other("ei", &again, &[&from, "--rounds=1", "--reward-command", &python("regex.py")]).unwrap();
    let text = fs::read_to_string(again.join("samples.jsonl")).unwrap();
    let is_right = |sample: &Value| sample["correct"].as_bool() == Some(sample["answer"] == sample["expected"]);
    assert!(text.lines().all(|line| is_right(&serde_json::from_str(line).unwrap())));
}

#[test]
fn a_checker_that_fails_is_one_error_that_says_how_to_resume() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let flags = ["--reward-command", "exit 3", "--reward-retries=0"];
    let error = format!("{:#}", other("orm", &run, &flags).unwrap_err());
    assert!(error.contains("the reward command `exit 3` ended (exit status: 3)"), "{error}");
    assert!(error.contains("resume with --resume"), "{error}");
    rl("orm", &[&*flag("resume", &run), "--reward-command", &python("regex.py")]).unwrap();
}

#[test]
fn the_last_of_command_and_endpoint_counts_and_bounds_need_one_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |flags: &[&str]| format!("{:#}", ppo(&folder.path().join("run"), flags).unwrap_err());
    let error = refused(&["--reward-timeout=3"]);
    assert!(error.contains("--reward-command") && error.contains("--reward-url"), "{error}");
    assert!(refused(&["--reward-url=127.0.0.1:8000"]).contains("http://"));
    assert!(refused(&["--reward-command=true", "--reward-timeout=0"]).contains("above 0"));
    assert!(refused(&["--reward-command=true", "--reward-batch=0"]).contains("1 to 65536"));
    assert!(refused(&["--reward-weights=external=1"]).contains("--reward-command or --reward-url"));
    assert!(refused(&["--reward-weights=kindness=1"]).contains("there is no reward \"kindness\""));
}

fn item(completion: &str, solution: &str) -> Item {
    let answer = Answer::from_integer(3);
    let (id, question) = ("test/0".into(), "Write add(a, b).".into());
    let problem = Problem { id, question, solution: solution.into(), answer, worked: None };
    Item::new(&problem, completion, 0, Some(9), Finish::Stop)
}

fn rewards(command: String, items: &[Item]) -> Vec<Reward> {
    let bounds = Bounds { timeout: Duration::from_secs(60), batch: 16, in_flight: 2, retries: 0 };
    RewardClient::start(Source::command(command), bounds).unwrap().rewards(items.to_vec()).unwrap()
}

#[test]
fn a_batch_is_rewarded_while_others_are_still_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let command = format!("while read -r line; do echo '[1, 1]'; echo 1 >> '{}'; done", seen.display());
    let bounds = Bounds { timeout: Duration::from_secs(60), batch: 2, in_flight: 2, retries: 0 };
    let client = RewardClient::start(Source::command(command), bounds).unwrap();
    let phase = client.phase(4);
    phase.put(2, item("c", ""));
    phase.put(3, item("d", ""));
    let started = Instant::now();
    while !seen.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "the second batch is whole, and the first one not there");
        std::thread::sleep(Duration::from_millis(5));
    }
    phase.put(0, item("a", ""));
    phase.put(1, item("b", ""));
    assert_eq!(phase.finish().unwrap(), vec![Reward::Whole(1.0); 4]);
}

#[test]
fn the_example_with_a_regular_expression_pays_for_the_last_number_after_its_mark() {
    let paid = |completion: &str| rewards(python("regex.py"), &[item(completion, "#### 3")]).remove(0);
    for right in ["#### 3", "2+1 = 3\n#### 3\n", "#### 4\n#### 3.0", "#### 6/2"] {
        assert_eq!(paid(right), Reward::Whole(1.0), "{right}");
    }
    for wrong in ["3", "#### 4", "#### 3\n#### 4", "#### three", "#### 3/0", ""] {
        assert_eq!(paid(wrong), Reward::Whole(0.0), "{wrong}");
    }
}

#[test]
fn the_example_with_unit_tests_pays_the_share_that_passes() {
    let tests = "assert add(1, 2) == 3\nassert add(2, 2) == 4\n#### 3";
    let paid = rewards(
        python("unit_tests.py"),
        &[
            item("Sum them:\n```python\ndef add(a, b):\n    return a + b\nprint('done')\n```\n#### 3", tests),
            item("```\ndef add(a, b): return 3\n```", tests),
            item("```python\ndef add(a, b): return c\n```", tests),
            item("```python\nimport sys\nsys.exit(0)\n```", tests),
            item("```python\nwhile True: pass\n```", tests),
            item("def add(a, b):\n    return a + b", tests),
            item("The sum is a + b.", tests),
            item("```python\ndef add(a, b): return a + b\n```", "#### 3"),
        ],
    );
    let [whole, half, nothing] = [1.0, 0.5, 0.0].map(Reward::Whole);
    let none = || nothing.clone();
    let expected = [whole.clone(), half, none(), none(), none(), whole, none(), Reward::None];
    assert_eq!(paid, expected);
}

#[test]
fn the_example_with_a_judge_asks_an_endpoint_and_pays_its_rating() {
    let judge = serve(|_, body| {
        let asked: Value = serde_json::from_str(&body).unwrap();
        let prompt = asked["messages"][0]["content"].as_str().unwrap().to_string();
        assert!(prompt.contains("Problem: Write add(a, b).") && prompt.contains("Right answer: 3"));
        assert_eq!((asked["model"].as_str(), asked["temperature"].as_f64()), (Some("small"), Some(0.0)));
        let rating = if prompt.contains("good") {
            "8"
        } else if prompt.contains("bad") {
            "Rating: 1.5"
        } else {
            "hm"
        };
        Some(json!({"choices": [{"message": {"content": rating}}]}).to_string())
    });
    let command = format!("JUDGE_URL={judge} JUDGE_MODEL=small {}", python("judge.py"));
    let paid = rewards(command, &[item("good {x}", ""), item("bad", ""), item("neither", "")]);
    assert_eq!(paid, [Reward::Whole(0.8), Reward::Whole(0.15), Reward::None]);
}

/// A process that is killed when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prints what the documentation has as the cost of an external reward; `--nocapture` shows it.
#[test]
fn a_thousand_completions_are_rewarded_within_seconds() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Command::new("python3").arg(example("regex.py")).arg(port.to_string()).spawn().unwrap();
    let _server = Server(server);
    let text = " 6*4 = <<6*4=24>>24 nuts.\n24-3 = <<24-3=21>>21 nuts are left.\n#### 3";
    let items: Vec<Item> = (0..1000).map(|_| item(text, &text.replace("left", "in the bags"))).collect();
    let bounds = Bounds { timeout: Duration::from_secs(60), batch: 16, in_flight: 4, retries: 9 };
    let sources = [Source::command(python("regex.py")), Source::Url(format!("http://127.0.0.1:{port}/"))];
    for source in sources {
        let client = RewardClient::start(source.clone(), bounds).unwrap();
        let started = Instant::now();
        assert_eq!(client.rewards(items[..1].to_vec()).unwrap(), [Reward::Whole(1.0)]);
        let first = started.elapsed();
        let mut times: Vec<f64> = (0..5)
            .map(|_| {
                let started = Instant::now();
                assert_eq!(client.rewards(items.clone()).unwrap(), vec![Reward::Whole(1.0); 1000]);
                started.elapsed().as_secs_f64()
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!(
            "{source}: first answer after {:.2} s; 1,000 completions in {:.3} s, the median of 5",
            first.as_secs_f64(),
            times[2]
        );
        assert!(times[2] < 30.0, "{times:?}");
    }
}

/// What `regex.py` answers, for problems whose solution is the answer alone.
fn regex_rewards(request: &str) -> String {
    let request: Value = serde_json::from_str(request).unwrap();
    let format = data::AnswerFormat::Gsm8k;
    let pays = |item: &Value| {
        let ending = if item["finish"] == "stop" { data::Ending::Finished } else { data::Ending::CutOff };
        let answer = format.extract(data::AnswerKind::Number, item["completion"].as_str().unwrap(), ending);
        u8::from(answer.is_some_and(|answer| Some(answer.to_string().as_str()) == item["answer"].as_str()))
    };
    let rewards: Vec<u8> = request["items"].as_array().unwrap().iter().map(pays).collect();
    json!({"id": request["id"], "rewards": rewards}).to_string()
}

/// A server on this machine that answers each POST request by its number and body, or hangs; its address.
fn serve(answer: impl Fn(usize, String) -> Option<String> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for (count, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(&stream);
            let mut length = 0;
            for line in reader.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()) {
                if let Some((_, value)) = line.to_lowercase().split_once("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            match answer(count, String::from_utf8(body).unwrap()) {
                Some(text) => {
                    let head =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
                    stream.write_all((head + &text).as_bytes()).unwrap();
                }
                None => held.push(stream),
            }
        }
    });
    format!("http://{address}/v1/chat/completions")
}
