//! What a policy is given while it writes: labels of return-conditioned RL, and the results of the calculator. Here text decides about
//! tokens; independent of models and grades.

use crate::models::policy::{Policy, behind};
use data::{Conditioning, Prompting, Tokenizer, calculation_result};
use model::{Given, Giver};
use std::collections::{BTreeSet, HashSet};

/// What decides which tokens a policy is given, and after which tokens it may be given any; `None` where it is given none.
pub(crate) fn giver(policy: &Policy, prompting: &Prompting, calculator: bool) -> Option<(Giver, Vec<u32>)> {
    let labels = (policy.conditioning == Some(Conditioning::Lines)).then(|| Labels::new(&policy.tokenizer, prompting));
    let calculator = calculator.then(|| Calculator::new(&policy.tokenizer));
    if labels.is_none() && calculator.is_none() {
        return None;
    }
    let after = [labels.as_ref().map(|labels| &labels.after), calculator.as_ref().map(|calculator| &calculator.equals)];
    let after: BTreeSet<u32> = after.into_iter().flatten().flatten().copied().collect();
    let giver = Giver::new(move |written| {
        let result = calculator.as_ref().and_then(|calculator| calculator.after(written));
        result.or_else(|| labels.as_ref()?.after(*written.last()?))
    });
    Some((giver, after.into_iter().collect()))
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
    use crate::sampling::completions::{SampleConfig, complete_prompts};
    use data::{AnswerFormat, calculations_hold};
    use model::{Completion, Device, Key, ModelConfig, ModelSize, Purpose, Transformer};

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

    #[test]
    fn samples_of_an_untrained_model_have_no_false_calculation_however_its_tokens_are_cut() {
        let tokenizer = tokenizer(&PIECES);
        let first_is_never_taken_back = id(&tokenizer, "<<1+1=7");
        let config = ModelConfig {
            hidden_size: 16,
            intermediate_size: 24,
            ..ModelConfig::of_size(ModelSize::Tiny, tokenizer.vocab_size(), 0)
        };
        let policy = Policy {
            model: Transformer::init(&config, 3, &Device::default()),
            tokenizer,
            conditioning: None,
            adapter: None,
        };
        let completions = |calculator: bool, rows: usize, threads: usize| -> Vec<Completion> {
            let sampling = SampleConfig {
                samples: 600,
                temperature: 1.0,
                max_new_tokens: 48,
                rows,
                streams: None,
                threads,
                prompting: Prompting::default(),
                answer_format: AnswerFormat::default(),
                calculator,
                checker: None,
                servers: None,
            };
            let key = |_: usize, sample: usize| Key::new(1, Purpose::Generate).with(sample as u64);
            complete_prompts(&policy, &[vec![5, 6]], &sampling, key, &|_| ()).unwrap().0.remove(0)
        };
        let wrong = |completions: &[Completion]| -> (usize, usize) {
            let counted = completions.iter().filter(|completion| completion.tokens[0] != first_is_never_taken_back);
            let texts: Vec<String> = counted.map(|completion| policy.tokenizer.decode(&completion.tokens)).collect();
            let annotated =
                texts.iter().flat_map(|text| text.match_indices(">>").map(move |(end, _)| &text[..end + 2]));
            let calculations = annotated.filter_map(|text| Some(&text[text.rfind("<<")?..]));
            let calculations: Vec<&str> = calculations
                .filter(|text| text.contains('=') && !text[2..text.len() - 2].contains(['<', '>', '\n']))
                .collect();
            (calculations.len(), calculations.iter().filter(|text| !calculations_hold(text)).count())
        };
        let with = completions(true, 64, 1);
        let (all, false_ones) = wrong(&with);
        assert!(all > 100 && false_ones == 0, "{false_ones} of {all}");
        let begins_before_the_sign = |completion: &Completion| {
            let text = |tokens: &std::ops::Range<usize>| policy.tokenizer.decode(&completion.tokens[tokens.clone()]);
            completion.given.iter().any(|tokens| text(tokens).contains('='))
        };
        assert!(with.iter().filter(|completion| begins_before_the_sign(completion)).count() > 20, "tokens taken back");
        assert!(with.iter().all(|completion| completion.given.iter().all(|given| given.start > 0)));
        assert!(completions(false, 64, 1).iter().all(|completion| completion.given.is_empty()));
        let tokens = |of: &[Completion]| -> Vec<_> { of.iter().map(|c| (c.tokens.clone(), c.given.clone())).collect() };
        for (rows, threads) in [(7, 2), (600, 1)] {
            assert!(tokens(&completions(true, rows, threads)) == tokens(&with), "{rows} rows, {threads} threads");
        }
    }
}
