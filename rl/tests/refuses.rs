//! Claims that a refused command changes nothing, and that a run can be resumed after a crash.

mod common;
#[path = "common/place.rs"]
mod place;

use common::{
    assert_same_run, files, metrics, resume, run, run_augment, run_ei, run_orm, run_ppo, run_rcrl, run_sft, start,
    start_with_steps,
};
use place::{mistakes::error_of, place, ppo};
use rl::run::{Run, lock};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A run of a base model that was stopped after its first step.
fn stopped_pretraining(dir: &Path) {
    let data = concat!("--data-dir=", env!("CARGO_MANIFEST_DIR"), "/../data/tests/fixtures");
    let out = format!("--out={}", dir.display());
    let flags =
        ["--benchmark=svamp", data, "--model=nano", "--context=32", "--device=cpu", "--quiet", "--stop-after=1"];
    run(&[["pretrain", &out, "--steps=4", "--eval-every=2", "--threads=1"].as_slice(), &flags].concat()).unwrap_err();
}

/// Tries to resume a run, which must fail with these words, and leave every byte of it as it was.
#[track_caller]
fn refuses(command: &str, dir: &Path, flags: &[&str], parts: &[&str]) {
    let before = files(dir);
    let resume = format!("--resume={}", dir.display());
    let error = format!("{:#}", run(&[[command, &resume, "--quiet"].as_slice(), flags].concat()).unwrap_err());
    for part in parts {
        assert!(error.contains(part), "no `{part}` in: {error}");
    }
    let after = files(dir);
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after), "{command} {flags:?}");
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        assert!(before == after, "{command} {flags:?} has changed {}", name.display());
    }
}

#[test]
fn what_checkpoints_are_made_of_is_refused_before_anything_of_the_run_changes() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str| folder.path().join(name);
    let (with_steps, other) = (start_with_steps(), format!("--init={}", start_with_steps().display()));
    stopped_pretraining(&of("pretrain"));
    run_sft(&of("sft"), &["--stop-after=1"]).unwrap_err();
    run_sft(&of("sft-lora"), &["--stop-after=1", "--lora-rank=2"]).unwrap_err();
    run_orm(start(), &of("orm"), &["--stop-after=1"]).unwrap_err();
    run_ei(&of("ei"), &["--stop-after=1"]).unwrap_err();
    run_ei(&of("ei-lora"), &["--stop-after=1", "--lora-rank=2"]).unwrap_err();
    run_ppo(&of("ppo"), &["--stop-after=1", "--tensorboard"]).unwrap_err();
    run_rcrl(&of("rcrl"), &["--stop-after=1"]).unwrap_err();
    run_augment(&of("augment"), &["--stop-after=1"]).unwrap_err();
    for name in ["pretrain", "sft", "sft-lora", "orm", "ei", "ei-lora", "ppo", "rcrl", "augment"] {
        let (dir, command) = (of(name), name.strip_suffix("-lora").unwrap_or(name));
        refuses(command, &dir, &["--model=medium"], &["--model medium", "was started with --model"]);
        let own = dir.join("mine.jsonl");
        fs::write(&own, "{\"question\": \"Why?\", \"answer\": \"1+1 = <<1+1=2>>2\\n#### 2\"}\n").unwrap();
        refuses(
            command,
            &dir,
            &[&format!("--extra={}", own.display())],
            &["--extra", "lies in the resumed run's directory"],
        );
        fs::remove_file(own).unwrap();
        let lock = lock(&dir).unwrap();
        refuses(command, &dir, &[], &["is in use by another process"]);
        drop(lock);
        if command == "pretrain" {
            refuses(command, &dir, &["--vocabulary=300"], &["--vocabulary 300", "--vocabulary 640"]);
            continue;
        }
        if !["rcrl", "augment"].contains(&command) {
            refuses(command, &dir, &[&other], &["--init", "was started with"]);
        }
        if command == "augment" {
            continue;
        }
        let begun = if name.ends_with("-lora") { "--lora-rank 2" } else { "no --lora-rank" };
        refuses(command, &dir, &["--lora-rank=4"], &["--lora-rank 4", begun]);
        if name.ends_with("-lora") {
            refuses(command, &dir, &["--lora-alpha=3"], &["--lora-alpha 3", "--lora-alpha 16"]);
            refuses(command, &dir, &["--lora-targets=attention"], &["--lora-targets attention"]);
        }
    }
    refuses("ppo", &of("ppo"), &["--value-layers=2"], &["--value-layers 2", "--value-layers 1"]);
    refuses("ppo", &of("ppo"), &["--advantage=rloo"], &["--advantage rloo", "--advantage gae"]);
    refuses("rcrl", &of("rcrl"), &["--labels=outcome"], &["--labels outcome", "--labels steps"]);
    refuses("rcrl", &of("rcrl"), &["--completions=3"], &["--completions 3", "--completions 2"]);
    refuses("ei", &of("ei"), &["--start=base"], &["--start base", "--start sft"]);
    // The same model by another path is the same.
    let (moved, same) =
        (of("moved"), format!("--init={}/../{}", with_steps.display(), start().file_name().unwrap().display()));
    run_sft(&moved, &["--stop-after=1"]).unwrap_err();
    run(&["sft", &format!("--resume={}", moved.display()), "--quiet", &same]).unwrap();
}

