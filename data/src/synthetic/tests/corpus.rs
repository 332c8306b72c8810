//! Claims about the pretraining corpora.

use super::*;

#[test]
fn the_corpus_holds_no_problem_of_validation_and_tests() {
    for (version, corpus) in with_corpora() {
        assert_eq!(corpus.len(), version.settings().corpus.documents);
        // A question is the start of a line of its document, or stands behind a label such as "Q: ".
        let mut questions: HashSet<&str> = HashSet::new();
        for line in corpus.iter().flat_map(|document| document.lines()) {
            if let Some(end) = line.find('?') {
                let line = &line[..=end];
                questions.insert(line);
                questions.insert(line.split_once(": ").map_or(line, |(_, question)| question));
            }
        }
        for split in [Split::Validation, Split::Test, Split::TestUnseen] {
            for problem in version.problems(split) {
                assert!(!questions.contains(problem.question.as_str()), "{}", problem.question);
            }
        }
    }
}

#[test]
fn the_stated_share_of_the_corpus_answers_is_wrong() {
    for (version, tolerance) in VERSIONS.into_iter().zip([0.03, 0.05]) {
        let mut random = Random::new(7);
        let wrong_percent = version.settings().corpus.wrong_percent;
        let profile = Profile::corpus(version.settings(), wrong_percent);
        let drafts: Vec<Draft> = (0..4_000).map(|_| draw(&mut random, &profile, |_| true)).collect();
        let right = |draft: &&Draft| {
            let lines: Vec<String> = draft.right.iter().map(super::template::Calculation::annotated).collect();
            draft.lines.iter().zip(&lines).all(|(line, right)| line.contains(right))
        };
        let share = 1.0 - drafts.iter().filter(right).count() as f64 / drafts.len() as f64;
        // Some operations have no wrong one that can be calculated.
        assert!((share - f64::from(wrong_percent) / 100.0).abs() < tolerance, "{share}");
    }
}

#[test]
fn the_corpus_of_the_second_version_teaches_no_false_calculation() {
    for line in CORPORA[1].iter().flat_map(|document| document.lines()) {
        for equation in line.split("<<").skip(1).map(|rest| rest.split(">>").next().expect("its end")) {
            let (expression, result) = equation.split_once('=').expect("an equation");
            let at = 1 + expression[1..].find(['+', '-', '*', '/']).expect("an operator");
            let operand = |text: &str| text.parse::<f64>().expect("a number");
            let (left, right) = (operand(&expression[..at]), operand(&expression[at + 1..]));
            let value = match expression.as_bytes()[at] {
                b'+' => left + right,
                b'-' => left - right,
                b'*' => left * right,
                _ => left / right,
            };
            assert!((operand(result) - value).abs() <= 0.005 + 1e-9, "{line}");
        }
    }
}

#[test]
fn some_documents_have_the_format_of_the_prompt_and_most_answers_do_not() {
    for (version, corpus) in with_corpora() {
        let settings = &version.settings().corpus;
        let with = |label: &str| corpus.iter().filter(|document| document.starts_with(label)).count();
        let all: u32 = settings.weights.iter().sum();
        let answers = f64::from(settings.weights[2]) / f64::from(all);
        let expected = answers * f64::from(settings.prompt_format_percent) / 100.0;
        let share = with("Question: ") as f64 / corpus.len() as f64;
        assert!((share - expected).abs() < 0.01 && expected < answers / 2.0, "{share}");
    }
}
