//! A stub of an inference server for tests: it speaks as vLLM, SGLang or llama.cpp does, writes with the real weights of a small model,
//! and has the faults that such servers have had.

use eval::{Policy, load_weights};
use model::{Device, Finish, GenerateConfig, Key, Purpose, Transformer, generate, score, solutions, to_host};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// Whose requests and responses it speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Engine {
    Vllm,
    Sglang,
    LlamaCpp,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// It answers that it has taken new weights, and keeps its own.
    KeepsWeights,
    /// It keeps the output matrix of a model with tied embeddings.
    KeepsHead,
    /// Its log-probabilities are those at temperature 1.
    Raw,
    /// Every third request fails, for a moment.
    Stumbles,
}

/// Tokens, log-probabilities and the reason of the end of a continuation.
type Written = (Vec<u32>, Vec<f32>, &'static str);

/// A server that runs until it is dropped.
pub struct InferenceServer {
    /// Its address.
    pub url: String,
    state: Arc<State>,
}

struct State {
    engine: Engine,
    fault: Option<Fault>,
    /// The model that it was started with, to which it returns when it is started again.
    first: Transformer,
    model: Mutex<Transformer>,
    adapter: Mutex<Option<Transformer>>,
    /// Continuations that it writes before it dies.
    lives: AtomicUsize,
    is_over: AtomicBool,
    written: AtomicUsize,
    updates: AtomicUsize,
    requests: Mutex<Vec<Value>>,
}

impl InferenceServer {
    /// Serves the model of a folder.
    pub fn start(engine: Engine, folder: &Path, fault: Option<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let first = Policy::load(folder, &Device::default()).unwrap().model;
        let state = Arc::new(State {
            engine,
            fault,
            model: Mutex::new(first.clone()),
            first,
            adapter: Mutex::default(),
            lives: AtomicUsize::new(usize::MAX),
            is_over: AtomicBool::new(false),
            written: AtomicUsize::new(0),
            updates: AtomicUsize::new(0),
            requests: Mutex::default(),
        });
        let server = Self { url: format!("http://{}", listener.local_addr().unwrap()), state: Arc::clone(&state) };
        thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !state.is_over.load(Ordering::Relaxed)) {
                let state = Arc::clone(&state);
                thread::spawn(move || state.serve(stream.unwrap()));
            }
        });
        server
    }

    /// Lets it die after so many more continuations: then it closes every connection without an answer.
    pub fn die_after(&self, continuations: usize) {
        self.state.lives.store(continuations, Ordering::Relaxed);
    }

    /// Starts it again, with the model of its first start.
    pub fn revive(&self) {
        *self.state.model.lock().unwrap() = self.state.first.clone();
        *self.state.adapter.lock().unwrap() = None;
        self.state.lives.store(usize::MAX, Ordering::Relaxed);
    }

    /// How often it was sent weights.
    pub fn updates(&self) -> usize {
        self.state.updates.load(Ordering::Relaxed)
    }

    /// Number of continuations that it has written.
    pub fn written(&self) -> usize {
        self.state.written.load(Ordering::Relaxed)
    }

    /// The requests for continuations.
    pub fn requests(&self) -> Vec<Value> {
        self.state.requests.lock().unwrap().clone()
    }
}

impl Drop for InferenceServer {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for the next connection.
        drop(TcpStream::connect(self.url.trim_start_matches("http://")));
    }
}

