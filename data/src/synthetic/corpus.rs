//! The pretraining corpus: short documents from which a base model learns the words, the arithmetic and, from noisy
//! examples in mixed formats, a little of what an answer to a question is.

use super::draft::{Draft, draw};
use super::profile::Profile;
use super::random::Random;
use super::settings::{
    CORPUS_DOCUMENTS, CORPUS_MAGNITUDE_WEIGHTS, CORPUS_PROMPT_FORMAT_PERCENT, CORPUS_SEED, CORPUS_WEIGHTS,
    CORPUS_WRONG_PERCENT, Magnitude, RESULT_MAX,
};
use super::template::Calculation;
use super::words::{OBJECTS, counted};
use std::collections::HashSet;

/// The documents, none of which holds a problem with one of the `secret` keys or with a held-out pair of kinds.
pub(super) fn documents(secret: &HashSet<String>) -> Vec<String> {
    let mut random = Random::new(CORPUS_SEED);
    (0..CORPUS_DOCUMENTS)
        .map(|_| match random.weighted(&CORPUS_WEIGHTS) {
            0 => arithmetic(&mut random),
            1 => single_steps(&mut random, secret),
            2 => questions_with_answers(&mut random, secret),
            _ => stories(&mut random, secret),
        })
        .collect()
}

fn open_draft(random: &mut Random, profile: &Profile, secret: &HashSet<String>) -> Draft {
    draw(random, profile, |draft| !draft.has_held_out_pair() && !secret.contains(&draft.key()))
}

fn draft_with_facts(random: &mut Random, profile: &Profile, secret: &HashSet<String>) -> Draft {
    draw(random, profile, |draft| {
        draft.facts().is_some() && !draft.has_held_out_pair() && !secret.contains(&draft.key())
    })
}

/// True statements in one notation.
fn arithmetic(random: &mut Random) -> String {
    let notation = random.below(5);
    let statements: Vec<String> = (0..random.between(8, 14)).map(|_| statement(random, notation)).collect();
    let separator = random.pick(&["\n", "\n", "\n", ", "]);
    if notation == 4 { statements.join("\n") } else { statements.join(separator) }
}

fn statement(random: &mut Random, notation: u32) -> String {
    let calculation = calculation(random);
    let Calculation { left, operator, right, result } = calculation;
    match notation {
        0 => calculation.equation(),
        1 => format!("{left} {operator} {right} = {result}"),
        2 => calculation.annotated(),
        3 => {
            let noun = counted(result, random.pick(&OBJECTS));
            format!("{} {noun}", calculation.annotated())
        }
        _ => in_words(random, calculation),
    }
}

fn in_words(random: &mut Random, calculation: Calculation) -> String {
    let Calculation { left, operator, right, result } = calculation;
    match (operator, right) {
        ('*', 2) if random.percent(50) => format!("Twice {left} is {result}."),
        ('/', 2) if random.percent(50) => format!("Half of {left} is {result}."),
        ('+', _) if random.percent(50) => format!("{right} more than {left} is {result}."),
        ('-', _) if random.percent(50) => format!("{right} fewer than {left} is {result}."),
        ('+', _) => format!("{left} and {right} together is {result}."),
        ('-', _) => format!("{left} less {right} is {result}."),
        ('*', _) => format!("{left} times {right} is {result}."),
        _ => format!("{left} shared by {right} is {result}."),
    }
}

