//! Claims about the benchmark as a whole: right, clean, deterministic, and of the stated size and difficulty.

use super::draft::{Draft, draw};
use super::kinds::{KINDS, Role};
use super::profile::Profile;
use super::random::Random;
use super::scenarios::SCENARIOS;
use super::settings::HELD_OUT_PAIRS;
use super::template::Formula;
use super::words::{capitalised, counted, with_article};
use super::*;
use crate::problem::gold_answer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

const SPLITS: [Split; 4] = [Split::Train, Split::Validation, Split::Test, Split::TestUnseen];

/// The corpus, made once for all tests.
static CORPUS: LazyLock<Vec<String>> = LazyLock::new(pretraining_corpus);

/// The value of a calculation with `+ - * /` and brackets.
fn value(expression: &str) -> i64 {
    fn sum(text: &mut std::iter::Peekable<std::str::Chars<'_>>) -> i64 {
        let mut total = product(text);
        while let Some(&operator @ ('+' | '-')) = text.peek() {
            text.next();
            let right = product(text);
            total += if operator == '+' { right } else { -right };
        }
        total
    }
    fn product(text: &mut std::iter::Peekable<std::str::Chars<'_>>) -> i64 {
        let mut total = atom(text);
        while let Some(&operator @ ('*' | '/')) = text.peek() {
            text.next();
            let right = atom(text);
            total = if operator == '*' { total * right } else { total / right };
        }
        total
    }
    fn atom(text: &mut std::iter::Peekable<std::str::Chars<'_>>) -> i64 {
        if text.next_if_eq(&'(').is_some() {
            let inner = sum(text);
            assert_eq!(text.next(), Some(')'));
            return inner;
        }
        let mut number = 0;
        while let Some(digit) = text.peek().and_then(|character| character.to_digit(10)) {
            number = 10 * number + i64::from(digit);
            text.next();
        }
        number
    }
    sum(&mut expression.chars().peekable())
}

#[test]
fn the_terse_style_joins_pairs_of_lines_and_keeps_every_value() {
    let mut joined = 0;
    for problem in SPLITS.into_iter().flat_map(problems) {
        for line in problem.solution.lines().filter(|line| line.contains("<<")) {
            let equation = &line[line.find("<<").expect("found") + 2..line.find(">>").expect("its end")];
            let (expression, result) = equation.split_once('=').expect("an equation");
            assert_eq!(value(expression), result.parse::<i64>().expect("a number"), "{line}");
            let operators = expression.matches(['+', '-', '*', '/']).count();
            assert!((1..=2).contains(&operators), "{line}");
            joined += usize::from(operators == 2);
        }
    }
    assert!(joined > 3_000, "{joined}");
}

