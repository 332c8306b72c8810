//! The rollout engine: completions of many prompts, several a prompt, with a key/value cache. Knows no text and no reward.
//!
//! A prompt is read once for all its samples. A row leaves the batch when it ends, or soon after. Which rows share a batch, and which
//! thread works on it, changes nothing but rounding: the random numbers belong to the row.

use crate::{
    cache::{Cache, row_index},
    padding::pad_right,
    parallel::parallel_map,
    sampling::{Key, sample, uniform},
    transformer::Transformer,
};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// How to sample.
#[derive(Clone, Debug)]
pub struct GenerateConfig {
    /// Most tokens to write after the prompt, the end-of-sequence token included.
    pub max_new_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// What ends a row once it has been written: end-of-sequence tokens, each alone, or longer sequences.
    pub stops: Vec<Vec<u32>>,
    /// Most rows of one batch. Changes speed and memory, not the random numbers.
    pub rows: usize,
    /// Batches worked on at once.
    pub threads: usize,
}

/// One sample of one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// What was written, the sequence that ended it included where there is one.
    pub tokens: Vec<u32>,
    /// Natural log-probability of each token under the full distribution at temperature 1.
    pub log_probs: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model wrote one of the sequences that end a row.
    Stop,
    /// `max_new_tokens` were written, or the model's context was full.
    Length,
}

/// What the work consisted of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenerateStats {
    /// Tokens of prompts that were read, each prompt once a batch, padding not counted.
    pub prompt_tokens: usize,
    /// Tokens that were written.
    pub new_tokens: usize,
    /// Positions that were computed and belong to no row: padding of prompts, and rows that had ended.
    pub padding_tokens: usize,
}

/// Samples one completion for every key of every prompt.
///
/// `ended` is told the number of rows that ended now and then, for a progress bar.
///
/// # Panics
/// If a prompt is empty or leaves no room in the model's context: callers check, and name the prompt.
pub fn generate(
    model: &Transformer,
    prompts: &[Vec<u32>],
    keys: &[Vec<Key>],
    config: &GenerateConfig,
    ended: &(dyn Fn(usize) + Sync),
) -> (Vec<Vec<Completion>>, GenerateStats) {
    assert_eq!(prompts.len(), keys.len(), "one list of keys a prompt");
    let batches = plan(prompts, keys, config.rows.max(1));
    let device = model.device();
    let done = parallel_map(
        &batches,
        config.threads,
        || model.clone(),
        |model, _, batch| run_batch(model, prompts, keys, batch, config, ended, &device),
    );
    let mut completions: Vec<Vec<Option<Completion>>> = keys.iter().map(|keys| vec![None; keys.len()]).collect();
    let mut stats = GenerateStats::default();
    for (batch, (rows, of_batch)) in batches.iter().zip(done) {
        for (row, completion) in batch.rows.iter().zip(rows) {
            completions[row.prompt][row.sample] = Some(completion);
        }
        stats.prompt_tokens += of_batch.prompt_tokens;
        stats.new_tokens += of_batch.new_tokens;
        stats.padding_tokens += of_batch.padding_tokens;
    }
    let unwrap = |row: Vec<Option<Completion>>| row.into_iter().map(|c| c.expect("every row was planned")).collect();
    (completions.into_iter().map(unwrap).collect(), stats)
}

#[derive(Clone, Copy)]
struct Row {
    prompt: usize,
    sample: usize,
}

struct Batch {
    rows: Vec<Row>,
}

/// Prompts by length, so that a batch has little padding, cut into batches of at most `rows` rows.
fn plan(prompts: &[Vec<u32>], keys: &[Vec<Key>], rows: usize) -> Vec<Batch> {
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|&prompt| prompts[prompt].len());
    let all: Vec<Row> =
        order.iter().flat_map(|&prompt| (0..keys[prompt].len()).map(move |sample| Row { prompt, sample })).collect();
    all.chunks(rows).map(|rows| Batch { rows: rows.to_vec() }).collect()
}

