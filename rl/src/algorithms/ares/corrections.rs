//! Corrected samples: bad lines are cut, and the reference, or a program, goes on. Independent of training.

use super::config::{AresConfig, Teacher};
use anyhow::{Context, Result, bail, ensure};
use data::{Example, LineKind, Problem, Prompting, checked_lines, corrected, encode_written, non_blank_lines};
use eval::{
    Policy, RewardModel, Sample,
    external::{Item, Reward, RewardClient, line_ends},
};
use model::Finish;
use serde::Deserialize;
use std::{
    collections::{HashMap, HashSet},
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    thread,
};

/// How many samples have what correction takes away.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Faults {
    /// Share of samples that say a line twice.
    pub(super) repeated: f64,
    /// Share of samples that were cut at the most tokens.
    pub(super) truncated: f64,
}

/// What scores lines.
pub(super) struct LineTeacher<'a> {
    pub(super) config: &'a AresConfig,
    pub(super) reward_model: Option<&'a RewardModel>,
    pub(super) client: Option<&'a RewardClient>,
}

impl Faults {
    /// Of samples; zeros of none.
    pub(super) fn of(samples: &[Sample]) -> Self {
        let share = |has: &dyn Fn(&Sample) -> bool| {
            samples.iter().filter(|sample| has(sample)).count() as f64 / samples.len().max(1) as f64
        };
        Self {
            repeated: share(&|sample| has_repeated_line(&sample.completion)),
            truncated: share(&|sample| sample.finish == Finish::Length),
        }
    }
}

impl LineTeacher<'_> {
    /// The problems of the samples with corrected solutions, each solution of a problem once, in the order of the samples; samples of other
    /// problems are left out.
    ///
    /// # Errors
    /// A teacher that fails, or gives no number for each line; a corrector that fails.
    pub(super) fn corrections(
        &self,
        policy: &Policy,
        problems: &[Problem],
        samples: &[Sample],
    ) -> Result<Vec<Problem>> {
        let by_id: HashMap<&str, &Problem> = problems.iter().map(|problem| (problem.id.as_str(), problem)).collect();
        let pairs: Vec<(&Problem, &Sample)> =
            samples.iter().filter_map(|sample| Some((*by_id.get(sample.id.as_str())?, sample))).collect();
        let solutions: Vec<Option<String>> = match &self.config.corrector_command {
            Some(command) => by_command(command, &pairs)?,
            None => {
                let kinds = self.kinds(policy, &pairs)?;
                let of_pair = |((problem, sample), kinds): (&(&Problem, &Sample), Vec<LineKind>)| {
                    Some(corrected(problem, &sample.completion, &kinds))
                };
                pairs.iter().zip(kinds).map(of_pair).collect()
            }
        };
        let mut seen = HashSet::new();
        let corrected = pairs.iter().zip(solutions).filter_map(|((problem, _), solution)| {
            let solution = solution?;
            let is_new = seen.insert((problem.id.clone(), solution.clone()));
            is_new.then(|| Problem { solution, ..(*problem).clone() })
        });
        Ok(corrected.collect())
    }

    /// What the teacher says of each line that is not blank.
    fn kinds(&self, policy: &Policy, pairs: &[(&Problem, &Sample)]) -> Result<Vec<Vec<LineKind>>> {
        let scores = match self.config.teacher {
            Teacher::Checker => {
                let of_pair = |(problem, sample): &(&Problem, &Sample)| {
                    checked_lines(problem, &sample.completion, sample.correct)
                        .into_iter()
                        .map(|line| line.kind)
                        .collect()
                };
                return Ok(pairs.iter().map(of_pair).collect());
            }
            Teacher::Orm => self.scores_of_model(policy, pairs)?,
            Teacher::External => self.scores_from_outside(pairs)?,
        };
        let below = self.config.correct_below;
        Ok(pairs
            .iter()
            .zip(scores)
            .map(|((_, sample), scores)| kinds_of_scores(&sample.completion, &scores, below))
            .collect())
    }

    /// The reward model's probability after each line.
    fn scores_of_model(&self, policy: &Policy, pairs: &[(&Problem, &Sample)]) -> Result<Vec<Vec<f32>>> {
        let model = self.reward_model.context("--teacher orm has no reward model")?;
        let (tokenizer, prompting) = (&policy.tokenizer, Prompting::bare(self.config.data.prompt_format()));
        let context = model.model.language_model.config.max_position_embeddings;
        let mut rows = Vec::with_capacity(pairs.len());
        for (problem, sample) in pairs {
            let ended = sample.finish == Finish::Stop;
            let mut row = encode_written(tokenizer, &prompting, &problem.question, &sample.completion, ended)?;
            row.tokens.truncate(context);
            rows.push(row);
        }
        let compute = &self.config.run.compute;
        let scores = model.scores(&rows, compute.rollout_batch, compute.threads(&policy.model.device()));
        let of_row = |((row, of_tokens), (_, sample)): ((&Example, Vec<f32>), &(&Problem, &Sample))| {
            let place = |end: usize| tokenizer.token_reaching(&row.tokens[row.prompt_len..], end);
            let of_line = |end: usize| of_tokens.get(place(end)).or(of_tokens.last()).copied().unwrap_or(0.0);
            line_ends(&sample.completion).into_iter().map(of_line).collect()
        };
        Ok(rows.iter().zip(scores).zip(pairs).map(of_row).collect())
    }

    /// The numbers of the external reward.
    fn scores_from_outside(&self, pairs: &[(&Problem, &Sample)]) -> Result<Vec<Vec<f32>>> {
        let client = self.client.context("--teacher external has no --reward-command or --reward-url")?;
        let rewards = client.rewards(pairs.iter().map(item))?;
        let of_reward = |(reward, (problem, _)): (Reward, &(&Problem, &Sample))| match reward {
            Reward::Lines(values) => Ok(values.into_iter().map(|value| value as f32).collect()),
            _ => bail!("--teacher external needs a number for each line, and has none for a sample of {}", problem.id),
        };
        rewards.into_iter().zip(pairs).map(of_reward).collect()
    }
}

