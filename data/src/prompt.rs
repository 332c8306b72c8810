//! From a question to token ids: the one place that decides the form of a prompt. Independent of benchmarks and models.
//!
//! Prompt and completion are tokenised apart and then joined, so that the tokens of a completion never depend on whether it
//! was written by a model or by a data set.

use anyhow::{Result, ensure};
use std::ops::Range;

pub use crate::prompt_format::{PromptFormat, SHOT_END, completion_text, question_prompt};
pub use crate::prompt_style::PromptStyle;

use crate::{Problem, Tokenizer, goal::Goal, own_part};

/// A prompt and its completion as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The prompt, the completion and the end-of-sequence token.
    pub tokens: Vec<u32>,
    /// How many of `tokens` are the prompt.
    pub prompt_len: usize,
    /// Positions after the prompt whose tokens were given: inputs, not targets.
    pub given: Vec<Range<usize>>,
}

impl Example {
    /// A prompt and what was written after it.
    pub fn new(tokens: Vec<u32>, prompt_len: usize) -> Self {
        Self { tokens, prompt_len, given: Vec::new() }
    }

    /// With what the calculator wrote as given: ranges of bytes of the text after the prompt.
    pub fn with_calculated(self, tokenizer: &Tokenizer, calculated: &[[usize; 2]]) -> Self {
        let (completion, start) = (&self.tokens[self.prompt_len..], self.prompt_len);
        let tokens = calculated.iter().map(|&[first, end]| tokenizer.tokens_within(completion, first..end));
        let given = tokens.filter(|tokens| !tokens.is_empty()).map(|tokens| start + tokens.start..start + tokens.end);
        Self { given: given.collect(), ..self }
    }
}

/// Everything that makes a prompt of a question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompting {
    /// How the question is put.
    pub format: PromptFormat,
    /// Solved problems that are shown before it.
    pub shots: Vec<Problem>,
    /// The goal that a policy is conditioned on, where it expects labels.
    pub goal: Goal,
}

impl Prompting {
    /// A question alone.
    pub fn bare(format: impl Into<PromptFormat>) -> Self {
        Self { format: format.into(), ..Self::default() }
    }
}

/// What begins another question, behind [`SHOT_END`]. A model without a few-shot prompt may do the same: a completion
/// of the plain style ends here.
pub const NEXT_QUESTIONS: [&str; 3] = ["Question:", "Q:", "User:"];

/// The token ids of a prompt, with the begin-of-sequence token where the tokenizer adds one.
///
/// # Errors
/// A chat style without a chat template; a template that cannot be rendered.
pub fn encode_prompt(tokenizer: &Tokenizer, prompting: &Prompting, question: &str) -> Result<Vec<u32>> {
    let format = &prompting.format;
    let text = format.text(&prompting.shots, question)?;
    match format.style() {
        PromptStyle::Plain => {
            let mut tokens = tokenizer.prompt_prefix().to_vec();
            tokens.extend(tokenizer.encode(&text));
            Ok(tokens)
        }
        // A chat template writes its own begin-of-sequence token.
        PromptStyle::Chat => Ok(tokenizer.encode(&tokenizer.apply_chat_template(format.system(), &text)?)),
    }
}

/// The token that ends a completion to learn from: of a chat, the one with which the chat template ends a message, where it has
/// one of its own; else the first of [`Tokenizer::eos_ids`].
pub fn end_id(tokenizer: &Tokenizer, style: PromptStyle) -> u32 {
    tokenizer.turn_end().filter(|_| style == PromptStyle::Chat).unwrap_or_else(|| tokenizer.eos_ids()[0])
}

/// A problem as an example to learn from: its prompt, its solution and the end of the sequence.
///
/// # Errors
/// A problem without a solution; otherwise as [`encode_prompt`].
pub fn encode_example(tokenizer: &Tokenizer, format: &PromptFormat, problem: &Problem) -> Result<Example> {
    ensure!(
        !problem.solution.is_empty(),
        "{} has no solution to learn from: name its field, by `solution` in [fields] of the description or by --solution-field",
        problem.id
    );
    let mut tokens = encode_prompt(tokenizer, &Prompting::bare(format.clone()), &problem.question)?;
    let prompt_len = tokens.len();
    tokens.extend(tokenizer.encode(&format.solution(&problem.question, &problem.solution)?));
    tokens.push(end_id(tokenizer, format.style()));
    Ok(Example::new(tokens, prompt_len))
}

/// As [`encode_example`]; what the calculator wrote, ranges of bytes of the solution, is given.
///
/// # Errors
/// As [`encode_example`].
pub fn encode_calculated(
    tokenizer: &Tokenizer,
    format: &PromptFormat,
    problem: &Problem,
    calculated: &[[usize; 2]],
) -> Result<Example> {
    let example = encode_example(tokenizer, format, problem)?;
    let completion = &example.tokens[example.prompt_len..];
    // A template may write the solution in other words; then nothing of it is known to be given.
    let Some(offset) = tokenizer.decode(completion).find(&problem.solution) else { return Ok(example) };
    let calculated: Vec<[usize; 2]> = calculated.iter().map(|range| range.map(|byte| offset + byte)).collect();
    Ok(example.with_calculated(tokenizer, &calculated))
}

/// The prompt of the backward model, which writes a question for a solution.
pub fn encode_reversed_prompt(tokenizer: &Tokenizer, solution: &str) -> Vec<u32> {
    let text = format!("Answer:{}\nQuestion:", completion_text(solution));
    [tokenizer.prompt_prefix(), &tokenizer.encode(&text)].concat()
}

