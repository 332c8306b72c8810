//! A number as people and models write it, and whether what follows leaves it as it is. Independent of completions.
//!
//! The rule is that a number misread is worse than one not read: what follows a number and could change it, such as a word
//! that multiplies, an operator, a second number or a unit of a second kind, makes it unread unless it is understood. All
//! functions read text that `plain` has been through.
//!
//! One file above 400 lines, because its two halves call each other: what follows a number may be a calculation with numbers.

use std::str::FromStr;
use std::sync::LazyLock;

use regex::Regex;

use super::plain::{OPAQUE, THIN_SPACE, plain};
use crate::arithmetic;
use crate::rational::Rational;

/// Where a number stands, which decides what an exclamation mark means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// In a sentence: it ends it.
    Prose,
    /// In a formula: a factorial.
    Formula,
}

/// What may stand before a number without being part of it.
const OPENING: [char; 10] = ['*', '_', '`', '<', '"', '\'', '(', '[', ':', '“'];
/// What may stand after a number that is alone.
pub(super) const CLOSING: [char; 12] = ['*', '_', '`', '>', '"', '\'', ')', ']', '.', '%', '$', '”'];
/// Signs and names of currency, longest first where one begins another.
const CURRENCY: [&str; 34] = [
    "US$", "HK$", "NZ$", "CA$", "AU$", "A$", "C$", "R$", "S$", "$", "€", "£", "¥", "₹", "₩", "₽", "₺", "₫", "₦", "₱",
    "฿", "₴", "₪", "USD", "EUR", "GBP", "INR", "JPY", "CNY", "RMB", "CHF", "CAD", "AUD", "Rs",
];
/// Single letters that are units where they touch a number, as in `5g`. Others are variables.
const UNIT_LETTERS: &str = "gmlLhsdcpCFVWJN";
/// Signs that make a calculation or a range of a number and what follows it.
const OPERATORS: [char; 9] = ['+', '-', '–', '—', '*', '×', '/', '÷', '^'];

/// Words that multiply the number before them, and by what.
const MULTIPLIERS: [(&str, i64); 12] = [
    ("hundred", 100),
    ("thousand", 1_000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
    ("trillion", 1_000_000_000_000),
    ("bn", 1_000_000_000),
    ("mn", 1_000_000),
    ("lakh", 100_000),
    ("lakhs", 100_000),
    ("crore", 10_000_000),
    ("crores", 10_000_000),
    ("mln", 1_000_000),
];
/// Letters that multiply the number they touch.
const MULTIPLIER_LETTERS: [(char, i64); 10] = [
    ('k', 1_000),
    ('K', 1_000),
    ('M', 1_000_000),
    ('百', 100),
    ('千', 1_000),
    ('万', 10_000),
    ('萬', 10_000),
    ('만', 10_000),
    ('亿', 100_000_000),
    ('億', 100_000_000),
];

/// The number that a text begins with, where nothing that follows could change it.
pub(super) fn leading(text: &str, context: Context) -> Option<Rational> {
    let (answer, rest) = number(text)?;
    is_settled(rest, &answer, context).then_some(answer)
}

/// The number that a text begins with, and what follows it, whatever that is.
pub(super) fn number(text: &str) -> Option<(Rational, &str)> {
    let Sign { negative, currency, rest } = sign(text);
    let (mut value, mut rest) = numeral(rest)?;
    if let Some((scale, after)) = power_of_ten(rest) {
        (value, rest) = (value.checked_mul(&scale)?, after);
    } else if let Some((below, after)) = denominator(rest) {
        (value, rest) = (value.checked_div(&below)?, after);
    } else if let Some((fraction, after)) = mixed_fraction(&value, rest) {
        (value, rest) = (value.checked_add(&fraction)?, after);
    }
    while let Some((scale, after)) = multiplier(rest) {
        (value, rest) = (value.checked_mul(&scale)?, after);
    }
    // `$5m` is five million, or a slip.
    if currency && rest.strip_prefix(['m', 'b', 'B', 'T']).is_some_and(ends_word) {
        return None;
    }
    let value = if negative { Rational::from_integer(0).checked_sub(&value)? } else { value };
    Some((value, rest))
}

/// What stands before the digits of a number.
struct Sign<'a> {
    negative: bool,
    currency: bool,
    rest: &'a str,
}

