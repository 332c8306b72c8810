//! Commands and functions with their arguments: fractions, roots, logarithms, sines, accents. Part of the grammar of expressions.

use super::super::canonical::canonical;
use super::{Exponent, Parser, Subscript};
use crate::answer::math::token::Token;
use crate::answer::math::tree::{Expr, Function};

impl Parser<'_> {
    pub(super) fn command(&mut self, name: &str) -> Option<Expr> {
        match name {
            "frac" => {
                let (above, below) = (self.argument()?, self.argument()?);
                Some(Expr::Quotient(Box::new(above), Box::new(below)))
            }
            "binom" => {
                let (above, below) = (self.argument()?, self.argument()?);
                Some(Expr::Call(Function::Binomial, vec![above, below]))
            }
            "sqrt" => {
                let index = if self.accept(|token| matches!(token, Token::Open('['))) {
                    let index = self.sum()?;
                    self.accept(|token| matches!(token, Token::Close(']'))).then_some(index)?
                } else {
                    Expr::integer(2)
                };
                let radicand = self.argument()?;
                Some(Expr::Call(Function::Root, vec![radicand, index]))
            }
            "log" | "lg" => {
                let base = match self.peek() {
                    Some(Token::Underscore) if name == "log" => {
                        self.at += 1;
                        self.argument()?
                    }
                    _ => Expr::integer(10),
                };
                self.applied(|argument| Expr::Call(Function::Log, vec![argument, base.clone()]))
            }
            "overline" | "underline" | "vec" | "hat" | "tilde" | "dot" | "ddot" => {
                let from = self.at;
                self.argument()?;
                let content = canonical(&self.tokens[from..self.at]);
                let index = match self.subscript() {
                    Subscript::None => String::new(),
                    Subscript::Number(index) => format!("_{index}"),
                    Subscript::Other(index) => format!("_{index}"),
                };
                Some(Expr::Symbol(format!("{name} {content}{index}")))
            }
            _ => None,
        }
    }

    pub(super) fn call(&mut self, function: Function) -> Option<Expr> {
        if matches!(function, Function::Max | Function::Min | Function::Gcd | Function::Lcm) {
            self.accept(|token| matches!(token, Token::Open('(' | '{'))).then_some(())?;
            let mut arguments = vec![self.sum()?];
            while self.accept(|token| matches!(token, Token::Comma)) {
                arguments.push(self.sum()?);
            }
            self.accept(|token| matches!(token, Token::Close(_))).then_some(())?;
            return Some(Expr::Call(function, arguments));
        }
        // `\sin^{-1} x` is the inverse function.
        let inverse = match function {
            Function::Sin => Some(Function::Arcsin),
            Function::Cos => Some(Function::Arccos),
            Function::Tan => Some(Function::Arctan),
            Function::Cot => Some(Function::Arccot),
            _ => None,
        };
        let rest = &self.tokens[self.at.min(self.tokens.len())..];
        if let (
            [Token::Caret, Token::GroupOpen, Token::Minus, Token::Number(one), Token::GroupClose, ..],
            Some(inverse),
        ) = (rest, inverse)
            && one.integer == Some(1)
        {
            self.at += 5;
            return self.applied(|argument| Expr::Call(inverse, vec![argument]));
        }
        self.applied(|argument| Expr::Call(function, vec![argument]))
    }

    /// A function of what follows, to the power that stands before the argument.
    fn applied(&mut self, call: impl Fn(Expr) -> Expr) -> Option<Expr> {
        let power = if self.accept(|token| matches!(token, Token::Caret)) {
            let Exponent::Power(power) = self.exponent()? else { return None };
            Some(power)
        } else {
            None
        };
        let is_bracketed = matches!(self.peek(), Some(Token::Open('(' | '[')));
        let argument = if is_bracketed {
            self.atom()?
        } else {
            let negative = self.signs();
            let argument = self.deeper(|parser| parser.term(true))?;
            if negative { argument.negative() } else { argument }
        };
        let value = call(argument);
        Some(match power {
            Some(power) => Expr::Power(Box::new(value), Box::new(power)),
            None => value,
        })
    }
}
