//! The steps of a solution: its lines and their results. Independent of rewards, models and whether an answer is right.

use std::sync::LazyLock;

use regex::Regex;

use crate::{Tokenizer, arithmetic, equation::rounds_to, rational::Rational};

/// A line of a solution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Byte offset just past the line's text, before its `\n`.
    pub line_end: usize,
    /// What the line works out, if it works out anything.
    pub result: Option<Rational>,
}

/// One step per line that is not empty, but for lines that begin with `####`.
///
/// The result of a line is the value of its last `<<expression=value>>`, or, without brackets, of its last calculation
/// `a op b = c`. Numbers may carry thousands commas, a dollar or a percent sign, and without brackets a unit of a few words
/// as well (`29 rows * 7 seats per row = 203 seats`); a single letter is no unit, so that algebra (`2x + 3 = 7`) is not
/// taken for arithmetic.
pub fn steps(solution: &str) -> Vec<Step> {
    lines(solution)
        .map(|(line_end, line)| Step {
            line_end,
            result: calculations(line).last().and_then(|calculation| calculation.value.clone()),
        })
        .collect()
}

/// The intermediate results of a reference solution, in order.
pub fn reference_results(solution: &str) -> Vec<Rational> {
    steps(solution).into_iter().filter_map(|step| step.result).collect()
}

/// The prefixes S_1..S_i of a solution: the places of the tokens that end its steps, and of its last token, rising.
pub fn prefix_ends(tokenizer: &Tokenizer, tokens: &[u32]) -> Vec<usize> {
    let Some(last) = tokens.len().checked_sub(1) else { return Vec::new() };
    let text = tokenizer.decode(tokens);
    let mut ends: Vec<usize> =
        steps(&text).iter().map(|step| tokenizer.token_reaching(tokens, step.line_end)).chain([last]).collect();
    ends.dedup();
    ends
}

/// The calculations of a solution in order, as `48/2=24`: no white space, currency or thousands commas, and one sign for
/// each operation, so that two ways to write a calculation are one.
pub fn calculation_trace(solution: &str) -> Vec<String> {
    lines(solution).flat_map(|(_, line)| calculations(line)).map(|calculation| calculation.text).collect()
}

/// Whether every calculation of a solution states its correct value, up to rounding. What cannot be read as one, an
/// unknown say, is not held against it.
pub fn calculations_hold(solution: &str) -> bool {
    lines(solution).flat_map(|(_, line)| calculations(line)).all(|calculation| holds(&calculation) != Some(false))
}

/// Whether a calculation states its correct value, up to rounding; `None` where that cannot be read.
pub(crate) fn holds(calculation: &Calculation) -> Option<bool> {
    let (expression, stated) = calculation.text.rsplit_once('=')?;
    let worked = arithmetic::value(expression, Rational::parse_number)?;
    let value = calculation.value.as_ref()?;
    // A share may be stated in percent, `40/50=80%`, and so may a number of percents, `2*40=80%`.
    let shares = worked.checked_mul(&Rational::from_integer(100)).filter(|_| stated.ends_with('%'));
    Some([Some(worked), shares].into_iter().flatten().any(|worked| rounds_to(&worked, value, stated)))
}

/// A calculation as it stands in a line.
pub(crate) struct Calculation {
    /// As `48/2=24`: without white space, currency and units.
    pub text: String,
    /// What it states as its value.
    pub value: Option<Rational>,
}

/// The lines that are steps, each with the byte offset of its end.
pub(crate) fn lines(solution: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut end = 0;
    solution
        .split_inclusive('\n')
        .map(move |line| {
            end += line.len();
            let text = line.strip_suffix('\n').unwrap_or(line);
            (end - (line.len() - text.len()), text)
        })
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with("####"))
}

/// What may follow a number: up to six words of two letters and more, as in "seats per row", "dollars/hour".
const UNIT: &str = r"(?:(?:\s+|\s*/\s*|-)[A-Za-z][A-Za-z'’]+)";

