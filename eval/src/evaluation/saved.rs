//! The samples that `eval run --save-samples` wrote, evaluated again: a second reward model costs no second sampling. Independent of
//! policies.

use super::evaluate::{Evaluation, evaluation_of};
use crate::{
    models::reward_model::RewardModel,
    reports::report::About,
    sampling::{
        completions::SampleConfig,
        graded::check,
        sample::{Sample, read_samples},
    },
};
use anyhow::{Context, Result, ensure};
use data::Problem;
use std::{collections::HashMap, path::Path};

/// As [`evaluate`](crate::evaluate), to the digit, with the samples of a file in place of new ones: the first K of each problem. They
/// are graded anew.
///
/// # Errors
/// A file that is malformed, belongs to other problems, or has fewer samples; an external reward that fails.
pub fn evaluate_saved(
    path: &Path,
    problems: &[Problem],
    about: About,
    config: &SampleConfig,
    reward_model: Option<&RewardModel>,
    ended: &(dyn Fn(usize) + Sync),
) -> Result<Evaluation> {
    let name = path.display();
    let mut of_problem: HashMap<String, (Option<Sample>, Vec<Sample>)> = HashMap::new();
    for sample in read_samples(path)? {
        let sample = Sample { score: None, reward: None, ..sample };
        let (greedy, drawn) = of_problem.entry(sample.id.clone()).or_default();
        if sample.greedy {
            *greedy = Some(sample);
        } else {
            drawn.push(sample);
        }
    }
    let (mut greedy, mut samples) = (Vec::with_capacity(problems.len()), Vec::with_capacity(problems.len()));
    for problem in problems {
        let id = &problem.id;
        let found = of_problem.remove(id);
        let (first, drawn) =
            found.with_context(|| format!("{name} has no sample of {id}: it belongs to other problems"))?;
        let expected = problem.answer.to_string();
        ensure!(
            first.iter().chain(&drawn).all(|s| s.question == problem.question && s.expected == expected),
            "{name}: {id} has another question or answer than the problem of this name: it belongs to other problems"
        );
        let mut first = first.map(|sample| sample.regraded(problem, &config.answer_format));
        let mut drawn: Vec<Sample> =
            drawn.into_iter().map(|sample| sample.regraded(problem, &config.answer_format)).collect();
        if let Some(checker) = &config.checker {
            drawn.truncate(if config.samples == 1 { 0 } else { config.samples });
            check(checker, first.iter_mut().chain(&mut drawn).map(|sample| (problem, sample)))?;
        }
        let first = first.with_context(|| {
            format!("{name} has no greedy sample of {id}: give a file that `eval run --save-samples` has written")
        })?;
        if config.samples == 1 {
            drawn = vec![Sample { greedy: false, ..first.clone() }];
        }
        ensure!(
            drawn.len() >= config.samples,
            "{name} has {} samples of {id}, fewer than --samples {}",
            drawn.len(),
            config.samples
        );
        drawn.truncate(config.samples);
        greedy.push(first);
        samples.push(drawn);
    }
    // Whether there was a calculator is known by what it wrote.
    let calculator = greedy.iter().chain(samples.iter().flatten()).any(|sample| !sample.calculated.is_empty());
    let config = SampleConfig { calculator, ..config.clone() };
    evaluation_of(greedy, samples, about, &config, reward_model, ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        evaluate, evaluate_part,
        policy::Policy,
        reward_model::tests::{policy, reward_model},
    };
    use data::{Answer, AnswerFormat, Prompting, Split};

    fn problem(id: usize) -> Problem {
        let answer = Answer::from_integer(id as i64);
        Problem {
            id: format!("test/{id}"),
            question: format!("one and {id}?"),
            solution: String::new(),
            answer,
            worked: None,
        }
    }

    fn about() -> About {
        let (benchmark, split) = ("synthetic".to_owned(), Split::Test);
        let answer_format = AnswerFormat::Gsm8k;
        About {
            benchmark,
            split,
            answer_format,
            temperature: Some(0.9),
            checkpoint: None,
            truncated: None,
            mean_tokens: None,
            checker: None,
        }
    }

    fn config(samples: usize) -> SampleConfig {
        let prompting = Prompting::default();
        let answer_format = AnswerFormat::Gsm8k;
        SampleConfig {
            samples,
            temperature: 0.9,
            max_new_tokens: 6,
            rows: 4,
            streams: None,
            threads: 1,
            prompting,
            answer_format,
            calculator: false,
            checker: None,
            servers: None,
        }
    }

    fn sampled(
        policy: &Policy,
        problems: &[Problem],
        samples: usize,
        reward_model: Option<&RewardModel>,
    ) -> Evaluation {
        evaluate(policy, problems, about(), &config(samples), 1, reward_model, &|_| ()).unwrap()
    }

    #[test]
    fn parts_of_an_evaluation_are_together_what_one_process_draws() {
        let (policy, problems) = (policy(), Vec::from_iter((0..300).map(problem)));
        let folder = tempfile::tempdir().unwrap();
        for (samples, seed) in [(4, 1), (1, 1), (9, 1)] {
            let folder = folder.path().join(samples.to_string());
            let part = |text: &str| {
                let config = config(samples);
                let part = (text.parse().unwrap(), folder.as_path());
                evaluate_part(&policy, &problems, &config, seed, part, &|_| ()).unwrap().1
            };
            assert_eq!(["1/3", "2/3", "3/3", "3/3"].map(part)[..3].iter().sum::<usize>(), 300);
            let pattern = folder.join("part-*");
            let gathered = evaluate_saved(&pattern, &problems, about(), &config(samples), None, &|_| ()).unwrap();
            let new = sampled(&policy, &problems, samples, None);
            assert_eq!((gathered.report, gathered.greedy, gathered.samples), (new.report, new.greedy, new.samples));
        }
    }

    #[test]
    fn what_was_saved_is_evaluated_as_what_is_sampled_again() {
        let (policy, scorer, problems) = (policy(), reward_model(), [0, 1, 2].map(problem));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("samples.jsonl");
        let drawn = sampled(&policy, &problems, 5, None);
        let rows = drawn.greedy.iter().zip(&drawn.samples);
        let line = |sample: &Sample| serde_json::to_string(sample).unwrap() + "\n";
        let text: String = rows.flat_map(|(greedy, row)| std::iter::once(greedy).chain(row)).map(line).collect();
        std::fs::write(&file, &text).unwrap();
        let saved = |problems: &[Problem], samples: usize, reward_model: Option<&RewardModel>| {
            evaluate_saved(&file, problems, about(), &config(samples), reward_model, &|_| ())
        };
        for (count, reward_model) in [(5, None), (5, Some(&scorer)), (3, Some(&scorer)), (1, None), (1, Some(&scorer))]
        {
            let (again, new) =
                (saved(&problems, count, reward_model).unwrap(), sampled(&policy, &problems, count, reward_model));
            assert_eq!(again.report, new.report);
            assert_eq!((&again.greedy, &again.samples), (&new.greedy, &new.samples));
            assert_eq!(new.report.temperature, Some(if count == 1 { 0.0 } else { 0.9 }));
        }
        let error =
            |problems: &[Problem], samples: usize| format!("{:#}", saved(problems, samples, None).err().unwrap());
        assert!(error(&problems, 6).contains("has 5 samples of test/0, fewer than --samples 6"));
        assert!(error(&[problem(7)], 2).contains("no sample of test/7: it belongs to other problems"));
        let other = Problem { question: "two?".into(), ..problem(1) };
        assert!(error(&[other], 2).contains("test/1 has another question"));
        // The grades in the file do not count.
        let lies = text.replace("\"correct\":false", "\"correct\":true").replace("\"answer\":null", "\"answer\":\"0\"");
        assert_ne!(lies, text);
        std::fs::write(&file, lies).unwrap();
        assert_eq!(saved(&problems, 5, None).unwrap().samples, sampled(&policy, &problems, 5, None).samples);
        let without: String =
            text.lines().filter(|line| !line.contains("greedy")).map(|line| format!("{line}\n")).collect();
        std::fs::write(&file, without).unwrap();
        assert!(error(&problems, 5).contains("no greedy sample of test/0"));
    }
}
