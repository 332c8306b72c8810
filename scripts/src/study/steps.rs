//! The commands that a run and its evaluation take, given what is already there. Independent of how they are executed.

use super::{
    declared::{Checkpoint, Keeps, Leaves, Run, StandIn},
    setup::{Folder, Setup},
};
use anyhow::{Context, Result};
use std::{collections::BTreeSet, fmt, path::Path};

/// One command, and what is done around it.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// `rl`, which leaves a run directory.
    Train {
        /// The directory.
        path: String,
        /// What it begins with.
        begins: Begins,
        /// Of `rl`.
        arguments: Vec<String>,
        /// The file that says that the run is finished.
        marker: Option<String>,
    },
    /// `eval`, which leaves a report.
    Evaluate {
        /// The run or model.
        path: String,
        /// Which of its checkpoints.
        checkpoint: Checkpoint,
        /// Of `eval`, but for the checkpoint.
        arguments: Vec<String>,
        /// The folder of the report.
        reports: String,
    },
    /// Keeps the result.
    Collect(Collect),
}

/// What a run directory begins with.
#[derive(Clone, Debug, PartialEq)]
pub enum Begins {
    /// Nothing: what is left of an attempt without a checkpoint is removed.
    Anew,
    /// A copy of another run.
    AsCopyOf(String),
    /// Its own last checkpoint.
    FromCheckpoint,
}

/// What is kept as a result, and from where.
#[derive(Clone, Debug, PartialEq)]
pub struct Collect {
    /// What the size is called.
    pub model: String,
    /// The seed.
    pub seed: u64,
    /// What evaluations have left, each the report and scores by question: of many samples, and of single ones.
    pub reports: Vec<[String; 2]>,
    /// The run directory.
    pub run: Option<String>,
    /// The result.
    pub out: String,
}

/// What is on the disk, and what steps before will have made by then.
#[derive(Debug, Default)]
pub struct Disk {
    made: BTreeSet<String>,
}

impl Disk {
    /// Whether a file or folder is there.
    pub fn has(&self, path: &str) -> bool {
        self.made.contains(path) || Path::new(path).exists()
    }

    fn make(&mut self, path: String) {
        self.made.insert(path);
    }
}

impl Setup {
    /// What trains the model that stands for a pretrained one. It is not resumed: at most a minute is lost.
    ///
    /// # Errors
    /// A name in braces that stands for nothing.
    pub fn stand_in_steps(&self, disk: &Disk) -> Result<Vec<Step>> {
        let stand_ins = &self.profile().stand_in;
        let Some(last) = stand_ins.last().filter(|_| self.has_stand_in) else { return Ok(Vec::new()) };
        let marker = format!("{}/{}/finished", self.out, last.name);
        if disk.has(&marker) {
            return Ok(Vec::new());
        }
        let step = |(place, stand_in): (usize, &StandIn)| {
            let path = format!("{}/{}", self.out, stand_in.name);
            let arguments = [
                vec![stand_in.command.clone()],
                self.expand(&stand_in.flags)?,
                vec!["--out".into(), path.clone()],
                self.flags.clone(),
            ];
            let marker = Some(marker.clone()).filter(|_| place + 1 == stand_ins.len());
            Ok(Step::Train { path, begins: Begins::Anew, arguments: arguments.concat(), marker })
        };
        stand_ins.iter().enumerate().map(step).collect()
    }

