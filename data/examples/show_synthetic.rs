//! Prints problems of the embedded benchmark and documents of its corpus, to read them.
//!
//! `cargo run -p data --release --example show_synthetic -- [split] [number of problems] [number of documents]`

use clap::ValueEnum;
use data::{Split, synthetic};
use std::collections::BTreeMap;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |index: usize, default: usize| arguments.get(index).map_or(default, |text| text.parse().expect("a number"));
    let split = arguments
        .first()
        .map_or(Split::Test, |text| Split::from_str(text, true).expect("train, validation, test or test-unseen"));

    let problems = synthetic::problems(split);
    for problem in problems.iter().take(number(1, 20)) {
        println!("[{}]\n{}\n{}\n", problem.id, problem.question, problem.solution);
    }
    let corpus = synthetic::pretraining_corpus();
    for (index, document) in corpus.iter().take(number(2, 10)).enumerate() {
        println!("[document {index}]\n{document}\n");
    }

    let mut steps: BTreeMap<usize, usize> = BTreeMap::new();
    for problem in &problems {
        *steps.entry(problem.solution.lines().count() - 1).or_default() += 1;
    }
    let words: usize = problems.iter().map(|problem| problem.question.split(' ').count()).sum();
    let characters: usize = corpus.iter().map(String::len).sum();
    println!(
        "{} problems, {:.1} words a question, steps {steps:?}",
        problems.len(),
        words as f64 / problems.len() as f64
    );
    println!("corpus: {} documents, {characters} characters", corpus.len());
}
