//! The rollout engine: completions of many prompts, several a prompt, with a key/value cache. Knows no text and no reward.
//!
//! A prompt is read once for all its samples. A row leaves the batch when it ends, or soon after, and where rows share the keys
//! and values of their prompts others take the places of those that left (continuous batching). Which rows share a batch, and
//! which thread works on it, changes nothing but rounding: the random numbers belong to the row.

use crate::{
    cache::{Cache, row_index},
    padding::pad_right,
    parallel::parallel_map,
    random::{Key, uniform},
    sampling::sample,
    transformer::Transformer,
};
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// How to sample.
#[derive(Clone, Debug)]
pub struct GenerateConfig {
    /// Most tokens to write after the prompt, the end-of-sequence token included.
    pub max_new_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// What ends a row once it has been written: end-of-sequence tokens, each alone, or longer sequences.
    pub stops: Vec<Vec<u32>>,
    /// What a row reads beside its prompt, while it writes.
    pub forced: Option<Forced>,
    /// Most rows that are written together. Changes speed and memory, not the random numbers.
    pub rows: usize,
    /// Such batches worked on at once.
    pub threads: usize,
}

/// Tokens that a row reads after some of those that it writes. They are no part of the completion, and need room in the context.
#[derive(Clone, Debug)]
pub struct Forced {
    /// The ids after which they are read, where the row is not over by it.
    pub after: HashSet<u32>,
    /// What is read.
    pub tokens: Vec<u32>,
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
    /// Tokens of prompts that were read, each prompt once for all its samples in a stream, padding not counted; and forced tokens.
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
    let streams = plan(prompts, keys, config.rows.max(1));
    let done = parallel_map(
        &streams,
        config.threads,
        || model.for_decoding(),
        |model, _, rows| Stream::new(model, prompts, config, rows).run(keys, ended),
    );
    let mut completions: Vec<Vec<Option<Completion>>> = keys.iter().map(|keys| vec![None; keys.len()]).collect();
    let mut stats = GenerateStats::default();
    for (stream, (rows, of_stream)) in streams.iter().zip(done) {
        for (row, completion) in stream.iter().zip(rows) {
            completions[row.prompt][row.sample] = Some(completion);
        }
        stats.prompt_tokens += of_stream.prompt_tokens;
        stats.new_tokens += of_stream.new_tokens;
        stats.padding_tokens += of_stream.padding_tokens;
    }
    let unwrap = |row: Vec<Option<Completion>>| row.into_iter().map(|c| c.expect("every row was planned")).collect();
    (completions.into_iter().map(unwrap).collect(), stats)
}

/// One sample to write.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    prompt: usize,
    sample: usize,
}

/// Batches' worth of rows that one stream writes where there are many: the last rows of a stream have few beside them.
const BATCHES_PER_STREAM: usize = 4;

/// Streams that there are at least, where there are as many batches: what threads share among them. The number of threads itself
/// decides nothing, since it must not change a result.
const STREAMS: usize = 4;

/// Prompts by length, so that a batch has little padding, cut into streams of which at most `rows` rows are written together.
fn plan(prompts: &[Vec<u32>], keys: &[Vec<Key>], rows: usize) -> Vec<Vec<Row>> {
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|&prompt| prompts[prompt].len());
    let all: Vec<Row> =
        order.iter().flat_map(|&prompt| (0..keys[prompt].len()).map(move |sample| Row { prompt, sample })).collect();
    let batches = all.len().div_ceil(rows);
    let streams = batches.div_ceil(BATCHES_PER_STREAM).max(batches.min(STREAMS)).max(1);
    all.chunks(all.len().div_ceil(streams).max(1)).map(<[Row]>::to_vec).collect()
}

/// The prompts that a batch has read.
struct Read {
    /// In the order in which the cache holds them.
    prompts: Vec<usize>,
    /// Logits after each, `[P, V]`.
    logits: Tensor<2>,
}

impl Read {
    /// `[B, V]`: those after the prompts at `places`.
    fn logits_of(&self, places: &[usize]) -> Tensor<2> {
        self.logits.clone().select(0, row_index(places, &self.logits.device()))
    }
}

/// A batch under way: `live[i]` is the row that stands at place i of its tensors.
struct Batch {
    cache: Cache,
    read: Read,
    live: Vec<usize>,
    /// Logits of the next token, `[B, V]`.
    logits: Tensor<2>,
}

/// Writes the rows of a stream, at most `config.rows` together.
struct Stream<'a> {
    model: &'a Transformer,
    prompts: &'a [Vec<u32>],
    config: &'a GenerateConfig,
    rows: &'a [Row],
    completions: Vec<Completion>,
    /// Forced tokens that each row has read, and those that it is to read next.
    forced: Vec<usize>,
    pending: Vec<&'a [u32]>,
    /// The next row that has not begun.
    next: usize,
    stats: GenerateStats,
}

