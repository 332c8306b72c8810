//! Files of rows: JSON lines, JSON, CSV and TSV, parquet, each also compressed with gzip. Independent of what the fields mean.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Map, Number, Value};

use crate::text::{as_text, from_json_object};

/// A row: its fields by name.
pub(super) type Row = Map<String, Value>;

/// Upper bound of the bytes that a compressed file unpacks to.
const MAX_BYTES: u64 = 4 << 30;

/// Reads all rows of a file, each with its place for errors: `line 3` or `row 3`.
///
/// # Errors
/// A file that cannot be read, is of another format, or holds no row; a malformed row, by its place.
pub(super) fn read(path: &Path) -> Result<Vec<(String, Row)>> {
    let name = path.to_str().unwrap_or_default().to_lowercase();
    let is_packed = name.ends_with(".gz");
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    if extension == "parquet" && !is_packed {
        return parquet(path).with_context(|| format!("cannot read {}", path.display()));
    }
    let bytes = bytes(path, is_packed)?;
    let rows = match extension {
        "jsonl" | "ndjson" => lines(path, &as_text(path, bytes)?)?,
        "json" => json(&as_text(path, bytes)?).with_context(|| path.display().to_string())?,
        "csv" => separated(&as_text(path, bytes)?, b',').with_context(|| path.display().to_string())?,
        "tsv" => separated(&as_text(path, bytes)?, b'\t').with_context(|| path.display().to_string())?,
        _ => bail!(
            "{}: give a file with a name that ends with .jsonl, .json, .csv, .tsv or .parquet (the first four also with .gz)",
            path.display()
        ),
    };
    ensure!(!rows.is_empty(), "{} holds no row", path.display());
    Ok(rows)
}

fn bytes(path: &Path, is_packed: bool) -> Result<Vec<u8>> {
    let failed = || format!("cannot read {}", path.display());
    if !is_packed {
        return std::fs::read(path).with_context(failed);
    }
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(failed)?;
    MultiGzDecoder::new(file).take(MAX_BYTES).read_to_end(&mut bytes).with_context(failed)?;
    ensure!((bytes.len() as u64) < MAX_BYTES, "{} unpacks to more than {MAX_BYTES} bytes", path.display());
    Ok(bytes)
}

fn lines(path: &Path, text: &str) -> Result<Vec<(String, Row)>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let row = |(number, line): (usize, &str)| {
        let place = format!("line {}", number + 1);
        let row = from_json_object(line).with_context(|| format!("{}, {place}", path.display()))?;
        Ok((place, row))
    };
    lines.map(row).collect()
}

/// A list of objects, or an object one of whose fields is such a list.
fn json(text: &str) -> Result<Vec<(String, Row)>> {
    let value: Value = serde_json::from_str(text).map_err(|error| anyhow::anyhow!("not JSON: {error}"))?;
    let list = match value {
        Value::Array(list) => list,
        Value::Object(fields) => {
            let is_rows =
                |value: &Value| value.as_array().is_some_and(|list| list.first().is_some_and(Value::is_object));
            let mut lists = fields.into_iter().filter(|(_, value)| is_rows(value)).collect::<Vec<_>>();
            ensure!(
                lists.len() == 1,
                "give a list of objects, or an object with one such list (it has {})",
                lists.len()
            );
            match lists.remove(0).1 {
                Value::Array(list) => list,
                _ => Vec::new(),
            }
        }
        _ => bail!("give a list of objects"),
    };
    let row = |(number, value): (usize, Value)| {
        let place = format!("row {}", number + 1);
        match value {
            Value::Object(row) => Ok((place, row)),
            _ => bail!("{place}: not a JSON object"),
        }
    };
    list.into_iter().enumerate().map(row).collect()
}

/// Values with a header; all of them are texts.
fn separated(text: &str, separator: u8) -> Result<Vec<(String, Row)>> {
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).from_reader(text.as_bytes());
    let header = reader.headers().context("line 1")?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| anyhow::anyhow!("{error}"))?;
        let place = format!("line {}", record.position().map_or(0, csv::Position::line));
        let fields = header.iter().zip(&record);
        rows.push((place, fields.map(|(name, value)| (name.to_owned(), Value::from(value))).collect()));
    }
    Ok(rows)
}