fn run_batch(
    model: &Transformer,
    prompts: &[Vec<u32>],
    keys: &[Vec<Key>],
    batch: &Batch,
    config: &GenerateConfig,
    ended: &(dyn Fn(usize) + Sync),
    device: &Device,
) -> (Vec<Completion>, GenerateStats) {
    let row_keys: Vec<Key> = batch.rows.iter().map(|row| keys[row.prompt][row.sample]).collect();
    // The prompts of this batch, each once; rows of one prompt stand together.
    let mut distinct: Vec<usize> = batch.rows.iter().map(|row| row.prompt).collect();
    distinct.dedup();
    let prompt_of_row: Vec<usize> =
        batch.rows.iter().map(|row| distinct.iter().position(|&p| p == row.prompt).expect("listed above")).collect();
    let prompts: Vec<&[u32]> = distinct.iter().map(|&prompt| prompts[prompt].as_slice()).collect();
    let longest = prompts.iter().map(|p| p.len()).max().expect("a batch has rows");
    let context = model.config.max_position_embeddings;
    assert!(prompts.iter().all(|p| !p.is_empty()) && longest < context, "prompts of 1 to {} tokens", context - 1);
    // A row's room depends on its own prompt alone, so that it does not depend on the rows beside it.
    let room_of_row = |&prompt: &usize| config.max_new_tokens.min(context - prompts[prompt].len());
    let rooms: Vec<usize> = prompt_of_row.iter().map(room_of_row).collect();
    let room = rooms.iter().copied().max().unwrap_or(0);

    let (mut cache, logits) = prefill(model, &prompts, longest, device);
    cache = cache.spread(&prompt_of_row, longest + room);
    let mut logits = logits.select(0, row_index(&prompt_of_row, device));

    let mut completions: Vec<Completion> = batch
        .rows
        .iter()
        .map(|_| Completion { tokens: Vec::new(), log_probs: Vec::new(), finish: Finish::Length })
        .collect();
    // `live[i]` is the row that stands at place i of the tensors; ended rows stay there until enough have ended.
    let mut live: Vec<usize> = (0..completions.len()).collect();
    let mut over = vec![false; completions.len()];
    let prompt_tokens: usize = prompts.iter().map(|p| p.len()).sum();
    let mut padding_tokens = longest * prompts.len() - prompt_tokens;
    for position in 0..room {
        let uniforms: Vec<f32> = live.iter().map(|&row| uniform(row_keys[row], position as u64)).collect();
        let (tokens, log_probs) = sample(logits, config.temperature, &uniforms);
        let mut ended_now = 0;
        for (place, &row) in live.iter().enumerate() {
            if over[row] {
                padding_tokens += 1;
                continue;
            }
            let token = tokens[place];
            completions[row].tokens.push(token);
            completions[row].log_probs.push(log_probs[place]);
            if config.stops.iter().any(|stop| completions[row].tokens.ends_with(stop)) {
                completions[row].finish = Finish::Stop;
            }
            if completions[row].finish == Finish::Stop || position + 1 == rooms[row] {
                over[row] = true;
                ended_now += 1;
            }
        }
        ended(ended_now);
        let running = live.iter().filter(|&&row| !over[row]).count();
        if running == 0 {
            break;
        }
        let mut next_tokens = tokens;
        // Where the cache must be copied for it, which costs about a step, rows leave once a quarter of them has ended.
        if running * 4 <= live.len() * 3 || cache.lets_rows_go() {
            let kept: Vec<usize> = (0..live.len()).filter(|&place| !over[live[place]]).collect();
            cache = cache.select(&kept);
            next_tokens = kept.iter().map(|&place| next_tokens[place]).collect();
            live = kept.iter().map(|&place| live[place]).collect();
        }
        let positions: Vec<usize> = live.iter().map(|&row| prompts[prompt_of_row[row]].len() + position).collect();
        logits = decode(model, &next_tokens, &positions, &mut cache, device);
    }
    let new_tokens = completions.iter().map(|c| c.tokens.len()).sum();
    (completions, GenerateStats { prompt_tokens, new_tokens, padding_tokens })
}

/// Reads right-padded prompts; the logits after the last token of each, `[P, V]`.
fn prefill(model: &Transformer, prompts: &[&[u32]], longest: usize, device: &Device) -> (Cache, Tensor<2>) {
    let lengths: Vec<usize> = prompts.iter().map(|p| p.len()).collect();
    let tokens = pad_right(prompts, device);
    let mut cache = Cache::new(&model.config, prompts.len(), longest, device);
    let rotary = model.rotary_range(0..longest, device);
    let hidden = model.run_cached(model.embed(tokens), &rotary, &mut cache);
    cache.hide_padding(&lengths);
    let last: Vec<usize> = lengths.iter().enumerate().map(|(row, length)| row * longest + length - 1).collect();
    let width = model.config.hidden_size;
    let rows = hidden.reshape([prompts.len() * longest, width]).select(0, row_index(&last, device));
    (cache, head(model, rows.reshape([prompts.len(), 1, width])))
}

