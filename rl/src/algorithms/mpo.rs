//! Mixed preference optimisation (MPO; Gou and Nguyen 2024, arXiv 2403.19443): a reward model splits pairs into easy ones, whose two
//! completions it rates far apart, and hard ones; DPO trains on the easy pairs, then PPO on the questions of the hard ones, with the DPO model
//! as its start and reference.
//!
//! A stage is a run of `rl dpo` or `rl ppo` in a folder of this run, which it leaves as those do; its best checkpoint is taken. Where we
//! deviate from the paper: the pairs are correct and wrong samples of the starting policy, unless `--pairs` gives others; the reward model is
//! one of `rl orm`, and its reward the score of the whole solution; γ is the median gap where none is given, for the paper's value is
//! not known to us. The paper's ablations are flags: the order of the stages, PPO's reference, and no split.

mod config;

use crate::{
    algorithms::dpo,
    algorithms::final_table::FinalTable,
    algorithms::ppo,
    algorithms::rounds::checkpoint,
    algorithms::start::{check_prompts, policy, reward_model},
    run,
    run::metrics::Metrics,
    run::{Reason, Run},
    sampling::pairs::{MadePairs, Pair, make_pairs, read_pairs},
    sampling::problems::Problems,
    training::resume,
    view::html::write_final_report,
    view::progress::print_line,
};
use anyhow::{Context, Result, ensure};
use data::{Example, Prompting, encode_written};
use eval::{Policy, RewardModel, encode_prompts, greedy_accuracy, resolve_checkpoint};
use model::Device;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

pub use config::{MpoConfig, PpoReference, Stage, check, dry_run, lock_run};

/// The numbers that a resumed run continues with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct MpoNumbers {
    /// Finished stages.
    stage: usize,
    /// Validation maj@1 of the best checkpoint, the starting model included.
    best: Option<f64>,
}

/// Trains both stages, evaluates before and after on the test split, and leaves a run directory; its path.
///
/// # Errors
/// An unusable `init` or `orm`, pairs that are all easy or all hard, questions of pairs that are not among the training problems, and the
/// errors of the stages.
pub fn train(config: &MpoConfig, init: &Path, orm: &Path, problems: &Problems, device: &Device) -> Result<PathBuf> {
    let Setup { config, initial, reward_model, mut run, mut numbers } = set_up(config, init, orm, problems, device)?;
    let (eval, run_args) = (&config.dpo.eval, &config.dpo.run);
    let (prompting, validation) = (config.dpo.data.prompting(0)?, problems.validation(eval.eval_problems)?);
    let table = FinalTable { problems, eval, run_args, device };
    let initial_report = table.evaluate_initial(&mut run, || Ok(initial.clone()), &prompting)?;
    let sampling = run_args.compute.sampling(&config.dpo.data, prompting.clone(), 1, 0.0, device);
    if numbers.stage == 0 {
        let validated = greedy_accuracy(&initial, validation, &sampling);
        numbers.best = Some(validated.map_err(|error| run.with_resume(error))?.0);
    }
    let split = split_pairs(&config, &initial, &reward_model, problems, &mut run, device)?;
    drop((initial, reward_model));
    // None with --pairs.
    let of_pairs = eval::read_samples(&run.dir().join("samples.jsonl"))?.len();
    for (number, stage) in (1..).zip(config.order.stages()).skip(numbers.stage) {
        // The first stage starts from the first model, the second one from what the first has made.
        let from = match number {
            1 => init.to_path_buf(),
            _ => resolve_checkpoint(&run.dir().join(config.order.stages()[0].folder()))?,
        };
        let of_stage = run::start::stage(run_args, &run.dir().join(stage.folder()))?;
        let made = match stage {
            Stage::Dpo => dpo::train(&config.dpo_stage(of_stage, &split.easy), &from, problems, device),
            Stage::Ppo => {
                let reference = (config.ppo_reference == PpoReference::First).then_some(init);
                let hard = problems.with_train(split.questions(problems)?);
                ppo::train(&config.ppo_stage(of_stage, orm), &from, reference, Some(orm), &hard, device)
            }
        };
        let made = made.inspect_err(|_| run.save_cpu_seconds()).with_context(|| {
            format!(
                "stage {number} of 2, {}; the whole is resumed with --resume {}",
                stage.folder(),
                run.dir().display()
            )
        })?;
        let policy = policy(&made, device)?;
        let (accuracy, _) = greedy_accuracy(&policy, validation, &sampling).map_err(|error| run.with_resume(error))?;
        let is_best = numbers.best.is_none_or(|best| accuracy > best);
        numbers = MpoNumbers { stage: number, best: Some(numbers.best.map_or(accuracy, |best| best.max(accuracy))) };
        let mut metrics = Metrics::for_step(number);
        for (name, value) in [("pairs/easy", split.easy_count), ("pairs/hard", split.hard.len())] {
            metrics.put_count(name, value);
        }
        let has_sampled = config.order.stages()[..number].contains(&Stage::Ppo);
        metrics.put_count("samples", of_pairs + if has_sampled { config.ppo.drawn() } else { 0 });
        metrics.put("validation/maj@1", accuracy);
        metrics.put_memory(device);
        run.log(&metrics)?;
        checkpoint(&run, &policy, Reason::of(true, is_best), number, numbers)?;
    }
    table.evaluate_best_and_last(&run, initial_report.as_ref(), &prompting, &prompting)?;
    Ok(write_final_report::<MpoConfig>(&run))
}

