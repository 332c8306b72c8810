//! Reads a run directory, of a finished run or of one that is still being written. Independent of the display; never
//! writes.

use super::directory::INITIAL_REPORT;
use anyhow::{Context, Result, bail, ensure};
use data::text::{check_beginning, object_error, without_mark};
use eval::{OrmReport, Report, Sample};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader, ErrorKind},
    path::Path,
};

/// The values of every metric by name: pairs of step and value, in the order of the file.
pub type Curves = BTreeMap<String, Vec<(f64, f64)>>;

/// All files of a run except the samples, which may be many.
pub struct RunFiles {
    /// The command that made the run, from the comment in the first line of `config.toml`.
    pub command: Option<String>,
    /// The resolved configuration.
    pub config: toml::Table,
    /// The metrics.
    pub curves: Curves,
    /// The reports of `eval.json`, or of `before.json` while the run is not finished, with their names.
    pub reports: Vec<(String, Report)>,
    /// The report of a reward model in `eval.json`.
    pub reward_model: Option<OrmReport>,
}

/// Metrics of runs of earlier versions, and what they are called now.
const RENAMED: [(&str, &str); 1] = [("time/look_s", "time/log_probs_s")];

/// Files by which a run directory is recognised.
const FILES: [&str; 5] = ["config.toml", "metrics.jsonl", "samples.jsonl", "eval.json", INITIAL_REPORT];

impl RunFiles {
    /// Reads a run directory; a file that is not there yet is empty.
    ///
    /// # Errors
    /// If it is no run directory, or a file of it is malformed.
    pub fn read(dir: &Path) -> Result<Self> {
        ensure!(dir.exists(), "{} does not exist; give the directory of a run, such as one under runs/", dir.display());
        ensure!(dir.is_dir(), "{} is a file; give the run directory that it lies in", dir.display());
        ensure!(
            FILES.iter().any(|name| dir.join(name).exists()),
            "{} is not a run directory: it has none of {}; give one that `rl` has written",
            dir.display(),
            FILES.join(", ")
        );
        let path = dir.join("config.toml");
        let text = data::read_text_if_there(&path)?.unwrap_or_default();
        let (reports, reward_model) = match read_reward_model(dir)? {
            Some(report) => (Vec::new(), Some(report)),
            None => (read_reports(dir)?, None),
        };
        Ok(Self {
            command: text.lines().next().and_then(|line| line.strip_prefix('#')).map(|line| line.trim().to_string()),
            config: text.parse().with_context(|| format!("{} is not TOML", path.display()))?,
            curves: read_curves(&dir.join("metrics.jsonl"))?,
            reports,
            reward_model,
        })
    }

    /// One line: the command, and the settings of `keys` that it has.
    pub fn summary(&self, keys: &[String]) -> String {
        let settings = keys.iter().filter_map(|key| Some(format!("{key} {}", plain(self.config.get(key)?))));
        self.command.iter().cloned().chain(settings).collect::<Vec<_>>().join(" · ")
    }

    /// The last step that has metrics.
    pub fn last_step(&self) -> Option<usize> {
        let last = |points: &Vec<(f64, f64)>| points.last().map(|(step, _)| *step as usize);
        self.curves.values().filter_map(last).max()
    }
}

/// A configuration value as typed on a command line.
pub fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Calls `each` with every line of a file of JSON lines. A file that is missing has none. A last line without a line
/// break is still being written, or was cut: it is left out.
///
/// # Errors
/// A malformed line, by its number.
pub fn json_lines<T: DeserializeOwned>(path: &Path, mut each: impl FnMut(usize, T) -> Result<()>) -> Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut reader = BufReader::new(file);
    check_beginning(path, reader.fill_buf().with_context(|| format!("cannot read {}", path.display()))?, "text")?;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).with_context(|| format!("cannot read {}", path.display()))?;
        if length == 0 {
            break;
        }
        match serde_json::from_slice(if number == 1 { without_mark(&line) } else { &line }) {
            Ok(value) => each(number, value)?,
            Err(_) if !line.ends_with(b"\n") => break,
            Err(error) => {
                let error = object_error(&line, &error);
                bail!("{}, line {number}: {error}; repair or remove the line", path.display())
            }
        }
    }
    Ok(())
}

/// The samples of one step, or of the last one there is. With them, the steps that have samples.
///
/// # Errors
/// A malformed line.
pub fn samples_of_step(dir: &Path, step: Option<usize>) -> Result<(Vec<Sample>, BTreeSet<usize>)> {
    let mut steps = BTreeSet::new();
    let mut kept: Vec<Sample> = Vec::new();
    json_lines(&dir.join("samples.jsonl"), |_, sample: Sample| {
        steps.extend(sample.step);
        let newest = kept.last().and_then(|kept| kept.step);
        if step.is_none() && sample.step > newest {
            kept.clear();
        }
        if sample.step == step.or(sample.step.max(newest)) {
            kept.push(sample);
        }
        Ok(())
    })?;
    Ok((kept, steps))
}