/// Takes off what may stand before the digits.
fn sign(text: &str) -> Sign<'_> {
    let (mut signed, mut negative, mut currency) = (false, false, false);
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let name = CURRENCY.iter().find(|name| !currency && rest.starts_with(**name));
        if let Some(after) = rest.strip_prefix(['-', '+']).filter(|_| !signed) {
            (signed, negative, rest) = (true, rest.starts_with('-'), after);
        } else if let Some(after) = name.and_then(|name| rest.strip_prefix(name)) {
            // A name of letters is no beginning of a word.
            let after = after.strip_prefix('.').unwrap_or(after);
            if after.starts_with(char::is_alphabetic) {
                return Sign { negative, currency, rest };
            }
            (currency, rest) = (true, after);
        } else if let Some(after) = ["negative ", "minus "].iter().find_map(|word| rest.strip_prefix(word)) {
            if signed {
                return Sign { negative, currency, rest };
            }
            (signed, negative, rest) = (true, true, after);
        } else if let Some(after) = rest.strip_prefix(OPENING).filter(|_| !signed) {
            rest = after;
        } else if let Some(after) = rest.strip_prefix('$').filter(|_| !signed) {
            // `$$42$$` is a formula.
            rest = after;
        } else {
            return Sign { negative, currency, rest };
        }
    }
}

/// Digits with what groups them, and decimals; what follows. `None` where grouping is neither of thousands nor of lakhs, and
/// where a comma may be that of decimals.
fn numeral(text: &str) -> Option<(Rational, &str)> {
    let mut groups: Vec<&str> = Vec::new();
    let mut separators: Vec<char> = Vec::new();
    let mut rest = text;
    loop {
        let (group, after) = rest.split_at(digits(rest));
        groups.push(group);
        rest = after;
        let Some(separator) = rest.chars().next() else { break };
        let next = &rest[separator.len_utf8()..];
        let count = digits(next);
        let joins = match separator {
            ' ' | THIN_SPACE => {
                let began = separators.last().is_none_or(|before| *before == separator);
                began && count == 3 && !group.is_empty() && groups[0].len() <= 3
            }
            ',' | '.' | '\'' | '_' => count > 0,
            _ => false,
        };
        if !joins {
            break;
        }
        separators.push(separator);
        rest = next;
    }
    let (whole, decimals) = parts(&groups, &separators)?;
    // Words after groups that ordinary spaces hold together: "5 100 dollar bills" are five of them.
    if separators.contains(&' ') && rest.trim_start_matches([' ', THIN_SPACE]).starts_with(char::is_alphanumeric) {
        return None;
    }
    // A number with infinitely many decimals is incomplete.
    if !decimals.is_empty() && (rest.starts_with("..") || rest.starts_with(['…', OPAQUE])) {
        return None;
    }
    // As in `0.\overline{3}`.
    if rest.strip_prefix('.').is_some_and(|after| after.starts_with(OPAQUE)) {
        return None;
    }
    if rest.strip_prefix(':').is_some_and(|after| digits(after) > 0) {
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
    Some((Rational::from_fraction(numerator, denominator)?, rest))
}

/// The whole digits and the decimals of groups of digits and what stands between them.
fn parts<'a>(groups: &[&'a str], separators: &[char]) -> Option<(String, &'a str)> {
    let count = separators.len();
    let whole = |groups: &[&str], grouped: bool| grouped.then(|| groups.concat());
    let Some(&last) = separators.last() else { return (!groups[0].is_empty()).then(|| (groups[0].to_owned(), "")) };
    let grouping = &separators[..count - 1];
    let all = |separator: char| separators.iter().all(|other| *other == separator);
    match last {
        '.' if count == 1 => Some((groups[0].to_owned(), groups[1])),
        // 1.000.000
        '.' if all('.') => Some((whole(groups, in_thousands(groups))?, "")),
        // 1,234.50
        '.' if grouping.iter().all(|other| *other == grouping[0]) && grouping[0] != '.' => {
            Some((whole(&groups[..count], is_grouped(&groups[..count], grouping[0]))?, groups[count]))
        }
        // 1.234,56
        ',' if count > 1 && grouping.iter().all(|other| *other == '.') && groups[count].len() != 3 => {
            Some((whole(&groups[..count], in_thousands(&groups[..count]))?, groups[count]))
        }
        _ if all(last) => Some((whole(groups, is_grouped(groups, last))?, "")),
        _ => None,
    }
}

