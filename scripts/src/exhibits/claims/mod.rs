//! The claims of the paper, each with a verdict that is computed from results.
//!
//! What is claimed stands in `study.toml`; `part.rs` resolves which runs it compares, `measure.rs` reads a number of a run, and
//! `decide.rs` makes an interval of a difference and `verdict.rs` a verdict of that. Here it becomes text.

mod decide;
mod measure;
mod part;
#[cfg(test)]
mod tests;
mod verdict;

use super::{
    methods::samples_of_ei,
    rendered::{Rendered, csv_line, rule},
};
use crate::{
    results::{Cell, Size, questions_of},
    study::{self, Claim, Study, Verdicts},
};
use anyhow::Result;
use decide::{Finding, Levels, decide, decide_across, not_run};
use measure::{CONVERGED, Unit};
use part::{Part, resolve};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};
use verdict::Verdict;

/// A part of a claim at one size, or at one against another.
struct Row {
    part: Part,
    /// Whether it is a premise of the claim.
    is_premise: bool,
    /// The sizes.
    models: Vec<String>,
    /// Runs that no seed has.
    not_run: Vec<String>,
    finding: Finding,
}

/// A claim and what was found.
struct Found<'a> {
    number: usize,
    claim: &'a Claim,
    rows: Vec<Row>,
}

/// All claims: a summary, and a table a claim.
///
/// # Errors
/// Results of different questions.
pub fn claims(study: &Study, title: &str, sizes: &[Size]) -> Result<Rendered> {
    let find = |(number, claim)| find(study, number, claim, sizes);
    let found: Vec<Found<'_>> = (1..).zip(&study.claims).map(find).collect();
    let mut csv: String = "claim,part,model,difference,half_width,unit,seeds,verdict\n".into();
    let mut markdown = String::new();
    writeln!(markdown, "# {title}\n\n{}\n", measured_on(study, sizes)?)?;
    summary(&found, sizes, &mut markdown)?;
    writeln!(markdown, "\n{}", how(study))?;
    let apart = apart(&found);
    if !apart.is_empty() {
        writeln!(markdown, "\n{apart}")?;
    }
    for found in &found {
        section(found, &mut markdown)?;
        csv.extend(found.rows.iter().map(|row| csv_row(found.number, row)));
    }
    Ok(Rendered { markdown, csv, svg: None })
}

/// How verdicts come about.
fn how(study: &Study) -> String {
    let Verdicts { alpha, looks, smallest, close, .. } = &study.verdicts;
    let [confidence, smallest, close, converged] =
        [1.0 - alpha, *smallest, *close, CONVERGED].map(|share| (1000.0 * share).round() / 10.0);
    let looks = looks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let [alpha, first] = [format!("{}", 100.0 * alpha), study.verdicts.looks[0].to_string()];
    format!(
        "\
    Every verdict is computed (docs/results.md has the method). Two runs are compared seed by seed and \
    question by question: the mean of the differences, ± half of a {confidence} % interval of what seeds leave open (Student's t, with the \
    variance of all comparable runs) and what questions do, each counted once. (Where a run does not tell what each question scored, as at \
    evaluations on validation problems, the intervals are added as if the questions had been different ones, which is too wide.) Verdicts are \
    made with {looks} seeds, and the intervals of all these looks together miss in {alpha} % of cases: each is wider than an ordinary one. \
    With fewer than {first} seeds the interval is an ordinary one, and nothing follows. The scores of single runs have ordinary intervals, of \
    their own seeds. Seeds that all come to the same cannot tell. A run is its checkpoint that was best on validation; passes of SFT are \
    compared by their last. Where one of several runs is taken because of what it scored, the verdict that this favours asks for an interval \
    that allows for all of them (Bonferroni).\n\n\
    - **Better**: the interval lies above 0; otherwise refuted where all of it is below {smallest} points (of solutions, rounds \
    and samples: below 0).\n\
    - **No gain**: it lies below {close} points, and not all of it above 0; refuted where all of it is above 0. A gain of less than \
    {close} points can hide in that.\n\
    - **Close**: it lies within {close} points on both sides; refuted where all of it is outside.\n\
    - **Converged**: at the first evaluation on validation problems with {converged} % of the gain of the best evaluation over the \
    start. If that is the last evaluation, the run was still rising, and cannot tell. The start is the best evaluation of SFT; of a base, which has none, its score \
    on test problems after its solved problems, and a run that never scores better than that cannot tell either.\n\n\
    A claim holds if all its parts do at all sizes where their runs are, and does not hold if one of them does not: in brackets, how many \
    parts hold, are refuted, and cannot tell (two that are joined by *or* are one). A part holds by the interval that is shown, of two that \
    are joined each by one that misses half as often; a part is refuted by one that misses as often as {alpha} % divided by the number of \
    parts. Where a premise of a claim is refuted, the claim is about nothing at that size, and where a premise cannot tell, neither can the \
    claim. *In part*: some of its runs were not made at that size."
    )
}

