//! More problems by backtranslation (Havrilla et al. 2024, section on data augmentation; Li et al. 2023, arXiv 2308.06259): a model
//! A → Q writes the question to a solution, and a policy Q → A must come to the same answer for the pair to be kept.
//!
//! The solutions are samples of the policy: a wrong solution of one question is a right one of another, if it calculates rightly. The
//! backward model is the base, fine-tuned on the training pairs turned round. A pair is kept if at least a share of K fresh answers to
//! the new question equals the answer of the solution. What is kept is written in GSM8K's format, for `--extra` of other commands. Questions
//! and answers are written as they come, as `questions.jsonl` and `verified.jsonl`, and taken up again by a run that goes on.

use crate::{
    args::{DataArgs, InitArgs, RunArgs},
    chunks::Chunked,
    dry_run,
    harvest::{Gathered, SamplingArgs},
    metrics::Metrics,
    prepare,
    progress::print_line,
    run::{Reason, Run, TrainerState, finish},
    supervised::{FitArgs, FitContext, FitNumbers, Look, fit, mean_loss},
};
use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use clap::Args;
use data::{
    Answer, Benchmark, Example, Problem, Split, calculations_hold, encode_reversed, encode_reversed_prompt,
    gold_answer, own_part,
};
use eval::{Policy, Sample, SampleConfig, check_samples, complete, complete_prompts, ending};
use model::{Completion, Finish, Key, Purpose};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

/// The part of a run that fits the backward model.
const BACKWARD: &str = "backward";
/// The file of the fresh answers, in a run directory.
const VERIFIED: &str = "verified.jsonl";
/// The file of the pairs that were kept, in a run directory.
pub const FILE: &str = "augmented.jsonl";

/// Make more training problems by backtranslation
#[derive(Args, Clone, Debug, Serialize)]
pub struct AugmentConfig {
    /// Where, and with what.
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunArgs,
    /// Which problems.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// What writes solutions, and answers new questions.
    #[command(flatten)]
    #[serde(flatten)]
    pub init: InitArgs,
    /// How long and how fast the backward model learns.
    #[command(flatten)]
    #[serde(flatten)]
    pub fit: FitArgs,
    /// What the backward model is fine-tuned from; needed beside --init [default: a base made for the benchmark and kept under runs/]
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
    /// Solutions to find questions for.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: SamplingArgs,
    /// Fresh answers to each new question
    #[arg(long, value_name = "K", default_value_t = 4, value_parser = crate::args::positive)]
    pub verify: usize,
    /// Share of them that must equal the answer of the solution
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    pub agree: f64,
    /// Steps between two looks at the loss of the backward model on validation pairs
    #[arg(long, value_name = "N", default_value_t = 150, value_parser = crate::args::positive)]
    pub eval_every: usize,
    /// Validation pairs of one look
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = crate::args::positive)]
    pub eval_problems: usize,
}

/// What differs from the defaults of the flattened groups.
pub const DEFAULTS: &[(&str, &str)] = &[
    ("learning_rate", "1.5e-3"),
    ("batch_size", "16"),
    ("micro_batch", "4"),
    ("epochs", "2"),
    ("warm_up", "40"),
    ("samples", "2"),
];

/// That the solutions are sampled is all there is to go on from.
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
struct Asked {
    solution: String,
    /// That was made for it; none where it had no end.
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

/// Samples, turns round, verifies, and leaves a run directory with what was kept; its path.
///
/// # Errors
/// Missing data, an unusable `--init` or `--base`, nothing that could be kept, a full disk, an interrupt.
pub fn train(config: &AugmentConfig, device: &Device) -> Result<PathBuf> {
    check(config)?;
    if config.run.dry_run {
        return dry_run(config, device);
    }
    let _lock = prepare::claim(&config.run)?;
    let Setup { config, forward, base, mut run } = set_up(config, device)?;
    let problems = config.data.load(Split::Train)?;
    let Gathered { samples, .. } =
        config.sampling.gather(&forward, &problems, (&config.data, &config.run), &mut run, device)?;
    let solutions = distinct_solutions(&samples);
    check_solutions(&solutions)?;
    let backward = learn_backwards(base, &problems, &config, &run, device)?;
    let pairs = ask(&backward, &solutions, &config, &run, device)?;
    let written = pairs.len();
    let new = unknown(pairs, &config.data)?;
    let distinct = new.len();
    let kept = verify(&forward, new, &config, &run, device)?;
    let mut metrics = Metrics::of_step(1);
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
        "\n{} solutions, {written} with a question, {distinct} of them new, {} kept\nproblems: {}\nlearn them with --extra",
        solutions.len(),
        kept.len(),
        run.dir().join(FILE).display()
    ))?;
    Ok(finish(&run))
}

struct Setup {
    config: AugmentConfig,
    forward: Policy,
    base: Policy,
    run: Run,
}

