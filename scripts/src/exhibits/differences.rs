//! What one run scores more than another on the same test problems: of runs that a reader would choose between, by size.

use super::rendered::Rendered;
use crate::results::{Cell, ERROR, Mean, SeedRuns, Size, metric, questions_of};
use anyhow::{Result, ensure};
use eval::{Metric, MetricKind};
use std::fmt::Write;

/// A table with a row a pair of runs, the first minus the second, and a row a reranked run, its choice minus the vote.
///
/// # Errors
/// Where no two of the runs are among the results.
pub fn differences(title: &str, pairs: &[(String, String)], reranked: &[String], sizes: &[Size]) -> Result<Rendered> {
    let mut rendered = Rendered {
        markdown: format!("{title}\n"),
        csv: "model,run,other,metric,mean,half_width,seeds\n".into(),
        svg: None,
    };
    for size in sizes {
        let [one, most] = [1, size.most_samples()].map(|k| metric(MetricKind::Maj, k));
        let [pass, rerank] = [MetricKind::Pass, MetricKind::Rerank].map(|kind| metric(kind, most.k));
        let mut rows = String::new();
        let mut row = |label: String, [run, other]: [&str; 2], columns: [Option<[Metric; 2]>; 3]| {
            let cells = columns.map(|column| column.and_then(|[a, b]| difference(size, [(run, a), (other, b)])));
            for (column, cell) in columns.iter().flatten().zip(cells.iter().flatten()) {
                let metric = if column[0] == column[1] { column[0].to_string() } else { format!("{rerank} - {most}") };
                rendered.csv += &cell.csv_line(&[&size.model, run, other, &metric]);
            }
            if let Some(seeds) = cells.iter().flatten().map(|cell| cell.seeds).max() {
                rows += &format!("| {label} | {seeds} | {} |\n", cells.map(shown).join(" | "));
            }
        };
        for (run, other) in pairs {
            row(format!("`{run}` − `{other}`"), [run, other], [one, most, pass].map(|metric| Some([metric, metric])));
        }
        for run in reranked {
            row(format!("`{run}`: {rerank} − {most}"), [run, run], [None, Some([rerank, most]), None]);
        }
        if !rows.is_empty() {
            let head = format!("| `{}` | seeds | {one} | {most} | {pass} |", size.model);
            writeln!(rendered.markdown, "\n{head}\n| --- | --- | --- | --- | --- |\n{}", rows.trim_end())?;
        }
    }
    ensure!(rendered.csv.lines().count() > 1, "no two of the runs to compare are among the results");
    writeln!(
        rendered.markdown,
        "\nMeasured on {}: mean over seeds of the differences by question, ± half of a 95 % interval over questions and seeds \
         together; of one seed, over questions alone, and another may say something else. **Bold**: the interval does not hold 0. \
         Nothing is corrected for how many there are: of differences that are none, one in twenty is bold.",
        questions_of(sizes)?
    )?;
    Ok(rendered)
}

/// The first minus the second, over the seeds that have both; `None` where none has.
fn difference(size: &Size, [(run, metric), (other, others)]: [(&str, Metric); 2]) -> Option<Cell> {
    let scores = |seed: &SeedRuns| seed.scores([(1.0, run, metric), (-1.0, other, others)]);
    let scores: Vec<Vec<f64>> = size.by_seed.iter().filter_map(scores).collect();
    Mean::of_scores(&scores).map(|crossed| crossed.cell(ERROR))
}

/// In points.
fn shown(cell: Option<Cell>) -> String {
    let Some(Cell { mean, half_width, .. }) = cell else { return "—".into() };
    let text = format!("{:+.1} ± {:.1}", 100.0 * mean, 100.0 * half_width).replace('-', "−");
    if mean.abs() > half_width { format!("**{text}**") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn size(runs: &[(&str, [u16; 4])]) -> Size {
        let run = |&(name, scores): &(&str, [u16; 4])| {
            let result = json!({
                "name": name, "command": "ppo", "model": "tiny", "seed": 0, "cost": {}, "made": {}, "looks": [],
                "by_question": { "maj@1": scores, "rerank@8": [1000, 1000, 1000, 1000] },
                "test": {
                    "benchmark": "synthetic", "split": "test", "problems": 4, "samples": 8, "temperature": 0.7, "checkpoint": null,
                    "parse_failures": 0.0, "truncated": null, "mean_tokens": null,
                },
            });
            (name.to_string(), serde_json::from_value(result).unwrap())
        };
        Size { model: "tiny".into(), by_seed: vec![SeedRuns { seed: 0, runs: runs.iter().map(run).collect() }] }
    }

    #[test]
    fn runs_are_compared_question_by_question_and_what_both_score_leaves_nothing_open() {
        let size = size(&[("ppo", [1000, 1000, 1000, 0]), ("sft", [1000, 1000, 0, 0])]);
        let [one, rerank] = [metric(MetricKind::Maj, 1), metric(MetricKind::Rerank, 8)];
        let cell = difference(&size, [("ppo", one), ("sft", one)]).unwrap();
        // One question of four differs: mean 0.25, deviation 0.5, 1.96 * 0.5 / 2.
        assert!((cell.mean - 0.25).abs() < 1e-9 && (cell.half_width - 0.49).abs() < 1e-4, "{cell:?}");
        let cell = difference(&size, [("ppo", rerank), ("ppo", one)]).unwrap();
        assert!((cell.mean - 0.25).abs() < 1e-9, "{cell:?}");
        assert_eq!(difference(&size, [("ppo", one), ("ei", one)]), None);
    }

    #[test]
    fn a_difference_is_bold_where_its_interval_does_not_hold_zero() {
        let cell = |mean: f64| Cell { mean, half_width: 0.03, seeds: 3 };
        assert_eq!(
            [0.04, -0.04, -0.01].map(|mean| shown(Some(cell(mean)))),
            ["**+4.0 ± 3.0**", "**−4.0 ± 3.0**", "−1.0 ± 3.0"]
        );
        let table = differences(
            "In points.",
            &[("ppo".into(), "sft".into())],
            &["ppo".into()],
            &[size(&[("ppo", [1000; 4]), ("sft", [0; 4])])],
        )
        .unwrap();
        assert!(table.markdown.contains("| `ppo` − `sft` | 1 | **+100.0 ± 0.0** | — | — |"), "{}", table.markdown);
        assert!(table.csv.contains("tiny,ppo,sft,maj@1,1.00000,0.00000,1\n"), "{}", table.csv);
    }
}
