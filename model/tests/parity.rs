//! Claims that our models are those of Hugging Face transformers: the same logits, loss and gradients on the same weights,
//! and files that survive a round trip. The reference numbers come from `scripts/fixtures.py`.

use burn::{
    module::{Module, ModuleMapper, Param},
    optim::GradientsParams,
    tensor::{Int, Tensor, TensorData},
};
use model::{
    Device, HostTensors, Transformer, load_model, model_tensors, read_tensors, save_model, to_host, token_log_probs,
    write_tensors,
};
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

const MODELS: [&str; 5] = ["llama_tiny", "qwen2_tiny", "qwen3_tiny", "mistral_tiny", "llama3_tiny"];

/// Those whose weights are stored as f32 in one file, and have gradients beside them.
const PLAIN: [&str; 3] = ["llama_tiny", "qwen2_tiny", "qwen3_tiny"];

const GGUF: [&str; 3] = ["gguf_llama", "gguf_qwen2", "gguf_qwen3"];

#[derive(Deserialize)]
struct Fixture {
    lengths: Vec<usize>,
    prompt_lens: Vec<usize>,
    input_ids: Vec<Vec<i32>>,
    logits: Vec<Vec<Vec<f32>>>,
    response_nll: Vec<Vec<f32>>,
    response_tokens: usize,
    loss: f32,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn load(name: &str) -> (Fixture, Transformer) {
    let text = fs::read_to_string(fixtures().join(format!("{name}.json"))).unwrap();
    let path = match GGUF.contains(&name) {
        true => fixtures().join(format!("{name}.gguf")),
        false => fixtures().join(name),
    };
    (serde_json::from_str(&text).unwrap(), load_model(&path, &Device::default()).unwrap())
}

fn tokens(fixture: &Fixture) -> Tensor<2, Int> {
    let shape = [fixture.input_ids.len(), fixture.input_ids[0].len()];
    Tensor::from_data(TensorData::new(fixture.input_ids.concat(), shape), &Device::default())
}

/// Places in the flattened `[B T]` that predict a response token, and those tokens.
fn response(fixture: &Fixture) -> (Tensor<1, Int>, Tensor<1, Int>) {
    let time = fixture.input_ids[0].len();
    let (mut positions, mut targets) = (Vec::new(), Vec::new());
    for (row, (&start, &end)) in fixture.prompt_lens.iter().zip(&fixture.lengths).enumerate() {
        for column in start..end {
            positions.push((row * time + column - 1) as i32);
            targets.push(fixture.input_ids[row][column]);
        }
    }
    let flat = |values: Vec<i32>| {
        let length = values.len();
        Tensor::from_data(TensorData::new(values, [length]), &Device::default())
    };
    (flat(positions), flat(targets))
}

fn response_log_probs(model: &Transformer, fixture: &Fixture) -> Tensor<1> {
    let [batch, time, vocabulary] = [fixture.input_ids.len(), fixture.input_ids[0].len(), model.config.vocab_size];
    let (positions, targets) = response(fixture);
    let logits = model.forward(tokens(fixture)).reshape([batch * time, vocabulary]).select(0, positions);
    token_log_probs(logits, targets, 1.0)
}

fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

#[test]
fn logits_are_those_of_transformers() {
    for name in MODELS.into_iter().chain(GGUF) {
        let (fixture, model) = load(name);
        let [_, time, vocabulary] = model.forward(tokens(&fixture)).dims();
        let ours = to_host(model.forward(tokens(&fixture))).values;
        for (row, theirs) in fixture.logits.iter().enumerate() {
            assert_eq!(theirs.len(), fixture.lengths[row]);
            let start = row * time * vocabulary;
            let ours = &ours[start..start + theirs.len() * vocabulary];
            let difference = largest_difference(ours, &theirs.concat());
            assert!(difference < 1e-5, "{name}, row {row}: {difference:e}");
        }
    }
}

#[test]
fn the_loss_of_the_response_tokens_is_that_of_transformers() {
    for name in MODELS.into_iter().chain(GGUF) {
        let (fixture, model) = load(name);
        let ours: Vec<f32> = to_host(response_log_probs(&model, &fixture)).values.iter().map(|x| -x).collect();
        let theirs = fixture.response_nll.concat();
        assert_eq!(ours.len(), fixture.response_tokens);
        let difference = largest_difference(&ours, &theirs);
        assert!(difference < 1e-4, "{name}: {difference:e}");
        let loss = ours.iter().sum::<f32>() / ours.len() as f32;
        assert!((loss - fixture.loss).abs() < 1e-5, "{name}: {loss} against {}", fixture.loss);
    }
}

/// Puts the gradient of each parameter in its place, so that what lays out weights lays out gradients.
struct Swap(GradientsParams);

impl ModuleMapper for Swap {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let gradient = self.0.remove::<D>(param.id).expect("every parameter has a gradient");
        Param::initialized(param.id, gradient)
    }
}

