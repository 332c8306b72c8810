//! Claims about the rollout engine: what it writes is what the full forward pass says, and neither the batch, nor the
//! threads, nor the padding of a row has a say in it.
//! Longer than other files: each file here is a program of its own, which links all of burn.

use burn::{
    module::Module,
    tensor::{Int, Tensor, TensorData},
};
use model::{
    Cache, Completion, Device, Dtype, Finish, GenerateConfig, GenerateStats, Given, Giver, Key, ModelConfig, ModelSize,
    Purpose, Transformer, generate, generate_each, load_model, to_host, token_log_probs,
};
use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    path::Path,
};

const SAMPLES: usize = 3;

/// Grouped heads, a bias and tied embeddings, so that every branch of the model is taken.
fn model() -> Transformer {
    let config = ModelConfig {
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: Some(2),
        max_position_embeddings: 64,
        attention_bias: true,
        ..ModelConfig::of_size(ModelSize::Tiny, 61, 0)
    };
    Transformer::init(&config, 5, &Device::default())
}

fn fixture(name: &str) -> Transformer {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    load_model(&folder, &Device::default()).unwrap()
}

fn models() -> [Transformer; 3] {
    [model(), fixture("llama_tiny"), fixture("qwen2_tiny")]
}

/// Prompts of 1 to 11 tokens, in no order of length.
fn prompts() -> Vec<Vec<u32>> {
    let lengths = [4, 1, 11, 7, 7, 2];
    lengths.iter().map(|&length| (0..length).map(|i| (7 * i * i + 3 * length + 11) % 61).collect()).collect()
}

fn keys(prompts: usize, samples: usize) -> Vec<Vec<Key>> {
    let key = |prompt: usize, sample: usize| Key::new(3, Purpose::Rollout).with(prompt as u64).with(sample as u64);
    (0..prompts).map(|prompt| (0..samples).map(|sample| key(prompt, sample)).collect()).collect()
}

fn config(temperature: f64, rows: usize, threads: usize) -> GenerateConfig {
    GenerateConfig {
        max_new_tokens: 20,
        temperature,
        stops: vec![vec![0], vec![5], vec![17]],
        giver: None,
        rows,
        streams: None,
        threads,
    }
}

fn run(model: &Transformer, config: &GenerateConfig) -> (Vec<Vec<Completion>>, GenerateStats) {
    let prompts = prompts();
    generate(model, &prompts, &keys(prompts.len(), SAMPLES), config, &|_| ())
}

fn tensor(rows: &[&[u32]]) -> Tensor<2, Int> {
    let time = rows[0].len();
    let ids: Vec<i32> = rows.concat().iter().map(|&id| id as i32).collect();
    Tensor::from_data(TensorData::new(ids, [rows.len(), time]), &Device::default())
}

/// Logits of one row, `[T][V]`.
fn logits(model: &Transformer, row: &[u32]) -> Vec<Vec<f32>> {
    let values = to_host(model.forward(tensor(&[row]))).values;
    values.chunks(model.config.vocab_size).map(<[f32]>::to_vec).collect()
}

fn assert_close(left: &[f32], right: &[f32], tolerance: f32, what: &str) {
    assert_eq!(left.len(), right.len(), "{what}");
    let difference = left.iter().zip(right).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
    assert!(difference <= tolerance, "{what}: {difference:e} apart");
}

fn assert_same(left: &[Vec<Completion>], right: &[Vec<Completion>], what: &str) {
    for (prompt, (left, right)) in left.iter().zip(right).enumerate() {
        for (sample, (left, right)) in left.iter().zip(right).enumerate() {
            let what = format!("{what}: prompt {prompt}, sample {sample}");
            assert_eq!(left.tokens, right.tokens, "{what}");
            assert_eq!(left.given, right.given, "{what}");
            assert_eq!(left.finish, right.finish, "{what}");
            assert_close(&left.log_probs, &right.log_probs, 1e-4, &what);
        }
    }
}

