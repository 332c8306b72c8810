//! More problems by backtranslation (Havrilla et al. 2024, section on data augmentation; Li et al. 2023, arXiv
//! 2308.06259): a model A → Q writes a question for a solution, and the pair is kept if a policy Q → A reaches the same
//! answer.
//!
//! The solutions are samples of the policy: a wrong solution of one question can be a correct solution of another, if
//! its calculations are correct. The backward model is the base model, fine-tuned on the reversed training pairs. A
//! pair is kept if at least a given share of K sampled answers to the new question equals the solution's answer. Kept
//! pairs are written in GSM8K's format, for `--extra` of other commands. Questions and answers are written as they are
//! sampled, to `questions.jsonl` and `verified.jsonl`, and a resumed run reads them again.

mod config;

use crate::{
    algorithms::start,
    cli::args::DataArgs,
    run,
    run::metrics::Metrics,
    run::{Reason, Run, TrainerState},
    sampling::chunks::ChunkedWork,
    sampling::problems::Problems,
    sampling::samples::TrainingSamples,
    training::resume,
    training::supervised::{FitContext, FitNumbers, ValidationScore, fit, likelihood_loss, mean_loss},
    view::html::write_final_report,
    view::progress::print_line,
};
use anyhow::{Context, Result, ensure};
use data::{Answer, Example, Problem, Split, encode_reversed, encode_reversed_prompt};
use eval::{Policy, SampleConfig, complete, complete_prompts, ending, parts::Part};
use model::{Completion, Device, Finish, Key, Purpose};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

pub use config::{AugmentConfig, check, dry_run, lock_run};

use config::{VERIFIED, check_solutions, distinct_solutions};

/// The part of a run that trains the backward model.
const BACKWARD: &str = "backward";
/// The file of the pairs that were kept, in a run directory.
pub const FILE: &str = "augmented.jsonl";

/// A resumed run needs no numbers: only that the solutions are sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct AugmentNumbers {}

/// A solution with a question that was made for it.
struct Pair {
    question: String,
    solution: String,
    answer: Answer,
}

/// A line of `questions.jsonl`.
#[derive(Serialize, Deserialize)]
struct QuestionLine {
    solution: String,
    /// The question written for the solution; `None` if it was truncated.
    question: Option<String>,
}

/// A line of `verified.jsonl`.
#[derive(Serialize, Deserialize)]
struct Verified {
    question: String,
    solution: String,
    /// Fresh answers to the question that equal the solution's.
    agreed: usize,
    /// Fresh answers.
    of: usize,
}

/// Samples solutions, writes questions, verifies them, and writes the kept pairs into a run directory; returns its
/// path.
///
/// # Errors
/// Missing data, an unusable `--init` or `--base`, nothing that could be kept, a full disk, an interrupt.
pub fn train(
    config: &AugmentConfig,
    base: &Path,
    init: &Path,
    problems: &Problems,
    device: &Device,
) -> Result<PathBuf> {
    let Setup { config, forward, base, mut run } = set_up(config, base, init, problems, device)?;
    let TrainingSamples { samples, .. } =
        config.sampling.training_samples(&forward, problems.train()?, (&config.data, &config.run), &mut run, device)?;
    let solutions = distinct_solutions(&samples);
    check_solutions(&solutions)?;
    let backward = train_backward_model(base, problems, &config, &run, device)?;
    let pairs = write_questions(&backward, &solutions, &config, &run, device)?;
    let written = pairs.len();
    let new = without_known_questions(pairs, &config.data)?;
    let distinct = new.len();
    let kept = verify(&forward, new, &config, &run, device)?;
    let mut metrics = Metrics::for_step(1);
    for (name, count) in [
        ("augment/solutions", solutions.len()),
        ("augment/questions", written),
        ("augment/new", distinct),
        ("augment/kept", kept.len()),
    ] {
        metrics.put_count(name, count);
    }
    run.log(&metrics)?;
    write(&run.dir().join(FILE), &kept)?;
    print_line(&format!(
        "\n{} solutions, {written} with a question, {distinct} of them new, {} kept\nproblems: {}\ntrain on them with --extra",
        solutions.len(),
        kept.len(),
        run.dir().join(FILE).display()
    ))?;
    Ok(write_final_report::<AugmentConfig>(&run))
}

/// Makes the part of the solutions that `--part` names.
///
/// # Errors
/// As [`train`], and of a part of other work in its place.
pub fn make_part(config: &AugmentConfig, part: Part, init: &Path, problems: &Problems, device: &Device) -> Result<()> {
    let forward = start::policy(init, device)?;
    config.sampling.sample_part(part, &forward, problems.train()?, (&config.data, &config.run))
}

struct Setup {
    config: AugmentConfig,
    forward: Policy,
    base: Policy,
    run: Run,
}

