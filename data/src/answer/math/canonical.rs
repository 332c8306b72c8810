//! Rows of tokens as text, so that what is not understood can still be compared. Independent of grammar.

use super::token::Token;

/// A text that two rows of tokens share only if they are the same.
pub(super) fn canonical(tokens: &[Token]) -> String {
    let mut text = String::new();
    for (at, token) in tokens.iter().enumerate() {
        // Braces around one token say nothing.
        let is_group = |at: usize| match tokens.get(at..at + 3) {
            Some([Token::GroupOpen, inner, Token::GroupClose]) => !matches!(inner, Token::GroupClose),
            _ => false,
        };
        match token {
            Token::Space => {}
            Token::GroupOpen if is_group(at) => {}
            Token::GroupClose if at >= 2 && is_group(at - 2) => {}
            Token::Number(number) => text.push_str(&format!("{} {};", number.digits, number.residue.key())),
            Token::Text(words) => text.push_str(&format!("{words};")),
            Token::Symbol(name) => text.push_str(&format!("{name};")),
            other => text.push_str(&format!("{other:?};")),
        }
    }
    text
}
