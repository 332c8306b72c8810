//! The checksums of a checkpoint's files: whether they are as they were written.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::Path,
};

/// The file of a checkpoint that has the checksums of its other files, by name.
const CHECKSUMS: &str = "trainer/checksums.json";

/// Size and checksum of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sum {
    bytes: u64,
    /// CRC-32C, hexadecimal.
    crc32c: String,
}

/// Writes the size and the CRC-32C of all files of a folder and of its folders into its `trainer/checksums.json`.
///
/// # Errors
/// Errors of the file system.
pub fn write_checksums(folder: &Path) -> Result<()> {
    let mut sums = BTreeMap::new();
    add_sums(folder, "", &mut sums)?;
    let path = folder.join(CHECKSUMS);
    fs::write(&path, serde_json::to_vec_pretty(&sums)?).with_context(|| format!("cannot write {}", path.display()))
}

fn add_sums(folder: &Path, prefix: &str, sums: &mut BTreeMap<String, Sum>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            add_sums(&path, &format!("{name}/"), sums)?;
        } else if name != CHECKSUMS {
            sums.insert(name, sum(&path)?);
        }
    }
    Ok(())
}

/// Checks the files of a checkpoint whose names are `wanted`; `false` if the folder has no checksums.
///
/// # Errors
/// Naming the file that is missing or is not the one that was written.
pub fn check_files(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<bool> {
    let path = folder.join(CHECKSUMS);
    if !path.is_file() {
        return Ok(false);
    }
    let malformed = || format!("{} is malformed", path.display());
    let sums: BTreeMap<String, Sum> = serde_json::from_str(&data::read_text(&path)?).with_context(malformed)?;
    for (name, written) in sums.iter().filter(|(name, _)| wanted(name)) {
        let path = folder.join(name);
        let size = fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?.len();
        ensure!(size == written.bytes, "{} is damaged: it has {size} of {} bytes", path.display(), written.bytes);
        ensure!(sum(&path)? == *written, "{} is damaged: its checksum is not that of {CHECKSUMS}", path.display());
    }
    Ok(true)
}

fn sum(path: &Path) -> Result<Sum> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let (mut buffer, mut bytes, mut crc) = (vec![0; 1 << 20], 0, 0);
    loop {
        match file.read(&mut buffer).with_context(cannot)? {
            0 => return Ok(Sum { bytes, crc32c: format!("{crc:08x}") }),
            read => {
                bytes += read as u64;
                crc = crc32c::crc32c_append(crc, &buffer[..read]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_other_bit_a_shorter_file_and_a_missing_one_are_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("trainer")).unwrap();
        let (model, state) = (folder.path().join("model"), folder.path().join("trainer/state"));
        let write = |path: &Path, text: &str| fs::write(path, text).unwrap();
        write(&model, "123456789");
        write(&state, "{}");
        assert!(!check_files(folder.path(), |_| true).unwrap(), "there are no checksums yet");
        write_checksums(folder.path()).unwrap();
        assert!(check_files(folder.path(), |_| true).unwrap());
        // The check value of CRC-32C in the catalogue of parametrised CRC algorithms.
        assert!(fs::read_to_string(folder.path().join(CHECKSUMS)).unwrap().contains("e3069283"));
        let error = || check_files(folder.path(), |_| true).unwrap_err().to_string();
        write(&model, "123456788");
        assert!(error().contains("model is damaged: its checksum"), "{}", error());
        write(&model, "12345678");
        assert!(error().contains("model is damaged: it has 8 of 9 bytes"), "{}", error());
        write(&model, "123456789");
        fs::remove_file(&state).unwrap();
        assert!(error().contains("state"), "{}", error());
        assert!(check_files(folder.path(), |name| !name.starts_with("trainer/")).unwrap(), "it is not wanted");
    }
}
