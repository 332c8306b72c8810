//! Exhibits: tables, figures and claims, each made of results as the study declares it, for people and for programs. Independent of how
//! runs are done.

mod claims;
mod classes;
mod differences;
mod figures;
mod methods;
pub mod page;
pub(crate) mod plot;
pub(crate) mod rendered;
mod reward_models;
mod rounds;

use crate::{
    results::Size,
    study::{Exhibit, Kind, Study},
};
use anyhow::Result;

pub use differences::differences;
pub use rendered::Rendered;

/// Makes an exhibit of results.
///
/// # Errors
/// If its runs are missing, or results belong to different questions.
pub fn render(study: &Study, exhibit: &Exhibit, sizes: &[Size]) -> Result<Rendered> {
    let title = exhibit.title.as_str();
    match &exhibit.kind {
        Kind::Methods { rows, reward_models } => {
            let mut table = methods::methods(title, rows, sizes, &study.reference)?;
            reward_models::append(reward_models, sizes, &mut table.markdown)?;
            Ok(table)
        }
        Kind::Rounds { rows } => rounds::rounds(title, rows, sizes),
        Kind::Classes { rows, by } => classes::classes(title, rows, *by, sizes),
        Kind::Differences { pairs, reranked } => {
            let of_run = |(other, runs): &(String, Vec<String>)| {
                runs.iter().map(|run| (run.clone(), other.clone())).collect::<Vec<_>>()
            };
            differences(title, &pairs.iter().flat_map(of_run).collect::<Vec<_>>(), reranked, sizes)
        }
        Kind::Passes { rows } => figures::passes(title, rows, sizes),
        Kind::Curves(curves) => figures::curves(study, title, curves, sizes),
        Kind::Claims => claims::claims(study, title, sizes),
    }
}
