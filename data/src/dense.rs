//! Which lines of a completion earn the heuristic dense reward (Havrilla et al. 2024: lines that match intermediate results of the
//! reference solution). Independent of the size of the reward, and of whether the answer is right.
//!
//! A line earns if its result is an intermediate result of the reference and the line has worked it out: its calculations hold,
//! use what is known, and are no tautologies. Otherwise a policy could earn all of it by writing `<<i+0=i>>` for every i.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;

use crate::steps::{calculations, holds, lines};
use crate::{AnswerFormat, AnswerKind, Ending, Problem, own_part, rational::Rational};

/// The intermediate results of a reference solution, and what its calculations may use.
#[derive(Clone, Debug)]
pub struct ReferenceSteps {
    /// In order; a result of two lines occurs twice.
    results: Vec<Rational>,
    given: Given,
}

/// What calculations may use.
#[derive(Clone, Debug)]
struct Given {
    /// Numbers of the question, and those that the reference uses without having worked them out, such as the 2 of a half.
    known: HashSet<Rational>,
    /// The operands of each calculation of the reference that changes nothing, as `1*2` where 1 is what was worked out before.
    unchanging: HashSet<Vec<Rational>>,
}

/// A line that has worked out its result.
struct Worked {
    /// Byte offset just past the line's text.
    line_end: usize,
    result: Rational,
}

impl ReferenceSteps {
    /// Those of a problem: one calculation per line where the benchmark knows such a solution.
    pub fn of(problem: &Problem) -> Self {
        let solution = problem.worked.as_deref().unwrap_or(&problem.solution);
        let given = Given::of(&problem.question, solution);
        let results = worked_lines(solution, &given).into_iter().map(|line| line.result).collect();
        Self { results, given }
    }

    /// How many results there are to match. Lines of the reference that do not hold themselves are not counted.
    pub fn count(&self) -> usize {
        self.results.len()
    }

    /// The lines of a completion that earn, as the byte offsets of their ends: each result of the reference at most once, in any
    /// order, and nothing after the answer.
    pub fn matched(&self, completion: &str) -> Vec<usize> {
        let mut unclaimed = self.results.clone();
        let claims = |line: Worked| {
            let at = unclaimed.iter().position(|reference| *reference == line.result)?;
            unclaimed.swap_remove(at);
            Some(line.line_end)
        };
        worked_lines(before_answer(completion), &self.given).into_iter().filter_map(claims).collect()
    }
}

/// The part of a completion before its first answer.
pub(crate) fn before_answer(completion: &str) -> &str {
    let own = own_part(completion);
    let mut start = 0;
    for line in own.split_inclusive('\n') {
        let answers = line.contains("\\boxed{")
            || line.contains("<answer>")
            || line.trim_start().starts_with("####")
                && AnswerFormat::Gsm8k.extract(AnswerKind::Number, line, Ending::Finished).is_some();
        if answers {
            return &own[..start];
        }
        start += line.len();
    }
    own
}

/// The lines that work something out of what is known: the numbers given, and results of earlier such lines.
fn worked_lines(text: &str, given: &Given) -> Vec<Worked> {
    let mut known = given.known.clone();
    let mut worked = Vec::new();
    for (line_end, line) in lines(text) {
        let mut result = None;
        for calculation in calculations(line) {
            let operands = operands(&calculation.text);
            let stands = holds(&calculation) == Some(true)
                && (!is_tautology(&calculation.text) || given.unchanging.contains(&sorted(&operands)))
                && operands.iter().all(|operand| known.contains(operand));
            result = calculation.value.filter(|_| stands);
            let Some(value) = &result else { break };
            known.insert(magnitude(value));
        }
        worked.extend(result.map(|result| Worked { line_end, result }));
    }
    worked
}

/// Whether a calculation, as `48/2=24`, works nothing out: `7=7`, `7+0=7`, `7*1=7`.
fn is_tautology(calculation: &str) -> bool {
    static NEUTRAL: LazyLock<Regex> = LazyLock::new(|| {
        let number = r"-?[\d.]+%?";
        pattern(&format!(
            r"^\(*(?:{number}|{number}[-+]0+(?:\.0+)?|0+(?:\.0+)?\+{number}|{number}[*/]1(?:\.0+)?|1(?:\.0+)?\*{number})\)*="
        ))
    });
    NEUTRAL.is_match(calculation)
}

