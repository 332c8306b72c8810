use super::{Disk, Setup, SetupArgs, Step, Study};
use clap::Parser;
use std::{fs, path::Path};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    setup: SetupArgs,
}

fn setup(flags: &str) -> anyhow::Result<Setup> {
    let flags = Flags::try_parse_from(["study", "--programs", "."].into_iter().chain(flags.split_whitespace()))?;
    Setup::new(Study::declared(), &flags.setup)
}

/// The commands of a part of the study of which nothing is there yet.
fn plan(flags: &str) -> Vec<String> {
    let (setup, mut disk) = (setup(flags).unwrap(), Disk::default());
    let mut steps = setup.stand_in_steps(&disk).unwrap();
    for (folder, run) in setup.items() {
        steps.extend(setup.steps(folder, run, &mut disk).unwrap());
    }
    steps.iter().map(Step::to_string).collect()
}

/// The runs that a part of the study has results of.
fn results(flags: &str) -> Vec<&'static str> {
    setup(flags).unwrap().items().into_iter().map(|(_, run)| run.name.as_str()).collect()
}

#[test]
fn every_profile_has_commands_for_all_of_its_runs() {
    for (flags, count) in [
        ("--profile smoke", 55),
        ("--profile cpu", 476),
        ("--profile cpu --benchmark svamp --data-dir D --init-small m", 19),
        ("--profile gpu --init-small m --init-large l --seeds 1", 86),
    ] {
        let results = plan(flags).iter().filter(|command| command.starts_with("collect ")).count();
        assert_eq!(results, count, "{flags}");
    }
}

#[test]
fn what_a_run_needs_is_done_first_and_once_and_its_own_flags_come_last() {
    let commands = plan("--profile cpu --only ppo-sparse-orm --seed 1 --small-only --out o -- --quiet");
    let of_rl: Vec<&str> = commands.iter().filter_map(|command| command.split(' ').nth(1)).collect();
    assert_eq!(of_rl[..7], ["pretrain", "sft", "orm", "ppo", "ei", "orm", "run"]);
    assert_eq!(
        commands[3],
        "rl ppo --seed 1 --model pico --benchmark synthetic --limit 2400 --rollout-batch 32 --eval-problems 400 --test-problems 100 --test-samples 1 \
         --out o/pico-seed1/ppo-sparse-orm --quiet --init o/pico-seed1/sft \
         --steps 100 --eval-every 20 --reward sparse-orm --orm o/pico-seed1/orm"
    );
    assert_eq!(
        commands[6],
        "eval run --checkpoint o/pico-seed1/ppo-sparse-orm --orm o/pico-seed1/orm-ei --samples 96 --benchmark synthetic \
         --out o/pico-seed1/reports/ppo-sparse-orm.json --by-question o/pico-seed1/reports/ppo-sparse-orm.by-question.json \
         --limit 100 --rollout-batch 32 --quiet"
    );
    assert_eq!(
        commands[7],
        "eval run --checkpoint o/pico-seed1/ppo-sparse-orm --benchmark synthetic --out o/pico-seed1/reports/ppo-sparse-orm.single.json \
         --by-question o/pico-seed1/reports/ppo-sparse-orm.single.by-question.json --samples 16 --limit 1000 --rollout-batch 32 --quiet"
    );
    assert_eq!(
        commands[8],
        "collect --report o/pico-seed1/reports/ppo-sparse-orm.json \
         --by-question o/pico-seed1/reports/ppo-sparse-orm.by-question.json \
         --single o/pico-seed1/reports/ppo-sparse-orm.single.json \
         --single-by-question o/pico-seed1/reports/ppo-sparse-orm.single.by-question.json \
         --run o/pico-seed1/ppo-sparse-orm --model pico --seed 1 --out o/pico-seed1/results/ppo-sparse-orm.json"
    );
    assert_eq!(commands.len(), 9);
}

#[test]
fn a_published_model_takes_the_place_of_the_base() {
    let commands = plan("--profile gpu --init-small hf:a/b --seed 0 --only base --out o");
    assert!(commands[0].starts_with("rl ei --seed 0 --benchmark synthetic"), "{}", commands[0]);
    assert!(commands[0].contains("--init hf:a/b --base hf:a/b --start base"), "{}", commands[0]);
    let first = commands.iter().position(|command| command.starts_with("eval")).unwrap();
    let [evaluates, collects] = [&commands[first], &commands[first + 1]];
    assert!(evaluates.starts_with("eval run --checkpoint hf:a/b --orm o/small-model-seed0/orm-base"), "{evaluates}");
    assert!(collects.starts_with("collect --report") && !collects.contains("--run"), "{collects}");
}

