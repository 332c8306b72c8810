//! Claims about rollouts: rewards, prefixes and log-probabilities stand at their tokens.

use super::*;
use data::{Answer, AnswerFormat};
use model::{Device, ModelConfig, ModelSize, RewardNetwork};

const SOLUTION: &str = " 6*4 = <<6*4=24>>24\n24-3 = <<24-3=21>>21\n#### 21";

fn problem() -> Problem {
    Problem {
        id: "test/0".into(),
        question: "Ann has 6 bags of 4 nuts and eats 3. How many are left?".into(),
        solution: SOLUTION.trim().into(),
        answer: Answer::from_integer(21),
        worked: None,
    }
}

/// A policy whose sequences end with token 0, which training writes, or with token 7.
fn policy() -> Policy {
    let folder = tempfile::tempdir().unwrap();
    let problem = problem();
    Tokenizer::train_bpe(&[problem.question, problem.solution], 300).unwrap().save(folder.path()).unwrap();
    std::fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": [0, 7]}"#).unwrap();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    let config = ModelConfig {
        hidden_size: 16,
        intermediate_size: 24,
        ..ModelConfig::of_size(ModelSize::Tiny, tokenizer.vocab_size(), 0)
    };
    Policy { model: Transformer::init(&config, 3, &Device::default()), tokenizer, conditioning: None, adapter: None }
}

/// With a head that is not 0.
fn config(policy: &Policy) -> RolloutConfig {
    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        reward: RewardArgs,
    }
    let mut model = RewardNetwork::new(&policy.model);
    model.score.head = model.score.head.map(|head| head.add_scalar(0.3));
    let prompting = Prompting::default();
    RolloutConfig {
        sampling: SampleConfig {
            samples: 1,
            temperature: 1.0,
            max_new_tokens: 99,
            rows: 8,
            streams: None,
            threads: 1,
            prompting,
            answer_format: AnswerFormat::Gsm8k,
            calculator: false,
            checker: None,
            servers: None,
        },
        reward: <Flags as clap::Parser>::parse_from(["", "--reward=dense-orm"]).reward,
        reward_model: Some(RewardModel::new(model, policy.tokenizer.clone())),
        external: None,
        seed: 0,
    }
}

fn scores(policy: &Policy, config: &RolloutConfig, tokens: &[u32], finish: Finish) -> Vec<f32> {
    let problem = problem();
    let queries = [Query { problem: &problem, index: 0, prefix: "" }];
    let completion = Completion {
        tokens: tokens.to_vec(),
        log_probs: vec![0.0; tokens.len()],
        server_log_probs: None,
        given: Vec::new(),
        finish,
    };
    reward_model_scores(policy, &queries, &[vec![completion]], config).unwrap().remove(0).1
}

#[test]
fn a_completion_has_the_score_that_reranking_gives_its_text_however_it_ends() {
    let policy = policy();
    let config = config(&policy);
    let tokenizer = &policy.tokenizer;
    let encode = |text: &str, end: &[u32]| [tokenizer.encode(text).as_slice(), end].concat();
    // One token per byte: a policy may write this, but the tokenizer encodes no text so.
    let bytes: Vec<u32> = SOLUTION.chars().flat_map(|c| tokenizer.encode(&c.to_string())).collect();
    let plain = scores(&policy, &config, &encode(SOLUTION, &[0]), Finish::Stop);
    for (tokens, finish) in [
        (encode(SOLUTION, &[7]), Finish::Stop),
        (encode(&format!("{SOLUTION} \n\n"), &[0]), Finish::Stop),
        (encode(&format!("{SOLUTION}\n"), &[7]), Finish::Stop),
        ([bytes.as_slice(), &[0]].concat(), Finish::Stop),
        (encode(SOLUTION, &[]), Finish::Length),
        (encode(&format!("{SOLUTION}\n"), &[]), Finish::Length),
        (vec![7], Finish::Stop),
    ] {
        let scores = scores(&policy, &config, &tokens, finish);
        assert_eq!(scores.len(), tokens.len(), "one per token");
        let completion = Completion {
            log_probs: vec![0.0; tokens.len()],
            server_log_probs: None,
            given: Vec::new(),
            finish,
            tokens: tokens.clone(),
        };
        let mut sample = grade(&policy, &problem(), &completion, &AnswerFormat::Gsm8k);
        let reward_model = config.reward_model.as_ref().unwrap();
        eval::score(reward_model, &mut [&mut sample], &config.sampling).unwrap();
        let last = f64::from(*scores.last().unwrap());
        assert!((last - sample.score.unwrap()).abs() < 1e-6, "{tokens:?}: {last}, {:?}", sample.score);
        // A line that is written in the same way has the score that it had.
        let same = tokens.iter().zip(encode(SOLUTION, &[])).take_while(|(one, other)| *one == other).count();
        assert!((0..same).all(|place| (scores[place] - plain[place]).abs() < 1e-6), "{scores:?}, {plain:?}");
    }
}

#[test]
fn a_token_that_is_encoded_otherwise_has_the_score_of_the_position_that_its_text_reaches() {
    let tokenizer = policy().tokenizer;
    let read = [tokenizer.encode("nuts").as_slice(), &[0]].concat();
    let letters: Vec<u32> = "nuts".chars().flat_map(|c| tokenizer.encode(&c.to_string())).collect();
    assert!(read.len() < 1 + letters.len(), "the word has a token of its own, or parts of it have");
    let written = [letters.as_slice(), &tokenizer.encode("\n"), &[7]].concat();
    let positions = token_alignment(&tokenizer, &written, &read);
    assert_eq!(positions.len(), written.len());
    assert!(positions.is_sorted() && positions[..4].iter().all(|&position| position < read.len() - 1), "{positions:?}");
    assert_eq!(positions[3..], [read.len() - 2, read.len() - 1, read.len() - 1]);
    assert_eq!(token_alignment(&tokenizer, &read, &read), (0..read.len()).collect::<Vec<_>>());
}
