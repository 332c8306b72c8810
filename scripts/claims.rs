//! The thirteen claims of Havrilla et al. 2024, each with a verdict that is computed from results.
//!
//! What is claimed stands in `claims/list.rs`, what is read of a run in `claims/measure.rs`, how a difference becomes a verdict
//! in `claims/test.rs`; here is how it is told.
//!
//! ```sh
//! cargo run -p scripts --release --bin claims -- runs/reproduce
//! ```

#[path = "claims/list.rs"]
mod list;
#[path = "claims/measure.rs"]
mod measure;
#[path = "claims/test.rs"]
mod test;
#[cfg(test)]
#[path = "claims/tests.rs"]
mod tests;

use anyhow::Result;
use clap::Parser;
use list::{CLAIMS, Claim};
use measure::{CONVERGED, Unit};
use scripts::{Cell, Size, TableArgs, Written, csv_line, exit, questions_of, read_studies, samples_of_ei};
use std::{collections::BTreeMap, fmt::Write, process::ExitCode};
use test::{Answer, CLOSE, Part, SMALLEST, Verdict, ask, ask_across};

/// A part of a claim, asked of one size, or of one against another.
struct Row {
    part: Part,
    answer: Answer,
    /// The sizes that were asked.
    models: Vec<String>,
}

/// A claim with all that was found of it.
struct Found {
    claim: &'static Claim,
    rows: Vec<Row>,
}

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<()> {
    let args = TableArgs::parse();
    tell(&read_studies(&args.studies)?)?.put("claims", &args.out)
}

fn tell(sizes: &[Size]) -> Result<Written> {
    let found: Vec<Found> = CLAIMS.iter().map(|claim| find(claim, sizes)).collect();
    let mut written =
        Written { csv: "claim,part,model,difference,half_width,unit,seeds,verdict\n".into(), ..Written::default() };
    let markdown = &mut written.markdown;
    writeln!(markdown, "# What the results say of the paper's claims\n\n{}\n", measured_on(sizes)?)?;
    summary(&found, sizes, markdown)?;
    writeln!(markdown, "\n{}", how())?;
    for found in &found {
        section(found, markdown)?;
        for row in &found.rows {
            written.csv += &csv(found.claim, row);
        }
    }
    Ok(written)
}

/// How verdicts come about.
fn how() -> String {
    let [smallest, close, converged] = [SMALLEST, CLOSE, CONVERGED].map(|share| 100.0 * share);
    format!(
        "\
    Every verdict is computed. Two runs are compared seed by seed and question by question: the mean of the differences, ± half of a \
    95 % interval of what seeds leave open (Student's t) and what questions do, each counted once. (Where a run does not tell what each \
    question scored, as at looks at validation, the intervals are added as if the questions had been different ones, which is too \
    wide.) One seed cannot tell, and neither can seeds that all come to the same. A run is its checkpoint that was best on validation; \
    passes of SFT are compared by their last. Where one of several runs is taken because of what it scored, the verdict that this \
    favours asks for an interval that allows for all of them (Bonferroni).\n\n\
    - **Better**: the interval lies above 0; otherwise refuted where all of it is below {smallest} points (of solutions, rounds \
    and samples: below 0).\n\
    - **No gain**: it lies below {close} points, and not all of it above 0; refuted where all of it is above 0. A gain of less than \
    {close} points can hide in that: to exclude {smallest} takes several times as many questions and seeds.\n\
    - **Close**: it lies within {close} points on both sides; refuted where all of it is outside.\n\
    - **Converged**: at the first look at validation with {converged} % of the gain of the best look over the start. If that is the \
    last look, the run was still rising, and cannot tell. The start is the best look of SFT; of a base, which has no look, what it scores \
    on test problems after its solved problems, and a run that never looks better than that cannot tell either.\n\n\
    A claim holds if all its parts do at all sizes where their runs are, and does not hold if one of them does not: in brackets, how many \
    parts hold, are refuted, and cannot tell (two that are joined by *or* are one). Nothing is corrected \
    for their number, and of many parts one may be refuted by chance: of those that are true but only just, about one in forty. *In part*: some of its runs were not made at that size."
    )
}