/// A right calculation with numbers as they occur in the problems.
fn calculation(random: &mut Random) -> Calculation {
    loop {
        let operator = ['+', '-', '*', '/'][random.weighted(&[50, 42, 16, 8])];
        let magnitude = random.magnitude(CORPUS_MAGNITUDE_WEIGHTS);
        let limit = RESULT_MAX[magnitude as usize];
        let small = magnitude == Magnitude::Small;
        let (left, right) = match operator {
            '+' | '-' if small => (random.between(2, limit), random.between(2, 12)),
            '+' | '-' => (random.between(1, limit), random.between(1, limit)),
            '*' if small => (random.between(2, 8), random.between(2, 8)),
            '*' => (random.between(2, 50), random.between(2, 12)),
            _ => {
                let right = random.between(2, 8);
                (right * random.between(1, if small { 8 } else { limit / right }), right)
            }
        };
        let swap = matches!(operator, '+' | '*') && random.percent(40);
        let (left, right) = if swap { (right, left) } else { (left, right) };
        match Calculation::of(left, operator, right) {
            Some(calculation) if (1..=limit).contains(&calculation.result) && left <= limit => {
                return calculation;
            }
            _ => {}
        }
    }
}

/// A story and its solution, without a question: mostly one line.
fn single_steps(random: &mut Random, secret: &HashSet<String>) -> String {
    let profile = Profile { step_weights: [80, 20, 0, 0, 0], distractor_percent: 0, ..Profile::corpus(0) };
    let format = random.below(4);
    let snippets: Vec<String> = (0..random.between(2, 4))
        .map(|_| {
            let draft = draft_with_facts(random, &profile, secret);
            let facts = draft.facts().expect("a draft with facts");
            match format {
                0 => format!("{facts}\n{}", draft.lines.join("\n")),
                1 => format!("{facts} {}", plain(&draft.lines.join(" "))),
                2 => format!("{facts}\n{}", equations(&draft).join("\n")),
                _ => format!("{facts} {}", draft.lines.join(" ")),
            }
        })
        .collect();
    snippets.join(if matches!(format, 0 | 2) { "\n\n" } else { "\n" })
}

/// Questions with answers, some of them wrong, in one of several formats.
fn questions_with_answers(random: &mut Random, secret: &HashSet<String>) -> String {
    let profile = Profile::corpus(CORPUS_WRONG_PERCENT);
    let format = if random.percent(CORPUS_PROMPT_FORMAT_PERCENT) { 0 } else { random.between(1, 6) };
    let count = if format == 0 { random.between(1, 3) } else { random.between(1, 2) };
    let pairs: Vec<String> = (0..count)
        .map(|_| {
            let draft = open_draft(random, &profile, secret);
            let Draft { question, lines, answer, .. } = &draft;
            match format {
                0 => format!("Question: {question}\nAnswer: {}\n#### {answer}", lines.join("\n")),
                1 => format!("Q: {question}\nA: {answer}"),
                2 => format!("Q: {question}\nA: {} The answer is {answer}.", plain(&lines.join(" "))),
                3 => format!("Problem: {question}\nSolution: {}\nThe answer is {answer}.", lines.join("\n")),
                4 => format!("{question} {}", plain(&lines.join(" "))),
                5 => format!("{question}\n{}\nAnswer: {answer}", equations(&draft).join("\n")),
                _ => format!("Problem: {question}\n{}\n#### {answer}", plain(&lines.join("\n"))),
            }
        })
        .collect();
    pairs.join("\n\n")
}

/// Facts with numbers, without a question.
fn stories(random: &mut Random, secret: &HashSet<String>) -> String {
    let profile = Profile { step_weights: [20, 40, 30, 10, 0], ..Profile::corpus(0) };
    let stories: Vec<String> = (0..random.between(2, 4))
        .map(|_| draft_with_facts(random, &profile, secret).facts().expect("a draft with facts").to_string())
        .collect();
    stories.join("\n")
}

/// The equations of a draft's lines, mistakes included.
fn equations(draft: &Draft) -> Vec<String> {
    draft
        .lines
        .iter()
        .map(|line| {
            let start = line.find("<<").expect("a line has a calculation") + 2;
            let end = line.find(">>").expect("a calculation is closed");
            line[start..end].to_string()
        })
        .collect()
}

/// The text without its `<<...>>`.
fn plain(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("<<") {
        result.push_str(&rest[..start]);
        rest = rest[start..].split_once(">>").expect("a calculation is closed").1;
    }
    result.push_str(rest);
    result
}