/// At most `most` samples, evenly over the steps and over the samples of each step.
///
/// # Errors
/// A malformed line.
pub fn samples_over_steps(dir: &Path, most: usize) -> Result<Vec<Sample>> {
    /// Minimum number of samples per step.
    const FEWEST_OF_STEP: usize = 8;
    #[derive(Deserialize)]
    struct Line {
        step: Option<usize>,
    }
    let path = dir.join("samples.jsonl");
    // Two passes, so that memory holds the samples that are shown and no others.
    let mut lines_of_step: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    json_lines(&path, |number, line: Line| {
        lines_of_step.entry(line.step).or_default().push(number);
        Ok(())
    })?;
    let all: Vec<&Vec<usize>> = lines_of_step.values().collect();
    let steps: Vec<usize> = evenly(all.len(), most / FEWEST_OF_STEP).collect();
    let of_step = |step: usize| evenly(all[step].len(), most / steps.len()).map(move |place| (step, place));
    let chosen: BTreeSet<usize> =
        steps.iter().flat_map(|&step| of_step(step)).map(|(step, place)| all[step][place]).collect();
    let mut samples = Vec::with_capacity(chosen.len());
    json_lines(&path, |number, sample: Sample| {
        samples.extend(chosen.contains(&number).then_some(sample));
        Ok(())
    })?;
    Ok(samples)
}

/// At most `count` of the indices below `length`, evenly spaced, first and last among them.
pub fn evenly(length: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(length);
    (0..count).map(move |i| if count == 1 { length - 1 } else { i * (length - 1) / (count - 1) })
}

/// A number with about four significant digits.
pub fn readable(value: f64) -> String {
    let size = value.abs();
    match size {
        0.0 => "0".into(),
        _ if !(1e-4..1e6).contains(&size) => format!("{value:.2e}"),
        _ => {
            let decimals = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
            let text = format!("{value:.decimals$}");
            let whole = text.contains('.').then(|| text.trim_end_matches('0').trim_end_matches('.').to_string());
            whole.unwrap_or(text)
        }
    }
}

fn read_curves(path: &Path) -> Result<Curves> {
    let mut curves = Curves::new();
    json_lines(path, |number, line: Map<String, Value>| {
        let step = line.get("step").and_then(Value::as_u64);
        let step = step.with_context(|| format!("{}, line {number}: there is no \"step\"", path.display()))? as f64;
        for (name, value) in line.iter().filter(|(name, _)| *name != "step") {
            // A value that was not finite is null in the file; the curve has a gap there.
            if let Some(value) = value.as_f64() {
                let renamed = RENAMED.iter().find(|(old, _)| old == name);
                let name = renamed.map_or(name.as_str(), |&(_, new)| new);
                curves.entry(name.to_string()).or_default().push((step, value));
            }
        }
        Ok(())
    })?;
    Ok(curves)
}

/// The report of `rl orm`, recognised by its key `by_lines`.
fn read_reward_model(dir: &Path) -> Result<Option<OrmReport>> {
    let path = dir.join("eval.json");
    let Some(text) = data::read_text_if_there(&path)? else { return Ok(None) };
    let report: Map<String, Value> = parse(&path, &text)?;
    if report.contains_key("by_lines") { parse(&path, &text).map(Some) } else { Ok(None) }
}

/// The reports of a training command, of `eval run`, or the first half of the former.
fn read_reports(dir: &Path) -> Result<Vec<(String, Report)>> {
    let path = dir.join("eval.json");
    let Some(text) = data::read_text_if_there(&path)? else {
        let path = dir.join(INITIAL_REPORT);
        let Some(text) = data::read_text_if_there(&path)? else { return Ok(Vec::new()) };
        return Ok(vec![("before".into(), parse(&path, &text)?)]);
    };
    let mut both: Map<String, Value> = parse(&path, &text)?;
    if both.contains_key("benchmark") {
        return Ok(vec![("policy".into(), parse(&path, &text)?)]);
    }
    let mut reports = Vec::new();
    for name in ["before", "after"] {
        let report = both.remove(name).with_context(|| format!("{} has no report \"{name}\"", path.display()))?;
        let report = serde_json::from_value(report).with_context(|| format!("{}: {name}", path.display()))?;
        reports.push((name.to_string(), report));
    }
    // The same policy with other prompts.
    for (name, report) in both {
        let report = serde_json::from_value(report).with_context(|| format!("{}: {name}", path.display()))?;
        reports.push((name, report));
    }
    Ok(reports)
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    serde_json::from_str(text).with_context(|| format!("{} is malformed", path.display()))
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