fn item((problem, sample): &(&Problem, &Sample)) -> Item {
    Item::new(problem, &sample.completion, 0, Some(sample.tokens), sample.finish)
}

fn has_repeated_line(completion: &str) -> bool {
    let mut said = HashSet::new();
    non_blank_lines(completion).any(|(_, line)| !said.insert(line.trim()))
}

/// Lines that say what an earlier one said are repeated, others are wrong with a score below the bound.
fn kinds_of_scores(completion: &str, scores: &[f32], below: f32) -> Vec<LineKind> {
    let mut said = HashSet::new();
    let kind = |((_, line), &score): ((usize, &str), &f32)| match () {
        () if !said.insert(line.trim().to_string()) => LineKind::Repeated,
        () if score < below => LineKind::Wrong,
        () => LineKind::Right,
    };
    non_blank_lines(completion).zip(scores).map(kind).collect()
}

/// What a program makes of the samples, one line of its output for each line of its input.
fn by_command(command: &str, pairs: &[(&Problem, &Sample)]) -> Result<Vec<Option<String>>> {
    #[derive(Deserialize)]
    struct Corrected {
        solution: String,
    }
    let said = || format!("--corrector-command {command}");
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = shell.spawn().with_context(said)?;
    let mut input = process.stdin.take().expect("stdin is piped");
    let output = BufReader::new(process.stdout.take().expect("stdout is piped"));
    let lines = thread::scope(|scope| {
        // Written beside the reading: a program that answers line by line would fill the pipe otherwise.
        let writer = scope.spawn(move || {
            pairs.iter().try_for_each(|pair| {
                writeln!(input, "{}", serde_json::to_string(&item(pair)).expect("texts and numbers are JSON"))
            })
        });
        let lines: std::io::Result<Vec<String>> = output.lines().collect();
        // A program that ends early closes the pipe; that its lines are too few is said below.
        let _ = writer.join();
        lines
    })
    .with_context(said)?;
    let status = process.wait().with_context(said)?;
    ensure!(status.success(), "{} ended with {status}", said());
    ensure!(lines.len() == pairs.len(), "{} gave {} lines for {} samples", said(), lines.len(), pairs.len());
    let parsed = |(place, line): (usize, &String)| -> Result<Option<String>> {
        let of_line: Option<Corrected> = serde_json::from_str(line)
            .with_context(|| format!("{}: line {} is not {{\"solution\": …}} or null", said(), place + 1))?;
        Ok(of_line.map(|corrected| corrected.solution))
    };
    lines.iter().enumerate().map(parsed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use LineKind::{Repeated, Right, Wrong};
    use data::{Answer, AnswerKind};

    const SOLUTION: &str = "6*4 = <<6*4=24>>24\n24-3 = <<24-3=21>>21\n#### 21";

    fn problem() -> Problem {
        let (id, question) = ("test/0".into(), "Ann has 6 bags of 4 nuts and eats 3. How many are left?".into());
        Problem { id, question, solution: SOLUTION.into(), answer: Answer::from_integer(21), worked: None }
    }

    fn sample(completion: &str, finish: Finish) -> Sample {
        Sample {
            step: None,
            id: "test/0".into(),
            question: problem().question,
            completion: completion.into(),
            answer: None,
            kind: AnswerKind::Number,
            expected: "21".into(),
            reward: None,
            correct: false,
            finish,
            tokens: 1,
            greedy: false,
            given: 0,
            calculated: Vec::new(),
            score: None,
        }
    }

    #[test]
    fn lines_are_wrong_below_the_bound_and_repeated_where_an_earlier_one_says_the_same() {
        let kinds = kinds_of_scores("a\n\n b\na\nc", &[0.5, 0.4, 0.9, 0.6], 0.5);
        assert_eq!(kinds, [Right, Wrong, Repeated, Right]);
    }

    #[test]
    fn repeated_and_truncated_samples_are_counted() {
        let samples = [
            sample("a\nb\na", Finish::Stop),
            sample("a\nb", Finish::Length),
            sample("c\n c", Finish::Length),
            sample("", Finish::Stop),
        ];
        assert_eq!(Faults::of(&samples), Faults { repeated: 0.5, truncated: 0.5 });
        assert_eq!(Faults::of(&[]), Faults::default());
    }

    #[test]
    fn a_program_corrects_line_by_line_and_may_leave_a_sample_out() {
        let (problem, samples) = (problem(), [sample("a", Finish::Stop), sample("b", Finish::Stop)]);
        let pairs: Vec<(&Problem, &Sample)> = samples.iter().map(|sample| (&problem, sample)).collect();
        let by = |command: &str| by_command(command, &pairs);
        let answers = r#"while read -r line; do case "$line" in *'"completion":"a"'*) echo '{"solution":"c"}';; *) echo null;; esac; done"#;
        assert_eq!(by(answers).unwrap(), [Some("c".into()), None]);
        for (command, said) in [
            ("cat > /dev/null; echo null", "gave 1 lines for 2 samples"),
            ("exit 3", "ended with exit status: 3"),
            ("cat > /dev/null; echo null; echo 5", "line 2 is not"),
        ] {
            let error = format!("{:#}", by(command).unwrap_err());
            assert!(error.contains(said), "{command}: {error}");
        }
    }
}
