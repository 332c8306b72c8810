//! Doing the study: every run that has no result yet, one after the other, then the exhibits and the page. What is finished is skipped
//! and interrupted runs resume from their last checkpoint, so that it can be stopped at any time.

use crate::{
    exhibits,
    results::{self, Reports},
    study::{Begins, Collect, Disk, Expected, Folder, Run, Setup, Step, Times, append_time},
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The first signal lets the present command end: the terminal sends it to that too, and it writes its checkpoint.
fn stop_on_interrupt() -> Result<()> {
    let stop = || {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\nstopping when the present command has stopped; Ctrl-C again stops at once");
    };
    ctrlc::set_handler(stop).context("cannot listen for Ctrl-C")
}

impl Setup {
    /// Does what is left, and makes the exhibits and the page.
    ///
    /// # Errors
    /// A command that fails, what the file system says, exhibits of runs that are missing.
    pub fn run(&self) -> Result<()> {
        stop_on_interrupt()?;
        self.run_all()
    }

    fn run_all(&self) -> Result<()> {
        make_folder(&self.out)?;
        for step in self.stand_in_steps(&Disk::default())? {
            self.execute(&step)?;
        }
        let left = self.left();
        say(&format!("{} runs to do in {}", left.len(), self.out))?;
        for (number, &(folder, run)) in left.iter().enumerate() {
            // Another process may have made it meanwhile.
            if Path::new(&folder.result(&run.name)).is_file() {
                continue;
            }
            let expected = self.expected(&left[number..]);
            let Folder { size, seed, .. } = folder;
            say(&format!("== {size}, seed {seed}: {} ({} of {}, {expected})", run.name, number + 1, left.len()))?;
            self.run_one(folder, run)?;
        }
        self.make_exhibits()
    }

    /// What `run` would do, command by command.
    ///
    /// # Errors
    /// What cannot be printed, a name in braces that stands for nothing.
    pub fn print_plan(&self) -> Result<()> {
        let mut disk = Disk::default();
        for step in self.stand_in_steps(&disk)? {
            say(&step.to_string())?;
        }
        for (folder, run) in self.left() {
            for step in self.steps(folder, run, &mut disk)? {
                say(&step.to_string())?;
            }
        }
        for exhibit in self.exhibits() {
            say(&format!("{} {} --out {}", exhibit.name, self.out, self.tables()))?;
        }
        match self.also() {
            Some(also) => self.with_benchmark_of(also)?.print_plan(),
            None => Ok(()),
        }
    }

    /// What has no result yet, and how long it takes.
    ///
    /// # Errors
    /// What cannot be printed.
    pub fn print_left(&self) -> Result<()> {
        let left = self.left();
        for item in &left {
            let (folder, run) = item;
            let Expected { seconds, unknown } = self.expected(&[*item]);
            let minutes = if unknown > 0 { "?".into() } else { format!("{:.0}", seconds / 60.0) };
            let started = if Path::new(&folder.run(&run.name)).is_dir() { ", begun" } else { "" };
            say(&format!("{minutes:>5} min  {}, seed {}: {}{started}", folder.size, folder.seed, run.name))?;
        }
        say(&format!("{} of {} runs to do in {}: {}", left.len(), self.items().len(), self.out, self.expected(&left)))
    }

    fn left(&self) -> Vec<(&Folder, &'static Run)> {
        let is_left = |(folder, run): &(&Folder, &Run)| !Path::new(&folder.result(&run.name)).is_file();
        self.items().into_iter().filter(is_left).collect()
    }

    /// By what the same runs have taken here, or else in the results that are kept.
    fn expected(&self, runs: &[(&Folder, &Run)]) -> Expected {
        let kept = format!("{}/docs/results/{}-{}/times.tsv", self.repository, self.profile, self.benchmark);
        let mut times = Times::default();
        times.read(Path::new(&kept));
        times.read(&self.times());
        times.expected(runs.iter().map(|(folder, run)| (folder.size.as_str(), run.name.as_str())))
    }

    fn times(&self) -> PathBuf {
        Path::new(&self.out).join("times.tsv")
    }

    fn tables(&self) -> String {
        format!("{}/tables", self.out)
    }

    fn run_one(&self, folder: &Folder, run: &Run) -> Result<()> {
        let started = Instant::now();
        let is_fresh = !Path::new(&folder.run(&run.name)).is_dir();
        for step in self.steps(folder, run, &mut Disk::default())? {
            self.execute(&step)?;
        }
        // A resumed run took longer than this part of it.
        if is_fresh {
            append_time(&self.times(), &folder.size, &run.name, started.elapsed().as_secs())?;
        }
        Ok(())
    }

    fn execute(&self, step: &Step) -> Result<()> {
        match step {
            Step::Train { path, begins: Begins::Anew, .. } => remove_folder(path)?,
            Step::Train { path, begins: Begins::AsCopyOf(first), .. } => {
                remove_folder(path)?;
                copy_folder(Path::new(first), Path::new(path))
                    .with_context(|| format!("cannot copy {first} to {path}"))?;
            }
            Step::Train { begins: Begins::FromCheckpoint, .. } => {}
            Step::Evaluate { reports, .. } => make_folder(reports)?,
            Step::Collect(collect) => return keep(collect),
        }
        if let Some((program, arguments)) = step.command()? {
            self.call(program, &arguments)?;
        }
        match step {
            Step::Train { marker: Some(marker), .. } => {
                fs::write(marker, "").with_context(|| format!("cannot write {marker}"))
            }
            _ => Ok(()),
        }
    }

    fn call(&self, program: &str, arguments: &[String]) -> Result<()> {
        let path = self.programs.join(program);
        let status = Command::new(&path).args(arguments).status();
        let status = status.with_context(|| format!("cannot run {}", path.display()))?;
        ensure!(!INTERRUPTED.load(Ordering::SeqCst), "interrupted; run the same command again to continue");
        let command = arguments.first().map(String::as_str).unwrap_or_default();
        ensure!(status.success(), "{program} {command} has failed ({status}); run the same command again to continue");
        Ok(())
    }

    fn make_exhibits(&self) -> Result<()> {
        let tables = self.tables();
        let mut exhibits = self.exhibits().peekable();
        if exhibits.peek().is_some() {
            let sizes = results::read_results(&[PathBuf::from(&self.out)])?;
            for exhibit in exhibits {
                exhibits::render(self.study, exhibit, &sizes)?.write(&exhibit.name, Path::new(&tables))?;
            }
        }
        if let Some(also) = self.also() {
            let other = self.with_benchmark_of(also)?;
            other.run_all()?;
            make_folder(&tables)?;
            for extension in ["md", "csv"] {
                let name = format!("{}.{extension}", also.exhibit);
                let from = format!("{}/{name}", other.tables());
                fs::copy(&from, format!("{tables}/{name}")).with_context(|| format!("cannot copy {from}"))?;
            }
        }
        if Path::new(&tables).is_dir() {
            say(&format!("tables, figures and claims are in {tables}"))?;
        }
        // There is no result here where an exhibit of another benchmark is all that is requested.
        if self.folders.iter().any(|folder| Path::new(&folder.dir).join("results").is_dir()) {
            let page = exhibits::page::write(self.study, Path::new(&self.out))?;
            say(&format!("all that was made is on one page: {}", page.display()))?;
        }
        Ok(())
    }
}

fn keep(collect: &Collect) -> Result<()> {
    let path = |report: usize, file: usize| collect.reports.get(report).map(|files| Path::new(&files[file]));
    let reports =
        Reports { report: path(0, 0), by_question: path(0, 1), single: path(1, 0), single_by_question: path(1, 1) };
    let run = collect.run.as_deref().map(Path::new);
    results::collect((&collect.model, collect.seed), run, reports, Path::new(&collect.out))
}

fn make_folder(path: &str) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {path}"))
}

fn remove_folder(path: &str) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {path}"))
        }
        _ => Ok(()),
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &target)?,
            false => fs::copy(entry.path(), target).map(drop)?,
        }
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("cannot print")
}
