//! Rows of tokens: brackets that match, parts between separators. Independent of what the parts mean.

use super::token::Token;

/// Where a row of tokens is split.
pub(super) type Separator = fn(&Token) -> bool;

/// The inside of braces of LaTeX around everything.
pub(super) fn group(tokens: &[Token]) -> Option<&[Token]> {
    let [Token::GroupOpen, inner @ .., Token::GroupClose] = tokens else { return None };
    is_one_pair(tokens).then_some(inner)
}

/// The row without separators at its ends.
pub(super) fn trimmed(tokens: &[Token]) -> &[Token] {
    let is_mark = |token: &Token| matches!(token, Token::Comma | Token::Semicolon | Token::NewRow | Token::Ampersand);
    let from = tokens.iter().position(|token| !is_mark(token)).unwrap_or(tokens.len());
    let to = tokens.iter().rposition(|token| !is_mark(token)).map_or(from, |at| at + 1);
    &tokens[from..to]
}

/// The tokens that stand in no bracket, group or environment of the row, with their places.
pub(super) fn top_level(tokens: &[Token]) -> impl Iterator<Item = (usize, &Token)> {
    let mut depth = 0_i64;
    tokens.iter().enumerate().filter(move |(_, token)| {
        let before = depth;
        match token {
            Token::Open(_) | Token::GroupOpen | Token::Begin(_) => depth += 1,
            Token::Close(_) | Token::GroupClose | Token::End => depth -= 1,
            _ => {}
        }
        before == 0 && depth == 0
    })
}

/// The parts of a row between separators at its top level.
pub(super) fn split(tokens: &[Token], separates: Separator) -> Vec<&[Token]> {
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, _) in top_level(tokens).filter(|(_, token)| separates(token)) {
        parts.push(&tokens[from..at]);
        from = at + 1;
    }
    parts.push(&tokens[from..]);
    parts
}

/// Whether the first bracket is closed by the last.
pub(super) fn is_one_pair(tokens: &[Token]) -> bool {
    let mut depth = 0_i64;
    let closed = tokens.iter().position(|token| {
        match token {
            Token::Open(_) | Token::GroupOpen | Token::Begin(_) => depth += 1,
            Token::Close(_) | Token::GroupClose | Token::End => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    closed.is_some_and(|at| at + 1 == tokens.len())
}
