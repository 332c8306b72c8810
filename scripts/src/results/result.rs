//! The result of one run, in one small file: enough for every table, figure and claim.
//!
//! A run directory holds weights and samples; a result holds the numbers. It can be committed, and carried to another machine, where a
//! study goes on without the run.

use anyhow::{Context, Result, ensure};
use eval::{ByQuestion, Estimate, Metric, MetricKind, OrmReport, Report};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fs, path::Path};

/// What `eval run` wrote of a run, each file where there is one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reports<'a> {
    /// The report on many samples of each test problem.
    pub report: Option<&'a Path>,
    /// Its scores by question.
    pub by_question: Option<&'a Path>,
    /// The report on few samples of more problems.
    pub single: Option<&'a Path>,
    /// Its scores by question.
    pub single_by_question: Option<&'a Path>,
}

/// What one run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// What the run is called in its study: `ppo-dense`.
    pub name: String,
    /// The subcommand of `rl` that made it; empty for a model of others.
    pub command: String,
    /// The size of the model, or where it came from.
    pub model: String,
    /// Seed of the run.
    pub seed: u64,
    /// Many samples of each test problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Report>,
    /// Few samples of more test problems, which maj@1 and pass@1 are read from where it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single: Option<Report>,
    /// What each test problem scores, in their order, in thousandths: what two runs are compared by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_question: BTreeMap<Metric, Vec<u16>>,
    /// The quality of a reward model on held-out questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward_model: Option<OrmReport>,
    /// What the method has cost, beyond what it starts from.
    pub cost: Cost,
    /// Its evaluations on the validation split, in their order. The file has them under `looks`, as results that are kept do.
    #[serde(rename = "looks")]
    pub evaluations: Vec<Evaluation>,
    /// The flags of the run, as its `config.toml` has them; without paths, which differ from machine to machine.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub flags: BTreeMap<String, Value>,
    /// Where and with what it was made.
    pub made: Made,
}

/// What a run has cost by its `metrics.jsonl`. The final evaluation is not part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Solutions sampled, and completions of their beginnings; `None` where a method samples nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<f64>,
    /// CPU time of all threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
}

/// A line of `metrics.jsonl` with an evaluation on the validation split: the metrics by name, and `cpu_seconds` so far.
pub type Evaluation = BTreeMap<String, f64>;

/// Where and with what a run was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The commit of the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
}

/// What is kept of such a line beside `KEPT_KINDS`.
const KEPT: [&str; 8] =
    ["step", "samples", "accuracy", "reward/mean", "kl/k1", "entropy", "value/explained_variance", "loss/value"];
const KEPT_KINDS: [&str; 3] = ["validation/", "diversity/", "round/"];

impl RunResult {
    /// Reads a run directory, where there is one, and what `eval run` wrote of it.
    ///
    /// # Errors
    /// A folder that is no run, a file that is malformed.
    pub fn of(name: &str, (model, seed): (&str, u64), run: Option<&Path>, reports: Reports<'_>) -> Result<Self> {
        let (command, flags) = run.map(command_and_flags).transpose()?.unwrap_or_default();
        let lines = run.map(|run| metrics(&run.join("metrics.jsonl"))).transpose()?.unwrap_or_default();
        let scores = |path: Option<&Path>| {
            path.map_or(Ok(BTreeMap::new()), |path| read(path).map(|ByQuestion { scores, .. }| thousandths(scores)))
        };
        // Where the run lay on this machine is no result.
        let report = |path: Option<&Path>| {
            let report = path.map(read::<Report>).transpose()?;
            anyhow::Ok(report.map(|report| Report { checkpoint: None, ..report }))
        };
        let mut by_question = scores(reports.by_question)?;
        by_question.extend(scores(reports.single_by_question)?.into_iter().filter(|(metric, _)| metric.k == 1));
        let evaluation = run.filter(|_| command == "orm").map(|run| run.join("eval.json"));
        Ok(Self {
            name: name.into(),
            model: model.into(),
            seed,
            by_question,
            test: report(reports.report)?,
            single: report(reports.single)?,
            reward_model: evaluation.as_deref().map(read).transpose()?,
            cost: cost(&lines, ["sft", "pretrain", "orm", "rcrl"].contains(&command.as_str())),
            evaluations: evaluations(&lines),
            flags,
            made: Made { commit: commit(), processor: processor() },
            command,
        })
    }

