//! Table 1 of Havrilla et al. 2024. From SFT: what each method makes of a fine-tuned model.
//!
//! ```sh
//! cargo run -p scripts --release --bin table-1 -- runs/reproduce
//! ```

use anyhow::Result;
use clap::Parser;
use eval::{Calibration, OrmReport};
use scripts::{Cell, Row, Size, TableArgs, exit, mean_over_seeds, methods, read_studies};
use std::{fmt::Write, process::ExitCode};

const ROWS: [Row; 9] = [
    ("SFT", "sft"),
    ("SFT, reranked with likelihood", "sft-likelihood"),
    ("EI", "ei"),
    ("ORM EI", "ei-orm"),
    ("RCRL", "rcrl"),
    ("Sparse PPO", "ppo"),
    ("Dense PPO", "ppo-dense"),
    ("Sparse ORM PPO", "ppo-sparse-orm"),
    ("Dense ORM PPO", "ppo-dense-orm"),
];

/// Reward models: what they are called, and where their report is.
const JUDGES: [Row; 2] = [("reward model", "orm"), ("reward model with likelihood", "sft-likelihood")];

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<()> {
    let args = TableArgs::parse();
    let sizes = read_studies(&args.studies)?;
    let title = "Table 1. From SFT: what each method makes of a fine-tuned model.";
    let mut table = methods(title, &ROWS, &sizes)?;
    judged(&sizes, &mut table.markdown)?;
    table.put("table-1", &args.out)
}

/// What the reward models are worth on the finished solutions of held-out training questions.
fn judged(sizes: &[Size], markdown: &mut String) -> Result<()> {
    let heads = "| reward model | seeds | AUC | among one question | expected calibration error | accuracy |";
    let mut rows = String::new();
    for (size, (label, name)) in sizes.iter().flat_map(|size| JUDGES.map(|judge| (size, judge))) {
        let reports: Vec<&OrmReport> = size.of(name).filter_map(|run| run.reward_model.as_ref()).collect();
        let of = |what: &dyn Fn(&OrmReport) -> Option<f64>| {
            let values: Vec<f64> = reports.iter().filter_map(|report| what(report)).collect();
            let shown = |cell: Cell| match cell.seeds {
                1 => format!("{:.3}", cell.mean),
                _ => format!("{:.3} ± {:.3}", cell.mean, cell.half_width),
            };
            mean_over_seeds(&values).map_or("—".into(), shown)
        };
        let finished = |what: fn(&Calibration) -> f64| of(&move |report| report.finished.as_ref().map(what));
        if !reports.is_empty() {
            writeln!(
                rows,
                "| `{}`, {label} | {} | {} | {} | {} | {} |",
                size.model,
                reports.len(),
                of(&|report| report.finished.as_ref()?.auc),
                of(&|report| report.within_questions),
                finished(|of| of.ece),
                finished(|of| of.accuracy)
            )?;
        }
    }
    if !rows.is_empty() {
        writeln!(
            markdown,
            "\n{heads}\n| --- | --- | --- | --- | --- | --- |\n{rows}\nOn finished solutions of training questions that were held \
             out; mean over seeds ± half of a 95 % interval over seeds, where there are several. Expert Iteration has learnt from the \
             held-out questions too, so that its likelihood looks better there than on test questions."
        )?;
    }
    Ok(())
}
