//! Where in a completion an answer that is no number stands, by the same formats as numbers. Independent of kinds.

use super::format::AnswerFormat;
use super::number_claim::{BOX, IS, LABEL, braced, captured, has_box, tagged};
use super::plain::OPAQUE;

impl AnswerFormat {
    /// The text that the final part of a completion claims as its answer; `None` where it claims none, or was cut off in it.
    pub(super) fn claimed_text<'a>(&self, text: &'a str) -> Option<&'a str> {
        let claimed = match self {
            Self::Auto => anywhere(text)?,
            Self::Gsm8k => marked(text)?,
            Self::Boxed => boxed(text)?,
            // A last number is no answer of another kind.
            Self::LastNumber => return None,
            Self::Regex(pattern) => captured(pattern, text)?,
        };
        let claimed = claimed.trim();
        (!claimed.is_empty() && !claimed.contains(OPAQUE)).then_some(claimed)
    }
}

fn anywhere(text: &str) -> Option<&str> {
    match tagged(text) {
        Some(inside) => anywhere_but_tags(inside).or(Some(inside)),
        None => anywhere_but_tags(text),
    }
}

fn anywhere_but_tags(text: &str) -> Option<&str> {
    marked(text).or_else(|| if has_box(text) { boxed(text) } else { stated(text) })
}

/// The line of the last `####`; what is boxed in it, where something is.
fn marked(text: &str) -> Option<&str> {
    let (_, after) = text.rsplit_once("####")?;
    let line = after.split('\n').next().unwrap_or(after).trim_matches(|c: char| c == '#' || c.is_whitespace());
    if has_box(line) { boxed(line) } else { Some(LABEL.find(line).map_or(line, |label| &line[label.end()..])) }
}

/// The inside of the last `\boxed{…}` or `\fbox{…}`.
fn boxed(text: &str) -> Option<&str> {
    let last = BOX.find_iter(text).last()?;
    Some(braced(&text[last.end()..])?.0)
}

/// The line after the last "Answer:" or "answer is", or the next line with text, without emphasis and the full stop.
fn stated(text: &str) -> Option<&str> {
    let last = [LABEL.find_iter(text).last(), IS.find_iter(text).last()];
    let last = last.into_iter().flatten().max_by_key(|found| found.end())?;
    let line = text[last.end()..].lines().map(without_emphasis).find(|line| !line.is_empty())?;
    Some(line.strip_suffix('.').unwrap_or(line))
}

fn without_emphasis(line: &str) -> &str {
    line.trim().trim_matches(['*', '_', '`']).trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AnswerKind, Ending};

    fn choice(format: &str, text: &str, ending: Ending) -> Option<String> {
        let format: AnswerFormat = format.parse().unwrap();
        format.extract(AnswerKind::Choice, text, ending).map(|answer| answer.to_string())
    }

    #[test]
    fn a_choice_is_read_where_each_format_has_the_answer() {
        let (finished, b) = (Ending::Finished, Some("B".to_owned()));
        for text in [
            "First A seems right.\n#### B",
            "So \\boxed{B}.",
            "The answer is (B).",
            "Final answer: **B) Paris**",
            "**Answer**\n\nB",
            "<think>A?</think><answer>B</answer>",
            "The correct answer is: B",
        ] {
            assert_eq!(choice("auto", text, finished), b, "{text}");
        }
        assert_eq!(choice("gsm8k", "Hm.\n#### (B)\n", finished), b);
        assert_eq!(choice("boxed", "\\boxed{A} no, \\boxed{\\text{B}}", finished), b);
        assert_eq!(choice("regex:choose ([A-D])", "I choose A, no, I choose B now", finished), b);
        for (format, text) in
            [("auto", "B is it"), ("gsm8k", "The answer is B"), ("last-number", "#### B"), ("boxed", "\\boxed{B")]
        {
            assert_eq!(choice(format, text, finished), None, "{format} {text}");
        }
    }

    #[test]
    fn an_answer_in_which_a_completion_was_cut_off_is_not_read() {
        assert_eq!(choice("gsm8k", "#### B", Ending::CutOff), None);
        assert_eq!(choice("auto", "The answer is B", Ending::CutOff), None);
        assert_eq!(choice("gsm8k", "#### B\nBecause", Ending::CutOff).as_deref(), Some("B"));
        assert_eq!(choice("auto", "So \\boxed{B} is", Ending::CutOff).as_deref(), Some("B"));
    }
}
