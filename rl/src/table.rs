//! The table at the end of a run: the policy it started from and its best checkpoint, on the same test problems.

use crate::{
    args::{DataArgs, EvalArgs, RunArgs},
    progress::{Progress, print_line},
    run::{BEFORE, Run, last_folder},
};
use anyhow::{Context, Result};
use burn::tensor::Device;
use data::{Prompting, Split};
use eval::{About, Policy, Report, evaluate};

/// What both rows of the table have in common.
pub struct FinalTable<'a> {
    /// Which problems.
    pub data: &'a DataArgs,
    /// How many of them, and how often each.
    pub eval: &'a EvalArgs,
    /// Seed, batches, verbosity.
    pub run_args: &'a RunArgs,
    /// Where to compute.
    pub device: &'a Device,
}

impl FinalTable<'_> {
    /// Evaluates the starting policy, or reads what an earlier part of the run found with the same configuration; nothing where no
    /// table is asked for. It is no part of what the run costs.
    ///
    /// # Errors
    /// What `initial` says, missing data, a full disk.
    pub fn before(
        &self,
        run: &mut Run,
        initial: impl FnOnce() -> Result<Policy>,
        prompting: &Prompting,
    ) -> Result<Option<Report>> {
        if self.eval.test_problems == 0 {
            return Ok(None);
        }
        let path = run.dir().join(BEFORE);
        if let Some(text) = data::read_text_if_there(&path)? {
            let report = serde_json::from_str(&text).with_context(|| format!("{} is malformed", path.display()))?;
            return Ok(Some(report));
        }
        let report = run.uncounted(|| self.test(&initial()?, "before", prompting))?;
        eval::write_whole(&path, &serde_json::to_vec_pretty(&report)?)?;
        Ok(Some(report))
    }

    /// Evaluates the best checkpoint, writes `eval.json` and prints the table, where there is a row before.
    ///
    /// # Errors
    /// Missing data, a full disk.
    pub fn after(&self, run: &Run, before: Option<&Report>, prompting: &Prompting) -> Result<()> {
        self.after_each(run, before, &[("after", prompting)])
    }

    /// As [`FinalTable::after`], with the best checkpoint asked in several ways, each with its name.
    ///
    /// # Errors
    /// Missing data, a full disk.
    pub fn after_each(&self, run: &Run, before: Option<&Report>, ways: &[(&str, &Prompting)]) -> Result<()> {
        let Some(before) = before else { return Ok(()) };
        let best = Policy::load(run.dir(), self.device)?;
        let tested = ways.iter().map(|&(name, prompting)| Ok((name, self.test(&best, name, prompting)?)));
        let after = tested.collect::<Result<Vec<_>>>()?;
        self.write_and_print(run, before, &after)
    }

    /// As [`FinalTable::after`]; the last checkpoint has a row of its own, where it is not the best.
    ///
    /// # Errors
    /// Missing data, a full disk.
    pub fn after_and_last(
        &self,
        run: &Run,
        before: Option<&Report>,
        of_best: &Prompting,
        of_last: &Prompting,
    ) -> Result<()> {
        let Some(before) = before else { return Ok(()) };
        let mut after = vec![("after", self.test(&Policy::load(run.dir(), self.device)?, "after", of_best)?)];
        let last = last_folder(run.dir())?;
        if last != eval::resolve_checkpoint(run.dir())? {
            after.push(("last", self.test(&Policy::load(&last, self.device)?, "last", of_last)?));
        }
        self.write_and_print(run, before, &after)
    }

    fn write_and_print(&self, run: &Run, before: &Report, after: &[(&str, Report)]) -> Result<()> {
        let after = after.iter().map(|(name, report)| (*name, report));
        let rows: Vec<(&str, &Report)> = [("before", before)].into_iter().chain(after).collect();
        run.write_evaluation(&rows)?;
        print_line(&format!(
            "\n{} test split, {} problems, 95 % intervals\n{}\nrun directory: {}",
            self.data.benchmark,
            before.problems,
            eval::table(&rows),
            run.dir().display()
        ))
    }

    fn test(&self, policy: &Policy, name: &str, prompting: &Prompting) -> Result<Report> {
        let Self { data, eval, run_args, device } = self;
        let mut problems = data.load(Split::Test)?;
        problems.truncate(eval.test_problems);
        let compute = &run_args.compute;
        let config = compute.sampling(data, prompting.clone(), eval.test_samples, eval.test_temperature, device);
        let about = About {
            benchmark: data.benchmark,
            split: Split::Test,
            answer_format: data.answer_format.clone(),
            temperature: Some(eval.test_temperature),
            checkpoint: Some(name.into()),
            truncated: None,
            mean_tokens: None,
        };
        let label = format!("evaluate {name}");
        let progress = Progress::new(problems.len() * config.drawn(), &label, "samples", run_args.quiet);
        let ended = |samples| progress.advance(samples);
        let evaluation = evaluate(policy, &problems, about, &config, run_args.seed, None, &ended)?;
        Ok(evaluation.report)
    }
}
