//! Text to token ids and back. Independent of problems, models and tensors.
//!
//! One type serves the tokenizers of published models (a Hugging Face folder) and those that are trained here
//! ([`Tokenizer::train_bpe`]).

mod bpe;
mod chat;
mod gguf;

pub use gguf::GgufVocabulary;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::text::{read_text, read_text_if_there};

/// The token that begins, ends and pads sequences of a tokenizer that was trained here.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// End-of-sequence tokens of well-known families, for a tokenizer that does not name its own.
const WELL_KNOWN_ENDS: [&str; 4] = [END_OF_TEXT, "</s>", "<|im_end|>", "<|eot_id|>"];

/// A tokenizer with the settings in its model's folder. Cheap to clone.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Parts>,
}

struct Parts {
    tokenizer: tokenizers::Tokenizer,
    /// `tokenizer_config.json`, or an empty object.
    config: Value,
    /// `generation_config.json`, if there is one.
    generation: Option<Value>,
    chat_template: Option<String>,
    /// The first is the one to write; any of them ends a sample.
    eos_ids: Vec<u32>,
    pad_id: u32,
    /// The begin-of-sequence token, where plain prompts begin with one.
    prompt_prefix: Vec<u32>,
    /// The token with which the chat template ends a message of the model.
    turn_end: Option<u32>,
    /// One more than the largest id.
    vocab_size: usize,
}

impl Tokenizer {
    /// Loads a folder with `tokenizer.json`, or that file. What stands beside it, `tokenizer_config.json`,
    /// `generation_config.json` and `chat_template.jinja`, is read as well.
    ///
    /// A sample ends at any `eos_token_id` of `generation_config.json`; without these, at the `eos_token` of
    /// `tokenizer_config.json`; without that, at a token with a well-known name.
    pub fn load(path: &Path) -> Result<Tokenizer> {
        let file = tokenizer_file(path)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let text = read_text(&file)?;
        let config = read_json(&folder.join("tokenizer_config.json"))?;
        let generation = read_json(&folder.join("generation_config.json"))?;
        let template_file = folder.join("chat_template.jinja");
        let template = read_text_if_there(&template_file)?;
        Tokenizer::assemble(&text, config.unwrap_or_else(|| json!({})), generation, template)
            .with_context(|| format!("in {}", file.display()))
    }

    /// A tokenizer from the text of a `tokenizer.json` alone.
    pub fn from_json(json: &str) -> Result<Tokenizer> {
        Tokenizer::assemble(json, json!({}), None, None)
    }

    /// The tokenizer of a GGUF file.
    ///
    /// # Errors
    /// A kind of tokenizer that is not byte-level BPE, a way to cut text that is not known, a vocabulary that contradicts
    /// itself.
    pub fn from_gguf(vocabulary: &GgufVocabulary) -> Result<Tokenizer> {
        let gguf::Files { tokenizer, config, generation } = gguf::files(vocabulary)?;
        Tokenizer::assemble(&tokenizer, config, generation, None)
    }

