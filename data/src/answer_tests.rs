//! Claims about final answers: which texts hold one, which one, and that no text is too odd.

use super::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Deserialize;

fn read(format: AnswerFormat, text: &str) -> Option<String> {
    format.extract(text, Ending::Finished).map(|answer| answer.to_string())
}

fn extracted(text: &str) -> Option<String> {
    read(AnswerFormat::Auto, text)
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
        assert_eq!(parsed(text), None, "{text}");
    }
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
fn a_number_that_something_beside_it_could_change_is_not_read() {
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

#[test]
fn what_instruct_models_write_is_read_by_auto() {
    for (text, expected) in [
        ("**Answer:** 4.", "4"),
        ("Answer: 42", "42"),
        ("ANSWER: 42", "42"),
        ("A: 18", "18"),
        ("She has 9 left.\nA: 18", "18"),
        ("Final Answer: **73**", "73"),
        ("**Final answer: 73 apples**", "73"),
        ("#### Answer: 42", "42"),
        ("#### **Answer:** 42", "42"),
        ("### Final Answer\n42", "42"),
        ("**Final Answer**\n\n\\(42\\)", "42"),
        ("The final answer to the question is $42.", "42"),
        ("The answer is:\n\n**42**", "42"),
        ("<think>5+5=10</think>\n<answer>10</answer>", "10"),
        ("<answer>\nThe answer is 10.\n</answer>", "10"),
        ("<answer>#### 10</answer>", "10"),
        ("Answer: 5 + 3 = 8", "8"),
        ("Answer: 42 apples\n\nExplanation: 40 + 2 = 42", "42"),
        ("The answer is therefore 42.", "42"),
        (
            "<|channel|>analysis<|message|>so 7<|end|><|start|>assistant<|channel|>final<|message|>Answer: 42<|return|>",
            "42",
        ),
    ] {
        assert_eq!(extracted(text).as_deref(), Some(expected), "{text}");
    }
    for text in [
        "Answer: yes",
        "Answer:",
        "A: She has 3.",
        "### Final Answer\n- 5 apples\n- 3 pears",
        "<answer>none</answer> 42",
    ] {
        assert_eq!(extracted(text), None, "{text}");
    }
}

#[test]
fn a_heading_is_no_answer() {
    assert_eq!(extracted("#### Step 1\nadd\n#### Step 2\nso \\boxed{42}").as_deref(), Some("42"));
    assert_eq!(extracted("#### Step 1\n40+2\n#### Answer: 42").as_deref(), Some("42"));
    for text in [
        "#### 1. First we add\n40+2\n#### 2. Then we stop\nDone",
        "#### 2) Then we stop",
        "#### **1.** First",
        "#### 2: Then we stop",
        "#### Step 2",
        "#### 42\n#### Conclusion",
    ] {
        assert_eq!(extracted(text), None, "{text}");
        assert_eq!(read(AnswerFormat::Gsm8k, text), None, "{text}");
    }
}

#[test]
fn a_completion_ends_where_it_runs_on_into_a_question_or_turn_of_its_own() {
    for (text, expected) in [
        (
            "She has 40+2 = 42.\n#### 42\n\nQuestion: Tom has 3 apples and gets 4. How many?\nAnswer: 3+4 = 7.\n#### 7",
            Some("42"),
        ),
        ("#### 42\n\nQuestion: Tom?\nAnswer: 3\n####", Some("42")),
        ("#### 42\n\nQ: Tom?\n#### 7", Some("42")),
        ("#### 42\n\n**Question 2:** Tom?\n#### 7", Some("42")),
        ("I skip.\n\nQuestion: Tom?\nAnswer: 3+4=7\n#### 7", None),
        ("#### 42</s><s>Question: x\nAnswer: y\n#### 7", Some("42")),
        ("#### 42<|im_end|>\n<|im_start|>user\n#### 7", Some("42")),
        ("<|endoftext|>#### 7", None),
        ("The answer is \\boxed{42}.\n\nUser: What is 3+4?\nAssistant: \\boxed{7}", Some("42")),
        ("Question: Tom has 42.\n#### 42", Some("42")),
        ("\nQuestion: Tom has 42.\n#### 42", Some("42")),
    ] {
        assert_eq!(extracted(text).as_deref(), expected, "{text}");
        assert!(text.starts_with(own_part(text)));
    }
    assert_eq!(own_part(" 1+1 = 2\n#### 2\n\nQuestion: more?"), " 1+1 = 2\n#### 2\n\n");
}

#[test]
fn what_was_thought_is_no_answer() {
    for text in [
        "<think>Maybe\n#### 7\n</think>\nI do not know.",
        "<think>Maybe\n#### 7",
        "Maybe\n#### 7\n</think>\nI do not know.",
        "<thinking>\\boxed{7}</thinking>",
        "[THINK]#### 7[/THINK] none",
    ] {
        for format in formats() {
            assert_eq!(read(format, text), None, "{text}");
        }
    }
    let text = "<think>\nQuestion: what? #### 7\n</think>\n#### 42";
    assert_eq!(extracted(text).as_deref(), Some("42"), "a question within the thinking is thought");
}

#[test]
fn each_format_reads_its_own_form_alone() {
    let text = "\\boxed{1}\nThe answer is 2.\n#### 3\nThat makes 4 boxes: 5 in all";
    let named = |name: &str| read(name.parse().unwrap(), text);
    for (name, expected) in
        [("auto", "3"), ("gsm8k", "3"), ("boxed", "1"), ("last-number", "5"), ("regex:makes (\\d+)", "4")]
    {
        assert_eq!(named(name).as_deref(), Some(expected), "{name}");
        assert_eq!(name.parse::<AnswerFormat>().unwrap().to_string(), name);
    }
    for name in ["gsm8k", "boxed"] {
        assert_eq!(read(name.parse().unwrap(), "The answer is 42."), None, "{name}");
    }
    for wrong in ["", "GSM8K", "regex:(", "last_number"] {
        assert!(wrong.parse::<AnswerFormat>().is_err(), "{wrong}");
    }
}

#[test]
fn the_last_number_is_read_with_its_sign_and_fraction() {
    for (text, expected) in [
        ("She pays 3 and then $1,234.50.", Some("2469/2")),
        ("so -5", Some("-5")),
        ("10-3", Some("3")),
        ("there are 2 1/2", Some("5/2")),
        ("half, 3/4", Some("3/4")),
        ("4 apples", Some("4")),
        ("5 squared", None),
        ("none", None),
    ] {
        assert_eq!(read(AnswerFormat::LastNumber, text).as_deref(), expected, "{text}");
    }
}

#[test]
fn a_completion_that_was_cut_off_within_its_answer_has_none() {
    let cut = |text: &str| AnswerFormat::Auto.extract(text, Ending::CutOff).map(|answer| answer.to_string());
    for text in ["#### 4", "#### 4.", "#### 4 apples", "The answer is 4", "\\boxed{4", "Answer: 4", "#### 4 + 3 = 7"] {
        assert_eq!(cut(text), None, "{text}");
    }
    for text in ["#### 4\n", "#### 4\nAnd", "\\boxed{4} and", "#### 4\n\nQuestion: Tom has", "The answer is 4. It"] {
        assert_eq!(cut(text).as_deref(), Some("4"), "{text}");
    }
    assert_eq!(AnswerFormat::LastNumber.extract("so 4", Ending::CutOff), None);
}

/// A line of `answers.jsonl`: completions that were once misread or not read.
#[derive(Deserialize)]
struct Case {
    completion: String,
    gold: Answer,
    /// Whether the completion's answer is the gold one.
    right: bool,
}

#[test]
fn what_was_misread_once_is_read_rightly_or_not_at_all() {
    for line in include_str!("../tests/fixtures/answers.jsonl").lines() {
        let Case { completion, gold, right } = serde_json::from_str(line).unwrap();
        let read = AnswerFormat::Auto.extract(&completion, Ending::Finished);
        assert_eq!(read == Some(gold), right, "{line}: {read:?}");
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

fn formats() -> [AnswerFormat; 5] {
    ["auto", "gsm8k", "boxed", "last-number", "regex:answer(.*)"].map(|name| name.parse().unwrap())
}

/// Texts of pieces that the parser looks for, and of arbitrary characters.
fn odd_texts(count: usize) -> impl Iterator<Item = String> {
    const PIECES: [&str; 44] = [
        "\\text{",
        "\\times",
        "\\sqrt",
        "^{",
        "½",
        "²",
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "\n\nQuestion:",
        "million",
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
    for text in odd_texts(10_000) {
        // An answer that was read can be written and read again.
        let read = formats()
            .into_iter()
            .flat_map(|format| [Ending::Finished, Ending::CutOff].map(|ending| format.extract(&text, ending)));
        for answer in read.chain([Answer::parse_number(&text)]).flatten() {
            assert_eq!(Answer::parse_number(&answer.to_string()), Some(answer), "{text:?}");
        }
        crate::steps(&text);
        crate::calculation_trace(&text);
    }
}

#[test]
fn no_text_is_too_long_or_too_deep() {
    for piece in [
        "(",
        "()",
        "{",
        "\\text{",
        "\\boxed{",
        "####",
        "<think>",
        "</think>",
        "1,",
        " 1",
        "-",
        "$",
        "=",
        "^",
        "answer is ",
    ] {
        extracted(&piece.repeat(20_000));
        extracted(&format!("#### 5 {}", piece.repeat(20_000)));
    }
}

#[test]
fn no_bytes_are_too_odd() {
    let mut words = ChaCha8Rng::from_seed([8; 32]);
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..words.next_u32() % 64).map(|_| words.next_u32() as u8 % 128).collect();
        extracted(&String::from_utf8_lossy(&bytes));
        let bytes: Vec<u8> = (0..words.next_u32() % 64).map(|_| words.next_u32() as u8).collect();
        extracted(&format!("#### {}", String::from_utf8_lossy(&bytes)));
    }
}