#[test]
fn a_table_has_the_runs_that_it_shows_and_ablations_are_of_the_smaller_size() {
    let table_6 = ["ppo", "ppo-plr", "ppo-backtracking"];
    assert_eq!(results("--only table-6 --seed 0 --small-only"), table_6);
    assert_eq!(results("--only table-2 --seed 0 --large-only").len(), 6);
    assert_eq!(results("--only table-1 --seed 0 --large-only").len(), 13);
    let of_claims = results("--only claims --seed 0 --small-only");
    assert!(of_claims.contains(&"ppo-base-cold") && !of_claims.contains(&"ppo-base-hot"), "{of_claims:?}");
}

#[test]
fn what_is_not_part_of_the_study_is_refused() {
    for flags in [
        "--profile fast",
        "--profile cpu-given",
        "--profile gpu",
        "--benchmark svamp --only table-1 --data-dir D",
        "--only table-7",
        "--only ppo-base-cold --profile smoke",
        "--only table-6 --large-only",
        "--profile smoke --large-only",
        "--seed 1 --seeds 2",
        "--seeds 0",
        "--init-large m",
        "--small-only --large-only",
    ] {
        assert!(setup(flags).is_err(), "{flags}");
    }
    assert!(setup("--profile smoke --only table-3,sft").is_ok());
}

#[test]
fn a_study_of_a_description_lies_in_a_folder_named_after_its_file() {
    assert_eq!(setup("--benchmark my/own/quiz.toml").unwrap().out, "runs/reproduce-cpu-quiz");
    assert_eq!(setup("").unwrap().out, "runs/reproduce-cpu-synthetic");
}

#[test]
fn a_description_has_the_tables_that_need_no_benchmark_of_their_own() {
    let exhibits =
        |flags: &str| setup(flags).unwrap().exhibits().map(|exhibit| exhibit.name.clone()).collect::<Vec<_>>();
    let of_description = exhibits("--benchmark my/own/quiz.toml");
    assert_eq!(of_description, exhibits("--benchmark gsm8k --data-dir D"));
    for name in ["table-1", "table-2", "table-4", "table-5", "table-6", "table-differences"] {
        assert!(of_description.iter().any(|other| other == name), "{name} of {of_description:?}");
    }
    for name in ["table-3", "table-numbers", "table-steps"] {
        assert!(!of_description.iter().any(|other| other == name), "{name} of {of_description:?}");
    }
}

#[test]
fn a_finished_run_is_skipped_and_an_interrupted_one_goes_on_from_its_checkpoint() {
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("pico-seed0");
    let write = |path: &str, text: &str| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("base/finished", "");
    write("sft-8/checkpoints/index.json", r#"{"best": "step-000001", "last": "step-000002"}"#);
    let setup = setup(&format!("--seed 0 --small-only --only sft-8 --out {}", out.path().display())).unwrap();
    let (folder, run) = setup.items()[0];
    let steps = setup.steps(folder, run, &mut Disk::default()).unwrap();
    let commands: Vec<String> = steps.iter().map(Step::to_string).collect();
    let path = Path::new(&folder.dir).join("sft-8").display().to_string();
    assert_eq!(commands[0], format!("rl sft --resume {path}"));
    assert!(commands[1].starts_with(&format!("eval run --checkpoint {path}/checkpoints/step-000002 --samples 96")));
    assert!(
        commands[2].contains(&format!("{path}/checkpoints/step-000002")) && commands[2].contains("sft-8.single.json")
    );
    assert_eq!(commands.len(), 4);
}

#[test]
fn a_study_that_names_a_run_that_it_does_not_have_is_refused() {
    let text = include_str!("../../study.toml");
    assert!(Study::parse(text).is_ok());
    for (name, other) in [
        ("start = \"ei\"", "start = \"ie\""),
        ("[\"RLOO\", \"ppo-rloo\"]", "[\"RLOO\", \"rloo\"]"),
        ("of = \"ei - ei-last\"", "of = \"ei - last\""),
    ] {
        let error = Study::parse(&text.replace(name, other)).unwrap_err().to_string();
        assert!(error.contains("the study has no run"), "{error}");
    }
}

#[test]
fn verdicts_with_looks_that_do_not_rise_or_margins_of_nothing_are_refused() {
    let text = include_str!("../../study.toml");
    for (name, other) in [
        ("looks = [4, 8, 12]", "looks = [8, 4]"),
        ("looks = [4, 8, 12]", "looks = [1, 4]"),
        ("looks = [4, 8, 12]", "looks = []"),
        ("alpha = 0.05", "alpha = 5"),
        ("smallest = 0.03", "smallest = 0"),
    ] {
        assert!(text.contains(name), "{name}");
        assert!(Study::parse(&text.replace(name, other)).is_err(), "{other}");
    }
}
