//! Claims about the models that a run starts from, as a user meets them: what cannot be read is named, and what is exported is the
//! model.
//! Everything here runs the real program. Longer than other files: each file here is a program of its own, which links all of burn.

mod common;
#[path = "common/place.rs"]
mod place;

use eval::Policy;
use model::{Device, HostTensor, HostTensors, model_tensors, write_tensors};
use place::{
    cut_in_half,
    mistakes::{Place, copy},
    place, ppo, sft,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(path, value.to_string()).unwrap();
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
fn a_malformed_name_on_the_hub_is_refused_without_a_network() {
    place().fails(&["generate", "--init=hf:gpt2", "--prompt=1"], &["hf:gpt2: write it as hf:OWNER/NAME"]);
}

#[test]
fn a_name_on_the_hub_without_its_prefix_is_an_error_with_a_hint() {
    let place = place();
    let problem = "Qwen/Qwen3-0.6B does not exist";
    let hint = "write it as hf:Qwen/Qwen3-0.6B";
    for flags in [&ppo(&["--init=Qwen/Qwen3-0.6B"])[..], &["generate", "--init=Qwen/Qwen3-0.6B", "--prompt=1"]] {
        place.fails(flags, &[problem, hint]);
    }
}

#[test]
fn weights_that_were_not_fetched_or_are_in_pytorchs_format_are_named_with_what_to_do() {
    let place = place();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    place.spoilt_model("pointer", |model| fs::write(model.join("model.safetensors"), pointer).unwrap());
    place.spoilt_model("bin", |model| {
        fs::rename(model.join("model.safetensors"), model.join("pytorch_model.bin")).unwrap();
    });
    place.write("pointer.gguf", pointer);
    for dry in [&[][..], &["--dry-run"]] {
        let refusal = |init: &str, parts: &[&str]| place.fails(&ppo(&[&[init], dry].concat()), parts);
        refusal("--init=pointer", &["pointer/model.safetensors is a Git LFS pointer", "git lfs pull"]);
        refusal("--init=pointer.gguf", &["pointer.gguf is a Git LFS pointer", "git lfs pull"]);
        refusal("--init=bin", &["bin has its weights in PyTorch's format alone", "safe_serialization=True"]);
        refusal("--init=bin/pytorch_model.bin", &["bin/pytorch_model.bin is a safetensors file", "give the folder"]);
    }
}

#[test]
fn a_byte_order_mark_before_the_files_of_a_model_changes_nothing() {
    let place = place();
    place.spoilt_model("marked", |model| {
        for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
            let path = model.join(file);
            fs::write(&path, [b"\xEF\xBB\xBF", fs::read(&path).unwrap().as_slice()].concat()).unwrap();
        }
    });
    let written = |init: &str| place.run(&["generate", init, "--prompt=1", "--temperature=0", "--json"]);
    let (marked, plain) = (written("--init=marked"), written("--init=model"));
    assert!(marked.status.success(), "{}", String::from_utf8_lossy(&marked.stderr));
    assert_eq!(marked.stdout, plain.stdout);
}

/// A hub that has one model, `us/small`, the files of a folder, until it is dropped; its address.
struct Hub(String, Arc<AtomicBool>);

impl Hub {
    fn of(folder: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, over) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let hub = Self(format!("http://{address}"), over.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !over.load(Ordering::Relaxed)) {
                answer(stream.unwrap(), &folder);
            }
        });
        hub
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for the next request.
        drop(TcpStream::connect(self.0.trim_start_matches("http://")));
    }
}

/// Answers one request as the hub does: what files there are, or a part of one.
fn answer(mut stream: TcpStream, folder: &Path) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let Some(path) = request.first().and_then(|line| line.split(' ').nth(1)) else { return };
    let mut respond = |status: &str, more: &str, body: &[u8]| {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n");
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
    };
    if path.starts_with("/api/models/us/small") {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let files: Vec<Value> =
            names.chain(["pytorch_model.bin".into()]).map(|name| json!({"rfilename": name})).collect();
        return respond("200 OK", "", json!({"sha": "c0ffee", "siblings": files}).to_string().as_bytes());
    }
    let file = path.strip_prefix("/us/small/resolve/main/").map(|name| folder.join(name));
    let Some(bytes) = file.and_then(|file| fs::read(file).ok()) else { return respond("404 Not Found", "", b"") };
    let range = request.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_string));
    let (first, last) = range.as_deref().and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
    let (first, last) = (first.parse::<usize>().unwrap(), last.parse().unwrap_or(usize::MAX).min(bytes.len() - 1));
    let head = format!(
        "Content-Range: bytes {first}-{last}/{}\r\nETag: \"{}\"\r\nX-Repo-Commit: c0ffee\r\n",
        bytes.len(),
        path.replace('/', "-")
    );
    respond("206 Partial Content", &head, &bytes[first..=last]);
}

