//! Tables of methods: a row a method, a column a metric, a part a size of model; as Markdown for people and CSV for programs.

use crate::{Cell, Size, StudyArgs, metric, questions_of, read_studies};
use anyhow::{Context, Result, ensure};
use clap::{Args, Parser};
use eval::{Metric, MetricKind};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

/// Flags of every table.
#[derive(Parser, Debug)]
#[command(max_term_width = 110)]
pub struct TableArgs {
    /// Which results.
    #[command(flatten)]
    pub studies: StudyArgs,
    /// Where to.
    #[command(flatten)]
    pub out: OutArgs,
}

/// Where what was made goes, beside the terminal.
#[derive(Args, Clone, Debug)]
pub struct OutArgs {
    /// Also write it into this folder, as Markdown and CSV; figures as SVG
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// A row of a table: what it is called, and the name of its run in a study.
pub type Row = (&'static str, &'static str);

/// What SFT and the methods that start from it are called. EI of distinct calculations, GRPO and RLOO are not in the paper.
pub const FROM_SFT: [Row; 11] = [
    ("SFT", "sft"),
    ("EI", "ei"),
    ("ORM EI", "ei-orm"),
    ("EI, distinct calculations", "ei-trace"),
    ("RCRL", "rcrl"),
    ("Sparse PPO", "ppo"),
    ("Dense PPO", "ppo-dense"),
    ("Sparse ORM PPO", "ppo-sparse-orm"),
    ("Dense ORM PPO", "ppo-dense-orm"),
    ("GRPO", "ppo-group"),
    ("RLOO", "ppo-rloo"),
];

/// What a table or figure is, in all its forms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    /// For people.
    pub markdown: String,
    /// For programs.
    pub csv: String,
    /// A drawing.
    pub svg: Option<String>,
}

/// The columns of the paper's tables; `None` is the most samples that there are.
const COLUMNS: [(MetricKind, Option<usize>); 4] =
    [(MetricKind::Maj, Some(1)), (MetricKind::Maj, None), (MetricKind::Rerank, None), (MetricKind::Pass, None)];

impl Cell {
    /// For people: the mean, and half of the interval where there is one.
    pub fn shown(&self, digits: usize) -> String {
        let Cell { mean, half_width, .. } = self;
        match *half_width > 0.0 {
            true => format!("{mean:.digits$} ± {half_width:.digits$}"),
            false => format!("{mean:.digits$}"),
        }
    }

    /// For programs: a line of a CSV file, the mean, half of the interval and the seeds behind what it is of.
    pub fn csv_line(&self, of: &[&str]) -> String {
        let numbers = [format!("{:.5}", self.mean), format!("{:.5}", self.half_width), self.seeds.to_string()];
        csv_line(&[of, &numbers.each_ref().map(String::as_str)].concat())
    }
}

impl Written {
    /// Prints the Markdown, and writes all forms as `NAME.md`, `NAME.csv`, `NAME.svg` where a folder is given.
    ///
    /// # Errors
    /// What the file system says.
    pub fn put(&self, name: &str, out: &OutArgs) -> Result<()> {
        io::stdout().write_all(self.markdown.as_bytes()).context("cannot print")?;
        let Some(folder) = &out.out else { return Ok(()) };
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let write = |extension: &str, text: &str| eval::write_whole(&folder.join(format!("{name}.{extension}")), text);
        write("md", &self.markdown)?;
        write("csv", &self.csv)?;
        self.svg.as_ref().map_or(Ok(()), |svg| write("svg", svg))
    }
}

/// Makes a table of methods of what a folder holds, prints and writes it.
///
/// # Errors
/// A folder that holds no results, a result that is malformed, a full disk.
pub fn print_methods(name: &str, title: &str, rows: &[Row], args: &TableArgs) -> Result<()> {
    methods(title, rows, &read_studies(&args.studies)?)?.put(name, &args.out)
}

