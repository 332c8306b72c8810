//! Tests of `expert_iteration.rs`.

use super::*;
use crate::sampling::deduplicate::Deduplicate;
use eval::SampleConfig;

#[test]
fn a_right_solution_with_a_false_calculation_is_kept_unless_calculations_are_required() {
    let texts = [" 3+4 = <<3+4=7>>7\n#### 7", " 3+3 = <<3+3=7>>7\n#### 7", " #### 7"];
    let samples = texts.map(|text| crate::sampling::prefix::tests::sample("test/0", text));
    let accepted = |require_calculations| {
        let sampling = SampleConfig {
            calculator: false,
            checker: None,
            servers: None,
            samples: 1,
            temperature: 0.0,
            max_new_tokens: 1,
            rows: 1,
            streams: None,
            threads: 1,
            prompting: data::Prompting::default(),
            answer_format: data::AnswerFormat::default(),
        };
        let filter = Filter { require_calculations, reward_model: None, threshold: 0.0, sampling };
        filter.accepted(&samples).unwrap().into_iter().map(|sample| sample.completion.clone()).collect::<Vec<_>>()
    };
    assert_eq!(accepted(false), texts);
    assert_eq!(accepted(true), [texts[0], texts[2]]);
}

#[test]
fn a_gain_exceeds_the_best_so_far_by_more_than_the_margin_and_the_best_does_not_depend_on_the_margin() {
    let start = EiNumbers { start: Some(0.4), best: Some(0.4), ..EiNumbers::default() };
    let rounds = |margin: f64| {
        let mut numbers = start;
        [0.43, 0.41, 0.44, 0.5].map(|accuracy| {
            numbers = numbers.after(numbers.round + 1, accuracy, margin);
            (numbers.best.unwrap(), numbers.rounds_since_best)
        })
    };
    assert_eq!(rounds(0.0), [(0.43, 0), (0.43, 1), (0.44, 0), (0.5, 0)]);
    assert_eq!(rounds(0.02), [(0.43, 0), (0.43, 1), (0.44, 2), (0.5, 0)]);
    assert_eq!(rounds(0.1), [(0.43, 1), (0.43, 2), (0.44, 3), (0.5, 4)]);
    let last = start.after(1, 0.3, 0.0);
    assert_eq!((last.start, last.last, last.best), (Some(0.4), Some(0.3), Some(0.4)));
}

#[test]
fn what_the_calculator_wrote_in_a_kept_sample_is_read_and_no_target_and_a_reference_solution_is_learnt_whole() {
    let problem = Problem {
        id: "test/0".into(),
        question: "Why?".into(),
        solution: "3+4 = <<3+4=7>>7\n#### 7".into(),
        answer: data::Answer::from_integer(7),
        worked: None,
    };
    let text = " 4+3 = <<4+3=7>>7\n#### 7\n";
    let start = text.find("7>>").unwrap();
    let sample =
        Sample { calculated: vec![[start, start + 3]], ..crate::sampling::prefix::tests::sample("test/0", text) };
    let problems = [problem];
    let mut pool = Pool::new(&problems, Start::Sft, crate::sampling::deduplicate::Deduplicate::Text);
    assert!(pool.add(&sample));
    let tokenizer = data::Tokenizer::train_bpe(&[format!("Question: Why?\nAnswer:{text}").repeat(9)], 300).unwrap();
    let given = |solved: &Solved| -> Vec<String> {
        let example = solved.example(&tokenizer, &data::PromptFormat::default()).unwrap();
        example.given.iter().map(|given| tokenizer.decode(&example.tokens[given.clone()])).collect()
    };
    assert_eq!(pool.solved.iter().map(given).collect::<Vec<_>>(), [vec![], vec!["7>>"]]);
}

#[test]
fn a_training_problem_without_a_solution_is_not_in_the_first_pool_and_a_right_sample_adds_it() {
    let problem = |id: &str, solution: &str| Problem {
        id: id.into(),
        question: "3+4?".into(),
        solution: solution.into(),
        answer: data::Answer::from_integer(7),
        worked: None,
    };
    let problems = [problem("test/0", "3+4 = <<3+4=7>>7\n#### 7"), problem("test/1", "")];
    let mut pool = Pool::new(&problems, Start::Sft, Deduplicate::Text);
    assert_eq!(pool.solved.iter().map(|solved| &solved.problem).collect::<Vec<_>>(), [&problems[0]]);
    assert!(pool.add(&crate::sampling::prefix::tests::sample("test/1", " 4+3 = <<4+3=7>>7\n#### 7")));
    assert_eq!(pool.solved.len(), 2);
}
