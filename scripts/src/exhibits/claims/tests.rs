use super::*;
use crate::results::{RunResult, SeedRuns};
use Verdict::{CannotTell, DoesNotHold, Holds, NoPremise};
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

/// Runs by name, with what each of four seeds has scored.
fn size(model: &str, runs: &[(&str, &[f64])]) -> Size {
    size_of(4, model, runs)
}

fn size_of(seeds: u64, model: &str, runs: &[(&str, &[f64])]) -> Size {
    let study = |seed: u64| {
        let of_seed = runs.iter().filter_map(|(name, scores)| Some((*name, *scores.get(seed as usize)?)));
        let runs = of_seed.map(|(name, score)| (name.to_string(), run(name, model, seed, score, &[])));
        SeedRuns { seed, runs: runs.collect() }
    };
    Size { model: model.into(), by_seed: (0..seeds).map(study).collect() }
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
    let finding = |scores: &[f64]| {
        let finding = found(8, &[size("tiny", &[("ei", scores), ("ei-last", &[0.40; 4])])]).rows.remove(0).finding;
        (finding.difference.unwrap(), finding.verdict, finding.why)
    };
    let (difference, verdict, why) = finding(&[0.50, 0.52, 0.54]);
    // 4.303 * 0.02 / sqrt(3) = 0.0497 of the seeds, sqrt(2) * 0.03 = 0.0424 of the questions.
    assert!((difference.mean - 0.12).abs() < 1e-9 && (difference.half_width - 0.0653).abs() < 1e-4, "{difference:?}");
    assert_eq!((difference.seeds, verdict), (3, CannotTell));
    assert_eq!(why.unwrap(), "3 seeds, and verdicts begin with 4");
    // Of four seeds the standard error is 0.01633 / 2 = 0.0082, of questions 0.0424 / 1.960 = 0.0216. Twelve seeds would leave
    // 0.0216² + 0.0082² / 3 of 0.0216² + 0.0082², a share of 0.92. So much of it spends 4 (1 − Φ(2.2414 / sqrt(0.92))) = 0.0389 of 0.05:
    // 2.065 for the questions, 3.505 for the seeds.
    let (difference, verdict, why) = finding(&[0.50, 0.52, 0.54, 0.52]);
    assert!((difference.half_width - (2.065f64 * 0.02165).hypot(3.505 * 0.00816)).abs() < 2e-4, "{difference:?}");
    assert_eq!((difference.seeds, verdict, why), (4, Holds, None));
}

#[test]
fn seeds_beyond_a_look_wait_for_the_next_one() {
    let seeds = |count: u64| {
        let scores: Vec<f64> = (0..count).map(|seed| 0.5 + 0.01 * seed as f64).collect();
        let sizes = [size_of(count, "tiny", &[("ei", &scores), ("ei-last", &[0.4; 13])])];
        found(8, &sizes).rows[0].finding.difference.unwrap().seeds
    };
    assert_eq!([3, 4, 7, 8, 11, 12, 13].map(seeds), [3, 4, 4, 8, 8, 12, 12]);
}

#[test]
fn the_seeds_variance_is_that_of_all_comparable_runs_and_a_run_that_varies_more_is_named_and_not_among_them() {
    // Eight runs that vary by some points with the seed, and one by many.
    let vary = |run: usize, by: f64| -> [f64; 8] {
        std::array::from_fn(|seed| 0.4 + by * ((31 * run + 17 * seed + run * seed * seed) as f64).sin())
    };
    let names = ["sft", "ei", "ei-orm", "ei-trace", "ppo", "ppo-dense", "ppo-group", "ppo-rloo"];
    let scores: Vec<[f64; 8]> = (0..names.len()).map(|run| vary(run, 0.05)).collect();
    let wild = vary(9, 0.4);
    let mut runs: Vec<(&str, &[f64])> = names.iter().copied().zip(scores.iter().map(|scores| &scores[..])).collect();
    runs.push(("ei-last", &wild));
    let half_width = |runs: &[(&str, &[f64])], number: usize| {
        found(number, &[size_of(8, "tiny", runs)]).rows[0].finding.difference.unwrap().half_width
    };
    // Claim 3 begins with EI against SFT, claim 8 is EI against the run that varies.
    let alone: Vec<(&str, &[f64])> = runs.iter().copied().filter(|(name, _)| ["sft", "ei"].contains(name)).collect();
    assert!(half_width(&runs, 3) < 0.95 * half_width(&alone, 3), "{} {}", half_width(&runs, 3), half_width(&alone, 3));
    let pair: Vec<(&str, &[f64])> = runs.iter().copied().filter(|(name, _)| ["ei-last", "ei"].contains(name)).collect();
    assert_eq!(half_width(&runs, 8), half_width(&pair, 8));
    let text = rendered(&[size_of(8, "tiny", &runs)]).unwrap().markdown;
    assert!(text.contains("the variance of their own seeds: `tiny`, maj@1: `ei-last`"), "{text}");
}

