//! What is sent for a batch of completions and what may come back, as text. Independent of processes and connections.

use data::Problem;
use model::Finish;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{fmt, sync::mpsc::Sender};

/// Characters of a completion or an answer that an error message shows.
const EXCERPT: usize = 60;

/// A completion to reward, as it is sent. Places in the text are counted in characters (Unicode code points), as Python counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Item {
    /// Id of the problem, as in `samples.jsonl`.
    pub problem: String,
    /// The question.
    pub question: String,
    /// The reference answer.
    pub answer: String,
    /// The reference solution.
    pub solution: String,
    /// What the policy wrote, special tokens left out, after the lines that it was given.
    pub completion: String,
    /// Characters at the beginning of `completion` that were given to the policy, usually 0.
    pub given: usize,
    /// Where each written line of `completion` that is not blank ends, before its line break.
    pub line_ends: Vec<usize>,
    /// Number of tokens that the policy wrote, where that is known.
    pub tokens: Option<usize>,
    /// Why it ended.
    pub finish: Finish,
}

/// What an external reward says of a completion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reward {
    /// No opinion (`null`).
    None,
    /// A number for the whole completion.
    Whole(f64),
    /// A number for each written line that is not blank.
    Lines(Vec<f64>),
}

/// Why there is no reward. Its message names the command or endpoint, and the completion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RewardFailure(pub String);

/// The rewards of a batch, or why there are none.
pub(super) type Outcome = Result<Vec<Reward>, RewardFailure>;

/// A batch on its way, with the place that its rewards go to.
pub(super) struct Job {
    /// Number of the batch, counted from 0 over the life of a client.
    pub(super) id: u64,
    pub(super) items: Vec<Item>,
    /// Place of the batch in its phase, sent along with the result.
    pub(super) place: usize,
    pub(super) reply: Sender<(usize, Outcome)>,
}

/// The rewards of a response, not yet compared with what was asked for.
pub(super) struct Response {
    /// Number of the batch; `None` for a bare list.
    pub(super) id: Option<u64>,
    rewards: Vec<Value>,
}

impl Item {
    /// A completion of a problem; the first `given` bytes of the text were given to the policy.
    pub fn new(problem: &Problem, completion: &str, given: usize, tokens: Option<usize>, finish: Finish) -> Self {
        let given = completion.floor_char_boundary(given);
        let (before, written) = completion.split_at(given);
        let first = before.chars().count();
        let line_ends = line_ends(written).into_iter().map(|end| first + written[..end].chars().count()).collect();
        Self {
            problem: problem.id.clone(),
            question: problem.question.clone(),
            answer: problem.answer.to_string(),
            solution: problem.solution.clone(),
            completion: completion.into(),
            given: first,
            line_ends,
            tokens,
            finish,
        }
    }

    /// The completion's name in an error message: problem, and the beginning of the text.
    fn name(&self) -> String {
        format!("the completion of {} ({})", self.problem, excerpt(&self.completion))
    }
}

impl Reward {
    /// The reward of the whole completion: the sum of its lines; `None` without an opinion.
    pub fn sum(&self) -> Option<f64> {
        match self {
            Self::None => None,
            Self::Whole(value) => Some(*value),
            Self::Lines(values) => Some(values.iter().sum()),
        }
    }
}

impl fmt::Display for RewardFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RewardFailure {}

/// Where each line of a text that is not blank ends, in bytes, before its line break.
pub fn line_ends(text: &str) -> Vec<usize> {
    data::non_blank_lines(text).map(|(start, line)| start + line.len()).collect()
}