/// Sets up a new run or a resumed one.
fn set_up(config: &AugmentConfig, base: &Path, init: &Path, problems: &Problems, device: &Device) -> Result<Setup> {
    let mut config = AugmentConfig { init: config.init.resolved(init), ..config.clone() };
    config.base = Some(base.to_path_buf());
    let (forward, base) = (start::policy(init, device)?, start::policy(base, device)?);
    let train = problems.train()?;
    eval::encode_prompts(&forward, train, &config.data.prompting(config.sampling.shots)?)?;
    reversed_pairs(&base, problems, &config)?;
    let run = match &config.run.resume {
        None => {
            let run = run::start::create_or_resume(&config.run, "augment", &config.data, &config, 0)?;
            let state = TrainerState { numbers: AugmentNumbers::default(), optimizer: BTreeMap::new() };
            run.checkpoint(0, Reason::Evaluated, &forward.model, &forward.tokenizer, &state, |_| Ok(()))?;
            run
        }
        Some(dir) => {
            resume::load_checkpoint::<AugmentNumbers>(&config.run, dir, None, device)?;
            resume::load_checkpoint_of_part::<FitNumbers>(&dir.join(BACKWARD), None, device)?;
            run::start::complete_resume(
                config.sampling.resume(dir, 0, train, &config.run.compute)?,
                &config.run,
                "augment",
                &config,
            )?
        }
    };
    Ok(Setup { config, forward, base, run })
}

/// Fine-tunes the base model on the reversed training pairs, in a nested run.
fn train_backward_model(
    base: Policy,
    problems: &Problems,
    config: &AugmentConfig,
    run: &Run,
    device: &Device,
) -> Result<Policy> {
    let (policy, resumed) =
        match resume::load_checkpoint_of_part::<FitNumbers>(&run.dir().join(BACKWARD), None, device)? {
            Some((policy, state)) => (policy, Some(state)),
            None => (base, None),
        };
    let [examples, validation] = reversed_pairs(&policy, problems, config)?;
    let Policy { model, tokenizer, .. } = policy;
    let step = resumed.as_ref().map_or(0, |state| state.numbers.step);
    let mut part = run.part(BACKWARD, "augment", config, step)?;
    let context = FitContext {
        args: &config.fit,
        run_args: &config.run,
        device,
        evaluate_every: config.eval_every,
        label: "backward",
        conditioning: None,
        adapters: None,
        sampled: None,
    };
    let (rows, threads) = (config.run.compute.micro_batch, config.run.compute.threads(device));
    let model = fit(model, &tokenizer, &examples, likelihood_loss, &context, &mut part, resumed, |model| {
        Ok(ValidationScore::new("validation/negative_loss", -mean_loss(model, &validation, rows, threads)))
    })?;
    Ok(Policy { model, tokenizer, conditioning: None, adapter: None })
}

/// Reversed training and validation pairs. Pairs that do not fit the model's context are left out, with a warning.
fn reversed_pairs(policy: &Policy, problems: &Problems, config: &AugmentConfig) -> Result<[Vec<Example>; 2]> {
    let context = policy.model.config.max_position_embeddings;
    let encode = |problems: &[Problem]| -> Result<Vec<Example>> {
        let reversed = problems.iter().map(|problem| encode_reversed(&policy.tokenizer, problem));
        let mut examples: Vec<Example> = reversed.collect();
        let all = examples.len();
        examples.retain(|example| example.tokens.len() <= context);
        if examples.len() < all {
            tracing::warn!("{} of {all} pairs are longer than the context of {context} tokens", all - examples.len());
        }
        ensure!(!examples.is_empty(), "all pairs are longer than the context of {context} tokens");
        Ok(examples)
    };
    Ok([encode(problems.solved()?)?, encode(problems.validation(config.eval_problems)?)?])
}