    /// What a result takes: what the run needs first, the run, its evaluation.
    ///
    /// # Errors
    /// A name in braces that stands for nothing.
    pub fn steps(&self, folder: &Folder, run: &Run, disk: &mut Disk) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        self.train(folder, run, disk, &mut steps)?;
        let reports = match run.keeps {
            Keeps::Report => self.evaluate(folder, run, disk, &mut steps)?,
            Keeps::Run | Keeps::Nothing => Vec::new(),
        };
        let of = run.costs_of.as_ref().or(run.of.as_ref()).unwrap_or(&run.name);
        let (model, seed, out) = (folder.size.clone(), folder.seed, folder.result(&run.name));
        let is_run = self.study.run(of).leaves == Leaves::Run;
        let directory = Some(folder.run(of)).filter(|path| is_run && disk.has(path));
        disk.make(out.clone());
        steps.push(Step::Collect(Collect { model, seed, reports, run: directory, out }));
        Ok(steps)
    }

    /// A run, after what it needs.
    fn train(&self, folder: &Folder, run: &Run, disk: &mut Disk, steps: &mut Vec<Step>) -> Result<()> {
        for name in run.of.iter().chain(&run.start).chain(&run.needs) {
            self.train(folder, self.study.run(name), disk, steps)?;
        }
        let Some(command) = &run.command else { return Ok(()) };
        if run.replaced_by_init && folder.init.is_some() {
            return Ok(());
        }
        let path = folder.run(&run.name);
        // The copy of a finished run has its marker.
        let marker = format!("{path}/{}", if run.continues.is_some() { "counted" } else { "finished" });
        if disk.has(&marker) {
            return Ok(());
        }
        let own = self.expand_in(folder, &run.flags)?;
        let resume = || vec!["--resume".into(), path.clone()];
        let (begins, flags) = match &run.continues {
            Some(first) => (Begins::AsCopyOf(folder.run(first)), [resume(), own, self.flags.clone()].concat()),
            None if disk.has(&format!("{path}/checkpoints/index.json")) => {
                (Begins::FromCheckpoint, [resume(), self.flags.clone()].concat())
            }
            None => (Begins::Anew, self.fresh_flags(folder, run, command, &path, own)?),
        };
        disk.make(path.clone());
        disk.make(marker.clone());
        let arguments = [vec![command.clone()], flags].concat();
        steps.push(Step::Train { path, begins, arguments, marker: Some(marker) });
        Ok(())
    }

    /// All flags of a run that begins anew. Its own come last, so that they win.
    fn fresh_flags(
        &self,
        folder: &Folder,
        run: &Run,
        command: &str,
        path: &str,
        own: Vec<String>,
    ) -> Result<Vec<String>> {
        let (seed, model) = match (run.leaves, &folder.init) {
            (Leaves::Model, _) => Default::default(),
            (Leaves::Run, Some(_)) => (vec!["--seed".into(), folder.seed.to_string()], Vec::new()),
            (Leaves::Run, None) => {
                (vec!["--seed".into(), folder.seed.to_string()], vec!["--model".into(), folder.size.clone()])
            }
        };
        let of_command = self.study.commands.get(command).map(String::as_str).unwrap_or_default();
        let out = vec!["--out".into(), path.into()];
        let start = |name: &String| {
            let is_base = *name == self.study.reference.base;
            let path = if is_base { folder.base(self.study) } else { folder.run(name) };
            vec!["--init".into(), path]
        };
        let start = run.start.as_ref().map(start).unwrap_or_default();
        let flags =
            [seed, model, self.benchmark_flags.clone(), self.expand(of_command)?, out, self.flags.clone(), start, own];
        Ok(flags.concat())
    }

    /// The evaluations on the test split, after the reward model that they need: with many samples, and where the profile has one, with few
    /// samples of more problems. Of each the report and the scores by question.
    fn evaluate(&self, folder: &Folder, run: &Run, disk: &mut Disk, steps: &mut Vec<Step>) -> Result<Vec<[String; 2]>> {
        let usual = Some(&self.study.reference.reward_model).filter(|_| !run.ablation);
        let reward_model = run.reward_model.as_ref().or(usual);
        if let Some(name) = reward_model {
            self.train(folder, self.study.run(name), disk, steps)?;
        }
        let report = |name: &str, extension: &str| format!("{}/reports/{name}.{extension}", folder.dir);
        let files = |name: &str, extensions: [&str; 2]| extensions.map(|extension| report(name, extension));
        let others_use_samples = self.study.runs.iter().any(|other| other.samples_of.as_ref() == Some(&run.name));
        let samples = match &run.samples_of {
            _ if others_use_samples => {
                let samples = report(&run.name, "jsonl");
                disk.make(samples.clone());
                vec!["--save-samples".into(), samples]
            }
            Some(name) if disk.has(&report(name, "jsonl")) => vec!["--from-samples".into(), report(name, "jsonl")],
            _ => Vec::new(),
        };
        let path = match run.replaced_by_init {
            true => folder.base(self.study),
            false => folder.run(run.of.as_ref().unwrap_or(&run.name)),
        };
        let reward_model = reward_model.map(|name| vec!["--orm".into(), folder.run(name)]).unwrap_or_default();
        let many = [reward_model, samples, self.expand("--samples {report-samples}")?].concat();
        let mut evaluations = vec![(many, files(&run.name, ["json", "by-question.json"]), self.expand("{report}")?)];
        let single = self.expand("{single}")?;
        // Whose samples are evaluated again has a second report already.
        let of_single = |name: &str| files(name, ["single.json", "single.by-question.json"]);
        let known = run.samples_of.as_ref().map(|name| of_single(name)).filter(|files| disk.has(&files[0]));
        if !single.is_empty() && known.is_none() {
            evaluations.push((Vec::new(), of_single(&run.name), single));
        }
        let mut reports = Vec::new();
        for (first, files, own) in evaluations {
            disk.make(files[0].clone());
            let written = ["--out", &files[0], "--by-question", &files[1]].map(Into::into).to_vec();
            let rest = self.expand(&run.report)?;
            let arguments = [first, self.benchmark_flags.clone(), written, own, self.flags.clone(), rest].concat();
            let reports_dir = format!("{}/reports", folder.dir);
            steps.push(Step::Evaluate {
                path: path.clone(),
                checkpoint: run.checkpoint,
                arguments,
                reports: reports_dir,
            });
            reports.push(files);
        }
        reports.extend(known);
        Ok(reports)
    }
}