fn find(claim: &'static Claim, sizes: &[Size]) -> Found {
    let mut rows = Vec::new();
    for size in sizes {
        let models = vec![size.model.clone()];
        let of_size = (claim.parts)(size).into_iter();
        rows.extend(of_size.map(|part| Row { answer: ask(&part, size), part, models: models.clone() }));
    }
    if let [small, .., large] = sizes {
        let models = vec![large.model.clone(), small.model.clone()];
        let across = (claim.across)().into_iter();
        rows.extend(across.map(|part| Row { answer: ask_across(&part, large, small), part, models: models.clone() }));
    }
    Found { claim, rows }
}

impl Found {
    /// Whether a row has a say: a part that was not run at one size is not held against what others have found of it, and one
    /// that was run at none is missed once.
    fn counts(&self, row: &Row) -> bool {
        let mut same = self.rows.iter().filter(|other| other.part.what == row.part.what);
        let is_first = same.clone().next().is_some_and(|first| first.models == row.models);
        row.answer.not_run.is_empty() || is_first && same.all(|other| !other.answer.not_run.is_empty())
    }

    /// Of each part of some rows that counts, those that are joined by "or" as one.
    fn parts<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Vec<Verdict> {
        let rows: Vec<&Row> = rows.filter(|row| self.counts(row)).collect();
        let alternatives = rows.chunk_by(|_, next| next.part.or);
        alternatives.filter_map(|rows| Verdict::any(rows.iter().map(|row| row.answer.verdict))).collect()
    }

    /// Of one size, or of one against another; `None` where nothing was run that another size does not tell of.
    fn of(&self, models: &[String]) -> Option<Verdict> {
        Verdict::all(self.parts(self.rows.iter().filter(|row| row.models == models)))
    }

    /// How many parts hold, are refuted, and cannot tell.
    fn count(&self) -> String {
        let parts = self.parts(self.rows.iter());
        let of = |verdict| parts.iter().filter(|&&part| part == verdict).count().to_string();
        [Verdict::Holds, Verdict::DoesNotHold, Verdict::CannotTell].map(of).join(", ")
    }

    /// Whether the claim compares sizes and there is one only.
    fn lacks_a_size(&self) -> bool {
        !(self.claim.across)().is_empty() && self.rows.iter().all(|row| row.models.len() == 1)
    }

    /// Of all that was asked.
    fn verdict(&self) -> Verdict {
        let asked = self.rows.chunk_by(|a, b| a.models == b.models);
        let lacking = self.lacks_a_size().then_some(Verdict::CannotTell);
        let found = asked.filter_map(|rows| self.of(&rows[0].models));
        Verdict::all(found.chain(lacking)).unwrap_or(Verdict::CannotTell)
    }
}

/// Which questions, sizes, seeds and samples.
fn measured_on(sizes: &[Size]) -> Result<String> {
    let of_size = |size: &Size| {
        let seeds = size.studies.iter().map(|study| study.seed.to_string()).collect::<Vec<_>>().join(", ");
        format!("`{}` (seed(s) {seeds}; K of maj@K and pass@K is {})", size.model, size.most_samples())
    };
    let of_sizes = sizes.iter().map(of_size).collect::<Vec<_>>().join("; ");
    Ok(format!("Measured on {}: {of_sizes}.{}", questions_of(sizes)?, samples_of_ei(sizes)))
}

fn summary(found: &[Found], sizes: &[Size], markdown: &mut String) -> Result<()> {
    let mut asked: Vec<Vec<String>> = sizes.iter().map(|size| vec![size.model.clone()]).collect();
    if let [small, .., large] = sizes {
        asked.push(vec![large.model.clone(), small.model.clone()]);
    }
    let heads: Vec<String> = asked.iter().map(|models| named(models)).collect();
    writeln!(markdown, "| | claim | verdict | {} |", heads.join(" | "))?;
    writeln!(markdown, "| --- | --- | --- |{}", " --- |".repeat(asked.len()))?;
    for found in found {
        let in_part = |models: &Vec<String>| {
            if found.rows.iter().any(|row| row.models == *models && !found.counts(row)) { ", in part" } else { "" }
        };
        let of = |models: &Vec<String>| {
            found.of(models).map_or("—".into(), |verdict| format!("{verdict}{}", in_part(models)))
        };
        let each = asked.iter().map(of).collect::<Vec<_>>().join(" | ");
        let (number, text, verdict) = (found.claim.number, found.claim.text, found.verdict());
        writeln!(markdown, "| {number} | {text} | **{verdict}** ({}) | {each} |", found.count())?;
    }
    Ok(())
}

