//! Claims about numbers: which spellings are read as what, and what beside a number makes it unread.

use crate::answer::format::tests::extracted;
use crate::rational::Rational;

#[test]
fn a_piece_of_something_else_is_not_read_as_a_number() {
    for text in [
        "7:30",
        "2^10",
        "2**3",
        "48+24",
        "10-12",
        "5 x 3",
        "1,23",
        "1,2345",
        "1234,567",
        "1.2.3",
        "3/4/5",
        "0,500",
        "1 23",
        "1 2345",
        "1,234 567",
        "1,234.567.890",
    ] {
        assert_eq!(extracted(&format!("#### {text}")), None, "{text}");
        assert_eq!(Rational::parse_number(text), None, "{text}");
    }
}

#[test]
fn what_multiplies_a_number_or_groups_its_digits_is_read_rightly() {
    for (text, expected) in [
        ("1.5 million", "1500000"),
        ("3 thousand", "3000"),
        ("$5k", "5000"),
        ("5K", "5000"),
        ("2M", "2000000"),
        ("2 hundred", "200"),
        ("2 hundred thousand", "200000"),
        ("3 billion dollars", "3000000000"),
        ("5\u{4e07}", "50000"),
        ("5\u{4e07}\u{5143}", "50000"),
        ("4 lakh", "400000"),
        ("5km", "5"),
        ("1 000 000", "1000000"),
        ("1'000'000", "1000000"),
        ("1_000_000", "1000000"),
        ("1~000", "1000"),
        ("1\\;000", "1000"),
        ("1.234,56", "30864/25"),
        ("1\u{a0}000\u{a0}000", "1000000"),
        ("1\u{202f}000 apples", "1000"),
        ("1\u{2009}000\u{2009}000", "1000000"),
        ("1\u{2019}000\u{2019}000", "1000000"),
        ("1\u{66c}234", "1234"),
        ("1\u{ff0c}234", "1234"),
        ("1.000.000", "1000000"),
        ("12,34,567", "1234567"),
        ("1e6", "1000000"),
        ("1.5E+3", "1500"),
        ("25e-1", "5/2"),
        ("5*10^6", "5000000"),
        ("5 x 10^{6}", "5000000"),
        ("5 \u{d7} 10\u{2076}", "5000000"),
    ] {
        assert_eq!(extracted(&format!("#### {text}")).as_deref(), Some(expected), "{text}");
    }
    for (text, expected) in [("12 500", "12500"), ("12\\ 500", "12500"), ("5 \\times 10^6", "5000000")] {
        assert_eq!(extracted(&format!("\\boxed{{{text}}}")).as_deref(), Some(expected), "{text}");
    }
    for text in
        ["12 500 apples", "5 100 dollar bills", "$5m", "3 dozen", "3 dozen eggs", "7 tenths", "2 million 500 thousand"]
    {
        assert_eq!(extracted(&format!("#### {text}")), None, "{text}");
    }
}

