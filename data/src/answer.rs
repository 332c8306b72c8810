//! The final answer of a solution, as an exact rational number. Knows no models, no files and no rewards.
//!
//! Two answers are equal when they are equal as rationals: 72 = 72.00, 1,000 = 1000, 0.5 = 1/2. A percent sign is a
//! unit like any other and is dropped, as currency is: 10% = 10, and 50% is not 0.5. What does not fit 127 bits is no
//! answer. No text makes these functions panic.

use std::fmt;
use std::str::FromStr;

use num_rational::Ratio;
use serde::{Deserialize, Serialize};

/// An exact rational number, in lowest terms.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Answer(Ratio<i128>);

/// The final answer that a completion claims, if it claims one.
///
/// The last `####` counts, and nothing but its own line: a number before it, or an answer left empty after it, is not an
/// answer. Only a text without `####` is searched for its last `\boxed{…}`, and then for its last "answer is …".
pub fn extract_answer(completion: &str) -> Option<Answer> {
    match completion.rsplit_once("####") {
        Some((_, after)) => {
            let line = after.lines().next()?;
            claimed_number(line).or_else(|| boxed_number(line)).or_else(|| stated_number(line))
        }
        None => boxed_number(completion).or_else(|| stated_number(completion)),
    }
}

impl Answer {
    /// A whole number.
    pub fn from_integer(value: i64) -> Answer {
        Answer(Ratio::from_integer(i128::from(value)))
    }

    /// Reads a text that is one number and nothing else, but for currency, a percent sign, marks of emphasis and a full
    /// stop: `-1,234.50`, `$3`, `3/4`, `1 1/2`, `**72**.`.
    pub fn parse_number(text: &str) -> Option<Answer> {
        let (answer, rest) = leading_number(text)?;
        rest.chars().all(|c| c.is_whitespace() || CLOSING.contains(&c)).then_some(answer)
    }

    /// Numerator, with the sign, and denominator, greater than 0, in lowest terms.
    pub fn as_fraction(&self) -> (i128, i128) {
        (*self.0.numer(), *self.0.denom())
    }

    /// numerator / denominator; `None` for a denominator of 0.
    pub fn from_fraction(numerator: i128, denominator: i128) -> Option<Answer> {
        // The smallest i128 has no negative, and reducing a fraction may negate.
        let safe = denominator != 0 && numerator != i128::MIN && denominator != i128::MIN;
        safe.then(|| Answer(Ratio::new(numerator, denominator)))
    }

    /// What one of `+ - * /` makes of two numbers; `None` where it does not fit, and of a division by 0.
    pub(crate) fn checked(&self, operator: char, other: &Answer) -> Option<Answer> {
        match operator {
            '+' => self.checked_add(other),
            '-' => self.checked_sub(other),
            '*' => self.checked_mul(other),
            _ => self.checked_div(other),
        }
    }

    /// self + other, or `None` where it does not fit.
    pub fn checked_add(&self, other: &Answer) -> Option<Answer> {
        let ((a, b), (c, d)) = (self.as_fraction(), other.as_fraction());
        Answer::from_fraction(a.checked_mul(d)?.checked_add(c.checked_mul(b)?)?, b.checked_mul(d)?)
    }

    /// self - other, or `None` where it does not fit.
    pub fn checked_sub(&self, other: &Answer) -> Option<Answer> {
        self.checked_add(&Answer(-other.0))
    }

    /// self * other, or `None` where it does not fit.
    pub fn checked_mul(&self, other: &Answer) -> Option<Answer> {
        let ((a, b), (c, d)) = (self.as_fraction(), other.as_fraction());
        Answer::from_fraction(a.checked_mul(c)?, b.checked_mul(d)?)
    }

    /// self / other, or `None` where it does not fit or `other` is 0.
    pub fn checked_div(&self, other: &Answer) -> Option<Answer> {
        let ((a, b), (c, d)) = (self.as_fraction(), other.as_fraction());
        Answer::from_fraction(a.checked_mul(d)?, b.checked_mul(c)?)
    }
}

