//! Fresh completions of every step prefix of solutions, and how many of them are correct. Independent of their use:
//! step labels of reward models and of return-conditioned RL.
//!
//! Counts are written to the run's `prefixes.jsonl` as they are sampled.

use crate::{
    cli::args::{DataArgs, RunArgs},
    cli::effect::{FixedOnResume, FlagEffect},
    run::Run,
    sampling::chunks::{ChunkedWork, chunk},
    sampling::from_samples::Rounds,
    sampling::samples::SamplingArgs,
    view::progress::{Progress, print_line},
};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use data::{Example, Problem, Prompting, Tokenizer, encode_written, prefix_ends};
use eval::{
    Policy, Sample, SampleConfig, check_samples, complete_prompts_each, ending,
    external::{Checker, Item},
    parts::{Part, PartFile, gather},
    sampling_work,
    servers::ServerFailure,
};
use model::{Completion, Finish, Key, Purpose};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

/// The name of the file in a run directory.
pub const FILE: &str = "prefixes.jsonl";

/// The run's copy of the file of `--from-prefixes`, so that a resumed run does not need the original.
const COPY: &str = "from-prefixes.jsonl";

/// Label of the progress bar.
const LABEL: &str = "complete prefixes";

/// A sample as token ids, with the positions of the tokens that end its step prefixes; the last is the whole solution.
#[derive(Clone, Debug, PartialEq)]
pub struct PrefixedSample {
    /// Prompt and completion.
    pub example: Example,
    /// Positions in `example.tokens`, ascending.
    pub ends: Vec<usize>,
}

/// A line of `prefixes.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrefixCount {
    /// Id of the problem.
    pub id: String,
    /// Text of the prefix, after the prompt.
    pub prefix: String,
    /// Number of correct completions.
    pub right: usize,
    /// Number of completions.
    pub of: usize,
}

/// Counts of correct and all completions, by problem and text of the prefix.
pub type Counts = HashMap<(String, String), (usize, usize)>;

/// Fresh completions of the step prefixes of solutions.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Sampling")]
pub struct PrefixArgs {
    /// Completions sampled per prefix, for --labels steps
    #[arg(long, add = FixedOnResume::OnceLabelled, add = FlagEffect::with("labels", &["steps"]).or_given("check-labels"), value_name = "K", default_value_t = 4, value_parser = crate::cli::args::positive)]
    pub completions: usize,
    /// Read completion counts from the prefixes.jsonl of another run, or from the files of --part by a pattern such as 'parts/*.jsonl', and
    /// complete only the prefixes that are missing there
    #[arg(long, add = FixedOnResume::OnceLabelled, add = FlagEffect::with("labels", &["steps"]), value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_prefixes: Option<PathBuf>,
}

impl PrefixArgs {
    /// Checks the number of completions and the file before anything is made. A resumed run that has its copy does not
    /// need the file.
    ///
    /// # Errors
    /// Naming the flag or the file.
    pub fn check(&self, resumed: Option<&Path>) -> Result<()> {
        check_completions("completions", self.completions)?;
        match &self.from_prefixes {
            Some(file) if !resumed.is_some_and(|dir| dir.join(COPY).is_file()) => read(file).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// The conditional kinds of flags that cannot change any more in a run that is resumed.
    pub fn fixed(&self, labels: Labels, run: &RunArgs) -> &'static [FixedOnResume] {
        let has_some = |dir: &Path| fs::metadata(dir.join(FILE)).is_ok_and(|file| file.len() > 0);
        if labels == Labels::Steps && run.resume.as_deref().is_some_and(has_some) {
            &[FixedOnResume::OnceLabelled]
        } else {
            &[]
        }
    }

    /// The counts for labels, and the number of completions sampled for them: none for labels by outcome.
    ///
    /// # Errors
    /// As [`count`].
    pub fn counts(
        &self,
        labels: Labels,
        policy: &Policy,
        problems: &[Problem],
        samples: &[&Sample],
        (sampling, data, run_args): (&SamplingArgs, &DataArgs, &RunArgs),
        run: &Run,
    ) -> Result<(Counts, usize)> {
        if labels == Labels::Outcome {
            return Ok((Counts::new(), 0));
        }
        let sampling = sampling.config(self.completions, data, run_args, &policy.model.device())?;
        let completing = CompletionConfig { sampling: &sampling, seed: run_args.seed, quiet: run_args.quiet };
        count(policy, problems, samples, self.from_prefixes.as_deref(), &completing, run)
    }

    /// Samples a part of the solutions; with `--from-samples` a part of the completions that [`PrefixArgs::counts`] samples for those of the
    /// file that `chosen` chooses.
    ///
    /// # Errors
    /// As [`SamplingArgs::sample_part`] and [`count_part`]; labels by outcome, which need no completions.
    pub fn make_part(
        &self,
        (part, labels): (Part, Labels),
        policy: &Policy,
        problems: &[Problem],
        (sampling, data, run): (&SamplingArgs, &DataArgs, &RunArgs),
        chosen: impl FnOnce(&[Sample]) -> Result<Vec<&Sample>>,
    ) -> Result<()> {
        let Some(file) = &sampling.source.from_samples else {
            return sampling.sample_part(part, policy, problems, (data, run));
        };
        ensure!(
            labels == Labels::Steps,
            "--part {part} has nothing to sample: --from-samples gives the samples, and --labels outcome needs no completions"
        );
        let grading = (&data.answer_format(), run.compute.checker.as_ref());
        let samples = sampling.source.graded(file, problems, grading, Rounds::All)?;
        let config = sampling.config(self.completions, data, run, &policy.model.device())?;
        let completing = CompletionConfig { sampling: &config, seed: run.seed, quiet: run.quiet };
        count_part(policy, problems, &chosen(&samples)?, &completing, (part, &sampling.source.share.parts))
    }
}

/// Refuses too many completions per prefix.
///
/// # Errors
/// Naming the flag.
pub fn check_completions(flag: &str, completions: usize) -> Result<()> {
    check_samples(1, completions).with_context(|| format!("--{flag} {completions}"))
}

/// How a step prefix is labelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Labels {
    /// By whether its own sample is correct.
    #[default]
    Outcome,
    /// By whether fresh completions of it are correct.
    Steps,
}

