//! Where in a completion its mathematical answer stands. Independent of what the answer means.

use std::sync::LazyLock;

use regex::Regex;

use super::answer::MathAnswer;
use crate::answer::number_claim::{BOX, IS, LABEL, Marker, braced, last_marker, tagged};

/// The answer that a reference or the final part of a completion claims: in `<answer>…</answer>` where that is there, the last `\boxed{…}` or `\fbox{…}`; else what
/// follows the last "answer is" or "Answer:"; else the line of the last `####`; else a text that is nothing but an answer, or the
/// last formula in it.
pub fn extract(text: &str) -> Option<MathAnswer> {
    let text = tagged(text).unwrap_or(text);
    if BOX.is_match(text) {
        return boxed(text);
    }
    if let Some(stated) = stated(text) {
        return Some(stated);
    }
    if let Marker::Claim(line) = last_marker(text) {
        return parse_claim(line);
    }
    let is_marked = !formula_runs(text).is_empty();
    let is_answer = |claim: &MathAnswer| match claim.reading {
        Some(_) => true,
        None => is_marked || text.len() < MAX_WORDS && claim.is_understood(),
    };
    parse_claim(text).filter(is_answer)
}

/// The answer of a text that a format has located, such as the line of a `####` or the group of a pattern: its box, itself, or
/// the formulas in it.
pub fn parse_claim(text: &str) -> Option<MathAnswer> {
    if BOX.is_match(text) {
        return boxed(text);
    }
    let whole = MathAnswer::parse(text);
    if whole.as_ref().is_some_and(|answer| answer.reading.is_some()) {
        return whole;
    }
    // `The largest $n$ is 34`, and else the last formula.
    let predicate = IS_VALUE.find_iter(text).last().and_then(|found| MathAnswer::parse(&text[found.end()..]));
    let formula = || MathAnswer::parse(&formula_runs(text).pop()?.content);
    predicate.filter(|answer| answer.reading.is_some()).or_else(formula).or(whole)
}

/// The longest text of words, in bytes, that is an answer by itself.
const MAX_WORDS: usize = 60;
static IS_VALUE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\b(?:is|are|equals)\b[ \t]*:?"));

/// The inside of the last box, with those that stand right before it.
fn boxed(text: &str) -> Option<MathAnswer> {
    let starts: Vec<usize> = BOX.find_iter(text).map(|found| found.end()).collect();
    let mut contents: Vec<&str> = Vec::new();
    let (mut begin, mut after_last) = (text.len(), "");
    // Only the last few can belong together.
    for (at, start) in starts.iter().enumerate().rev().take(12) {
        let found = BOX.find_at(text, *start - 6).map_or(*start, |found| found.start());
        let Some((content, after)) = braced(&text[*start..]) else {
            // A box that is cut off claims nothing, and one within another is part of it.
            if at + 1 == starts.len() {
                return None;
            } else {
                break;
            };
        };
        let end = text.len() - after.len();
        if contents.is_empty() {
            after_last = after;
        } else if end > begin || !are_one_claim(&text[end..begin], content, contents[contents.len() - 1]) {
            if end > begin {
                // The later box stands within this one.
                continue;
            }
            break;
        }
        if contents.last() != Some(&content) {
            contents.push(content);
        }
        begin = found.min(*start);
    }
    contents.reverse();
    static BESIDE: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"(?i)^[\s$)\]]*(?:hundred|thousand|million|billion|trillion|dozen|\\times|\\cdot|\^\{?\d)")
    });
    // `\boxed{2} = \boxed{2.0}` and "3\frac12, or 7/2": one value in two ways.
    let last = contents.last().copied().and_then(MathAnswer::parse);
    let said_again = |content: &&str| MathAnswer::parse(content).is_some_and(|answer| last.as_ref() == Some(&answer));
    if contents.iter().all(said_again) {
        contents.drain(..contents.len() - 1);
    }
    static PERCENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)^[\s$]{0,4}(?:\\?%|percent|pct)"));
    if BESIDE.is_match(after_last) {
        return None;
    }
    let mut claim = contents.join(", ");
    if PERCENT.is_match(after_last) && !claim.contains('%') {
        claim.push_str("\\%");
    }
    MathAnswer::parse(&claim)
}

/// Whether two boxes with a text between them are two values of one answer, as Math-Verify has it.
fn are_one_claim(between: &str, one: &str, other: &str) -> bool {
    static JOINS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(?:and|or)\b|,|;"));
    let goes_on = between.contains('=') && !JOINS.is_match(between)
        || [". ", ".$", ".\\)", ".\n"].iter().any(|end| between.contains(end))
        || between.contains("\n\n");
    !goes_on && (between.len() < 10 || between.len() < 70 && one != other && JOINS.is_match(between))
}

/// What follows the last "Answer:" or "answer is".
fn stated(text: &str) -> Option<MathAnswer> {
    let last = [LABEL.find_iter(text).last(), IS.find_iter(text).last()].into_iter().flatten();
    let last = last.max_by_key(|found| found.end())?;
    let after = text[last.end()..].trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '_' | ':'));
    if let Some(run) = formula_runs(after).into_iter().next().filter(|run| run.at == 0) {
        return MathAnswer::parse(&run.content);
    }
    let line = after.lines().next().unwrap_or(after);
    let sentence = line.split(". ").next().unwrap_or(line);
    parse_claim(sentence)
}

/// A formula, or several with only "and", "or" or a comma between them.
struct Run {
    at: usize,
    content: String,
}

/// The formulas of a text, in `$…$`, `$$…$$`, `\(…\)` or `\[…\]`.
fn formula_runs(text: &str) -> Vec<Run> {
    static FORMULA: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?s)\$\$([^$]+)\$\$|\\\[(.+?)\\\]|\$((?:\\\$|[^$\n])+)\$|\\\((.+?)\\\)"));
    static JOINS: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*(?:,|;|,?\s*and|,?\s*or)\s*$"));
    let mut runs: Vec<Run> = Vec::new();
    let mut end = 0;
    for found in FORMULA.captures_iter(text) {
        let Some(place) = found.get(0) else { continue };
        let content = found.iter().skip(1).flatten().next().map_or("", |content| content.as_str());
        match runs.last_mut().filter(|_| JOINS.is_match(&text[end..place.start()])) {
            Some(run) => {
                run.content.push_str(", ");
                run.content.push_str(content);
            }
            None => runs.push(Run { at: place.start(), content: content.to_owned() }),
        }
        end = place.end();
    }
    runs
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of this file")
}