fn gradients(model: &Transformer, fixture: &Fixture) -> HostTensors {
    let trained = model.clone().train();
    let loss = response_log_probs(&trained, fixture).sum().neg().div_scalar(fixture.response_tokens as f64);
    let mut swap = Swap(GradientsParams::from_grads(loss.backward(), &trained));
    model_tensors(&model.clone().map(&mut swap))
}

#[test]
fn the_gradient_of_every_parameter_is_that_of_transformers() {
    for name in PLAIN {
        let (fixture, model) = load(name);
        let ours = gradients(&model, &fixture);
        let theirs = read_tensors(&fixtures().join(format!("{name}_grads.safetensors"))).unwrap();
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (parameter, theirs) in &theirs {
            let ours = &ours[parameter];
            assert_eq!(ours.shape, theirs.shape, "{name}: {parameter}");
            let scale = theirs.values.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            let difference = largest_difference(&ours.values, &theirs.values);
            assert!(scale > 0.0 && difference < 1e-5 * scale, "{name}: {parameter} off by {difference:e} of {scale:e}");
        }
    }
}

#[test]
fn exporting_and_importing_again_changes_no_byte_and_no_logit() {
    for name in MODELS.into_iter().chain(GGUF) {
        let (fixture, model) = load(name);
        let [first, second] = [0, 1].map(|_| tempfile::tempdir().unwrap());
        save_model(first.path(), &model).unwrap();
        let again = load_model(first.path(), &Device::default()).unwrap();
        save_model(second.path(), &again).unwrap();
        for file in ["model.safetensors", "config.json"] {
            let bytes = |folder: &Path| fs::read(folder.join(file)).unwrap();
            assert_eq!(bytes(first.path()), bytes(second.path()), "{name}/{file}");
        }
        if PLAIN.contains(&name) {
            let published = fs::read(fixtures().join(name).join("model.safetensors")).unwrap();
            let ours = fs::read(first.path().join("model.safetensors")).unwrap();
            assert_eq!(ours, published, "{name} as transformers wrote it");
        }
        let logits = |model: &Transformer| to_host(model.forward(tokens(&fixture))).values;
        assert_eq!(logits(&model), logits(&again), "{name}");
    }
}

#[test]
fn a_checkpoint_that_lacks_a_tensor_or_has_one_of_another_shape_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fixtures().join("qwen2_tiny");
    fs::copy(whole.join("config.json"), folder.path().join("config.json")).unwrap();
    let tensors = read_tensors(&whole.join("model.safetensors")).unwrap();
    let refusal = |tensors: &HostTensors| {
        write_tensors(&folder.path().join("model.safetensors"), tensors).unwrap();
        format!("{:#}", load_model(folder.path(), &Device::default()).unwrap_err())
    };
    let name = "model.layers.1.self_attn.k_proj.bias";
    let mut missing = tensors.clone();
    missing.remove(name);
    assert!(refusal(&missing).contains(&format!("the tensor {name} is missing")));
    let mut reshaped = tensors.clone();
    reshaped.get_mut("model.layers.0.mlp.down_proj.weight").unwrap().shape = vec![48, 32];
    let message = refusal(&reshaped);
    assert!(message.contains("model.layers.0.mlp.down_proj.weight has the shape [48, 32]"), "{message}");
}

