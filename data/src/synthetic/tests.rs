//! Claims about each version of the benchmark as a whole: right, clean, deterministic, and of the stated size and
//! difficulty. Those about the corpus are in `corpus`.

mod corpus;

use super::draft::{Draft, draw};
use super::kinds::{Kind, Role};
use super::numbers::{Domain, Number};
use super::template::Formula;
use super::words::{capitalised, counted, with_article};
use super::*;
use crate::problem::gold_answer;
use std::collections::BTreeSet;
use std::sync::LazyLock;

const SPLITS: [Split; 4] = [Split::Train, Split::Validation, Split::Test, Split::TestUnseen];

static VERSIONS: [&Version; 2] = [&FIRST, &SECOND];

/// The corpora, made once for all tests.
static CORPORA: [LazyLock<Vec<String>>; 2] =
    [LazyLock::new(|| FIRST.pretraining_corpus()), LazyLock::new(|| SECOND.pretraining_corpus())];

/// Each version with its corpus.
fn with_corpora() -> impl Iterator<Item = (&'static Version, &'static [String])> {
    VERSIONS.into_iter().zip(CORPORA.iter().map(|corpus| corpus.as_slice()))
}

fn all_drafts() -> impl Iterator<Item = &'static Draft> {
    VERSIONS.into_iter().flat_map(|version| SPLITS.into_iter().flat_map(|split| version.drafts(split)))
}

fn all_problems() -> impl Iterator<Item = Problem> {
    VERSIONS.into_iter().flat_map(|version| SPLITS.into_iter().flat_map(|split| version.problems(split)))
}

