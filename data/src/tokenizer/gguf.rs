//! The tokenizer of a GGUF file as a `tokenizer.json`. Independent of the file: it reads the metadata alone.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

/// The tokenizer's part of the metadata of a GGUF file: the values of the keys under `tokenizer.`.
#[derive(Clone, Debug, Default)]
pub struct GgufVocabulary {
    /// `ggml.model`: the kind of tokenizer; only `gpt2`, byte-level BPE, can be read.
    pub model: String,
    /// `ggml.pre`: how text is cut before BPE.
    pub pre: String,
    /// `ggml.tokens`, in the order of their ids.
    pub tokens: Vec<String>,
    /// `ggml.token_type`: 3 is a control token, 4 a token that a user has defined.
    pub kinds: Vec<u64>,
    /// `ggml.merges`, two pieces with a space between.
    pub merges: Vec<String>,
    /// `ggml.bos_token_id`
    pub bos: Option<u64>,
    /// `ggml.eos_token_id`
    pub eos: Option<u64>,
    /// `ggml.padding_token_id`; it may be the end of a sequence too.
    pub pad: Option<u64>,
    /// `ggml.eot_token_id` and `ggml.eom_token_id`: what else ends a sample.
    pub more_ends: Vec<u64>,
    /// `ggml.add_bos_token`
    pub add_bos: Option<bool>,
    /// `chat_template`
    pub chat_template: Option<String>,
}

/// The files that would stand beside a Hugging Face model.
pub(super) struct Files {
    pub(super) tokenizer: String,
    pub(super) config: Value,
    pub(super) generation: Option<Value>,
}

const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// What Qwen2 does not merge across: English endings, words with a mark before them, single digits, runs of marks, white space.
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// The same of Llama 3, which takes up to three digits together.
const LLAMA_3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
);

pub(super) fn files(vocabulary: &GgufVocabulary) -> Result<Files> {
    let GgufVocabulary { model, tokens, kinds, merges, .. } = vocabulary;
    ensure!(!model.is_empty(), "it has no tokenizer in its metadata");
    ensure!(
        model == "gpt2",
        "its tokenizer is of the kind {model:?}, and only byte-level BPE (gpt2) can be read; give the model's Hugging Face \
         folder"
    );
    ensure!(!tokens.is_empty(), "it has no tokenizer.ggml.tokens");
    ensure!(
        kinds.is_empty() || kinds.len() == tokens.len(),
        "tokenizer.ggml.token_type has {} entries for {} tokens",
        kinds.len(),
        tokens.len()
    );
    let cut = Cut::of(&vocabulary.pre)?;
    let vocab: Map<String, Value> = tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let merges: Vec<Value> = merges
        .iter()
        .map(|merge| {
            let (first, second) =
                merge.split_once(' ').with_context(|| format!("the merge {merge:?} is not two pieces"))?;
            Ok(json!([first, second]))
        })
        .collect::<Result<_>>()?;
    let added: Vec<Value> = tokens
        .iter()
        .zip(kinds)
        .enumerate()
        .filter(|(_, (_, kind))| [CONTROL, USER_DEFINED].contains(kind))
        .map(|(id, (content, &kind))| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": kind == CONTROL})
        })
        .collect();
    let bytes = |cuts_too: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": cuts_too});
    let before = match cut.first {
        Some(first) => json!({"type": "Sequence", "pretokenizers": [first, bytes(cut.by_bytes)]}),
        None => bytes(cut.by_bytes),
    };
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": cut.normalizer,
        "pre_tokenizer": before,
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": cut.ignores_merges, "vocab": vocab, "merges": merges},
    });
    Ok(Files {
        tokenizer: tokenizer.to_string(),
        config: config(vocabulary, cut.begins)?,
        generation: generation(vocabulary),
    })
}

/// The `tokenizer_config.json` of a vocabulary.
fn config(vocabulary: &GgufVocabulary, begins: bool) -> Result<Value> {
    let GgufVocabulary { tokens, bos, eos, pad, add_bos, chat_template, .. } = vocabulary;
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": add_bos.unwrap_or(begins),
        "clean_up_tokenization_spaces": false,
    });
    for (key, id) in [("bos_token", bos), ("eos_token", eos), ("pad_token", pad)] {
        if let Some(id) = id {
            let token = usize::try_from(*id).ok().and_then(|id| tokens.get(id));
            config[key] =
                json!(token.with_context(|| format!("its {key} is {id}, and there are {} tokens", tokens.len()))?);
        }
    }
    if let Some(template) = chat_template {
        config["chat_template"] = json!(template);
    }
    Ok(config)
}

/// The `generation_config.json`, where more than one token ends a sample.
fn generation(vocabulary: &GgufVocabulary) -> Option<Value> {
    let mut ends: Vec<u64> = vocabulary.eos.into_iter().chain(vocabulary.more_ends.iter().copied()).collect();
    ends.dedup();
    (ends.len() > 1).then(|| json!({"eos_token_id": ends}))
}

/// How text is cut before BPE.
struct Cut {
    normalizer: Value,
    /// What comes before the bytes.
    first: Option<Value>,
    /// Whether GPT-2's own pattern is applied with the bytes.
    by_bytes: bool,
    /// Whether a piece that is a token is one whatever the merges are.
    ignores_merges: bool,
    /// Whether texts begin with the beginning of a sequence, where the file does not state it.
    begins: bool,
}

