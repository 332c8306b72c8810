//! The grammar of answers: lists, intervals, sets, relations, matrices, ratios and words, around expressions. Independent of when
//! two of them are equal.

use super::row::{Separator, group, is_one_pair, split, top_level, trimmed};
use super::term::{MAX_DEPTH, expression};
use super::token::Token;
use super::tree::{Expr, Join, Number, Relation, Value};
use super::words;

/// An answer that was read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub value: Value,
    /// The unit of measurement that stood behind it, if there was one.
    pub unit: Option<String>,
}

/// Reads the tokens of an answer; `None` where they are no answer that is understood.
pub(super) fn read(tokens: &[Token]) -> Option<Reading> {
    let tokens: Vec<Token> = without_empty_groups(tokens);
    let mut reader = Reader { units: Vec::new(), left: 400 };
    let value = reader.value(&tokens, 0)?;
    let mut units = reader.units;
    units.dedup();
    Some(Reading { value, unit: if units.len() == 1 { units.pop() } else { None } })
}

fn without_empty_groups(tokens: &[Token]) -> Vec<Token> {
    let mut kept: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens.iter().filter(|token| !matches!(token, Token::Space)) {
        match (kept.last(), token) {
            (Some(Token::GroupOpen), Token::GroupClose) => drop(kept.pop()),
            _ => kept.push(token.clone()),
        }
    }
    kept
}

struct Reader {
    units: Vec<String>,
    /// How many more values may be read.
    left: usize,
}

impl Reader {
    fn value(&mut self, tokens: &[Token], depth: usize) -> Option<Value> {
        self.left = self.left.checked_sub(1)?;
        if depth > MAX_DEPTH {
            return None;
        }
        let tokens = trimmed(tokens);
        if tokens.is_empty() {
            return None;
        }
        if let Some(inner) = group(tokens) {
            return self.value(inner, depth + 1);
        }
        let has = |is: Separator| top_level(tokens).any(|(_, token)| is(token));
        if has(separates_items) {
            self.list(tokens, depth)
        } else if has(|token| matches!(token, Token::Relation(_))) {
            self.chain(tokens, depth)
        } else if has(|token| matches!(token, Token::Union | Token::Without | Token::Intersection)) {
            self.sets(tokens, depth)
        } else if is_bracketed(tokens) {
            self.bracketed(tokens, depth)
        } else {
            self.scalar(tokens, depth)
        }
    }

