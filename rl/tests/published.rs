//! Claims about models from elsewhere, as a user meets them: what cannot be read is named, and what is exported is the model.
//! Everything here runs the real program.

mod common;
#[path = "../../eval/tests/common/mistakes.rs"]
mod mistakes;

use burn::tensor::Device;
use common::start;
use eval::Policy;
use mistakes::{Place, copy};
use model::model_tensors;
use serde_json::Value;
use std::{fs, path::Path};

fn place() -> Place {
    let place = Place::new(env!("CARGO_BIN_EXE_rl"));
    copy(start(), &place.path("model"));
    place
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures").join(name)).unwrap()
}

#[test]
fn a_gguf_file_that_cannot_be_used_says_why_before_anything_is_made() {
    let place = place();
    let bytes = fixture("gguf_qwen3.gguf");
    place.write("no-tokenizer.gguf", &bytes);
    place.write("cut.gguf", &bytes[..600]);
    place.write("text.gguf", "not a model at all, but long enough for a header");
    for (file, parts) in [
        ("no-tokenizer.gguf", ["no-tokenizer.gguf cannot be used", "it has no tokenizer in its metadata"]),
        ("cut.gguf", ["cannot read cut.gguf as a GGUF file", ""]),
        ("text.gguf", ["cannot read text.gguf as a GGUF file", "magic"]),
        ("none.gguf", ["none.gguf does not exist", "GGUF file"]),
    ] {
        place.fails(&["sft", &format!("--init={file}"), "--out=run", "--quiet", "--lora-rank=2"], &parts);
        place.fails(&["generate", &format!("--init={file}"), "--prompt=1"], &parts);
        place.fails(&["export", &format!("--checkpoint={file}"), "--out=folder"], &parts);
    }
}

#[test]
fn a_name_on_the_hub_that_is_none_is_refused_without_a_network() {
    place().fails(&["generate", "--init=hf:gpt2", "--prompt=1"], &["hf:gpt2: write it as hf:OWNER/NAME"]);
}

#[test]
fn adapters_need_a_scale() {
    let place = place();
    for command in ["sft", "ei", "ppo", "rcrl", "orm"] {
        let flags = [command, "--init=model", "--out=run", "--lora-rank=2", "--lora-alpha=0"];
        place.fails(&flags, &["--lora-alpha 0: give a number above 0"]);
    }
    place.refuses_usage(&["sft", "--lora-targets=some"], &["--lora-targets", "some"]);
}

#[test]
fn an_export_is_the_model_and_never_overwrites() {
    let place = place();
    fn export<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["export", "--checkpoint=model"], more].concat()
    }
    for (out, dtype, exact) in [("as-it-is", "f32", true), ("halves", "bf16", false)] {
        let flags = [format!("--out={out}"), format!("--dtype={dtype}")];
        let output = place.run(&export(&[&flags[0], &flags[1]]));
        assert!(output.status.success(), "{output:?}");
        let weights = |name: &str| model_tensors(&Policy::load(&place.path(name), &Device::default()).unwrap().model);
        let (ours, theirs) = (weights("model"), weights(out));
        assert_eq!(ours == theirs, exact);
        for (name, tensor) in &ours {
            let near = |(x, y): (&f32, &f32)| (x - y).abs() <= x.abs() / 256.0;
            assert!(tensor.values.iter().zip(&theirs[name].values).all(near), "{name}");
        }
        let config: Value = serde_json::from_slice(&fs::read(place.path(out).join("config.json")).unwrap()).unwrap();
        assert_eq!(config["dtype"], if exact { "float32" } else { "bfloat16" });
    }
    place.fails(&export(&["--out=halves"]), &["halves exists already: give another --out"]);
}
