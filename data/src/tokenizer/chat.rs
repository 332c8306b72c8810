//! Chat templates, which are Jinja programs inside a tokenizer's configuration. Independent of tokens.

use std::sync::LazyLock;

use anyhow::{Context, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, context};
use regex::Regex;
use serde_json::Value;

/// Templates may ask for today's date. Prompts that change from day to day cannot be reproduced, so the day is always the
/// one that the Llama templates fall back on.
const TODAY: &str = "26 Jul 2024";

/// The text that a model continues with its answer to `user`.
pub(super) fn render(
    template: &str,
    system: Option<&str>,
    user: &str,
    bos_token: &str,
    eos_token: &str,
) -> Result<String> {
    let messages: Vec<_> = system.map(|text| ("system", text)).into_iter().chain([("user", user)]).collect();
    render_messages(template, &messages, true, bos_token, eos_token)
}

/// What a template writes behind an answer of the model; `None` where it cannot be rendered so.
pub(super) fn behind_answer(template: &str, bos_token: &str, eos_token: &str) -> Option<String> {
    const ANSWER: &str = "The answer is 42.";
    let messages = [("user", "What is 6 times 7?"), ("assistant", ANSWER)];
    let text = render_messages(template, &messages, false, bos_token, eos_token).ok()?;
    Some(text.rsplit_once(ANSWER)?.1.to_owned())
}

/// A conversation of (role, content), and, where wanted, the beginning of the model's next message.
fn render_messages(
    template: &str,
    messages: &[(&str, &str)],
    add_generation_prompt: bool,
    bos_token: &str,
    eos_token: &str,
) -> Result<String> {
    let mut environment = Environment::new();
    // As transformers renders them: a block on a line of its own leaves no line behind.
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |_format: String| TODAY);
    let template = without_generation_blocks(template);
    let messages: Vec<_> = messages.iter().map(|&(role, content)| context! { role, content }).collect();
    environment
        .render_str(
            &template,
            context! { messages, bos_token, eos_token, add_generation_prompt, tools => (), documents => () },
        )
        .context("the tokenizer's chat template cannot be rendered; use plain prompts")
}

/// The template of a configuration: a text, or the one named `default` in a list.
pub(super) fn template_of(config: &Value) -> Option<String> {
    let template = config.get("chat_template")?;
    let of_list = || {
        let named =
            template.as_array()?.iter().find(|named| named.get("name").and_then(Value::as_str) == Some("default"));
        named?.get("template")?.as_str()
    };
    template.as_str().or_else(of_list).map(str::to_owned)
}

/// `{% generation %}` is a block that transformers adds to Jinja to mark what a model wrote. Its content stays.
fn without_generation_blocks(template: &str) -> String {
    static BLOCK: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})").expect("a pattern of this file"));
    let replaced = BLOCK.replace_all(template, |captures: &regex::Captures<'_>| {
        let block = if captures.get(2).is_some() { "endif" } else { "if true" };
        format!("{}{block}{}", &captures[1], &captures[3])
    });
    replaced.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_ends_where_the_model_begins() {
        let template = "{%- for message in messages %}\n    {{- '<|im_start|>' + message['role'] + '\\n' + \
                        message.content.strip() + '<|im_end|>' + '\\n' }}\n{%- endfor %}\n\
                        {%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
        assert_eq!(
            render(template, None, " Why? ", "", "").unwrap(),
            "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn a_system_message_stands_before_the_question() {
        let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
        assert_eq!(render(template, Some("Be brief."), "Why?", "", "").unwrap(), "system: Be brief.\nuser: Why?\n");
    }

    #[test]
    fn python_methods_loops_and_the_usual_variables_work() {
        let template = "{{ bos_token }}{% set ns = namespace(n=0) %}{% for m in messages %}\
                        {% if m.role.startswith('us') and tools is none %}{% set ns.n = ns.n + 1 %}{{ m | tojson }}\
                        {% break %}{% endif %}{% endfor %}{{ ns.n }}{{ 'a,b'.split(',')[1] }}{{ eos_token }}";
        let text = render(template, None, "Why?", "<s>", "</s>").unwrap();
        let message = text.strip_prefix("<s>").and_then(|rest| rest.strip_suffix("1b</s>")).unwrap();
        let message: Value = serde_json::from_str(message).unwrap();
        assert_eq!(message, serde_json::json!({"role": "user", "content": "Why?"}));
    }

    #[test]
    fn the_template_can_refuse() {
        let error = render("{{ raise_exception('no user here') }}", None, "Why?", "", "").unwrap_err();
        assert!(format!("{error:#}").contains("no user here"), "{error:#}");
    }

    #[test]
    fn generation_blocks_are_passed_through() {
        assert_eq!(render("{% generation %}{{ 'a' }}{%- endgeneration -%}", None, "", "", "").unwrap(), "a");
    }

    #[test]
    fn the_default_of_several_templates_counts() {
        let config = serde_json::json!({"chat_template": [{"name": "tool_use", "template": "t"},
                                                           {"name": "default", "template": "d"}]});
        assert_eq!(template_of(&config).as_deref(), Some("d"));
        assert_eq!(template_of(&serde_json::json!({"chat_template": "one"})).as_deref(), Some("one"));
        assert_eq!(template_of(&serde_json::json!({})), None);
    }
}
