//! Figures in all their forms: as SVG and Markdown for people and CSV for programs. Independent of methods: the study lists the lines.

mod draw;
mod figure;

use super::rendered::{Rendered, rule};
use anyhow::{Result, anyhow, ensure};
use draw::{draw, placed};
use figure::has_interval;
use std::fmt::Write;

pub use figure::{Figure, Panel, Point, Series};

impl Figure {
    /// In all its forms. A size that has only the first of several lines, which the others are compared with, has no panel, where
    /// another size has more.
    ///
    /// # Errors
    /// Where nothing is there to be drawn, and what the drawing library says.
    pub fn rendered(mut self) -> Result<Rendered> {
        let has = |panel: &Panel, from: usize| {
            panel.series.iter().skip(from).any(|series| !placed(self.scale, series).is_empty())
        };
        let from = usize::from(self.panels.iter().any(|panel| has(panel, 1)));
        let (shown, left_out): (Vec<Panel>, Vec<Panel>) = self.panels.into_iter().partition(|panel| has(panel, from));
        let of = if shown.is_empty() { &left_out } else { &shown };
        let mut missing: Vec<String> = Vec::new();
        let sentences = of.iter().flat_map(|panel| panel.missing.iter().cloned());
        for sentence in sentences.chain(left_out.iter().map(|panel| format!("Not run on `{}`.", panel.model))) {
            if !missing.contains(&sentence) {
                missing.push(sentence);
            }
        }
        ensure!(!shown.is_empty(), "nothing to draw: {}", missing.join(" "));
        self.panels = shown;
        let svg = draw(&self).map_err(|error| anyhow!("cannot draw {}: {error}", self.title))?;
        Ok(Rendered { markdown: self.markdown(&missing)?, csv: self.csv(), svg: Some(svg) })
    }

    /// A table a panel, with a row an x and a column a line.
    fn markdown(&self, missing: &[String]) -> Result<String> {
        let mut text = format!("Figure. {}.\n", self.title);
        for panel in &self.panels {
            let lines: Vec<&Series> = panel.series.iter().filter(|series| !series.points.is_empty()).collect();
            let heads: Vec<&str> = lines.iter().map(|series| series.label.as_str()).collect();
            writeln!(text, "\n| `{}`, {} by {} | {} |", panel.model, panel.y, self.x, heads.join(" | "))?;
            writeln!(text, "{}", rule(lines.len() + 1))?;
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
        writeln!(text, "\n{} In brackets: seeds. —: not evaluated there.", self.note)?;
        for sentence in missing {
            writeln!(text, "\n{sentence}")?;
        }
        Ok(text)
    }

    fn csv(&self) -> String {
        let mut text = "model,series,x,metric,mean,half_width,seeds\n".to_string();
        for panel in &self.panels {
            for Series { label, metric, points } in &panel.series {
                for Point { x, cell } in points {
                    text += &cell.csv_line(&[&panel.model, label, &x.to_string(), metric]);
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests;
