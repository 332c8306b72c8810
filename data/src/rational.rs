//! An exact rational number. Independent of how numbers are written.

use std::fmt;

use num_rational::Ratio;
use serde::{Deserialize, Serialize};

/// An exact rational number, in lowest terms.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rational(Ratio<i128>);

impl Rational {
    /// A whole number.
    pub fn from_integer(value: i64) -> Rational {
        Rational(Ratio::from_integer(i128::from(value)))
    }

    /// Whether it is a whole number.
    pub fn is_integer(&self) -> bool {
        self.0.is_integer()
    }

    /// Numerator, with the sign, and denominator, greater than 0, in lowest terms.
    pub fn as_fraction(&self) -> (i128, i128) {
        (*self.0.numer(), *self.0.denom())
    }

    /// numerator / denominator; `None` for a denominator of 0.
    pub fn from_fraction(numerator: i128, denominator: i128) -> Option<Rational> {
        // The smallest i128 has no negative, and reducing a fraction may negate.
        let safe = denominator != 0 && numerator != i128::MIN && denominator != i128::MIN;
        safe.then(|| Rational(Ratio::new(numerator, denominator)))
    }

    /// What one of `+ - * /` makes of two numbers; `None` where it does not fit, and of a division by 0.
    pub(crate) fn checked(&self, operator: char, other: &Rational) -> Option<Rational> {
        match operator {
            '+' => self.checked_add(other),
            '-' => self.checked_sub(other),
            '*' => self.checked_mul(other),
            _ => self.checked_div(other),
        }
    }

    /// self + other, or `None` where it does not fit.
    pub fn checked_add(&self, other: &Rational) -> Option<Rational> {
        let ((a, b), (c, d)) = (self.as_fraction(), other.as_fraction());
        Rational::from_fraction(a.checked_mul(d)?.checked_add(c.checked_mul(b)?)?, b.checked_mul(d)?)
    }

    /// self - other, or `None` where it does not fit.
    pub fn checked_sub(&self, other: &Rational) -> Option<Rational> {
        self.checked_add(&Rational(-other.0))
    }

    /// self * other, or `None` where it does not fit.
    pub fn checked_mul(&self, other: &Rational) -> Option<Rational> {
        let ((a, b), (c, d)) = (self.as_fraction(), other.as_fraction());
        Rational::from_fraction(a.checked_mul(c)?, b.checked_mul(d)?)
    }

    /// self / other, or `None` where it does not fit or `other` is 0.
    pub fn checked_div(&self, other: &Rational) -> Option<Rational> {
        let ((a, b), (c, d)) = (self.as_fraction(), other.as_fraction());
        Rational::from_fraction(a.checked_mul(d)?, b.checked_mul(c)?)
    }
}

impl fmt::Display for Rational {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl From<Rational> for String {
    fn from(answer: Rational) -> String {
        answer.to_string()
    }
}
