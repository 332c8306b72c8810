//! GSM8K as its authors publish it: `gsm8k/{train,test}.jsonl`. Independent of splits beyond the two files.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::{
    Problem,
    problem::gold_answer,
    text::{as_text, from_json_object, read_text},
};

/// How many of the 7,473 training problems are held out for validation.
pub const VALIDATION_ROWS: usize = 473;

/// One line of a file.
#[derive(Deserialize)]
struct Row {
    question: String,
    answer: String,
}

/// Reads one file, `train` or `test`, of the data folder.
pub fn read(data_dir: &Path, part: &str) -> Result<Vec<Problem>> {
    let path = data_dir.join("gsm8k").join(format!("{part}.jsonl"));
    problems(&path, &read_published(&path)?, &format!("gsm8k/{part}"), "download the file again")
}

/// Reads solved problems that lie anywhere, in the same format.
///
/// # Errors
/// A missing file, a line that is no problem, by its number.
pub fn read_problems(path: &Path) -> Result<Vec<Problem>> {
    problems(path, &read_text(path)?, "extra", "repair or remove it")
}

fn problems(path: &Path, text: &str, kind: &str, what_to_do: &str) -> Result<Vec<Problem>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let problems: Vec<Problem> = lines
        .enumerate()
        .map(|(row, (line, text))| {
            problem(text, format!("{kind}/{row}"))
                .with_context(|| format!("{}, line {}: not a GSM8K problem; {what_to_do}", path.display(), line + 1))
        })
        .collect::<Result<_>>()?;
    ensure!(!problems.is_empty(), "{} holds no problem; {what_to_do}", path.display());
    Ok(problems)
}

/// Reads a text file of the data folder; what can be done about a missing one stands in the error.
pub(crate) fn read_published(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| {
        format!(
            "cannot read {}; check that --data-dir or {} names the folder that holds gsm8k/ and svamp/",
            path.display(),
            crate::problem::DATA_DIR_VARIABLE
        )
    })?;
    as_text(path, bytes)
}

fn problem(line: &str, id: String) -> Result<Problem> {
    let row: Row = from_json_object(line)?;
    let question = row.question.trim().to_owned();
    ensure!(!question.is_empty(), "the question is empty");
    let solution = row.answer.trim().replace("\r\n", "\n");
    let answer = gold_answer(&solution)?;
    Ok(Problem { id, question, solution, answer, worked: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
    }

    #[test]
    fn a_row_keeps_its_annotations_and_gets_its_answer() {
        let problems = read(&fixtures(), "train").unwrap();
        assert_eq!(problems.len(), 12);
        assert_eq!(problems[1].id, "gsm8k/train/1");
        assert!(problems[0].solution.contains("<<6*4=24>>24"));
        assert_eq!(problems[0].answer.to_string(), "24");
        assert_eq!(problems[2].answer.to_string(), "1200", "a comma groups thousands");
    }

    #[test]
    fn a_malformed_line_is_named_with_its_file_and_number() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("gsm8k")).unwrap();
        let good = r##"{"question": "One and one?", "answer": "1+1=2\n#### 2"}"##;
        for bad in [
            "{\"question\": \"cut",
            "{}",
            r#"{"question": "One?", "answer": "1"}"#,
            r##"{"question": "One?", "answer": "1+2\n#### 3 or 4"}"##,
        ] {
            std::fs::write(folder.path().join("gsm8k/train.jsonl"), format!("{good}\n\n{bad}\n")).unwrap();
            let error = format!("{:#}", read(folder.path(), "train").unwrap_err());
            assert!(error.contains("train.jsonl, line 3"), "{error}");
            assert!(error.contains("download"), "{error}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_and_what_is_no_text_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("extra.jsonl");
        let good = r##"{"question": "One and one?", "answer": "1+1=2\n#### 2"}"##;
        std::fs::write(&file, format!("\u{FEFF}{good}\n")).unwrap();
        assert_eq!(read_problems(&file).unwrap().len(), 1);
        let latin_1 = [good.as_bytes(), b"\n{\"question\": \"caf\xE9?\", \"answer\": \"#### 1\"}\n"].concat();
        for (bytes, parts) in [
            (&latin_1[..], ["extra.jsonl, line 2", "not UTF-8", "iconv"]),
            (b"\x1F\x8B\x08\0", ["extra.jsonl", "gzip", "gunzip"]),
            (b"version https://git-lfs.github.com/spec/v1\n", ["extra.jsonl", "Git LFS pointer", "git lfs pull"]),
            (b"PAR1\x15\0", ["extra.jsonl", "parquet", "pandas"]),
        ] {
            std::fs::write(&file, bytes).unwrap();
            let error = format!("{:#}", read_problems(&file).unwrap_err());
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
        // What the data folder holds is read in the same way.
        std::fs::create_dir(folder.path().join("gsm8k")).unwrap();
        std::fs::write(folder.path().join("gsm8k/train.jsonl"), b"<html>404").unwrap();
        let error = format!("{:#}", read(folder.path(), "train").unwrap_err());
        assert!(error.contains("train.jsonl is an HTML page") && !error.contains("--data-dir"), "{error}");
    }

    #[test]
    fn a_missing_field_is_named_with_those_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("extra.jsonl");
        std::fs::write(&file, r#"{"prompt": "One and one?", "completion": "2"}"#).unwrap();
        let error = format!("{:#}", read_problems(&file).unwrap_err());
        let reason = "the field \"question\" is missing; the fields are \"completion\", \"prompt\"";
        assert!(error.contains("line 1") && error.ends_with(reason), "{error}");
    }

    #[test]
    fn an_empty_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("gsm8k")).unwrap();
        std::fs::write(folder.path().join("gsm8k/test.jsonl"), "\n").unwrap();
        assert!(read(folder.path(), "test").unwrap_err().to_string().contains("no problem"));
    }
}
