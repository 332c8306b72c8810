//! The thirteen claims of Havrilla et al. 2024 in our own words, each with the comparisons that it comes down to.

use crate::{
    measure::Measure,
    test::{Asked, BETTER, CLOSE, Chosen, NO_GAIN, Part},
};
use eval::{Metric, MetricKind};
use scripts::{RunResult, Size, metric};
use serde_json::Value;

/// A claim and how it is tested.
pub struct Claim {
    /// Its place in the list.
    pub number: usize,
    /// What it says.
    pub text: &'static str,
    /// What its words are taken to mean.
    pub test: &'static str,
    /// What it says of each size; the same parts in the same order, whatever was run.
    pub parts: fn(&Size) -> Vec<Part>,
    /// What it says of the larger size against the smaller one.
    pub across: fn() -> Vec<Part>,
}

/// Two numbers of samples are similar within this factor, half an order of magnitude.
const SIMILAR: f64 = 3.0;
/// Samples that the paper's runs need at most.
const MANY_SAMPLES: f64 = 1e6;
/// The paper's temperature from a prompted base.
const COLD: f64 = 0.2;
/// The share of the right solutions that a model which often solves a problem after `[BAD]` still has.
const OFTEN: f64 = 0.5;

const MAJ_1: Measure = Measure::Test(Metric { kind: MetricKind::Maj, k: 1 });
const LEVEL: Asked = Asked::Close { margin: CLOSE };
const MORE: Asked = Asked::Above { than: 0.0, smallest: 0.0 };

const OTHERS_FROM_SFT: [&str; 5] = ["ppo", "ppo-dense", "ppo-sparse-orm", "ppo-dense-orm", "rcrl"];
const FROM_SFT: [&str; 7] = ["ei", "ei-orm", "ppo", "ppo-dense", "ppo-sparse-orm", "ppo-dense-orm", "rcrl"];
const OTHERS_FROM_BASE: [&str; 3] = ["ppo-base", "ppo-base-sparse-orm", "ppo-base-dense-orm"];
const FROM_BASE: [&str; 5] = ["ei-base", "ei-base-orm", "ppo-base", "ppo-base-sparse-orm", "ppo-base-dense-orm"];
const LIGHT_SFT: [&str; 2] = ["sft-1", "sft-2"];

