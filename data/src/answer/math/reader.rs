//! Reads the tokens of LaTeX and of plain formulas. Independent of grammar.

mod number;

use super::token::Token;
use super::tree::Relation;
use super::words::{self, Text, Word};

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
        if words::TEXT_COMMANDS.contains(&name.as_str())
            && let Some(argument) = self.argument()
        {
            return self.text(&name, &argument);
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
        let read = match words::text(command, argument, follows_value) {
            Text::Tokens(tokens) => tokens,
            Text::Formula(formula) => tokens(&formula).unwrap_or_default(),
        };
        for token in read {
            self.push(token);
        }
    }
}
