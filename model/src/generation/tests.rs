//! Which rows are written together, and what the work is counted as.

use super::{
    engine::{Row, halved},
    *,
};
use crate::{
    config::{ModelConfig, ModelSize},
    device::Device,
    fused,
    random::Purpose,
};

fn narrow_model() -> Transformer {
    let config = ModelConfig { hidden_size: 8, intermediate_size: 8, ..ModelConfig::of_size(ModelSize::Tiny, 11, 0) };
    Transformer::init(&config, 1, &Device::default())
}

#[test]
fn streams_hold_every_row_once_shortest_prompts_first_and_samples_of_a_prompt_together() {
    let prompts = vec![vec![1; 5], vec![1; 2], vec![1; 9]];
    let key = Key::new(0, Purpose::Rollout);
    let keys = vec![vec![key; 2], vec![key; 3], vec![key; 1]];
    let of_stream = |rows: &Vec<Row>| rows.iter().map(|row| (row.prompt, row.sample)).collect::<Vec<_>>();
    let rows: Vec<_> = plan(&prompts, &keys, 4, None).iter().map(of_stream).collect();
    assert_eq!(rows, [[(1, 0), (1, 1), (1, 2)], [(0, 0), (0, 1), (2, 0)]]);
}

#[test]
fn many_rows_are_cut_into_streams_of_four_batches_and_few_into_as_many_as_threads_may_want() {
    let lengths_in = |samples: u64, streams: Option<usize>| -> Vec<usize> {
        let keys = vec![(0..samples).map(|i| Key::new(i, Purpose::Rollout)).collect()];
        plan(&[vec![1]], &keys, 8, streams).iter().map(Vec::len).collect()
    };
    let lengths = |samples| lengths_in(samples, None);
    assert_eq!(lengths(320), [32; 10]);
    assert_eq!(lengths(48), [12; 4]);
    assert_eq!(lengths(12), [6; 2]);
    assert_eq!(lengths(3), [3]);
    assert_eq!(lengths_in(48, Some(16)), [3; 16]);
    assert_eq!(lengths_in(3, Some(16)), [1; 3]);
    assert_eq!(lengths_in(320, Some(5)), [32; 10], "streams are no longer than four batches");
}

#[test]
fn as_many_threads_are_at_work_at_once_as_there_are_streams() {
    use std::{collections::HashSet, sync::Arc, sync::Condvar, sync::Mutex, thread, time::Duration};
    let at_work = Arc::new((Mutex::new(HashSet::new()), Condvar::new()));
    let seen = at_work.clone();
    // The first row of each stream waits until all of them have come, or for so long that they will not come any more.
    let giver = Giver::new(move |_: &[u32]| {
        let (threads, changed) = &*at_work;
        let mut threads = threads.lock().unwrap();
        if threads.insert(thread::current().id()) {
            changed.notify_all();
            drop(changed.wait_timeout_while(threads, Duration::from_secs(20), |threads| threads.len() < 16).unwrap());
        }
        None
    });
    let keys: Vec<Vec<Key>> = vec![(0..64).map(|i| Key::new(i, Purpose::Rollout)).collect()];
    let config = GenerateConfig {
        max_new_tokens: 3,
        temperature: 1.0,
        stops: Vec::new(),
        giver: Some(giver),
        rows: 128,
        streams: Some(16),
        threads: 16,
    };
    generate(&narrow_model(), &[vec![1, 2]], &keys, &config, &|_| ());
    assert_eq!(seen.0.lock().unwrap().len(), 16);
}

#[test]
fn rows_that_wait_take_the_places_of_rows_that_have_ended() {
    let model = narrow_model();
    let keys: Vec<Vec<Key>> = vec![(0..128).map(|i| Key::new(i, Purpose::Rollout)).collect()];
    // So warm that rows end at places of their own, not all at the last.
    let stops = (3..8).map(|id| vec![id]).collect();
    let config =
        GenerateConfig { max_new_tokens: 12, temperature: 5.0, stops, giver: None, rows: 8, streams: None, threads: 1 };
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
        giver: None,
        rows: 8,
        streams: None,
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
        giver: None,
        rows: 8,
        streams: None,
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
