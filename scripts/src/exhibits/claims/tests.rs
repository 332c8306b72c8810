use super::*;
use crate::results::{RunResult, SeedRuns};
use Verdict::{CannotTell, DoesNotHold, Holds};
use eval::{Metric, MetricKind};
use serde_json::json;

/// A run with one metric for all, ± 0.03 over questions, and an evaluation on the validation split every 100 samples.
fn run(name: &str, model: &str, seed: u64, maj: f64, evaluations: &[f64]) -> RunResult {
    let of = |value: f64| json!({ "value": value, "ci95": [value - 0.03, value + 0.03] });
    let evaluation =
        |(step, maj): (usize, &f64)| json!({ "step": step, "samples": 100 * step, "validation/maj@1": maj });
    serde_json::from_value(json!({
        "name": name, "command": "ppo", "model": model, "seed": seed, "cost": {}, "made": {},
        "looks": (1..).zip(evaluations).map(evaluation).collect::<Vec<_>>(), "flags": { "eval_problems": 10_000 },
        "test": {
            "benchmark": "synthetic", "split": "test", "problems": 500, "samples": 8, "temperature": 0.7,
            "checkpoint": null, "parse_failures": 0.0, "truncated": null, "mean_tokens": null,
            "maj@1": of(maj), "maj@8": of(maj), "pass@8": of(maj), "rerank@8": of(maj),
        },
    }))
    .unwrap()
}

/// Runs by name, with what each seed has scored.
fn size(model: &str, runs: &[(&str, &[f64])]) -> Size {
    let study = |seed: u64| {
        let of_seed = runs.iter().filter_map(|(name, scores)| Some((*name, *scores.get(seed as usize)?)));
        let runs = of_seed.map(|(name, score)| (name.to_string(), run(name, model, seed, score, &[])));
        SeedRuns { seed, runs: runs.collect() }
    };
    Size { model: model.into(), by_seed: (0..3).map(study).collect() }
}

fn found(number: usize, sizes: &[Size]) -> Found<'static> {
    find(Study::declared(), number, &Study::declared().claims[number - 1], sizes)
}

fn rendered(sizes: &[Size]) -> Result<Rendered> {
    claims(Study::declared(), "Claims", sizes)
}

fn verdict(number: usize, sizes: &[Size]) -> Verdict {
    found(number, sizes).verdict()
}

#[test]
fn claims_have_the_same_parts_whatever_was_run() {
    let (none, some) = (size("tiny", &[]), size("tiny", &[("ei", &[0.5]), ("ppo", &[0.4]), ("sft-2", &[0.3])]));
    for claim in &Study::declared().claims {
        let named = |size| {
            let parts = claim.parts.iter().map(move |part| resolve(Study::declared(), part, size));
            parts.map(|part| part.what.replace("@1", "@8")).collect::<Vec<_>>()
        };
        assert_eq!(named(&none), named(&some), "{}", claim.text);
    }
}

#[test]
fn a_choice_of_runs_counts_the_comparisons_that_it_was_made_from() {
    let parts = &Study::declared().claims[0].parts;
    let comparisons = |place: usize| {
        resolve(Study::declared(), &parts[place], &size("tiny", &[])).selection.map(|selection| selection.comparisons)
    };
    assert_eq!(comparisons(0), Some(5), "the best of five others");
    assert_eq!(comparisons(4), Some(21), "the best and the worst of seven");
}

#[test]
fn what_is_hard_for_both_runs_takes_no_part_in_their_difference() {
    let mut size = size("tiny", &[("ei", &[0.75]), ("ei-last", &[0.50])]);
    let runs = &mut size.by_seed[0].runs;
    let metric = Metric { kind: MetricKind::Maj, k: 1 };
    runs.get_mut("ei").unwrap().by_question.insert(metric, vec![1000, 1000, 1000, 0]);
    runs.get_mut("ei-last").unwrap().by_question.insert(metric, vec![1000, 1000, 0, 0]);
    // One question of four differs: mean 0.25, deviation 0.5 of three degrees of freedom, 1.96 * 0.5 / 2.
    let difference = found(8, &[size]).rows[0].finding.difference.unwrap();
    assert!((difference.mean - 0.25).abs() < 1e-9 && (difference.half_width - 0.49).abs() < 1e-4, "{difference:?}");
}

#[test]
fn a_difference_of_seeds_has_an_interval_of_seeds_and_of_questions() {
    let sizes = [size("tiny", &[("ei", &[0.50, 0.52, 0.54]), ("ei-last", &[0.40, 0.40, 0.40])])];
    let found = found(8, &sizes);
    let difference = found.rows[0].finding.difference.unwrap();
    // 4.303 * 0.02 / sqrt(3) = 0.0497 of the seeds, sqrt(2) * 0.03 = 0.0424 of the questions.
    assert!((difference.mean - 0.12).abs() < 1e-9 && (difference.half_width - 0.0653).abs() < 1e-4, "{difference:?}");
    assert_eq!((difference.seeds, found.verdict()), (3, Holds));
}