#[test]
fn a_claim_whose_premise_is_refuted_is_about_nothing_and_one_whose_premise_is_open_is_open() {
    let of_longer = |pass: f64| {
        let scores = [("sft-4", 0.30), ("sft", 0.30), ("ei", 0.40), ("ppo", 0.40), ("sft-8", 0.45)];
        let owned = scores.map(|(name, score)| (name, [score; 4]));
        let mut size = size("tiny", &owned.each_ref().map(|(name, scores)| (*name, &scores[..])));
        let pass_at_8 = Metric { kind: MetricKind::Pass, k: 8 };
        for of_seed in &mut size.by_seed {
            for (name, run) in &mut of_seed.runs {
                let value = if name == "sft-8" { pass } else { 0.7 };
                let estimate = eval::Estimate { value, ci95: [value - 0.005, value + 0.005] };
                run.test.as_mut().unwrap().metrics.insert(pass_at_8, estimate);
            }
        }
        let found = found(5, &[size.clone()]);
        (found.verdict(), found.count(), rendered(&[size]).unwrap())
    };
    assert_eq!((of_longer(0.60).0, of_longer(0.60).1.as_str()), (Holds, "5, 0, 0"));
    assert_eq!(of_longer(0.69).0, Holds, "little, but surely");
    assert_eq!(of_longer(0.699).0, NoPremise, "less than matters");
    let (verdict, count, page) = of_longer(0.80);
    assert_eq!((verdict, count.as_str()), (NoPremise, "5, 0, 0"));
    assert!(page.markdown.contains("## Claim 5: premise does not hold"), "{}", page.markdown);
    assert!(page.csv.contains("5,premise: longer SFT lowers pass@K,tiny"), "{}", page.csv);
    let three = size_of(3, "tiny", &[("sft-4", &[0.3; 3]), ("sft-8", &[0.3; 3])]);
    assert_eq!(found(5, &[three]).of(&["tiny".to_string()]), Some(CannotTell));
}

#[test]
fn a_premise_that_was_not_run_at_a_size_is_taken_from_the_other() {
    let runs = |base: f64| {
        let scores = [("sft", 0.5), ("base", base), ("ei", 0.5), ("ei-base", 0.6), ("ppo", 0.5), ("ppo-base", 0.6)];
        scores.map(|(name, score)| (name, [score; 4]))
    };
    let sized = |model: &str, runs: &[(&str, [f64; 4])]| {
        size(model, &runs.iter().map(|(name, scores)| (*name, &scores[..])).collect::<Vec<_>>())
    };
    let whole = sized("tiny", &runs(0.1));
    let other = sized("medium", &runs(0.1)[2..]);
    assert_eq!(found(12, &[whole, other.clone()]).premise(&["medium".to_string()]), Holds);
    let without = sized("tiny", &runs(0.6));
    assert_eq!(found(12, &[without, other]).premise(&["medium".to_string()]), DoesNotHold);
}

#[test]
fn a_part_is_refuted_by_its_share_of_the_error_and_one_of_two_alternatives_holds_by_half_of_it() {
    let levels = |number: usize, runs: &[&str]| {
        let runs: Vec<(&str, &[f64])> = runs.iter().map(|name| (*name, &[0.4; 4][..])).collect();
        let found = found(number, &[size("tiny", &runs)]);
        let of = |row: &Row| (0.05 / found.levels(row, 0.05).holds, 0.05 / found.levels(row, 0.05).refuted);
        found
            .rows
            .iter()
            .map(|row| {
                let (holds, refuted) = of(row);
                [holds.round(), refuted.round()]
            })
            .collect::<Vec<_>>()
    };
    // Two curricula; then one, where the other was not run.
    assert_eq!(levels(13, &["ppo", "ppo-plr", "ppo-backtracking"]), [[1.0, 2.0]; 2]);
    assert_eq!(levels(13, &["ppo", "ppo-plr"]), [[1.0, 1.0]; 2]);
    // Three parts of two alternatives each.
    let all = ["ppo", "ppo-no-kl", "ppo-shared", "ppo-base", "ppo-base-hot", "ppo-base-cold"];
    assert_eq!(levels(9, &all), [[2.0, 3.0]; 6]);
}