impl Job {
    /// The request: one JSON object, without a line break.
    pub(super) fn request(&self) -> String {
        #[derive(Serialize)]
        struct Request<'a> {
            id: u64,
            items: &'a [Item],
        }
        serde_json::to_string(&Request { id: self.id, items: &self.items }).expect("texts and numbers are JSON")
    }

    /// The batch's name in an error message.
    pub(super) fn name(&self) -> String {
        let first = self.items.first().map(Item::name).unwrap_or_default();
        match self.items.len() {
            1 => first,
            count => format!("{count} completions, the first of them {first}"),
        }
    }

    /// The rewards of a response, one for each item.
    ///
    /// # Errors
    /// Too few or too many; one that is no finite number, list of a number a line, or null. The message names the completion.
    pub(super) fn rewards(&self, response: Response) -> Result<Vec<Reward>, String> {
        let Response { rewards, .. } = response;
        let (asked, got) = (self.items.len(), rewards.len());
        if asked != got {
            let which = match self.items.get(got) {
                Some(item) => format!("the first without one is {}", item.name()),
                None => format!("the last one is {}", self.items.last().map(Item::name).unwrap_or_default()),
            };
            return Err(format!("answered with {got} rewards for {asked} completions; {which}"));
        }
        self.items.iter().zip(rewards).map(|(item, value)| reward(item, value)).collect()
    }

    /// Sends the outcome to whoever waits for it.
    pub(super) fn answer(self, outcome: Outcome) {
        // Nobody waits any more after the failure of another batch.
        let _ = self.reply.send((self.place, outcome));
    }
}

/// Reads a response: an object with `rewards`, and perhaps the batch's `id`, or a bare list of rewards.
///
/// # Errors
/// A text that is neither.
pub(super) fn response(text: &str) -> Result<Response, String> {
    #[derive(Deserialize)]
    struct Object {
        #[serde(default)]
        id: Option<u64>,
        rewards: Vec<Value>,
    }
    let value = serde_json::from_str::<Value>(text).or_else(|error| {
        // Python writes NaN and Infinity, which are no JSON: as texts they can be named with their completion.
        serde_json::from_str(&quoted_numbers(text)).map_err(|_| error)
    });
    let value = value.map_err(|error| format!("answered with what is no JSON ({error}): {}", excerpt(text)))?;
    match value {
        Value::Array(rewards) => Ok(Response { id: None, rewards }),
        value => serde_json::from_value::<Object>(value)
            .map(|Object { id, rewards }| Response { id, rewards })
            .map_err(|error| {
                format!(
                    "answered with JSON that is neither {{\"id\": …, \"rewards\": […]}} nor a list ({error}): {}",
                    excerpt(text)
                )
            }),
    }
}

fn reward(item: &Item, value: Value) -> Result<Reward, String> {
    let number = |value: &Value| value.as_f64().filter(|value| (*value as f32).is_finite());
    match &value {
        Value::Null => Ok(Reward::None),
        Value::Array(lines) => {
            let wanted = item.line_ends.len();
            if lines.len() != wanted {
                return Err(format!("answered with {} rewards for the {wanted} lines of {}", lines.len(), item.name()));
            }
            let values = lines.iter().map(|line| {
                number(line).ok_or_else(|| {
                    format!("answered with {line}, which is no finite number, for a line of {}", item.name())
                })
            });
            Ok(Reward::Lines(values.collect::<Result<_, _>>()?))
        }
        value => match number(value) {
            Some(value) => Ok(Reward::Whole(value)),
            None => Err(format!(
                "answered with {value} for {}: a reward is a finite number, a list of one a line, or null",
                item.name()
            )),
        },
    }
}

/// A text with NaN, Infinity and -Infinity outside of strings in quotation marks.
fn quoted_numbers(text: &str) -> String {
    let (mut quoted, mut rest) = (String::new(), text);
    let mut is_inside = false;
    while let Some(next) = rest.chars().next() {
        let special = ["NaN", "-Infinity", "Infinity"].into_iter().find(|name| !is_inside && rest.starts_with(name));
        let taken = match (special, next) {
            (Some(name), _) => name.len(),
            (None, '\\') if is_inside => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            (None, next) => next.len_utf8(),
        };
        is_inside ^= next == '"';
        match special {
            Some(name) => quoted.extend(["\"", name, "\""]),
            None => quoted.push_str(&rest[..taken]),
        }
        rest = &rest[taken..];
    }
    quoted
}