    /// # Errors
    /// A file that is missing or malformed.
    pub fn read(path: &Path) -> Result<Self> {
        read(path)
    }

    /// How many problems of the validation split each evaluation has.
    pub fn validation_problems(&self) -> Option<f64> {
        self.flags.get("eval_problems").and_then(Value::as_f64)
    }

    /// A metric of the test split, with its interval over problems.
    pub fn estimate(&self, metric: Metric) -> Option<Estimate> {
        let single = self.single.as_ref().filter(|_| metric.k == 1);
        [single, self.test.as_ref()].into_iter().flatten().find_map(|report| report.metrics.get(&metric).copied())
    }

    /// What each test problem scores.
    pub fn scores(&self, metric: Metric) -> Option<Vec<f64>> {
        Some(self.by_question.get(&metric)?.iter().map(|&score| f64::from(score) / 1000.0).collect())
    }

    /// The best of a metric over the evaluations on the validation split, and the last.
    pub fn best_and_last(&self, name: &str) -> Option<[f64; 2]> {
        let seen: Vec<f64> = self.evaluations.iter().filter_map(|evaluation| evaluation.get(name).copied()).collect();
        Some([seen.iter().copied().fold(f64::NEG_INFINITY, f64::max), *seen.last()?])
    }
}

/// Of greedy and of single samples, and of the most samples that there are: what claims are about.
fn thousandths(values: BTreeMap<Metric, Vec<f64>>) -> BTreeMap<Metric, Vec<u16>> {
    let most = values.keys().map(|metric| metric.k).max().unwrap_or(1);
    let is_kept = |metric: &Metric| metric.k == most || metric.k == 1 && metric.kind != MetricKind::Rerank;
    let round = |values: Vec<f64>| values.into_iter().map(|value| (1000.0 * value).round() as u16).collect();
    values.into_iter().filter(|(metric, _)| is_kept(metric)).map(|(metric, values)| (metric, round(values))).collect()
}

/// The subcommand of a run directory, and its flags but for paths.
fn command_and_flags(run: &Path) -> Result<(String, BTreeMap<String, Value>)> {
    let path = run.join("config.toml");
    let text = data::read_text(&path)?;
    let command = text.lines().next().and_then(|line| line.strip_prefix("# rl "));
    let command = command.with_context(|| format!("{} does not begin with its command", path.display()))?.trim().into();
    let mut flags: BTreeMap<String, Value> =
        toml::from_str(&text).with_context(|| format!("{} is malformed", path.display()))?;
    let is_path = |value: &Value| value.as_str().is_some_and(|text| text.contains(['/', '\\']));
    flags.retain(|_, value| !is_path(value));
    Ok((command, flags))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = data::read_text(path)?;
    serde_json::from_str(&text).with_context(|| format!("{} is malformed", path.display()))
}

/// The lines of a `metrics.jsonl`; none where there is no such file.
fn metrics(path: &Path) -> Result<Vec<Map<String, Value>>> {
    let Some(text) = data::read_text_if_there(path)? else { return Ok(Vec::new()) };
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{}, line {} is malformed", path.display(), number + 1))
    };
    text.lines().enumerate().map(parse).collect()
}

/// Supervised runs count under `samples` the examples that they have seen; under `sampled` what they had to sample for these.
fn cost(lines: &[Map<String, Value>], is_supervised: bool) -> Cost {
    let number = |line: &Map<String, Value>, name: &str| line.get(name).and_then(Value::as_f64);
    let name = if is_supervised { "sampled" } else { "samples" };
    let samples = lines.iter().rev().find_map(|line| number(line, name));
    // A run that was begun before this was counted has no sum.
    let seconds: Option<f64> = lines.iter().map(|line| number(line, "time/cpu_s")).sum();
    Cost { samples, cpu_seconds: seconds.filter(|_| !lines.is_empty()) }
}