/// Writes one question for each solution; truncated questions are left out.
fn write_questions(
    backward: &Policy,
    solutions: &[(String, Answer)],
    config: &AugmentConfig,
    run: &Run,
    device: &Device,
) -> Result<Vec<Pair>> {
    let context = backward.model.config.max_position_embeddings;
    let sampling = config.sampling.config(1, &config.data, &config.run, device)?;
    let sampling = SampleConfig { prompting: config.data.prompting(0)?, calculator: false, ..sampling };
    let encode = |solution: &(String, Answer)| encode_reversed_prompt(&backward.tokenizer, &solution.0);
    let (solutions, prompts): (Vec<&(String, Answer)>, Vec<Vec<u32>>) = solutions
        .iter()
        .map(|solution| (solution, encode(solution)))
        .filter(|(_, prompt)| prompt.len() < context)
        .unzip();
    let work = ChunkedWork {
        run,
        file: "questions.jsonl",
        label: "write questions",
        unit: "questions",
        per_line: 1,
        sampling: &sampling,
        quiet: config.run.quiet,
    };
    let belongs = |place: usize, line: &QuestionLine| line.solution == solutions[place].0;
    let lines = work.lines(prompts.len(), belongs, |places, progress| {
        let (first, prompts, solutions) = (places.start, &prompts[places.clone()], &solutions[places]);
        let key = |place: usize, _: usize| Key::new(config.run.seed, Purpose::Questions).with((first + place) as u64);
        let (completions, _) = complete_prompts(backward, prompts, &sampling, key, &|ended| progress.advance(ended))?;
        let line = |(solution, completions): (&&(String, Answer), Vec<Completion>)| {
            let whole = completions.into_iter().next().filter(|completion| completion.finish == Finish::Stop);
            let question = whole.map(|whole| backward.tokenizer.decode(&whole.tokens).trim().to_string());
            QuestionLine { solution: solution.0.clone(), question: question.filter(|question| !question.is_empty()) }
        };
        Ok(solutions.iter().zip(completions).map(line).collect())
    })?;
    let pairs = solutions.into_iter().zip(lines).filter_map(|((_, answer), QuestionLine { solution, question })| {
        Some(Pair { question: question?, solution, answer: answer.clone() })
    });
    Ok(pairs.collect())
}

/// Pairs whose question occurs in no split, each question once, so that no test question is trained on.
fn without_known_questions(pairs: Vec<Pair>, data: &DataArgs) -> Result<Vec<Pair>> {
    let mut known = HashSet::new();
    let all = DataArgs { limit: None, extra: None, ..data.clone() };
    let unseen = (data.benchmark().is_synthetic()).then_some(Split::TestUnseen);
    for split in [Split::Train, Split::Validation, Split::Test].into_iter().chain(unseen) {
        known.extend(all.load(split)?.into_iter().map(|problem| problem.question));
    }
    Ok(pairs.into_iter().filter(|pair| known.insert(pair.question.clone())).collect())
}

/// Keeps the pairs whose answer the policy reaches from the question alone.
fn verify(forward: &Policy, pairs: Vec<Pair>, config: &AugmentConfig, run: &Run, device: &Device) -> Result<Vec<Pair>> {
    let problem = |pair: &Pair| Problem {
        id: String::new(),
        question: pair.question.clone(),
        solution: pair.solution.clone(),
        answer: pair.answer.clone(),
        worked: None,
    };
    let k = config.verify;
    let sampling = config.sampling.config(k, &config.data, &config.run, device)?;
    // A question that leaves no room for an answer cannot be verified.
    let fits = |pair: &Pair| eval::encode_prompts(forward, &[problem(pair)], &sampling.prompting).is_ok();
    let pairs: Vec<Pair> = pairs.into_iter().filter(fits).collect();
    let problems: Vec<Problem> = pairs.iter().map(problem).collect();
    let work = ChunkedWork {
        run,
        file: VERIFIED,
        label: "verify",
        unit: "answers",
        per_line: k,
        sampling: &sampling,
        quiet: config.run.quiet,
    };
    let belongs = |place: usize, line: &Verified| {
        let Pair { question, solution, .. } = &pairs[place];
        line.question == *question && line.solution == *solution && line.of == k
    };
    let lines = work.lines(pairs.len(), belongs, |places, progress| {
        let (first, problems) = (places.start, &problems[places]);
        let key = |place: usize, sample: usize| {
            Key::new(config.run.seed, Purpose::Verify).with((first + place) as u64).with(sample as u64)
        };
        let (completions, _) = complete(forward, problems, &sampling, key, &|ended| progress.advance(ended))?;
        let line = |(problem, completions): (&Problem, Vec<Completion>)| {
            let answers = completions.iter().map(|whole| {
                let text = forward.tokenizer.decode(&whole.tokens);
                sampling.answer_format.extract(problem.answer.kind(), &text, ending(whole.finish))
            });
            let agreed = answers.filter(|answer| answer.as_ref() == Some(&problem.answer)).count();
            Verified { question: problem.question.clone(), solution: problem.solution.clone(), agreed, of: k }
        };
        Ok(problems.iter().zip(completions).map(line).collect())
    })?;
    let agreed = pairs.into_iter().zip(lines).filter(|(_, line)| line.agreed as f64 >= config.agree * k as f64);
    Ok(agreed.map(|(pair, _)| pair).collect())
}

/// As GSM8K's authors publish theirs: `{"question", "answer"}`, the answer being the solution.
fn write(path: &Path, pairs: &[Pair]) -> Result<()> {
    let line = |pair: &Pair| json!({"question": pair.question, "answer": pair.solution}).to_string() + "\n";
    eval::write_whole(path, pairs.iter().map(line).collect::<String>().as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;