/// One token a row; the logits after it, `[B, V]`.
fn decode(model: &Transformer, tokens: &[u32], positions: &[usize], cache: &mut Cache, device: &Device) -> Tensor<2> {
    let ids: Vec<i32> = tokens.iter().map(|&id| id as i32).collect();
    let tokens: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, [tokens.len(), 1]), device);
    let rotary = model.rotary_rows(positions, device);
    let hidden = model.run_cached(model.embed(tokens), &rotary, cache);
    head(model, hidden)
}

/// `[B, 1, D]` to `[B, V]`.
fn head(model: &Transformer, hidden: Tensor<3>) -> Tensor<2> {
    let [batch, _, width] = hidden.dims();
    model.logits_of_rows(model.final_norm(hidden).reshape([batch, width]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{ModelConfig, ModelSize},
        fused,
        sampling::Purpose,
    };

    #[test]
    fn batches_hold_every_row_once_shortest_prompts_first_and_samples_of_a_prompt_together() {
        let prompts = vec![vec![1; 5], vec![1; 2], vec![1; 9]];
        let key = Key::new(0, Purpose::Rollout);
        let keys = vec![vec![key; 2], vec![key; 3], vec![key; 1]];
        let of_batch = |batch: &Batch| batch.rows.iter().map(|row| (row.prompt, row.sample)).collect::<Vec<_>>();
        let rows: Vec<_> = plan(&prompts, &keys, 4).iter().map(of_batch).collect();
        assert_eq!(rows, [vec![(1, 0), (1, 1), (1, 2), (0, 0)], vec![(0, 1), (2, 0)]]);
    }

    #[test]
    fn positions_that_belong_to_no_row_are_counted_as_padding() {
        let config =
            ModelConfig { hidden_size: 8, intermediate_size: 8, ..ModelConfig::of_size(ModelSize::Tiny, 11, 0) };
        let model = Transformer::init(&config, 1, &Device::default());
        let config = GenerateConfig { max_new_tokens: 4, temperature: 1.0, stops: Vec::new(), rows: 8, threads: 1 };
        let keys = vec![vec![Key::new(0, Purpose::Rollout)]; 2];
        let (_, stats) = generate(&model, &[vec![1; 5], vec![1; 2]], &keys, &config, &|_| ());
        assert_eq!(stats, GenerateStats { prompt_tokens: 7, new_tokens: 8, padding_tokens: 3 });
        let nothing = generate(&model, &[], &[], &config, &|_| ());
        assert_eq!(nothing, (Vec::new(), GenerateStats::default()));
    }

    #[test]
    fn a_row_that_has_ended_leaves_at_once_or_where_the_cache_is_copied_once_a_quarter_has() {
        let config =
            ModelConfig { hidden_size: 8, intermediate_size: 8, ..ModelConfig::of_size(ModelSize::Tiny, 11, 0) };
        let model = Transformer::init(&config, 1, &Device::default());
        let keys: Vec<Vec<Key>> = vec![(0..8).map(|i| Key::new(i, Purpose::Rollout)).collect()];
        let config =
            GenerateConfig { max_new_tokens: 12, temperature: 1.0, stops: vec![vec![3], vec![4]], rows: 8, threads: 1 };
        let generate = || generate(&model, &[vec![1, 2]], &keys, &config, &|_| ());
        assert_eq!(generate().1.padding_tokens, 0);
        let (completions, stats) = fused::plainly(generate);
        // Replays the rule on the lengths that came out.
        let lengths: Vec<usize> = completions[0].iter().map(|completion| completion.tokens.len()).collect();
        let (mut places, mut padding) = (8, 0);
        for position in 0..*lengths.iter().max().unwrap() {
            let before = lengths.iter().filter(|&&length| length > position).count();
            padding += places - before;
            let running = lengths.iter().filter(|&&length| length > position + 1).count();
            if running * 4 <= places * 3 {
                places = running;
            }
        }
        assert!(padding > 0, "the test needs rows of different lengths: {lengths:?}");
        assert_eq!(stats.padding_tokens, padding);
    }
}