#[test]
fn a_run_with_verified_questions_keeps_its_number_of_answers() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run_augment(&folder.path().join("run"), &[]).unwrap();
    assert!(fs::metadata(dir.join("verified.jsonl")).unwrap().len() > 0, "the test needs answers");
    refuses("augment", &dir, &["--verify=3"], &["--verify 3", "--verify 2"]);
}

#[test]
fn an_initial_report_that_can_neither_be_read_nor_made_is_refused_before_anything_changes() {
    let folder = tempfile::tempdir().unwrap();
    for (command, start) in
        [("sft", run_sft as fn(&Path, &[&str]) -> _), ("ppo", run_ppo), ("ei", run_ei), ("rcrl", run_rcrl)]
    {
        let dir = folder.path().join(command);
        start(&dir, &["--stop-after=1"]).map(|_: PathBuf| ()).unwrap_err();
        fs::write(dir.join("before.json"), "{").unwrap();
        refuses(command, &dir, &[], &["before.json is malformed: remove it"]);
    }
}

#[test]
fn a_damaged_or_missing_checkpoint_is_skipped_and_the_run_is_the_one_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let longer = "--steps=6";
    for (command, start) in [("sft", run_sft as fn(&Path, &[&str]) -> _), ("ppo", run_ppo)] {
        let of = |name: &str| folder.path().join(format!("{command}-{name}"));
        let straight = start(&of("straight"), &[longer]).unwrap();
        for file in ["model.safetensors", "trainer/optimizer.safetensors", "trainer/state.json", "tokenizer.json"] {
            let dir = of(&file.replace('/', "-"));
            start(&dir, &[longer, "--stop-after=5"]).unwrap_err();
            let checkpoints = dir.join("checkpoints");
            let last = checkpoints.join("step-000005");
            // One bit is enough: the file has its length and may be well formed.
            let mut bytes = fs::read(last.join(file)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(last.join(file), bytes).unwrap();
            let (by_name, whole) = (format!("--resume={}", last.display()), checkpoints.join("step-000004"));
            let error = format!("{:#}", run(&[command, &by_name, "--quiet"]).unwrap_err());
            for part in ["step-000005 cannot be used", &format!("--resume {}", whole.display()), file, "is damaged"] {
                assert!(error.contains(part), "{error}");
            }
            resume(command, &dir).unwrap();
            assert_same_run(&dir, &straight);
        }
        let dir = of("missing");
        start(&dir, &[longer, "--stop-after=5"]).unwrap_err();
        fs::remove_dir_all(dir.join("checkpoints/step-000005")).unwrap();
        resume(command, &dir).unwrap();
        assert_same_run(&dir, &straight);
        // An index that cannot be read is one more that is damaged.
        let dir = of("index");
        start(&dir, &[longer, "--stop-after=5"]).unwrap_err();
        fs::write(dir.join("checkpoints/index.json"), "").unwrap();
        resume(command, &dir).unwrap();
        assert_eq!(metrics(&dir), metrics(&straight));
    }
}

#[test]
fn a_damaged_best_checkpoint_is_replaced_by_the_last_one() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    run_sft(&dir, &["--steps=6", "--stop-after=3"]).unwrap_err();
    let best = || eval::read_index(&dir.join("checkpoints/index.json")).unwrap().best;
    assert_eq!(best(), "step-000002");
    fs::write(dir.join("checkpoints/step-000002/model.safetensors"), "").unwrap();
    resume("sft", &dir).unwrap();
    assert_ne!(best(), "step-000002");
    assert!(dir.join("checkpoints").join(best()).is_dir() && dir.join("eval.json").is_file());
}

