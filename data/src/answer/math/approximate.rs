//! Complex numbers in double precision, each with a bound on its rounding error. Independent of expressions.
//!
//! The bound is carried along to first order (running error analysis, Higham 2002, section 3.3), so that a comparison can tell
//! numbers that are equal from numbers that are only near, and knows when cancellation has left too few digits to say.

/// The relative error of one operation, with a margin for functions of the standard library.
const ROUNDING: f64 = 4.0 * f64::EPSILON;

/// A complex number and a bound on its error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Approximation {
    pub re: f64,
    pub im: f64,
    pub error: f64,
}

/// What a comparison of two approximations says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closeness {
    /// They agree to the last digits.
    Equal,
    /// They differ by more than rounding.
    Different,
    /// Too few digits are left, or a value is not finite.
    Unknown,
}

impl Approximation {
    pub(super) fn real(value: f64) -> Self {
        Self { re: value, im: 0.0, error: f64::EPSILON * value.abs() }
    }

    /// A value computed from others with a given inherited error.
    fn rounded(re: f64, im: f64, inherited: f64) -> Self {
        Self { re, im, error: inherited + ROUNDING * re.hypot(im) }
    }

    pub(super) fn imaginary_unit() -> Self {
        Self { re: 0.0, im: 1.0, error: 0.0 }
    }

    pub(super) fn abs(self) -> f64 {
        self.re.hypot(self.im)
    }

    pub(super) fn is_finite(self) -> bool {
        self.re.is_finite() && self.im.is_finite() && self.error.is_finite()
    }

    /// Its real value, where the imaginary part is within the error of 0.
    pub(super) fn as_real(self) -> Option<f64> {
        (self.im.abs() <= 4.0 * self.error).then_some(self.re)
    }

    pub(super) fn negated(self) -> Self {
        Self { re: -self.re, im: -self.im, ..self }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self::rounded(self.re + other.re, self.im + other.im, self.error + other.error)
    }

    pub(super) fn times(self, other: Self) -> Self {
        let inherited = self.abs() * other.error + other.abs() * self.error + self.error * other.error;
        let rounding = ROUNDING * self.abs() * other.abs();
        Self {
            re: self.re * other.re - self.im * other.im,
            im: self.re * other.im + self.im * other.re,
            error: inherited + rounding,
        }
    }

    pub(super) fn over(self, other: Self) -> Self {
        let norm = other.re * other.re + other.im * other.im;
        let reciprocal =
            Self { re: other.re / norm, im: -other.im / norm, error: other.error / norm + ROUNDING / norm.sqrt() };
        self.times(reciprocal)
    }

    /// A function of this number: value, and bound of its derivative.
    fn mapped(self, (re, im): (f64, f64), derivative: f64) -> Self {
        Self::rounded(re, im, self.error * derivative)
    }

    pub(super) fn exp(self) -> Self {
        let scale = self.re.exp();
        self.mapped((scale * self.im.cos(), scale * self.im.sin()), scale)
    }

    /// The principal logarithm.
    pub(super) fn ln(self) -> Self {
        let size = self.abs();
        let value = Self { re: size.ln(), im: self.im.atan2(self.re), error: 0.0 };
        // Near 1 the logarithm is small and its absolute error is that of 1.
        Self { error: self.error / size + ROUNDING * (1.0 + value.abs()), ..value }
    }

    /// A whole power by repeated multiplication.
    pub(super) fn powi(self, exponent: i64) -> Self {
        let (mut base, mut result) = (self, Self::real(1.0));
        let mut left = exponent.unsigned_abs();
        while left > 0 {
            if left & 1 == 1 {
                result = result.times(base);
            }
            base = base.times(base);
            left >>= 1;
        }
        if exponent < 0 { Self::real(1.0).over(result) } else { result }
    }

    /// The principal power exp(exponent · ln self).
    pub(super) fn pow(self, exponent: Self) -> Self {
        if self.re == 0.0 && self.im == 0.0 {
            let zero = exponent.re > 0.0 && exponent.im == 0.0;
            return Self::real(if zero { 0.0 } else { f64::NAN });
        }
        if self.im == 0.0 && self.re > 0.0 && exponent.im == 0.0 {
            let value = self.re.powf(exponent.re);
            let inherited = value * (exponent.re.abs() * self.error / self.re + self.re.ln().abs() * exponent.error);
            return Self::rounded(value, 0.0, inherited);
        }
        self.ln().times(exponent).exp()
    }

