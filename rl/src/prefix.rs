//! How good the beginnings of solutions are: fresh completions of every step prefix, and how many of them are right. Knows not
//! what it is for; step labels of reward models and of return-conditioned RL are made of it.
//!
//! What was counted is written to the run's `prefixes.jsonl` as it comes.

use crate::{
    args::{DataArgs, RunArgs},
    chunks::Chunked,
    harvest::SamplingArgs,
    inspect::read::json_lines,
    run::Run,
};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use data::{Example, Problem, Prompting, Tokenizer, encode_written, prefix_ends};
use eval::{Policy, Sample, SampleConfig, check_samples, complete_prompts, ending};
use model::{Completion, Finish, Key, Purpose};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

/// The name of the file in a run directory.
pub const FILE: &str = "prefixes.jsonl";

/// The name of a run's copy of what `--from-prefixes` named: it goes on without that file.
const COPY: &str = "from-prefixes.jsonl";

/// A sample as token ids, with the places of the tokens that end its step prefixes, the whole of it last.
#[derive(Clone, Debug, PartialEq)]
pub struct Prefixed {
    /// Prompt and completion.
    pub example: Example,
    /// Places in `example.tokens`, rising.
    pub ends: Vec<usize>,
}

/// A line of `prefixes.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// Of the problem.
    pub id: String,
    /// What stands after the prompt.
    pub prefix: String,
    /// Fresh completions whose answer is right.
    pub right: usize,
    /// Fresh completions.
    pub of: usize,
}

/// What was counted, by problem and text of the prefix.
pub type Counts = HashMap<(String, String), (usize, usize)>;

/// Fresh completions of the step prefixes of solutions.
#[derive(Args, Clone, Debug, Serialize)]
pub struct PrefixArgs {
    /// Fresh completions of each prefix, for `--labels steps`
    #[arg(long, value_name = "K", default_value_t = 4, value_parser = crate::args::positive)]
    pub completions: usize,
    /// Take counts of completions from the prefixes.jsonl of another run, and complete only what it does not have
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_prefixes: Option<PathBuf>,
}

impl PrefixArgs {
    /// Refuses more completions than can be held, and a file that cannot be read, before anything is made. A run that goes on with its
    /// copy needs it no more.
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

    /// Of `flags`, those that completions go by and that cannot be changed any more in a run that has some.
    pub fn fixed<'a>(&self, labels: Labels, run: &RunArgs, flags: &'a [&'a str]) -> &'a [&'a str] {
        let has_some = |dir: &Path| fs::metadata(dir.join(FILE)).is_ok_and(|file| file.len() > 0);
        if labels == Labels::Steps && run.resume.as_deref().is_some_and(has_some) { flags } else { &[] }
    }

    /// The counts that labels are made of, and how many completions the run has sampled for them: none for those by outcome.
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
        let completing = Completing { sampling: &sampling, seed: run_args.seed, quiet: run_args.quiet };
        count(policy, problems, samples, self.from_prefixes.as_deref(), &completing, run)
    }
}

/// Refuses a number of completions of one prefix that cannot be held at once.
///
/// # Errors
/// Naming the flag.
pub fn check_completions(flag: &str, completions: usize) -> Result<()> {
    check_samples(1, completions).with_context(|| format!("--{flag} {completions}"))
}

/// What a step prefix is labelled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Labels {
    /// Whether its own sample is right.
    #[default]
    Outcome,
    /// Whether fresh completions of it are.
    Steps,
}

/// How to complete.
pub struct Completing<'a> {
    /// How many a prefix, at which temperature, how the question is put.
    pub sampling: &'a SampleConfig,
    /// Seed of the draws.
    pub seed: u64,
    /// No bar.
    pub quiet: bool,
}

impl Prefixed {
    /// Tokenises what was written, and finds its prefixes; `None` where nothing was.
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

    /// The text of the prefix that ends at a place.
    pub fn text(&self, tokenizer: &Tokenizer, end: usize) -> String {
        tokenizer.decode(&self.example.tokens[self.example.prompt_len..=end])
    }

    /// What each of the prefixes was counted as; `None` for the whole, which was judged.
    ///
    /// # Errors
    /// An unfinished prefix that was not counted.
    pub fn counted(&self, id: &str, tokenizer: &Tokenizer, counts: &Counts) -> Result<Vec<Option<(usize, usize)>>> {
        let of = |&end: &usize| {
            let text = self.text(tokenizer, end);
            let counted = counts.get(&(id.to_string(), text.clone())).copied();
            counted.with_context(|| format!("a prefix of {id} was not completed, maybe for want of room: {text:?}"))
        };
        let unfinished = self.unfinished().iter().map(|end| of(end).map(Some));
        unfinished.chain([Ok(None)]).collect()
    }

    /// The places that end a prefix after which something is left to write.
    pub fn unfinished(&self) -> &[usize] {
        &self.ends[..self.ends.len() - 1]
    }
}