/// What may stand before a number without being part of it; currency stands in [`CURRENCY`].
const OPENING: [char; 10] = ['*', '_', '`', '<', '"', '\'', '(', '[', '\\', ':'];
/// What may stand after a number that is alone.
const CLOSING: [char; 11] = ['*', '_', '`', '>', '"', '\'', ')', ']', '\\', '.', '%'];
/// Signs of currency, before or after the minus sign.
const CURRENCY: [char; 4] = ['$', '€', '£', '¥'];
/// A number followed by one of these and another number is a piece of a calculation, a range or a power: reading its
/// first number would read something that was not said.
const OPERATORS: [char; 10] = ['+', '-', '−', '–', '*', '×', 'x', '/', '÷', '^'];

/// The number that a text claims: the one it begins with, whatever words follow, or what its last `=` leads to where it begins
/// with a calculation or with none.
fn claimed_number(text: &str) -> Option<Answer> {
    // LaTeX puts its groups of three digits apart: `1{,}234`, `1,\!234`, `1\,234`.
    let text = &text.replace("{,}", ",").replace("\\!", "").replace("\\,", "");
    let begins_with = leading_number(text).filter(|(_, rest)| !calculates(rest)).map(|(answer, _)| answer);
    begins_with.or_else(|| {
        let (before, after) = text.rsplit_once('=')?;
        // An equation in a later sentence is not the claim.
        if before.contains(". ") { None } else { Some(leading_number(after)?.0) }
    })
}

/// The number in the last `\boxed{…}`.
fn boxed_number(text: &str) -> Option<Answer> {
    let (_, after) = text.rsplit_once("\\boxed")?;
    let content = braced(after.trim_start())?;
    claimed_number(content).or_else(|| latex_fraction(content))
}

/// The number after the last "answer is".
fn stated_number(text: &str) -> Option<Answer> {
    // Lower case in ASCII keeps every byte where it is.
    let at = text.to_ascii_lowercase().rfind("answer is")? + "answer is".len();
    claimed_number(text.get(at..)?.lines().next()?)
}

/// The inside of the braces that a text begins with.
fn braced(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('{')?;
    let mut depth = 1_usize;
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return inside.get(..at);
        }
    }
    None
}

/// `\frac{3}{4}`, `-\dfrac{3}{4}`, `3\frac{1}{2}`.
fn latex_fraction(text: &str) -> Option<Answer> {
    let text = text.trim();
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, text) = text.split_at(digits(text));
    let (whole, text) = (Answer::parse_number(whole).unwrap_or(Answer::from_integer(0)), text.trim_start());
    let after = ["\\frac", "\\dfrac", "\\tfrac"].iter().find_map(|name| text.strip_prefix(name))?;
    let above = braced(after)?;
    let below = braced(after.get(above.len() + 2..)?)?;
    let value = Answer::parse_number(above)?.checked_div(&Answer::parse_number(below)?)?.checked_add(&whole)?;
    if negative { Answer::from_integer(0).checked_sub(&value) } else { Some(value) }
}

/// The number that a text begins with, and what follows it.
fn leading_number(text: &str) -> Option<(Answer, &str)> {
    let (negative, text) = sign(text);
    let (mut value, mut rest) = decimal(text)?;
    if let Some((below, after)) = denominator(rest) {
        (value, rest) = (value.checked_div(&below)?, after);
    } else if let Some((fraction, after)) = mixed_fraction(&value, rest) {
        (value, rest) = (value.checked_add(&fraction)?, after);
    }
    rest = rest.trim_start_matches('\\').trim_start_matches('%');
    if goes_on(rest) {
        return None;
    }
    let value = if negative { Answer::from_integer(0).checked_sub(&value)? } else { value };
    Some((value, rest))
}

/// Takes off what may stand before the digits, and says whether a minus sign was among it.
fn sign(text: &str) -> (bool, &str) {
    let mut negative = None;
    let mut rest = text;
    loop {
        let mut chars = rest.chars();
        match chars.next() {
            Some('-' | '−') if negative.is_none() => negative = Some(true),
            Some('+') if negative.is_none() => negative = Some(false),
            Some(c) if CURRENCY.contains(&c) => {}
            // "- 72" may be an item of a list, so a sign stands right before its number.
            Some(c) if negative.is_none() && (c.is_whitespace() || OPENING.contains(&c)) => {}
            _ => return (negative == Some(true), rest),
        }
        rest = chars.as_str();
    }
}

