//! A user's mistake ends with one line that names it, and leaves nothing behind. Everything here runs the real program.
//! Longer than other files: each file here is a program of its own, which links all of burn.

mod common;
#[path = "common/place.rs"]
mod place;

use common::{run, run_ppo};
use place::{
    mistakes::{Place, copy, error_of},
    place, ppo, sft,
};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command};

/// A run that was stopped after step 2 of 4.
fn stopped_run(to: &Path) {
    run_ppo(to, &["--stop-after=2"]).unwrap_err();
}

#[test]
fn a_mistake_on_the_command_line_is_named_and_ends_with_2() {
    let place = place();
    place.refuses_usage(&ppo(&["--stepps=3"]), &["--stepps"]);
    place.refuses_usage(&["improve"], &["improve"]);
    let stderr = place.refuses_usage(&["generate", "--init=model"], &["required arguments"]);
    assert!(stderr.contains("--prompt"), "{stderr}");
    place.refuses_usage(&ppo(&["--steps=many"]), &["many", "--steps"]);
    for flag in ["--samples", "--questions", "--steps", "--mini-batch", "--threads", "--rollout-batch", "--limit"] {
        place.refuses_usage(&ppo(&[&format!("{flag}=0")]), &[flag, "must be at least 1"]);
        place.refuses_usage(&ppo(&[&format!("{flag}=99999999999")]), &[flag, "must be at most 1000000000"]);
    }
    place.refuses_usage(&ppo(&["--temperature=0"]), &["--temperature", "PPO needs samples that differ", "above 0"]);
    place.refuses_usage(&ppo(&["--temperature=nan"]), &["--temperature", "not a temperature"]);
    place.refuses_usage(&ppo(&["--device=tpu"]), &["tpu", "--device"]);
    place.refuses_usage(&ppo(&["--benchmark=math"]), &["math", "--benchmark"]);
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let place = place();
    let run = place.path("old");
    stopped_run(&run);
    place.write("run.toml", "steps = 1\n");
    place.fails(&["ppo", "--config=run.toml", "--resume=old"], &["--config and --resume exclude each other"]);
    place.refuses_usage(&["ppo", "--resume=old", "--out=run"], &["--resume", "--out"]);
    place.fails(
        &ppo(&["--mini-batch=5"]),
        &["--mini-batch 5 is more than the 4 samples", "--questions 2 x --samples 2"],
    );
    place.fails(&ppo(&["--value-layers=3"]), &["--value-layers 3 is more than the 2 blocks"]);
    place.fails(&ppo(&["--top-k=5"]), &["--top-k and --top-p", "the full distribution", "use --temperature"]);
    place.fails(&ppo(&["--top-p=0.9"]), &["--top-k and --top-p", "the full distribution", "use --temperature"]);
    place.fails(
        &ppo(&["--questions=1000000000", "--samples=1000000000"]),
        &["1000000000 samples of each of 1000000000 problems", "more than the limit", "use fewer"],
    );
}

