//! The table at the end of a run: the policy it started from and its best checkpoint, on the same test problems.

use crate::{
    args::{DataArgs, EvalArgs, RunArgs},
    progress::{Progress, print_line},
    run::Run,
};
use anyhow::{Context, Result};
use burn::tensor::Device;
use data::Split;
use eval::{About, Policy, Report, SampleConfig, evaluate};
use std::path::Path;

/// Evaluates the starting policy, or reads what an earlier part of the run found.
///
/// # Errors
/// Missing data, a full disk.
pub fn before(
    run: &Run,
    initial: &Policy,
    data: &DataArgs,
    eval: &EvalArgs,
    args: &RunArgs,
    device: &Device,
) -> Result<Report> {
    let path = run.dir().join("before.json");
    if let Ok(text) = std::fs::read_to_string(&path) {
        return serde_json::from_str(&text).with_context(|| format!("{} is malformed", path.display()));
    }
    let report = test(initial, "before", data, eval, args, device)?;
    crate::run::write_whole(&path, &serde_json::to_vec_pretty(&report)?)?;
    Ok(report)
}

/// Evaluates the best checkpoint, writes `eval.json` and prints the table.
///
/// # Errors
/// Missing data, a full disk.
pub fn after(
    run: &Run,
    before: &Report,
    data: &DataArgs,
    eval: &EvalArgs,
    args: &RunArgs,
    device: &Device,
) -> Result<()> {
    let best = Policy::load(run.dir(), device)?;
    let after = test(&best, "after", data, eval, args, device)?;
    run.write_evaluation(before, &after)?;
    print_line(&format!(
        "\n{} test split, {} problems, 95 % intervals\n{}\nrun directory: {}",
        data.benchmark,
        after.problems,
        eval::table(&[("before", before), ("after", &after)]),
        run.dir().display()
    ))
}

fn test(
    policy: &Policy,
    name: &str,
    data: &DataArgs,
    eval: &EvalArgs,
    args: &RunArgs,
    device: &Device,
) -> Result<Report> {
    let mut problems = data.load(Split::Test)?;
    problems.truncate(eval.test_problems);
    let config = SampleConfig {
        samples: eval.test_samples,
        temperature: eval.test_temperature,
        max_new_tokens: data.max_new_tokens(),
        rows: args.compute.rollout_batch,
        threads: args.compute.threads(device),
        style: data.prompt_style,
    };
    let about = About {
        benchmark: data.benchmark,
        split: Split::Test,
        temperature: Some(eval.test_temperature),
        checkpoint: Some(Path::new(name).display().to_string()),
        truncated: None,
        mean_tokens: None,
    };
    let label = format!("evaluate {name}");
    let progress = Progress::new(problems.len() * (1 + eval.test_samples), &label, "samples", args.quiet);
    let evaluation = evaluate(policy, &problems, about, &config, args.seed, &|samples| progress.advance(samples))?;
    Ok(evaluation.report)
}
