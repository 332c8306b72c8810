//! Solutions with a label before their lines, as examples of return-conditioned RL. Independent of policies and rewards.

use anyhow::Result;
use std::ops::Range;

use crate::goal::{Goal, lines};
use crate::prompt::{Example, PromptFormat, Prompting, encode_prompt, end_id};
use crate::tokenizer::Tokenizer;

/// A solution with a label before each of its lines, as an example; `goals` are those of the lines in order. With one goal
/// the whole solution has one label. Labels are given, and so is what the calculator wrote: `calculated`, ranges of bytes of the
/// completion.
///
/// Labels and lines are tokenised apart, as a policy meets them when it writes after labels.
///
/// # Errors
/// A chat style without a template.
///
/// # Panics
/// If there are neither as many goals as lines nor one.
pub fn encode_with_goals(
    tokenizer: &Tokenizer,
    format: &PromptFormat,
    question: &str,
    completion: &str,
    goals: &[Goal],
    calculated: &[[usize; 2]],
) -> Result<Example> {
    let lines: Vec<&str> = if goals.len() == 1 { vec![completion] } else { lines(completion).collect() };
    assert_eq!(lines.len(), goals.len(), "one goal a line");
    let mut tokens = encode_prompt(tokenizer, &Prompting::bare(format.clone()), question)?;
    let prompt_len = tokens.len();
    let mut given: Vec<Range<usize>> = Vec::new();
    let mut line_start = 0;
    for (place, (line, goal)) in lines.iter().zip(goals).enumerate() {
        let label = if place == 0 { goal.first_label(format.style()) } else { goal.label() };
        let start = tokens.len();
        tokens.extend(tokenizer.encode(&label));
        given.push(start..tokens.len());
        let of_line = tokenizer.encode(line);
        for &[first, end] in calculated {
            let [first, end] = [first, end].map(|byte| byte.clamp(line_start, line_start + line.len()) - line_start);
            let within = tokenizer.tokens_within(&of_line, first..end);
            given.push(tokens.len() + within.start..tokens.len() + within.end);
        }
        tokens.extend(of_line);
        line_start += line.len();
    }
    given.retain(|range| !range.is_empty());
    tokens.push(end_id(tokenizer, format.style()));
    Ok(Example { tokens, prompt_len, given })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETION: &str = " 6*4 = <<6*4=24>>24\n24-3 = <<24-3=21>>21\n#### 21";

    fn tokenizer() -> Tokenizer {
        Tokenizer::train_bpe(&[format!("Question: Why?\nAnswer:{COMPLETION}")], 300).unwrap()
    }

    fn parts(goals: &[Goal]) -> (Vec<String>, String) {
        let tokenizer = tokenizer();
        let example = encode_with_goals(&tokenizer, &PromptFormat::default(), "Why?", COMPLETION, goals, &[]).unwrap();
        let given = example.given.iter().map(|range| tokenizer.decode(&example.tokens[range.clone()])).collect();
        (given, tokenizer.decode(&example.tokens[example.prompt_len..]))
    }

    #[test]
    fn every_line_has_its_label_and_labels_are_given() {
        let (given, text) = parts(&[Goal::Good, Goal::Bad, Goal::Good]);
        assert_eq!(given, [" [GOOD]", "[BAD] ", "[GOOD] "]);
        assert_eq!(text, " [GOOD] 6*4 = <<6*4=24>>24\n[BAD] 24-3 = <<24-3=21>>21\n[GOOD] #### 21");
    }

    #[test]
    fn what_the_calculator_wrote_is_given_as_the_labels_are() {
        let tokenizer = tokenizer();
        let ranges = ["24>>", "21>>"].map(|result| COMPLETION.find(result).map(|at| [at, at + 4]).unwrap());
        for (goals, expected) in [
            (&[Goal::Good, Goal::Bad, Goal::Good][..], vec![" [GOOD]", "24>>", "[BAD] ", "21>>", "[GOOD] "]),
            (&[Goal::Good], vec![" [GOOD]", "24>>", "21>>"]),
        ] {
            let format = PromptFormat::default();
            let example = encode_with_goals(&tokenizer, &format, "Why?", COMPLETION, goals, &ranges).unwrap();
            let given = example.given.iter().map(|range| tokenizer.decode(&example.tokens[range.clone()]));
            assert_eq!(given.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn one_goal_stands_before_the_whole_solution() {
        let (given, text) = parts(&[Goal::Bad]);
        assert_eq!((given, text), (vec![" [BAD]".to_string()], format!(" [BAD]{COMPLETION}")));
    }

    #[test]
    fn what_is_not_given_is_the_solution_as_it_would_stand_without_labels() {
        let tokenizer = tokenizer();
        let goals = [Goal::Good, Goal::Good, Goal::Bad];
        let example = encode_with_goals(&tokenizer, &PromptFormat::default(), "Why?", COMPLETION, &goals, &[]).unwrap();
        let is_given = |place: usize| example.given.iter().any(|range| range.contains(&place));
        let targets: Vec<u32> = (example.prompt_len..example.tokens.len())
            .filter(|&place| !is_given(place))
            .map(|place| example.tokens[place])
            .collect();
        assert_eq!(targets[..targets.len() - 1], tokenizer.encode(COMPLETION));
        assert_eq!(targets.last(), tokenizer.eos_ids().first());
    }
}