fn find<'a, 'b>(study: &'a Study, number: usize, claim: &'a Claim, sizes: &'b [Size]) -> Found<'a> {
    // Which parts count depends on what was run, and how often each may err on how many count; what was found comes last.
    let mut rows = Vec::new();
    let mut compared = Vec::new();
    let mut add = |of: Vec<&'b Size>, parts: &'a [study::Part], is_premise: bool| {
        for part in parts {
            let part = resolve(study, part, of[0]);
            let models = of.iter().map(|size| size.model.clone()).collect();
            rows.push(Row { not_run: not_run(&part, &of), part, is_premise, models, finding: Finding::none() });
            compared.push(of.clone());
        }
    };
    for size in sizes {
        add(vec![size], &claim.premises, true);
        add(vec![size], &claim.parts, false);
    }
    if let [small, .., large] = sizes {
        add(vec![large, small], &claim.across, false);
    }
    let mut found = Found { number, claim, rows };
    let levels: Vec<Levels> = found.rows.iter().map(|row| found.levels(row, study.verdicts.alpha)).collect();
    for ((row, levels), of) in found.rows.iter_mut().zip(levels).zip(compared) {
        row.finding = match of[..] {
            [large, small] => decide_across(study, &row.part, [large, small], levels, &row.not_run),
            _ => decide(study, &row.part, of[0], levels, &row.not_run),
        };
    }
    found
}

impl Found<'_> {
    /// How often the intervals of a row may miss: a part of two that are joined by "or" holds by half of α; one of several parts is refuted
    /// by its share of it (Bonferroni).
    fn levels(&self, row: &Row, alpha: f64) -> Levels {
        let groups = self.groups(self.rows.iter().filter(|other| other.is_premise == row.is_premise));
        let own = groups.iter().find(|group| group.iter().any(|other| std::ptr::eq(*other, row)));
        let refutable = groups.iter().filter(|group| group.iter().all(|row| row.not_run.is_empty())).count();
        Levels { holds: alpha / own.map_or(1, Vec::len) as f64, refuted: alpha / refutable.max(1) as f64 }
    }

    /// Whether a row counts: a part that was not run at one size does not weaken what others have found, and one that was run at none
    /// counts once.
    fn counts(&self, row: &Row) -> bool {
        let mut same = self.rows.iter().filter(|other| other.part.what == row.part.what);
        let is_first = same.clone().next().is_some_and(|first| first.models == row.models);
        row.not_run.is_empty() || is_first && same.all(|other| !other.not_run.is_empty())
    }

    /// Those of some rows that count, with those together that are joined by "or".
    fn groups<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Vec<Vec<&'a Row>> {
        let rows: Vec<&Row> = rows.filter(|row| self.counts(row)).collect();
        rows.chunk_by(|_, next| next.part.or).map(<[&Row]>::to_vec).collect()
    }

    /// The verdicts of the parts among some rows.
    fn parts<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Vec<Verdict> {
        let groups = self.groups(rows.filter(|row| !row.is_premise));
        groups.iter().filter_map(|group| Verdict::any(group.iter().map(|row| row.finding.verdict))).collect()
    }

    /// Whether the claim is about anything at these sizes. A premise that was not run at one of them is taken from those where it was.
    fn premise(&self, models: &[String]) -> Verdict {
        let at = |model: &String| {
            let of = |premise: &study::Part| {
                let same = || self.rows.iter().filter(|row| row.is_premise && row.part.what == premise.what);
                let own = same().filter(|row| row.models[0] == *model && row.not_run.is_empty());
                let others = same().filter(|row| self.counts(row));
                let found = Verdict::all(own.map(|row| row.finding.verdict));
                found.or_else(|| Verdict::all(others.map(|row| row.finding.verdict))).unwrap_or(Verdict::CannotTell)
            };
            self.claim.premises.iter().map(of).collect::<Vec<_>>()
        };
        Verdict::all(models.iter().flat_map(at)).unwrap_or(Verdict::Holds)
    }

    /// Of one size, or of one against another; `None` where nothing was run that another size has not.
    fn of(&self, models: &[String]) -> Option<Verdict> {
        let parts = Verdict::all(self.parts(self.rows.iter().filter(|row| row.models == models)))?;
        Some(parts.given(self.premise(models)))
    }

    /// Numbers of parts that hold, are refuted, and are undecided.
    fn count(&self) -> String {
        let parts = self.parts(self.rows.iter());
        let of = |verdict| parts.iter().filter(|&&part| part == verdict).count().to_string();
        [Verdict::Holds, Verdict::DoesNotHold, Verdict::CannotTell].map(of).join(", ")
    }

    /// Whether the claim compares sizes and there is one only.
    fn lacks_a_size(&self) -> bool {
        !self.claim.across.is_empty() && self.rows.iter().all(|row| row.models.len() == 1)
    }

    /// Of all sizes.
    fn verdict(&self) -> Verdict {
        let by_models = self.rows.chunk_by(|a, b| a.models == b.models);
        let lacking = self.lacks_a_size().then_some(Verdict::CannotTell);
        let found = by_models.filter_map(|rows| self.of(&rows[0].models));
        Verdict::all(found.chain(lacking)).unwrap_or(Verdict::CannotTell)
    }
}

