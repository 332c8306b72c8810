//! A user's mistake ends with one line that names it, and leaves nothing behind. Everything here runs the real program.

#[path = "common/mistakes.rs"]
mod mistakes;

use data::Tokenizer;
use mistakes::Place;
use model::{Device, ModelConfig, ModelSize, Transformer, save_model};
use std::{fs, path::Path, process::Command};

/// A place with a usable `model` in it.
fn place() -> Place {
    let place = Place::new(env!("CARGO_BIN_EXE_eval"));
    fs::create_dir(place.path("model")).unwrap();
    let text = "Question: 0 1 2 3 4 5 6 7 8 9\nAnswer: #### 1\n".to_string();
    let tokenizer = Tokenizer::train_bpe(&[text], 270).unwrap();
    let config = ModelConfig {
        hidden_size: 8,
        intermediate_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 1,
        num_key_value_heads: None,
        ..ModelConfig::of_size(ModelSize::Tiny, tokenizer.vocab_size(), 0)
    };
    save_model(&place.path("model"), &Transformer::init(&config, 1, &Device::default())).unwrap();
    tokenizer.save(&place.path("model")).unwrap();
    place
}

/// Cuts a file of a folder to a number of bytes.
fn cut(folder: &Path, file: &str, length: usize) {
    let bytes = fs::read(folder.join(file)).unwrap();
    fs::write(folder.join(file), &bytes[..length]).unwrap();
}

const RUN: [&str; 6] = ["run", "--checkpoint=model", "--limit=2", "--samples=2", "--max-new-tokens=4", "--quiet"];

fn run<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [RUN.as_slice(), more].concat()
}

fn score<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["score", "--limit=2", "--predictions=p.jsonl"], more].concat()
}

#[test]
fn a_mistake_on_the_command_line_is_named_and_ends_with_2() {
    let place = place();
    place.refuses_usage(&["grade"], &["grade"]);
    place.refuses_usage(&run(&["--temprature=1"]), &["--temprature"]);
    place.refuses_usage(&run(&["--temperature=-1"]), &["--temperature", "at least 0"]);
    place.refuses_usage(&run(&["--temperature=nan"]), &["--temperature", "not a temperature"]);
    place.refuses_usage(&run(&["--samples=0"]), &["--samples"]);
    place.refuses_usage(&run(&["--device=tpu"]), &["--device", "known are auto, cpu, cuda, wgpu"]);
    place.refuses_usage(&score(&["--k=0"]), &["--k"]);
    place.refuses_usage(&score(&["--k=1,few"]), &["few", "--k"]);
    place.refuses_usage(&score(&["--benchmark=math"]), &["math", "--benchmark"]);
}

#[test]
#[cfg(not(any(feature = "cuda", feature = "wgpu")))]
fn a_device_that_is_not_compiled_in_names_its_feature() {
    let place = place();
    place.fails(&run(&["--device=cuda"]), &["--device cuda is not compiled in", "--features cuda"]);
    place.fails(&run(&["--device=wgpu"]), &["--device wgpu is not compiled in", "--features wgpu"]);
}

#[test]
fn a_checkpoint_that_is_none_is_refused() {
    let place = place();
    place.write("empty/readme", "");
    place.write("weights.gguf", "GGUF");
    place.spoilt_model("cut-weights", |folder| cut(folder, "model.safetensors", 300));
    place.spoilt_model("cut-config", |folder| cut(folder, "config.json", 30));
    place.spoilt_model("cut-tokenizer", |folder| cut(folder, "tokenizer.json", 100));
    let cases: [(&str, &[&str]); 6] = [
        (
            "nowhere",
            &["nowhere does not exist", "give a run directory, a checkpoint, a Hugging Face folder or a GGUF file"],
        ),
        ("empty", &["empty is neither a checkpoint (no config.json in it) nor a run"]),
        ("weights.gguf", &["cannot read weights.gguf as a GGUF file"]),
        ("cut-weights", &["cut-weights/model.safetensors is not a whole safetensors file"]),
        ("cut-config", &["cut-config/config.json is not a model configuration"]),
        ("cut-tokenizer", &["cut-tokenizer/tokenizer.json", "not a tokenizer"]),
    ];
    for (checkpoint, parts) in cases {
        let flag = format!("--checkpoint={checkpoint}");
        place.fails(&[&["run", &flag], &RUN[2..]].concat(), parts);
    }
}