/// The annotated calculations of a line, or, where there are none, those it spells out.
pub(crate) fn calculations(line: &str) -> Vec<Calculation> {
    static ANNOTATED: LazyLock<Regex> = LazyLock::new(|| pattern(r"<<([^<>\n]*)=([^<>=\n]*)>>"));
    static SPELT_OUT: LazyLock<Regex> = LazyLock::new(|| {
        let number = r"[-−]?\$?[-−]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)%?";
        let measured = format!(r"{number}(?:\s\d+/\d+)?{UNIT}{{0,6}}?");
        let operation = format!(r"\(*\s*{measured}(?:[\s)]*[-+*/×÷·−–xX][\s(]*{measured})+[\s)]*");
        pattern(&format!(r"({operation})=\s*({number}(?:/\d+|\s\d+/\d+)?)"))
    });
    let found = |pattern: &Regex| -> Vec<Calculation> {
        pattern.captures_iter(line).map(|captures| calculation(&captures[1], &captures[2])).collect()
    };
    let annotated = found(&ANNOTATED);
    if annotated.is_empty() { found(&SPELT_OUT) } else { annotated }
}

fn calculation(expression: &str, value: &str) -> Calculation {
    Calculation { text: normalised(&format!("{expression}={value}")), value: Rational::parse_number(value.trim()) }
}