/// All claims.
pub const CLAIMS: [Claim; 13] = [
    Claim {
        number: 1,
        text: "Expert Iteration ends best or level with the best by every metric, and all methods end close to each other.",
        test: "The best of the other methods, by its mean, has no gain over EI. The best and the worst of all methods \
               are close. Chosen by what they scored, they differ more than they would on other questions: they refute only by an \
               interval that allows for all that they were chosen from.",
        parts: claim_1,
        across: Vec::new,
    },
    Claim {
        number: 2,
        text: "EI and PPO converge after similarly many samples, and from a pretrained model after about a million at most.",
        test: "Samples drawn until convergence: similar within a factor of 3, in geometric means; not above 10⁶. EI is \
               looked at once a round; where it has converged by its first look, it is not known how many it needed. Where the \
               budgets of the two leave one answer only, nothing is said.",
        parts: claim_2,
        across: Vec::new,
    },
    Claim {
        number: 3,
        text: "From SFT, EI and PPO with a reward model both gain, and EI is done after about two rounds.",
        test: "maj@1 is better than that of SFT. The best look at validation after round 2 has no gain over the best until then; a \
               run that ended before has none if its last look was not its best. (The paper's gains, as we recall them about 7 \
               and 5 points, are no pass mark.)",
        parts: claim_3,
        across: Vec::new,
    },
    Claim {
        number: 4,
        text: "A reward for matched intermediate steps does not help PPO; a reward model makes it faster, but does not take it \
               higher.",
        test: "maj@1 at the end: no gain over plain PPO. Faster: better maj@1 on validation, as the mean of all looks until \
               plain PPO has converged.",
        parts: claim_4,
        across: Vec::new,
    },
    Claim {
        number: 5,
        text: "Longer SFT buys maj@1 with pass@K; RL raises maj@1 and keeps pass@K.",
        test: "Longer SFT is eight passes; light SFT is one or two, whichever has the higher mean pass@K. Kept: SFT has no \
               gain over RL.",
        parts: claim_5,
        across: Vec::new,
    },
    Claim {
        number: 6,
        text: "RL reaches no more problems within K samples than a lightly fine-tuned model does.",
        test: "pass@K has no gain over that of SFT of one or two passes, whichever has the higher mean.",
        parts: claim_6,
        across: Vec::new,
    },
    Claim {
        number: 7,
        text: "Return-conditioned RL ends below EI, more wrong solutions make it worse, and asked for bad lines it still often \
               solves the problem.",
        test: "maj@1: EI is better; 100 right solutions for a wrong one are better than 1; the bad goal keeps more than half of \
               what the good one has.",
        parts: claim_7,
        across: Vec::new,
    },
    Claim {
        number: 8,
        text: "It matters that every round of EI starts again from the base model.",
        test: "maj@1 is better than with rounds that go on from the last policy.",
        parts: |_| vec![better("reset to the base against going on", "ei", "ei-last", MAJ_1)],
        across: Vec::new,
    },
    Claim {
        number: 9,
        text: "PPO needs its KL penalty, a value branch whose gradient stays out of the trunk, and from a prompted base a low \
               temperature.",
        test: "Without it, either the best checkpoint is worse in maj@1, or validation falls further from its best look to its \
               last. (The profiles smoke and cpu, this one without --init-small, show PPO no solved problem before the question; \
               otherwise it is shown two, and only there is the base a prompted one.)",
        parts: claim_9,
        across: Vec::new,
    },
    Claim {
        number: 10,
        text: "Larger students and better initialised ones explore more diversely and get further.",
        test: "More distinct right chains of calculations a question in round 1 of EI. Further: for the larger size a larger gain \
               of maj@1 by EI; for SFT against the base the higher end, since who starts near zero has most to gain.",
        parts: claim_10,
        across: claim_10_across,
    },
    Claim {
        number: 11,
        text: "EI with four samples a question takes more rounds, draws far fewer samples and ends lower.",
        test: "Rounds and samples until convergence, in whole rounds. How much fewer is far is not asked: it depends on K. Where few \
               samples end before many have begun, as the budgets have it, nothing is said. maj@1 at the end is worse.",
        parts: claim_11,
        across: Vec::new,
    },
    Claim {
        number: 12,
        text: "RL narrows the gap between starting from SFT and from the base, the more so for the larger model.",
        test: "Gap of maj@1 before minus gap after: above zero, and larger for the larger model.",
        parts: |_| narrowed(),
        across: || {
            narrowed().into_iter().map(|part| Part { what: format!("{}, more so", part.what), ..part }).collect()
        },
    },
    Claim {
        number: 13,
        text: "Neither curriculum, prioritised level replay or backtracking, brings PPO anything.",
        test: "maj@1 has no gain over plain PPO.",
        parts: |_| {
            let part = |what: &str, name| compare(what, name, "ppo", MAJ_1, NO_GAIN);
            vec![part("prioritised level replay", "ppo-plr"), part("backtracking", "ppo-backtracking")]
        },
        across: Vec::new,
    },
];

fn claim_1(size: &Size) -> Vec<Part> {
    let k = size.most_samples();
    let kinds = [(MetricKind::Maj, 1), (MetricKind::Maj, k), (MetricKind::Rerank, k), (MetricKind::Pass, k)];
    let mut parts = Vec::new();
    for (start, ei, others, all) in
        [("SFT", "ei", &OTHERS_FROM_SFT[..], &FROM_SFT[..]), ("the base", "ei-base", &OTHERS_FROM_BASE, &FROM_BASE)]
    {
        for (kind, k) in kinds {
            let metric = metric(kind, k);
            let [best, _] = best_and_worst(size, others, metric);
            let part =
                compare(&format!("from {start}, {metric}: best other"), best, ei, Measure::Test(metric), NO_GAIN);
            parts.push(Part { candidates: others.to_vec(), chosen: Some(Chosen::Every(others.len())), ..part });
        }
        let [best, worst] = best_and_worst(size, all, metric(MetricKind::Maj, 1));
        let part = compare(&format!("from {start}, maj@1: best and worst"), best, worst, MAJ_1, LEVEL);
        let pairs = all.len() * (all.len() - 1) / 2;
        parts.push(Part { candidates: all.to_vec(), chosen: Some(Chosen::Every(pairs)), ..part });
    }
    parts
}