#[test]
fn a_report_that_could_not_be_written_is_refused_before_anything_is_sampled() {
    let place = place();
    place.write("file", "mine");
    for flag in ["--out", "--save-samples"] {
        place.fails(&run(&[&format!("{flag}=nowhere/eval.json")]), &["the folder of nowhere/eval.json does not exist"]);
        place.fails(&run(&[&format!("{flag}=file/eval.json")]), &["the folder of file/eval.json does not exist"]);
        place.fails(&run(&[&format!("{flag}=model")]), &["model is a folder", "the name of a file"]);
    }
}

#[test]
fn an_output_that_would_overwrite_an_input_is_refused() {
    let place = place();
    place.write("p.jsonl", "{\"index\": 0, \"completions\": [\"1\"]}\n{\"index\": 1, \"completions\": [\"1\"]}\n");
    place.write("s.jsonl", "{}\n");
    place.write("data/gsm8k/test.jsonl", "{\"question\": \"Why?\", \"answer\": \"#### 1\"}\n");
    place.fails(&score(&["--per-sample=p.jsonl"]), &["--per-sample p.jsonl", "overwrite what --predictions reads"]);
    for flag in ["--out", "--by-question", "--save-samples"] {
        let with = |file: &str| format!("{flag}={file}");
        place.fails(&run(&["--from-samples=s.jsonl", &with("s.jsonl")]), &["overwrite what --from-samples reads"]);
        place.fails(&run(&[&with("model/config.json")]), &["overwrite what --checkpoint reads"]);
        let data = ["--data-dir=data", "--benchmark=gsm8k", &with("data/gsm8k/test.jsonl")];
        place.fails(&run(&data), &["overwrite what --data-dir reads"]);
    }
    place.fails(&run(&["--out=both", "--by-question=both"]), &["--out and --by-question both write both"]);
}