#[test]
fn flags_with_an_unexpected_effect_together_cause_a_warning() {
    let place = place();
    let stderr = |more: &[&str]| {
        let output = place.run(&ppo(&[["--dry-run"].as_slice(), more].concat()));
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let never = "the policy is never updated";
    let warning = stderr(&["--value-warm-up=2"]);
    assert!(
        warning.contains(never) && warning.contains("--value-warm-up 2") && warning.contains("--steps 2"),
        "{warning}"
    );
    for flag in ["--value-warm-up=1", "--advantage=rloo"] {
        assert!(!stderr(&[flag]).contains(never), "{flag}");
    }
    let dense = ["--reward=dense-orm", "--orm=model"];
    let sparse = "--reward dense-orm equals sparse-orm here";
    assert!(stderr(&[dense.as_slice(), &["--advantage=group"]].concat()).contains(sparse));
    for more in ["--advantage=gae", "--orm-score=plain"] {
        let flags = [dense.as_slice(), &["--advantage=rloo", more]].concat();
        assert!(!stderr(&flags).contains(sparse), "{more}");
    }
}

#[test]
fn a_number_out_of_range_is_refused() {
    let place = place();
    for flag in ["--learning-rate", "--value-learning-rate", "--max-grad-norm", "--epsilon", "--kl-coefficient"] {
        for value in ["nan", "-1", "inf"] {
            let typed = format!("{flag}={value}");
            place.refuses_usage(&ppo(&[&typed]), &[flag, value, "at least 0"]);
        }
    }
    place.refuses_usage(&ppo(&["--gamma=1.5"]), &["--gamma", "from 0 to 1"]);
    place.refuses_usage(&ppo(&["--kl-target=0"]), &["--kl-target", "above 0"]);
    place.fails(&ppo(&["--kl-target=1", "--kl-horizon=3"]), &["--kl-horizon 3", "4 samples of a step"]);
    place.refuses_usage(&sft(&["--epochs=inf"]), &["--epochs", "at least 0"]);
    place.refuses_usage(&sft(&["--beta-2=1"]), &["--beta-2", "below 1"]);
}

#[test]
#[cfg(not(any(feature = "cuda", feature = "wgpu")))]
fn a_device_that_is_not_compiled_in_names_its_feature() {
    let place = place();
    for device in ["cuda", "wgpu"] {
        let flag = format!("--device={device}");
        let parts = [&*format!("--device {device} is not compiled in"), &*format!("--features {device}")];
        place.fails(&ppo(&[&flag]), &parts);
        place.fails(&["generate", "--init=model", "--prompt=1", &flag], &parts);
        place.fails(&["bench", &flag], &parts);
    }
}

#[test]
fn flags_of_the_other_methods_are_checked_as_well() {
    let place = place();
    let with = |command: &'static str, more: &[&'static str]| -> Vec<&'static str> {
        let flags = [command, "--init=model", "--base=model", "--out=run", "--quiet", "--device=cpu", "--limit=4"];
        [flags.as_slice(), more].concat()
    };
    for (command, what) in [("ei", "each round"), ("rcrl", "the base model that is"), ("augment", "the backward model")]
    {
        place.fails(&[command, "--init=model", "--out=run"], &["--init needs --base", what, "fine-tuned"]);
    }
    let orm = |more: &[&'static str]| -> Vec<&'static str> {
        let flags = ["orm", "--init=model", "--out=run", "--quiet", "--device=cpu", "--limit=4"];
        [flags.as_slice(), more].concat()
    };
    for (command, flag) in
        [("ei", "--samples"), ("rcrl", "--samples"), ("rcrl", "--completions"), ("augment", "--samples")]
    {
        place.fails(&with(command, &[flag, "1000000000"]), &["1000000000 samples", "use fewer"]);
    }
    place.fails(&orm(&["--labels=steps", "--completions=1000000000"]), &["--completions 1000000000", "use fewer"]);
    place.fails(
        &orm(&["--check-labels=1", "--check-completions=1000000000"]),
        &["--check-completions 1000000000", "use fewer"],
    );
    place.refuses_usage(&orm(&["--held-out=1"]), &["--held-out", "between 0 and 1"]);
    place.fails(&orm(&["--temperature=0"]), &["--temperature 0", "equal solutions"]);
    place.write("samples.jsonl", "");
    let of_file = ["--from-samples=samples.jsonl", "--temperature=0", "--check-labels=4"];
    place.fails(&orm(&of_file), &["--temperature 0", "equal solutions"]);
    place.fails(&orm(&["--from-samples=none.jsonl"]), &["none.jsonl"]);
    place.fails(&orm(&["--labels=steps", "--from-prefixes=none.jsonl"]), &["none.jsonl"]);
    place.fails(&with("ei", &["--from-samples=none.jsonl"]), &["none.jsonl"]);
    place.fails(&orm(&["--extra=none.jsonl"]), &["none.jsonl"]);
    place.write("extra.jsonl", "{\"question\": \"Why?\"}\n");
    let missing = "the field \"answer\" is missing; the fields are \"question\"";
    place.fails(&orm(&["--extra=extra.jsonl"]), &["extra.jsonl", "line 1", "repair or remove", missing]);
    place.write("samples.jsonl", "{\"question\": \"Why?\", \"completion\": \"So.\"}\n");
    let missing = ["samples.jsonl, line 1: not a sample: the field \"id\" is missing", "\"completion\", \"question\""];
    place.fails(&orm(&["--from-samples=samples.jsonl"]), &missing);
    place.write("samples.jsonl", b"\x1F\x8B\x08\0");
    place.fails(&orm(&["--from-samples=samples.jsonl"]), &["samples.jsonl is compressed with gzip", "gunzip"]);
    place.write("prefixes.jsonl", "{\"id\": \"a\", \"right\": 1, \"of\": 2}\n");
    let missing = [
        "prefixes.jsonl, line 1: not the count of a prefix: the field \"prefix\" is missing; the fields are \"id\", \"of\", \"right\"",
    ];
    place.fails(&orm(&["--labels=steps", "--from-prefixes=prefixes.jsonl"]), &missing);
    place.refuses_usage(&with("rcrl", &["--threshold=1.5"]), &["--threshold", "from 0 to 1"]);
    place.refuses_usage(&with("rcrl", &["--right-per-wrong=0"]), &["--right-per-wrong", "above 0"]);
    place.refuses_usage(&with("augment", &["--agree=2"]), &["--agree", "from 0 to 1"]);
    place.refuses_usage(&with("ei", &["--orm-threshold=2"]), &["--orm-threshold", "from 0 to 1"]);
    place.fails(&with("ei", &["--orm-threshold=0.9"]), &["--orm-threshold needs --orm"]);
    place.refuses_usage(&with("ei", &["--margin=2"]), &["--margin", "from 0 to 1"]);
    place.fails(&with("ei", &["--shots=1"]), &["--shots is for --start base"]);
    place.fails(&orm(&["--likelihood-of=nowhere"]), &["nowhere does not exist"]);
    place.refuses_usage(&orm(&["--language-modelling=-1"]), &["--language-modelling", "at least 0"]);
    place.fails(&with("ei", &["--orm=model"]), &["model", "not a reward model", "rl orm"]);
    place.fails(&ppo(&["--orm=model"]), &["--orm", "--reward sparse-orm or dense-orm"]);
    place.fails(&ppo(&["--orm=model", "--reward=dense-orm"]), &["not a reward model"]);
    place.fails(&ppo(&["--reward=sparse-orm"]), &["--init", "rl orm", "--orm"]);
    place.fails(
        &ppo(&["--advantage=rloo", "--samples=1", "--mini-batch=1"]),
        &["--advantage rloo", "at least --samples 2"],
    );
    place.refuses_usage(&ppo(&["--curriculum=plr", "--replay=1.5"]), &["--replay", "from 0 to 1"]);
    place.refuses_usage(&ppo(&["--curriculum=plr", "--replay-temperature=0"]), &["--replay-temperature", "above 0"]);
    place.refuses_usage(&ppo(&["--lora-rank=0"]), &["--lora-rank", "at least 1"]);
}