/// The numbers before the last equals sign of a calculation, without their signs. A percentage is a number and its hundredth.
fn operands(calculation: &str) -> Vec<Rational> {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d+(?:\.\d+)?|\.\d+"));
    let expression = calculation.rsplit_once('=').map_or(calculation, |(expression, _)| expression);
    NUMBER.find_iter(expression).filter_map(|number| Rational::parse_number(number.as_str())).collect()
}

impl Given {
    fn of(question: &str, solution: &str) -> Self {
        let mut results: HashSet<Rational> = HashSet::new();
        let (mut known, mut unchanging) = (numbers_of_words(question), HashSet::new());
        for calculation in lines(solution).flat_map(|(_, line)| calculations(line)) {
            let operands = operands(&calculation.text);
            if is_tautology(&calculation.text) && operands.len() > 1 {
                unchanging.insert(sorted(&operands));
            }
            known.extend(operands.into_iter().filter(|operand| !results.contains(operand)));
            results.extend(calculation.value.as_ref().map(magnitude));
        }
        Self { known, unchanging }
    }
}

fn sorted(operands: &[Rational]) -> Vec<Rational> {
    let mut sorted = operands.to_vec();
    sorted.sort();
    sorted
}

/// The numbers of a text, in digits and in words.
fn numbers_of_words(text: &str) -> HashSet<Rational> {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d[\d,]*(?:\.\d+)?|\.\d+"));
    static WORD: LazyLock<Regex> = LazyLock::new(|| pattern(r"[A-Za-z]+"));
    const WORDS: [(&str, i64); 38] = [
        ("one", 1),
        ("two", 2),
        ("three", 3),
        ("four", 4),
        ("five", 5),
        ("six", 6),
        ("seven", 7),
        ("eight", 8),
        ("nine", 9),
        ("ten", 10),
        ("eleven", 11),
        ("twelve", 12),
        ("thirteen", 13),
        ("fourteen", 14),
        ("fifteen", 15),
        ("sixteen", 16),
        ("seventeen", 17),
        ("eighteen", 18),
        ("nineteen", 19),
        ("twenty", 20),
        ("thirty", 30),
        ("forty", 40),
        ("fifty", 50),
        ("sixty", 60),
        ("seventy", 70),
        ("eighty", 80),
        ("ninety", 90),
        ("hundred", 100),
        ("thousand", 1000),
        ("half", 2),
        ("twice", 2),
        ("double", 2),
        ("pair", 2),
        ("triple", 3),
        ("thrice", 3),
        ("third", 3),
        ("quarter", 4),
        ("dozen", 12),
    ];
    let digits =
        NUMBER.find_iter(text).filter_map(|number| Rational::parse_number(number.as_str().trim_end_matches(',')));
    let words = WORD.find_iter(text).filter_map(|word| {
        let word = word.as_str().to_ascii_lowercase();
        let name = word.strip_suffix('s').unwrap_or(&word);
        let (_, number) = WORDS.iter().find(|(known, _)| *known == word || *known == name)?;
        Some(Rational::from_integer(*number))
    });
    digits.chain(words).collect()
}