impl<'a> Stream<'a> {
    fn new(model: &'a Transformer, prompts: &'a [Vec<u32>], config: &'a GenerateConfig, rows: &'a [Row]) -> Self {
        let most = model.config.max_position_embeddings - 1;
        let fits = |row: &Row| (1..=most).contains(&prompts[row.prompt].len());
        assert!(rows.iter().all(fits), "prompts of 1 to {most} tokens");
        let empty = Completion { tokens: Vec::new(), log_probs: Vec::new(), finish: Finish::Length };
        Self {
            model,
            prompts,
            config,
            rows,
            completions: vec![empty; rows.len()],
            forced: vec![0; rows.len()],
            pending: vec![&[]; rows.len()],
            next: 0,
            stats: GenerateStats::default(),
        }
    }

    fn run(mut self, keys: &[Vec<Key>], ended: &(dyn Fn(usize) + Sync)) -> (Vec<Completion>, GenerateStats) {
        let mut batch = None;
        while let Some(Batch { cache, read, live, logits }) = self.fill(batch) {
            let key = |row: usize| keys[self.rows[row].prompt][self.rows[row].sample];
            let place = |row: usize| self.completions[row].tokens.len() as u64;
            let uniforms: Vec<f32> = live.iter().map(|&row| uniform(key(row), place(row))).collect();
            let (mut tokens, log_probs) = sample(logits, self.config.temperature, &uniforms);
            ended(self.write(&live, &mut tokens, &log_probs));
            batch = self.advance(cache, read, live, tokens);
        }
        self.stats.new_tokens = self.completions.iter().map(|completion| completion.tokens.len()).sum();
        self.stats.prompt_tokens += self.forced.iter().sum::<usize>();
        (self.completions, self.stats)
    }

    fn is_over(&self, row: usize) -> bool {
        let Completion { tokens, finish, .. } = &self.completions[row];
        *finish == Finish::Stop || tokens.len() == self.config.max_new_tokens || self.room(row) == 0
    }

    /// Tokens that a row's context has room for. By what the row itself has read and written alone, whatever stands beside it.
    fn room(&self, row: usize) -> usize {
        let taken = self.length(row) + self.pending[row].len();
        self.model.config.max_position_embeddings.saturating_sub(taken)
    }

    /// Tokens that a row has read and written.
    fn length(&self, row: usize) -> usize {
        self.prompts[self.rows[row].prompt].len() + self.completions[row].tokens.len() + self.forced[row]
    }

    /// Lets rows begin where enough of the places are free; `None` when all rows are over.
    fn fill(&mut self, batch: Option<Batch>) -> Option<Batch> {
        let most = self.config.rows.max(1);
        let free = most - batch.as_ref().map_or(0, |batch| batch.live.len());
        // Reading prompts in small numbers costs as much as it saves.
        let joins = batch.as_ref().is_none_or(|batch| batch.cache.shares_prompts() && free >= most.div_ceil(4));
        let coming: Vec<usize> = (self.next..self.rows.len()).take(free).collect();
        if coming.is_empty() || !joins {
            return batch;
        }
        self.next += coming.len();
        Some(match batch {
            None => self.begin(coming),
            Some(batch) => self.join(batch, coming),
        })
    }

    /// A batch of rows that begin together.
    fn begin(&mut self, rows: Vec<usize>) -> Batch {
        let room = (rows[0]..self.rows.len()).map(|row| self.room(row)).max().unwrap_or(0);
        let room = room.min(self.config.max_new_tokens);
        let (cache, read) = self.read(self.prompts_of(&rows));
        let of_row = self.places(&read, &rows);
        let slots = cache.filled() + room;
        Batch { cache: cache.spread(&of_row, slots), logits: read.logits_of(&of_row), read, live: rows }
    }

    /// The batch with rows that begin beside those that go on.
    fn join(&mut self, batch: Batch, rows: Vec<usize>) -> Batch {
        let Batch { mut cache, read, mut live, logits } = batch;
        // What was read stays for rows that go on or begin now; all samples of a prompt come one after the other.
        let mut needed = self.prompts_of(&rows);
        let is_needed = |prompt: &usize| needed.contains(prompt) || self.prompts_of(&live).contains(prompt);
        let kept: Vec<usize> = (0..read.prompts.len()).filter(|&place| is_needed(&read.prompts[place])).collect();
        let prompts: Vec<usize> = kept.iter().map(|&place| read.prompts[place]).collect();
        let mut read = Read { logits: read.logits_of(&kept), prompts };
        needed.retain(|prompt| !read.prompts.contains(prompt));
        let more = (!needed.is_empty()).then(|| {
            let (cache, more) = self.read(needed);
            read.prompts.extend(more.prompts);
            read.logits = Tensor::cat(vec![read.logits.clone(), more.logits], 0);
            cache
        });
        let of_row = self.places(&read, &rows);
        cache.join(&kept, more, &of_row);
        let logits = Tensor::cat(vec![logits, read.logits_of(&of_row)], 0);
        live.extend(rows);
        Batch { cache, read, live, logits }
    }

