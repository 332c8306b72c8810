//! The table at the end of a run: the policy it started from and its best checkpoint, on the same test problems.

use crate::{
    cli::args::{EvalArgs, RunArgs},
    run::{INITIAL_REPORT, Run, last_folder},
    sampling::problems::Problems,
    view::progress::{Progress, print_line},
};
use anyhow::{Context, Result};
use data::{Prompting, Split};
use eval::{About, Policy, Report, evaluate};
use model::Device;

/// Configuration shared by both rows of the table.
pub struct FinalTable<'a> {
    /// The problems of the run.
    pub problems: &'a Problems,
    /// Number of problems, and samples per problem.
    pub eval: &'a EvalArgs,
    /// Seed, batches, verbosity.
    pub run_args: &'a RunArgs,
    /// The device.
    pub device: &'a Device,
}

impl FinalTable<'_> {
    /// Evaluates the starting policy, or reads the report of an earlier part of the run with the same configuration;
    /// `None` if no table is wanted. The time does not count as the run's cost.
    ///
    /// # Errors
    /// Errors of `initial`, missing data, a full disk.
    pub fn evaluate_initial(
        &self,
        run: &mut Run,
        initial: impl FnOnce() -> Result<Policy>,
        prompting: &Prompting,
    ) -> Result<Option<Report>> {
        if self.eval.test_problems == 0 {
            return Ok(None);
        }
        let path = run.dir().join(INITIAL_REPORT);
        if let Some(text) = data::read_text_if_there(&path)? {
            let report = serde_json::from_str(&text).with_context(|| format!("{} is malformed", path.display()))?;
            return Ok(Some(report));
        }
        let report = run.without_counting_cpu_time(|| self.test(&initial()?, "before", prompting));
        let report = report.map_err(|error| run.with_resume(error))?;
        eval::write_whole(&path, &serde_json::to_vec_pretty(&report)?)?;
        Ok(Some(report))
    }

    /// Evaluates the best checkpoint, writes `eval.json` and prints the table, if the starting policy was evaluated.
    ///
    /// # Errors
    /// Missing data, a full disk.
    pub fn evaluate_best(&self, run: &Run, initial: Option<&Report>, prompting: &Prompting) -> Result<()> {
        self.evaluate_best_with_prompts(run, initial, &[("after", prompting)])
    }

    /// As [`FinalTable::evaluate_best`], with several prompts for the best checkpoint, each with its name.
    ///
    /// # Errors
    /// Missing data, a full disk.
    pub fn evaluate_best_with_prompts(
        &self,
        run: &Run,
        initial: Option<&Report>,
        prompts: &[(&str, &Prompting)],
    ) -> Result<()> {
        let Some(initial) = initial else { return Ok(()) };
        let best = Policy::load(run.dir(), self.device)?;
        let tested = prompts.iter().map(|&(name, prompting)| Ok((name, self.test(&best, name, prompting)?)));
        let after = tested.collect::<Result<Vec<_>>>().map_err(|error| run.with_resume(error))?;
        self.write_and_print(run, initial, &after)
    }

    /// As [`FinalTable::evaluate_best`]; the last checkpoint has its own row if it is not the best.
    ///
    /// # Errors
    /// Missing data, a full disk.
    pub fn evaluate_best_and_last(
        &self,
        run: &Run,
        initial: Option<&Report>,
        of_best: &Prompting,
        of_last: &Prompting,
    ) -> Result<()> {
        let Some(initial) = initial else { return Ok(()) };
        let test = |policy: Policy, name, prompting| {
            self.test(&policy, name, prompting).map_err(|error| run.with_resume(error))
        };
        let mut after = vec![("after", test(Policy::load(run.dir(), self.device)?, "after", of_best)?)];
        let last = last_folder(run.dir())?;
        if last != eval::resolve_checkpoint(run.dir())? {
            after.push(("last", test(Policy::load(&last, self.device)?, "last", of_last)?));
        }
        self.write_and_print(run, initial, &after)
    }

    fn write_and_print(&self, run: &Run, initial: &Report, after: &[(&str, Report)]) -> Result<()> {
        let after = after.iter().map(|(name, report)| (*name, report));
        let rows: Vec<(&str, &Report)> = [("before", initial)].into_iter().chain(after).collect();
        run.write_evaluation(&rows)?;
        print_line(&format!(
            "\n{} test split, {} problems, 95 % intervals\n{}\nrun directory: {}",
            self.problems.data().benchmark(),
            initial.problems,
            eval::table(&rows),
            run.dir().display()
        ))
    }

    fn test(&self, policy: &Policy, name: &str, prompting: &Prompting) -> Result<Report> {
        let Self { problems, eval, run_args, device } = self;
        let (data, problems) = (problems.data(), problems.test(eval.test_problems)?);
        let compute = &run_args.compute;
        let config = compute.sampling(data, prompting.clone(), eval.test_samples, eval.test_temperature, device);
        let about = About {
            benchmark: data.benchmark().to_string(),
            split: Split::Test,
            answer_format: data.answer_format(),
            temperature: Some(eval.test_temperature),
            checkpoint: Some(name.into()),
            truncated: None,
            mean_tokens: None,
            checker: None,
        };
        let label = format!("evaluate {name}");
        let progress = Progress::new(problems.len() * config.drawn(), &label, "samples", run_args.quiet);
        let ended = |samples| progress.advance(samples);
        let evaluation = evaluate(policy, problems, about, &config, run_args.seed, None, &ended)?;
        Ok(evaluation.report)
    }
}
