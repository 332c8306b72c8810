//! Pairs of a better and a worse completion of a question: read from a file, or made of samples. Independent of models.

use crate::{cli::effect::FlagEffect, training::order::permutation};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use data::{read_text, text::from_json_object};
use eval::Sample;
use model::{Finish, Key, Purpose};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

/// Two completions of a question, word for word as a policy writes them: in the plain prompt style they begin with a space.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// Id of the problem, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The question.
    pub question: String,
    /// The better completion.
    pub chosen: String,
    /// The worse completion.
    pub rejected: String,
    /// What the calculator wrote of the better completion: ranges of its bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chosen_calculated: Vec<[usize; 2]>,
    /// What the calculator wrote of the worse completion.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected_calculated: Vec<[usize; 2]>,
}

/// Which pairs are made of the samples of a question.
#[derive(Args, Clone, Debug, PartialEq, Serialize)]
#[command(next_help_heading = "Sampling")]
pub struct PairArgs {
    /// Pairs per question, at most [default: all]
    #[arg(long, value_name = "N", value_parser = crate::cli::args::positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs_per_question: Option<usize>,
    /// What makes one completion better than another
    #[arg(long, add = FlagEffect::unless("loss", &["kto"]).in_command("dpo"), value_enum, default_value_t)]
    pub pairs_by: PairsBy,
    /// Least difference of reward or score between the two completions of a pair
    #[arg(long, add = FlagEffect::with("pairs-by", &["reward", "score"]), value_name = "DIFFERENCE", default_value_t = 0.0, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub pairs_gap: f64,
}

/// What makes one completion better than another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PairsBy {
    /// One is correct, the other is not
    #[default]
    Correct,
    /// A higher reward, as samples.jsonl has it
    Reward,
    /// A higher score of the reward model, as `eval run --orm … --save-samples` writes it
    Score,
}

/// Pairs, and why there are not more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MadePairs {
    /// The pairs, question by question.
    pub pairs: Vec<Pair>,
    /// Number of questions with samples.
    pub questions: usize,
    /// Questions whose samples are all equally good.
    pub without_pair: usize,
    /// Samples that were cut off, continue given lines, or repeat another one.
    pub left_out: usize,
}

impl MadePairs {
    /// Refuses to go on without a pair.
    ///
    /// # Errors
    /// If there is none, with what may help.
    pub fn check(&self) -> Result<()> {
        ensure!(
            !self.pairs.is_empty(),
            "no pair can be made of the samples of {} questions: those of each question are equally good, cut off or the same; sample from \
             another policy, at another --temperature, or more of each question",
            self.questions
        );
        Ok(())
    }

    /// How many there are, and why not more.
    pub fn summary(&self) -> String {
        let Self { pairs, questions, without_pair, left_out } = self;
        format!(
            "{} pairs of {} questions; {without_pair} questions have none, {left_out} samples were cut off or the same as others",
            pairs.len(),
            questions - without_pair
        )
    }