fn claim_2(_: &Size) -> Vec<Part> {
    let similar = Asked::Close { margin: SIMILAR.log10() };
    let few = Asked::NotAbove { than: MANY_SAMPLES.log10(), margin: 0.0 };
    vec![
        compare("similar, from SFT", "ei", "ppo", Measure::Needed, similar),
        compare("similar, from the base", "ei-base", "ppo-base", Measure::Needed, similar),
        part("a million at most, EI", vec![(1.0, "ei-base")], Measure::Samples, few),
        part("a million at most, PPO", vec![(1.0, "ppo-base")], Measure::Samples, few),
    ]
}

fn claim_3(_: &Size) -> Vec<Part> {
    vec![
        better("EI gains", "ei", "sft", MAJ_1),
        better("PPO gains, a reward model for whole solutions", "ppo-sparse-orm", "sft", MAJ_1),
        better("PPO gains, a reward model for every step", "ppo-dense-orm", "sft", MAJ_1),
        part("EI, what rounds after the second add", vec![(1.0, "ei")], Measure::AfterTwoRounds, NO_GAIN),
    ]
}

fn claim_4(_: &Size) -> Vec<Part> {
    let end = |what: &str, name| compare(what, name, "ppo", MAJ_1, NO_GAIN);
    vec![
        end("matched steps: end", "ppo-dense"),
        better("reward model for whole solutions: faster", "ppo-sparse-orm", "ppo", Measure::Early),
        end("reward model for whole solutions: end", "ppo-sparse-orm"),
        better("reward model for every step: faster", "ppo-dense-orm", "ppo", Measure::Early),
        end("reward model for every step: end", "ppo-dense-orm"),
    ]
}

fn claim_5(size: &Size) -> Vec<Part> {
    let (pass, light) = light_sft(size);
    vec![
        of_light_sft(better("longer SFT raises maj@1", "sft-8", light, MAJ_1)),
        of_light_sft(better("longer SFT lowers pass@K", light, "sft-8", pass)),
        better("EI raises maj@1", "ei", "sft", MAJ_1),
        compare("EI keeps pass@K", "sft", "ei", pass, NO_GAIN),
        better("PPO raises maj@1", "ppo", "sft", MAJ_1),
        compare("PPO keeps pass@K", "sft", "ppo", pass, NO_GAIN),
    ]
}

fn claim_6(size: &Size) -> Vec<Part> {
    let (pass, light) = light_sft(size);
    let part = |what: &str, name| of_light_sft(compare(what, name, light, pass, NO_GAIN));
    vec![part("EI, pass@K", "ei"), part("PPO, pass@K", "ppo")]
}

fn claim_7(_: &Size) -> Vec<Part> {
    vec![
        better("EI against RCRL", "ei", "rcrl", MAJ_1),
        better("labels 100 : 1 against 1 : 1", "rcrl-100", "rcrl-1", MAJ_1),
        part("asked for bad steps", vec![(1.0, "rcrl-bad"), (-OFTEN, "rcrl")], MAJ_1, BETTER),
        part("asked for a bad solution", vec![(1.0, "rcrl-1-bad"), (-OFTEN, "rcrl-1")], MAJ_1, BETTER),
    ]
}