fn is_grouped(groups: &[&str], separator: char) -> bool {
    in_thousands(groups) || separator == ',' && in_lakhs(groups)
}

/// As 1,234,567.
fn in_thousands(groups: &[&str]) -> bool {
    (1..=3).contains(&groups[0].len()) && groups[0] != "0" && groups[1..].iter().all(|group| group.len() == 3)
}

/// As 12,34,567.
fn in_lakhs(groups: &[&str]) -> bool {
    let Some((last, first)) = groups.split_last() else { return false };
    first.len() > 1
        && (1..=2).contains(&first[0].len())
        && first[0] != "0"
        && first[1..].iter().all(|group| group.len() == 2)
        && last.len() == 3
}

fn push_digit(number: i128, digit: u8) -> Option<i128> {
    number.checked_mul(10)?.checked_add(i128::from(digit - b'0'))
}

/// How many ASCII digits a text begins with.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// The `e6` of `1e6`, the `× 10^6` of `5 × 10^6`.
fn power_of_ten(text: &str) -> Option<(Rational, &str)> {
    static POWER: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"^(?:[eE]|\s?(?:\*|×|[xX])\s?10\^)([-+]?\d{1,2})(?:$|[^\w.,^]|[.,](?:\D|$))"));
    let exponent = POWER.captures(text)?.get(1)?;
    let scale = 10_i128.checked_pow(exponent.as_str().trim_start_matches(['-', '+']).parse().ok()?)?;
    let scale = match exponent.as_str().starts_with('-') {
        true => Rational::from_fraction(1, scale)?,
        false => Rational::from_fraction(scale, 1)?,
    };
    Some((scale, &text[exponent.end()..]))
}

/// The `/ 4` of `3 / 4`.
fn denominator(text: &str) -> Option<(Rational, &str)> {
    let (below, rest) = numeral(text.trim_start().strip_prefix('/')?.trim_start())?;
    rest.trim_start().strip_prefix('/').is_none_or(|after| digits(after.trim_start()) == 0).then_some((below, rest))
}

/// The `1/2` of `7 1/2`, the `and a half` of `2 and a half`.
fn mixed_fraction<'a>(whole: &Rational, text: &'a str) -> Option<(Rational, &'a str)> {
    static WORDS: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"^\s+and\s+(?:(an?|one|two|three)\s+(half|halves|thirds?|quarters?|fourths?|fifths?)\b|\d+/\d+)")
    });
    if let Some(found) = WORDS.captures(text).filter(|_| whole.is_integer()) {
        let rest = &text[found.get(0)?.end()..];
        let Some(part) = found.get(2) else {
            let written = found.get(0)?.as_str().trim_start().strip_prefix("and")?;
            return proper_fraction(whole, written.trim_start()).map(|(fraction, _)| (fraction, rest));
        };
        let above = match &found[1] {
            "two" => 2,
            "three" => 3,
            _ => 1,
        };
        let below = match part.as_str().trim_end_matches('s') {
            "half" | "halve" => 2,
            "third" => 3,
            "quarter" | "fourth" => 4,
            _ => 5,
        };
        return (above < below).then(|| Some((Rational::from_fraction(above, below)?, rest)))?;
    }
    let after = text.strip_prefix([' ', THIN_SPACE])?;
    proper_fraction(whole, after.trim_start())
}

fn proper_fraction<'a>(whole: &Rational, text: &'a str) -> Option<(Rational, &'a str)> {
    let (above, rest) = numeral(text)?;
    let (below, rest) = denominator(rest)?;
    let is_proper = whole.is_integer() && above.is_integer() && below.is_integer() && above < below;
    Some((above.checked_div(&below)?, rest)).filter(|_| is_proper)
}

