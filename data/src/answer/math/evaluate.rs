//! Values of expressions: exactly modulo a prime, and approximately as complex numbers, where each variable has a pseudo-random
//! value. Independent of how expressions are compared.

use std::f64::consts::PI;

use super::approximate::Approximation;
use super::field::{IMAGINARY_UNIT, Residue, key_of, mix};
use super::tree::{Expr, Function};

/// The largest number whose factorial is multiplied out.
const MAX_FACTORIAL: i64 = 1000;

/// A value modulo the prime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exact {
    pub residue: Residue,
    /// Whether the residue was reached by the four operations from numbers, variables, π and e alone. Else it stands for a value
    /// of a function: equal residues mean equal values, but different residues may too.
    pub is_rational: bool,
}

/// The value of an expression modulo the prime, with the values of the variables that `round` decides; `None` where it divides
/// by 0 or is infinite.
pub(super) fn exact(expr: &Expr, round: u64) -> Option<Exact> {
    exact_in(expr, round, false)
}

fn exact_in(expr: &Expr, round: u64, is_angle: bool) -> Option<Exact> {
    let rational = |residue| Some(Exact { residue, is_rational: true });
    let variable = |name: &str| rational(Residue::from_key(key_of(name) ^ mix(round)));
    let of = |part: &Expr| exact_in(part, round, is_angle);
    match expr {
        Expr::Number(number) => rational(number.residue),
        Expr::Symbol(name) => variable(name),
        Expr::Pi => variable("\u{3C0}"),
        Expr::E => variable("\u{65}\u{0}"),
        Expr::I => rational(IMAGINARY_UNIT),
        Expr::Infinity => None,
        Expr::Sum(parts) => fold(parts, of, Residue::ZERO, Residue::plus),
        Expr::Product(parts) => fold(parts, of, Residue::ONE, Residue::times),
        Expr::Negative(part) => {
            let part = of(part)?;
            Some(Exact { residue: Residue::ZERO.minus(part.residue), ..part })
        }
        Expr::Quotient(above, below) => {
            let (above, below) = (of(above)?, of(below)?);
            let is_rational = above.is_rational && below.is_rational;
            Some(Exact { residue: above.residue.over(below.residue)?, is_rational })
        }
        Expr::Percent(part) => {
            let part = of(part)?;
            Some(Exact { residue: part.residue.over(Residue::from_integer(100))?, ..part })
        }
        Expr::Degrees(part) if is_angle => {
            let part = of(part)?;
            let half_turn = exact_in(&Expr::Pi, round, true)?.residue.over(Residue::from_integer(180))?;
            Some(Exact { residue: part.residue.times(half_turn), ..part })
        }
        Expr::Degrees(part) => of(part),
        Expr::Power(base, exponent) => {
            let base = of(base)?;
            if let Some(exponent) = small_integer(exponent) {
                return Some(Exact { residue: base.residue.power(exponent)?, ..base });
            }
            let exponent = exact_in(exponent, round, false)?;
            Some(opaque("power", &[base.residue, exponent.residue], round))
        }
        Expr::Call(Function::Factorial, parts) => {
            let [part] = parts.as_slice() else { return None };
            match small_integer(part).filter(|n| (0..=MAX_FACTORIAL).contains(n)) {
                Some(n) => rational((1..=n).fold(Residue::ONE, |product, k| product.times(Residue::from_integer(k)))),
                None => Some(opaque("factorial", &[of(part)?.residue], round)),
            }
        }
        Expr::Call(Function::Binomial, parts) => {
            let [n, k] = parts.as_slice() else { return None };
            match (small_integer(n), small_integer(k)) {
                (Some(n), Some(k)) if (0..=MAX_FACTORIAL).contains(&n) && (0..=n).contains(&k) => {
                    // n (n - 1) … over k!, with one division.
                    let product = |of: &dyn Fn(i64) -> i64| {
                        let factors = (0..k.min(n - k)).map(|j| Residue::from_integer(of(j)));
                        factors.fold(Residue::ONE, Residue::times)
                    };
                    rational(product(&|j| n - j).over(product(&|j| j + 1))?)
                }
                _ => Some(opaque("binomial", &[of(n)?.residue, of(k)?.residue], round)),
            }
        }
        Expr::Call(function, parts) => {
            let arguments: Option<Vec<Exact>> = parts.iter().map(|part| exact_in(part, round, true)).collect();
            let residues: Vec<Residue> = arguments?.iter().map(|argument| argument.residue).collect();
            Some(opaque(&format!("{function:?}"), &residues, round))
        }
    }
}