/// Which questions, sizes, seeds and samples.
fn measured_on(study: &Study, sizes: &[Size]) -> Result<String> {
    let of_size = |size: &Size| {
        let seeds = size.by_seed.iter().map(|runs| runs.seed.to_string()).collect::<Vec<_>>().join(", ");
        format!("`{}` (seed(s) {seeds}; K of maj@K and pass@K is {})", size.model, size.most_samples())
    };
    let of_sizes = sizes.iter().map(of_size).collect::<Vec<_>>().join("; ");
    Ok(format!("Measured on {}: {of_sizes}.{}", questions_of(sizes)?, samples_of_ei(&study.reference.ei, sizes)))
}

fn summary(found: &[Found<'_>], sizes: &[Size], markdown: &mut String) -> Result<()> {
    let mut compared: Vec<Vec<String>> = sizes.iter().map(|size| vec![size.model.clone()]).collect();
    if let [small, .., large] = sizes {
        compared.push(vec![large.model.clone(), small.model.clone()]);
    }
    let heads: Vec<String> = compared.iter().map(|models| named(models)).collect();
    writeln!(markdown, "| | claim | verdict | {} |", heads.join(" | "))?;
    writeln!(markdown, "{}", rule(compared.len() + 3))?;
    for found in found {
        let in_part = |models: &Vec<String>| {
            if found.rows.iter().any(|row| row.models == *models && !found.counts(row)) { ", in part" } else { "" }
        };
        let of = |models: &Vec<String>| {
            found.of(models).map_or("—".into(), |verdict| format!("{verdict}{}", in_part(models)))
        };
        let each = compared.iter().map(of).collect::<Vec<_>>().join(" | ");
        let (number, text, verdict) = (found.number, &found.claim.text, found.verdict());
        writeln!(markdown, "| {number} | {text} | **{verdict}** ({}) | {each} |", found.count())?;
    }
    Ok(())
}

fn section(found: &Found<'_>, markdown: &mut String) -> Result<()> {
    let Found { number, claim, rows } = found;
    writeln!(markdown, "\n## Claim {number}: {}\n\n{}\n\n*Test:* {}\n", found.verdict(), claim.text, claim.test)?;
    writeln!(markdown, "| part | size | measured | seeds | verdict |\n| --- | --- | --- | --- | --- |")?;
    for row in rows.iter().filter(|row| found.counts(row)) {
        let Row { finding, models, .. } = row;
        let seeds = finding.difference.map_or("—".into(), |difference| difference.seeds.to_string());
        let why = finding.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        writeln!(
            markdown,
            "| {} | {} | {} | {seeds} | {}{why} |",
            what(row),
            named(models),
            shown(row),
            finding.verdict
        )?;
    }
    let mut left_out: BTreeMap<&[String], Vec<&str>> = BTreeMap::new();
    for row in rows.iter().filter(|row| !found.counts(row)) {
        let names = left_out.entry(&row.models).or_default();
        let new = row.not_run.iter().map(String::as_str).filter(|name| !names.contains(name)).collect::<Vec<_>>();
        names.extend(new);
    }
    if found.lacks_a_size() {
        writeln!(markdown, "\nWith one size, what it says of a larger one cannot be decided.")?;
    }
    for (models, names) in left_out {
        writeln!(markdown, "\nNot run on {}, and not counted: `{}`.", named(models), names.join("`, `"))?;
    }
    Ok(())
}

/// What a row says, and as what.
fn what(row: &Row) -> String {
    format!("{}{}", if row.is_premise { "premise: " } else { "" }, row.part.what)
}

/// Runs that are not pooled with those that they are comparable with, by size and measure.
fn apart(found: &[Found<'_>]) -> String {
    let mut by_measure: BTreeMap<(String, String), BTreeSet<&str>> = BTreeMap::new();
    for row in found.iter().flat_map(|found| &found.rows) {
        let names = row.finding.apart.iter().map(String::as_str);
        by_measure.entry((named(&row.models), row.part.measure.label())).or_default().extend(names);
    }
    by_measure.retain(|(models, _), names| !names.is_empty() && !models.contains(" against "));
    let of = |((models, measure), names): (&(String, String), &BTreeSet<&str>)| {
        let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        format!("{models}, {measure}: {names}")
    };
    let all: Vec<String> = by_measure.iter().map(of).collect();
    match all.is_empty() {
        true => String::new(),
        false => format!(
            "Some runs vary more with the seed than those that they are comparable with (Cochran's C, 5 %), and have the variance of their own \
             seeds: {}.",
            all.join("; ")
        ),
    }
}

fn named(models: &[String]) -> String {
    format!("`{}`", models.join("` against `"))
}

/// The figures and their difference, as one sum.
fn shown(row: &Row) -> String {
    let Row { part, finding, models, .. } = row;
    let Some(difference) = finding.difference else { return "—".into() };
    let unit = part.measure.unit();
    let terms: Vec<(f64, &String)> = match models.as_slice() {
        [large, small] => vec![(1.0, large), (-1.0, small)],
        _ => part.terms.iter().map(|(weight, name)| (*weight, name)).collect(),
    };
    if let [(_, name)] = terms[..] {
        let text = if unit == Unit::Share { signed(unit, difference) } else { figure(unit, difference) };
        return format!("`{name}` **{text}**");
    }
    let mut text = String::new();
    for (place, ((weight, name), cell)) in terms.iter().zip(&finding.terms).enumerate() {
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
        Unit::Rounds => format!("{mean:.2} ± {half_width:.2}"),
        Unit::Distance => format!("{mean:.3} ± {half_width:.3}"),
        Unit::Samples => powers(cell, 0),
    };
    text.replace('-', "−")
}

fn signed(unit: Unit, cell: Cell) -> String {
    let plus = if cell.mean < 0.0 { "" } else { "+" };
    match unit {
        Unit::Samples => powers(cell, 2),
        Unit::Share | Unit::Rounds | Unit::Distance => format!("{plus}{}", figure(unit, cell)),
    }
}

/// What a logarithm and its interval stand for.
fn powers(Cell { mean, half_width, .. }: Cell, digits: usize) -> String {
    let [low, mid, high] = [mean - half_width, mean, mean + half_width].map(|log| 10f64.powf(log));
    format!("{mid:.digits$} [{low:.digits$}, {high:.digits$}]")
}

fn csv_row(number: usize, row: &Row) -> String {
    let Row { part, finding, models, .. } = row;
    let unit = match part.measure.unit() {
        Unit::Share => "share",
        Unit::Samples => "log10 samples",
        Unit::Rounds => "rounds",
        Unit::Distance => "distance",
    };
    let difference = finding.difference.map_or([String::new(), String::new(), "0".into()], |cell| {
        [format!("{:.5}", cell.mean), format!("{:.5}", cell.half_width), cell.seeds.to_string()]
    });
    let [mean, half_width, seeds] = difference;
    let model = models.join(" against ");
    let (number, verdict) = (number.to_string(), finding.verdict.to_string());
    csv_line(&[&number, &what(row), &model, &mean, &half_width, unit, &seeds, &verdict])
}
