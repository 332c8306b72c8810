//! Claims about final answers: which texts hold one, which one, and that no text is too odd.

use super::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

fn extracted(text: &str) -> Option<String> {
    extract_answer(text).map(|answer| answer.to_string())
}

fn parsed(text: &str) -> Option<String> {
    Answer::parse_number(text).map(|answer| answer.to_string())
}

#[test]
fn the_marked_answer_is_read_in_every_usual_spelling() {
    for (text, expected) in [
        ("#### 72", "72"),
        ("#### 72.", "72"),
        ("#### $72", "72"),
        ("####72", "72"),
        ("#### 72.00", "72"),
        ("#### 1,234", "1234"),
        ("#### 1,234,567.50", "2469135/2"),
        ("#### -3", "-3"),
        ("#### −3", "-3"),
        ("#### +3", "3"),
        ("#### -$3", "-3"),
        ("#### $-3", "-3"),
        ("#### 3/4", "3/4"),
        ("#### 3 / 4", "3/4"),
        ("#### 7 1/2", "15/2"),
        ("#### -7 1/2 cups", "-15/2"),
        ("#### .5", "1/2"),
        ("#### **72**", "72"),
        ("#### **72.**", "72"),
        ("#### `72`", "72"),
        ("#### <72>", "72"),
        ("#### 10%", "10"),
        ("#### 10\\%", "10"),
        ("#### €5", "5"),
        ("#### 72 apples", "72"),
        ("#### 72km", "72"),
        ("#### 5-year", "5"),
        ("#### 3, 4 and 5", "3"),
        ("#### \\boxed{72}", "72"),
        ("#### The answer is 72.", "72"),
        ("#### 48+24 = 72", "72"),
        ("#### x = 5", "5"),
        ("#### 9 eggs * $2 = $18", "18"),
        ("#### $5/hour * 3 hours = $15 a day", "15"),
        ("#### 9 one-way trips", "9"),
        ("#### 18 dollars, since 9 * 2 = 18", "18"),
        ("#### 1{,}234", "1234"),
        ("First 5.\n#### 72\nAnd so on with 9.", "72"),
        ("##### 72", "72"),
        ("#### 72\r\n", "72"),
    ] {
        assert_eq!(extracted(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn an_answer_in_words_or_in_a_box_is_read() {
    for (text, expected) in [
        ("The answer is 42.", "42"),
        ("the final Answer is: $1,042.50!", "2085/2"),
        ("So the answer is **42** apples.", "42"),
        ("The answer is 5 + 3 = 8.", "8"),
        ("The answer is 20 dollars + 5 dollars = 25 dollars.", "25"),
        ("The answer is 1. No, the answer is 2.", "2"),
        ("Therefore, the answer is <203>.", "203"),
        ("\\boxed{42}", "42"),
        ("so $\\boxed{ -1,042 }$.", "-1042"),
        ("\\boxed{\\$42}", "42"),
        ("\\boxed{42\\text{ apples}}", "42"),
        ("\\boxed{\\frac{3}{4}}", "3/4"),
        ("\\boxed{-\\dfrac{3}{4}}", "-3/4"),
        ("\\boxed{3\\frac{1}{2}}", "7/2"),
        ("\\boxed{-3 \\tfrac{1}{2}}", "-7/2"),
        ("\\boxed{1,\\!234}", "1234"),
        ("\\boxed{1\\,234}", "1234"),
        ("\\boxed{x = 42}", "42"),
        ("\\boxed{1} and then \\boxed{2}", "2"),
        ("The answer is \\boxed{42}.", "42"),
    ] {
        assert_eq!(extracted(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn no_answer_is_no_answer() {
    for text in [
        "",
        "...",
        "#### ...",
        "####",
        "#### ",
        "####\n72",
        "72",
        "She has 72 apples.",
        "#### none",
        "#### $",
        "#### -",
        "#### .",
        "The answer is unknown.",
        "The answer is ...",
        "The answer is unknown. Here x = 7",
        "\\boxed{}",
        "\\boxed{72",
        "\\boxed 72",
        "#### \u{0667}",
    ] {
        assert_eq!(extracted(text), None, "{text}");
    }
}

#[test]
fn a_number_before_another_marker_is_not_the_answer() {
    for text in ["#### 72 ####", "#### 72\n####", "#### 72\n#### ...", "The answer is 42. ####", "\\boxed{42}\n#### "] {
        assert_eq!(extracted(text), None, "{text}");
    }
    assert_eq!(extracted("#### 1\n#### 2").as_deref(), Some("2"));
}

#[test]
fn a_piece_of_something_else_is_not_read_as_a_number() {
    for text in [
        "7:30", "1e5", "1e+5", "2^10", "2**3", "48+24", "10-12", "5 x 3", "1,23", "1,2345", "1234,567", "1.2.3",
        "3/4/5",
    ] {
        assert_eq!(extracted(&format!("#### {text}")), None, "{text}");
        assert_eq!(parsed(text), None, "{text}");
    }
}

#[test]
fn a_lone_number_has_no_words_around_it() {
    assert_eq!(parsed(" $1,500.00. ").as_deref(), Some("1500"));
    assert_eq!(parsed("1 1/2").as_deref(), Some("3/2"));
    for text in ["72 apples", "about 72", "7 2", "5 10/2", "", "-", "- 3"] {
        assert_eq!(parsed(text), None, "{text}");
    }
}

#[test]
fn equal_means_equal_as_rationals() {
    for (one, other) in
        [("72", "72.00"), ("72.0", "72"), ("1,000", "1000"), ("0.5", "1/2"), ("-0", "0"), ("6/4", "1.5")]
    {
        assert_eq!(Answer::parse_number(one).unwrap(), Answer::parse_number(other).unwrap(), "{one} {other}");
    }
    assert_ne!(Answer::parse_number("50%"), Answer::parse_number("0.5"), "a percent sign is a unit");
    assert!(Answer::parse_number("1/3") < Answer::parse_number("0.34"));
}

#[test]
fn what_does_not_fit_is_no_answer() {
    let nines = "9".repeat(38);
    assert_eq!(parsed(&nines).as_deref(), Some(nines.as_str()));
    for text in
        ["9".repeat(39), "9".repeat(5000), format!("0.{}1", "0".repeat(60)), "1/0".into(), format!("{nines}/0.00001")]
    {
        assert_eq!(parsed(&text), None, "{text}");
        assert_eq!(extracted(&format!("#### {text}")), None, "{text}");
    }
    assert_eq!(parsed(&format!("7.{}", "0".repeat(60))).as_deref(), Some("7"), "zeros at the end say nothing");
    assert_eq!(Answer::from_fraction(i128::MIN, 3), None);
    let large: Answer = nines.parse().unwrap();
    assert_eq!(large.checked_mul(&large), None);
    assert_eq!(large.checked_div(&Answer::from_integer(0)), None);
    assert_eq!(large.checked_add(&large), None);
}

#[test]
fn arithmetic_is_exact() {
    let number = |text: &str| Answer::parse_number(text).unwrap();
    assert_eq!(number("0.1").checked_add(&number("0.2")), Some(number("0.3")));
    assert_eq!(number("1/3").checked_mul(&number("3")), Some(number("1")));
    assert_eq!(number("1").checked_div(&number("-3")), Some(number("-1/3")));
    assert_eq!(number("1").checked_sub(&number("3/2")), Some(number("-1/2")));
}

#[test]
fn an_answer_is_stored_as_its_text() {
    let half: Answer = "0.5".parse().unwrap();
    assert_eq!(serde_json::to_string(&half).unwrap(), "\"1/2\"");
    assert_eq!(serde_json::from_str::<Answer>("\"1/2\"").unwrap(), half);
    assert!(serde_json::from_str::<Answer>("\"half\"").is_err());
    assert!("".parse::<Answer>().is_err());
}

/// Texts of pieces that the parser looks for, and of arbitrary characters.
fn odd_texts(count: usize) -> impl Iterator<Item = String> {
    const PIECES: [&str; 32] = [
        "####",
        "#",
        " ",
        "\n",
        "\\boxed",
        "{",
        "}",
        "answer is",
        "The Answer is ",
        "-",
        "−",
        "$",
        ".",
        ",",
        "/",
        "%",
        "=",
        "1",
        "23",
        "456",
        "0",
        "000",
        "99999999999999999999999999999999999999",
        "\\frac",
        "*",
        "**",
        "x",
        "e",
        "é",
        "😀",
        "<<1+1=2>>",
        ":",
    ];
    let mut words = ChaCha8Rng::from_seed([7; 32]);
    (0..count).map(move |_| {
        let length = words.next_u32() % 24;
        (0..length)
            .map(|_| match words.next_u32() % 8 {
                0 => char::from_u32(words.next_u32() % 0x3000).unwrap_or('?').to_string(),
                _ => PIECES[words.next_u32() as usize % PIECES.len()].to_owned(),
            })
            .collect()
    })
}

#[test]
fn no_text_is_too_odd() {
    for text in odd_texts(200_000) {
        // An answer that was read can be written and read again.
        for answer in [extract_answer(&text), Answer::parse_number(&text)].into_iter().flatten() {
            assert_eq!(Answer::parse_number(&answer.to_string()), Some(answer), "{text:?}");
        }
        crate::steps(&text);
        crate::matched_steps(&text, &text);
        crate::calculation_trace(&text);
    }
}

#[test]
fn no_bytes_are_too_odd() {
    let mut words = ChaCha8Rng::from_seed([8; 32]);
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..words.next_u32() % 64).map(|_| words.next_u32() as u8 % 128).collect();
        extract_answer(&String::from_utf8_lossy(&bytes));
        let bytes: Vec<u8> = (0..words.next_u32() % 64).map(|_| words.next_u32() as u8).collect();
        extract_answer(&format!("#### {}", String::from_utf8_lossy(&bytes)));
    }
}
