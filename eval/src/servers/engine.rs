//! What vLLM, SGLang and llama.cpp call things: requests and responses of the three. Pure functions of JSON.

use super::connection::Refusal;
use serde_json::{Value, json};
use std::fmt;

/// The software of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// llama.cpp's server.
    LlamaCpp,
}

/// What a server is asked to write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    /// The tokens to continue.
    pub(super) prompt: &'a [u32],
    /// Number of continuations.
    pub(super) samples: usize,
    /// Most tokens of each.
    pub(super) max_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token.
    pub(super) temperature: f64,
    /// Tokens that end a continuation.
    pub(super) stop_ids: &'a [u32],
    /// Texts that end a continuation.
    pub(super) stop_texts: &'a [String],
    /// The model, or the adapter of it, by the server's name.
    pub(super) model: &'a str,
    /// Changes with the weights, so that no keys and values of other weights are used again.
    pub(super) salt: &'a str,
}

/// What a server wrote.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Written {
    pub(super) tokens: Vec<u32>,
    /// Of each token, in nats.
    pub(super) log_probs: Vec<f32>,
    /// Whether it ended by itself, and not at a maximum length.
    pub(super) stopped: bool,
}

impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Vllm => "vLLM",
            Self::Sglang => "SGLang",
            Self::LlamaCpp => "llama.cpp",
        })
    }
}

impl Engine {
    /// Paths that only this engine answers, with which it is found.
    pub(super) const SIGNS: [(Self, &'static str, &'static str); 4] = [
        (Self::Vllm, "/version", "version"),
        (Self::Sglang, "/model_info", "model_path"),
        (Self::Sglang, "/get_model_info", "model_path"),
        (Self::LlamaCpp, "/props", "default_generation_settings"),
    ];

    /// Whether weights can be sent to it.
    pub(super) fn takes_weights(self) -> bool {
        self != Self::LlamaCpp
    }

    /// Most continuations of a request: few, so that they spread over servers and little is lost with one.
    pub(super) fn most_samples(self) -> usize {
        if self == Self::LlamaCpp { 1 } else { 16 }
    }

    /// Path and body of a request. Whatever a sampler does by default beside the temperature is switched off, and what is not said here
    /// might be on in the model's own generation_config.json.
    pub(super) fn request(self, ask: &Ask<'_>) -> (&'static str, Value) {
        let Ask { prompt, samples, max_tokens, temperature, stop_ids, stop_texts, model, salt } = ask;
        match self {
            Self::Vllm => (
                "/v1/completions",
                json!({
                    "model": model, "prompt": prompt, "n": samples, "max_tokens": max_tokens,
                    "temperature": temperature, "top_p": 1.0, "top_k": 0, "min_p": 0.0,
                    "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
                    "stop": stop_texts, "stop_token_ids": stop_ids, "include_stop_str_in_output": true,
                    "ignore_eos": true, "skip_special_tokens": false, "add_special_tokens": false,
                    "logprobs": 0, "return_token_ids": true, "cache_salt": salt,
                }),
            ),
            Self::Sglang => {
                let sampling = json!({
                    "n": samples, "max_new_tokens": max_tokens,
                    "temperature": temperature, "top_p": 1.0, "top_k": -1, "min_p": 0.0,
                    "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
                    "stop": stop_texts, "stop_token_ids": stop_ids, "no_stop_trim": true,
                    "skip_special_tokens": false,
                });
                let mut request = json!({
                    "input_ids": prompt, "sampling_params": sampling,
                    "return_logprob": true, "logprob_start_len": -1, "extra_key": salt,
                });
                if !model.is_empty() {
                    request["lora_path"] = json!(model);
                }
                ("/generate", request)
            }
            Self::LlamaCpp => (
                "/completion",
                json!({
                    "prompt": prompt, "n_predict": max_tokens,
                    "samplers": ["temperature"], "temperature": temperature, "top_p": 1.0, "top_k": 0, "min_p": 0.0,
                    "typical_p": 1.0, "top_n_sigma": -1.0, "repeat_penalty": 1.0, "presence_penalty": 0.0,
                    "frequency_penalty": 0.0, "dry_multiplier": 0.0, "xtc_probability": 0.0, "dynatemp_range": 0.0,
                    "mirostat": 0, "stop": stop_texts, "seed": -1, "n_probs": 1, "return_tokens": true,
                    "cache_prompt": true,
                }),
            ),
        }
    }

