//! Completions of a policy that expects labels (return-conditioned RL): each line, or the whole solution, is written after the
//! label of what is asked for. The labels are read by the policy and are no part of a completion.

use crate::{policy::Policy, sample::SampleConfig};
use data::{Conditioning, Tokenizer};
use model::{Completion, Finish, GenerateConfig, GenerateStats, Key, generate};
use std::collections::HashMap;

/// K completions of every prompt. `key` gives the random numbers of (problem, sample); each line has draws of its own.
pub(crate) fn complete(
    policy: &Policy,
    conditioning: Conditioning,
    prompts: &[Vec<u32>],
    config: &SampleConfig,
    key: impl Fn(usize, usize) -> Key,
    ended: &(dyn Fn(usize) + Sync),
) -> (Vec<Vec<Completion>>, GenerateStats) {
    let (tokenizer, goal) = (&policy.tokenizer, config.prompting.goal);
    let first = tokenizer.encode(&goal.first_label(config.prompting.style));
    let stops = policy.stops(&config.prompting);
    let line_ends = match conditioning {
        Conditioning::Lines => tokens_with_line_end(tokenizer),
        Conditioning::Solutions => Vec::new(),
    };
    let label = tokenizer.encode(&goal.label());
    let context = policy.model.config.max_position_embeddings;
    let generate_config = GenerateConfig {
        max_new_tokens: config.max_new_tokens,
        temperature: config.temperature,
        stops: stops.iter().cloned().chain(line_ends.iter().map(|&id| vec![id])).collect(),
        rows: config.rows,
        threads: config.threads,
    };
    let mut rows: Vec<Row> = (0..prompts.len())
        .flat_map(|problem| (0..config.samples).map(move |sample| (problem, sample)))
        .map(|(problem, sample)| Row {
            read: [prompts[problem].as_slice(), &first].concat(),
            written: Completion { tokens: Vec::new(), log_probs: Vec::new(), finish: Finish::Length },
            key: key(problem, sample),
            is_open: true,
        })
        .collect();
    let mut stats = GenerateStats::default();
    for line in 0.. {
        // A row that has no room for another token has ended.
        for row in rows.iter_mut().filter(|row| row.is_open) {
            let is_full = row.read.len() >= context || row.written.tokens.len() >= config.max_new_tokens;
            if is_full {
                row.is_open = false;
                ended(1);
            }
        }
        let groups = alike(&rows);
        if groups.is_empty() {
            break;
        }
        let beginnings: Vec<Vec<u32>> = groups.iter().map(|group| rows[group[0]].read.clone()).collect();
        let keys_of = |group: &Vec<usize>| group.iter().map(|&row| rows[row].key.with(line)).collect();
        let keys: Vec<Vec<Key>> = groups.iter().map(keys_of).collect();
        let (lines, of_line) = generate(&policy.model, &beginnings, &keys, &generate_config, &|_| ());
        stats.prompt_tokens += of_line.prompt_tokens;
        stats.new_tokens += of_line.new_tokens;
        stats.padding_tokens += of_line.padding_tokens;
        for (&row, line) in groups.iter().flatten().zip(lines.into_iter().flatten()) {
            let row = &mut rows[row];
            row.append(line, config.max_new_tokens);
            let is_whole = stops.iter().any(|stop| row.written.tokens.ends_with(stop));
            let goes_on = row.written.finish == Finish::Stop && !is_whole;
            if goes_on {
                row.read.extend(&label);
            } else {
                row.is_open = false;
                ended(1);
            }
        }
    }
    // A row that was open when its room ended was cut, although its last line had ended.
    let mut written = rows.into_iter().map(|row| {
        let is_whole = stops.iter().any(|stop| row.written.tokens.ends_with(stop));
        Completion { finish: if is_whole { Finish::Stop } else { Finish::Length }, ..row.written }
    });
    let completions = (0..prompts.len()).map(|_| written.by_ref().take(config.samples).collect()).collect();
    (completions, stats)
}

/// The open rows, those together that have read the same: samples of one prompt, which is read once.
fn alike(rows: &[Row]) -> Vec<Vec<usize>> {
    let (mut places, mut groups) = (HashMap::new(), Vec::<Vec<usize>>::new());
    for (place, row) in rows.iter().enumerate().filter(|(_, row)| row.is_open) {
        let group = *places.entry(&row.read).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(place);
    }
    groups
}

struct Row {
    /// Prompt, labels and what was written.
    read: Vec<u32>,
    written: Completion,
    key: Key,
    is_open: bool,
}

impl Row {
    /// Takes up a line, as far as there is room.
    fn append(&mut self, line: Completion, most: usize) {
        let room = most - self.written.tokens.len();
        let is_cut = line.tokens.len() > room;
        let count = line.tokens.len().min(room);
        self.read.extend(&line.tokens[..count]);
        self.written.tokens.extend(&line.tokens[..count]);
        self.written.log_probs.extend(&line.log_probs[..count]);
        self.written.finish = if is_cut { Finish::Length } else { line.finish };
    }
}

/// Every token that ends a line.
fn tokens_with_line_end(tokenizer: &Tokenizer) -> Vec<u32> {
    (0..tokenizer.vocab_size() as u32).filter(|&id| tokenizer.decode(&[id]).contains('\n')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Purpose;

    #[test]
    fn open_rows_that_have_read_the_same_are_samples_of_one_prompt() {
        let row = |read: &[u32], is_open| Row {
            read: read.to_vec(),
            written: Completion { tokens: Vec::new(), log_probs: Vec::new(), finish: Finish::Length },
            key: Key::new(0, Purpose::Evaluation),
            is_open,
        };
        let rows = [row(&[1], true), row(&[1, 2], true), row(&[1], false), row(&[1], true)];
        assert_eq!(alike(&rows), [vec![0, 3], vec![1]]);
    }
}
