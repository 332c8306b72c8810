//! What a policy is given while it writes: labels of return-conditioned RL, and the results of the calculator. Here text decides about
//! tokens; independent of models and grades.

use crate::models::policy::{Policy, behind};
use data::{Conditioning, Prompting, Tokenizer, calculation_result};
use model::{Given, Giver};
use std::collections::HashSet;

/// What decides which tokens a policy is given; `None` where it is given none.
pub(crate) fn giver(policy: &Policy, prompting: &Prompting, calculator: bool) -> Option<Giver> {
    let labels = (policy.conditioning == Some(Conditioning::Lines)).then(|| Labels::new(&policy.tokenizer, prompting));
    let calculator = calculator.then(|| Calculator::new(&policy.tokenizer));
    if labels.is_none() && calculator.is_none() {
        return None;
    }
    Some(Giver::new(move |written| {
        let result = calculator.as_ref().and_then(|calculator| calculator.after(written));
        result.or_else(|| labels.as_ref()?.after(*written.last()?))
    }))
}

/// A label after each line.
struct Labels {
    /// The ids whose text ends a line.
    after: HashSet<u32>,
    tokens: Vec<u32>,
}

impl Labels {
    fn new(tokenizer: &Tokenizer, prompting: &Prompting) -> Self {
        Self { after: ids_with(tokenizer, '\n'), tokens: tokenizer.encode(&prompting.goal.label()) }
    }

    fn after(&self, last: u32) -> Option<Given> {
        self.after.contains(&last).then(|| Given::Hidden(self.tokens.clone()))
    }
}

/// The calculator of GSM8K on token ids ([`calculation_result`]). Where a token reaches past the `=` of a calculation, as `=2` may, it is
/// taken back, and its text up to the `=` is given together with the result. The first token of a completion is never taken back: a
/// completion has a token that was chosen.
struct Calculator {
    tokenizer: Tokenizer,
    /// The ids whose text has `=`; after all others nothing is decoded.
    equals: HashSet<u32>,
}

impl Calculator {
    fn new(tokenizer: &Tokenizer) -> Self {
        Self { equals: ids_with(tokenizer, '='), tokenizer: tokenizer.clone() }
    }

    fn after(&self, written: &[u32]) -> Option<Given> {
        let (last, before) = written.split_last()?;
        if !self.equals.contains(last) {
            return None;
        }
        let (text, text_before) = (self.tokenizer.decode(written), self.tokenizer.decode(before));
        let start = text.floor_char_boundary(text_before.len());
        let ends = text[start..].match_indices('=').map(|(place, _)| start + place + 1);
        let (end, result) =
            ends.map(|end| (end, calculation_result(&text[..end]))).find(|(_, result)| result.is_some())?;
        let result = result?;
        if end == text.len() {
            return self.encoded(written, &text, &result).map(Given::Shown);
        }
        let tokens = self.encoded(before, &text_before, &(text[start..end].to_string() + &result))?;
        (!before.is_empty()).then_some(Given::InPlaceOfLast(tokens))
    }

    /// The tokens that continue a text by another, as the tokenizer writes them in such a place; `None` where it cannot.
    fn encoded(&self, before: &[u32], text: &str, continuation: &str) -> Option<Vec<u32>> {
        let whole = text.to_string() + continuation;
        let continues = |tokens: &Vec<u32>| {
            !tokens.is_empty() && self.tokenizer.decode(&[before, tokens.as_slice()].concat()) == whole
        };
        ["=", "0", "("].into_iter().map(|context| behind(&self.tokenizer, context, continuation)).find(continues)
    }
}

/// The ids whose text has a character.
fn ids_with(tokenizer: &Tokenizer, character: char) -> HashSet<u32> {
    (0..tokenizer.vocab_size() as u32).filter(|&id| tokenizer.decode(&[id]).contains(character)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each character and some longer pieces are tokens; nothing is merged.
    fn tokenizer(pieces: &[&str]) -> Tokenizer {
        let characters: Vec<String> = "0123456789+-*/=<>.# \n".chars().map(String::from).collect();
        let pieces = pieces.iter().map(ToString::to_string);
        let vocab: serde_json::Map<String, serde_json::Value> = ["</s>".to_string()]
            .into_iter()
            .chain(characters)
            .chain(pieces)
            .zip(0..)
            .map(|(k, v)| (k, v.into()))
            .collect();
        let json = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "pre_tokenizer": null, "post_processor": null,
            "added_tokens": [{
                "id": 0, "content": "</s>", "special": true, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false
            }],
            "normalizer": null,
            "decoder": {"type": "Fuse"},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocab, "merges": []
            }
        });
        Tokenizer::from_json(&json.to_string()).unwrap()
    }

    const PIECES: [&str; 4] = ["<<", "=3", "2=9", "<<1+1=7"];

    fn id(tokenizer: &Tokenizer, piece: &str) -> u32 {
        (0..tokenizer.vocab_size() as u32).find(|&id| tokenizer.decode(&[id]) == piece).unwrap()
    }

    /// What is given after some pieces, as text.
    fn given(pieces: &[&str]) -> Option<(&'static str, String)> {
        let tokenizer = tokenizer(&PIECES);
        let written: Vec<u32> = pieces.iter().map(|piece| id(&tokenizer, piece)).collect();
        Some(match Calculator::new(&tokenizer).after(&written)? {
            Given::Shown(tokens) => ("shown", tokenizer.decode(&tokens)),
            Given::InPlaceOfLast(tokens) => ("in place of the last", tokenizer.decode(&tokens)),
            Given::Hidden(_) => panic!("the calculator hides nothing"),
        })
    }

    #[test]
    fn the_result_follows_an_equals_sign_that_ends_a_calculation() {
        assert_eq!(given(&["<<", "1", "2", "*", "3", "="]), Some(("shown", "36>>".into())));
        assert_eq!(given(&["<", "<", "5", "/", "2", "="]), Some(("shown", "2.5>>".into())));
        for pieces in [&["<<", "1", "2", "*", "3"][..], &["1", "+", "1", "="], &["<<", "1", "/", "0", "="], &[]] {
            assert_eq!(given(pieces), None, "{pieces:?}");
        }
    }

    #[test]
    fn a_token_that_reaches_past_the_equals_sign_is_taken_back_unless_it_is_the_first() {
        assert_eq!(given(&["<<", "1", "2", "*", "3", "=3"]), Some(("in place of the last", "=36>>".into())));
        assert_eq!(given(&["<<", "3", "*", "2=9"]), Some(("in place of the last", "2=6>>".into())));
        assert_eq!(given(&["#", "<<1+1=7"]), Some(("in place of the last", "<<1+1=2>>".into())));
        assert_eq!(given(&["<<1+1=7"]), None);
    }
}