/// Configuration of completions.
pub struct CompletionConfig<'a> {
    /// Number of completions per prefix, temperature and prompt.
    pub sampling: &'a SampleConfig,
    /// Seed of the draws.
    pub seed: u64,
    /// Whether to hide the progress bar.
    pub quiet: bool,
}

impl PrefixedSample {
    /// Tokenises a sample and finds its prefixes; `None` if it is empty.
    ///
    /// # Errors
    /// A chat style without a template.
    pub fn of(tokenizer: &Tokenizer, prompting: &Prompting, sample: &Sample) -> Result<Option<Self>> {
        let ended = sample.finish == Finish::Stop;
        let Sample { question, completion, .. } = sample;
        let example = encode_written(tokenizer, prompting, question, completion, ended)?;
        let ends: Vec<usize> = prefix_ends(tokenizer, &example.tokens[example.prompt_len..])
            .into_iter()
            .map(|end| example.prompt_len + end)
            .collect();
        Ok((!ends.is_empty()).then_some(Self { example, ends }))
    }

    /// The text of the prefix that ends at a position.
    pub fn text(&self, tokenizer: &Tokenizer, end: usize) -> String {
        tokenizer.decode(&self.example.tokens[self.example.prompt_len..=end])
    }

    /// The counts of each prefix; `None` for the whole solution, whose outcome is known.
    ///
    /// # Errors
    /// An unfinished prefix that was not counted.
    pub fn counted(&self, id: &str, tokenizer: &Tokenizer, counts: &Counts) -> Result<Vec<Option<(usize, usize)>>> {
        let of = |&end: &usize| {
            let text = self.text(tokenizer, end);
            let counted = counts.get(&(id.to_string(), text.clone())).copied();
            counted.with_context(|| {
                format!("a prefix of {id} was not completed, perhaps because the context is full: {text:?}")
            })
        };
        let unfinished = self.unfinished().iter().map(|end| of(end).map(Some));
        unfinished.chain([Ok(None)]).collect()
    }

    /// The ends of unfinished prefixes.
    pub fn unfinished(&self) -> &[usize] {
        &self.ends[..self.ends.len() - 1]
    }
}

/// Counts the correct completions of every unfinished prefix of samples, with the prompt of the policy that sampled
/// them; prefixes in `from` are not completed again. Also returns the number of completions that the run has sampled,
/// before or after a resume.
///
/// # Errors
/// A full disk, a malformed file, an interrupt.
pub fn count(
    policy: &Policy,
    problems: &[Problem],
    samples: &[&Sample],
    from: Option<&Path>,
    completing: &CompletionConfig<'_>,
    run: &Run,
) -> Result<(Counts, usize)> {
    let mut counts = from.map_or(Ok(Counts::new()), |file| read_copied(file, run))?;
    let k = completing.sampling.samples;
    if let Some((from, (_, of))) = from.zip(counts.values().find(|(_, of)| *of != k)) {
        bail!("{} has prefixes with {of} completions, and --completions is {k}: they must agree", from.display());
    }
    let work = Completing { policy, wanted: wanted(policy, problems, samples, &counts, completing)?, completing };
    let chunked = ChunkedWork {
        run,
        file: FILE,
        label: LABEL,
        unit: "completions",
        per_line: k,
        sampling: completing.sampling,
        quiet: completing.quiet,
    };
    let lines = chunked.lines(
        work.wanted.len(),
        |place, line| work.wanted[place].is_counted_by(line, k),
        |places, progress| work.complete(places, progress),
    )?;
    counts.extend(lines.into_iter().map(|line| ((line.id, line.prefix), (line.right, line.of))));
    Ok((counts, work.wanted.len() * k))
}

