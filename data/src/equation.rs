//! An equation as a solution: one worked line per operation, inner operations first. Independent of data sets.

use anyhow::{Context, Result, bail, ensure};

use crate::rational::Rational;

/// How deep brackets may nest: a malformed file ends in an error, not in a stack overflow.
const MAX_DEPTH: usize = 64;
/// A result without an end, as 1/3 is, is written with so many decimals.
const DECIMALS: u32 = 6;

/// An arithmetic expression whose leaves keep the text they were written with.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A number, as it is written and as it counts.
    Number(String, Rational),
    /// Two expressions joined by one of `+ - * /`.
    Operation(char, Box<Expression>, Box<Expression>),
}

/// Reads prefix notation, as in `- number0 * number1 number2` or `* number0 0.01`.
pub fn parse_prefix(text: &str, numbers: &[String]) -> Result<Expression> {
    let mut tokens = text.split_whitespace();
    let expression = prefix(&mut tokens, numbers, 0)?;
    ensure!(tokens.next().is_none(), "the equation {text:?} has text after its end");
    Ok(expression)
}

/// Reads infix notation with every operation in brackets, as in `( ( 4.0 - 2.0 ) + 3.0 )`.
pub fn parse_infix(text: &str) -> Result<Expression> {
    let mut tokens = text.split_whitespace();
    let expression = infix(&mut tokens, 0)?;
    ensure!(tokens.next().is_none(), "the equation {text:?} has text after its end");
    Ok(expression)
}

/// The solution in GSM8K's format that leads to the published answer.
///
/// Published answers are now and then rounded (69.4 for 69.36…) and carry the noise of binary fractions. The last worked
/// line then states the published answer, as a person would who rounds. Where the equation does not lead to the published
/// answer at all there is no honest worked line: the solution is the answer alone.
pub fn solution(expression: &Expression, published: &str) -> Result<String> {
    let published = plain(published);
    let answer: Rational = published.parse().context("the published answer")?;
    let mut lines = Vec::new();
    let worked = work(expression, &mut lines);
    let last_line = match worked.filter(|worked| rounds_to(&worked.value, &answer, &published)) {
        Some(_) => format!("#### {published}"),
        None => return Ok(format!("#### {published}")),
    };
    let count = lines.len();
    let mut text: Vec<String> = lines
        .into_iter()
        .enumerate()
        .map(|(at, line)| {
            let result = if at + 1 == count { &published } else { &line.result };
            let (left, operator, right) = (&line.left, line.operator, &line.right);
            format!("{left} {operator} {right} = <<{left}{operator}{right}={result}>>{result}")
        })
        .collect();
    text.push(last_line);
    Ok(text.join("\n"))
}

/// A number without meaningless decimals: `1500.0` is 1500; `2.40` stays as it is.
pub fn plain(number: &str) -> String {
    let number = number.trim();
    match number.split_once('.') {
        Some((whole, decimals)) if !whole.is_empty() && decimals.bytes().all(|digit| digit == b'0') => whole.to_owned(),
        _ => number.to_owned(),
    }
}

/// One operation of a solution, its numbers written out.
struct Line {
    left: String,
    operator: char,
    right: String,
    result: String,
}

/// A value, and the text that stands for it in the lines to come.
struct Worked {
    value: Rational,
    text: String,
}

fn prefix<'a>(tokens: &mut impl Iterator<Item = &'a str>, numbers: &[String], depth: usize) -> Result<Expression> {
    ensure!(depth < MAX_DEPTH, "the equation nests more than {MAX_DEPTH} deep");
    let token = tokens.next().context("the equation ends too early")?;
    if let Some(operator) = operator(token) {
        let left = prefix(tokens, numbers, depth + 1)?;
        let right = prefix(tokens, numbers, depth + 1)?;
        return Ok(Expression::Operation(operator, Box::new(left), Box::new(right)));
    }
    match token.strip_prefix("number") {
        Some(place) => {
            let number = place.parse().ok().and_then(|place: usize| numbers.get(place));
            leaf(number.with_context(|| format!("the equation names {token:?}, which has no number"))?)
        }
        None => leaf(token),
    }
}

fn infix<'a>(tokens: &mut impl Iterator<Item = &'a str>, depth: usize) -> Result<Expression> {
    ensure!(depth < MAX_DEPTH, "the equation nests more than {MAX_DEPTH} deep");
    let token = tokens.next().context("the equation ends too early")?;
    if token != "(" {
        return leaf(token);
    }
    let left = infix(tokens, depth + 1)?;
    let sign = tokens.next().context("the equation ends too early")?;
    let operator = operator(sign).with_context(|| format!("{sign:?} stands where + - * or / should"))?;
    let right = infix(tokens, depth + 1)?;
    match tokens.next() {
        Some(")") => Ok(Expression::Operation(operator, Box::new(left), Box::new(right))),
        _ => bail!("a bracket of the equation is not closed"),
    }
}

fn operator(token: &str) -> Option<char> {
    let mut chars = token.chars();
    let operator = chars.next().filter(|c| "+-*/".contains(*c))?;
    chars.next().is_none().then_some(operator)
}

fn leaf(number: &str) -> Result<Expression> {
    let text = plain(number);
    let value = text.parse().context("in the equation")?;
    Ok(Expression::Number(text, value))
}

/// Writes the lines of an expression and returns its value; `None` where it has none, as a division by 0.
fn work(expression: &Expression, lines: &mut Vec<Line>) -> Option<Worked> {
    let (operator, left, right) = match expression {
        Expression::Number(text, value) => return Some(Worked { value: value.clone(), text: text.clone() }),
        Expression::Operation(operator, left, right) => (*operator, work(left, lines)?, work(right, lines)?),
    };
    let value = left.value.checked(operator, &right.value)?;
    let result = decimal_text(&value)?;
    lines.push(Line { left: operand(left.text), operator, right: operand(right.text), result: result.clone() });
    Some(Worked { value, text: result })
}

