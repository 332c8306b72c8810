//! Matrices and vectors written as environments of LaTeX. Independent of when two of them are equal.

use super::row::{split, top_level};
use super::term::expression;
use super::token::Token;
use super::tree::Expr;

/// The most rows, and the most columns.
const MAX_SIZE: usize = 12;

/// A matrix, a multiple of one, or a sum of them.
pub(super) fn matrix(tokens: &[Token]) -> Option<Vec<Vec<Expr>>> {
    if !tokens.iter().any(|token| matches!(token, Token::Begin(_))) {
        return None;
    }
    let mut total: Option<Vec<Vec<Expr>>> = None;
    for (negative, term) in terms(tokens) {
        let matrix = multiple(term)?;
        let matrix = if negative { map(matrix, Expr::negative) } else { matrix };
        total = Some(match total {
            None => matrix,
            Some(total) => sum(total, matrix)?,
        });
    }
    total
}

/// The terms at the top level, with their signs.
fn terms(tokens: &[Token]) -> Vec<(bool, &[Token])> {
    let mut terms = Vec::new();
    let (mut from, mut negative) = (0, false);
    for (at, token) in top_level(tokens) {
        if matches!(token, Token::Plus | Token::Minus) {
            if at > from {
                terms.push((negative, &tokens[from..at]));
                negative = false;
            }
            negative ^= matches!(token, Token::Minus);
            from = at + 1;
        }
    }
    terms.push((negative, &tokens[from..]));
    terms
}

/// `\frac{1}{2} \begin{pmatrix} … \end{pmatrix}`
fn multiple(tokens: &[Token]) -> Option<Vec<Vec<Expr>>> {
    let begin = tokens.iter().position(|token| matches!(token, Token::Begin(_)))?;
    let end = tokens.iter().position(|token| matches!(token, Token::End))?;
    let (Token::Begin(environment), true) = (tokens.get(begin)?, begin < end) else { return None };
    // A determinant is a number.
    let is_matrix =
        matches!(environment.as_str(), "matrix" | "pmatrix" | "bmatrix" | "smallmatrix" | "array" | "Bmatrix");
    if !is_matrix {
        return None;
    }
    let (mut before, mut after) = (&tokens[..begin], &tokens[end + 1..]);
    // Brackets around an array.
    if let ([.., Token::Open('(' | '[')], [Token::Close(')' | ']'), ..]) = (before, after) {
        (before, after) = (&before[..before.len() - 1], &after[1..]);
    }
    if !after.is_empty() {
        return None;
    }
    let rows: Option<Vec<Vec<Expr>>> = split(&tokens[begin + 1..end], |token| matches!(token, Token::NewRow))
        .into_iter()
        .filter(|row| !row.is_empty())
        .map(|row| split(row, |token| matches!(token, Token::Ampersand)).into_iter().map(expression).collect())
        .collect();
    let rows = rows.filter(|rows| rows.len() <= MAX_SIZE && rows.iter().all(|row| row.len() <= MAX_SIZE))?;
    let width = rows.first()?.len();
    if rows.iter().any(|row| row.len() != width) {
        return None;
    }
    let before = if let [factor @ .., Token::Times] = before { factor } else { before };
    if before.is_empty() {
        return Some(rows);
    }
    let factor = expression(before)?;
    Some(map(rows, |entry| Expr::Product(vec![factor.clone(), entry])))
}

fn map(matrix: Vec<Vec<Expr>>, change: impl Fn(Expr) -> Expr) -> Vec<Vec<Expr>> {
    matrix.into_iter().map(|row| row.into_iter().map(&change).collect()).collect()
}

fn sum(one: Vec<Vec<Expr>>, other: Vec<Vec<Expr>>) -> Option<Vec<Vec<Expr>>> {
    let shape = |matrix: &Vec<Vec<Expr>>| (matrix.len(), matrix.first().map(Vec::len));
    (shape(&one) == shape(&other)).then(|| {
        let add = |(one, other)| Expr::Sum(vec![one, other]);
        one.into_iter().zip(other).map(|(one, other)| one.into_iter().zip(other).map(add).collect()).collect()
    })
}
