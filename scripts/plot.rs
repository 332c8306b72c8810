//! Figures: lines through means over seeds with bands of 95 %, a panel a size of model; as SVG and Markdown for people and CSV
//! for programs. Knows no method: a figure's own file lists its lines.

mod draw;

use crate::{Cell, ERROR, Row, RunResult, Size, Written, mean_over_seeds, means_over_seeds, normal};
use anyhow::{Result, anyhow, ensure};
use draw::has_interval;
use std::{collections::BTreeMap, fmt::Write};

/// How to read a figure whose points are means of looks at the validation split.
pub const OVER_SEEDS: &str = "Mean over seeds; 95 % interval over seeds, where there are several, with the spread that they have along \
                              the line, and over validation problems. Hollow: fewer seeds than at other points of the line.";

/// Panels that share a legend. All of them have the same lines, in the same order.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What is drawn.
    pub title: &'static str,
    /// What x is.
    pub x: &'static str,
    /// How x is drawn.
    pub scale: Scale,
    /// One a size of model and y.
    pub panels: Vec<Panel>,
    /// How to read it.
    pub note: String,
}

/// How numbers, all of them counts, are placed on the x axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm. What has none, a count of zero, stands in the table but is not drawn.
    Log,
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
    seeds: usize,
    /// A sentence a run that some seed lacks.
    missing: Vec<String>,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What it is called in the legend.
    pub label: &'static str,
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
    /// What it came to.
    pub cell: Cell,
}

impl Panel {
    /// Axes of a size, still empty.
    pub fn new(size: &Size, y: impl Into<String>) -> Self {
        let (model, seeds) = (size.model.clone(), size.studies.len());
        Self { model, y: y.into(), series: Vec::new(), seeds, missing: Vec::new() }
    }

    /// A line a run through its looks at the validation split. Looks of one step are one point.
    pub fn of_looks(size: &Size, rows: &[Row], x: &str, metric: &str) -> Self {
        let mut panel = Self::new(size, metric.replace(['/', '_'], " "));
        for &(label, run) in rows {
            let mut steps: BTreeMap<u64, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
            for look in size.of(run).flat_map(|run| &run.looks) {
                if let (Some(&step), Some(&x), Some(&y)) = (look.get("step"), look.get(x), look.get(metric)) {
                    let (xs, ys) = steps.entry(step as u64).or_default();
                    xs.push(x);
                    ys.push(y);
                }
            }
            let problems = size.of(run).find_map(RunResult::looked_at).filter(|_| metric.starts_with("validation/"));
            let scores: Vec<&[f64]> = steps.values().map(|(_, ys)| ys.as_slice()).collect();
            let points = steps.values().zip(means_over_seeds(&scores)).map(|((xs, _), cell)| {
                let x = xs.iter().sum::<f64>() / xs.len() as f64;
                Point { x, cell: with_problems(cell, problems) }
            });
            let points: Vec<Point> = points.collect();
            panel.found(run, points.iter().map(|point| point.cell.seeds).max().unwrap_or(0));
            panel.series.push(Series { label, metric: metric.into(), points });
        }
        panel
    }

    /// Before their first looks, lines of runs from SFT stand where that does: they go on from the checkpoint of its best look. Of
    /// the base nobody has asked.
    pub fn begin_with_sft(&mut self, size: &Size, rows: &[Row]) {
        const LOOK: &str = "validation/maj@1";
        let of_sft: Vec<f64> = size.of("sft").filter_map(|run| Some(run.best_and_last(LOOK)?[0])).collect();
        let problems = size.of("sft").find_map(RunResult::looked_at);
        for (series, (_, run)) in self.series.iter_mut().zip(rows) {
            let is_from_sft = !run.split('-').any(|part| part == "base") && !series.points.is_empty();
            let start = mean_over_seeds(&of_sft).filter(|_| is_from_sft);
            let start = start.map(|cell| Point { x: 0.0, cell: with_problems(cell, problems) });
            series.points.splice(..0, start);
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

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.series.iter().flat_map(|series| &series.points)
    }
}

/// The mean of one look of each seed. Where it is a share of problems, their part of the interval is that of a share; all seeds look
/// at the same problems, so that more seeds do not make more of them.
fn with_problems(cell: Cell, problems: Option<f64>) -> Cell {
    let share = cell.mean * (1.0 - cell.mean);
    let of_problems = problems.map_or(0.0, |problems| normal(ERROR) * (share / problems).sqrt());
    Cell { half_width: cell.half_width.hypot(of_problems), ..cell }
}

impl Figure {
    /// In all its forms. A size that has only the first of several lines, which the others are compared with, has no panel, where
    /// another size has more.
    ///
    /// # Errors
    /// Where nothing is there to be drawn, and what the drawing library says.
    pub fn written(mut self) -> Result<Written> {
        let has = |panel: &Panel, from: usize| {
            panel.series.iter().skip(from).any(|series| !self.scale.placed(series).is_empty())
        };
        let from = usize::from(self.panels.iter().any(|panel| has(panel, 1)));
        let (shown, left_out): (Vec<Panel>, Vec<Panel>) = self.panels.into_iter().partition(|panel| has(panel, from));
        let told = if shown.is_empty() { &left_out } else { &shown };
        let mut missing: Vec<String> = Vec::new();
        let sentences = told.iter().flat_map(|panel| panel.missing.iter().cloned());
        for sentence in sentences.chain(left_out.iter().map(|panel| format!("Not run on `{}`.", panel.model))) {
            if !missing.contains(&sentence) {
                missing.push(sentence);
            }
        }
        ensure!(!shown.is_empty(), "nothing to draw: {}", missing.join(" "));
        self.panels = shown;
        let mut svg = String::new();
        self.draw(&mut svg).map_err(|error| anyhow!("cannot draw {}: {error}", self.title))?;
        Ok(Written { markdown: self.markdown(&missing)?, csv: self.csv()?, svg: Some(svg) })
    }

