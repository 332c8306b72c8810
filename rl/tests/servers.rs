//! Claims about sampling on inference servers: they write what the policy would write, weights follow to them, and one that does not hold
//! the weights is refused.

#[path = "common/inference_server.rs"]
mod inference_server;

mod common;

use anyhow::Result;
use common::{false_calculator, metrics, problems, run, run_ei, run_orm, run_ppo, run_rcrl, start, start_with_steps};
use data::{AnswerFormat, Prompting};
use eval::{
    Policy, SampleConfig, complete, read_samples,
    servers::{ServerArgs, Servers, WeightUpdate},
};
use inference_server::{Engine, Fault, InferenceServer};
use model::{Completion, Device, Key, Purpose};
use std::{collections::BTreeMap, path::Path};

const ENGINES: [Engine; 3] = [Engine::Vllm, Engine::Sglang, Engine::LlamaCpp];

fn sampling(samples: usize, temperature: f64, calculator: bool, servers: Option<Servers>) -> SampleConfig {
    SampleConfig {
        samples,
        temperature,
        max_new_tokens: 64,
        rows: 8,
        streams: None,
        threads: 2,
        prompting: Prompting::bare(data::PromptStyle::Plain),
        calculator,
        answer_format: AnswerFormat::default(),
        checker: None,
        servers,
    }
}

fn connect(servers: &[&InferenceServer], update: Option<WeightUpdate>) -> Option<Servers> {
    let rollout_server = servers.iter().map(|server| server.url.clone()).collect();
    ServerArgs { rollout_server, rollout_update: update, ..ServerArgs::default() }.start(false).unwrap()
}

fn completions(policy: &Policy, config: &SampleConfig) -> Result<Vec<Vec<Completion>>> {
    let key = |problem: usize, sample: usize| Key::new(5, Purpose::Rollout).with(problem as u64).with(sample as u64);
    Ok(complete(policy, &problems(), config, key, &|_| ())?.0)
}

/// Every request switches off what changes the distribution beside the temperature.
#[test]
fn a_greedy_completion_of_a_server_is_that_of_this_program_with_and_without_a_calculator() {
    let folder = tempfile::tempdir().unwrap();
    let policy = false_calculator();
    model::save_model(folder.path(), &policy.model).unwrap();
    policy.tokenizer.save(folder.path()).unwrap();
    for calculator in [false, true] {
        let here = completions(&policy, &sampling(1, 0.0, calculator, None)).unwrap();
        assert_eq!(here.iter().flatten().any(|completion| !completion.given.is_empty()), calculator);
        for engine in ENGINES {
            let server = InferenceServer::start(engine, folder.path(), None);
            let config = sampling(1, 0.0, calculator, connect(&[&server], None));
            let there = completions(&policy, &config).unwrap();
            for (here, there) in here.iter().flatten().zip(there.iter().flatten()) {
                assert_eq!((&here.tokens, &here.given, here.finish), (&there.tokens, &there.given, there.finish));
            }
            for request in server.requests() {
                let is_off = |names: &[&str], value: f64| names.iter().all(|name| request[*name] == value);
                assert!(is_off(
                    &["top_p", "repetition_penalty"][..if engine == Engine::LlamaCpp { 1 } else { 2 }],
                    1.0
                ));
                assert!(is_off(&["min_p", "presence_penalty", "frequency_penalty"], 0.0));
            }
        }
    }
}

#[test]
fn samples_of_a_server_have_the_log_probs_that_they_were_chosen_with() {
    let policy = Policy::load(start(), &Device::default()).unwrap();
    for (engine, temperature) in [(Engine::Vllm, 0.7), (Engine::Sglang, 0.7), (Engine::LlamaCpp, 1.0)] {
        let servers = [(); 2].map(|()| InferenceServer::start(engine, start(), None));
        let config = sampling(6, temperature, false, connect(&servers.each_ref(), None));
        let written = completions(&policy, &config).unwrap();
        assert!(written.iter().all(|row| row.len() == 6));
        let gap = config.servers.unwrap().take_gap().unwrap();
        assert!(gap < 1e-4, "{gap}");
        let chosen = |completion: &Completion| completion.server_log_probs.as_ref().unwrap().len();
        assert!(written.iter().flatten().all(|completion| chosen(completion) == completion.tokens.len()));
        assert!(servers.iter().all(|server| server.written() > 0), "both work");
    }
}