/// Pairs by how far apart the reward model rates them.
struct Split {
    /// The file of the pairs that DPO trains on.
    easy: PathBuf,
    easy_count: usize,
    /// The pairs whose questions PPO samples.
    hard: Vec<Pair>,
}

impl Split {
    /// The training problems of the hard pairs, in the order of the split.
    fn questions(&self, problems: &Problems) -> Result<Vec<data::Problem>> {
        let asked: HashSet<&str> = self.hard.iter().map(|pair| pair.question.trim()).collect();
        let found = problems.train()?.iter().filter(|problem| asked.contains(problem.question.trim()));
        let found: Vec<data::Problem> = found.cloned().collect();
        ensure!(
            !found.is_empty(),
            "none of the {} questions of hard pairs is among the training problems, whose answers PPO needs",
            asked.len()
        );
        Ok(found)
    }
}

/// Splits the pairs of `--pairs`, or of samples, and writes both parts, unless the run has them already.
fn split_pairs(
    config: &MpoConfig,
    initial: &Policy,
    reward_model: &RewardModel,
    problems: &Problems,
    run: &mut Run,
    device: &Device,
) -> Result<Split> {
    let [easy_file, hard_file] = ["easy.jsonl", "hard.jsonl"].map(|name| run.dir().join(name));
    // The second one is written last.
    if !easy_file.is_file() {
        let pairs = match &config.dpo.pairs {
            Some(path) => read_pairs(path).context("--pairs")?,
            None => {
                let flags = (&config.dpo.data, &config.dpo.run);
                let samples =
                    config.dpo.sampling.training_samples(initial, problems.train()?, flags, run, device)?.samples;
                let made = make_pairs(&samples, &config.dpo.making, config.dpo.run.seed)?;
                made.check()?;
                tracing::info!("{}", made.summary());
                made.pairs
            }
        };
        let (pairs, gaps) = gaps(pairs, initial, reward_model, config)?;
        let (easy, hard) = match config.all_pairs {
            true => (pairs.clone(), pairs),
            false => split(pairs, &gaps, config.gap)?,
        };
        for (file, pairs) in [(&hard_file, hard), (&easy_file, easy)] {
            MadePairs { pairs, ..MadePairs::default() }.write(file)?;
        }
    }
    let (easy, hard) = (read_pairs(&easy_file)?.len(), read_pairs(&hard_file)?);
    if !config.dpo.run.quiet {
        print_line(&format!("mpo  {easy} easy pairs, {} hard ones", hard.len()))?;
    }
    Ok(Split { easy: easy_file, easy_count: easy, hard })
}

/// Pairs that fit the reward model's context, each with |r(x, y_w) - r(x, y_l)|: r is the score at the end of a completion.
fn gaps(
    pairs: Vec<Pair>,
    policy: &Policy,
    reward_model: &RewardModel,
    config: &MpoConfig,
) -> Result<(Vec<Pair>, Vec<f64>)> {
    let prompting = Prompting::bare(config.dpo.data.prompt_format());
    let longest = reward_model.model.language_model.config.max_position_embeddings;
    let (mut kept, mut rows): (Vec<Pair>, Vec<Example>) = Default::default();
    let count = pairs.len();
    for pair in pairs {
        let encode = |text: &str| encode_written(&policy.tokenizer, &prompting, &pair.question, text, true);
        let both = [encode(&pair.chosen)?, encode(&pair.rejected)?];
        if both.iter().all(|row| row.tokens.len() <= longest) {
            rows.extend(both);
            kept.push(pair);
        }
    }
    ensure!(!kept.is_empty(), "all {count} pairs are longer than the context of {longest} tokens");
    let compute = &config.dpo.run.compute;
    let threads = compute.threads(&policy.model.device());
    let scores = reward_model.scores(&rows, compute.rollout_batch, threads);
    let score = |row: &Vec<f32>| f64::from(*row.last().expect("a completion has a token"));
    let gaps = scores.chunks(2).map(|both| (score(&both[0]) - score(&both[1])).abs()).collect();
    Ok((kept, gaps))
}

