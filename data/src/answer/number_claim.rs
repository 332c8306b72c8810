//! What a completion claims as its number: the line of a `####`, a box, "the answer is". Independent of formats, which choose among these.

use std::sync::LazyLock;

use regex::Regex;

use super::number::{Context, leading, number};
use super::plain::{OPAQUE, plain};
use crate::rational::Rational;

/// The first group, or without groups the whole, of a pattern's last match.
pub(crate) fn captured<'a>(pattern: &Regex, text: &'a str) -> Option<&'a str> {
    let found = pattern.captures_iter(text).last()?;
    found.get(1).or_else(|| found.get(0)).map(|found| found.as_str())
}

/// The answer of a text by `auto`.
pub(super) fn anywhere(text: &str) -> Option<Rational> {
    if let Some(inside) = tagged(text) {
        return claim(inside, Context::Prose).or_else(|| anywhere_but_tags(inside));
    }
    anywhere_but_tags(text)
}

fn anywhere_but_tags(text: &str) -> Option<Rational> {
    match last_marker(text) {
        Marker::Claim(line) => marked(line),
        Marker::Heading | Marker::None if has_box(text) => boxed(text),
        Marker::Heading | Marker::None => stated(text),
    }
}

/// The inside of the last `<answer>…</answer>`.
pub(super) fn tagged(text: &str) -> Option<&str> {
    static TAG: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?is)<answer>((?:[^<]|<[^/])*)</answer>"));
    TAG.captures_iter(text).last()?.get(1).map(|inside| inside.as_str())
}

/// The last `####` of a text.
pub(super) enum Marker<'a> {
    /// Its line claims an answer, or fails to.
    Claim(&'a str),
    /// It is a heading, as all of them are.
    Heading,
    /// There is none.
    None,
}

pub(super) fn last_marker(text: &str) -> Marker<'_> {
    let mut markers = text.split("####").skip(1).map(|after| after.split('\n').next().unwrap_or(after)).peekable();
    let mut found = Marker::None;
    let mut claimed = false;
    while let Some(line) = markers.next() {
        let heading = is_heading(line);
        claimed |= !heading;
        found = match heading {
            false => Marker::Claim(line),
            true if claimed && markers.peek().is_none() => Marker::Claim(""),
            true => Marker::Heading,
        };
    }
    found
}

/// Whether the line of a `####` is a heading: `Step 2`, `1. First`, `2) Then`, but no "Answer: …".
fn is_heading(line: &str) -> bool {
    static NUMBERED: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"^#*\s*[*_]*\d{1,3}[.):]+[*_]*\s+[*_]*\p{Alphabetic}"));
    static WORDS: LazyLock<Regex> = LazyLock::new(|| pattern(r"^#*\s*[*_]*\p{Alphabetic}"));
    let claims = marked(line).is_some() || LABEL.is_match(line) || IS.is_match(line);
    NUMBERED.is_match(line) || WORDS.is_match(line) && !claims && !is_unreadable_number(line)
}

/// Whether a line of words begins as a number does, with a name of currency for example.
fn is_unreadable_number(line: &str) -> bool {
    number(&plain(line)).is_some()
}

/// What the line of a `####` claims.
pub(super) fn marked(line: &str) -> Option<Rational> {
    let line = line.trim_start_matches('#');
    if has_box(line) {
        return boxed(line);
    }
    claim(line, Context::Prose).or_else(|| stated(line))
}

pub(super) static BOX: LazyLock<Regex> = LazyLock::new(|| pattern(r"\\(?:boxed|fbox)\s*\{"));

pub(super) fn has_box(text: &str) -> bool {
    text.contains("\\boxed") || text.contains("\\fbox")
}

/// The number in the last `\boxed{…}` or `\fbox{…}`, with what multiplies it.
pub(super) fn boxed(text: &str) -> Option<Rational> {
    let last = BOX.find_iter(text).last()?;
    // `\boxed{3}, \boxed{4}` are two answers.
    static JOINED: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"\}[\s$]*(?:,|;|and|or|\\text\{\s*(?:and|or)\s*\})[\s$]*$"));
    if BOX.find_iter(text).count() > 1 && JOINED.is_match(&text[..last.start()]) {
        return None;
    }
    let (content, after) = braced(&text[last.end()..])?;
    let claimed = claim(content, Context::Formula)?;
    // `\boxed{5} million`, `\boxed{5} \times 10^6`: what counts and stands beside the box on its line.
    static BESIDE: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"(?i)^[\s$)\]*]*(?:hundred|thousand|million|billion|trillion|dozen|[×*÷^±√]|or\s|k\b|[+/-]\s*\d)")
    });
    let line = plain(after.split('\n').next().unwrap_or(after));
    (!BESIDE.is_match(&line)).then_some(claimed)
}