#[test]
fn a_server_of_another_model_is_refused() {
    let other = tempfile::tempdir().unwrap();
    let policy = Policy::load(start(), &Device::default()).unwrap();
    model::save_model(other.path(), &common::random_model(policy.tokenizer.vocab_size(), 2)).unwrap();
    policy.tokenizer.save(other.path()).unwrap();
    for engine in ENGINES {
        let server = InferenceServer::start(engine, other.path(), None);
        let refused =
            completions(&policy, &sampling(2, 1.0, false, connect(&[&server], None))).unwrap_err().to_string();
        assert!(
            refused.contains(&server.url) && refused.contains("does not write with the weights of the policy"),
            "{refused}"
        );
    }
}

#[test]
fn what_is_no_server_is_named() {
    let other = InferenceServer::start(Engine::LlamaCpp, start(), None);
    let flags = |url: &str| ServerArgs { rollout_server: vec![url.into()], ..ServerArgs::default() };
    let error = flags(&format!("{}/nowhere", other.url)).start(false).unwrap_err().to_string();
    assert!(error.contains("/nowhere is no server of vLLM, SGLang or llama.cpp"), "{error}");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = flags(&format!("http://{gone}")).start(false).unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
    let update = Some(WeightUpdate::Weights);
    let error = ServerArgs { rollout_update: update, ..flags(&other.url) }.start(true).unwrap_err().to_string();
    assert!(error.contains("keeps the model that it was started with"), "{error}");
}

/// Flags of a run on servers, whose weights go through a folder beside it.
fn on(servers: &[&InferenceServer], out: &Path) -> Vec<String> {
    let urls: Vec<&str> = servers.iter().map(|server| server.url.as_str()).collect();
    let weights = out.parent().unwrap().join("weights").display().to_string();
    vec![format!("--rollout-server={}", urls.join(",")), format!("--rollout-weights={weights}")]
}

fn ppo_on(servers: &[&InferenceServer], out: &Path, more: &[&str]) -> Result<std::path::PathBuf> {
    let flags = on(servers, out);
    run_ppo(out, &[flags.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), more].concat())
}

#[test]
fn the_weights_of_ppo_follow_to_the_server_whole_or_as_an_adapter() {
    let adapter = ["--lora-rank=2", "--rollout-update=adapter", "--learning-rate=2e-2"];
    for (engine, flags) in
        [(Engine::Vllm, [].as_slice()), (Engine::Sglang, &[]), (Engine::Vllm, &adapter), (Engine::Sglang, &adapter)]
    {
        let place = tempfile::tempdir().unwrap();
        let server = InferenceServer::start(engine, start(), None);
        let more =
            [["--filter-groups=false", "--kl-coefficient=0.5", "--rollout-tolerance=0.01"].as_slice(), flags].concat();
        let dir = ppo_on(&[&server], &place.path().join("run"), &more).unwrap();
        for step in metrics(&dir) {
            let value = |name: &str| step[name].as_f64().unwrap();
            assert!(value("server/gap") < 1e-4, "{engine:?}: {}", value("server/gap"));
            assert!((value("importance/mean") - 1.0).abs() < 1e-4 && value("importance/clipped") == 0.0);
        }
        let moved = metrics(&dir).last().unwrap()["kl/k3"].as_f64().unwrap();
        assert!(moved > 1e-4, "a policy that moves, which a server of old weights would not follow: {moved}");
        assert!(server.updates() > 4, "trial weights, and those of each step");
        assert_eq!(read_samples(&dir.join("samples.jsonl")).unwrap().len(), 4 * 4 * 2);
        assert!(!place.path().join("weights").exists(), "weights are removed");
    }
}

#[test]
fn a_server_that_answers_and_does_not_take_the_weights_is_refused() {
    for (engine, fault) in
        [(Engine::Vllm, Fault::KeepsWeights), (Engine::Vllm, Fault::KeepsHead), (Engine::Sglang, Fault::KeepsWeights)]
    {
        let place = tempfile::tempdir().unwrap();
        let server = InferenceServer::start(engine, start(), Some(fault));
        let refused = ppo_on(&[&server], &place.path().join("run"), &[]).unwrap_err().to_string();
        assert!(refused.contains("did not take the weights that it was sent"), "{fault:?}: {refused}");
        assert!(server.updates() <= 3, "trial weights alone");
    }
}

#[test]
fn ppo_needs_servers_that_follow_and_log_probs_at_its_temperature() {
    let place = tempfile::tempdir().unwrap();
    let out = |name: &str| place.path().join(name);
    let fixed = InferenceServer::start(Engine::LlamaCpp, start(), None);
    let error = ppo_on(&[&fixed], &out("a"), &[]).unwrap_err().to_string();
    assert!(error.contains("would not follow the trained weights"), "{error}");
    let raw = InferenceServer::start(Engine::Vllm, start(), Some(Fault::Raw));
    let error = ppo_on(&[&raw], &out("b"), &["--temperature=0.7"]).unwrap_err().to_string();
    assert!(error.contains("--logprobs-mode processed_logprobs"), "{error}");
    ppo_on(&[&raw], &out("c"), &["--temperature=1"]).unwrap();
}