#[test]
fn cached_decoding_gives_the_logits_of_the_full_forward_pass() {
    let device = Device::default();
    for model in models() {
        let rows: [&[u32]; 3] =
            [&[3, 1, 4, 1, 5, 9, 2, 6, 5], &[2, 7, 1, 8, 2, 8, 1, 8, 2], &[6, 6, 2, 6, 0, 7, 0, 1, 5]];
        let lengths = [5, 2, 3];
        let padded: Vec<Vec<u32>> =
            rows.iter().zip(lengths).map(|(row, n)| [&row[..n], &[60; 5][n..]].concat()).collect();
        let prompts: Vec<&[u32]> = padded.iter().map(Vec::as_slice).collect();
        let mut cache = Cache::new(&model.config, 3, 9, &device);
        model.run_cached(model.embed(tensor(&prompts)), &model.rotary_range(0..5, &device), &mut cache);
        cache.hide_padding(&lengths);
        for written in 0..4 {
            let next: Vec<&[u32]> = rows.iter().zip(lengths).map(|(row, n)| &row[n + written..=n + written]).collect();
            let rotary = model.rotary_rows(&lengths.map(|n| n + written), &device);
            let hidden = model.run_cached(model.embed(tensor(&next)), &rotary, &mut cache);
            let cached = to_host(model.logits(model.final_norm(hidden))).values;
            for (row, cached) in cached.chunks(61).enumerate() {
                let full = logits(&model, &rows[row][..=lengths[row] + written]);
                assert_close(cached, full.last().unwrap(), 1e-4, &format!("row {row}, token {written}"));
            }
        }
        assert_eq!(cache.filled(), 9);
    }
}

#[test]
fn reported_log_probs_are_those_of_the_full_forward_pass_at_temperature_one() {
    for model in models() {
        for temperature in [0.0, 0.7, 1.0, 1.5] {
            let (completions, _) = run(&model, &config(temperature, 64, 1));
            for (prompt, completions) in prompts().iter().zip(&completions) {
                for completion in completions {
                    let row = [prompt.as_slice(), &completion.tokens].concat();
                    let full = model.forward(tensor(&[&row[..row.len() - 1]]));
                    let written =
                        full.reshape([row.len() - 1, 61]).narrow(0, prompt.len() - 1, completion.tokens.len());
                    let targets = tensor(&[&completion.tokens]).reshape([completion.tokens.len()]);
                    let full = to_host(token_log_probs(written, targets, 1.0)).values;
                    assert_close(&completion.log_probs, &full, 1e-4, &format!("temperature {temperature}"));
                }
            }
        }
    }
}

/// Gives hidden tokens after some ids.
fn hidden_after(after: HashSet<u32>, tokens: Vec<u32>) -> Giver {
    Giver::new(move |written| after.contains(written.last()?).then(|| Given::Hidden(tokens.clone())))
}

/// After a token of 20 to 39, what it and the token before it say; in the place of one of 40 to 44, where it is not the first.
fn shown_by_the_last_two(written: &[u32]) -> Option<Given> {
    let (&last, before) = written.split_last()?;
    let answer = vec![50, (last + before.last()?) % 61, 51];
    match last {
        20..40 => Some(Given::Shown(answer)),
        40..45 => Some(Given::InPlaceOfLast(answer)),
        _ => None,
    }
}