/// The word or letter that a text begins with where it multiplies the number before it.
fn multiplier(text: &str) -> Option<(Rational, &str)> {
    let by_letter = text.chars().next().and_then(|letter| {
        let (_, scale) = MULTIPLIER_LETTERS.into_iter().find(|(name, _)| *name == letter)?;
        let rest = &text[letter.len_utf8()..];
        // Units follow the numbers of Chinese and Korean without a space.
        let ends = if letter.is_ascii() { ends_word(rest) } else { digits(rest) == 0 };
        ends.then_some((Rational::from_integer(scale), rest))
    });
    by_letter.or_else(|| {
        let word = text.trim_start_matches([' ', THIN_SPACE]);
        let length = word.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (name, rest) = word.split_at(length);
        let (_, scale) = MULTIPLIERS.into_iter().find(|(multiplier, _)| name.eq_ignore_ascii_case(multiplier))?;
        ends_word(rest).then_some((Rational::from_integer(scale), rest))
    })
}

fn ends_word(rest: &str) -> bool {
    !rest.starts_with(|c: char| c.is_alphanumeric() || c == '^')
}

/// Whether what follows a number leaves it as it is.
fn is_settled(rest: &str, answer: &Rational, context: Context) -> bool {
    touches_nothing(rest, context) && clause_is_settled(rest, answer, context)
}

/// Whether what a number touches is a unit, a mark or nothing.
fn touches_nothing(rest: &str, context: Context) -> bool {
    let Some(first) = rest.chars().next() else { return true };
    let after = &rest[first.len_utf8()..];
    match first {
        '!' => context == Context::Prose,
        '^' | '√' | '±' | '+' | '…' | '|' | OPAQUE => false,
        '(' | '[' => digits(after) == 0,
        ':' => digits(after.trim_start()) == 0,
        'a'..='z' | 'A'..='Z' => {
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let after = &rest[letters..];
            // As 42m2, and no other digit touches a unit.
            let is_length = matches!(&rest[..letters], "m" | "cm" | "km" | "mm" | "ft" | "in" | "yd" | "mi");
            (letters > 1 || UNIT_LETTERS.contains(first)) && (digits(after) == 0 || is_length && digits(after) == 1)
        }
        // Greek letters are constants and variables.
        '\u{370}'..='\u{3FF}' => false,
        _ => true,
    }
}

/// Whether no second number, no operator and no word of calculation stands in the clause of a number, and no further answer
/// after it.
fn clause_is_settled(rest: &str, answer: &Rational, context: Context) -> bool {
    // What ends the clause: a full stop, a new line, a tag, a reason.
    static END: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r#"\n|[.!?:][*_`>"')\]”$]*(?:\s|$)|</|<\||\s(?:because|since)\b|[,;(=]|\s[-–—]\s+[A-Za-z]"#)
    });
    let mut rest = rest;
    loop {
        let clause = END.find(rest).map_or(rest, |found| &rest[..found.start()]);
        if !has_nothing_that_counts(clause, context) {
            return false;
        }
        let end = &rest[clause.len()..];
        let Some(mark) = end.chars().next() else { return true };
        let after = &end[mark.len_utf8()..];
        match mark {
            // A bracket explains, and the clause continues after it.
            '(' => {
                let (inside, after) = after.split_once(')').unwrap_or((after, ""));
                let is_number = number(inside).is_some_and(|(_, rest)| rest.trim().is_empty());
                if is_number || CHANGES.is_match(inside) {
                    return false;
                }
                rest = after;
            }
            ',' | ';' => return !goes_on(after),
            '=' => return equals(after, answer),
            '!' => return context == Context::Prose,
            // As in `3 : 1`.
            ':' => return number(after).is_none(),
            _ => return true,
        }
    }
}

/// Words in brackets that make another number of the one before them.
static CHANGES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)\b(?:or|mod|modulo|plus|minus|times|squared|dozens?|hundreds?|thousands?|millions?|billions?|k)\b")
});