#[test]
#[cfg(target_os = "linux")]
fn an_output_that_is_no_regular_file_is_written_into() {
    let place = place();
    let text = "{\"index\": 0, \"completions\": [\"1\"]}\n{\"index\": 1, \"completions\": [\"1\"]}\n";
    place.write("p.jsonl", text);
    // A pipe, a regular file and a process as what the shell gives as an output; what is printed comes after.
    for script in [
        "\"$0\" score --limit=2 --predictions=p.jsonl --per-sample=/dev/stdout | cat > piped",
        "\"$0\" score --limit=2 --predictions=p.jsonl --per-sample=/dev/stdout > redirected",
        "\"$0\" score --limit=2 --predictions=p.jsonl --per-sample=/dev/fd/3 3> third; cat third",
    ] {
        let mut command = Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_eval")]).current_dir(place.path("."));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for name in ["piped", "redirected"] {
        let written = fs::read_to_string(place.path(name)).unwrap();
        assert!(written.starts_with("{\"index\":0"), "{name}: {written}");
        assert!(written.contains("maj@1"), "{name}: {written}");
    }
    assert_eq!(fs::read_to_string(place.path("third")).unwrap().lines().count(), 2);
    for flag in ["--out", "--by-question", "--save-samples"] {
        assert!(place.run(&run(&[&format!("{flag}=/dev/null")])).status.success());
    }
    use std::os::unix::fs::FileTypeExt;
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[test]
fn scores_of_other_questions_are_not_compared() {
    let place = place();
    let scores = |split: &str, ids: &str, sum: &str| {
        format!(
            "{{\"benchmark\":\"gsm8k\",\"split\":\"{split}\",\"ids\":{ids},\"questions\":\"{sum}\",\"maj@1\":[1.0,0.0]}}"
        )
    };
    place.write("a.json", scores("test", "[\"a\",\"b\"]", "0"));
    place.write("same.json", scores("test", "[\"a\",\"b\"]", "0"));
    place.write("earlier.json", "{\"maj@1\":[1.0,0.0]}");
    for (name, text, part) in [
        ("split.json", scores("train", "[\"a\",\"b\"]", "0"), "the second to gsm8k/train"),
        ("other.json", scores("test", "[\"a\",\"c\"]", "0"), "question 2 is b in the first and c in the second"),
        ("text.json", scores("test", "[\"a\",\"b\"]", "1"), "other texts or answers"),
    ] {
        place.write(name, text);
        place.fails(&["compare", "a.json", name], &[name, "evaluate both policies on the same problems", part]);
    }
    for (name, is_warned) in [("same.json", false), ("earlier.json", true)] {
        let output = place.run(&["compare", "a.json", name]);
        assert!(output.status.success());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.contains("earlier.json does not say which questions"), is_warned, "{stderr}");
    }
    // What `eval run` writes can be compared.
    for name in ["first.json", "second.json"] {
        assert!(place.run(&run(&[&format!("--by-question={name}")])).status.success());
    }
    let output = place.run(&["compare", "first.json", "second.json"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let more = RUN.map(|flag| if flag == "--limit=2" { "--limit=3" } else { flag });
    assert!(place.run(&[more.as_slice(), &["--by-question=more.json"]].concat()).status.success());
    place.fails(&["compare", "first.json", "more.json"], &["2 questions, the second 3"]);
}

#[test]
fn data_that_is_missing_or_malformed_is_named() {
    let place = place();
    place.write("p.jsonl", "");
    for command in [run(&["--benchmark=gsm8k"]), score(&["--benchmark=svamp"])] {
        place.fails(&command, &["pass --data-dir DIR", "RL_DATA_DIR"]);
    }
    let flags = ["--benchmark=gsm8k", "--data-dir=data"];
    place.fails(&run(&flags), &["data/gsm8k/test.jsonl", "--data-dir"]);
    place.write("data/gsm8k/test.jsonl", "{\"question\": \"One?\", \"answer\": \"#### 1\"}\n\n{\"question\": \"cut");
    for command in [run(&flags), score(&flags)] {
        place.fails(&command, &["data/gsm8k/test.jsonl, line 3", "download the file again"]);
    }
    place.fails(&score(&["--benchmark=gsm8k", "--split=test-unseen"]), &["no split test-unseen", "--split test"]);
}

#[test]
fn predictions_with_a_mistake_are_named_by_their_line() {
    let place = place();
    place.fails(&score(&[]), &["cannot open p.jsonl"]);
    let good = r#"{"index": 0, "completions": ["1", "2"]}"#;
    let cases: [(&str, &[&str]); 9] = [
        ("", &["p.jsonl: the file has no predictions"]),
        (r#"{"index": 1, "completions": ["cut"#, &["line 2", "malformed JSON at column"]),
        (r#"[1, ["a"]]"#, &["line 2", "not a JSON object"]),
        (r#"{"index": 1}"#, &["line 2", "completions"]),
        (r#"{"index": 2, "completions": ["a", "b"]}"#, &["line 2", "unknown index 2: there are 2 problems, from 0"]),
        (r#"{"question": "Who?", "completions": ["a", "b"]}"#, &["line 2", "unknown question \"Who?\""]),
        (r#"{"index": 1, "completions": []}"#, &["line 2", "index 1 has no completions"]),
        (r#"{"index": 0, "completions": ["a", "b"]}"#, &["line 2", "index 0 stands already in line 1"]),
        (r#"{"index": 1, "completions": ["a"], "scores": []}"#, &["line 2", "1 completions and 0 scores"]),
    ];
    for (bad, parts) in cases {
        place.write("p.jsonl", if bad.is_empty() { String::new() } else { format!("{good}\n{bad}\n") });
        place.fails(&score(&["--per-sample=grades.jsonl"]), parts);
    }
    for (bytes, parts) in [
        (&b"\x1F\x8B\x08\0"[..], &["p.jsonl is compressed with gzip, not text", "gunzip -k p.jsonl"][..]),
        (b"{\0\"\0i\0", &["p.jsonl is UTF-16", "iconv"]),
        (b"PAR1\x15\0", &["p.jsonl is a parquet table", "pandas"]),
        (b"version https://git-lfs.github.com/spec/v1\n", &["p.jsonl is a Git LFS pointer", "git lfs pull"]),
        (b"<!DOCTYPE html>\n<html>", &["p.jsonl is an HTML page", "download"]),
        (
            b"{\"index\": 0, \"completion\": \"1\"}\n",
            &["line 1: the field \"completions\" is missing", "\"completion\", \"index\""],
        ),
    ] {
        place.write("p.jsonl", bytes);
        place.fails(&score(&["--per-sample=grades.jsonl"]), parts);
        place.write("first.json", bytes);
        if !bytes.starts_with(b"{\"") {
            place.fails(&["compare", "first.json", "first.json"], &[&parts[0].replace("p.jsonl", "first.json")]);
            place.fails(&["diversity", "--samples=first.json"], &[&parts[0].replace("p.jsonl", "first.json")]);
        }
    }
    place.write("p.jsonl", format!("{good}\n"));
    place.fails(&score(&[]), &["1 of 2 problems", "the first is index 1", "--allow-missing"]);
}

#[test]
fn answers_that_almost_none_can_be_read_of_are_warned_of_with_the_flag() {
    let place = place();
    let lines =
        [0, 1].map(|index| format!("{{\"index\": {index}, \"completions\": [\"She has 18 left.\\nA: 18\"]}}\n"));
    place.write("p.jsonl", lines.concat());
    // What has no name before its number is not taken for a claim, and `A: 18` is one.
    for (format, warns) in
        [("auto", false), ("last-number", false), ("regex:A: (\\d+)", false), ("gsm8k", true), ("boxed", true)]
    {
        let flag = format!("--answer-format={format}");
        let output = place.run(&score(&[&flag, "--json"]));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let named =
            stderr.contains(&format!("100 % of the completions have no answer that --answer-format {format} can read"));
        assert_eq!(named, warns, "{format}: {stderr}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["answer_format"], format);
        assert_eq!(report["parse_failures"], if warns { 1.0 } else { 0.0 });
    }
    place.refuses_usage(&score(&["--answer-format=regex:("]), &["--answer-format", "unclosed group"]);
    place.refuses_usage(&run(&["--answer-format=html"]), &["--answer-format", "give auto, gsm8k, boxed"]);
}

#[test]
fn pessimism_needs_a_reward_model_and_a_number_that_takes_off() {
    let place = place();
    place.fails(&run(&["--pessimism=1"]), &["--pessimism", "--orm"]);
    place.refuses_usage(&run(&["--pessimism=-1", "--orm=model"]), &["--pessimism", "at least 0"]);
    place.fails(&run(&["--pessimism=1", "--orm=model"]), &["model is not a reward model"]);
}

#[test]
fn a_k_that_is_too_large_names_the_line_and_the_largest_that_works() {
    let place = place();
    let line = |index: usize, completions: &str| format!("{{\"index\": {index}, \"completions\": [{completions}]}}\n");
    place.write("p.jsonl", line(0, "\"a\", \"b\", \"c\"") + &line(1, "\"a\", \"b\""));
    place.fails(
        &score(&["--k=1,3", "--per-sample=grades.jsonl"]),
        &["p.jsonl", "line 2 (index 1) has 2 completions, too few for --k 3", "every line allows is 2"],
    );
    place.fails(&score(&["--per-sample=nowhere/grades.jsonl"]), &["the folder of nowhere/grades.jsonl does not exist"]);
}

#[test]
fn more_samples_than_can_be_held_are_refused() {
    let place = place();
    let many = ["run", "--checkpoint=model", "--limit=2", "--samples=18446744073709551615", "--quiet"];
    place.fails(&many, &["18446744073709551615 samples of each of 2 problems", "use fewer"]);
}

#[test]
fn a_prompt_that_does_not_fit_the_model_is_named() {
    let place = place();
    let line = serde_json::json!({"question": "1 ".repeat(3000), "answer": "#### 1"});
    place.write("data/gsm8k/test.jsonl", format!("{line}\n"));
    place.fails(
        &run(&["--benchmark=gsm8k", "--data-dir=data", "--out=eval.json"]),
        &["the prompt of gsm8k/test/0", "the model's context is 1024"],
    );
}

#[test]
#[cfg(unix)]
fn a_report_that_does_not_fit_the_disk_is_not_left_half_written() {
    // No file may grow past no block: what a full disk does, without being root.
    let place = place();
    for flag in ["--out=eval.json", "--save-samples=samples.jsonl"] {
        let mut command = Command::new("sh");
        let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
        command.args(["-c", script, env!("CARGO_BIN_EXE_eval")]).args(run(&[flag])).current_dir(place.path("."));
        let file = flag.split_once('=').unwrap().1;
        place.refuses(command, 1, &[&format!("cannot write {file}")]);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_output_that_takes_nothing_more_is_an_error() {
    let place = place();
    place.write("p.jsonl", "{\"index\": 0, \"completions\": [\"1\"]}\n{\"index\": 1, \"completions\": [\"1\"]}\n");
    for arguments in [run(&[]), score(&[])] {
        let mut command = place.command(&arguments);
        command.stdout(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        place.refuses(command, 1, &["cannot print the report", "No space left"]);
    }
}
