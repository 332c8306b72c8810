//! The figures: curves along runs, and metrics by passes of SFT. How they are drawn is in `plot`.

use super::{
    methods::samples_of_ei,
    plot::{Figure, Panel, Point, Series},
    rendered::Rendered,
};
use crate::{
    results::{Size, metric},
    study::{Curves, Row, Scale, Study},
};
use anyhow::{Context, Result};
use eval::MetricKind;

/// How to read a figure whose points are means of evaluations on the validation split.
const OVER_SEEDS: &str = "Mean over seeds; 95 % interval over seeds, where there are several, with the spread that they have along \
                          the line, and over validation problems. Hollow: fewer seeds than at other points of the line.";

/// Metrics of the validation split along runs: a panel a size and metric, a line a run.
///
/// # Errors
/// Where nothing is there to be drawn.
pub fn curves(study: &Study, title: &str, curves: &Curves, sizes: &[Size]) -> Result<Rendered> {
    let Curves { x: (x, x_metric), scale, y, begins_with, note, rows } = curves;
    let panel = |size: &Size, metric: &String| {
        let mut panel = Panel::of_evaluations(size, rows, x_metric, metric);
        if let Some(start) = begins_with {
            panel.begin_with(start, size, |place| study.run(&rows[place].1).start.as_ref() == Some(start));
        }
        panel
    };
    let panels: Vec<Panel> = sizes.iter().flat_map(|size| y.iter().map(move |metric| panel(size, metric))).collect();
    let note = note
        .replace("{over-seeds}", OVER_SEEDS)
        .replace("{level-at-zero}", &level_at_zero(&panels))
        .replace("{samples-of-ei}", &samples_of_ei(&study.reference.ei, sizes));
    Figure { title: title.into(), x: x.clone(), scale: *scale, panels, note }.rendered()
}

/// What runs from SFT begin with at each size: a logarithm has no place for no sample.
fn level_at_zero(panels: &[Panel]) -> String {
    let level = |panel: &Panel| {
        let start = panel.series.iter().flat_map(|series| &series.points).find(|point| point.x == 0.0)?;
        Some(format!("{:.3} ({})", start.cell.mean, panel.model))
    };
    let levels = panels.iter().filter_map(level).collect::<Vec<_>>().join(" and ");
    match levels.is_empty() {
        true => levels,
        false => format!(" At no sample, what starts from SFT is where that was best: {levels}."),
    }
}

/// maj@1 and pass@K on the test split by the passes of SFT, which label the rows.
///
/// # Errors
/// A label that is no number; where nothing is there to be drawn.
pub fn passes(title: &str, rows: &[Row], sizes: &[Size]) -> Result<Rendered> {
    let number = |(passes, run): &Row| {
        let count = passes.parse().with_context(|| format!("{passes} is no number of passes"))?;
        Ok((count, run.clone()))
    };
    let runs: Vec<(f64, String)> = rows.iter().map(number).collect::<Result<_>>()?;
    let figure = Figure {
        title: title.into(),
        x: "passes over the reference solutions".into(),
        scale: Scale::Linear,
        panels: sizes.iter().map(|size| panel_of_passes(size, &runs)).collect(),
        note: "Mean over seeds, with a 95 % interval over questions and seeds together. Hollow: fewer seeds than at other points \
               of the line."
            .into(),
    };
    figure.rendered()
}

fn panel_of_passes(size: &Size, runs: &[(f64, String)]) -> Panel {
    let most = size.most_samples();
    let mut panel = Panel::new(size, format!("share of problems (K = {most})"));
    for (label, metric) in [("maj@1", metric(MetricKind::Maj, 1)), ("pass@K", metric(MetricKind::Pass, most))] {
        let point = |(x, run): &(f64, String)| Some(Point { x: *x, cell: size.cell(run, metric)? });
        let points = runs.iter().filter_map(point).collect();
        panel.series.push(Series { label: label.into(), metric: metric.to_string(), points });
    }
    for (_, run) in runs {
        panel.found(run, size.estimates(run, metric(MetricKind::Pass, most)).len());
    }
    panel
}
