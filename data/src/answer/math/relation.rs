//! Equations and inequalities: which of them state a value, and when two of them say the same. Independent of how they are written.

use super::compare::{constant_ratio, equal, real_value};
use super::tree::{Expr, Function, Relation, Value};

/// How far a result may be from its calculation, as a part of it.
const ROUNDED: f64 = 1e-2;

/// Whether a side of an equation only names what the other side is worth: `x`, `f(x)`, `AB`, `|AB|`, `(x, y)`, `V_1 : V_2`.
pub(super) fn is_name(side: &Value) -> bool {
    match side {
        Value::Expr(expr) => is_name_expr(expr) || matches!(expr, Expr::E | Expr::I),
        Value::Ratio(terms) => terms.iter().all(is_name_expr),
        Value::Bracketed { items, .. } => items.iter().all(is_name),
        _ => false,
    }
}

fn is_name_expr(expr: &Expr) -> bool {
    match expr {
        Expr::Symbol(_) => true,
        Expr::Product(factors) => is_name_product(factors),
        Expr::Power(base, exponent) => {
            let is_inverse = matches!(&**exponent, Expr::Negative(one) if matches!(&**one, Expr::Number(number) if number.integer == Some(1)));
            is_inverse && is_name_expr(base)
        }
        Expr::Quotient(one, other) => is_name_expr(one) && is_name_expr(other),
        Expr::Call(function, parts) => {
            use Function::*;
            matches!(function, Abs | Sin | Cos | Tan | Cot | Max | Min) && parts.iter().all(is_name_expr)
        }
        _ => false,
    }
}

/// Whether factors are the value of a function, `f(x + 1)`, or a row of points, `AB`; but `xy` is a product.
fn is_name_product(factors: &[Expr]) -> bool {
    let [first, rest @ ..] = factors else { return false };
    let is_argument = |factor: &Expr| is_name_expr(factor) || matches!(factor, Expr::Number(_) | Expr::E | Expr::I);
    match (first, rest) {
        (Expr::Symbol(name), [argument]) if FUNCTIONS.contains(&name.as_str()) => {
            let is_usual = matches!(argument, Expr::Symbol(name) if VARIABLES.contains(&name.as_str()));
            matches!(name.as_str(), "f" | "g" | "h") || is_usual || matches!(argument, Expr::Number(_))
        }
        (Expr::Symbol(name), rest) => {
            let is_point = name.len() > 1 || name.chars().all(char::is_uppercase);
            is_point && rest.iter().all(is_argument)
        }
        (first, rest) => is_name_expr(first) && rest.iter().all(is_argument),
    }
}

/// Letters that name functions where a usual variable or a number follows.
const FUNCTIONS: [&str; 10] = ["f", "g", "h", "p", "q", "r", "s", "u", "v", "d"];
const VARIABLES: [&str; 4] = ["x", "t", "n", "z"];

/// An equation that states a value: its name, unless a calculation stands there, and the value.
pub(super) fn assignment(value: &Value) -> Option<(Option<&Value>, &Value)> {
    let (first, last) = equation(value)?;
    let is_constant = |side: &Value| matches!(side, Value::Expr(expr) if expr.is_constant());
    if is_name(first) {
        Some((Some(first), last))
    } else if is_name(last) && is_constant(first) {
        Some((Some(last), first))
    } else {
        holds(first, last).then_some((None, last))
    }
}

/// Whether a calculation leads to its result, be it rounded.
fn holds(first: &Value, last: &Value) -> bool {
    let value = |side: &Value| match side {
        Value::Expr(expr) => real_value(expr).filter(|value| value.is_finite()),
        _ => None,
    };
    value(first)
        .zip(value(last))
        .is_some_and(|(one, other)| (one - other).abs() <= ROUNDED * one.abs().max(other.abs()) + f64::EPSILON * 100.0)
}

/// The first and the last side of an equation.
pub(super) fn equation(value: &Value) -> Option<(&Value, &Value)> {
    let Value::Chain { sides, relations } = value else { return None };
    let are_equal = relations.iter().all(|relation| *relation == Relation::Equal);
    are_equal.then_some((sides.first()?, sides.last()?))
}

/// Whether two equations say the same: up to their order, and a factor of both sides.
pub(super) fn same_equation(one: (&Value, &Value), other: (&Value, &Value)) -> bool {
    match (difference(one), difference(other)) {
        (Some(one), Some(other)) => constant_ratio(&one, &other).is_some(),
        _ => false,
    }
}