#[test]
fn a_model_on_the_hub_is_fetched_and_found_again_without_a_network() {
    let place = place();
    let hub = Hub::of(place.path("model"));
    let generate = |hub: &str, home: &str| {
        let mut command = place.command(&["generate", "--init=hf:us/small", "--prompt=1", "--temperature=0", "--json"]);
        command.env("HF_ENDPOINT", hub).env("HF_HOME", place.path(home));
        command
    };
    let address = hub.0.clone();
    let fetched = generate(&address, "home").output().unwrap();
    let written = place.run(&["generate", "--init=model", "--prompt=1", "--temperature=0", "--json"]).stdout;
    assert!(fetched.status.success() && !written.is_empty(), "{}", String::from_utf8_lossy(&fetched.stderr));
    assert_eq!(String::from_utf8_lossy(&fetched.stdout), String::from_utf8_lossy(&written));
    drop(hub);
    assert!(generate(&address, "home").output().unwrap().stdout == written, "what was fetched before");
    let without = ["cannot fetch us/small from the Hugging Face hub", "without a network, give a folder"];
    place.refuses(generate(&address, "elsewhere"), 1, &without);
}

/// A folder of the hub's cache with one model, as the hub's own library lays it out.
fn keep_in_cache(place: &Place, cache: &str, name: &str) {
    let repository = place.path(cache).join(name);
    copy(&place.path("model"), &repository.join("snapshots/c0ffee"));
    place.write(&format!("{cache}/{name}/refs/main"), "c0ffee");
}

#[test]
fn the_cache_of_the_hub_is_where_its_variables_say() {
    let place = place();
    keep_in_cache(&place, "cache", "models--us--small");
    keep_in_cache(&place, "home/hub", "models--us--other");
    let generate = |init: &str| {
        let mut command = place.command(&["generate", init, "--prompt=1", "--temperature=0", "--json"]);
        // A port where nobody answers.
        command.env("HF_ENDPOINT", "http://127.0.0.1:9").env("HF_HOME", place.path("home")).env_remove("HF_HUB_CACHE");
        command
    };
    let expected = generate("--init=model").output().unwrap().stdout;
    let found = generate("--init=hf:us/small").env("HF_HUB_CACHE", place.path("cache")).output().unwrap();
    assert!(found.stdout == expected && !expected.is_empty(), "{}", String::from_utf8_lossy(&found.stderr));
    assert!(generate("--init=hf:us/other").output().unwrap().stdout == expected, "HF_HOME/hub");
    // HF_HUB_CACHE goes before HF_HOME.
    let mut other = generate("--init=hf:us/other");
    other.env("HF_HUB_CACHE", place.path("cache"));
    place.refuses(other, 1, &["cannot fetch us/other from the Hugging Face hub"]);
    place.refuses(generate("--init=hf:us/small"), 1, &["cannot fetch us/small from the Hugging Face hub"]);
}

/// A PEFT adapter of rank 2 on queries and values, each with an A of its own, for the model of a place.
fn write_adapter(place: &Place, name: &str, base: &str) {
    let config = json!({"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": 2,
        "lora_alpha": 3, "lora_dropout": 0.05, "bias": "none", "target_modules": ["q_proj", "v_proj"],
        "modules_to_save": null, "use_rslora": false});
    place.write(&format!("{name}/adapter_config.json"), config.to_string());
    write_tensors(&place.path(name).join("adapter_model.safetensors"), &factors()).unwrap();
}

