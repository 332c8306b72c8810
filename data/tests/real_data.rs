//! Claims about the published files themselves, in the folder that `RL_DATA_DIR` names, or in `../shared/data` beside the workspace.
//! `cargo test` lists them as ignored, since a clone does not have the files; where they are, with:
//!
//! ```sh
//! RL_DATA_DIR=… cargo test --workspace --release --test real_data -- --include-ignored
//! ```

use std::path::{Path, PathBuf};

use data::{
    Answer, Benchmark, DataOptions, Problem, ReferenceSteps, Split, SvampSolutions, calculations_hold,
    problem::gold_answer, reference_results,
};

fn data_dir() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("RL_DATA_DIR").map_or(beside, PathBuf::from);
    assert!(folder.join("gsm8k").is_dir(), "no published data in {}: set RL_DATA_DIR", folder.display());
    folder
}

fn problems(data_dir: &Path, benchmark: Benchmark, split: Split, svamp_solutions: SvampSolutions) -> Vec<Problem> {
    let options = DataOptions { data_dir: Some(data_dir.to_owned()), svamp_solutions };
    benchmark.load(split, &options).unwrap()
}

fn assert_every_solution_gives_its_answer(problems: &[Problem]) {
    for problem in problems {
        assert_eq!(gold_answer(&problem.solution).unwrap(), problem.answer, "{problem:?}");
    }
}

#[test]
#[ignore = "needs the published GSM8K and SVAMP: set RL_DATA_DIR"]
fn every_gold_solution_of_gsm8k_parses_to_its_own_answer() {
    let folder = data_dir();
    for (split, count) in [(Split::Train, 7_000), (Split::Validation, 473), (Split::Test, 1_319)] {
        let problems = problems(&folder, Benchmark::gsm8k(), split, SvampSolutions::Equation);
        assert_eq!(problems.len(), count);
        for problem in &problems {
            // Independently of the parser: the digits of the last line.
            let (_, last) = problem.solution.rsplit_once("#### ").unwrap();
            assert_eq!(last.replace(',', ""), problem.answer.to_string(), "{}", problem.id);
        }
        assert_every_solution_gives_its_answer(&problems);
        let with_steps = problems.iter().filter(|problem| !reference_results(&problem.solution).is_empty()).count();
        assert!(with_steps * 100 >= count * 98, "{with_steps} of {count} have an intermediate result");
        let all_earn = problems.iter().all(|problem| {
            let steps = ReferenceSteps::of(problem);
            steps.matched(&problem.solution).len() == steps.count()
        });
        assert!(all_earn, "a reference solution earns all of its dense reward");
        let counted: usize = problems.iter().map(|problem| ReferenceSteps::of(problem).count()).sum();
        let written: usize = problems.iter().map(|problem| reference_results(&problem.solution).len()).sum();
        assert!(counted * 100 >= written * 95, "{counted} of {written} steps of the references can be earned");
        // The others have mistakes (3/1 = 1), or are algebra and mixed fractions that are read as something else.
        let that_hold = problems.iter().filter(|problem| calculations_hold(&problem.solution)).count();
        assert!(that_hold * 100 >= count * 97, "the calculations of {that_hold} of {count} come out");
    }
}

#[test]
#[ignore = "needs the published GSM8K and SVAMP: set RL_DATA_DIR"]
fn every_gold_solution_of_svamp_parses_to_its_own_answer() {
    let folder = data_dir();
    let mut without_work = 0;
    for (split, count) in [(Split::Train, 2_838), (Split::Validation, 300), (Split::Test, 1_000)] {
        let problems = problems(&folder, Benchmark::svamp(), split, SvampSolutions::Equation);
        assert_eq!(problems.len(), count);
        assert_every_solution_gives_its_answer(&problems);
        for problem in &problems {
            assert!(!problem.question.contains("number0"), "{problem:?}");
            assert!(!problem.question.contains(" ?") && !problem.question.contains(" ."), "{problem:?}");
            match reference_results(&problem.solution).last() {
                Some(last) => assert_eq!(Answer::Number(last.clone()), problem.answer, "{problem:?}"),
                None => without_work += 1,
            }
        }
    }
    assert_eq!(without_work, 10, "nine rows whose equation contradicts the answer, and one without an operation");
}

#[test]
#[ignore = "needs the published GSM8K and SVAMP: set RL_DATA_DIR"]
fn solutions_of_svamp_in_words_end_with_the_published_answer() {
    let folder = data_dir();
    let all = data::svamp::read_language(&folder).unwrap();
    assert_eq!(all.problems.len() + all.dropped, 3_076);
    assert_eq!(all.dropped, 34, "rounded otherwise, or no solution at all");
    assert_every_solution_gives_its_answer(&all.problems);
}

#[test]
#[ignore = "needs the published GSM8K and SVAMP: set RL_DATA_DIR"]
fn no_question_is_in_two_parts() {
    let folder = data_dir();
    for (benchmark, solutions) in [
        (Benchmark::gsm8k(), SvampSolutions::Equation),
        (Benchmark::svamp(), SvampSolutions::Equation),
        (Benchmark::svamp(), SvampSolutions::Language),
    ] {
        let lower = |split| -> std::collections::HashSet<String> {
            problems(&folder, benchmark.clone(), split, solutions)
                .into_iter()
                .map(|p| p.question.to_lowercase())
                .collect()
        };
        let (train, validation) = (lower(Split::Train), lower(Split::Validation));
        assert!(train.is_disjoint(&validation), "{benchmark}");
    }
}
