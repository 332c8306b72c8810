//! Whether two answers are equal. Independent of how they were written.

use std::cell::Cell;

use super::compare;
use super::region::{is_region, region, same_region};
use super::relation::{assignment, equation, same_equation, same_inequality};
use super::tree::{Expr, Relation, Value, in_base};

/// How many pairs of values one comparison may look at.
const MAX_COMPARISONS: usize = 3000;

/// Whether two values are equal.
pub(super) fn equal(one: &Value, other: &Value) -> bool {
    Comparison { left: Cell::new(MAX_COMPARISONS) }.equal(one, other)
}

struct Comparison {
    left: Cell<usize>,
}

impl Comparison {
    fn equal(&self, one: &Value, other: &Value) -> bool {
        let Some(left) = self.left.get().checked_sub(1) else { return false };
        self.left.set(left);
        if let Some(equal) = self.by_relation(one, other) {
            return equal;
        }
        if (is_region(one) || is_region(other))
            && let (Some(one), Some(other)) = (region(one), region(other))
        {
            return same_region(&one, &other);
        }
        self.by_kind(one, other) || self.by_kind_of_other(one, other) || self.by_kind_of_other(other, one)
    }

    /// Equations, and `x ∈ S`; `None` where neither is one.
    fn by_relation(&self, one: &Value, other: &Value) -> Option<bool> {
        if let (Some(set), Some(other_set)) = (membership(one), membership(other)) {
            return Some(self.equal(set.0, other_set.0) && self.equal(set.1, other_set.1));
        }
        if let Some((_, set)) = membership(one) {
            return if is_region(other) && !matches!(other, Value::Union(_)) {
                None
            } else {
                Some(self.equal(set, other))
            };
        }
        if let Some((_, set)) = membership(other) {
            return if is_region(one) && !matches!(one, Value::Union(_)) { None } else { Some(self.equal(one, set)) };
        }
        match (equation(one), equation(other)) {
            (None, None) => None,
            (Some(one_sides), Some(other_sides)) => {
                let by_value = match (assignment(one), assignment(other)) {
                    // Of one name the values decide.
                    (Some((Some(name), value)), Some((Some(other_name), other_value)))
                        if self.equal(name, other_name) =>
                    {
                        return Some(self.equal(value, other_value));
                    }
                    // `3 + 3 = 6` and `6 = 6` state a value without a name.
                    (Some((None, value)), Some((_, other_value))) | (Some((_, value)), Some((None, other_value))) => {
                        self.equal(value, other_value)
                    }
                    _ => false,
                };
                Some(by_value || same_equation(one_sides, other_sides))
            }
            // A list of values is compared with the equation as a whole.
            (Some(_), None) => Some(match other {
                Value::List { items, .. } if items.iter().any(|item| equation(item).is_some()) => false,
                _ => assignment(one).is_some_and(|(_, value)| self.equal(value, other)),
            }),
            (None, Some(_)) => self.by_relation(other, one),
        }
    }