/// A fresh run, or one that goes on.
fn set_up(config: &AugmentConfig, device: &Device) -> Result<Setup> {
    let has_answers = |dir: &PathBuf| fs::metadata(dir.join(VERIFIED)).is_ok_and(|file| file.len() > 0);
    let counted: &[&str] = if config.run.resume.as_ref().is_some_and(has_answers) { &["verify"] } else { &[] };
    prepare::check_fixed(&config.run, config, counted)?;
    let inputs = [("extra", &config.data.extra), ("from-samples", &config.sampling.foreign.from_samples)];
    prepare::check_inputs(&config.run, &inputs.map(|(flag, file)| (flag, file.as_deref())))?;
    let mut config = config.clone();
    let (base, init) = prepare::base_and_sft(&mut config.base, &mut config.init, &config.data, &config.run, device)?;
    let (forward, base) = (prepare::policy(&init, device)?, prepare::policy(&base, device)?);
    let problems = config.data.load(Split::Train)?;
    eval::encode_prompts(&forward, &problems, &config.data.prompting(config.sampling.shots)?)?;
    reversed(&base, &problems, &config)?;
    let run = match &config.run.resume {
        None => {
            let run = prepare::open(&config.run, "augment", config.data.benchmark, &config, 0)?;
            let state = TrainerState { numbers: AugmentNumbers::default(), optimizer: BTreeMap::new() };
            run.checkpoint(0, Reason::Evaluated, &forward.model, &forward.tokenizer, &state, |_| Ok(()))?;
            run
        }
        Some(dir) => {
            prepare::resume::<AugmentNumbers>(&config.run, dir, None, device)?;
            prepare::resume_part::<FitNumbers>(&dir.join(BACKWARD), None, device)?;
            prepare::go_on(config.sampling.resume(dir, 0, &problems)?, &config.run, "augment", &config)?
        }
    };
    Ok(Setup { config, forward, base, run })
}

/// Solutions that were written to their end, have an answer and calculate rightly, each text once. A wrong operation may be right for
/// another question; a wrong sum is right for none.
fn distinct_solutions(samples: &[Sample]) -> Vec<(String, Answer)> {
    let mut known = HashSet::new();
    let whole = samples.iter().filter(|sample| sample.finish == Finish::Stop);
    let solutions = whole.filter_map(|sample| {
        let solution = own_part(&sample.completion).trim().to_string();
        // The problems are written as GSM8K's, whatever format answers are read in.
        let answer = gold_answer(&solution).ok().filter(|_| calculations_hold(&solution))?;
        known.insert(solution.clone()).then_some((solution, answer))
    });
    solutions.collect()
}

fn check_solutions(solutions: &[(String, Answer)]) -> Result<()> {
    ensure!(!solutions.is_empty(), "no sample has an answer that can be read: there is nothing to find questions for");
    Ok(())
}

/// Fine-tunes the base on the training pairs turned round, in a run of its own below the run.
fn learn_backwards(
    base: Policy,
    problems: &[Problem],
    config: &AugmentConfig,
    run: &Run,
    device: &Device,
) -> Result<Policy> {
    let (policy, resumed) = match prepare::resume_part::<FitNumbers>(&run.dir().join(BACKWARD), None, device)? {
        Some((policy, state)) => (policy, Some(state)),
        None => (base, None),
    };
    let [examples, validation] = reversed(&policy, problems, config)?;
    let Policy { model, tokenizer, .. } = policy;
    let step = resumed.as_ref().map_or(0, |state| state.numbers.step);
    let mut part = run.part(BACKWARD, "augment", config, step)?;
    let context = FitContext {
        args: &config.fit,
        run_args: &config.run,
        device,
        look_every: config.eval_every,
        label: "backward",
        conditioning: None,
        adapters: None,
        sampled: None,
    };
    let (rows, threads) = (config.run.compute.micro_batch, config.run.compute.threads(device));
    let model = fit(model, &tokenizer, &examples, &context, &mut part, resumed, |model| {
        Ok(Look::of("validation/negative_loss", -mean_loss(model, &validation, rows, threads)))
    })?;
    Ok(Policy { model, tokenizer, conditioning: None })
}

/// Training and validation pairs turned round. Those that do not fit the model's context are left out, and counted aloud.
fn reversed(policy: &Policy, problems: &[Problem], config: &AugmentConfig) -> Result<[Vec<Example>; 2]> {
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
    Ok([encode(problems)?, encode(&prepare::validation(&config.data, config.eval_problems)?)?])
}