#[test]
fn shown_tokens_stand_in_the_completion_where_they_are_given_and_have_no_log_probability() {
    for model in models() {
        let config =
            GenerateConfig { giver: Some(Giver::new(shown_by_the_last_two)), stops: Vec::new(), ..config(1.0, 64, 1) };
        let (completions, stats) = run(&model, &config);
        let (mut shown, mut in_place) = (0, 0);
        for (prompt, completion) in
            prompts().iter().zip(&completions).flat_map(|(p, of_prompt)| of_prompt.iter().map(move |c| (p, c)))
        {
            let tokens = &completion.tokens;
            assert_eq!(tokens.len(), 20, "given tokens count");
            let is_given = |place: usize| completion.given.iter().any(|given| given.contains(&place));
            // What is not given is what the model chose, and nothing that asks for given tokens stands without them.
            for place in (1..tokens.len()).filter(|&place| !is_given(place)) {
                assert!(!(40..45).contains(&tokens[place]), "taken back");
                if let Some(Given::Shown(answer)) = shown_by_the_last_two(&tokens[..=place]) {
                    let end = tokens.len().min(place + 4);
                    assert!(answer.starts_with(&tokens[place + 1..end]));
                    assert!((place + 1..end).all(is_given));
                    shown += 1;
                }
            }
            in_place += completion.given.iter().filter(|given| !(20..40).contains(&tokens[given.start - 1])).count();
            let row = [prompt.as_slice(), tokens].concat();
            let all = logits(&model, &row);
            let chosen = (0..tokens.len()).filter(|&place| !is_given(place));
            let expected: Vec<f32> = chosen
                .map(|place| {
                    let before = Tensor::from_data(
                        TensorData::new(all[prompt.len() + place - 1].clone(), [1, 61]),
                        &Device::default(),
                    );
                    to_host(token_log_probs(before, tensor(&[&[tokens[place]]]).reshape([1]), 1.0)).values[0]
                })
                .collect();
            assert_close(&completion.log_probs, &expected, 1e-4, "chosen tokens");
        }
        assert!(shown > 20 && in_place > 3, "the test needs given tokens: {shown}, {in_place}");
        assert_eq!(
            stats.new_tokens,
            completions.iter().flatten().map(|completion| completion.tokens.len()).sum::<usize>()
        );
    }
}

#[test]
fn what_a_row_is_given_depends_neither_on_its_batch_nor_on_threads() {
    let model = model();
    let of = |rows, threads| {
        run(&model, &GenerateConfig { giver: Some(Giver::new(shown_by_the_last_two)), ..config(1.0, rows, threads) }).0
    };
    let together = of(64, 1);
    assert!(together.iter().flatten().filter(|completion| !completion.given.is_empty()).count() > 5);
    for (rows, threads) in [(1, 1), (4, 2), (5, 1)] {
        assert_same(&together, &of(rows, threads), &format!("{rows} rows, {threads} threads"));
    }
}

#[test]
fn a_given_token_may_end_a_row_as_a_chosen_one_does() {
    let model = model();
    let giver = Giver::new(|written| (written.len() == 3).then(|| Given::Shown(vec![9, 17, 9])));
    let config = GenerateConfig { giver: Some(giver), stops: vec![vec![17]], ..config(1.0, 64, 1) };
    let completions = run(&model, &config).0;
    let whole = completions.iter().flatten().filter(|completion| completion.tokens.len() > 3);
    assert!(whole.clone().count() > 5);
    for completion in whole {
        assert_eq!((completion.tokens[3..].to_vec(), completion.finish), (vec![9, 17], Finish::Stop));
        assert!(matches!(completion.given.as_slice(), [Range { start: 3, end: 5 }]) && completion.log_probs.len() == 3);
    }
}

