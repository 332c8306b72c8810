//! Sets of real numbers: intervals, unions, points and the solutions of inequalities in one variable, in one normal form.
//! Independent of how they are written.

use super::compare::{equal, real_value};
use super::relation::bound;
use super::tree::{Expr, Join, Relation, Value};

/// The most pieces of a set.
const MAX_PIECES: usize = 60;

/// A set of real numbers.
pub(super) struct Region {
    /// The variable whose values it holds, where one is named.
    pub variable: Option<String>,
    /// In order, apart from each other.
    pieces: Vec<Piece>,
}

/// An interval, or a point where both ends are one.
#[derive(Clone, Debug)]
struct Piece {
    low: End,
    high: End,
}

#[derive(Clone, Debug)]
struct End {
    value: f64,
    expr: Expr,
    closed: bool,
}

impl End {
    fn new(expr: &Expr, closed: bool) -> Option<End> {
        let value = real_value(expr)?;
        Some(End { value, expr: expr.clone(), closed: closed && value.is_finite() })
    }

    fn infinite(sign: f64) -> End {
        let expr = if sign > 0.0 { Expr::Infinity } else { Expr::Infinity.negative() };
        End { value: sign * f64::INFINITY, expr, closed: false }
    }

    /// Whether two ends stand at one place.
    fn is_at(&self, other: &End) -> bool {
        if self.value.is_infinite() || other.value.is_infinite() {
            return self.value == other.value;
        }
        let near = (self.value - other.value).abs() <= 1e-6 * (1.0 + self.value.abs());
        near && equal(&self.expr, &other.expr)
    }

    fn is_below(&self, other: &End) -> bool {
        self.value < other.value && !self.is_at(other)
    }
}

/// Whether a value can only be meant as a set of real numbers, or as conditions on one.
pub(super) fn is_region(value: &Value) -> bool {
    match value {
        Value::Union(_) | Value::Intersection(_) | Value::Difference(_) => true,
        Value::Chain { relations, .. } => relations.iter().all(|relation| relation.is_inequality()),
        Value::List { items, join } => *join != Join::Comma && items.iter().all(is_region),
        Value::Expr(Expr::Symbol(name)) => name == "mathbb R",
        _ => false,
    }
}

/// The set of real numbers that a value means.
pub(super) fn region(value: &Value) -> Option<Region> {
    let all = |values: &[Value]| values.iter().map(region).collect::<Option<Vec<Region>>>();
    match value {
        Value::Bracketed { items, left_closed, right_closed } => {
            let [Value::Expr(low), Value::Expr(high)] = items.as_slice() else { return None };
            let piece = Piece { low: End::new(low, *left_closed)?, high: End::new(high, *right_closed)? };
            (piece.low.is_below(&piece.high)).then(|| Region { variable: None, pieces: vec![piece] })
        }
        Value::Set(items) => {
            let pieces: Option<Vec<Piece>> = items
                .iter()
                .map(|item| match item {
                    Value::Expr(expr) => End::new(expr, true).map(|end| Piece { low: end.clone(), high: end }),
                    _ => None,
                })
                .collect();
            Some(Region { variable: None, pieces: merged(pieces?)? })
        }
        Value::Expr(Expr::Symbol(name)) if name == "mathbb R" => {
            Some(Region { variable: None, pieces: vec![everything()] })
        }
        Value::Union(parts) => joined(all(parts)?, merged_union),
        Value::Intersection(parts) => joined(all(parts)?, intersection),
        Value::Difference(parts) => joined(all(parts)?, |one, other| intersection(one, complement(&other))),
        Value::List { items, join } if is_region(value) => match join {
            Join::And => joined(all(items)?, intersection),
            _ => joined(all(items)?, merged_union),
        },
        Value::Chain { sides, relations } => chain(sides, relations),
        _ => None,
    }
}

fn everything() -> Piece {
    Piece { low: End::infinite(-1.0), high: End::infinite(1.0) }
}

/// Regions of one variable, joined.
fn joined(regions: Vec<Region>, join: impl Fn(Vec<Piece>, Vec<Piece>) -> Vec<Piece>) -> Option<Region> {
    let mut regions = regions.into_iter();
    let mut total = regions.next()?;
    for region in regions {
        if region.variable.is_some() && total.variable.is_some() && region.variable != total.variable {
            return None;
        }
        total.variable = total.variable.or(region.variable);
        total.pieces = merged(join(total.pieces, region.pieces))?;
    }
    Some(total)
}