/// Counts the correct completions of a part of the prefixes that [`count`] completes, into a file of its own.
///
/// # Errors
/// A full disk, an interrupt, a part of other work in its place.
pub fn count_part(
    policy: &Policy,
    problems: &[Problem],
    samples: &[&Sample],
    completing: &CompletionConfig<'_>,
    (part, folder): (Part, &Path),
) -> Result<()> {
    let CompletionConfig { sampling, seed, quiet } = completing;
    let (k, of_chunk) = (sampling.samples, chunk(sampling.samples, sampling.rows, sampling.streams));
    let work =
        Completing { policy, wanted: wanted(policy, problems, samples, &Counts::new(), completing)?, completing };
    let asked: Vec<&Problem> = work.wanted.iter().map(|wanted| wanted.problem).collect();
    let prompts: Vec<Vec<u32>> = work.wanted.iter().map(|wanted| wanted.prompt.clone()).collect();
    let places = part.range(work.wanted.len(), of_chunk);
    let of_parts = sampling_work(policy, &asked, &prompts, sampling, (*seed, 1));
    let mut file = PartFile::open(folder, part, places.len(), of_chunk, of_parts)?;
    let progress = Progress::new(places.len() * k, LABEL, "completions", *quiet);
    progress.start_at(file.lines() * k);
    for first in (places.start + file.lines()..places.end).step_by(of_chunk) {
        ensure!(!crate::run::interrupted(), "interrupted; the same command resumes {}", file.path().display());
        let resumes = || format!("the same command resumes {}", file.path().display());
        let lines = work.complete(first..places.end.min(first + of_chunk), &progress).with_context(resumes)?;
        file.write(&lines)?;
    }
    print_line(&format!("part {part}: {} prefixes, {k} completions each, in {}", file.lines(), file.path().display()))
}

/// A prefix to complete.
struct PrefixToComplete<'a> {
    problem: &'a Problem,
    prompt: Vec<u32>,
    text: String,
}

impl PrefixToComplete<'_> {
    fn is_counted_by(&self, line: &PrefixCount, completions: usize) -> bool {
        line.id == self.problem.id && line.prefix == self.text && line.of == completions
    }
}

/// The unfinished prefixes of samples, each once, but those that are counted already.
fn wanted<'a>(
    policy: &Policy,
    problems: &'a [Problem],
    samples: &[&Sample],
    counted: &Counts,
    completing: &CompletionConfig<'_>,
) -> Result<Vec<PrefixToComplete<'a>>> {
    let by_id: HashMap<&str, &Problem> = problems.iter().map(|problem| (problem.id.as_str(), problem)).collect();
    let mut seen = HashSet::new();
    let mut wanted: Vec<PrefixToComplete<'_>> = Vec::new();
    for sample in samples {
        let Some(prefixed) = PrefixedSample::of(&policy.tokenizer, &completing.sampling.prompting, sample)? else {
            continue;
        };
        for &end in prefixed.unfinished() {
            let key = (sample.id.clone(), prefixed.text(&policy.tokenizer, end));
            let has_room = end + 1 < policy.model.config.max_position_embeddings;
            if has_room && !counted.contains_key(&key) && seen.insert(key.clone()) {
                let prompt = prefixed.example.tokens[..=end].to_vec();
                wanted.push(PrefixToComplete { problem: by_id[sample.id.as_str()], prompt, text: key.1 });
            }
        }
    }
    Ok(wanted)
}

/// Prefixes that are completed.
struct Completing<'a> {
    policy: &'a Policy,
    wanted: Vec<PrefixToComplete<'a>>,
    completing: &'a CompletionConfig<'a>,
}

