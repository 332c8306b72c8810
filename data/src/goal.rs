//! What return-conditioned RL writes into a solution: whether what follows shall be good (Havrilla et al. 2024, section on
//! return-conditioned RL). The labels are given, never learnt. Knows no policy and no reward.

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::ops::Range;

use crate::{Example, PromptStyle, Prompting, Tokenizer, encode_prompt, prompt::end_id};

/// What a policy is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// What leads to the right answer.
    #[default]
    Good,
    /// What does not.
    Bad,
}

/// Before what a label stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conditioning {
    /// Before every line.
    Lines,
    /// Before the whole solution.
    Solutions,
}

impl Goal {
    /// The label before the first line. In the plain style a space stands before it and another before the line, as before
    /// any solution.
    pub fn first_label(self, style: PromptStyle) -> String {
        match style {
            PromptStyle::Plain => format!(" {}", self.text()),
            PromptStyle::Chat => self.label(),
        }
    }

    /// The label before a later line.
    pub fn label(self) -> String {
        format!("{} ", self.text())
    }

    fn text(self) -> &'static str {
        match self {
            Self::Good => "[GOOD]",
            Self::Bad => "[BAD]",
        }
    }
}

/// A solution with a label before each of its lines, as an example; `goals` are those of the lines in order. With one goal
/// the whole solution has one label.
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
    style: PromptStyle,
    question: &str,
    completion: &str,
    goals: &[Goal],
) -> Result<Example> {
    let lines: Vec<&str> = if goals.len() == 1 { vec![completion] } else { lines(completion).collect() };
    assert_eq!(lines.len(), goals.len(), "one goal a line");
    let mut tokens = encode_prompt(tokenizer, &Prompting::bare(style), question)?;
    let prompt_len = tokens.len();
    let mut given: Vec<Range<usize>> = Vec::new();
    for (place, (line, goal)) in lines.iter().zip(goals).enumerate() {
        let label = if place == 0 { goal.first_label(style) } else { goal.label() };
        let start = tokens.len();
        tokens.extend(tokenizer.encode(&label));
        given.push(start..tokens.len());
        tokens.extend(tokenizer.encode(line));
    }
    tokens.push(end_id(tokenizer, style));
    Ok(Example { tokens, prompt_len, given })
}

/// The lines of a completion, each with the `\n` that ends it: what a label stands before.
pub fn lines(completion: &str) -> impl Iterator<Item = &str> {
    completion.split_inclusive('\n')
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
        let example = encode_with_goals(&tokenizer, PromptStyle::Plain, "Why?", COMPLETION, goals).unwrap();
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
    fn one_goal_stands_before_the_whole_solution() {
        let (given, text) = parts(&[Goal::Bad]);
        assert_eq!((given, text), (vec![" [BAD]".to_string()], format!(" [BAD]{COMPLETION}")));
    }

    #[test]
    fn what_is_not_given_is_the_solution_as_it_would_stand_without_labels() {
        let tokenizer = tokenizer();
        let goals = [Goal::Good, Goal::Good, Goal::Bad];
        let example = encode_with_goals(&tokenizer, PromptStyle::Plain, "Why?", COMPLETION, &goals).unwrap();
        let is_given = |place: usize| example.given.iter().any(|range| range.contains(&place));
        let learnt: Vec<u32> = (example.prompt_len..example.tokens.len())
            .filter(|&place| !is_given(place))
            .map(|place| example.tokens[place])
            .collect();
        assert_eq!(learnt[..learnt.len() - 1], tokenizer.encode(COMPLETION));
        assert_eq!(learnt.last(), tokenizer.eos_ids().first());
    }
}