/// The beginning of a text in quotation marks.
pub(crate) fn excerpt(text: &str) -> String {
    let mut shown: String = text.chars().take(EXCERPT).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use data::Answer;
    use std::sync::mpsc::channel;

    pub fn problem(id: usize) -> Problem {
        let question = format!("What is {id} + 1?");
        let (solution, answer) = (format!("#### {}", id + 1), Answer::from_integer(id as i64 + 1));
        Problem { id: format!("test/{id}"), question, solution, answer, worked: None }
    }

    /// Completions of one token each of the first problems.
    pub fn items(count: usize) -> Vec<Item> {
        (0..count).map(|id| Item::new(&problem(id), &format!("#### {id}"), 0, Some(1), Finish::Stop)).collect()
    }

    fn job(items: Vec<Item>) -> Job {
        Job { id: 7, items, place: 0, reply: channel().0 }
    }

    fn rewards(items: Vec<Item>, text: &str) -> Result<Vec<Reward>, String> {
        job(items).rewards(response(text)?)
    }

    #[test]
    fn lines_end_before_their_break_and_blank_ones_are_none() {
        assert_eq!(line_ends("a\n\n bc\r\n  \nd"), [1, 6, 12]);
        assert_eq!(line_ends("a\n"), [1]);
        assert!(line_ends(" \n").is_empty() && line_ends("").is_empty());
    }

    #[test]
    fn places_in_the_text_are_counted_in_characters_from_the_beginning_of_what_was_given() {
        let item = Item::new(&problem(1), "é = 1\nü\nß ß", "é = 1\n".len(), Some(4), Finish::Length);
        assert_eq!((item.given, item.line_ends.as_slice()), (6, [7, 11].as_slice()));
        let sent: Value = serde_json::from_str(&job(vec![item]).request()).unwrap();
        let expected = serde_json::json!({
            "id": 7,
            "items": [{
                "problem": "test/1", "question": "What is 1 + 1?", "answer": "2", "solution": "#### 2",
                "completion": "é = 1\nü\nß ß", "given": 6, "line_ends": [7, 11], "tokens": 4, "finish": "length",
            }],
        });
        assert_eq!(sent, expected);
    }

    #[test]
    fn a_response_is_an_object_or_a_bare_list_of_numbers_lists_and_nulls() {
        let expected = [Reward::Whole(1.0), Reward::Lines(vec![-0.5]), Reward::None];
        for text in
            [r#"{"id": 7, "rewards": [1, [-0.5], null]}"#, "[1.0, [-0.5], null]", r#" {"rewards":[1,[-0.5],null]} "#]
        {
            assert_eq!(rewards(items(3), text).unwrap(), expected);
        }
        let sums: Vec<Option<f64>> = expected.iter().map(Reward::sum).collect();
        assert_eq!(sums, [Some(1.0), Some(-0.5), None]);
    }

    #[test]
    fn what_is_no_reward_is_named_with_its_completion() {
        let refused = |text: &str| rewards(items(2), text).unwrap_err();
        let name = "the completion of test/1 (\"#### 1\")";
        for (text, said) in [
            ("[1]", "1 rewards for 2 completions; the first without one is"),
            ("[1, 2, 3]", "3 rewards for 2 completions; the last one is"),
            ("[0, NaN]", "answered with \"NaN\" for"),
            ("[0, -Infinity]", "answered with \"-Infinity\" for"),
            ("[0, 1e300]", "answered with 1e+300 for"),
            ("[0, true]", "answered with true for"),
            (r#"[0, "1"]"#, "answered with \"1\" for"),
            ("[0, [1, 2]]", "2 rewards for the 1 lines of"),
            ("[0, [null]]", "answered with null, which is no finite number, for a line of"),
        ] {
            let error = refused(text);
            assert!(error.contains(said) && error.contains(name), "{text}: {error}");
        }
        for (text, said) in [
            ("loading the model …", "what is no JSON"),
            (r#"{"id": 7, "scores": [1, 2]}"#, "neither"),
            ("7", "neither"),
        ] {
            assert!(refused(text).contains(said), "{}", refused(text));
        }
        let long = "word ".repeat(100);
        assert!(refused(&long).len() < 200 && refused(&long).ends_with("…\""));
    }

    #[test]
    fn numbers_that_are_no_json_are_found_outside_of_strings_alone() {
        assert_eq!(quoted_numbers(r#"[NaN, "a \" NaN", -Infinity]"#), r#"["NaN", "a \" NaN", "-Infinity"]"#);
    }
}