impl Completing<'_> {
    /// Completes the prefixes of some places, and counts the correct completions of each.
    fn complete(&self, places: Range<usize>, progress: &Progress) -> Result<Vec<PrefixCount>> {
        let Self { policy, completing: CompletionConfig { sampling, seed, .. }, .. } = self;
        let (first, wanted, k) = (places.start, &self.wanted[places], sampling.samples);
        let prompts: Vec<Vec<u32>> = wanted.iter().map(|wanted| wanted.prompt.clone()).collect();
        let key = |prefix: usize, sample: usize| {
            Key::new(*seed, Purpose::Prefixes).with((first + prefix) as u64).with(sample as u64)
        };
        let checker = sampling.checker.as_ref();
        let phase = checker.map(|checker| checker.client.phase(wanted.len() * k));
        let whole = |PrefixToComplete { text, .. }: &PrefixToComplete<'_>, completion: &Completion| {
            format!("{text}{}", policy.tokenizer.decode(&completion.tokens))
        };
        let each = |prefix: usize, sample: usize, completion: &Completion| {
            if let Some(phase) = &phase {
                let wanted = &wanted[prefix];
                let (text, tokens) = (whole(wanted, completion), Some(completion.tokens.len()));
                let item = Item::new(wanted.problem, &text, wanted.text.len(), tokens, completion.finish);
                phase.put(prefix * k + sample, item);
            }
        };
        let (completions, _) =
            complete_prompts_each(policy, &prompts, sampling, key, &|ended| progress.advance(ended), &each)
                .map_err(|error| ServerFailure::named(error, |prefix| wanted[prefix].problem.id.clone()))?;
        let mut rewards = phase.map(|phase| phase.finish()).transpose()?.into_iter().flatten();
        let mut is_right = |wanted: &PrefixToComplete<'_>, completion: &Completion| match checker.zip(rewards.next()) {
            Some((Checker { correct_if, .. }, reward)) => correct_if.holds(&reward),
            None => {
                let (kind, text) = (wanted.problem.answer.kind(), whole(wanted, completion));
                let answer = sampling.answer_format.extract(kind, &text, ending(completion.finish));
                answer.as_ref() == Some(&wanted.problem.answer)
            }
        };
        let counted = wanted.iter().zip(completions).map(|(wanted, completions)| {
            let right = completions.iter().filter(|completion| is_right(wanted, completion)).count();
            let PrefixToComplete { problem, text, .. } = wanted;
            PrefixCount { id: problem.id.clone(), prefix: text.clone(), right, of: k }
        });
        Ok(counted.collect())
    }
}

/// Reads the counts of another run's `prefixes.jsonl`, or of all parts of `--part`.
///
/// # Errors
/// As [`gather`].
fn read(path: &Path) -> Result<Counts> {
    let lines = gather::<PrefixCount>(path, "the count of a prefix")?.lines;
    Ok(lines.into_iter().map(|line| ((line.id, line.prefix), (line.right, line.of))).collect())
}

/// Reads the counts of another run, of which this one keeps a copy.
fn read_copied(path: &Path, run: &Run) -> Result<Counts> {
    let copy = run.dir().join(COPY);
    if !copy.is_file() {
        let lines = gather::<PrefixCount>(path, "the count of a prefix")?.lines;
        let text = lines.iter().map(|line| Ok(serde_json::to_string(line)? + "\n")).collect::<Result<String>>()?;
        eval::write_whole(&copy, text)?;
    }
    read(&copy)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A sample that was written to its end, and is right.
    pub fn sample(id: &str, completion: &str) -> Sample {
        Sample {
            step: Some(1),
            id: id.into(),
            question: "Why?".into(),
            completion: completion.into(),
            answer: None,
            kind: data::AnswerKind::Number,
            expected: "7".into(),
            reward: None,
            correct: true,
            finish: Finish::Stop,
            tokens: 3,
            greedy: false,
            given: 0,
            calculated: Vec::new(),
            score: None,
        }
    }

    #[test]
    fn prefixes_end_with_their_lines_and_the_whole_solution_with_its_end() {
        let text = " 6*4 = <<6*4=24>>24\n24-3 = <<24-3=21>>21\n#### 21";
        let tokenizer = Tokenizer::train_bpe(&[text.to_string()], 280).unwrap();
        // What separates a solution from the next problem is no part of it.
        for sample in [sample("a", text), sample("a", &format!("{text}\n\n"))] {
            let prefixed = PrefixedSample::of(&tokenizer, &Prompting::default(), &sample).unwrap().unwrap();
            let texts: Vec<String> = prefixed.ends.iter().map(|&end| prefixed.text(&tokenizer, end)).collect();
            assert_eq!(texts, [" 6*4 = <<6*4=24>>24", " 6*4 = <<6*4=24>>24\n24-3 = <<24-3=21>>21", text]);
            assert_eq!(prefixed.example.tokens.last(), tokenizer.eos_ids().first());
            assert_eq!(prefixed.unfinished().len(), 2);
        }
    }
}
