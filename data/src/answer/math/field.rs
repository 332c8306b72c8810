//! Arithmetic modulo a prime: exact identity tests for rational functions of any size, in bounded time. Independent of expressions.
//!
//! Two rational functions with rational coefficients that differ take different values at random points of a large field, up to
//! a probability of about degree / 2⁶¹ (Schwartz 1980, Zippel 1979). So a sum of a hundred digits or a power of a thousand costs
//! no more than a small one, and no digit is lost.

/// The largest prime below 2⁶¹ that is 1 modulo 4, so that -1 has a square root.
const PRIME: u64 = 2_305_843_009_213_693_921;
/// The lowest 61 bits.
const LOW_BITS: u128 = (1 << 61) - 1;
/// A square root of -1.
pub(super) const IMAGINARY_UNIT: Residue = Residue(583_529_827_753_931_384);

/// A number modulo the prime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Residue(u64);

impl Residue {
    pub(super) const ZERO: Residue = Residue(0);
    pub(super) const ONE: Residue = Residue(1);

    pub(super) fn from_integer(value: i64) -> Residue {
        Residue(i128::from(value).rem_euclid(i128::from(PRIME)) as u64)
    }

    /// A number that a key decides, as if it were random (Steele et al. 2014, SplitMix64).
    pub(super) fn from_key(key: u64) -> Residue {
        Residue(mix(key) % PRIME)
    }

    /// The number of a row of decimal digits.
    pub(super) fn from_digits(digits: &str) -> Residue {
        digits.bytes().fold(Residue::ZERO, |value, digit| {
            value.times(Residue(10)).plus(Residue(u64::from(digit.wrapping_sub(b'0')) % 10))
        })
    }

    pub(super) fn plus(self, other: Residue) -> Residue {
        Residue((self.0 + other.0) % PRIME)
    }

    pub(super) fn minus(self, other: Residue) -> Residue {
        Residue((self.0 + PRIME - other.0) % PRIME)
    }

    pub(super) fn times(self, other: Residue) -> Residue {
        // 2⁶¹ is 31 modulo the prime: what stands above the 61st bit comes back 31 times.
        let fold = |value: u128| (value & LOW_BITS) + 31 * (value >> 61);
        let folded = fold(fold(u128::from(self.0) * u128::from(other.0))) as u64;
        Residue(folded % PRIME)
    }

    /// self / other; `None` where `other` is 0.
    pub(super) fn over(self, other: Residue) -> Option<Residue> {
        (other != Residue::ZERO).then(|| self.times(other.raised(PRIME - 2)))
    }

    /// self to a whole power; `None` for a negative power of 0 and for 0⁰.
    pub(super) fn power(self, exponent: i64) -> Option<Residue> {
        if self == Residue::ZERO && exponent <= 0 {
            return None;
        }
        let magnitude = self.raised(exponent.unsigned_abs());
        if exponent < 0 { Residue::ONE.over(magnitude) } else { Some(magnitude) }
    }

    fn raised(self, mut exponent: u64) -> Residue {
        let (mut base, mut result) = (self, Residue::ONE);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = result.times(base);
            }
            base = base.times(base);
            exponent >>= 1;
        }
        result
    }

    /// A key for what is computed from this number.
    pub(super) fn key(self) -> u64 {
        self.0
    }
}

/// A key that is scattered over 64 bits (Steele et al. 2014, the finaliser of SplitMix64).
pub(super) fn mix(key: u64) -> u64 {
    let mut z = key.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A key of a text (Fowler, Noll and Vo, FNV-1a).
pub(super) fn key_of(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quotient_times_its_divisor_is_the_dividend() {
        let (seven, third) = (Residue::from_integer(7), Residue::from_integer(-3));
        assert_eq!(seven.over(third).unwrap().times(third), seven);
        assert_eq!(seven.over(Residue::ZERO), None);
    }

    #[test]
    fn the_imaginary_unit_squares_to_minus_one() {
        assert_eq!(IMAGINARY_UNIT.times(IMAGINARY_UNIT), Residue::from_integer(-1));
    }

    #[test]
    fn digits_and_integers_agree() {
        assert_eq!(Residue::from_digits("1234567890123"), Residue::from_integer(1_234_567_890_123));
        assert_eq!(Residue::from_integer(2).power(70), Residue::from_digits("1180591620717411303424").power(1));
        assert_eq!(Residue::from_integer(2).power(-1).unwrap().times(Residue::from_integer(2)), Residue::ONE);
    }
}
