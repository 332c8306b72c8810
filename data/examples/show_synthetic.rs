//! Prints problems of an embedded benchmark and documents of its corpus, to read them.
//!
//! `cargo run -p data --release --example show_synthetic -- [benchmark] [split] [number of problems] [number of documents]`

use anyhow::Context;
use clap::ValueEnum;
use data::{Benchmark, Split};
use std::collections::BTreeMap;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |index: usize, default: usize| arguments.get(index).map_or(default, |text| text.parse().expect("a number"));
    let benchmark = arguments.first().map_or(Ok(Benchmark::synthetic()), |name| name.parse::<Benchmark>())?;
    let generator = benchmark.generator().context("give an embedded benchmark: synthetic or synthetic-1")?;
    let split = arguments
        .get(1)
        .map_or(Split::Test, |text| Split::from_str(text, true).expect("train, validation, test or test-unseen"));

    let problems = generator.problems(split);
    for problem in problems.iter().take(number(2, 20)) {
        let solution = problem.worked.as_deref().unwrap_or(&problem.solution);
        println!("[{}]\n{}\n{solution}\n", problem.id, problem.question);
    }
    let corpus = generator.pretraining_corpus();
    for (index, document) in corpus.iter().take(number(3, 10)).enumerate() {
        println!("[document {index}]\n{document}\n");
    }

    let mut steps: BTreeMap<usize, usize> = BTreeMap::new();
    for problem in &problems {
        *steps.entry(problem.worked.as_deref().unwrap_or(&problem.solution).lines().count() - 1).or_default() += 1;
    }
    let words: usize = problems.iter().map(|problem| problem.question.split(' ').count()).sum();
    let characters: usize = corpus.iter().map(String::len).sum();
    println!(
        "{} problems, {:.1} words a question, steps {steps:?}",
        problems.len(),
        words as f64 / problems.len() as f64
    );
    println!("corpus: {} documents, {characters} characters", corpus.len());
    Ok(())
}