fn section(found: &Found, markdown: &mut String) -> Result<()> {
    let Found { claim, rows } = found;
    writeln!(
        markdown,
        "\n## Claim {}: {}\n\n{}\n\n*Test:* {}\n",
        claim.number,
        found.verdict(),
        claim.text,
        claim.test
    )?;
    writeln!(markdown, "| part | size | measured | seeds | verdict |\n| --- | --- | --- | --- | --- |")?;
    for row in rows.iter().filter(|row| found.counts(row)) {
        let Row { part, answer, models } = row;
        let seeds = answer.difference.map_or("—".into(), |difference| difference.seeds.to_string());
        let why = answer.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        writeln!(
            markdown,
            "| {} | {} | {} | {seeds} | {}{why} |",
            part.what,
            named(models),
            shown(row),
            answer.verdict
        )?;
    }
    let mut left_out: BTreeMap<&[String], Vec<&str>> = BTreeMap::new();
    for row in rows.iter().filter(|row| !found.counts(row)) {
        let names = left_out.entry(&row.models).or_default();
        let new = row.answer.not_run.iter().filter(|name| !names.contains(name)).collect::<Vec<_>>();
        names.extend(new);
    }
    if found.lacks_a_size() {
        writeln!(markdown, "\nWith one size, what it says of a larger one cannot be told.")?;
    }
    for (models, names) in left_out {
        writeln!(markdown, "\nNot run on {}, and not counted: `{}`.", named(models), names.join("`, `"))?;
    }
    Ok(())
}

fn named(models: &[String]) -> String {
    format!("`{}`", models.join("` against `"))
}

/// The figures and their difference, as one sum.
fn shown(row: &Row) -> String {
    let Row { part, answer, models } = row;
    let Some(difference) = answer.difference else { return "—".into() };
    let unit = part.measure.unit();
    let terms: Vec<(f64, &str)> = match models.as_slice() {
        [large, small] => vec![(1.0, large), (-1.0, small)],
        _ => part.terms.clone(),
    };
    if let [(_, name)] = terms[..] {
        let told = if unit == Unit::Share { signed(unit, difference) } else { figure(unit, difference) };
        return format!("`{name}` **{told}**");
    }
    let mut text = String::new();
    for (place, ((weight, name), cell)) in terms.iter().zip(&answer.terms).enumerate() {
        text += match (place, *weight > 0.0, unit) {
            (0, ..) => "",
            (_, false, Unit::Samples) => " ÷ ",
            (_, false, _) => " − ",
            (_, true, _) => " + ",
        };
        if weight.abs() != 1.0 {
            text += &format!("{} × ", weight.abs());
        }
        text += &format!("`{name}` {}", figure(unit, *cell));
    }
    format!("{text} = **{}**", signed(unit, difference))
}

fn figure(unit: Unit, cell: Cell) -> String {
    let Cell { mean, half_width, .. } = cell;
    let text = match unit {
        Unit::Share => format!("{:.1} ± {:.1}", 100.0 * mean, 100.0 * half_width),
        Unit::Rounds | Unit::Solutions => format!("{mean:.2} ± {half_width:.2}"),
        Unit::Samples => powers(cell, 0),
    };
    text.replace('-', "−")
}

fn signed(unit: Unit, cell: Cell) -> String {
    let plus = if cell.mean < 0.0 { "" } else { "+" };
    match unit {
        Unit::Samples => powers(cell, 2),
        Unit::Share | Unit::Rounds | Unit::Solutions => format!("{plus}{}", figure(unit, cell)),
    }
}

/// What a logarithm and its interval stand for.
fn powers(Cell { mean, half_width, .. }: Cell, digits: usize) -> String {
    let [low, mid, high] = [mean - half_width, mean, mean + half_width].map(|log| 10f64.powf(log));
    format!("{mid:.digits$} [{low:.digits$}, {high:.digits$}]")
}

fn csv(claim: &Claim, Row { part, answer, models }: &Row) -> String {
    let unit = match part.measure.unit() {
        Unit::Share => "share",
        Unit::Samples => "log10 samples",
        Unit::Rounds => "rounds",
        Unit::Solutions => "solutions",
    };
    let difference = answer.difference.map_or([String::new(), String::new(), "0".into()], |cell| {
        [format!("{:.5}", cell.mean), format!("{:.5}", cell.half_width), cell.seeds.to_string()]
    });
    let [mean, half_width, seeds] = difference;
    let model = models.join(" against ");
    let (number, verdict) = (claim.number.to_string(), answer.verdict.to_string());
    csv_line(&[&number, &part.what, &model, &mean, &half_width, unit, &seeds, &verdict])
}
