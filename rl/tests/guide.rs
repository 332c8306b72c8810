//! `rl guide`: a run that was stopped and resumed is the run that never stopped, a guide learns from demonstrations, and mistakes are named.

mod common;
#[path = "common/place.rs"]
mod place;

use common::{assert_same_run, metrics, resume, run};
use place::place;
use serde_json::{Map, Value};
use std::{fs, path::Path};

/// A run of seconds; later flags win.
fn guide(out: &Path, more: &[&str]) -> anyhow::Result<std::path::PathBuf> {
    let out = format!("--out={}", out.display());
    let own = ["guide", "--quiet", "--device=cpu", "--threads=1", "--size=3", "--episodes=20", "--seeds=3", &out];
    run(&[own.as_slice(), more].concat())
}

/// The results of seeds without the clocks.
fn seeds(dir: &Path) -> Vec<Map<String, Value>> {
    let text = fs::read_to_string(dir.join("seeds.jsonl")).unwrap();
    let line = |line: &str| {
        let mut seed: Map<String, Value> = serde_json::from_str(line).unwrap();
        seed.retain(|name, _| !name.starts_with("time/"));
        seed
    };
    text.lines().map(line).collect()
}

#[test]
fn a_run_that_was_stopped_and_resumed_is_the_run_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let dqn = ["--learner=dqn", "--size=6", "--environment=cubes", "--guide-knows=0.8"];
    let train_prior = ["--train-prior=3", "--prior-epochs=2"];
    for (name, flags) in [
        ("linvit", ["--method=linvit"].as_slice()),
        ("slinvit", &["--method=slinvit", "--leaf=monte-carlo", "--guide-divergence=2"]),
        ("lmgt", &[["--method=lmgt"].as_slice(), &train_prior].concat()),
        ("lagr-seq", &[["--method=lagr-seq"].as_slice(), &dqn].concat()),
    ] {
        let straight = guide(&folder.path().join(name), flags).unwrap();
        for stop in [1, 2] {
            let dir = folder.path().join(format!("{name}-{stop}"));
            let error = guide(&dir, &[flags, &[&format!("--stop-after={stop}")]].concat()).unwrap_err().to_string();
            assert!(error.contains(&format!("after {stop} of 3 seeds; resume with --resume")), "{error}");
            assert_eq!(seeds(&dir).len(), stop);
            if stop == 2 {
                // As a kill may leave it.
                let path = dir.join("seeds.jsonl");
                let text = fs::read(&path).unwrap();
                fs::write(&path, &text[..text.len() - 10]).unwrap();
            }
            resume("guide", &dir).unwrap();
            assert_same_run(&dir, &straight);
            assert_eq!(seeds(&dir), seeds(&straight));
        }
    }
    let complete = folder.path().join("linvit");
    let error = resume("guide", &complete).unwrap_err().to_string();
    assert!(error.contains("the run has all of its 3 seeds: raise --seeds"), "{error}");
    // More seeds are another run's first seeds and some more.
    let before = seeds(&complete);
    run(&["guide", &format!("--resume={}", complete.display()), "--quiet", "--seeds=5"]).unwrap();
    assert_eq!(seeds(&complete)[..3], before);
    assert_eq!(seeds(&complete).len(), 5);
    let more = metrics(&guide(&folder.path().join("five"), &["--method=linvit", "--seeds=5"]).unwrap());
    assert_eq!(metrics(&complete), more);
}

#[test]
fn a_guide_learns_from_demonstrations_in_other_environments() {
    let folder = tempfile::tempdir().unwrap();
    let divergence = |name: &str, flags: &[&str]| {
        let dir =
            guide(&folder.path().join(name), &[["--episodes=1", "--seeds=6"].as_slice(), flags].concat()).unwrap();
        let all = seeds(&dir);
        all.iter().map(|seed| seed["divergence"].as_f64().unwrap()).sum::<f64>() / all.len() as f64
    };
    let none = divergence("none", &[]);
    let few = divergence("few", &["--train-prior=100"]);
    assert!(few < 0.75 * none, "{few} {none}");
    // It is kept, and can guide another run.
    let kept = format!("--init={}", folder.path().join("few/prior").display());
    assert_eq!(divergence("kept", &[&kept]), few);
    // A model of the user's own is fine-tuned.
    let start = format!("--init={}", common::start().display());
    let before = divergence("start", &[&start]);
    let after = divergence("tuned", &[&start, "--train-prior=100"]);
    assert!(after < 0.75 * before, "{after} {before}");
}

#[test]
fn mistakes_are_named_and_leave_nothing_behind() {
    let place = place();
    fn guide<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [["guide", "--out=run", "--quiet", "--seeds=2", "--episodes=5"].as_slice(), more].concat()
    }
    let fails = |more: &[&str], words: &[&str]| place.fails(&guide(more), words);
    fails(&["--size=9"], &["BlocksWorld has 3 to"]);
    fails(&["--environment=key-door", "--size=4"], &["a grid has sides of 5 to 15"]);
    fails(&["--guide-divergence=1000"], &["no guide of this environment has KL", "it can be from"]);
    fails(&["--lambda=0", "--init=model"], &["--lambda 0 ignores the guide"]);
    fails(&["--lambda=0", "--train-prior=2"], &["--lambda 0 ignores the guide"]);
    fails(&["--method=slinvit", "--breadth=9", "--depth=9"], &["lower --breadth or --depth"]);
    fails(&["--init=nowhere"], &["nowhere"]);
    fails(&["--rollout-server=http://localhost:1"], &["--rollout-server has no effect here"]);
    place.refuses_usage(&guide(&["--init=model", "--guide-divergence=1"]), &["--init", "--guide-divergence"]);
    place.refuses_usage(&guide(&["--guide-knows=1.5"]), &["--guide-knows"]);
    place.refuses_usage(&guide(&["--lambda=-1"]), &["--lambda"]);
    // A context that is too short for a state.
    let config = fs::read_to_string(place.path("model/config.json")).unwrap();
    assert!(config.contains("\"max_position_embeddings\": 512"), "{config}");
    fs::write(
        place.path("model/config.json"),
        config.replace("\"max_position_embeddings\": 512", "\"max_position_embeddings\": 32"),
    )
    .unwrap();
    fails(&["--init=model"], &["tokens, and the model's context is 32"]);
    // What the seeds depend on is fixed.
    assert!(place.run(&guide(&[])).status.success());
    place.fails(&["guide", "--resume=run", "--seeds=3", "--lambda=0.1"], &["--lambda", "was started with"]);
    place.fails(&guide(&[]), &["run", "exists"]);
    fs::write(place.path("run/seeds.jsonl"), "{\"seed\": 0}\n").unwrap();
    place.fails(&["guide", "--resume=run", "--seeds=3"], &["seeds.jsonl is malformed"]);
}