impl Cut {
    fn of(pre: &str) -> Result<Self> {
        let plain = Self { normalizer: Value::Null, first: None, by_bytes: true, ignores_merges: false, begins: false };
        let split = |pattern: &str| {
            Some(json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false}))
        };
        Ok(match pre {
            "gpt-2" | "gpt2" => plain,
            "smollm" => Self { first: Some(json!({"type": "Digits", "individual_digits": true})), ..plain },
            "qwen2" => Self { normalizer: json!({"type": "NFC"}), first: split(QWEN2), by_bytes: false, ..plain },
            "llama-bpe" | "llama3" | "llama-v3" => {
                Self { first: split(LLAMA_3), by_bytes: false, ignores_merges: true, begins: true, ..plain }
            }
            other => bail!(
                "its tokenizer cuts text the way {other:?}, and only gpt-2, smollm, qwen2 and llama-bpe are known; give the \
                 model's Hugging Face folder"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tokenizer;

    /// Bytes as GPT-2 writes them, two digits and two letters merged, a control token and one of a user.
    fn vocabulary(pre: &str) -> GgufVocabulary {
        let bytes = ('!'..='~').chain(['Ġ', 'Ċ', 'Ã', '©']).map(String::from);
        let more = ["12", "123", "ab", "<|end|>", "<tool>"].map(str::to_string);
        let tokens: Vec<String> = bytes.chain(more).collect();
        let count = tokens.len();
        let mut kinds = vec![1; count];
        (kinds[count - 2], kinds[count - 1]) = (CONTROL, USER_DEFINED);
        GgufVocabulary {
            model: "gpt2".into(),
            pre: pre.into(),
            merges: ["1 2", "12 3", "a b"].map(str::to_string).to_vec(),
            eos: Some(count as u64 - 2),
            pad: Some(count as u64 - 2),
            tokens,
            kinds,
            ..GgufVocabulary::default()
        }
    }

    fn pieces(pre: &str, text: &str) -> Vec<String> {
        let tokenizer = Tokenizer::from_gguf(&vocabulary(pre)).unwrap();
        tokenizer.encode(text).into_iter().map(|id| tokenizer.token_text(id)).collect()
    }

    #[test]
    fn digits_stand_together_as_far_as_the_family_lets_them() {
        assert_eq!(pieces("gpt-2", "ab 1234"), ["ab", " ", "123", "4"]);
        assert_eq!(pieces("llama-bpe", "ab 1234"), ["ab", " ", "123", "4"]);
        assert_eq!(pieces("llama-bpe", "123456"), ["123", "4", "5", "6"], "the merge goes no further than three");
        for single in ["smollm", "qwen2"] {
            assert_eq!(pieces(single, "ab 1234"), ["ab", " ", "1", "2", "3", "4"], "{single}");
        }
    }

    #[test]
    fn control_tokens_are_special_and_those_of_a_user_are_text() {
        let tokenizer = Tokenizer::from_gguf(&vocabulary("smollm")).unwrap();
        let ids = tokenizer.encode("ab<tool><|end|>");
        assert_eq!(ids.len(), 3);
        assert_eq!(tokenizer.decode(&ids), "ab<tool>");
        assert_eq!(tokenizer.eos_ids(), [tokenizer.pad_id()]);
        assert!(tokenizer.prompt_prefix().is_empty());
    }

    #[test]
    fn texts_begin_with_the_beginning_of_a_sequence_where_the_family_or_the_file_says_so() {
        let of = |pre: &str, add_bos: Option<bool>| {
            Tokenizer::from_gguf(&GgufVocabulary { bos: Some(0), add_bos, ..vocabulary(pre) }).unwrap()
        };
        assert_eq!(of("llama-bpe", None).prompt_prefix(), [0]);
        assert!(of("llama-bpe", Some(false)).prompt_prefix().is_empty());
        assert!(of("qwen2", None).prompt_prefix().is_empty());
    }

    #[test]
    fn every_end_counts_and_the_first_is_the_one_to_write() {
        let vocabulary = GgufVocabulary { more_ends: vec![3], ..vocabulary("qwen2") };
        let eos = vocabulary.eos.unwrap() as u32;
        assert_eq!(Tokenizer::from_gguf(&vocabulary).unwrap().eos_ids(), [eos, 3]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let refusal = |edit: &dyn Fn(&mut GgufVocabulary)| {
            let mut vocabulary = vocabulary("smollm");
            edit(&mut vocabulary);
            format!("{:#}", Tokenizer::from_gguf(&vocabulary).unwrap_err())
        };
        assert!(refusal(&|v| v.model.clear()).contains("it has no tokenizer"));
        assert!(refusal(&|v| v.model = "llama".into()).contains("only byte-level BPE (gpt2) can be read"));
        assert!(refusal(&|v| v.pre = "deepseek".into()).contains("only gpt-2, smollm, qwen2 and llama-bpe are known"));
        assert!(refusal(&|v| v.tokens.clear()).contains("no tokenizer.ggml.tokens"));
        assert!(refusal(&|v| v.kinds.truncate(3)).contains("tokenizer.ggml.token_type has"));
        assert!(refusal(&|v| v.merges = vec!["ab".into()]).contains("the merge \"ab\" is not two pieces"));
        assert!(refusal(&|v| v.merges = vec!["x yz".into()]).contains("not a tokenizer"), "a piece that is no token");
        assert!(refusal(&|v| v.eos = Some(1 << 60)).contains("its eos_token is 1152921504606846976"));
    }
}
