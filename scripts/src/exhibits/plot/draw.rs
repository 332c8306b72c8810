//! How a figure is drawn as SVG: panels beside each other, one legend, round ticks. Independent of what is drawn.

use super::figure::{Figure, Panel, Series, has_interval};
use crate::{results::Cell, study::Scale};
use eval::PALETTE;
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
use std::{error::Error, ops::Range};

/// Width of a figure. Lengths are in pixels of the drawing, which a page may scale.
const WIDTH: u32 = 1240;
const PANEL_HEIGHT: u32 = 430;
const PANELS_A_ROW: usize = 2;
const ENTRIES_A_ROW: usize = 3;
/// Between lines of text.
const LINE_HEIGHT: u32 = 32;
const MARGIN: i32 = 24;
/// Letters of the note that stand beside each other, of a font that is not known here.
const NOTE_LETTERS: usize = 130;

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GRID: RGBColor = RGBColor(0xcc, 0xcc, 0xcc);

type Drawn = Result<(), Box<dyn Error>>;

/// The drawing.
///
/// # Errors
/// What the drawing library says.
pub fn draw(figure: &Figure) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    draw_into(figure, &mut svg)?;
    Ok(svg)
}

fn draw_into(figure: &Figure, svg: &mut String) -> Drawn {
    let columns = figure.panels.len().min(PANELS_A_ROW);
    let rows = figure.panels.len().div_ceil(columns);
    let has_points = |place: &usize| figure.panels.iter().any(|panel| !panel.series[*place].points.is_empty());
    let lines: Vec<usize> = (0..figure.panels[0].series.len()).filter(has_points).collect();
    let head_height = LINE_HEIGHT * (2 + lines.len().div_ceil(ENTRIES_A_ROW) as u32);
    let body_height = PANEL_HEIGHT * rows as u32;
    let note = textwrap::wrap(&figure.note, NOTE_LETTERS);
    let foot_height = LINE_HEIGHT * note.len() as u32;
    let root = SVGBackend::with_string(svg, (WIDTH, head_height + body_height + foot_height)).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, rest) = root.split_vertically(head_height);
    let (body, foot) = rest.split_vertically(body_height);
    head.draw(&Text::new(figure.title.as_str(), (MARGIN, 16), text(28)))?;
    for (line, words) in (0..).zip(note) {
        foot.draw(&Text::new(words, (MARGIN, 4 + LINE_HEIGHT as i32 * line), text(19)))?;
    }
    for (entry, &place) in lines.iter().enumerate() {
        let left = MARGIN + (entry % ENTRIES_A_ROW) as i32 * (WIDTH as i32 / ENTRIES_A_ROW as i32);
        let middle = LINE_HEIGHT as i32 * (2 + (entry / ENTRIES_A_ROW) as i32);
        head.draw(&line(vec![(left, middle), (left + 48, middle)], place))?;
        head.draw(&Circle::new((left + 24, middle), 5, color(place).filled()))?;
        let beside = text(22).pos(Pos::new(HPos::Left, VPos::Center));
        head.draw(&Text::new(figure.panels[0].series[place].label.as_str(), (left + 60, middle), beside))?;
    }
    for (panel, area) in figure.panels.iter().zip(body.split_evenly((rows, columns))) {
        draw_panel(figure, panel, &area)?;
    }
    root.present()?;
    Ok(())
}

