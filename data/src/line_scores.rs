//! A checker of a solution's lines, which takes the place of a teacher (ARES; Byun et al. 2024, arXiv 2407.00087): a score for each line,
//! and the solution that is left when its bad lines are taken away and the reference goes on. Independent of rewards and models.

use crate::{
    Problem, ReferenceSteps,
    dense::before_answer,
    own_part,
    steps::{calculations, steps},
};
use std::collections::HashSet;

/// What the checker says of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// It works out an intermediate result of the reference that no earlier line has worked out, or states the right answer.
    Right,
    /// It calculates nothing.
    Neutral,
    /// It says what an earlier line said.
    Repeated,
    /// It works out anything else, states a wrong answer, or follows the answer.
    Wrong,
}

/// A line of a completion that is not blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedLine {
    /// Byte offset just past its text, before its line break.
    pub end: usize,
    /// What the checker says of it.
    pub kind: LineKind,
}

impl LineKind {
    /// As the teacher of the paper scores sentences: 1 for right, 0.5 for neutral, 0 for wrong and repeated.
    pub fn score(self) -> f32 {
        match self {
            Self::Right => 1.0,
            Self::Neutral => 0.5,
            Self::Repeated | Self::Wrong => 0.0,
        }
    }
}

/// The lines of a completion that are not blank, each with what the checker says of it. `correct` says whether the answer is right.
pub fn checked_lines(problem: &Problem, completion: &str, correct: bool) -> Vec<CheckedLine> {
    let matched: HashSet<usize> = ReferenceSteps::of(problem).matched(completion).into_iter().collect();
    let answer = before_answer(completion).len();
    let own = own_part(completion).len();
    let mut said = HashSet::new();
    let kind = |start: usize, end: usize, line: &str| match () {
        () if start >= own || start > answer => LineKind::Wrong,
        () if start == answer && correct => LineKind::Right,
        () if start == answer => LineKind::Wrong,
        () if !said.insert(line.trim().to_string()) => LineKind::Repeated,
        () if matched.contains(&end) => LineKind::Right,
        () if calculations(line).is_empty() => LineKind::Neutral,
        () => LineKind::Wrong,
    };
    non_blank_lines(completion)
        .scan(kind, |kind, (start, line)| {
            let end = start + line.len();
            Some(CheckedLine { end, kind: kind(start, end, line) })
        })
        .collect()
}

/// A completion that is corrected with the reference: its lines up to the first that `kinds` call wrong, or to the answer, without those that
/// are repeated; then the lines of the reference but for those whose results it has worked out. The answer is that of the reference. `kinds` has one
/// entry a line of the completion that is not blank.
///
/// # Panics
/// If there are not as many entries as lines.
pub fn corrected(problem: &Problem, completion: &str, kinds: &[LineKind]) -> String {
    let answer = before_answer(completion).len();
    let lines: Vec<(usize, &str)> = non_blank_lines(completion).collect();
    assert_eq!(lines.len(), kinds.len(), "one kind per line");
    let kept: Vec<&str> = lines
        .iter()
        .zip(kinds)
        .take_while(|((start, _), kind)| *start < answer && **kind != LineKind::Wrong)
        .filter(|(_, kind)| **kind != LineKind::Repeated)
        .map(|((_, line), _)| line.trim_end())
        .collect();
    let mut known: Vec<_> = steps(&kept.join("\n")).into_iter().filter_map(|step| step.result).collect();
    let is_missing = |line: &&str| {
        let result = steps(line).pop().and_then(|step| step.result);
        let Some(place) = result.and_then(|result| known.iter().position(|other| *other == result)) else {
            return true;
        };
        known.swap_remove(place);
        false
    };
    let rest = problem.solution.lines().filter(|line| !line.trim().is_empty()).filter(is_missing);
    kept.iter().copied().chain(rest).collect::<Vec<_>>().join("\n").trim_start().to_string()
}

/// The lines of a text that are not blank, each with the byte offset of its beginning, without its line break.
pub fn non_blank_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut next = 0;
    text.split_inclusive('\n')
        .map(move |line| {
            let start = next;
            next += line.len();
            (start, line.trim_end_matches(['\n', '\r']))
        })
        .filter(|(_, line)| !line.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use LineKind::{Neutral, Repeated, Right, Wrong};

    const SOLUTION: &str = "6 bags hold 6*4 = <<6*4=24>>24 nuts.\n24-3 = <<24-3=21>>21 are left.\nHalf is 21/2 = <<21/2=10.5>>10.5\n#### 10.5";

    fn problem() -> Problem {
        Problem {
            id: "test/0".into(),
            question: "Ann has 6 bags of 4 nuts, eats 3, and gives away half. How many are left?".into(),
            solution: SOLUTION.into(),
            answer: crate::gold_answer(SOLUTION).unwrap(),
            worked: None,
        }
    }

    fn kinds(completion: &str, correct: bool) -> Vec<LineKind> {
        checked_lines(&problem(), completion, correct).into_iter().map(|line| line.kind).collect()
    }

    #[test]
    fn a_reference_has_right_lines_alone() {
        assert_eq!(kinds(SOLUTION, true), [Right; 4]);
        assert_eq!(corrected(&problem(), SOLUTION, &[Right; 4]), SOLUTION);
    }

    #[test]
    fn a_line_is_wrong_if_its_result_is_false_or_of_no_use_and_neutral_if_it_has_none() {
        let completion = " Let us see.\n6*4 = <<6*4=24>>24\n6+3 = <<6+3=9>>9\n24-3 = <<24-3=22>>22\n#### 22";
        assert_eq!(kinds(completion, false), [Neutral, Right, Wrong, Wrong, Wrong]);
        assert_eq!([Right, Neutral, Repeated, Wrong].map(LineKind::score), [1.0, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn what_was_said_before_is_repeated_and_what_follows_the_answer_is_wrong() {
        let completion =
            "6*4 = <<6*4=24>>24\n\n 6*4 = <<6*4=24>>24\n#### 10.5\n24-3 = <<24-3=21>>21\n\nQuestion: and 2+2?";
        assert_eq!(kinds(completion, true), [Right, Repeated, Right, Wrong, Wrong]);
    }

    #[test]
    fn lines_end_where_those_of_an_external_reward_do() {
        let completion = "6*4 = 24 \n\n  24-3 = 21\r\n#### 1";
        let ends: Vec<usize> = checked_lines(&problem(), completion, false).iter().map(|line| line.end).collect();
        assert_eq!(ends, [9, 22, 30]);
    }

    #[test]
    fn a_correction_keeps_what_is_right_and_goes_on_with_what_the_reference_has_beside_it() {
        let corrected_of = |completion: &str| corrected(&problem(), completion, &kinds(completion, false));
        assert_eq!(
            corrected_of(" 4*6 = <<4*6=24>>24 in all\n4*6 = <<4*6=24>>24 in all\n24+3 = <<24+3=27>>27\n#### 27"),
            "4*6 = <<4*6=24>>24 in all\n24-3 = <<24-3=21>>21 are left.\nHalf is 21/2 = <<21/2=10.5>>10.5\n#### 10.5"
        );
        assert_eq!(corrected_of("#### 3"), SOLUTION);
        assert_eq!(corrected_of("6*4 = <<6*4=25>>25"), SOLUTION);
        assert_eq!(corrected_of(""), SOLUTION);
    }
}
