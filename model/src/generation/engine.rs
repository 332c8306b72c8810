//! Streams of rows that are written together: what is read, who leaves a batch, and who takes a free place.

use super::{
    sampling::sample,
    types::{Completion, Finish, GenerateConfig, GenerateStats, Given},
};
use crate::{
    padding::pad_right,
    random::{Key, uniform},
    transformer::{
        Transformer,
        cache::{Cache, row_index},
    },
};
use burn::tensor::{Int, Tensor, TensorData};
use std::collections::VecDeque;

/// One sample to write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) prompt: usize,
    pub(super) sample: usize,
}

/// Batches of rows per stream, if there are many: the last rows of a stream run in small batches.
const BATCHES_PER_STREAM: usize = 4;

/// Streams that there are at least, where there are as many batches and nothing else is asked for: what threads share among them. The number
/// of threads itself decides nothing, since it must not change a result.
const STREAMS: usize = 4;

/// Prompts by length, so that a batch has little padding, cut into streams of which at most `rows` rows are written together. There are at
/// least as many `streams` as are asked for, where there are as many rows.
pub(super) fn plan(prompts: &[Vec<u32>], keys: &[Vec<Key>], rows: usize, streams: Option<usize>) -> Vec<Vec<Row>> {
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|&prompt| prompts[prompt].len());
    let all: Vec<Row> =
        order.iter().flat_map(|&prompt| (0..keys[prompt].len()).map(move |sample| Row { prompt, sample })).collect();
    let batches = all.len().div_ceil(rows);
    let at_least = streams.map_or(batches.min(STREAMS), |streams| streams.min(all.len()));
    let streams = batches.div_ceil(BATCHES_PER_STREAM).max(at_least).max(1);
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

/// Given tokens that a row is to read next.
#[derive(Clone, Default)]
struct Pending {
    tokens: VecDeque<u32>,
    /// Whether they are part of the completion.
    shown: bool,
}

/// Writes the rows of a stream, at most `config.rows` together.
pub(super) struct Stream<'a> {
    model: &'a Transformer,
    prompts: &'a [Vec<u32>],
    config: &'a GenerateConfig,
    rows: &'a [Row],
    completions: Vec<Completion>,
    /// Hidden given tokens that each row has read.
    hidden: Vec<usize>,
    pending: Vec<Pending>,
    /// The next row that has not begun.
    next: usize,
    stats: GenerateStats,
}

impl<'a> Stream<'a> {
    pub(super) fn new(
        model: &'a Transformer,
        prompts: &'a [Vec<u32>],
        config: &'a GenerateConfig,
        rows: &'a [Row],
    ) -> Self {
        let most = model.config.max_position_embeddings - 1;
        let fits = |row: &Row| (1..=most).contains(&prompts[row.prompt].len());
        assert!(rows.iter().all(fits), "prompts of 1 to {most} tokens");
        let empty = Completion {
            tokens: Vec::new(),
            log_probs: Vec::new(),
            server_log_probs: None,
            given: Vec::new(),
            finish: Finish::Length,
        };
        Self {
            model,
            prompts,
            config,
            rows,
            completions: vec![empty; rows.len()],
            hidden: vec![0; rows.len()],
            pending: vec![Pending::default(); rows.len()],
            next: 0,
            stats: GenerateStats::default(),
        }
    }

    pub(super) fn run(
        mut self,
        keys: &[Vec<Key>],
        ended: &(dyn Fn(usize) + Sync),
        each: &(dyn Fn(usize, usize, &Completion) + Sync),
    ) -> (Vec<Completion>, GenerateStats) {
        let mut batch = None;
        while let Some(Batch { cache, read, live, logits }) = self.fill(batch) {
            let key = |row: usize| keys[self.rows[row].prompt][self.rows[row].sample];
            let place = |row: usize| self.completions[row].tokens.len() as u64;
            let uniforms: Vec<f32> = live.iter().map(|&row| uniform(key(row), place(row))).collect();
            let (mut tokens, log_probs) = sample(logits, self.config.temperature, &uniforms);
            ended(self.write(&live, &mut tokens, &log_probs, each));
            batch = self.advance(cache, read, live, tokens);
        }
        self.stats.new_tokens = self.completions.iter().map(|completion| completion.tokens.len()).sum();
        self.stats.prompt_tokens += self.hidden.iter().sum::<usize>();
        (self.completions, self.stats)
    }

