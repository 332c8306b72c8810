//! Claims about how SVAMP's rows become problems, on rows of our own in the published formats.

use super::*;
use std::path::PathBuf;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

#[test]
fn a_condition_is_completed_by_its_question() {
    assert_eq!(
        join("Ann has $ 9. If she buys a pen", "How much is left?"),
        "Ann has $ 9. If she buys a pen, how much is left?"
    );
    assert_eq!(join("Ann has 9 pens,", "How many?"), "Ann has 9 pens, how many?");
    assert_eq!(join("If Ann has 9 pens", "Ann's pens are how many?"), "If Ann has 9 pens, Ann's pens are how many?");
}

#[test]
fn a_statement_gets_its_full_stop() {
    assert_eq!(join("Then he bought 9 pens", "How many?"), "Then he bought 9 pens. How many?");
    assert_eq!(join("He bought 9 pens.", "How many?"), "He bought 9 pens. How many?");
    assert_eq!(join("", "How many?"), "How many?");
}

#[test]
fn punctuation_stands_against_its_word() {
    assert_eq!(tidy("Ann 's pens , does n't she ( or he ) ?"), "Ann's pens, doesn't she (or he)?");
    assert_eq!(tidy("Sue ’ s mom has 5 % of the boys ' pens ."), "Sue’s mom has 5% of the boys' pens.");
    assert_eq!(tidy("  $ 5   or 'five '"), "$ 5 or 'five '");
}

#[test]
fn numbers_take_their_places() {
    let numbers: Vec<String> = (0..11).map(|n| (n * 10).to_string()).collect();
    assert_eq!(fill("number1 of number10, a number", &numbers).unwrap(), "10 of 100, a number");
    assert!(fill("number11", &numbers).is_err());
}

#[test]
fn a_training_row_becomes_a_worked_solution() {
    let problems = read_train(&fixtures()).unwrap();
    assert_eq!(problems.len(), 12);
    assert_eq!(problems[0].id, "svamp/train/0");
    assert_eq!(
        problems[0].question,
        "Ida has 2000 coins in a jar. She takes out 150 coins a day. How many are left after 6 days?"
    );
    assert_eq!(problems[0].solution, "150 * 6 = <<150*6=900>>900\n2000 - 900 = <<2000-900=1100>>1100\n#### 1100");
    assert_eq!(problems[1].solution, "7.5 / 100 = <<7.5/100=0.075>>0.075\n#### 0.075");
}

#[test]
fn a_test_row_becomes_a_worked_solution() {
    let problems = read_test(&fixtures()).unwrap();
    assert_eq!(problems.len(), 3);
    assert_eq!(problems[0].id, "svamp/test/0");
    assert_eq!(problems[0].question, "A rope of 90 feet is cut. If 34 feet are used, how many feet are left?");
    assert_eq!(problems[0].solution, "90 - 34 = <<90-34=56>>56\n#### 56");
    assert_eq!(problems[2].solution, "#### 4", "the equation contradicts the published answer");
}

#[test]
fn a_solution_in_words_is_kept_only_with_the_published_answer() {
    let LanguageProblems { problems, dropped } = read_language(&fixtures()).unwrap();
    assert_eq!(dropped, 2);
    assert_eq!(problems.len(), 2);
    assert_eq!(problems[0].solution, "Each of 5 boxes holds 7 cups.\n5 * 7 = 35\n#### 35");
    assert_eq!(problems[1].id, "svamp/language/3");
}

#[test]
fn a_malformed_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("svamp/mawps-asdiv-a_svamp")).unwrap();
    std::fs::create_dir_all(folder.path().join("svamp_reft")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let fails_with = |result: Result<()>, parts: &[&str]| {
        let error = format!("{:#}", result.unwrap_err());
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let csv = "svamp/mawps-asdiv-a_svamp/train.csv";
    let header = "Question,Numbers,Equation,Answer\n";
    for row in ["number0 ?,1,number0,", "number0 ?,1,+ number0,1", "number1 ?,1,number0,1", "number0 ?,1"] {
        write(csv, &format!("{header}Are there number0 ?,1.0,number0,1.0\n{row}\n"));
        fails_with(read_train(folder.path()).map(|_| ()), &["train.csv", "line 3", "download"]);
    }
    // As Excel writes it, and without a column.
    write(csv, &format!("\u{FEFF}{header}Are there number0 ?,1.0,number0,1.0\n"));
    assert_eq!(read_train(folder.path()).unwrap().len(), 1);
    write(csv, "Question,Numbers,Answer\nAre there number0 ?,1.0,1.0\n");
    let columns = "\"Question\", \"Numbers\", \"Answer\"";
    fails_with(read_train(folder.path()).map(|_| ()), &["train.csv", "column \"Equation\" is missing", columns]);
    write(csv, header);
    fails_with(read_train(folder.path()).map(|_| ()), &["train.csv", "no problem"]);
    for text in ["[", "[]", "[{}]", "{}"] {
        write("svamp/SVAMP.json", text);
        write("svamp_reft/svamp_nl.json", text);
        fails_with(read_test(folder.path()).map(|_| ()), &["SVAMP.json", "download"]);
        fails_with(read_language(folder.path()).map(|_| ()), &["svamp_nl.json", "download"]);
    }
    write("svamp/SVAMP.json", "\u{FEFF}[{\"Body\": \"\", \"Answer\": 1.0}]");
    let parts = ["SVAMP.json", "row 1", "field \"Question\" is missing", "\"Answer\", \"Body\""];
    fails_with(read_test(folder.path()).map(|_| ()), &parts);
    write("svamp/SVAMP.json", r#"[{"Body": "", "Question": "Why?", "Equation": "( 1.0 - ", "Answer": 1.0}]"#);
    fails_with(read_test(folder.path()).map(|_| ()), &["SVAMP.json", "row 1", "download"]);
}
