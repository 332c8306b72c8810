//! Where methods gain and lose: an embedded benchmark's test problems by the number of their steps. Not in the paper; it shows why a
//! metric over all of them moves as it does.

use super::rendered::{Rendered, cell_or_dash, rule};
use crate::{
    results::{Cell, ERROR, Mean, Size, metric, over_seeds, questions_of, reports},
    study::Row,
};
use anyhow::{Context, Result, ensure};
use data::{Benchmark, DataOptions, Problem, Split};
use eval::{Estimate, Metric, MetricKind, Report};
use std::fmt::Write;

/// The number of steps, at most, but for the last class.
const BOUNDS: [usize; 2] = [2, 4];
const HEADS: [&str; 3] = ["1 or 2 steps", "3 or 4", "5 and more"];

/// A table with a row a method, and the metrics of each class of problems.
///
/// # Errors
/// Results of several benchmarks, or of one that is not embedded.
pub fn steps(title: &str, rows: &[Row], sizes: &[Size]) -> Result<Rendered> {
    let first = reports(sizes).next().context("there are no results")?;
    let is_known = |report: &Report| report.benchmark == first.benchmark && report.split == Split::Test;
    let benchmark: Benchmark = first.benchmark.parse()?;
    let is_embedded = benchmark.is_synthetic() && reports(sizes).all(is_known);
    ensure!(is_embedded, "this table needs the test split of one embedded benchmark");
    let problems = benchmark.load(Split::Test, &DataOptions::default())?;
    let classes: Vec<usize> = problems.iter().map(class).collect();
    table(title, rows, sizes, &classes)
}

/// The class that a problem belongs to: by the lines of its worked solution, but for that of the answer.
fn class(problem: &Problem) -> usize {
    let solution = problem.worked.as_deref().unwrap_or(&problem.solution);
    let steps = solution.lines().count().saturating_sub(1);
    BOUNDS.iter().take_while(|&&bound| bound < steps).count()
}

fn table(title: &str, rows: &[Row], sizes: &[Size], classes: &[usize]) -> Result<Rendered> {
    let mut rendered = Rendered {
        markdown: format!("{title}\n"),
        csv: "model,method,steps,metric,mean,half_width,seeds\n".into(),
        svg: None,
    };
    for size in sizes {
        let metrics = [metric(MetricKind::Maj, 1), metric(MetricKind::Pass, size.most_samples())];
        let heads = metrics.iter().flat_map(|metric| HEADS.map(|head| format!("{metric}, {head}"))).collect::<Vec<_>>();
        writeln!(rendered.markdown, "\n| `{}` | seeds | {} |", size.model, heads.join(" | "))?;
        writeln!(rendered.markdown, "{}", rule(heads.len() + 2))?;
        for (label, name) in rows.iter().filter(|(_, name)| size.of(name).next().is_some()) {
            write!(rendered.markdown, "| {label} | {} |", size.of(name).count())?;
            for metric in metrics {
                for (class, head) in HEADS.iter().enumerate() {
                    let cell = of_class(size, name, metric, |question| classes.get(question) == Some(&class));
                    if let Some(cell) = cell {
                        rendered.csv += &cell.csv_line(&[&size.model, label, head, &metric.to_string()]);
                    }
                    write!(rendered.markdown, " {} |", cell_or_dash(cell, 3))?;
                }
            }
            writeln!(rendered.markdown)?;
        }
    }
    let questions = reports(sizes).map(|report| report.problems).max().unwrap_or(0);
    let count = |class: usize| classes.iter().take(questions).filter(|&&of| of == class).count();
    let counts = HEADS.iter().enumerate().map(|(class, head)| format!("{} {head}", count(class))).collect::<Vec<_>>();
    writeln!(
        rendered.markdown,
        "\nMeasured on {}: {}. Mean over seeds ± half of a 95 % interval over questions and seeds together; none where all of several \
         seeds score the same. —: not known.",
        questions_of(sizes)?,
        counts.join(", ")
    )?;
    Ok(rendered)
}

/// A metric of some questions alone.
fn of_class(size: &Size, name: &str, metric: Metric, is_of_it: impl Fn(usize) -> bool) -> Option<Cell> {
    let of_seed = |scores: Vec<f64>| {
        scores.into_iter().enumerate().filter(|(question, _)| is_of_it(*question)).map(|(_, score)| score).collect()
    };
    let scores: Vec<Vec<f64>> = size.of(name).filter_map(|run| run.scores(metric)).map(of_seed).collect();
    match scores.as_slice() {
        // As in the report of one seed, whose interval is better for shares near 0 and 1.
        [of_seed] if !of_seed.is_empty() => over_seeds(&[Estimate::over_questions(of_seed)], ERROR),
        _ => Mean::of_scores(&scores).map(|crossed| crossed.cell(ERROR)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::Answer;

    #[test]
    fn a_problem_is_of_the_class_of_its_steps() {
        let class_of = |lines: usize, worked: bool| {
            let solution = "1+1 = <<1+1=2>>2\n".repeat(lines) + "#### 2";
            let [solution, worked] = if worked { [String::new(), solution] } else { [solution, String::new()] };
            class(&Problem {
                id: "a".into(),
                question: "b".into(),
                solution,
                answer: Answer::from_integer(2),
                worked: Some(worked).filter(|text| !text.is_empty()),
            })
        };
        for worked in [true, false] {
            assert_eq!([1, 2, 3, 4, 5, 8].map(|lines| class_of(lines, worked)), [0, 0, 1, 1, 2, 2]);
        }
    }
}