    fn is_over(&self, row: usize) -> bool {
        let Completion { tokens, finish, .. } = &self.completions[row];
        *finish == Finish::Stop || tokens.len() == self.config.max_new_tokens || self.room(row) == 0
    }

    /// Tokens that a row's context has room for. By what the row itself has read and written alone, whatever stands beside it.
    fn room(&self, row: usize) -> usize {
        let taken = self.length(row) + self.pending[row].tokens.len();
        self.model.config.max_position_embeddings.saturating_sub(taken)
    }

    /// Tokens that a row has read and written.
    fn length(&self, row: usize) -> usize {
        self.prompts[self.rows[row].prompt].len() + self.completions[row].tokens.len() + self.hidden[row]
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

    /// The batch with new rows beside those that continue.
    fn join(&mut self, batch: Batch, rows: Vec<usize>) -> Batch {
        let Batch { mut cache, read, mut live, logits } = batch;
        // Prompts are kept for rows that continue or start now; all samples of a prompt are adjacent.
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

    /// Writes the sampled token to each row that is not over, or puts one that it is given in its place; how many are over by it.
    /// `each` is called with those.
    fn write(
        &mut self,
        live: &[usize],
        tokens: &mut [u32],
        log_probs: &[f32],
        each: &(dyn Fn(usize, usize, &Completion) + Sync),
    ) -> usize {
        let mut ended = 0;
        for (place, &row) in live.iter().enumerate() {
            if self.is_over(row) {
                self.stats.padding_tokens += 1;
                continue;
            }
            tokens[place] = match self.pending[row].tokens.pop_front() {
                Some(token) => self.give(row, token),
                None => self.choose(row, tokens[place], log_probs[place]),
            };
            if self.is_over(row) {
                ended += 1;
                each(self.rows[row].prompt, self.rows[row].sample, &self.completions[row]);
            }
        }
        ended
    }

    /// Writes a sampled token, and asks what is given after it; returns the token that the row reads next.
    fn choose(&mut self, row: usize, token: u32, log_prob: f32) -> u32 {
        self.put(row, token);
        self.completions[row].log_probs.push(log_prob);
        let completion = &mut self.completions[row];
        let Some(giver) = self.config.giver.as_ref().filter(|_| completion.finish != Finish::Stop) else {
            return token;
        };
        match giver.after(&completion.tokens) {
            None => {}
            Some(Given::Hidden(tokens)) => self.pending[row] = Pending { tokens: tokens.into(), shown: false },
            Some(Given::Shown(tokens)) => self.pending[row] = Pending { tokens: tokens.into(), shown: true },
            Some(Given::InPlaceOfLast(tokens)) => {
                completion.tokens.pop();
                completion.log_probs.pop();
                let mut pending = Pending { tokens: tokens.into(), shown: true };
                let first = pending.tokens.pop_front().expect("at least one token in the place of the last");
                self.pending[row] = pending;
                return self.give(row, first);
            }
        }
        token
    }

    /// Lets a row read a given token, and returns it.
    fn give(&mut self, row: usize, token: u32) -> u32 {
        if !self.pending[row].shown {
            self.hidden[row] += 1;
            return token;
        }
        let Completion { tokens, given, .. } = &mut self.completions[row];
        let place = tokens.len();
        match given.last_mut() {
            Some(last) if last.end == place => last.end += 1,
            _ => given.push(place..place + 1),
        }
        self.put(row, token);
        token
    }

    /// Adds a token to the completion, which may end it.
    fn put(&mut self, row: usize, token: u32) {
        let completion = &mut self.completions[row];
        completion.tokens.push(token);
        if self.config.stops.iter().any(|stop| completion.tokens.ends_with(stop)) {
            completion.finish = Finish::Stop;
        }
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
/// that, as long as the remaining rows fit. A batch has few sizes then, for which a GPU tunes its kernels once.
pub(super) fn halved(mut rows: usize, going_on: usize) -> usize {
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

/// One token per row; the logits after it, `[B, V]`.
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