fn factors() -> HostTensors {
    let mut tensors = HostTensors::new();
    for layer in 0..2 {
        for (matrix, width) in [("q_proj", 32), ("v_proj", 16)] {
            for (part, shape) in [("lora_A", [2, 32]), ("lora_B", [width, 2])] {
                let name = format!("base_model.model.model.layers.{layer}.self_attn.{matrix}.{part}.weight");
                let seed = name.bytes().map(usize::from).sum::<usize>();
                let values = (0..shape[0] * shape[1]).map(|i| ((i * 7 + seed) % 11) as f32 / 10.0 - 0.5).collect();
                tensors.insert(name, HostTensor { shape: shape.to_vec(), values });
            }
        }
    }
    tensors
}

/// The weights of the model of a place with that adapter added, by the definition.
fn with_factors(place: &Place) -> HostTensors {
    let mut weights = model_tensors(&Policy::load(&place.path("model"), &Device::default()).unwrap().model);
    let factors = factors();
    for layer in 0..2 {
        for matrix in ["q_proj", "v_proj"] {
            let name = format!("model.layers.{layer}.self_attn.{matrix}");
            let factor = |part: &str| &factors[&format!("base_model.model.{name}.{part}.weight")].values;
            let (a, b) = (factor("lora_A"), factor("lora_B"));
            let tensor = weights.get_mut(&format!("{name}.weight")).unwrap();
            for (place, value) in tensor.values.iter_mut().enumerate() {
                let (row, column) = (place / 32, place % 32);
                *value += 1.5 * (b[2 * row] * a[column] + b[2 * row + 1] * a[32 + column]);
            }
        }
    }
    weights
}

#[test]
fn an_adapter_folder_stands_for_its_base_with_the_adapter_added() {
    let place = place();
    let expected = with_factors(&place);
    let same = |found: &HostTensors| {
        found.keys().eq(expected.keys())
            && found.iter().all(|(name, tensor)| {
                tensor
                    .values
                    .iter()
                    .zip(&expected[name].values)
                    .all(|(found, expected)| (found - expected).abs() < 1e-5)
            })
    };
    keep_in_cache(&place, "cache", "models--us--small");
    let absolute = place.path("model").display().to_string();
    for (name, base) in
        [("above/beside", "../../model"), ("here", "model"), ("absolute", &absolute), ("hub", "us/small")]
    {
        write_adapter(&place, name, base);
        let out = format!("merged-{}", name.replace('/', "-"));
        let (checkpoint, flag) = (format!("--checkpoint={name}"), format!("--out={out}"));
        let mut export = place.command(&["export", &checkpoint, &flag]);
        export.env("HF_HUB_CACHE", place.path("cache")).env("HF_ENDPOINT", "http://127.0.0.1:9");
        let output = export.output().unwrap();
        assert!(output.status.success(), "{base}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(same(&model_tensors(&Policy::load(&place.path(&out), &Device::default()).unwrap().model)), "{base}");
    }
    // A base that is itself an adapter folder.
    write_adapter(&place, "second", "../here");
    place.run(&["export", "--checkpoint=second", "--out=twice"]);
    let twice = model_tensors(&Policy::load(&place.path("twice"), &Device::default()).unwrap().model);
    assert!(!same(&twice), "both are added");
    // Commands start from it, add their own adapters, and resume with them.
    for (init, more) in [("--init=here", "--lora-rank=2"), ("--init=above/beside", "--seed=1")] {
        assert!(place.run(&sft(&[init, more, "--dry-run"])).status.success());
        let stopped = place.run(&sft(&[init, more, "--steps=2", "--stop-after=1", "--test-problems=0"]));
        assert!(String::from_utf8_lossy(&stopped.stderr).contains("interrupted"), "{stopped:?}");
        let resumed = place.run(&["sft", "--resume=run", "--quiet"]);
        assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
        fs::remove_dir_all(place.path("run")).unwrap();
    }
}

#[test]
fn an_adapter_that_cannot_be_added_says_why() {
    let place = place();
    let refusal = |name: &str, parts: &[&str]| {
        let init = format!("--init={name}");
        place.fails(&ppo(&[&init]), parts);
        place.fails(&["generate", &init, "--prompt=1"], parts);
    };
    write_adapter(&place, "lost", "no/where/at-all");
    refusal("lost", &["lost names its base no/where/at-all", "neither beside it nor in the working folder"]);
    write_adapter(&place, "self", ".");
    refusal("self", &["self is an adapter on an adapter"]);
    write_adapter(&place, "dora", "../model");
    edit_json(&place.path("dora/adapter_config.json"), |json| json["use_dora"] = true.into());
    refusal("dora", &["dora/adapter_config.json: use_dora is not supported", "merge_and_unload"]);
    write_adapter(&place, "nan", "../model");
    let mut broken = factors();
    broken.get_mut("base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight").unwrap().values[3] = f32::NAN;
    write_tensors(&place.path("nan/adapter_model.safetensors"), &broken).unwrap();
    refusal("nan", &["nan/adapter_model.safetensors cannot be used", "layers.1.self_attn.q_proj.lora_B.weight"]);
    write_adapter(&place, "head", "../model");
    let mut more = factors();
    more.insert(
        "base_model.model.lm_head.lora_A.weight".into(),
        HostTensor { shape: vec![2, 32], values: vec![0.0; 64] },
    );
    write_tensors(&place.path("head/adapter_model.safetensors"), &more).unwrap();
    refusal("head", &["with the adapter head", "base_model.model.lm_head.lora_A.weight of the adapter"]);
    write_adapter(&place, "pickled", "../model");
    fs::rename(place.path("pickled/adapter_model.safetensors"), place.path("pickled/adapter_model.bin")).unwrap();
    refusal("pickled", &["pickled is an adapter without its adapter_model.safetensors", "save it once more with PEFT"]);
    // A model and an adapter in one folder: which of them is meant cannot be known.
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        write_adapter(&place, "adapter", "../model");
        place.spoilt_model("both", |model| {
            fs::copy(place.path("adapter").join(file), model.join(file)).unwrap();
        });
        refusal(
            "both",
            &["both holds a model (model.safetensors) and an adapter beside it", file, "a folder of their own"],
        );
        place.fails(&sft(&["--init=both", "--dry-run"]), &["both holds a model"]);
        fs::remove_dir_all(place.path("both")).unwrap();
    }
}