    /// The principal square root.
    pub(super) fn sqrt(self) -> Self {
        let size = self.abs();
        if size <= self.error {
            return Self { re: 0.0, im: 0.0, error: (size + self.error).sqrt() };
        }
        let re = ((size + self.re) / 2.0).max(0.0).sqrt();
        let im = ((size - self.re) / 2.0).max(0.0).sqrt();
        let inherited = self.error / (2.0 * size.sqrt());
        Self::rounded(re, if self.im < 0.0 { -im } else { im }, inherited)
    }

    pub(super) fn sin(self) -> Self {
        let value = (self.re.sin() * self.im.cosh(), self.re.cos() * self.im.sinh());
        let mapped = self.mapped(value, self.im.cosh());
        Self { error: mapped.error + f64::EPSILON * self.re.abs(), ..mapped }
    }

    pub(super) fn cos(self) -> Self {
        let value = (self.re.cos() * self.im.cosh(), -self.re.sin() * self.im.sinh());
        let mapped = self.mapped(value, self.im.cosh());
        Self { error: mapped.error + f64::EPSILON * self.re.abs(), ..mapped }
    }

    /// arcsin z = -i ln(i z + √(1 - z²)).
    pub(super) fn asin(self) -> Self {
        if self.im == 0.0 && self.re.abs() <= 1.0 {
            let slope = 1.0 / (1.0 - self.re * self.re).max(self.error).max(f64::EPSILON).sqrt();
            return self.mapped((self.re.asin(), 0.0), slope);
        }
        let i = Self::imaginary_unit();
        let root = Self::real(1.0).plus(self.times(self).negated()).sqrt();
        i.times(self).plus(root).ln().times(i).negated()
    }

    pub(super) fn acos(self) -> Self {
        Self::real(std::f64::consts::FRAC_PI_2).plus(self.asin().negated())
    }

    /// arctan z = i/2 (ln(1 - i z) - ln(1 + i z)).
    pub(super) fn atan(self) -> Self {
        if self.im == 0.0 {
            return self.mapped((self.re.atan(), 0.0), 1.0);
        }
        let (i, one) = (Self::imaginary_unit(), Self::real(1.0));
        let product = i.times(self);
        let difference = one.plus(product.negated()).ln().plus(one.plus(product).ln().negated());
        i.times(Self::real(0.5)).times(difference)
    }

    /// The value of a step function: exact.
    pub(super) fn exactly(self) -> Self {
        Self { error: 0.0, ..self }
    }

    /// A value that many multiplications made from exact numbers.
    pub(super) fn relatively(self) -> Self {
        Self { error: 512.0 * f64::EPSILON * self.abs(), ..self }
    }

    /// Whether two numbers are one.
    pub(super) fn compare(self, other: Self) -> Closeness {
        if !self.is_finite() || !other.is_finite() {
            return Closeness::Unknown;
        }
        let error = self.error + other.error;
        let size = self.abs().max(other.abs());
        let distance = (self.re - other.re).hypot(self.im - other.im);
        if distance > 4.0 * error {
            Closeness::Different
        } else if error <= 1e-8 * size || error <= 1e-11 {
            Closeness::Equal
        } else {
            Closeness::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_not_equal() {
        let root = |value: f64| Approximation::real(value).sqrt();
        let product = root(2.0).times(root(3.0));
        assert_eq!(product.compare(root(6.0)), Closeness::Equal);
        assert_eq!(product.compare(root(6.0 + 1e-12)), Closeness::Different);
    }

    #[test]
    fn cancellation_leaves_nothing_to_compare() {
        let large = Approximation::real(1e17).plus(Approximation::real(1.0)).plus(Approximation::real(-1e17));
        assert_eq!(large.compare(Approximation::real(0.5)), Closeness::Unknown);
        assert_eq!(Approximation::real(f64::INFINITY).compare(Approximation::real(f64::INFINITY)), Closeness::Unknown);
    }

    #[test]
    fn inverse_functions_undo_functions() {
        for (re, im) in [(0.3, 0.0), (0.3, 0.4), (-0.7, 0.2)] {
            let z = Approximation { re, im, error: 0.0 };
            for round_trip in [z.sin().asin(), z.cos().acos(), z.exp().ln(), z.sqrt().times(z.sqrt())] {
                let found = if re < 0.0 { round_trip.abs() } else { round_trip.re };
                let wanted = if re < 0.0 { z.abs() } else { re };
                assert!((found - wanted).abs() < 1e-12, "{z:?} {round_trip:?}");
            }
            assert_eq!(z.atan().sin().over(z.atan().cos()).compare(z), Closeness::Equal);
        }
    }
}
