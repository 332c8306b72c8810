//! Where methods gain and lose: an embedded benchmark's test problems in classes. Not in the paper; it shows why a metric over all of
//! them moves as it does.

use super::rendered::{Rendered, cell_or_dash, rule};
use crate::{
    results::{Cell, ERROR, Mean, Size, metric, over_seeds, questions_of, reports},
    study::{ClassBy, Row},
};
use anyhow::{Context, Result, ensure};
use data::{Benchmark, DataOptions, Problem, Split};
use eval::{Estimate, Metric, MetricKind, Report};
use std::fmt::Write;

/// A table with a row a method, and the metrics of each class of problems.
///
/// # Errors
/// Results of several benchmarks, or of one that is not embedded.
pub fn classes(title: &str, rows: &[Row], by: ClassBy, sizes: &[Size]) -> Result<Rendered> {
    let first = reports(sizes).next().context("there are no results")?;
    let is_known = |report: &Report| report.benchmark == first.benchmark && report.split == Split::Test;
    let benchmark: Benchmark = first.benchmark.parse()?;
    let is_embedded = benchmark.is_synthetic() && reports(sizes).all(is_known);
    ensure!(is_embedded, "this table needs the test split of one embedded benchmark");
    let problems = benchmark.load(Split::Test, &DataOptions::default())?;
    let classes: Vec<usize> = problems.iter().map(|problem| by.class(problem)).collect();
    table(title, rows, by, sizes, &classes)
}

impl ClassBy {
    /// The name of the column in the CSV, and those of the classes.
    fn heads(self) -> (&'static str, [&'static str; 3]) {
        match self {
            Self::Numbers => ("numbers", ["to 20", "to 99", "larger"]),
            Self::Steps => ("steps", ["1 or 2 steps", "3 or 4", "5 and more"]),
        }
    }

    /// What the problems of a class have at most, but for the last class.
    fn bounds(self) -> [u64; 2] {
        match self {
            Self::Numbers => [20, 99],
            Self::Steps => [2, 4],
        }
    }

    /// The class that a problem belongs to.
    fn class(self, problem: &Problem) -> usize {
        let size = match self {
            Self::Numbers => largest_number(problem),
            Self::Steps => steps(problem),
        };
        self.bounds().iter().take_while(|&&bound| bound < size).count()
    }
}

/// The largest number of the question and the answer.
fn largest_number(problem: &Problem) -> u64 {
    let text = format!("{} {}", problem.question, problem.answer);
    let numbers = text.split(|letter: char| !letter.is_ascii_digit()).filter_map(|number| number.parse().ok());
    numbers.max().unwrap_or(0)
}

/// The lines of the worked solution, but for that of the answer.
fn steps(problem: &Problem) -> u64 {
    let solution = problem.worked.as_deref().unwrap_or(&problem.solution);
    solution.lines().count().saturating_sub(1) as u64
}

fn table(title: &str, rows: &[Row], by: ClassBy, sizes: &[Size], classes: &[usize]) -> Result<Rendered> {
    let (column, class_heads) = by.heads();
    let mut rendered = Rendered {
        markdown: format!("{title}\n"),
        csv: format!("model,method,{column},metric,mean,half_width,seeds\n"),
        svg: None,
    };
    for size in sizes {
        let metrics = [metric(MetricKind::Maj, 1), metric(MetricKind::Pass, size.most_samples())];
        let heads =
            metrics.iter().flat_map(|metric| class_heads.map(|head| format!("{metric}, {head}"))).collect::<Vec<_>>();
        writeln!(rendered.markdown, "\n| `{}` | seeds | {} |", size.model, heads.join(" | "))?;
        writeln!(rendered.markdown, "{}", rule(heads.len() + 2))?;
        for (label, name) in rows.iter().filter(|(_, name)| size.of(name).next().is_some()) {
            write!(rendered.markdown, "| {label} | {} |", size.of(name).count())?;
            for metric in metrics {
                for (class, head) in class_heads.iter().enumerate() {
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
    let counts =
        class_heads.iter().enumerate().map(|(class, head)| format!("{} {head}", count(class))).collect::<Vec<_>>();
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

    fn problem(question: &str, solution: &str, worked: Option<&str>, answer: i64) -> Problem {
        let answer = Answer::from_integer(answer);
        let [question, solution] = [question, solution].map(String::from);
        Problem { id: "a".into(), question, solution, answer, worked: worked.map(String::from) }
    }

    #[test]
    fn a_problem_is_of_the_class_of_its_largest_number() {
        let class_of = |question: &str, answer: i64| ClassBy::Numbers.class(&problem(question, "", None, answer));
        assert_eq!(class_of("Tom has 20 apples.", 3), 0);
        assert_eq!(class_of("Tom has 7 boxes of 3.", 21), 1);
        assert_eq!(class_of("Tom has 99 apples.", 9), 1);
        assert_eq!(class_of("Tom, 12, has 100 apples.", 9), 2);
    }

    #[test]
    fn a_problem_is_of_the_class_of_its_steps() {
        for worked in [true, false] {
            let class_of = |lines: usize| {
                let solution = "1+1 = <<1+1=2>>2\n".repeat(lines) + "#### 2";
                let (reference, worked) =
                    if worked { ("", Some(solution.as_str())) } else { (solution.as_str(), None) };
                ClassBy::Steps.class(&problem("b", reference, worked, 2))
            };
            assert_eq!([1, 2, 3, 4, 5, 8].map(class_of), [0, 0, 1, 1, 2, 2]);
        }
    }
}
