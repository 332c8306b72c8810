//! A policy: a language model with its tokenizer, from a checkpoint, a Hugging Face folder or a GGUF file.

use super::{adapter, resolve::resolve_checkpoint};
use crate::io::{checksums::check_files, whole_files::CONDITIONING};
use anyhow::{Context, Result, bail, ensure};
use data::{Conditioning, GgufVocabulary, NEXT_QUESTIONS, PromptStyle, Prompting, SHOT_END, Tokenizer};
use model::{Device, Gguf, REWARD_HEAD, Transformer};
use std::path::{Path, PathBuf};

/// The folder of the trained adapters in a checkpoint.
pub const ADAPTERS: &str = "adapters";

/// A language model that reads and writes text.
#[derive(Clone)]
pub struct Policy {
    /// The weights, without gradients.
    pub model: Transformer,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Where it expects a label of the wanted quality; `None` for all but the policies of `rl rcrl`.
    pub conditioning: Option<Conditioning>,
    /// The LoRA adapter that its weights differ by from those of the model that a run started from, where it is known: an inference
    /// server can take that in place of all weights.
    pub adapter: Option<Adapter>,
}

/// A LoRA adapter whose product is already part of a policy's weights.
#[derive(Clone, Debug)]
pub enum Adapter {
    /// The model with the adapter beside its weights.
    Trained(Box<Transformer>),
    /// A folder of PEFT.
    Saved(PathBuf),
}

/// The language model of a checkpoint, be it a policy or the trunk of a reward model.
pub(crate) fn load_trunk(folder: &Path, device: &Device) -> Result<Policy> {
    // The tokenizer first: it is read in no time, and what is wrong with it is known before the weights are read.
    let tokenizer = load_tokenizer(folder)?;
    let model = adapter::load_weights(folder, device)?;
    let (known, rows) = (tokenizer.vocab_size(), model.config.vocab_size);
    ensure!(known <= rows, "the tokenizer in {} has {known} tokens, the model only {rows}", folder.display());
    // In a GGUF file each row has its token; elsewhere a vocabulary is filled up to a round number.
    ensure!(
        known == rows || !model::is_gguf(folder),
        "{} has {known} tokens, but embeddings of {rows}",
        folder.display()
    );
    if known < rows - rows / 8 {
        tracing::warn!(
            "the tokenizer in {} has {known} tokens, the model {rows}: does it belong to the model?",
            folder.display()
        );
    }
    let path = adapter::beside(folder, CONDITIONING)?;
    let conditioning = match data::read_text_if_there(&path)? {
        None => None,
        Some(text) => Some(serde_json::from_str(&text).with_context(|| format!("{} is malformed", path.display()))?),
    };
    let saved = Some(folder.join(ADAPTERS)).filter(|saved| saved.is_dir());
    let policy = Policy { model, tokenizer, conditioning, adapter: saved.map(Adapter::Saved) };
    if let Some(end) = policy.tokenizer.turn_end().filter(|&end| !policy.configured_stop_ids().contains(&end)) {
        tracing::warn!(
            "the chat template in {} ends a message with {}, which no configuration names as an end-of-sequence token: samples end there too",
            folder.display(),
            policy.tokenizer.token_text(end)
        );
    }
    if let Some(id) = policy.stop_ids().into_iter().find(|&id| id as usize >= policy.model.config.vocab_size) {
        bail!("{} names the end-of-sequence token {id}, which the model does not have", folder.display());
    }
    // Last: what can be said of a damaged file in particular has been said.
    check_files(folder, |name| !name.starts_with("trainer/"))?;
    Ok(policy)
}

