//! Charts of metrics: which metrics share a chart, and how they are drawn as SVG. Independent of files and of the page.

use crate::run::read::{Curves, readable};
use anyhow::{Result, anyhow};
use eval::PALETTE;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::Serialize;

/// A chart with title, note and legend.
#[derive(Debug, Serialize)]
pub struct Chart {
    /// Title.
    pub title: String,
    /// Note on how to read the chart; may be empty.
    pub note: String,
    /// The curves, in the order of their colours.
    pub legend: Vec<LegendEntry>,
    /// The drawing: an `<svg>` element, which needs no escaping.
    pub svg: String,
}

/// A curve of a chart.
#[derive(Debug, Serialize)]
pub struct LegendEntry {
    /// The metric; several where their values are the same.
    pub name: String,
    /// The last value.
    pub last: String,
    /// Index in the palette, from 0.
    pub color: usize,
}

/// Metrics that share a chart, because they share a scale.
struct Group {
    title: &'static str,
    note: &'static str,
    /// Names; `*` matches anything.
    names: &'static [&'static str],
}

const fn group(title: &'static str, note: &'static str, names: &'static [&'static str]) -> Group {
    Group { title, note, names }
}

/// A metric belongs to the first group that matches it. Other metrics get their own charts.
const GROUPS: &[Group] = &[
    group(
        "Reward and accuracy",
        "training: mean over samples; validation: greedy, held-out problems",
        &["reward/*", "accuracy", "validation/maj*"],
    ),
    group(
        "Return",
        "expected return of the policy after so many episodes, mean over seeds; the best one; and those of the guide alone",
        &["return/mean", "return/best", "return/guide", "return/greedy_guide"],
    ),
    group("Return of each seed", "expected return of the policy", &["return/seed*"]),
    group("Queries of the guide", "mean over seeds; right: those whose answer solved the task", &["queries/*"]),
    group("Loss", "nats per token", &["loss", "validation/loss"]),
    group(
        "Reward model",
        "finished solutions of held-out questions",
        &[
            "validation/accuracy",
            "validation/auc",
            "validation/auc_within",
            "validation/pair_accuracy",
            "validation/ece",
        ],
    ),
    group("KL to the reference", "nats per token", &["kl/k1", "kl/k3"]),
    group("KL to the reference", "nats per completion", &["kl/per_completion"]),
    group("Accuracy of pairs", "share of pairs with a margin above 0", &["pairs/accuracy"]),
    group("Margin of pairs", "nats", &["pairs/margin"]),
    group("Log-probabilities of pairs", "nats per completion", &["pairs/chosen_log_prob", "pairs/rejected_log_prob"]),
    group("Entropy of the policy", "nats per token", &["entropy"]),
    group("Length of completions", "tokens", &["length/*"]),
    group("Truncated, unparsable, padding", "shares", &["truncated", "unparsable", "padding"]),
    group("Largest ratio to the old policy", "over the tokens of a step; 1 is no change", &["ratio/max"]),
    group("Smallest ratio to the old policy", "over the tokens of a step; 1 is no change", &["ratio/min"]),
    group("Clipped ratios", "share of tokens", &["ratio/clipped"]),
    group("KL to the old policy", "nats per token, within a step", &["kl/old"]),
    group("Policy loss", "", &["loss/policy"]),
    group("Value loss", "", &["loss/value"]),
    group(
        "Explained variance of the returns",
        "1: the critic predicts every return exactly",
        &["value/explained_variance"],
    ),
    group("Gradient norm", "before clipping", &["grad_norm"]),
    group("Learning rate", "", &["learning_rate"]),
    group("KL coefficient β", "", &["kl/coefficient"]),
    group("Tokens per second", "", &["*tokens_per_s"]),
    group("Time of a step", "seconds", &["time/*_s"]),
    group("Peak memory", "MB", &["time/peak_memory_mb"]),
    group("Memory of the GPU", "MB", &["device/memory_mb"]),
];