/// Counts the right ones among fresh completions of every unfinished prefix of samples, as the policy that sampled them is
/// asked; what `from` has is not sampled again. With the counts, how many completions the run has sampled, now or before it was
/// resumed.
///
/// # Errors
/// A full disk, a malformed file, an interrupt.
pub fn count(
    policy: &Policy,
    problems: &[Problem],
    samples: &[&Sample],
    from: Option<&Path>,
    completing: &Completing<'_>,
    run: &Run,
) -> Result<(Counts, usize)> {
    let by_id: HashMap<&str, &Problem> = problems.iter().map(|problem| (problem.id.as_str(), problem)).collect();
    let mut counts = from.map_or(Ok(Counts::new()), |file| read_copied(file, run))?;
    let k = completing.sampling.samples;
    if let Some((from, (_, of))) = from.zip(counts.values().find(|(_, of)| *of != k)) {
        bail!("{} has prefixes with {of} completions, and --completions is {k}: they must agree", from.display());
    }
    let mut seen = HashSet::new();
    let mut wanted: Vec<Wanted<'_>> = Vec::new();
    for sample in samples {
        let Some(prefixed) = Prefixed::of(&policy.tokenizer, &completing.sampling.prompting, sample)? else { continue };
        for &end in prefixed.unfinished() {
            let key = (sample.id.clone(), prefixed.text(&policy.tokenizer, end));
            let has_room = end + 1 < policy.model.config.max_position_embeddings;
            if has_room && !counts.contains_key(&key) && seen.insert(key.clone()) {
                let prompt = prefixed.example.tokens[..=end].to_vec();
                wanted.push(Wanted { problem: by_id[sample.id.as_str()], prompt, text: key.1 });
            }
        }
    }
    complete(policy, &wanted, completing, run, &mut counts)?;
    Ok((counts, wanted.len() * completing.sampling.samples))
}

/// A prefix that is to be completed.
struct Wanted<'a> {
    problem: &'a Problem,
    prompt: Vec<u32>,
    text: String,
}

/// Completes prefixes in chunks, but for those that an earlier part of the run has done.
fn complete(
    policy: &Policy,
    wanted: &[Wanted<'_>],
    completing: &Completing<'_>,
    run: &Run,
    counts: &mut Counts,
) -> Result<()> {
    let k = completing.sampling.samples;
    let work = Chunked {
        run,
        file: FILE,
        label: "complete prefixes",
        unit: "completions",
        per_line: k,
        quiet: completing.quiet,
    };
    let belongs = |place: usize, line: &Counted| {
        let Wanted { problem, text, .. } = &wanted[place];
        line.id == problem.id && line.prefix == *text && line.of == k
    };
    let lines = work.lines(wanted.len(), belongs, |places, progress| {
        let (first, wanted) = (places.start, &wanted[places]);
        let prompts: Vec<Vec<u32>> = wanted.iter().map(|wanted| wanted.prompt.clone()).collect();
        let key = |prefix: usize, sample: usize| {
            Key::new(completing.seed, Purpose::Prefixes).with((first + prefix) as u64).with(sample as u64)
        };
        let (completions, _) =
            complete_prompts(policy, &prompts, completing.sampling, key, &|ended| progress.advance(ended));
        let counted = wanted.iter().zip(completions).map(|(Wanted { problem, text, .. }, completions)| {
            let is_right = |completion: &&Completion| {
                let whole = format!("{text}{}", policy.tokenizer.decode(&completion.tokens));
                completing.sampling.answer_format.extract(&whole, ending(completion.finish)).as_ref()
                    == Some(&problem.answer)
            };
            let right = completions.iter().filter(is_right).count();
            Counted { id: problem.id.clone(), prefix: text.clone(), right, of: k }
        });
        Ok(counted.collect())
    })?;
    counts.extend(lines.into_iter().map(|line| ((line.id, line.prefix), (line.right, line.of))));
    Ok(())
}

/// Reads the counts of another run's `prefixes.jsonl`.
///
/// # Errors
/// A file that is missing or malformed.
fn read(path: &Path) -> Result<Counts> {
    ensure!(path.is_file(), "cannot read {}: there is no such file", path.display());
    let mut counts = Counts::new();
    json_lines(path, |_, line: Counted| {
        counts.insert((line.id, line.prefix), (line.right, line.of));
        Ok(())
    })?;
    Ok(counts)
}

/// Reads the counts of another run, of which this one keeps a copy.
fn read_copied(path: &Path, run: &Run) -> Result<Counts> {
    let copy = run.dir().join(COPY);
    if !copy.is_file() {
        eval::write_whole(&copy, fs::read(path).with_context(|| format!("cannot read {}", path.display()))?)?;
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
            expected: "7".into(),
            reward: None,
            correct: true,
            finish: Finish::Stop,
            tokens: 3,
            greedy: false,
            given: 0,
            score: None,
        }
    }

    #[test]
    fn prefixes_end_with_their_lines_and_the_whole_with_its_end() {
        let text = " 6*4 = <<6*4=24>>24\n24-3 = <<24-3=21>>21\n#### 21";
        let tokenizer = Tokenizer::train_bpe(&[text.to_string()], 280).unwrap();
        // What separates a solution from the next problem is no part of it.
        for sample in [sample("a", text), sample("a", &format!("{text}\n\n"))] {
            let prefixed = Prefixed::of(&tokenizer, &Prompting::default(), &sample).unwrap().unwrap();
            let texts: Vec<String> = prefixed.ends.iter().map(|&end| prefixed.text(&tokenizer, end)).collect();
            assert_eq!(texts, [" 6*4 = <<6*4=24>>24", " 6*4 = <<6*4=24>>24\n24-3 = <<24-3=21>>21", text]);
            assert_eq!(prefixed.example.tokens.last(), tokenizer.eos_ids().first());
            assert_eq!(prefixed.unfinished().len(), 2);
        }
    }
}