#[test]
fn weights_that_are_no_finite_numbers_are_refused_and_the_tensor_is_named() {
    let place = place();
    for (name, value) in [("nan", f32::NAN), ("infinite", f32::INFINITY)] {
        place.spoilt_model(name, |model| {
            let path = model.join("model.safetensors");
            let mut tensors = model::read_tensors(&path).unwrap();
            tensors.get_mut("model.layers.1.mlp.down_proj.weight").unwrap().values[5] = value;
            write_tensors(&path, &tensors).unwrap();
        });
        let init = format!("--init={name}");
        let parts =
            [&*format!("{name} cannot be used"), "model.layers.1.mlp.down_proj.weight has weights that are no finite"];
        place.fails(&ppo(&[&init]), &parts);
        place.fails(&["generate", &init, "--prompt=1"], &parts);
    }
}

#[test]
fn a_chat_template_whose_end_of_a_message_no_configuration_names_ends_samples_with_a_warning() {
    let place = place();
    // A token of the vocabulary that the tokenizer takes for one of its own.
    place.spoilt_model("chat", |model| {
        edit_json(&model.join("tokenizer.json"), |json| {
            let id = json["model"]["vocab"]["~"].clone();
            json["added_tokens"].as_array_mut().unwrap().push(json!({"id": id, "content": "~", "special": true,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}));
        });
        edit_json(&model.join("tokenizer_config.json"), |json| {
            json["chat_template"] = "{% for m in messages %}{{ m.role + ': ' + m.content + '~' }}{% endfor %}".into();
        });
    });
    let policy = Policy::load(&place.path("chat"), &Device::default()).unwrap();
    let end = policy.tokenizer.encode("~")[0];
    assert!(policy.stop_ids().contains(&end) && policy.stop_ids().len() == 2, "{:?}", policy.stop_ids());
    let said = |init: &str| {
        let output = place.run(&["generate", init, "--prompt=1", "--max-new-tokens=2"]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap().contains("ends a message with ~, which no configuration names")
    };
    assert!(said("--init=chat"));
    edit_json(&place.path("chat/config.json"), |json| json["eos_token_id"] = json!([0, end]));
    assert!(!said("--init=chat"), "now one names it");
    assert!(!said("--init=model"));
}

#[test]
fn a_dry_run_says_which_learning_rate_it_takes_and_why() {
    let place = place();
    let printed = |flags: &[&str]| {
        let output = place.run(flags);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let full = printed(&sft(&["--dry-run"]));
    assert!(full.contains("learning_rate = 2e-5") || full.contains("learning_rate = 0.00002"), "{full}");
    assert!(
        full.contains("# learning-rate         2e-5: the default for all weights of a published model: model"),
        "{full}"
    );
    let given = printed(&sft(&["--dry-run", "--learning-rate=1e-3"]));
    assert!(given.contains("# learning-rate         1e-3: given"), "{given}");
    let made = printed(&["ppo", "--dry-run"]);
    assert!(
        made.contains("# value-learning-rate   0.002: the default for --model pico, which this command makes"),
        "{made}"
    );
    let run = place.run(&sft(&["--test-problems=0", "--eval-problems=1"]));
    assert!(run.status.success(), "{run:?}");
    let config: toml::Table = fs::read_to_string(place.path("run/config.toml")).unwrap().parse().unwrap();
    assert_eq!(config["learning_rate"].as_float(), Some(2e-5));
}

#[test]
fn an_init_that_is_not_a_model_is_refused() {
    let place = place();
    place.write("empty/readme", "");
    place.write("weights.gguf", "GGUF");
    place.write("file", "text");
    let cases: [(&str, &[&str]); 4] = [
        (
            "nowhere",
            &["nowhere does not exist", "give a run directory, a checkpoint, a Hugging Face folder or a GGUF file"],
        ),
        ("empty", &["empty is neither a checkpoint (no config.json in it) nor a run"]),
        ("file", &["file is neither a checkpoint"]),
        ("weights.gguf", &["cannot read weights.gguf as a GGUF file"]),
    ];
    for (init, parts) in cases {
        let init = format!("--init={init}");
        place.fails(&ppo(&[&init]), parts);
        place.fails(&ppo(&[&init, "--dry-run"]), parts);
        place.fails(&sft(&[&init]), parts);
        place.fails(&["generate", &init, "--prompt=1"], parts);
    }
    place.fails(&["bench", "--model=nowhere"], &["nowhere does not exist"]);
}

#[test]
fn weights_that_are_cut_or_foreign_are_refused_and_the_file_is_named() {
    let place = place();
    let weights = "model.safetensors";
    place.spoilt_model("cut", |model| cut_in_half(&model.join(weights)));
    place.spoilt_model("short", |model| fs::write(model.join(weights), [1, 2, 3]).unwrap());
    place.spoilt_model("none", |model| fs::remove_file(model.join(weights)).unwrap());
    // The first eight bytes are the length of the header.
    place.spoilt_model("long", |model| {
        let rest = fs::read(model.join(weights)).unwrap()[8..].to_vec();
        fs::write(model.join(weights), [(1u64 << 60).to_le_bytes().as_slice(), &rest].concat()).unwrap();
    });
    place.spoilt_model("pickle", |model| fs::write(model.join(weights), b"\x80\x04\x95pickled".repeat(50)).unwrap());
    let pickle =
        "pickle/model.safetensors is a PyTorch pickle (.bin, .pt), not a safetensors file: load it in transformers";
    place.fails(&ppo(&["--init=pickle"]), &[pickle, "save_pretrained"]);
    for name in ["cut", "short", "long"] {
        let file = format!("{name}/model.safetensors");
        place.fails(&ppo(&[&format!("--init={name}")]), &[&file, "is not a whole safetensors file"]);
    }
    place.fails(&ppo(&["--init=none"]), &["none/model.safetensors", "cannot read"]);
}

#[test]
fn weights_that_do_not_fit_their_configuration_are_refused_and_the_tensor_is_named() {
    let place = place();
    let config =
        |model: &Path, key: &str, value: Value| edit_json(&model.join("config.json"), |json| json[key] = value);
    place.spoilt_model("wide", |model| config(model, "intermediate_size", 66.into()));
    place.spoilt_model("deep", |model| config(model, "num_hidden_layers", 3.into()));
    place.spoilt_model("untied", |model| config(model, "tie_word_embeddings", false.into()));
    place.spoilt_model("few-words", |model| {
        let path = model.join("model.safetensors");
        let mut tensors = model::read_tensors(&path).unwrap();
        let embedding = tensors.get_mut("model.embed_tokens.weight").unwrap();
        embedding.shape[0] = 20;
        embedding.values.truncate(20 * 32);
        model::write_tensors(&path, &tensors).unwrap();
        config(model, "vocab_size", 20.into());
    });
    let refusal = |name: &str, parts: &[&str]| place.fails(&ppo(&[&format!("--init={name}")]), parts);
    refusal(
        "wide",
        &["the tensors in wide do not fit", "mlp.gate_proj.weight has the shape [64, 32]", "asks for [66, 32]"],
    );
    refusal("deep", &["the tensors in deep", "model.layers.2.input_layernorm.weight is missing"]);
    refusal("untied", &["the tensors in untied", "lm_head.weight is missing"]);
    refusal("few-words", &["the tokenizer in few-words has", "tokens, the model only 20"]);
}

#[test]
fn a_configuration_of_something_else_is_refused() {
    let place = place();
    let config = "config.json";
    // The fields of GPT-2 have other names: that is not what is wrong with it.
    let gpt2 = json!({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 768, "n_layer": 12});
    place.spoilt_model("gpt2", |model| fs::write(model.join(config), gpt2.to_string()).unwrap());
    place.spoilt_model("cut", |model| cut_in_half(&model.join(config)));
    place.spoilt_model("nameless", |model| fs::write(model.join(config), "{}").unwrap());
    let named = json!({"model_type": "llama"}).to_string();
    place.spoilt_model("fieldless", |model| fs::write(model.join(config), named).unwrap());
    let supported = "supported are LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM";
    for dry in [&[][..], &["--dry-run"]] {
        let refusal = |name: &str, parts: &[&str]| {
            let init = format!("--init={name}");
            place.fails(&ppo(&[&[&*init], dry].concat()), parts);
        };
        refusal("gpt2", &["gpt2/config.json", "architecture GPT2LMHeadModel is not supported", supported]);
        refusal("cut", &["cut/config.json is not a model configuration", "line"]);
        refusal("nameless", &["nameless/config.json", "names neither its architecture nor a model_type"]);
        refusal("fieldless", &["fieldless/config.json is not a model configuration", "vocab_size"]);
    }
}

#[test]
fn absurd_sizes_are_refused_before_any_memory_is_allocated() {
    let place = place();
    let all =
        ["hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size", "num_attention_heads", "head_dim"];
    for (name, value) in [("hidden_size", 1_000_000_000u64), ("vocab_size", 1 << 60), ("num_hidden_layers", u64::MAX)] {
        place.spoilt_model(name, |model| edit_json(&model.join("config.json"), |json| json[name] = value.into()));
        let init = format!("--init={name}");
        for dry in [&[][..], &["--dry-run"]] {
            let message = format!("{name} = {value} is out of range");
            place.fails(&ppo(&[&[&*init], dry].concat()), &[&format!("{name}/config.json"), &message]);
        }
    }
    // Each size is possible by itself.
    place.spoilt_model("large", |model| {
        edit_json(&model.join("config.json"), |json| {
            all.iter().for_each(|name| json[name] = (1 << 24).into());
            json["num_key_value_heads"] = (1 << 24).into();
        });
    });
    for dry in [&[][..], &["--dry-run"]] {
        place.fails(&ppo(&[&["--init=large"], dry].concat()), &["large/config.json", "more than any model has"]);
    }
}

#[test]
fn a_tokenizer_that_is_missing_or_broken_is_named() {
    let place = place();
    place.spoilt_model("without", |model| fs::remove_file(model.join("tokenizer.json")).unwrap());
    place.spoilt_model("cut", |model| cut_in_half(&model.join("tokenizer.json")));
    place.spoilt_model("endless", |model| {
        fs::write(model.join("generation_config.json"), json!({"eos_token_id": 70_000}).to_string()).unwrap();
    });
    place.fails(&ppo(&["--init=without"]), &["no tokenizer at without/tokenizer.json"]);
    place.fails(&ppo(&["--init=cut"]), &["cut/tokenizer.json", "not a tokenizer"]);
    place.fails(&ppo(&["--init=endless"]), &["endless", "end-of-sequence token 70000"]);
}

#[test]
fn adapters_need_a_scale() {
    let place = place();
    for command in ["sft", "ei", "ppo", "rcrl", "orm"] {
        let flags = [command, "--init=model", "--out=run", "--lora-rank=2", "--lora-alpha=0"];
        place.refuses_usage(&flags, &["--lora-alpha", "give a number above 0"]);
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
