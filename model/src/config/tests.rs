//! Claims about configurations: what is read from published ones, and what is refused.

use super::*;

fn read(edit: impl FnOnce(&mut serde_json::Value)) -> Result<ModelConfig> {
    let mut json = serde_json::to_value(ModelConfig::of_size(ModelSize::Tiny, 512, 0)).unwrap();
    edit(&mut json);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, json.to_string()).unwrap();
    ModelConfig::read(&path)
}

fn refusal(key: &str, value: serde_json::Value) -> String {
    format!("{:#}", read(|json| json[key] = value).unwrap_err())
}

#[test]
fn a_configuration_comes_back_as_it_was_written() {
    assert_eq!(read(|_| ()).unwrap(), ModelConfig::of_size(ModelSize::Tiny, 512, 0));
}

#[test]
fn the_tiny_model_has_the_parameters_that_its_sizes_say() {
    // 512 x 128 for the embedding, 4 blocks of 4 x 128 x 128 + 3 x 128 x 344 + 2 x 128, and a norm of 128.
    let config = ModelConfig::of_size(ModelSize::Tiny, 512, 0);
    assert_eq!(config.parameters(), 65_536 + 4 * (65_536 + 132_096 + 256) + 128);
}

#[test]
fn qwen2_has_the_bias_that_its_configuration_does_not_mention() {
    let qwen2 = |json: &mut serde_json::Value| {
        json["model_type"] = "qwen2".into();
        json["architectures"] = ["Qwen2ForCausalLM"].as_slice().into();
        json.as_object_mut().unwrap().remove("attention_bias");
    };
    assert!(read(qwen2).unwrap().attention_bias);
    assert!(!read(|_| ()).unwrap().attention_bias);
}

#[test]
fn the_rotary_base_is_read_where_either_version_of_transformers_writes_it() {
    let old = read(|json| json["rope_theta"] = 5e5.into()).unwrap();
    assert_eq!(old.rope_theta, 5e5);
    let new = serde_json::json!({"rope_theta": 1e6, "rope_type": "default"});
    assert_eq!(read(|json| json["rope_parameters"] = new).unwrap().rope_theta, 1e6);
}

/// Llama 3.2's own numbers.
fn llama3() -> serde_json::Value {
    serde_json::json!({"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3"})
}

#[test]
fn the_scaling_of_llama_3_is_read_and_written_for_either_version_of_transformers() {
    let mut older = llama3();
    older["type"] = "llama3".into();
    let old = read(|json| json["rope_scaling"] = older).unwrap();
    let mut parameters = llama3();
    parameters["rope_theta"] = 1e4.into();
    let new = read(|json| json["rope_parameters"] = parameters).unwrap();
    assert_eq!(old, new);
    assert_eq!(new.llama3_scaling().unwrap().factor, 32.0);
    let written = serde_json::to_value(&new).unwrap();
    assert_eq!(written["rope_scaling"], llama3());
    assert_eq!(written["rope_parameters"]["low_freq_factor"], 1.0);
}

#[test]
fn short_periods_stay_long_ones_are_slowed_by_the_factor_and_between_them_there_is_no_jump() {
    let scaling: Llama3Scaling = serde_json::from_value(llama3()).unwrap();
    let at = |wavelength: f64| scaling.stretch(wavelength / (2.0 * std::f64::consts::PI));
    assert_eq!(at(2047.0), 1.0);
    assert_eq!(at(8193.0), 32.0);
    assert!((at(2049.0) - 1.0).abs() < 1e-2 && (at(8191.0) - 32.0).abs() < 0.2);
    // Half way in turns: the mean of 1 and 1/32.
    assert!((1.0 / at(8192.0 / 2.5) - 33.0 / 64.0).abs() < 1e-12);
}

#[test]
fn a_window_that_is_not_used_or_as_wide_as_the_context_is_no_window() {
    let unused = |json: &mut serde_json::Value| {
        json["sliding_window"] = 64.into();
        json["use_sliding_window"] = false.into();
    };
    assert_eq!(read(unused).unwrap().sliding_window, None);
    assert_eq!(read(|json| json["sliding_window"] = 1024.into()).unwrap().sliding_window, None);
}

#[test]
fn qwen3_has_norms_and_a_head_width_that_its_configuration_need_not_mention() {
    let qwen3 = |json: &mut serde_json::Value| {
        json["model_type"] = "qwen3".into();
        json["architectures"] = ["Qwen3ForCausalLM"].as_slice().into();
    };
    let config = read(qwen3).unwrap();
    assert!(config.qk_norm() && !config.attention_bias);
    assert_eq!(config.head_width(), 128);
}

