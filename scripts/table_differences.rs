//! What one run scores more than another on the same test problems: of runs that a reader would choose between, by size. Not in
//! the paper, whose tables leave it to the reader to subtract.
//!
//! ```sh
//! cargo run -p scripts --release --bin table-differences -- runs/reproduce
//! cargo run -p scripts --release --bin table-differences -- runs/reproduce --pair rcrl,ppo
//! ```

use anyhow::{Result, anyhow, ensure};
use clap::Parser;
use eval::{Metric, MetricKind};
use scripts::{
    Cell, Crossed, ERROR, FROM_SFT, Size, Study, TableArgs, Written, exit, metric, questions_of, read_studies,
};
use std::{fmt::Write, process::ExitCode};

/// What is compared where nothing else is asked for, beside each method from SFT with the SFT model: a run, and others with it.
const PAIRS: &[(&str, &[&str])] = &[
    ("sft", &["sft-augmented"]),
    ("sft-8", &["sft-augmented", "ei", "ppo"]),
    ("ei", &["ppo", "ei-orm", "ei-trace", "ei-k4", "ei-last", "ei-minimal"]),
    ("ppo", &["ppo-dense", "ppo-sparse-orm", "ppo-dense-orm", "ppo-group", "ppo-rloo"]),
    ("ppo", &["ppo-plr", "ppo-backtracking", "ppo-shared", "ppo-no-kl"]),
    ("rcrl-bad", &["rcrl"]),
    ("rcrl-1", &["rcrl-100", "rcrl-10"]),
    ("rcrl-1-bad", &["rcrl-1"]),
    ("base", &["ei-base", "ppo-base"]),
    ("ei-base", &["ppo-base", "ei-base-orm", "ei-base-k4"]),
    ("ppo-base", &["ppo-base-sparse-orm", "ppo-base-dense-orm", "ppo-base-cold"]),
];

/// Runs whose samples a reward model has chosen from: its choice against their vote.
const RERANKED: [&str; 2] = ["sft", "sft-likelihood"];

/// What runs score more than others on the same test problems, with 95 % intervals
#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    table: TableArgs,
    /// Compare these two, the first minus the second, instead of the usual ones; may be repeated
    #[arg(long, value_name = "RUN,OTHER", value_parser = pair)]
    pair: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String)> {
    let (run, other) = text.split_once(',').ok_or_else(|| anyhow!("give two names of runs with a comma between"))?;
    Ok((run.trim().into(), other.trim().into()))
}

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<()> {
    let Flags { table: args, pair } = Flags::parse();
    let sizes = read_studies(&args.studies)?;
    let is_known = |name: &String| sizes.iter().any(|size| size.of(name).next().is_some());
    for name in pair.iter().flat_map(|(run, other)| [run, other]) {
        ensure!(is_known(name), "no result is called {name}");
    }
    let of_sft = FROM_SFT[1..].iter().map(|(_, run)| (*run, "sft"));
    let usual = of_sft.chain(PAIRS.iter().flat_map(|(other, runs)| runs.iter().map(|run| (*run, *other))));
    let usual = usual.map(|(run, other)| (run.to_string(), other.to_string()));
    let is_usual = pair.is_empty();
    let pairs: Vec<(String, String)> = if is_usual { usual.collect() } else { pair };
    table(&pairs, is_usual, &sizes)?.put("table-differences", &args.out)
}

fn table(pairs: &[(String, String)], with_reranked: bool, sizes: &[Size]) -> Result<Written> {
    let mut written = Written {
        markdown: "What runs score more than others on the same test problems, in points.\n".into(),
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
                written.csv += &cell.csv_line(&[&size.model, run, other, &metric]);
            }
            if let Some(seeds) = cells.iter().flatten().map(|cell| cell.seeds).max() {
                rows += &format!("| {label} | {seeds} | {} |\n", cells.map(shown).join(" | "));
            }
        };
        for (run, other) in pairs {
            row(format!("`{run}` − `{other}`"), [run, other], [one, most, pass].map(|metric| Some([metric, metric])));
        }
        for run in RERANKED.iter().filter(|_| with_reranked) {
            row(format!("`{run}`: {rerank} − {most}"), [run, run], [None, Some([rerank, most]), None]);
        }
        if !rows.is_empty() {
            let head = format!("| `{}` | seeds | {one} | {most} | {pass} |", size.model);
            writeln!(written.markdown, "\n{head}\n| --- | --- | --- | --- | --- |\n{}", rows.trim_end())?;
        }
    }
    ensure!(written.csv.lines().count() > 1, "no two of the runs to compare are among the results");
    writeln!(
        written.markdown,
        "\nMeasured on {}: mean over seeds of the differences by question, ± half of a 95 % interval over questions and seeds \
         together; of one seed, over questions alone, and another may say something else. **Bold**: the interval does not hold 0. \
         Nothing is corrected for how many there are: of differences that are none, one in twenty is bold.",
        questions_of(sizes)?
    )?;
    Ok(written)
}

/// The first minus the second, over the seeds that have both; `None` where none has.
fn difference(size: &Size, [(run, metric), (other, others)]: [(&str, Metric); 2]) -> Option<Cell> {
    let scores = |study: &Study| study.scores([(1.0, run, metric), (-1.0, other, others)]);
    let scores: Vec<Vec<f64>> = size.studies.iter().filter_map(scores).collect();
    Crossed::of(&scores).map(|crossed| crossed.cell(ERROR))
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
        Size { model: "tiny".into(), studies: vec![Study { seed: 0, runs: runs.iter().map(run).collect() }] }
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
    fn a_difference_that_is_told_from_none_is_bold() {
        let cell = |mean: f64| Cell { mean, half_width: 0.03, seeds: 3 };
        assert_eq!(
            [0.04, -0.04, -0.01].map(|mean| shown(Some(cell(mean)))),
            ["**+4.0 ± 3.0**", "**−4.0 ± 3.0**", "−1.0 ± 3.0"]
        );
        let told =
            table(&[("ppo".into(), "sft".into())], true, &[size(&[("ppo", [1000; 4]), ("sft", [0; 4])])]).unwrap();
        assert!(told.markdown.contains("| `ppo` − `sft` | 1 | **+100.0 ± 0.0** | — | — |"), "{}", told.markdown);
        assert!(told.csv.contains("tiny,ppo,sft,maj@1,1.00000,0.00000,1\n"), "{}", told.csv);
    }
}