    /// A table a panel, with a row an x and a column a line.
    fn markdown(&self, missing: &[String]) -> Result<String> {
        let mut text = format!("Figure. {}.\n", self.title);
        for panel in &self.panels {
            let lines: Vec<&Series> = panel.series.iter().filter(|series| !series.points.is_empty()).collect();
            let heads: Vec<&str> = lines.iter().map(|series| series.label).collect();
            writeln!(text, "\n| `{}`, {} by {} | {} |", panel.model, panel.y, self.x, heads.join(" | "))?;
            writeln!(text, "| --- |{}", " --- |".repeat(lines.len()))?;
            let mut xs: Vec<f64> = panel.points().map(|point| point.x).collect();
            xs.sort_by(f64::total_cmp);
            xs.dedup();
            for x in xs {
                let at_x = |series: &&Series| {
                    let Point { cell, .. } = series.points.iter().find(|point| point.x == x)?;
                    let interval = Some(format!(" ± {:.3}", cell.half_width)).filter(|_| has_interval(cell));
                    Some(format!("{:.3}{} ({})", cell.mean, interval.unwrap_or_default(), cell.seeds))
                };
                let cells: Vec<String> = lines.iter().map(|series| at_x(series).unwrap_or("—".into())).collect();
                writeln!(text, "| {x:.0} | {} |", cells.join(" | "))?;
            }
        }
        writeln!(text, "\n{} In brackets: seeds. —: not looked at there.", self.note)?;
        for sentence in missing {
            writeln!(text, "\n{sentence}")?;
        }
        Ok(text)
    }

