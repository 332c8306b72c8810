//! What must hold of a GGUF file's header before candle reads it, and of what it has read: candle divides by the alignment, takes
//! some 32 bytes for each element of a list, and checks neither names that occur twice nor tensors that overlap.

use anyhow::{Context, Result, bail, ensure};
use candle_core::quantized::gguf_file::{Content, DEFAULT_ALIGNMENT};
use std::io::{BufReader, Read, Seek};

/// Most elements of all lists together; the largest vocabularies of today have a million with their merges.
const MAX_ELEMENTS: u64 = 1 << 23;
/// Lists of lists of lists.
const MAX_DEPTH: usize = 3;

/// How many there are.
pub(super) struct Counts {
    tensors: u64,
    keys: u64,
}

/// Walks over the metadata and goes back to the start. What is no GGUF file at all is left to candle to name.
pub(super) fn check<R: Read + Seek>(file: &mut BufReader<R>) -> Result<Counts> {
    let mut head = Head { file, wide: true, elements: 0 };
    let mut counts = Counts { tensors: 0, keys: 0 };
    if head.number(4)? == u64::from(u32::from_le_bytes(*b"GGUF")) {
        head.wide = head.number(4)? > 1;
        counts = Counts { tensors: head.length()?, keys: head.length()? };
        for _ in 0..counts.keys {
            let key = head.text()?;
            let kind = head.number(4)?;
            let value = head.value(kind, 0)?;
            ensure!(key != "general.alignment" || value != Some(0), "its alignment is 0");
        }
    }
    file.rewind()?;
    Ok(counts)
}

/// Whether what was read is what was announced, and each tensor has bytes of its own.
pub(super) fn check_read(content: &Content, counts: &Counts, alignment: Option<u64>) -> Result<()> {
    ensure!(content.metadata.len() as u64 == counts.keys, "a key of its metadata occurs twice");
    ensure!(content.tensor_infos.len() as u64 == counts.tensors, "the name of a tensor occurs twice");
    let mut places = Vec::with_capacity(content.tensor_infos.len());
    for (name, info) in &content.tensor_infos {
        let dims = info.shape.dims();
        let numbers = dims.iter().try_fold(1_u128, |numbers, &size| numbers.checked_mul(size as u128));
        let (block, bytes_of_block) = (info.ggml_dtype.block_size() as u128, info.ggml_dtype.type_size() as u128);
        let bytes = numbers.and_then(|numbers| (numbers / block).checked_mul(bytes_of_block));
        let bytes = bytes.with_context(|| format!("the tensor {name} of {dims:?} is too large"))?;
        let start = u128::from(info.offset);
        ensure!(
            info.offset.is_multiple_of(alignment.unwrap_or(DEFAULT_ALIGNMENT)),
            "the tensor {name} begins at {start}, which is not aligned"
        );
        places.push((start, start.saturating_add(bytes), name));
    }
    places.sort_unstable();
    for pair in places.windows(2) {
        let [(_, end, first), (start, _, second)] = [pair[0], pair[1]];
        ensure!(end <= start, "the tensors {first} and {second} overlap");
    }
    Ok(())
}

struct Head<'a, R> {
    file: &'a mut BufReader<R>,
    /// Whether lengths have eight bytes; in version 1 they have four.
    wide: bool,
    elements: u64,
}