#[test]
fn a_family_has_two_names_of_which_one_is_enough() {
    let without = |keys: &'static [&str], family: &'static str| {
        read(move |json| {
            json["model_type"] = family.into();
            keys.iter().for_each(|key| drop(json.as_object_mut().unwrap().remove(*key)));
        })
    };
    assert_eq!(without(&["architectures"], "qwen3").unwrap().architectures, ["Qwen3ForCausalLM"]);
    assert_eq!(without(&["model_type"], "").unwrap().model_type, "llama");
    let empty = read(|json| {
        json["architectures"] = serde_json::json!([]);
        json["model_type"] = "granite".into();
    });
    assert!(format!("{:#}", empty.unwrap_err()).contains("model_type granite is not supported"));
    let neither = without(&["architectures", "model_type"], "").unwrap_err();
    assert!(format!("{neither:#}").contains("names neither its architecture nor a model_type"));
}

#[test]
fn a_window_that_is_not_mentioned_is_what_transformers_takes_it_for() {
    let family = |family: &'static str, class: &'static str, window: Option<usize>| {
        read(move |json| {
            json["model_type"] = family.into();
            json["architectures"] = [class].as_slice().into();
            json["max_position_embeddings"] = 8192.into();
            json.as_object_mut().unwrap().remove("sliding_window");
            if let Some(window) = window {
                json["sliding_window"] = window.into();
            }
        })
    };
    let mistral = family("mistral", "MistralForCausalLM", None).unwrap_err();
    assert!(format!("{mistral:#}").contains("a sliding window of 4096 tokens within a context of 8192"));
    // Qwen2 has one only where it says that it is used.
    assert_eq!(family("qwen2", "Qwen2ForCausalLM", Some(4096)).unwrap().sliding_window, None);
}

#[test]
fn numbers_of_llama_3_beside_another_type_of_scaling_are_not_used() {
    let mut unused = llama3();
    unused["rope_type"] = "default".into();
    unused["rope_theta"] = 1e4.into();
    assert_eq!(read(|json| json["rope_parameters"] = unused).unwrap().llama3_scaling(), None);
}

#[test]
fn both_forms_of_the_end_of_sequence_id_are_read() {
    assert_eq!(read(|json| json["eos_token_id"] = 7.into()).unwrap().eos_ids(), [7]);
    assert_eq!(read(|json| json["eos_token_id"] = [7, 9].as_slice().into()).unwrap().eos_ids(), [7, 9]);
    assert!(read(|json| json["eos_token_id"] = serde_json::Value::Null).unwrap().eos_ids().is_empty());
}

#[test]
fn what_cannot_be_computed_is_refused_and_named() {
    for (key, value, expected) in [
        ("architectures", ["MambaForCausalLM"].as_slice().into(), "architecture MambaForCausalLM is not supported"),
        ("hidden_act", "gelu".into(), "activation gelu is not supported"),
        ("rope_scaling", serde_json::json!({"type": "linear", "factor": 2.0}), "of the type linear"),
        ("rope_scaling", serde_json::json!({"rope_type": "llama3", "factor": 8.0}), "needs factor, low_freq_factor"),
        ("partial_rotary_factor", 0.5.into(), "partial rotary embeddings"),
        ("sliding_window", 64.into(), "a sliding window of 64 tokens within a context of 1024"),
        ("rope_theta", 0.into(), "rope_theta = 0 is out of range"),
        ("rope_parameters", serde_json::json!({"rope_theta": 1e4, "rope_type": "yarn"}), "of the type yarn"),
        ("rms_norm_eps", (-1e-5).into(), "rms_norm_eps = -0.00001 is out of range"),
        ("model_type", "granite".into(), "model_type granite is not supported; supported are llama, mistral, qwen2"),
        ("model_type", "qwen2".into(), "architecture LlamaForCausalLM and model_type qwen2 do not belong together"),
        ("num_attention_heads", 0.into(), "num_attention_heads = 0 is out of range"),
        ("num_key_value_heads", 3.into(), "4 attention heads cannot share 3"),
        ("hidden_size", 130.into(), "130 is not a multiple of 4 heads"),
        ("head_dim", 33.into(), "the head width 33 is odd"),
        ("head_dim", 0.into(), "head_dim = 0 is out of range"),
        ("head_dim", (1u64 << 60).into(), "is out of range"),
        ("vocab_size", (1u64 << 60).into(), "vocab_size = 1152921504606846976 is out of range"),
    ] {
        let message = refusal(key, value);
        assert!(message.contains(expected), "{key}: {message}");
    }
    let message = refusal("hidden_size", "wide".into());
    assert!(message.contains("is not a model configuration"), "{message}");
}

#[test]
fn sizes_have_names_that_parse() {
    for size in [ModelSize::Pico, ModelSize::Nano, ModelSize::Tiny, ModelSize::Medium, ModelSize::Small] {
        assert_eq!(size.to_string().parse::<ModelSize>().unwrap(), size);
    }
    assert!("huge".parse::<ModelSize>().is_err());
}