fn fold(
    parts: &[Expr],
    of: impl Fn(&Expr) -> Option<Exact>,
    first: Residue,
    join: fn(Residue, Residue) -> Residue,
) -> Option<Exact> {
    parts.iter().try_fold(Exact { residue: first, is_rational: true }, |total, part| {
        let part = of(part)?;
        Some(Exact { residue: join(total.residue, part.residue), is_rational: total.is_rational && part.is_rational })
    })
}

/// A residue that stands for the value of a function, the same for the same arguments.
fn opaque(function: &str, arguments: &[Residue], round: u64) -> Exact {
    let key = arguments.iter().fold(key_of(function) ^ mix(round), |key, argument| mix(key ^ argument.key()));
    Exact { residue: Residue::from_key(key), is_rational: false }
}

/// The value of a whole constant that fits.
pub(super) fn small_integer(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Number(number) => number.integer,
        Expr::Negative(part) => small_integer(part)?.checked_neg(),
        Expr::Sum(parts) => parts.iter().try_fold(0_i64, |total, part| total.checked_add(small_integer(part)?)),
        Expr::Product(parts) => parts.iter().try_fold(1_i64, |total, part| total.checked_mul(small_integer(part)?)),
        Expr::Quotient(above, below) => {
            let (above, below) = (small_integer(above)?, small_integer(below)?);
            (above.checked_rem(below)? == 0).then(|| above / below)
        }
        Expr::Power(base, exponent) => small_integer(base)?.checked_pow(u32::try_from(small_integer(exponent)?).ok()?),
        Expr::Call(Function::Factorial, parts) => {
            let n = small_integer(parts.first()?).filter(|n| (0..=20).contains(n))?;
            Some((1..=n).product())
        }
        _ => None,
    }
}

/// How a fractional power of a negative number is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// The real root, where the index is odd: ∛-8 = -2.
    Real,
    /// The principal value: ∛-8 = 1 + √3 i.
    Principal,
}

/// Where an expression is evaluated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// Decides the values of the variables.
    pub round: u64,
    pub roots: Roots,
}

/// The value of an expression with real values of its variables. What is not defined is not finite.
pub(super) fn approximate(expr: &Expr, point: Point) -> Approximation {
    approximate_in(expr, point, false)
}

fn approximate_in(expr: &Expr, point: Point, is_angle: bool) -> Approximation {
    let of = |part: &Expr| approximate_in(part, point, is_angle);
    match expr {
        Expr::Number(number) => Approximation::real(number.value),
        Expr::Symbol(name) => Approximation { error: 0.0, ..Approximation::real(variable(name, point.round)) },
        Expr::Pi => Approximation::real(PI),
        Expr::E => Approximation::real(std::f64::consts::E),
        Expr::I => Approximation::imaginary_unit(),
        Expr::Infinity => Approximation::real(f64::INFINITY),
        Expr::Sum(parts) => parts.iter().map(of).reduce(Approximation::plus).unwrap_or(Approximation::real(0.0)),
        Expr::Product(parts) => parts.iter().map(of).reduce(Approximation::times).unwrap_or(Approximation::real(1.0)),
        Expr::Negative(part) => of(part).negated(),
        Expr::Quotient(above, below) => of(above).over(of(below)),
        Expr::Percent(part) => of(part).over(Approximation::real(100.0)),
        Expr::Degrees(part) if is_angle => of(part).times(Approximation::real(PI / 180.0)),
        Expr::Degrees(part) => of(part),
        Expr::Power(base, exponent) => power(of(base), exponent, point),
        Expr::Call(Function::Root, parts) => match parts.as_slice() {
            [radicand, index] => root(of(radicand), index, point),
            _ => undefined(),
        },
        Expr::Call(function, parts) => {
            let arguments: Vec<Approximation> = parts.iter().map(|part| approximate_in(part, point, true)).collect();
            call(*function, &arguments)
        }
    }
}

/// The value of a variable: real, of both signs in most rounds, not near 0, 1 or -1 together.
fn variable(name: &str, round: u64) -> f64 {
    let key = mix(key_of(name) ^ mix(round));
    let unit = (key >> 11) as f64 / (1_u64 << 53) as f64;
    let size = 0.3 + 2.4 * unit;
    // In the even rounds all variables are positive, so that roots and logarithms have real values.
    if round % 2 == 1 && key & 1 == 1 { -size } else { size }
}

fn undefined() -> Approximation {
    Approximation::real(f64::NAN)
}

