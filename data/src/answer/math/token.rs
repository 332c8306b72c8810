//! The tokens of LaTeX and of plain formulas. Independent of grammar.

use super::tree::{Function, Number, Relation};
use super::words::{self, Word};

/// One token.
#[derive(Clone, Debug)]
pub(super) enum Token {
    Number(Number),
    /// A variable: a letter, a Greek letter or another name.
    Symbol(String),
    Pi,
    E,
    I,
    Infinity,
    Function(Function),
    /// `\frac`, `\binom`, `\choose`, `\sqrt`, `\log`, an accent: a command with arguments.
    Command(&'static str),
    /// What stands in `\text{…}`, or a word.
    Text(String),
    /// A unit of measurement.
    Unit(String),
    /// `(`, `[`, `{` for a brace that is written, `f` and `c` for floor and ceiling.
    Open(char),
    Close(char),
    GroupOpen,
    GroupClose,
    Bar,
    /// A bar that says "such that".
    Mid,
    Comma,
    Semicolon,
    Colon,
    Plus,
    Minus,
    PlusMinus,
    MinusPlus,
    Times,
    Divide,
    Caret,
    Underscore,
    Bang,
    Percent,
    Degree,
    Prime,
    Relation(Relation),
    Union,
    Intersection,
    Without,
    Begin(String),
    End,
    Ampersand,
    NewRow,
    /// Space between numbers, which else would be one.
    Space,
    /// What is not understood.
    Unknown(String),
}

/// No answer has more.
const MAX_TOKENS: usize = 2000;

/// How far around a comma digits are looked at.
const MAX_RUN: usize = 100;

/// The tokens of a text; `None` if there are too many.
pub(super) fn tokens(text: &str) -> Option<Vec<Token>> {
    let chars: Vec<char> = text.chars().collect();
    let mut reader = Reader { chars: &chars, at: 0, tokens: Vec::new(), depth: 0 };
    while reader.at < reader.chars.len() {
        if reader.tokens.len() > MAX_TOKENS {
            return None;
        }
        reader.next();
    }
    Some(reader.tokens)
}

struct Reader<'a> {
    chars: &'a [char],
    at: usize,
    tokens: Vec<Token>,
    /// Brackets that are open.
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn push(&mut self, token: Token) {
        match token {
            Token::Open(_) => self.depth += 1,
            Token::Close(_) => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.tokens.push(token);
    }

    fn next(&mut self) {
        let Some(c) = self.peek(0) else { return };
        let digit_follows = self.peek(1).is_some_and(|c| c.is_ascii_digit());
        if c.is_ascii_digit() || c == '.' && digit_follows {
            return self.number();
        }
        if c.is_ascii_alphabetic() {
            return self.letters();
        }
        self.at += 1;
        use Relation::*;
        let equals_follows = self.peek(0) == Some('=');
        if equals_follows && matches!(c, '<' | '>' | '!' | '~') {
            self.at += 1;
            let relation = match c {
                '<' => LessOrEqual,
                '>' => GreaterOrEqual,
                '!' => NotEqual,
                _ => Approximately,
            };
            return self.push(Token::Relation(relation));
        }
        let token = match c {
            '\\' => return self.command(),
            '(' => Token::Open('('),
            '[' => Token::Open('['),
            ')' => Token::Close(')'),
            ']' => Token::Close(']'),
            '{' => Token::GroupOpen,
            '}' => Token::GroupClose,
            '|' => Token::Bar,
            ',' => Token::Comma,
            ';' => Token::Semicolon,
            ':' => Token::Colon,
            '+' => Token::Plus,
            '-' => Token::Minus,
            '*' => {
                if self.peek(0) == Some('*') {
                    self.at += 1;
                    Token::Caret
                } else {
                    Token::Times
                }
            }
            '/' => Token::Divide,
            '^' => Token::Caret,
            '_' => Token::Underscore,
            '!' => Token::Bang,
            '%' => Token::Percent,
            '\'' => Token::Prime,
            '=' => Token::Relation(Equal),
            '<' => Token::Relation(Less),
            '>' => Token::Relation(Greater),
            '&' => Token::Ampersand,
            // A tilde is a space of LaTeX.
            '~' => Token::Space,
            // A full stop that is no decimal point ends a sentence.
            '.' | '?' if self.rest_is_blank() => return,
            '.' | '?' | '"' | '`' => Token::Unknown(c.to_string()),
            c if c.is_whitespace() => Token::Space,
            c => Token::Unknown(c.to_string()),
        };
        self.push(token);
    }

    fn rest_is_blank(&self) -> bool {
        self.chars[self.at..].iter().all(|c| c.is_whitespace() || matches!(c, '.' | '}'))
    }

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
    fn number(&mut self) {
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
        let ten = super::field::Residue::from_integer(10);
        let nines = ten.power(period.len() as i64)?.minus(super::field::Residue::ONE);
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

    /// A run of letters without a backslash.
    fn letters(&mut self) {
        let run: String = self.chars[self.at..].iter().take_while(|c| c.is_ascii_alphabetic()).collect();
        self.at += run.len();
        let follows_value = matches!(
            self.tokens.iter().rev().find(|token| !matches!(token, Token::Space)),
            Some(Token::Number(_) | Token::GroupClose | Token::Close(_) | Token::Unit(_) | Token::Divide)
        );
        match words::word(&run, follows_value) {
            Word::Token(token) => self.push(token),
            Word::Letters => {
                for letter in run.chars() {
                    self.push(words::letter(letter));
                }
            }
        }
    }

    /// What a backslash begins.
    fn command(&mut self) {
        let Some(first) = self.peek(0) else { return };
        if !first.is_ascii_alphabetic() {
            self.at += 1;
            return match first {
                '{' => self.push(Token::Open('{')),
                '}' => self.push(Token::Close('}')),
                '|' => self.push(Token::Bar),
                '%' => self.push(Token::Percent),
                '\\' => self.push(Token::NewRow),
                ',' | ';' | ':' | ' ' | '>' | '\n' => self.push(Token::Space),
                // `\!` takes space away, `\(` and `\[` begin a formula.
                _ => {}
            };
        }
        let name: String = self.chars[self.at..].iter().take_while(|c| c.is_ascii_alphabetic()).collect();
        self.at += name.len();
        if matches!(self.peek(0), Some('*')) && name.starts_with("operatorname") {
            self.at += 1;
        }
        if words::TEXT_COMMANDS.contains(&name.as_str()) {
            if let Some(argument) = self.argument() {
                return self.text(&name, &argument);
            }
        }
        if matches!(name.as_str(), "begin" | "end") {
            let Some(environment) = self.argument() else { return };
            if environment == "array" && name == "begin" {
                // The columns.
                self.argument();
            }
            let environment = environment.trim_end_matches('*').to_owned();
            return self.push(if name == "begin" { Token::Begin(environment) } else { Token::End });
        }
        for token in words::command(&name) {
            self.push(token);
        }
    }

    /// What stands in braces from here on, spaces before it skipped.
    fn argument(&mut self) -> Option<String> {
        let blanks = self.chars[self.at..].iter().take_while(|c| c.is_whitespace()).count();
        if self.chars.get(self.at + blanks) != Some(&'{') {
            return None;
        }
        let begin = self.at + blanks + 1;
        let mut depth = 1_usize;
        for at in begin..self.chars.len() {
            match self.chars[at] {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.at = at + 1;
                return Some(self.chars[begin..at].iter().collect());
            }
        }
        None
    }

    /// What stands in `\text{…}`, `\mathrm{…}` and the like: a formula, a word that joins, a unit or words.
    fn text(&mut self, command: &str, argument: &str) {
        let follows_value =
            self.tokens.iter().any(|token| matches!(token, Token::Number(_) | Token::Pi | Token::Close(_)))
                || matches!(self.tokens.last(), Some(Token::Symbol(_) | Token::GroupClose));
        for token in words::text(command, argument, follows_value) {
            self.push(token);
        }
    }
}