#[test]
fn the_same_claim_is_refuted_by_the_opposite_and_left_open_by_little() {
    assert_eq!(verdict(8, &[size("tiny", &[("ei", &[0.4; 3]), ("ei-last", &[0.5; 3])])]), DoesNotHold);
    assert_eq!(verdict(8, &[size("tiny", &[("ei", &[0.43; 3]), ("ei-last", &[0.4; 3])])]), CannotTell);
}

#[test]
fn one_seed_cannot_tell_however_clear_its_questions_are() {
    let sizes = [size("tiny", &[("ei", &[0.9]), ("ei-last", &[0.1])])];
    assert_eq!(verdict(8, &sizes), CannotTell);
    let text = rendered(&sizes).unwrap().markdown;
    assert!(text.contains("+80.0") && text.contains("cannot tell: one seed"), "{text}");
}

#[test]
fn a_run_that_is_missing_cannot_tell_and_is_named() {
    let sizes = [size("tiny", &[("ppo", &[0.5; 3]), ("ppo-plr", &[0.4; 3])])];
    let found = found(13, &sizes);
    assert_eq!((found.rows[0].finding.verdict, found.verdict()), (Holds, CannotTell));
    assert!(rendered(&sizes).unwrap().markdown.contains("cannot tell: `ppo-backtracking` was not run"));
}

#[test]
fn what_one_size_has_not_run_is_left_to_the_other() {
    let full = size("tiny", &[("ei", &[0.5; 3]), ("ei-last", &[0.4; 3]), ("sft", &[0.3; 3])]);
    let sizes = [full, size("medium", &[("ei", &[0.5; 3])])];
    assert_eq!(verdict(8, &sizes), Holds);
    assert!(rendered(&sizes).unwrap().markdown.contains("Not run on `medium`, and not counted: `ei-last`."));
}

#[test]
fn a_gap_narrows_more_at_the_size_where_it_has_narrowed_by_more() {
    let runs = |sft: f64, after: f64| {
        move |model| {
            let scores =
                [("sft", sft), ("base", 0.05), ("ei", 0.6), ("ei-base", after), ("ppo", 0.6), ("ppo-base", after)];
            let owned = scores.map(|(name, score)| (name, [score; 3]));
            size(model, &owned.each_ref().map(|(name, scores)| (*name, &scores[..])))
        }
    };
    // 0.30 - 0.20 at the smaller size; 0.50 - 0.10 at the larger.
    let sizes = [runs(0.35, 0.4)("tiny"), runs(0.55, 0.5)("medium")];
    assert_eq!(verdict(12, &sizes), Holds);
    assert_eq!(verdict(12, &[sizes[1].clone(), sizes[0].clone()]), DoesNotHold);
    assert_eq!(verdict(12, &sizes[..1]), CannotTell, "one size has none that is larger");
    let mut larger = sizes[1].clone();
    larger.by_seed.iter_mut().for_each(|of_seed| drop(of_seed.runs.remove("base")));
    assert_eq!(verdict(12, &[sizes[0].clone(), larger]), CannotTell, "nothing is known of the larger one");
}

#[test]
fn samples_are_counted_until_a_run_has_converged_and_not_if_it_never_did() {
    let with_evaluations = |evaluations: [&[f64]; 3]| {
        let mut size = size("tiny", &[]);
        for (of_seed, evaluations) in size.by_seed.iter_mut().zip(evaluations) {
            let seed = of_seed.seed;
            let sft = run("sft", "tiny", seed, 0.3, &[0.3, 0.2]);
            of_seed.runs.insert("sft".into(), sft);
            // 95 % of the gain is 0.395: the second evaluation.
            of_seed.runs.insert("ppo".into(), run("ppo", "tiny", seed, 0.4, &[0.35, 0.399, 0.4]));
            of_seed.runs.insert("ei".into(), run("ei", "tiny", seed, 0.4, evaluations));
        }
        found(2, &[size]).rows.remove(0).finding
    };
    let (fourth, third) = ([0.3, 0.35, 0.36, 0.5, 0.49], [0.3, 0.35, 0.5, 0.49, 0.48]);
    let settled = with_evaluations([&fourth, &fourth, &third]);
    let expected = (2.0 * 2f64.log10() + 1.5f64.log10()) / 3.0;
    assert!((settled.difference.unwrap().mean - expected).abs() < 1e-9, "400, 400 and 300 samples against 200");
    assert_eq!(settled.verdict, Holds);
    let agreed = with_evaluations([&fourth; 3]);
    assert!(agreed.verdict == CannotTell && agreed.why.unwrap().contains("all seeds have found the same"));
    let rising = with_evaluations([&[0.3, 0.4, 0.5]; 3]);
    assert_eq!((rising.verdict, rising.difference), (CannotTell, None));
    assert!(rising.why.unwrap().contains("`ei` was still rising"));
}

