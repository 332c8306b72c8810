//! Whether two expressions are equal. Independent of lists, relations and sets.
//!
//! Three steps. First the values modulo a prime, where every variable has a random value: equal residues mean equal expressions,
//! and different residues of rational functions mean different ones, whatever their size. Then, where roots or other functions
//! stand in them, complex values in double precision at several points, with a bound on the rounding error. At last, where one of
//! two constants is written with a decimal point, rounding to six decimals, as Math-Verify does.

use super::approximate::{Approximation, Closeness};
use super::evaluate::{Exact, Point, Roots, approximate, exact};
use super::field::Residue;
use super::tree::{Expr, Function};

/// Points at which functions of variables are compared, and how many of them must be able to tell.
const POINTS: u64 = 10;
const ENOUGH_POINTS: usize = 3;
/// Math-Verify's `float_rounding`: a decimal equals what rounds to the same six decimals.
const DECIMALS: i32 = 6;
/// And the two may not differ by more than this part of the larger, so that small decimals are not all 0.
const RELATIVE: f64 = 1e-3;

/// Whether two expressions have the same value, for all values of their variables.
pub(super) fn equal(one: &Expr, other: &Expr) -> bool {
    if let (Some(sign), Some(other_sign)) = (one.infinity_sign(), other.infinity_sign()) {
        return sign == other_sign;
    }
    let residues: Vec<(Option<Exact>, Option<Exact>)> =
        (0..2).map(|round| (exact(one, round), exact(other, round))).collect();
    let same = |(one, other): &(Option<Exact>, Option<Exact>)| match (one, other) {
        (Some(one), Some(other)) => one.residue == other.residue,
        _ => false,
    };
    if residues.iter().all(same) {
        return true;
    }
    let is_rational = |value: &Option<Exact>| value.is_some_and(|value| value.is_rational);
    let are_constant = one.is_constant() && other.is_constant();
    let are_rational = residues.iter().all(|(one, other)| is_rational(one) && is_rational(other));
    // π and e are taken for variables, which no algebraic relation is known to contradict.
    let equal = !are_rational && numerically_equal(one, other, are_constant);
    equal || are_constant && (is_decimal(one) || is_decimal(other)) && equal_when_rounded(one, other)
}

fn numerically_equal(one: &Expr, other: &Expr, are_constant: bool) -> bool {
    let conventions = if has_odd_roots(one) || has_odd_roots(other) {
        [Roots::Real, Roots::Principal].as_slice()
    } else {
        [Roots::Principal].as_slice()
    };
    conventions.iter().any(|&roots| {
        let (mut agreed, needed) = (0, if are_constant { 1 } else { ENOUGH_POINTS });
        for round in 0..POINTS {
            let point = Point { round, roots };
            match approximate(one, point).compare(approximate(other, point)) {
                Closeness::Different => return false,
                Closeness::Equal => agreed += 1,
                Closeness::Unknown => {}
            }
            if are_constant {
                break;
            }
        }
        agreed >= needed
    })
}

fn has_odd_roots(expr: &Expr) -> bool {
    expr.any(&|part| match part {
        Expr::Call(Function::Root, parts) => !matches!(parts.get(1).map(super::evaluate::small_integer), Some(Some(2))),
        Expr::Power(_, exponent) => matches!(**exponent, Expr::Quotient(..)),
        _ => false,
    })
}

/// Whether an expression is a number written with a decimal point.
fn is_decimal(expr: &Expr) -> bool {
    let is_number = |part: &Expr| {
        use Expr::*;
        matches!(
            part,
            Number(_) | Sum(_) | Product(_) | Negative(_) | Quotient(..) | Percent(_) | Degrees(_) | Power(..) | I
        )
    };
    expr.any(&|part| matches!(part, Expr::Number(number) if number.is_decimal)) && !expr.any(&|part| !is_number(part))
}

fn equal_when_rounded(one: &Expr, other: &Expr) -> bool {
    let point = Point { round: 0, roots: Roots::Real };
    let (one, other) = (approximate(one, point), approximate(other, point));
    let scale = 10f64.powi(DECIMALS);
    let rounded = |value: f64| (value * scale).round();
    let size = one.abs().max(other.abs());
    let distance = (one.re - other.re).hypot(one.im - other.im);
    one.is_finite()
        && other.is_finite()
        && size < 1e9
        && rounded(one.re) == rounded(other.re)
        && rounded(one.im) == rounded(other.im)
        && distance <= RELATIVE * size
}

/// The factor c with one = c · other for all values of the variables, where there is one that is not 0.
pub(super) fn constant_ratio(one: &Expr, other: &Expr) -> Option<Approximation> {
    if one.is_constant() || other.is_constant() {
        return None;
    }
    let point = |round| Point { round, roots: Roots::Real };
    let ratio = |round| approximate(one, point(round)).over(approximate(other, point(round)));
    let rounds = 0..POINTS;
    // What is 0 but for rounding has no ratio to anything.
    let first = rounds.clone().map(ratio).find(|ratio| ratio.is_finite() && ratio.abs() > 100.0 * ratio.error)?;
    // Exactly: one₀ · other₁ = one₁ · other₀.
    let values: Option<Vec<(Exact, Exact)>> =
        (0..3).map(|round| Some((exact(one, round)?, exact(other, round)?))).collect();
    if let Some(values) = &values {
        let (one_first, other_first) = values[0];
        let is_constant = |(one, other): &(Exact, Exact)| {
            one_first.residue.times(other.residue) == one.residue.times(other_first.residue)
                && other.residue != Residue::ZERO
                && one.residue != Residue::ZERO
        };
        if values.iter().all(is_constant) {
            return Some(first);
        }
        let has_constants = |expr: &Expr| expr.any(&|part| matches!(part, Expr::Pi | Expr::E));
        let are_rational = values.iter().all(|(one, other)| one.is_rational && other.is_rational);
        if are_rational && !has_constants(one) && !has_constants(other) {
            return None;
        }
    }
    let mut agreed = 0;
    for round in rounds {
        match ratio(round).compare(first) {
            Closeness::Different => return None,
            Closeness::Equal => agreed += 1,
            Closeness::Unknown => {}
        }
    }
    (agreed >= ENOUGH_POINTS).then_some(first)
}

/// The real value of a constant.
pub(super) fn real_value(expr: &Expr) -> Option<f64> {
    if let Some(sign) = expr.infinity_sign() {
        return Some(f64::from(sign) * f64::INFINITY);
    }
    let value = approximate(expr, Point { round: 0, roots: Roots::Real });
    (expr.is_constant() && value.is_finite()).then(|| value.as_real())?
}
