//! What an answer is once it is read: expressions, and the lists, intervals, relations and matrices made of them. Independent of
//! how they are written.

use super::field::Residue;

/// An exact decimal number, not negative.
#[derive(Clone, Debug)]
pub(super) struct Number {
    /// Its value modulo the prime of [`Residue`].
    pub residue: Residue,
    /// Its value in double precision.
    pub value: f64,
    /// Its value, where it is whole and fits.
    pub integer: Option<i64>,
    /// Whether it was written with a decimal point: then it may be a rounded value.
    pub is_decimal: bool,
    /// Its digits and decimal point as written, without separators.
    pub digits: String,
}

/// A function with its number of arguments fixed by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Arccot,
    Sinh,
    Cosh,
    Tanh,
    Exp,
    Ln,
    /// Argument, base.
    Log,
    /// Radicand, index.
    Root,
    Abs,
    Floor,
    Ceiling,
    Factorial,
    /// n, k.
    Binomial,
    Max,
    Min,
    Gcd,
    Lcm,
}

/// An expression.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    Number(Number),
    Symbol(String),
    Pi,
    E,
    I,
    Infinity,
    Sum(Vec<Expr>),
    Product(Vec<Expr>),
    Negative(Box<Expr>),
    Quotient(Box<Expr>, Box<Expr>),
    Power(Box<Expr>, Box<Expr>),
    Call(Function, Vec<Expr>),
    Degrees(Box<Expr>),
    Percent(Box<Expr>),
}

/// How two sides are related.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Approximately,
    /// Any other sign, told apart by its name: `\subset`, `\equiv`, `\to`.
    Other(u64),
}

impl Relation {
    /// The relation read from the right.
    pub(super) fn flipped(self) -> Relation {
        match self {
            Relation::Less => Relation::Greater,
            Relation::LessOrEqual => Relation::GreaterOrEqual,
            Relation::Greater => Relation::Less,
            Relation::GreaterOrEqual => Relation::LessOrEqual,
            other => other,
        }
    }

    pub(super) fn is_inequality(self) -> bool {
        use Relation::*;
        matches!(self, Less | LessOrEqual | Greater | GreaterOrEqual | NotEqual)
    }
}

/// What stands between the values of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    Comma,
    And,
    Or,
}

/// What an answer is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Expr(Expr),
    /// A number in a base other than ten: its digits, and the base where it is given.
    Based {
        digits: String,
        base: u32,
    },
    /// In round or square brackets: a point, or an interval.
    Bracketed {
        items: Vec<Value>,
        left_closed: bool,
        right_closed: bool,
    },
    /// In braces: without order.
    Set(Vec<Value>),
    /// Several values with commas, "and" or "or" between them: without order.
    List {
        items: Vec<Value>,
        join: Join,
    },
    Union(Vec<Value>),
    Intersection(Vec<Value>),
    /// The first without the others.
    Difference(Vec<Value>),
    Chain {
        sides: Vec<Value>,
        relations: Vec<Relation>,
    },
    Matrix(Vec<Vec<Expr>>),
    /// a : b : c.
    Ratio(Vec<Expr>),
}

impl Expr {
    pub(super) fn integer(value: i64) -> Expr {
        let magnitude = value.unsigned_abs().to_string();
        let number = Number::from_digits(&magnitude, "").map_or(Expr::Infinity, Expr::Number);
        if value < 0 { Expr::Negative(Box::new(number)) } else { number }
    }

    pub(super) fn negative(self) -> Expr {
        Expr::Negative(Box::new(self))
    }

    /// self - other.
    pub(super) fn minus(&self, other: &Expr) -> Expr {
        Expr::Sum(vec![self.clone(), other.clone().negative()])
    }

    /// The parts it is made of.
    pub(super) fn parts(&self) -> Vec<&Expr> {
        match self {
            Expr::Sum(parts) | Expr::Product(parts) | Expr::Call(_, parts) => parts.iter().collect(),
            Expr::Negative(part) | Expr::Degrees(part) | Expr::Percent(part) => vec![part],
            Expr::Quotient(one, other) | Expr::Power(one, other) => vec![one, other],
            _ => Vec::new(),
        }
    }

    /// Whether it or a part of it is as said.
    pub(super) fn any(&self, is: &dyn Fn(&Expr) -> bool) -> bool {
        is(self) || self.parts().into_iter().any(|part| part.any(is))
    }

    /// Whether no variable stands in it.
    pub(super) fn is_constant(&self) -> bool {
        !self.any(&|part| matches!(part, Expr::Symbol(_)))
    }

    /// 1 for ∞, -1 for -∞.
    pub(super) fn infinity_sign(&self) -> Option<i8> {
        match self {
            Expr::Infinity => Some(1),
            Expr::Negative(part) => part.infinity_sign().map(|sign| -sign),
            _ => None,
        }
    }
}

impl Number {
    /// The number of digits before and after the point; `None` without any, or with more than 1,000.
    pub(super) fn from_digits(whole: &str, fraction: &str) -> Option<Number> {
        let is_empty = whole.is_empty() && fraction.is_empty();
        if is_empty || whole.len() + fraction.len() > 1000 {
            return None;
        }
        let scale = Residue::from_integer(10).power(fraction.len() as i64)?;
        let digits = format!("{whole}{fraction}");
        let value = format!(
            "{}.{}",
            if whole.is_empty() { "0" } else { whole },
            if fraction.is_empty() { "0" } else { fraction }
        );
        Some(Number {
            residue: Residue::from_digits(&digits).over(scale)?,
            value: value.parse().ok()?,
            integer: if fraction.is_empty() { whole.parse().ok() } else { None },
            is_decimal: !fraction.is_empty(),
            digits: if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") },
        })
    }

    /// This number times a power of ten.
    pub(super) fn scaled(mut self, exponent: i64) -> Option<Number> {
        self.residue = self.residue.times(Residue::from_integer(10).power(exponent)?);
        self.value *= 10f64.powi(i32::try_from(exponent).ok()?);
        let whole = self.value as i64;
        self.integer = (Residue::from_integer(whole) == self.residue).then_some(whole);
        self.is_decimal = true;
        Some(self)
    }
}

/// A number in a base below 37, where its digits allow it.
pub(super) fn in_base(digits: &str, base: i64) -> Option<i64> {
    let base = u32::try_from(base).ok().filter(|base| (2..=36).contains(base))?;
    i64::from_str_radix(digits, base).ok()
}