fn all_kinds(settings: &Settings) -> impl Iterator<Item = &'static Kind> + use<> {
    settings.all_kinds().chain(settings.all_scenarios())
}

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
    for problem in SPLITS.into_iter().flat_map(|split| FIRST.problems(split)) {
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

/// All numbers in a text without decimals.
fn numbers(text: &str) -> Vec<Number> {
    let digits = text.split(|character: char| !character.is_ascii_digit());
    digits.filter_map(|digits| digits.parse().ok().map(Number::whole)).collect()
}

/// A number with up to two decimals.
fn number(text: &str) -> Number {
    let size: f64 = text.trim_start_matches('-').parse().expect("a number");
    let hundredths = Number::whole((100.0 * size).round() as u32);
    let (size, _) = hundredths.calculate('/', Number::whole(100)).expect("no division by zero");
    if text.starts_with('-') { Number::default().calculate('-', size).expect("a difference").0 } else { size }
}

/// Left operand, operator, right operand and result of the one `<<...>>` of a line.
fn calculation(line: &str) -> (Number, char, Number, Number) {
    let start = line.find("<<").expect("a calculation") + 2;
    let end = line.find(">>").expect("its end");
    assert_eq!(line.matches("<<").count(), 1, "{line}");
    let (expression, result) = line[start..end].split_once('=').expect("an equation");
    // A sign at the beginning is no operator.
    let at = 1 + expression[1..].find(['+', '-', '*', '/']).expect("an operator");
    let operator = expression.as_bytes()[at] as char;
    (number(&expression[..at]), operator, number(&expression[at + 1..]), number(result))
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
    for version in VERSIONS {
        let settings = version.settings();
        let sizes = SPLITS.map(|split| version.problems(split).len());
        let Settings { train_problems, validation_problems, test_problems, test_unseen_problems, .. } = *settings;
        assert_eq!(sizes, [train_problems, validation_problems, test_problems, test_unseen_problems]);
        assert_eq!(version.problems(Split::Test)[12].id, format!("{}/test/12", settings.name));
        assert_eq!(version.problems(Split::TestUnseen)[0].id, format!("{}/test-unseen/0", settings.name));
    }
}

#[test]
fn the_first_training_problems_have_references_and_all_problems_have_an_answer_and_worked_lines() {
    for version in VERSIONS {
        let references = version.settings().reference_problems;
        for (index, problem) in version.problems(Split::Train).into_iter().enumerate() {
            assert_eq!(problem.solution.is_empty(), index >= references, "{}", problem.id);
            let worked = problem.worked.as_deref().expect("worked lines");
            assert_eq!(gold_answer(worked).unwrap(), problem.answer, "{}", problem.id);
        }
        let evaluated = [Split::Validation, Split::Test, Split::TestUnseen];
        let mut others = evaluated.into_iter().flat_map(|split| version.problems(split));
        assert!(others.all(|problem| !problem.solution.is_empty()));
    }
    assert!(SECOND.settings().reference_problems * 4 < SECOND.settings().train_problems);
}

#[test]
fn the_references_of_the_second_version_have_one_calculation_per_line() {
    let mut solved = SECOND.problems(Split::Train).into_iter().filter(|problem| !problem.solution.is_empty());
    assert!(solved.all(|problem| Some(problem.solution) == problem.worked));
}

#[test]
fn every_calculation_is_right_and_is_written_out_around_its_brackets() {
    for line in all_drafts().flat_map(|draft| &draft.lines) {
        let (left, operator, right, result) = calculation(line);
        let (right_result, is_exact) = left.calculate(operator, right).expect("no division by zero");
        assert_eq!(result, right_result, "{line}");
        assert!(is_exact, "{line}");
        assert!(line.contains(&format!("{left}{operator}{right} = <<{left}{operator}{right}={result}>>{result}")));
    }
}

#[test]
fn the_last_result_is_the_answer_and_is_what_is_extracted() {
    for problem in all_problems().filter(|problem| !problem.solution.is_empty()) {
        let lines: Vec<&str> = problem.solution.lines().collect();
        let (_, result) = lines[lines.len() - 2].split_once(">>").expect("a calculation");
        let last = lines.last().and_then(|line| line.strip_prefix("#### ")).expect("an answer line");
        assert!(result.strip_prefix(last).is_some_and(|rest| rest.starts_with([' ', '.'])), "{}", problem.id);
        assert_eq!(problem.answer, Answer::Number(number(last).into()), "{}", problem.id);
        assert_eq!(gold_answer(&problem.solution).unwrap(), problem.answer, "{}", problem.id);
    }
}

#[test]
fn a_line_uses_numbers_of_the_question_earlier_results_and_constants_that_the_question_names() {
    for draft in all_drafts() {
        let question = &draft.question;
        let mut known = numbers(question);
        for (word, constant) in [
            ("half", 2),
            ("twice", 2),
            ("both have the same", 2),
            ("double", 2),
            ("third", 3),
            ("quarter", 4),
            ("dozen", 12),
            ("week", 7),
            ("hour", 60),
        ] {
            if question.contains(word) {
                known.push(Number::whole(constant));
            }
        }
        for line in &draft.lines {
            let (left, operator, right, result) = calculation(line);
            // How many boxes can be filled is found by trying, not by a calculation of its own.
            let boxes = draft.kinds.contains(&"remainder") && operator == '*' && known.contains(&right);
            let filled = boxes
                && known.iter().any(|&amount| {
                    amount >= result && amount.calculate('/', right).is_some_and(|(times, _)| times.floor() == left)
                });
            assert!(known.contains(&left) || filled, "{left} comes from nowhere: {question} {line}");
            assert!(known.contains(&right), "{right} comes from nowhere: {question} {line}");
            known.push(result);
        }
    }
}

#[test]
fn every_result_but_the_last_is_used_later() {
    for draft in all_drafts() {
        for (index, made) in draft.right.iter().enumerate().take(draft.right.len() - 1) {
            let used = draft.right[index + 1..].iter().any(|later| [later.left, later.right].contains(&made.result));
            assert!(used, "{} leads nowhere: {}", made.equation(), draft.question);
        }
    }
}

#[test]
fn the_benchmark_never_changes() {
    let hashes = |version: &'static Version| {
        SPLITS
            .map(|split| hash(version.problems(split).into_iter().map(|problem| problem.question + &problem.solution)))
    };
    for ((version, corpus), pinned) in with_corpora().zip(PINNED) {
        let now = (hashes(version), hash(corpus.iter().cloned()));
        assert_eq!(now, pinned, "{} is now {now:#x?}", version.settings().name);
    }
}

/// Hashes of the problems of each split, and of the corpus.
const PINNED: [([u64; 4], u64); 2] = [
    ([14413143665606888514, 4940228811326789108, 17971844344606391878, 13956648933454457304], 4752041548631741817),
    ([2897235475490754928, 2453248553187926904, 16561376391028792189, 116510977861061705], 13933361710854656515),
];

#[test]
fn no_two_problems_are_the_same_up_to_names_objects_and_needless_facts() {
    for version in VERSIONS {
        let all: Vec<&Draft> = SPLITS.into_iter().flat_map(|split| version.drafts(split)).collect();
        let keys: BTreeSet<String> = all.iter().map(|draft| draft.key()).collect();
        let questions: BTreeSet<&str> = all.iter().map(|draft| draft.question.as_str()).collect();
        assert_eq!(keys.len(), all.len());
        assert_eq!(questions.len(), all.len());
    }
}