    /// The prompts of rows, each once: rows of a prompt stand together.
    fn prompts_of(&self, rows: &[usize]) -> Vec<usize> {
        let mut prompts: Vec<usize> = rows.iter().map(|&row| self.rows[row].prompt).collect();
        prompts.dedup();
        prompts
    }

    /// Where the prompts of rows stand among those that were read.
    fn places(&self, read: &Read, rows: &[usize]) -> Vec<usize> {
        let place = |row: &usize| read.prompts.iter().position(|&prompt| prompt == self.rows[*row].prompt);
        rows.iter().map(|row| place(row).expect("the prompt of a row was read")).collect()
    }

    fn read(&mut self, prompts: Vec<usize>) -> (Cache, Read) {
        let tokens: Vec<&[u32]> = prompts.iter().map(|&prompt| self.prompts[prompt].as_slice()).collect();
        let (cache, logits) = prefill(self.model, &tokens);
        let read: usize = tokens.iter().map(|prompt| prompt.len()).sum();
        self.stats.prompt_tokens += read;
        self.stats.padding_tokens += cache.filled() * tokens.len() - read;
        (cache, Read { prompts, logits })
    }

    /// Writes a token to each row that is not over, or puts one that it must read in its place; how many are over by it.
    fn write(&mut self, live: &[usize], tokens: &mut [u32], log_probs: &[f32]) -> usize {
        let mut ended = 0;
        for (place, &row) in live.iter().enumerate() {
            if self.is_over(row) {
                self.stats.padding_tokens += 1;
                continue;
            }
            if let Some((&token, others)) = self.pending[row].split_first() {
                (tokens[place], self.pending[row]) = (token, others);
                self.forced[row] += 1;
                continue;
            }
            let completion = &mut self.completions[row];
            completion.tokens.push(tokens[place]);
            completion.log_probs.push(log_probs[place]);
            if self.config.stops.iter().any(|stop| completion.tokens.ends_with(stop)) {
                completion.finish = Finish::Stop;
            }
            self.pending[row] = match &self.config.forced {
                Some(forced) if forced.after.contains(&tokens[place]) => &forced.tokens,
                _ => &[],
            };
            ended += usize::from(self.is_over(row));
        }
        ended
    }

    /// Lets rows go that are over, and reads what the others have written; `None` when none is left.
    fn advance(&self, mut cache: Cache, read: Read, mut live: Vec<usize>, mut tokens: Vec<u32>) -> Option<Batch> {
        let (over, going_on): (Vec<usize>, Vec<usize>) = (0..live.len()).partition(|&place| self.is_over(live[place]));
        if going_on.is_empty() {
            return None;
        }
        let rows = if cache.shares_prompts() { going_on.len() } else { halved(live.len(), going_on.len()) };
        if rows < live.len() {
            let staying: Vec<usize> = going_on.into_iter().chain(over).take(rows).collect();
            cache = cache.select(&staying);
            tokens = staying.iter().map(|&place| tokens[place]).collect();
            live = staying.iter().map(|&place| live[place]).collect();
        }
        let positions: Vec<usize> = live.iter().map(|&row| self.length(row) - 1).collect();
        let logits = decode(self.model, &tokens, &positions, &mut cache);
        Some(Batch { cache, read, live, logits })
    }
}

/// What a batch of `rows` shrinks to where the cache must be copied for it, which costs about a step: its half, or the half of
/// that, as long as the rows that go on fit. A batch has few sizes then, for which a GPU tunes its kernels once.
fn halved(mut rows: usize, going_on: usize) -> usize {
    while going_on <= rows / 2 {
        rows /= 2;
    }
    rows
}

