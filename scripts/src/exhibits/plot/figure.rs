//! Figures as data: panels of lines through means over seeds. Independent of methods, and of how they are drawn.

use crate::{
    results::{Cell, ERROR, RunResult, Size, mean_over_seeds, means_over_seeds, normal},
    study::{Row, Scale},
};
use std::collections::BTreeMap;

/// Panels that share a legend. All of them have the same lines, in the same order.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What is drawn.
    pub title: String,
    /// What x is.
    pub x: String,
    /// How x is drawn.
    pub scale: Scale,
    /// One a size of model and y.
    pub panels: Vec<Panel>,
    /// How to read it.
    pub note: String,
}

/// One pair of axes.
#[derive(Clone, Debug)]
pub struct Panel {
    /// The size of the model.
    pub model: String,
    /// What y is. Panels that agree in it have the same range of y, so that they can be compared.
    pub y: String,
    /// The lines in the order of their colours.
    pub series: Vec<Series>,
    /// How many seeds the size has.
    pub seeds: usize,
    /// A sentence a run that some seed lacks.
    pub missing: Vec<String>,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What it is called in the legend.
    pub label: String,
    /// What it is called among the metrics.
    pub metric: String,
    /// By rising x; none where the run is missing.
    pub points: Vec<Point>,
}

/// A point of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// A count.
    pub x: f64,
    /// Its value.
    pub cell: Cell,
}

impl Panel {
    /// Axes of a size, still empty.
    pub fn new(size: &Size, y: impl Into<String>) -> Self {
        let (model, seeds) = (size.model.clone(), size.by_seed.len());
        Self { model, y: y.into(), series: Vec::new(), seeds, missing: Vec::new() }
    }

    /// A line a run through its evaluations on the validation split. Evaluations at one step are one point.
    pub fn of_evaluations(size: &Size, rows: &[Row], x: &str, metric: &str) -> Self {
        let mut panel = Self::new(size, metric.replace(['/', '_'], " "));
        for (label, run) in rows {
            let mut steps: BTreeMap<u64, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
            for evaluation in size.of(run).flat_map(|run| &run.evaluations) {
                if let (Some(&step), Some(&x), Some(&y)) =
                    (evaluation.get("step"), evaluation.get(x), evaluation.get(metric))
                {
                    let (xs, ys) = steps.entry(step as u64).or_default();
                    xs.push(x);
                    ys.push(y);
                }
            }
            let problems =
                size.of(run).find_map(RunResult::validation_problems).filter(|_| metric.starts_with("validation/"));
            let scores: Vec<&[f64]> = steps.values().map(|(_, ys)| ys.as_slice()).collect();
            let points = steps.values().zip(means_over_seeds(&scores)).map(|((xs, _), cell)| {
                let x = xs.iter().sum::<f64>() / xs.len() as f64;
                Point { x, cell: with_problems(cell, problems) }
            });
            let points: Vec<Point> = points.collect();
            panel.found(run, points.iter().map(|point| point.cell.seeds).max().unwrap_or(0));
            panel.series.push(Series { label: label.clone(), metric: metric.into(), points });
        }
        panel
    }

    /// Lines of which `starts_there` holds begin at zero with the best evaluation of the run that they start from, as they go on from
    /// that checkpoint.
    pub fn begin_with(&mut self, start: &str, size: &Size, starts_there: impl Fn(usize) -> bool) {
        const METRIC: &str = "validation/maj@1";
        let best: Vec<f64> = size.of(start).filter_map(|run| Some(run.best_and_last(METRIC)?[0])).collect();
        let problems = size.of(start).find_map(RunResult::validation_problems);
        for (place, series) in self.series.iter_mut().enumerate() {
            let begins = starts_there(place) && !series.points.is_empty();
            let first = mean_over_seeds(&best).filter(|_| begins);
            let first = first.map(|cell| Point { x: 0.0, cell: with_problems(cell, problems) });
            series.points.splice(..0, first);
        }
    }

    /// Says so below the figure where not all seeds have a run.
    pub fn found(&mut self, run: &str, seeds: usize) {
        match seeds {
            0 => self.missing.push(format!("`{run}` was not run on `{}`.", self.model)),
            some if some < self.seeds => {
                self.missing.push(format!("`{run}` of `{}` has {some} of {} seeds.", self.model, self.seeds));
            }
            _ => {}
        }
    }

    /// The points of all lines.
    pub fn points(&self) -> impl Iterator<Item = &Point> {
        self.series.iter().flat_map(|series| &series.points)
    }
}

/// The mean of one evaluation of each seed. Where it is a share of problems, their part of the interval is that of a share; all seeds
/// are evaluated on the same problems, so that more seeds do not make more of them.
pub(super) fn with_problems(cell: Cell, problems: Option<f64>) -> Cell {
    let share = cell.mean * (1.0 - cell.mean);
    let of_problems = problems.map_or(0.0, |problems| normal(ERROR) * (share / problems).sqrt());
    Cell { half_width: cell.half_width.hypot(of_problems), ..cell }
}

/// Whether several seeds, or the questions of a test, show how uncertain a mean is.
pub fn has_interval(cell: &Cell) -> bool {
    cell.half_width > 0.0
}
