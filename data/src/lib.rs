//! From text to token ids: problems, their answers and steps, prompts, tokenizers. Independent of tensors and models.
//!
//! A benchmark becomes a list of [`Problem`]s ([`load()`]); a problem becomes token ids ([`encode_prompt`],
//! [`encode_example`]); a completion becomes an answer ([`AnswerFormat::extract`]) and the steps that led to it ([`steps()`]).

pub mod answer;
mod arithmetic;
mod dense;
pub mod equation;
pub mod goal;
mod gsm8k;
mod labelled;
mod load;
pub mod problem;
pub mod prompt;
mod prompt_style;
mod rational;
pub mod steps;
pub mod svamp;
pub mod synthetic;
pub mod text;
pub mod tokenizer;

pub use answer::math::MathAnswer;
pub use answer::{Answer, AnswerFormat, Ending, own_part};
pub use dense::ReferenceSteps;
pub use goal::{Conditioning, Goal};
pub use gsm8k::read_problems;
pub use labelled::encode_with_goals;
pub use load::{load, shots};
pub use problem::{Benchmark, DataOptions, Problem, Split, SvampSolutions, gold_answer};
pub use prompt::{
    Example, NEXT_QUESTIONS, PromptStyle, Prompting, SHOT_END, completion_text, encode_beginning, encode_example,
    encode_prompt, encode_reversed, encode_reversed_prompt, encode_written, few_shot_prompt, question_prompt,
};
pub use steps::{Step, calculation_trace, calculations_hold, prefix_ends, reference_results, steps};
pub use text::{read_text, read_text_if_there};
pub use tokenizer::{GgufVocabulary, Tokenizer};