    /// Two values of one kind.
    fn by_kind(&self, one: &Value, other: &Value) -> bool {
        match (one, other) {
            (Value::Expr(one), Value::Expr(other)) => same_quantity(one, other),
            (Value::Based { digits, base }, Value::Based { digits: other_digits, base: other_base }) => {
                let value = |digits, base: u32| in_base(digits, i64::from(base));
                let same = value(digits, *base).zip(value(other_digits, *other_base));
                base == other_base && digits == other_digits || same.is_some_and(|(one, other)| one == other)
            }
            (
                Value::Bracketed { items, left_closed, right_closed },
                Value::Bracketed { items: other_items, left_closed: other_left, right_closed: other_right },
            ) => left_closed == other_left && right_closed == other_right && self.in_order(items, other_items),
            (Value::Set(one), Value::Set(other)) => self.each_in(one, other) && self.each_in(other, one),
            (Value::List { items: one, .. }, Value::List { items: other, .. }) => self.lists(one, other),
            (Value::Union(one), Value::Union(other)) | (Value::Intersection(one), Value::Intersection(other)) => {
                self.without_order(one, other)
            }
            (Value::Difference(one), Value::Difference(other)) => self.in_order(one, other),
            (Value::Matrix(one), Value::Matrix(other)) => {
                let same_row = |(one, other): (&Vec<Expr>, &Vec<Expr>)| {
                    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| compare::equal(one, other))
                };
                one.len() == other.len() && one.iter().zip(other).all(same_row)
            }
            (Value::Ratio(one), Value::Ratio(other)) => proportional(one, other),
            (Value::Chain { sides, relations }, Value::Chain { sides: other_sides, relations: other_relations }) => {
                self.chains((sides, relations), (other_sides, other_relations))
            }
            _ => false,
        }
    }

    /// Two values of different kinds that may mean the same.
    fn by_kind_of_other(&self, one: &Value, other: &Value) -> bool {
        match (one, other) {
            (Value::List { items, .. }, Value::Set(other)) => {
                items.len() == other.len() && self.each_in(items, other) && self.each_in(other, items)
            }
            // A point without its brackets.
            (Value::List { items, .. }, Value::Bracketed { items: other, left_closed: false, right_closed: false }) => {
                self.in_order(items, other)
            }
            (Value::Set(items) | Value::List { items, .. }, Value::Expr(_) | Value::Bracketed { .. }) => {
                matches!(items.as_slice(), [item] if self.equal(item, other))
            }
            (Value::Ratio(terms), Value::Expr(other)) => match terms.as_slice() {
                [above, below] => {
                    compare::equal(&Expr::Quotient(Box::new(above.clone()), Box::new(below.clone())), other)
                }
                _ => false,
            },
            // The base of a number may be left out.
            (Value::Based { digits, .. }, Value::Expr(Expr::Number(number))) => *digits == number.digits,
            _ => false,
        }
    }

    fn in_order(&self, one: &[Value], other: &[Value]) -> bool {
        one.len() == other.len() && one.iter().zip(other).all(|(one, other)| self.equal(one, other))
    }

    fn each_in(&self, one: &[Value], other: &[Value]) -> bool {
        one.iter().all(|item| other.iter().any(|other| self.equal(item, other)))
    }

    /// Whether each item of one has its own equal in the other.
    fn without_order(&self, one: &[Value], other: &[Value]) -> bool {
        let mut free: Vec<&Value> = other.iter().collect();
        one.len() == other.len()
            && one.iter().all(|item| match free.iter().position(|other| self.equal(item, other)) {
                Some(at) => {
                    free.remove(at);
                    true
                }
                None => false,
            })
    }

    /// Lists; the values of `a = 1, b = 2` may stand without their names, in their order.
    fn lists(&self, one: &[Value], other: &[Value]) -> bool {
        let names = |items: &[Value]| items.iter().all(|item| assignment(item).is_some());
        let bare = |items: &[Value]| items.iter().all(|item| equation(item).is_none());
        if names(one) && bare(other) {
            return self.named_and_bare(one, other);
        }
        if names(other) && bare(one) {
            return self.named_and_bare(other, one);
        }
        self.without_order(one, other)
    }

    fn named_and_bare(&self, named: &[Value], bare: &[Value]) -> bool {
        let parts: Vec<(Option<&Value>, &Value)> = named.iter().filter_map(assignment).collect();
        let values: Vec<Value> = parts.iter().map(|(_, value)| (*value).clone()).collect();
        let one_name = parts.windows(2).all(|pair| match (pair[0].0, pair[1].0) {
            (Some(one), Some(other)) => self.equal(one, other),
            _ => false,
        });
        if one_name { self.without_order(&values, bare) } else { self.in_order(&values, bare) }
    }

    /// Chains of relations: the same from left to right or from right to left, or one inequality up to a factor.
    fn chains(&self, one: (&[Value], &[Relation]), other: (&[Value], &[Relation])) -> bool {
        if one.1 == other.1 && self.in_order(one.0, other.0) {
            return true;
        }
        let flipped: Vec<Relation> = other.1.iter().rev().map(|relation| relation.flipped()).collect();
        let reversed: Vec<Value> = other.0.iter().rev().cloned().collect();
        if one.1 == flipped && self.in_order(one.0, &reversed) {
            return true;
        }
        match (one, other) {
            (([left, right], [relation]), ([other_left, other_right], [other_relation])) => {
                let are_inequalities = relation.is_inequality() && other_relation.is_inequality();
                are_inequalities
                    && same_inequality((left, *relation, right), (other_left, *other_relation, other_right))
            }
            _ => false,
        }
    }
}

/// `x ∈ S`.
fn membership(value: &Value) -> Option<(&Value, &Value)> {
    match value {
        Value::Chain { sides, relations } => match (sides.as_slice(), relations.as_slice()) {
            ([name, set], [Relation::In]) => Some((name, set)),
            _ => None,
        },
        _ => None,
    }
}

/// Expressions, where a percent sign is a unit or a hundredth, and a sign of degrees a unit or π/180.
fn same_quantity(one: &Expr, other: &Expr) -> bool {
    match (one, other) {
        (Expr::Percent(one), Expr::Percent(other)) | (Expr::Degrees(one), Expr::Degrees(other)) => {
            compare::equal(one, other)
        }
        (Expr::Percent(part), whole) | (whole, Expr::Percent(part)) => {
            compare::equal(part, whole) || compare::equal(&Expr::Percent(part.clone()), whole)
        }
        (Expr::Degrees(part), whole) | (whole, Expr::Degrees(part)) => {
            let half_turn = Expr::Quotient(Box::new(Expr::Pi), Box::new(Expr::integer(180)));
            let has_pi = whole.any(&|part| matches!(part, Expr::Pi));
            compare::equal(part, whole)
                || has_pi && compare::equal(&Expr::Product(vec![(**part).clone(), half_turn]), whole)
        }
        _ => compare::equal(one, other),
    }
}

/// Whether a : b : c = d : e : f.
fn proportional(one: &[Expr], other: &[Expr]) -> bool {
    let (Some(first), Some(other_first)) = (one.first(), other.first()) else { return false };
    let product = |a: &Expr, b: &Expr| Expr::Product(vec![a.clone(), b.clone()]);
    one.len() == other.len()
        && one.iter().zip(other).all(|(a, b)| compare::equal(&product(a, other_first), &product(b, first)))
}