    /// Writes the pairs as a file that [`read_pairs`] reads, whole or not at all.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn write(&self, path: &Path) -> Result<()> {
        let lines = self.pairs.iter().map(|pair| serde_json::to_string(pair).map(|line| line + "\n"));
        let text: String = lines.collect::<Result<_, _>>()?;
        eval::write_whole(path, &text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The samples to learn from: without those that were cut off, that continue given lines, that are greedy beside drawn ones, or that repeat
/// another sample of their question.
pub fn distinct(samples: &[Sample]) -> Vec<&Sample> {
    let mut seen = HashSet::new();
    let is_whole = |sample: &Sample| sample.finish == Finish::Stop && sample.given == 0 && !sample.greedy;
    let whole = samples.iter().filter(|sample| is_whole(sample) && !sample.completion.trim().is_empty());
    whole.filter(|sample| seen.insert((&sample.id, sample.completion.trim()))).collect()
}

/// The pairs of samples. Every sample of a question is used as often as the others of its side, but for one: with `n` better and `m` worse
/// ones, pairs go through both in turn, so that a limit takes from all of them. The seed decides the order.
///
/// Left out are samples that are not [`distinct`].
///
/// # Errors
/// Samples without the reward or score that is asked for.
pub fn make_pairs(samples: &[Sample], args: &PairArgs, seed: u64) -> Result<MadePairs> {
    let (mut order, mut of_question): (Vec<&str>, HashMap<&str, Vec<&Sample>>) = Default::default();
    for sample in samples {
        of_question.entry(&sample.id).or_insert_with(|| {
            order.push(&sample.id);
            Vec::new()
        });
    }
    let distinct = distinct(samples);
    let mut made = MadePairs { left_out: samples.len() - distinct.len(), ..MadePairs::default() };
    for sample in distinct {
        of_question.entry(&sample.id).or_default().push(sample);
    }
    made.questions = order.len();
    for (place, id) in order.into_iter().enumerate() {
        let group = &of_question[id];
        let shuffled = permutation(group.len(), Key::new(seed, Purpose::Mixture).with(place as u64));
        let group: Vec<&Sample> = shuffled.into_iter().map(|at| group[at]).collect();
        let pairs = match args.pairs_by {
            PairsBy::Correct => {
                let (better, worse): (Vec<&Sample>, Vec<&Sample>) = group.iter().partition(|sample| sample.correct);
                in_turn(&better, &worse)
            }
            PairsBy::Reward => ranked(&group, args.pairs_gap, |sample| sample.reward, "reward")?,
            PairsBy::Score => ranked(&group, args.pairs_gap, |sample| sample.score, "score")?,
        };
        made.without_pair += usize::from(pairs.is_empty());
        let most = args.pairs_per_question.unwrap_or(usize::MAX);
        made.pairs.extend(pairs.into_iter().take(most).map(|(chosen, rejected)| Pair {
            id: Some(chosen.id.clone()),
            question: chosen.question.clone(),
            chosen: chosen.completion.clone(),
            rejected: rejected.completion.clone(),
            chosen_calculated: chosen.calculated.clone(),
            rejected_calculated: rejected.calculated.clone(),
        }));
    }
    Ok(made)
}

/// All pairs of one of `better` with one of `worse`, such that any first part of them uses each side evenly.
fn in_turn<'a>(better: &[&'a Sample], worse: &[&'a Sample]) -> Vec<(&'a Sample, &'a Sample)> {
    let (n, m) = (better.len(), worse.len());
    if n == 0 || m == 0 {
        return Vec::new();
    }
    // Both sides meet again after their least common multiple; from then on one side is a step ahead.
    let cycle = n / greatest_common_divisor(n, m) * m;
    (0..n * m).map(|at| (better[at % n], worse[(at + at / cycle) % m])).collect()
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Pairs of samples that differ by more than `gap`, the largest differences first.
fn ranked<'a>(
    group: &[&'a Sample],
    gap: f64,
    value: impl Fn(&Sample) -> Option<f64>,
    what: &str,
) -> Result<Vec<(&'a Sample, &'a Sample)>> {
    let valued = group.iter().map(|&sample| {
        let value = value(sample);
        Ok((value.with_context(|| format!("a sample of {} has no {what}", sample.id))?, sample))
    });
    let valued = valued.collect::<Result<Vec<(f64, &Sample)>>>()?;
    let mut pairs: Vec<(f64, &Sample, &Sample)> = Vec::new();
    for (better, chosen) in &valued {
        let worse = valued.iter().filter(|(worse, _)| better > worse && better - worse >= gap);
        pairs.extend(worse.map(|(worse, rejected)| (better - worse, *chosen, *rejected)));
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(pairs.into_iter().map(|(_, chosen, rejected)| (chosen, rejected)).collect())
}

/// A line of a file of pairs, in the forms that people have.
#[derive(Deserialize)]
struct Line {
    #[serde(alias = "problem")]
    id: Option<String>,
    #[serde(alias = "prompt")]
    question: Option<Value>,
    chosen: Value,
    rejected: Value,
    #[serde(default)]
    chosen_calculated: Vec<[usize; 2]>,
    #[serde(default)]
    rejected_calculated: Vec<[usize; 2]>,
}

/// Reads pairs: `{"question" or "prompt", "chosen", "rejected"}`, each a text, or a list of messages with `role` and `content`. Of a
/// conversation the question is the user's message and a completion the assistant's.
///
/// # Errors
/// A missing file; a line that is no pair, by its number: another form, several turns, a completion that is empty or equal to the other.
pub fn read_pairs(path: &Path) -> Result<Vec<Pair>> {
    let text = read_text(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let pairs = lines
        .map(|(index, line)| pair(line).with_context(|| format!("{}, line {}: not a pair", path.display(), index + 1)));
    let pairs = pairs.collect::<Result<Vec<_>>>()?;
    ensure!(!pairs.is_empty(), "{} holds no pair", path.display());
    Ok(pairs)
}

fn pair(line: &str) -> Result<Pair> {
    let Line { id, question, chosen, rejected, chosen_calculated, rejected_calculated } = from_json_object(line)?;
    let question = match &question {
        Some(question) => said(question, "user").context("question")?,
        None if chosen.is_array() => said(&chosen, "user").context("there is no question, and chosen")?,
        None => bail!("there is no question"),
    };
    let [chosen, rejected] = [("chosen", &chosen), ("rejected", &rejected)].map(|(name, value)| {
        let completion = said(value, "assistant").context(name)?;
        ensure!(!completion.trim().is_empty(), "{name} is empty");
        Ok(completion)
    });
    let (chosen, rejected) = (chosen?, rejected?);
    ensure!(chosen.trim() != rejected.trim(), "chosen and rejected are the same");
    Ok(Pair { id, question, chosen, rejected, chosen_calculated, rejected_calculated })
}

/// A text, or what a role says in a list of messages, once.
fn said(value: &Value, role: &str) -> Result<String> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    let messages = value.as_array().context("is neither a text nor a list of messages")?;
    let has_role = |message: &&Value| message["role"] == role;
    let found: Vec<&Value> = messages.iter().filter(has_role).collect();
    match found.as_slice() {
        [message] => Ok(message["content"].as_str().context("has a message without a text as content")?.to_owned()),
        [] => bail!("has no message of the role {role}"),
        _ => bail!("has several messages of the role {role}: conversations of one turn are read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::AnswerKind;
    use std::collections::BTreeMap;

    fn sample(id: &str, completion: &str, correct: bool, reward: f64) -> Sample {
        Sample {
            step: Some(1),
            id: id.into(),
            question: format!("{id}?"),
            completion: completion.into(),
            answer: None,
            kind: AnswerKind::Number,
            expected: "1".into(),
            reward: Some(reward),
            correct,
            finish: Finish::Stop,
            tokens: 3,
            greedy: false,
            given: 0,
            score: None,
            calculated: Vec::new(),
        }
    }

    fn args(most: Option<usize>, by: PairsBy, gap: f64) -> PairArgs {
        PairArgs { pairs_per_question: most, pairs_by: by, pairs_gap: gap }
    }

    fn made(samples: &[Sample], args: &PairArgs) -> Vec<(String, String)> {
        let pairs = make_pairs(samples, args, 1).unwrap().pairs;
        pairs.into_iter().map(|pair| (pair.chosen, pair.rejected)).collect()
    }

    #[test]
    fn right_and_wrong_samples_are_paired_evenly_and_no_pair_is_made_twice() {
        let right = (0..3).map(|at| sample("q", &format!("right {at}"), true, 1.0));
        let samples: Vec<Sample> =
            right.chain((0..6).map(|at| sample("q", &format!("wrong {at}"), false, 0.0))).collect();
        let all = made(&samples, &args(None, PairsBy::Correct, 0.0));
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 18);
        assert!(all.iter().all(|(chosen, rejected)| chosen.starts_with("right") && rejected.starts_with("wrong")));
        let some = made(&samples, &args(Some(6), PairsBy::Correct, 0.0));
        assert_eq!(some, all[..6]);
        let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
        some.iter()
            .flat_map(|(chosen, rejected)| [chosen, rejected])
            .for_each(|text| *uses.entry(text).or_default() += 1);
        assert!(uses.iter().all(|(text, count)| *count == if text.starts_with("right") { 2 } else { 1 }), "{uses:?}");
        assert_ne!(make_pairs(&samples, &args(Some(6), PairsBy::Correct, 0.0), 2).unwrap().pairs[0].rejected, "");
    }

    #[test]
    fn repeated_cut_off_and_continued_samples_are_left_out_and_counted() {
        let mut samples =
            vec![sample("a", "good", true, 1.0), sample("a", "good ", true, 1.0), sample("a", "bad", false, 0.0)];
        samples.push(Sample { finish: Finish::Length, ..sample("a", "cut", false, 0.0) });
        samples[0].calculated = vec![[1, 2]];
        samples.push(Sample { given: 2, ..sample("a", "continued", false, 0.0) });
        samples.extend([sample("b", "fine", true, 1.0), sample("b", "fine too", true, 1.0)]);
        let made = make_pairs(&samples, &args(None, PairsBy::Correct, 0.0), 1).unwrap();
        assert_eq!(made.pairs.len(), 1);
        assert_eq!((made.questions, made.without_pair, made.left_out), (2, 1, 3));
        let Pair { id, question, chosen_calculated, rejected_calculated, .. } = &made.pairs[0];
        assert_eq!((id.as_deref(), question.as_str()), (Some("a"), "a?"));
        assert_eq!((chosen_calculated.as_slice(), rejected_calculated.len()), (&[[1, 2]][..], 0));
    }

    #[test]
    fn samples_with_a_reward_are_paired_by_it_the_largest_differences_first() {
        let samples =
            [("low", 0.0), ("middle", 0.5), ("high", 1.0)].map(|(text, reward)| sample("q", text, false, reward));
        let pairs = |gap| made(&samples, &args(None, PairsBy::Reward, gap));
        assert_eq!(pairs(0.0)[0], ("high".into(), "low".into()));
        assert_eq!((pairs(0.0).len(), pairs(0.6).len()), (3, 1));
        let equal = [sample("q", "one", true, 0.5), sample("q", "other", false, 0.5)];
        assert!(made(&equal, &args(None, PairsBy::Reward, 0.0)).is_empty());
        let error = make_pairs(&samples, &args(None, PairsBy::Score, 0.0), 1).unwrap_err();
        assert_eq!(error.to_string(), "a sample of q has no score");
    }

    #[test]
    fn pairs_are_read_in_the_usual_forms_and_what_is_none_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pairs.jsonl");
        let read = |lines: &str| {
            std::fs::write(&file, lines).unwrap();
            read_pairs(&file)
        };
        let expected = Pair {
            id: None,
            question: "1+1?".into(),
            chosen: "2".into(),
            rejected: "3".into(),
            chosen_calculated: Vec::new(),
            rejected_calculated: Vec::new(),
        };
        let user = r#"{"role": "user", "content": "1+1?"}"#;
        let says = |text: &str| format!(r#"{{"role": "assistant", "content": "{text}"}}"#);
        for line in [
            r#"{"question": "1+1?", "chosen": "2", "rejected": "3"}"#.to_owned(),
            r#"{"prompt": "1+1?", "chosen": "2", "rejected": "3", "more": 1}"#.to_owned(),
            format!(r#"{{"prompt": [{user}], "chosen": [{}], "rejected": [{}]}}"#, says("2"), says("3")),
            format!(r#"{{"chosen": [{user}, {}], "rejected": [{user}, {}]}}"#, says("2"), says("3")),
        ] {
            assert_eq!(read(&format!("{line}\n\n")).unwrap(), std::slice::from_ref(&expected), "{line}");
        }
        let error = |lines: &str| format!("{:#}", read(lines).unwrap_err());
        let good = r#"{"question": "a", "chosen": "2", "rejected": "3"}"#;
        for (line, reason) in [
            (r#"{"question": "a", "chosen": "2"}"#, "the field \"rejected\" is missing"),
            (r#"{"question": "a", "chosen": "2", "rejected": " 2 "}"#, "chosen and rejected are the same"),
            (r#"{"question": "a", "chosen": "2", "rejected": ""}"#, "rejected is empty"),
            (r#"{"question": "a", "chosen": 2, "rejected": "3"}"#, "chosen: is neither a text nor a list of messages"),
            (r#"{"chosen": "2", "rejected": "3"}"#, "there is no question"),
            ("nonsense", "line 2: not a pair"),
        ] {
            let error = error(&format!("{good}\n{line}"));
            assert!(error.contains("pairs.jsonl, line 2: not a pair") && error.contains(reason), "{line}: {error}");
        }
        assert!(error("").contains("holds no pair"));
    }
}