#[test]
fn the_same_claim_is_refuted_by_the_opposite_and_left_open_by_little() {
    assert_eq!(verdict(8, &[size("tiny", &[("ei", &[0.4; 4]), ("ei-last", &[0.5; 4])])]), DoesNotHold);
    assert_eq!(verdict(8, &[size("tiny", &[("ei", &[0.43; 4]), ("ei-last", &[0.4; 4])])]), CannotTell);
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
    let sizes = [size("tiny", &[("ppo", &[0.5; 4]), ("ppo-plr", &[0.4; 4])])];
    let found = found(13, &sizes);
    assert_eq!((found.rows[0].finding.verdict, found.verdict()), (Holds, CannotTell));
    assert!(rendered(&sizes).unwrap().markdown.contains("cannot tell: `ppo-backtracking` was not run"));
}

#[test]
fn what_one_size_has_not_run_is_left_to_the_other() {
    let full = size("tiny", &[("ei", &[0.5; 4]), ("ei-last", &[0.4; 4]), ("sft", &[0.3; 4])]);
    let sizes = [full, size("medium", &[("ei", &[0.5; 4])])];
    assert_eq!(verdict(8, &sizes), Holds);
    assert!(rendered(&sizes).unwrap().markdown.contains("Not run on `medium`, and not counted: `ei-last`."));
}

#[test]
fn a_gap_narrows_more_at_the_size_where_it_has_narrowed_by_more() {
    let runs = |sft: f64, after: f64| {
        move |model| {
            let scores =
                [("sft", sft), ("base", 0.05), ("ei", 0.6), ("ei-base", after), ("ppo", 0.6), ("ppo-base", after)];
            let owned = scores.map(|(name, score)| (name, [score; 4]));
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
    let with_evaluations = |first: &[f64], others: &[f64]| {
        let mut size = size_of(12, "tiny", &[]);
        for of_seed in &mut size.by_seed {
            let evaluations = if of_seed.seed == 0 { first } else { others };
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
    let settled = with_evaluations(&third, &fourth);
    let expected = (11.0 * 2f64.log10() + 1.5f64.log10()) / 12.0;
    assert!((settled.difference.unwrap().mean - expected).abs() < 1e-9, "300 and else 400 samples against 200");
    assert_eq!(settled.verdict, Holds);
    let agreed = with_evaluations(&fourth, &fourth);
    assert!(agreed.verdict == CannotTell && agreed.why.unwrap().contains("all seeds have found the same"));
    let rising = with_evaluations(&[0.3, 0.4, 0.5], &[0.3, 0.4, 0.5]);
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
    let runs = |best: f64| {
        let others = ["ppo-dense", "ppo-sparse-orm", "ppo-dense-orm", "rcrl"];
        let runs = others.map(|name| (name, [0.2; 4])).into_iter().chain([("ei", [0.3; 4]), ("ppo", [best; 4])]);
        let owned: Vec<(&str, [f64; 4])> = runs.collect();
        let borrowed: Vec<(&str, &[f64])> = owned.iter().map(|(name, scores)| (*name, &scores[..])).collect();
        found(1, &[size("tiny", &borrowed)]).rows.remove(0).finding
    };
    // sqrt(2) * 0.03 = 0.0424 of the questions; one of five comparisons and one of four parts (the others were not run) takes 3.023 / 1.960
    // times that: 0.0655. One of five alone would take 2.576 / 1.960 times that: 0.0558.
    assert_eq!([0.35, 0.36].map(|best| runs(best).verdict), [CannotTell; 2]);
    assert_eq!(runs(0.37).verdict, DoesNotHold);
    assert_eq!(runs(0.27).verdict, Holds);
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
    let mut size = size("tiny", &[("ei", &[0.5; 4]), ("ppo", &[0.5; 4])]);
    size.by_seed[1].runs.get_mut("ppo").unwrap().test.as_mut().unwrap().problems = 100;
    let text = rendered(&[size]).unwrap_err().to_string();
    assert!(text.contains("the 100 questions of `synthetic`, test; the 500 questions"), "{text}");
}
