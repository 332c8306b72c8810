//! How the questions of a benchmark are put to a model: style, template, system message, examples. Independent of tokens.

use std::sync::Arc;

use anyhow::{Context, Result};
use minijinja::context;

use crate::answer::AnswerKind;
use crate::problem::Problem;
use crate::prompt_style::PromptStyle;
use crate::template::Template;

/// Separator between two solved problems. A model with a few-shot prompt may continue with a problem of its own: a
/// completion ends here.
pub const SHOT_END: &str = "\n\n";

/// The plain prompt of a question.
pub fn question_prompt(question: &str) -> String {
    format!("Question: {question}\nAnswer:")
}

/// What a model should write after a plain prompt. The space belongs to the completion, because a tokenizer joins it to
/// the word that follows.
pub fn completion_text(solution: &str) -> String {
    format!(" {solution}")
}

/// Format of the prompts of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PromptFormat {
    style: PromptStyle,
    kind: AnswerKind,
    settings: Arc<PromptSettings>,
}

/// What a benchmark's description says of its prompts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PromptSettings {
    /// System message.
    pub system: Option<String>,
    /// Template over `question`; without it, [`question_prompt`].
    pub template: Option<Template>,
    /// Questions with solutions that stand before each question.
    pub few_shot: Vec<(String, String)>,
    /// Texts that end a completion.
    pub stops: Vec<String>,
}

impl From<PromptStyle> for PromptFormat {
    fn from(style: PromptStyle) -> Self {
        Self { style, ..Self::default() }
    }
}

impl PromptFormat {
    /// The format of a benchmark.
    pub fn new(style: PromptStyle, kind: AnswerKind, settings: PromptSettings) -> Self {
        Self { style, kind, settings: Arc::new(settings) }
    }

    /// Plain, or a chat.
    pub fn style(&self) -> PromptStyle {
        self.style
    }

    /// Texts that end a completion, beside what ends every completion of the style.
    pub fn stops(&self) -> &[String] {
        &self.settings.stops
    }

    /// Whether solved questions stand before each question, beside those of a run.
    pub fn has_examples(&self) -> bool {
        !self.settings.few_shot.is_empty()
    }

    /// The system message of a chat.
    pub fn system(&self) -> Option<&str> {
        self.settings.system.as_deref()
    }

    /// The question as it is put: the plain prompt, or the message of the user. Solved questions stand before it.
    ///
    /// # Errors
    /// A template that cannot be rendered.
    pub fn text(&self, shots: &[Problem], question: &str) -> Result<String> {
        let few_shot = self.settings.few_shot.iter().map(|(question, solution)| (question.as_str(), solution.as_str()));
        let all = few_shot.chain(shots.iter().map(|shot| (shot.question.as_str(), shot.solution.as_str())));
        let mut text = String::new();
        for (question, solution) in all {
            let prompt = self.question(question)?;
            text += &(prompt.clone() + &self.completion(&prompt, solution) + SHOT_END);
        }
        let has_shots = !text.is_empty();
        let asked = match (self.style, &self.settings.template) {
            // A question alone is a message; behind solved ones it begins as they do.
            (PromptStyle::Chat, None) if !has_shots => question.to_owned(),
            _ => self.question(question)?,
        };
        let instruction = match (self.style, &self.settings.template, instruction(self.kind)) {
            (PromptStyle::Chat, None, Some(instruction)) => format!("{instruction}\n\n"),
            _ => String::new(),
        };
        let system = match (self.style, &self.settings.system) {
            (PromptStyle::Plain, Some(system)) => format!("{system}\n\n"),
            _ => String::new(),
        };
        Ok(system + &instruction + &text + &asked)
    }

    /// What a model should write behind the prompt of a question. Of a plain prompt that does not end with white space, the space belongs to
    /// the completion, because a tokenizer joins it to the word that follows.
    pub fn solution(&self, question: &str, solution: &str) -> Result<String> {
        match self.style {
            // After the header of a chat turn the text begins at once.
            PromptStyle::Chat => Ok(solution.to_owned()),
            PromptStyle::Plain => Ok(self.completion(&self.question(question)?, solution)),
        }
    }

    fn completion(&self, prompt: &str, solution: &str) -> String {
        if prompt.ends_with(char::is_whitespace) { solution.to_owned() } else { completion_text(solution) }
    }

    fn question(&self, question: &str) -> Result<String> {
        match &self.settings.template {
            Some(template) => template.render(&context! { question }).context("[prompt] template"),
            None => Ok(question_prompt(question)),
        }
    }
}

/// The instruction to a chat model about the form of an answer; a plain prompt shows it by example. What a command accepts, the question or
/// the system message says.
fn instruction(kind: AnswerKind) -> Option<&'static str> {
    Some(match kind {
        AnswerKind::Number => {
            "Solve this step by step, one calculation on each line. End with a line that holds \"#### \" and the number."
        }
        AnswerKind::Math => "Solve this step by step. Put the final answer in \\boxed{}.",
        AnswerKind::Choice => {
            "Think step by step. End with a line that holds \"#### \" and the letter of the right choice."
        }
        AnswerKind::Text => "Think step by step. End with a line that holds \"#### \" and the answer.",
        AnswerKind::Command => return None,
    })
}
