//! Numbers as tokens: groups of digits, decimals, repeating decimals and powers of ten.

use super::{MAX_RUN, Reader};
use crate::answer::math::field::Residue;
use crate::answer::math::token::Token;
use crate::answer::math::tree::Number;

impl Reader<'_> {
    /// A run of digits; `self.at` moves behind it.
    fn digits(&mut self) -> String {
        let mut digits = String::new();
        while let Some(c) = self.peek(0).filter(char::is_ascii_digit) {
            digits.push(c);
            self.at += 1;
        }
        digits
    }

    /// A number: digits in groups of three or not, with a decimal point, a repeating end or a power of ten.
    pub(super) fn number(&mut self) {
        if self.takes_one_digit() {
            let digit: String = self.peek(0).into_iter().collect();
            self.at += 1;
            return self.push(Number::from_digits(&digit, "").map_or(Token::Unknown(digit), Token::Number));
        }
        let mut whole = self.digits();
        if (1..=3).contains(&whole.len()) && !whole.starts_with('0') {
            while let Some(length) = self.group_separator() {
                self.at += length;
                whole.push_str(&self.digits());
            }
        }
        let mut fraction = String::new();
        if self.peek(0) == Some('.') && (self.peek(1).is_some_and(|c| c.is_ascii_digit())) {
            self.at += 1;
            fraction = self.digits();
        }
        if let Some(token) = self.repeating(&whole, &fraction) {
            return self.push(token);
        }
        let mut number = Number::from_digits(&whole, &fraction);
        if let Some(exponent) = self.power_of_ten() {
            number = number.and_then(|number| number.scaled(exponent));
        }
        self.push(match number {
            Some(number) => Token::Number(number),
            None => Token::Unknown(format!("{whole}.{fraction}")),
        });
    }

    /// Whether an argument without braces is due, as in `\frac12` and `\sqrt2`: then LaTeX takes one digit.
    fn takes_one_digit(&self) -> bool {
        if self.peek(0) == Some('.') {
            return false;
        }
        let mut before = self.tokens.iter().rev().filter(|token| !matches!(token, Token::Space));
        let is_fraction = |token: Option<&Token>| matches!(token, Some(Token::Command("frac" | "binom")));
        match before.next() {
            Some(Token::Command("frac" | "binom" | "sqrt")) => true,
            Some(Token::Underscore) => matches!(before.next(), Some(Token::Command("log"))),
            Some(Token::GroupClose) => {
                let mut depth = 1_usize;
                for token in before.by_ref().take(400) {
                    match token {
                        Token::GroupClose => depth += 1,
                        Token::GroupOpen => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
                depth == 0 && is_fraction(before.next())
            }
            // The first argument was one token without braces.
            Some(Token::GroupOpen) | None => false,
            Some(_) => is_fraction(before.next()),
        }
    }

    /// The length of what separates a group of three digits from the digits before it, if a group follows.
    fn group_separator(&self) -> Option<usize> {
        let rest = &self.chars[self.at..];
        let length = rest.iter().take(12).take_while(|c| !c.is_ascii_digit()).count();
        let group = rest[length..].iter().take_while(|c| c.is_ascii_digit()).count();
        let separator: String = rest[..length].iter().filter(|c| **c != ' ').collect();
        let is_spaced = rest[..length].contains(&' ');
        let separates = match separator.as_str() {
            // `1, 234` are two numbers.
            "," => !is_spaced && self.depth == 0 && self.is_grouped_run(),
            "" => length == 1,
            "\\" => length == 2,
            "{,}" | "{,}\\!" | "\\," | "\\;" | "\\:" | ",\\!" | "\\!," => true,
            _ => false,
        };
        (group == 3 && separates).then_some(length)
    }

    /// Whether the digits and commas around here are groups of three and not a list of numbers.
    fn is_grouped_run(&self) -> bool {
        let belongs = |c: &char| c.is_ascii_digit() || *c == ',';
        // No number has more digits.
        let before = self.chars[..self.at].iter().rev().take(MAX_RUN).take_while(|c| belongs(c)).count();
        let after = self.chars[self.at..].iter().take(MAX_RUN).take_while(|c| belongs(c)).count();
        let run: String = self.chars[self.at - before..self.at + after].iter().collect();
        let mut groups = run.trim_matches(',').split(',');
        groups.next().is_some_and(|first| (1..=3).contains(&first.len())) && groups.all(|group| group.len() == 3)
    }

    /// `0.\overline{3}`: digits that repeat for ever, as a fraction.
    fn repeating(&mut self, whole: &str, fraction: &str) -> Option<Token> {
        let rest: String = self.chars[self.at..].iter().take(200).collect();
        let separator = if rest.starts_with('.') && fraction.is_empty() { "." } else { "" };
        let after =
            rest[separator.len()..].strip_prefix("\\overline{").or(rest[separator.len()..].strip_prefix("\\bar{"))?;
        let (period, _) = after.split_once('}')?;
        if period.is_empty()
            || !period.bytes().all(|c| c.is_ascii_digit())
            || separator.is_empty() && fraction.is_empty()
        {
            return None;
        }
        // (all digits - the digits before the period) / (10^a (10^b - 1)) = x.
        let before = Number::from_digits(whole, fraction)?;
        let once = Number::from_digits(period, "")?;
        let ten = Residue::from_integer(10);
        let nines = ten.power(period.len() as i64)?.minus(Residue::ONE);
        let shift = ten.power(fraction.len() as i64)?;
        let value =
            before.value + once.value / (10f64.powi(period.len() as i32) - 1.0) / 10f64.powi(fraction.len() as i32);
        let residue = before.residue.plus(once.residue.over(nines.times(shift))?);
        self.at += separator.len() + (rest.len() - separator.len() - after.len()) + period.len() + 1;
        let digits = format!("{whole}.{fraction}({period})");
        Some(Token::Number(Number { residue, value, integer: None, is_decimal: false, digits }))
    }

    /// `e-3` right behind the digits of a number.
    fn power_of_ten(&mut self) -> Option<i64> {
        if !matches!(self.peek(0), Some('e' | 'E')) {
            return None;
        }
        let sign = self.peek(1).filter(|c| matches!(c, '+' | '-'));
        let from = self.at + 1 + usize::from(sign.is_some());
        let digits: String = self.chars[from..].iter().take_while(|c| c.is_ascii_digit()).take(4).collect();
        let after = self.chars.get(from + digits.len());
        if digits.is_empty() || digits.len() > 3 || after.is_some_and(|c| c.is_alphanumeric()) {
            return None;
        }
        self.at = from + digits.len();
        let size: i64 = digits.parse().ok()?;
        Some(if sign == Some('-') { -size } else { size })
    }
}
