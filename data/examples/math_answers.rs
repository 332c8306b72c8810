//! Prints for each line {"gold": …, "answer": …, "completion": …} of the standard input whether the two are equal, as JSON;
//! `scripts/compare_math_verify.py` compares that with Math-Verify. The time goes to the standard error.
//!
//!     cargo run -p data --release --example math_answers < pairs.jsonl

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use anyhow::Context;
use data::answer::math::{extract, parse_claim};
use data::{Answer, AnswerFormat, AnswerKind, Ending, MathAnswer};
use serde::Deserialize;

/// A line of the input.
#[derive(Deserialize)]
struct Pair {
    gold: String,
    answer: String,
    /// Whether the answer is a whole completion.
    #[serde(default)]
    completion: bool,
}

fn main() -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    let (mut pairs, mut total, mut longest) = (0_u32, Duration::ZERO, (Duration::ZERO, 0));
    // The patterns are compiled when they are first used.
    extract("The answer is $1$.\n#### \\boxed{1}");
    for (row, line) in std::io::stdin().lock().lines().enumerate() {
        let pair: Pair = serde_json::from_str(&line?).with_context(|| format!("line {}", row + 1))?;
        let start = Instant::now();
        let gold = parse_claim(&pair.gold);
        let answer = if pair.completion { completed(&pair.answer) } else { parse_claim(&pair.answer) };
        let equal = gold.as_ref().zip(answer.as_ref()).is_some_and(|(gold, answer)| gold.equals(answer));
        let took = start.elapsed();
        (pairs, total, longest) = (pairs + 1, total + took, longest.max((took, row + 1)));
        let read = answer.as_ref().map(ToString::to_string);
        let understood = [gold, answer].map(|answer| answer.is_some_and(|answer| answer.is_understood()));
        writeln!(output, "{}", serde_json::json!({ "equal": equal, "read": read, "understood": understood }))?;
    }
    let mean = total / pairs.max(1);
    eprintln!(
        "{pairs} pairs, {:.1} µs a pair, the slowest {:.2} ms (line {})",
        mean.as_secs_f64() * 1e6,
        longest.0.as_secs_f64() * 1e3,
        longest.1
    );
    Ok(())
}

/// The answer that a completion claims.
fn completed(text: &str) -> Option<MathAnswer> {
    match AnswerFormat::Auto.extract(AnswerKind::Math, text, Ending::Finished)? {
        Answer::Math(answer) => Some(answer),
        _ => None,
    }
}