#[test]
fn missing_data_is_named_with_the_flag_of_its_folder() {
    let place = place();
    for command in [ppo(&["--benchmark=gsm8k"]), sft(&["--benchmark=svamp"])] {
        place.fails(&command, &["pass --data-dir DIR", "RL_DATA_DIR"]);
    }
    place.fails(&ppo(&["--benchmark=gsm8k", "--data-dir=nowhere"]), &["nowhere/gsm8k/train.jsonl", "--data-dir"]);
    place.fails(&sft(&["--benchmark=svamp", "--data-dir=nowhere"]), &["nowhere/svamp/", "--data-dir"]);
    place.fails(
        &["pretrain", "--out=run", "--benchmark=gsm8k", "--data-dir=nowhere"],
        &["nowhere/gsm8k/train.jsonl", "--data-dir"],
    );
    // Without --init the models before it have to be made, for which the data are missing all the same.
    let made = ["ppo", "--benchmark=gsm8k", "--data-dir=nowhere", "--quiet"];
    place.fails(&made, &["nowhere/gsm8k/train.jsonl"]);
}

#[test]
fn a_malformed_line_of_the_data_is_named_by_its_number() {
    let place = place();
    let good = json!({"question": "One and one?", "answer": "1+1 = <<1+1=2>>2\n#### 2"});
    let other = json!({"question": "One and two?", "answer": "1+2 = <<1+2=3>>3\n#### 3"});
    let flags = ["--benchmark=gsm8k", "--data-dir=data"];
    for bad in ["{\"question\": \"cut off", "[]", "{\"question\": \"How many?\", \"answer\": \"many\"}"] {
        place.write("data/gsm8k/train.jsonl", format!("{good}\n{other}\n{bad}\n"));
        place.write("data/gsm8k/test.jsonl", format!("{good}\n"));
        for command in [ppo(&flags), sft(&flags)] {
            place.fails(&command, &["data/gsm8k/train.jsonl, line 3", "download the file again"]);
        }
        // A problem of the final table only: found before the run, not at its end.
        place.write("data/gsm8k/train.jsonl", format!("{good}\n{other}\n"));
        place.write("data/gsm8k/test.jsonl", format!("{good}\n{bad}\n"));
        place.fails(&ppo(&flags), &["data/gsm8k/test.jsonl, line 2", "download the file again"]);
    }
    fs::remove_file(place.path("data/gsm8k/test.jsonl")).unwrap();
    place.fails(&ppo(&flags), &["data/gsm8k/test.jsonl", "--data-dir"]);
    place.write("data/gsm8k/train.jsonl", b"{\"question\": \"\xff\xfe\"}\n");
    place.fails(&sft(&flags), &["data/gsm8k/train.jsonl"]);
}