fn magnitude(value: &Rational) -> Rational {
    let negated = || Rational::from_integer(0).checked_sub(value);
    if value.as_fraction().0 < 0 { negated().unwrap_or_else(|| value.clone()) } else { value.clone() }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of this file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Split, synthetic};

    const REFERENCE: &str = "Half of 48 is 48/2 = <<48/2=24>>24.\nTogether 48+24 = <<48+24=72>>72.\n#### 72";

    fn problem(question: &str, solution: &str) -> Problem {
        let answer = crate::gold_answer(solution).unwrap();
        Problem { id: "test/0".into(), question: question.into(), solution: solution.into(), answer, worked: None }
    }

    fn matched(completion: &str) -> Vec<usize> {
        ReferenceSteps::of(&problem("Ann has 48 clips and half as many pins. How many?", REFERENCE)).matched(completion)
    }

    #[test]
    fn a_matched_line_earns_in_any_order() {
        let completion = "24 + 48 = 72\nnothing here\n48 / 2 = 24\n#### 72";
        // What uses a result before it was worked out uses nothing that is known.
        assert_eq!(matched(completion), [12 + 1 + 12 + 1 + 11]);
        assert_eq!(matched("48/2 = 24\n48 + 24 = 72\n#### 72").len(), 2);
        let two = problem("6 bags of 4 and 5 bags of 3?", "6*4 = 24\n5*3 = 15\n24+15 = 39\n#### 39");
        assert_eq!(ReferenceSteps::of(&two).matched("5*3 = 15\n6*4 = 24").len(), 2);
    }

    #[test]
    fn a_result_of_the_reference_is_earned_once() {
        assert_eq!(matched("48 / 2 = 24\n48 / 2 = 24\n72 - 48 = 24"), [11]);
        let twice = problem("One and one, and 4 less 2?", "<<1+1=2>>\n<<4-2=2>>\n#### 2");
        assert_eq!(ReferenceSteps::of(&twice).matched("1+1=2\n4-2=2\n4-2=2").len(), 2);
    }

    #[test]
    fn what_works_nothing_out_earns_nothing() {
        for nothing in [
            "#### 72",
            "<<1+1=24>>",
            "<<24=24>>",
            "24*1 = <<24*1=24>>24",
            "<<24+0=24>>",
            "<<12+12=24>>",
            "<<48/2=24>> and <<1+1=7>>",
            "#### 72\n48/2 = 24",
            "\\boxed{72}\n48/2 = 24",
            "so\n\nQuestion: half of 48?\n48/2 = 24",
        ] {
            assert!(matched(nothing).is_empty(), "{nothing}");
        }
        let all: String = (1..=100).map(|i| format!("<<{i}+0={i}>>\n<<{i}={i}>>\n<<{i}*1={i}>>\n")).collect();
        assert!(matched(&all).is_empty());
    }

    #[test]
    fn a_calculation_that_changes_nothing_earns_where_the_reference_has_it() {
        let twice = problem(
            "Ann has 4, that is 4 times as many as Tom. Mia has twice as many as Tom.",
            "4/4 = 1\n1*2 = 2\n#### 2",
        );
        let steps = ReferenceSteps::of(&twice);
        assert_eq!((steps.count(), steps.matched("4/4 = 1\n2*1 = 2").len()), (2, 2));
        assert!(steps.matched("2*1 = 2").is_empty(), "1 is not known yet");
    }

    #[test]
    fn a_difference_that_equals_what_is_taken_away_is_no_tautology() {
        let halves = problem("Tom has 10 and gives away 5.", "10-5 = <<10-5=5>>5\n#### 5");
        assert_eq!(ReferenceSteps::of(&halves).matched("10-5 = <<10-5=5>>5\n#### 5").len(), 1);
    }

    #[test]
    fn what_the_reference_uses_and_the_question_spells_out_is_known() {
        let week = problem(
            "Ann runs 3 km a day for a week and twice as far on a holiday.",
            "3*7 = 21\n3*2 = 6\n21+6 = 27\n#### 27",
        );
        let steps = ReferenceSteps::of(&week);
        assert_eq!((steps.count(), steps.matched("2*3 = 6\n7*3 = 21\n6+21 = 27").len()), (3, 3));
        let share = problem("20% of 50 apples?", "20% * 50 = 10\n#### 10");
        assert_eq!(ReferenceSteps::of(&share).matched("20% * 50 = 10").len(), 1);
        assert_eq!(ReferenceSteps::of(&share).matched("20% * 50 = 12").len(), 0);
    }

    #[test]
    fn every_embedded_reference_earns_all_of_its_steps_and_one_that_joins_two_a_part() {
        let problems = synthetic::FIRST.problems(Split::Train);
        let mut joined = 0;
        for problem in &problems {
            let steps = ReferenceSteps::of(problem);
            let worked = problem.worked.as_ref().unwrap();
            assert_eq!(steps.matched(worked).len(), steps.count(), "{problem:?}");
            assert_eq!(steps.count(), worked.lines().count() - 1, "{problem:?}");
            let lines = problem.solution.lines().count() - 1;
            assert_eq!(steps.matched(&problem.solution).len(), lines, "{problem:?}");
            joined += usize::from(lines < steps.count());
        }
        assert!(joined * 10 > problems.len() * 3, "{joined} of {} join two steps", problems.len());
    }
}
