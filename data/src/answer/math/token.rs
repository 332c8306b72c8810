//! The kinds of tokens that formulas are made of. Independent of how they are written and of grammar.

use super::tree::{Function, Number, Relation};

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
