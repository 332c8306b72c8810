//! Text files as bytes: UTF-8, with or without a byte-order mark. What is something else is named, with what to do about it.
//! Independent of formats but JSON's objects.

use anyhow::{Context, Result, anyhow, bail};
use serde::de::{DeserializeOwned, IgnoredAny};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

/// What some editors and Excel put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// How many bytes at the beginning of a file show what it is.
const HEAD: usize = 512;

/// A kind of file that people have where another was meant.
struct Kind {
    is: fn(&[u8]) -> bool,
    what: &'static str,
    /// `FILE` stands for the path.
    what_to_do: &'static str,
}

/// The first that fits is meant.
const KINDS: [Kind; 13] = [
    Kind {
        is: |head| head.starts_with(b"version https://git-lfs"),
        what: "a Git LFS pointer in place of the file itself",
        what_to_do: "fetch the file with `git lfs pull`, or download it",
    },
    Kind {
        is: is_html,
        what: "an HTML page (an error or log-in page that was saved as the file?)",
        what_to_do: "download the file itself",
    },
    Kind {
        is: |head| head.starts_with(b"\xFF\xFE") || head.starts_with(b"\xFE\xFF") || has_zero_every_other(head),
        what: "UTF-16 text",
        what_to_do: "convert it with `iconv -f UTF-16 -t UTF-8 FILE > NEW`",
    },
    Kind {
        is: |head| head.starts_with(b"\x1F\x8B"),
        what: "compressed with gzip",
        what_to_do: "unpack it with `gunzip -k FILE` (or `gunzip -c FILE > NEW`)",
    },
    Kind {
        is: |head| head.starts_with(b"\x28\xB5\x2F\xFD"),
        what: "compressed with zstd",
        what_to_do: "unpack it with `zstd -d FILE -o NEW`",
    },
    Kind {
        is: |head| head.starts_with(b"\xFD7zXZ\0"),
        what: "compressed with xz",
        what_to_do: "unpack it with `xz -dk FILE`",
    },
    Kind {
        is: |head| head.starts_with(b"BZh"),
        what: "compressed with bzip2",
        what_to_do: "unpack it with `bzip2 -dk FILE`",
    },
    Kind {
        is: |head| head.starts_with(b"PK\x03\x04") && contains(head, b"/data.pkl") || is_pickle(head),
        what: "a PyTorch pickle (.bin, .pt)",
        what_to_do: "load it in transformers and save it with `model.save_pretrained(DIR, safe_serialization=True)`",
    },
    Kind {
        is: |head| head.starts_with(b"PK\x03\x04"),
        what: "a zip archive",
        what_to_do: "unpack it with `unzip FILE`",
    },
    Kind {
        is: |head| head.starts_with(b"PAR1"),
        what: "a parquet table",
        what_to_do: "convert it with pandas: `pandas.read_parquet('FILE').to_json('NEW.jsonl', orient='records', lines=True)`",
    },
    Kind {
        is: |head| head.starts_with(b"ARROW1"),
        what: "an Arrow table",
        what_to_do: "convert it with pandas: `pandas.read_feather('FILE').to_json('NEW.jsonl', orient='records', lines=True)`",
    },
    Kind {
        is: |head| head.starts_with(b"GGUF"),
        what: "a GGUF model",
        what_to_do: "give it a name that ends with .gguf",
    },
    Kind {
        is: |head| head.get(8..10) == Some(b"{\"") && head[5..8] == [0; 3],
        what: "a safetensors file",
        what_to_do: "give the folder that it lies in",
    },
];

fn contains(head: &[u8], part: &[u8]) -> bool {
    head.windows(part.len()).any(|window| window == part)
}

fn is_html(head: &[u8]) -> bool {
    let start = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head).trim_ascii_start();
    ["<!doctype html", "<html", "<head"]
        .iter()
        .any(|tag| start.get(..tag.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(tag.as_bytes())))
}

/// UTF-16 without a mark, of text that begins with ASCII.
fn has_zero_every_other(head: &[u8]) -> bool {
    matches!(head, [0, first, 0, second, ..] | [first, 0, second, 0, ..] if *first != 0 && *second != 0)
}

/// Protocols 2 to 5; text never begins so.
fn is_pickle(head: &[u8]) -> bool {
    matches!(head, [0x80, 2..=5, ..])
}

