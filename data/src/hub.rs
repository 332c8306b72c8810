//! Files of the Hugging Face hub: where they are kept, and data sets as `hf:datasets/OWNER/NAME`. Independent of models and of what is in the
//! files.

use anyhow::{Context, Result, bail, ensure};
use hf_hub::{
    Cache, Repo, RepoType,
    api::sync::{Api, ApiBuilder},
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// What the name of a data set begins with.
pub(crate) const DATASET: &str = "hf:datasets/";

/// Extensions of files that can be read as rows.
const ROWS: [&str; 6] = ["jsonl", "ndjson", "json", "csv", "tsv", "parquet"];

/// The cache of fetched files, as huggingface_hub finds it: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `huggingface/hub` in
/// `XDG_CACHE_HOME`, else the place in the user's home. An empty variable counts as unset.
pub fn cache() -> Cache {
    cache_folder(&|name| std::env::var_os(name)).map_or_else(Cache::default, Cache::new)
}

/// The hub, which fetches into [`cache`].
///
/// # Errors
/// A proxy or certificate that cannot be used.
pub fn api() -> Result<Api> {
    // The token lies in `HF_HOME`, wherever the cache is.
    let token = Cache::from_env().token();
    Ok(ApiBuilder::from_env().with_cache_dir(cache().path().clone()).with_token(token).with_progress(true).build()?)
}

fn cache_folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).filter(|value| !value.is_empty()).map(|value| in_home(value.into()));
    let home = || folder("HF_HOME").or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface")));
    folder("HF_HUB_CACHE").or_else(|| Some(home()?.join("hub")))
}

/// A path whose `~` is the user's home.
fn in_home(path: PathBuf) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

/// Files of a data set on the hub: `hf:datasets/OWNER/NAME[@REVISION][/PART]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DatasetFiles {
    name: String,
    revision: String,
    /// A file, a folder, or the beginning of file names, `main/train` for `main/train-00000-of-00001.parquet`; empty for all.
    part: String,
}