/// Easy pairs, with a gap above γ, and hard ones, with a gap of at most γ; γ is the lower median of the gaps where none is given.
fn split(pairs: Vec<Pair>, gaps: &[f64], gap: Option<f64>) -> Result<(Vec<Pair>, Vec<Pair>)> {
    let mut sorted = gaps.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[(sorted.len() - 1) / 2];
    let gamma = gap.unwrap_or(median);
    let (easy, hard): (Vec<_>, Vec<_>) = pairs.into_iter().zip(gaps).partition(|(_, gap)| **gap > gamma);
    ensure!(
        !easy.is_empty() && !hard.is_empty(),
        "with a gap of {gamma:.4}, {} pairs are easy and {} hard, and both are needed: give another --gap (least {:.4}, median {median:.4}, largest \
         {:.4}), or --all-pairs",
        easy.len(),
        hard.len(),
        sorted[0],
        sorted[sorted.len() - 1]
    );
    let alone = |part: Vec<(Pair, &f64)>| part.into_iter().map(|(pair, _)| pair).collect();
    Ok((alone(easy), alone(hard)))
}

struct Setup {
    config: MpoConfig,
    initial: Policy,
    reward_model: RewardModel,
    run: Run,
    numbers: MpoNumbers,
}

/// Sets up a new run or a resumed one.
fn set_up(config: &MpoConfig, init: &Path, orm: &Path, problems: &Problems, device: &Device) -> Result<Setup> {
    let mut config = config.clone();
    config.dpo.init = config.dpo.init.resolved(init);
    config.orm = Some(orm.to_path_buf());
    config.dpo.run.compute.checker = config.dpo.checker.start(config.dpo.data.benchmark())?;
    let initial = policy(init, device)?;
    let reward_model = reward_model(orm, &initial, device)?;
    let (train, eval, run_args) = (problems.train()?, &config.dpo.eval, &config.dpo.run);
    let evaluated = [problems.validation(eval.eval_problems)?, problems.test(eval.test_problems)?];
    check_prompts(&initial, &[&[train], evaluated.as_slice()].concat(), &config.dpo.data.prompting(0)?)?;
    encode_prompts(&initial, train, &config.dpo.data.prompting(config.dpo.sampling.shots)?)?;
    run::start::check_initial_report(run_args, eval, "mpo", &config, Some(init))?;
    let Some(dir) = &run_args.resume else {
        let run = run::start::create_or_resume(run_args, "mpo", &config.dpo.data, &config, 0)?;
        checkpoint(&run, &initial, Reason::Evaluated, 0, MpoNumbers::default())?;
        return Ok(Setup { initial, reward_model, run, numbers: MpoNumbers::default(), config });
    };
    let (_, state) = resume::load_checkpoint::<MpoNumbers>(run_args, dir, None, device)?;
    let stage = state.numbers.stage;
    let run = match &config.dpo.pairs {
        Some(_) => Run::resume(dir, stage)?,
        None => config.dpo.sampling.resume(dir, stage, train, &config.dpo.run.compute)?,
    };
    let run = run::start::complete_resume(run, run_args, "mpo", &config)?;
    // A run that is resumed from an earlier checkpoint makes later stages again.
    for later in config.order.stages().iter().skip(stage + 1) {
        run::remove_unstarted(&dir.join(later.folder()))?;
    }
    Ok(Setup { initial, reward_model, run, numbers: state.numbers, config })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(count: usize) -> Vec<Pair> {
        let pair = |at: usize| Pair {
            id: None,
            question: format!("{at}?"),
            chosen: "a".into(),
            rejected: "b".into(),
            chosen_calculated: Vec::new(),
            rejected_calculated: Vec::new(),
        };
        (0..count).map(pair).collect()
    }

    #[test]
    fn pairs_with_a_gap_above_the_median_or_the_given_one_are_easy() {
        let questions = |part: &[Pair]| part.iter().map(|pair| pair.question.clone()).collect::<Vec<_>>();
        let gaps = [0.5, 0.1, 0.3, 0.9];
        let (easy, hard) = split(pairs(4), &gaps, None).unwrap();
        assert_eq!(
            (questions(&easy), questions(&hard)),
            (vec!["0?".into(), "3?".into()], vec!["1?".into(), "2?".into()])
        );
        let (easy, hard) = split(pairs(4), &gaps, Some(0.5)).unwrap();
        assert_eq!((questions(&easy), hard.len()), (vec!["3?".into()], 3));
    }

    #[test]
    fn a_gap_that_leaves_one_side_empty_is_refused_with_the_gaps_that_there_are() {
        for gap in [Some(0.95), Some(0.05)] {
            let error = split(pairs(2), &[0.1, 0.9], gap).unwrap_err().to_string();
            assert!(error.contains("give another --gap (least 0.1000, median 0.1000, largest 0.9000)"), "{error}");
        }
        assert!(split(pairs(3), &[0.2; 3], None).is_err(), "equal gaps have no median between them");
    }
}