/// Refuses the beginning of a file that is of a kind which cannot be read as `expected` ("text", "safetensors").
///
/// # Errors
/// The file, what it is, and what to do about it.
pub fn check_beginning(path: &Path, head: &[u8], expected: &str) -> Result<()> {
    let head = &head[..head.len().min(HEAD)];
    let is_expected = |kind: &Kind| expected != "text" && kind.what.contains(expected);
    match KINDS.iter().find(|kind| (kind.is)(head)) {
        Some(kind) if !is_expected(kind) => {
            let name = path.display().to_string();
            bail!("{name} is {}, not {expected}: {}", kind.what, kind.what_to_do.replace("FILE", &name))
        }
        _ => Ok(()),
    }
}

/// [`check_beginning`] of a file on disk. A missing or unreadable file is reported by its reader.
///
/// # Errors
/// As [`check_beginning`].
pub fn check_file(path: &Path, expected: &str) -> Result<()> {
    let mut head = Vec::with_capacity(HEAD);
    let read = File::open(path).and_then(|file| file.take(HEAD as u64).read_to_end(&mut head));
    if read.is_ok() { check_beginning(path, &head, expected) } else { Ok(()) }
}

/// Reads a text file.
///
/// # Errors
/// A file that cannot be read, or is none of UTF-8: with its line and byte, or what it is instead.
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    as_text(path, bytes)
}

/// [`read_text`]; `None` where there is no such file.
///
/// # Errors
/// As [`read_text`].
pub fn read_text_if_there(path: &Path) -> Result<Option<String>> {
    match std::fs::read(path) {
        Ok(bytes) => as_text(path, bytes).map(Some),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The text of a file's bytes, without a byte-order mark.
///
/// # Errors
/// As [`read_text`]; the path is there for the message alone.
pub fn as_text(path: &Path, mut bytes: Vec<u8>) -> Result<String> {
    check_beginning(path, &bytes, "text")?;
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    String::from_utf8(bytes).map_err(|error| {
        let bytes = error.as_bytes();
        let at = error.utf8_error().valid_up_to();
        let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        anyhow!("{}", not_utf8(path, line, bytes[at]))
    })
}

/// The error about a byte that is not UTF-8.
pub fn not_utf8(path: &Path, line: usize, byte: u8) -> String {
    let name = path.display();
    format!(
        "{name}, line {line}: the byte 0x{byte:02X} is not UTF-8; if the file is Latin-1 (Windows-1252), convert it with \
         `iconv -f WINDOWS-1252 -t UTF-8 {name} > NEW`"
    )
}

/// A line of a file, or the first one, without its byte-order mark.
pub fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
}

/// One JSON object. A malformed object and a missing field are different errors.
///
/// # Errors
/// Text that is no JSON, by its column; no object; a field that is missing, with those that are there; another type.
pub fn from_json_object<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| object_error(text.as_bytes(), &error))
}

/// What an error of [`serde_json`] means of a line that should be an object.
pub fn object_error(text: &[u8], error: &serde_json::Error) -> anyhow::Error {
    if !text.trim_ascii_start().starts_with(b"{") {
        return anyhow!("not a JSON object");
    }
    // The parser has seen one line only, and would call it line 1.
    let message = error.to_string();
    let reason = message.rsplit_once(" at line ").map_or(message.as_str(), |(reason, _)| reason);
    if !error.is_data() {
        return anyhow!("malformed JSON at column {}: {reason}", error.column());
    }
    match reason.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        Some(field) => missing_field(field, text),
        None => anyhow!("a field has another type at column {}: {reason}", error.column()),
    }
}

/// The message for an object that lacks a field: which, and which it has.
pub fn missing_field(field: &str, object: &[u8]) -> anyhow::Error {
    let names = field_names(object).unwrap_or_default();
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.is_empty() {
        true => anyhow!("the field \"{field}\" is missing; there are no fields"),
        false => anyhow!("the field \"{field}\" is missing; the fields are {}", quoted.join(", ")),
    }
}