    fn csv(&self) -> Result<String> {
        let mut text = "model,series,x,metric,mean,half_width,seeds\n".to_string();
        for panel in &self.panels {
            for Series { label, metric, points } in &panel.series {
                for Point { x, cell } in points {
                    text += &cell.csv_line(&[&panel.model, label, &x.to_string(), metric]);
                }
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cost, Look, Made, Study};

    const ROWS: [Row; 2] = [("EI, K < 9", "ei-k4"), ("PPO", "ppo")];

    /// A study a seed, with a run whose looks have these steps and scores; it has drawn eight samples a step.
    fn size(run: &str, seeds: &[&[(f64, f64)]]) -> Size {
        let study = |(seed, looks): (u64, &&[(f64, f64)])| {
            let look = |&(step, score): &(f64, f64)| {
                let all = [("step", step), ("samples", 8.0 * step), ("validation/maj@1", score)];
                all.into_iter().map(|(name, value)| (name.to_string(), value)).collect::<Look>()
            };
            let run = RunResult {
                name: run.into(),
                command: "ppo".into(),
                model: "tiny".into(),
                seed,
                test: None,
                by_question: BTreeMap::new(),
                reward_model: None,
                cost: Cost::default(),
                looks: looks.iter().map(look).collect(),
                flags: BTreeMap::new(),
                made: Made::default(),
            };
            Study { seed, runs: BTreeMap::from([(run.name.clone(), run)]) }
        };
        Size { model: "tiny".into(), studies: (0..).zip(seeds).map(study).collect() }
    }

    fn figure(size: &Size, scale: Scale) -> Figure {
        let panels = vec![Panel::of_looks(size, &ROWS, "samples", "validation/maj@1")];
        Figure {
            title: "A & B",
            x: "samples",
            scale,
            panels,
            note: format!("{OVER_SEEDS} The first is the SFT model."),
        }
    }

    #[test]
    fn a_point_is_the_mean_of_the_seeds_that_came_so_far() {
        let size = size("ppo", &[&[(1.0, 0.3), (2.0, 0.5)], &[(1.0, 0.5)]]);
        let points = &Panel::of_looks(&size, &ROWS, "samples", "validation/maj@1").series[1].points;
        assert_eq!(points.iter().map(|point| (point.x, point.cell.seeds)).collect::<Vec<_>>(), [(8.0, 2), (16.0, 1)]);
        // Deviation 0.1414 over two seeds: 12.706 * 0.1414 / sqrt(2) = 1.2706.
        let cell = points[0].cell;
        assert!((cell.mean - 0.4).abs() < 1e-12 && (cell.half_width - 1.2706).abs() < 1e-4, "{cell:?}");
        let csv = figure(&size, Scale::Linear).written().unwrap().csv;
        // The other point has one seed, and the deviation of the line.
        assert_eq!(csv.lines().last(), Some("tiny,PPO,16,validation/maj@1,0.50000,1.79693,1"));
    }

    #[test]
    fn one_look_at_many_problems_has_the_interval_of_a_share() {
        // 1.96 * sqrt(0.4 * 0.6 / 400) = 0.0480.
        let look = mean_over_seeds(&[0.4]).unwrap();
        let cell = with_problems(look, Some(400.0));
        assert!((cell.half_width - 0.0480).abs() < 1e-4, "{cell:?}");
        assert_eq!(with_problems(look, None).half_width, 0.0);
    }

    #[test]
    fn a_run_that_is_missing_is_told_of_below_and_is_an_error_only_if_all_are() {
        let size = size("ppo", &[&[(1.0, 0.3)], &[]]);
        let markdown = figure(&size, Scale::Linear).written().unwrap().markdown;
        assert!(markdown.contains("\n`ei-k4` was not run on `tiny`."), "{markdown}");
        assert!(markdown.contains("\n`ppo` of `tiny` has 1 of 2 seeds."), "{markdown}");
        assert!(markdown.contains("\n| `tiny`, validation maj@1 by samples | PPO |\n"), "{markdown}");
        let nothing = Size { model: "tiny".into(), studies: Vec::new() };
        let error = figure(&nothing, Scale::Linear).written().unwrap_err().to_string();
        assert!(error.contains("`ei-k4`") && error.contains("`ppo`"), "{error}");
    }

    #[test]
    fn a_size_that_has_nothing_to_compare_has_no_panel() {
        let (first, second) = (size("ei-k4", &[&[(1.0, 0.3)]]), size("ppo", &[&[(1.0, 0.3)]]));
        let drawn = |sizes: &[&Size]| {
            let panels = sizes.iter().map(|size| Panel::of_looks(size, &ROWS, "samples", "validation/maj@1")).collect();
            Figure { panels, ..figure(&first, Scale::Linear) }.written().unwrap().markdown
        };
        assert!(drawn(&[&first]).contains("| `tiny`, validation maj@1"), "there is nothing else");
        let other = Size { model: "nano".into(), ..first.clone() };
        let told = drawn(&[&other, &second]);
        assert!(!told.contains("| `nano`") && told.contains("\nNot run on `nano`."), "{told}");
    }

    #[test]
    fn what_starts_from_sft_begins_where_sft_was_best() {
        let mut size = size("ppo", &[&[(1.0, 0.3)]]);
        let mut sft = size.studies[0].runs["ppo"].clone();
        sft.name = "sft".into();
        size.studies[0].runs.insert("sft".into(), sft);
        let rows = [("PPO", "ppo"), ("PPO from the base", "ppo-base"), ("EI", "ei")];
        let mut panel = Panel::of_looks(&size, &rows, "samples", "validation/maj@1");
        panel.begin_with_sft(&size, &rows);
        let xs: Vec<Vec<f64>> =
            panel.series.iter().map(|series| series.points.iter().map(|point| point.x).collect()).collect();
        assert_eq!(xs, [vec![0.0, 8.0], vec![], vec![]]);
    }

    #[test]
    fn a_count_of_zero_is_in_the_table_but_not_on_a_log_axis() {
        let of_zero = size("ppo", &[&[(0.0, 0.3), (1.0, 0.4), (50.0, 0.5)]]);
        let circles = |scale| figure(&of_zero, scale).written().unwrap().svg.unwrap().matches("<circle").count();
        assert_eq!(circles(Scale::Linear) - circles(Scale::Log), 2);
        assert!(figure(&of_zero, Scale::Log).written().unwrap().markdown.contains("\n| 0 | 0.300 (1) |"));
        assert!(figure(&size("ppo", &[&[(0.0, 0.3)]]), Scale::Log).written().is_err());
    }

    #[test]
    fn the_drawing_is_well_formed_names_its_lines_and_is_always_the_same() {
        let size = size("ei-k4", &[&[(1.0, 0.3)]]);
        let svg = figure(&size, Scale::Log).written().unwrap().svg.unwrap();
        assert!(svg.contains("EI, K &lt; 9") && svg.contains("A &amp; B") && !svg.contains("PPO"));
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').unwrap();
            assert!(text.len() < 140, "it is cut at the margin: {text}");
            assert!(!text.contains('>') && tag.matches('"').count() % 2 == 0, "{tag}");
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None if tag.ends_with('/') => {}
                None => open.push(tag.split(' ').next().unwrap()),
            }
        }
        assert!(open.is_empty(), "{open:?}");
        assert_eq!(figure(&size, Scale::Log).written().unwrap().svg.unwrap(), svg);
    }
}
