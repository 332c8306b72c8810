//! Claims about models made on demand: such a model is made from what the command needs, and another is not used in its place.
//! Everything here runs the real program.

mod common;
#[path = "common/place.rs"]
mod place;

use place::place;
use std::fs;

const DATA: [&str; 3] =
    ["--benchmark=svamp", concat!("--data-dir=", env!("CARGO_MANIFEST_DIR"), "/../data/tests/fixtures"), "--limit=8"];

#[test]
fn a_model_of_other_problems_or_another_precision_is_made_anew_and_named_so() {
    let place = place();
    // Two bases whose training was stopped: to resume them takes no time.
    for (name, more) in
        [("base-svamp-nano-seed0-limit8", &[][..]), ("base-svamp-nano-seed0-bf16-limit8", &["--dtype=bf16"])]
    {
        let out = format!("--out=runs/{name}");
        let own = [
            "pretrain",
            &out,
            "--model=nano",
            "--context=32",
            "--steps=2",
            "--stop-after=1",
            "--device=cpu",
            "--quiet",
        ];
        let output = place.run(&[own.as_slice(), &DATA, more].concat());
        assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"), "{output:?}");
    }
    // The models under the names without a limit are made from all problems: they are not used.
    for name in ["base-svamp-nano-seed0", "base-svamp-nano-seed0-bf16"] {
        place.write(&format!("runs/{name}/finished"), "of all problems");
    }
    for (dtype, base) in [("f32", "base-svamp-nano-seed0-limit8"), ("bf16", "base-svamp-nano-seed0-bf16-limit8")] {
        let (out, typed) = (format!("--out=sft-{dtype}"), format!("--dtype={dtype}"));
        let own = ["sft", &out, &typed, "--model=nano", "--steps=1", "--test-problems=0", "--eval-problems=1"];
        let more = ["--device=cpu", "--quiet", "--max-new-tokens=2", "--gradient-checkpointing"];
        let output = place.run(&[own.as_slice(), &more, &DATA].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read = |file: &str| fs::read_to_string(place.path(file)).unwrap();
        let config = read(&format!("sft-{dtype}/config.toml"));
        assert!(config.contains(&format!("init = \"runs/{base}/checkpoints/step-000002\"")), "{config}");
        let config = read(&format!("runs/{base}/config.toml"));
        for entry in [format!("dtype = \"{dtype}\""), "gradient_checkpointing = true".into(), "limit = 8".into()] {
            assert!(config.contains(&entry), "{config}");
        }
        assert!(read(&format!("runs/{base}/finished")).starts_with("8 problems"));
    }
    assert_eq!(fs::read_dir(place.path("runs")).unwrap().count(), 4, "nothing else was made");
}

#[test]
fn a_model_that_is_not_what_its_folder_says_is_refused_and_both_are_named() {
    let place = place();
    let out = "--out=runs/base-svamp-nano-seed0-limit8";
    let own =
        ["pretrain", out, "--model=nano", "--context=32", "--steps=2", "--stop-after=1", "--device=cpu", "--quiet"];
    place.run(&[own.as_slice(), &DATA, &["--dtype=bf16"]].concat());
    place.fails(
        &[["sft", "--out=run", "--model=nano", "--quiet"].as_slice(), &DATA].concat(),
        &["runs/base-svamp-nano-seed0-limit8 was made with dtype = \"bf16\"", "needs \"f32\"", "--init"],
    );
}

#[test]
fn a_model_made_from_another_version_of_its_base_is_refused_and_both_are_named() {
    let place = place();
    let fast = ["--model=nano", "--steps=2", "--stop-after=1", "--device=cpu", "--quiet"];
    let begin = |command: &str, out: &str, more: &[&str]| {
        let out = format!("--out=runs/{out}");
        let output = place.run(&[&[command, &out], fast.as_slice(), &DATA, more].concat());
        assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"), "{output:?}");
    };
    let looks = ["--max-new-tokens=2", "--eval-problems=1", "--test-problems=0"];
    begin("pretrain", "base-svamp-nano-seed0-limit8", &["--context=32"]);
    begin("sft", "sft-svamp-nano-seed0-limit8-tokens2", &looks);
    let ppo = |out: &str| {
        let out = format!("--out={out}");
        let own =
            ["ppo", &out, "--model=nano", "--steps=1", "--questions=1", "--samples=2", "--mini-batch=2", "--quiet"];
        [own.as_slice(), &DATA, &looks].concat().into_iter().map(str::to_string).collect::<Vec<String>>()
    };
    let run = |out: &str| {
        let flags = ppo(out);
        place.run(&flags.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let first = run("first");
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let finished = place.path("runs/sft-svamp-nano-seed0-limit8-tokens2/finished");
    let written = fs::read_to_string(&finished).unwrap();
    assert!(
        written.contains("\nfrom runs/base-svamp-nano-seed0-limit8/checkpoints/step-000002, CRC-32C "),
        "{written}"
    );
    assert!(run("again").status.success(), "it is taken again");
    // Another base in place of the one that the SFT model was made from.
    let weights = |run: &str| place.path(run).join("model.safetensors");
    let other = weights("runs/sft-svamp-nano-seed0-limit8-tokens2/checkpoints/step-000002");
    fs::copy(other, weights("runs/base-svamp-nano-seed0-limit8/checkpoints/step-000002")).unwrap();
    let flags = ppo("run");
    let parts = [
        "runs/sft-svamp-nano-seed0-limit8-tokens2 was made from an earlier version of runs/base-svamp-nano-seed0-limit8/checkpoints/step-000002",
        "--init",
    ];
    place.fails(&flags.iter().map(String::as_str).collect::<Vec<_>>(), &parts);
    // Earlier versions did not record it.
    fs::write(&finished, format!("{}\n", written.lines().next().unwrap())).unwrap();
    assert!(run("earlier").status.success());
}
