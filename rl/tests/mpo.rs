//! Claims about mixed preference optimisation as a whole: what each stage trains on and from, and that a run that was stopped is the run
//! that never stopped.

mod common;
#[path = "common/place.rs"]
mod place;

use common::{assert_same_run, files, metrics, resume, run, run_mpo, run_orm, start_with_steps};
use eval::read_samples;
use place::place;
use rl::sampling::pairs::read_pairs;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A reward model of the policy of these tests, in a folder.
fn reward_model(folder: &Path) -> PathBuf {
    let flags = ["--max-new-tokens=64", "--temperature=1.3", "--steps=30", "--eval-every=30"];
    run_orm(start_with_steps(), &folder.join("orm"), &flags).unwrap()
}

fn number(dir: &Path, line: usize, name: &str) -> f64 {
    metrics(dir)[line][name].as_f64().unwrap()
}

#[test]
fn dpo_trains_on_the_easy_pairs_and_ppo_samples_the_questions_of_the_hard_ones_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let orm = reward_model(folder.path());
    let dir = run_mpo(&orm, &folder.path().join("run"), &["--pairs-per-question=4"]).unwrap();
    let [easy, hard] = ["easy.jsonl", "hard.jsonl"].map(|name| read_pairs(&dir.join(name)).unwrap());
    assert!(easy.len() + 1 >= hard.len() && easy.len() <= hard.len(), "{} and {}: the median", easy.len(), hard.len());
    assert!(easy.iter().all(|pair| !hard.contains(pair)));
    for (name, count) in [("pairs/easy", easy.len()), ("pairs/hard", hard.len())] {
        assert_eq!(number(&dir, 1, name), count as f64);
    }
    let hard: BTreeSet<&str> = hard.iter().map(|pair| pair.question.as_str()).collect();
    let sampled = read_samples(&dir.join("ppo/samples.jsonl")).unwrap();
    assert_eq!(sampled.len(), 3 * 2 * 4);
    let of_pairs = read_samples(&dir.join("samples.jsonl")).unwrap().len();
    assert_eq!([0, 1].map(|stage| number(&dir, stage, "samples")), [of_pairs, of_pairs + 24].map(|count| count as f64));
    assert!(sampled.iter().all(|sample| hard.contains(sample.question.as_str())));
    // A stage is a run of its own command; the second one starts from the best checkpoint of the first, and refers to it.
    let text = std::fs::read_to_string(dir.join("ppo/config.toml")).unwrap();
    let config: toml::Table = text.parse().unwrap();
    assert!(config["init"].as_str().unwrap().contains("/dpo/checkpoints/"), "{text}");
    assert_eq!(metrics(&dir.join("dpo")).len(), 4);
    assert_eq!(number(&dir.join("ppo"), 0, "kl/k3"), 0.0);
    assert!(number(&dir.join("ppo"), 2, "kl/k3") > 0.0, "the policy has left its reference");
    assert!(
        dir.join("eval.json").is_file() && dir.join("report.html").is_file() && !dir.join("ppo/eval.json").exists()
    );
    eval::Policy::load(&dir, &Default::default()).unwrap();
    let first =
        run_mpo(&orm, &folder.path().join("first"), &["--pairs-per-question=4", "--ppo-reference=first"]).unwrap();
    assert_eq!(metrics(&first.join("dpo")), metrics(&dir.join("dpo")));
    assert!(number(&first.join("ppo"), 0, "kl/k3") > 0.0, "the reference is the first model");
}

#[test]
fn the_order_may_be_turned_and_the_split_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let orm = reward_model(folder.path());
    let dir = run_mpo(&orm, &folder.path().join("run"), &["--order=hard-first", "--all-pairs"]).unwrap();
    let [easy, hard] = ["easy.jsonl", "hard.jsonl"].map(|name| read_pairs(&dir.join(name)).unwrap());
    assert_eq!(easy, hard);
    let config = |stage: &str| std::fs::read_to_string(dir.join(stage).join("config.toml")).unwrap();
    assert!(config("dpo").contains("/ppo/checkpoints/") && !config("ppo").contains("/dpo/checkpoints/"));
}