    /// The continuations of a response.
    pub(super) fn response(self, answer: &Value, samples: usize) -> Result<Vec<Written>, Refusal> {
        let written: Option<Vec<Written>> = match self {
            Self::Vllm => answer["choices"].as_array().and_then(|rows| rows.iter().map(of_vllm).collect()),
            Self::Sglang => match answer {
                Value::Array(rows) => rows.iter().map(of_sglang).collect(),
                row => of_sglang(row).map(|row| vec![row]),
            },
            Self::LlamaCpp => of_llama_cpp(answer).map(|row| vec![row]),
        };
        let Some(written) = written else {
            let flags = if self == Self::Vllm { ": it needs a vLLM that has return_token_ids" } else { "" };
            return Err(Refusal::lasting(format!("answered without token ids and log-probabilities of each{flags}")));
        };
        if written.len() != samples {
            let what = format!("answered with {} continuations where {samples} were asked for", written.len());
            return Err(Refusal::lasting(what));
        }
        let is_whole = |row: &Written| {
            row.tokens.len() == row.log_probs.len()
                && !row.tokens.is_empty()
                && row.log_probs.iter().all(|log_prob| log_prob.is_finite())
        };
        match written.iter().all(is_whole) {
            true => Ok(written),
            false => Err(Refusal::lasting("answered without a log-probability of each token")),
        }
    }

    /// What has it take the weights in a folder: path and body of requests, in order; the first may fail.
    pub(super) fn load(self, folder: &str, adapter: Option<&str>) -> Vec<(&'static str, Value)> {
        match (self, adapter) {
            (Self::Vllm, None) => {
                vec![("/collective_rpc", json!({"method": "reload_weights", "kwargs": {"weights_path": folder}}))]
            }
            (Self::Vllm, Some(name)) => {
                vec![("/v1/load_lora_adapter", json!({"lora_name": name, "lora_path": folder, "load_inplace": true}))]
            }
            (Self::Sglang, None) => {
                vec![("/update_weights_from_disk", json!({"model_path": folder, "flush_cache": true}))]
            }
            (Self::Sglang, Some(name)) => vec![
                ("/unload_lora_adapter", json!({"lora_name": name})),
                ("/load_lora_adapter", json!({"lora_name": name, "lora_path": folder})),
            ],
            (Self::LlamaCpp, _) => Vec::new(),
        }
    }

    /// How a server is started so that it takes weights, for the error of one that does not.
    pub(super) fn advice(self, adapter: bool) -> &'static str {
        match (self, adapter) {
            (Self::Vllm, false) => "start vLLM with VLLM_SERVER_DEV_MODE=1",
            (Self::Vllm, true) => {
                "start vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora --max-lora-rank R"
            }
            (Self::Sglang, false) => "does SGLang see the folder of --rollout-weights?",
            (Self::Sglang, true) => "start SGLang with --enable-lora --max-lora-rank R --lora-target-modules all",
            (Self::LlamaCpp, _) => "llama.cpp keeps the model that it was started with",
        }
    }
}

fn of_vllm(choice: &Value) -> Option<Written> {
    Some(Written {
        tokens: ids(&choice["token_ids"])?,
        log_probs: numbers(&choice["logprobs"]["token_logprobs"])?,
        stopped: choice["finish_reason"] == "stop",
    })
}

fn of_sglang(row: &Value) -> Option<Written> {
    // Each is [log-probability, token, text].
    let of_tokens = row["meta_info"]["output_token_logprobs"].as_array()?;
    Some(Written {
        tokens: of_tokens.iter().map(|token| id(&token[1])).collect::<Option<_>>()?,
        log_probs: of_tokens.iter().map(|token| number(&token[0])).collect::<Option<_>>()?,
        stopped: row["meta_info"]["finish_reason"]["type"] == "stop",
    })
}

fn of_llama_cpp(row: &Value) -> Option<Written> {
    let of_tokens = row["completion_probabilities"].as_array()?;
    Some(Written {
        tokens: of_tokens.iter().map(|token| id(&token["id"])).collect::<Option<_>>()?,
        log_probs: of_tokens.iter().map(|token| number(&token["logprob"])).collect::<Option<_>>()?,
        stopped: row["stop_type"] != "limit",
    })
}

fn ids(value: &Value) -> Option<Vec<u32>> {
    value.as_array()?.iter().map(id).collect()
}

fn numbers(value: &Value) -> Option<Vec<f32>> {
    value.as_array()?.iter().map(number).collect()
}

fn id(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

fn number(value: &Value) -> Option<f32> {
    value.as_f64().map(|number| number as f32)
}