/// Size of a drawing; the page scales it.
const SIZE: (u32, u32) = (1200, 560);
/// Inner size of the numbers at the axes.
const TEXT_SIZE: u32 = 30;
/// Maximum number of drawn points per curve, the width of a chart.
const MAX_POINTS: usize = 500;
/// From this many points on, a noisy curve gets a moving mean.
const POINTS_FOR_MEAN: usize = 80;

/// Stands for the colours of text and grid, which the style sheet of the page replaces.
const INK: RGBColor = RGBColor(0, 0, 0);
const GRID: RGBColor = RGBColor(0x80, 0x80, 0x80);

/// A curve in a chart: its names, and its points.
type Curve<'a> = (String, &'a [(f64, f64)]);

/// The charts of a run, and the metrics that never change, with their value.
///
/// # Errors
/// Errors of the drawing library.
pub fn charts(curves: &Curves) -> Result<(Vec<Chart>, Vec<String>)> {
    let (changing, constant): (Vec<_>, Vec<_>) = curves
        .iter()
        .filter(|(name, _)| *name != "samples")
        .partition(|(_, points)| points.len() > 1 && points.iter().any(|point| point.1 != points[0].1));
    let constant = constant.iter().map(|(name, points)| format!("{name} {}", readable(points[0].1))).collect();
    let of_group = |place: Option<usize>| changing.iter().filter(move |(name, _)| group_of(name) == place);
    let mut charts = Vec::new();
    for (place, group) in GROUPS.iter().enumerate() {
        let mut members: Vec<Curve<'_>> = Vec::new();
        for (name, points) in of_group(Some(place)) {
            match members.iter_mut().find(|(_, known)| known == points) {
                Some((names, _)) => names.push_str(&format!(" = {name}")),
                None => members.push(((*name).clone(), points)),
            }
        }
        for some in members.chunks(PALETTE.len()) {
            charts.push(chart(group.title, group.note, some)?);
        }
    }
    for (name, points) in of_group(None) {
        charts.push(chart(name, "", &[((*name).clone(), points.as_slice())])?);
    }
    Ok((charts, constant))
}

fn group_of(name: &str) -> Option<usize> {
    let matches = |pattern: &&str| match pattern.split_once('*') {
        Some((start, end)) => name.starts_with(start) && name.ends_with(end),
        None => name == *pattern,
    };
    GROUPS.iter().position(|group| group.names.iter().any(matches))
}