/// All numbers in a text.
fn numbers(text: &str) -> Vec<u32> {
    text.split(|character: char| !character.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// Left operand, operator, right operand and result of the one `<<...>>` of a line.
fn calculation(line: &str) -> (u32, char, u32, u32) {
    let start = line.find("<<").expect("a calculation") + 2;
    let end = line.find(">>").expect("its end");
    assert_eq!(line.matches("<<").count(), 1, "{line}");
    let equation = &line[start..end];
    let found = numbers(equation);
    let operator = equation.chars().find(|character| "+-*/".contains(*character)).expect("an operator");
    (found[0], operator, found[1], found[2])
}

/// 64-bit FNV-1a: written out, so that a pinned value never depends on a library.
fn hash(texts: impl Iterator<Item = String>) -> u64 {
    texts
        .flat_map(|text| text.into_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn words(draft: &Draft) -> usize {
    draft.question.split(' ').count()
}

#[test]
fn every_split_has_its_stated_size_and_distinct_ids() {
    let sizes = SPLITS.map(|split| problems(split).len());
    assert_eq!(sizes, [TRAIN_PROBLEMS, VALIDATION_PROBLEMS, TEST_PROBLEMS, TEST_UNSEEN_PROBLEMS]);
    assert_eq!(problems(Split::Test)[12].id, "synthetic/test/12");
    assert_eq!(problems(Split::TestUnseen)[0].id, "synthetic/test-unseen/0");
}

#[test]
fn every_calculation_is_right_and_is_written_out_around_its_brackets() {
    for line in SPLITS.into_iter().flat_map(drafts).flat_map(|draft| &draft.lines) {
        let (left, operator, right, result) = calculation(line);
        let right_result = match operator {
            '+' => left + right,
            '-' => left - right,
            '*' => left * right,
            _ => {
                assert_eq!(left % right, 0, "{line}");
                left / right
            }
        };
        assert_eq!(result, right_result, "{line}");
        assert!(line.contains(&format!("{left}{operator}{right} = <<{left}{operator}{right}={result}>>{result}")));
    }
}

#[test]
fn the_last_result_is_the_answer_and_is_what_is_extracted() {
    for problem in SPLITS.into_iter().flat_map(problems) {
        let lines: Vec<&str> = problem.solution.lines().collect();
        let last =
            *numbers(lines[lines.len() - 2].split(">>").next().expect("a calculation")).last().expect("a result");
        assert_eq!(problem.answer, Answer::from_integer(i64::from(last)), "{}", problem.id);
        assert_eq!(*lines.last().expect("an answer line"), format!("#### {last}"));
        assert_eq!(gold_answer(&problem.solution).unwrap(), problem.answer, "{}", problem.id);
    }
}

#[test]
fn a_line_uses_numbers_of_the_question_earlier_results_and_constants_that_the_question_names() {
    for draft in SPLITS.into_iter().flat_map(drafts) {
        let question = &draft.question;
        let mut known = numbers(question);
        for (word, constant) in [("half", 2), ("twice", 2), ("dozen", 12), ("week", 7), ("hour", 60)] {
            if question.contains(word) {
                known.push(constant);
            }
        }
        for line in &draft.lines {
            let (left, operator, right, result) = calculation(line);
            // How many boxes can be filled is found by trying, not by a calculation of its own.
            let boxes = draft.kinds.contains(&"remainder") && operator == '*' && known.contains(&right);
            let filled = boxes && known.iter().any(|&amount| amount / right == left && amount > result);
            assert!(known.contains(&left) || filled, "{left} comes from nowhere: {question} {line}");
            assert!(known.contains(&right), "{right} comes from nowhere: {question} {line}");
            known.push(result);
        }
    }
}

#[test]
fn every_result_but_the_last_is_used_later() {
    for draft in SPLITS.into_iter().flat_map(drafts) {
        for (index, made) in draft.right.iter().enumerate().take(draft.right.len() - 1) {
            let used = draft.right[index + 1..].iter().any(|later| [later.left, later.right].contains(&made.result));
            assert!(used, "{} leads nowhere: {}", made.equation(), draft.question);
        }
    }
}

#[test]
fn the_benchmark_never_changes() {
    let hashes =
        SPLITS.map(|split| hash(problems(split).into_iter().map(|problem| problem.question + &problem.solution)));
    let corpus = hash(CORPUS.iter().cloned());
    assert_eq!((hashes, corpus), (PINNED_PROBLEMS, PINNED_CORPUS), "now {hashes:#x?} and {corpus:#x}");
}

const PINNED_PROBLEMS: [u64; 4] =
    [14413143665606888514, 4940228811326789108, 17971844344606391878, 13956648933454457304];
const PINNED_CORPUS: u64 = 4752041548631741817;

#[test]
fn no_two_problems_are_the_same_up_to_names_objects_and_needless_facts() {
    let all: Vec<&Draft> = SPLITS.into_iter().flat_map(drafts).collect();
    let keys: BTreeSet<String> = all.iter().map(|draft| draft.key()).collect();
    let questions: BTreeSet<&str> = all.iter().map(|draft| draft.question.as_str()).collect();
    assert_eq!(keys.len(), all.len());
    assert_eq!(questions.len(), all.len());
}

#[test]
fn held_out_pairs_are_in_every_unseen_problem_and_in_no_other() {
    assert!(drafts(Split::TestUnseen).iter().all(Draft::has_held_out_pair));
    for split in [Split::Train, Split::Validation, Split::Test] {
        assert!(!drafts(split).iter().any(Draft::has_held_out_pair));
    }
}

#[test]
fn an_unseen_problem_has_a_sequence_of_kinds_that_no_training_problem_has_but_only_known_kinds() {
    let train = drafts(Split::Train);
    let sequences: BTreeSet<&Vec<&str>> = train.iter().map(|draft| &draft.kinds).collect();
    let kinds: BTreeSet<&str> = train.iter().flat_map(|draft| draft.kinds.iter().copied()).collect();
    for draft in drafts(Split::TestUnseen) {
        assert!(!sequences.contains(&draft.kinds), "{:?}", draft.kinds);
        assert!(draft.kinds.iter().all(|kind| kinds.contains(kind)));
    }
}

#[test]
fn every_held_out_pair_and_every_kind_occurs() {
    let unseen = drafts(Split::TestUnseen);
    for (first, second) in HELD_OUT_PAIRS {
        assert!(
            unseen.iter().any(|draft| draft.kinds.windows(2).any(|pair| pair == [first, second])),
            "{first} {second}"
        );
    }
    let train = drafts(Split::Train);
    for kind in KINDS.iter().chain(SCENARIOS) {
        assert!(train.iter().any(|draft| draft.kinds.contains(&kind.name)), "{}", kind.name);
    }
}

#[test]
fn numbers_are_small_middle_or_large_as_often_as_stated() {
    let drafts = drafts(Split::Train);
    let largest = |draft: &Draft| draft.right.iter().map(|made| made.result).max().expect("a line");
    let within = |low: u32, high: u32| -> Vec<&Draft> {
        drafts.iter().filter(|draft| (low..=high).contains(&largest(draft))).collect()
    };
    let [small_max, middle_max, large_max] = RESULT_MAX;
    let share = |count: usize| 100.0 * count as f64 / drafts.len() as f64;
    let above = within(small_max + 1, large_max);
    let stated = f64::from(MAGNITUDE_WEIGHTS[1] + MAGNITUDE_WEIGHTS[2]);
    assert!((share(above.len()) - stated).abs() < 2.0, "{} % have middle or large numbers", share(above.len()));
    // Some problems with large numbers stay below what middle numbers come to.
    let far_above = within(middle_max + 1, large_max);
    assert!((12.0..f64::from(MAGNITUDE_WEIGHTS[2]) + 1.0).contains(&share(far_above.len())), "{}", far_above.len());
    for draft in above {
        assert!(draft.answer > small_max, "{}", draft.question);
        assert!(draft.right.iter().all(|made| (1..=large_max).contains(&made.result)), "{}", draft.question);
    }
    for draft in within(0, small_max) {
        assert!(draft.right.iter().all(|made| made.result >= 1), "{}", draft.question);
        assert!(numbers(&draft.question).iter().all(|&number| (1..=60).contains(&number)), "{}", draft.question);
    }
}

#[test]
fn questions_are_short_and_steps_are_as_many_as_stated() {
    let drafts = drafts(Split::Train);
    let mean_words = drafts.iter().map(words).sum::<usize>() as f64 / drafts.len() as f64;
    assert!((20.0..30.0).contains(&mean_words), "{mean_words} words a question");
    assert!(drafts.iter().all(|draft| words(draft) <= QUESTION_WORDS_MAX));
    let all: u32 = STEP_WEIGHTS.iter().sum();
    for (index, &weight) in STEP_WEIGHTS.iter().enumerate() {
        let count = drafts.iter().filter(|draft| draft.lines.len() == index + 1).count();
        let share = count as f64 / drafts.len() as f64;
        let wanted = f64::from(weight) / f64::from(all);
        assert!((share - wanted).abs() < 0.02, "{} steps in {share} of the problems, not {wanted}", index + 1);
    }
}

#[test]
fn no_scenario_is_met_too_often() {
    let drafts = drafts(Split::Train);
    for kind in SCENARIOS {
        let count = drafts.iter().filter(|draft| draft.kinds == [kind.name]).count();
        assert!(count * 35 < drafts.len(), "{}: {count}", kind.name);
    }
}

#[test]
fn a_small_vocabulary_is_enough() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for text in problems(Split::Train).into_iter().flat_map(|problem| [problem.question, problem.solution]) {
        for word in text.split(|character: char| !character.is_alphabetic()).filter(|word| !word.is_empty()) {
            *seen.entry(word.to_string()).or_default() += 1;
        }
    }
    assert!(seen.len() < 300, "{} words", seen.len());
}

#[test]
fn no_template_is_left_unfilled_and_sentences_start_with_a_capital() {
    let texts = SPLITS.into_iter().flat_map(problems).flat_map(|problem| [problem.question, problem.solution]);
    for text in texts.chain(CORPUS.iter().cloned()) {
        assert!(!text.contains(['{', '}', '[', ']', '|']), "{text}");
        assert!(!text.contains("  ") && text == text.trim(), "{text:?}");
        for sentence in text.split(". ") {
            assert!(!sentence.starts_with(|character: char| character.is_ascii_lowercase()), "{text}");
        }
        for clumsy in [" 1 dollars", " 1 days", " 1 boxes", " a apple", "they has", "they does", "They has"] {
            assert!(!text.contains(clumsy), "{text}");
        }
    }
}

#[test]
fn all_phrasings_of_a_line_calculate_the_same() {
    for kind in KINDS.iter().chain(SCENARIOS) {
        for line in kind.lines {
            let formulas = line.split('|').map(|phrasing| {
                let formula = Formula::of_line(phrasing);
                (formula.target, formula.left, formula.operator, formula.right)
            });
            assert_eq!(formulas.collect::<BTreeSet<_>>().len(), 1, "{line}");
        }
        let ends_in_a_question = matches!(kind.role, Role::Question | Role::Scenario);
        assert!(kind.texts.iter().all(|text| text.ends_with('?') == ends_in_a_question), "{}", kind.name);
    }
}

#[test]
fn the_corpus_holds_no_problem_of_validation_and_tests() {
    let corpus: &[String] = &CORPUS;
    assert_eq!(corpus.len(), CORPUS_DOCUMENTS);
    // A question is the start of a line of its document, or stands behind a label such as "Q: ".
    let mut questions: HashSet<&str> = HashSet::new();
    for line in corpus.iter().flat_map(|document| document.lines()) {
        if let Some(end) = line.find('?') {
            let line = &line[..=end];
            questions.insert(line);
            questions.insert(line.split_once(": ").map_or(line, |(_, question)| question));
        }
    }
    for split in [Split::Validation, Split::Test, Split::TestUnseen] {
        for problem in problems(split) {
            assert!(!questions.contains(problem.question.as_str()), "{}", problem.question);
        }
    }
}

#[test]
fn the_stated_share_of_the_corpus_answers_is_wrong() {
    let mut random = Random::new(7);
    let profile = Profile::corpus(CORPUS_WRONG_PERCENT);
    let drafts: Vec<Draft> = (0..4_000).map(|_| draw(&mut random, &profile, |_| true)).collect();
    let wrong = drafts.iter().filter(|draft| draft.right.last().expect("a line").result != draft.answer).count();
    let share = wrong as f64 / drafts.len() as f64;
    // A wrong operation now and then comes to the right number: 2*2 and 2+2.
    assert!((share - f64::from(CORPUS_WRONG_PERCENT) / 100.0).abs() < 0.03, "{share}");
}

#[test]
fn some_documents_have_the_format_of_the_prompt_and_most_answers_do_not() {
    let corpus: &[String] = &CORPUS;
    let with = |label: &str| corpus.iter().filter(|document| document.starts_with(label)).count();
    let expected = f64::from(CORPUS_WEIGHTS[2] * CORPUS_PROMPT_FORMAT_PERCENT) / 10_000.0;
    let share = with("Question: ") as f64 / corpus.len() as f64;
    assert!((share - expected).abs() < 0.01 && expected < 0.25, "{share}");
}

#[test]
fn words_agree_with_their_numbers() {
    assert_eq!(counted(1, "box"), "box");
    assert_eq!(counted(2, "box"), "boxes");
    assert_eq!(counted(3, "people"), "people");
    assert_eq!(with_article("orange"), "an orange");
    assert_eq!(capitalised("she has 2 pens. is it 2? yes."), "She has 2 pens. Is it 2? Yes.");
}
