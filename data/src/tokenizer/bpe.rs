//! Training a byte-level BPE tokenizer for worked solutions. Independent of the benchmarks that the texts come from.

use anyhow::{Result, anyhow, ensure};
use serde_json::{Value, json};
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use super::END_OF_TEXT;

/// What BPE may not merge across, in order of precedence: English endings; single digits; the marks of a worked solution;
/// letters; any other mark, alone; white space, of which the last character goes with the word that follows.
const PIECES: &str = concat!(
    r"'(?:s|t|re|ve|m|ll|d)\b",
    r"|\p{N}",
    r"| ?(?:<<|>>|####)",
    r"| ?\p{L}+",
    r"| ?[^\s\p{L}\p{N}]",
    r"|\s+(?!\S)",
    r"|\s+",
);

/// The smallest vocabulary: every byte, and the end of the text.
const SMALLEST_VOCABULARY: usize = 257;

/// Trains on texts and returns the text of `tokenizer.json`.
pub(super) fn train(texts: &[String], vocab_size: usize) -> Result<String> {
    ensure!(
        vocab_size >= SMALLEST_VOCABULARY,
        "a byte-level vocabulary of {vocab_size} is too small: {SMALLEST_VOCABULARY} hold the bytes alone"
    );
    let pieces = Split::new(SplitPattern::Regex(PIECES.to_owned()), SplitDelimiterBehavior::Isolated, false)
        .map_err(|error| anyhow!("{error}"))?;
    let bytes = ByteLevel::new(false, false, false);
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer
        .with_pre_tokenizer(Some(Sequence::new(vec![
            PreTokenizerWrapper::Split(pieces),
            PreTokenizerWrapper::ByteLevel(bytes),
        ])))
        .with_decoder(Some(ByteLevelDecoder::default()));
    let mut trainer = TrainerWrapper::from(
        BpeTrainer::builder()
            .vocab_size(vocab_size)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .build(),
    );
    tokenizer.train(&mut trainer, texts.iter()).map_err(|error| anyhow!("training the tokenizer: {error}"))?;
    tokenizer.to_string(false).map_err(|error| anyhow!("writing the tokenizer: {error}"))
}

/// The `tokenizer_config.json` of a tokenizer that was trained here.
pub(super) fn config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "add_bos_token": false,
        "clean_up_tokenization_spaces": false,
    })
}