    /// Values with commas, semicolons, "and" or "or" between them.
    fn list(&mut self, tokens: &[Token], depth: usize) -> Option<Value> {
        let parts = split(tokens, separates_items);
        let joined_by = |word: &str| tokens.iter().any(|token| matches!(token, Token::Text(text) if text == word));
        let mut items = Vec::new();
        // `1, 2, and 3` has an empty part.
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            match self.value(part, depth + 1)? {
                Value::List { items: inner, .. } => items.extend(inner),
                value => items.push(value),
            }
        }
        let join = match (joined_by("or"), joined_by("and")) {
            (true, _) => Join::Or,
            (false, true) => Join::And,
            (false, false) => Join::Comma,
        };
        Some(Value::List { items: named(items), join })
    }

    /// Sides with relations between them.
    fn chain(&mut self, tokens: &[Token], depth: usize) -> Option<Value> {
        let parts = split(tokens, |token| matches!(token, Token::Relation(_)));
        let relations = top_level(tokens).filter_map(|(_, token)| match token {
            Token::Relation(relation) => Some(*relation),
            _ => None,
        });
        let mut relations: Vec<Relation> = relations.collect();
        let mut sides = Vec::new();
        for (at, part) in parts.into_iter().enumerate() {
            // `= 5`, as what is left of a calculation.
            if part.is_empty() && at == 0 {
                relations.remove(0);
                continue;
            }
            // A rounded value after an exact one says nothing new.
            if at > 0 && relations.get(at - 1) == Some(&Relation::Approximately) && !sides.is_empty() {
                let is_name = sides.len() == 1 && sides.first().is_some_and(super::relation::is_name);
                if !is_name {
                    relations.truncate(at - 1);
                    break;
                }
                relations[at - 1] = Relation::Equal;
            }
            sides.push(self.value(part, depth + 1)?);
        }
        if sides.len() == 1 {
            return sides.pop();
        }
        // x = ±2 are two equations.
        if let (Some(Value::List { items, .. }), [Relation::Equal]) = (sides.last(), relations.as_slice()) {
            let name = sides.first()?.clone();
            let items = items.iter().map(|item| assigned(&name, item.clone())).collect();
            return Some(Value::List { items, join: Join::Or });
        }
        Some(Value::Chain { sides, relations })
    }

    /// Unions, intersections and differences.
    fn sets(&mut self, tokens: &[Token], depth: usize) -> Option<Value> {
        let mut parts = |separates: Separator| {
            let parts = split(tokens, separates);
            let is_one = parts.len() == 1;
            (!is_one).then(|| parts.into_iter().map(|part| self.value(part, depth + 1)).collect::<Option<Vec<Value>>>())
        };
        if let Some(parts) = parts(|token| matches!(token, Token::Union)) {
            return parts.map(Value::Union);
        }
        if let Some(parts) = parts(|token| matches!(token, Token::Without)) {
            return parts.map(Value::Difference);
        }
        parts(|token| matches!(token, Token::Intersection))?.map(Value::Intersection)
    }

    /// What stands in one pair of brackets.
    fn bracketed(&mut self, tokens: &[Token], depth: usize) -> Option<Value> {
        let [Token::Open(open), inner @ .., Token::Close(close)] = tokens else { return None };
        if *open == '{' {
            return self.set(inner, depth);
        }
        let parts = split(inner, |token| matches!(token, Token::Comma | Token::Semicolon));
        if parts.len() < 2 {
            // Brackets around one value: `(5)`, `\left[\begin{array}…\end{array}\right]`, `(x = 5)`.
            return self.value(inner, depth + 1);
        }
        let items: Option<Vec<Value>> = parts.into_iter().map(|part| self.value(part, depth + 1)).collect();
        Some(Value::Bracketed { items: items?, left_closed: *open == '[', right_closed: *close == ']' })
    }

    fn set(&mut self, inner: &[Token], depth: usize) -> Option<Value> {
        if trimmed(inner).is_empty() {
            return Some(Value::Set(Vec::new()));
        }
        // { x | condition }
        let is_such_that: Separator = |token| matches!(token, Token::Mid | Token::Bar | Token::Colon);
        let bars = top_level(inner).filter(|(_, token)| is_such_that(token)).count();
        if let Some(at) = inner.iter().position(is_such_that).filter(|_| bars % 2 == 1) {
            let is_variable = matches!(
                &inner[..at],
                [Token::Symbol(_)] | [Token::Symbol(_), Token::Relation(Relation::In), Token::Symbol(_)]
            );
            let condition = if is_variable { self.value(&inner[at + 1..], depth + 1) } else { None };
            return condition.filter(|value| super::region::region(value).is_some());
        }
        Some(Value::Set(match self.value(inner, depth + 1)? {
            Value::List { items, .. } => items,
            value => vec![value],
        }))
    }

    /// One value: a matrix, a ratio, a number in a base, words or an expression; with ± it is two.
    fn scalar(&mut self, tokens: &[Token], depth: usize) -> Option<Value> {
        if tokens.iter().any(|token| matches!(token, Token::PlusMinus | Token::MinusPlus)) {
            let one = self.value(&signed(tokens, false), depth + 1)?;
            let other = self.value(&signed(tokens, true), depth + 1)?;
            return Some(Value::List { items: vec![one, other], join: Join::Or });
        }
        if let Some(matrix) = super::matrix::matrix(tokens) {
            return Some(Value::Matrix(matrix));
        }
        let tokens = self.without_unit(tokens);
        let parts = split(tokens, |token| matches!(token, Token::Colon));
        if parts.len() > 1 {
            if let [[Token::Number(_)], [Token::Number(minutes)]] = parts.as_slice() {
                // A time of day.
                if minutes.digits.len() == 2 && minutes.digits.starts_with('0') {
                    return None;
                }
            }
            let terms: Option<Vec<Expr>> = parts.into_iter().map(expression).collect();
            return terms.map(Value::Ratio);
        }
        based(tokens).or_else(|| expression(tokens).map(Value::Expr))
    }

    /// The tokens before the unit that ends them.
    fn without_unit<'a>(&mut self, tokens: &'a [Token]) -> &'a [Token] {
        let Some((at, _)) = top_level(tokens).find(|(_, token)| matches!(token, Token::Unit(_))) else { return tokens };
        let belongs = |token: &Token| {
            use Token::*;
            matches!(
                token,
                Unit(_) | Caret | Number(_) | GroupOpen | GroupClose | Times | Divide | Minus | Degree | Prime
            )
        };
        // `40 \text{ ft}/(\text{s})` and the like are rare; a second number is not.
        if at == 0 || !tokens[at..].iter().all(belongs) {
            return tokens;
        }
        let mut unit = String::new();
        for token in &tokens[at..] {
            match token {
                Token::Unit(name) => {
                    let bare: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
                    unit.push_str(words::unit(&bare).unwrap_or("?"));
                }
                Token::Number(number) => unit.push_str(&number.digits),
                Token::Divide => unit.push('/'),
                _ => {}
            }
        }
        self.units.push(unit);
        let before = &tokens[..at];
        // `5 / \text{s}`, `6 \cdot \text{m}`
        match before {
            [value @ .., Token::Divide | Token::Times] => value,
            _ => before,
        }
    }
}

