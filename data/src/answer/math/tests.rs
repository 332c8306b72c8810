//! Claims about mathematical answers: what is read, what equals what, what a completion claims, and that no text costs much.

use std::time::{Duration, Instant};

use super::{MathAnswer, extract, parse_claim};

mod hostile;
mod kinds;
mod pairs;

fn parsed(text: &str) -> MathAnswer {
    MathAnswer::parse(text).unwrap_or_else(|| panic!("{text:?} is no answer"))
}

fn claimed(completion: &str) -> Option<String> {
    extract(completion).map(|answer| answer.to_string())
}

#[test]
fn the_last_box_is_the_claim() {
    assert_eq!(
        claimed(r"First \boxed{1}. So in the end we get $\boxed{\frac{1}{2}}$.").as_deref(),
        Some(r"\frac{1}{2}")
    );
    assert_eq!(claimed(r"Hence \fbox{x^{2}+1}").as_deref(), Some("x^{2}+1"));
    assert_eq!(claimed(r"<think>\boxed{3}</think> It is \boxed{4}.").as_deref(), Some("4"));
}

#[test]
fn boxes_side_by_side_are_one_claim() {
    let roots = extract(r"The roots are $\boxed{2}$ and $\boxed{3}$.").unwrap();
    assert!(roots.equals(&parsed("3, 2")));
    let again = extract(r"It is $\boxed{3\frac{1}{2}}$, or $\boxed{\frac{7}{2}}$.").unwrap();
    assert!(again.equals(&parsed("3.5")), "one value in two ways is one value");
    assert_eq!(claimed(r"If $a = 1$ it is $\boxed{5}$. For $a = 2$ it is $\boxed{6}$.").as_deref(), Some("6"));
}

#[test]
fn what_multiplies_a_box_from_outside_makes_it_unread() {
    for text in [r"\boxed{5} million", r"$\boxed{5} \times 10^6$", r"$\boxed{2}^{10}$"] {
        assert_eq!(claimed(text), None, "{text}");
    }
    assert_eq!(claimed(r"$\boxed{30}^\circ$").as_deref(), Some("30"));
    assert!(extract(r"$\boxed{28}$ percent").unwrap().equals(&parsed(r"28\%")));
}

#[test]
fn a_box_that_is_cut_off_claims_nothing() {
    assert_eq!(claimed(r"So \boxed{\frac{1}{2"), None);
    assert_eq!(claimed(r"\boxed{1} and then \boxed{2"), None);
}

#[test]
fn without_a_box_a_sentence_a_marker_or_the_last_formula_is_the_claim() {
    for (text, claim) in [
        ("The final answer is $x+1$. I hope it is correct.", "x+1"),
        ("Therefore the answer is 3/4.", "3/4"),
        ("**Answer:** $(1, 2)$", "(1, 2)"),
        ("Answer: \\[ 9 \\]", "9"),
        ("48 + 24 = 72\n#### 72", "72"),
        ("Final Answer: The largest $n$ is 34.", "34"),
        ("We add $2$ and $3$ and find $x = 5$.", "x = 5"),
        ("\\frac{1}{2}", "\\frac{1}{2}"),
    ] {
        let found = extract(text).unwrap_or_else(|| panic!("{text}"));
        assert!(found.equals(&parsed(claim)), "{text}: {found}");
    }
    assert_eq!(claimed("I do not know what to write here, because the question is hard to understand for me."), None);
    assert_eq!(claimed(""), None);
}

#[test]
fn a_claim_that_a_format_has_located_is_read_with_its_marks() {
    for (text, claim) in [("$x^2$", "x^2"), (r"\boxed{7}", "7"), (" 72 ", "72"), ("it is $2$ or $3$", "2, 3")] {
        assert!(parse_claim(text).unwrap().equals(&parsed(claim)), "{text}");
    }
}

#[test]
fn an_answer_is_shown_and_stored_as_it_was_written() {
    let answer = parsed(r"  \frac{1}{2} ");
    assert_eq!(answer.to_string(), r"\frac{1}{2}");
    let stored = serde_json::to_string(&answer).unwrap();
    assert_eq!(stored, r#""\\frac{1}{2}""#);
    assert_eq!(serde_json::from_str::<MathAnswer>(&stored).unwrap(), parsed("0.5"));
    assert!(serde_json::from_str::<MathAnswer>("\" \"").is_err());
    assert!(MathAnswer::parse("  ").is_none());
}