impl<R: Read + Seek> Head<'_, R> {
    /// A little-endian number of at most eight bytes.
    fn number(&mut self, bytes: usize) -> Result<u64> {
        let mut number = [0; 8];
        self.file.read_exact(&mut number[..bytes]).context("it is cut short")?;
        Ok(u64::from_le_bytes(number))
    }

    fn length(&mut self) -> Result<u64> {
        self.number(if self.wide { 8 } else { 4 })
    }

    /// A name, as candle takes it: without zeros at its end.
    fn text(&mut self) -> Result<String> {
        const LONGEST: u64 = 1 << 16;
        let length = self.length()?;
        ensure!(length <= LONGEST, "the name of a key has {length} bytes");
        let mut bytes = vec![0; length as usize];
        self.file.read_exact(&mut bytes).context("it is cut short")?;
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_string())
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        let bytes = i64::try_from(bytes).context("a text of its metadata is longer than any file")?;
        Ok(self.file.seek_relative(bytes)?)
    }

    /// Passes over a value; the bits of a whole number.
    fn value(&mut self, kind: u64, depth: usize) -> Result<Option<u64>> {
        Ok(Some(match kind {
            0 | 1 | 7 => self.number(1)?,
            2 | 3 => self.number(2)?,
            4 | 5 => self.number(4)?,
            10 | 11 => self.number(8)?,
            6 | 12 => {
                self.skip(if kind == 6 { 4 } else { 8 })?;
                return Ok(None);
            }
            8 => {
                let length = self.length()?;
                self.skip(length)?;
                return Ok(None);
            }
            9 => {
                ensure!(depth < MAX_DEPTH, "its metadata has lists within lists within lists");
                let (kind, count) = (self.number(4)?, self.length()?);
                self.elements = self.elements.saturating_add(count);
                ensure!(self.elements <= MAX_ELEMENTS, "its metadata has lists of {} elements", self.elements);
                for _ in 0..count {
                    self.value(kind, depth + 1)?;
                }
                return Ok(None);
            }
            other => bail!("its metadata has a value of the unknown type {other}"),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn text(text: &[u8]) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes(), text].concat()
    }

    fn number(key: &[u8], value: u32) -> Vec<u8> {
        [text(key), 4u32.to_le_bytes().to_vec(), value.to_le_bytes().to_vec()].concat()
    }

    /// A tensor of eight numbers in f32.
    fn tensor(name: &[u8], offset: u64) -> Vec<u8> {
        let sizes = [&1u32.to_le_bytes()[..], &8u64.to_le_bytes(), &0u32.to_le_bytes(), &offset.to_le_bytes()];
        [text(name), sizes.concat()].concat()
    }

    fn file(keys: &[Vec<u8>], tensors: &[Vec<u8>]) -> Vec<u8> {
        let counts = [tensors.len() as u64, keys.len() as u64].map(u64::to_le_bytes).concat();
        [b"GGUF".to_vec(), 3u32.to_le_bytes().to_vec(), counts, keys.concat(), tensors.concat()].concat()
    }

    fn outcome(bytes: Vec<u8>) -> Result<()> {
        let mut file = BufReader::new(Cursor::new(bytes));
        let counts = check(&mut file)?;
        check_read(&Content::read(&mut file)?, &counts, None)
    }

    #[test]
    fn an_alignment_of_nothing_is_found_wherever_it_stands() {
        let zero = || number(b"general.alignment", 0);
        let decoy = [text(b"general.name"), 8u32.to_le_bytes().to_vec(), text(b"about general.alignment")].concat();
        let long = [text(b"x"), 8u32.to_le_bytes().to_vec(), text(&[b'p'; 1 << 20])].concat();
        outcome(file(&[number(b"general.alignment", 32), decoy.clone()], &[])).unwrap();
        for keys in [
            vec![zero()],
            vec![decoy, zero()],
            vec![long, zero()],
            vec![number(b"general.alignment", 32), zero()],
            vec![number(b"general.alignment\0", 0)],
        ] {
            assert_eq!(outcome(file(&keys, &[])).unwrap_err().to_string(), "its alignment is 0");
        }
    }

    #[test]
    fn names_that_occur_twice_and_tensors_that_overlap_are_named() {
        outcome(file(&[number(b"a", 1)], &[tensor(b"x", 0), tensor(b"y", 32)])).unwrap();
        for (bytes, expected) in [
            (file(&[number(b"a", 1), number(b"a", 2)], &[]), "a key of its metadata occurs twice"),
            (file(&[], &[tensor(b"x", 0), tensor(b"x", 32)]), "the name of a tensor occurs twice"),
            (file(&[], &[tensor(b"x", 0), tensor(b"y", 0)]), "the tensors x and y overlap"),
            (file(&[], &[tensor(b"x", 0), tensor(b"y", 16)]), "the tensor y begins at 16, which is not aligned"),
        ] {
            assert_eq!(outcome(bytes).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn lists_that_no_vocabulary_needs_are_refused_before_they_are_read() {
        let list =
            |kind: u32, count: u64| [&9u32.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes()].concat();
        let long = [text(b"long"), list(0, 90_000_000)].concat();
        let within = |kind: u32| [&kind.to_le_bytes()[..], &1u64.to_le_bytes()].concat();
        let deep = [text(b"deep"), list(9, 1), within(9), within(9), within(0), vec![1]].concat();
        let unknown = [text(b"new"), 13u32.to_le_bytes().to_vec()].concat();
        for (key, expected) in [(long, "lists of 90000000 elements"), (deep, "lists within"), (unknown, "type 13")] {
            let message = outcome(file(&[key], &[])).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