#[test]
fn a_question_that_does_not_fit_the_model_is_found_before_the_run() {
    let place = place();
    let problem = |question: &str| json!({"question": question, "answer": "#### 2"}).to_string();
    let long = "and one ".repeat(600);
    place.write("data/gsm8k/train.jsonl", format!("{}\n{}\n", problem("One?"), problem("Two?")));
    place.write("data/gsm8k/test.jsonl", format!("{}\n{}\n", problem("One?"), problem(&long)));
    let flags = ["--benchmark=gsm8k", "--data-dir=data"];
    place.fails(&ppo(&flags), &["the prompt of gsm8k/test/1", "the model's context is 512"]);
    place.write("data/gsm8k/train.jsonl", format!("{}\n", problem(&long)));
    place.fails(&sft(&flags), &["all 1 problems are longer than the context of 512 tokens"]);
    copy(&place.path("model"), &place.path("short"));
    let config = fs::read_to_string(place.path("model/config.json")).unwrap();
    place.write(
        "short/config.json",
        config.replace("\"max_position_embeddings\": 512", "\"max_position_embeddings\": 32"),
    );
    let from_short = ["ei", "--init=model", "--base=short", "--out=run", "--quiet", "--device=cpu", "--limit=4"];
    place.fails(&from_short, &["the model's context is 32"]);
}

#[test]
fn prompts_that_cannot_be_completed_are_refused() {
    let place = place();
    place.write("empty.txt", "\n");
    let generate = |flag: &str, parts: &[&str]| place.fails(&["generate", "--init=model", flag], parts);
    generate("--file=nowhere.txt", &["cannot read nowhere.txt"]);
    generate("--file=empty.txt", &["has no prompt"]);
    generate("--prompt=", &["a prompt is empty"]);
    place.fails(
        &["generate", "--init=model", "--prompt=1", "--samples=1000000000"],
        &["1000000000 samples of each of 1 problems", "use fewer"],
    );
    generate(&format!("--prompt={}", "1 ".repeat(600)), &["a prompt has", "context is 512"]);
}