/// Digits, with commas between groups of three, and decimals.
fn decimal(text: &str) -> Option<(Answer, &str)> {
    let (whole, mut rest) = grouped_digits(text)?;
    let mut decimals = "";
    if let Some(after) = rest.strip_prefix('.') {
        (decimals, rest) = after.split_at(digits(after));
        if decimals.is_empty() {
            rest = &text[text.len() - after.len() - 1..];
        } else if rest.starts_with('.') && digits(&rest[1..]) > 0 {
            return None;
        }
    }
    if whole.is_empty() && decimals.is_empty() {
        return None;
    }
    let mut numerator = 0_i128;
    let mut denominator = 1_i128;
    for digit in whole.bytes() {
        numerator = push_digit(numerator, digit)?;
    }
    for digit in decimals.trim_end_matches('0').bytes() {
        numerator = push_digit(numerator, digit)?;
        denominator = denominator.checked_mul(10)?;
    }
    Some((Answer::from_fraction(numerator, denominator)?, rest))
}

/// Digits without their commas, and what follows. `None` where a comma stands between digits but not before three of them.
fn grouped_digits(text: &str) -> Option<(String, &str)> {
    let (first, mut rest) = text.split_at(digits(text));
    let mut whole = first.to_owned();
    while let Some(after) = rest.strip_prefix(',').filter(|after| !first.is_empty() && digits(after) > 0) {
        if first.len() > 3 || digits(after) != 3 {
            return None;
        }
        let (group, next) = after.split_at(3);
        whole.push_str(group);
        rest = next;
    }
    Some((whole, rest))
}

fn push_digit(number: i128, digit: u8) -> Option<i128> {
    number.checked_mul(10)?.checked_add(i128::from(digit - b'0'))
}

/// How many ASCII digits a text begins with.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// The `/ 4` of `3 / 4`.
fn denominator(text: &str) -> Option<(Answer, &str)> {
    decimal(text.trim_start_matches(' ').strip_prefix('/')?.trim_start_matches(' '))
}

/// The `1/2` of `7 1/2`.
fn mixed_fraction<'a>(whole: &Answer, text: &'a str) -> Option<(Answer, &'a str)> {
    let after = text.strip_prefix(' ')?.trim_start_matches(' ');
    let (above, rest) = decimal(after)?;
    let (below, rest) = denominator(rest)?;
    let is_proper = whole.0.is_integer() && above.0.is_integer() && below.0.is_integer() && above < below;
    Some((above.checked_div(&below)?, rest)).filter(|_| is_proper)
}

/// Whether what follows a number makes it a piece of something else: a calculation, a range, a time, a power of ten.
fn goes_on(rest: &str) -> bool {
    let glued = rest.strip_prefix([':', 'e', 'E']).is_some_and(|after| {
        let after = after.strip_prefix(['+', '-']).unwrap_or(after);
        digits(after) > 0
    });
    let operated = rest.trim_start().strip_prefix(OPERATORS).is_some_and(|after| {
        let after = after.trim_start();
        digits(after) > 0 || after.strip_prefix('$').is_some_and(|amount| digits(amount) > 0)
    });
    let has_fraction =
        ["frac{", "dfrac{", "tfrac{"].iter().any(|name| rest.trim_start().trim_start_matches('\\').starts_with(name));
    glued || operated || has_fraction || (rest.starts_with("**") && digits(&rest[2..]) > 0)
}

/// Whether the unit of a number is followed by an operator and another number: ` eggs * $2`, `/hour * 3`.
fn calculates(rest: &str) -> bool {
    let after = rest.trim_start_matches(|c: char| c.is_alphabetic() || c == ' ' || c == '/');
    after.strip_prefix(OPERATORS).is_some_and(|after| digits(after.trim_start().trim_start_matches(CURRENCY)) > 0)
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for Answer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Answer> {
        Answer::parse_number(text).ok_or_else(|| anyhow::anyhow!("{text:?} is not a number"))
    }
}

impl TryFrom<String> for Answer {
    type Error = anyhow::Error;

    fn try_from(text: String) -> anyhow::Result<Answer> {
        text.parse()
    }
}

impl From<Answer> for String {
    fn from(answer: Answer) -> String {
        answer.to_string()
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