#[test]
fn without_another_intact_checkpoint_the_error_says_to_start_again() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    run_sft(&dir, &["--stop-after=2"]).unwrap_err();
    fs::write(dir.join("checkpoints/step-000002/model.safetensors"), "").unwrap();
    refuses("sft", &dir, &[], &["no other whole checkpoint", "start again with --config", "config.toml"]);
}

#[test]
fn a_strict_run_ends_with_the_alarm_and_a_checkpoint_where_another_warns_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let wild = ["--steps=18", "--eval-every=18", "--learning-rate=1", "--max-grad-norm=0", "--filter-groups=false"];
    let dir = run_ppo(&folder.path().join("warned"), &wild).unwrap();
    let raised = |line: &serde_json::Map<String, serde_json::Value>| line.keys().any(|name| name.starts_with("alarm/"));
    let at = metrics(&dir).iter().position(raised).expect("an alarm") + 1;
    assert!(at >= 8, "there is a whole window of steps");
    let strict = folder.path().join("strict");
    let error = format!("{:#}", run_ppo(&strict, &[wild.as_slice(), &["--strict"]].concat()).unwrap_err());
    let last = format!("step-{at:06}");
    assert!(error.starts_with(&format!("alarm at step {at}: ")) && error.contains(&last), "{error}");
    assert_eq!(metrics(&strict), metrics(&dir)[..at]);
}

#[test]
fn a_policy_whose_weights_were_changed_after_they_were_written_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run_sft(&folder.path().join("run"), &[]).unwrap();
    let weights = eval::resolve_checkpoint(&dir).unwrap().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    let error = eval::Policy::load(&dir, &Default::default()).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("model.safetensors is damaged"), "{error}");
}

#[test]
fn a_run_that_was_killed_before_its_first_checkpoint_begins_again_from_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    for (command, start) in [("sft", run_sft as fn(&Path, &[&str]) -> _), ("ppo", run_ppo), ("ei", run_ei)] {
        let straight = start(&folder.path().join(format!("{command}-straight")), &[]).unwrap();
        let dir = folder.path().join(command);
        fs::create_dir_all(dir.join("checkpoints/.step-000002")).unwrap();
        fs::create_dir(dir.join("rounds")).unwrap();
        fs::copy(straight.join("config.toml"), dir.join("config.toml")).unwrap();
        fs::write(dir.join("metrics.jsonl"), "{\"step\":1}\n{\"st").unwrap();
        fs::write(dir.join("samples.jsonl"), "").unwrap();
        resume(command, &dir).unwrap();
        assert_same_run(&dir, &straight);
        // A finished run whose checkpoints were removed is no such run.
        fs::remove_dir_all(dir.join("checkpoints")).unwrap();
        fs::create_dir(dir.join("checkpoints")).unwrap();
        refuses(command, &dir, &[], &["has no finished checkpoint to resume from"]);
    }
}

#[test]
fn expert_iteration_resumes_from_the_round_before_a_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    let straight = run_ei(&folder.path().join("straight"), &[]).unwrap();
    let dir = run_ei(&folder.path().join("damaged"), &[]).unwrap();
    let last = metrics(&dir).len();
    assert!(last > 1, "the test needs a second round");
    let checkpoint = |round: usize| dir.join(format!("checkpoints/step-{round:06}"));
    fs::write(checkpoint(last).join("model.safetensors"), "").unwrap();
    resume("ei", &dir).unwrap();
    assert_same_run(&dir, &straight);
    // A damaged fit of the round that was under way is made again.
    let stopped = folder.path().join("stopped");
    run_ei(&stopped, &["--stop-after=3"]).unwrap_err();
    fs::write(stopped.join("rounds/1/checkpoints/step-000003/model.safetensors"), "").unwrap();
    resume("ei", &stopped).unwrap();
    assert_eq!(metrics(&stopped), metrics(&straight));
}

