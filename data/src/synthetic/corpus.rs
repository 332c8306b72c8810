//! The pretraining corpus: short documents from which a base model learns the words, the arithmetic and, from noisy
//! examples in mixed formats, a little of what an answer to a question is.

use super::draft::{Draft, draw};
use super::numbers::{Domain, Magnitude, Number};
use super::profile::Profile;
use super::random::Random;
use super::settings::{LINES_MAX, Settings};
use super::template::Calculation;
use super::words::counted;
use std::collections::HashSet;

/// The documents, none of which holds a problem with one of the `secret` keys or with a held-out pair of kinds.
pub(super) fn documents(settings: &'static Settings, secret: &HashSet<String>) -> Vec<String> {
    let mut random = Random::new(settings.seeds.corpus);
    (0..settings.corpus.documents)
        .map(|_| match random.weighted(&settings.corpus.weights) {
            0 => arithmetic(&mut random, settings),
            1 => single_steps(&mut random, settings, secret),
            2 => questions_with_answers(&mut random, settings, secret),
            _ => stories(&mut random, settings, secret),
        })
        .collect()
}

fn open_draft(random: &mut Random, profile: &Profile, secret: &HashSet<String>) -> Draft {
    draw(random, profile, |draft| !profile.settings.holds_out(&draft.kinds) && !secret.contains(&draft.key()))
}

fn draft_with_facts(random: &mut Random, profile: &Profile, secret: &HashSet<String>) -> Draft {
    draw(random, profile, |draft| {
        draft.facts().is_some() && !profile.settings.holds_out(&draft.kinds) && !secret.contains(&draft.key())
    })
}

/// True statements in one notation.
fn arithmetic(random: &mut Random, settings: &Settings) -> String {
    let notation = random.pick(settings.corpus.drill.notations);
    let statements: Vec<String> = (0..random.between(8, 14)).map(|_| statement(random, settings, notation)).collect();
    let separator = random.pick(&["\n", "\n", "\n", ", "]);
    if notation == 4 { statements.join("\n") } else { statements.join(separator) }
}

fn statement(random: &mut Random, settings: &Settings, notation: u32) -> String {
    let percent = settings.corpus.drill.unusual_percent;
    let is_unusual = percent > 0 && random.percent(percent);
    let calculation = if is_unusual { unusual(random, settings) } else { calculation(random, settings) };
    let Calculation { left, operator, right, result } = calculation;
    match notation {
        0 => calculation.equation(),
        1 => format!("{left} {operator} {right} = {result}"),
        2 => calculation.annotated(),
        3 => {
            let noun = counted(result, random.pick(settings.objects));
            format!("{} {noun}", calculation.annotated())
        }
        _ => in_words(random, calculation),
    }
}

/// A difference of at most 0, or a quotient that is no whole number, to two decimals.
fn unusual(random: &mut Random, settings: &Settings) -> Calculation {
    let drill = &settings.corpus.drill;
    let limit = drill.result_max[0];
    let (left, operator, right) = match random.weighted(&[15, 35, 50]) {
        0 => {
            let number = random.between(1, limit);
            (number, '-', number)
        }
        1 => {
            let left = random.between(1, limit - 1);
            (left, '-', random.between(left + 1, limit))
        }
        _ => {
            let right = random.between(2, drill.divisor_max);
            (right * random.between(0, limit / right - 1) + random.between(1, right - 1), '/', right)
        }
    };
    Calculation::of(Number::whole(left), operator, Number::whole(right), &Domain::any()).expect("small numbers")
}

fn in_words(random: &mut Random, calculation: Calculation) -> String {
    let Calculation { left, operator, right, result } = calculation;
    let by_two = right == Number::whole(2);
    match (operator, by_two) {
        ('*', true) if random.percent(50) => format!("Twice {left} is {result}."),
        ('/', true) if random.percent(50) => format!("Half of {left} is {result}."),
        ('+', _) if random.percent(50) => format!("{right} more than {left} is {result}."),
        ('-', _) if random.percent(50) => format!("{right} fewer than {left} is {result}."),
        ('+', _) => format!("{left} and {right} together is {result}."),
        ('-', _) => format!("{left} less {right} is {result}."),
        ('*', _) => format!("{left} times {right} is {result}."),
        _ => format!("{left} shared by {right} is {result}."),
    }
}

/// A right calculation with numbers as they occur in the problems.
fn calculation(random: &mut Random, settings: &Settings) -> Calculation {
    let drill = &settings.corpus.drill;
    loop {
        let operator = ['+', '-', '*', '/'][random.weighted(&drill.operators)];
        let magnitude = random.magnitude(settings.corpus.magnitude_weights);
        let limit = drill.result_max[magnitude as usize];
        let domain = Domain::whole(1, limit);
        let small = magnitude == Magnitude::Small;
        let (left, right) = match operator {
            '+' | '-' if small => {
                (random.between(drill.smallest, limit), random.between(drill.smallest, drill.addend_max))
            }
            '+' | '-' => (random.between(1, limit), random.between(1, limit)),
            '*' if small => (random.between(2, drill.factors_max[0]), random.between(2, drill.factors_max[1])),
            '*' => (random.between(2, 50), random.between(2, 12)),
            _ => {
                let right = random.between(2, drill.divisor_max);
                (right * random.between(1, if small { drill.quotient_max } else { limit / right }), right)
            }
        };
        let swap = matches!(operator, '+' | '*') && random.percent(40);
        let (left, right) = if swap { (right, left) } else { (left, right) };
        match Calculation::of(Number::whole(left), operator, Number::whole(right), &domain) {
            Some(calculation) if left <= limit => return calculation,
            _ => {}
        }
    }
}

/// Relative frequency of 1 to 4 lines, and none of more.
fn first_lines(weights: [u32; 4]) -> [u32; LINES_MAX] {
    let mut all = [0; LINES_MAX];
    all[..weights.len()].copy_from_slice(&weights);
    all
}

/// A story and its solution, without a question: mostly one line.
fn single_steps(random: &mut Random, settings: &'static Settings, secret: &HashSet<String>) -> String {
    let step_weights = first_lines([80, 20, 0, 0]);
    let profile = Profile { step_weights, distractor_percent: 0, ..Profile::corpus(settings, 0) };
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
fn questions_with_answers(random: &mut Random, settings: &'static Settings, secret: &HashSet<String>) -> String {
    let profile = Profile::corpus(settings, settings.corpus.wrong_percent);
    let format =
        if random.percent(settings.corpus.prompt_format_percent) { 0 } else { random.pick(settings.corpus.formats) };
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
fn stories(random: &mut Random, settings: &'static Settings, secret: &HashSet<String>) -> String {
    let profile = Profile { step_weights: first_lines([20, 40, 30, 10]), ..Profile::corpus(settings, 0) };
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