/// The names of an object's fields, in the order of the alphabet; `None` of what is no object.
pub fn field_names(object: &[u8]) -> Option<Vec<String>> {
    let text = String::from_utf8_lossy(object);
    let fields: BTreeMap<String, IgnoredAny> = serde_json::from_str(&text).ok()?;
    Some(fields.into_keys().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    fn error_of(bytes: &[u8]) -> String {
        let error = format!("{:#}", as_text(Path::new("some/file"), bytes.to_vec()).unwrap_err());
        assert!(error.starts_with("some/file") && !error.contains('\n') && !error.contains("FILE"), "{error}");
        error
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        assert_eq!(as_text(Path::new("f"), b"\xEF\xBB\xBF{}\n".to_vec()).unwrap(), "{}\n");
        assert_eq!(as_text(Path::new("f"), "{\"é\": 1}".into()).unwrap(), "{\"é\": 1}");
        assert_eq!(as_text(Path::new("f"), Vec::new()).unwrap(), "");
    }

    #[test]
    fn every_other_kind_of_file_is_named_with_what_to_do() {
        let utf_16: Vec<u8> = "{\"question\"".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf_16_be: Vec<u8> = "question".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let pickle_in_zip = [b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0", b"archive/data.pklFB".as_slice()].concat();
        let safetensors = [&300u64.to_le_bytes()[..], b"{\"lm_head.weight\":{"].concat();
        let cases: [(&[u8], &str, &str); 19] = [
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n", "Git LFS pointer", "git lfs pull"),
            (b"<!DOCTYPE html>\n<html>", "HTML page", "download the file"),
            (b"\xEF\xBB\xBF\n <html lang=en>", "HTML page", "download the file"),
            (&[b"\xFF\xFE", utf_16.as_slice()].concat(), "UTF-16", "iconv -f UTF-16 -t UTF-8 some/file"),
            (b"\xFE\xFF\0a", "UTF-16", "iconv"),
            (&utf_16, "UTF-16", "iconv"),
            (&utf_16_be, "UTF-16", "iconv"),
            (b"\x1F\x8B\x08\0", "gzip", "gunzip -k some/file"),
            (b"\x28\xB5\x2F\xFD\0", "zstd", "zstd -d some/file"),
            (b"\xFD7zXZ\0\0", "xz", "xz -dk some/file"),
            (b"BZh91AY", "bzip2", "bzip2 -dk some/file"),
            (b"PK\x03\x04\x14\0", "zip archive", "unzip some/file"),
            (&pickle_in_zip, "PyTorch pickle", "save_pretrained(DIR, safe_serialization=True)"),
            (b"\x80\x02ccollections", "PyTorch pickle", "save_pretrained"),
            (b"PAR1\x15\x04", "parquet", "pandas.read_parquet('some/file')"),
            (b"ARROW1\0\0", "Arrow", "pandas"),
            (b"GGUF\x03\0\0\0", "GGUF", ".gguf"),
            (&safetensors, "safetensors", "folder"),
            (b"caf\xE9", "line 1", "iconv -f WINDOWS-1252 -t UTF-8 some/file"),
        ];
        for (bytes, what, what_to_do) in cases {
            let error = error_of(bytes);
            assert!(error.contains(what) && error.contains(what_to_do), "{error}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_named_by_their_line() {
        let error = error_of(b"one\ntwo\ncaf\xE9\nfour\n");
        assert!(error.contains("some/file, line 3: the byte 0xE9 is not UTF-8"), "{error}");
    }

    #[test]
    fn ordinary_text_is_of_no_other_kind() {
        for text in ["", "{", "[\n{}]", "a,b\n1,2\n", "# rl ppo\nsteps = 1\n", "PK", "version = 1", "<<1+1=2>>2", "\0"]
        {
            assert!(as_text(Path::new("f"), text.into()).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_file_that_is_expected_is_let_through() {
        assert!(check_beginning(Path::new("m.gguf"), b"GGUF\x03\0\0\0", "GGUF").is_ok());
        let error = check_beginning(Path::new("m.gguf"), b"version https://git-lfs", "a GGUF model").unwrap_err();
        assert!(error.to_string().contains("m.gguf is a Git LFS pointer"), "{error}");
    }

    #[test]
    fn a_missing_field_is_another_error_than_malformed_json() {
        #[derive(Deserialize, Debug)]
        struct Row {
            question: String,
        }
        let error = |text| format!("{:#}", from_json_object::<Row>(text).map(|row| row.question).unwrap_err());
        let missing = error(r#"{"prompt": "1?", "answer": [1, {"question": 2}]}"#);
        assert_eq!(missing, r#"the field "question" is missing; the fields are "answer", "prompt""#);
        assert_eq!(error("{}"), r#"the field "question" is missing; there are no fields"#);
        assert!(error(r#"{"question": "cut"#).starts_with("malformed JSON at column"));
        assert!(
            error(r#"{"question": 5}"#).starts_with("a field has another type at column 14: invalid type: integer")
        );
        assert_eq!(error("[1]"), "not a JSON object");
        assert_eq!(error("question"), "not a JSON object");
    }
}