    /// Trains byte-level BPE. The same texts give the same tokenizer, byte for byte.
    ///
    /// Every digit is a token of its own, the same wherever it stands: the space before a number is a token too, not a
    /// part of its first digit. A run of letters or a mark of punctuation may take the space before it; `<<`, `>>` and
    /// `####` become single tokens where the texts hold them often enough. Id 0 is [`END_OF_TEXT`].
    pub fn train_bpe(texts: &[String], vocab_size: usize) -> Result<Tokenizer> {
        let json = bpe::train(texts, vocab_size)?;
        Tokenizer::assemble(&json, bpe::config(), None, None)
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` (and `generation_config.json`, where there was one), which
    /// transformers' `AutoTokenizer` and [`Tokenizer::load`] read.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        write("tokenizer.json", self.to_json())?;
        write("tokenizer_config.json", format!("{:#}\n", self.config_to_save()))?;
        match &self.inner.generation {
            Some(generation) => write("generation_config.json", format!("{generation:#}\n")),
            None => Ok(()),
        }
    }

    /// The text of `tokenizer.json`.
    pub fn to_json(&self) -> String {
        self.inner.tokenizer.to_string(false).expect("a tokenizer that was parsed can be written")
    }

    /// The ids of a text; no special token is added, but one that stands in the text by its name is itself.
    ///
    /// # Panics
    ///
    /// When the tokenizer cannot encode text at all; [`Tokenizer::load`] refuses such a one.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        match self.inner.tokenizer.encode_fast(text, false) {
            Ok(encoding) => encoding.get_ids().to_vec(),
            Err(error) => panic!("the tokenizer cannot encode a text of {} bytes: {error}", text.len()),
        }
    }

    /// The text of ids, without special tokens. Ids that are no tokens are passed over, and bytes that are no text become
    /// U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.inner.tokenizer.decode(ids, true).unwrap_or_default()
    }

    /// The text of ids, special tokens included.
    pub fn decode_with_special(&self, ids: &[u32]) -> String {
        self.inner.tokenizer.decode(ids, false).unwrap_or_default()
    }

    /// The place of the first of `tokens` with which their text reaches `offset` bytes; of the last one where it never does.
    ///
    /// # Panics
    /// Without a token.
    pub fn token_reaching(&self, tokens: &[u32], offset: usize) -> usize {
        assert!(!tokens.is_empty(), "no token reaches anything");
        let reaches = |last: usize| self.decode(&tokens[..=last]).len() >= offset;
        let (mut below, mut reached) = (0, tokens.len() - 1);
        while below < reached {
            let middle = (below + reached) / 2;
            if reaches(middle) { reached = middle } else { below = middle + 1 }
        }
        // The first bytes of a character may read longer than the whole of it.
        while reached > 0 && reaches(reached - 1) {
            reached -= 1;
        }
        reached
    }

    /// The places of those of `tokens` whose text lies within a range of bytes of their text.
    pub fn tokens_within(&self, tokens: &[u32], bytes: Range<usize>) -> Range<usize> {
        if tokens.is_empty() || bytes.is_empty() {
            return 0..0;
        }
        let text = self.decode(tokens);
        // Of the tokens of one character, at most four, only the last ends where the character does.
        let behind = |byte: usize| {
            let reaching = self.token_reaching(tokens, byte);
            let ends = |&last: &usize| Some(&*self.decode(&tokens[..=last])) == text.get(..byte);
            let end = (reaching..tokens.len().min(reaching + 4)).find(ends);
            end.map_or((reaching, reaching + 1), |last| (last + 1, last + 1))
        };
        let start = if bytes.start == 0 { 0 } else { behind(bytes.start).1 };
        start..start.max(behind(bytes.end).0)
    }

    /// One token as text, special tokens by their name; empty for an id that is no token.
    pub fn token_text(&self, id: u32) -> String {
        self.inner.tokenizer.decode(&[id], false).unwrap_or_default()
    }

    /// The tokens that end a sample, at least one; the first is the one that supervised examples end with.
    pub fn eos_ids(&self) -> &[u32] {
        &self.inner.eos_ids
    }

    /// The token that fills rows up; it may also end sequences, so masks come from lengths.
    pub fn pad_id(&self) -> u32 {
        self.inner.pad_id
    }

    /// The number of ids, one more than the largest; a model may have more rows than that.
    pub fn vocab_size(&self) -> usize {
        self.inner.vocab_size
    }

    /// The chat template, in Jinja.
    pub fn chat_template(&self) -> Option<&str> {
        self.inner.chat_template.as_deref()
    }

    /// The text of a chat in which a user has said something, behind a system message if there is one, and the model is to answer.
    ///
    /// # Errors
    /// A tokenizer without a chat template; a template that cannot be rendered.
    pub fn apply_chat_template(&self, system: Option<&str>, user: &str) -> Result<String> {
        let template = self.chat_template().context(
            "this tokenizer has no chat template: use plain prompts, or a folder whose tokenizer_config.json has one",
        )?;
        let name = |key: &str| token_name(&self.inner.config, key).unwrap_or_default();
        chat::render(template, system, user, name("bos_token"), name("eos_token"))
    }

    /// The token with which the chat template ends a message of the model, if there is a template and it ends with a token of its
    /// own. It ends a sample, and need not be one of [`Tokenizer::eos_ids`]: some configurations name another.
    pub fn turn_end(&self) -> Option<u32> {
        self.inner.turn_end
    }

    /// What a plain prompt begins with: the begin-of-sequence token, if the tokenizer adds one.
    pub fn prompt_prefix(&self) -> &[u32] {
        &self.inner.prompt_prefix
    }

    fn assemble(json: &str, config: Value, generation: Option<Value>, template: Option<String>) -> Result<Tokenizer> {
        let mut tokenizer: tokenizers::Tokenizer =
            json.parse().map_err(|error| anyhow!("not a tokenizer of the Hugging Face tokenizers library: {error}"))?;
        // Some published files cut or fill every text to a length.
        tokenizer.with_truncation(None).map_err(|error| anyhow!("{error}"))?.with_padding(None);
        let probe =
            tokenizer.encode("One: 1 + 2 = 3\n", true).map_err(|error| anyhow!("cannot encode text: {error}"))?;
        ensure!(!probe.get_ids().is_empty(), "the tokenizer has an empty vocabulary");
        // What no vocabulary has as it stands: whether there is something to write in its place.
        let unknown = tokenizer.encode("\u{e000}\u{10fffd}\u{7}", false);
        unknown.map_err(|error| anyhow!("cannot encode every text: {error}"))?;
        let eos_ids = eos_ids(&tokenizer, &config, generation.as_ref())?;
        let named = |key: &str| token_name(&config, key).and_then(|name| tokenizer.token_to_id(name));
        let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        let chat_template = template.or_else(|| chat::template_of(&config));
        Ok(Tokenizer {
            inner: Arc::new(Parts {
                pad_id: named("pad_token").unwrap_or(eos_ids[0]),
                prompt_prefix: prompt_prefix(&tokenizer, &config, named("bos_token")),
                turn_end: chat_template.as_deref().and_then(|template| turn_end(&tokenizer, &config, template)),
                chat_template,
                vocab_size: largest as usize + 1,
                tokenizer,
                config,
                generation,
                eos_ids,
            }),
        })
    }

    /// The configuration as it was loaded, with what was not known to it: the class that reads `tokenizer.json`, the end
    /// of a sequence, and the chat template of a file of its own.
    fn config_to_save(&self) -> Value {
        let mut config = self.inner.config.clone();
        let Some(fields) = config.as_object_mut() else { return config };
        fields.entry("tokenizer_class").or_insert_with(|| json!("PreTrainedTokenizerFast"));
        if let Some(end) = self.inner.tokenizer.id_to_token(self.inner.eos_ids[0]) {
            fields.entry("eos_token").or_insert_with(|| json!(end));
        }
        if let Some(template) = &self.inner.chat_template {
            fields.insert("chat_template".into(), json!(template));
        }
        config
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { vocab_size, eos_ids, .. } = &*self.inner;
        formatter.debug_struct("Tokenizer").field("vocab_size", vocab_size).field("eos_ids", eos_ids).finish()
    }
}

/// The tokenizer file that a path means.
fn tokenizer_file(path: &Path) -> Result<PathBuf> {
    let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() };
    if file.is_file() {
        return Ok(file);
    }
    if path.join("tokenizer.model").is_file() {
        bail!(
            "{} has a SentencePiece model but no tokenizer.json; save it once more with transformers' \
             AutoTokenizer.from_pretrained(…, use_fast=True).save_pretrained(…)",
            path.display()
        );
    }
    bail!("there is no tokenizer at {}: a folder with tokenizer.json, or that file, is needed", file.display())
}

/// A JSON object beside the tokenizer, if there is one.
fn read_json(path: &Path) -> Result<Option<Value>> {
    let Some(text) = read_text_if_there(path)? else { return Ok(None) };
    let value: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    ensure!(value.is_object(), "{} is not a JSON object", path.display());
    Ok(Some(value))
}

/// The name of a special token: a string, or an object with a `content`.
fn token_name<'a>(config: &'a Value, key: &str) -> Option<&'a str> {
    let token = config.get(key)?;
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// The tokens that end a sample, the one of the tokenizer's configuration first.
fn eos_ids(tokenizer: &tokenizers::Tokenizer, config: &Value, generation: Option<&Value>) -> Result<Vec<u32>> {
    let configured = token_name(config, "eos_token").and_then(|name| tokenizer.token_to_id(name));
    let generation = generation.and_then(|generation| generation.get("eos_token_id")).filter(|ids| !ids.is_null());
    if let Some(ids) = generation {
        let several: Option<Vec<u64>> = match ids {
            Value::Array(ids) => ids.iter().map(Value::as_u64).collect(),
            id => id.as_u64().map(|id| vec![id]),
        };
        let ids: Option<Vec<u32>> = several.and_then(|ids| ids.into_iter().map(|id| u32::try_from(id).ok()).collect());
        let mut ids = ids
            .filter(|ids| !ids.is_empty())
            .with_context(|| "eos_token_id of generation_config.json is neither a token id nor a list of token ids")?;
        if let Some(at) = ids.iter().position(|id| Some(*id) == configured) {
            ids.swap(0, at);
        }
        return Ok(ids);
    }
    let known = || WELL_KNOWN_ENDS.iter().find_map(|name| tokenizer.token_to_id(name));
    configured.or_else(known).map(|id| vec![id]).with_context(|| {
        format!(
            "no end-of-sequence token is known: tokenizer_config.json has no eos_token, generation_config.json no \
             eos_token_id, and the vocabulary none of {}",
            WELL_KNOWN_ENDS.join(", ")
        )
    })
}

/// `add_bos_token` decides; where it is not given, what the tokenizer's post-processor puts before a text, whether a configuration
/// names it or not.
fn prompt_prefix(tokenizer: &tokenizers::Tokenizer, config: &Value, bos: Option<u32>) -> Vec<u32> {
    match config.get("add_bos_token").and_then(Value::as_bool) {
        Some(false) => Vec::new(),
        Some(true) => bos.map_or_else(|| put_before(tokenizer), |bos| vec![bos]),
        None => put_before(tokenizer),
    }
}

/// What a post-processor puts before a text.
fn put_before(tokenizer: &tokenizers::Tokenizer) -> Vec<u32> {
    let ids = |special: bool| {
        let encoding = tokenizer.encode("1 + 2", special).ok();
        encoding.map(|encoding| encoding.get_ids().to_vec()).unwrap_or_default()
    };
    let (processed, text) = (ids(true), ids(false));
    let begins = (0..processed.len()).find(|&place| !text.is_empty() && processed[place..].starts_with(&text));
    processed[..begins.unwrap_or(0)].to_vec()
}

/// The token that a chat template writes behind the model's answer, white space before it left out. Any token that was added to the
/// vocabulary counts, for some files do not call it special.
fn turn_end(tokenizer: &tokenizers::Tokenizer, config: &Value, template: &str) -> Option<u32> {
    let name = |key: &str| token_name(config, key).unwrap_or_default();
    let behind = chat::behind_answer(template, name("bos_token"), name("eos_token"))?;
    let first = *tokenizer.encode(behind.trim_start(), false).ok()?.get_ids().first()?;
    tokenizer.get_added_tokens_decoder().contains_key(&first).then_some(first)
}

#[cfg(test)]
#[path = "tokenizer/tests.rs"]
mod tests;