/// One question for each solution; those that were not written to their end are left out.
fn ask(
    backward: &Policy,
    solutions: &[(String, Answer)],
    config: &AugmentConfig,
    run: &Run,
    device: &Device,
) -> Result<Vec<Pair>> {
    let context = backward.model.config.max_position_embeddings;
    let sampling = config.sampling.config(1, &config.data, &config.run, device)?;
    let sampling = SampleConfig { prompting: config.data.prompting(0)?, ..sampling };
    let encode = |solution: &(String, Answer)| encode_reversed_prompt(&backward.tokenizer, &solution.0);
    let (asked, prompts): (Vec<&(String, Answer)>, Vec<Vec<u32>>) = solutions
        .iter()
        .map(|solution| (solution, encode(solution)))
        .filter(|(_, prompt)| prompt.len() < context)
        .unzip();
    let work = Chunked {
        run,
        file: "questions.jsonl",
        label: "find questions",
        unit: "questions",
        per_line: 1,
        quiet: config.run.quiet,
    };
    let belongs = |place: usize, line: &Asked| line.solution == asked[place].0;
    let lines = work.lines(prompts.len(), belongs, |places, progress| {
        let (first, prompts, asked) = (places.start, &prompts[places.clone()], &asked[places]);
        let key = |place: usize, _: usize| Key::new(config.run.seed, Purpose::Questions).with((first + place) as u64);
        let (completions, _) = complete_prompts(backward, prompts, &sampling, key, &|ended| progress.advance(ended));
        let line = |(solution, completions): (&&(String, Answer), Vec<Completion>)| {
            let whole = completions.into_iter().next().filter(|completion| completion.finish == Finish::Stop);
            let question = whole.map(|whole| backward.tokenizer.decode(&whole.tokens).trim().to_string());
            Asked { solution: solution.0.clone(), question: question.filter(|question| !question.is_empty()) }
        };
        Ok(asked.iter().zip(completions).map(line).collect())
    })?;
    let pairs = asked.into_iter().zip(lines).filter_map(|((_, answer), Asked { solution, question })| {
        Some(Pair { question: question?, solution, answer: answer.clone() })
    });
    Ok(pairs.collect())
}

/// Pairs whose question no split has word for word, each question once: what is learnt must not be what is tested.
fn unknown(pairs: Vec<Pair>, data: &DataArgs) -> Result<Vec<Pair>> {
    let mut known = HashSet::new();
    let all = DataArgs { limit: None, extra: None, ..data.clone() };
    let unseen = (data.benchmark == Benchmark::Synthetic).then_some(Split::TestUnseen);
    for split in [Split::Train, Split::Validation, Split::Test].into_iter().chain(unseen) {
        known.extend(all.load(split)?.into_iter().map(|problem| problem.question));
    }
    Ok(pairs.into_iter().filter(|pair| known.insert(pair.question.clone())).collect())
}

/// Keeps the pairs whose answer the policy comes to from the question alone.
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
    let work = Chunked { run, file: VERIFIED, label: "verify", unit: "answers", per_line: k, quiet: config.run.quiet };
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
                sampling.answer_format.extract(&text, ending(whole.finish))
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

fn check(config: &AugmentConfig) -> Result<()> {
    config.fit.check()?;
    config.init.check_base(config.base.as_deref(), "what the backward model is fine-tuned from")?;
    ensure!((0.0..=1.0).contains(&config.agree), "--agree {}: give a share from 0 to 1", config.agree);
    let problems = config.data.load(Split::Train)?;
    if let Some(samples) =
        config.sampling.check(&problems, &config.data.answer_format, true, config.run.resume.as_deref())?
    {
        check_solutions(&distinct_solutions(&samples))?;
    }
    config.data.prompting(config.sampling.shots)?;
    check_samples(problems.len(), config.sampling.samples.max(config.verify))
}

fn dry_run(config: &AugmentConfig, device: &Device) -> Result<PathBuf> {
    let problems = config.data.load(Split::Train)?;
    let (samples, _) = config.sampling.planned(&problems, &config.data.answer_format)?;
    let shape = dry_run::shape(config.init.init.as_deref(), config.init.model)?;
    let work = dry_run::Work {
        rows: config.fit.batch_size,
        positions: dry_run::largest_micro_batch(&config.init, &config.data, &config.fit, &config.run)?,
        extra_models: 1.0,
        trained: None,
        steps: config.fit.total_steps(problems.len()),
        // Every solution has a question and answers to it.
        sampled: samples,
        new_tokens: config.data.max_new_tokens(),
        samples,
    };
    dry_run::print("augment", config, &config.run, &shape, &work, device)?;
    print_line(&format!(
        "# solutions             at most {samples}, each with {} answers to its question",
        config.verify
    ))?;
    Ok(PathBuf::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_solution_counts_once_and_only_with_an_answer_and_an_end() {
        let sample =
            |completion: &str, finish: Finish| Sample { finish, ..crate::prefix::tests::sample("test/0", completion) };
        let samples = [
            sample(" 3+4 = <<3+4=7>>7\n#### 7", Finish::Stop),
            sample(" 3+4 = <<3+4=7>>7\n#### 7", Finish::Stop),
            sample(" 3+4 = <<3+4=7>>7", Finish::Stop),
            sample(" 3+4 = <<3+4=8>>8\n#### 8", Finish::Stop),
            sample(" #### 8", Finish::Length),
            sample(" #### 9", Finish::Stop),
        ];
        let solutions: Vec<String> = distinct_solutions(&samples).into_iter().map(|(solution, _)| solution).collect();
        assert_eq!(solutions, ["3+4 = <<3+4=7>>7\n#### 7", "#### 9"]);
    }
}