/// What stands in braces that are open already, and what follows them.
pub(super) fn braced(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&text[..at], &text[at + 1..]));
        }
    }
    None
}

/// "Answer:", "**Final answer:**", "A:", with what may stand before it in its line.
pub(super) static LABEL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?im)(?:\banswer|^[\s#>*_-]*a)[ \t]*[*_]*[ \t]*[:：][ \t]*[*_]*|^[\s#>*_-]*(?:final|correct)?[ \t]*answer[ \t]*[*_]*[ \t]*$",
    )
});
/// "The answer is", "the answer to the question is".
pub(super) static IS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\banswer(?:[ \t]+[a-z]+){0,5}?[ \t]+(?:is|was|equals|would be)\b(?:[ \t]+(?:therefore|thus|then|simply|just|exactly)\b)?[ \t]*[:：]?",
    )
});

/// The number after the last "Answer:" or "answer is".
pub(super) fn stated(text: &str) -> Option<Rational> {
    let label = LABEL.find_iter(text).last();
    let is = IS.find_iter(text).last();
    let last = [label, is].into_iter().flatten().max_by_key(|found| found.end())?;
    let after = &text[last.end()..];
    let (line, below) = after.split_once('\n').unwrap_or((after, ""));
    let is_bare = line.trim_matches(|c: char| c.is_whitespace() || "*_:：$[\\".contains(c)).is_empty();
    if is_bare {
        let next = below.lines().find(|line| !line.trim().trim_matches(['*', '_', '$', '\\', '[', ']']).is_empty())?;
        // A dash may begin an item of a list.
        return if next.trim_start().starts_with("- ") { None } else { claim_alone(next) };
    }
    // What a label begins may be a whole solution: then its first line is more than a number with its unit.
    let goes_on = label.is_some_and(|label| label.end() == last.end()) && below.contains('=');
    let is_short = !line.contains('=') && line.split_whitespace().count() <= 3;
    if goes_on && !is_short { None } else { claim_alone(line) }
}

/// The number that a line claims: the one it begins with, or what a calculation or an equation of a lone name that it begins
/// with leads to.
fn claim_alone(line: &str) -> Option<Rational> {
    static BEGINS: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"^[^\p{Alphabetic}=]*(?:\p{Alphabetic}[\p{Alphabetic}\d]?)?\s*=|^[^\p{Alphabetic}=]*\d")
    });
    let text = plain(line);
    leading(&text, Context::Prose).or_else(|| BEGINS.is_match(&text).then(|| equation(&text, Context::Prose))?)
}

/// The number that a text claims: the one it begins with, whatever words follow, or what its last `=` leads to where it begins
/// with a calculation or with none.
pub(super) fn claim(text: &str, context: Context) -> Option<Rational> {
    let text = plain(text);
    leading(&text, context).or_else(|| equation(&text, context))
}

/// What the last `=` of an equation leads to.
fn equation(text: &str, context: Context) -> Option<Rational> {
    let (before, after) = text.rsplit_once('=')?;
    // An equation in a later sentence is not the claim, and of several none is.
    let several =
        before.contains('=') && (before.contains([',', ';']) || before.contains(" or ") || before.contains(" and "));
    // As in `x >= 5`.
    let compares = before.ends_with(['<', '>', '!', '≠', '≈', '~']);
    if several || compares || before.contains(". ") || before.contains(OPAQUE) {
        return None;
    }
    leading(after, context)
}

/// The last number of a text.
pub(super) fn last_number(text: &str) -> Option<Rational> {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
        let digits = r"(?:\d[\d,._'\u{A0}]*|\.\d+)";
        pattern(&format!(r"(?:[-+]?[$€£¥₹]?[-+]?{digits}(?:\s*/\s*{digits})?)(?:[eE][-+]?\d+\b)?"))
    });
    let text = plain(text);
    let last = NUMBER.find_iter(&text).last()?;
    let mut from = last.start();
    // A sign behind a number or a bracket is an operator, and within a word a hyphen.
    let signed = text[from..].starts_with(['-', '+']);
    let ends_term = |c: char| c.is_ascii_digit() || c == ')';
    if signed && (text[..from].trim_end().ends_with(ends_term) || text[..from].ends_with(char::is_alphabetic)) {
        from += 1;
    }
    // `2 1/2` is one number.
    let whole = text[..from].trim_end_matches(' ');
    let digits = whole.len() - whole.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    if last.as_str().contains('/') && digits > 0 {
        from = whole.len() - digits;
    }
    leading(&text[from..], Context::Prose)
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of this file")
}
