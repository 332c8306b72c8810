//! Which families of models are computed, and what each leaves unsaid in its `config.json`.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

/// The families that are computed here: Hugging Face's names of the model type, and of the class.
const SUPPORTED: [(&str, &str); 4] = [
    ("llama", "LlamaForCausalLM"),
    ("mistral", "MistralForCausalLM"),
    ("qwen2", "Qwen2ForCausalLM"),
    ("qwen3", "Qwen3ForCausalLM"),
];

/// Settles the family of a `config.json`, which may be named in either way, and what transformers takes for granted of it.
pub(super) fn name_architecture(fields: &mut Map<String, Value>) -> Result<()> {
    let classes: Vec<String> = match fields.get("architectures") {
        None | Some(Value::Null) => Vec::new(),
        Some(names) => serde_json::from_value(names.clone()).context("its architectures are no list of names")?,
    };
    check_architectures(&classes)?;
    let of_class = |class: &String| SUPPORTED.iter().find(|(_, known)| known == class).map(|(family, _)| *family);
    let named = fields.get("model_type").and_then(Value::as_str).map(str::to_string);
    let family = named.or_else(|| classes.first().and_then(of_class).map(str::to_string));
    let family = family.context("it names neither its architecture nor a model_type")?;
    let Some((family, class)) = SUPPORTED.into_iter().find(|(known, _)| *known == family) else {
        bail!("model_type {family} is not supported; supported are {}", SUPPORTED.map(|(family, _)| family).join(", "));
    };
    if let Some(other) = classes.iter().find(|other| *other != class) {
        bail!("architecture {other} and model_type {family} do not belong together");
    }
    fields.insert("model_type".into(), family.into());
    fields.insert("architectures".into(), vec![class].into());
    match family {
        "mistral" => fields.entry("sliding_window").or_insert(4096.into()),
        "qwen2" | "qwen3" => fields.entry("use_sliding_window").or_insert(false.into()),
        _ => return Ok(()),
    };
    Ok(())
}

/// Refuses a class that is not computed here, by its name.
pub(super) fn check_architectures(architectures: &[String]) -> Result<()> {
    for name in architectures {
        ensure!(
            SUPPORTED.iter().any(|(_, class)| class == name),
            "architecture {name} is not supported; supported are {}",
            SUPPORTED.map(|(_, class)| class).join(", ")
        );
    }
    Ok(())
}