#[test]
fn held_out_pairs_are_in_every_unseen_problem_and_in_no_other() {
    for version in VERSIONS {
        let holds_out = |draft: &Draft| version.settings().holds_out(&draft.kinds);
        assert!(version.drafts(Split::TestUnseen).iter().all(holds_out));
        for split in [Split::Train, Split::Validation, Split::Test] {
            assert!(!version.drafts(split).iter().any(holds_out));
        }
    }
}

#[test]
fn an_unseen_problem_has_a_sequence_of_kinds_that_no_training_problem_has_but_only_known_kinds() {
    for version in VERSIONS {
        let train = version.drafts(Split::Train);
        let sequences: BTreeSet<&Vec<&str>> = train.iter().map(|draft| &draft.kinds).collect();
        let kinds: BTreeSet<&str> = train.iter().flat_map(|draft| draft.kinds.iter().copied()).collect();
        for draft in version.drafts(Split::TestUnseen) {
            assert!(!sequences.contains(&draft.kinds), "{:?}", draft.kinds);
            assert!(draft.kinds.iter().all(|kind| kinds.contains(kind)));
        }
    }
}

#[test]
fn every_held_out_pair_and_every_kind_occurs() {
    for version in VERSIONS {
        let unseen = version.drafts(Split::TestUnseen);
        for &(first, second) in version.settings().held_out_pairs {
            assert!(
                unseen.iter().any(|draft| draft.kinds.windows(2).any(|pair| pair == [first, second])),
                "{first} {second}"
            );
        }
        let train = version.drafts(Split::Train);
        // Minutes beyond the hour are more than the second version calculates with.
        let too_large =
            |kind: &&Kind| kind.name == "hour-and-minutes" && version.settings().name == SECOND.settings().name;
        for kind in all_kinds(version.settings()).filter(|kind| !too_large(kind)) {
            assert!(train.iter().any(|draft| draft.kinds.contains(&kind.name)), "{}", kind.name);
        }
    }
}

#[test]
fn two_questions_about_one_story_have_the_same_facts_and_are_in_the_same_split() {
    let mut shared = 0;
    for split in [Split::Train, Split::Validation, Split::Test] {
        let drafts = SECOND.drafts(split);
        for pair in drafts.chunks(2) {
            let beginnings = [&pair[0], &pair[1]].map(|draft| draft.question.split_once(". ").map(|(first, _)| first));
            shared += usize::from(beginnings[0].is_some() && beginnings[0] == beginnings[1]);
        }
        let mut seen = HashSet::new();
        let others = SPLITS.into_iter().filter(|other| *other != split).flat_map(|other| SECOND.drafts(other));
        seen.extend(others.filter(|draft| draft.kinds.len() > 2).filter_map(Draft::facts));
        let common = drafts.iter().filter(|draft| draft.facts().is_some_and(|facts| seen.contains(facts))).count();
        assert_eq!(common, 0, "{split}");
    }
    assert!(shared > 2_000, "{shared}");
}

#[test]
fn some_questions_leave_facts_of_their_story_unused() {
    let drafts = SECOND.drafts(Split::Train);
    let uses_all = |draft: &&Draft| {
        let used: BTreeSet<Number> = draft.right.iter().flat_map(|made| [made.left, made.right, made.result]).collect();
        numbers(&draft.question).iter().all(|number| used.contains(number))
    };
    let share = drafts.iter().filter(uses_all).count() as f64 / drafts.len() as f64;
    assert!((0.5..0.9).contains(&share), "{share}");
}

#[test]
fn numbers_are_small_middle_or_large_as_often_as_stated() {
    let drafts = FIRST.drafts(Split::Train);
    let largest = |draft: &Draft| draft.right.iter().map(|made| made.result).max().expect("a line");
    let within = |low: u32, high: u32| -> Vec<&Draft> {
        drafts.iter().filter(|draft| (Number::whole(low)..=Number::whole(high)).contains(&largest(draft))).collect()
    };
    let Settings { result_max: [small_max, middle_max, large_max], magnitude_weights, .. } = *FIRST.settings();
    let share = |count: usize| 100.0 * count as f64 / drafts.len() as f64;
    let above = within(small_max + 1, large_max);
    let stated = f64::from(magnitude_weights[1] + magnitude_weights[2]);
    assert!((share(above.len()) - stated).abs() < 2.0, "{} % have middle or large numbers", share(above.len()));
    // Some problems with large numbers stay below what middle numbers come to.
    let far_above = within(middle_max + 1, large_max);
    assert!((12.0..f64::from(magnitude_weights[2]) + 1.0).contains(&share(far_above.len())), "{}", far_above.len());
    for draft in above {
        assert!(draft.answer > Number::whole(small_max), "{}", draft.question);
        let domain = Domain::whole(1, large_max);
        assert!(draft.right.iter().all(|made| domain.has(made.result, true)), "{}", draft.question);
    }
    for draft in within(0, small_max) {
        assert!(draft.right.iter().all(|made| made.result >= Number::whole(1)), "{}", draft.question);
        let domain = Domain::whole(1, 60);
        assert!(numbers(&draft.question).iter().all(|&number| domain.has(number, true)), "{}", draft.question);
    }
}