impl DatasetFiles {
    /// Reads a name; `None` if the text is a path on this machine.
    ///
    /// # Errors
    /// A malformed name.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>> {
        let Some(rest) = text.strip_prefix(DATASET) else {
            ensure!(!text.starts_with("hf:"), "{text}: write a data set as {DATASET}OWNER/NAME");
            return Ok(None);
        };
        let (name, part) = match rest.match_indices('/').nth(1) {
            Some((at, _)) => (&rest[..at], &rest[at + 1..]),
            None => (rest, ""),
        };
        let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
        let is_plain = |part: &str| {
            !part.is_empty() && !part.starts_with('.') && part.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
        };
        let is_name = name.split('/').count() == 2 && name.split('/').all(is_plain) && is_plain(revision);
        ensure!(is_name && !part.contains(".."), "{text}: write a data set as {DATASET}OWNER/NAME[@REVISION][/FILE]");
        Ok(Some(Self { name: name.into(), revision: revision.into(), part: part.into() }))
    }

    /// Fetches the files that are not in the cache yet; their paths, by name. Without a network, those that are in the cache.
    ///
    /// # Errors
    /// A hub that cannot be reached and files that are not in the cache; no file of that name.
    pub(crate) fn fetch(&self, split: &str) -> Result<Vec<PathBuf>> {
        let repo = Repo::with_revision(self.name.clone(), RepoType::Dataset, self.revision.clone());
        let remote = api()?.repo(repo.clone());
        let files: Vec<String> = match remote.info() {
            Ok(info) => info.siblings.into_iter().map(|file| file.rfilename).collect(),
            Err(error) => {
                let kept = self.kept(&cache().path().join(repo.folder_name()), split);
                if kept.is_empty() {
                    return Err(error).with_context(|| {
                        format!(
                            "cannot fetch {} from the Hugging Face hub; without a network, give the path of a file that was \
                             downloaded elsewhere",
                            self.name
                        )
                    });
                }
                tracing::warn!(
                    "the hub cannot be reached for {} ({error}); using what was fetched before: {} files",
                    self.name,
                    kept.len()
                );
                return Ok(kept);
            }
        };
        let wanted = self.wanted(&files, split)?;
        wanted.iter().map(|file| Ok(remote.get(file)?)).collect()
    }

    /// The files in the folder of the cache for this data set, those that were fetched last.
    fn kept(&self, folder: &Path, split: &str) -> Vec<PathBuf> {
        let Ok(commit) = std::fs::read_to_string(folder.join("refs").join(&self.revision)) else { return Vec::new() };
        let snapshot = folder.join("snapshots").join(commit.trim());
        let (mut files, mut folders) = (Vec::new(), vec![snapshot.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(name) = path.strip_prefix(&snapshot).ok().and_then(Path::to_str) {
                    files.push(name.replace('\\', "/"));
                }
            }
        }
        self.wanted(&files, split).unwrap_or_default().into_iter().map(|file| snapshot.join(file)).collect()
    }

    /// The files that are meant: those of the named part; without one, those with the split in their name.
    fn wanted(&self, files: &[String], split: &str) -> Result<Vec<String>> {
        let has_rows = |file: &str| {
            let file = file.strip_suffix(".gz").unwrap_or(file);
            file.rsplit_once('.').is_some_and(|(_, extension)| ROWS.contains(&extension))
        };
        let rows: Vec<&String> = files.iter().filter(|file| has_rows(file)).collect();
        let names_split = |file: &str| file.split(['/', '.', '-', '_']).any(|word| word == split);
        let mut wanted: Vec<String> = match self.part.as_str() {
            "" => rows.iter().filter(|file| names_split(file)).map(|file| (*file).clone()).collect(),
            part if files.iter().any(|file| file == part) => vec![part.to_owned()],
            part => rows.iter().filter(|file| file.starts_with(part)).map(|file| (*file).clone()).collect(),
        };
        wanted.sort();
        if wanted.is_empty() {
            let listed = rows.iter().map(|file| file.as_str()).take(8).collect::<Vec<_>>().join(", ");
            bail!(
                "{DATASET}{} has no file {} for the split {split}; its files are {}",
                self.name,
                if self.part.is_empty() {
                    format!("with {split:?} in its name")
                } else {
                    format!("that begins with {:?}", self.part)
                },
                if listed.is_empty() { "none that hold rows".to_owned() } else { listed }
            );
        }
        let folders: std::collections::BTreeSet<&str> =
            wanted.iter().map(|file| file.rsplit_once('/').map_or("", |(folder, _)| folder)).collect();
        ensure!(
            folders.len() == 1,
            "{DATASET}{} has the split {split} in several folders ({}): name one, as in {DATASET}{}/{}",
            self.name,
            folders.iter().copied().collect::<Vec<_>>().join(", "),
            self.name,
            folders.iter().next().copied().unwrap_or_default()
        );
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_lies_where_the_hub_s_own_library_has_it() {
        let of = |variables: &[(&str, &str)]| {
            cache_folder(&|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
        };
        let (cache, home, xdg) = (("HF_HUB_CACHE", "/cache"), ("HF_HOME", "/home"), ("XDG_CACHE_HOME", "/xdg"));
        assert_eq!(of(&[cache, home, xdg]), Some("/cache".into()));
        assert_eq!(of(&[home, xdg]), Some("/home/hub".into()));
        assert_eq!(of(&[xdg]), Some("/xdg/huggingface/hub".into()));
        assert_eq!(of(&[("HF_HUB_CACHE", ""), home]), Some("/home/hub".into()), "an empty variable counts as unset");
        assert_eq!(of(&[]), None);
        let in_home = of(&[("HF_HUB_CACHE", "~/models")]).unwrap();
        assert!(in_home.is_absolute() && in_home.ends_with("models"), "{in_home:?}");
    }

    #[test]
    fn the_name_of_a_data_set_has_an_owner_and_leads_to_no_other_folder() {
        let parse = |text: &str| DatasetFiles::parse(text).unwrap().unwrap();
        let files = parse("hf:datasets/openai/gsm8k@v1/main/train");
        assert_eq!(
            (files.name.as_str(), files.revision.as_str(), files.part.as_str()),
            ("openai/gsm8k", "v1", "main/train")
        );
        assert_eq!(parse("hf:datasets/a/b").part, "");
        assert_eq!(DatasetFiles::parse("data/train.jsonl").unwrap(), None);
        for wrong in ["hf:a/b", "hf:datasets/a", "hf:datasets/../b", "hf:datasets/a/b/../c", "hf:datasets//b"] {
            assert!(DatasetFiles::parse(wrong).unwrap_err().to_string().contains("hf:datasets/OWNER/NAME"), "{wrong}");
        }
    }

    #[test]
    fn files_that_were_fetched_before_are_found_without_a_network() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("refs/main", "abc");
        write("snapshots/abc/main/train-0.jsonl", "{}");
        write("snapshots/old/main/train-1.jsonl", "{}");
        let files = DatasetFiles::parse("hf:datasets/a/b/main/train").unwrap().unwrap();
        assert_eq!(files.kept(folder.path(), "train"), [folder.path().join("snapshots/abc/main/train-0.jsonl")]);
        let other = DatasetFiles::parse("hf:datasets/a/b@v1").unwrap().unwrap();
        assert!(other.kept(folder.path(), "train").is_empty());
    }

    #[test]
    fn the_files_of_a_split_are_found_by_their_names() {
        let files: Vec<String> = [
            "README.md",
            "main/test-00000-of-00001.parquet",
            "main/train-00000-of-00002.parquet",
            "main/train-00001-of-00002.parquet",
            "socratic/train-00000-of-00001.parquet",
            "extra.jsonl.gz",
        ]
        .map(str::to_owned)
        .to_vec();
        let wanted = |text: &str, split| DatasetFiles::parse(text).unwrap().unwrap().wanted(&files, split);
        assert_eq!(wanted("hf:datasets/a/b/main/train", "train").unwrap().len(), 2);
        assert_eq!(wanted("hf:datasets/a/b/extra.jsonl.gz", "train").unwrap(), ["extra.jsonl.gz"]);
        assert_eq!(wanted("hf:datasets/a/b", "test").unwrap(), ["main/test-00000-of-00001.parquet"]);
        let error = wanted("hf:datasets/a/b", "train").unwrap_err().to_string();
        assert!(error.contains("several folders (main, socratic)"), "{error}");
        let error = wanted("hf:datasets/a/b/dev", "train").unwrap_err().to_string();
        assert!(error.contains("begins with \"dev\"") && error.contains("extra.jsonl.gz"), "{error}");
    }
}
