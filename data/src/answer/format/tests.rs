//! Claims about completions: where their answer stands, and that no text is too odd.

use super::*;
use crate::own_part;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

fn read(format: AnswerFormat, text: &str) -> Option<String> {
    format.extract(AnswerKind::Number, text, Ending::Finished).map(|answer| answer.to_string())
}

pub(in crate::answer) fn extracted(text: &str) -> Option<String> {
    read(AnswerFormat::Auto, text)
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
    let number = AnswerKind::Number;
    let cut = |text: &str| AnswerFormat::Auto.extract(number, text, Ending::CutOff).map(|answer| answer.to_string());
    for text in ["#### 4", "#### 4.", "#### 4 apples", "The answer is 4", "\\boxed{4", "Answer: 4", "#### 4 + 3 = 7"] {
        assert_eq!(cut(text), None, "{text}");
    }
    for text in ["#### 4\n", "#### 4\nAnd", "\\boxed{4} and", "#### 4\n\nQuestion: Tom has", "The answer is 4. It"] {
        assert_eq!(cut(text).as_deref(), Some("4"), "{text}");
    }
    assert_eq!(AnswerFormat::LastNumber.extract(number, "so 4", Ending::CutOff), None);
}

/// A line of `answers.jsonl`: completions that were once misread or not read.
#[derive(Deserialize)]
struct Case {
    completion: String,
    gold: String,
    /// Whether the completion's answer is the gold one.
    right: bool,
}

#[test]
fn what_was_misread_once_is_read_rightly_or_not_at_all() {
    for line in include_str!("../../../tests/fixtures/answers.jsonl").lines() {
        let Case { completion, gold, right } = serde_json::from_str(line).unwrap();
        let read = AnswerFormat::Auto.extract(AnswerKind::Number, &completion, Ending::Finished);
        assert_eq!(read == Answer::parse(AnswerKind::Number, &gold), right, "{line}: {read:?}");
    }
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
        let read = formats().into_iter().flat_map(|format| {
            [Ending::Finished, Ending::CutOff].map(|ending| format.extract(AnswerKind::Number, &text, ending))
        });
        for answer in read.chain([Answer::parse(AnswerKind::Number, &text)]).flatten() {
            assert_eq!(Answer::parse(AnswerKind::Number, &answer.to_string()), Some(answer), "{text:?}");
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

#[test]
fn an_answer_to_a_command_is_what_is_claimed_or_the_whole_completion() {
    let read = |text: &str, ending| AnswerFormat::Auto.extract(AnswerKind::Command, text, ending).unwrap().to_string();
    assert_eq!(read("I think.\n#### f(x)", Ending::Finished), "f(x)");
    let code = "def f(x):\n    return 2 * x";
    for ending in [Ending::Finished, Ending::CutOff] {
        assert_eq!(read(&format!(" {code}\n"), ending), code);
    }
    assert_eq!(read("", Ending::CutOff), "");
}
