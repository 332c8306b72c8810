//! Claims about answers as numbers: when two are one, what fits, how they are stored.

use super::format::tests::extracted;
use crate::rational::Rational;

fn parsed(text: &str) -> Option<String> {
    Rational::parse_number(text).map(|answer| answer.to_string())
}

#[test]
fn a_lone_number_has_no_words_around_it() {
    assert_eq!(parsed(" $1,500.00. ").as_deref(), Some("1500"));
    assert_eq!(parsed("1 1/2").as_deref(), Some("3/2"));
    assert_eq!(parsed("- 3").as_deref(), Some("-3"));
    for text in ["72 apples", "about 72", "7 2", "5 10/2", "", "-"] {
        assert_eq!(parsed(text), None, "{text}");
    }
}

#[test]
fn equal_means_equal_as_rationals() {
    for (one, other) in
        [("72", "72.00"), ("72.0", "72"), ("1,000", "1000"), ("0.5", "1/2"), ("-0", "0"), ("6/4", "1.5")]
    {
        assert_eq!(Rational::parse_number(one).unwrap(), Rational::parse_number(other).unwrap(), "{one} {other}");
    }
    assert_ne!(Rational::parse_number("50%"), Rational::parse_number("0.5"), "a percent sign is a unit");
    assert!(Rational::parse_number("1/3") < Rational::parse_number("0.34"));
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
    assert_eq!(Rational::from_fraction(i128::MIN, 3), None);
    let large: Rational = nines.parse().unwrap();
    assert_eq!(large.checked_mul(&large), None);
    assert_eq!(large.checked_div(&Rational::from_integer(0)), None);
    assert_eq!(large.checked_add(&large), None);
}

#[test]
fn arithmetic_is_exact() {
    let number = |text: &str| Rational::parse_number(text).unwrap();
    assert_eq!(number("0.1").checked_add(&number("0.2")), Some(number("0.3")));
    assert_eq!(number("1/3").checked_mul(&number("3")), Some(number("1")));
    assert_eq!(number("1").checked_div(&number("-3")), Some(number("-1/3")));
    assert_eq!(number("1").checked_sub(&number("3/2")), Some(number("-1/2")));
}

#[test]
fn an_answer_is_stored_as_its_text() {
    let half: Rational = "0.5".parse().unwrap();
    assert_eq!(serde_json::to_string(&half).unwrap(), "\"1/2\"");
    assert_eq!(serde_json::from_str::<Rational>("\"1/2\"").unwrap(), half);
    assert!(serde_json::from_str::<Rational>("\"half\"").is_err());
    assert!("".parse::<Rational>().is_err());
}