fn evaluations(lines: &[Map<String, Value>]) -> Vec<Evaluation> {
    let mut cpu_seconds = 0.0;
    let mut evaluations = Vec::new();
    for line in lines {
        cpu_seconds += line.get("time/cpu_s").and_then(Value::as_f64).unwrap_or(0.0);
        if !line.keys().any(|name| name.starts_with("validation/")) {
            continue;
        }
        let is_kept = |name: &str| KEPT.contains(&name) || KEPT_KINDS.iter().any(|kind| name.starts_with(kind));
        let kept = line.iter().filter(|(name, _)| is_kept(name));
        let mut evaluation: Evaluation =
            kept.filter_map(|(name, value)| Some((name.clone(), rounded(value.as_f64()?)))).collect();
        evaluation.insert("cpu_seconds".into(), rounded(cpu_seconds));
        evaluations.push(evaluation);
    }
    evaluations
}

/// To six digits, enough for a curve.
fn rounded(x: f64) -> f64 {
    format!("{x:.5e}").parse().unwrap_or(x)
}

fn commit() -> Option<String> {
    let output =
        std::process::Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=9"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_string()).filter(|commit| output.status.success() && !commit.is_empty())
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.trim_start().strip_prefix(':'));
    Some(name?.trim().to_string())
}

/// Refuses a name that could not be that of a file.
///
/// # Errors
/// Naming it.
pub fn check_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(!name.is_empty() && name.chars().all(is_plain), "{name:?} is no name: letters, digits and - only");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_with(command: &str, metrics: &str) -> tempfile::TempDir {
        let run = tempfile::tempdir().unwrap();
        fs::write(run.path().join("config.toml"), format!("# rl {command}\nseed = 3\ninit = \"/home/x\"\n")).unwrap();
        fs::write(run.path().join("metrics.jsonl"), metrics).unwrap();
        run
    }

    const LINES: &str = "{\"step\":1,\"samples\":8,\"time/cpu_s\":1.5,\"loss\":0.5}\n\
                         {\"step\":2,\"samples\":16,\"time/cpu_s\":2.0,\"validation/maj@1\":0.123456789,\"loss\":0.4}\n";

    #[test]
    fn a_result_has_the_evaluations_of_a_run_and_its_cost() {
        let run = run_with("ppo", LINES);
        let result = RunResult::of("ppo", ("tiny", 3), Some(run.path()), Reports::default()).unwrap();
        assert_eq!((result.command.as_str(), result.model.as_str(), result.seed), ("ppo", "tiny", 3));
        assert_eq!(result.flags, BTreeMap::from([("seed".to_string(), Value::from(3))]), "and no path");
        assert_eq!(result.cost, Cost { samples: Some(16.0), cpu_seconds: Some(3.5) });
        let expected = [("cpu_seconds", 3.5), ("samples", 16.0), ("step", 2.0), ("validation/maj@1", 0.123457)];
        assert_eq!(
            result.evaluations,
            [expected.into_iter().map(|(name, x)| (name.to_string(), x)).collect::<Evaluation>()]
        );
        assert_eq!(result.best_and_last("validation/maj@1"), Some([0.123457, 0.123457]));
        assert_eq!(result.best_and_last("validation/pass@1"), None);
    }

    #[test]
    fn examples_of_supervised_runs_are_no_samples_and_seconds_that_were_not_all_counted_have_no_sum() {
        let run = run_with("sft", LINES);
        let of_sft = RunResult::of("sft", ("tiny", 3), Some(run.path()), Reports::default()).unwrap();
        assert_eq!(of_sft.cost, Cost { samples: None, cpu_seconds: Some(3.5) });
        let run = run_with("rcrl", &LINES.replace("\"samples\":16", "\"samples\":16,\"sampled\":300"));
        assert_eq!(
            RunResult::of("rcrl", ("tiny", 3), Some(run.path()), Reports::default()).unwrap().cost.samples,
            Some(300.0)
        );
        let run = run_with("ppo", &format!("{{\"samples\":4}}\n{LINES}"));
        assert_eq!(
            RunResult::of("ppo", ("tiny", 3), Some(run.path()), Reports::default()).unwrap().cost.cpu_seconds,
            None
        );
    }

    #[test]
    fn a_result_does_not_say_where_the_run_lay() {
        let report = tempfile::NamedTempFile::new().unwrap();
        let text = r#"{"benchmark": "synthetic", "split": "test", "problems": 4, "samples": 2, "temperature": 0.7,
            "checkpoint": "/home/somebody/ppo", "parse_failures": 0.0, "truncated": null, "mean_tokens": null}"#;
        fs::write(report.path(), text).unwrap();
        let result =
            RunResult::of("ppo", ("tiny", 0), None, Reports { report: Some(report.path()), ..Reports::default() })
                .unwrap();
        assert!(!serde_json::to_string(&result).unwrap().contains("somebody"));
        assert_eq!(result.test.unwrap().problems, 4);
    }

    #[test]
    fn scores_by_question_are_read_with_the_names_of_the_questions_and_without() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let named = r#""benchmark": "synthetic", "split": "test", "ids": ["a", "b"], "questions": "00000000", "#;
        for names in ["", named] {
            fs::write(file.path(), format!("{{{names}\"maj@1\": [1.0, 0.0]}}")).unwrap();
            let reports = Reports { by_question: Some(file.path()), ..Reports::default() };
            let result = RunResult::of("ppo", ("tiny", 0), None, reports).unwrap();
            assert_eq!(result.by_question[&Metric { kind: MetricKind::Maj, k: 1 }], [1000, 0]);
        }
    }

    #[test]
    fn single_samples_are_those_of_the_report_on_more_problems_and_many_samples_those_of_the_other() {
        let file = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), text).unwrap();
            file
        };
        let report = |problems: u64, samples: u64, value: f64| {
            let of = serde_json::json!({ "value": value, "ci95": [value, value] });
            let report = serde_json::json!({
                "benchmark": "synthetic", "split": "test", "problems": problems, "samples": samples, "temperature": 0.7, "checkpoint": null,
                "parse_failures": 0.0, "truncated": null, "mean_tokens": null, "maj@1": of, format!("pass@{samples}"): of,
            });
            file(&report.to_string())
        };
        let (many, few) = (report(2, 96, 0.5), report(3, 16, 0.25));
        let of_many = file(r#"{"maj@1": [1, 0], "pass@1": [0.5, 0.25], "rerank@1": [0.5, 0.25], "pass@96": [1, 1]}"#);
        let of_few = file(r#"{"maj@1": [1, 0, 1], "pass@1": [0.5, 0.25, 0.125], "pass@16": [1, 0, 0]}"#);
        let reports = Reports {
            report: Some(many.path()),
            by_question: Some(of_many.path()),
            single: Some(few.path()),
            single_by_question: Some(of_few.path()),
        };
        let [maj, pass, of_96] =
            [(MetricKind::Maj, 1), (MetricKind::Pass, 1), (MetricKind::Pass, 96)].map(|(kind, k)| Metric { kind, k });
        let read = |reports| RunResult::of("ppo", ("tiny", 0), None, reports).unwrap();
        let result = read(reports);
        let expected =
            BTreeMap::from([(maj, vec![1000, 0, 1000]), (pass, vec![500, 250, 125]), (of_96, vec![1000; 2])]);
        assert_eq!(result.by_question, expected);
        assert_eq!([maj, of_96].map(|metric| result.estimate(metric).unwrap().value), [0.25, 0.5]);
        let alone = read(Reports { single: None, single_by_question: None, ..reports });
        assert_eq!((alone.by_question[&pass].as_slice(), alone.estimate(maj).unwrap().value), (&[500, 250][..], 0.5));
    }

    #[test]
    fn what_is_no_run_is_refused_by_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let error =
            |path: &Path| format!("{:#}", RunResult::of("x", ("tiny", 0), Some(path), Reports::default()).unwrap_err());
        assert!(error(folder.path()).contains("config.toml"));
        let run = run_with("ppo", "{\"step\":1}\nnonsense\n");
        assert!(error(run.path()).contains("line 2"), "{}", error(run.path()));
        assert!(check_name("ppo-dense").is_ok() && check_name("../x").is_err() && check_name("").is_err());
    }
}