/// A negative operand stands in brackets, so that no two signs meet.
fn operand(text: String) -> String {
    if text.starts_with('-') { format!("({text})") } else { text }
}

/// A value with at most [`DECIMALS`] decimals, half away from zero, and no trailing zeros.
pub(crate) fn decimal_text(value: &Rational) -> Option<String> {
    let scale = 10_i128.pow(DECIMALS);
    let (numerator, denominator) = value.as_fraction();
    let twice = numerator.unsigned_abs().checked_mul(2 * scale.unsigned_abs())?;
    let rounded = twice.checked_add(denominator.unsigned_abs())? / denominator.unsigned_abs().checked_mul(2)?;
    let (whole, decimals) = (rounded / scale.unsigned_abs(), rounded % scale.unsigned_abs());
    let sign = if numerator < 0 && rounded > 0 { "-" } else { "" };
    let text = format!("{sign}{whole}.{decimals:0width$}", width = DECIMALS as usize);
    Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

/// Whether the published answer is the value, rounded to the decimals it is published with, or off by the noise of a
/// binary fraction (one part in 10^12).
pub(crate) fn rounds_to(value: &Rational, answer: &Rational, published: &str) -> bool {
    let places = published.split_once('.').map_or(0, |(_, decimals)| decimals.len() as u32);
    let within = || {
        let difference = magnitude(&value.checked_sub(answer)?);
        let unit = Rational::from_fraction(1, 10_i128.checked_pow(places)?.checked_mul(2)?)?;
        let noise = magnitude(value).checked_div(&Rational::from_integer(1_000_000_000_000))?;
        Some(difference <= unit || difference <= noise)
    };
    value == answer || within() == Some(true)
}

fn magnitude(value: &Rational) -> Rational {
    let zero = Rational::from_integer(0);
    if *value < zero { zero.checked_sub(value).unwrap_or(zero) } else { value.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| plain(text)).collect()
    }

    #[test]
    fn inner_operations_come_first() {
        let numbers = numbers(&["25000.0", "1500.0", "8.0"]);
        let expression = parse_prefix("- number0 * number1 number2", &numbers).unwrap();
        assert_eq!(
            solution(&expression, "13000.0").unwrap(),
            "1500 * 8 = <<1500*8=12000>>12000\n25000 - 12000 = <<25000-12000=13000>>13000\n#### 13000"
        );
    }

    #[test]
    fn infix_and_prefix_mean_the_same() {
        let prefix = parse_prefix("+ - number0 number1 3.0", &numbers(&["4.0", "2.0"])).unwrap();
        assert_eq!(prefix, parse_infix("( ( 4.0 - 2.0 ) + 3.0 )").unwrap());
    }

    #[test]
    fn constants_and_decimals_are_exact() {
        let expression = parse_prefix("+ * number0 0.01 * number1 0.1", &numbers(&["2.0", "12.0"])).unwrap();
        assert_eq!(
            solution(&expression, "1.22").unwrap(),
            "2 * 0.01 = <<2*0.01=0.02>>0.02\n12 * 0.1 = <<12*0.1=1.2>>1.2\n0.02 + 1.2 = <<0.02+1.2=1.22>>1.22\n#### 1.22"
        );
    }

    #[test]
    fn the_last_line_states_a_rounded_answer_as_published() {
        let expression = parse_prefix("/ number0 number1", &numbers(&["10.0", "3.0"])).unwrap();
        assert_eq!(solution(&expression, "3.333").unwrap(), "10 / 3 = <<10/3=3.333>>3.333\n#### 3.333");
    }

    #[test]
    fn an_equation_that_contradicts_the_answer_is_not_shown() {
        let expression = parse_infix("( 40.0 / 7.0 )").unwrap();
        assert_eq!(solution(&expression, "5.0").unwrap(), "#### 5");
        let zero = parse_infix("( 40.0 / 0.0 )").unwrap();
        assert_eq!(solution(&zero, "5.0").unwrap(), "#### 5");
    }

    #[test]
    fn a_negative_result_stands_in_brackets_in_the_next_line() {
        let expression = parse_infix("( 9.0 - ( 2.0 - 5.0 ) )").unwrap();
        assert_eq!(solution(&expression, "12.0").unwrap(), "2 - 5 = <<2-5=-3>>-3\n9 - (-3) = <<9-(-3)=12>>12\n#### 12");
    }

    #[test]
    fn an_endless_intermediate_result_is_written_with_six_decimals() {
        let expression = parse_infix("( ( 2.0 / 3.0 ) * 9.0 )").unwrap();
        assert_eq!(
            solution(&expression, "6.0").unwrap(),
            "2 / 3 = <<2/3=0.666667>>0.666667\n0.666667 * 9 = <<0.666667*9=6>>6\n#### 6"
        );
    }

    #[test]
    fn malformed_equations_are_errors() {
        for text in ["", "+ 1", "+ 1 2 3", "+ 1 number7", "% 1 2"] {
            assert!(parse_prefix(text, &[]).is_err(), "{text}");
        }
        for text in ["", "( 1", "( 1 + 2", "( 1 % 2 )", "( 1 + 2 ) 3", "one"] {
            assert!(parse_infix(text).is_err(), "{text}");
        }
        assert!(parse_infix(&"( ".repeat(100_000)).is_err());
        assert!(parse_prefix(&"+ ".repeat(100_000), &[]).is_err());
    }
}
