//! Templates of users, in Jinja: fields of rows and prompts. Independent of tokenizers, whose chat templates are elsewhere.

use std::fmt;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde::Serialize;

/// The name under which an environment holds its template.
const NAME: &str = "template";

/// A template that was read.
#[derive(Clone)]
pub struct Template {
    source: String,
    environment: Arc<Environment<'static>>,
}

impl Template {
    /// Reads a template. A variable that does not exist is an error when it is used. Beside Jinja's own filters there is `letter`: 0 is A, 1
    /// is B.
    ///
    /// # Errors
    /// A malformed template, with line and column.
    pub fn parse(source: &str) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).trim_blocks(true).build()?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("letter", letter);
        let malformed = |error: &Error| at_place(error, source);
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| malformed(&error))?;
        Ok(Self { source: source.to_owned(), environment: Arc::new(environment) })
    }

    /// The text that the template makes of these variables.
    ///
    /// # Errors
    /// A variable that does not exist, an operation that its value does not have, with line and column.
    pub fn render(&self, variables: &impl Serialize) -> Result<String> {
        let template = self.environment.get_template(NAME).map_err(|error| at_place(&error, &self.source))?;
        template.render(Value::from(Serde(variables))).map_err(|error| at_place(&error, &self.source))
    }

    /// The text that it was read from.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// Whether a text has anything that a template would replace.
pub(crate) fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// The letter of a choice, counted from 0.
fn letter(index: usize) -> Result<String, Error> {
    let letter = u8::try_from(index).ok().filter(|index| *index < 26).map(|index| char::from(b'A' + index));
    letter
        .map(String::from)
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "the letter filter counts from 0 to 25"))
}

/// An error with its place in the template.
fn at_place(error: &Error, source: &str) -> anyhow::Error {
    let before = error.range().and_then(|range| source.get(..range.start));
    let place = match (before, error.line()) {
        (Some(before), _) => {
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
            format!("line {line}, column {column}: ")
        }
        (None, Some(line)) => format!("line {line}: "),
        (None, None) => String::new(),
    };
    let what = error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    anyhow!("{place}{what}")
}

impl fmt::Debug for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Template({:?})", self.source)
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_template_has_the_fields_of_a_row_and_letters_for_choices() {
        let template = Template::parse(
            "{{ q.strip() }}\n{% for choice in choices %}\n{{ loop.index0 | letter }}. {{ choice }}\n{% endfor %}\n",
        );
        let row = json!({"q": " Capital? ", "choices": ["Rome", "Paris"]});
        assert_eq!(template.unwrap().render(&row).unwrap(), "Capital?\nA. Rome\nB. Paris\n");
        assert_eq!(Template::parse("{{ answer | letter }}").unwrap().render(&json!({"answer": 3})).unwrap(), "D");
    }

    #[test]
    fn an_error_has_its_line_and_column() {
        let error = Template::parse("one\n{{ two").unwrap_err().to_string();
        assert!(error.starts_with("line 2, column"), "{error}");
        let error = Template::parse("one\n  {{ two }}").unwrap().render(&json!({"one": 1})).unwrap_err().to_string();
        assert!(error.starts_with("line 2, column 6: undefined value"), "{error}");
        let error = Template::parse("{{ 30 | letter }}").unwrap().render(&json!({})).unwrap_err().to_string();
        assert!(error.contains("from 0 to 25"), "{error}");
    }
}