#[test]
fn all_numbers_of_the_second_version_stay_small() {
    let calculations = || SPLITS.into_iter().flat_map(|split| SECOND.drafts(split)).flat_map(|draft| &draft.right);
    let domain = Domain { decimals: true, ..Domain::whole(0, SECOND.settings().result_max[0]) };
    assert!(calculations().all(|made| domain.with_negatives().has(made.result, true)));
    let share = |is_of_it: fn(Number) -> bool| {
        calculations().filter(|made| is_of_it(made.result)).count() as f64 / calculations().count() as f64
    };
    // What a wrong step may come to is what a right one comes to now and then.
    let shares =
        [share(Number::is_zero), share(|result| !result.is_whole()), share(|result| result < Number::default())];
    assert!(shares.iter().all(|share| (0.002..0.06).contains(share)), "{shares:?}");
}

#[test]
fn questions_are_short_and_steps_are_as_many_as_stated() {
    for (version, mean) in VERSIONS.into_iter().zip([20.0..30.0, 30.0..45.0]) {
        let settings = version.settings();
        let drafts = version.drafts(Split::Train);
        let mean_words = drafts.iter().map(words).sum::<usize>() as f64 / drafts.len() as f64;
        assert!(mean.contains(&mean_words), "{mean_words} words a question");
        assert!(drafts.iter().all(|draft| words(draft) <= settings.question_words_max));
        let all: u32 = settings.step_weights.iter().sum();
        // The first question of each story.
        let firsts: Vec<&Draft> = drafts.iter().step_by(settings.questions_per_story).collect();
        for (index, &weight) in settings.step_weights.iter().enumerate() {
            let count = firsts.iter().filter(|draft| draft.lines.len() == index + 1).count();
            let share = count as f64 / firsts.len() as f64;
            let wanted = f64::from(weight) / f64::from(all);
            assert!((share - wanted).abs() < 0.02, "{} steps in {share} of the problems, not {wanted}", index + 1);
        }
    }
}

#[test]
fn no_scenario_is_met_too_often() {
    for version in VERSIONS {
        let drafts = version.drafts(Split::Train);
        for kind in version.settings().all_scenarios() {
            let count = drafts.iter().filter(|draft| draft.kinds == [kind.name]).count();
            assert!(count * 35 < drafts.len(), "{}: {count}", kind.name);
        }
    }
}

#[test]
fn a_small_vocabulary_is_enough() {
    for version in VERSIONS {
        let worked = |problem: Problem| [problem.question, problem.worked.expect("worked lines")];
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for text in version.problems(Split::Train).into_iter().flat_map(worked) {
            let words = text.split(|character: char| !character.is_alphabetic()).filter(|word| !word.is_empty());
            seen.extend(words.map(str::to_string));
        }
        assert!(seen.len() < 380, "{} words", seen.len());
    }
}

#[test]
fn no_template_is_left_unfilled_and_sentences_start_with_a_capital() {
    let texts = all_problems().flat_map(|problem| [problem.question, problem.worked.expect("worked lines")]);
    for text in texts.chain(with_corpora().flat_map(|(_, corpus)| corpus.iter().cloned())) {
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
    for kind in VERSIONS.into_iter().flat_map(|version| all_kinds(version.settings())) {
        for line in kind.lines {
            let formulas = line.split('|').map(|phrasing| {
                let formula = Formula::of_line(phrasing);
                (formula.target, formula.left, formula.operator, formula.right)
            });
            assert_eq!(formulas.collect::<BTreeSet<_>>().len(), 1, "{line}");
        }
        let ends_in_a_question = kind.ends() || kind.role == Role::Scenario;
        assert!(kind.texts.iter().all(|text| text.ends_with('?') == ends_in_a_question), "{}", kind.name);
    }
}

#[test]
fn words_agree_with_their_numbers() {
    assert_eq!(counted(Number::whole(1), "box"), "box");
    assert_eq!(counted(Number::whole(2), "box"), "boxes");
    assert_eq!(counted(Number::whole(3), "people"), "people");
    assert_eq!(with_article("orange"), "an orange");
    assert_eq!(capitalised("she has 2 pens. is it 2? yes."), "She has 2 pens. Is it 2? Yes.");
}