#[test]
fn a_server_that_dies_costs_no_sample_and_gives_none_twice() {
    let place = tempfile::tempdir().unwrap();
    let [one, other] = [(); 2].map(|()| InferenceServer::start(Engine::Vllm, start(), Some(Fault::Stumbles)));
    let ei = |servers: &[&InferenceServer], name: &str| {
        let out = place.path().join(name);
        let flags = [on(servers, &out), vec!["--rounds=2".into(), "--rollout-retries=6".into()]].concat();
        run_ei(&out, &flags.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let per_round = |dir: &Path| {
        let mut counts = BTreeMap::<(usize, String), usize>::new();
        for sample in read_samples(&dir.join("samples.jsonl")).unwrap() {
            *counts.entry((sample.step.unwrap(), sample.id)).or_default() += 1;
        }
        counts
    };
    // One of two dies in the middle of the second round.
    other.die_after(60);
    let dir = ei(&[&one, &other], "both").unwrap();
    assert_eq!(per_round(&dir).len(), 2 * problems().len());
    assert!(per_round(&dir).values().all(|&count| count == 4));
    // The only one dies, as the first evaluation begins or later, and the run names it, what it was asked for and how to go on.
    let mut named = 0;
    for (requests, name) in [(5, "in-trial"), (30, "in-evaluation"), (50, "alone")] {
        other.revive();
        other.die_after(requests);
        let error = format!("{:#}", ei(&[&other], name).unwrap_err());
        assert!(error.contains(&other.url) && error.contains("--resume"), "{error}");
        named += usize::from(error.contains("asked for samples of"));
    }
    assert!(named > 0, "a question that was asked is named");
    // It is resumed on another server, which the flag names in place of the first.
    let alone = format!("--resume={}", place.path().join("alone").display());
    let dir = run(&["ei", &alone, "--quiet", &format!("--rollout-server={}", one.url)]).unwrap();
    assert_eq!(per_round(&dir).len(), 2 * problems().len());
    assert!(per_round(&dir).values().all(|&count| count == 4));
}

#[test]
fn a_server_of_fixed_weights_samples_the_policy_that_it_has_and_others_are_sampled_here() {
    let place = tempfile::tempdir().unwrap();
    let server = InferenceServer::start(Engine::LlamaCpp, start(), None);
    let out = place.path().join("run");
    let flags = [on(&[&server], &out), vec!["--rounds=1".into()]].concat();
    let dir = run_ei(&out, &flags.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    assert_eq!(read_samples(&dir.join("samples.jsonl")).unwrap().len(), 4 * problems().len());
    assert!(server.written() >= 4 * problems().len());
}

#[test]
fn reward_models_and_return_conditioned_rl_sample_on_servers() {
    let place = tempfile::tempdir().unwrap();
    let server = InferenceServer::start(Engine::Vllm, start(), None);
    let out = place.path().join("orm");
    let flags = on(&[&server], &out);
    let dir = run_orm(start(), &out, &flags.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    assert_eq!(read_samples(&dir.join("samples.jsonl")).unwrap().len(), 6 * problems().len());
    assert!(server.written() >= 6 * problems().len());
    // Solutions, and completions of their prefixes, by a policy that expects no labels; then one that is given them.
    let server = InferenceServer::start(Engine::Sglang, start_with_steps(), None);
    let out = place.path().join("rcrl");
    let flags = on(&[&server], &out);
    let dir = run_rcrl(&out, &flags.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    assert_eq!(read_samples(&dir.join("samples.jsonl")).unwrap().len(), 6 * problems().len());
    let prefixes = std::fs::read_to_string(dir.join("prefixes.jsonl")).unwrap().lines().count();
    assert!(server.written() >= 6 * problems().len() + 2 * prefixes);
    assert!(server.updates() > 2, "the trained policy follows");
}

#[test]
fn generate_and_its_log_probs_are_those_at_temperature_1() {
    let server = InferenceServer::start(Engine::Vllm, start(), None);
    let init = format!("--init={}", start().display());
    let url = format!("--rollout-server={}", server.url);
    run(&["generate", &init, &url, "--prompt=Question: 1?", "--temperature=0.7", "--json", "--device=cpu"]).unwrap();
    assert!(server.written() > 0);
    let error = run(&["bench", "--model=pico", &url, "--device=cpu"]).unwrap_err().to_string();
    assert!(error.contains("--rollout-server has no effect here"), "{error}");
}