#[test]
fn hidden_tokens_are_read_where_they_are_given_and_are_no_part_of_what_is_written() {
    let after: HashSet<u32> = (20..40).collect();
    let tokens = vec![50, 1, 51];
    for model in models() {
        for (rows, threads) in [(64, 1), (4, 2)] {
            let giver = hidden_after(after.clone(), tokens.clone());
            let config = GenerateConfig { giver: Some(giver), ..config(1.0, rows, threads) };
            let (completions, stats) = run(&model, &config);
            let mut read = 0;
            for (prompt, completion) in
                prompts().iter().zip(&completions).flat_map(|(p, of_prompt)| of_prompt.iter().map(move |c| (p, c)))
            {
                let mut row = prompt.clone();
                for (place, (&token, &log_prob)) in completion.tokens.iter().zip(&completion.log_probs).enumerate() {
                    if place > 0 && after.contains(&completion.tokens[place - 1]) {
                        row.extend(&tokens);
                        read += tokens.len();
                    }
                    let last = to_host(model.forward(tensor(&[&row]))).values[(row.len() - 1) * 61..].to_vec();
                    let last = Tensor::from_data(TensorData::new(last, [1, 61]), &Device::default());
                    let expected = to_host(token_log_probs(last, tensor(&[&[token]]).reshape([1]), 1.0)).values;
                    assert_close(&[log_prob], &expected, 1e-4, "after hidden tokens");
                    row.push(token);
                }
            }
            assert!(read > 100, "the test needs rows with hidden tokens: {read}");
            if rows == 64 {
                assert_eq!(stats.prompt_tokens, read + prompts().iter().map(Vec::len).sum::<usize>());
            }
        }
    }
}

#[test]
fn hidden_tokens_fill_the_context_and_rows_with_many_outgrow_the_cache_that_was_made_for_them() {
    let mut model = model();
    let giver = |count| Some(hidden_after((0..61).collect(), vec![7; count]));
    let prompts = vec![vec![9; 41], vec![8; 3]];
    let config = |count| GenerateConfig { stops: Vec::new(), giver: giver(count), ..config(1.0, 64, 1) };
    let lengths = |model: &Transformer, count| -> Vec<usize> {
        let completions = generate(model, &prompts, &keys(2, 1), &config(count), &|_| ()).0;
        assert!(completions.iter().flatten().all(|completion| completion.finish == Finish::Length));
        completions.iter().map(|of_prompt| of_prompt[0].tokens.len()).collect()
    };
    // A token and four to read are five places of the 23 and 61 that the context of 64 has left.
    assert_eq!(lengths(&model, 4), [5, 13]);
    assert_eq!(lengths(&model, 0), [20, 20]);
    // Twenty tokens and seven times as many behind them, of which those after the last are not read.
    model.config.max_position_embeddings = 512;
    assert_eq!(lengths(&model, 7), [20, 20]);
}

#[test]
fn a_greedy_row_takes_the_likeliest_token_of_the_full_forward_pass() {
    let model = fixture("llama_tiny");
    let (completions, _) = run(&model, &config(0.0, 64, 1));
    for (prompt, completions) in prompts().iter().zip(&completions) {
        let mut row = prompt.clone();
        for &token in &completions[0].tokens {
            let last = logits(&model, &row).pop().unwrap();
            let likeliest = (0..61).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap();
            assert_eq!(token, likeliest as u32);
            row.push(token);
        }
    }
}

#[test]
fn what_a_row_writes_depends_neither_on_its_batch_nor_on_the_threads() {
    for model in models() {
        for temperature in [0.0, 1.0] {
            let (expected, _) = run(&model, &config(temperature, 1, 1));
            for (rows, threads) in [(1, 2), (3, 1), (3, 2), (64, 1), (64, 2)] {
                let (found, _) = run(&model, &config(temperature, rows, threads));
                assert_same(&found, &expected, &format!("temperature {temperature}, {rows} rows, {threads} threads"));
            }
        }
    }
}

#[test]
fn samples_of_a_prompt_differ_and_greedy_ones_do_not() {
    let model = model();
    let (sampled, _) = run(&model, &config(1.0, 64, 1));
    assert!(sampled.iter().any(|samples| samples[0].tokens != samples[1].tokens));
    let (greedy, _) = run(&model, &config(0.0, 64, 1));
    assert!(greedy.iter().all(|samples| samples.iter().all(|sample| sample.tokens == samples[0].tokens)));
}