fn parquet(path: &Path) -> Result<Vec<(String, Row)>> {
    let reader = SerializedFileReader::new(File::open(path)?)?;
    let mut rows = Vec::new();
    for (number, row) in reader.get_row_iter(None)?.enumerate() {
        let place = format!("row {}", number + 1);
        let row = row.with_context(|| place.clone())?;
        let fields = row.into_columns().into_iter().map(|(name, field)| Ok((name, value(field)?)));
        let fields = fields.collect::<Result<Row>>().with_context(|| place.clone())?;
        rows.push((place, fields));
    }
    ensure!(!rows.is_empty(), "it holds no row");
    Ok(rows)
}

/// A field of a parquet row as JSON.
fn value(field: Field) -> Result<Value> {
    let number = |value: f64| Number::from_f64(value).map_or(Value::Null, Value::Number);
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => value.into(),
        Field::Byte(value) => value.into(),
        Field::Short(value) => value.into(),
        Field::Int(value) => value.into(),
        Field::Long(value) => value.into(),
        Field::UByte(value) => value.into(),
        Field::UShort(value) => value.into(),
        Field::UInt(value) => value.into(),
        Field::ULong(value) => value.into(),
        Field::Float16(value) => number(value.to_f64()),
        Field::Float(value) => number(value.into()),
        Field::Double(value) => number(value),
        Field::Str(value) => value.into(),
        Field::Bytes(value) => String::from_utf8_lossy(value.data()).into_owned().into(),
        Field::Group(row) => {
            let fields = row.into_columns().into_iter().map(|(name, field)| Ok((name, value(field)?)));
            Value::Object(fields.collect::<Result<Row>>()?)
        }
        Field::ListInternal(list) => list.elements().iter().cloned().map(value).collect::<Result<Vec<_>>>()?.into(),
        other => other.to_string().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn written(name: &str, bytes: &[u8]) -> Result<Vec<(String, Row)>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read(&path)
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_format_gives_the_same_rows() {
        let lines = b"{\"q\": \"One?\", \"a\": \"1\"}\n\n{\"q\": \"Two, or\\nso?\", \"a\": \"2\"}\n";
        let list = b"[{\"q\": \"One?\", \"a\": \"1\"}, {\"q\": \"Two, or\\nso?\", \"a\": \"2\"}]";
        let table = "q,a\nOne?,1\n\"Two, or\nso?\",2\n";
        let rows = |name: &str, bytes: &[u8]| {
            written(name, bytes).unwrap().into_iter().map(|(_, row)| row).collect::<Vec<_>>()
        };
        let expected = rows("a.jsonl", lines);
        assert_eq!(expected.len(), 2);
        assert_eq!(expected[1]["q"], "Two, or\nso?");
        assert_eq!(rows("a.json", list), expected);
        assert_eq!(rows("a.json", &[b"{\"version\": 1, \"data\": ", list.as_slice(), b"}"].concat()), expected);
        assert_eq!(rows("a.csv", table.as_bytes()), expected);
        assert_eq!(rows("a.TSV", table.replace(',', "\t").replace("Two\t", "Two,").as_bytes()), expected);
        assert_eq!(rows("a.jsonl.gz", &packed(lines)), expected);
        assert_eq!(rows("a.csv.gz", &packed(table.as_bytes())), expected);
    }

    #[test]
    fn a_malformed_row_is_named_by_its_place() {
        let error = |name: &str, text: &str| format!("{:#}", written(name, text.as_bytes()).unwrap_err());
        assert!(error("a.jsonl", "{}\n[1]\n").contains("a.jsonl, line 2: not a JSON object"));
        assert!(error("a.json", "[{}, 2]").contains("row 2: not a JSON object"));
        assert!(error("a.json", "{\"a\": 1}").contains("a list of objects"));
        assert!(error("a.json", "[{]").contains("line 1 column 3"));
        assert!(error("a.csv", "q,a\n1,2\n1\n").contains("line: 3"), "{}", error("a.csv", "q,a\n1,2\n1\n"));
        assert!(error("a.csv", "q,a\n").contains("holds no row"));
        assert!(error("a.txt", "1").contains(".parquet"));
        assert!(error("a.parquet", "1").contains("a.parquet"));
    }
}