fn separates_items(token: &Token) -> bool {
    match token {
        Token::Comma | Token::Semicolon => true,
        Token::Text(word) => matches!(word.as_str(), "and" | "or"),
        _ => false,
    }
}

/// Whether one pair of brackets holds everything, and what it holds is not one factor of a product.
fn is_bracketed(tokens: &[Token]) -> bool {
    let kinds = match tokens {
        [Token::Open(open), .., Token::Close(close)] => (*open, *close),
        _ => return false,
    };
    matches!(kinds, ('(' | '[', ')' | ']') | ('{', '}')) && is_one_pair(tokens)
}

/// A number with its base as an index.
fn based(tokens: &[Token]) -> Option<Value> {
    let (number, base): (&Number, &Number) = match tokens {
        [Token::Number(number), Token::Underscore, Token::Number(base)]
        | [Token::Number(number), Token::Underscore, Token::GroupOpen, Token::Number(base), Token::GroupClose] => {
            (number, base)
        }
        _ => return None,
    };
    let base = base.integer.and_then(|base| u32::try_from(base).ok()).filter(|base| (2..=36).contains(base))?;
    Some(Value::Based { digits: number.digits.clone(), base })
}

/// `n = 1, 2, 3`: the name holds for what follows it bare.
fn named(items: Vec<Value>) -> Vec<Value> {
    let Some(Value::Chain { sides, relations }) = items.first() else { return items };
    let ([name, _], [Relation::Equal]) = (sides.as_slice(), relations.as_slice()) else { return items };
    let bare = |value: &Value| matches!(value, Value::Expr(_) | Value::Bracketed { .. });
    if items.len() < 2 || !super::relation::is_name(name) || !items[1..].iter().all(bare) {
        return items;
    }
    let name = name.clone();
    items.into_iter().enumerate().map(|(at, item)| if at == 0 { item } else { assigned(&name, item) }).collect()
}

fn assigned(name: &Value, value: Value) -> Value {
    if matches!(value, Value::Chain { .. }) {
        return value;
    }
    Value::Chain { sides: vec![name.clone(), value], relations: vec![Relation::Equal] }
}

/// The tokens with one of the two signs of ±.
fn signed(tokens: &[Token], lower: bool) -> Vec<Token> {
    let sign = |minus: bool| if minus { Token::Minus } else { Token::Plus };
    let choose = |token: &Token| match token {
        Token::PlusMinus => sign(lower),
        Token::MinusPlus => sign(!lower),
        other => other.clone(),
    };
    tokens.iter().map(choose).collect()
}