#[test]
fn a_run_directory_that_cannot_be_written_is_refused_before_anything_is_made() {
    let place = place();
    place.write("taken/note", "mine");
    place.write("file", "mine");
    for command in [ppo(&[]), sft(&[])] {
        let with = |out: &'static str| [&*command, &[out]].concat();
        place.fails(&with("--out=taken"), &["taken exists already", "another --out", "--resume taken"]);
        place.fails(&with("--out=file"), &["file exists already"]);
        place.fails(&with("--out=file/run"), &["cannot make file/run", "another --out"]);
    }
    // No base model is made for a run that cannot start.
    place.fails(&["ppo", "--out=taken", "--quiet"], &["taken exists already"]);
    place.fails(&["sft", "--out=taken", "--quiet"], &["taken exists already"]);
    place.fails(&["pretrain", "--out=taken", "--quiet"], &["taken exists already"]);
}

#[test]
fn no_model_is_made_for_flags_that_are_refused() {
    let place = place();
    for command in ["sft", "orm", "ei", "ppo", "rcrl", "augment"] {
        place.fails(&[command, "--extra=none.jsonl"], &["none.jsonl"]);
    }
    for command in ["orm", "ppo", "rcrl", "augment"] {
        place.fails(&[command, "--shots=100000"], &["100000"]);
    }
    place.fails(&["ppo", "--value-layers=9"], &["--value-layers 9 is more than the 4 blocks"]);
    place.fails(&["ppo", "--reward=dense-orm", "--orm=nowhere"], &["nowhere does not exist"]);
    place.fails(&["orm", "--likelihood-of=nowhere"], &["nowhere does not exist"]);
    place.fails(&["orm", "--limit=1"], &["--limit 1", "to hold out"]);
}

#[test]
fn a_model_that_was_made_for_other_problems_is_refused() {
    let place = place();
    place.write("runs/sft-synthetic-pico-seed0/finished", "some other problems");
    place.fails(&["ppo"], &["runs/sft-synthetic-pico-seed0", "other problems", "--init"]);
    let out = format!("--out={}", place.path("runs/base-svamp-pico-seed0").display());
    let [benchmark, data] =
        ["--benchmark=svamp", concat!("--data-dir=", env!("CARGO_MANIFEST_DIR"), "/../data/tests/fixtures")];
    let flags = [&out, benchmark, data, "--quiet", "--device=cpu", "--context=32", "--steps=2", "--stop-after=1"];
    run(&[&["pretrain"], flags.as_slice()].concat()).unwrap_err();
    place.fails(
        &["sft", benchmark, data, "--svamp-solutions=language"],
        &["runs/base-svamp-pico-seed0", "other problems", "--init"],
    );
}

#[test]
fn only_a_run_can_be_resumed_and_only_by_its_own_command() {
    let place = place();
    place.write("empty/readme", "");
    stopped_run(&place.path("old"));
    place.fails(&["ppo", "--resume=nowhere"], &["nowhere is not a run that can be resumed", "give --resume"]);
    place.fails(&["ppo", "--resume=empty"], &["empty is not a run that can be resumed", "no config.toml"]);
    place.fails(&["ppo", "--resume=model"], &["model is not a run that can be resumed"]);
    place.fails(&["sft", "--resume=old"], &["old is a run of `rl ppo`"]);
    fs::remove_dir_all(place.path("old/checkpoints")).unwrap();
    place.fails(&["ppo", "--resume=old"], &["old has no finished checkpoint to resume from"]);
    place.fails(&["inspect", "empty"], &["empty is not a run directory"]);
}