impl State {
    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = Vec::new();
        for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
            head.push(line);
        }
        let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)).map(str::to_string) else { return };
        let length = head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        if self.lives.load(Ordering::Relaxed) == 0 {
            return;
        }
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let Some((status, answer)) = self.answer(&path, &body) else { return };
        let answer = answer.to_string();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
        let _ = stream.write_all(&[head.as_bytes(), answer.as_bytes()].concat());
    }

    /// Status and body; `None` of a server that dies.
    fn answer(&self, path: &str, body: &Value) -> Option<(&'static str, Value)> {
        let found = match (self.engine, path) {
            (Engine::Vllm, "/version") => json!({"version": "0"}),
            (Engine::Vllm, "/v1/models") => {
                json!({"data": [{"id": "adapter", "parent": "base"}, {"id": "base", "parent": null}]})
            }
            (Engine::Vllm, "/collective_rpc") => self.load(&body["kwargs"]["weights_path"]),
            (Engine::Vllm, "/v1/load_lora_adapter") => self.load_adapter(&body["lora_path"]),
            (Engine::Vllm, "/v1/completions") => {
                let written = self.write(&body["prompt"], body, &body["n"], &body["max_tokens"], &body["model"])?;
                let choice = |(tokens, log_probs, finish): &Written| json!({"token_ids": tokens, "logprobs": {"token_logprobs": log_probs}, "finish_reason": finish});
                json!({"choices": written.iter().map(choice).collect::<Vec<_>>()})
            }
            (Engine::Sglang, "/model_info") => json!({"model_path": "base"}),
            (Engine::Sglang, "/update_weights_from_disk") => self.load(&body["model_path"]),
            (Engine::Sglang, "/unload_lora_adapter") if self.adapter.lock().unwrap().is_none() => {
                return Some(("400 Bad Request", json!({"success": false})));
            }
            (Engine::Sglang, "/unload_lora_adapter") => {
                *self.adapter.lock().unwrap() = None;
                json!({"success": true})
            }
            (Engine::Sglang, "/load_lora_adapter") => self.load_adapter(&body["lora_path"]),
            (Engine::Sglang, "/generate") => {
                let sampling = &body["sampling_params"];
                let model = if body["lora_path"].is_null() { json!("base") } else { body["lora_path"].clone() };
                let written =
                    self.write(&body["input_ids"], sampling, &sampling["n"], &sampling["max_new_tokens"], &model)?;
                let row = |(tokens, log_probs, finish): &Written| {
                    let of_tokens: Vec<Value> =
                        tokens.iter().zip(log_probs).map(|(token, log_prob)| json!([log_prob, token, null])).collect();
                    json!({"meta_info": {"output_token_logprobs": of_tokens, "finish_reason": {"type": finish}}})
                };
                match written.as_slice() {
                    [one] => row(one),
                    several => several.iter().map(row).collect(),
                }
            }
            (Engine::LlamaCpp, "/props") => json!({"default_generation_settings": {}}),
            (Engine::LlamaCpp, "/completion") => {
                let (tokens, log_probs, finish) =
                    self.write(&body["prompt"], body, &json!(1), &body["n_predict"], &json!("base"))?.remove(0);
                let of_tokens: Vec<Value> = tokens
                    .iter()
                    .zip(&log_probs)
                    .map(|(token, log_prob)| json!({"id": token, "logprob": log_prob}))
                    .collect();
                let stop = if finish == "stop" { "eos" } else { "limit" };
                json!({"completion_probabilities": of_tokens, "stop_type": stop})
            }
            _ => return Some(("404 Not Found", json!({"error": "no such path"}))),
        };
        let count = self.requests.lock().unwrap().len();
        if self.fault == Some(Fault::Stumbles) && count % 3 == 2 && !body["prompt"].is_null() {
            return Some(("503 Service Unavailable", json!({"error": "for a moment"})));
        }
        Some(("200 OK", found))
    }

    fn load(&self, folder: &Value) -> Value {
        self.updates.fetch_add(1, Ordering::Relaxed);
        let new = load_weights(Path::new(folder.as_str().unwrap()), &Device::default()).unwrap();
        let mut model = self.model.lock().unwrap();
        *model = match self.fault {
            Some(Fault::KeepsWeights) => model.clone(),
            Some(Fault::KeepsHead) => {
                let mut new = new;
                new.output = model.untied().output;
                new
            }
            _ => new,
        };
        json!({"success": true})
    }

    fn load_adapter(&self, folder: &Value) -> Value {
        self.updates.fetch_add(1, Ordering::Relaxed);
        let base = self.model.lock().unwrap().clone();
        let folder = Path::new(folder.as_str().unwrap());
        let adapted = model::merged(&model::load_adapters(folder, base).unwrap());
        *self.adapter.lock().unwrap() = Some(adapted);
        json!({"success": true})
    }

    /// Continuations of a prompt; `None` if it dies over them.
    fn write(
        &self,
        prompt: &Value,
        sampling: &Value,
        samples: &Value,
        max_tokens: &Value,
        model: &Value,
    ) -> Option<Vec<Written>> {
        let ids = |value: &Value| -> Vec<u32> {
            value.as_array().into_iter().flatten().map(|id| id.as_u64().unwrap() as u32).collect()
        };
        let count = |value: &Value| value.as_u64().unwrap() as usize;
        let (prompt, samples, temperature) = (ids(prompt), count(samples), sampling["temperature"].as_f64().unwrap());
        self.requests.lock().unwrap().push(sampling.clone());
        let dies = |lives: usize| (lives != usize::MAX).then(|| lives.saturating_sub(samples));
        let lives = self.lives.fetch_update(Ordering::Relaxed, Ordering::Relaxed, dies).unwrap_or(usize::MAX);
        if lives < samples {
            return None;
        }
        let first = self.written.fetch_add(samples, Ordering::Relaxed);
        let keys = (0..samples).map(|sample| Key::new(77, Purpose::Generate).with((first + sample) as u64)).collect();
        let mut stops: Vec<Vec<u32>> = ids(&sampling["stop_token_ids"]).into_iter().map(|id| vec![id]).collect();
        if self.engine == Engine::LlamaCpp {
            stops = self.first.config.eos_ids().into_iter().map(|id| vec![id]).collect();
        }
        let config = GenerateConfig {
            max_new_tokens: count(max_tokens),
            temperature,
            stops,
            giver: None,
            rows: 16,
            streams: None,
            threads: 1,
        };
        let model = match (model.as_str(), self.adapter.lock().unwrap().clone()) {
            (Some("base"), _) => self.model.lock().unwrap().clone(),
            (_, Some(adapted)) => adapted,
            (name, None) => panic!("{name:?} was not loaded"),
        };
        let (mut written, _) = generate(&model, std::slice::from_ref(&prompt), &[keys], &config, &|_| ());
        let at = if self.fault == Some(Fault::Raw) || temperature == 0.0 { 1.0 } else { temperature };
        let row = |completion: model::Completion| {
            let tokens = [prompt.as_slice(), &completion.tokens].concat();
            let batch = solutions(&[(&tokens, prompt.len())], &model.device());
            let log_probs = to_host(score(&model, &batch, at).log_probs).values;
            let finish = if completion.finish == Finish::Stop { "stop" } else { "length" };
            (completion.tokens, log_probs, finish)
        };
        Some(written.remove(0).into_iter().map(row).collect())
    }
}