fn claim_9(size: &Size) -> Vec<Part> {
    // Which of two temperatures PPO has from the base is the profile's choice.
    let temperature = |run: &RunResult| run.flags.get("temperature").and_then(Value::as_f64);
    let is_hot = size.of("ppo-base").any(|run| temperature(run) > Some(COLD));
    let (hot, cold) = if is_hot { ("ppo-base", "ppo-base-cold") } else { ("ppo-base-hot", "ppo-base") };
    let ablation = |what: &str, without, plain| {
        let fall = better(&format!("{what}: or falls further"), without, plain, Measure::Fall);
        [better(&format!("{what}: worse at its best"), plain, without, MAJ_1), Part { or: true, ..fall }]
    };
    [
        ablation("no KL penalty", "ppo-no-kl", "ppo"),
        ablation("gradient into the trunk", "ppo-shared", "ppo"),
        ablation("high temperature", hot, cold),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn claim_10(_: &Size) -> Vec<Part> {
    vec![
        compare("SFT against base: diversity", "ei", "ei-base", Measure::Distinct, MORE),
        better("SFT against base: end", "ei", "ei-base", MAJ_1),
    ]
}

fn claim_10_across() -> Vec<Part> {
    vec![
        part("diversity, from SFT", vec![(1.0, "ei")], Measure::Distinct, MORE),
        part("diversity, from the base", vec![(1.0, "ei-base")], Measure::Distinct, MORE),
        better("gain of EI, from SFT", "ei", "sft", MAJ_1),
        better("gain of EI, from the base", "ei-base", "base", MAJ_1),
    ]
}

fn claim_11(_: &Size) -> Vec<Part> {
    let mut parts = Vec::new();
    for (start, few, many) in [("SFT", "ei-k4", "ei"), ("the base", "ei-base-k4", "ei-base")] {
        parts.push(compare(&format!("from {start}, rounds"), few, many, Measure::Rounds, MORE));
        parts.push(compare(&format!("from {start}, samples"), many, few, Measure::Samples, MORE));
        parts.push(better(&format!("from {start}, end"), many, few, MAJ_1));
    }
    parts
}

/// How much the gap between the two starts has narrowed.
fn narrowed() -> Vec<Part> {
    let of = |what: &str, from_sft, from_base| {
        part(what, vec![(1.0, "sft"), (-1.0, "base"), (-1.0, from_sft), (1.0, from_base)], MAJ_1, BETTER)
    };
    vec![of("gap narrowed by EI", "ei", "ei-base"), of("gap narrowed by PPO", "ppo", "ppo-base")]
}

/// pass@K, and the light SFT that is best by it.
fn light_sft(size: &Size) -> (Measure, &'static str) {
    let pass = metric(MetricKind::Pass, size.most_samples());
    (Measure::Test(pass), best_and_worst(size, &LIGHT_SFT, pass)[0])
}

fn of_light_sft(part: Part) -> Part {
    Part { candidates: LIGHT_SFT.to_vec(), chosen: Some(Chosen::Some(LIGHT_SFT.len())), ..part }
}

/// Of those that were run, by their means over seeds; the first name twice where none was.
fn best_and_worst(size: &Size, names: &[&'static str], metric: Metric) -> [&'static str; 2] {
    let mut known: Vec<(f64, &'static str)> =
        names.iter().filter_map(|name| Some((size.cell(name, metric)?.mean, *name))).collect();
    known.sort_by(|a, b| b.0.total_cmp(&a.0));
    let ends = known.first().zip(known.last()).map(|(best, worst)| [best.1, worst.1]);
    ends.unwrap_or([names[0]; 2])
}

fn better(what: &str, first: &'static str, second: &'static str, measure: Measure) -> Part {
    compare(what, first, second, measure, BETTER)
}

fn compare(what: &str, first: &'static str, second: &'static str, measure: Measure, asked: Asked) -> Part {
    part(what, vec![(1.0, first), (-1.0, second)], measure, asked)
}

fn part(what: &str, terms: Vec<(f64, &'static str)>, measure: Measure, asked: Asked) -> Part {
    Part { what: what.into(), terms, candidates: Vec::new(), chosen: None, measure, asked, or: false }
}