#[test]
fn a_file_that_was_cut_short_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fixtures().join("llama_tiny");
    fs::copy(whole.join("config.json"), folder.path().join("config.json")).unwrap();
    let bytes = fs::read(whole.join("model.safetensors")).unwrap();
    for kept in [0, 4, 100, bytes.len() - 1] {
        fs::write(folder.path().join("model.safetensors"), &bytes[..kept]).unwrap();
        let message = format!("{:#}", load_model(folder.path(), &Device::default()).unwrap_err());
        assert!(message.contains("not a whole safetensors file"), "{kept} bytes: {message}");
    }
}

/// A folder with the files of a fixture, to be spoilt.
fn copy_of(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixtures().join(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn refusal(path: &Path) -> String {
    format!("{:#}", load_model(path, &Device::default()).unwrap_err())
}

#[test]
fn shards_are_found_with_an_index_and_without_and_one_that_is_missing_is_named() {
    let folder = copy_of("mistral_tiny");
    let index = folder.path().join("model.safetensors.index.json");
    let text = fs::read_to_string(&index).unwrap();
    fs::remove_file(&index).unwrap();
    assert!(load_model(folder.path(), &Device::default()).is_ok());
    fs::write(&index, text.replace("model-00002", "../model-00002")).unwrap();
    assert!(refusal(folder.path()).contains("which is not beside it"));
    fs::write(&index, text).unwrap();
    fs::remove_file(folder.path().join("model-00002-of-00002.safetensors")).unwrap();
    assert!(refusal(folder.path()).contains("model-00002-of-00002.safetensors"));
    fs::remove_file(&index).unwrap();
    assert!(refusal(folder.path()).contains(" is missing"), "a tensor of the second file");
}

#[test]
fn a_tensor_that_nothing_reads_means_another_model_and_is_refused() {
    let folder = copy_of("llama_tiny");
    let path = folder.path().join("model.safetensors");
    let mut tensors = read_tensors(&path).unwrap();
    let bias = tensors["model.norm.weight"].clone();
    tensors.insert("model.layers.0.self_attn.o_proj.bias".into(), bias);
    write_tensors(&path, &tensors).unwrap();
    let message = refusal(folder.path());
    let expected = "tensors that a LlamaForCausalLM does not have: model.layers.0.self_attn.o_proj.bias";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn a_gguf_file_that_is_cut_or_altered_anywhere_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spoilt.gguf");
    for name in GGUF {
        let bytes = fs::read(fixtures().join(format!("{name}.gguf"))).unwrap();
        for kept in [0, 3, 8, 23, 24, 100, 700, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..kept]).unwrap();
            assert!(refusal(&path).contains("spoilt.gguf"), "{kept} bytes");
        }
        // Bytes all over the header set to their largest, alone, eight together and sixteen: counts, lengths and two sizes at once up
        // to 2^64.
        let header = 2_500.min(bytes.len() - 16);
        for (start, width) in (0..header).step_by(3).flat_map(|start| [(start, 1), (start, 8), (start, 16)]) {
            let mut spoilt = bytes.clone();
            spoilt[start..start + width].fill(0xff);
            fs::write(&path, &spoilt).unwrap();
            // Some bytes do not matter to the weights. What matters is that nothing worse than an error comes of it.
            let _ = load_model(&path, &Device::default());
        }
    }
}

#[test]
fn another_gguf_architecture_and_an_alignment_of_nothing_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spoilt.gguf");
    let bytes = fs::read(fixtures().join("gguf_qwen3.gguf")).unwrap();
    let place = |text: &[u8]| bytes.windows(text.len()).position(|window| window == text).unwrap();
    let mut other = bytes.clone();
    let at = place(b"qwen3");
    other[at..at + 5].copy_from_slice(b"mamba");
    fs::write(&path, &other).unwrap();
    let message = refusal(&path);
    assert!(message.contains("architecture mamba is not supported; supported are llama, qwen2, qwen3"), "{message}");
    // A key of as many letters becomes the alignment; its value is the beginning of a sequence, 0.
    let (old, new) = (b"tokenizer.ggml.bos_token_id", b"general.alignment");
    let at = place(old);
    let mut aligned = bytes[..at - 8].to_vec();
    aligned.extend((new.len() as u64).to_le_bytes());
    aligned.extend(new);
    aligned.extend(&bytes[at + old.len()..]);
    fs::write(&path, &aligned).unwrap();
    assert!(refusal(&path).contains("its alignment is 0"));
}
