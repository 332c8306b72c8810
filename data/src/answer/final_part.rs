//! The part of a completion that can hold its answer: after the thinking, before a question of its own. Independent of numbers.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// What begins the last message of models that write several, each with a header.
const FINAL_MESSAGE: &str = "<|channel|>final<|message|>";

/// The part of a completion that answers its own question. It ends where a question of its own begins ("Question:", "Q:", "User:" at the
/// start of a line, after something was written), and at an end-of-turn token that is spelt out as text.
pub fn own_part(completion: &str) -> &str {
    static QUESTION: LazyLock<Regex> = LazyLock::new(|| {
        let names = "question|q|user|human|problem|exercise|instruction";
        pattern(&format!(r"(?im)^[ \t]*(?:[#>*_-]+[ \t]*)?(?:{names})(?:[ \t]*#?\d+)?[ \t]*[*_]*[ \t]*:"))
    });
    let turn = own_turn(completion);
    let thoughts = thoughts(turn);
    let is_own = |at: usize| !turn[..at].trim().is_empty() && !thoughts.iter().any(|thought| thought.contains(&at));
    let question = QUESTION.find_iter(turn).map(|found| found.start()).find(|&at| is_own(at));
    &turn[..question.unwrap_or(turn.len())]
}

/// [`own_part`] without what was thought in it, whether the thinking was closed or not.
pub(super) fn final_part(completion: &str) -> String {
    let message = completion.rsplit_once(FINAL_MESSAGE).map_or(completion, |(_, message)| message);
    let own = own_part(message);
    let (mut spoken, mut at) = (String::new(), 0);
    for thought in thoughts(own) {
        spoken.push_str(&own[at..thought.start]);
        at = thought.end;
    }
    spoken + &own[at..]
}

/// The text before the first token that ends a turn, and before one that begins another.
fn own_turn(completion: &str) -> &str {
    static END: LazyLock<Regex> = LazyLock::new(|| {
        let names = "im_end|endoftext|end_of_text|eot_id|eom_id|end|return|eot|end_of_turn|EOT";
        pattern(&format!(r"</s>|<\|(?:{names})\|>|<end_of_turn>|<eos>|<｜end▁of▁sentence｜>"))
    });
    static START: LazyLock<Regex> = LazyLock::new(|| {
        let names = "im_start|begin_of_text|start_header_id|user|system|start";
        pattern(&format!(r"<s>|<bos>|<\|(?:{names})\|>|<start_of_turn>|<｜User｜>|\[INST\]"))
    });
    let end = END.find(completion).map(|found| found.start());
    let starts = START.find_iter(completion).map(|found| found.start());
    let start = starts.into_iter().find(|&at| !completion[..at].trim().is_empty());
    &completion[..end.into_iter().chain(start).min().unwrap_or(completion.len())]
}

/// Where a text thinks, marks included: from its beginning where the prompt has opened the thinking, to its end where nothing
/// closes it.
fn thoughts(text: &str) -> Vec<Range<usize>> {
    static MARKS: LazyLock<Regex> = LazyLock::new(|| {
        let names = "think|thinking|thought|thoughts|reasoning|scratchpad";
        pattern(&format!(r"(?i)<(/?)(?:{names})>|\[(/?)THINK\]|<\|(begin|end)_of_thought\|>|◁(/?)think▷"))
    });
    let mut thoughts: Vec<Range<usize>> = Vec::new();
    let mut opened = None;
    for mark in MARKS.captures_iter(text) {
        let Some(place) = mark.get(0).map(|found| found.range()) else { continue };
        let closes = mark.iter().skip(1).flatten().any(|name| matches!(name.as_str(), "/" | "end"));
        match (opened, closes) {
            (None, false) => opened = Some(place.start),
            (Some(start), true) => {
                thoughts.push(start..place.end);
                opened = None;
            }
            (None, true) => {
                thoughts.clear();
                thoughts.push(0..place.end);
            }
            (Some(_), false) => {}
        }
    }
    thoughts.extend(opened.map(|start| start..text.len()));
    thoughts
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of this file")
}
