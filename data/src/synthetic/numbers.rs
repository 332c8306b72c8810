//! The numbers of a problem: what they are, how large they are, and what each is drawn from. Independent of kinds.

use crate::rational::Rational;
use std::fmt;

/// A number of a story, in hundredths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(i64);

impl Number {
    pub(super) const fn whole(number: u32) -> Number {
        Number(100 * number as i64)
    }

    /// The nearest number to `numerator / denominator`, whose `denominator` is positive, and whether that is exact.
    fn nearest(numerator: i64, denominator: i64) -> (Number, bool) {
        let hundredths = (200 * numerator + denominator).div_euclid(2 * denominator);
        (Number(hundredths), hundredths * denominator == 100 * numerator)
    }

    /// What a calculation comes to, to two decimals, and whether that is exact; none for a division by zero.
    pub(super) fn calculate(self, operator: char, right: Number) -> Option<(Number, bool)> {
        match operator {
            '+' => Some((Number(self.0 + right.0), true)),
            '-' => Some((Number(self.0 - right.0), true)),
            '*' => Some(Number::nearest(self.0 * right.0, 100 * 100)),
            '/' if right.0 == 0 => None,
            '/' => Some(Number::nearest(self.0 * right.0.signum(), right.0.abs())),
            other => panic!("{other:?} is no operator"),
        }
    }

    pub(super) const fn is_whole(self) -> bool {
        self.0 % 100 == 0
    }

    pub(super) const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Its whole part, of a number that is not negative.
    pub(super) const fn floor(self) -> Number {
        Number(self.0 - self.0 % 100)
    }
}

impl From<Number> for Rational {
    fn from(number: Number) -> Rational {
        Rational::from_fraction(i128::from(number.0), 100).expect("a hundredth is no division by zero")
    }
}

impl fmt::Display for Number {
    /// `8`, `2.5`, `-3`, `3.33`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, rest) = (self.0.abs() / 100, self.0.abs() % 100);
        match (rest, rest % 10) {
            (0, _) => write!(formatter, "{sign}{whole}"),
            (_, 0) => write!(formatter, "{sign}{whole}.{}", rest / 10),
            _ => write!(formatter, "{sign}{whole}.{rest:02}"),
        }
    }
}

/// The results that a calculation may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Domain {
    pub(super) smallest: Number,
    pub(super) largest: Number,
    /// Numbers with two decimals beside whole ones.
    pub(super) decimals: bool,
    /// Numbers that are rounded to two decimals.
    pub(super) rounded: bool,
}

impl Domain {
    /// Whole numbers from `smallest` to `largest`.
    pub(super) const fn whole(smallest: u32, largest: u32) -> Domain {
        Domain { smallest: Number::whole(smallest), largest: Number::whole(largest), decimals: false, rounded: false }
    }

    /// Anything of up to two digits, to two decimals.
    pub(super) const fn any() -> Domain {
        Domain { smallest: Number(-9_999), largest: Number(9_999), decimals: true, rounded: true }
    }

    /// The same with as much below zero as above.
    pub(super) const fn with_negatives(self) -> Domain {
        Domain { smallest: Number(-self.largest.0), ..self }
    }

    pub(super) fn has(&self, number: Number, is_exact: bool) -> bool {
        (self.decimals || number.is_whole())
            && (self.rounded || is_exact)
            && (self.smallest..=self.largest).contains(&number)
    }
}

/// How large the numbers of a problem are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Magnitude {
    /// A calculation is remembered.
    Small,
    /// A calculation takes a carry now and then.
    Middle,
    /// A calculation takes more than is remembered.
    Large,
}

pub(super) const MAGNITUDES: [Magnitude; 3] = [Magnitude::Small, Magnitude::Middle, Magnitude::Large];

/// What a number in a question is drawn from, both ends included, by the magnitude of the problem's numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range(pub(super) [(u32, u32); 3]);

pub(super) const fn range(low: u32, high: u32) -> Range {
    Range([(low, high); 3])
}

impl Range {
    pub(super) const fn or_middle(self, low: u32, high: u32) -> Range {
        Range([self.0[0], (low, high), self.0[2]])
    }

    pub(super) const fn or_large(self, low: u32, high: u32) -> Range {
        Range([self.0[0], self.0[1], (low, high)])
    }
}
