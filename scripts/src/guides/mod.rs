//! The study of language models as guides (`rl guide`): its runs are declared in `guides.toml`, and each exhibit is a table over seeds and a
//! figure of curves. Runs are done by calling `rl`; what is finished is skipped, and what was interrupted is resumed.

mod results;

use crate::exhibits::{
    Rendered,
    plot::{Figure, Panel, Point, Series},
    rendered::{cell_or_dash, rule},
};
use crate::{
    results::{Cell, mean_over_seeds},
    study::Scale,
};
use anyhow::{Context, Result, ensure};
use results::{Evaluation, SeedResult, read};
use serde::Deserialize;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::Command,
};

/// A policy this close to the best expected return has learnt.
const EPSILON: f64 = 0.1;

/// Largest number of points of a line.
const POINTS: usize = 31;

/// All that `guides.toml` declares.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guides {
    /// Flags of every run.
    pub flags: String,
    /// Tables, each with a figure.
    #[serde(rename = "exhibit")]
    pub exhibits: Vec<Exhibit>,
}

/// Runs that are compared.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Exhibit {
    /// Of its files and of the folder of its runs.
    pub name: String,
    /// What is compared.
    pub title: String,
    /// Flags of all of its runs; `{model}` stands for the language model.
    pub flags: String,
    /// Its rows.
    pub rows: Vec<Row>,
    /// The rows that are drawn; all of them where nothing is said.
    pub drawn: Option<Vec<String>>,
}

/// A run: what it is called, its folder, and its flags.
#[derive(Debug, Deserialize)]
pub struct Row(pub String, pub String, pub String);

impl Guides {
    /// As it is compiled in.
    ///
    /// # Panics
    /// If `guides.toml` is malformed.
    pub fn declared() -> Self {
        toml::from_str(include_str!("../../guides.toml")).expect("guides.toml is well-formed")
    }

    /// The exhibits with these names, or all of them; without a model, those that need none.
    ///
    /// # Errors
    /// A name that none has, or one that needs a model where there is none.
    pub fn chosen(&self, names: &[String], has_model: bool) -> Result<Vec<&Exhibit>> {
        let known = || self.exhibits.iter().map(|exhibit| exhibit.name.as_str()).collect::<Vec<_>>().join(", ");
        for name in names {
            let exhibit = self.exhibits.iter().find(|exhibit| &exhibit.name == name);
            let exhibit = exhibit.with_context(|| format!("there is no {name}; there are {}", known()))?;
            ensure!(has_model || !exhibit.needs_model(), "{name} needs a language model: give --model");
        }
        let is_chosen = |exhibit: &&Exhibit| match names.is_empty() {
            true => has_model || !exhibit.needs_model(),
            false => names.contains(&exhibit.name),
        };
        Ok(self.exhibits.iter().filter(is_chosen).collect())
    }
}

impl Exhibit {
    fn needs_model(&self) -> bool {
        self.flags.contains("{model}") || self.rows.iter().any(|row| row.2.contains("{model}"))
    }

    /// The environment of all rows; the exhibit's name where they have several.
    fn environment(&self) -> String {
        let words: Vec<&str> = self.flags.split_whitespace().collect();
        let place = words.iter().position(|word| *word == "--environment");
        place.and_then(|place| words.get(place + 1)).map_or(self.name.clone(), |name| (*name).to_string())
    }

    /// The command line of a row behind `rl`, for a run in `dir`.
    fn command(&self, all: &str, row: &Row, model: Option<&Path>, more: &[String], dir: &Path) -> Vec<String> {
        let model = model.map(|path| path.display().to_string()).unwrap_or_default();
        let flags = [all, &self.flags, &row.2].into_iter().flat_map(str::split_whitespace);
        let flags = flags.map(|flag| flag.replace("{model}", &model)).chain(more.iter().cloned());
        let start = ["guide".to_string(), "--out".into(), dir.display().to_string()];
        start.into_iter().chain(flags).collect()
    }

