//! The exact value of a calculation as it is written. Independent of solutions. The reader is written by hand: some fifty lines that bound
//! how deep brackets nest and keep fractions exact.

use crate::rational::Rational;

/// How deep brackets may nest: what a model writes ends in `None`, not in a stack overflow.
const MAX_DEPTH: usize = 64;

/// The value of decimal numbers and percentages joined by `+ - * /` and brackets, products before sums; `None` of anything else, of a division by 0,
/// and where it does not fit. `number` reads
/// a number of digits and points.
pub fn value(expression: &str, number: fn(&str) -> Option<Rational>) -> Option<Rational> {
    let mut reader = Reader { rest: expression.trim_start(), depth: 0, number };
    let value = reader.sum()?;
    reader.rest.is_empty().then_some(value)
}

/// What is still to be read; it never begins with white space.
struct Reader<'a> {
    rest: &'a str,
    depth: usize,
    number: fn(&str) -> Option<Rational>,
}

impl Reader<'_> {
    /// Takes one of some signs.
    fn take(&mut self, signs: &[char]) -> Option<char> {
        let sign = self.rest.chars().next().filter(|sign| signs.contains(sign))?;
        self.rest = self.rest[sign.len_utf8()..].trim_start();
        Some(sign)
    }

    fn sum(&mut self) -> Option<Rational> {
        self.joined(['+', '-'], |reader| reader.joined(['*', '/'], Self::factor))
    }

    /// Parts with some signs between them, from left to right.
    fn joined(&mut self, signs: [char; 2], part: fn(&mut Self) -> Option<Rational>) -> Option<Rational> {
        let mut value = part(self)?;
        while let Some(sign) = self.take(&signs) {
            value = value.checked(sign, &part(self)?)?;
        }
        Some(value)
    }

    fn factor(&mut self) -> Option<Rational> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let factor = if self.take(&['-']).is_some() {
            Rational::from_integer(0).checked_sub(&self.factor()?)?
        } else if self.take(&['(']).is_some() {
            let inside = self.sum()?;
            self.take(&[')'])?;
            inside
        } else {
            let end = self.rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
            let (number, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
            self.rest = rest.trim_start();
            let number = (self.number)(number)?;
            match self.take(&['%']) {
                Some(_) => number.checked_div(&Rational::from_integer(100))?,
                None => number,
            }
        };
        self.depth -= 1;
        Some(factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_come_before_sums_and_brackets_before_both() {
        for (expression, expected) in [
            ("7", "7"),
            ("2+3*4", "14"),
            ("(2+3)*4", "20"),
            ("20-5-3", "12"),
            ("60/4/5", "3"),
            ("1/3+1/6", "1/2"),
            (" 2 * ( 1.5 - .5 ) ", "2"),
            ("-3*-2", "6"),
            ("0.1+0.2", "3/10"),
            ("20%*50", "10"),
        ] {
            assert_eq!(
                value(expression, Rational::parse_number).map(|value| value.to_string()).as_deref(),
                Some(expected),
                "{expression}"
            );
        }
    }

    #[test]
    fn what_is_no_calculation_has_no_value() {
        let deep = format!("{}1{}", "(".repeat(1000), ")".repeat(1000));
        let huge = vec!["9999999999999999"; 20].join("*");
        for expression in
            ["", "x+1", "2+", "(2", "2)", "1/0", "2 3", "1=1", "1..2", "--", &"-".repeat(100_000), &deep, &huge]
        {
            assert_eq!(value(expression, Rational::parse_number), None, "{}", &expression[..expression.len().min(40)]);
        }
    }
}
