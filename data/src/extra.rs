//! Additional training problems in the format of GSM8K's authors, as `rl augment` writes them. Independent of benchmarks.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::{
    Problem,
    problem::gold_answer,
    text::{from_json_object, read_text},
};

/// One line of a file.
#[derive(Deserialize)]
struct Row {
    question: String,
    answer: String,
}

/// Reads solved problems that lie anywhere, in the same format.
///
/// # Errors
/// A missing file, a line that is no problem, by its number.
pub fn read_problems(path: &Path) -> Result<Vec<Problem>> {
    let text = read_text(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let problems: Vec<Problem> = lines
        .enumerate()
        .map(|(row, (line, text))| {
            problem(text, format!("extra/{row}")).with_context(|| {
                format!("{}, line {}: not a GSM8K problem; repair or remove it", path.display(), line + 1)
            })
        })
        .collect::<Result<_>>()?;
    ensure!(!problems.is_empty(), "{} holds no problem", path.display());
    Ok(problems)
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

    #[test]
    fn a_malformed_line_is_named_with_its_file_and_number() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("extra.jsonl");
        let good = r##"{"question": "One and one?", "answer": "1+1=2\n#### 2"}"##;
        for bad in [
            "{\"question\": \"cut",
            "{}",
            r#"{"question": "One?", "answer": "1"}"#,
            r##"{"question": "One?", "answer": "1+2\n#### 3 or 4"}"##,
        ] {
            std::fs::write(&file, format!("{good}\n\n{bad}\n")).unwrap();
            let error = format!("{:#}", read_problems(&file).unwrap_err());
            assert!(error.contains("extra.jsonl, line 3") && error.contains("repair"), "{error}");
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
        let file = folder.path().join("extra.jsonl");
        std::fs::write(&file, "\n").unwrap();
        assert!(read_problems(&file).unwrap_err().to_string().contains("no problem"));
    }
}