fn chart(title: &str, note: &str, curves: &[Curve<'_>]) -> Result<Chart> {
    let legend = curves.iter().enumerate().map(|(color, (name, points))| LegendEntry {
        name: name.clone(),
        last: readable(points[points.len() - 1].1),
        color,
    });
    let smoothed = curves.iter().any(|(_, points)| is_noisy(points));
    let remark = if smoothed { "thin: each step; thick: moving mean" } else { "" };
    let note = [note, remark].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
    Ok(Chart { title: title.into(), note, legend: legend.collect(), svg: draw(curves)? })
}

fn draw(curves: &[Curve<'_>]) -> Result<String> {
    let mut svg = String::new();
    draw_into(&mut svg, curves).map_err(|error| anyhow!("cannot draw {}: {error}", curves[0].0))?;
    Ok(svg)
}

fn draw_into(svg: &mut String, curves: &[Curve<'_>]) -> Result<(), Box<dyn std::error::Error>> {
    let Axes { steps, values, unit } = axes(curves);
    let span = values.end - values.start;
    let place = |&(step, value): &(f64, f64)| (step as i64, value / unit);
    let text = ("sans-serif", TEXT_SIZE).into_font().color(&INK);
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .margin_right(32)
        .x_label_area_size(48)
        .y_label_area_size(116)
        .build_cartesian_2d(steps, values)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID.stroke_width(2))
        .light_line_style(TRANSPARENT)
        .axis_style(GRID.stroke_width(2))
        .set_all_tick_mark_size(8)
        .x_labels(7)
        .y_labels(6)
        .x_label_style(text.clone().pos(Pos::new(HPos::Center, VPos::Top)))
        .y_label_style(text.pos(Pos::new(HPos::Right, VPos::Center)))
        .y_label_formatter(&|&value| tick(value, span, unit))
        .draw()?;
    for ((_, points), color) in curves.iter().zip(PALETTE.map(|[red, green, blue]| RGBColor(red, green, blue))) {
        let noisy = is_noisy(points);
        let dots = thinned(points);
        let style = if noisy { color.mix(0.4).stroke_width(2) } else { color.stroke_width(5) };
        chart.draw_series(LineSeries::new(dots.iter().map(place), style))?;
        if noisy {
            let mean = thinned(&moving_mean(points));
            chart.draw_series(LineSeries::new(mean.iter().map(place), color.stroke_width(5)))?;
        } else if dots.len() <= 30 {
            chart.draw_series(dots.iter().map(|point| Circle::new(place(point), 7, color.filled())))?;
        }
    }
    drop(chart);
    root.present()?;
    drop(root);
    Ok(())
}

/// Ranges of the axes.
struct Axes {
    steps: std::ops::Range<i64>,
    /// In units.
    values: std::ops::Range<f64>,
    /// The power of ten that values are drawn in: the drawing library searches for its ticks without end where numbers
    /// are huge, or differ in their last digits only.
    unit: f64,
}

/// All steps, and all values with a margin. Zero is included if it is near.
fn axes(curves: &[Curve<'_>]) -> Axes {
    let all = || curves.iter().flat_map(|(_, points)| points.iter().copied());
    let bounds = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
    let (first, last) = all().map(|point| point.0).fold((f64::MAX, f64::MIN), bounds);
    let size = all().map(|point| point.1.abs()).fold(0.0, f64::max);
    let unit = 10f64.powf(size.log10().floor().clamp(-300.0, 300.0));
    let (low, high) = all().map(|point| point.1 / unit).fold((f64::MAX, f64::MIN), bounds);
    let low = if low >= 0.0 && low < 0.5 * high { 0.0 } else { low };
    let margin = (0.05 * (high - low)).max(1e-9 * (size / unit)).max(1e-9);
    let bottom = if low == 0.0 { 0.0 } else { low - margin };
    Axes { steps: first as i64..(last as i64).max(first as i64 + 1), values: bottom..high + margin, unit }
}

/// A tick label, with as many decimals as distinguish it from its neighbours. Value and span are in units.
fn tick(value: f64, span: f64, unit: f64) -> String {
    let decimals = -((span / 6.0).log10() + unit.log10()).floor();
    match decimals as i32 {
        _ if value.abs() < 1e-6 * span => "0".into(),
        -5..=5 => format!("{:.*}", decimals.max(0.0) as usize, value * unit),
        _ => format!("{:.1e}", value * unit),
    }
}

/// At most [`MAX_POINTS`] points. Of points that coincide, the lowest and the highest are kept.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MAX_POINTS {
        return points.to_vec();
    }
    let of_bin = |bin: &[(f64, f64)]| {
        let place = |best: fn(f64, f64) -> bool| {
            (0..bin.len()).reduce(|a, b| if best(bin[b].1, bin[a].1) { b } else { a }).unwrap_or_default()
        };
        let (low, high) = (place(|b, a| b < a), place(|b, a| b > a));
        [bin[low.min(high)], bin[low.max(high)]]
    };
    points.chunks(points.len().div_ceil(MAX_POINTS / 2)).flat_map(of_bin).collect()
}

/// Whether a curve turns at every other point or so; a schedule does not, and must not be smoothed.
fn is_noisy(points: &[(f64, f64)]) -> bool {
    let turns = |three: &&[(f64, f64)]| (three[1].1 > three[0].1) != (three[2].1 > three[1].1);
    points.len() >= POINTS_FOR_MEAN && points.windows(3).filter(turns).count() > points.len() / 4
}

/// The mean over a window around each point; at the ends the window is cut.
fn moving_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = (points.len() / 40).max(2);
    let mean = |place: usize| {
        let window = &points[place.saturating_sub(reach)..points.len().min(place + reach + 1)];
        (points[place].0, window.iter().map(|point| point.1).sum::<f64>() / window.len() as f64)
    };
    (0..points.len()).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curves(names: &[&str]) -> Curves {
        let curve = |scale: usize| (1..=9).map(|step| (f64::from(step), f64::from(step) * scale as f64)).collect();
        names.iter().enumerate().map(|(place, name)| ((*name).to_string(), curve(place + 1))).collect()
    }

    fn legends(curves: &Curves) -> Vec<(String, Vec<String>)> {
        let (charts, _) = charts(curves).unwrap();
        charts.into_iter().map(|c| (c.title, c.legend.into_iter().map(|entry| entry.name).collect())).collect()
    }

    #[test]
    fn metrics_of_one_scale_share_a_chart_and_unknown_ones_get_their_own() {
        let found = legends(&curves(&["accuracy", "kl/k1", "kl/k3", "reward/mean", "rounds/kept"]));
        assert_eq!(found[0], ("Reward and accuracy".into(), vec!["accuracy".into(), "reward/mean".into()]));
        assert_eq!(found[1].1, ["kl/k1", "kl/k3"]);
        assert_eq!(found[2], ("rounds/kept".into(), vec!["rounds/kept".into()]));
    }

    #[test]
    fn the_speed_is_not_a_time() {
        let found = legends(&curves(&["time/step_s", "time/tokens_per_s"]));
        assert_eq!(found[0], ("Tokens per second".into(), vec!["time/tokens_per_s".into()]));
        assert_eq!(found[1], ("Time of a step".into(), vec!["time/step_s".into()]));
    }

    #[test]
    fn equal_curves_are_drawn_once_and_constant_ones_not_at_all() {
        let mut curves = curves(&["accuracy"]);
        curves.insert("reward/mean".into(), curves["accuracy"].clone());
        curves.insert("loss/skipped".into(), vec![(1.0, 0.0), (2.0, 0.0)]);
        assert_eq!(legends(&curves)[0].1, ["accuracy = reward/mean"]);
        assert_eq!(charts(&curves).unwrap().1, ["loss/skipped 0"]);
    }

    #[test]
    fn absurd_values_are_drawn_without_a_panic() {
        for (low, high) in [(f64::MIN, f64::MAX), (0.0, f64::MIN_POSITIVE), (1e300, 2e300), (-1.0, -1.0 + 1e-16)] {
            let values = vec![(1.0, low), (2.0, high), (4e9, low)];
            let (charts, _) = charts(&Curves::from([("kl/old".to_string(), values)])).unwrap();
            assert!(charts.iter().all(|chart| chart.svg.contains("polyline")), "{low} {high}");
        }
    }

    #[test]
    fn a_spike_survives_the_thinning() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|step| (f64::from(step), 0.0)).collect();
        points[4321].1 = 9.0;
        let thin = thinned(&points);
        assert!(thin.len() <= MAX_POINTS && thin.contains(&(4321.0, 9.0)));
        assert!(thin.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn only_noise_is_smoothed() {
        let curve = |value: fn(i32) -> f64| (0..200).map(|step| (f64::from(step), value(step))).collect::<Vec<_>>();
        assert!(is_noisy(&curve(|step| f64::from(step * 37 % 11))));
        assert!(!is_noisy(&curve(|step| f64::from((step - 20).abs()))));
    }

    #[test]
    fn a_tick_has_the_decimals_that_its_span_needs() {
        assert_eq!(tick(3.0000000000000004, 10.0, 0.1), "0.3");
        assert_eq!(tick(1.5, 3.0, 1000.0), "1500");
        assert_eq!(tick(2.1, 3.0, 1e-3), "0.0021");
        assert_eq!(tick(2.0, 10.0, 1e-9), "2.0e-9");
        assert_eq!(tick(1e-17, 1.0, 1.0), "0");
    }
}
