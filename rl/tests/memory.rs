//! The claim that memory is flat: two hundred rounds of sampling and learning end with the memory that a few began with.
//! In a process of its own, because what other tests hold would count.

mod common;

use common::{PROBLEMS, policy, short_examples};
use data::Prompting;
use model::{GenerateConfig, Key, Purpose, generate};
use rl::{
    optim::{Adam, Computing},
    supervised::update,
};

/// Resident size of this process now, in bytes.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

#[test]
fn memory_is_flat_over_two_hundred_rounds_of_sampling_and_learning() {
    if resident().is_none() {
        return;
    }
    model::keep_pages();
    let mut policy = policy();
    let examples = short_examples(&policy.tokenizer);
    let prompts: Vec<Vec<u32>> = examples.iter().map(|example| example.tokens[..example.prompt_len].to_vec()).collect();
    let config = GenerateConfig {
        max_new_tokens: 8,
        temperature: 1.0,
        stops: policy.stops(&Prompting::default()),
        rows: 8,
        threads: 2,
    };
    let mut optimizer = Adam::new(0.9, 0.98, 1e-8, 0.0, 1.0);
    let mut after_warm_up = 0;
    for round in 0..200u64 {
        let key = |sample: u64| Key::new(round, Purpose::Rollout).with(sample);
        let keys = vec![vec![key(0), key(1)]; PROBLEMS];
        generate(&policy.model, &prompts, &keys, &config, &|_| ());
        policy.model = update(policy.model, &examples, &mut optimizer, 1e-4, 4, Computing::on(2)).model;
        if round == 40 {
            after_warm_up = resident().unwrap();
        }
    }
    let grown = resident().unwrap().saturating_sub(after_warm_up);
    // Measured: 0.5 MB of 59 MB on a quiet machine; on a busy one threads meet other arenas of the allocator, and some MB
    // more are touched. A graph that is kept weighs more than 1 MB a round: 160 MB in all.
    assert!(grown < 48 << 20, "{} MB more than after 40 rounds", grown >> 20);
}