/// The solutions of x > 3, 2 < x ≤ 5, x ≠ 1, x ∈ S.
fn chain(sides: &[Value], relations: &[Relation]) -> Option<Region> {
    if let ([Value::Expr(Expr::Symbol(name)), set], [Relation::In]) = (sides, relations) {
        let region = region(set)?;
        return Some(Region { variable: Some(name.clone()), ..region });
    }
    let links = sides.windows(2).zip(relations);
    let regions: Option<Vec<Region>> = links.map(|(pair, relation)| link(&pair[0], *relation, &pair[1])).collect();
    joined(regions?, intersection)
}

fn link(left: &Value, relation: Relation, right: &Value) -> Option<Region> {
    let (name, relation, expr) = bound(left, relation, right)?;
    let end = |closed| End::new(&expr, closed);
    let up_to = |closed| Some(vec![Piece { low: End::infinite(-1.0), high: end(closed)? }]);
    let from = |closed| Some(vec![Piece { low: end(closed)?, high: End::infinite(1.0) }]);
    let pieces = match relation {
        Relation::Less => up_to(false),
        Relation::LessOrEqual => up_to(true),
        Relation::Greater => from(false),
        Relation::GreaterOrEqual => from(true),
        Relation::NotEqual => Some(complement(&[Piece { low: end(true)?, high: end(true)? }])),
        _ => None,
    };
    Some(Region { variable: Some(name), pieces: pieces? })
}

fn merged_union(mut one: Vec<Piece>, other: Vec<Piece>) -> Vec<Piece> {
    one.extend(other);
    one
}

/// Pieces in order, where those that touch are one; `None` if there are too many.
fn merged(mut pieces: Vec<Piece>) -> Option<Vec<Piece>> {
    if pieces.len() > MAX_PIECES {
        return None;
    }
    // Of two pieces that begin at one place, the closed one first.
    pieces.sort_by(|one, other| one.low.value.total_cmp(&other.low.value).then(other.low.closed.cmp(&one.low.closed)));
    let mut whole: Vec<Piece> = Vec::new();
    for piece in pieces {
        let Some(last) = whole.last_mut() else {
            whole.push(piece);
            continue;
        };
        let touches = last.high.is_at(&piece.low) && (last.high.closed || piece.low.closed);
        if !touches && !piece.low.is_below(&last.high) {
            whole.push(piece);
        } else if last.high.is_at(&piece.high) {
            last.high.closed |= piece.high.closed;
            if last.low.is_at(&piece.low) {
                last.low.closed |= piece.low.closed;
            }
        } else if last.high.is_below(&piece.high) {
            last.high = piece.high;
        }
    }
    Some(whole)
}

fn intersection(one: Vec<Piece>, other: Vec<Piece>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for a in &one {
        for b in &other {
            let low = inner(&a.low, &b.low, a.low.is_below(&b.low));
            let high = inner(&a.high, &b.high, b.high.is_below(&a.high));
            let is_point = low.is_at(&high) && low.closed && high.closed;
            if low.is_below(&high) || is_point {
                pieces.push(Piece { low, high });
            }
        }
    }
    pieces
}

/// Of two ends the inner one, which is `b` if said so.
fn inner(a: &End, b: &End, b_is_inner: bool) -> End {
    if a.is_at(b) {
        End { closed: a.closed && b.closed, ..a.clone() }
    } else if b_is_inner {
        b.clone()
    } else {
        a.clone()
    }
}

/// What is outside of pieces in order.
fn complement(pieces: &[Piece]) -> Vec<Piece> {
    let mut outside = Vec::new();
    let mut low = End::infinite(-1.0);
    for piece in pieces {
        let high = End { closed: !piece.low.closed, ..piece.low.clone() };
        if low.is_below(&high) {
            outside.push(Piece { low, high });
        }
        low = End { closed: !piece.high.closed, ..piece.high.clone() };
    }
    if low.value < f64::INFINITY {
        outside.push(Piece { low, high: End::infinite(1.0) });
    }
    outside
}

/// Whether two sets are one, of one variable where both name it.
pub(super) fn same_region(one: &Region, other: &Region) -> bool {
    let same_variable = one.variable.is_none() || other.variable.is_none() || one.variable == other.variable;
    let same_end = |one: &End, other: &End| one.closed == other.closed && one.is_at(other);
    let same = |(one, other): (&Piece, &Piece)| same_end(&one.low, &other.low) && same_end(&one.high, &other.high);
    same_variable && one.pieces.len() == other.pieces.len() && one.pieces.iter().zip(&other.pieces).all(same)
}
