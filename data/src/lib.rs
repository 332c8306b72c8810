//! From text to token ids: problems, their answers and steps, prompts, tokenizers. Independent of tensors and models.
//!
//! A benchmark becomes a list of [`Problem`]s ([`Benchmark::load`]); a problem becomes token ids ([`encode_prompt`],
//! [`encode_example`]); a completion becomes an answer ([`AnswerFormat::extract`]) and the steps that led to it ([`steps()`]).

pub mod answer;
mod arithmetic;
pub mod benchmark;
mod calculator;
mod dense;
pub mod equation;
mod extra;
mod flags;
pub mod goal;
pub mod hub;
mod labelled;
mod line_scores;
pub mod problem;
pub mod prompt;
mod prompt_format;
mod prompt_style;
mod rational;
pub mod steps;
pub mod svamp;
pub mod synthetic;
pub mod template;
pub mod text;
pub mod tokenizer;

pub use answer::math::MathAnswer;
pub use answer::{Answer, AnswerFormat, AnswerKind, AsWritten, Ending, own_part};
pub use benchmark::{AnswerCommand, Benchmark, PlainFiles};
pub use calculator::calculation_result;
pub use dense::ReferenceSteps;
pub use extra::read_problems;
pub use flags::BenchmarkArgs;
pub use goal::{Conditioning, Goal};
pub use labelled::encode_with_goals;
pub use line_scores::{CheckedLine, LineKind, checked_lines, corrected, non_blank_lines};
pub use problem::{DataOptions, Problem, Split, SvampSolutions, gold_answer};
pub use prompt::{
    Example, NEXT_QUESTIONS, PromptFormat, PromptStyle, Prompting, SHOT_END, completion_text, encode_calculated,
    encode_example, encode_prefix, encode_prompt, encode_reversed, encode_reversed_prompt, encode_written,
    question_prompt,
};
pub use steps::{Step, calculation_trace, calculations_hold, prefix_ends, reference_results, steps};
pub use text::{read_text, read_text_if_there};
pub use tokenizer::{GgufVocabulary, Tokenizer};