/// A problem turned round as an example to learn from: its solution, its question and the end of the sequence.
pub fn encode_reversed(tokenizer: &Tokenizer, problem: &Problem) -> Example {
    let mut tokens = encode_reversed_prompt(tokenizer, &problem.solution);
    let prompt_len = tokens.len();
    tokens.extend(tokenizer.encode(&completion_text(&problem.question)));
    tokens.push(end_id(tokenizer, PromptStyle::Plain));
    Example::new(tokens, prompt_len)
}

/// The token ids of a solution prefix, for a model to continue from.
///
/// # Errors
/// A template that cannot be rendered.
pub fn encode_prefix(tokenizer: &Tokenizer, format: &PromptFormat, question: &str, prefix: &str) -> Result<Vec<u32>> {
    Ok(if prefix.is_empty() { Vec::new() } else { tokenizer.encode(&format.solution(question, prefix)?) })
}

/// A completion, word for word, as an example; `ended` adds the end of the sequence, in the place of what may have
/// separated it from the next problem. A completion that continues with a question of its own ends before it.
pub fn encode_written(
    tokenizer: &Tokenizer,
    prompting: &Prompting,
    question: &str,
    completion: &str,
    ended: bool,
) -> Result<Example> {
    let mut tokens = encode_prompt(tokenizer, prompting, question)?;
    let prompt_len = tokens.len();
    let own = own_part(completion);
    let ended = ended || own.len() < completion.len();
    tokens.extend(tokenizer.encode(if ended { own.trim_end() } else { own }));
    tokens.extend(ended.then(|| end_id(tokenizer, prompting.format.style())));
    Ok(Example::new(tokens, prompt_len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Answer;

    fn problem() -> Problem {
        Problem {
            id: "test/0".into(),
            question: "Ann has 6 bags of 4 nuts. How many nuts?".into(),
            solution: "6*4 = <<6*4=24>>24\n#### 24".into(),
            answer: Answer::from_integer(24),
            worked: None,
        }
    }

    fn tokenizer() -> Tokenizer {
        let problem = problem();
        let text = PromptFormat::default().text(&[problem], "How many?").unwrap();
        Tokenizer::train_bpe(&[text.clone(), text], 300).unwrap()
    }

    #[test]
    fn shots_are_solved_questions_before_the_question() {
        assert_eq!(
            PromptFormat::default().text(&[problem()], "Why?").unwrap(),
            "Question: Ann has 6 bags of 4 nuts. How many nuts?\nAnswer: 6*4 = <<6*4=24>>24\n#### 24\n\n\
             Question: Why?\nAnswer:"
        );
    }

    #[test]
    fn an_example_is_prompt_completion_and_end() {
        let (tokenizer, problem) = (tokenizer(), problem());
        let example = encode_example(&tokenizer, &PromptFormat::default(), &problem).unwrap();
        let (prompt, completion) = example.tokens.split_at(example.prompt_len);
        assert_eq!(prompt, encode_prompt(&tokenizer, &Prompting::default(), &problem.question).unwrap());
        assert_eq!(tokenizer.decode(prompt), question_prompt(&problem.question));
        assert_eq!(tokenizer.decode(completion), completion_text(&problem.solution));
        assert_eq!(completion.last(), tokenizer.eos_ids().first());
    }

    #[test]
    fn what_the_calculator_wrote_in_a_solution_is_given() {
        let (tokenizer, problem) = (tokenizer(), problem());
        let start = problem.solution.find("24>>").unwrap();
        let format = PromptFormat::default();
        let example = encode_calculated(&tokenizer, &format, &problem, &[[start, start + 4]]).unwrap();
        let given: Vec<String> =
            example.given.iter().map(|range| tokenizer.decode(&example.tokens[range.clone()])).collect();
        assert_eq!(given, ["24>>"]);
        let plain = encode_example(&tokenizer, &format, &problem).unwrap();
        assert_eq!((&example.tokens, example.prompt_len), (&plain.tokens, plain.prompt_len));
        assert_eq!(encode_calculated(&tokenizer, &format, &problem, &[]).unwrap(), plain);
    }

    #[test]
    fn a_problem_turned_round_asks_for_its_question() {
        let (tokenizer, problem) = (tokenizer(), problem());
        let example = encode_reversed(&tokenizer, &problem);
        let (prompt, completion) = example.tokens.split_at(example.prompt_len);
        assert_eq!(tokenizer.decode(prompt), "Answer: 6*4 = <<6*4=24>>24\n#### 24\nQuestion:");
        assert_eq!(tokenizer.decode(completion), format!(" {}", problem.question));
        assert_eq!(completion.last(), tokenizer.eos_ids().first());
    }

    #[test]
    fn what_was_written_ends_before_a_question_of_its_own() {
        let (tokenizer, question) = (tokenizer(), Prompting::default());
        let tokens = |completion: &str, ended: bool| {
            encode_written(&tokenizer, &question, "Why?", completion, ended).unwrap().tokens
        };
        let whole = tokens(" 6*4 = 24\n#### 24", true);
        for ended in [true, false] {
            assert_eq!(tokens(" 6*4 = 24\n#### 24\n\nQuestion:", ended), whole);
            assert_eq!(tokens(" 6*4 = 24\n#### 24\n\nQuestion: Why?\nAnswer: 1\n#### 1", ended), whole);
        }
        assert_ne!(tokens(" 6*4 = 24\n#### 24", false), whole);
    }

    #[test]
    fn the_chat_style_without_a_template_says_what_to_do() {
        let chat = Prompting::bare(PromptStyle::Chat);
        let error = encode_prompt(&tokenizer(), &chat, "Why?").unwrap_err();
        assert!(error.to_string().contains("chat template"), "{error}");
    }
}