#[test]
fn a_run_whose_checkpoint_was_cut_is_refused_and_stays_as_it_is() {
    let whole = place();
    stopped_run(&whole.path("old"));
    let step = "checkpoints/step-000002";
    let files = [
        format!("{step}/config.json"),
        format!("{step}/model.safetensors"),
        format!("{step}/tokenizer.json"),
        format!("{step}/trainer/state.json"),
        format!("{step}/trainer/optimizer.safetensors"),
        format!("{step}/trainer/value.safetensors"),
        "config.toml".to_string(),
        "metrics.jsonl".to_string(),
    ];
    for file in &files {
        let place = place();
        copy(&whole.path("old"), &place.path("old"));
        let path = place.path("old").join(file);
        if file != "metrics.jsonl" {
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2 + 3]).unwrap();
            // Half a list of flags is a shorter list of flags, if it ends with a line.
            if file == "config.toml" {
                fs::write(&path, "# rl ppo\nsteps = \n").unwrap();
            }
            place.fails(&["ppo", "--resume=old", "--quiet"], &[file]);
        }
        fs::remove_file(&path).unwrap();
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        place.fails(&["ppo", "--resume=old", "--quiet"], &[name]);
    }
}

#[test]
fn a_configuration_file_with_a_mistake_is_refused() {
    let place = place();
    let refusal = |text: &str, parts: &[&str]| {
        place.write("run.toml", text);
        place.fails(&ppo(&["--config=run.toml"]), parts);
    };
    refusal("stepps = 3\n", &["run.toml", "unknown key `stepps`", "see its --help"]);
    refusal("\u{FEFF}stepps = 3\n", &["run.toml: unknown key `stepps`"]);
    place.write("run.toml", b"# caf\xE9\nsteps = 3\n");
    place.fails(&ppo(&["--config=run.toml"]), &["run.toml, line 1", "not UTF-8", "iconv"]);
    place.write("prompts.txt", b"\xFF\xFEa\0\n\0");
    place
        .fails(&["generate", "--init=model", "--file=prompts.txt"], &["prompts.txt is UTF-16 text", "iconv -f UTF-16"]);
    refusal("quiet = 3\n", &["run.toml", "`quiet` is true or false, not 3"]);
    refusal("steps = 3\nsamples = = 4\n", &["run.toml", "line 2", "not TOML"]);
    refusal("steps = 3\nsteps = 4\n", &["run.toml", "line 2", "not TOML"]);
    refusal("steps = 3\n[samples\n", &["run.toml", "line 2", "not TOML"]);
    refusal("[steps]\nmany = 1\nmore = 2\n", &["run.toml", "`steps` is a table"]);
    place.fails(&ppo(&["--config=nowhere.toml"]), &["cannot read nowhere.toml"]);
    // The words of a flag's own parser, as if it had been typed.
    for (text, flag) in [
        ("steps = \"many\"\n", "--steps"),
        ("steps = true\n", "--steps"),
        ("samples = 0\n", "--samples"),
        ("learning_rate = -1.0\n", "--learning-rate"),
    ] {
        place.write("run.toml", text);
        let typed = ["ppo", "--config=run.toml", "--init=model", "--out=run"];
        place.refuses_usage(&typed, &[flag]);
    }
}

/// Runs a command that may write no file past a number of blocks: what a full disk does to it, without being root.
#[cfg(unix)]
fn with_small_files(place: &Place, blocks: usize, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_rl")]).args(arguments).current_dir(place.path("."));
    command.env_remove("RL_DATA_DIR").env_remove("RUST_LOG").env("RUST_BACKTRACE", "1");
    command
}

#[test]
#[cfg(unix)]
fn a_run_that_cannot_write_its_first_file_leaves_no_directory() {
    let place = place();
    for arguments in [ppo(&[]), sft(&[])] {
        place.refuses(with_small_files(&place, 0, &arguments), 1, &["cannot make run", "config.toml"]);
    }
}