#[test]
fn a_run_that_was_stopped_in_each_stage_and_resumed_is_the_run_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let orm = reward_model(folder.path());
    for (name, more) in [("full", &[][..]), ("adapters", &["--lora-rank=2", "--ppo-reference=first"])] {
        let straight = run_mpo(&orm, &folder.path().join(name), more).unwrap();
        let dir = folder.path().join(format!("{name}-stopped"));
        let error = run_mpo(&orm, &dir, &[more, &["--stop-after=1"]].concat()).unwrap_err();
        let parts = ["stage 1 of 2, dpo", &format!("the whole is resumed with --resume {}", dir.display())];
        assert!(parts.iter().all(|part| format!("{error:#}").contains(part)), "{error:#}");
        assert_eq!(metrics(&dir.join("dpo")).len(), 1);
        // The rest of the first stage, and a step of the second.
        let go_on = format!("--resume={}", dir.display());
        let error = run(&["mpo", &go_on, "--quiet", "--stop-after=1"]).unwrap_err();
        assert!(format!("{error:#}").contains("stage 2 of 2, ppo"), "{error:#}");
        assert_eq!((metrics(&dir.join("dpo")).len(), metrics(&dir.join("ppo")).len()), (4, 1));
        resume("mpo", &dir).unwrap();
        assert_same_run(&dir, &straight);
        for stage in ["dpo", "ppo"] {
            let [of_dir, of_straight] = [&dir, &straight].map(|dir| dir.join(stage));
            assert_eq!(metrics(&of_dir), metrics(&of_straight));
            let checkpoints = |dir: &Path| {
                let all = files(&dir.join("checkpoints")).into_iter();
                all.filter(|(path, _)| path.extension().is_some_and(|kind| kind == "safetensors")).collect::<Vec<_>>()
            };
            assert!(checkpoints(&of_dir) == checkpoints(&of_straight), "{stage}");
        }
    }
}

#[test]
fn a_mistake_is_named_before_anything_is_made_and_a_dry_run_shows_both_stages() {
    let place = place();
    let mpo = |more: &[&'static str]| -> Vec<&'static str> {
        let flags = ["mpo", "--init=model", "--out=run", "--quiet", "--device=cpu", "--limit=4", "--test-problems=0"];
        [flags.as_slice(), more].concat()
    };
    place.fails(&mpo(&[]), &["with --init", "rl orm --init", "--orm"]);
    place.fails(&mpo(&["--orm=nowhere"]), &["nowhere"]);
    place.fails(&mpo(&["--orm=model"]), &["not a reward model", "rl orm"]);
    place.fails(&mpo(&["--orm=model", "--rounds=2"]), &["--rounds 2 is for rl dpo"]);
    place.fails(&mpo(&["--orm=model", "--loss=kto"]), &["--loss kto is for rl dpo"]);
    place.fails(&mpo(&["--orm=model", "--reward-command=true"]), &["takes no reward from outside"]);
    place.fails(&mpo(&["--orm=model", "--pairs=none.jsonl"]), &["none.jsonl", "No such file"]);
    place.fails(&mpo(&["--orm=model", "--ppo-mini-batch=500"]), &["--mini-batch 500 is more than the 256 samples"]);
    place.refuses_usage(&mpo(&["--gap=2"]), &["--gap", "from 0 to 1"]);
    let output = place.run(&mpo(&["--orm=model", "--dry-run"]));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    let [dpo, ppo] = ["# rl dpo --dry-run", "# rl ppo --dry-run"].map(|part| printed.find(part).unwrap());
    assert!(dpo < ppo && printed.contains("# samples in all        25600"), "{printed}");
}
