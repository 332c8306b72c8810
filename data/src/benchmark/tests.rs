//! Claims about benchmarks as files: every field of a description has its effect, and what is wrong is named.

use super::*;
use crate::problem::DATA_DIR_VARIABLE;
use crate::{Answer, Prompting, SvampSolutions};
use std::fs;
use tempfile::TempDir;

fn fixtures() -> DataOptions {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    DataOptions { data_dir: Some(folder), ..Default::default() }
}

/// A folder with a description and files.
fn folder(description: &str, files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("own.toml"), description).unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn read(folder: &TempDir) -> Benchmark {
    Benchmark::read(&folder.path().join("own.toml")).unwrap()
}

fn test_split(description: &str, files: &[(&str, &str)]) -> Result<Vec<Problem>> {
    read(&folder(description, files)).load(Split::Test, &DataOptions::default())
}

#[test]
fn the_built_in_descriptions_are_read_and_named_by_themselves() {
    for (name, text) in BUILT_IN {
        let benchmark: Benchmark = name.parse().unwrap();
        assert_eq!(Spec::parse(text).unwrap().name.as_deref(), Some(name));
        assert_eq!((benchmark.to_string(), serde_json::to_value(&benchmark).unwrap()), (name.into(), name.into()));
    }
    assert_eq!(Benchmark::synthetic().max_new_tokens(), 256);
    assert_eq!("synthetic-1".parse::<Benchmark>().unwrap().max_new_tokens(), 112);
    assert_eq!(Benchmark::gsm8k().max_new_tokens(), 256);
}

#[test]
fn a_row_of_gsm8k_keeps_its_annotations_and_gets_its_answer() {
    let load = |split| Benchmark::gsm8k().load(split, &fixtures()).unwrap();
    let mut all = [load(Split::Train), load(Split::Validation)].concat();
    assert_eq!((load(Split::Validation).len(), all.len()), (2, 12));
    all.sort_by_key(|problem| problem.id.rsplit('/').next().unwrap().parse::<usize>().unwrap());
    assert_eq!(all[1].id, "gsm8k/train/1");
    assert!(all[0].solution.contains("<<6*4=24>>24"));
    assert_eq!(all[0].answer.to_string(), "24");
    assert_eq!(all[2].answer.to_string(), "1200", "a comma groups thousands");
}