#[test]
fn a_row_ends_with_the_first_stop_id_and_keeps_it_and_a_truncated_one_is_marked() {
    let model = model();
    let endless = GenerateConfig { stops: Vec::new(), ..config(1.0, 64, 1) };
    let (endless, _) = run(&model, &endless);
    assert!(endless.iter().flatten().all(|c| c.tokens.len() == 20 && c.finish == Finish::Length));
    let config = config(1.0, 64, 1);
    let expected: Vec<Vec<Completion>> = endless
        .iter()
        .map(|samples| {
            let cut = |completion: &Completion| match completion
                .tokens
                .iter()
                .position(|id| config.stops.contains(&vec![*id]))
            {
                None => completion.clone(),
                Some(end) => Completion {
                    tokens: completion.tokens[..=end].to_vec(),
                    log_probs: completion.log_probs[..=end].to_vec(),
                    server_log_probs: None,
                    given: Vec::new(),
                    finish: Finish::Stop,
                },
            };
            samples.iter().map(cut).collect()
        })
        .collect();
    let finishes: Vec<Finish> = expected.iter().flatten().map(|completion| completion.finish).collect();
    assert!(
        finishes.contains(&Finish::Stop) && finishes.contains(&Finish::Length),
        "the test needs both: {finishes:?}"
    );
    let (found, stats) = run(&model, &config);
    assert_same(&found, &expected, "with stop ids");
    assert_eq!(stats.new_tokens, found.iter().flatten().map(|completion| completion.tokens.len()).sum::<usize>());
}

#[test]
fn a_row_is_cut_where_its_own_context_is_full_whatever_stands_beside_it() {
    let model = model();
    let prompts = vec![vec![9; 60], vec![8; 3], vec![7; 63]];
    let config = GenerateConfig { max_new_tokens: 30, stops: Vec::new(), ..config(1.0, 64, 1) };
    let together = generate(&model, &prompts, &keys(3, 2), &config, &|_| ()).0;
    let lengths: Vec<usize> = together.iter().map(|samples| samples[0].tokens.len()).collect();
    assert_eq!(lengths, [4, 30, 1]);
    assert!(together.iter().flatten().all(|completion| completion.finish == Finish::Length));
    let alone = generate(&model, &prompts, &keys(3, 2), &GenerateConfig { rows: 1, ..config }, &|_| ()).0;
    assert_same(&together, &alone, "prompts at the end of the context");
}

#[test]
fn a_prompt_is_read_once_for_all_its_samples() {
    let model = model();
    let once: usize = prompts().iter().map(Vec::len).sum();
    let read = |rows| run(&model, &config(1.0, rows, 1)).1.prompt_tokens;
    assert_eq!(read(64), once);
    // Two streams of three whole prompts.
    assert_eq!(read(3 * SAMPLES), once);
    assert_eq!(read(1), SAMPLES * once);
}

#[test]
fn every_row_is_reported_to_the_progress_bar_once() {
    let model = model();
    for (rows, threads) in [(1, 1), (4, 2), (64, 1)] {
        let ended = std::sync::atomic::AtomicUsize::new(0);
        let count = |rows| _ = ended.fetch_add(rows, std::sync::atomic::Ordering::Relaxed);
        let prompts = prompts();
        generate(&model, &prompts, &keys(prompts.len(), SAMPLES), &config(1.0, rows, threads), &count);
        assert_eq!(ended.into_inner(), prompts.len() * SAMPLES);
    }
}

#[test]
fn each_completion_is_handed_over_once_and_whole_when_it_ends() {
    let (model, prompts) = (model(), prompts());
    for (rows, threads) in [(1, 1), (4, 2), (64, 1)] {
        let seen = std::sync::Mutex::new(HashMap::new());
        let each = |prompt: usize, sample: usize, completion: &Completion| {
            let before = seen.lock().unwrap().insert((prompt, sample), completion.clone());
            assert!(before.is_none(), "sample {sample} of prompt {prompt} ended twice");
        };
        let keys = keys(prompts.len(), SAMPLES);
        let (all, _) = generate_each(&model, &prompts, &keys, &config(1.0, rows, threads), &|_| (), &each);
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen.len(), prompts.len() * SAMPLES);
        assert!(seen.iter().all(|(&(prompt, sample), completion)| all[prompt][sample] == *completion));
    }
}

