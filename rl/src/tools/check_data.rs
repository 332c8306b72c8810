//! `rl data check`: what a benchmark holds, and what a model will read of it. Trains nothing.

use crate::{cli::args::VOCABULARY, view::progress::print_line};
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use data::{
    Answer, Benchmark, BenchmarkArgs, DataOptions, Ending, Problem, PromptFormat, PromptStyle, Prompting, Split,
    Tokenizer, encode_prompt,
};
use eval::external::{Checker, Item};
use model::Finish;
use std::{collections::HashSet, fmt::Write, path::PathBuf};

/// Unreadable rows that are shown.
const SHOWN_ERRORS: usize = 5;
/// Answers that are shown.
const SHOWN_ANSWERS: usize = 8;
/// Solutions that a benchmark's command grades.
const CHECKED_SOLUTIONS: usize = 64;
/// Prompts that are shown.
const SHOWN_PROMPTS: usize = 3;

/// Commands about problems.
#[derive(Subcommand, Clone, Debug)]
pub enum DataCommand {
    /// Check a benchmark: rows, lengths, duplicates, overlap between splits, prompts, answers
    Check(CheckArgs),
}

/// Flags of `rl data check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Description FILE.toml, or the name of a built-in benchmark
    #[arg(value_name = "FILE.toml")]
    pub description: Option<Benchmark>,
    /// The problems, where no description is given.
    #[command(flatten)]
    pub source: BenchmarkArgs,
    /// Model whose tokenizer counts the tokens and whose chat template is shown: a checkpoint, Hugging Face folder or GGUF file [default: a
    /// tokenizer made as `rl pretrain` makes it]
    #[arg(long, value_name = "PATH")]
    pub init: Option<PathBuf>,
    /// Format of the prompt
    #[arg(long, value_enum, default_value_t)]
    pub prompt_style: PromptStyle,
}

/// Prints the check.
///
/// # Errors
/// A description or file that cannot be read; rows that are no problems, after the check is printed.
pub fn run(command: &DataCommand) -> Result<()> {
    let DataCommand::Check(args) = command;
    let mut source = args.source.clone();
    source.resolve()?;
    let benchmark = args.description.as_ref().unwrap_or(&source.benchmark);
    let options = DataOptions { data_dir: source.data_dir.clone(), ..DataOptions::default() };
    let (text, unreadable) = report(benchmark, &options, args)?;
    print_line(text.trim_end())?;
    if unreadable > 0 {
        bail!("{unreadable} rows are no problems: repair or remove them, or change the fields of the description");
    }
    Ok(())
}

/// What is printed, and the number of unreadable rows.
fn report(benchmark: &Benchmark, options: &DataOptions, args: &CheckArgs) -> Result<(String, usize)> {
    let splits = benchmark.splits();
    let mut errors = Vec::new();
    // Validation rows that are held out are rows of the training file.
    let files = splits.iter().filter(|split| **split != Split::Validation || !splits.contains(&Split::Train));
    for &split in files {
        errors.extend(benchmark.unreadable(split, options)?);
    }
    let mut text = format!("benchmark {benchmark}, answers of kind {}\n", kind_name(benchmark));
    if !errors.is_empty() {
        writeln!(text, "\n{} unreadable rows:", errors.len())?;
        for error in errors.iter().take(SHOWN_ERRORS) {
            writeln!(text, "  {error:#}")?;
        }
        return Ok((text, errors.len()));
    }
    let loaded: Vec<(Split, Vec<Problem>)> =
        splits.iter().map(|&split| Ok((split, benchmark.load(split, options)?))).collect::<Result<_>>()?;
    let format = benchmark.prompt_format(args.prompt_style);
    let tokenizer = tokenizer(args, &format, &loaded)?;
    text += &lengths(&loaded, &format, &tokenizer)?;
    text += &overlaps(&loaded);
    text += &answers(benchmark, &loaded, args.prompt_style)?;
    text += &prompts(&loaded, &format, &tokenizer)?;
    Ok((text, 0))
}

fn kind_name(benchmark: &Benchmark) -> String {
    format!("{:?}", benchmark.answer_kind()).to_lowercase()
}

/// The tokenizer of `--init`, or one made of the first split's texts.
fn tokenizer(args: &CheckArgs, format: &PromptFormat, loaded: &[(Split, Vec<Problem>)]) -> Result<Tokenizer> {
    if let Some(init) = &args.init {
        return eval::load_tokenizer(&eval::resolve_checkpoint(init)?);
    }
    if args.prompt_style == PromptStyle::Chat {
        bail!("--prompt-style chat needs --init: the chat template is part of a model");
    }
    let documents = loaded.first().map_or(&[][..], |(_, problems)| problems).iter().map(|problem| {
        Ok(format.text(&[], &problem.question)? + &format.solution(&problem.question, &problem.solution)?)
    });
    Tokenizer::train_bpe(&documents.collect::<Result<Vec<_>>>()?, VOCABULARY)
}

