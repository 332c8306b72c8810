//! What reward models score on held-out training questions, below the table of the methods that they serve.

use super::rendered::cell_or_dash;
use crate::{
    results::{Size, mean_over_seeds},
    study::Row,
};
use anyhow::Result;
use eval::{Agreement, Calibration, LabelCheck, OrmReport};
use std::fmt::Write;

/// Two tables: reward models on finished solutions, by row; and the labels of prefixes that the first row's model learns from.
pub fn append(rows: &[Row], sizes: &[Size], markdown: &mut String) -> Result<()> {
    let (mut models, mut labels) = (String::new(), String::new());
    for (size, (place, (label, name))) in
        sizes.iter().flat_map(|size| rows.iter().enumerate().map(move |row| (size, row)))
    {
        let reports: Vec<&OrmReport> = size.of(name).filter_map(|run| run.reward_model.as_ref()).collect();
        let of = |what: &dyn Fn(&OrmReport) -> Option<f64>| {
            let values: Vec<f64> = reports.iter().filter_map(|report| what(report)).collect();
            cell_or_dash(mean_over_seeds(&values), 3)
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
        if place == 0 && !checks.is_empty() {
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
             over seeds ± half of a 95 % interval over seeds, where there are several. Expert Iteration was trained on the held-out \
             questions too, so that its likelihood is better there than on test questions. What that policy has cost is not in \
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
