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
    - **Better**: the interval lies above 0; otherwise refuted where all of it is below {smallest} points.\n\
    - **No gain**: it lies below {close} points, and not all of it above 0; refuted where all of it is above 0. A gain of less than \
    {close} points can hide in that: to exclude {smallest} takes several times as many questions and seeds.\n\
    - **Close**: it lies within {close} points on both sides; refuted where all of it is outside.\n\
    - **Converged**: at the first look at validation with {converged} % of the gain of the best look over the start. If that is the \
    last look, the run was still rising, and cannot tell.\n\n\
    A claim holds if all its parts do at all sizes where their runs are, and does not hold if one of them does not: in brackets, how many \
    parts hold, are refuted, and cannot tell. Nothing is corrected for their number, and of many parts one may be refuted by chance: of \
    those that are true but only just, about one in forty. *In part*: some of its runs were not made at that size."
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

    /// Of one size, or of one against another; `None` where nothing was run that another size does not tell of.
    fn of(&self, models: &[String]) -> Option<Verdict> {
        let rows: Vec<&Row> = self.rows.iter().filter(|row| row.models == models && self.counts(row)).collect();
        let alternatives = rows.chunk_by(|_, next| next.part.or);
        Verdict::all(alternatives.filter_map(|rows| Verdict::any(rows.iter().map(|row| row.answer.verdict))))
    }

    /// How many parts hold, are refuted, and cannot tell.
    fn count(&self) -> String {
        let of = |verdict| {
            self.rows.iter().filter(|row| self.counts(row) && row.answer.verdict == verdict).count().to_string()
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{CannotTell, DoesNotHold, Holds};
    use eval::{Metric, MetricKind};
    use scripts::{RunResult, Study};
    use serde_json::json;

    /// A run with one metric for all, ± 0.03 over questions, and looks at validation every 100 samples.
    fn run(name: &str, model: &str, seed: u64, maj: f64, looks: &[f64]) -> RunResult {
        let of = |value: f64| json!({ "value": value, "ci95": [value - 0.03, value + 0.03] });
        let look = |(step, maj): (usize, &f64)| json!({ "step": step, "samples": 100 * step, "validation/maj@1": maj });
        serde_json::from_value(json!({
            "name": name, "command": "ppo", "model": model, "seed": seed, "cost": {}, "made": {},
            "looks": (1..).zip(looks).map(look).collect::<Vec<_>>(), "flags": { "eval_problems": 10_000 },
            "test": {
                "benchmark": "synthetic", "split": "test", "problems": 500, "samples": 8, "temperature": 0.7,
                "checkpoint": null, "parse_failures": 0.0, "truncated": null, "mean_tokens": null,
                "maj@1": of(maj), "maj@8": of(maj), "pass@8": of(maj), "rerank@8": of(maj),
            },
        }))
        .unwrap()
    }

    /// Runs by name, with what each seed has scored.
    fn size(model: &str, runs: &[(&str, &[f64])]) -> Size {
        let study = |seed: u64| {
            let of_seed = runs.iter().filter_map(|(name, scores)| Some((*name, *scores.get(seed as usize)?)));
            let runs = of_seed.map(|(name, score)| (name.to_string(), run(name, model, seed, score, &[])));
            Study { seed, runs: runs.collect() }
        };
        Size { model: model.into(), studies: (0..3).map(study).collect() }
    }

    fn verdict(number: usize, sizes: &[Size]) -> Verdict {
        find(&CLAIMS[number - 1], sizes).verdict()
    }

    #[test]
    fn claims_are_numbered_in_their_order_and_have_the_same_parts_whatever_was_run() {
        let (none, some) = (size("tiny", &[]), size("tiny", &[("ei", &[0.5]), ("ppo", &[0.4]), ("sft-2", &[0.3])]));
        for (place, claim) in CLAIMS.iter().enumerate() {
            assert_eq!(claim.number, place + 1);
            let named = |size| (claim.parts)(size).into_iter().map(|part| part.what.replace("@1", "@8"));
            assert!(named(&none).eq(named(&some)), "claim {}", claim.number);
        }
    }

    #[test]
    fn what_is_hard_for_both_runs_takes_no_part_in_their_difference() {
        let mut size = size("tiny", &[("ei", &[0.75]), ("ei-last", &[0.50])]);
        let runs = &mut size.studies[0].runs;
        let metric = Metric { kind: MetricKind::Maj, k: 1 };
        runs.get_mut("ei").unwrap().by_question.insert(metric, vec![1000, 1000, 1000, 0]);
        runs.get_mut("ei-last").unwrap().by_question.insert(metric, vec![1000, 1000, 0, 0]);
        // One question of four differs: mean 0.25, deviation 0.5 of three degrees of freedom, 1.96 * 0.5 / 2.
        let difference = find(&CLAIMS[7], &[size]).rows[0].answer.difference.unwrap();
        assert!((difference.mean - 0.25).abs() < 1e-9 && (difference.half_width - 0.49).abs() < 1e-4, "{difference:?}");
    }

    #[test]
    fn a_difference_of_seeds_has_an_interval_of_seeds_and_of_questions() {
        let sizes = [size("tiny", &[("ei", &[0.50, 0.52, 0.54]), ("ei-last", &[0.40, 0.40, 0.40])])];
        let found = find(&CLAIMS[7], &sizes);
        let difference = found.rows[0].answer.difference.unwrap();
        // 4.303 * 0.02 / sqrt(3) = 0.0497 of the seeds, sqrt(2) * 0.03 = 0.0424 of the questions.
        assert!(
            (difference.mean - 0.12).abs() < 1e-9 && (difference.half_width - 0.0653).abs() < 1e-4,
            "{difference:?}"
        );
        assert_eq!((difference.seeds, found.verdict()), (3, Holds));
    }

    #[test]
    fn the_same_claim_is_refuted_by_the_opposite_and_left_open_by_little() {
        assert_eq!(verdict(8, &[size("tiny", &[("ei", &[0.4; 3]), ("ei-last", &[0.5; 3])])]), DoesNotHold);
        assert_eq!(verdict(8, &[size("tiny", &[("ei", &[0.43; 3]), ("ei-last", &[0.4; 3])])]), CannotTell);
    }

    #[test]
    fn one_seed_cannot_tell_however_clear_its_questions_are() {
        let sizes = [size("tiny", &[("ei", &[0.9]), ("ei-last", &[0.1])])];
        assert_eq!(verdict(8, &sizes), CannotTell);
        let told = tell(&sizes).unwrap().markdown;
        assert!(told.contains("+80.0") && told.contains("cannot tell: one seed"), "{told}");
    }

    #[test]
    fn a_run_that_is_missing_cannot_tell_and_is_named() {
        let sizes = [size("tiny", &[("ppo", &[0.5; 3]), ("ppo-plr", &[0.4; 3])])];
        let found = find(&CLAIMS[12], &sizes);
        assert_eq!((found.rows[0].answer.verdict, found.verdict()), (Holds, CannotTell));
        assert!(tell(&sizes).unwrap().markdown.contains("cannot tell: `ppo-backtracking` was not run"));
    }

    #[test]
    fn what_one_size_has_not_run_is_left_to_the_other() {
        let full = size("tiny", &[("ei", &[0.5; 3]), ("ei-last", &[0.4; 3]), ("sft", &[0.3; 3])]);
        let sizes = [full, size("medium", &[("ei", &[0.5; 3])])];
        assert_eq!(verdict(8, &sizes), Holds);
        assert!(tell(&sizes).unwrap().markdown.contains("Not run on `medium`, and not counted: `ei-last`."));
    }

    #[test]
    fn a_gap_narrows_more_at_the_size_where_it_has_narrowed_by_more() {
        let runs = |sft: f64, after: f64| {
            move |model| {
                let scores =
                    [("sft", sft), ("base", 0.05), ("ei", 0.6), ("ei-base", after), ("ppo", 0.6), ("ppo-base", after)];
                let owned = scores.map(|(name, score)| (name, [score; 3]));
                size(model, &owned.each_ref().map(|(name, scores)| (*name, &scores[..])))
            }
        };
        // 0.30 - 0.20 at the smaller size; 0.50 - 0.10 at the larger.
        let sizes = [runs(0.35, 0.4)("tiny"), runs(0.55, 0.5)("medium")];
        assert_eq!(verdict(12, &sizes), Holds);
        assert_eq!(verdict(12, &[sizes[1].clone(), sizes[0].clone()]), DoesNotHold);
        assert_eq!(verdict(12, &sizes[..1]), CannotTell, "one size has none that is larger");
    }

    #[test]
    fn samples_are_counted_until_a_run_has_converged_and_not_if_it_never_did() {
        let with_looks = |looks: [&[f64]; 3]| {
            let mut size = size("tiny", &[]);
            for (study, looks) in size.studies.iter_mut().zip(looks) {
                let seed = study.seed;
                let sft = run("sft", "tiny", seed, 0.3, &[0.3, 0.2]);
                study.runs.insert("sft".into(), sft);
                // 95 % of the gain is 0.395: the second look.
                study.runs.insert("ppo".into(), run("ppo", "tiny", seed, 0.4, &[0.35, 0.399, 0.4]));
                study.runs.insert("ei".into(), run("ei", "tiny", seed, 0.4, looks));
            }
            find(&CLAIMS[1], &[size]).rows.remove(0).answer
        };
        let (fourth, third) = ([0.3, 0.35, 0.36, 0.5, 0.49], [0.3, 0.35, 0.5, 0.49, 0.48]);
        let settled = with_looks([&fourth, &fourth, &third]);
        let expected = (2.0 * 2f64.log10() + 1.5f64.log10()) / 3.0;
        assert!((settled.difference.unwrap().mean - expected).abs() < 1e-9, "400, 400 and 300 samples against 200");
        assert_eq!(settled.verdict, Holds);
        let agreed = with_looks([&fourth; 3]);
        assert!(agreed.verdict == CannotTell && agreed.why.unwrap().contains("all seeds have found the same"));
        let rising = with_looks([&[0.3, 0.4, 0.5]; 3]);
        assert_eq!((rising.verdict, rising.difference), (CannotTell, None));
        assert!(rising.why.unwrap().contains("`ei` was still rising"));
    }

    #[test]
    fn what_the_budgets_decide_is_not_told_as_found() {
        let with_steps = |steps: &[u64]| {
            let mut size = size("tiny", &[]);
            for study in &mut size.studies {
                let seed = study.seed;
                study.runs.insert("sft".into(), run("sft", "tiny", seed, 0.3, &[0.3]));
                study.runs.insert("ppo".into(), run("ppo", "tiny", seed, 0.4, &[0.35, 0.4, 0.39 - 0.01 * seed as f64]));
                let mut ei = run("ei", "tiny", seed, 0.4, &[0.4, 0.5, 0.49]);
                for (look, step) in ei.looks.iter_mut().zip(steps) {
                    look.insert("samples".into(), (100 * step) as f64);
                }
                study.runs.insert("ei".into(), ei);
            }
            find(&CLAIMS[1], &[size]).rows.remove(0).answer
        };
        // PPO was looked at after 300 samples at most; EI after 900 first.
        let why = with_steps(&[9, 10, 11]).why.unwrap();
        assert!(why.contains("leave no other answer"), "{why}");
        let why = with_steps(&[2, 3, 4]).why.unwrap();
        assert!(why.contains("all seeds"), "{why}");
    }

    #[test]
    fn a_run_that_was_chosen_by_what_it_scored_refutes_by_a_wider_interval_and_holds_by_the_usual_one() {
        let runs = |best: [f64; 3]| {
            let others = ["ppo-dense", "ppo-sparse-orm", "ppo-dense-orm", "rcrl"];
            let runs = others.map(|name| (name, [0.2; 3])).into_iter().chain([("ei", [0.3; 3]), ("ppo", best)]);
            let owned: Vec<(&str, [f64; 3])> = runs.collect();
            let borrowed: Vec<(&str, &[f64])> = owned.iter().map(|(name, scores)| (*name, &scores[..])).collect();
            find(&CLAIMS[0], &[size("tiny", &borrowed)]).rows.remove(0).answer
        };
        // sqrt(2) * 0.03 = 0.0424 of the questions; one of five comparisons takes 2.576 / 1.960 times that: 0.0558.
        assert_eq!(runs([0.35, 0.35, 0.35]).verdict, CannotTell);
        assert_eq!(runs([0.36, 0.36, 0.36]).verdict, DoesNotHold);
        assert_eq!(runs([0.30, 0.30, 0.30]).verdict, Holds);
    }

    #[test]
    fn learning_is_faster_by_what_its_looks_score_until_the_plain_run_has_converged() {
        let mut size = size("tiny", &[]);
        for study in &mut size.studies {
            let runs = [
                ("sft", &[0.3][..]),
                ("ppo", &[0.3, 0.35, 0.4, 0.39]),
                ("ppo-sparse-orm", &[0.36, 0.38, 0.4, 0.8]),
                ("ppo-dense-orm", &[0.3, 0.35, 0.4, 0.1]),
            ];
            study.runs = runs.map(|(name, looks)| (name.into(), run(name, "tiny", study.seed, 0.4, looks))).into();
        }
        let rows = find(&CLAIMS[3], &[size]).rows;
        let faster: Vec<&Row> = rows.iter().filter(|row| row.part.what.contains("faster")).collect();
        // (0.06 + 0.03 + 0.00) / 3: the fourth look is past the plain run's best.
        assert!((faster[0].answer.difference.unwrap().mean - 0.03).abs() < 1e-9);
        assert_eq!([faster[0].answer.verdict, faster[1].answer.verdict], [Holds, DoesNotHold]);
    }

    #[test]
    fn either_a_worse_best_or_a_further_fall_is_enough_to_be_needed() {
        let mut size = size("tiny", &[]);
        for study in &mut size.studies {
            let runs = [("ppo", &[0.3, 0.4][..]), ("ppo-no-kl", &[0.4, 0.1]), ("ppo-shared", &[0.4, 0.4])];
            study.runs = runs.map(|(name, looks)| (name.into(), run(name, "tiny", study.seed, 0.4, looks))).into();
        }
        let mut found = find(&CLAIMS[8], &[size]);
        found.rows.truncate(2);
        assert_eq!(found.rows[0].answer.verdict, CannotTell);
        assert_eq!(found.verdict(), Holds);
    }

    #[test]
    fn results_of_different_questions_are_refused() {
        let mut size = size("tiny", &[("ei", &[0.5; 3]), ("ppo", &[0.5; 3])]);
        size.studies[1].runs.get_mut("ppo").unwrap().test.as_mut().unwrap().problems = 100;
        let told = tell(&[size]).unwrap_err().to_string();
        assert!(told.contains("the 100 questions of `synthetic`, test; the 500 questions"), "{told}");
    }
}
