//! Figures: lines through means over seeds with bands of 95 %, a panel a size of model; as SVG and Markdown for people and CSV
//! for programs. Knows no method: a figure's own file lists its lines.

use crate::{Cell, Row, Size, Written, mean_over_seeds};
use anyhow::{Result, anyhow, ensure};
use plotters::{
    coord::{
        Shift,
        ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter},
        types::RangedCoordf64,
    },
    element::DashedPathElement,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use std::{collections::BTreeMap, error::Error, fmt::Write, ops::Range};

/// How to read a figure whose points are means of looks at the validation split.
pub const OVER_SEEDS: &str = "Mean over seeds, with a 95 % interval over seeds where there are several. Hollow: fewer seeds than at \
                              other points of the line.";

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
            let points = steps
                .values()
                .filter_map(|(xs, ys)| Some(Point { x: mean_over_seeds(xs)?.mean, cell: mean_over_seeds(ys)? }));
            let points: Vec<Point> = points.collect();
            panel.found(run, points.iter().map(|point| point.cell.seeds).max().unwrap_or(0));
            panel.series.push(Series { label, metric: metric.into(), points });
        }
        panel
    }

    /// Says so below the figure where not all seeds have a run.
    pub fn found(&mut self, run: &str, seeds: usize) {
        match seeds {
            0 => self.missing.push(format!("`{run}` of `{}` is missing.", self.model)),
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

impl Figure {
    /// In all its forms. A size without a point has no panel.
    ///
    /// # Errors
    /// Where nothing is there to be drawn, and what the drawing library says.
    pub fn written(mut self) -> Result<Written> {
        let mut missing: Vec<String> = Vec::new();
        for sentence in self.panels.iter().flat_map(|panel| &panel.missing) {
            if !missing.contains(sentence) {
                missing.push(sentence.clone());
            }
        }
        self.panels.retain(|panel| panel.series.iter().any(|series| !self.scale.placed(series).is_empty()));
        ensure!(!self.panels.is_empty(), "nothing to draw: {}", missing.join(" "));
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
        writeln!(text, "\n{} In brackets: seeds.", self.note)?;
        for (number, sentence) in (1..).zip(missing) {
            writeln!(text, "\n<sup>{number}</sup> {sentence}")?;
        }
        Ok(text)
    }

    fn csv(&self) -> Result<String> {
        let mut text = "model,series,x,metric,mean,half_width,seeds\n".to_string();
        for panel in &self.panels {
            for Series { label, metric, points } in &panel.series {
                for Point { x, cell: Cell { mean, half_width, seeds } } in points {
                    // Labels may hold commas.
                    writeln!(text, "{},\"{label}\",{x},{metric},{mean:.5},{half_width:.5},{seeds}", panel.model)?;
                }
            }
        }
        Ok(text)
    }
}

/// Width of a figure. Lengths are in pixels of the drawing, which a page may scale.
const WIDTH: u32 = 1240;
const PANEL_HEIGHT: u32 = 430;
const PANELS_A_ROW: usize = 2;
const ENTRIES_A_ROW: usize = 3;
/// Between lines of text.
const LINE_HEIGHT: u32 = 32;
const MARGIN: i32 = 24;

/// Colours of the lines, as in the reports of runs. Who is red-green blind tells the first three from each other, and the last
/// three, but not all six: so the last three are dashed.
const PALETTE: [RGBColor; 6] = [
    RGBColor(0x3b, 0x82, 0xc4),
    RGBColor(0xdb, 0x7c, 0x26),
    RGBColor(0x2f, 0xa0, 0x6b),
    RGBColor(0xc2, 0x4d, 0x83),
    RGBColor(0x8a, 0x6f, 0xd1),
    RGBColor(0x9a, 0x8b, 0x4f),
];
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GRID: RGBColor = RGBColor(0xcc, 0xcc, 0xcc);

type Drawn = Result<(), Box<dyn Error>>;

impl Figure {
    fn draw(&self, svg: &mut String) -> Drawn {
        let columns = self.panels.len().min(PANELS_A_ROW);
        let rows = self.panels.len().div_ceil(columns);
        let has_points = |place: &usize| self.panels.iter().any(|panel| !panel.series[*place].points.is_empty());
        let lines: Vec<usize> = (0..self.panels[0].series.len()).filter(has_points).collect();
        let head_height = LINE_HEIGHT * (2 + lines.len().div_ceil(ENTRIES_A_ROW) as u32);
        let body_height = PANEL_HEIGHT * rows as u32;
        let root = SVGBackend::with_string(svg, (WIDTH, head_height + body_height + LINE_HEIGHT)).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, rest) = root.split_vertically(head_height);
        let (body, foot) = rest.split_vertically(body_height);
        head.draw(&Text::new(self.title, (MARGIN, 16), text(28)))?;
        foot.draw(&Text::new(self.note.as_str(), (MARGIN, 4), text(19)))?;
        for (entry, &place) in lines.iter().enumerate() {
            let left = MARGIN + (entry % ENTRIES_A_ROW) as i32 * (WIDTH as i32 / ENTRIES_A_ROW as i32);
            let middle = LINE_HEIGHT as i32 * (2 + (entry / ENTRIES_A_ROW) as i32);
            head.draw(&line(vec![(left, middle), (left + 48, middle)], place))?;
            head.draw(&Circle::new((left + 24, middle), 5, color(place).filled()))?;
            let beside = text(22).pos(Pos::new(HPos::Left, VPos::Center));
            head.draw(&Text::new(self.panels[0].series[place].label, (left + 60, middle), beside))?;
        }
        for (panel, area) in self.panels.iter().zip(body.split_evenly((rows, columns))) {
            self.draw_panel(panel, &area)?;
        }
        root.present()?;
        Ok(())
    }

    fn draw_panel(&self, panel: &Panel, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Drawn {
        let scale = self.scale;
        let placed = |panel: &Panel| panel.series.iter().flat_map(|series| scale.placed(series)).collect::<Vec<_>>();
        let xs = span(self.panels.iter().flat_map(placed).map(|(x, _)| x));
        let alike = self.panels.iter().filter(|other| other.y == panel.y).flat_map(placed);
        let ys = alike.flat_map(|(_, cell)| [cell.mean - cell.half_width, cell.mean + cell.half_width]);
        let ys = widened(span(ys), 1e-2);
        let digits = if ys.end - ys.start < 0.06 { 3 } else { 2 };
        let x_axis = XAxis { scale, ticks: scale.ticks(xs.clone()), places: widened(xs, 0.5).into() };
        let caption = format!("{}, {} seed{}", panel.model, panel.seeds, if panel.seeds == 1 { "" } else { "s" });
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(MARGIN)
            .caption(caption, text(24))
            .x_label_area_size(56)
            .y_label_area_size(84)
            .build_cartesian_2d(x_axis, ys)?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(INK)
            .y_labels(6)
            .label_style(text(20))
            .axis_desc_style(text(22))
            .x_desc(self.x)
            .y_desc(&panel.y)
            .y_label_formatter(&|y| format!("{y:.digits$}"))
            .draw()?;
        // All bands below all lines.
        for (place, series) in panel.series.iter().enumerate() {
            let band = band(&scale.placed(series));
            match band.len() {
                // A band of one point has no width.
                2 => chart.draw_series([PathElement::new(band, color(place).stroke_width(2))]).map(drop)?,
                _ => chart.draw_series([Polygon::new(band, color(place).mix(0.14).filled())]).map(drop)?,
            }
        }
        for (place, series) in panel.series.iter().enumerate() {
            let points = scale.placed(series);
            chart.draw_series([line(points.iter().map(|(x, cell)| (*x, cell.mean)).collect(), place)])?;
            let most = points.iter().map(|(_, cell)| cell.seeds).max().unwrap_or(0);
            for (x, Cell { mean, seeds, .. }) in points {
                let fill = if seeds < most { WHITE } else { color(place) };
                chart.draw_series([
                    Circle::new((x, mean), 5, fill.filled()),
                    Circle::new((x, mean), 5, color(place).stroke_width(2)),
                ])?;
            }
        }
        Ok(())
    }
}

/// The outline of the intervals: the upper ends forwards, the lower ends backwards. Points without one are left out, as a band
/// that closes at them would make them look certain.
fn band(points: &[(f64, Cell)]) -> Vec<(f64, f64)> {
    let known = || points.iter().filter(|(_, cell)| has_interval(cell));
    let upper = known().map(|(x, cell)| (*x, cell.mean + cell.half_width));
    let lower = known().rev().map(|(x, cell)| (*x, cell.mean - cell.half_width));
    upper.chain(lower).collect()
}

/// Whether several seeds, or the questions of a test, tell how uncertain a mean is.
fn has_interval(cell: &Cell) -> bool {
    cell.half_width > 0.0
}

fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

fn color(place: usize) -> RGBColor {
    PALETTE[place % PALETTE.len()]
}

fn line<'a, C: Clone + 'static>(points: Vec<C>, place: usize) -> DynElement<'static, SVGBackend<'a>, C> {
    let style = color(place).stroke_width(3);
    match place < PALETTE.len() / 2 {
        true => PathElement::new(points, style).into_dyn(),
        false => DashedPathElement::new(points, 10, 6, style).into_dyn(),
    }
}

/// All values.
fn span(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    low..high
}

/// With a margin, which is so wide where there is one value only.
fn widened(Range { start, end }: Range<f64>, least: f64) -> Range<f64> {
    let margin = if end - start < least { least } else { 0.05 * (end - start) };
    start - margin..end + margin
}

/// An axis with ticks of its own: the drawing library knows none that are round and logarithmic, and halves whole numbers.
struct XAxis {
    scale: Scale,
    places: RangedCoordf64,
    ticks: Vec<f64>,
}

impl Ranged for XAxis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, limit: (i32, i32)) -> i32 {
        self.places.map(place, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.places.range()
    }
}

impl ValueFormatter<f64> for XAxis {
    fn format_ext(&self, place: &f64) -> String {
        readable(self.scale.count(*place))
    }
}

impl Scale {
    /// Where a count stands on the axis.
    fn place(self, count: f64) -> Option<f64> {
        match self {
            Self::Linear => Some(count),
            Self::Log => (count > 0.0).then(|| count.log10()),
        }
    }

    /// The points that can be drawn, with their places.
    fn placed(self, series: &Series) -> Vec<(f64, Cell)> {
        series.points.iter().filter_map(|point| Some((self.place(point.x)?, point.cell))).collect()
    }

    /// What stands at a place of the axis.
    fn count(self, place: f64) -> f64 {
        match self {
            Self::Linear => place,
            Self::Log => 10f64.powf(place).round(),
        }
    }

    /// Places of round counts: multiples of 1, 2 or 5 times a power of ten, or on a log axis these numbers themselves; fewer
    /// of each power where that would be too many.
    fn ticks(self, places: Range<f64>) -> Vec<f64> {
        const MOST: usize = 8;
        let is_within = |place: &f64| (places.start - 1e-9..=places.end + 1e-9).contains(place);
        match self {
            Self::Linear => {
                let width = places.end - places.start;
                let round = |power: i32| [1.0, 2.0, 5.0].map(|factor| factor * 10f64.powi(power));
                let step = (0..300).flat_map(round).find(|step| width / step <= MOST as f64).unwrap_or(width);
                let first = (places.start / step).ceil() as i64;
                (first..).map(|multiple| multiple as f64 * step).take_while(is_within).collect()
            }
            Self::Log => {
                let powers = places.start.floor() as i32..=places.end.ceil() as i32;
                let of = |factors: &[f64]| -> Vec<f64> {
                    let places =
                        powers.clone().flat_map(|power| factors.iter().map(move |x| x.log10() + f64::from(power)));
                    places.filter(is_within).collect()
                };
                let fine = [of(&[1.0, 2.0, 5.0]), of(&[1.0, 3.0])];
                fine.into_iter().find(|ticks| ticks.len() <= MOST).unwrap_or_else(|| of(&[1.0]))
            }
        }
    }
}

/// A count at an axis.
fn readable(count: f64) -> String {
    match count {
        1e6.. => format!("{}M", count / 1e6),
        1e3.. => format!("{}k", count / 1e3),
        _ => format!("{count}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cost, Look, Made, RunResult, Study};

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
                made: Made::default(),
            };
            Study { seed, runs: BTreeMap::from([(run.name.clone(), run)]) }
        };
        Size { model: "tiny".into(), studies: (0..).zip(seeds).map(study).collect() }
    }

    fn figure(size: &Size, scale: Scale) -> Figure {
        let panels = vec![Panel::of_looks(size, &ROWS, "samples", "validation/maj@1")];
        Figure { title: "A & B", x: "samples", scale, panels, note: OVER_SEEDS.into() }
    }

    #[test]
    fn a_point_is_the_mean_of_the_seeds_that_came_so_far() {
        let size = size("ppo", &[&[(1.0, 0.3), (2.0, 0.5)], &[(1.0, 0.5)]]);
        let points = &Panel::of_looks(&size, &ROWS, "samples", "validation/maj@1").series[1].points;
        assert_eq!(points.iter().map(|point| (point.x, point.cell.seeds)).collect::<Vec<_>>(), [(8.0, 2), (16.0, 1)]);
        // Deviation 0.1414 over two seeds: 12.706 * 0.1414 / sqrt(2) = 1.2706.
        let cell = points[0].cell;
        assert!((cell.mean - 0.4).abs() < 1e-12 && (cell.half_width - 1.2706).abs() < 1e-9, "{cell:?}");
        let csv = figure(&size, Scale::Linear).written().unwrap().csv;
        assert_eq!(csv.lines().last(), Some("tiny,\"PPO\",16,validation/maj@1,0.50000,0.00000,1"));
    }

    #[test]
    fn a_run_that_is_missing_is_told_of_below_and_is_an_error_only_if_all_are() {
        let size = size("ppo", &[&[(1.0, 0.3)], &[]]);
        let markdown = figure(&size, Scale::Linear).written().unwrap().markdown;
        assert!(markdown.contains("<sup>1</sup> `ei-k4` of `tiny` is missing."), "{markdown}");
        assert!(markdown.contains("<sup>2</sup> `ppo` of `tiny` has 1 of 2 seeds."), "{markdown}");
        assert!(markdown.contains("\n| `tiny`, validation maj@1 by samples | PPO |\n"), "{markdown}");
        let nothing = Size { model: "tiny".into(), studies: Vec::new() };
        let error = figure(&nothing, Scale::Linear).written().unwrap_err().to_string();
        assert!(error.contains("`ei-k4`") && error.contains("`ppo`"), "{error}");
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
    fn a_band_goes_around_the_points_that_have_an_interval() {
        let cell = |mean, half_width| Cell { mean, half_width, seeds: 2 };
        let points = [(1.0, cell(0.5, 0.25)), (2.0, cell(0.5, 0.125)), (3.0, cell(0.5, 0.0))];
        assert_eq!(band(&points), [(1.0, 0.75), (2.0, 0.625), (2.0, 0.375), (1.0, 0.25)]);
    }

    #[test]
    fn the_drawing_is_well_formed_names_its_lines_and_is_always_the_same() {
        let size = size("ei-k4", &[&[(1.0, 0.3)]]);
        let svg = figure(&size, Scale::Log).written().unwrap().svg.unwrap();
        assert!(svg.contains("EI, K &lt; 9") && svg.contains("A &amp; B") && !svg.contains("PPO"));
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').unwrap();
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

    #[test]
    fn ticks_are_round_counts_and_not_too_many() {
        assert_eq!(Scale::Linear.ticks(0.0..5.0), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(Scale::Linear.ticks(5.0..40.0), [5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0]);
        let counts = |low: f64, high: f64| {
            let ticks = Scale::Log.ticks(low.log10()..high.log10());
            ticks.into_iter().map(|place| readable(Scale::Log.count(place))).collect::<Vec<_>>()
        };
        assert_eq!(counts(256.0, 6000.0), ["500", "1k", "2k", "5k"]);
        assert_eq!(counts(2e3, 2e6), ["3k", "10k", "30k", "100k", "300k", "1M"]);
        assert_eq!(counts(2.0, 2e6), ["10", "100", "1k", "10k", "100k", "1M"]);
    }
}