#[test]
fn what_the_budgets_decide_is_no_finding() {
    let with_steps = |steps: &[u64]| {
        let mut size = size("tiny", &[]);
        for of_seed in &mut size.by_seed {
            let seed = of_seed.seed;
            of_seed.runs.insert("sft".into(), run("sft", "tiny", seed, 0.3, &[0.3]));
            of_seed.runs.insert("ppo".into(), run("ppo", "tiny", seed, 0.4, &[0.35, 0.4, 0.39 - 0.01 * seed as f64]));
            let mut ei = run("ei", "tiny", seed, 0.4, &[0.4, 0.5, 0.49]);
            for (evaluation, step) in ei.evaluations.iter_mut().zip(steps) {
                evaluation.insert("samples".into(), (100 * step) as f64);
            }
            of_seed.runs.insert("ei".into(), ei);
        }
        found(2, &[size]).rows.remove(0).finding
    };
    // The last evaluation of PPO is after 300 samples; the first of EI after 900.
    let why = with_steps(&[9, 10, 11]).why.unwrap();
    assert!(why.contains("leave no other answer"), "{why}");
    let why = with_steps(&[2, 3, 4]).why.unwrap();
    assert!(why.contains("all seeds"), "{why}");
}

#[test]
fn a_run_that_was_chosen_by_what_it_scored_refutes_by_a_wider_interval_and_holds_by_the_usual_one() {
    let runs = |best: [f64; 3]| {
        let others = ["ppo-dense", "ppo-sparse-orm", "ppo-dense-orm", "rcrl"];
        let runs = others.map(|name| (name, [0.2; 3])).into_iter().chain([("ei", [0.3; 3]), ("ppo", best)]);
        let owned: Vec<(&str, [f64; 3])> = runs.collect();
        let borrowed: Vec<(&str, &[f64])> = owned.iter().map(|(name, scores)| (*name, &scores[..])).collect();
        found(1, &[size("tiny", &borrowed)]).rows.remove(0).finding
    };
    // sqrt(2) * 0.03 = 0.0424 of the questions; one of five comparisons takes 2.576 / 1.960 times that: 0.0558.
    assert_eq!(runs([0.35, 0.35, 0.35]).verdict, CannotTell);
    assert_eq!(runs([0.36, 0.36, 0.36]).verdict, DoesNotHold);
    assert_eq!(runs([0.30, 0.30, 0.30]).verdict, Holds);
}

#[test]
fn learning_is_faster_by_what_its_evaluations_score_until_the_plain_run_has_converged() {
    let mut size = size("tiny", &[]);
    for of_seed in &mut size.by_seed {
        let runs = [
            ("sft", &[0.3][..]),
            ("ppo", &[0.3, 0.35, 0.4, 0.39]),
            ("ppo-sparse-orm", &[0.36, 0.38, 0.4, 0.8]),
            ("ppo-dense-orm", &[0.3, 0.35, 0.4, 0.1]),
        ];
        of_seed.runs =
            runs.map(|(name, evaluations)| (name.into(), run(name, "tiny", of_seed.seed, 0.4, evaluations))).into();
    }
    let rows = found(4, &[size]).rows;
    let faster: Vec<&Row> = rows.iter().filter(|row| row.part.what.contains("faster")).collect();
    // (0.06 + 0.03 + 0.00) / 3: the fourth evaluation is past the plain run's best.
    assert!((faster[0].finding.difference.unwrap().mean - 0.03).abs() < 1e-9);
    assert_eq!([faster[0].finding.verdict, faster[1].finding.verdict], [Holds, DoesNotHold]);
}

#[test]
fn either_a_worse_best_or_a_further_fall_is_enough_to_be_needed() {
    let mut size = size("tiny", &[]);
    for of_seed in &mut size.by_seed {
        let runs = [("ppo", &[0.3, 0.4][..]), ("ppo-no-kl", &[0.4, 0.1]), ("ppo-shared", &[0.4, 0.4])];
        of_seed.runs =
            runs.map(|(name, evaluations)| (name.into(), run(name, "tiny", of_seed.seed, 0.4, evaluations))).into();
    }
    let mut found = found(9, &[size]);
    found.rows.truncate(2);
    assert_eq!(found.rows[0].finding.verdict, CannotTell);
    assert_eq!((found.verdict(), found.count().as_str()), (Holds, "1, 0, 0"));
}

#[test]
fn results_of_different_questions_are_refused() {
    let mut size = size("tiny", &[("ei", &[0.5; 3]), ("ppo", &[0.5; 3])]);
    size.by_seed[1].runs.get_mut("ppo").unwrap().test.as_mut().unwrap().problems = 100;
    let text = rendered(&[size]).unwrap_err().to_string();
    assert!(text.contains("the 100 questions of `synthetic`, test; the 500 questions"), "{text}");
}