/// The tokenizer of a checkpoint, a Hugging Face folder or a GGUF file.
///
/// # Errors
/// As [`Policy::load`].
pub fn load_tokenizer(path: &Path) -> Result<Tokenizer> {
    let path = adapter::with_tokenizer(path)?;
    if !model::is_gguf(&path) {
        return Tokenizer::load(&path);
    }
    let gguf = Gguf::open(&path)?;
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let text = |name: &str| gguf.text(&key(name)).unwrap_or_default().to_string();
    let token = |name: &str| gguf.number(&key(&format!("{name}_token_id")));
    let vocabulary = GgufVocabulary {
        model: text("model"),
        pre: text("pre"),
        tokens: gguf.texts(&key("tokens")).unwrap_or_default(),
        kinds: gguf.numbers(&key("token_type")).unwrap_or_default(),
        merges: gguf.texts(&key("merges")).unwrap_or_default(),
        bos: token("bos"),
        eos: token("eos"),
        pad: token("padding"),
        more_ends: ["eot", "eom"].into_iter().filter_map(token).collect(),
        add_bos: gguf.flag(&key("add_bos_token")),
        chat_template: gguf.text("tokenizer.chat_template").map(str::to_string),
    };
    Tokenizer::from_gguf(&vocabulary).with_context(|| format!("{} cannot be used", path.display()))
}

impl Policy {
    /// Loads a checkpoint, a Hugging Face folder, a GGUF file, or the best checkpoint of a run.
    ///
    /// # Errors
    /// What is missing, truncated or does not fit, named.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let folder = resolve_checkpoint(path)?;
        ensure!(
            !folder.join(REWARD_HEAD).exists(),
            "{} is a reward model, which scores solutions and writes none: give a policy",
            folder.display()
        );
        load_trunk(&folder, device)
    }

    /// What ends a completion: an end-of-sequence token, and in the plain style the start of a question of its own;
    /// with a few-shot prompt, the separator between its problems. Also the stop texts of the benchmark.
    pub fn stops(&self, prompting: &Prompting) -> Vec<Vec<u32>> {
        let mut stops: Vec<Vec<u32>> = self.stop_ids().into_iter().map(|id| vec![id]).collect();
        // The answer of a chat may have blank lines, and ends as a message does.
        if prompting.format.style() == PromptStyle::Plain {
            let ends = shot_ends(&self.tokenizer);
            let has_shots = !prompting.shots.is_empty() || prompting.format.has_examples();
            stops.extend(if has_shots { ends } else { next_questions(&self.tokenizer, &ends) });
        }
        stops.extend(prompting.format.stops().iter().map(|text| behind(&self.tokenizer, "0", text)));
        stops
    }

    /// What stands between a prompt and a completion: the label of the goal, where the policy expects labels.
    pub fn first_label(&self, prompting: &Prompting) -> Vec<u32> {
        match self.conditioning {
            Some(_) => self.tokenizer.encode(&prompting.goal.first_label(prompting.format.style())),
            None => Vec::new(),
        }
    }

    /// Ids that end a sequence: the tokenizer's, the configuration's, and the one with which the chat template ends a message.
    pub fn stop_ids(&self) -> Vec<u32> {
        let mut ids = self.configured_stop_ids();
        ids.extend(self.tokenizer.turn_end());
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The ids that a configuration names.
    fn configured_stop_ids(&self) -> Vec<u32> {
        [self.tokenizer.eos_ids(), &self.model.config.eos_ids()].concat()
    }
}

