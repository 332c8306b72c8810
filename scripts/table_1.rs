//! Table 1 of Havrilla et al. 2024. From SFT: what each method makes of a fine-tuned model.
//!
//! ```sh
//! cargo run -p scripts --release --bin table-1 -- runs/reproduce
//! ```

use anyhow::Result;
use clap::Parser;
use eval::{Agreement, Calibration, LabelCheck, OrmReport};
use scripts::{FROM_SFT, Row, Size, TableArgs, exit, mean_over_seeds, methods, read_studies};
use std::{fmt::Write, process::ExitCode};

/// The policy of return-conditioned RL, asked for what is wrong.
const ASKED_FOR_BAD: Row = ("RCRL, after [BAD]", "rcrl-bad");

/// What a reward model chooses that knows Expert Iteration's policy.
const RERANKED: Row = ("SFT, reranked with likelihood", "sft-likelihood");

/// Reward models: what they are called, and where their report is.
const JUDGES: [Row; 2] = [("reward model", "orm"), ("reward model with likelihood", "sft-likelihood")];

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<()> {
    let args = TableArgs::parse();
    let sizes = read_studies(&args.studies)?;
    let title = "Table 1. From SFT: what each method makes of a fine-tuned model. EI of distinct calculations, GRPO, RLOO and the \
                 last two rows are not in the paper's.";
    let mut table = methods(title, &[&FROM_SFT[..], &[ASKED_FOR_BAD, RERANKED]].concat(), &sizes)?;
    judged(&sizes, &mut table.markdown)?;
    table.put("table-1", &args.out)
}

/// What the reward models are worth on the finished solutions of held-out training questions, and what labels of prefixes are.
fn judged(sizes: &[Size], markdown: &mut String) -> Result<()> {
    let (mut models, mut labels) = (String::new(), String::new());
    for (size, (label, name)) in sizes.iter().flat_map(|size| JUDGES.map(|judge| (size, judge))) {
        let reports: Vec<&OrmReport> = size.of(name).filter_map(|run| run.reward_model.as_ref()).collect();
        let of = |what: &dyn Fn(&OrmReport) -> Option<f64>| {
            let values: Vec<f64> = reports.iter().filter_map(|report| what(report)).collect();
            mean_over_seeds(&values).map_or("—".into(), |cell| cell.shown(3))
        };
        let finished = |what: fn(&Calibration) -> f64| of(&move |report| report.finished.as_ref().map(what));
        if !reports.is_empty() {
            writeln!(
                models,
                "| `{}`, {label} | {} | {} | {} | {} | {} |",
                size.model,
                reports.len(),
                of(&|report| report.finished.as_ref()?.auc),
                of(&|report| report.within_questions),
                finished(|of| of.ece),
                finished(|of| of.accuracy)
            )?;
        }
        let checks: Vec<&LabelCheck> = reports.iter().filter_map(|report| report.labels.as_ref()).collect();
        if name == "orm" && !checks.is_empty() {
            let distance = |kind: fn(&LabelCheck) -> &Agreement| {
                of(&|report| Some(kind(report.labels.as_ref()?).squared_distance))
            };
            writeln!(
                labels,
                "| `{}` | {} | {} | {} | {} | {} |",
                size.model,
                checks.len(),
                checks.iter().map(|check| check.prefixes).sum::<usize>(),
                distance(|check| &check.outcome),
                distance(|check| &check.any),
                distance(|check| &check.share)
            )?;
        }
    }
    if !models.is_empty() {
        writeln!(
            markdown,
            "\n| reward model | seeds | AUC | among one question | expected calibration error | accuracy |\n\
             | --- | --- | --- | --- | --- | --- |\n{models}\nOn finished solutions of training questions that were held out; mean \
             over seeds ± half of a 95 % interval over seeds, where there are several. Expert Iteration has learnt from the held-out \
             questions too, so that its likelihood looks better there than on test questions. What that policy has cost is not in \
             the costs of the row that is reranked with its likelihood."
        )?;
    }
    if !labels.is_empty() {
        writeln!(
            markdown,
            "\n| labels of prefixes | seeds | prefixes | outcome | any right | share right |\n| --- | --- | --- | --- | --- | --- |\n\
             {labels}\nMean squared distance of a prefix's label from the share of right ones among many completions of it: the outcome \
             of its own sample, whether any of a few fresh completions is right (the paper's step labels), and their share. \
             Mean over seeds; prefixes of all seeds."
        )?;
    }
    Ok(())
}
