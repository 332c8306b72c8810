//! The calculator of GSM8K (Cobbe et al. 2021, arXiv 2110.14168, appendix C): what it writes after `<<48/2=`. Independent of
//! tokens and models.

use crate::{arithmetic, equation::decimal_text, rational::Rational, steps::normalised};

/// What the calculator writes where a text ends with `<<expression=`: the value and `>>`, as in `24>>`. `None` where the text ends
/// otherwise, and where the expression has no value: then the writer goes on by itself.
///
/// The value is exact, and is written as decimals without trailing zeros: `24`, `0.5`, `-2`. One that needs more than six decimals is rounded
/// to six, half away from zero; where that leaves 0, there is no result. An expression is read as in
/// [`calculations_hold`](crate::calculations_hold): currency, thousands commas, units and `×` or `x` may stand in it, and `20%` is 0.2. So
/// what the calculator writes always holds.
pub fn calculation_result(text: &str) -> Option<String> {
    let opened = text.strip_suffix('=')?;
    let (_, expression) = opened.rsplit_once("<<")?;
    if expression.contains(['<', '>', '=', '\n']) {
        return None;
    }
    let value = arithmetic::value(&normalised(expression), Rational::parse_number)?;
    let written = decimal_text(&value)?;
    let is_lost = written == "0" && value != Rational::from_integer(0);
    (!is_lost).then(|| written + ">>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{calculations_hold, steps};

    #[test]
    fn the_result_is_exact_and_written_as_gsm8k_writes_it() {
        for (text, expected) in [
            ("<<48/2=", "24>>"),
            (" Half of 48 is 48/2 = <<48/2=", "24>>"),
            ("<<1+1=2>>2 and <<2+3*4=", "14>>"),
            ("<<(2+3)*4=", "20>>"),
            ("<<5/2=", "2.5>>"),
            ("<<1/2=", "0.5>>"),
            ("<<.5*.5=", "0.25>>"),
            ("<<20/5000=", "0.004>>"),
            ("<<0.1+0.2=", "0.3>>"),
            ("<<3-5=", "-2>>"),
            ("<<100/3=", "33.333333>>"),
            ("<<2/3=", "0.666667>>"),
            ("<<$1,200 + $300=", "1500>>"),
            ("<<12 x 2=", "24>>"),
            ("<<20%*50=", "10>>"),
            ("<<7=", "7>>"),
            ("<<3-3=", "0>>"),
        ] {
            assert_eq!(calculation_result(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_text_that_does_not_end_with_an_open_calculation_has_no_result() {
        for text in [
            "",
            "=",
            "<<",
            "<<=",
            "48/2=",
            "<<48/2",
            "<<48/2= ",
            "<<48/2=2",
            "<<48/2=24>>",
            "<<48/2=24>>24=",
            "<<1+1=2=",
            "<<48\n/2=",
            "<48/2=",
            "<<4>8=",
            "<<x+1=",
            "<<2+=",
            "<<1/0=",
            "<<1/9999999=",
        ] {
            assert_eq!(calculation_result(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_the_calculator_writes_holds() {
        let operators = ["+", "-", "*", "/", "%*", " x ", "-1/", "*.5-"];
        for (place, operator) in (1..2000).zip(operators.iter().cycle()) {
            let open = format!("<<{}{operator}{}=", place * 7919 % 1009, place * 31 % 97 + 1);
            let Some(result) = calculation_result(&open) else { continue };
            let whole = open + &result;
            assert!(calculations_hold(&whole), "{whole}");
            assert!(steps(&whole)[0].result.is_some(), "{whole}");
        }
    }
}