/// Reads right-padded prompts; the logits after the last token of each, `[P, V]`.
fn prefill(model: &Transformer, prompts: &[&[u32]]) -> (Cache, Tensor<2>) {
    let device = &model.device();
    let lengths: Vec<usize> = prompts.iter().map(|p| p.len()).collect();
    let longest = lengths.iter().copied().max().expect("at least one prompt");
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
fn decode(model: &Transformer, tokens: &[u32], positions: &[usize], cache: &mut Cache) -> Tensor<2> {
    let device = &model.device();
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
        random::Purpose,
    };
    use burn::tensor::Device;

    fn narrow_model() -> Transformer {
        let config =
            ModelConfig { hidden_size: 8, intermediate_size: 8, ..ModelConfig::of_size(ModelSize::Tiny, 11, 0) };
        Transformer::init(&config, 1, &Device::default())
    }

    #[test]
    fn streams_hold_every_row_once_shortest_prompts_first_and_samples_of_a_prompt_together() {
        let prompts = vec![vec![1; 5], vec![1; 2], vec![1; 9]];
        let key = Key::new(0, Purpose::Rollout);
        let keys = vec![vec![key; 2], vec![key; 3], vec![key; 1]];
        let of_stream = |rows: &Vec<Row>| rows.iter().map(|row| (row.prompt, row.sample)).collect::<Vec<_>>();
        let rows: Vec<_> = plan(&prompts, &keys, 4).iter().map(of_stream).collect();
        assert_eq!(rows, [[(1, 0), (1, 1), (1, 2)], [(0, 0), (0, 1), (2, 0)]]);
    }

    #[test]
    fn many_rows_are_cut_into_streams_of_four_batches_and_few_into_as_many_as_threads_may_want() {
        let lengths = |samples: u64| -> Vec<usize> {
            let keys = vec![(0..samples).map(|i| Key::new(i, Purpose::Rollout)).collect()];
            plan(&[vec![1]], &keys, 8).iter().map(Vec::len).collect()
        };
        assert_eq!(lengths(320), [32; 10]);
        assert_eq!(lengths(48), [12; 4]);
        assert_eq!(lengths(12), [6; 2]);
        assert_eq!(lengths(3), [3]);
    }

    #[test]
    fn rows_that_wait_take_the_places_of_rows_that_have_ended() {
        let model = narrow_model();
        let keys: Vec<Vec<Key>> = vec![(0..128).map(|i| Key::new(i, Purpose::Rollout)).collect()];
        // So warm that rows end at places of their own, not all at the last.
        let stops = (3..8).map(|id| vec![id]).collect();
        let config = GenerateConfig { max_new_tokens: 12, temperature: 5.0, stops, forced: None, rows: 8, threads: 1 };
        let steps = std::sync::atomic::AtomicUsize::new(0);
        let step = |_| _ = steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (completions, stats) = generate(&model, &[vec![1, 2]], &keys, &config, &step);
        // Four streams, each of which reads the prompt once.
        assert_eq!((stats.prompt_tokens, stats.padding_tokens), (8, 0));
        let lengths: Vec<usize> = completions[0].iter().map(|completion| completion.tokens.len()).collect();
        let of_batches: usize = lengths.chunks(8).map(|lengths| lengths.iter().max().unwrap()).sum();
        let steps = steps.into_inner();
        assert!(stats.new_tokens <= 8 * steps && steps * 10 < of_batches * 9, "{steps} steps, {of_batches} of batches");
        let together = generate(&model, &[vec![1, 2]], &keys, &GenerateConfig { rows: 128, ..config }, &|_| ()).0;
        let tokens = |of: &[Completion]| of.iter().map(|completion| completion.tokens.clone()).collect::<Vec<_>>();
        assert_eq!(tokens(&completions[0]), tokens(&together[0]));
    }

    #[test]
    fn positions_that_belong_to_no_row_are_counted_as_padding() {
        let model = narrow_model();
        let config = GenerateConfig {
            max_new_tokens: 4,
            temperature: 1.0,
            stops: Vec::new(),
            forced: None,
            rows: 8,
            threads: 1,
        };
        let keys = vec![vec![Key::new(0, Purpose::Rollout)]; 2];
        let (_, stats) = generate(&model, &[vec![1; 5], vec![1; 2]], &keys, &config, &|_| ());
        assert_eq!(stats, GenerateStats { prompt_tokens: 7, new_tokens: 8, padding_tokens: 3 });
        let nothing = generate(&model, &[], &[], &config, &|_| ());
        assert_eq!(nothing, (Vec::new(), GenerateStats::default()));
    }

    #[test]
    fn a_batch_is_halved_while_those_that_go_on_fit() {
        assert_eq!(
            [(8, 8), (8, 5), (8, 4), (8, 3), (8, 1), (5, 2), (1, 1)].map(|(a, b)| halved(a, b)),
            [8, 8, 4, 4, 1, 2, 1]
        );
    }

    #[test]
    fn a_row_that_has_ended_leaves_at_once_or_where_the_cache_is_copied_once_half_of_them_have() {
        let model = narrow_model();
        let keys: Vec<Vec<Key>> = vec![(0..8).map(|i| Key::new(i, Purpose::Rollout)).collect()];
        let config = GenerateConfig {
            max_new_tokens: 12,
            temperature: 1.0,
            stops: vec![vec![3], vec![4]],
            forced: None,
            rows: 8,
            threads: 1,
        };
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
            places = halved(places, running.max(1));
        }
        assert!(padding > 0, "the test needs rows of different lengths: {lengths:?}");
        assert_eq!(stats.padding_tokens, padding);
    }
}