fn draw_panel(figure: &Figure, panel: &Panel, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Drawn {
    let scale = figure.scale;
    let all = |panel: &Panel| panel.series.iter().flat_map(|series| placed(scale, series)).collect::<Vec<_>>();
    let xs = span(figure.panels.iter().flat_map(all).map(|(x, _)| x));
    let alike = figure.panels.iter().filter(|other| other.y == panel.y).flat_map(all);
    let ys = alike.flat_map(|(_, cell)| [cell.mean - cell.half_width, cell.mean + cell.half_width]);
    let ys = widened(span(ys), 1e-2);
    let digits = match ys.end - ys.start {
        range if range < 0.06 => 3,
        range if range < 10.0 => 2,
        _ => 0,
    };
    let x_axis = XAxis { scale, ticks: ticks(scale, xs.clone()), places: widened(xs, 0.5).into() };
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
        .x_desc(figure.x.as_str())
        .y_desc(&panel.y)
        .y_label_formatter(&|y| format!("{y:.digits$}"))
        .draw()?;
    // All bands below all lines.
    for (place, series) in panel.series.iter().enumerate() {
        let band = band(&placed(scale, series));
        match band.len() {
            // A band of one point has no width.
            2 => chart.draw_series([PathElement::new(band, color(place).stroke_width(2))]).map(drop)?,
            _ => chart.draw_series([Polygon::new(band, color(place).mix(0.14).filled())]).map(drop)?,
        }
    }
    for (place, series) in panel.series.iter().enumerate() {
        let points = placed(scale, series);
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

/// The outline of the intervals: the upper ends forwards, the lower ends backwards. Points without one are left out, as a band
/// that closes at them would make them seem certain.
fn band(points: &[(f64, Cell)]) -> Vec<(f64, f64)> {
    let known = || points.iter().filter(|(_, cell)| has_interval(cell));
    let upper = known().map(|(x, cell)| (*x, cell.mean + cell.half_width));
    let lower = known().rev().map(|(x, cell)| (*x, cell.mean - cell.half_width));
    upper.chain(lower).collect()
}

fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

fn color(place: usize) -> RGBColor {
    let [red, green, blue] = PALETTE[place % PALETTE.len()];
    RGBColor(red, green, blue)
}

/// The second half of the colours is dashed, so that colours alone need not distinguish all lines.
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

/// An axis with ticks of its own: the drawing library has none that are round and logarithmic, and halves whole numbers.
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
        readable(count(self.scale, *place))
    }
}

/// Where a count stands on the axis.
fn place(scale: Scale, count: f64) -> Option<f64> {
    match scale {
        Scale::Linear => Some(count),
        Scale::Log => (count > 0.0).then(|| count.log10()),
    }
}

/// The points that can be drawn, with their places.
pub fn placed(scale: Scale, series: &Series) -> Vec<(f64, Cell)> {
    series.points.iter().filter_map(|point| Some((place(scale, point.x)?, point.cell))).collect()
}

/// What stands at a place of the axis.
fn count(scale: Scale, place: f64) -> f64 {
    match scale {
        Scale::Linear => place,
        Scale::Log => 10f64.powf(place).round(),
    }
}

/// Places of round counts: multiples of 1, 2 or 5 times a power of ten, or on a log axis these numbers themselves; fewer
/// of each power where that would be too many.
fn ticks(scale: Scale, places: Range<f64>) -> Vec<f64> {
    const MOST: usize = 8;
    let is_within = |place: &f64| (places.start - 1e-9..=places.end + 1e-9).contains(place);
    match scale {
        Scale::Linear => {
            let width = places.end - places.start;
            let round = |power: i32| [1.0, 2.0, 5.0].map(|factor| factor * 10f64.powi(power));
            let step = (0..300).flat_map(round).find(|step| width / step <= MOST as f64).unwrap_or(width);
            let first = (places.start / step).ceil() as i64;
            (first..).map(|multiple| multiple as f64 * step).take_while(is_within).collect()
        }
        Scale::Log => {
            let powers = places.start.floor() as i32..=places.end.ceil() as i32;
            let of = |factors: &[f64]| -> Vec<f64> {
                let places = powers.clone().flat_map(|power| factors.iter().map(move |x| x.log10() + f64::from(power)));
                places.filter(is_within).collect()
            };
            let fine = [of(&[1.0, 2.0, 5.0]), of(&[1.0, 3.0])];
            fine.into_iter().find(|ticks| ticks.len() <= MOST).unwrap_or_else(|| of(&[1.0]))
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

    #[test]
    fn a_band_goes_around_the_points_that_have_an_interval() {
        let cell = |mean, half_width| Cell { mean, half_width, seeds: 2 };
        let points = [(1.0, cell(0.5, 0.25)), (2.0, cell(0.5, 0.125)), (3.0, cell(0.5, 0.0))];
        assert_eq!(band(&points), [(1.0, 0.75), (2.0, 0.625), (2.0, 0.375), (1.0, 0.25)]);
    }

    #[test]
    fn ticks_are_round_counts_and_not_too_many() {
        assert_eq!(ticks(Scale::Linear, 0.0..5.0), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(ticks(Scale::Linear, 5.0..40.0), [5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0]);
        let counts = |low: f64, high: f64| {
            let places = ticks(Scale::Log, low.log10()..high.log10());
            places.into_iter().map(|place| readable(count(Scale::Log, place))).collect::<Vec<_>>()
        };
        assert_eq!(counts(256.0, 6000.0), ["500", "1k", "2k", "5k"]);
        assert_eq!(counts(2e3, 2e6), ["3k", "10k", "30k", "100k", "300k", "1M"]);
        assert_eq!(counts(2.0, 2e6), ["10", "100", "1k", "10k", "100k", "1M"]);
    }
}
