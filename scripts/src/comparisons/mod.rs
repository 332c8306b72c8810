//! A numerical study of rewards that are linear in features and learnt from comparisons (Zhu, Jiao and Jordan 2023, arXiv 2301.11270): why
//! pessimism, and why a ranking is more than its pairs. Draws its own data, and knows neither runs nor language models.

pub mod bandit;
pub mod likelihood;
mod random;
pub mod rankings;

use std::fmt::Write;

/// Both results as Markdown tables.
pub fn tables(repetitions: usize, seed: u64) -> String {
    let mut text = String::from(
        "| comparisons | sub-optimality of the greedy policy | of the pessimistic policy |\n| ---: | ---: | ---: |\n",
    );
    for comparisons in [10, 100, 1_000, 10_000] {
        let [greedy, pessimistic] = bandit::sub_optimality(comparisons, repetitions, seed);
        writeln!(text, "| {comparisons} | {greedy:.3} | {pessimistic:.3} |").expect("a string can be written to");
    }
    text += "\n| d | K | squared error, K-wise | split | split / K-wise |\n| ---: | ---: | ---: | ---: | ---: |\n";
    for width in [3, 5, 10] {
        for size in [3, 5, 8] {
            let rankings::Errors { kwise, split, ratio, half_interval } =
                rankings::errors(width, size, rankings::RANKINGS, repetitions, seed);
            writeln!(text, "| {width} | {size} | {kwise:.5} | {split:.5} | {ratio:.3} ± {half_interval:.3} |")
                .expect("a string can be written to");
        }
    }
    text
}