#[test]
#[cfg(unix)]
fn a_checkpoint_that_does_not_fit_the_disk_leaves_the_one_before_intact_and_named() {
    let place = place();
    let flags = ppo(&["--stop-after=1"]);
    error_of(&place.run(&flags), 1, &["interrupted"]);
    // Logs fit into these blocks, weights do not.
    let output = with_small_files(&place, 40, &["ppo", "--resume=run", "--quiet"]).output().unwrap();
    error_of(
        &output,
        1,
        &["cannot write the checkpoint run/checkpoints/step-000002", "free some space", "--resume run"],
    );
    let names: Vec<_> =
        fs::read_dir(place.path("run/checkpoints")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let output = place.run(&["ppo", "--resume=run", "--quiet"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metrics = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 2, "no step is there twice: {metrics}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_standard_output_is_an_error() {
    let place = place();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for arguments in [ppo(&["--dry-run"]), vec!["generate", "--init=model", "--prompt=1", "--max-new-tokens=2"]] {
        let mut command = place.command(&arguments);
        command.stdout(full());
        place.refuses(command, 1, &["cannot write to standard output", "No space left"]);
    }
}

#[test]
#[cfg(unix)]
fn an_interrupt_leaves_a_checkpoint_that_is_named_loads_and_resumes() {
    let place = place();
    let flags = ppo(&["--steps=500", "--eval-every=500"]);
    let child = place.command(&flags).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let waited = std::time::Instant::now();
    let steps = || fs::read_to_string(place.path("run/metrics.jsonl")).unwrap_or_default().lines().count();
    while steps() < 2 {
        assert!(waited.elapsed().as_secs() < 120, "no step was finished");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    let steps = steps();
    let checkpoint = format!("run/checkpoints/step-{steps:06}");
    let stderr = error_of(&output, 1, &["interrupted", &checkpoint, "--resume run"]);
    assert!(stderr.contains("stopping after this step"), "{stderr}");

    let init = format!("--init={checkpoint}");
    let output = place.run(&["generate", &init, "--prompt=Question: 1", "--max-new-tokens=2", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!line["tokens"].as_array().unwrap().is_empty());

    let last = (steps + 1).to_string();
    let output = place.run(&["ppo", "--resume=run", "--quiet", "--steps", &last]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metrics = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), steps + 1);
    assert!(place.path("run/eval.json").is_file());
}

#[test]
fn problems_of_ones_own_without_what_a_command_needs_are_refused_before_anything_is_made() {
    let place = place();
    place.write("own.csv", "q,a\nOne and one?,2\nOne and two?,3\n");
    fn ppo<'a>(more: &[&'a str]) -> Vec<&'a str> {
        let own = ["--train=own.csv", "--test=own.csv", "--question-field=q", "--answer-field=a"];
        [["ppo", "--out=run", "--quiet"].as_slice(), &own, more].concat()
    }
    place.fails(&ppo(&[]), &["own/train/1 has no solution", "--init MODEL", "--solution-field"]);
    place.fails(
        &ppo(&["--question-field=question"]),
        &["own.csv, line 2", "the field \"question\" is missing", "\"a\", \"q\""],
    );
    place.fails(&ppo(&["--question-field={{ q"]), &["--question-field {{ q", "line 1, column"]);
    place.fails(&ppo(&["--answer-field=q"]), &["own.csv, line 2", "\"One and one?\" is not one number"]);
    place.write("own.toml", "[data]\ntrain = \"own.csv\"\n[fields]\nquestion = \"q\"\nanser = \"a\"\n");
    let usage = |arguments: &[&str], parts: &[&str]| place.refuses(place.command(arguments), 2, parts);
    usage(&["ppo", "--out=run", "--benchmark=own.toml"], &["own.toml: line 5: unknown field `anser`"]);
    usage(&["data", "check", "none.toml"], &["cannot read none.toml", "No such file"]);
}