#[test]
fn a_built_in_benchmark_without_its_split_or_its_files_says_so() {
    let error = Benchmark::gsm8k().load(Split::TestUnseen, &DataOptions::default()).unwrap_err();
    assert!(error.to_string().contains("test-unseen"));
    let options = DataOptions { data_dir: Some("/no/such/folder".into()), ..Default::default() };
    for benchmark in [Benchmark::gsm8k(), Benchmark::svamp()] {
        for split in [Split::Train, Split::Validation, Split::Test] {
            let error = format!("{:#}", benchmark.load(split, &options).unwrap_err());
            for part in ["/no/such/folder", "--data-dir", DATA_DIR_VARIABLE] {
                assert!(error.contains(part), "{error}");
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("gsm8k")).unwrap();
    let options = DataOptions { data_dir: Some(folder.path().into()), ..Default::default() };
    for (text, parts) in [
        (
            "{\"question\": \"One?\", \"answer\": \"1\\n#### 3 or 4\"}",
            ["train.jsonl, line 1", "download the file again"],
        ),
        ("<html>404", ["train.jsonl is an HTML page", "download the file"]),
        ("\n", ["train.jsonl holds no row", "download the file again"]),
    ] {
        fs::write(folder.path().join("gsm8k/train.jsonl"), text).unwrap();
        let error = format!("{:#}", Benchmark::gsm8k().load(Split::Train, &options).unwrap_err());
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn svamp_as_a_description_of_the_published_file_has_the_same_questions_and_answers() {
    let published = fixtures().data_dir.unwrap().join("svamp/SVAMP.json");
    let description =
        "[data]\ntest = \"SVAMP.json\"\n[fields]\nquestion = \"{{ Body }} {{ Question }}\"\nanswer = \"Answer\"\n";
    let own = test_split(description, &[("SVAMP.json", &fs::read_to_string(published).unwrap())]).unwrap();
    let built_in = Benchmark::svamp().load(Split::Test, &fixtures()).unwrap();
    let answers = |problems: &[Problem]| problems.iter().map(|problem| problem.answer.to_string()).collect::<Vec<_>>();
    assert_eq!(answers(&own), answers(&built_in));
    assert!(own[0].question.starts_with("A rope of 90 feet"), "{}", own[0].question);
    let language = DataOptions { svamp_solutions: SvampSolutions::Language, ..fixtures() };
    assert!(!Benchmark::svamp().load(Split::Train, &language).unwrap().is_empty());
}

#[test]
fn fields_are_named_by_paths_and_templates() {
    let description = r#"
name = "quiz"
[data]
test = ["one.jsonl", "two.csv"]
[fields]
question = "{{ text }}\n{% for choice in choices or [] %}{{ loop.index0 | letter }}. {{ choice }}\n{% endfor %}"
answer = "key"
id = "{{ id }}"
[answer]
kind = "choice"
"#;
    let files = [
        ("one.jsonl", r#"{"text": "Capital?", "choices": ["Rome", "Paris"], "key": "(B)", "id": 7}"#),
        ("two.csv", "text,choices,key,id\nOther?,,A,8\n"),
    ];
    let problems = test_split(description, &files).unwrap();
    assert_eq!(problems[0].question, "Capital?\nA. Rome\nB. Paris");
    assert_eq!((problems[0].id.as_str(), &problems[0].answer), ("7", &Answer::Choice('B')));
    assert_eq!((problems[1].question.as_str(), problems[1].solution.as_str()), ("Other?", ""));
}

#[test]
fn nested_answers_and_answers_within_a_text_are_found() {
    let nested = "[data]\ntest = \"a.jsonl\"\n[fields]\nquestion = \"q\"\nanswer = \"meta.answers.1\"\n";
    let row = r#"{"q": "One?", "meta": {"answers": ["3", 4.5]}}"#;
    assert_eq!(test_split(nested, &[("a.jsonl", row)]).unwrap()[0].answer.to_string(), "9/2");
    let own_questions =
        "[data]\ntest = \"a.jsonl\"\n[fields]\nquestion = \"q\"\nsolution = \"s\"\n[answer]\nkind = \"math\"\n";
    let row = r#"{"q": "Which?", "s": "First.\nQuestion 1: no.\nSo \\boxed{\\frac12}."}"#;
    assert_eq!(test_split(own_questions, &[("a.jsonl", row)]).unwrap()[0].answer.to_string(), "\\frac12");
    let within =
        "[data]\ntest = \"a.jsonl\"\n[fields]\nquestion = \"q\"\nsolution = \"s\"\n[answer]\nregex = 'so (\\d+)'\n";
    let row = r#"{"q": "One?", "s": "2 or so 3, so 4 it is"}"#;
    let problem = &test_split(within, &[("a.jsonl", row)]).unwrap()[0];
    assert_eq!(problem.answer, Answer::from_integer(4));
    assert_eq!(problem.solution, "2 or so 3, so 4 it is\n#### 4", "the answer can be read as from a completion");
}

#[test]
fn validation_is_held_out_or_a_file_of_its_own() {
    let rows: String = (0..40).map(|row| format!("{{\"question\": \"{row}?\", \"a\": {row}}}\n")).collect();
    let split = |validation: &str, split| {
        let description = format!("[data]\ntrain = \"t.jsonl\"\n{validation}\n[fields]\nanswer = \"a\"\n");
        let files = [("t.jsonl", rows.as_str()), ("v.jsonl", "{\"question\": \"v?\", \"a\": 1}")];
        read(&folder(&description, &files)).load(split, &DataOptions::default())
    };
    let count = |validation, of| split(validation, of).unwrap().len();
    assert_eq!((count("", Split::Train), count("", Split::Validation)), (36, 4));
    assert_eq!((count("validation = 2", Split::Train), count("validation = 2", Split::Validation)), (38, 2));
    let own = "validation = \"v.jsonl\"";
    assert_eq!((count(own, Split::Train), count(own, Split::Validation)), (40, 1));
    let error = split("", Split::Test).unwrap_err().to_string();
    assert!(error.contains("own has no test split"), "{error}");
}

#[test]
fn a_prompt_is_what_the_description_says() {
    let description = r#"
[data]
test = "a.jsonl"
[fields]
answer = "a"
[prompt]
system = "You count."
template = "Problem: {{ question }}\nSolution:\n"
few_shot = [{ question = "1+1?", solution = "2" }]
stop = ["Problem:"]
max_new_tokens = 9
"#;
    let benchmark = read(&folder(description, &[]));
    let format = benchmark.prompt_format(PromptStyle::Plain);
    let shots = "Problem: 1+1?\nSolution:\n2\n\nProblem: 2+2?\nSolution:\n";
    assert_eq!(format.text(&[], "2+2?").unwrap(), format!("You count.\n\n{shots}"));
    assert_eq!(benchmark.prompt_format(PromptStyle::Chat).text(&[], "2+2?").unwrap(), shots);
    assert_eq!(format.solution("2+2?", "4").unwrap(), "4", "the prompt ends with white space");
    assert_eq!((format.stops(), benchmark.max_new_tokens()), (["Problem:".to_owned()].as_slice(), 9));
    assert_eq!(Prompting::bare(format.clone()).format, format);
}

#[test]
fn what_is_wrong_with_a_row_is_named_by_its_place() {
    let description = "[data]\ntest = \"a.jsonl\"\n[fields]\nquestion = \"{{ q }}\"\nanswer = \"a\"\nid = \"id\"\n";
    let error = |text: &str| format!("{:#}", test_split(description, &[("a.jsonl", text)]).unwrap_err());
    let good = r#"{"q": "One?", "a": 1, "id": "x"}"#;
    for (row, parts) in [
        (
            r#"{"q": "One?", "id": "y"}"#,
            ["a.jsonl, line 2: not a problem", "the field \"a\" is missing; the fields are \"id\", \"q\""],
        ),
        (
            r#"{"p": "One?", "a": 1, "id": "y"}"#,
            ["line 2", "[fields] question, a template: line 1, column 4: undefined value"],
        ),
        (r#"{"q": "One?", "a": "one or two", "id": "y"}"#, ["line 2", "\"one or two\" is not one number"]),
        (r#"{"q": "One?", "a": null, "id": "y"}"#, ["line 2", "the field \"a\" is null"]),
        (r#"{"q": " ", "a": 1, "id": "y"}"#, ["line 2", "the question is empty"]),
        (good, ["two rows of the test split", "the id \"x\""]),
    ] {
        let error = error(&format!("{good}\n{row}\n"));
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    let missing = format!("{:#}", test_split(description, &[]).unwrap_err());
    assert!(missing.contains("cannot read") && missing.contains("a.jsonl"), "{missing}");
}

#[test]
fn files_without_a_description_are_a_benchmark_too() {
    let folder = folder("", &[("own-train.csv", "q,a\nOne?,1\nTwo?,2\n")]);
    let train = folder.path().join("own-train.csv").display().to_string();
    let files = PlainFiles { train: Some(train), question: "q".into(), answer: "a".into(), ..PlainFiles::default() };
    let benchmark = Benchmark::of_files(&files).unwrap();
    assert_eq!(benchmark.name(), "own-train");
    assert_eq!(benchmark.load(Split::Train, &DataOptions::default()).unwrap().len(), 1);
    assert!(Benchmark::of_files(&PlainFiles::default()).is_err());
}

#[test]
fn an_argument_that_is_no_benchmark_is_refused() {
    let error = |text: &str| format!("{:#}", text.parse::<Benchmark>().unwrap_err());
    assert!(error("math").contains("synthetic, synthetic-1, gsm8k, svamp, or the path of a description FILE.toml"));
    assert!(error("/no/such/file.toml").contains("/no/such/file.toml"));
    let folder = folder("name = \"gsm8k\"\n[data]\ntest = \"a\"\n[fields]\nanswer = \"a\"\n", &[]);
    assert!(error(&folder.path().join("own.toml").display().to_string()).contains("built-in"));
}