#[test]
fn latex_fractions_digits_and_units_of_other_kinds_are_read() {
    for (text, expected) in [
        ("\\boxed{\\text{42 apples}}", "42"),
        ("\\boxed{\\mathbf{42}}", "42"),
        ("\\boxed{42\\%}", "42"),
        ("\\boxed{\\frac12}", "1/2"),
        ("\\boxed{\\frac{1}2}", "1/2"),
        ("\\boxed{\\dfrac 3 4}", "3/4"),
        ("\\boxed{\\text{\\$}42}", "42"),
        ("\\boxed{\\left(42\\right)}", "42"),
        ("\\boxed{6 \\times 7 = 42}", "42"),
        ("\\boxed{42^\\circ}", "42"),
        ("\\boxed{x = \\frac{-3}{4}}", "-3/4"),
        ("\\fbox{42}", "42"),
        ("#### 2\u{bd}", "5/2"),
        ("#### \u{bd}", "1/2"),
        ("#### 3\u{2044}4", "3/4"),
        ("#### 2 and a half", "5/2"),
        ("#### 2 and 3/4 cups", "11/4"),
        ("#### 2 and three quarters", "11/4"),
        ("#### USD 42", "42"),
        ("#### US$42", "42"),
        ("#### Rs. 42", "42"),
        ("#### \u{20b9}5", "5"),
        ("#### - 5", "-5"),
        ("#### negative 5", "-5"),
        ("#### 42 m^2", "42"),
        ("#### 42 m\u{b2}", "42"),
        ("#### 42 m2", "42"),
        ("#### 72 \u{4e2a}", "72"),
        ("#### \u{ff14}\u{ff12}", "42"),
        ("#### \u{0664}\u{0662}", "42"),
        ("#### \u{200b}42", "42"),
        ("#### 42 = 6*7", "42"),
        ("#### 3 times", "3"),
        ("#### 5 more than Tom", "5"),
        ("#### 18 dollars (9 * 2)", "18"),
        ("#### 18 because 9 * 2 = 18", "18"),
        ("#### $42$", "42"),
        ("#### $$42$$", "42"),
        ("#### *42*", "42"),
        ("#### 42 **dollars**", "42"),
        ("#### **42** apples!", "42"),
    ] {
        assert_eq!(extracted(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn a_number_that_something_behind_it_could_change_is_not_read() {
    for text in [
        "6 ** 2",
        "6 % 2",
        "2x",
        "2 x",
        "3y",
        "6\u{b7}2",
        "6\u{2217}2",
        "4\u{b2}",
        "4\u{3c0}",
        "3/4 of 20",
        "5 more than 3",
        "3 or 4",
        "3 or four",
        "3 or more",
        "3, 4, 5",
        "3, 4 and 5",
        "3 to 5",
        "3-5",
        "3\u{2013}5",
        "3 hours 30 minutes",
        "3 hours and 30 minutes",
        "3 hours, 30 minutes",
        "3 hours thirty minutes",
        "5 feet 3 inches",
        "3; 4",
        "5, or 6",
        "5 plus tax",
        "5 squared",
        "5+",
        "5 +",
        "5 apples and 3 pears",
        "5 (or 6)",
        "5(3)",
        "3:4",
        "x >= 5",
        "x != 5",
        "5 < x",
        "5 degrees below zero",
        "3 : 4",
        "42 + tax",
        "42 (mod 5)",
        "42 (thousand)",
        "4 mil",
        "1\u{5104}2000\u{4e07}",
        "0.333...",
        "5 out of 10",
        "5 remainder 2",
        "42 = 6*8",
        "x = 3, y = 4",
        "x = 3 or x = 4",
        "about 42",
        "3 and a half dozen",
        "5'10",
    ] {
        assert_eq!(extracted(&format!("#### {text}")), None, "{text}");
    }
}

#[test]
fn a_number_within_a_formula_is_not_read() {
    for text in [
        "2^{10}",
        "4\\sqrt{2}",
        "6\\cdot 2",
        "6!",
        "6\\pm 2",
        "0.\\overline{3}",
        "(1, 4.5)",
        "2\\pi",
        "\\frac{x}{2}",
        "3\\frac{x}{2}",
        "\\frac{1}{2}\\frac{1}{3}",
        "42} million {",
        "5} \\times 10^6 {",
    ] {
        assert_eq!(extracted(&format!("\\boxed{{{text}}}")), None, "{text}");
    }
}

#[test]
fn a_number_that_is_not_the_claim_of_its_sentence_is_not_read() {
    for text in [
        "The answer is 3 more than 4, so 7.",
        "The answer is not 42.",
        "Answer: 16 - 7 = 9 eggs.\nThen 9*2 = 18 dollars.",
        "A: 9 eggs are left.\nThen 9*2 = 18.",
        "\\boxed{3}, \\boxed{4}",
        "\\boxed{3} and $\\boxed{4}$",
    ] {
        assert_eq!(extracted(text), None, "{text}");
    }
}
