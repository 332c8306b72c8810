//! The rollout engine: completions of many prompts, several per prompt, with a key/value cache. Independent of text and rewards.
//!
//! A prompt is read once for all its samples. A row leaves the batch when it ends, or soon after, and where rows share the keys
//! and values of their prompts others take the places of those that left (continuous batching). Which rows share a batch, and
//! which thread works on it, changes nothing but rounding: the random numbers belong to the row.

mod engine;
mod sampling;
mod types;

pub use types::{Completion, Finish, GenerateConfig, GenerateStats, Given, Giver};

use crate::{parallel::parallel_map, random::Key, ranks, transformer::Transformer};
use engine::{Stream, plan};

/// Samples one completion for every key of every prompt.
///
/// `ended` is called now and then with the number of rows that have ended since, for a progress bar.
///
/// # Panics
/// If a prompt is empty or leaves no room in the model's context. Callers check that first, and name the prompt.
pub fn generate(
    model: &Transformer,
    prompts: &[Vec<u32>],
    keys: &[Vec<Key>],
    config: &GenerateConfig,
    ended: &(dyn Fn(usize) + Sync),
) -> (Vec<Vec<Completion>>, GenerateStats) {
    generate_each(model, prompts, keys, config, ended, &|_, _, _| ())
}

/// As [`generate`]; `each` is called with prompt, sample and completion as soon as one has ended, in any order and from any thread.
///
/// # Panics
/// As [`generate`].
pub fn generate_each(
    model: &Transformer,
    prompts: &[Vec<u32>],
    keys: &[Vec<Key>],
    config: &GenerateConfig,
    ended: &(dyn Fn(usize) + Sync),
    each: &(dyn Fn(usize, usize, &Completion) + Sync),
) -> (Vec<Vec<Completion>>, GenerateStats) {
    assert_eq!(prompts.len(), keys.len(), "one list of keys a prompt");
    let streams = plan(prompts, keys, config.rows.max(1), config.streams);
    // Other ranks see what a rank has written at the end.
    let several = ranks::ranks() > 1;
    let here: &(dyn Fn(usize, usize, &Completion) + Sync) = if several { &|_, _, _| () } else { each };
    let done = parallel_map(
        &streams,
        config.threads,
        || model.for_decoding(),
        |model, _, rows| Stream::new(model, prompts, config, rows).run(keys, ended, here),
    );
    let mut completions: Vec<Vec<Option<Completion>>> = keys.iter().map(|keys| vec![None; keys.len()]).collect();
    let mut stats = GenerateStats::default();
    for (stream, (rows, of_stream)) in streams.iter().zip(done) {
        for (row, completion) in stream.iter().zip(rows) {
            if several {
                each(row.prompt, row.sample, &completion);
            }
            completions[row.prompt][row.sample] = Some(completion);
        }
        stats.prompt_tokens += of_stream.prompt_tokens;
        stats.new_tokens += of_stream.new_tokens;
        stats.padding_tokens += of_stream.padding_tokens;
    }
    let unwrap = |row: Vec<Option<Completion>>| row.into_iter().map(|c| c.expect("every row was planned")).collect();
    (completions.into_iter().map(unwrap).collect(), stats)
}

#[cfg(test)]
mod tests;
