//! Where methods gain and lose: the embedded benchmark's test problems by how large their numbers are. Not in the paper; it tells
//! why a metric over all of them moves as it does.
//!
//! ```sh
//! cargo run -p scripts --release --bin table-numbers -- runs/reproduce
//! ```

use anyhow::{Result, ensure};
use clap::Parser;
use data::{Benchmark, DataOptions, Problem, Split, load};
use eval::{Metric, MetricKind, Report};
use scripts::{Cell, Crossed, Row, Size, TableArgs, Written, exit, metric, questions_of, read_studies};
use std::{fmt::Write, process::ExitCode};

const ROWS: [Row; 10] = [
    ("SFT", "sft"),
    ("EI", "ei"),
    ("ORM EI", "ei-orm"),
    ("EI, distinct calculations", "ei-trace"),
    ("RCRL", "rcrl"),
    ("Sparse PPO", "ppo"),
    ("Dense PPO", "ppo-dense"),
    ("Sparse ORM PPO", "ppo-sparse-orm"),
    ("Dense ORM PPO", "ppo-dense-orm"),
    ("Base, prompted", "base"),
];
/// The largest number of a question and its answer is at most so large.
const CLASSES: [u64; 3] = [20, 99, u64::MAX];
const HEADS: [&str; 3] = ["to 20", "to 99", "larger"];

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<()> {
    let args = TableArgs::parse();
    let sizes = read_studies(&args.studies)?;
    let problems = load(Benchmark::Synthetic, Split::Test, &DataOptions::default())?;
    let reports = sizes.iter().flat_map(|size| &size.studies).flat_map(|study| study.runs.values());
    let is_known = |report: &Report| (report.benchmark, report.split) == (Benchmark::Synthetic, Split::Test);
    ensure!(
        reports.filter_map(|run| run.test.as_ref()).all(is_known),
        "this table is of the embedded benchmark's test split"
    );
    let classes: Vec<usize> = problems.iter().map(class).collect();
    table(&sizes, &classes)?.put("table-numbers", &args.out)
}

/// Which class a problem is of.
fn class(problem: &Problem) -> usize {
    let text = format!("{} {}", problem.question, problem.answer);
    let numbers = text.split(|letter: char| !letter.is_ascii_digit()).filter_map(|number| number.parse::<u64>().ok());
    let largest = numbers.max().unwrap_or(0);
    CLASSES.iter().take_while(|&&bound| bound < largest).count()
}

fn table(sizes: &[Size], classes: &[usize]) -> Result<Written> {
    let mut written = Written {
        markdown: "Where methods gain and lose: test problems by the largest number in question and answer.\n".into(),
        csv: "model,method,numbers,metric,mean,half_width,seeds\n".into(),
        svg: None,
    };
    for size in sizes {
        let metrics = [metric(MetricKind::Maj, 1), metric(MetricKind::Pass, size.most_samples())];
        let heads = metrics.iter().flat_map(|metric| HEADS.map(|head| format!("{metric}, {head}"))).collect::<Vec<_>>();
        writeln!(written.markdown, "\n| `{}` | seeds | {} |", size.model, heads.join(" | "))?;
        writeln!(written.markdown, "| --- | --- |{}", " --- |".repeat(heads.len()))?;
        for (label, name) in ROWS.iter().filter(|(_, name)| size.of(name).next().is_some()) {
            write!(written.markdown, "| {label} | {} |", size.of(name).count())?;
            for metric in metrics {
                for (class, head) in HEADS.iter().enumerate() {
                    let cell = of_class(size, name, metric, |question| classes.get(question) == Some(&class));
                    if let Some(cell) = cell {
                        written.csv += &cell.csv_line(&[&size.model, label, head, &metric.to_string()]);
                    }
                    write!(written.markdown, " {} |", cell.map_or("—".into(), |cell| cell.shown(3)))?;
                }
            }
            writeln!(written.markdown)?;
        }
    }
    let most = sizes.iter().flat_map(|size| &size.studies).flat_map(|study| study.runs.values());
    let questions = most.filter_map(|run| run.test.as_ref()).map(|report| report.problems).max().unwrap_or(0);
    let counts = [0, 1, 2].map(|class| classes.iter().take(questions).filter(|&&of| of == class).count());
    writeln!(
        written.markdown,
        "\nMeasured on {}: {} of them have numbers to 20, {} to 99, {} larger ones. Mean over seeds ± half of a 95 % interval over \
         questions and seeds together; none where all score the same. —: not known, or of one question.",
        questions_of(sizes)?,
        counts[0],
        counts[1],
        counts[2]
    )?;
    Ok(written)
}

/// A metric of some questions alone.
fn of_class(size: &Size, name: &str, metric: Metric, is_of_it: impl Fn(usize) -> bool) -> Option<Cell> {
    let of_seed = |scores: Vec<f64>| {
        scores.into_iter().enumerate().filter(|(question, _)| is_of_it(*question)).map(|(_, score)| score).collect()
    };
    let scores: Vec<Vec<f64>> = size.of(name).filter_map(|run| run.scores(metric)).map(of_seed).collect();
    Crossed::of(&scores).map(|crossed| crossed.cell())
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::Answer;

    #[test]
    fn a_problem_is_of_the_class_of_its_largest_number() {
        let problem = |question: &str, answer: i64| Problem {
            id: "a".into(),
            question: question.into(),
            solution: String::new(),
            answer: Answer::from_integer(answer),
        };
        assert_eq!(class(&problem("Tom has 20 apples.", 3)), 0);
        assert_eq!(class(&problem("Tom has 7 boxes of 3.", 21)), 1);
        assert_eq!(class(&problem("Tom has 99 apples.", 9)), 1);
        assert_eq!(class(&problem("Tom, 12, has 100 apples.", 9)), 2);
    }
}