fn power(base: Approximation, exponent: &Expr, point: Point) -> Approximation {
    if let Some(exponent) = small_integer(exponent) {
        return base.powi(exponent);
    }
    if let Expr::Quotient(above, below) = exponent
        && let (Some(above), Some(_)) = (small_integer(above), small_integer(below))
    {
        return root(base, below, point).powi(above);
    }
    base.pow(approximate_in(exponent, point, false))
}

fn root(radicand: Approximation, index: &Expr, point: Point) -> Approximation {
    let whole = small_integer(index);
    if whole == Some(2) {
        return radicand.sqrt();
    }
    let exponent = Approximation::real(1.0).over(approximate_in(index, point, false));
    let is_odd = whole.is_some_and(|index| index % 2 == 1);
    let is_negative = radicand.re < 0.0 && radicand.im == 0.0;
    if point.roots == Roots::Real && is_odd && is_negative {
        return radicand.negated().pow(exponent).negated();
    }
    radicand.pow(exponent)
}

fn call(function: Function, arguments: &[Approximation]) -> Approximation {
    use Function::*;
    let one = Approximation::real(1.0);
    let real = |change: &dyn Fn(f64) -> f64, argument: Approximation| match argument.as_real() {
        Some(value) => Approximation { re: change(value), im: 0.0, error: argument.error },
        None => undefined(),
    };
    match (function, arguments) {
        (Sin, [x]) => x.sin(),
        (Cos, [x]) => x.cos(),
        (Tan, [x]) => x.sin().over(x.cos()),
        (Cot, [x]) => x.cos().over(x.sin()),
        (Sec, [x]) => one.over(x.cos()),
        (Csc, [x]) => one.over(x.sin()),
        (Arcsin, [x]) => x.asin(),
        (Arccos, [x]) => x.acos(),
        (Arctan, [x]) => x.atan(),
        (Arccot, [x]) => Approximation::real(PI / 2.0).plus(x.atan().negated()),
        (Sinh, [x]) => x.exp().plus(x.negated().exp().negated()).times(Approximation::real(0.5)),
        (Cosh, [x]) => x.exp().plus(x.negated().exp()).times(Approximation::real(0.5)),
        (Tanh, [x]) => {
            let square = x.plus(*x).exp();
            square.plus(one.negated()).over(square.plus(one))
        }
        (Exp, [x]) => x.exp(),
        (Ln, [x]) => x.ln(),
        (Log, [x, base]) => x.ln().over(base.ln()),
        (Abs, [x]) => Approximation { re: x.abs(), im: 0.0, error: x.error },
        (Floor, [x]) => real(&|value| rounded_if_near(value, x.error).floor(), *x).exactly(),
        (Ceiling, [x]) => real(&|value| rounded_if_near(value, x.error).ceil(), *x).exactly(),
        (Factorial, [x]) => real(&factorial, *x).relatively(),
        (Binomial, [n, k]) => match (n.as_real(), k.as_real()) {
            (Some(n), Some(k)) => Approximation::real(factorial(n) / factorial(k) / factorial(n - k)).relatively(),
            _ => undefined(),
        },
        (Max, [first, rest @ ..]) => rest.iter().fold(*first, |best, x| if x.re > best.re { *x } else { best }),
        (Min, [first, rest @ ..]) => rest.iter().fold(*first, |best, x| if x.re < best.re { *x } else { best }),
        (Gcd, [first, rest @ ..]) => rest.iter().fold(*first, |total, x| whole(*x, total, gcd)),
        (Lcm, [first, rest @ ..]) => rest.iter().fold(*first, |total, x| whole(*x, total, |a, b| a / gcd(a, b) * b)),
        _ => undefined(),
    }
}

/// A value that is whole but for rounding, as it is meant.
fn rounded_if_near(value: f64, error: f64) -> f64 {
    if (value - value.round()).abs() <= 4.0 * error { value.round() } else { value }
}

/// n! of a whole number up to 170.
fn factorial(n: f64) -> f64 {
    let is_whole = n.fract() == 0.0 && (0.0..=170.0).contains(&n);
    if is_whole { (1..=n as u32).fold(1.0, |product, k| product * f64::from(k)) } else { f64::NAN }
}

fn whole(one: Approximation, other: Approximation, join: fn(i64, i64) -> i64) -> Approximation {
    match (one.as_real(), other.as_real()) {
        (Some(a), Some(b)) if a.fract() == 0.0 && b.fract() == 0.0 && a.abs().max(b.abs()) < 1e9 && a * b != 0.0 => {
            Approximation::real(join(a as i64, b as i64) as f64)
        }
        _ => undefined(),
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}
