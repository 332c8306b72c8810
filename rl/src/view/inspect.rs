//! `rl inspect`: shows a run in the terminal. Reads only a run directory; independent of models and training.

use crate::run::read::{Curves, RunFiles, evenly, readable, samples_of_step};
use crate::view::html;
use anyhow::{Result, bail, ensure};
use clap::Args;
use eval::{Report, Sample};
use model::Finish;
use std::{
    fmt::Write as _,
    io::{ErrorKind, Write as _},
    path::PathBuf,
};
use textplots::{AxisBuilder, Chart, LabelBuilder, LabelFormat, LineStyle, Plot, Shape};

/// Flags of `rl inspect`.
#[derive(Args, Clone, Debug)]
pub struct InspectConfig {
    /// Run directory
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Metric to draw, by its name in metrics.jsonl; may be repeated [default: reward, accuracy, validation, KL and
    /// loss, as far as the run has them]
    #[arg(long, value_name = "NAME")]
    pub metric: Vec<String>,
    /// Number of samples to print
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub samples: usize,
    /// Print only samples with a correct answer
    #[arg(long, conflicts_with = "wrong")]
    pub right: bool,
    /// Print only samples with a wrong answer
    #[arg(long)]
    pub wrong: bool,
    /// Step whose samples are printed [default: the last]
    #[arg(long, value_name = "N")]
    pub step: Option<usize>,
    /// Also write report.html into the run directory
    #[arg(long)]
    pub html: bool,
}

/// Width of a chart in dots; a character has two.
const CHART_WIDTH: u32 = 150;
/// Height of a chart in dots; a character has four.
const CHART_HEIGHT: u32 = 32;

/// Prints a run's configuration in short, its curves, its table and samples of it.
///
/// `keys_of` a command are the settings that the summary shows.
///
/// # Errors
/// A directory that is not a run, a malformed file, a metric or step that the run does not have.
pub fn run(config: &InspectConfig, keys_of: impl Fn(&str) -> Vec<String>) -> Result<()> {
    let files = RunFiles::read(&config.dir)?;
    let keys = files.command.as_deref().map(keys_of).unwrap_or_default();
    let mut text = describe(config, &files, &keys)?;
    if config.html {
        writeln!(text, "\nreport: {}", html::write_report(&config.dir, &keys)?.display())?;
    }
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // The reader of a pipe, such as `head`, may have closed it.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// All that is printed.
fn describe(config: &InspectConfig, files: &RunFiles, keys: &[String]) -> Result<String> {
    let names = if config.metric.is_empty() { summary_metrics(&files.curves) } else { config.metric.clone() };
    let mut text = format!("{}\n", config.dir.display());
    let summary = files.summary(keys);
    if !summary.is_empty() {
        writeln!(text, "{}", printable(&summary))?;
    }
    match files.last_step() {
        Some(step) => writeln!(text, "last step: {step}")?,
        None => writeln!(text, "no step is finished yet")?,
    }
    for name in &names {
        draw(&mut text, name, &files.curves)?;
    }
    if !files.reports.is_empty() {
        let rows: Vec<(&str, &Report)> = files.reports.iter().map(|(name, report)| (name.as_str(), report)).collect();
        let (_, report) = rows[0];
        writeln!(text, "\n{} {} split, {} problems, 95 % intervals", report.benchmark, report.split, report.problems)?;
        writeln!(text, "{}", eval::table(&rows))?;
    }
    if let Some(report) = &files.reward_model {
        writeln!(text, "\n{} held-out questions, {} solutions\n{}", report.questions, report.samples, report.text())?;
    }
    write_samples(&mut text, config)?;
    Ok(text)
}

/// The default metrics, as far as the run has them; of several with equal values only the first.
fn summary_metrics(curves: &Curves) -> Vec<String> {
    let validation = curves.keys().filter(|name| name.starts_with("validation/")).map(String::as_str);
    let wanted = ["reward/mean", "accuracy", "return/mean", "queries/mean", "loss"]
        .into_iter()
        .chain(validation)
        .chain(["kl/k3"]);
    let mut names: Vec<String> = Vec::new();
    for name in wanted {
        if curves.contains_key(name) && names.iter().all(|known| curves[known] != curves[name]) {
            names.push(name.to_string());
        }
    }
    let others = curves.keys().filter(|name| *name != "samples" && !name.starts_with("time/"));
    if names.is_empty() { others.take(3).cloned().collect() } else { names }
}

/// A curve with its first, last and extreme values.
fn draw(text: &mut String, name: &str, curves: &Curves) -> Result<()> {
    let Some(points) = curves.get(name) else {
        ensure!(!curves.is_empty(), "there is no metric `{name}` yet: metrics.jsonl has no finished line");
        let known: Vec<&str> = curves.keys().map(String::as_str).collect();
        bail!("there is no metric `{name}` in metrics.jsonl; it has {}", known.join(", "));
    };
    let (first, last) = (points[0], points[points.len() - 1]);
    let low = points.iter().copied().fold(first, |low, point| if point.1 < low.1 { point } else { low });
    let high = points.iter().copied().fold(first, |high, point| if point.1 > high.1 { point } else { high });
    if points.len() < 2 || low.1 == high.1 {
        return Ok(writeln!(text, "\n{name}: {} at step {} of {}", readable(last.1), first.0, last.0)?);
    }
    writeln!(
        text,
        "\n{name}: {} -> {} (lowest {} at step {}, highest {} at step {})",
        readable(first.1),
        readable(last.1),
        readable(low.1),
        low.0,
        readable(high.1),
        high.0
    )?;
    // Drawn between 0 and 1: single precision has no room for the values themselves. Halves keep the widest span finite.
    let (low, high) = (low.1, high.1);
    let height = |value: f64| ((value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0)) as f32;
    let dots: Vec<(f32, f32)> = points.iter().map(|&(step, value)| (step as f32, height(value))).collect();
    let shape = Shape::Lines(&dots);
    let mut chart =
        Chart::new_with_y_range(CHART_WIDTH, CHART_HEIGHT, first.0 as f32, last.0.max(first.0 + 1.0) as f32, 0.0, 1.0);
    let chart = chart
        .x_axis_style(LineStyle::None)
        .y_axis_style(LineStyle::None)
        .x_label_format(LabelFormat::Custom(Box::new(|step| step.to_string())))
        .y_label_format(LabelFormat::Custom(Box::new(move |place| readable(if place > 0.5 { high } else { low }))))
        .lineplot(&shape);
    chart.axis();
    chart.figures();
    Ok(writeln!(text, "{}", chart.to_string().trim_end())?)
}

fn write_samples(text: &mut String, config: &InspectConfig) -> Result<()> {
    let (of_step, steps) = samples_of_step(&config.dir, config.step)?;
    let Some(first) = of_step.first() else {
        return explain_no_samples(text, config, steps.first().zip(steps.last()));
    };
    let wanted: Vec<&Sample> = of_step
        .iter()
        .filter(|sample| (!config.right || sample.correct) && (!config.wrong || !sample.correct))
        .collect();
    let right = of_step.iter().filter(|sample| sample.correct).count();
    let when = first.step.map_or("no step".into(), |step| format!("step {step}"));
    writeln!(text, "\n{when}: {} samples, {right} of them correct", of_step.len())?;
    if wanted.is_empty() && config.samples > 0 {
        writeln!(text, "none of them is {}", if config.right { "correct" } else { "wrong" })?;
    }
    for place in evenly(wanted.len(), config.samples) {
        write_sample(text, wanted[place])?;
    }
    Ok(())
}

/// Missing samples are an error only if the flags ask for samples.
fn explain_no_samples(text: &mut String, config: &InspectConfig, steps: Option<(&usize, &usize)>) -> Result<()> {
    match (config.step, steps) {
        (Some(step), Some((first, last))) => {
            bail!("step {step} has no samples; samples.jsonl has steps from {first} to {last}")
        }
        _ if config.step.is_some() || config.right || config.wrong => {
            bail!("{} has no samples: only commands that sample write them", config.dir.display())
        }
        _ => Ok(writeln!(text, "\nno samples")?),
    }
}

fn write_sample(text: &mut String, sample: &Sample) -> Result<()> {
    let (mark, verdict) = if sample.correct { ('✓', "correct") } else { ('✗', "wrong") };
    writeln!(text, "\n{mark} {}", sample.id)?;
    for line in printable(&sample.question).lines() {
        writeln!(text, "  {line}")?;
    }
    for line in printable(&sample.completion).lines() {
        writeln!(text, "      {line}")?;
    }
    let answer = sample.answer.as_deref().unwrap_or("none");
    let reward = sample.reward.map_or(String::new(), |reward| format!(" · reward {}", readable(reward)));
    let finish = if sample.finish == Finish::Length { ", truncated" } else { "" };
    let expected = &sample.expected;
    writeln!(text, "  {verdict}: answer {answer}, expected {expected}{reward} · {} tokens{finish}", sample.tokens)?;
    Ok(())
}

/// A policy may write control characters: they are escaped.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
#[path = "inspect/tests.rs"]
mod tests;