/// How a model may write the end of a shot: as one piece of text, character by character, or at the end of a token that has more.
fn shot_ends(tokenizer: &Tokenizer) -> Vec<Vec<u32>> {
    let in_pieces = SHOT_END.chars().flat_map(|character| behind(tokenizer, "0", &character.to_string())).collect();
    let has_it = |&id: &u32| tokenizer.decode(&[id]).contains(SHOT_END);
    let at_once = (0..tokenizer.vocab_size() as u32).filter(has_it).map(|id| vec![id]);
    let mut ends: Vec<Vec<u32>> = [behind(tokenizer, "0", SHOT_END), in_pieces].into_iter().chain(at_once).collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// How a model may begin a question of its own: what ends a shot, and then [`NEXT_QUESTIONS`].
fn next_questions(tokenizer: &Tokenizer, ends: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let line = behind(tokenizer, "0", SHOT_END);
    let heads: Vec<Vec<u32>> = NEXT_QUESTIONS
        .iter()
        .map(|head| {
            let both = behind(tokenizer, "0", &format!("{SHOT_END}{head}"));
            both.strip_prefix(line.as_slice()).map_or_else(|| tokenizer.encode(head), <[u32]>::to_vec)
        })
        .collect();
    ends.iter().flat_map(|end| heads.iter().map(move |head| [end.as_slice(), head].concat())).collect()
}

/// A text as it is tokenised after another, a digit for example: some tokenizers put a space before whatever they are given alone.
pub(crate) fn behind(tokenizer: &Tokenizer, before: &str, text: &str) -> Vec<u32> {
    let alone = tokenizer.encode(before);
    match tokenizer.encode(&format!("{before}{text}")).strip_prefix(alone.as_slice()) {
        Some(ids) => ids.to_vec(),
        None => tokenizer.encode(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[test]
    fn a_question_of_its_own_ends_a_completion_without_solved_problems() {
        let texts = ["Question: 0 and 1?\nAnswer: 1\n#### 1\n\n".repeat(9)];
        let tokenizer = Tokenizer::train_bpe(&texts, 300).unwrap();
        let written = tokenizer.encode("#### 0\n\nQuestion: 1");
        let stops = next_questions(&tokenizer, &shot_ends(&tokenizer));
        let stopped = (0..=written.len()).find(|&end| stops.iter().any(|stop| written[..end].ends_with(stop)));
        assert_eq!(tokenizer.decode(&written[..stopped.unwrap()]), "#### 0\n\nQuestion:");
        let alone = tokenizer.encode("#### 0\n\n1");
        assert!(!(0..=alone.len()).any(|end| stops.iter().any(|stop| alone[..end].ends_with(stop))));
    }

    #[test]
    fn the_end_of_a_shot_is_the_text_after_an_answer() {
        let bytes = |merges: &[&str]| {
            let texts: Vec<String> = merges.iter().map(|text| text.repeat(9)).collect();
            Tokenizer::train_bpe(&texts, 300).unwrap()
        };
        let plain = bytes(&["0 1\n"]);
        let line = plain.encode("\n")[0];
        assert_eq!(shot_ends(&plain), [[line, line]]);
        // As Llama 2: a space before all text, and a line's end as a byte.
        let with_space = r#"{
            "version": "1.0", "truncation": null, "padding": null, "pre_tokenizer": null, "post_processor": null,
            "added_tokens": [{
                "id": 0, "content": "</s>", "special": true, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false
            }],
            "normalizer": {"type": "Prepend", "prepend": "_"},
            "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": true, "ignore_merges": false,
                "vocab": {"</s>": 0, "_": 1, "0": 2, "<0x0A>": 3, ".\n\n": 4}, "merges": []
            }
        }"#;
        let with_space = Tokenizer::from_json(with_space).unwrap();
        assert_eq!(with_space.encode("\n"), [1, 3], "alone it has a space");
        assert_eq!(shot_ends(&with_space), [vec![3, 3], vec![4]]);
    }

    /// `gguf_qwen2.json`, by `scripts/fixtures.py`.
    #[derive(Deserialize)]
    struct Reference {
        texts: Vec<String>,
        text_ids: Vec<Vec<u32>>,
        chat: String,
    }

    #[test]
    fn a_gguf_file_of_qwen2_writes_the_tokens_and_the_chat_of_transformers() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/gguf_qwen2");
        let text = std::fs::read_to_string(fixture.with_extension("json")).unwrap();
        let reference: Reference = serde_json::from_str(&text).unwrap();
        let Policy { model, tokenizer, .. } =
            Policy::load(&fixture.with_extension("gguf"), &Device::default()).unwrap();
        for (text, ids) in reference.texts.iter().zip(&reference.text_ids) {
            assert_eq!(&tokenizer.encode(text), ids, "{text:?}");
        }
        assert_eq!(tokenizer.vocab_size(), model.config.vocab_size);
        assert_eq!(tokenizer.apply_chat_template(None, &reference.texts[0]).unwrap(), reference.chat);
        assert_eq!(tokenizer.eos_ids(), tokenizer.encode("<|im_end|>"));
        assert_eq!([tokenizer.pad_id()].as_slice(), tokenizer.encode("<|endoftext|>"));
    }
}