/// Whether two inequalities with one sign say the same, up to their order and a factor.
pub(super) fn same_inequality(one: (&Value, Relation, &Value), other: (&Value, Relation, &Value)) -> bool {
    let (Some(left), Some(right)) = (difference((one.0, one.2)), difference((other.0, other.2))) else { return false };
    let Some(ratio) = constant_ratio(&left, &right).and_then(|ratio| ratio.as_real()) else { return false };
    let expected = if ratio > 0.0 { other.1 } else { other.1.flipped() };
    one.1 == expected
}

fn difference((left, right): (&Value, &Value)) -> Option<Expr> {
    match (left, right) {
        (Value::Expr(left), Value::Expr(right)) => Some(left.minus(right)),
        _ => None,
    }
}

/// The variable of a relation between a lone variable or a linear expression of it, and its bound; with the relation as it reads
/// with the variable on the left.
pub(super) fn bound<'a>(left: &'a Value, relation: Relation, right: &'a Value) -> Option<(String, Relation, Expr)> {
    let (Value::Expr(left), Value::Expr(right)) = (left, right) else { return None };
    match (left, right) {
        (Expr::Symbol(name), right) if right.is_constant() => return Some((name.clone(), relation, right.clone())),
        (left, Expr::Symbol(name)) if left.is_constant() => {
            return Some((name.clone(), relation.flipped(), left.clone()));
        }
        (name, right) if is_name_expr(name) && right.is_constant() => {
            return Some((format!("{name:?}"), relation, right.clone()));
        }
        (left, name) if is_name_expr(name) && left.is_constant() => {
            return Some((format!("{name:?}"), relation.flipped(), left.clone()));
        }
        _ => {}
    }
    // p x + q (relation) 0, with p and q from the values at 0 and 1, and a third value as the proof.
    let difference = left.minus(right);
    let name = variable(&difference)?;
    let at = |value: i64| substituted(&difference, &Expr::integer(value));
    let (q, p) = (at(0), at(1).minus(&at(0)));
    let linear = Expr::Sum(vec![Expr::Product(vec![p.clone(), Expr::integer(7)]), q.clone()]);
    let slope = real_value(&p).filter(|slope| *slope != 0.0)?;
    if !equal(&linear, &at(7)) || has_functions(&difference) {
        return None;
    }
    let relation = if slope > 0.0 { relation } else { relation.flipped() };
    Some((name, relation, Expr::Quotient(Box::new(q.negative()), Box::new(p))))
}

/// Whether a function, such as an absolute value, stands in an expression: three points then do not show that it is linear.
fn has_functions(expr: &Expr) -> bool {
    expr.any(&|part| match part {
        Expr::Call(..) | Expr::Power(..) => !part.is_constant(),
        Expr::Quotient(_, below) => !below.is_constant(),
        Expr::Product(factors) => factors.iter().filter(|factor| !factor.is_constant()).count() > 1,
        _ => false,
    })
}

/// The only variable of an expression.
fn variable(expr: &Expr) -> Option<String> {
    let mut names = Vec::new();
    collect(expr, &mut names);
    names.sort();
    names.dedup();
    if names.len() == 1 { names.pop() } else { None }
}

fn collect(expr: &Expr, names: &mut Vec<String>) {
    if let Expr::Symbol(name) = expr {
        names.push(name.clone());
    }
    for part in expr.parts() {
        collect(part, names);
    }
}

/// An expression with a value in the place of its variable.
fn substituted(expr: &Expr, value: &Expr) -> Expr {
    let of = |part: &Expr| substituted(part, value);
    let all = |parts: &[Expr]| parts.iter().map(of).collect();
    match expr {
        Expr::Symbol(_) => value.clone(),
        Expr::Sum(parts) => Expr::Sum(all(parts)),
        Expr::Product(parts) => Expr::Product(all(parts)),
        Expr::Call(function, parts) => Expr::Call(*function, all(parts)),
        Expr::Negative(part) => Expr::Negative(Box::new(of(part))),
        Expr::Degrees(part) => Expr::Degrees(Box::new(of(part))),
        Expr::Percent(part) => Expr::Percent(Box::new(of(part))),
        Expr::Quotient(one, other) => Expr::Quotient(Box::new(of(one)), Box::new(of(other))),
        Expr::Power(one, other) => Expr::Power(Box::new(of(one)), Box::new(of(other))),
        other => other.clone(),
    }
}