/// Whether a clause after a number holds neither digits nor signs nor words that could change it.
fn has_nothing_that_counts(clause: &str, context: Context) -> bool {
    static WORDS: LazyLock<Regex> = LazyLock::new(|| {
        let numbers = "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve";
        let tens = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundreds?|thousands?|millions?|billions?|trillions?|lakhs?|crores?|mil|mill";
        let parts = "half|halves|dozens?|tenths?|hundredths?|thousandths?|and\\s+an?\\s+(?:third|quarter)";
        let operations =
            "squared|cubed|factorial|doubled|tripled|halved|plus|minus|divided|multiplied|mod|modulo|or|below\\s+zero";
        pattern(&format!(r"(?i)\b(?:(?:{numbers})(?:$|[^-\w])|(?:{tens}|{parts}|{operations})\b)"))
    });
    // A digit counts but in a unit, as in m^2 and CO2.
    static DIGIT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:^|[^A-Za-z^\d])\d"));
    // A letter of its own is a variable, but for articles and pronouns.
    static VARIABLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*([b-zB-HJ-Z])(?:$|[^\w.'])"));
    let signs = ['+', '×', '÷', '√', '±', '∞', '≈', '≠', '≤', '≥', '…', OPAQUE];
    let ends_formula = context == Context::Formula && clause.contains('!');
    // A star that touches a word or a number is emphasis.
    let ending = clause.trim_end().trim_end_matches('*');
    let emphasised = ending.len() < clause.trim_end().len() && !ending.ends_with(char::is_whitespace);
    let operates = !emphasised && clause.trim_end().ends_with(OPERATORS);
    let letter = VARIABLE.captures(clause).and_then(|found| found.get(1));
    let is_variable = letter.is_some_and(|letter| !UNIT_LETTERS.contains(letter.as_str()));
    !ends_formula
        && !operates
        && !clause.contains(signs)
        && ![" < ", " > "].iter().any(|comparison| clause.contains(comparison))
        && !DIGIT.is_match(clause)
        && !WORDS.is_match(clause)
        && !is_variable
}

/// Whether what stands after a comma or a semicolon is one more number of a list: `3, 4 and 5`, `3; 4`, `5, or 6`.
fn goes_on(text: &str) -> bool {
    static JOINED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)^\s*(?:and|or|plus|minus|to|then)\b[^.\n]*\d"));
    let list = number(text).is_some() || JOINED.is_match(text);
    list || text.trim_start().starts_with(OPAQUE) || text.trim_start().starts_with("or ")
}

/// Whether the text after an equals sign has the answer's value, so that it claims nothing else.
fn equals(text: &str, answer: &Rational) -> bool {
    let text = text.split(['\n', '=']).next().unwrap_or(text);
    let expression: String = text
        .trim()
        .trim_end_matches(CLOSING)
        .chars()
        .filter(|c| *c != '$')
        .map(|c| match c {
            '×' | 'x' => '*',
            '÷' => '/',
            other => other,
        })
        .collect();
    let worked = arithmetic::value(&expression, Rational::parse_number).or_else(|| leading(text, Context::Prose));
    worked.as_ref() == Some(answer)
}

impl Rational {
    /// Reads a text that is one number and nothing else, but for currency, a percent sign, marks of emphasis and a full
    /// stop: `-1,234.50`, `$3`, `3/4`, `1 1/2`, `**72**.`.
    pub fn parse_number(text: &str) -> Option<Rational> {
        let text = plain(text);
        let (answer, rest) = number(&text)?;
        rest.chars().all(|c| c.is_whitespace() || CLOSING.contains(&c)).then_some(answer)
    }
}

impl FromStr for Rational {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Rational> {
        Rational::parse_number(text).ok_or_else(|| anyhow::anyhow!("{text:?} is not a number"))
    }
}

impl TryFrom<String> for Rational {
    type Error = anyhow::Error;

    fn try_from(text: String) -> anyhow::Result<Rational> {
        text.parse()
    }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of this file")
}

#[cfg(test)]
mod tests;
