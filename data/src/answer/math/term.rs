//! The grammar of expressions: tokens become a tree. Independent of lists, relations and intervals.
//!
//! A product without a sign binds more tightly than a slash (`1/2x` is 1/(2x)), as in Math-Verify. A whole number before a proper
//! fraction is a mixed number. `f(x)` reads as a product, `f(0)` as a name: two answers are
//! read in the same way, so that nothing is lost.

mod function;

use super::canonical::canonical;
use super::token::Token;
use super::tree::{Expr, Function, in_base};

/// How deep brackets, powers and signs may be nested.
pub(super) const MAX_DEPTH: usize = 40;
/// How many divisions a term may have, and how many powers, factorials and the like a factor.
const MAX_CHAIN: usize = 20;

/// The expression that all the tokens make; `None` where they make none.
pub(super) fn expression(tokens: &[Token]) -> Option<Expr> {
    let mut parser = Parser { tokens, at: 0, depth: 0, bars: 0 };
    let above = parser.sum()?;
    let expr = if parser.accept(|token| matches!(token, Token::Command("choose"))) {
        Expr::Call(Function::Binomial, vec![above, parser.sum()?])
    } else {
        above
    };
    (parser.at == tokens.len()).then_some(expr)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    /// Absolute values that are open.
    bars: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self) -> Option<&Token> {
        let token = self.tokens.get(self.at);
        self.at += 1;
        token
    }

    fn accept(&mut self, is: impl Fn(&Token) -> bool) -> bool {
        let accepted = self.peek().is_some_and(is);
        self.at += usize::from(accepted);
        accepted
    }

    /// Runs a part of the grammar one level deeper.
    fn deeper<T>(&mut self, part: impl Fn(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let result = part(self);
        self.depth -= 1;
        result
    }

    fn sum(&mut self) -> Option<Expr> {
        self.deeper(|parser| {
            let mut terms = vec![parser.signed_term()?];
            while matches!(parser.peek(), Some(Token::Plus | Token::Minus)) {
                terms.push(parser.signed_term()?);
            }
            if terms.len() == 1 { terms.pop() } else { Some(Expr::Sum(terms)) }
        })
    }

    /// A term with the signs before it.
    fn signed_term(&mut self) -> Option<Expr> {
        let negative = self.signs();
        let term = self.term(false)?;
        Some(if negative { term.negative() } else { term })
    }

    /// Whether the signs from here on make a minus.
    fn signs(&mut self) -> bool {
        let mut negative = false;
        while let Some(token @ (Token::Plus | Token::Minus)) = self.peek() {
            negative ^= matches!(token, Token::Minus);
            self.at += 1;
        }
        negative
    }

    /// Factors with and without signs of multiplication between them; as the argument of a function it ends at another one.
    fn term(&mut self, is_argument: bool) -> Option<Expr> {
        let mut term = self.juxtaposed(is_argument)?;
        let mut divisions = 0;
        while divisions < MAX_CHAIN {
            let divides = match self.peek() {
                Some(Token::Times) if !is_argument => false,
                Some(Token::Divide) => true,
                _ => return Some(term),
            };
            self.at += 1;
            let negative = self.signs();
            let factor = self.juxtaposed(is_argument)?;
            let factor = if negative { factor.negative() } else { factor };
            term = match (divides, term) {
                (true, term) => {
                    divisions += 1;
                    Expr::Quotient(Box::new(term), Box::new(factor))
                }
                (false, Expr::Product(mut factors)) => {
                    factors.push(factor);
                    Expr::Product(factors)
                }
                (false, term) => Expr::Product(vec![term, factor]),
            };
        }
        None
    }

    fn juxtaposed(&mut self, is_argument: bool) -> Option<Expr> {
        if let Some(mixed) = self.mixed_number() {
            return Some(mixed);
        }
        let mut factors = vec![self.factor()?];
        while let Some(token) = self.peek() {
            let begins = match token {
                Token::Number(_) => !matches!(self.tokens.get(self.at.wrapping_sub(1)), Some(Token::Number(_))),
                Token::Function(_) => !is_argument,
                Token::Command(name) => !(is_argument && matches!(*name, "log" | "lg")) && *name != "choose",
                Token::Bar => self.bars == 0,
                Token::Open(kind) => *kind != '{',
                Token::Symbol(_) | Token::Pi | Token::E | Token::I | Token::Infinity | Token::GroupOpen => true,
                _ => false,
            };
            if !begins {
                break;
            }
            factors.push(self.factor()?);
        }
        if factors.len() == 1 { factors.pop() } else { Some(Expr::Product(factors)) }
    }

    /// `3\frac{1}{2}` and `3 1/2`.
    fn mixed_number(&mut self) -> Option<Expr> {
        let from = self.at;
        let mixed = self.try_mixed_number();
        if mixed.is_none() {
            self.at = from;
        }
        mixed
    }

    fn try_mixed_number(&mut self) -> Option<Expr> {
        let integer = |token: Option<&Token>| match token {
            Some(Token::Number(number)) => number.integer,
            _ => None,
        };
        let whole = integer(self.take())?;
        let (above, below) = if self.accept(|token| matches!(token, Token::Command("frac"))) {
            let mut argument = || {
                let grouped = self.accept(|token| matches!(token, Token::GroupOpen));
                let value = integer(self.take())?;
                (!grouped || self.accept(|token| matches!(token, Token::GroupClose))).then_some(value)
            };
            (argument()?, argument()?)
        } else {
            let above = integer(self.take())?;
            self.accept(|token| matches!(token, Token::Divide)).then_some(())?;
            (above, integer(self.take())?)
        };
        if above >= below || matches!(self.peek(), Some(Token::Caret | Token::Bang)) {
            return None;
        }
        let fraction = Expr::Quotient(Box::new(Expr::integer(above)), Box::new(Expr::integer(below)));
        Some(Expr::Sum(vec![Expr::integer(whole), fraction]))
    }

    /// An atom with its powers, factorials, signs of percent and degrees.
    fn factor(&mut self) -> Option<Expr> {
        let mut factor = self.atom()?;
        for _ in 0..MAX_CHAIN {
            factor = match self.peek() {
                Some(Token::Caret) => {
                    self.at += 1;
                    match self.exponent()? {
                        Exponent::Degree => Expr::Degrees(Box::new(factor)),
                        Exponent::Prime => primed(factor)?,
                        Exponent::Power(exponent) => Expr::Power(Box::new(factor), Box::new(exponent)),
                    }
                }
                Some(Token::Bang) => {
                    self.at += 1;
                    Expr::Call(Function::Factorial, vec![factor])
                }
                Some(Token::Percent) => {
                    self.at += 1;
                    Expr::Percent(Box::new(factor))
                }
                Some(Token::Degree) => {
                    self.at += 1;
                    Expr::Degrees(Box::new(factor))
                }
                Some(Token::Prime) => {
                    self.at += 1;
                    primed(factor)?
                }
                _ => return Some(factor),
            };
        }
        None
    }

    fn exponent(&mut self) -> Option<Exponent> {
        if self.accept(|token| matches!(token, Token::Degree)) {
            return Some(Exponent::Degree);
        }
        if self.accept(|token| matches!(token, Token::Prime)) {
            return Some(Exponent::Prime);
        }
        let group = &self.tokens[self.at.min(self.tokens.len())..];
        if let [Token::GroupOpen, mark @ (Token::Degree | Token::Prime), Token::GroupClose, ..] = group {
            let exponent = if matches!(mark, Token::Degree) { Exponent::Degree } else { Exponent::Prime };
            self.at += 3;
            return Some(exponent);
        }
        self.deeper(|parser| {
            let negative = parser.signs();
            let mut exponent = parser.atom()?;
            if parser.accept(|token| matches!(token, Token::Caret)) {
                let Exponent::Power(next) = parser.exponent()? else { return None };
                exponent = Expr::Power(Box::new(exponent), Box::new(next));
            }
            Some(Exponent::Power(if negative { exponent.negative() } else { exponent }))
        })
    }

    fn atom(&mut self) -> Option<Expr> {
        match self.take()?.clone() {
            Token::Number(number) => match self.subscript() {
                Subscript::None => Some(Expr::Number(number)),
                Subscript::Number(base) => in_base(&number.digits, base).map(Expr::integer),
                Subscript::Other(_) => None,
            },
            Token::Symbol(name) => Some(Expr::Symbol(match self.subscript() {
                // `f(0)` is no product.
                Subscript::None if names_function(&name) => match self.tokens.get(self.at..self.at + 3) {
                    Some([Token::Open('('), Token::Number(number), Token::Close(')')]) => {
                        self.at += 3;
                        format!("{name}({})", number.digits)
                    }
                    _ => name,
                },
                Subscript::None => name,
                Subscript::Number(index) => format!("{name}_{index}"),
                Subscript::Other(index) => format!("{name}_{index}"),
            })),
            Token::Pi => Some(Expr::Pi),
            Token::E => Some(Expr::E),
            Token::I => Some(Expr::I),
            Token::Infinity => Some(Expr::Infinity),
            Token::GroupOpen => self.inside(|token| matches!(token, Token::GroupClose)),
            Token::Open('f') => self.rounded(Function::Floor),
            Token::Open('c') => self.rounded(Function::Ceiling),
            Token::Open('(' | '[') => {
                let bars = std::mem::take(&mut self.bars);
                let inner = self.inside(|token| matches!(token, Token::Close(')' | ']')));
                self.bars = bars;
                inner
            }
            Token::Bar => {
                self.bars += 1;
                let inner = self.inside(|token| matches!(token, Token::Bar));
                self.bars -= 1;
                Some(Expr::Call(Function::Abs, vec![inner?]))
            }
            Token::Function(function) => self.deeper(|parser| parser.call(function)),
            Token::Command(name) => self.deeper(|parser| parser.command(name)),
            _ => None,
        }
    }

    fn inside(&mut self, closes: impl Fn(&Token) -> bool) -> Option<Expr> {
        let inner = self.sum()?;
        if self.accept(|token| matches!(token, Token::Command("choose"))) {
            let below = self.sum()?;
            return self.accept(closes).then_some(Expr::Call(Function::Binomial, vec![inner, below]));
        }
        self.accept(closes).then_some(inner)
    }

    fn rounded(&mut self, function: Function) -> Option<Expr> {
        let inner = self.inside(|token| matches!(token, Token::Close('f' | 'c')))?;
        Some(Expr::Call(function, vec![inner]))
    }

    fn subscript(&mut self) -> Subscript {
        if !self.accept(|token| matches!(token, Token::Underscore)) {
            return Subscript::None;
        }
        let from = self.at;
        if self.accept(|token| matches!(token, Token::GroupOpen)) {
            let mut depth = 1;
            while depth > 0 {
                match self.take() {
                    Some(Token::GroupOpen) => depth += 1,
                    Some(Token::GroupClose) => depth -= 1,
                    Some(_) => {}
                    None => return Subscript::Other(String::new()),
                }
            }
        } else {
            self.at += 1;
        }
        let content = &self.tokens[from.min(self.tokens.len())..self.at.min(self.tokens.len())];
        match content {
            [Token::Number(number)] | [Token::GroupOpen, Token::Number(number), Token::GroupClose] => {
                number.integer.map_or(Subscript::Other(number.digits.clone()), Subscript::Number)
            }
            [Token::GroupOpen, inner @ .., Token::GroupClose] => Subscript::Other(canonical(inner)),
            other => Subscript::Other(canonical(other)),
        }
    }

    /// One argument of a command: a group, or one token.
    fn argument(&mut self) -> Option<Expr> {
        self.atom()
    }
}

enum Exponent {
    Power(Expr),
    Degree,
    Prime,
}

enum Subscript {
    None,
    Number(i64),
    Other(String),
}

/// Whether a letter before a number in brackets is a function.
fn names_function(name: &str) -> bool {
    matches!(name, "f" | "g" | "h") || name.len() == 1 && name.chars().all(char::is_uppercase)
}

/// A name with a prime.
fn primed(expr: Expr) -> Option<Expr> {
    match expr {
        Expr::Symbol(name) => Some(Expr::Symbol(format!("{name}'"))),
        _ => None,
    }
}