#[test]
fn a_later_token_does_not_change_an_earlier_logit() {
    for model in models() {
        let row: Vec<u32> = (0..12).map(|i| (i * 5 + 1) % 61).collect();
        let before = logits(&model, &row);
        for changed in [4, 11] {
            let mut other = row.clone();
            other[changed] = 60;
            let after = logits(&model, &other);
            assert_eq!(before[..changed], after[..changed]);
            assert_ne!(before[changed], after[changed], "the token itself is seen");
        }
    }
}

#[test]
fn the_amount_of_padding_does_not_change_a_logit() {
    for model in models() {
        let row: Vec<u32> = (0..7).map(|i| (i * 9 + 2) % 61).collect();
        let alone = logits(&model, &row).concat();
        for padding in [1, 6, 40] {
            let padded = [row.as_slice(), &vec![0; padding]].concat();
            let long: Vec<u32> = (0..padded.len() as u32).map(|i| (i * 11 + 5) % 61).collect();
            let both = to_host(model.forward(tensor(&[&long, &padded]))).values;
            let start = padded.len() * 61;
            assert_close(&both[start..start + 7 * 61], &alone, 1e-5, &format!("{padding} columns of padding"));
        }
    }
}

/// The model with products in bf16.
fn in_bf16(model: &Transformer) -> Transformer {
    let mut model = model.clone();
    model.config.compute_dtype = Dtype::Bf16;
    model
}

#[test]
fn products_in_bf16_give_logits_and_gradients_close_to_those_in_f32() {
    for model in models() {
        let row: Vec<u32> = (0..12).map(|i| (7 * i * i + 11) % 61).collect();
        let of = |model: &Transformer| {
            let model = model.clone().train();
            let logits = model.forward(tensor(&[&row]));
            let gradients = logits.clone().sin().sum().backward();
            let by_embedding = model.embedding.val().grad(&gradients).expect("the embedding is used");
            [to_host(logits.inner()).values, to_host(by_embedding).values]
        };
        for (f32, bf16) in of(&model).iter().zip(&of(&in_bf16(&model))) {
            let size = f32.iter().fold(0.0f32, |size, x| size.max(x.abs()));
            assert_close(bf16, f32, 0.05 * size, "bf16 against f32");
            assert!(bf16 != f32, "nothing was computed in bf16");
        }
    }
}

#[test]
fn what_is_decoded_in_bf16_has_the_log_probabilities_of_whole_sequences_in_bf16() {
    for model in models() {
        let model = in_bf16(&model);
        let (completions, _) = run(&model, &config(1.0, 4, 1));
        let mut apart = Vec::new();
        for (prompt, completions) in prompts().iter().zip(&completions) {
            for completion in completions {
                let row = [prompt.as_slice(), &completion.tokens].concat();
                let logits: Vec<f32> =
                    logits(&model, &row)[prompt.len() - 1..row.len() - 1].iter().flatten().copied().collect();
                let [count, vocabulary] = [completion.tokens.len(), model.config.vocab_size];
                let device = Device::default();
                let logits = Tensor::<2>::from_data(TensorData::new(logits, [count, vocabulary]), &device);
                let ids: Vec<i32> = completion.tokens.iter().map(|&id| id as i32).collect();
                let targets = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &device);
                let expected = to_host(token_log_probs(logits, targets, 1.0)).values;
                apart.extend(
                    completion.log_probs.iter().zip(&expected).map(|(found, expected)| (found - expected).abs()),
                );
            }
        }
        // Products of one row and of many round differently: logits of 10 are known to 0.04.
        let mean = apart.iter().sum::<f32>() / apart.len() as f32;
        assert!(mean < 0.02 && apart.iter().all(|&apart| apart < 0.2), "{mean} apart in the mean");
    }
}