impl Step {
    /// The program and all its arguments; `None` for what this program does itself.
    ///
    /// # Errors
    /// A run without a last checkpoint.
    pub fn command(&self) -> Result<Option<(&'static str, Vec<String>)>> {
        match self {
            Self::Train { arguments, .. } => Ok(Some(("rl", arguments.clone()))),
            Self::Evaluate { path, checkpoint, arguments, .. } => {
                let path = match checkpoint {
                    Checkpoint::Best => path.clone(),
                    Checkpoint::Last => last_checkpoint(path)?,
                };
                Ok(Some(("eval", [vec!["run".into(), "--checkpoint".into(), path], arguments.clone()].concat())))
            }
            Self::Collect(_) => Ok(None),
        }
    }
}

fn last_checkpoint(path: &str) -> Result<String> {
    let index = format!("{path}/checkpoints/index.json");
    let index = eval::read_index(Path::new(&index)).with_context(|| format!("{path} has no last checkpoint"))?;
    Ok(format!("{path}/checkpoints/{}", index.last))
}

/// As one would type it. The last checkpoint of a run that is not there yet is called LAST.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::Train { arguments, .. } => [vec!["rl".into()], arguments.clone()].concat(),
            Self::Evaluate { path, arguments, .. } => match self.command() {
                Ok(Some((program, arguments))) => [vec![program.into()], arguments].concat(),
                _ => {
                    let last = format!("{path}/checkpoints/LAST");
                    [["eval", "run", "--checkpoint", &last].map(Into::into).to_vec(), arguments.clone()].concat()
                }
            },
            Self::Collect(collect) => collect.words(),
        };
        write!(f, "{}", words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
    }
}

impl Collect {
    /// As the program `collect` does the same.
    fn words(&self) -> Vec<String> {
        let flags = [["--report", "--by-question"], ["--single", "--single-by-question"]];
        let of_report =
            |(flags, files): ([&str; 2], &[String; 2])| [flags[0], &files[0], flags[1], &files[1]].map(String::from);
        let reports = flags.into_iter().zip(&self.reports).flat_map(of_report);
        let run = self.run.iter().flat_map(|run| ["--run", run].map(String::from));
        let seed = self.seed.to_string();
        let rest = ["--model", &self.model, "--seed", &seed, "--out", &self.out].map(String::from);
        ["collect".to_string()].into_iter().chain(reports).chain(run).chain(rest).collect()
    }
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_=+./:,@%".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