#[test]
fn two_runs_that_begin_in_one_second_have_a_folder_each() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("runs/sft-synthetic-1");
    let begin = || Run::create_numbered(&name, "sft", &serde_json::Map::new()).unwrap();
    let dirs: Vec<PathBuf> = thread::scope(|scope| {
        let both = [scope.spawn(begin), scope.spawn(begin)];
        both.map(|run| run.join().unwrap()).iter().map(|run| run.dir().to_path_buf()).collect()
    });
    assert_ne!(dirs[0], dirs[1]);
    for dir in [&name, &folder.path().join("runs/sft-synthetic-1-2")] {
        assert!(dirs.contains(dir) && dir.join("config.toml").is_file(), "{dirs:?}");
        assert!(!dir.join(".lock").exists(), "no process holds it any more");
    }
}

#[test]
fn unusable_samples_are_refused_before_a_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let source = run_orm(start(), &folder.path().join("source"), &["--steps=1", "--eval-every=1"]).unwrap();
    let text = fs::read_to_string(source.join("samples.jsonl")).unwrap();
    let write = |name: &str, text: String| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        format!("--from-samples={}", file.display())
    };
    let others = write("others.jsonl", text.replace("\"id\":\"", "\"id\":\"other/"));
    let of_wrong = text.lines().filter(|line| line.contains("\"correct\":false")).map(|line| format!("{line}\n"));
    let wrong = write("wrong.jsonl", of_wrong.collect());
    let out = folder.path().join("deep/run");
    let refused = |error: anyhow::Result<PathBuf>, part: &str| {
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.contains(part), "no `{part}` in: {error}");
        assert!(!folder.path().join("deep").exists(), "{error}");
    };
    for file in [&*others, &*wrong] {
        let none = "holds no sample of these";
        refused(run_orm(start(), &out, &[file]), if file == others { none } else { "needs both correct and wrong" });
        refused(run_rcrl(&out, &[file]), if file == others { none } else { "needs both correct and wrong" });
        refused(run_ei(&out, &[file, "--start=base"]), if file == others { none } else { "nothing to train on" });
    }
    refused(run_augment(&out, &[&others]), "holds no sample of these");
    refused(run_sft(&out, &["--limit=8", "--init=nowhere"]), "nowhere");
}

#[test]
#[cfg(unix)]
fn a_run_that_cannot_be_begun_leaves_none_of_the_folders_that_it_lies_in() {
    let place = place();
    let arguments = [ppo(&[]), vec!["--out=deep/er/run"]].concat();
    let mut command = std::process::Command::new("sh");
    // No file may have a block: what a full disk does, without being root.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_rl")]).args(&arguments).current_dir(place.path("."));
    place.refuses(command, 1, &["cannot make deep/er/run", "config.toml"]);
}

/// A process that is killed if a test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[cfg(unix)]
fn a_run_in_use_is_refused_to_another_process_until_the_first_one_is_dead() {
    let place = place();
    let flags = ppo(&["--steps=500", "--eval-every=1", "--test-problems=0"]);
    let mut first = Running(place.command(&flags).stderr(Stdio::null()).spawn().unwrap());
    let waited = Instant::now();
    while !place.path("run/checkpoints/index.json").is_file() {
        assert!(waited.elapsed().as_secs() < 120, "no checkpoint was made");
        thread::sleep(Duration::from_millis(20));
    }
    let output = place.run(&["ppo", "--resume=run", "--quiet"]);
    error_of(&output, 1, &["run is in use by another process"]);
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    let steps = (metrics(&place.path("run")).len() + 1).to_string();
    let output = place.run(&["ppo", "--resume=run", "--quiet", "--steps", &steps]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[cfg(unix)]
fn a_model_that_another_process_makes_is_waited_for() {
    let place = place();
    let data = concat!("--data-dir=", env!("CARGO_MANIFEST_DIR"), "/../data/tests/fixtures");
    fs::create_dir(place.path("runs")).unwrap();
    let _lock = rl::run::lock::Lock::try_lock(&place.path("runs/.base-svamp-pico-seed0.lock")).unwrap().unwrap();
    let mut command = place.command(&["sft", "--benchmark=svamp", data, "--quiet", "--device=cpu"]);
    let waiting = Running(command.stderr(fs::File::create(place.path("stderr")).unwrap()).spawn().unwrap());
    let stderr = || fs::read_to_string(place.path("stderr")).unwrap();
    let waited = Instant::now();
    while !stderr().contains("another process is making runs/base-svamp-pico-seed0: waiting for it") {
        assert!(waited.elapsed().as_secs() < 60, "{}", stderr());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(!place.path("runs/base-svamp-pico-seed0").exists());
    drop(waiting);
}