    /// Does the runs that are not finished.
    ///
    /// # Errors
    /// A run that fails.
    pub fn run(&self, all: &str, program: &Path, out: &Path, model: Option<&Path>, more: &[String]) -> Result<()> {
        for row in &self.rows {
            let dir = out.join(&self.name).join(&row.1);
            if dir.join("report.html").is_file() {
                continue;
            }
            let arguments = match dir.join("config.toml").is_file() {
                true => vec!["guide".into(), "--resume".into(), dir.display().to_string(), "--quiet".into()],
                false => self.command(all, row, model, more, &dir),
            };
            let output = Command::new(program).args(&arguments).output();
            let output = output.with_context(|| format!("cannot run {}", program.display()))?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "rl {} has failed: {}", arguments.join(" "), said.trim());
        }
        Ok(())
    }

    /// Table and figure of runs that are finished.
    ///
    /// # Errors
    /// A run that is missing or malformed.
    pub fn render(&self, out: &Path) -> Result<Rendered> {
        let seeds = |row: &Row| read(&out.join(&self.name).join(&row.1).join("seeds.jsonl"));
        let runs = self.rows.iter().map(|row| Ok((row, seeds(row)?))).collect::<Result<Vec<_>>>()?;
        Ok(Rendered { markdown: self.table(&runs), ..self.figure(&runs).rendered()? })
    }

    fn table(&self, runs: &[(&Row, Vec<SeedResult>)]) -> String {
        let heads = [
            "",
            "KL(π* ‖ guide)",
            "guide alone",
            "its likeliest actions",
            "return at the end",
            "episodes",
            "queries",
            "queries in all",
            "right",
            "seeds",
        ];
        let mut text = format!("{}.\n\n| {} |\n{}\n", self.title, heads.join(" | "), rule(heads.len()));
        for (Row(label, ..), seeds) in runs {
            let of = |value: &dyn Fn(&SeedResult) -> f64| {
                cell_or_dash(mean_over_seeds(&seeds.iter().map(value).collect::<Vec<_>>()), 2)
            };
            let reached: Vec<Evaluation> = seeds.iter().filter_map(|seed| seed.reached(EPSILON)).collect();
            let at = |value: fn(&Evaluation) -> f64| {
                cell_or_dash(mean_over_seeds(&reached.iter().map(value).collect::<Vec<_>>()), 0)
            };
            let [queries, right] = [|e: &Evaluation| e.queries, |e: &Evaluation| e.right]
                .map(|value| seeds.iter().map(|seed| value(&seed.last())).sum::<f64>());
            let right = if right > 0.0 { format!("{:.0} %", 100.0 * right / queries) } else { "—".into() };
            let cells = [
                label.clone(),
                of(&|seed| seed.divergence),
                of(&|seed| seed.guide),
                of(&|seed| seed.greedy_guide),
                of(&|seed| seed.last().value),
                at(|evaluation| evaluation.episodes),
                at(|evaluation| evaluation.queries),
                format!("{:.0}", queries / seeds.len().max(1) as f64),
                right,
                format!("{} of {}", reached.len(), seeds.len()),
            ];
            writeln!(text, "| {} |", cells.join(" | ")).expect("a string can be written to");
        }
        text + &format!(
            "\nMeans over seeds, each with an environment of its own, ± half of a 95 % interval (Student's t). Episodes and queries: until the \
             expected return is within {EPSILON} of the best one and stays there, over the seeds where it does. Queries in all: of the whole \
             run; right: those whose answer solved the task, of a learner that asks for whole solutions.\n"
        )
    }

    /// A panel of returns and one of queries, by episodes.
    fn figure(&self, runs: &[(&Row, Vec<SeedResult>)]) -> Figure {
        let is_drawn = |row: &Row| self.drawn.as_ref().is_none_or(|drawn| drawn.contains(&row.1));
        let panel = |y: &str, value: fn(&Evaluation) -> f64| {
            let series = runs.iter().filter(|(row, _)| is_drawn(row)).map(|(row, seeds)| {
                let point = |place: usize| {
                    let values: Vec<f64> = seeds.iter().map(|seed| value(&seed.curve[place])).collect();
                    let cell: Option<Cell> = mean_over_seeds(&values);
                    cell.map(|cell| Point { x: seeds[0].curve[place].episodes, cell })
                };
                let length = seeds[0].curve.len();
                let points = (0..length).step_by(length.div_ceil(POINTS)).filter_map(point).collect();
                Series { label: row.0.clone(), metric: y.into(), points }
            });
            let seeds = runs.iter().map(|(_, seeds)| seeds.len()).max().unwrap_or(0);
            Panel { model: self.environment(), y: y.into(), series: series.collect(), seeds, missing: Vec::new() }
        };
        Figure {
            title: self.title.clone(),
            x: "episodes".into(),
            scale: Scale::Linear,
            panels: vec![
                panel("expected return", |evaluation| evaluation.value),
                panel("queries of the guide", |evaluation| evaluation.queries),
            ],
            note: "Mean over seeds, with a 95 % interval.".into(),
        }
    }
}