/// A table of methods.
///
/// # Errors
/// Where none of the rows but the first was run.
pub fn methods(title: &str, rows: &[Row], sizes: &[Size]) -> Result<Written> {
    let mut written = Written { markdown: format!("{title}\n"), ..Written::default() };
    written.csv = "model,method,metric,mean,half_width,seeds\n".into();
    // The first row is what the others are compared with: alone it is no comparison.
    let has_rows = |size: &&Size| rows.iter().skip(1).any(|(_, name)| size.of(name).next().is_some());
    ensure!(sizes.iter().any(|size| has_rows(&size)), "none of these runs is among the results: {}", names(rows));
    for size in sizes.iter().filter(has_rows) {
        of_size(rows, size, &mut written)?;
    }
    let lacking: Vec<String> =
        sizes.iter().filter(|size| !has_rows(size)).map(|size| format!("`{}`", size.model)).collect();
    if !lacking.is_empty() {
        writeln!(written.markdown, "\nNot run on {}.", lacking.join(", "))?;
    }
    writeln!(
        written.markdown,
        "\nMeasured on {}: mean over seeds ± half of a 95 % interval over questions and seeds together. Samples and CPU seconds are the \
         method's own, beyond what it starts from. EI that goes on from samples of another run counts them as samples, but not as CPU \
         seconds (from SFT they are those of the reward model, without SFT data those of EI for ORM EI); RCRL that does counts \
         neither. —: it samples nothing, or that was not counted.{}",
        questions_of(sizes)?,
        samples_of_ei(sizes)
    )?;
    Ok(written)
}

fn of_size(rows: &[Row], size: &Size, written: &mut Written) -> Result<()> {
    let most = size.most_samples();
    // Where no reward model has judged some of them, the column that needs one is left out.
    let is_known = |column: &Metric| {
        rows.iter().all(|(_, name)| size.of(name).next().is_none() || size.cell(name, *column).is_some())
    };
    let columns = COLUMNS.map(|(kind, k)| metric(kind, k.unwrap_or(most))).into_iter();
    let columns: Vec<Metric> = columns.filter(|column| column.kind != MetricKind::Rerank || is_known(column)).collect();
    let seeds = size.studies.len();
    let heads = columns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ");
    writeln!(written.markdown, "\n| `{}`, {seeds} seed(s) | {heads} | samples | CPU s |", size.model)?;
    writeln!(written.markdown, "| --- |{}", " --- |".repeat(columns.len() + 2))?;
    let mut footnotes = Vec::new();
    for &(label, name) in rows {
        let mut cells = Vec::new();
        for &column in &columns {
            let cell = size.cell(name, column);
            if let Some(cell) = cell {
                written.csv += &cell.csv_line(&[&size.model, label, &column.to_string()]);
            }
            let found = cell.map_or(0, |cell| cell.seeds);
            let note = match (found, size.of(name).count()) {
                (found, _) if found == seeds => String::new(),
                (0, 0) => footnote(&mut footnotes, "Not run.".into()),
                (0, _) => footnote(&mut footnotes, format!("Run, but its report has no {column}.")),
                (found, _) => footnote(&mut footnotes, format!("{found} of {seeds} seeds.")),
            };
            cells.push(cell.map_or("—".into(), |cell| cell.shown(3)) + &note);
        }
        let costs = [size.cost(name, |cost| cost.samples), size.cost(name, |cost| cost.cpu_seconds)];
        for (what, cost) in ["samples", "cpu_seconds"].iter().zip(costs) {
            written.csv += &cost.map(|cost| cost.csv_line(&[&size.model, label, what])).unwrap_or_default();
        }
        let costs = costs.map(|cost| cost.map_or("—".into(), |cost| format!("{:.0}", cost.mean))).join(" | ");
        writeln!(written.markdown, "| {label} | {} | {costs} |", cells.join(" | "))?;
    }
    for (number, text) in (1..).zip(footnotes) {
        writeln!(written.markdown, "\n<sup>{number}</sup> {text}")?;
    }
    Ok(())
}

/// How many samples a question Expert Iteration draws in a round, as a sentence; empty where it was not run.
pub fn samples_of_ei(sizes: &[Size]) -> String {
    let runs = sizes.iter().flat_map(|size| ["ei", "ei-base"].into_iter().flat_map(|name| size.of(name)));
    let drawn: BTreeSet<u64> = runs.filter_map(|run| run.flags.get("samples")?.as_u64()).collect();
    let drawn: Vec<String> = drawn.iter().map(u64::to_string).collect();
    match drawn.is_empty() {
        true => String::new(),
        false => format!(" EI draws {} samples a question in a round, where nothing else is said.", drawn.join(" or ")),
    }
}

/// The mark of a footnote; the same text has the same mark.
fn footnote(footnotes: &mut Vec<String>, text: String) -> String {
    let place = footnotes.iter().position(|other| *other == text).unwrap_or_else(|| {
        footnotes.push(text);
        footnotes.len() - 1
    });
    format!(" <sup>{}</sup>", place + 1)
}

/// A line of a CSV file; what holds a comma or a quotation mark is quoted (RFC 4180).
pub fn csv_line(cells: &[&str]) -> String {
    let quoted = |cell: &&str| match cell.contains([',', '"', '\n']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => (*cell).to_string(),
    };
    cells.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n"
}

fn names(rows: &[Row]) -> String {
    rows.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}