/// Rows, repeated questions and lengths of each split.
fn lengths(loaded: &[(Split, Vec<Problem>)], format: &PromptFormat, tokenizer: &Tokenizer) -> Result<String> {
    let mut text = format!(
        "\n{:<12} {:>7} {:>10}   {:<26} {:<26}\n",
        "split", "rows", "repeated", "prompt tokens 50/95/100 %", "solution tokens 50/95/100 %"
    );
    let prompting = Prompting::bare(format.clone());
    for (split, problems) in loaded {
        let distinct: HashSet<String> = problems.iter().map(key).collect();
        let mut prompts = Vec::with_capacity(problems.len());
        let mut solutions = Vec::new();
        for problem in problems {
            prompts.push(encode_prompt(tokenizer, &prompting, &problem.question)?.len());
            if !problem.solution.is_empty() {
                solutions.push(tokenizer.encode(&format.solution(&problem.question, &problem.solution)?).len());
            }
        }
        writeln!(
            text,
            "{:<12} {:>7} {:>10}   {:<26} {:<26}",
            split.to_string(),
            problems.len(),
            problems.len() - distinct.len(),
            quantiles(prompts),
            quantiles(solutions)
        )?;
    }
    Ok(text)
}

/// Median, 95 % quantile and maximum.
fn quantiles(mut lengths: Vec<usize>) -> String {
    lengths.sort_unstable();
    let at = |share: f64| lengths[((lengths.len() - 1) as f64 * share).round() as usize];
    if lengths.is_empty() { "none".into() } else { format!("{} / {} / {}", at(0.5), at(0.95), at(1.0)) }
}

/// A question without case and white space at its ends.
fn key(problem: &Problem) -> String {
    problem.question.trim().to_lowercase()
}

/// Questions that stand in two splits.
fn overlaps(loaded: &[(Split, Vec<Problem>)]) -> String {
    let mut text = String::new();
    for (place, (split, problems)) in loaded.iter().enumerate() {
        for (other, others) in &loaded[..place] {
            let known: HashSet<String> = others.iter().map(key).collect();
            let common = problems.iter().filter(|problem| known.contains(&key(problem))).count();
            if common > 0 {
                text += &format!("warning: {common} questions of {split} also stand in {other}\n");
            }
        }
    }
    if text.is_empty() { "no question stands in two splits\n".into() } else { text }
}

/// How gold answers are read, and how many solutions end with theirs, or are accepted by the benchmark's command.
fn answers(benchmark: &Benchmark, loaded: &[(Split, Vec<Problem>)], style: PromptStyle) -> Result<String> {
    let all = || loaded.iter().flat_map(|(_, problems)| problems);
    let format = benchmark.answer_format(style);
    let not_understood =
        all().filter(|problem| matches!(&problem.answer, Answer::Math(answer) if !answer.is_understood())).count();
    let mut text = format!("\nanswers, read from completions by the format {format}:\n");
    let mut seen = HashSet::new();
    let distinct = all().filter(|problem| seen.insert(problem.answer.to_string())).take(SHOWN_ANSWERS);
    for problem in distinct {
        text += &format!("  {}: {}\n", problem.id, problem.answer.to_string().replace('\n', "\n    "));
    }
    if not_understood > 0 {
        text +=
            &format!("  {not_understood} are not understood as mathematics: they equal only what is written alike\n");
    }
    let solved: Vec<&Problem> = all().filter(|problem| !problem.solution.is_empty()).collect();
    if let Some(Checker { client, correct_if }) = Checker::of_benchmark(benchmark)? {
        let checked = &solved[..solved.len().min(CHECKED_SOLUTIONS)];
        let item = |problem: &&Problem| Item::new(problem, &problem.solution, 0, None, Finish::Stop);
        let rewards = client.rewards(checked.iter().map(item))?;
        let accepted = rewards.iter().filter(|reward| correct_if.holds(reward)).count();
        text += &format!("  {} accepts {accepted} of {} solutions\n", client.source(), checked.len());
        return Ok(text);
    }
    let is_read = |problem: &&&Problem| {
        let read = format.extract(problem.answer.kind(), &problem.solution, Ending::Finished);
        read.as_ref() == Some(&problem.answer)
    };
    let read = solved.iter().filter(is_read).count();
    if !solved.is_empty() {
        text += &format!("  {read} of {} solutions end with their answer in this format\n", solved.len());
    }
    Ok(text)
}

/// The first prompts exactly as a model reads them, each with what it should write.
fn prompts(loaded: &[(Split, Vec<Problem>)], format: &PromptFormat, tokenizer: &Tokenizer) -> Result<String> {
    let mut text = String::new();
    let Some((split, problems)) = loaded.first() else { return Ok(text) };
    for problem in problems.iter().take(SHOWN_PROMPTS) {
        let tokens = encode_prompt(tokenizer, &Prompting::bare(format.clone()), &problem.question)?;
        writeln!(text, "\n---- {}, the prompt ({split} split, {} tokens)", problem.id, tokens.len())?;
        writeln!(text, "{}", tokenizer.decode_with_special(&tokens))?;
        if !problem.solution.is_empty() {
            writeln!(text, "---- the completion to learn")?;
            writeln!(text, "{}", format.solution(&problem.question, &problem.solution)?)?;
        }
    }
    Ok(text)
}