/// Without white space, units, currency and thousands commas, and with one sign for each operation.
pub(crate) fn normalised(calculation: &str) -> String {
    static UNITS: LazyLock<Regex> = LazyLock::new(|| pattern(UNIT));
    // `1 1/2` without its space would be eleven halves.
    static MIXED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\d+)\s+(\d+/\d+)"));
    MIXED
        .replace_all(&UNITS.replace_all(calculation, ""), "($1+$2)")
        .chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '$' | ','))
        .map(|c| match c {
            '×' | '·' | 'x' | 'X' => '*',
            '÷' => '/',
            '−' | '–' => '-',
            other => other,
        })
        .collect()
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of this file")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(solution: &str) -> Vec<Option<String>> {
        steps(solution).into_iter().map(|step| step.result.map(|result| result.to_string())).collect()
    }

    fn result(line: &str) -> Option<String> {
        results(line).pop().flatten()
    }

    const REFERENCE: &str = "Half of 48 is 48/2 = <<48/2=24>>24.\nTogether 48+24 = <<48+24=72>>72.\n#### 72";

    #[test]
    fn a_prefix_ends_with_a_line_and_the_last_one_with_the_last_token() {
        let text = " 6*4 = <<6*4=24>>24\n24-3 = <<24-3=21>>21\n#### 21";
        let tokenizer = Tokenizer::train_bpe(&[text.to_string()], 280).unwrap();
        let mut tokens = tokenizer.encode(text);
        tokens.push(tokenizer.eos_ids()[0]);
        let ends = prefix_ends(&tokenizer, &tokens);
        let texts: Vec<String> = ends.iter().map(|&end| tokenizer.decode(&tokens[..=end])).collect();
        assert_eq!(texts, [" 6*4 = <<6*4=24>>24", " 6*4 = <<6*4=24>>24\n24-3 = <<24-3=21>>21", text]);
        assert_eq!(*ends.last().unwrap(), tokens.len() - 1, "the end of the sequence");
        assert!(prefix_ends(&tokenizer, &[]).is_empty());
    }

    #[test]
    fn a_line_ends_before_its_newline_and_the_last_line_at_the_end() {
        let text = "ä 1+1 = 2\n\n  \n3+4 = 7";
        let ends: Vec<usize> = steps(text).into_iter().map(|step| step.line_end).collect();
        assert_eq!(ends, [text.find('\n').unwrap(), text.len()]);
    }

    #[test]
    fn the_answer_line_is_no_step() {
        assert_eq!(results(REFERENCE), [Some("24".into()), Some("72".into())]);
        assert_eq!(results("  #### 5"), []);
    }

    #[test]
    fn the_last_annotation_of_a_line_is_its_result() {
        assert_eq!(result("2+2 = <<2+2=4>>4 and then $<<4*1,000=4,000>>4000").as_deref(), Some("4000"));
        assert_eq!(result("a half <<1/2=.5>>").as_deref(), Some("1/2"));
        assert_eq!(result("broken <<1/2=>> and <<3").as_deref(), None);
    }

    #[test]
    fn an_annotation_goes_before_what_is_spelt_out() {
        assert_eq!(result("5 + 5 = 11, that is <<5+5=10>>").as_deref(), Some("10"));
    }

    #[test]
    fn calculations_without_brackets_are_read() {
        for (line, expected) in [
            ("16-3-4=9 eggs", "9"),
            ("She has 12 x 2 = 24 pages", "24"),
            ("12 × 2 = 24", "24"),
            ("30 ÷ 4 = 7.5", "15/2"),
            ("It costs $1,200 + $300 = $1,500.", "1500"),
            ("(48 + 24) / 2 = 36", "36"),
            ("On day 3, 5 + 4 = 9", "9"),
            ("4 − 6 = −2", "-2"),
            ("20% * 50 = 10", "10"),
            ("2+2=4, and 4*3=12", "12"),
            ("1/4+1/4 = 1/2 cup", "1/2"),
            ("2 + 1 1/2 = 3 1/2 feet", "7/2"),
            ("90 days – 30 days = 60 days.", "60"),
            ("29 species * 7 pairs per species = 203 pairs", "203"),
            ("2 rows x 5 seats = 10 seats", "10"),
            ("$5/hour * 3 hours = $15", "15"),
            ("3 cats and 5 - 2 = 3 dogs", "3"),
        ] {
            assert_eq!(result(line).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn a_line_without_a_calculation_has_no_result() {
        for line in
            ["Let x = 5", "There are 12 pages.", "max 5 = 5", "a + b = c", "5 + = 6", "2x + 3 = 7", "140 + 140x = 147"]
        {
            assert_eq!(result(line), None, "{line}");
        }
    }

    #[test]
    fn two_ways_to_write_a_calculation_have_one_trace() {
        let trace = ["12*2=24", "24+1200=1224"];
        assert_eq!(calculation_trace("12 x 2 = <<12*2=24>>24\n24 + 1200 = <<24+1200=1224>>1224\n#### 1224"), trace);
        assert_eq!(calculation_trace("12 × 2 = 24\n$24 + $1,200 = $1,224\n#### 1224"), trace);
        assert_eq!(calculation_trace("12 rows x 2 seats/row = 24\n24 seats + 1,200 seats = 1224 seats"), trace);
    }

    #[test]
    fn a_solution_holds_where_all_its_calculations_come_out() {
        for right in [
            REFERENCE,
            "12 x 2 = <<12*2=24>>24\n24 + 1200 = <<24+1200=1224>>1224\n#### 1224",
            "It costs $1,200 + $300 = $1,500.",
            "100/3 = <<100/3=33.33>>33.33",
            "20% * 50 = 10 and no more",
            "8/25 = 32%, and 100% - 32% = 68%, and 2*34 = 68%",
            "2 + 1 1/2 = 3 1/2 feet",
            "nothing is worked out\n#### 7",
            "2 rows x 5 seats = 10 seats\n#### 11",
        ] {
            assert!(calculations_hold(right), "{right}");
        }
        for wrong in [
            "12+12 = <<12+12=20>>20\n#### 20",
            "2*3 = <<2*3=6>>6\n14-6 = <<14-6=9>>9",
            "100/3 = 33.5",
            "1+1 = 3",
            "20% * 50 = 12",
        ] {
            assert!(!calculations_hold(wrong), "{wrong}");
        }
    }
}
