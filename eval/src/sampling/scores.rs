//! The scores that a reward model gives to samples.

use super::{completions::SampleConfig, sample::Sample};
use crate::models::reward_model::RewardModel;
use anyhow::{Result, ensure};
use data::{Example, Prompting, encode_written};
use model::{Finish, ScoreKind};
use std::collections::HashMap;

/// A score below all others, of an empty completion: a relative score has no least value of its own.
const BELOW_ALL: f64 = f64::MIN;

/// Scores samples with a reward model. It reads no solved problems before a question, and of what is longer than its
/// context the beginning.
///
/// # Errors
/// A chat style without a template, a question that fills the context.
pub fn score(reward_model: &RewardModel, samples: &mut [&mut Sample], config: &SampleConfig) -> Result<()> {
    let prompting = Prompting::bare(config.prompting.format.clone());
    let context = reward_model.model.language_model.config.max_position_embeddings;
    let row = |sample: &&mut Sample| {
        let ended = sample.finish == Finish::Stop;
        let Sample { question, completion, .. } = &**sample;
        let mut row = encode_written(&reward_model.tokenizer, &prompting, question, completion, ended)?;
        ensure!(row.prompt_len < context, "the question of {} fills the reward model's context", sample.id);
        row.tokens.truncate(context);
        Ok(row)
    };
    let rows = samples.iter().map(row).collect::<Result<Vec<Example>>>()?;
    // Equal completions of a question are scored once; an empty completion has the least score.
    let mut distinct: Vec<Example> = Vec::new();
    let mut places: HashMap<(&[u32], usize), usize> = HashMap::new();
    for row in rows.iter().filter(|row| row.tokens.len() > row.prompt_len) {
        places.entry((&row.tokens, row.prompt_len)).or_insert_with(|| {
            distinct.push(row.clone());
            distinct.len() - 1
        });
    }
    let least = if reward_model.kind() == ScoreKind::Relative { BELOW_ALL } else { 0.0 };
    let scores = reward_model.scores(&distinct, config.rows, config.threads);
    for (sample, row) in samples.iter_mut().zip(&rows) {
        let of_row = places.get(&(row.tokens.as_slice(), row.prompt_len)).and_then(|&place| scores[place].last());
        sample.score = Some(of_row.map_or(least, |&last| f64::from(last)));
    }
    Ok(())
}