/// The program `rl` beside this one.
///
/// # Errors
/// If there is none.
pub fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program does not know where it is")?;
    let path = own.with_file_name("rl");
    ensure!(path.is_file(), "there is no {}: cargo build -p rl --release", path.display());
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_drawn_rows_exist() {
        let guides = Guides::declared();
        let names: BTreeSet<&str> = guides.exhibits.iter().map(|exhibit| exhibit.name.as_str()).collect();
        assert_eq!(names.len(), guides.exhibits.len());
        for exhibit in &guides.exhibits {
            let rows: BTreeSet<&String> = exhibit.rows.iter().map(|row| &row.1).collect();
            assert_eq!(rows.len(), exhibit.rows.len(), "{}", exhibit.name);
            assert!(exhibit.drawn.iter().flatten().all(|row| rows.contains(row)), "{}", exhibit.name);
        }
        assert!(guides.chosen(&["nothing".into()], true).unwrap_err().to_string().contains("there is no nothing"));
        let all = guides.chosen(&[], true).unwrap().len();
        let without = guides.chosen(&[], false).unwrap().len();
        assert!(without < all && without > 0);
    }

    #[test]
    fn a_table_has_means_over_seeds_and_what_was_reached() {
        let exhibit = Exhibit {
            name: "e".into(),
            title: "Title".into(),
            flags: String::new(),
            rows: vec![Row("one".into(), "a".into(), String::new())],
            drawn: None,
        };
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("e/a");
        std::fs::create_dir_all(&dir).unwrap();
        let seed = |episodes: usize, value: f64| {
            format!(
                r#"{{"seed":0,"divergence":2.0,"guide":0.5,"greedy_guide":0.25,"best":1.0,"hits":3,"model_states":0,"time/model_s":0,"time/learn_s":1,"curve":[{{"episodes":0,"value":0.1,"queries":0,"right":0}},{{"episodes":{episodes},"value":{value},"queries":8,"right":2}},{{"episodes":20,"value":{value},"queries":10,"right":5}}]}}"#
            )
        };
        std::fs::write(dir.join("seeds.jsonl"), format!("{}\n{}\n", seed(10, 0.95), seed(10, 0.5))).unwrap();
        let Rendered { markdown, csv, svg } = exhibit.render(folder.path()).unwrap();
        // Student's t of one degree of freedom is 12.706: half of the interval of 0.95 and 0.5 is 12.706 * 0.225.
        let row = "| one | 2.00 | 0.50 | 0.25 | 0.72 ± 2.86 | 10 | 8 | 10 | 50 % | 1 of 2 |";
        assert!(markdown.contains(row), "{markdown}");
        assert!(csv.contains("e,one,20,queries of the guide,10.00000,0.00000,2"), "{csv}");
        assert!(svg.unwrap().contains("expected return"));
    }
}
